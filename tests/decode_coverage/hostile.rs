//! What no coverage report should be, and is: cut, torn, doubled, lying, attacking, huge. Whatever comes, the decoders
//! answer with valid events and issues, in time proportional to the bytes.

use crate::golden::{decoded, reports};
use crate::said::{class, cobertura, context, files, in_short, lcov};
use proptest::prelude::*;
use std::time::{Duration, Instant};
use weir::decode::{Context, Decoded, Format, IssueKind, decode};
use weir_schemas::limits::Limits;

fn kinds(decoded: &Decoded) -> Vec<IssueKind> {
    decoded.issues.iter().map(|issue| issue.kind).collect()
}

fn says(decoded: &Decoded, words: &str) {
    assert!(decoded.issues.iter().any(|issue| issue.message.contains(words)), "`{words}`: {:?}", decoded.issues);
}

#[test]
fn every_prefix_of_a_report_never_invents_a_line_and_says_that_it_was_cut() {
    for (name, bytes) in reports() {
        let whole = files(&decoded(&name, &bytes));
        let end = bytes.trim_ascii_end().len();
        for cut in 0..end {
            let part = decoded(&name, &bytes[..cut]);
            for (path, lines) in files(&part) {
                // The root of the paths stands before them; of LCOV's names none is counted before it has ended.
                let known = whole.get(&path).unwrap_or_else(|| panic!("{name} cut at {cut} has {path}"));
                assert_eq!(lines.covered.intersect(&known.covered), lines.covered, "{name} cut at {cut}");
                assert_eq!(
                    lines.instrumented.intersect(&known.instrumented),
                    lines.instrumented,
                    "{name} cut at {cut}"
                );
            }
            // Between two records nothing shows that more was to come.
            let between = name.ends_with(".info") && {
                let rest = bytes[..cut].trim_ascii_end();
                rest.ends_with(b"end_of_record") || rest.ends_with(b"\nTN:")
            };
            assert!(between || !part.issues.is_empty(), "{name} cut at {cut} says nothing");
        }
    }
}

#[test]
fn lcov_records_in_every_odd_shape() {
    let odd = lcov(
        "\u{feff}# by hand\r\nTN:unit tests, all\r\nSF:./src\\lib\\a.rs\r\nFN:1,main\r\nDA:9,1\r\nDA:3,0,c2hlY2tzdW0=\r\n\
         DA:1,18446744073709551616\r\nDA:3,4294967296\r\nDA:5,1.84467440737095e+19\r\nDA:6,0\r\nDA:6,0\r\nend_of_record\r\n\
         TN:other\r\nSF:src/lib/a.rs\r\nDA:6,2\r\nDA:7,0000\r\nDA:8,0.0\r\nend_of_record\r\n",
    );
    assert_eq!(in_short(&odd), ["src/lib/a.rs 1,3,5-6,9/1,3,5-9"]);
    assert_eq!(odd.issues, []);
    let torn = lcov("SF:a\nDA:1,-1\nDA:2,-4294967295\nDA:3,1\nend_of_record\n");
    assert_eq!(in_short(&torn), ["a 3/1-3"]);
    says(&torn, "line 1 ran -1 times: taken as not run");
    let open = lcov("SF:a\nDA:1,1\nSF:b\nDA:2,1\n");
    assert_eq!(in_short(&open), ["a 1/1", "b 2/2"]);
    says(&open, "no end_of_record for a");
    says(&open, "ends inside the record of b");
    let empty = lcov("TN:\nSF:a\nend_of_record\n");
    assert!(empty.events.is_empty() && empty.issues.is_empty(), "a file without lines is nothing wrong");
}

#[test]
fn what_cannot_be_read_of_lcov_is_told_and_the_rest_counts() {
    let bad = lcov(
        "DA:1,1\nend_of_record\nSF:a\nDA:0,1\nDA:16777216,1\nDA:99999999999999999999,1\nDA:+4,1\nDA:4\nDA:6,many\nDA:7,NaN\n\
         DA:8,inf\nhello\nDA:16777215,1\nLF:9\nLH:9\nend_of_record\nSF:\nDA:1,1\nend_of_record\n",
    );
    assert_eq!(in_short(&bad), ["a 16777215/16777215"]);
    says(&bad, "a DA line outside of a record");
    says(&bad, "end_of_record closes nothing");
    says(&bad, "`16777216` is no line: they count from 1 to 16777215");
    says(&bad, "`many` says not how often line 6 ran");
    says(&bad, "`hello` is no line of LCOV");
    says(&bad, "a declares 9 of 9 lines covered and has 1 of 1: these count");
    says(&bad, "SF: names no file");
    assert_eq!(bad.issues.iter().find(|issue| issue.message.contains("hello")).map(|issue| issue.line), Some(12));
}

#[test]
fn a_cobertura_line_counts_once_wherever_it_stands() {
    let method =
        "<methods><method><lines><line number='1' hits='3'/><line number='2' hits='0'/></lines></method></methods>";
    let of = |file: &str, lines: &str| format!("<class filename='{file}'>{method}<lines>{lines}</lines></class>");
    let report = cobertura(format!(
        "\u{feff}<?xml version='1.0'?>\r\n<!DOCTYPE coverage SYSTEM 'http://x/coverage-04.dtd'>\r\n\
         <coverage lines-valid='9' lines-covered='9'><packages>{}{}{}</packages></coverage>",
        of("src\\a.cs", "<line number='1' hits='0'/><line number='3' hits='18446744073709551616'/>"),
        of("./src/a.cs", "<line number='2' hits='1'/><line number='3' hits='-1'/><line number='3' hits='0'/>"),
        of("src/b.cs", "<line number='0' hits='1'/><line hits='1'/><line number='4'/><line number='5' hits='often'/>"),
    ));
    assert_eq!(in_short(&report), ["src/a.cs 1-3/1-3", "src/b.cs 1/1-2"]);
    says(&report, "`` is no line");
    says(&report, "hits=`` says not how often line 4 ran");
    says(&report, "line 3 ran -1 times: taken as not run");
    says(&report, "the report declares 9 of 9 lines covered and has 4 of 5");
    assert!(!kinds(&report).contains(&IssueKind::Entity), "every writer has that document type");
    let nameless = cobertura(
        "<coverage><class name='shop.Cart'><line number='1' hits='1'/></class><line number='2' hits='1'/></coverage>",
    );
    assert!(nameless.events.is_empty());
    let outside = "<coverage><line number='2' hits='1'/><class filename='a'><line number='1' hits='1'/></class>\
                   <line number='3' hits='1'/></coverage>";
    assert_eq!(in_short(&cobertura(outside)), ["a 1/1"]);
    says(&nameless, "the class `shop.Cart` names no file");
}

#[test]
fn paths_are_seen_from_the_root() {
    let with = |root: &str, sources: &[&str], file: &str| -> String {
        let context = Context { root: Some(root.to_owned()), ..context() };
        let sources: String = sources.iter().map(|source| format!("<source>\n {source}\n</source>")).collect();
        let report = class(file, "<line number='1' hits='1'/>").replacen(
            "<packages>",
            &format!("<sources>{sources}</sources><packages>"),
            1,
        );
        in_short(&decode(Format::Cobertura, report.as_bytes(), &Limits::default(), &context)).concat()
    };
    assert_eq!(with("/ci/job", &["/ci/job/src"], "pkg/a.py"), "src/pkg/a.py 1/1");
    assert_eq!(with("/ci/job", &["/elsewhere/src"], "pkg/a.py"), "pkg/a.py 1/1");
    assert_eq!(with("/ci/job", &["src", "lib"], "pkg/a.py"), "pkg/a.py 1/1");
    assert_eq!(with("C:\\ci", &["C:\\ci\\src\\"], "pkg\\a &amp; b.cs"), "src/pkg/a & b.cs 1/1");
    assert_eq!(with("/ci/job", &[], "/ci/job"), "/ci/job 1/1", "a file that is named like the root");
    let long = "d/".repeat(2_000) + "a.c";
    let path = with("", &[], &long);
    assert!(path.len() < 1_040 && path != with("", &[], &format!("{long}c")), "{path}");
}

#[test]
fn entities_are_never_resolved() {
    let bomb = "<?xml version='1.0'?><!DOCTYPE coverage [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'>\
                <!ENTITY x SYSTEM 'file:///etc/passwd'>]><coverage><sources><source>&x;</source></sources>\
                <class filename='&b;/&x;'><line number='&a;' hits='&b;'/><line number='1' hits='1'/></class></coverage>";
    let decoded = cobertura(bomb);
    assert_eq!(in_short(&decoded), ["&b;/&x; 1/1"]);
    assert!(kinds(&decoded).contains(&IssueKind::Entity));
    assert!(!serde_json::to_string(&decoded.events).expect("encodes").contains("root:"));
}

#[test]
fn nesting_ends_at_its_limit_and_keeps_what_came_before() {
    let first = "<class filename='a'><line number='1' hits='1'/></class>";
    for depth in [60, 70, 200_000] {
        let deep =
            format!("<coverage>{first}{}<class filename='b'><line number='1' hits='1'/>", "<packages>".repeat(depth));
        let decoded = cobertura(deep);
        assert_eq!(kinds(&decoded).contains(&IssueKind::Depth), depth > 60, "{depth}");
        assert_eq!(files(&decoded).len(), if depth > 60 { 1 } else { 2 }, "{depth}");
    }
}

#[test]
fn text_of_other_encodings_is_read() {
    let wide = |text: &str| -> Vec<u8> {
        [0xFEFF].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
    };
    assert_eq!(in_short(&lcov(wide("SF:ü.rs\r\nDA:1,1\r\nend_of_record\r\n"))), ["ü.rs 1/1"]);
    assert_eq!(in_short(&cobertura(wide(&class("ü.cs", "<line number='1' hits='1'/>")))), ["ü.cs 1/1"]);
    let broken = lcov(b"SF:\xff\0.rs\nDA:1,1\nend_of_record\n");
    assert_eq!(in_short(&broken), ["\u{FFFD}\u{FFFD}.rs 1/1"]);
    assert!(kinds(&broken).contains(&IssueKind::Encoding));
}

#[test]
fn other_formats_are_refused_in_words() {
    for bytes in [
        b"".as_slice(),
        b"<html>",
        b"{\"eventId\":1}",
        b"\x89PNG\r\n\x1a\n\0\0",
        b"TN:\n",
        b"mode: set\n",
        b"<testsuite/>",
    ] {
        for decoded in [lcov(bytes), cobertura(bytes)] {
            assert!(decoded.events.is_empty() && kinds(&decoded).contains(&IssueKind::NotThisFormat), "{decoded:?}");
        }
    }
}

#[test]
fn a_report_of_very_many_files_becomes_events_of_a_bounded_size() {
    let path = |n: usize| format!("packages/shop-{}/src/component_{n}.ts", n % 700);
    let record = |n: usize| format!("SF:{}\nDA:{},1\nDA:{},0\nend_of_record\n", path(n), n % 90 + 1, n % 90 + 2);
    let report: String = (0..50_000).map(record).collect();
    let decoded = lcov(&report);
    let found = files(&decoded);
    assert_eq!(found.len(), 50_000);
    assert!((100..200).contains(&decoded.events.len()), "{}", decoded.events.len());
    for n in [0, 1, 49_999] {
        assert_eq!(found[&path(n)].covered.to_string(), (n % 90 + 1).to_string());
    }
    let limits = Limits { coverage_files: 7, ..Limits::default() };
    let small = decode(Format::Lcov, &report.as_bytes()[..100_000], &limits, &context());
    assert!(small.events.len() > 100 && small.events.iter().all(|event| event.check(&limits).is_ok()));
    let limits = Limits { batch_events: 3, ..Limits::default() };
    let few = decode(Format::Lcov, report.as_bytes(), &limits, &context());
    assert_eq!(few.events.len(), 3);
    says(&few, "of its events were left out: a report may become at most 3");
    let many: String = (0..200_100).map(|n| format!("SF:{n}\nDA:1,1\nend_of_record\n")).collect();
    let decoded = lcov(many);
    assert_eq!(files(&decoded).len(), 200_000);
    says(&decoded, "100 records of files were left out");
}

#[test]
fn a_file_of_very_many_ranges_stands_in_several_parts() {
    let lines: String = (0..300_000).map(|n| format!("DA:{},{}\n", 16_777_215 - n, n % 2)).collect();
    let decoded = lcov(format!("SF:generated.c\n{lines}end_of_record\n"));
    assert!(decoded.events.len() > 5, "{}", decoded.events.len());
    let found = files(&decoded);
    assert_eq!(found["generated.c"].instrumented.to_string(), "16477216-16777215");
    assert_eq!((found["generated.c"].covered.count(), found["generated.c"].covered.ranges().len()), (150_000, 150_000));
}

/// A report with another flag, attempt or variant is another session; the same again is the same.
#[test]
fn a_session_is_known_by_its_content_and_what_is_said_of_it() {
    let bytes = b"SF:a\nDA:1,1\nend_of_record\n";
    let ids = |context: &Context| {
        let decoded = decode(Format::Lcov, bytes, &Limits::default(), context);
        (decoded.events[0].stream_id.to_string(), decoded.events[0].event_id.to_string())
    };
    let contexts = [
        context(),
        Context { flag: None, ..context() },
        Context { flag: Some("e2e".to_owned()), ..context() },
        Context { attempt: Some(2), ..context() },
        Context { variant: Some("linux".to_owned()), ..context() },
        Context { run: "build-8".to_owned(), ..context() },
        Context { shard: None, ..context() },
    ];
    let streams: std::collections::BTreeSet<String> = contexts.iter().map(|context| ids(context).0).collect();
    assert_eq!(streams.len(), contexts.len());
    let later = Context { received_at_ms: 1_800_000_000_000, branch: None, ..context() };
    assert_eq!(ids(&later), ids(&context()));
    let silent = Context { flag: Some(String::new()), ..context() };
    assert_eq!(ids(&silent), ids(&contexts[1]), "an empty flag is none");
}

/// What this thread has used of the processor; where the system does not tell, the time of day.
fn processor_time() -> Duration {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    let used = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = used.and_then(|used| used.split(' ').next()?.parse().ok());
    nanos.map_or_else(|| START.elapsed(), Duration::from_nanos)
}

/// Each of these makes some reader quadratic. Ten times the bytes may take ten times as long, not a hundred.
#[test]
fn no_shape_of_bytes_is_slow() {
    type Shape = fn(usize) -> String;
    let record = |lines: &str| format!("SF:a\n{lines}end_of_record\n");
    let shapes: [(&str, Shape); 8] = [
        ("backwards", |n| {
            format!("SF:a\n{}", (0..n * 5).map(|i| format!("DA:{},1\n", 2 * (n * 5 - i))).collect::<String>())
        }),
        ("one file over and over", |n| {
            let first: String = (0..n * 5).map(|i| format!("DA:{},1\n", 2 * i + 1)).collect();
            format!("SF:a\n{first}end_of_record\n{}", "SF:a\nDA:1,1\nend_of_record\n".repeat(n))
        }),
        ("one line over and over", |n| format!("SF:a\n{}", "DA:1,1\n".repeat(n * 10))),
        ("one long line", |n| format!("SF:{}\nDA:{},1\n", "a/../".repeat(n * 5), "1".repeat(n * 5))),
        ("nonsense", |n| "nonsense\n".repeat(n * 5)),
        ("files", |n| (0..n).map(|i| format!("SF:{i}\nDA:1,1\nend_of_record\n")).collect()),
        ("classes of one file", |n| {
            format!("<coverage>{}", "<class filename='a'><line number='1' hits='1'/></class>".repeat(n))
        }),
        ("sources", |n| format!("<coverage>{}<source>{}", "<source>a</source>".repeat(n), "b&amp;".repeat(n * 5))),
    ];
    assert!(!lcov(record("DA:1,1\n")).events.is_empty());
    for (name, shape) in shapes {
        let time = |n: usize, times: usize| -> Duration {
            let bytes = shape(n).into_bytes();
            let decode = if bytes.starts_with(b"<") { cobertura } else { lcov };
            let start = processor_time();
            for _ in 0..times {
                std::hint::black_box(decode(&bytes));
            }
            processor_time().saturating_sub(start)
        };
        let (parts, whole) = (time(2_000, 10), time(20_000, 1));
        println!("{name}: ten of 2,000 take {parts:?}, one of 20,000 takes {whole:?}");
        assert!(whole < parts * 4 + Duration::from_millis(100), "{name}: {parts:?} in parts, {whole:?} as a whole");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if std::env::var_os("WEIR_LONG").is_some() { 20_000 } else { 300 }, ..ProptestConfig::default() })]

    #[test]
    fn mutated_reports_give_valid_events(
        file in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, any::<u8>(), 1..40_usize), 1..12),
    ) {
        let reports = reports();
        let (name, bytes) = &reports[file.index(reports.len())];
        let mut bytes = bytes.clone();
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
                _ => bytes.insert(at, byte),
            }
        }
        files(&decoded(name, &bytes));
    }

    #[test]
    fn any_bytes_give_valid_events(text in "(SF:|DA:|LF:|end_of_record|<coverage>|<class filename='a'>|<line number='|' hits='|'/>|[0-9,.\\-a/\\\\\n\0é]){0,30}") {
        files(&lcov(&text));
        files(&cobertura(&text));
    }
}
