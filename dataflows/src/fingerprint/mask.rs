//! Masks what varies in a line of text.
//!
//! Contract: [`mask`] replaces by `%`: UUIDs, `0x…`, runs of 8 or more hex digits with a digit among them (5 after `@`),
//! base64 of 10 or more with padding, IP addresses with their port, dates and times, durations with their unit, any other
//! number, temporary folders and home folders. White space is collapsed, rules of five or more of `-=_*~#` are dropped.
//!
//! # Cost
//! One pass: each form is tried only where it can begin, and what a try looks at is not looked at again by the same form.

use std::borrow::Cow;

/// Appends `line`, masked, to `out`.
pub(super) fn mask(line: &str, out: &mut String) {
    let bytes = line.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if let Some(end) = volatile(bytes, at) {
            if !out.ends_with('%') {
                out.push('%');
            }
            at = end;
        } else if let Some(end) = rule(bytes, at).or_else(|| bytes[at].is_ascii_whitespace().then_some(at + 1)) {
            if !out.is_empty() && !out.ends_with(' ') {
                out.push(' ');
            }
            at = end;
        } else {
            let end = (at + 1..=bytes.len()).find(|end| line.is_char_boundary(*end)).unwrap_or(bytes.len());
            out.push_str(&line[at..end]);
            at = end;
        }
    }
}

/// The text without ANSI escape sequences and other control characters.
pub(super) fn without_ansi(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte < 0x20 && byte != b'\n' && byte != b'\t') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            match chars.next() {
                Some('[') => while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
                Some(']') => while chars.next().is_some_and(|c| c != '\u{7}' && c != '\u{1b}') {},
                _ => {}
            }
        } else if c == '\n' || c == '\t' || !c.is_control() {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

const CALENDAR: &[&str] = &[
    "mon", "tue", "wed", "thu", "fri", "sat", "sun", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep",
    "oct", "nov", "dec",
];

/// The line without a timestamp at its beginning.
pub(super) fn without_timestamp(line: &str) -> &str {
    let (mut rest, mut stamped) = (line, None);
    for _ in 0..8 {
        let word = rest.split(' ').next().unwrap_or_default();
        let bare = word.trim_matches(['[', ']', '(', ')', ',', '-', ':']).as_bytes();
        let clock = date_time(bare, 0).or_else(|| clock(bare, 0)) == Some(bare.len());
        let zone = stamped.is_some() && matches!(bare, b"Z" | b"UTC" | b"GMT" | b"AM" | b"PM");
        let part = stamped.is_none() && matches!(bare.len(), 1 | 2 | 4) && bare.iter().all(u8::is_ascii_digit)
            || bare.len() >= 3 && bare.is_ascii() && CALENDAR.contains(&&*word_start(bare))
            || zone;
        if bare.is_empty() || !(clock || part) {
            break;
        }
        rest = rest[word.len()..].trim_start();
        if clock || zone {
            stamped = Some(rest);
        }
    }
    stamped.filter(|rest| !rest.is_empty()).unwrap_or(line)
}

fn word_start(word: &[u8]) -> String {
    word.iter().take(3).map(|byte| char::from(byte.to_ascii_lowercase())).collect()
}

/// Where a volatile part that begins at `at` ends.
fn volatile(bytes: &[u8], at: usize) -> Option<usize> {
    let before = if at == 0 { b' ' } else { bytes[at - 1] };
    if bytes[at] == b'%' {
        return Some(at + 1); // Two marks side by side are one.
    }
    if matches!(bytes[at], b'/' | b'A'..=b'Z' | b'a'..=b'z')
        && let Some(end) = folder(bytes, at, before)
    {
        return Some(end);
    }
    if !before.is_ascii_alphanumeric() {
        let word = uuid(bytes, at)
            .or_else(|| hex(bytes, at, before))
            .or_else(|| date_time(bytes, at))
            .or_else(|| (before != b':').then(|| clock(bytes, at).or_else(|| ip6(bytes, at)))?)
            .or_else(|| ip4(bytes, at))
            .or_else(|| base64(bytes, at, before));
        if word.is_some() {
            return word;
        }
        if matches!(bytes[at], b'-' | b'+') && before != b')' && digit(bytes, at + 1) {
            return Some(number(bytes, at + 1, true));
        }
    }
    digit(bytes, at).then(|| number(bytes, at, !before.is_ascii_alphanumeric()))
}

/// A run of five or more of the characters that draw rules.
fn rule(bytes: &[u8], at: usize) -> Option<usize> {
    let drawn = |at: usize| at < bytes.len() && matches!(bytes[at], b'-' | b'=' | b'_' | b'*' | b'~' | b'#');
    if !drawn(at) || (at > 0 && drawn(at - 1)) {
        return None;
    }
    let end = run(bytes, at, |byte| matches!(byte, b'-' | b'=' | b'_' | b'*' | b'~' | b'#'));
    (end - at >= 5).then_some(end)
}

fn digit(bytes: &[u8], at: usize) -> bool {
    bytes.get(at).is_some_and(u8::is_ascii_digit)
}

/// Where the bytes that belong end.
fn run(bytes: &[u8], at: usize, belongs: impl Fn(u8) -> bool) -> usize {
    at + bytes[at..].iter().take_while(|byte| belongs(**byte)).count()
}

/// Whether a word ends at `at`.
fn ends(bytes: &[u8], at: usize) -> bool {
    !bytes.get(at).is_some_and(u8::is_ascii_alphanumeric)
}

fn uuid(bytes: &[u8], at: usize) -> Option<usize> {
    let text = bytes.get(at..at + 36)?;
    let sound = text.iter().enumerate().all(|(index, byte)| match index {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    });
    (sound && ends(bytes, at + 36)).then_some(at + 36)
}

fn hex(bytes: &[u8], at: usize, before: u8) -> Option<usize> {
    if bytes[at] == b'0' && bytes.get(at + 1).is_some_and(|byte| matches!(byte, b'x' | b'X')) {
        let end = run(bytes, at + 2, |byte| byte.is_ascii_hexdigit());
        return (end > at + 2).then_some(end);
    }
    let end = run(bytes, at, |byte| byte.is_ascii_hexdigit());
    let digits = bytes[at..end].iter().any(u8::is_ascii_digit);
    (end - at >= if before == b'@' { 5 } else { 8 } && digits && ends(bytes, end)).then_some(end)
}

/// `2025-01-30`, `2025/01/30`, with `T22:18:38.765Z` and the like.
fn date_time(bytes: &[u8], at: usize) -> Option<usize> {
    let form = |form: &[u8], at: usize| {
        let text = bytes.get(at..at + form.len())?;
        let fits =
            text.iter().zip(form).all(|(byte, form)| if *form == b'd' { byte.is_ascii_digit() } else { byte == form });
        fits.then_some(at + form.len())
    };
    let end = form(b"dddd-dd-dd", at).or_else(|| form(b"dddd/dd/dd", at))?;
    if digit(bytes, end) {
        return None;
    }
    match bytes.get(end) {
        Some(b'T' | b' ') => Some(clock(bytes, end + 1).or_else(|| form(b"dd:dd", end + 1)).unwrap_or(end)),
        _ => Some(end),
    }
}

/// `22:18:38`, with `.765` and a zone.
fn clock(bytes: &[u8], at: usize) -> Option<usize> {
    let text = bytes.get(at..at + 8)?;
    let sound = text
        .iter()
        .enumerate()
        .all(|(index, byte)| if matches!(index, 2 | 5) { *byte == b':' } else { byte.is_ascii_digit() });
    if !sound || digit(bytes, at + 8) {
        return None;
    }
    let mut end = at + 8;
    if matches!(bytes.get(end), Some(b'.' | b',')) && digit(bytes, end + 1) {
        end = run(bytes, end + 1, |byte| byte.is_ascii_digit());
    }
    match bytes.get(end) {
        Some(b'Z') => Some(end + 1),
        Some(b'+' | b'-') if digit(bytes, end + 1) && digit(bytes, end + 2) => {
            Some(run(bytes, end + 1, |byte| byte.is_ascii_digit() || byte == b':').min(end + 6))
        }
        _ => Some(end),
    }
}

fn ip4(bytes: &[u8], at: usize) -> Option<usize> {
    let mut end = at;
    for part in 0..4 {
        if part > 0 {
            end = (bytes.get(end) == Some(&b'.')).then_some(end + 1)?;
        }
        let next = run(bytes, end, |byte| byte.is_ascii_digit());
        end = (1..=3).contains(&(next - end)).then_some(next)?;
    }
    if !ends(bytes, end) || bytes.get(end) == Some(&b'.') && digit(bytes, end + 1) {
        return None;
    }
    let port = bytes.get(end) == Some(&b':') && digit(bytes, end + 1);
    Some(if port { run(bytes, end + 1, |byte| byte.is_ascii_digit()) } else { end })
}

fn ip6(bytes: &[u8], at: usize) -> Option<usize> {
    let end = run(bytes, at, |byte| byte.is_ascii_hexdigit() || byte == b':');
    let text = &bytes[at..end];
    let colons = text.iter().filter(|byte| **byte == b':').count();
    let short = text.windows(2).any(|pair| pair == b"::");
    let sound =
        (colons >= 5 || short) && text.iter().any(u8::is_ascii_digit) && text.last() != Some(&b':') && ends(bytes, end);
    sound.then_some(end)
}

fn base64(bytes: &[u8], at: usize, before: u8) -> Option<usize> {
    let alphabet = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    if alphabet(before) {
        return None;
    }
    let end = run(bytes, at, alphabet);
    let padded = run(bytes, end, |byte| byte == b'=');
    let text = &bytes[at..end];
    let mixed = text.iter().any(u8::is_ascii_uppercase)
        && text.iter().any(u8::is_ascii_lowercase)
        && text.iter().any(|byte| !byte.is_ascii_alphabetic());
    ((1..=2).contains(&(padded - end)) && text.len() >= 10 && mixed && ends(bytes, padded)).then_some(padded)
}

const UNITS: &[&str] = &[
    "ns",
    "us",
    "ms",
    "s",
    "m",
    "h",
    "d",
    "sec",
    "secs",
    "second",
    "seconds",
    "min",
    "mins",
    "minute",
    "minutes",
    "hour",
    "hours",
    "day",
    "days",
    "millis",
    "msec",
    "millisecond",
    "milliseconds",
    "microseconds",
    "nanoseconds",
];

/// A number that begins with the digit at `at`, with its unit if it is a length of time.
fn number(bytes: &[u8], at: usize, word: bool) -> usize {
    let digits = |at: usize| run(bytes, at, |byte| byte.is_ascii_digit());
    let mut end = digits(at);
    while matches!(bytes.get(end), Some(b'.' | b',' | b'_')) && digit(bytes, end + 1) {
        end = digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let signed = end + 1 + usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        if digit(bytes, signed) && ends(bytes, digits(signed)) {
            end = digits(signed);
        }
    }
    let Some(unit) = word.then(|| unit(bytes, end)).flatten() else { return end };
    if digit(bytes, unit) { number(bytes, unit, true) } else { unit }
}

/// Where the unit of time after a number ends.
fn unit(bytes: &[u8], at: usize) -> Option<usize> {
    let start = at + usize::from(bytes.get(at) == Some(&b' '));
    if bytes[start..].starts_with("µs".as_bytes()) {
        return Some(start + "µs".len());
    }
    let end = run(bytes, start, |byte| byte.is_ascii_alphabetic());
    let apart = start > at && digit(bytes, end);
    (!apart && UNITS.iter().any(|unit| unit.as_bytes() == &bytes[start..end])).then_some(end)
}

const TEMPORARY: &[&str] =
    &["/tmp/", "/var/tmp/", "/var/folders/", "/private/tmp/", "/private/var/folders/", "/dev/shm/"];
const HOMES: &[&str] = &["/home/", "/Users/"];

/// A temporary folder, or somebody's home.
fn folder(bytes: &[u8], at: usize, before: u8) -> Option<usize> {
    let inside =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/' | b'\\' | b'~' | b'*');
    let scheme = bytes[..at].ends_with(b"://");
    if inside(before) && !scheme {
        return None;
    }
    let drive = bytes[at] != b'/';
    if drive && !(bytes.get(at + 1) == Some(&b':') && matches!(bytes.get(at + 2), Some(b'\\' | b'/'))) {
        return None;
    }
    let start = if drive { at + 2 } else { at };
    let root = |root: &str| {
        let begins = bytes.get(start..start + root.len());
        begins.is_some_and(|begins| begins.iter().zip(root.bytes()).all(|(byte, root)| plain(*byte) == root))
    };
    let (temporary, home) = (TEMPORARY.iter().any(|it| root(it)), HOMES.iter().find(|it| root(it)));
    if !(temporary || home.is_some() || drive) {
        return None;
    }
    let part = |byte: u8| byte.is_ascii_alphanumeric() || byte >= 0x80 || b"._-/\\@+~$".contains(&byte);
    let end = run(bytes, start, part);
    let inside_temporary =
        || bytes[start..end].to_ascii_lowercase().split(|byte| plain(*byte) == b'/').any(|part| part == b"temp");
    if temporary || drive && inside_temporary() {
        let last = end - bytes[at..end].iter().rev().take_while(|byte| plain(**byte) != b'/').count();
        let name = &bytes[last..end];
        let random = name.starts_with(b"tmp") || !name.iter().skip(1).any(|byte| *byte == b'.');
        return Some(if random { end } else { last - 1 });
    }
    let user = start + home?.len();
    Some(run(bytes, user, |byte| part(byte) && plain(byte) != b'/').min(end))
}

/// One way of writing a separator.
fn plain(byte: u8) -> u8 {
    if byte == b'\\' { b'/' } else { byte }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(line: &str) -> String {
        let mut out = String::new();
        mask(line, &mut out);
        out
    }

    #[test]
    fn what_varies_is_masked_and_the_rest_is_not() {
        for (line, expected) in [
            ("Null pointer exception at ip 0x45637271", "Null pointer exception at ip %"),
            ("Could not connect to 127.1.2.1:8080: refused", "Could not connect to %: refused"),
            ("Could not connect to fe80::1%eth0", "Could not connect to %eth%"),
            ("Received unexpected response: AdafdxAAD17917+/=", "Received unexpected response: %"),
            ("uniqueErrorCode=1; info=An unexpected", "uniqueErrorCode=%; info=An unexpected"),
            ("id 2e24e003-9ffd-4e78-852c-9dcb6cbef493 gone", "id % gone"),
            ("commit 4f3a9b1c2d and Foo@1b2c3d, facade defaced", "commit % and Foo@%, facade defaced"),
            ("took 1m20.5s, then 500 ms, then 10 second(s)", "took %, then %, then %(s)"),
            ("at 2025-01-30T22:18:38.765Z and 2025-01-30 22:18", "at % and %"),
            ("took 12µs of -1,234.5e-7 for x-5 in v1.2.3", "took % of % for x-% in v%"),
            ("test4Charge Proxy69 a:9:22", "test%Charge Proxy% a:%:%"),
            ("----=== STEP FAILED ===----  a--b __init__", " STEP FAILED a--b __init__"),
            ("open /tmp/pytest-of-ci/t0/out.txt: no", "open %/out.txt: no"),
            ("open /tmp/tmpab3x/f and /home/ci/src/a.rs", "open % and %/src/a.rs"),
            (r"C:\Users\ANN~1\AppData\Local\Temp\x1\log.txt", r"%\log.txt"),
            ("file:/home/jenkins/x.png https://a.example/home/b", "file:%/x.png https://a.example/home/b"),
            ("std::vec::Vec<ab::cd> a/b/c (3-5) é5", "std::vec::Vec<ab::cd> a/b/c (%-%) é%"),
        ] {
            assert_eq!(masked(line), expected.trim_start(), "{line}");
        }
    }

    #[test]
    fn timestamps_at_the_beginning_go() {
        for line in [
            "2025-01-30T22:18:38.765Z boom",
            "[2022-10-25 08:22:25.826] boom",
            "Mon, 12 January 2017 11:34:35 boom",
            "11:59:05.791 boom",
            "Jan 3 11:59:05 UTC boom",
        ] {
            assert_eq!(without_timestamp(line), "boom", "{line}");
        }
        for line in ["12 of 13 failed", "may fail", "2025 boom", "11:59:05"] {
            assert_eq!(without_timestamp(line), line);
        }
    }

    #[test]
    fn ansi_sequences_go() {
        assert_eq!(without_ansi("\u{1b}[1;31mred\u{1b}[0m\u{1b}]0;title\u{7}\r\n\u{0}x"), "red\nx");
    }

    #[test]
    fn hostile_lines_take_linear_time() {
        for unit in ["a", "0", "aA0+/", "1.", "f:", "/tmp/", "-", "1m", "1:", "a:/"] {
            let line = unit.repeat((1 << 20) / unit.len());
            let mut out = String::new();
            mask(&line, &mut out);
            assert!(out.len() <= line.len());
        }
    }
}
