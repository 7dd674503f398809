//! Who may send: the check of `Host`, `Origin` and token before ingest sees a request.

use crate::config::Config;
use crate::gateway::auth::{Auth, Role};
use crate::gateway::http_error::HttpError;
use crate::gateway::origin::Origins;
use crate::ingest::control::Sender;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;

/// Lets requests through to `router` that may write.
pub(super) fn writers_only(router: Router, auth: Auth, origins: Origins) -> Router {
    router.layer(middleware::from_fn_with_state((auth, origins), check))
}

async fn check(
    State((auth, origins)): State<(Auth, Origins)>,
    mut request: Request,
    next: Next,
) -> Result<Response, HttpError> {
    origins.check(request.headers(), &auth)?;
    let identity = auth.authorize(request.headers(), Role::Write)?;
    if auth.required() {
        let reads = identity.may(Role::Read);
        request.extensions_mut().insert(Sender { name: identity.name, reads });
    }
    Ok(next.run(request).await)
}

/// The names and origins that are this server's, from the configuration.
pub(super) fn origins(config: &Config, auth: &Auth) -> Origins {
    let server = &config.server;
    let (mut hosts, mut origins) = (server.allowed_hosts.clone(), server.allowed_origins.clone());
    if let Some((_, authority)) = server.public_url.split_once("://") {
        origins.push(server.public_url.trim_end_matches('/').to_owned());
        // With tokens and no names any name will do, and the public one must not take that away.
        if !(auth.required() && hosts.is_empty()) {
            hosts.push(host_of(authority).to_owned());
        }
    }
    Origins { hosts, origins }
}

/// The host of `host[:port]`; an IPv6 address stands in brackets.
fn host_of(authority: &str) -> &str {
    let authority = authority.trim_end_matches('/');
    match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _port)) => address,
        None => authority.split(':').next().unwrap_or(authority),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_address_is_one_of_ours() {
        let mut config = Config::default();
        config.server.public_url = "https://weir.example:8443".to_owned();
        let origins_of = origins(&config, &Auth::open());
        assert_eq!(origins_of.hosts, ["weir.example"]);
        assert_eq!(origins_of.origins, ["https://weir.example:8443"]);
        let tokens = Auth::parse("write 0123456789abcdef").expect("parses");
        assert_eq!(origins(&config, &tokens).hosts, [] as [&str; 0], "any name will do");
        config.server.allowed_hosts = vec!["weir".to_owned()];
        assert_eq!(origins(&config, &tokens).hosts, ["weir", "weir.example"]);
        assert_eq!(host_of("[::1]:80"), "::1");
    }
}
