//! The web page: the files of `dashboard/`, inside the binary.
//!
//! Contract: `/` is the page, `/assets/*` what it loads. Which run or view it shows stands in the fragment, which a server
//! never sees: `/#/runs/{project}/{run}`, names percent-encoded; [`run_path`] makes it. The files hold nothing of a project,
//! so no token is asked for; the numbers come over `/v1/stream`, which asks.
//!
//! # Invariants
//! Nothing is loaded from elsewhere and no script or style stands inline: the content security policy allows this origin
//! alone. A browser always asks whether a file is still the same (ETag), so a page never runs with modules of another build.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::header::{REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use xxhash_rust::xxh3::xxh3_64;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// One file: its path, its type and what it holds.
type File = (&'static str, &'static str, &'static str);

/// All files. One line a file.
const FILES: &[File] = &[
    ("/", HTML, include_str!("../../dashboard/index.html")),
    ("/assets/styles.css", CSS, include_str!("../../dashboard/styles.css")),
    ("/assets/icon.svg", SVG, include_str!("../../dashboard/icon.svg")),
    ("/assets/main.js", SCRIPT, include_str!("../../dashboard/main.js")),
    ("/assets/connection.js", SCRIPT, include_str!("../../dashboard/connection.js")),
    ("/assets/dom.js", SCRIPT, include_str!("../../dashboard/dom.js")),
    ("/assets/fold.js", SCRIPT, include_str!("../../dashboard/fold.js")),
    ("/assets/format.js", SCRIPT, include_str!("../../dashboard/format.js")),
    ("/assets/health.js", SCRIPT, include_str!("../../dashboard/health.js")),
    ("/assets/parts.js", SCRIPT, include_str!("../../dashboard/parts.js")),
    ("/assets/router.js", SCRIPT, include_str!("../../dashboard/router.js")),
    ("/assets/store.js", SCRIPT, include_str!("../../dashboard/store.js")),
    ("/assets/time.js", SCRIPT, include_str!("../../dashboard/time.js")),
    ("/assets/views/alerts.js", SCRIPT, include_str!("../../dashboard/views/alerts.js")),
    ("/assets/views/coverage.js", SCRIPT, include_str!("../../dashboard/views/coverage.js")),
    ("/assets/views/errors.js", SCRIPT, include_str!("../../dashboard/views/errors.js")),
    ("/assets/views/metrics.js", SCRIPT, include_str!("../../dashboard/views/metrics.js")),
    ("/assets/views/patterns.js", SCRIPT, include_str!("../../dashboard/views/patterns.js")),
    ("/assets/views/slow.js", SCRIPT, include_str!("../../dashboard/views/slow.js")),
    ("/assets/views/flaky.js", SCRIPT, include_str!("../../dashboard/views/flaky.js")),
    ("/assets/views/people.js", SCRIPT, include_str!("../../dashboard/views/people.js")),
    ("/assets/views/problems.js", SCRIPT, include_str!("../../dashboard/views/problems.js")),
    ("/assets/views/run.js", SCRIPT, include_str!("../../dashboard/views/run.js")),
    ("/assets/views/runs.js", SCRIPT, include_str!("../../dashboard/views/runs.js")),
    ("/assets/views/tests.js", SCRIPT, include_str!("../../dashboard/views/tests.js")),
];

/// The page's routes.
pub fn router() -> Router {
    FILES.iter().fold(Router::new(), |router, file| {
        let etag = format!("\"{:016x}\"", xxh3_64(file.2.as_bytes()));
        router.route(file.0, get(async move |headers: HeaderMap| answer(file, &etag, &headers)))
    })
}

/// The path and fragment under which the page shows one run.
#[must_use]
pub fn run_path(project: &str, run: &str) -> String {
    let mut path = "/#/runs/".to_owned();
    encode(project, &mut path);
    path.push('/');
    encode(run, &mut path);
    path
}

fn answer(&(_, content_type, body): &File, etag: &str, headers: &HeaderMap) -> Response {
    let known = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let same = known.is_some_and(|known| known.split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag));
    let fields: [(HeaderName, &str); 6] = [
        (CONTENT_TYPE, content_type),
        (ETAG, etag),
        (CACHE_CONTROL, "no-cache"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    if same { (StatusCode::NOT_MODIFIED, fields).into_response() } else { (fields, body).into_response() }
}

/// Percent-encodes all but the unreserved characters (RFC 3986, 2.3).
fn encode(name: &str, path: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push('%');
            path.push(char::from(DIGITS[usize::from(byte >> 4)]));
            path.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use std::path::{Path, PathBuf};
    use tower_service::Service;

    fn fetch(path: &str, known: Option<&str>) -> (StatusCode, HeaderMap, String) {
        let mut request = Request::builder().uri(path);
        if let Some(known) = known {
            request = request.header(IF_NONE_MATCH, known);
        }
        let request = request.body(Body::empty()).expect("a sound request");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let response = router().call(request).await.expect("a router always answers");
            let (head, body) = response.into_parts();
            let bytes = body.collect().await.expect("a body in memory").to_bytes();
            (head.status, head.headers, String::from_utf8(bytes.to_vec()).expect("text"))
        })
    }

    #[test]
    fn every_file_is_served_with_its_type_and_the_policy() {
        for (path, content_type, body) in FILES {
            let (status, headers, served) = fetch(path, None);
            assert_eq!((status, served.as_str()), (StatusCode::OK, *body), "{path}");
            assert_eq!(headers[CONTENT_TYPE], content_type, "{path}");
            assert_eq!(headers[CONTENT_SECURITY_POLICY], POLICY, "{path}");
            assert_eq!(headers[CACHE_CONTROL], "no-cache", "{path}");
        }
        assert_eq!(fetch("/assets/none.js", None).0, StatusCode::NOT_FOUND);
    }

    #[test]
    fn a_file_that_the_browser_has_is_not_sent_again() {
        let (_, headers, _) = fetch("/assets/main.js", None);
        let etag = headers[ETAG].to_str().expect("text").to_owned();
        let (status, _, body) = fetch("/assets/main.js", Some(&format!("\"other\", W/{etag}")));
        assert_eq!((status, body.as_str()), (StatusCode::NOT_MODIFIED, ""));
        assert_eq!(fetch("/assets/main.js", Some("\"other\"")).0, StatusCode::OK);
    }

    fn files_under(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("the folder is there") {
            let path = entry.expect("a readable entry").path();
            if path.is_dir() { files_under(&path, found) } else { found.push(path) }
        }
    }

    #[test]
    fn every_file_of_the_folder_is_in_the_binary() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboard");
        let mut found = Vec::new();
        files_under(&folder, &mut found);
        let mut paths: Vec<String> = found
            .iter()
            .map(|path| path.strip_prefix(&folder).expect("it lies in the folder").to_string_lossy().into_owned())
            .map(|name| if name == "index.html" { "/".to_owned() } else { format!("/assets/{name}") })
            .collect();
        paths.sort_unstable();
        let mut served: Vec<&str> = FILES.iter().map(|file| file.0).collect();
        served.sort_unstable();
        assert_eq!(paths, served);
    }

    #[test]
    fn the_page_needs_nothing_inline_and_nothing_from_elsewhere() {
        let (_, _, page) = fetch("/", None);
        for forbidden in ["style=", "onclick", "javascript:", "<style", "src=\"http", "href=\"http", "<script>"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
    }

    #[test]
    fn names_are_percent_encoded() {
        assert_eq!(run_path("web", "r-9"), "/#/runs/web/r-9");
        assert_eq!(run_path("a/b c", "é#%"), "/#/runs/a%2Fb%20c/%C3%A9%23%25");
    }
}
