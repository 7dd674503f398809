//! The HTTP server under everything: one listener, one task a connection.
//!
//! Contract: [`bind`] opens the address, [`serve`] answers with a router until shutdown is triggered, then lets open
//! requests finish for a bounded time. A connection that was upgraded (WebSocket) belongs to whoever took it; it goes on
//! counting as a connection until it is dropped.
//!
//! # Invariants
//! Never more than `connections_max` connections, nor more of one address than it may have; one more is answered 503 with `Retry-After` and closed. A head that
//! does not arrive in time closes its connection, and so does an answer that is not taken in time, so slow clients hold
//! nothing for ever. What was upgraded has rules of its own. A refusal reaches its client
//! also when the body was not read ([`linger`]).

mod linger;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::StatusCode;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use crate::connections::{Connections, Place};
use crate::shutdown::Shutdown;
use crate::task;

/// Connections that the system holds ready to be accepted: short lists make thousands of connects take seconds.
const BACKLOG: u32 = 4_096;
/// Connections that are being turned away at a time; beyond it they are closed without a word.
const TURNED_AWAY_MAX: usize = 256;
/// How long turning a connection away may take.
const TURN_AWAY_TIMEOUT: Duration = Duration::from_secs(2);
/// What was written, some hundred KiB at most, is taken within so many `write_timeout`.
pub const WRITE_TIMEOUTS: u32 = 4;
/// What a client over the limit reads.
const TURNED_AWAY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 2\r\n\
connection: close\r\ncontent-length: 102\r\n\r\n{\"code\":\"too_many_connections\",\"error\":\"all connections, or those of this address, are taken for now\"}";

/// What holds for connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections at a time.
    pub connections_max: usize,
    /// And from one address; 0: as many as in all.
    pub connections_per_address_max: usize,
    /// How long a request's head may take.
    pub header_timeout: Duration,
    /// How long open requests may take after shutdown was triggered.
    pub drain_timeout: Duration,
    /// A client that takes not one byte of an answer for so long is closed, and one that has not taken what was written within
    /// [`WRITE_TIMEOUTS`] of it.
    pub write_timeout: Duration,
}

/// Opens `address` for listening.
///
/// # Errors
/// The address is taken, not this machine's, or not allowed to this user.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Else a restart would have to wait for the last connections of its predecessor to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A connection that counts against the limit for as long as it lives.
struct Connection {
    stream: TcpStream,
    write_timeout: Duration,
    /// Since it was upgraded nobody's patience ends here.
    upgraded: Arc<AtomicBool>,
    blocked: Option<Blocked>,
    _place: Place,
}

/// Something was written that has not left.
struct Blocked {
    since: Instant,
    moved_at: Instant,
    timer: Pin<Box<Sleep>>,
}

/// Answers on `listener` with `router` until `shutdown`; returns when the last open request is done or the time for that
/// is over. Requests carry `ConnectInfo<SocketAddr>`.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, shutdown: Shutdown) {
    let connections = Connections::new(limits.connections_max, limits.connections_per_address_max);
    let doormen = Arc::new(Semaphore::new(TURNED_AWAY_MAX));
    // Every task of a connection holds a clone; when the last is gone, nobody is being answered any more.
    let (answering, mut all_answered) = tokio::sync::mpsc::channel::<()>(1);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.wait() => break,
        };
        match accepted {
            Ok((stream, peer)) => match connections.enter(Some(peer.ip())) {
                Some(place) => {
                    let connection = Connection::new(stream, place, limits.write_timeout);
                    let (router, shutdown, answering) = (router.clone(), shutdown.clone(), answering.clone());
                    task::spawn("connection", async move {
                        answer(connection, peer, router, limits.header_timeout, shutdown).await;
                        drop(answering);
                    });
                }
                None => turn_away(stream, &doormen),
            },
            Err(error) => {
                // Out of descriptors, mostly: connections that end in the meantime make it pass.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(answering);
    drop(listener);
    if timeout(limits.drain_timeout, all_answered.recv()).await.is_err() {
        tracing::warn!("some requests were still open after {:?} and are cut off", limits.drain_timeout);
    }
}

async fn answer(
    connection: Connection,
    peer: SocketAddr,
    router: Router,
    header_timeout: Duration,
    shutdown: Shutdown,
) {
    // Answers are small and awaited: they are not to wait for more to send.
    if let Err(error) = connection.stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let upgraded = Arc::clone(&connection.upgraded);
    let service = hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        let (answer, upgraded) = (linger::call(router.clone(), request), Arc::clone(&upgraded));
        async move {
            let answer = answer.await?;
            if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                upgraded.store(true, Ordering::Relaxed);
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let mut served = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(header_timeout)
            .serve_connection(TokioIo::new(connection), service)
            .with_upgrades()
    );
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = shutdown.wait() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "a connection broke");
    }
}

/// Says that there is no room, as far as the client listens.
fn turn_away(mut stream: TcpStream, doormen: &Arc<Semaphore>) {
    metrics::counter!("weir_connections_refused_total").increment(1);
    let Ok(doorman) = Arc::clone(doormen).try_acquire_owned() else { return };
    task::spawn("turn away", async move {
        let said = timeout(TURN_AWAY_TIMEOUT, async {
            // An answer before its request would be taken for a broken connection.
            let mut request = [0; 1_024];
            if stream.read(&mut request).await? > 0 {
                stream.write_all(TURNED_AWAY).await?;
                stream.shutdown().await?;
                // Closing on unread bytes would reset the connection and take the answer with it.
                while stream.read(&mut request).await? > 0 {}
            }
            io::Result::Ok(())
        });
        if let Ok(Err(error)) = said.await {
            tracing::debug!(%error, "a client over the limit did not listen");
        }
        drop(doorman);
    });
}

impl Connection {
    fn new(stream: TcpStream, place: Place, write_timeout: Duration) -> Connection {
        Connection { stream, write_timeout, upgraded: Arc::default(), blocked: None, _place: place }
    }

    /// What comes of a write: an error, when the client has taken nothing, or not all, for too long. All that is written is
    /// with the system once it is flushed.
    fn judge(&mut self, written: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let now = Instant::now();
        if written.is_ready() {
            if let Some(blocked) = &mut self.blocked {
                blocked.moved_at = now;
            }
            return written;
        }
        if self.upgraded.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        let patience = self.write_timeout;
        let blocked = self.blocked.get_or_insert_with(|| Blocked {
            since: now,
            moved_at: now,
            timer: Box::pin(sleep_until(now + patience)),
        });
        let until = (blocked.moved_at + patience).min(blocked.since + patience * WRITE_TIMEOUTS);
        if now >= until {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answer")));
        }
        if blocked.timer.deadline() != until {
            blocked.timer.as_mut().reset(until);
        }
        // Its time may have come just now; this task is then woken and asks again.
        if blocked.timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let connection = self.get_mut();
        let written = Pin::new(&mut connection.stream).poll_write(cx, buf);
        connection.judge(written, cx)
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let connection = self.get_mut();
        connection.blocked = None;
        Pin::new(&mut connection.stream).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let connection = self.get_mut();
        let written = Pin::new(&mut connection.stream).poll_write_vectored(cx, bufs);
        connection.judge(written, cx)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_at_the_door_is_as_long_as_it_says() {
        let text = std::str::from_utf8(TURNED_AWAY).expect("is text");
        let (head, body) = text.split_once("\r\n\r\n").expect("has a body");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }

    const LIMITS: Limits = Limits {
        connections_max: 10,
        connections_per_address_max: 0,
        header_timeout: Duration::from_secs(60),
        drain_timeout: Duration::from_secs(1),
        write_timeout: Duration::from_millis(100),
    };

    /// Says when it is dropped.
    struct Held(Option<tokio::sync::oneshot::Sender<()>>);

    impl Drop for Held {
        fn drop(&mut self) {
            let told = self.0.take().map(|dropped| dropped.send(()));
            assert_eq!(told, Some(Ok(())), "the test waits");
        }
    }

    fn start(router: Router, limits: Limits) -> (SocketAddr, Shutdown) {
        let listener = bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let address = listener.local_addr().expect("is bound");
        let shutdown = Shutdown::default();
        task::spawn("http", serve(listener, router, limits, shutdown.clone()));
        (address, shutdown)
    }

    async fn ask(address: SocketAddr) -> TcpStream {
        let mut client = TcpStream::connect(address).await.expect("connects");
        client.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("sends");
        client
    }

    #[tokio::test]
    async fn an_answer_that_nobody_reads_is_not_held_for_ever() {
        let (dropped, gone) = tokio::sync::oneshot::channel();
        let held = Arc::new(std::sync::Mutex::new(Some(Held(Some(dropped)))));
        let endless = move || {
            let held = held.lock().expect("no holder panics").take();
            let body = std::iter::repeat_with(move || {
                let _held = &held;
                io::Result::Ok("x".repeat(1 << 16))
            });
            std::future::ready(axum::body::Body::from_stream(futures_util::stream::iter(body)))
        };
        let router = Router::new().route("/", axum::routing::get(endless));
        let (address, shutdown) = start(router, LIMITS);
        let _silent = ask(address).await;
        timeout(Duration::from_secs(20), gone).await.expect("the answer is given up").expect("is told");
        shutdown.trigger();
    }

    #[tokio::test]
    async fn one_address_does_not_take_all_connections() {
        let router = Router::new().route("/", axum::routing::get(|| std::future::ready("here")));
        let (address, shutdown) = start(router, Limits { connections_per_address_max: 1, ..LIMITS });
        let mut answer = [0; 12];
        let mut first = ask(address).await;
        first.read_exact(&mut answer).await.expect("answers");
        assert_eq!(&answer, b"HTTP/1.1 200");
        let mut second = ask(address).await;
        second.read_exact(&mut answer).await.expect("answers");
        assert_eq!(&answer, b"HTTP/1.1 503", "the first is still open");
        drop(first);
        shutdown.trigger();
    }
}
