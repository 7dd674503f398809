//! `weir rule`: puts, removes and lists alert, flaky and mask rules.
//!
//! Contract: a thin client of `/v1/rules`. A rule is the JSON that the server takes, from a file or standard input; what is
//! wrong with it is told by the server, with the field. With `--dry-run` it is not put, and what it would change is printed.

mod dry_run;

use super::control::{ServerArgs, path, table, time};
use super::{Exit, Failure, say};
use reqwest::Method;
use serde_json::Value;
use std::io::Read as _;
use std::path::PathBuf;

/// Arguments of `weir rule`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  weir rule put order-number mask.json         # {\"kind\": \"mask\", \"project\": \"web\", \"pattern\": \"order [0-9]+\"}
  weir rule put order-number mask.json --dry-run    # puts nothing, and tells what it would change
  weir rule list --project web
  weir rule remove order-number --kind mask --project web

Exit codes:
  0  done
  1  the server cannot be reached, or refuses
  2  the command line is wrong, or the file cannot be read")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum What {
    /// Put a rule, or another one in its place
    Put {
        /// Its name, within project and kind
        id: String,
        /// A file with the rule as JSON, or - for standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Put nothing: tell what the rule would change. The token needs the role read, too
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Remove a rule
    Remove {
        /// Its name, within project and kind
        id: String,
        /// Its kind: alert, flaky or mask
        #[arg(long, value_name = "KIND")]
        kind: String,
        /// Its project; without one it is a rule for all projects
        #[arg(long, value_name = "NAME")]
        project: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List the rules that hold, and those that are built in
    List {
        /// Only those of this project and those for all projects
        #[arg(long, value_name = "NAME")]
        project: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// A file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}", path.display())]
struct Unreadable {
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

/// Puts, removes or lists.
///
/// # Errors
/// The file cannot be read, or the server not be reached, or it refuses.
pub fn run(args: Args) -> Result<(), Failure> {
    match args.what {
        What::Put { id, file, dry_run, server } => {
            let body = read(&file).map_err(|source| Failure::new(Exit::Usage, &Unreadable { path: file, source }))?;
            if dry_run {
                let path = path("rules", Some(&id), &[("dry_run", Some("true"))]);
                let told = dry_run::told(&server.ask(Method::PUT, &path, body.into())?);
                table(&told.table);
                say::note(&told.note);
                return Ok(());
            }
            let path = path("rules", Some(&id), &[("wait", Some("applied"))]);
            server.change(Method::PUT, &path, body.into(), "the rule holds")
        }
        What::Remove { id, kind, project, server } => {
            let query = [("kind", Some(&*kind)), ("project", project.as_deref()), ("wait", Some("applied"))];
            server.change(Method::DELETE, &path("rules", Some(&id), &query), "".into(), "the rule holds no longer,")
        }
        What::List { project, server } => {
            let listed =
                server.ask(Method::GET, &path("rules", None, &[("project", project.as_deref())]), "".into())?;
            show(listed["rules"].as_array().map_or(&[], Vec::as_slice));
            Ok(())
        }
    }
}

fn read(file: &PathBuf) -> std::io::Result<Vec<u8>> {
    if file.as_os_str() == "-" {
        let mut body = Vec::new();
        std::io::stdin().lock().read_to_end(&mut body)?;
        return Ok(body);
    }
    std::fs::read(file)
}

fn show(rules: &[Value]) {
    if rules.iter().all(|rule| rule["builtIn"] == true) {
        say::note("nobody has put a rule; those listed are built in");
    }
    let mut rows = vec![["PROJECT", "KIND", "ID", "SINCE", "RULE"].map(str::to_owned).to_vec()];
    rows.extend(rules.iter().map(|rule| {
        let text = |name: &str| rule[name].as_str().unwrap_or_default().to_owned();
        let project = Some(text("project")).filter(|name| !name.is_empty()).unwrap_or_else(|| "(all)".to_owned());
        let since = rule["since"].as_u64().map_or_else(|| "built in".to_owned(), time);
        vec![project, text("kind"), text("id"), since, summary(rule)]
    }));
    table(&rows);
}

/// What a rule says, in a line.
fn summary(rule: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match rule["kind"].as_str() {
        Some("mask") => text(&rule["pattern"]),
        Some("flaky") => format!(
            "{} changes in {} make it flaky, {} failures broken; {} passes and {} days make it well",
            rule["flips"], rule["window"], rule["broken"], rule["passes"], rule["days"]
        ),
        _ => {
            let conditions = rule["when"].as_array().into_iter().flatten();
            let condition = |of: &Value| format!("{} {} {}", text(&of["column"]), text(&of["is"]), of["threshold"]);
            let when: Vec<String> = conditions.map(condition).collect();
            let told = format!("{} of {}: {}", text(&rule["severity"]), text(&rule["view"]), when.join(" and "));
            let by = rule["overriddenBy"].as_array().map_or(&[][..], Vec::as_slice);
            let by: Vec<&str> =
                by.iter().filter_map(Value::as_str).map(|of| if of.is_empty() { "all" } else { of }).collect();
            match (rule["disabled"] == true, by.is_empty()) {
                (true, _) => format!("never fires; {told}"),
                (false, true) => told,
                (false, false) => format!("{told}; another one holds in {}", by.join(", ")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_rule_is_told_in_a_line() {
        let alert = json!({ "kind": "alert", "view": "live_metrics", "severity": "error",
            "when": [{ "column": "success_rate", "is": "<", "threshold": 90.5 }, { "column": "runs", "is": ">", "threshold": 3 }] });
        assert_eq!(summary(&alert), "error of live_metrics: success_rate < 90.5 and runs > 3");
        let mut off = alert.clone();
        off["disabled"] = json!(true);
        assert!(summary(&off).starts_with("never fires; error of live_metrics"));
        let mut builtin = alert;
        builtin["overriddenBy"] = json!(["", "web"]);
        assert!(summary(&builtin).ends_with("runs > 3; another one holds in all, web"));
        assert_eq!(summary(&json!({ "kind": "mask", "pattern": "a+" })), "a+");
    }
}
