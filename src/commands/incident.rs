//! `weir incident`: says that what happened on a machine, or within a time, says nothing about the code.
//!
//! Contract: a thin client of `/v1/incidents`. Marking prints the incident's id, with which it can be taken back; doing it twice
//! is doing it once. Every number that the results touched goes back, also afterwards, and comes again with `--remove`.

use super::control::{ServerArgs, path, table, time};
use super::{Failure, say};
use crate::config::units::Period;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};
use weir_schemas::timestamp::Timestamp;

/// Arguments of `weir incident`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  weir incident --project web --worker w7 --from 2h --note 'its disk was full'   # from two hours ago on
  weir incident --project web --from 2026-11-22T10:00:00Z --until 2026-11-22T10:30:00Z --note 'the registry was down'
  weir incident --project web --list
  weir incident --project web --remove ID

Exit codes:
  0  done
  1  the server cannot be reached, or refuses
  2  the command line is wrong")]
pub struct Args {
    /// The project
    #[arg(long, value_name = "NAME", env = "WEIR_PROJECT", required_unless_present = "list")]
    project: Option<String>,
    /// The machine; without one all of them, within the time
    #[arg(long, value_name = "NAME", required_unless_present_any = ["from", "until", "remove", "list"])]
    worker: Option<String>,
    /// From when on: RFC 3339, or so long ago, such as 90m
    #[arg(long, value_name = "TIME", value_parser = at)]
    from: Option<u64>,
    /// Until when, in the same forms; without one until it is taken back
    #[arg(long, value_name = "TIME", value_parser = at)]
    until: Option<u64>,
    /// What happened, for people
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    note: String,
    /// A name by which it can be changed and taken back [default: made of what is said]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Take an incident back
    #[arg(long, value_name = "ID", conflicts_with_all = ["worker", "from", "until", "note", "id", "list"])]
    remove: Option<String>,
    /// List the incidents that hold
    #[arg(long, conflicts_with_all = ["worker", "from", "until", "note", "id"])]
    list: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// A time that is written out, or so long ago.
fn at(text: &str) -> Result<u64, String> {
    if let Ok(ago) = text.parse::<Period>() {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        return Ok(u64::try_from(since.as_millis()).unwrap_or(u64::MAX).saturating_sub(ago.ms()));
    }
    Timestamp::parse(text)
        .map(|at| at.0)
        .map_err(|_| "expected a time such as 2026-11-22T10:00:00Z, or how long ago, such as 90m".to_owned())
}

/// Marks, takes back or lists.
///
/// # Errors
/// The server cannot be reached, or refuses.
pub fn run(args: Args) -> Result<(), Failure> {
    let Args { project, worker, from, until, note, id, remove, list, server } = args;
    if list {
        let listed =
            server.ask(Method::GET, &path("incidents", None, &[("project", project.as_deref())]), "".into())?;
        show(listed["incidents"].as_array().map_or(&[], Vec::as_slice));
        return Ok(());
    }
    if let Some(id) = remove {
        let query = [("project", project.as_deref()), ("wait", Some("applied"))];
        return server.change(
            Method::DELETE,
            &path("incidents", Some(&id), &query),
            "".into(),
            "no longer an incident,",
        );
    }
    let body =
        json!({ "project": project, "worker": worker.unwrap_or_default(), "from": from, "to": until, "note": note });
    let path = path("incidents", id.as_deref(), &[("wait", Some("applied"))]);
    server.change(Method::PUT, &path, body.to_string().into(), "what it covers no longer counts,")
}

fn show(incidents: &[Value]) {
    if incidents.is_empty() {
        say::note("no incidents hold");
        return;
    }
    let mut rows = vec![["PROJECT", "ID", "WORKER", "FROM", "UNTIL", "NOTE"].map(str::to_owned).to_vec()];
    rows.extend(incidents.iter().map(|incident| {
        let text = |name: &str| incident[name].as_str().unwrap_or_default().to_owned();
        let at = |name: &str| incident[name].as_u64().map_or_else(|| "-".to_owned(), time);
        let worker = Some(text("worker")).filter(|worker| !worker.is_empty()).unwrap_or_else(|| "(all)".to_owned());
        vec![text("project"), text("id"), worker, at("from"), at("to"), text("note")]
    }));
    table(&rows);
}
