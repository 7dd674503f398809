//! Which web pages may talk to this server: the check of `Host` and `Origin`.
//!
//! Contract: a browser lets any page of the web send requests to this machine, and with a name that it points here (DNS
//! rebinding) even read the answers. So, before anything else is looked at:
//! - `Host` must name this server. Where no tokens are needed that is a loopback address, `localhost`, or a configured
//!   name; where tokens are needed (a page elsewhere does not have one), any name, unless names are configured.
//! - `Origin`, which browsers send and programs do not, must be this server's own (its host and port are those of `Host`)
//!   or a configured one.
//!
//! # Invariants
//! Checked on every WebSocket handshake, every POST and every query.

use crate::gateway::auth::Auth;
use crate::gateway::http_error::HttpError;
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use std::net::IpAddr;

/// What is configured about hosts and origins.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    /// Names (without port) by which this server may be called besides loopback ones; none: see the module.
    pub hosts: Vec<String>,
    /// Origins of other pages that may connect, as browsers write them: `https://ci.example`.
    pub origins: Vec<String>,
}

/// Why a request is refused before it is looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginRefusal {
    /// There is no readable `Host`.
    #[error("the request names no Host")]
    NoHost,
    /// `Host` is not a name of this server.
    #[error("{host:?} is not a name of this server: call it as localhost, or add the name to the allowed hosts")]
    Host {
        /// The host that was named.
        host: String,
    },
    /// `Origin` is a page of somebody else.
    #[error("pages of {origin:?} may not connect here: add it to the allowed origins")]
    Origin {
        /// The origin that was named.
        origin: String,
    },
}

impl From<OriginRefusal> for HttpError {
    fn from(refusal: OriginRefusal) -> HttpError {
        let (status, code) = match refusal {
            OriginRefusal::NoHost => (StatusCode::BAD_REQUEST, "no_host"),
            OriginRefusal::Host { .. } => (StatusCode::FORBIDDEN, "host_not_allowed"),
            OriginRefusal::Origin { .. } => (StatusCode::FORBIDDEN, "origin_not_allowed"),
        };
        HttpError::new(status, code, refusal.to_string())
    }
}

impl Origins {
    /// Whether a request with these headers may go on.
    ///
    /// # Errors
    /// A missing or foreign `Host`, or a foreign `Origin`.
    pub fn check(&self, headers: &HeaderMap, auth: &Auth) -> Result<(), OriginRefusal> {
        let host = headers.get(HOST).and_then(|value| value.to_str().ok()).ok_or(OriginRefusal::NoHost)?;
        let (name, _) = split_port(host);
        let configured = self.hosts.iter().any(|known| known.eq_ignore_ascii_case(name));
        let any_name = auth.required() && self.hosts.is_empty();
        if !(configured || any_name || loopback(name)) {
            return Err(OriginRefusal::Host { host: host.to_owned() });
        }
        let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
        let origin = origin.to_str().unwrap_or("");
        if same_origin(origin, host) || self.origins.iter().any(|known| known.eq_ignore_ascii_case(origin)) {
            Ok(())
        } else {
            Err(OriginRefusal::Origin { origin: origin.to_owned() })
        }
    }
}

/// Splits `host[:port]`; an IPv6 address stands in brackets, which go.
fn split_port(host: &str) -> (&str, Option<&str>) {
    if let Some(rest) = host.strip_prefix('[') {
        return match rest.split_once(']') {
            Some((name, port)) => (name, port.strip_prefix(':')),
            None => (host, None),
        };
    }
    match host.rsplit_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    }
}

fn loopback(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// Whether a page of `origin` was served under `host`; behind a proxy that ends TLS the scheme may be `https`.
fn same_origin(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let default_port = match scheme {
        "http" => "80",
        "https" => "443",
        _ => return false,
    };
    let (origin_name, origin_port) = split_port(authority);
    let (host_name, host_port) = split_port(host);
    origin_name.eq_ignore_ascii_case(host_name)
        && origin_port.unwrap_or(default_port) == host_port.unwrap_or(default_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(host: Option<&str>, origin: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [(HOST, host), (ORIGIN, origin)] {
            if let Some(value) = value {
                headers.insert(name, value.parse().expect("a header value"));
            }
        }
        headers
    }

    #[test]
    fn only_this_servers_own_pages_get_through() {
        let tokens = Auth::parse("read 0123456789abcdef").expect("parses");
        let plain = Origins::default();
        let configured = Origins { hosts: vec!["weir.example".into()], origins: vec!["https://ci.example".into()] };
        fn ok(origins: &Origins, auth: &Auth, host: Option<&str>, origin: Option<&str>) -> bool {
            origins.check(&headers(host, origin), auth).is_ok()
        }
        for host in ["localhost:8080", "127.0.0.1:8080", "[::1]:8080", "LOCALHOST"] {
            assert!(ok(&plain, &Auth::open(), Some(host), None), "{host}");
            assert!(ok(&plain, &Auth::open(), Some(host), Some(&format!("http://{host}"))), "{host}");
            assert!(!ok(&plain, &Auth::open(), Some(host), Some("https://evil.example")), "{host}");
            assert!(!ok(&plain, &Auth::open(), Some(host), Some("null")), "{host}");
        }
        for host in ["evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example:8080", "10.0.0.1", ""] {
            assert!(!ok(&plain, &Auth::open(), Some(host), None), "{host}: a name that was pointed here");
        }
        assert!(!ok(&plain, &Auth::open(), Some("localhost:8080"), Some("http://localhost:9090")), "another port");
        assert!(!ok(&plain, &Auth::open(), None, None));
        assert!(ok(&plain, &tokens, Some("weir.example"), Some("https://weir.example")), "a proxy ends TLS");
        assert!(!ok(&plain, &tokens, Some("weir.example"), Some("https://evil.example")));
        assert!(ok(&configured, &Auth::open(), Some("weir.example:8080"), Some("https://ci.example")));
        assert!(!ok(&configured, &tokens, Some("other.example"), None));
    }
}
