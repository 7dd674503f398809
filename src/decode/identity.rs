//! Identities of what a report holds: its stream, and its tests, told apart and yet the same in the next run.
//!
//! Contract: [`stream_id`] is project/run/shard/H with H = BLAKE3 of (variant, attempt, bytes), so an upload repeated by a
//! retry is all duplicates and another file never conflicts. [`tell_apart`] gives each case its test: suite, class and
//! name. Cases that share these are told apart by what the report has, in this order: the host name of their suites
//! (browsers, devices: it becomes part of the variant), their source file, and where the dialect repeats a case for each
//! try they are one test; whatever is left gets an ordinal.
//!
//! # Invariants
//! A pure function of the report, so the same test of tomorrow's report has the same identity. A name over its limit is
//! shortened to a beginning and a hash: two long names never become one.

use super::Context;
use super::report::{Case, Repeats, Report};
use std::collections::BTreeMap;
use weir_schemas::limits::{Limits, cut};
use weir_schemas::outcome::Outcome;

/// What a case is called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Names {
    /// The test's identity within its project.
    pub(super) test_id: String,
    /// The readable name within its suite.
    pub(super) test_name: String,
    /// The variant, where the report itself tells variants apart.
    pub(super) variant: Option<String>,
}

/// H: 128 bits of BLAKE3 over (variant, attempt, bytes), as 32 hex digits.
pub(super) fn content_hash(context: &Context, input: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new();
    let variant = context.variant.as_deref().unwrap_or_default();
    hasher.update(&(variant.len() as u64).to_le_bytes()).update(variant.as_bytes());
    hasher.update(&context.attempt.unwrap_or(0).to_le_bytes()).update(input);
    hex(&hasher)
}

/// [`content_hash`] of a coverage report: the same bytes under another flag are another session.
pub(super) fn session_hash(context: &Context, input: &[u8]) -> String {
    let hash = content_hash(context, input);
    match context.flag.as_deref().filter(|flag| !flag.is_empty()) {
        None => hash,
        Some(flag) => hex(blake3::Hasher::new().update(hash.as_bytes()).update(flag.as_bytes())),
    }
}

/// The stream of a report.
pub(super) fn stream_id(context: &Context, input: &[u8], limits: &Limits) -> String {
    stream_of(context, &content_hash(context, input), limits)
}

/// The stream of a report with such a hash.
pub(super) fn stream_of(context: &Context, hash: &str, limits: &Limits) -> String {
    // A slash inside a name must not look like the border between two.
    let escaped = |name: &str| name.replace('%', "%25").replace('/', "%2F");
    let project = escaped(&context.project);
    let run = escaped(&context.run);
    let shard = escaped(context.shard.as_deref().unwrap_or_default());
    let names = format!("{project}/{run}/{shard}");
    if names.len() + 1 + hash.len() <= limits.stream_id {
        return format!("{names}/{hash}");
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(names.as_bytes());
    format!("{}/{hash}", hex(&hasher))
}

/// 128 bits of BLAKE3 of a name, as 32 hex digits.
pub(super) fn hash_of(name: &str) -> String {
    hex(blake3::Hasher::new().update(name.as_bytes()))
}

fn hex(hasher: &blake3::Hasher) -> String {
    let mut digits = hasher.finalize().to_hex().to_string();
    digits.truncate(32);
    digits
}

/// `name`, or, where it is longer than `bytes_max`, its beginning and a hash of all of it.
pub(super) fn shorten(name: &str, bytes_max: usize) -> String {
    weir_schemas::id::shorten(name, bytes_max).into_owned()
}

/// The names of each case of the report.
pub(super) fn tell_apart(report: &Report, context: &Context, limits: &Limits) -> Vec<Names> {
    let mut same: BTreeMap<(&str, &str, &str), Vec<usize>> = BTreeMap::new();
    for (index, case) in report.cases.iter().enumerate() {
        same.entry((&report.suites[case.suite].id, class_of(report, case), &case.name)).or_default().push(index);
    }
    let mut marks: Vec<Mark<'_>> = vec![Mark::default(); report.cases.len()];
    for cases in same.values().filter(|cases| cases.len() > 1) {
        by_host(report, cases, &mut marks);
    }
    report.cases.iter().zip(&marks).map(|(case, mark)| names(report, case, mark, context, limits)).collect()
}

/// What tells a case from others of its suite, class and name.
#[derive(Clone, Default)]
struct Mark<'r> {
    host: Option<&'r str>,
    file: Option<&'r str>,
    ordinal: usize,
}

fn by_host<'r>(report: &'r Report, cases: &[usize], marks: &mut [Mark<'r>]) {
    let parts = parted(cases, |index| report.suites[report.cases[index].suite].hostname.as_deref());
    let apart = parts.len() > 1;
    for (host, cases) in parts {
        if apart {
            cases.iter().for_each(|index| marks[*index].host = host);
        }
        by_file(report, &cases, marks);
    }
}

fn by_file<'r>(report: &'r Report, cases: &[usize], marks: &mut [Mark<'r>]) {
    let parts = parted(cases, |index| report.cases[index].file.as_deref());
    let apart = parts.len() > 1;
    for (file, cases) in parts {
        if apart {
            cases.iter().for_each(|index| marks[*index].file = file);
        }
        if !attempts_of_one(report, &cases) {
            cases.iter().enumerate().for_each(|(ordinal, index)| marks[*index].ordinal = ordinal);
        }
    }
}

type Part<'r> = (Option<&'r str>, Vec<usize>);

fn parted<'r>(cases: &[usize], key: impl Fn(usize) -> Option<&'r str>) -> Vec<Part<'r>> {
    let mut parts: BTreeMap<Option<&'r str>, Vec<usize>> = BTreeMap::new();
    for index in cases {
        parts.entry(key(*index)).or_default().push(*index);
    }
    parts.into_iter().collect()
}

fn attempts_of_one(report: &Report, cases: &[usize]) -> bool {
    let Some((last, earlier)) = cases.split_last() else { return true };
    let ends = |index: &usize| report.cases[*index].attempts.last().map(|attempt| attempt.outcome);
    match report.cases[*last].repeats {
        Repeats::Tests => false,
        Repeats::AttemptsAfterFailure => earlier.iter().all(|index| ends(index).is_some_and(Outcome::fails)),
        Repeats::AttemptsAfterPass => earlier.iter().all(|index| ends(index) == Some(Outcome::Passed)),
        Repeats::AttemptsAfterSkip => earlier.iter().all(|index| ends(index) == Some(Outcome::Skipped)),
    }
}

/// The class, where it says more than the suite and the name do.
fn class_of<'r>(report: &'r Report, case: &'r Case) -> &'r str {
    let says_more = case.class != report.suites[case.suite].name && case.class != case.name;
    if says_more { &case.class } else { "" }
}

fn names(report: &Report, case: &Case, mark: &Mark<'_>, context: &Context, limits: &Limits) -> Names {
    let suite = &report.suites[case.suite];
    let class = class_of(report, case);
    let mut test_id = suite.id.clone();
    for part in [class, mark.file.unwrap_or_default(), &case.name] {
        if !part.is_empty() {
            test_id.push_str("::");
            test_id.push_str(part);
        }
    }
    let mut test_name = readable(class, &case.name);
    if mark.ordinal > 0 {
        let ordinal = format!(" #{}", mark.ordinal + 1);
        test_id.push_str(&ordinal);
        test_name.push_str(&ordinal);
    }
    let variant = mark.host.map(|host| match context.variant.as_deref().filter(|variant| !variant.is_empty()) {
        Some(variant) => shorten(&format!("{variant} {host}"), limits.name),
        None => shorten(host, limits.name),
    });
    Names { test_id: shorten(&test_id, limits.name), test_name: cut(&test_name, limits.name).into_owned(), variant }
}

fn readable(class: &str, name: &str) -> String {
    // `test` is the class of everything in reports of node's runner.
    if class.is_empty() || class == "test" || name.starts_with(class) {
        name.to_owned()
    } else if class.contains(char::is_whitespace) {
        format!("{class} › {name}")
    } else {
        format!("{class}.{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(run: &str, shard: Option<&str>) -> Context {
        Context {
            project: "web".to_owned(),
            run: run.to_owned(),
            shard: shard.map(str::to_owned),
            ..Context::default()
        }
    }

    #[test]
    fn a_stream_is_known_by_its_names_and_content() {
        let limits = Limits::default();
        let one = stream_id(&context("r1", Some("2")), b"bytes", &limits);
        assert_eq!(one, stream_id(&context("r1", Some("2")), b"bytes", &limits));
        assert!(one.starts_with("web/r1/2/"), "{one}");
        let others = [
            stream_id(&context("r2", Some("2")), b"bytes", &limits),
            stream_id(&context("r1", None), b"bytes", &limits),
            stream_id(&context("r1", Some("2")), b"others", &limits),
            stream_id(&Context { attempt: Some(2), ..context("r1", Some("2")) }, b"bytes", &limits),
            stream_id(&Context { variant: Some("arm".to_owned()), ..context("r1", Some("2")) }, b"bytes", &limits),
        ];
        assert!(others.iter().all(|other| *other != one), "{others:?}");
        let slashes = [context("a/b", Some("c")), context("a", Some("b/c"))];
        assert_ne!(stream_id(&slashes[0], b"", &limits), stream_id(&slashes[1], b"", &limits));
    }

    #[test]
    fn names_too_long_for_a_stream_become_a_hash() {
        let limits = Limits::default();
        let long = |end: &str| stream_id(&context(&("r".repeat(300) + end), None), b"bytes", &limits);
        assert!(long("a").len() <= limits.stream_id);
        assert_ne!(long("a"), long("b"));
    }
}
