//! Who may do what: static tokens with roles, and the rule that without tokens only this machine is served.
//!
//! Contract: the tokens file holds one token a line, `ROLES TOKEN [NAME]`, with ROLES a comma-separated list of `read`
//! (see numbers), `write` (send events) and `admin` (everything), TOKEN at least 16 characters without spaces, and NAME what
//! logs may say; `#` begins a comment line.
//!
//! ```text
//! # the dashboards
//! read        7c1f…e2   dashboards
//! write       a90b…41   ci-runners
//! ```
//!
//! A token comes as `Authorization: Bearer TOKEN`, as WebSocket subprotocol `bearer.<base64url of TOKEN>` (browsers cannot
//! set headers there), or in a `hello` or `auth` message.
//!
//! # Invariants
//! A token is kept and compared only as its BLAKE3 hash, in constant time, against every known one: neither its text nor
//! where it differs can be told from memory or timing. No tokens means no authentication, which [`check_listen`] allows
//! on loopback addresses alone.

use crate::gateway::http_error::HttpError;
use axum::http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The fewest characters of a token.
pub const TOKEN_LENGTH_MIN: usize = 16;

/// What a token may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// See numbers.
    Read,
    /// Send events.
    Write,
    /// Everything.
    Admin,
}

impl Role {
    fn parse(word: &str) -> Option<Role> {
        match word {
            "read" => Some(Role::Read),
            "write" => Some(Role::Write),
            "admin" => Some(Role::Admin),
            _ => None,
        }
    }

    /// The word in the tokens file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Read => "read",
            Role::Write => "write",
            Role::Admin => "admin",
        }
    }
}

/// Who a request comes from; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The token's name for logs; `anonymous` where no tokens are configured.
    pub name: Arc<str>,
    roles: Arc<[Role]>,
}

impl Identity {
    /// Whether it may act in `role`.
    #[must_use]
    pub fn may(&self, role: Role) -> bool {
        self.roles.iter().any(|held| *held == role || *held == Role::Admin)
    }
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No token came with it.
    #[error("a token is needed: Authorization: Bearer TOKEN")]
    Missing,
    /// The token is none of the known ones.
    #[error("the token is not known")]
    Unknown,
    /// The token's roles do not cover it.
    #[error("the token lacks the role {}", .0.as_str())]
    Forbidden(Role),
}

impl From<Refusal> for HttpError {
    fn from(refusal: Refusal) -> HttpError {
        let (status, code) = match refusal {
            Refusal::Missing | Refusal::Unknown => (StatusCode::UNAUTHORIZED, "unauthorized"),
            Refusal::Forbidden(_) => (StatusCode::FORBIDDEN, "forbidden"),
        };
        HttpError::new(status, code, refusal.to_string())
    }
}

/// What is wrong with a tokens file.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// It cannot be read.
    #[error("cannot read the tokens file {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A line is not `ROLES TOKEN [NAME]`.
    #[error("line {line} of the tokens file: {problem}")]
    Malformed {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it; never the token.
        problem: String,
    },
    /// It holds no token, which would lock everybody out.
    #[error("the tokens file holds no token; add a line: read TOKEN")]
    Empty,
}

struct Token {
    hash: blake3::Hash,
    identity: Identity,
}

/// The known tokens; cheap to clone. Without any, everybody may do everything.
#[derive(Clone, Default)]
pub struct Auth {
    tokens: Arc<[Token]>,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").field("tokens", &self.tokens.len()).finish()
    }
}

impl Auth {
    /// No tokens: everybody may do everything, on loopback addresses.
    #[must_use]
    pub fn open() -> Auth {
        Auth::default()
    }

    /// Reads a tokens file.
    ///
    /// # Errors
    /// A file that cannot be read or understood, or holds no token.
    pub fn from_file(path: &Path) -> Result<Auth, TokensError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| TokensError::Unreadable { path: path.to_owned(), source })?;
        Auth::parse(&text)
    }

    /// Reads the text of a tokens file.
    ///
    /// # Errors
    /// A line that cannot be understood, or no token at all.
    pub fn parse(text: &str) -> Result<Auth, TokensError> {
        let mut tokens: Vec<Token> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let token =
                Token::parse(line, index + 1).map_err(|problem| TokensError::Malformed { line: index + 1, problem })?;
            if tokens.iter().any(|known| known.hash == token.hash) {
                return Err(TokensError::Malformed { line: index + 1, problem: "the token stands twice".to_owned() });
            }
            tokens.push(token);
        }
        if tokens.is_empty() { Err(TokensError::Empty) } else { Ok(Auth { tokens: tokens.into() }) }
    }

    /// Whether a token is needed at all.
    #[must_use]
    pub fn required(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// Who holds `token`; where none is needed, anybody.
    ///
    /// # Errors
    /// A missing or unknown token, where one is needed.
    pub fn identify(&self, token: Option<&str>) -> Result<Identity, Refusal> {
        if !self.required() {
            return Ok(Identity { name: "anonymous".into(), roles: [Role::Admin].into() });
        }
        let hash = blake3::hash(token.ok_or(Refusal::Missing)?.as_bytes());
        let mut found = None;
        for known in self.tokens.iter() {
            if known.hash == hash {
                found = Some(&known.identity);
            }
        }
        found.cloned().ok_or(Refusal::Unknown)
    }

    /// Lets an HTTP request with these headers act in `role`.
    ///
    /// # Errors
    /// A missing or unknown token, or one without the role.
    pub fn authorize(&self, headers: &HeaderMap, role: Role) -> Result<Identity, Refusal> {
        let identity = self.identify(token_of(headers).as_deref())?;
        if identity.may(role) { Ok(identity) } else { Err(Refusal::Forbidden(role)) }
    }
}

impl Token {
    fn parse(line: &str, number: usize) -> Result<Token, String> {
        let mut words = line.split_whitespace();
        let (Some(roles), Some(token)) = (words.next(), words.next()) else {
            return Err("expected ROLES TOKEN [NAME]".to_owned());
        };
        let name = words.next().map_or_else(|| format!("token-{number}"), str::to_owned);
        if words.next().is_some() {
            return Err("expected nothing after ROLES TOKEN NAME".to_owned());
        }
        let roles = roles
            .split(',')
            .map(|word| Role::parse(word).ok_or_else(|| format!("unknown role {word:?}; known: read, write, admin")))
            .collect::<Result<Vec<_>, _>>()?;
        if token.chars().count() < TOKEN_LENGTH_MIN {
            return Err(format!("the token has fewer than {TOKEN_LENGTH_MIN} characters"));
        }
        let identity = Identity { name: name.into(), roles: roles.into() };
        Ok(Token { hash: blake3::hash(token.as_bytes()), identity })
    }
}

/// The token that a request carries, in its `Authorization` header or its WebSocket subprotocols.
#[must_use]
pub fn token_of(headers: &HeaderMap) -> Option<String> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
    });
    bearer.or_else(|| {
        let token = subprotocols(headers).find_map(|name| name.strip_prefix("bearer."))?;
        let bytes = URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).ok()?;
        String::from_utf8(bytes).ok()
    })
}

/// The subprotocols that a WebSocket handshake offers.
pub fn subprotocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

/// Why an address is not listened on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{address} can be reached from other machines and no tokens are configured: listen on 127.0.0.1, or set [auth] \
     tokens_file"
)]
pub struct OpenToTheWorld {
    /// The address.
    pub address: SocketAddr,
}

/// Without tokens only loopback addresses are listened on.
///
/// # Errors
/// Another address while no token is needed.
pub fn check_listen(address: SocketAddr, auth: &Auth) -> Result<(), OpenToTheWorld> {
    if auth.required() || address.ip().to_canonical().is_loopback() { Ok(()) } else { Err(OpenToTheWorld { address }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# dashboards\nread 0123456789abcdef board\n\nread,write fedcba9876543210\nadmin aaaaaaaaaaaaaaaa root\nwrite bbbbbbbbbbbbbbbb";

    fn headers(name: axum::http::HeaderName, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().expect("a header value"));
        headers
    }

    #[test]
    fn roles_decide_and_every_way_in_is_read() {
        let auth = Auth::parse(FILE).expect("parses");
        let bearer = |token: &str| headers(AUTHORIZATION, &format!("Bearer {token}"));
        let board = auth.authorize(&bearer("0123456789abcdef"), Role::Read).expect("may read");
        assert_eq!(&*board.name, "board");
        assert_eq!(auth.authorize(&bearer("0123456789abcdef"), Role::Write), Err(Refusal::Forbidden(Role::Write)));
        assert!(auth.authorize(&bearer("fedcba9876543210"), Role::Write).is_ok_and(|who| who.may(Role::Read)));
        assert!(auth.authorize(&bearer("aaaaaaaaaaaaaaaa"), Role::Write).is_ok());
        assert_eq!(auth.authorize(&bearer("bbbbbbbbbbbbbbbb"), Role::Read), Err(Refusal::Forbidden(Role::Read)));
        assert_eq!(auth.authorize(&bearer("0123456789abcdeF"), Role::Read), Err(Refusal::Unknown));
        assert_eq!(auth.authorize(&HeaderMap::new(), Role::Read), Err(Refusal::Missing));
        let subprotocol = format!("weir.v1, bearer.{}", URL_SAFE_NO_PAD.encode("0123456789abcdef"));
        assert!(auth.authorize(&headers(SEC_WEBSOCKET_PROTOCOL, &subprotocol), Role::Read).is_ok());
        assert!(Auth::open().authorize(&HeaderMap::new(), Role::Admin).is_ok());
    }

    #[test]
    fn a_broken_tokens_file_names_the_line_and_never_the_token() {
        for (text, line) in [
            ("read", 1),
            ("\nroot 0123456789abcdef", 2),
            ("read short", 1),
            ("read 0123456789abcdef a b", 1),
            ("read 0123456789abcdef\nwrite 0123456789abcdef", 2),
        ] {
            let error = Auth::parse(text).expect_err(text);
            let shown = error.to_string();
            assert!(matches!(error, TokensError::Malformed { line: at, .. } if at == line), "{text}: {shown}");
            assert!(!shown.contains("0123456789abcdef") && !shown.contains("short"), "{shown}");
        }
        assert!(matches!(Auth::parse("# nothing\n"), Err(TokensError::Empty)));
        assert!(matches!(Auth::from_file(Path::new("no/such/file")), Err(TokensError::Unreadable { .. })));
    }

    #[test]
    fn without_tokens_only_this_machine_is_served() {
        let auth = Auth::parse(FILE).expect("parses");
        for (address, open) in [
            ("127.0.0.1:8080", true),
            ("127.9.9.9:8080", true),
            ("[::1]:8080", true),
            ("[::ffff:127.0.0.1]:8080", true),
            ("0.0.0.0:8080", false),
            ("[::]:8080", false),
            ("10.0.0.1:8080", false),
        ] {
            let address: SocketAddr = address.parse().expect("an address");
            assert_eq!(check_listen(address, &Auth::open()).is_ok(), open, "{address}");
            assert_eq!(check_listen(address, &auth), Ok(()));
        }
    }
}
