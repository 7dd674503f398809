//! The HTTP server under everything: one listener, one task a connection.
//!
//! Contract: [`bind`] opens the address, [`serve`] answers with a router until shutdown is triggered, then lets open
//! requests finish for a bounded time. A connection that was upgraded (WebSocket) belongs to whoever took it; it goes on
//! counting as a connection until it is dropped.
//!
//! # Invariants
//! Never more than `connections_max` connections; one more is answered 503 with `Retry-After` and closed. A head that
//! does not arrive in time closes its connection, so slow clients hold nothing for ever.

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tower_service::Service;

use crate::shutdown::Shutdown;
use crate::task;

/// Connections that the system holds ready to be accepted: short lists make thousands of connects take seconds.
const BACKLOG: u32 = 4_096;
/// Connections that are being turned away at a time; beyond it they are closed without a word.
const TURNED_AWAY_MAX: usize = 256;
/// How long turning a connection away may take.
const TURN_AWAY_TIMEOUT: Duration = Duration::from_secs(2);
/// What a client over the limit reads.
const TURNED_AWAY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 2\r\n\
connection: close\r\ncontent-length: 75\r\n\r\n{\"code\":\"too_many_connections\",\"error\":\"all connections are taken for now\"}";

/// What holds for connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections at a time.
    pub connections_max: usize,
    /// How long a request's head may take.
    pub header_timeout: Duration,
    /// How long open requests may take after shutdown was triggered.
    pub drain_timeout: Duration,
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

/// A connection that counts against the limit for as long as it lives. The stream can be taken out of an upgraded
/// connection by `downcast::<TokioIo<Connection>>()`.
#[derive(Debug)]
pub struct Connection {
    /// The socket.
    pub stream: TcpStream,
    /// Its place among the connections; dropping it makes room for another.
    pub slot: OwnedSemaphorePermit,
}

/// Answers on `listener` with `router` until `shutdown`; returns when the last open request is done or the time for that
/// is over. Requests carry `ConnectInfo<SocketAddr>`.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, shutdown: Shutdown) {
    let slots = Arc::new(Semaphore::new(limits.connections_max));
    let doormen = Arc::new(Semaphore::new(TURNED_AWAY_MAX));
    // Every task of a connection holds a clone; when the last is gone, nobody is being answered any more.
    let (answering, mut all_answered) = tokio::sync::mpsc::channel::<()>(1);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.wait() => break,
        };
        match accepted {
            Ok((stream, peer)) => match Arc::clone(&slots).try_acquire_owned() {
                Ok(slot) => {
                    let connection = Connection { stream, slot };
                    let (router, shutdown, answering) = (router.clone(), shutdown.clone(), answering.clone());
                    task::spawn("connection", async move {
                        answer(connection, peer, router, limits.header_timeout, shutdown).await;
                        drop(answering);
                    });
                }
                Err(_full) => turn_away(stream, &doormen),
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
    let service = hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().call(request)
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

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
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
}
