//! `weir send` against servers that behave well and badly: it says what it knows of the run, ends in time, loses nothing
//! that may still be taken, and never fails a build unasked.

mod send_peer;

use send_peer::{Call, Does, Peer, Request, TAKEN, send, spooled};
use std::path::Path;
use std::time::Duration;

const REPORT: &str = r#"<testsuite name="s"><testcase name="t"/></testsuite>"#;
/// A loaded machine may take so much longer than the timeout to start and end a process.
const SLACK: Duration = Duration::from_secs(2);

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["a.xml", "b.xml", "c.xml"] {
        std::fs::write(folder.path().join(name), REPORT.replace("\"t\"", &format!("{name:?}"))).expect("writes");
    }
    folder
}

fn lines(requests: &[Request]) -> Vec<&str> {
    requests.iter().map(|request| request.line.as_str()).collect()
}

/// Sends one report to a server, with a short timeout.
fn send_a(folder: &Path, to: &str, more: &[&str]) -> Call {
    send(folder, &[], &[&["--to", to, "--run", "r1", "--timeout", "2s", "a.xml"], more].concat(), "")
}

#[test]
fn a_job_says_what_its_ci_system_knows() {
    let (folder, peer) = (folder(), Peer::new(TAKEN));
    let variables = [
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_REPOSITORY", "acme/web"),
        ("GITHUB_RUN_ID", "77"),
        ("GITHUB_RUN_ATTEMPT", "2"),
        ("GITHUB_REF_NAME", "main"),
        ("GITHUB_SHA", "c0ffee"),
        ("GITHUB_ACTOR", "ann"),
        ("WEIR_TOKEN", "secret"),
        ("WEIR_URL", &peer.url),
    ];
    let call = send(folder.path(), &variables, &["*.xml", "--branch", "topic"], "");
    assert_eq!(call.code, Some(0), "{call:?}");
    let requests = peer.requests();
    assert_eq!(requests.len(), 3, "{call:?}");
    let query = "format=auto&project=acme%2Fweb&run=77&branch=topic&commit=c0ffee&attempt=2&user=ann";
    assert!(lines(&requests).iter().all(|line| *line == format!("POST /v1/reports?{query} HTTP/1.1")), "{requests:?}");
    assert!(requests[0].headers.contains("authorization: bearer secret"), "{requests:?}");
    assert!(requests[0].body.contains("a.xml") && requests[2].body.contains("c.xml"), "in the order of their names");
    assert_eq!(call.out, format!("{}/#/runs/acme%2Fweb/77\n", peer.url));
    assert!(call.err.contains("delivered 3: 9 events accepted"), "{call:?}");
    assert!(!call.err.contains("secret"), "{call:?}");
    assert_eq!(spooled(folder.path()), 0);
}

#[test]
fn whatever_the_server_does_the_build_goes_on_and_the_results_wait() {
    let unreachable = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let nobody = format!("http://{}", unreachable.local_addr().expect("an address"));
    drop(unreachable);
    let folder_of_nobody = folder();
    let call = send_a(folder_of_nobody.path(), &nobody, &[]);
    assert!(call.code == Some(0) && call.took < SLACK * 2, "{call:?}");
    assert_eq!(spooled(folder_of_nobody.path()), 1, "{call:?}");
    for does in [
        Does::Silent,
        Does::Trickles,
        Does::HangsUp,
        Does::Mumbles,
        Does::Answers(503, "", r#"{"code":"full","error":"the disk is full"}"#),
        Does::Answers(429, "retry-after: 1\r\n", ""),
        Does::Answers(500, "", ""),
    ] {
        let (folder, peer) = (folder(), Peer::new(does.clone()));
        let call = send_a(folder.path(), &peer.url, &[]);
        assert_eq!(call.code, Some(0), "{does:?}: {call:?}");
        assert!(call.took < Duration::from_secs(2) + SLACK, "{does:?}: {call:?}");
        assert_eq!(spooled(folder.path()), 1, "{does:?}: {call:?}");
        let first = peer.requests().remove(0);
        let strict = send_a(folder.path(), &peer.url, &["--strict"]);
        assert_eq!(strict.code, Some(1), "{does:?}: {strict:?}");
        assert_eq!(spooled(folder.path()), 2, "{does:?}: {strict:?}");

        peer.requests();
        peer.always(TAKEN);
        let flushed = send(folder.path(), &[], &["--to", &peer.url, "--flush", "--strict"], "");
        assert_eq!(flushed.code, Some(0), "{does:?}: {flushed:?}");
        let late = peer.requests();
        assert_eq!(lines(&late), [&*first.line, &*first.line], "{does:?}: {flushed:?}");
        assert_eq!(late[0].body, first.body, "{does:?}");
        assert_eq!(spooled(folder.path()), 0, "{does:?}: {flushed:?}");
    }
}

#[test]
fn what_is_refused_for_good_is_said_and_not_kept() {
    for (status, said) in [(401, "a token is needed"), (413, "at most 16 MiB"), (400, "no XML"), (404, "")] {
        let (folder, peer) = (folder(), Peer::new(TAKEN));
        let body: &'static str = format!(r#"{{"code":"x","error":"{said}"}}"#).leak();
        peer.next(&[Does::Answers(status, "", body)]);
        let arguments = ["--to", &peer.url, "--run", "r1", "a.xml", "b.xml"];
        let call = send(folder.path(), &[], &arguments, "");
        assert_eq!(call.code, Some(0), "{call:?}");
        assert!(call.err.contains(&status.to_string()) && call.err.contains(said), "{call:?}");
        assert_eq!((spooled(folder.path()), peer.requests().len()), (0, 2), "the other file is still sent: {call:?}");
        peer.next(&[Does::Answers(status, "", body)]);
        assert_eq!(send(folder.path(), &[], &[&arguments[..], &["--strict"]].concat(), "").code, Some(1));
    }
    let (folder, peer) = (folder(), Peer::new(Does::Answers(308, "location: https://elsewhere.example/\r\n", "")));
    let call = send_a(folder.path(), &peer.url, &[]);
    assert!(call.err.contains("moved to https://elsewhere.example/"), "{call:?}");
    assert_eq!((spooled(folder.path()), peer.requests().len()), (0, 1), "redirects are not followed: {call:?}");
}

#[test]
fn retry_after_is_heeded_within_the_timeout_only() {
    let (folder, peer) = (folder(), Peer::new(TAKEN));
    let busy = Does::Answers(429, "retry-after: 1\r\n", "");
    peer.next(&[busy.clone(), busy]);
    let call = send(folder.path(), &[], &["--to", &peer.url, "--run", "r", "a.xml", "--timeout", "20s"], "");
    assert_eq!((call.code, peer.requests().len(), spooled(folder.path())), (Some(0), 3, 0), "{call:?}");
    assert!(call.took >= Duration::from_secs(2), "came back too early: {call:?}");
    peer.always(Does::Answers(503, "retry-after: 60\r\n", ""));
    let call = send(folder.path(), &[], &["--to", &peer.url, "--run", "r", "a.xml", "--timeout", "20s"], "");
    assert_eq!((call.code, peer.requests().len(), spooled(folder.path())), (Some(0), 1, 1), "{call:?}");
    assert!(call.took < SLACK * 2, "waited for nothing: {call:?}");
}

#[test]
fn the_next_send_delivers_what_waits_after_its_own_and_to_nobody_else() {
    let (folder, peer) = (folder(), Peer::new(Does::Answers(503, "", "")));
    let arguments = ["--to", &peer.url, "--run", "r1", "a.xml", "b.xml"];
    let call = send(folder.path(), &[], &arguments, "");
    assert_eq!(spooled(folder.path()), 2, "from the first that has to wait, all do: {call:?}");
    let other = Peer::new(TAKEN);
    let call = send(folder.path(), &[], &["--to", &other.url, "--run", "r1", "c.xml"], "");
    assert_eq!((other.requests().len(), spooled(folder.path())), (1, 2), "{call:?}");
    assert!(call.err.contains("2 in the spool wait for another server"), "{call:?}");
    peer.always(TAKEN);
    peer.requests();
    let call = send(folder.path(), &[], &["--to", &peer.url, "--run", "r2", "c.xml"], "");
    let requests = peer.requests();
    let bodies: Vec<bool> =
        ["c.xml", "a.xml", "b.xml"].iter().zip(&requests).map(|(f, r)| r.body.contains(f)).collect();
    assert_eq!(bodies, [true, true, true], "{requests:?}");
    assert_eq!(spooled(folder.path()), 0, "{call:?}");
    assert!(call.err.contains("2 from the spool"), "{call:?}");
}

#[test]
fn events_come_from_standard_input_between_the_announcements() {
    let (folder, peer) = (folder(), Peer::new(TAKEN));
    let events = "{\"eventId\":\"e1\"}\n{\"eventId\":\"e2\"}\n";
    let shard = ["--to", &peer.url, "--project", "web", "--run", "r1", "--shards", "2", "-"];
    let call = send(folder.path(), &[], &shard, events);
    assert_eq!(call.code, Some(0), "{call:?}");
    let last = send(folder.path(), &[], &[&shard[..8], &["--final", "a.xml"]].concat(), "");
    assert_eq!(last.code, Some(0), "{last:?}");
    let requests = peer.requests();
    let has = |index: usize, text: &str| assert!(requests[index].body.contains(text), "{index} {text}: {requests:?}");
    assert_eq!(requests.len(), 5);
    has(0, r#""eventType":"run_started""#);
    has(0, r#""plannedShards":2"#);
    has(1, r#""eventId":"e2""#);
    has(1, r#""correlationId":"r1""#);
    has(4, r#""eventType":"run_completed""#);
    let id = |request: &Request| request.body.split("\"eventId\":\"").nth(1).map(|rest| rest[..32].to_owned());
    assert_eq!(id(&requests[0]), id(&requests[2]), "every shard announces the same");
}

#[test]
fn odd_calls_are_explained_and_fail_only_strict_builds() {
    let folder = folder();
    std::fs::write(folder.path().join("notes.txt"), "hello").expect("writes");
    for (arguments, said) in [
        (&["nothing-here*.xml"] as &[&str], "no file of this pattern"),
        (&["notes.txt"], "neither JUnit XML nor TestEvent JSON"),
        (&[], "nothing to send"),
        (&["--final"], "give --run"),
        (&["a.xml", "--to", "weir.example.org"], "is no address of a Weir server"),
    ] {
        let call = send(folder.path(), &[], arguments, "");
        assert_eq!(call.code, Some(0), "{call:?}");
        assert!(call.err.contains(said), "{said}: {call:?}");
        let strict = send(folder.path(), &[], &[arguments, &["--strict"]].concat(), "");
        assert_eq!(strict.code, Some(1), "{strict:?}");
    }
    assert_eq!(spooled(folder.path()), 0);
    assert_eq!(send(folder.path(), &[], &["--timeout", "10"], "").code, Some(2), "a time without its unit");
    let help = send(folder.path(), &[], &["--help"], "").out;
    for text in ["GITHUB_RUN_ID", "BUILDKITE_PARALLEL_JOB+1", "Exit codes:", "256 MiB", "--flush"] {
        assert!(help.contains(text), "{text}: {help}");
    }
}
