//! One WebSocket, from handshake to close: the only module that knows the WebSocket crate.
//!
//! Contract: [`accept`] checks the handshake and answers it by hand; hyper then hands the raw stream back, and [`Socket`] sends
//! one message at a time and reads while it does. Every wait is cancel-safe: what is under way is kept in the socket.
//!
//! # Invariants
//! At most one message is under way to the client, so a slow client costs one message of memory. Buffers are small: 4 KiB to
//! read, none to write.
//!
//! # Cost
//! The crate copies each message once into its own buffer, which keeps the capacity of the largest message.

use crate::gateway::auth::subprotocols;
use crate::gateway::http_error::HttpError;
use axum::extract::Request;
use axum::http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{Sink, Stream};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{Error as WsError, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};
use weir_schemas::protocol::{CloseCode, SUBPROTOCOL};

const READ_BUFFER_BYTES: usize = 4 << 10;

/// A stream that counts what the client's side has taken.
struct Counted {
    io: TokioIo<Upgraded>,
    written: u64,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?;
        self.written += written as u64;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// What happened on a socket.
#[derive(Debug)]
pub(crate) enum Event {
    /// The client said something.
    Text(String),
    /// The client sent a binary message, of which the protocol has none.
    Binary,
    /// The client sent a ping, which is answered, or a pong.
    Control,
    /// A message that is over the limit, or bytes that are no WebSocket: the socket is of no more use for reading.
    Broken(String),
    /// The message under way has left.
    Flushed,
    /// The client says that it leaves, and waits for its close frame to come back: [`Socket::leave`].
    Leaves,
    /// The client is gone.
    Gone,
}

/// One client's WebSocket.
pub(crate) struct Socket {
    inner: WebSocketStream<Counted>,
    queued: Option<Message>,
    flushing: bool,
}

impl Socket {
    async fn new(upgraded: Upgraded, message_bytes_max: usize) -> Socket {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(message_bytes_max))
            .max_frame_size(Some(message_bytes_max));
        let io = Counted { io: TokioIo::new(upgraded), written: 0 };
        let inner = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        Socket { inner, queued: None, flushing: false }
    }

    /// Whether a message is under way.
    pub(crate) fn writing(&self) -> bool {
        self.queued.is_some() || self.flushing
    }

    /// Bytes that have left.
    pub(crate) fn written(&self) -> u64 {
        self.inner.get_ref().written
    }

    /// Begins to send; nothing may be under way.
    pub(crate) fn send(&mut self, text: String) {
        self.start(Message::text(text));
    }

    /// Begins to send a WebSocket ping; nothing may be under way.
    pub(crate) fn send_ping(&mut self) {
        self.start(Message::Ping(bytes::Bytes::new()));
    }

    fn start(&mut self, message: Message) {
        assert!(!self.writing(), "one message is under way at a time");
        self.queued = Some(message);
    }

    /// Waits for the next event; with `read` false, only for what is under way to leave.
    pub(crate) async fn event(&mut self, read: bool) -> Event {
        poll_fn(|cx| self.poll_event(read, cx)).await
    }

    fn poll_event(&mut self, read: bool, cx: &mut Context<'_>) -> Poll<Event> {
        match self.poll_write(cx) {
            Poll::Ready(Ok(true)) => return Poll::Ready(Event::Flushed),
            Poll::Ready(Err(_)) => return Poll::Ready(Event::Gone),
            Poll::Ready(Ok(false)) | Poll::Pending => {}
        }
        if !read {
            return Poll::Pending;
        }
        Poll::Ready(match ready!(Pin::new(&mut self.inner).poll_next(cx)) {
            Some(Ok(Message::Text(text))) => Event::Text(text.as_str().to_owned()),
            Some(Ok(Message::Binary(_))) => Event::Binary,
            Some(Ok(Message::Close(_))) => Event::Leaves,
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Event::Control,
            Some(Err(WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake))) | None => Event::Gone,
            Some(Err(error @ (WsError::Capacity(_) | WsError::Protocol(_) | WsError::Utf8(_)))) => {
                Event::Broken(error.to_string())
            }
            Some(Err(_)) => Event::Gone,
        })
    }

    /// Moves what is under way; true when it has just left, false when nothing was.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, WsError>> {
        let mut inner = Pin::new(&mut self.inner);
        if self.queued.is_some() {
            ready!(inner.as_mut().poll_ready(cx))?;
            if let Some(message) = self.queued.take() {
                inner.as_mut().start_send(message)?;
                self.flushing = true;
            }
        }
        if !self.flushing {
            return Poll::Ready(Ok(false));
        }
        ready!(inner.poll_flush(cx))?;
        self.flushing = false;
        Poll::Ready(Ok(true))
    }

    /// Lets what is under way and the answer to the client's close frame leave, within the time given.
    pub(crate) async fn leave(&mut self, at_most: Duration) {
        // The answer waits in the crate for the next read, which then says that there is nothing more.
        let farewell = async { while let Some(Ok(_)) = poll_fn(|cx| Pin::new(&mut self.inner).poll_next(cx)).await {} };
        let _left = tokio::time::timeout(at_most, farewell).await;
    }

    /// Says why, and ends; a client that does not answer within the time given is left.
    pub(crate) async fn close(&mut self, code: CloseCode, reason: &str, at_most: Duration) {
        let frame = CloseFrame { code: code.number().into(), reason: reason.to_owned().into() };
        let farewell = async {
            self.inner.close(Some(frame)).await?;
            while poll_fn(|cx| Pin::new(&mut self.inner).poll_next(cx)).await.transpose()?.is_some() {}
            Ok::<(), WsError>(())
        };
        // Whether it answers or not, the connection ends here.
        let _answered = tokio::time::timeout(at_most, farewell).await;
    }
}

/// A handshake that was accepted: the answer, and the socket to come.
pub(crate) struct Accepted {
    pub(crate) response: Response,
    pub(crate) upgrade: Upgrade,
}

/// A socket that becomes usable once its answer has been sent.
pub(crate) struct Upgrade {
    on_upgrade: OnUpgrade,
    message_bytes_max: usize,
}

impl Upgrade {
    pub(crate) async fn socket(self) -> Result<Socket, hyper::Error> {
        Ok(Socket::new(self.on_upgrade.await?, self.message_bytes_max).await)
    }
}

/// Checks a WebSocket handshake (RFC 6455, 4.2.1) and answers it.
pub(crate) fn accept(request: &mut Request, message_bytes_max: usize) -> Result<Accepted, HttpError> {
    let headers = request.headers();
    if !has_token(headers, &CONNECTION, "upgrade") || !has_token(headers, &UPGRADE, "websocket") {
        return Err(HttpError::new(
            StatusCode::UPGRADE_REQUIRED,
            "not_a_websocket",
            "this address speaks WebSocket: the request lacks Upgrade: websocket",
        ));
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(bad_handshake("Sec-WebSocket-Version is not 13"));
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).ok_or_else(|| bad_handshake("Sec-WebSocket-Key is missing"))?;
    if !STANDARD.decode(key.as_bytes()).is_ok_and(|bytes| bytes.len() == 16) {
        return Err(bad_handshake("Sec-WebSocket-Key is not 16 bytes in base64"));
    }
    let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes()))
        .map_err(|_| bad_handshake("Sec-WebSocket-Key is not 16 bytes in base64"))?;
    let offered = subprotocols(headers).any(|name| name == SUBPROTOCOL);
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let answer = response.headers_mut();
    answer.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    answer.insert(UPGRADE, HeaderValue::from_static("websocket"));
    answer.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if offered {
        answer.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    }
    let upgrade = Upgrade { on_upgrade: hyper::upgrade::on(request), message_bytes_max };
    Ok(Accepted { response, upgrade })
}

fn bad_handshake(problem: &str) -> HttpError {
    HttpError::new(StatusCode::BAD_REQUEST, "bad_handshake", problem)
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|word| word.trim().eq_ignore_ascii_case(token))
}
