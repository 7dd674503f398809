//! The bytes of a report as text.
//!
//! Contract: a byte order mark decides, else the zero bytes of UTF-16, else the declaration. UTF-8, UTF-16, US-ASCII and
//! the Latin-1 family are decoded. A declaration that the bytes contradict (`utf-16` over plain ASCII, as some .NET
//! writers do) is not believed. Of other encodings the ASCII part is kept.
//!
//! # Failure
//! What is no text becomes U+FFFD, with a complaint; nothing is refused.
//!
//! # Cost
//! One validation of the bytes; UTF-8 is borrowed.

use super::event::without_bom;
use std::borrow::Cow;

/// The text, and what is to be said about the way to it.
pub(super) fn to_text(input: &[u8]) -> (Cow<'_, str>, Option<String>) {
    if let Some(rest) = input.strip_prefix(b"\xFF\xFE") {
        return utf16(rest, u16::from_le_bytes);
    }
    if let Some(rest) = input.strip_prefix(b"\xFE\xFF") {
        return utf16(rest, u16::from_be_bytes);
    }
    match input {
        [b'<', 0, ..] => return utf16(input, u16::from_le_bytes),
        [0, b'<', ..] => return utf16(input, u16::from_be_bytes),
        _ => {}
    }
    let bytes = without_bom(input);
    let declared = declared(bytes).map(str::to_ascii_lowercase);
    match declared.as_deref() {
        None | Some("utf-8" | "utf8" | "us-ascii" | "ascii") => utf8(bytes),
        Some("iso-8859-1" | "iso8859-1" | "iso_8859-1" | "latin1" | "latin-1" | "windows-1252" | "cp1252") => {
            (latin1(bytes), None)
        }
        Some("iso-8859-15" | "latin-9") => (Cow::Owned(latin1(bytes).replace('¤', "€")), None),
        Some(other) => match utf8(bytes) {
            (text, None) if other.starts_with("utf-16") => {
                (text, Some(format!("the file is declared as {other} and is not: read as UTF-8")))
            }
            (text, None) => (text, None),
            (text, Some(_)) => (text, Some(format!("the encoding {other} is not known: only its ASCII part was kept"))),
        },
    }
}

/// The encoding that the XML declaration names.
fn declared(bytes: &[u8]) -> Option<&str> {
    let bytes = bytes.trim_ascii_start();
    let head = std::str::from_utf8(bytes.get(..bytes.len().min(200))?.split(|byte| *byte == b'>').next()?).ok()?;
    let value = head.strip_prefix("<?xml")?.split_once("encoding")?.1.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    value[1..].split(quote).next()
}

fn utf8(bytes: &[u8]) -> (Cow<'_, str>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Cow::Borrowed(text), None),
        Err(error) => {
            let at = error.valid_up_to();
            (String::from_utf8_lossy(bytes), Some(format!("byte {at} is not UTF-8: such bytes became U+FFFD")))
        }
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> (Cow<'_, str>, Option<String>) {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let mut broken = !rest.is_empty();
    let mut text = String::with_capacity(bytes.len() / 2);
    for unit in char::decode_utf16(pairs.iter().map(|pair| unit(*pair))) {
        broken |= unit.is_err();
        text.push(unit.unwrap_or(char::REPLACEMENT_CHARACTER));
    }
    (Cow::Owned(text), broken.then(|| "broken UTF-16: such units became U+FFFD".to_owned()))
}

/// ISO 8859-1 as the web reads it: bytes 80 to 9F as in windows-1252.
fn latin1(bytes: &[u8]) -> Cow<'_, str> {
    const HIGH: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8D}', 'Ž', '\u{8F}', '\u{90}', '‘',
        '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9D}', 'ž', 'Ÿ',
    ];
    match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => Cow::Borrowed(text),
        _ => bytes
            .iter()
            .map(|byte| match byte {
                0x80..=0x9F => HIGH[usize::from(byte - 0x80)],
                _ => char::from(*byte),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(unit).collect()
    }

    #[test]
    fn every_encoding_gives_the_same_text() {
        let text = "<?xml version=\"1.0\" encoding=\"X\"?><a name=\"é€\"/>";
        let named = |name: &str| text.replace("\"X\"", &format!("\"{name}\""));
        let latin: Vec<u8> = named("ISO-8859-1")
            .chars()
            .map(|c| if c == '€' { 0x80 } else { u8::try_from(u32::from(c)).expect("is Latin-1") })
            .collect();
        for (bytes, name) in [
            (named("UTF-8").into_bytes(), "UTF-8"),
            ([b"\xEF\xBB\xBF".as_slice(), named("utf-8").as_bytes()].concat(), "utf-8"),
            (latin, "ISO-8859-1"),
            ([b"\xFF\xFE".as_slice(), &encoded(&named("UTF-16"), u16::to_le_bytes)].concat(), "UTF-16"),
            ([b"\xFE\xFF".as_slice(), &encoded(&named("UTF-16"), u16::to_be_bytes)].concat(), "UTF-16"),
            (encoded(&named("UTF-16LE"), u16::to_le_bytes), "UTF-16LE"),
            (encoded(&named("UTF-16BE"), u16::to_be_bytes), "UTF-16BE"),
        ] {
            assert_eq!(to_text(&bytes), (Cow::Owned(named(name)), None));
        }
    }

    #[test]
    fn what_is_no_text_is_said_and_replaced() {
        for bytes in [
            b"<a b='\xff'/>".as_slice(),
            b"\xFF\xFE<\0a",
            b"<?xml version='1.0' encoding='Shift_JIS'?><a b='\x83\x65'/>",
            b"<?xml version='1.0' encoding='utf-16'?><a/>",
        ] {
            let (text, complaint) = to_text(bytes);
            assert!(text.contains("<a") || text.contains('<'), "{text}");
            assert!(complaint.is_some(), "{text}");
        }
    }
}
