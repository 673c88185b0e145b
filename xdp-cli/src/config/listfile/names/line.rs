//! Reads one line of a list of names, in any of the forms that such lists have:
//!
//! - a name, as in a configuration;
//! - a line of a hosts file (hosts(5)): `0.0.0.0 name name`;
//! - a rule of an ad blocker: `||name^`. Exceptions (`@@…`), and rules that say more than a name, are
//!   left aside;
//! - dnsmasq's `address=/name/…`, `local=/name/` and `server=/name/`, with as many names;
//! - unbound's `local-zone: "name" type`;
//! - a record of a zone file: see [`zone`](super::zone).
//!
//! `#` and `;` start a comment, which may follow a name; `!` does at the start of a line.

use std::net::{IpAddr, Ipv6Addr};

use super::scan::{Scan, Skip};
use super::words::{is_blank, split_word, trim, words};
use crate::config::domain_name::NameError;

/// Lines of a record in parentheses. One that is longer was never closed: what follows it is read.
const LONGEST_RECORD: u32 = 100;

impl<'s> Scan<'s> {
    /// Reads the line.
    pub(super) fn read_line(&mut self) {
        let text = trim(self.text);
        if self.zone.open > 0 {
            if self.line - self.zone.opened < LONGEST_RECORD {
                return self.continue_record(text);
            }
            self.refuse_open();
        }
        match text {
            [] => {}
            [b'#' | b';' | b'!', ..] => self.findings.skipped.comments += 1,
            [b'[', .., b']'] => self.is_adblock = true,
            [b'@', b'@', ..] => {
                self.is_adblock = true;
                self.skip(Skip::Exception);
            }
            [b'|', ..] => {
                self.is_adblock = true;
                self.read_rule(text);
            }
            [b'$', ..] => self.read_directive(text),
            _ if self.read_dnsmasq(text) => {}
            _ => self.read_words(text),
        }
    }

    /// Reads a line of words that blanks divide.
    fn read_words(&mut self, text: &'s [u8]) {
        let Some(text) = uncommented(text) else { return self.skip(Skip::Rule) };
        let text = trim(text);
        let Some((first, rest)) = split_word(text) else {
            return match self.buffer.read(text) {
                Ok(()) => self.push(text),
                // The line above the `local-zone:`s of a file for unbound.
                Err(_) if text == b"server:" => {}
                Err(NameError::Star | NameError::Byte(_)) if self.is_adblock => {
                    self.skip(Skip::Rule);
                }
                Err(error) => self.refuse(text, error),
            };
        };
        if is_address(first) {
            for name in words(rest) {
                match is_local(name) {
                    true => self.findings.skipped.local += 1,
                    false => self.take(name),
                }
            }
        } else if let Some(zone) = text.strip_prefix(b"local-zone:") {
            self.read_local_zone(trim(zone));
        } else if first.starts_with(b"local-data:") || first.starts_with(b"local-data-ptr:") {
            self.skip(Skip::Record);
        } else if !self.read_record(text) {
            match self.buffer.read(text) {
                Err(NameError::Byte(_) | NameError::Star) if self.is_adblock => {
                    self.skip(Skip::Rule);
                }
                Err(error) => self.refuse(text, error),
                Ok(()) => self.refuse(text, NameError::Byte(b' ')),
            }
        }
    }

    /// Reads a rule of an ad blocker that begins with `|`.
    fn read_rule(&mut self, text: &'s [u8]) {
        let name = text.strip_prefix(b"||").unwrap_or_default();
        let name = name.strip_suffix(b"|").unwrap_or(name).strip_suffix(b"^");
        let Some(name) = name else { return self.skip(Skip::Rule) };
        match self.buffer.read(name) {
            Ok(()) => self.push(name),
            Err(NameError::Star | NameError::Byte(_) | NameError::Address) => self.skip(Skip::Rule),
            Err(error) => self.refuse(name, error),
        }
    }

    /// Reads a line of dnsmasq's configuration that gives names an answer. Returns whether it is
    /// one.
    fn read_dnsmasq(&mut self, text: &'s [u8]) -> bool {
        let forms = [&b"address=/"[..], b"local=/", b"server=/"];
        let Some((form, rest)) =
            forms.iter().find_map(|form| Some((form, text.strip_prefix(*form)?)))
        else {
            return false;
        };
        let rest = split_word(rest).map_or(rest, |(word, _)| word);
        let Some(end) = rest.iter().rposition(|byte| *byte == b'/') else {
            let hint = "names stand between slashes, as in address=/example.org/0.0.0.0";
            self.unreadable(text, "has no slash behind its names", hint);
            return true;
        };
        // What stands behind the names may be an address or `#`.
        let names = &rest[..end];
        let answer = &rest[end + 1..];
        // Names for which another server is asked.
        if form.starts_with(b"server") && !answer.is_empty() {
            self.skip(Skip::Exception);
            return true;
        }
        for name in names.split(|byte| *byte == b'/') {
            match name {
                // Any name.
                b"#" if self.buffer.read(b".").is_ok() => self.push(name),
                _ => self.take(name.strip_prefix(b".").unwrap_or(name)),
            }
        }
        true
    }

    /// Reads what follows `local-zone:`.
    fn read_local_zone(&mut self, text: &'s [u8]) {
        let (name, kind) = split_word(text).unwrap_or((text, &[]));
        let name = unquoted(name);
        match unquoted(trim(kind)) {
            b"" | b"deny" | b"refuse" | b"static" | b"redirect" | b"inform_deny"
            | b"inform_redirect" | b"always_refuse" | b"always_nxdomain" | b"always_nodata"
            | b"always_deny" | b"always_null" => self.take(name),
            b"transparent"
            | b"typetransparent"
            | b"nodefault"
            | b"inform"
            | b"always_transparent" => self.skip(Skip::Exception),
            b"block_a" | b"noview" | b"ipset" => self.skip(Skip::Record),
            other => {
                let hint =
                    "a zone of names to refuse is \"always_nxdomain\", \"refuse\" or the like";
                self.unreadable(other, "is no type of a local-zone", hint);
            }
        }
    }
}

/// The text before a comment. `None` for a rule of an ad blocker about parts of a page, such as
/// `example.org##.banner`.
fn uncommented(text: &[u8]) -> Option<&[u8]> {
    let starts = |at: usize| at == 0 || text[at - 1] != b'\\';
    let mut marks = text.iter().enumerate().filter(|(_, byte)| matches!(**byte, b'#' | b';'));
    let Some((at, mark)) = marks.find(|(at, _)| starts(*at)) else { return Some(text) };
    let behind = text.get(at + 1).copied().unwrap_or_default();
    let is_glued = at > 0 && !is_blank(text[at - 1]);
    match is_glued && *mark == b'#' && matches!(behind, b'#' | b'@' | b'?' | b'$' | b'%') {
        true => None,
        false => Some(&text[..at]),
    }
}

fn unquoted(text: &[u8]) -> &[u8] {
    let inner = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\""));
    inner.unwrap_or(text)
}

/// Whether the first word of a line is an address, so that it is a line of a hosts file.
fn is_address(word: &[u8]) -> bool {
    match word {
        b"0.0.0.0" | b"127.0.0.1" | b"::" | b"::1" => true,
        [b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F' | b':', ..] => {
            let Ok(word) = std::str::from_utf8(word) else { return false };
            let scoped =
                || word.split_once('%').is_some_and(|(it, _)| it.parse::<Ipv6Addr>().is_ok());
            word.parse::<IpAddr>().is_ok() || scoped()
        }
        _ => false,
    }
}

/// The names that a hosts file has for the host itself and its links.
const LOCAL: [&[u8]; 18] = [
    b"localhost",
    b"localhost.localdomain",
    b"localhost4",
    b"localhost4.localdomain4",
    b"localhost6",
    b"localhost6.localdomain6",
    b"localdomain",
    b"local",
    b"loopback",
    b"broadcasthost",
    b"ip6-localhost",
    b"ip6-loopback",
    b"ip6-localnet",
    b"ip6-mcastprefix",
    b"ip6-allnodes",
    b"ip6-allrouters",
    b"ip6-allhosts",
    b"0.0.0.0",
];

fn is_local(name: &[u8]) -> bool {
    matches!(name.first(), Some(b'l' | b'L' | b'b' | b'B' | b'i' | b'I' | b'0'))
        && LOCAL.iter().any(|local| local.eq_ignore_ascii_case(name))
}
