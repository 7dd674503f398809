//! The WebSocket under `weir watch`.
//!
//! Contract: [`Connection::open`] connects and subscribes; [`Connection::next`] gives the server's messages one by one. A
//! server that says nothing at all for [`SILENCE_MAX`] is taken for gone.

use crate::client::install_tls;
use futures_util::{SinkExt, StreamExt};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use weir_schemas::protocol::{ClientMessage, SUBPROTOCOL, ServerMessage, Subscribe};

/// How long connecting may take.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Servers say something every 15 s, even when nothing changes.
const SILENCE_MAX: Duration = Duration::from_secs(40);

/// A connection that is subscribed.
pub(super) struct Connection {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    heard_at: Instant,
}

/// Why there is no connection, or no longer one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(super) struct Lost {
    /// A sentence for people.
    pub(super) reason: String,
    /// Whether connecting again unchanged may help.
    pub(super) passing: bool,
}

impl Lost {
    fn passing(reason: impl Into<String>) -> Lost {
        Lost { reason: reason.into(), passing: true }
    }

    fn permanent(reason: impl Into<String>) -> Lost {
        Lost { reason: reason.into(), passing: false }
    }
}

impl Connection {
    /// Connects to the server at `base` (`http://…` or `https://…`) and subscribes.
    ///
    /// # Errors
    /// [`Lost`].
    pub(super) async fn open(base: &str, token: Option<&str>, subscribe: Subscribe) -> Result<Connection, Lost> {
        install_tls();
        let url = format!("ws{}/v1/stream", base.strip_prefix("http").unwrap_or(base));
        let mut request = url.as_str().into_client_request().map_err(|error| Lost::permanent(error.to_string()))?;
        let headers = request.headers_mut();
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        if let Some(token) = token {
            let value = HeaderValue::from_str(&format!("Bearer {token}"));
            headers.insert(AUTHORIZATION, value.map_err(|_| Lost::permanent("the token cannot be sent"))?);
        }
        let connecting = timeout(CONNECT_MAX, connect_async(request)).await;
        let (socket, _) = match connecting {
            Ok(Ok(connected)) => connected,
            Ok(Err(error)) => return Err(lost(base, &error)),
            Err(_) => return Err(Lost::passing(format!("{base} does not answer"))),
        };
        let mut connection = Connection { socket, heard_at: Instant::now() };
        connection.say(&ClientMessage::Subscribe(subscribe)).await?;
        Ok(connection)
    }

    async fn say(&mut self, message: &ClientMessage) -> Result<(), Lost> {
        let text = serde_json::to_string(message).expect("a message is always JSON");
        self.socket.send(Message::text(text)).await.map_err(|error| Lost::passing(error.to_string()))
    }

    /// The next message. May be dropped and called again.
    ///
    /// # Errors
    /// [`Lost`]: there will be no more.
    pub(super) async fn next(&mut self) -> Result<ServerMessage, Lost> {
        loop {
            // Counted from the last word, as this future is dropped and made again between two words.
            let message = match timeout_at(self.heard_at + SILENCE_MAX, self.socket.next()).await {
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(error))) => return Err(Lost::passing(error.to_string())),
                Ok(None) => return Err(Lost::passing("the server closed the connection")),
                Err(_) => return Err(Lost::passing("the server has gone silent")),
            };
            self.heard_at = Instant::now();
            match message {
                Message::Text(text) => {
                    // A message of a type that came later is none of ours.
                    if let Ok(message) = serde_json::from_str(&text) {
                        return Ok(message);
                    }
                }
                Message::Close(frame) => return Err(closed(frame.map(|f| (f.code.into(), f.reason.to_string())))),
                _ => {}
            }
        }
    }
}

fn closed(frame: Option<(u16, String)>) -> Lost {
    let (code, reason) = frame.unwrap_or((1000, String::new()));
    let reason =
        if reason.is_empty() { format!("closed by the server ({code})") } else { format!("{reason} ({code})") };
    // 44xx: the same again would be refused again.
    Lost { reason, passing: !(4400..4500).contains(&code) }
}

fn lost(base: &str, error: &Error) -> Lost {
    match error {
        Error::Http(response) => {
            let status = response.status();
            let said = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            let said: Option<serde_json::Value> = serde_json::from_str(&said).ok();
            let said = said.as_ref().and_then(|said| said.get("error")?.as_str()).map(|said| format!(": {said}"));
            let reason = format!("{base} answers {status}{}", said.unwrap_or_default());
            Lost { reason, passing: status.is_server_error() || status.as_u16() == 429 }
        }
        Error::Io(_) | Error::Tls(_) => Lost::passing(format!("cannot reach {base}: {error}")),
        other => Lost::permanent(format!("{base} does not speak Weir's protocol: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_schemas::protocol::CloseCode;

    #[test]
    fn a_close_says_whether_to_come_back() {
        for code in [CloseCode::BadMessage, CloseCode::Unauthorized, CloseCode::Forbidden, CloseCode::HelloTimeout] {
            assert!(!closed(Some((code.number(), String::new()))).passing, "{code}");
        }
        for code in [CloseCode::Restart, CloseCode::NoProgress, CloseCode::OverCapacity] {
            assert!(closed(Some((code.number(), "x".to_owned()))).passing, "{code}");
        }
        assert!(closed(None).passing);
    }
}
