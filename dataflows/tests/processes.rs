//! Two timely processes say what one says: the same frames and the same digests, though all that crosses from one to the other
//! does so as bytes.
//!
//! Contract: a test starts its own binary twice, as the two members of a cluster on loopback. Both make the same histories from
//! their seeds; process 0 compares its frames with those of as many workers in one process. A member whose peer is lost ends by
//! itself; a member whose test is gone does too.

mod common;

use common::history::{config, history};
use common::{Feeding, Folded, feed, run};
use std::env;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use timely::CommunicationConfig;
use timely::worker::Worker;
use weir_dataflows::output::Released;
use weir_schemas::view::VIEWS;

/// Workers of each member.
const THREADS: usize = 2;

/// What process 0 prints when all histories were the same.
const SAME: &str = "all histories are the same: ";

/// Lines of a member that are held until they are asked for; it prints a handful.
const LINES: usize = 1_024;

/// How long anything may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(900);

#[test]
fn two_processes_say_what_one_says() {
    let name = "two_processes_say_what_one_says";
    if member() {
        return;
    }
    let histories = if env::var_os("WEIR_LONG").is_some() { 1_000 } else { 20 };
    let mut pair = Pair::start(name, histories);
    pair.expect_same(histories);
    pair.expect_end_of(0, 1);
}

#[test]
fn a_member_whose_peer_is_killed_ends_by_itself_whichever_it_is() {
    let name = "a_member_whose_peer_is_killed_ends_by_itself_whichever_it_is";
    if member() {
        return;
    }
    let mut pair = Pair::start(name, 1);
    pair.expect_same(1);
    pair.expect_end_of(1, 0);
}

/// Two members, of which none outlives this.
struct Pair {
    members: [Child; 2],
    /// What each prints, until it ends.
    lines: [Receiver<String>; 2],
}

impl Drop for Pair {
    fn drop(&mut self) {
        for member in &mut self.members {
            // One that has ended cannot be killed.
            let _ended = member.kill();
            let _waited = member.wait();
        }
    }
}

impl Pair {
    /// Starts the members of the test `name`, each in this test's binary.
    fn start(name: &str, histories: u64) -> Pair {
        let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let addresses = free.map(|listener| listener.local_addr().expect("bound").to_string()).join(",");
        let mut members = [0, 1].map(|process| {
            Command::new(env::current_exe().expect("this test"))
                .args([name, "--exact", "--nocapture"])
                .env("WEIR_PROCESS", process.to_string())
                .env("WEIR_ADDRESSES", &addresses)
                .env("WEIR_HISTORIES", histories.to_string())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("starts")
        });
        let lines = members.each_mut().map(|member| {
            let ((send, lines), said) =
                (mpsc::sync_channel(LINES), BufReader::new(member.stdout.take().expect("piped")));
            std::thread::spawn(move || said.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
            lines
        });
        Pair { members, lines }
    }

    /// Waits until process 0 says that all histories were the same.
    fn expect_same(&self, histories: u64) {
        let line = self.line(0, |line| line.starts_with(SAME));
        assert_eq!(line, Some(format!("{SAME}{histories}")), "process 0 goes on until all histories are the same");
    }

    /// Kills one member and waits until the other has ended by itself.
    fn expect_end_of(&mut self, member: usize, killed: usize) {
        self.members[killed].kill().expect("it is there");
        assert_eq!(self.line(member, |_| false), None);
        let status = self.members[member].wait().expect("it was started");
        assert_eq!(status.code(), Some(101), "it ends as one that lost its peer");
    }

    /// The first line of a member that is `wanted`; none when it has ended.
    fn line(&self, member: usize, wanted: impl Fn(&str) -> bool) -> Option<String> {
        loop {
            match self.lines[member].recv_timeout(PATIENCE) {
                Ok(line) if wanted(&line) => return Some(line),
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => panic!("process {member} neither goes on nor ends"),
            }
        }
    }
}

/// Runs one of the two processes if this is one; says whether it was.
fn member() -> bool {
    let Ok(process) = env::var("WEIR_PROCESS") else { return false };
    let [addresses, histories] =
        ["WEIR_ADDRESSES", "WEIR_HISTORIES"].map(|name| env::var(name).expect("set with the process"));
    let (process, histories) = (process.parse().expect("a number"), histories.parse().expect("a number"));
    // The test holds the other end: whatever becomes of it, nobody is left.
    std::thread::spawn(|| {
        let _closed = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(1);
    });
    // A worker's panic ends the process, and so does a lost peer.
    let said = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        said(panic);
        std::process::exit(101);
    }));
    let addresses = addresses.split(',').map(str::to_owned).collect();
    let communication =
        CommunicationConfig::Cluster { threads: THREADS, process, addresses, report: false, zerocopy: false };
    let config = timely::Config { communication, worker: timely::WorkerConfig::default() };
    let guards = timely::execute(config, move |worker| {
        (0..histories).for_each(|seed| compare(worker, seed));
        if worker.index() == 0 {
            println!("{SAME}{histories}");
        }
        loop {
            worker.step_or_park(Some(Duration::from_millis(1)));
        }
    })
    .expect("the cluster connects");
    drop(guards);
    true
}

/// One history through all workers of the cluster; worker 0 compares.
fn compare(worker: &mut Worker, seed: u64) {
    let ticks = history(seed, 20 + usize::try_from(seed % 60).expect("small"));
    let feeding =
        Feeding { workers: worker.peers(), ticks_a_step: 1 + usize::try_from(seed % 7).expect("small"), seed };
    let released: Arc<Mutex<Vec<Released>>> = Arc::default();
    let out = Arc::clone(&released);
    feed(worker, &config(), &ticks, feeding, Box::new(move |frame| out.lock().expect("unpoisoned").push(frame)));
    while worker.step_or_park(Some(Duration::from_millis(1))) {}
    if worker.index() > 0 {
        return;
    }
    let expected = run(&config(), &ticks, feeding);
    let released = released.lock().expect("unpoisoned");
    let mut folded = Folded::new();
    for (found, expected) in released.iter().zip(&expected) {
        folded.apply(found);
        for (view, (found, expected)) in VIEWS.iter().zip(found.frame.views.iter().zip(&expected.frame.views)) {
            assert!(found == expected, "{} at {} of history {seed}: two processes differ", view.name, folded.time);
        }
        assert!(found == expected, "refusals at {} of history {seed}: two processes differ", folded.time);
    }
    assert_eq!(released.len(), expected.len(), "frames of history {seed}");
    assert!(!released.is_empty(), "history {seed} says something");
}
