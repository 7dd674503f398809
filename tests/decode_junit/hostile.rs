//! What no report should be, and is: cut, mutated, nested, lying and attacking. Whatever comes, the decoder answers with
//! valid events and issues, in time proportional to the bytes.

use crate::real::real_files;
use crate::tally::{Tally, context, junit, tally};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use weir::decode::{Decoded, Format, IssueKind, decode};
use weir_schemas::limits::{CUT_MARK, Limits};

fn kinds(decoded: &Decoded) -> Vec<IssueKind> {
    decoded.issues.iter().map(|issue| issue.kind).collect()
}

fn messages(decoded: &Decoded) -> Vec<String> {
    decoded.events.iter().filter_map(|event| Some(event.data.error.as_ref()?.message.to_string())).collect()
}

fn counts(xml: &str) -> Tally {
    tally(&junit(xml.as_bytes()))
}

#[test]
fn every_prefix_of_a_report_decodes_and_never_invents_a_case() {
    for (file, bytes) in real_files().into_iter().filter(|(_, bytes)| bytes.len() < 3_000) {
        let whole = junit(&bytes);
        let names = |decoded: &Decoded| -> BTreeMap<String, usize> {
            let mut names = BTreeMap::new();
            for event in decoded.events.iter().filter(|event| event.outcome().is_some()) {
                *names.entry(format!("{:?} {:?}", event.data.test_id, event.outcome())).or_default() += 1;
            }
            names
        };
        let known = names(&whole);
        let text = String::from_utf8_lossy(&bytes);
        let last_tag = text.rfind("</").unwrap_or(0);
        let root_end = text[last_tag..].find('>').map_or(bytes.len(), |at| last_tag + at + 1);
        for end in 0..bytes.len() {
            let part = junit(&bytes[..end]);
            tally(&part);
            let cut = end < root_end;
            assert!(!cut || !part.issues.is_empty(), "{file} cut at {end} says nothing");
            for (case, count) in names(&part) {
                // What tells cases apart may lie behind the cut, and so may the rest of a case with several failures.
                let same_case = |name: &str| name.split('"').nth(1).map(|id| id.split(" #").next().map(str::to_owned));
                assert!(
                    known.get(&case).is_some_and(|known| *known >= count)
                        || known.keys().any(|known| same_case(known) == same_case(&case)),
                    "{file} cut at {end} has {case}"
                );
            }
        }
    }
}

#[test]
fn a_cut_case_counts_only_if_it_had_failed() {
    let open = "<testsuite name='s' tests='2'><testcase name='a'/><testcase name='b'>";
    assert_eq!(counts(open), Tally { tests: 1, passed: 1, ..Tally::default() });
    let failed = format!("{open}<failure message='no'/>");
    assert_eq!(counts(&failed), Tally { tests: 2, passed: 1, failed: 1, ..Tally::default() });
    let failing = format!("{open}<failure message='no'>at line");
    assert_eq!(counts(&failing), Tally { tests: 2, passed: 1, failed: 1, ..Tally::default() });
    assert!(kinds(&junit(open.as_bytes())).contains(&IssueKind::Cut));
}

#[test]
fn entities_are_never_resolved() {
    let bomb = "<?xml version='1.0'?><!DOCTYPE t [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'>\
                <!ENTITY c '&b;&b;&b;&b;&b;&b;&b;&b;'><!ENTITY x SYSTEM 'file:///etc/passwd'>]>\
                <testsuite name='s'><testcase name='&c;'><failure message='&x;'>&c;&x;</failure></testcase></testsuite>";
    let decoded = junit(bomb.as_bytes());
    assert_eq!(messages(&decoded), ["&x;"]);
    let error = decoded.events[1].data.error.as_ref().expect("failed");
    assert_eq!(error.stack.as_deref(), Some("&c;&x;"));
    assert_eq!(decoded.events[1].data.test_name.as_deref(), Some("&c;"));
    assert!(kinds(&decoded).contains(&IssueKind::Entity));
    assert!(!serde_json::to_string(&decoded.events).expect("encodes").contains("root:"));
}

#[test]
fn nesting_ends_at_its_limit_and_keeps_what_came_before() {
    let limit = Limits::default().xml_depth;
    let deep = |depth: usize| {
        let nest = "<testsuite name='n'>".repeat(depth);
        format!("<testsuites><testsuite name='s'><testcase name='a'/></testsuite>{nest}<testcase name='deep'/>")
    };
    let within = junit(deep(limit - 2).as_bytes());
    assert!(!kinds(&within).contains(&IssueKind::Depth));
    assert_eq!(tally(&within).tests, 2);
    for depth in [limit - 1, limit + 10, 200_000] {
        let decoded = junit(deep(depth).as_bytes());
        assert!(kinds(&decoded).contains(&IssueKind::Depth), "{depth}");
        assert_eq!(tally(&decoded).tests, 1, "{depth}");
    }
}

#[test]
fn markup_that_is_not_well_formed_loses_as_little_as_can_be() {
    // A tag that is not closed, one that closes nothing, text between, an attribute without quotes.
    let xml = "<testsuite name='s'>lost<testcase name='a'><system-out>x</testcase></nothing><testcase name='b' time=1/>\
               <testcase name='c'><failure>a<b>c</failure></testcase><testcase name='d' time='1'></testcase></testsuite>";
    assert_eq!(counts(xml), Tally { tests: 4, passed: 3, failed: 1, ..Tally::default() });
    assert!(kinds(&junit(xml.as_bytes())).contains(&IssueKind::Syntax));
}

#[test]
fn long_texts_and_names_are_kept_to_their_limits() {
    let (limits, long) = (Limits::default(), "ä".repeat(200_000));
    let case = |end: &str| {
        format!(
            "<testcase name='{long}{end}' classname='{long}'><failure message='{long}' type='{long}'>{long}</failure></testcase>"
        )
    };
    let xml = format!("<testsuite name='{long}' hostname='{long}'>{}{}</testsuite>", case("1"), case("2"));
    let decoded = junit(xml.as_bytes());
    assert_eq!(tally(&decoded).tests, 2, "two long names stay two tests");
    for event in &decoded.events {
        let json = serde_json::to_string(event).expect("encodes");
        assert!(json.len() < limits.error_message + limits.error_stack + 12 * limits.name, "{}", json.len());
    }
    let error = decoded.events[1].data.error.as_ref().expect("failed");
    assert!(error.message.ends_with(CUT_MARK) && error.message.len() <= limits.error_message);
    assert!(error.stack.as_deref().is_some_and(|stack| stack.ends_with(CUT_MARK) && stack.len() <= limits.error_stack));
}

#[test]
fn of_too_many_failures_in_one_case_few_are_kept_and_the_worst_counts() {
    let case = |children: &str| format!("<testsuite name='s'><testcase name='a'>{children}</testcase></testsuite>");
    let many = "<failure message='no'/>".repeat(100_000);
    let decoded = junit(case(&format!("{many}<error message='worst'/><failure/>")).as_bytes());
    assert_eq!(tally(&decoded), Tally { tests: 1, errored: 1, ..Tally::default() });
    assert_eq!(messages(&decoded), ["worst"]);
    let stack = decoded.events[1].data.error.as_ref().and_then(|error| error.stack.as_deref()).expect("the others");
    assert_eq!(stack.matches("--- also").count(), 63);
    let issue = decoded.issues.iter().find(|issue| issue.kind == IssueKind::TooMany).expect("says so");
    assert!(issue.message.contains("99938 failures or errors"), "{issue:?}");
    let retried = junit(case(&"<flakyFailure message='no'/>".repeat(1_000)).as_bytes());
    let attempts = retried.events.iter().filter(|event| event.outcome().is_some()).count();
    assert_eq!(attempts, 65, "the kept ones and the pass");
}

#[test]
fn a_report_over_the_limit_of_events_is_cut_visibly() {
    let limits = Limits { batch_events: 10, ..Limits::default() };
    let cases: String = (0..20).map(|n| format!("<testcase name='c{n}'/>")).collect();
    for xml in [
        format!("<testsuite name='s'>{cases}</testsuite>"),
        (0..20).map(|n| format!("<testsuite name='s{n}'><testcase name='c'/></testsuite>")).collect(),
        "<testsuite/>".repeat(100),
    ] {
        let decoded = decode(Format::Junit, xml.as_bytes(), &limits, &context());
        tally(&decoded);
        assert!(decoded.events.len() <= limits.batch_events, "{}", decoded.events.len());
        assert!(xml.starts_with("<testsuite/>") || kinds(&decoded).contains(&IssueKind::TooMany), "{xml}");
    }
}

#[test]
fn forbidden_characters_and_line_ends_are_made_harmless() {
    let xml = "\u{feff}<testsuite name='s'>\r\n<testcase name='a&#0;b'>\r\n<failure message='x&#8;'>one\r\ntwo\0</failure>\r\n</testcase>\r\n</testsuite>\r\n";
    let decoded = junit(xml.as_bytes());
    let case = &decoded.events[1].data;
    assert_eq!(case.test_name.as_deref(), Some("a\u{FFFD}b"));
    let error = case.error.as_ref().expect("failed");
    assert_eq!((&*error.message, error.stack.as_deref()), ("x\u{FFFD}", Some("one\ntwo\u{FFFD}")));
    assert!(kinds(&decoded).contains(&IssueKind::Character));
}

#[test]
fn other_formats_are_refused_in_words() {
    for bytes in [
        b"".as_slice(),
        b"<html><body>502</body></html>",
        b"<TestRun/>",
        b"{\"eventId\":1}",
        b"\x89PNG\r\n\x1a\n\0\0",
        b"<!DOCTYPE html>",
    ] {
        let decoded = junit(bytes);
        assert!(decoded.events.is_empty() && kinds(&decoded).contains(&IssueKind::NotThisFormat), "{decoded:?}");
    }
}

/// What this thread has used of the processor; where the system does not tell, the time of day.
fn processor_time() -> Duration {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    let used = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = used.and_then(|used| used.split(' ').next()?.parse().ok());
    nanos.map_or_else(|| START.elapsed(), Duration::from_nanos)
}

/// Each of these made some parser quadratic or worse. Ten times the bytes may take ten times as long, not a hundred.
#[test]
fn no_shape_of_bytes_is_slow() {
    type Shape = fn(usize) -> String;
    let shapes: [(&str, Shape); 10] = [
        ("attributes", |n| format!("<testsuite {}/>", (0..n * 5).map(|i| format!("a{i}='' ")).collect::<String>())),
        ("ampersands", |n| format!("<testcase name='{}'><failure>{}", "&".repeat(n * 5), "&".repeat(n * 5))),
        ("unclosed", |n| format!("<testsuite>{}", "<a>".repeat(n))),
        ("closers", |n| format!("<testsuite>{}", "</a>".repeat(n))),
        ("nested suites", |n| format!("<testsuite name='{}'>", "x".repeat(n)).repeat(60)),
        ("same cases", |n| format!("<testsuite name='s'>{}", "<testcase name='a'/>".repeat(n))),
        ("same suites", |n| "<testsuite name='s' hostname='h'><testcase name='a'/></testsuite>".repeat(n)),
        ("failures", |n| format!("<testcase name='a'>{}</testcase>", "<failure message='m'>x</failure>".repeat(n))),
        ("brackets", |n| format!("<!DOCTYPE a [{}", "<!ENTITY a '".repeat(n))),
        ("less-thans", |n| format!("<testcase name='a'><failure>{}", "<".repeat(n * 10))),
    ];
    for (name, shape) in shapes {
        let time = |n: usize, times: usize| -> Duration {
            let bytes = shape(n).into_bytes();
            let start = processor_time();
            for _ in 0..times {
                std::hint::black_box(junit(&bytes));
            }
            processor_time().saturating_sub(start)
        };
        let (parts, whole) = (time(2_000, 10), time(20_000, 1));
        println!("{name}: ten of 2,000 take {parts:?}, one of 20,000 takes {whole:?}");
        assert!(whole < parts * 4 + Duration::from_millis(100), "{name}: {parts:?} in parts, {whole:?} as a whole");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if std::env::var_os("WEIR_LONG").is_some() { 20_000 } else { 400 }, ..ProptestConfig::default() })]

    #[test]
    fn mutated_reports_give_valid_events(
        file in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..5_u8, any::<u8>(), 1..40_usize), 1..12),
    ) {
        let files = real_files();
        let mut bytes = files[file.index(files.len())].1.clone();
        for (place, change, byte, count) in changes {
            if bytes.is_empty() {
                break;
            }
            let at = place.index(bytes.len());
            let end = (at + count).min(bytes.len());
            match change {
                0 => bytes[at] = byte,
                1 => drop(bytes.drain(at..end)),
                2 => {
                    let again = bytes[at..end].to_vec();
                    bytes.splice(at..at, again);
                }
                3 => bytes.truncate(at),
                _ => drop(bytes.splice(at..at, *b"</testcase><")),
            }
        }
        tally(&junit(&bytes));
    }

    #[test]
    fn random_markup_gives_valid_events(parts in prop::collection::vec(prop::sample::select(vec![
        "<testsuites>", "<testsuite name='a'>", "<testsuite name='b' hostname='h'/>", "<testcase name='c' classname='d'>",
        "<testcase name='c'/>", "<failure message='m'>", "<error/>", "<skipped/>", "<skipped type='todo'/>",
        "<flakyFailure>", "<rerunError>", "<stackTrace>", "<system-out>", "</testsuites>", "</testsuite>", "</testcase>",
        "</failure>", "</flakyFailure>", "</rerunError>", "</stackTrace>", "</system-out>", "text", "&lt;", "&bad;", "<",
        "<![CDATA[", "]]>", "<!--", "-->", "<!DOCTYPE a>", "<properties>", "<property name='browser.launcher'/>", "</properties>",
    ]), 0..60)) {
        tally(&junit(parts.concat().as_bytes()));
    }
}
