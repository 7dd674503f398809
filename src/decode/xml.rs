//! Characters of XML: references, white space in attributes, characters that may not stand there; and the name of a
//! document's first element.
//!
//! Contract: total functions over text. Entities of a document's own are never resolved: they stay as they stand.

use std::borrow::Cow;

/// The local name of the first element, looked for behind the declaration, comments and the document type.
pub(super) fn root(text: &str) -> Option<&str> {
    let mut rest = text;
    loop {
        rest = &rest[rest.find('<')? + 1..];
        let end = match rest.as_bytes().first()? {
            b'?' => "?>",
            b'!' if rest.starts_with("!--") => "-->",
            // What stands inside the brackets of a document type may have the look of anything.
            b'!' if rest.split('>').next().is_some_and(|start| start.contains('[')) => "]",
            b'!' => ">",
            _ => {
                let name = rest.split(|c: char| c.is_whitespace() || matches!(c, '>' | '/')).next()?;
                return Some(name.rsplit(':').next().unwrap_or(name)).filter(|name| !name.is_empty());
            }
        };
        rest = &rest[rest.find(end)? + end.len()..];
    }
}

/// `text` without characters that XML forbids, and whether there were any. The escape character stays: a terminal's
/// colours are recognised later, whole.
pub(super) fn legal(text: &str) -> (Cow<'_, str>, bool) {
    let forbidden = |c: char| matches!(c, '\0'..='\x08' | '\x0B' | '\x0C' | '\x0E'..='\x1A' | '\x1C'..='\x1F' | '\u{FFFE}' | '\u{FFFF}');
    if text.contains(forbidden) {
        (Cow::Owned(text.replace(forbidden, "\u{FFFD}")), true)
    } else {
        (Cow::Borrowed(text), false)
    }
}

/// What a reference stands for: `lt`, `#10`, `#x1F`. `None` for entities of a document's own.
pub(super) fn reference(name: &str) -> Option<char> {
    let number = match name {
        "lt" => return Some('<'),
        "gt" => return Some('>'),
        "amp" => return Some('&'),
        "apos" => return Some('\''),
        "quot" => return Some('"'),
        _ => name.strip_prefix('#')?,
    };
    let code = match number.strip_prefix(['x', 'X']) {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => number.parse(),
    };
    Some(code.ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER))
}

/// An attribute's value: references replaced, white space as one space each. Unknown entities stay as they are, and are
/// told.
pub(super) fn attribute(raw: &str) -> (Cow<'_, str>, bool) {
    if !raw.contains(['&', '\n', '\r', '\t']) {
        return (Cow::Borrowed(raw), false);
    }
    let mut unknown = false;
    let mut value = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find(['&', '\n', '\r', '\t']) {
        value.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        // A reference is short; a bare ampersand must not make the scan for its end quadratic.
        let name = rest[at..].strip_prefix('&').and_then(|name| {
            let end = name.bytes().take(40).position(|byte| byte == b';')?;
            Some(&name[..end])
        });
        rest = match name {
            Some(name) => match reference(name) {
                Some(c) => {
                    value.push(c);
                    &tail[name.len() + 1..]
                }
                None => {
                    unknown = true;
                    value.push('&');
                    tail
                }
            },
            None if rest[at..].starts_with('&') => {
                value.push('&');
                tail
            }
            None => {
                value.push(' ');
                if rest[at..].starts_with("\r\n") { &tail[1..] } else { tail }
            }
        };
    }
    value.push_str(rest);
    (Cow::Owned(value), unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_element_stands_behind_the_prolog() {
        for (text, name) in [
            ("<a/>", Some("a")),
            ("<?xml version='1.0'?>\n<!-- <b> --><a>", Some("a")),
            ("<!DOCTYPE coverage SYSTEM 'http://x/coverage-04.dtd'>\r\n<coverage line-rate='1'>", Some("coverage")),
            ("<!DOCTYPE t [<!ENTITY a '<b>'><!ELEMENT c (d)>]><ns:t\tx=''/>", Some("t")),
            ("<", None),
            ("<!--", None),
            ("< a", None),
            ("no markup", None),
        ] {
            assert_eq!(root(text), name, "{text}");
        }
    }

    #[test]
    fn attributes_lose_their_references() {
        assert_eq!(attribute("plain"), (Cow::Borrowed("plain"), false));
        assert_eq!(attribute("&lt;a&gt;&amp;&quot;&apos;&#10;&#x41;\r\n\tb").0, "<a>&\"'\nA  b");
        assert_eq!(attribute("a & b && c;&").0, "a & b && c;&");
        assert_eq!(attribute("&xxe; &lt;"), (Cow::Borrowed("&xxe; <"), true));
        assert_eq!(attribute("&#0;&#xD800;&#99999999999;").0, "\0\u{FFFD}\u{FFFD}");
    }

    #[test]
    fn forbidden_characters_are_replaced_but_colours_stay() {
        assert_eq!(legal("a\x1b[31mb\tc\n"), (Cow::Borrowed("a\x1b[31mb\tc\n"), false));
        assert_eq!(legal("a\0b\x08"), (Cow::Borrowed("a\u{FFFD}b\u{FFFD}"), true));
    }
}
