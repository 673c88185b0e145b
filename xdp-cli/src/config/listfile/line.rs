//! Reads one line of a list file, in any of the forms that lists have.
//!
//! - an address, a prefix, or a `first-last` range (FireHOL netset and ipset);
//! - Spamhaus DROP, in text (`192.0.2.0/24 ; SBL1`) and in JSON lines
//!   (`{"cidr":"192.0.2.0/24","sblid":"SBL1"}`, with a line of metadata).
//!
//! `#` and `;` start a comment, which may follow an entry.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::Deserialize;

use crate::config::prefix::{self, Parsed, PrefixError};
use crate::config::range::{self, IpRange, RangeError};

/// The content of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// No entry: a blank line, a comment or metadata.
    Nothing,
    /// A prefix, and the start and end of its bytes in the line.
    Prefix(Parsed, (usize, usize)),
    RangeV4(u32, u32),
    RangeV6(u128, u128),
}

/// Why a line cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    /// The start and end of the wrong bytes in the line.
    pub(super) span: (usize, usize),
    pub(super) reason: Reason,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Prefix(PrefixError),
    Range(RangeError),
    Json,
    NotText,
}

impl Reason {
    /// What is wrong, worded to follow the value.
    pub(super) fn message(&self) -> &'static str {
        match self {
            Self::Prefix(_) => "is not an address, a prefix or a range",
            Self::Range(error) => error.message(),
            Self::Json => "is not a JSON line with a \"cidr\"",
            Self::NotText => "is not UTF-8 text",
        }
    }

    /// A hint that says what to write instead.
    pub(super) fn hint(&self) -> String {
        match self {
            Self::Prefix(PrefixError::Address | PrefixError::Range) => {
                "an entry looks like 203.0.113.7, 203.0.113.0/24, 203.0.113.1-203.0.113.9 \
                 or 2001:db8::/32"
                    .into()
            }
            Self::Prefix(error) => error.hint(),
            Self::Range(error) => error.hint().into(),
            Self::Json => "a line looks like {\"cidr\":\"203.0.113.0/24\"}".into(),
            Self::NotText => "a list file is plain text".into(),
        }
    }
}

/// Reads a line, given without its line feed.
pub(super) fn read(line: &[u8]) -> Result<Line, Unreadable> {
    let start = line.iter().position(|byte| !is_blank(*byte)).unwrap_or(line.len());
    match line.get(start) {
        None | Some(b'#' | b';') => return Ok(Line::Nothing),
        Some(b'{') => return read_json(line, start),
        Some(_) => {}
    }
    let (start, end) = entry_span(line);
    let unreadable = |reason| Unreadable { span: (start, end), reason };
    let text = std::str::from_utf8(&line[start..end]).map_err(|_| unreadable(Reason::NotText))?;
    let error = match prefix::parse(text) {
        Ok(parsed) => return Ok(Line::Prefix(parsed, (start, end))),
        Err(error) => error,
    };
    match range::parse(text) {
        Some(Ok(IpRange::V4(first, last))) => Ok(Line::RangeV4(first, last)),
        Some(Ok(IpRange::V6(first, last))) => Ok(Line::RangeV6(first, last)),
        Some(Err(error)) => Err(unreadable(Reason::Range(error))),
        None => Err(unreadable(Reason::Prefix(error))),
    }
}

/// The start and end of a line's content, without blanks around it and without a comment.
pub(super) fn entry_span(line: &[u8]) -> (usize, usize) {
    let end = line.iter().position(|byte| matches!(byte, b'#' | b';' | b'\n'));
    let end = end.unwrap_or(line.len());
    let start = line[..end].iter().position(|byte| !is_blank(*byte)).unwrap_or(end);
    (start, trimmed(line, start, end))
}

/// Whether a line that holds no entry is one of a hosts file: an address, and then names.
pub(super) fn is_of_hosts_file(line: &[u8]) -> bool {
    let (start, end) = entry_span(line);
    let Ok(text) = std::str::from_utf8(&line[start..end]) else { return false };
    let mut fields = text.split_ascii_whitespace();
    // Such as `fe80::1%lo0 localhost`.
    let address = fields.next().and_then(|field| field.split('%').next());
    let names = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    address.is_some_and(|address| address.parse::<IpAddr>().is_ok())
        && fields.next().is_some_and(names)
}

/// The keys that matter in a line of Spamhaus DROP in JSON.
#[derive(Deserialize)]
struct JsonLine<'l> {
    /// Empty if there is none. Not an `Option`, since serde does not borrow a string inside one.
    #[serde(borrow, default)]
    cidr: Cow<'l, str>,
    #[serde(borrow, default, rename = "type")]
    kind: Cow<'l, str>,
}

fn read_json(line: &[u8], start: usize) -> Result<Line, Unreadable> {
    let end = trimmed(line, start, line.len());
    let unreadable = |span, reason| Err(Unreadable { span, reason });
    let mut values = serde_json::Deserializer::from_slice(&line[start..end]).into_iter();
    let Some(Ok(JsonLine { cidr, kind })) = values.next() else {
        return unreadable((start, end), Reason::Json);
    };
    let rest = &line[start + values.byte_offset()..end];
    if !matches!(rest.iter().find(|byte| !is_blank(**byte)), None | Some(b'#' | b';')) {
        return unreadable((start, end), Reason::Json);
    }
    if cidr.is_empty() {
        return match &*kind {
            "metadata" => Ok(Line::Nothing),
            _ => unreadable((start, end), Reason::Json),
        };
    }
    // An address needs no escapes. Without any, the value lies in the line itself.
    let span = match &cidr {
        Cow::Borrowed(text) => {
            let offset = text.as_ptr() as usize - line.as_ptr() as usize;
            (offset, offset + text.len())
        }
        Cow::Owned(_) => (start, end),
    };
    match prefix::parse(&cidr) {
        Ok(parsed) => Ok(Line::Prefix(parsed, span)),
        Err(error) => unreadable(span, Reason::Prefix(error)),
    }
}

/// The end of `line[start..end]` once trailing blanks are cut off.
fn trimmed(line: &[u8], start: usize, end: usize) -> usize {
    line[start..end].iter().rposition(|byte| !is_blank(*byte)).map_or(start, |at| start + at + 1)
}

pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How a line was read, as text.
    fn shown(line: &str) -> String {
        match read(line.as_bytes()) {
            Ok(Line::Nothing) => "nothing".into(),
            Ok(Line::Prefix(parsed, (start, end))) => {
                let masked = if parsed.host_bits { " masked" } else { "" };
                format!("{} from {:?}{masked}", parsed.prefix, &line[start..end])
            }
            Ok(Line::RangeV4(first, last)) => format!("{first:x} to {last:x}"),
            Ok(Line::RangeV6(first, last)) => format!("{first:x} to {last:x}"),
            Err(Unreadable { span: (start, end), reason }) => {
                format!("{:?} {}", &line[start..end], reason.message())
            }
        }
    }

    #[test]
    fn every_form_of_line() {
        for (line, expected) in [
            ("", "nothing"),
            (" \t\r", "nothing"),
            ("# 1.2.3.4", "nothing"),
            ("  ; Spamhaus DROP List", "nothing"),
            ("1.2.3.4", r#"1.2.3.4/32 from "1.2.3.4""#),
            ("\t1.2.3.0/24 ; SBL1\r", r#"1.2.3.0/24 from "1.2.3.0/24""#),
            ("1.2.3.4#x", r#"1.2.3.4/32 from "1.2.3.4""#),
            ("1.2.3.4/8", r#"1.0.0.0/8 from "1.2.3.4/8" masked"#),
            ("2001:db8::/32 # x", r#"2001:db8::/32 from "2001:db8::/32""#),
            ("1.2.3.4-1.2.3.9", "1020304 to 1020309"),
            ("1.2.3.4 - 1.2.3.9 ; x", "1020304 to 1020309"),
            ("::1-::9", "1 to 9"),
            ("1.2.3.9-1.2.3.4", r#""1.2.3.9-1.2.3.4" is a range whose end comes before its start"#),
            ("::9-::1", r#""::9-::1" is a range whose end comes before its start"#),
            ("1.2.3.4-::1", r#""1.2.3.4-::1" is a range from one address family to the other"#),
            ("1.2.3.4-", r#""1.2.3.4-" is not an address, a prefix or a range"#),
            (
                "1.2.3.4-1.2.3.5-1.2.3.6",
                r#""1.2.3.4-1.2.3.5-1.2.3.6" is not an address, a prefix or a range"#,
            ),
            ("1.2.3.4 1.2.3.5", r#""1.2.3.4 1.2.3.5" is not an address, a prefix or a range"#),
            ("1.2.3.4/33", r#""1.2.3.4/33" is not an address, a prefix or a range"#),
            ("fe80::1%eth0", r#""fe80::1%eth0" is not an address, a prefix or a range"#),
            ("example.org ", r#""example.org" is not an address, a prefix or a range"#),
            (
                r#"{"cidr":"1.10.16.0/20","sblid":"SBL256894","rir":"apnic"}"#,
                r#"1.10.16.0/20 from "1.10.16.0/20""#,
            ),
            (
                r#" { "rir" : "x" , "cidr" : "2001:db8::/32" } # x"#,
                r#"2001:db8::/32 from "2001:db8::/32""#,
            ),
            (r#"{"cidr":"1.10.16.0\/20"}"#, r#"1.10.16.0/20 from "{\"cidr\":\"1.10.16.0\\/20\"}""#),
            (r#"{"type":"metadata","timestamp":1,"size":2}"#, "nothing"),
            (r#"{"cidr":"1.2.3.4/40"}"#, r#""1.2.3.4/40" is not an address, a prefix or a range"#),
        ] {
            assert_eq!(shown(line), expected, "{line}");
        }
        for line in [
            r#"{"type":"other"}"#,
            r#"{"cidr":5}"#,
            r#"{"cidr":"1.2.3.4"} 1.2.3.5"#,
            r#"{"cidr":"1.2.3.4"},"#,
            r#"{"cidr":"1.2.3.4""#,
            "{}",
            "{",
        ] {
            assert_eq!(read(line.as_bytes()).unwrap_err().reason, Reason::Json, "{line}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_unreadable() {
        let error = read(b"  1.2.3.\xff # x").unwrap_err();
        assert_eq!(error, Unreadable { span: (2, 9), reason: Reason::NotText });
        // A comment need not be UTF-8.
        assert!(matches!(read(b"1.2.3.4 # caf\xe9"), Ok(Line::Prefix(..))));
    }
}
