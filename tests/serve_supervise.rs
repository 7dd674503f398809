//! `weir supervise`: a server that ends by itself is started again, and one that no start would mend is not.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail as the test does")]

#[path = "common/http.rs"]
mod http_common;
#[path = "common/process.rs"]
mod process;

use process::{Running, weir};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::time::Duration;
use tokio::time::{interval, timeout};

const PATIENCE: Duration = Duration::from_secs(60);

/// The one child of a process, once it is another than `before`.
async fn child(of: u32, before: Option<u32>) -> u32 {
    let mut beat = interval(Duration::from_millis(10));
    let another = async {
        loop {
            beat.tick().await;
            let children = std::fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap();
            if let Some(child) = children.split_whitespace().next().map(|pid| pid.parse().unwrap())
                && Some(child) != before
            {
                return child;
            }
        }
    };
    timeout(PATIENCE, another).await.expect("it has a child")
}

async fn answers(address: SocketAddr) {
    let (http, mut beat) = (http_common::client(), interval(Duration::from_millis(10)));
    let answered = async {
        while http.get(format!("http://{address}/healthz")).send().await.is_err() {
            beat.tick().await;
        }
    };
    timeout(PATIENCE, answered).await.expect("the server answers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_is_started_again_and_a_signal_ends_both_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = weir();
    command.args(["supervise", "--listen", &address.to_string(), "--data"]).arg(folder.path().join("data"));
    let mut supervisor = Running::spawn(command);
    let pid = supervisor.child.id();
    let first = child(pid, None).await;
    answers(address).await;
    assert!(Command::new("kill").args(["-9", &first.to_string()]).status().unwrap().success());
    let second = child(pid, Some(first)).await;
    answers(address).await;
    supervisor.signal("-TERM");
    let (code, said) = tokio::task::spawn_blocking(move || supervisor.end()).await.unwrap();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the server has ended and is started again in 1s"), "{said}");
    assert!(!std::fs::exists(format!("/proc/{second}")).unwrap(), "it ended with its server");
}

#[test]
fn what_no_start_would_mend_is_not_started_again() {
    let mut command = weir();
    command.args(["supervise", "--config", "no/such/file.toml"]);
    let (code, said) = Running::spawn(command).end();
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("cannot read the configuration no/such/file.toml") && said.contains("not started again"),
        "{said}"
    );
    assert_eq!(said.matches("cannot read the configuration").count(), 1, "{said}");
}
