//! Random coverage, told in random order and in pieces, as LCOV and as Cobertura: the decoders must find again the very
//! lines that a plain map has.

use crate::said::{Files, cobertura, files, lcov};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fmt::Write;

/// File, line and count, each as often as it comes.
type Told = Vec<(u8, u32, u64)>;

fn told() -> impl Strategy<Value = Told> {
    let line = prop_oneof![1_u32..40, 1_u32..=16_777_215];
    let count = prop_oneof![Just(0_u64), Just(1), Just(u64::MAX)];
    prop::collection::vec((0_u8..4, line, count), 1..80)
}

fn expected(told: &Told) -> Files {
    let mut plain: BTreeMap<(u8, u32), bool> = BTreeMap::new();
    for (file, line, count) in told {
        *plain.entry((*file, *line)).or_default() |= *count > 0;
    }
    let mut files = Files::new();
    for ((file, line), covered) in plain {
        let lines = files.entry(format!("src/{file}.rs")).or_default();
        lines.instrumented.insert(line);
        if covered {
            lines.covered.insert(line);
        }
    }
    files
}

/// The same path in its several spellings.
fn spelled(file: u8, how: usize) -> String {
    match how % 4 {
        0 => format!("src/{file}.rs"),
        1 => format!(".\\src\\{file}.rs"),
        2 => format!("/ci/shop/src/{file}.rs"),
        _ => format!("/ci/shop/lib/..//src/{file}.rs"),
    }
}

fn as_lcov(told: &Told, piece: usize) -> String {
    let mut text = String::from("TN:\n");
    for (index, piece) in told.chunks(piece).enumerate() {
        for file in 0..4 {
            writeln!(text, "SF:{}", spelled(file, index)).expect("is a string");
            for (_, line, count) in piece.iter().filter(|told| told.0 == file) {
                writeln!(text, "DA:{line},{count}").expect("is a string");
            }
            text.push_str("end_of_record\n");
        }
    }
    text
}

fn as_cobertura(told: &Told, piece: usize) -> String {
    let mut text = String::from("<coverage><packages><package>");
    for (index, (file, line, count)) in told.iter().enumerate() {
        let line = format!("<line number='{line}' hits='{count}'/>");
        let inside = if index % piece == 0 { format!("<methods><method>{line}</method></methods>") } else { line };
        write!(text, "<class filename='{}'>{inside}</class>", spelled(*file, index)).expect("is a string");
    }
    text + "</package></packages></coverage>"
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if std::env::var_os("WEIR_LONG").is_some() { 20_000 } else { 500 }, ..ProptestConfig::default() })]

    #[test]
    fn each_format_gives_the_lines_that_were_told(told in told(), piece in 1_usize..20) {
        let expected = expected(&told);
        for decoded in [lcov(as_lcov(&told, piece)), cobertura(as_cobertura(&told, piece))] {
            prop_assert_eq!(&files(&decoded), &expected);
            prop_assert!(decoded.issues.is_empty(), "{:?}", decoded.issues);
        }
    }
}
