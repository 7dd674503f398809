//! What a report's events say, line by line, by the rules of `events.md`.

use std::collections::BTreeMap;
use weir::decode::coverage::CoverageTotals;
use weir::decode::{Context, Decoded, Format, decode};
use weir_schemas::event::{CoverageMode, EventType};
use weir_schemas::limits::Limits;
use weir_schemas::lines::Lines;

/// The lines of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileLines {
    pub(crate) covered: Lines,
    pub(crate) instrumented: Lines,
}

/// By path.
pub(crate) type Files = BTreeMap<String, FileLines>;

/// The context of all these tests.
pub(crate) fn context() -> Context {
    Context {
        project: "shop".to_owned(),
        run: "build-7".to_owned(),
        shard: Some("1".to_owned()),
        branch: Some("main".to_owned()),
        flag: Some("unit".to_owned()),
        root: Some("/ci/shop".to_owned()),
        received_at_ms: 1_790_000_000_000,
        ..Context::default()
    }
}

pub(crate) fn lcov(bytes: impl AsRef<[u8]>) -> Decoded {
    decode(Format::Lcov, bytes.as_ref(), &Limits::default(), &context())
}

pub(crate) fn cobertura(bytes: impl AsRef<[u8]>) -> Decoded {
    decode(Format::Cobertura, bytes.as_ref(), &Limits::default(), &context())
}

/// One class of one file, around these lines.
pub(crate) fn class(file: &str, lines: &str) -> String {
    format!(
        "<coverage><packages><package><classes><class name='c' filename='{file}'><lines>{lines}</lines></class></classes></package></packages></coverage>"
    )
}

pub(crate) fn lines(text: &str) -> Lines {
    Lines::parse(text).expect("is a set of lines")
}

/// Files as `path covered/instrumented`.
pub(crate) fn in_short(decoded: &Decoded) -> Vec<String> {
    files(decoded).iter().map(|(path, file)| format!("{path} {}/{}", file.covered, file.instrumented)).collect()
}

/// The files, and a check of what holds for every report: a valid stream without gaps that adds and has one flag, events
/// of a bounded size, covered lines among the instrumented ones, and totals that are the sums.
pub(crate) fn files(decoded: &Decoded) -> Files {
    let mut files = Files::new();
    let limits = Limits::default();
    for (event, version) in decoded.events.iter().zip(1..) {
        assert_eq!(event.check(&limits), Ok(()), "{event:?}");
        assert_eq!((event.version, event.event_type), (version, EventType::CoverageUpdated));
        assert_eq!(event.stream_id, decoded.events[0].stream_id);
        assert!(event.event_id.ends_with(&format!("#{version}")), "{}", event.event_id);
        assert!(event.suite().is_none() && !event.names_a_test(), "{event:?}");
        let bytes = serde_json::to_vec(event).expect("encodes").len();
        assert!(bytes < 300_000, "an event of {bytes} bytes");
        let coverage = event.data.coverage.as_ref().expect("says it");
        assert_eq!((coverage.flag.as_deref(), coverage.mode), (Some("unit"), Some(CoverageMode::Add)));
        assert!(coverage.files.is_empty() == coverage.percentage.is_some(), "{event:?}");
        assert!(coverage.files.len() <= 500);
        for file in &coverage.files {
            let of_path = files.entry(file.path.to_string()).or_default();
            of_path.covered = of_path.covered.union(&lines(&file.covered));
            of_path.instrumented = of_path.instrumented.union(&lines(&file.instrumented));
        }
    }
    let mut totals = CoverageTotals { files: files.len() as u64, ..CoverageTotals::default() };
    for (path, file) in &files {
        assert_eq!(file.covered.intersect(&file.instrumented), file.covered, "{path}");
        assert!(!file.instrumented.is_empty(), "{path}");
        totals.lines_covered += file.covered.count();
        totals.lines_total += file.instrumented.count();
    }
    let said = decoded.coverage.expect("is coverage");
    assert!(files.is_empty() || said == totals, "{said:?} {totals:?}");
    files
}
