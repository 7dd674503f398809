//! `weir send` against servers that behave well and badly: it says what it knows of the run, ends in time, loses nothing
//! that may still be taken, and never fails a build unasked.

mod send_peer;

use send_peer::{Call, Does, Peer, Request, TAKEN, send, spooled};
use std::path::Path;
use std::process::Command;
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
fn what_no_server_takes_is_said_and_not_kept() {
    for (status, said) in [(413, "at most 16 MiB"), (400, "no XML"), (415, "the encoding"), (422, "nothing in it")] {
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

        peer.always(Does::Answers(503, "", ""));
        send(folder.path(), &[], &arguments, "");
        peer.always(TAKEN);
        peer.next(&[Does::Answers(status, "", body)]);
        let flushed = send(folder.path(), &[], &["--to", &peer.url, "--flush"], "");
        assert!(flushed.err.contains(said), "{flushed:?}");
        assert_eq!(spooled(folder.path()), 0, "nor does it go on waiting: {flushed:?}");
    }
}

#[test]
fn what_is_refused_for_the_token_or_the_address_waits_for_the_right_ones() {
    let ours = r#"{"code":"unauthorized","error":"a token is needed"}"#;
    for does in [
        Does::Answers(401, "", ours),
        Does::Answers(403, "", ours),
        Does::Answers(404, "", ""),
        Does::Answers(405, "", ""),
        Does::Answers(407, "", ""),
        Does::Answers(400, "", "<html>plain HTTP was sent to an HTTPS port"),
        Does::Answers(302, "location: https://elsewhere.example/\r\n", ""),
        Does::Answers(308, "location: https://elsewhere.example/\r\n", ""),
    ] {
        let (folder, peer) = (folder(), Peer::new(does.clone()));
        let arguments = ["--to", &peer.url, "--run", "r1", "a.xml", "b.xml"];
        let call = send(folder.path(), &[], &arguments, "");
        assert_eq!(call.code, Some(0), "{does:?}: {call:?}");
        assert_eq!((spooled(folder.path()), peer.requests().len()), (2, 1), "{does:?}: {call:?}");
        let Does::Answers(status, headers, _) = does else { unreachable!("all answer") };
        let said =
            if headers.is_empty() { status.to_string() } else { "moved to https://elsewhere.example/".to_owned() };
        assert!(call.err.contains(&said), "{call:?}");
        let flushed = send(folder.path(), &[], &["--to", &peer.url, "--flush", "--strict"], "");
        assert_eq!(flushed.code, Some(1), "{does:?}: {flushed:?}");
        assert_eq!((spooled(folder.path()), peer.requests().len()), (2, 1), "{does:?}: {flushed:?}");
        peer.always(TAKEN);
        let flushed = send(folder.path(), &[], &["--to", &peer.url, "--flush", "--strict"], "");
        assert_eq!((flushed.code, spooled(folder.path())), (Some(0), 0), "{does:?}: {flushed:?}");
    }
}

#[test]
fn what_cannot_be_sent_for_a_bad_address_or_token_is_kept() {
    let (folder, peer) = (folder(), Peer::new(TAKEN));
    let token = [("WEIR_TOKEN", "two\nlines")];
    for (variables, to, said) in [
        (&[] as &[(&str, &str)], "weir.example.org", "is no address of a Weir server"),
        (&token, &peer.url, "the token has characters"),
    ] {
        let arguments = ["--to", to, "--run", "r1", "a.xml"];
        let call = send(folder.path(), variables, &arguments, "");
        assert_eq!((call.code, spooled(folder.path())), (Some(0), 1), "{call:?}");
        assert!(call.err.contains(said) && call.err.contains("kept in "), "{call:?}");
        let strict = send(folder.path(), variables, &[&arguments[..], &["--strict"]].concat(), "");
        assert_eq!((strict.code, spooled(folder.path())), (Some(2), 2), "{strict:?}");
        let next = send(folder.path(), &[], &["--to", &peer.url, "--run", "r2", "b.xml"], "");
        let left = if to == peer.url { 0 } else { 2 };
        assert_eq!(spooled(folder.path()), left, "what was meant for no server goes to none unasked: {next:?}");
        peer.requests();
        let flushed = send(folder.path(), &[("WEIR_TOKEN", "good\n")], &["--to", &peer.url, "--flush"], "");
        assert_eq!((flushed.code, spooled(folder.path())), (Some(0), 0), "{flushed:?}");
        let requests = peer.requests();
        assert_eq!(requests.len(), left, "{flushed:?}");
        let trimmed = |request: &Request| request.headers.lines().any(|line| line == "authorization: bearer good");
        assert!(requests.iter().all(trimmed), "{requests:?}");
    }
}

#[test]
fn a_file_that_cannot_be_read_in_time_costs_no_other() {
    let (folder, peer) = (folder(), Peer::new(TAKEN));
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    let pipe = folder.path().join("pipe.xml");
    // Nobody ever writes to it.
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).expect("makes a pipe");
    let files = ["a.xml", "pipe.xml", "b.xml", "c.xml"];
    let call =
        send(folder.path(), &[], &[&["--to", &peer.url, "--run", "r", "--timeout", "5s"], &files[..]].concat(), "");
    assert_eq!(call.code, Some(0), "{call:?}");
    assert!(call.took < Duration::from_secs(5) + SLACK, "{call:?}");
    assert!(call.err.contains("pipe.xml: could not be read in time"), "{call:?}");
    let requests = peer.requests();
    assert!(requests.len() == 1 && requests[0].body.contains("a.xml"), "sent while there was time: {call:?}");
    assert_eq!(spooled(folder.path()), 2, "and the others are kept: {call:?}");
}

#[test]
fn a_parcel_that_is_put_off_holds_up_none_behind_it() {
    let (folder, peer) = (folder(), Peer::new(Does::Answers(503, "retry-after: 60\r\n", "")));
    send(folder.path(), &[], &["--to", &peer.url, "--run", "r1", "a.xml", "b.xml", "c.xml"], "");
    assert_eq!(spooled(folder.path()), 3);
    peer.requests();
    peer.next(&[Does::Answers(429, "retry-after: 60\r\n", "")]);
    peer.next(&[TAKEN, TAKEN]);
    let call = send(folder.path(), &[], &["--to", &peer.url, "--flush"], "");
    assert_eq!((peer.requests().len(), spooled(folder.path())), (4, 1), "{call:?}");
    assert!(call.err.contains("2 from the spool") && call.err.contains("1 still wait"), "{call:?}");
    assert!(call.took < SLACK * 2, "waited for nothing: {call:?}");
}

#[test]
fn nobody_has_to_read_what_it_says() {
    let (folder, peer) = (folder(), Peer::new(TAKEN));
    let closed = || std::io::pipe().expect("a pipe").1;
    let status = Command::new(env!("CARGO_BIN_EXE_weir"))
        .current_dir(folder.path())
        .args(["send", "--to", &peer.url, "--run", "r1", "a.xml", "nothing-here"])
        .env("WEIR_SPOOL", folder.path().join("spool"))
        .stdout(closed())
        .stderr(closed())
        .status()
        .expect("runs");
    assert_eq!((status.code(), peer.requests().len()), (Some(0), 1));
}

#[test]
fn a_server_on_this_machine_is_asked_without_a_proxy() {
    let (folder, peer, proxy) = (folder(), Peer::new(TAKEN), Peer::new(TAKEN));
    let variables = [("http_proxy", &*proxy.url), ("HTTP_PROXY", &*proxy.url), ("ALL_PROXY", &*proxy.url)];
    let call = send(folder.path(), &variables, &["--to", &peer.url, "--run", "r1", "a.xml"], "");
    assert_eq!((peer.requests().len(), proxy.requests().len()), (1, 0), "{call:?}");
    let call = send(folder.path(), &variables, &["--to", "http://weir.invalid", "--run", "r1", "a.xml"], "");
    assert_eq!((peer.requests().len(), proxy.requests().len()), (0, 1), "others go through it: {call:?}");
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

/// What is sent of a coverage report, and what is said of it.
#[test]
fn coverage_goes_with_its_flag_and_the_root_of_its_paths() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().canonicalize().expect("is there");
    std::fs::create_dir_all(root.join("app/.git")).expect("makes");
    for (name, report) in [
        ("app/coverage.info", "SF:a.c\nDA:1,1\nend_of_record\n"),
        ("app/odd.info", "by a tool that nobody knows"),
        ("app/coverage.xml", "<?xml version='1.0'?><coverage/>"),
        ("app/junit.xml", REPORT),
    ] {
        std::fs::write(root.join(name), report).expect("writes");
    }
    let peer = Peer::new(Does::Answers(
        202,
        "",
        r#"{"format":"lcov","events":1,"coverage":{"files":12,"linesCovered":840,"linesTotal":1002}}"#,
    ));
    let sent = ["--to", &peer.url, "--run", "r1", "--flag", "unit"];
    let files = ["coverage.info", "odd.info", "coverage.xml", "junit.xml"];
    let call = send(&root.join("app"), &[], &[&sent[..], &files].concat(), "");
    assert_eq!(call.code, Some(0), "{call:?}");
    assert!(call.err.contains("coverage.info: lcov, 12 files, 840 of 1,002 lines covered (83.8 %)\n"), "{call:?}");
    let requests = peer.requests();
    let encoded: String = url_encoded(root.join("app").to_str().expect("is text"));
    let line = |query: &str| format!("POST /v1/reports?{query} HTTP/1.1");
    let of_coverage = |format: &str| line(&format!("format={format}&run=r1&flag=unit&root={encoded}"));
    let expected = [of_coverage("auto"), of_coverage("lcov"), of_coverage("auto"), line("format=auto&run=r1")];
    assert_eq!(lines(&requests), expected);
    let explicit = [&sent[..], &["--format", "cobertura", "--root", "/ci/shop", "coverage.xml"]].concat();
    assert_eq!(send(&root.join("app"), &[], &explicit, "").code, Some(0));
    let requests = peer.requests();
    let last = requests.last().expect("came").line.clone();
    assert_eq!(last, line("format=cobertura&run=r1&flag=unit&root=%2Fci%2Fshop"));
}

fn url_encoded(path: &str) -> String {
    let mut url = reqwest::Url::parse("http://x/").expect("a URL");
    url.query_pairs_mut().append_pair("p", path);
    url.query().and_then(|query| query.strip_prefix("p=")).expect("has it").to_owned()
}

#[test]
fn odd_calls_are_explained_and_fail_only_strict_builds() {
    let folder = folder();
    std::fs::write(folder.path().join("notes.txt"), "hello").expect("writes");
    for (arguments, said) in [
        (&["nothing-here*.xml"] as &[&str], "no file of this pattern"),
        (&["notes.txt"], "neither a report (JUnit XML, LCOV, Cobertura XML) nor TestEvent JSON"),
        (&[], "nothing to send"),
        (&["--final"], "give --run"),
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
