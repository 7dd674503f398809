//! A client of Weir's HTTP API, as the commands use it.
//!
//! Contract: [`Client::post`] gives a body to the server and returns what it said, by a deadline that covers everything:
//! name resolution, connecting, sending and reading the reply. What did not work is [`Refused::Passing`] (the same may
//! work later), [`Refused::Misdirected`] (it would work with another token or address) or [`Refused::Permanent`] (the body
//! itself will never be taken); that is decided here and nowhere else.
//!
//! # Invariants
//! A server on this machine is spoken to directly, whatever proxies the environment names.
//! Redirects are not followed: a body is never given to a server that nobody named, nor is the token. At most
//! [`REPLY_BYTES_MAX`] of a reply are read. Plain `http` needs no certificates on the machine.

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, StatusCode, Url};
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// At most so much of a reply is read; what lies beyond is of no interest.
pub const REPLY_BYTES_MAX: usize = 1 << 20;

/// A connection to one server; cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
}

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is no URL.
    #[error("{url:?} is no address of a Weir server, such as https://weir.example.org")]
    Url {
        /// What was given.
        url: String,
    },
    /// The token has characters that no header may have.
    #[error("the token has characters that cannot be sent: is it complete, and in one line?")]
    Token,
    /// TLS cannot be set up, most likely for want of root certificates.
    #[error("cannot set up TLS")]
    Tls(#[source] reqwest::Error),
}

/// A body on its way.
#[derive(Clone, Debug)]
pub struct Post<'a> {
    /// Path and query, from `/`.
    pub path: &'a str,
    /// What it is.
    pub content_type: &'a str,
    /// Whether it is compressed with zstd.
    pub zstd: bool,
    /// The body; shared, so that trying again costs no copy.
    pub body: Bytes,
}

/// What a server that took the body said.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status, 200 to 299.
    pub status: u16,
    /// The first bytes of the body.
    pub body: Vec<u8>,
}

/// Why the server did not take it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It may be taken later.
    #[error("{reason}")]
    Passing {
        /// A sentence for people.
        reason: String,
        /// When the server wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// Nothing is wrong with the body: the token or the address has to be mended first.
    #[error("{reason}")]
    Misdirected {
        /// A sentence for people.
        reason: String,
    },
    /// The body will never be taken as it is.
    #[error("{reason}")]
    Permanent {
        /// A sentence for people.
        reason: String,
    },
}

impl Client {
    /// A client of the server at `url`, which may have a path of its own.
    ///
    /// # Errors
    /// The URL or the token cannot be used, or TLS not be set up.
    pub fn new(url: &str, token: Option<&str>) -> Result<Client, ClientError> {
        let base = base(url)?;
        install_tls();
        let mut headers = HeaderMap::new();
        // A token that was read from a file ends in a line break, and a secret that a CI system does not give is empty.
        if let Some(token) = token.map(str::trim).filter(|token| !token.is_empty()) {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| ClientError::Token)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("weir/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .redirect(reqwest::redirect::Policy::none());
        if base.starts_with("http:") {
            builder = builder.tls_certs_only([]);
        }
        if on_this_machine(&base) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(ClientError::Tls)?;
        Ok(Client { http, base })
    }

    /// The server's address, without a slash at its end.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Gives the server a body; returns by `deadline`.
    ///
    /// # Errors
    /// [`Refused`]: it was not taken, or not said to be taken in time.
    pub async fn post(&self, post: Post<'_>, deadline: Instant) -> Result<Reply, Refused> {
        let mut request = self.http.post(format!("{}{}", self.base, post.path)).header(CONTENT_TYPE, post.content_type);
        if post.zstd {
            request = request.header(CONTENT_ENCODING, "zstd");
        }
        self.by(deadline, self.exchange(request.body(post.body))).await
    }

    /// Asks the server something else, with JSON or without a body; returns by `deadline`.
    ///
    /// # Errors
    /// As [`Client::post`].
    pub async fn ask(&self, method: Method, path: &str, body: Bytes, deadline: Instant) -> Result<Reply, Refused> {
        let request = self.http.request(method, format!("{}{path}", self.base));
        let request =
            if body.is_empty() { request } else { request.header(CONTENT_TYPE, "application/json").body(body) };
        self.by(deadline, self.exchange(request)).await
    }

    async fn by(
        &self,
        deadline: Instant,
        exchange: impl Future<Output = Result<Reply, Refused>>,
    ) -> Result<Reply, Refused> {
        timeout_at(deadline, exchange).await.unwrap_or_else(|_| {
            Err(Refused::Passing { reason: format!("{} did not answer in time", self.base), retry_after: None })
        })
    }

    async fn exchange(&self, request: RequestBuilder) -> Result<Reply, Refused> {
        let mut response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let (status, retry_after) = (response.status(), retry_after(response.headers()));
        let location = response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).map(str::to_owned);
        let mut body = Vec::new();
        while body.len() < REPLY_BYTES_MAX {
            match response.chunk().await.map_err(|error| self.unreachable(&error))? {
                Some(chunk) => body.extend_from_slice(&chunk),
                None => break,
            }
        }
        if status.is_success() {
            return Ok(Reply { status: status.as_u16(), body });
        }
        Err(refused(status, retry_after, location.as_deref(), &body))
    }

    fn unreachable(&self, error: &reqwest::Error) -> Refused {
        // The URL stands in the sentence already; the innermost cause says what happened.
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        Refused::Passing { reason: format!("cannot reach {}: {cause}", self.base), retry_after: None }
    }
}

/// Makes ring the process's TLS provider, unless it has one.
pub fn install_tls() {
    // An error says that there is one already.
    let _present = rustls::crypto::ring::default_provider().install_default();
}

/// An address without the slash at its end, if it is one.
pub(crate) fn base(url: &str) -> Result<String, ClientError> {
    let bad = || ClientError::Url { url: url.to_owned() };
    let parsed = Url::parse(url).map_err(|_| bad())?;
    let usable = matches!(parsed.scheme(), "http" | "https") && parsed.query().is_none() && parsed.fragment().is_none();
    if !usable {
        return Err(bad());
    }
    Ok(parsed.as_str().trim_end_matches('/').to_owned())
}

/// Whether an address is this machine's own: no proxy could reach what it names.
fn on_this_machine(base: &str) -> bool {
    let url = Url::parse(base).ok();
    url.as_ref().and_then(Url::host_str).is_some_and(|host| {
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        address.map_or(host == "localhost" || host.ends_with(".localhost"), |address| address.is_loopback())
    })
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    // The other form, a date, is not used by Weir, and a clock may be wrong.
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// What a refusal is, decided by the status.
fn refused(status: StatusCode, retry_after: Option<Duration>, location: Option<&str>, body: &[u8]) -> Refused {
    let said = Said::of(body);
    if let (true, Some(location)) = (status.is_redirection(), location) {
        return Refused::Misdirected { reason: format!("the server has moved to {location}: give that address") };
    }
    let word = status.canonical_reason().map_or(String::new(), |word| format!(" {word}"));
    let reason = format!("{}{word}{}", status.as_u16(), said.sentence);
    match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            Refused::Passing { reason, retry_after }
        }
        StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => Refused::Misdirected { reason },
        status if status.is_server_error() => Refused::Passing { reason, retry_after },
        // Other servers say so as well when plain HTTP comes where they expect TLS.
        StatusCode::BAD_REQUEST if !said.by_weir => Refused::Misdirected { reason },
        StatusCode::BAD_REQUEST
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::URI_TOO_LONG
        | StatusCode::UNSUPPORTED_MEDIA_TYPE
        | StatusCode::UNPROCESSABLE_ENTITY => Refused::Permanent { reason },
        _ => Refused::Misdirected { reason },
    }
}

/// What the body of a refusal says.
struct Said {
    /// To be put behind the status; empty if it says nothing.
    sentence: String,
    /// Whether it has the form of Weir's own.
    by_weir: bool,
}

impl Said {
    /// The sentence in an error's body: Weir's own, or the first line of somebody else's.
    fn of(body: &[u8]) -> Said {
        #[derive(serde::Deserialize)]
        struct Body {
            error: String,
        }
        let (text, by_weir) = match serde_json::from_slice::<Body>(body) {
            Ok(Body { error }) => (error, true),
            Err(_) => {
                (String::from_utf8_lossy(body).lines().next().unwrap_or_default().chars().take(200).collect(), false)
            }
        };
        let sentence = if text.trim().is_empty() { String::new() } else { format!(": {}", text.trim()) };
        Said { sentence, by_weir }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_keep_their_path_and_lose_their_slash() {
        assert_eq!(base("http://localhost:8080/").ok().as_deref(), Some("http://localhost:8080"));
        assert_eq!(base("https://ci.example.org/weir/").ok().as_deref(), Some("https://ci.example.org/weir"));
        for bad in ["localhost:8080", "weir.example.org", "ftp://x", "http://x/?a=b", "http://x/#top", ""] {
            assert!(base(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_passes_is_told_from_what_stays_and_from_what_the_caller_has_to_mend() {
        let kind = |status: u16, body: &[u8]| {
            let status = StatusCode::from_u16(status).expect("a status");
            match refused(status, None, None, body) {
                Refused::Passing { .. } => "passing",
                Refused::Misdirected { .. } => "misdirected",
                Refused::Permanent { .. } => "permanent",
            }
        };
        let ours = br#"{"code":"x","error":"why"}"#;
        for status in [408, 425, 429, 500, 502, 503, 504] {
            assert_eq!(kind(status, b""), "passing", "{status}");
        }
        for status in [400, 413, 415, 422] {
            assert_eq!(kind(status, ours), "permanent", "{status}");
        }
        for status in [301, 302, 308, 401, 403, 404, 405, 407, 411, 501, 505] {
            assert_eq!(kind(status, ours), "misdirected", "{status}");
        }
        assert_eq!(kind(400, b"<html>plain HTTP was sent to an HTTPS port"), "misdirected");
    }

    #[test]
    fn a_refusal_says_what_the_server_said() {
        let refusal = |body: &str| refused(StatusCode::UNAUTHORIZED, None, None, body.as_bytes()).to_string();
        assert_eq!(
            refusal(r#"{"code":"unauthorized","error":"a token is needed"}"#),
            "401 Unauthorized: a token is needed"
        );
        assert_eq!(refusal("<html>\nlong page"), "401 Unauthorized: <html>");
        assert_eq!(refusal(""), "401 Unauthorized");
    }

    #[test]
    fn a_token_must_fit_a_header() {
        assert!(matches!(Client::new("http://localhost", Some("two\nlines")), Err(ClientError::Token)));
        for token in ["good", "good\n", " good\r\n", "", "\n"] {
            let client = Client::new("http://localhost", Some(token)).expect("a client");
            assert!(!format!("{client:?}").contains("good"), "a token is never shown");
        }
    }

    #[test]
    fn this_machine_is_known_by_its_names() {
        for own in ["http://localhost:80", "http://a.localhost", "https://127.0.0.1:8443/weir", "http://[::1]:80"] {
            assert!(on_this_machine(own), "{own}");
        }
        for other in ["http://weir.example", "http://localhost.example", "http://10.0.0.1", "http://[2001:db8::1]"] {
            assert!(!on_this_machine(other), "{other}");
        }
    }
}
