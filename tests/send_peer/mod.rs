//! A peer of `weir send` that behaves as a test tells it to, well or badly, down to the bytes on the socket.

use std::collections::VecDeque;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// What the peer does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Does {
    /// Answers with status, headers and body.
    Answers(u16, &'static str, &'static str),
    /// Reads and never says a word.
    Silent,
    /// Promises a body and sends a byte of it.
    Trickles,
    /// Reads and hangs up.
    HangsUp,
    /// Speaks something else.
    Mumbles,
}

pub(crate) const TAKEN: Does = Does::Answers(202, "", r#"{"accepted":3,"positions":[],"rejected":[]}"#);

/// A request that the peer has read.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Method and target.
    pub(crate) line: String,
    /// All headers, lower case.
    pub(crate) headers: String,
    /// The body, decompressed.
    pub(crate) body: String,
}

#[derive(Default)]
struct Shared {
    script: VecDeque<Does>,
    otherwise: Option<Does>,
    requests: Vec<Request>,
}

/// The peer.
pub(crate) struct Peer {
    pub(crate) url: String,
    shared: Arc<Mutex<Shared>>,
    _runtime: Runtime,
}

impl Peer {
    /// A peer that does `otherwise` with every request.
    pub(crate) fn new(otherwise: Does) -> Peer {
        let runtime = Runtime::new().expect("a runtime");
        let shared = Arc::new(Mutex::new(Shared { otherwise: Some(otherwise), ..Shared::default() }));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let serving = Arc::clone(&shared);
        runtime.block_on(async {
            weir::task::spawn("peer", async move {
                while let Ok((socket, _)) = listener.accept().await {
                    weir::task::spawn("connection", serve(socket, Arc::clone(&serving)));
                }
            });
        });
        Peer { url, shared, _runtime: runtime }
    }

    /// Does these with the next requests, then as before.
    pub(crate) fn next(&self, script: &[Does]) {
        self.shared.lock().expect("sound").script.extend(script.iter().cloned());
    }

    /// Does this from now on.
    pub(crate) fn always(&self, otherwise: Does) {
        self.shared.lock().expect("sound").otherwise = Some(otherwise);
    }

    /// The requests since the last call.
    pub(crate) fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.shared.lock().expect("sound").requests)
    }
}

async fn serve(mut socket: TcpStream, shared: Arc<Mutex<Shared>>) {
    while let Some(request) = read(&mut socket).await {
        let does = {
            let mut shared = shared.lock().expect("sound");
            shared.requests.push(request);
            shared.script.pop_front().or_else(|| shared.otherwise.clone()).expect("something to do")
        };
        let bytes = match does {
            Does::Answers(status, headers, body) => {
                format!("HTTP/1.1 {status} Said\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
            }
            Does::Silent => return std::future::pending().await,
            Does::HangsUp => return,
            Does::Mumbles => "220 mail.example ESMTP\r\n".to_owned(),
            Does::Trickles => {
                let _sent = socket.write_all(b"HTTP/1.1 202 Said\r\ncontent-length: 9\r\n\r\n{").await;
                return std::future::pending().await;
            }
        };
        if socket.write_all(bytes.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(socket: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let text = String::from_utf8(bytes[..head].to_vec()).expect("a head");
    let (line, headers) = text.split_once("\r\n").expect("headers");
    let headers = headers.to_ascii_lowercase();
    let length = headers.lines().find_map(|header| header.strip_prefix("content-length: ")).expect("a length");
    let end = head + 4 + length.trim().parse::<usize>().expect("a number");
    while bytes.len() < end {
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let mut body = String::new();
    let opened =
        zstd::Decoder::new(&bytes[head + 4..end]).and_then(|decoder| decoder.take(1 << 26).read_to_string(&mut body));
    opened.expect("zstd");
    Some(Request { line: line.to_owned(), headers, body })
}

/// What a call of `weir send` came to.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) took: Duration,
}

/// Calls `weir send` in `folder`, which has the spool, with no environment but `variables`.
pub(crate) fn send(folder: &Path, variables: &[(&str, &str)], arguments: &[&str], stdin: &str) -> Call {
    let began = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
        .current_dir(folder)
        .env_clear()
        .env("WEIR_SPOOL", folder.join("spool"))
        .envs(variables.iter().copied())
        .arg("send")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    std::io::Write::write_all(&mut child.stdin.take().expect("stdin"), stdin.as_bytes()).expect("writes");
    let Output { status, stdout, stderr } = child.wait_with_output().expect("ends");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Call { code: status.code(), out: text(stdout), err: text(stderr), took: began.elapsed() }
}

/// The parcels in the folder's spool.
pub(crate) fn spooled(folder: &Path) -> usize {
    let files = std::fs::read_dir(folder.join("spool"));
    files.map_or(0, |files| files.flatten().filter(|f| f.path().extension().is_some_and(|e| e == "parcel")).count())
}
