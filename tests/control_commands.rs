//! `weir incident` and `weir rule` against a whole server: what they say and print.

#[path = "common/http.rs"]
mod http_common;
#[path = "common/whole.rs"]
mod whole;

use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use whole::Whole;

/// Runs `weir` against the server; `input` is its standard input.
fn weir(whole: &Whole, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(arguments)
        .env("WEIR_URL", whole.url(""))
        .env_remove("WEIR_PROJECT")
        .env_remove("WEIR_TOKEN")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    child.stdin.take().expect("is piped").write_all(input.as_bytes()).expect("is taken");
    child.wait_with_output().expect("ends")
}

/// What is printed; the command is to succeed and to say `note` to people.
fn printed(whole: &Whole, arguments: &[&str], input: &str, note: &str) -> String {
    let output = weir(whole, arguments, input);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains(note), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).expect("is text").trim_end().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_is_marked_listed_and_taken_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = Whole::start(folder.path(), |_| ()).await;
    let mark = [
        "incident",
        "--project",
        "web",
        "--worker",
        "w7",
        "--from",
        "2026-11-22T10:00:00Z",
        "--note",
        "its disk was full",
    ];
    let id = printed(&whole, &mark, "", "what it covers no longer counts, as of 20");
    assert_eq!(printed(&whole, &mark, "", "as of 20"), id, "said twice is said once");
    let listed = printed(&whole, &["incident", "--project", "web", "--list"], "", "");
    let lines: Vec<Vec<&str>> =
        listed.lines().map(|line| line.split("  ").filter(|cell| !cell.is_empty()).collect()).collect();
    assert_eq!(
        lines[0].iter().map(|cell| cell.trim()).collect::<Vec<_>>(),
        ["PROJECT", "ID", "WORKER", "FROM", "UNTIL", "NOTE"]
    );
    let line: Vec<&str> = lines[1].iter().map(|cell| cell.trim()).collect();
    assert_eq!(line, ["web", &id, "w7", "2026-11-22 10:00:00 UTC", "-", "its disk was full"]);
    assert_eq!(lines.len(), 2);
    printed(&whole, &["incident", "--project", "web", "--remove", &id], "", "no longer an incident, as of 20");
    assert_eq!(printed(&whole, &["incident", "--list"], "", "no incidents hold"), "");
    whole.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_is_put_listed_and_removed_and_a_bad_one_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = Whole::start(folder.path(), |_| ()).await;
    let mask = r#"{"kind":"mask","project":"web","pattern":"order [0-9]+"}"#;
    let dry = printed(&whole, &["rule", "put", "an order", "-", "--dry-run"], mask, "nothing would change, as of 20");
    assert_eq!(dry, "");
    assert_eq!(printed(&whole, &["rule", "put", "an order", "-"], mask, "the rule holds as of 20"), "an order");
    let listed = printed(&whole, &["rule", "list", "--project", "web"], "", "");
    let line = listed.lines().nth(1).expect("a rule");
    assert!(line.starts_with("web") && line.contains("an order") && line.ends_with("order [0-9]+"), "{listed}");
    for (input, said) in [
        (r#"{"kind":"mask","pattern":"("}"#, "422 Unprocessable Entity: pattern: unclosed group"),
        ("{", "400 Bad Request: the body cannot be read: EOF while parsing an object"),
    ] {
        let output = weir(&whole, &["rule", "put", "x", "-"], input);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), told.contains(said), told.lines().count()), (Some(1), true, 1), "{told}");
    }
    let output = weir(&whole, &["rule", "put", "x", "no/such/file.json"], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("weir: cannot read no/such/file.json: "));
    let output = weir(&whole, &["incident", "--project", "web", "--worker", "w", "--from", "yesterday"], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("such as 2026-11-22T10:00:00Z, or how long ago, such as 90m")
    );
    printed(
        &whole,
        &["rule", "remove", "an order", "--kind", "mask", "--project", "web"],
        "",
        "the rule holds no longer, as of 20",
    );
    let listed = printed(&whole, &["rule", "list"], "", "nobody has put a rule; those listed are built in");
    assert_eq!(listed.lines().filter(|line| line.contains("builtin:")).count(), 5, "{listed}");
    whole.end().await;
}
