//! Real JUnit files through the whole of Weir: `weir send` of each as a run of its own into a running server. The runs'
//! numbers are those of another parser, but for the differences that are listed with their reasons; all of it sent again
//! changes nothing but the count of duplicates.

#[path = "common/http.rs"]
mod http_common;
#[path = "common/whole.rs"]
mod whole;

use http_common::ask;
use reqwest::Client;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use weir::serve::Server;
use whole::Whole;

const FIELDS: [&str; 5] = ["finished", "passed", "failed", "skipped", "errored"];

/// What a run's row should say, in the order of [`FIELDS`].
type Counts = [i64; 5];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn folder() -> PathBuf {
    std::env::var_os("REALDATA_DIR").map_or_else(|| root().join("../shared/realdata"), PathBuf::from).join("junit")
}

/// Another parser's counts, with the listed differences applied, by file name.
fn expected() -> BTreeMap<String, Counts> {
    let script = root().join("tests/tools/count_junit.py");
    let run = Command::new("python3").arg(script).arg(folder()).output().expect("python3 runs");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let counted: BTreeMap<String, Value> = serde_json::from_slice(&run.stdout).expect("prints JSON");
    let listed = std::fs::read_to_string(root().join("tests/golden/junit/differences.tsv")).expect("is there");
    let ours: BTreeMap<(&str, &str), i64> = listed
        .lines()
        .skip(1)
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            ((fields[0], fields[1]), fields[2].parse().expect("a count"))
        })
        .collect();
    let count = |file: &str, field: &str, value: &Value| {
        let field = if field == "finished" { "tests" } else { field };
        ours.get(&(file, field)).copied().unwrap_or_else(|| value[field].as_i64().expect("a count"))
    };
    let name = |file: &str| file.rsplit('/').next().expect("has a name").to_owned();
    counted.iter().map(|(file, value)| (name(file), FIELDS.map(|field| count(file, field, value)))).collect()
}

/// Sends every file with the real program, in the time that it has unless told otherwise. How many events were taken.
fn send_all(address: &str, spool: &Path, files: &BTreeMap<String, Counts>) -> i64 {
    let mut events = 0;
    for file in files.keys() {
        let sent = Command::new(env!("CARGO_BIN_EXE_weir"))
            .args(["send", "--strict", "--project", "real", "--to", address, "--run", file])
            .arg("--spool")
            .arg(spool)
            .arg(folder().join(file))
            .output()
            .expect("weir send runs");
        let said = String::from_utf8_lossy(&sent.stderr);
        assert!(sent.status.success(), "{file}: {said}");
        let taken = said.lines().find_map(|line| {
            line.strip_prefix("weir: delivered 1: ")?.strip_suffix(" events accepted, 0 not acceptable")
        });
        events += taken.and_then(|taken| taken.parse::<i64>().ok()).unwrap_or_else(|| panic!("{file}: {said}"));
    }
    events
}

/// The rows of a view of the project, as maps from column to value.
async fn rows(client: &Client, server: &Server, view: &str) -> Vec<BTreeMap<String, Value>> {
    let url = format!("http://{}/v1/views/{view}?project=real", server.address);
    let answer = ask(client.get(url)).await.2;
    let columns: Vec<&str> = answer["schema"]["columns"]
        .as_array()
        .expect("columns")
        .iter()
        .filter_map(|column| column[0].as_str())
        .collect();
    let row = |row: &Value| {
        let values = row.as_array().expect("a row").iter().cloned();
        columns.iter().map(|name| (*name).to_owned()).zip(values).collect()
    };
    answer["rows"].as_array().expect("rows").iter().map(row).collect()
}

fn counts(rows: &[BTreeMap<String, Value>]) -> BTreeMap<String, Counts> {
    let run = |row: &BTreeMap<String, Value>| row["run"].as_str().expect("a name").to_owned();
    rows.iter().map(|row| (run(row), FIELDS.map(|field| row[field].as_i64().expect("a count")))).collect()
}

async fn duplicates(client: &Client, server: &Server) -> i64 {
    let rows = rows(client, server, "rejects").await;
    rows.iter().filter(|row| row["kind"] == "duplicate").filter_map(|row| row["count"].as_i64()).sum()
}

/// Waits, tick by tick, until everything that is durable has been released.
async fn settled(server: &Server) {
    let mut status = server.status.subscribe();
    let from = status.borrow_and_update().time;
    let quiet = status.wait_for(|status| status.behind_records == 0 && status.time >= from + 2_000);
    tokio::time::timeout(Duration::from_secs(60), quiet).await.expect("settles").expect("lives");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_real_report_is_a_run_with_the_numbers_of_another_parser_and_a_resend_is_all_duplicates() {
    let data = tempfile::tempdir().expect("a folder");
    let whole = Whole::start(data.path(), |_| ()).await;
    let (client, server) = (&whole.client, &whole.server);
    let (address, spool) = (whole.url(""), data.path().join("spool"));
    let expected = expected();
    assert_eq!(expected.len(), 41, "the sound and odd files");

    let (to, kept, files) = (address.clone(), spool.clone(), expected.clone());
    let taken = tokio::task::spawn_blocking(move || send_all(&to, &kept, &files)).await.expect("sends");
    settled(server).await;
    let before = rows(client, server, "run_progress").await;
    assert_eq!(counts(&before), expected);
    assert_eq!(duplicates(client, server).await, 0);
    let tests = rows(client, server, "test_results").await;

    let (to, kept, files) = (address, spool, expected.clone());
    tokio::task::spawn_blocking(move || send_all(&to, &kept, &files)).await.expect("sends again");
    settled(server).await;
    assert_eq!(counts(&rows(client, server, "run_progress").await), expected, "a resend changes no number");
    assert_eq!(rows(client, server, "test_results").await, tests, "nor any test");
    assert_eq!(duplicates(client, server).await, taken, "every event of the resend is a duplicate, suites' as well");
    whole.end().await;
}
