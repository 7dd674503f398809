//! The real `weir` as a process.
#![allow(dead_code, reason = "helpers of tests: each test file uses its part")]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// The program, without what the environment would tell it.
pub(crate) fn weir() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).env_remove("RUST_BACKTRACE");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("WEIR_")) {
        command.env_remove(name);
    }
    command
}

/// A server on a free port.
pub(crate) fn serve(folder: &Path) -> Command {
    let mut command = weir();
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(folder);
    command
}

/// A running server; killed when dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    listening: Option<oneshot::Receiver<SocketAddr>>,
    reader: Option<JoinHandle<String>>,
}

impl Running {
    /// Starts it and does not wait.
    pub(crate) fn spawn(mut command: Command) -> Running {
        let mut child = command.stdout(Stdio::null()).spawn().expect("starts");
        let errors = BufReader::new(child.stderr.take().expect("is piped"));
        let (tell, listening) = oneshot::channel();
        let reader = std::thread::Builder::new().name("reads-child".to_owned()).spawn(|| read(errors, tell));
        Running { child, listening: Some(listening), reader: Some(reader.expect("a thread starts")) }
    }

    /// Starts it and waits until it answers requests.
    pub(crate) fn start(command: Command) -> (Running, SocketAddr) {
        let mut running = Running::spawn(command);
        let listening = running.listening.take().expect("asked once");
        let address = listening.blocking_recv().expect("it ended before it listened");
        (running, address)
    }

    /// Waits until it answers requests.
    pub(crate) async fn listening(&mut self) -> SocketAddr {
        let listening = self.listening.as_mut().expect("asked once");
        listening.await.expect("it ended before it listened")
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().expect("runs");
        assert!(status.success());
    }

    /// Waits for its end: exit code, and what it said.
    pub(crate) fn end(&mut self) -> (Option<i32>, String) {
        let status = self.child.wait().expect("ends");
        (status.code(), self.said())
    }

    /// Kills it, which must be what ends it, and returns what it said.
    pub(crate) fn kill(mut self) -> String {
        let ended = self.child.try_wait().expect("can be asked");
        self.child.kill().expect("is a child");
        self.child.wait().expect("ends");
        let said = self.said();
        assert!(ended.is_none() && !said.contains("panicked"), "it ends only by being killed: {ended:?}: {said}");
        said
    }

    fn said(&mut self) -> String {
        self.reader.take().expect("ends once").join().expect("reads to the end")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already where the test went well.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Reads to the end, telling the address when it stands there.
fn read(mut errors: impl BufRead, tell: oneshot::Sender<SocketAddr>) -> String {
    let (mut said, mut tell, mut from) = (String::new(), Some(tell), 0);
    while errors.read_line(&mut said).expect("is text") > 0 {
        if let Some((_, address)) = said[from..].split_once("listening on http://")
            && let Some(tell) = tell.take()
        {
            let end = address.find(['"', '\n']).unwrap_or(address.len());
            let address = address[..end].parse().expect("an address");
            // Nobody listens where the address does not matter.
            let _unheard = tell.send(address);
        }
        from = said.len();
    }
    said
}
