//! `weir watch --json` against a server under the test's control: it subscribes as asked, follows the subscription over
//! broken connections and gaps, and says clearly what it cannot do.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Lines, Read as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

/// A server with one socket at a time, played by the test.
struct Peer {
    runtime: Runtime,
    listener: TcpListener,
    socket: Option<WebSocketStream<TcpStream>>,
}

impl Peer {
    fn new() -> Peer {
        let runtime = Runtime::new().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        Peer { runtime, listener, socket: None }
    }

    fn url(&self) -> String {
        format!("http://{}", self.listener.local_addr().expect("an address"))
    }

    /// Takes the next connection and reads its subscription.
    fn accept(&mut self) -> Value {
        #[expect(clippy::result_large_err, reason = "the library's own type")]
        let answer = |request: &Request, mut response: Response| {
            let asked = request.headers().get("sec-websocket-protocol").expect("a subprotocol").clone();
            response.headers_mut().insert("sec-websocket-protocol", asked);
            Ok(response)
        };
        let (socket, said) = self.runtime.block_on(async {
            let (socket, _) = self.listener.accept().await.expect("a connection");
            let mut socket = accept_hdr_async(socket, answer).await.expect("a handshake");
            let said = socket.next().await.expect("a message").expect("a message");
            (socket, said.into_text().expect("text").to_string())
        });
        self.socket = Some(socket);
        serde_json::from_str(&said).expect("JSON")
    }

    fn say(&mut self, message: &Value) {
        let socket = self.socket.as_mut().expect("a connection");
        self.runtime.block_on(socket.send(Message::text(message.to_string()))).expect("sends");
    }

    fn hang_up(&mut self) {
        self.socket = None;
    }

    fn confirm(&mut self, mode: &str) {
        self.say(
            &json!({"type": "subscription_confirmed", "subscriptionId": "watch", "subscription": "n", "channel": "c",
            "filterId": "f", "mode": mode, "epoch": "e", "time": 5, "group": 1, "schemas": [
                {"view": "v", "version": 1, "key": [0], "columns": [["project", "str"], ["count", "int"]]}]}),
        );
    }

    fn snapshot(&mut self, time: u64, rows: &Value) {
        self.say(&json!({"type": "initial_data", "subscriptionId": "watch", "subscription": "n", "view": "v",
            "epoch": "e", "time": time, "part": 0, "last": true, "rows": rows}));
    }

    fn batch(&mut self, from: u64, time: u64, own_from: Option<u64>, up: &Value, del: &Value) {
        let mut entry = json!({"subscription": "n", "view": "v", "up": up, "del": del});
        if let Some(from) = own_from {
            entry["from"] = from.into();
        }
        self.say(&json!({"type": "batch", "sequence": 1, "timestamp": 1, "epoch": "e", "group": 1, "from": from,
            "time": time, "net": true, "messages": [entry]}));
    }
}

struct Watch {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

fn watch(to: &str, arguments: &[&str]) -> Watch {
    let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["watch", "run_progress", "--json", "--to", to])
        .args(arguments)
        .env_remove("WEIR_TOKEN")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    Watch { child, lines }
}

impl Watch {
    /// The next lines, each as op, time and row.
    fn next(&mut self, count: usize) -> Vec<Value> {
        let line = |line: std::io::Result<String>| {
            let line: Value = serde_json::from_str(&line.expect("reads")).expect("JSON");
            json!([line["op"], line["time"], line["row"]])
        };
        let lines: Vec<Value> = self.lines.by_ref().take(count).map(line).collect();
        assert_eq!(lines.len(), count, "the watch has ended");
        lines
    }

    /// Its exit code and what it said to people.
    fn ended(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        self.child.stderr.take().expect("stderr").read_to_string(&mut said).expect("reads");
        (self.child.wait().expect("ends").code(), said)
    }

    fn end(self, signal: rustix::process::Signal) -> (Option<i32>, String) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).expect("is alive");
        self.ended()
    }
}

#[test]
fn a_watch_follows_its_subscription_over_broken_connections_and_gaps() {
    let mut peer = Peer::new();
    let filters = ["--filter", "state=failed", "--filter", "project=web", "--filter", "state=running"];
    let mut watch = watch(&peer.url(), &filters);
    let asked = peer.accept();
    assert_eq!(asked["channel"], "run_progress");
    assert_eq!(asked["filters"], json!({"project": ["web"], "state": ["failed", "running"]}));
    assert_eq!(asked.get("since"), None);
    peer.confirm("snapshot");
    peer.snapshot(5, &json!([["a", 1], ["b", 2]]));
    let (a, b) = (json!({"project": "a", "count": 1}), json!({"project": "b", "count": 2}));
    assert_eq!(watch.next(3), [json!(["reset", 5, null]), json!(["up", 5, a]), json!(["up", 5, b])]);
    peer.batch(6, 8, Some(5), &json!([["a", 3]]), &json!([["b"]]));
    let a = json!({"project": "a", "count": 3});
    assert_eq!(watch.next(2), [json!(["del", 8, {"project": "b"}]), json!(["up", 8, a])]);

    peer.hang_up();
    let asked = peer.accept();
    assert_eq!(asked["since"], json!({"epoch": "e", "time": 8}), "resumes where it was");
    peer.confirm("resumed");
    peer.batch(8, 9, Some(8), &json!([["c", 1]]), &json!([]));
    assert_eq!(watch.next(1), [json!(["up", 9, {"project": "c", "count": 1}])]);

    peer.batch(11, 12, None, &json!([["d", 1]]), &json!([]));
    let asked = peer.accept();
    assert_eq!(asked["since"], json!({"epoch": "e", "time": 9}), "a gap is not shown, but resumed from");
    peer.confirm("snapshot");
    peer.snapshot(12, &json!([["d", 1]]));
    assert_eq!(watch.next(2), [json!(["reset", 12, null]), json!(["up", 12, {"project": "d", "count": 1}])]);
    let (code, said) = watch.end(rustix::process::Signal::TERM);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn once_shows_what_there_is_and_ends() {
    let mut peer = Peer::new();
    let mut watch = watch(&peer.url(), &["--once"]);
    peer.accept();
    peer.confirm("snapshot");
    peer.snapshot(5, &json!([["a", 1]]));
    assert_eq!(watch.next(2).len(), 2);
    assert_eq!(watch.ended().0, Some(0));
}

#[test]
fn what_cannot_be_is_said_with_its_reason() {
    let mut peer = Peer::new();
    let unknown = watch(&peer.url(), &[]);
    peer.accept();
    peer.say(
        &json!({"type": "error", "code": "unknown_channel", "error": "there is no view \"x\"", "temporary": false}),
    );
    let (code, said) = unknown.ended();
    assert!(code == Some(2) && said.contains("there is no view \"x\""), "{code:?} {said}");
    let url = peer.url();
    drop(peer);
    let (code, said) = watch(&url, &[]).ended();
    assert!(
        code == Some(1) && said.contains("cannot reach") && said.contains("is the server running"),
        "{code:?} {said}"
    );
    assert_eq!(watch(&url, &["--filter", "state"]).ended().0, Some(2));
}
