//! `weir demo` as a person meets it: it says where it is, the fleet's events arrive, and it ends in order.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

struct Demo {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
}

/// Starts the demo with `folder` for its temporary files.
fn start(folder: &Path, arguments: &[&str]) -> Demo {
    let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
        .env("TMPDIR", folder)
        .arg("demo")
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let out = BufReader::new(child.stdout.take().expect("stdout"));
    Demo { child, out }
}

impl Demo {
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("reads");
        line.trim_end().to_owned()
    }

    /// Ends it by this signal; what it still said.
    fn end(mut self, signal: rustix::process::Signal) -> String {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("is alive");
        self.rest()
    }

    fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).expect("reads");
        let mut warned = String::new();
        self.child.stderr.take().expect("stderr").read_to_string(&mut warned).expect("reads");
        let status = self.child.wait().expect("ends");
        assert_eq!((status.code(), warned.as_str()), (Some(0), ""), "nothing to warn a newcomer of: {rest}");
        rest
    }
}

/// The numbers of the closing line: sent, accepted, rejected, not delivered.
fn numbers(said: &str) -> [u64; 4] {
    let line = said.lines().find(|line| line.starts_with("Sent ")).unwrap_or_else(|| panic!("no summary: {said}"));
    let words: Vec<&str> = line.split(' ').collect();
    [1, 6, 8, 10].map(|at| words[at].parse().unwrap_or_else(|_| panic!("{line}")))
}

fn entries(folder: &Path) -> usize {
    std::fs::read_dir(folder).expect("reads").count()
}

#[test]
fn the_fleet_reports_and_the_demo_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut demo = start(folder.path(), &["--listen", "127.0.0.1:0", "--seed", "7", "--for", "4s"]);
    assert!(demo.line().starts_with("Weir is at http://127.0.0.1:"));
    assert!(demo.line().contains("--seed 7"));
    let said = demo.rest();
    let [sent, accepted, rejected, lost] = numbers(&said);
    assert!(sent > 100, "{said}");
    assert_eq!((accepted, rejected), (sent - lost, 0), "{said}");
    assert!(lost <= 500, "only what was on its way at the end: {said}");
    assert_eq!(entries(folder.path()), 0, "the data folder is gone");
}

#[test]
fn a_taken_port_is_said_and_another_is_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let mut demo = start(folder.path(), &["--listen", &address, "--keep"]);
        assert_eq!(demo.line(), format!("{address} is taken, using another port."));
        let at = demo.line();
        assert!(at.starts_with("Weir is at http://127.0.0.1:") && !at.ends_with(&address), "{at}");
        let said = demo.end(signal);
        numbers(&said);
        assert!(said.contains("The data is kept in"), "{said}");
    }
    assert_eq!(entries(folder.path()), 2, "both folders are kept");
}
