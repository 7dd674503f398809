//! Tests of `lines`: every operation against a plain set of numbers.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn parsed(text: &str) -> Lines {
    Lines::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn set(lines: &Lines) -> BTreeSet<u32> {
    lines.ranges().flat_map(|(from, to)| from..=to).collect()
}

fn assert_canonical(lines: &Lines) {
    let ranges: Vec<_> = lines.ranges().collect();
    assert!(ranges.iter().all(|(from, to)| 1 <= *from && from <= to && *to <= LINE_MAX), "{lines}");
    assert!(ranges.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "{lines}");
    assert_eq!(parsed(&lines.to_string()), *lines);
}

#[test]
fn what_is_written_is_canonical() {
    for (text, canonical) in [
        ("", ""),
        ("7", "7"),
        ("1-4,7", "1-4,7"),
        ("7,1-4", "1-4,7"),
        ("1,2,3", "1-3"),
        ("3,2,1", "1-3"),
        ("1-4,2-3,4-6", "1-6"),
        ("5-9,1-20", "1-20"),
        ("0007-08", "7-8"),
        ("7-7", "7"),
        ("16777215", "16777215"),
    ] {
        assert_eq!(parsed(text).to_string(), canonical, "{text}");
    }
    assert_eq!(parsed("1-16777215").count(), u64::from(LINE_MAX));
}

#[test]
fn what_is_no_set_of_lines_is_said_in_words() {
    for (text, message) in [
        (",", "`` (at character 1) is no line or range of lines: such as `7` or `1-4`, separated by commas"),
        ("1,", "`` (at character 3) is no line or range of lines: such as `7` or `1-4`, separated by commas"),
        ("1, 2", "` 2` (at character 3) is no line or range of lines: such as `7` or `1-4`, separated by commas"),
        ("é", "`é` (at character 1) is no line or range of lines: such as `7` or `1-4`, separated by commas"),
        ("1-", "`1-` (at character 1) is no line or range of lines: such as `7` or `1-4`, separated by commas"),
        ("1-2-3", "`1-2-3` (at character 1) is no line or range of lines: such as `7` or `1-4`, separated by commas"),
        ("-3", "`-3` (at character 1) is no line or range of lines: such as `7` or `1-4`, separated by commas"),
        ("1..4", "`1..4` (at character 1) is no line or range of lines: such as `7` or `1-4`, separated by commas"),
        ("4-1", "the range 4-1 runs backwards"),
        ("0-3", "line 0: lines count from 1"),
        ("1,16777216", "line 16777216 is above 16777215, the highest that may be named"),
        ("99999999999999999999", "line 99999999999999999999 is above 16777215, the highest that may be named"),
    ] {
        let error = Lines::parse(text).expect_err(text);
        assert_eq!(error.to_string(), message, "{text}");
        assert_eq!(Lines::check(text), Err(error), "{text}");
    }
    let long = "x".repeat(1 << 20);
    assert!(Lines::check(&long).expect_err("no range").to_string().len() < 200);
}

#[test]
fn a_text_has_a_bound() {
    let text = |ranges: usize| (0..ranges).map(|n| (2 * n + 1).to_string()).collect::<Vec<_>>().join(",");
    assert_eq!(parsed(&text(RANGES_MAX)).ranges().len(), RANGES_MAX);
    assert_eq!(Lines::parse(&text(RANGES_MAX + 1)), Err(MalformedLines::TooMany));
}

#[test]
fn in_json_it_is_its_text() {
    let lines = parsed("1-4,7");
    assert_eq!(serde_json::to_string(&lines).expect("encodes"), r#""1-4,7""#);
    assert_eq!(serde_json::from_str::<Lines>(r#""7,1-\u0034""#).expect("decodes"), lines);
    let error = serde_json::from_str::<Lines>(r#""4-1""#).expect_err("backwards").to_string();
    assert!(error.starts_with("the range 4-1 runs backwards"), "{error}");
}

#[test]
#[should_panic(expected = "line 0 is not in 1 to")]
fn line_0_cannot_be_added() {
    Lines::new().insert(0);
}

fn some_ranges() -> impl Strategy<Value = Vec<(u32, u32)>> {
    prop::collection::vec((1_u32..60, 0_u32..6).prop_map(|(from, more)| (from, from + more)), 0..20)
}

proptest! {
    #[test]
    fn every_operation_agrees_with_a_set_of_numbers(a in some_ranges(), b in some_ranges(), line in 1_u32..70) {
        let (ours, theirs): (Lines, Lines) = (a.iter().copied().collect(), b.iter().copied().collect());
        let (our_set, their_set) = (set(&ours), set(&theirs));
        let plain: BTreeSet<u32> = a.iter().flat_map(|(from, to)| *from..=*to).collect();
        prop_assert_eq!(&our_set, &plain);
        let text = a.iter().map(|(from, to)| format!("{from}-{to}")).collect::<Vec<_>>().join(",");
        prop_assert_eq!(&parsed(&text), &ours);
        prop_assert_eq!(&plain.iter().rev().copied().collect::<Lines>(), &ours);
        prop_assert_eq!(set(&ours.union(&theirs)), our_set.union(&their_set).copied().collect::<BTreeSet<_>>());
        prop_assert_eq!(set(&ours.intersect(&theirs)), our_set.intersection(&their_set).copied().collect::<BTreeSet<_>>());
        prop_assert_eq!(ours.count(), our_set.len() as u64);
        prop_assert_eq!(ours.contains(line), our_set.contains(&line));
        prop_assert_eq!(ours.is_empty(), our_set.is_empty());
        let mut more = ours.clone();
        prop_assert_eq!(more.insert(line), !our_set.contains(&line));
        prop_assert_eq!(set(&more), our_set.iter().copied().chain([line]).collect::<BTreeSet<_>>());
        for lines in [&ours, &more, &ours.union(&theirs), &ours.intersect(&theirs)] {
            assert_canonical(lines);
        }
    }

    #[test]
    fn any_text_is_a_set_or_an_error_and_the_check_agrees(text in "[-0-9,x é]{0,24}") {
        prop_assert_eq!(Lines::check(&text), Lines::parse(&text).map(|lines| assert_canonical(&lines)));
    }
}
