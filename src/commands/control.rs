//! What `weir incident` and `weir rule` have in common: asking the server, and lists for people.
//!
//! Contract: a change is waited for until the numbers have it (`?wait=applied`), so whoever looks next sees it; when that takes
//! longer than the server waits, that is said and is no failure, since the change is safe. Results go to standard output,
//! everything for people to standard error.

use super::{Exit, Failure, say};
use crate::client::{Client, Refused};
use bytes::Bytes;
use reqwest::{Method, Url};
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

/// The server answers within 5 s, unless it is far away or overloaded.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Which server.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ServerArgs {
    /// The server
    #[arg(long, value_name = "URL", env = "WEIR_URL", default_value = "http://127.0.0.1:8080")]
    to: String,
    /// A token with the role write, to list with the role read
    #[arg(long, value_name = "TOKEN", env = "WEIR_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

/// An answer that makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("{url} answered what no Weir server does")]
struct Strange {
    url: String,
}

impl ServerArgs {
    /// Asks the server; the answer as JSON.
    pub(super) fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Value, Failure> {
        let client = Client::new(&self.to, self.token.as_deref()).map_err(|error| Failure::new(Exit::Usage, &error))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Exit::Environment, &error))?;
        let answer = runtime.block_on(client.ask(method, path, body, Instant::now() + TIMEOUT));
        runtime.shutdown_background();
        let reply = answer.map_err(|refused| {
            let failure = Failure::new(Exit::Failed, &refused);
            match refused {
                Refused::Passing { .. } => {
                    failure.with_remedy("is the server running, and is this its address (--to)?")
                }
                Refused::Misdirected { .. } | Refused::Permanent { .. } => failure,
            }
        })?;
        let strange = Strange { url: client.base().to_owned() };
        serde_json::from_slice(&reply.body).map_err(|_| Failure::new(Exit::Failed, &strange))
    }

    /// Makes a change; tells its id on standard output and when it holds on standard error.
    pub(super) fn change(&self, method: Method, path: &str, body: Bytes, what: &str) -> Result<(), Failure> {
        let said = self.ask(method, path, body)?;
        let id = said["id"].as_str().unwrap_or_default();
        match said["tick"].as_u64() {
            Some(tick) => say::note(&format!("{what} as of {}", time(tick))),
            None => say::note(&format!("{what} as soon as the server has caught up; it is safe there")),
        }
        say::result(id);
        Ok(())
    }
}

/// The path of something below `/v1`, with a query.
pub(super) fn path(list: &str, id: Option<&str>, query: &[(&str, Option<&str>)]) -> String {
    let mut url = Url::parse("http://weir/v1").expect("an address");
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.push(list).extend(id);
    }
    let given = query.iter().filter_map(|(name, value)| Some((*name, (*value)?)));
    let given: Vec<_> = given.collect();
    if !given.is_empty() {
        url.query_pairs_mut().extend_pairs(given);
    }
    match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    }
}

/// A time for people.
pub(super) fn time(ms: u64) -> String {
    let at = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.map_or_else(|| ms.to_string(), |at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// Lines with columns of one width each but the last.
pub(super) fn table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell: &String| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).filter_map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        say::result(cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_stands_in_an_id_is_one_part_of_the_path() {
        assert_eq!(path("rules", None, &[("project", None)]), "/v1/rules");
        assert_eq!(
            path("rules", Some("a/b c?"), &[("kind", Some("mask")), ("project", Some("web&app")), ("wait", None)]),
            "/v1/rules/a%2Fb%20c%3F?kind=mask&project=web%26app"
        );
    }

    #[test]
    fn times_are_written_for_people() {
        assert_eq!(time(1_732_270_000_123), "2024-11-22 10:06:40 UTC");
    }
}
