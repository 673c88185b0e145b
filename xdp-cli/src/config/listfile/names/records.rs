//! Reads response policy zones (RPZ): zone files (RFC 1035, section 5) whose records say what a
//! resolver does about names.
//!
//! `name CNAME .`, `name CNAME *.`, `name CNAME rpz-drop.` and `name CNAME rpz-tcp-only.` list a
//! name; `*.name` lists those below. Names are relative to the zone. `rpz-passthru.` is an
//! exception. Records of other kinds, and those about addresses or name servers, are left aside.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::scan::{Scan, Skip};
use super::words::{is_blank, split_word, words};
use super::zone::{Origin, is_absolute};
use crate::config::domain_name::NameError;
use crate::config::qtype;
use crate::ruleset::domains::{DomainName, LONGEST_NAME};

/// What the last label of a record's owner says that it is about, if it is no name that is asked for.
const TRIGGERS: [&[u8]; 4] = [b"rpz-ip", b"rpz-client-ip", b"rpz-nsip", b"rpz-nsdname"];

/// Bytes of the longest owner that can be a name: each byte written as `\` and three digits.
const LONGEST_OWNER: usize = 4 * (LONGEST_NAME + 1);

/// The parts of a record, as far as a line has them.
enum Parts<'w> {
    Record {
        owner: Option<&'w [u8]>,
        kind: u16,
        data: &'w [u8],
    },
    /// They end before the record does.
    Begun,
    Other,
}

impl<'s> Scan<'s> {
    /// Reads a line that begins with `$`.
    pub(super) fn read_directive(&mut self, text: &'s [u8]) {
        let (word, rest) = split_word(text).unwrap_or((text, &[]));
        let value = words(rest).next().unwrap_or_default();
        let value = value.split(|byte| *byte == b';').next().unwrap_or_default();
        if word.eq_ignore_ascii_case(b"$TTL") {
            if !is_ttl(value) {
                let hint = "it is a number of seconds, or such as 1h30m; here, it changes nothing";
                self.unreadable(text, "has no time to live", hint);
            }
        } else if word.eq_ignore_ascii_case(b"$ORIGIN") {
            self.read_origin(value);
        } else {
            let hint = "of such lines, $TTL and $ORIGIN are read; `named-compilezone` writes a zone \
                        without the others";
            self.unreadable(word, "is not read in a zone file", hint);
        }
    }

    /// Reads the name behind `$ORIGIN`, which may itself be relative to the one before.
    fn read_origin(&mut self, value: &'s [u8]) {
        let read = match value {
            b"@" => return,
            value => self.buffer.read(value).and_then(|()| match self.buffer.below_only() {
                true => Err(NameError::Star),
                false => Ok(()),
            }),
        };
        let name = self.buffer.name().wire();
        let below = |origin: &[u8]| match name.len() + origin.len() <= LONGEST_NAME {
            true => Ok([name, origin].concat()),
            false => Err(NameError::LongName),
        };
        let origin = match (read, &self.zone.origin) {
            (Err(error), _) => Err(error),
            (Ok(()), _) if is_absolute(value) => Ok(Origin::Full(name.to_vec())),
            (Ok(()), Origin::Full(origin)) => below(origin).map(Origin::Full),
            (Ok(()), Origin::Zone(origin)) => below(origin).map(Origin::Zone),
            (Ok(()), Origin::Unreadable) => Ok(Origin::Unreadable),
        };
        // As long as there is no SOA record, the first origin is taken for the zone's name.
        if let (None, Ok(Origin::Full(origin))) = (&self.zone.apex, &origin)
            && !origin.is_empty()
        {
            self.zone.apex = Some(origin.clone());
        }
        if let Err(error) = origin {
            self.refuse(value, error);
        }
        let before = std::mem::replace(&mut self.zone.origin, origin.unwrap_or(Origin::Unreadable));
        self.zone.owner_origin.get_or_insert(before);
    }

    /// Reads a record, or the first line of one in parentheses. Returns whether the line is one.
    pub(super) fn read_record(&mut self, text: &'s [u8]) -> bool {
        if !text.contains(&b'(') {
            return self.take_record(text, true);
        }
        self.zone.joined.clear();
        self.zone.join(self.text);
        match parts(&self.zone.joined, self.has_owner()) {
            _ if self.zone.open == 0 => self.take_joined(),
            Parts::Record { .. } | Parts::Begun => {
                (self.zone.opened, self.zone.opened_text) = (self.line, self.text);
                true
            }
            Parts::Other => {
                self.zone.open = 0;
                false
            }
        }
    }

    /// Reads a further line of a record in parentheses.
    pub(super) fn continue_record(&mut self, text: &[u8]) {
        self.zone.join(text);
        if self.zone.open > 0 {
            return;
        }
        let last = (self.line, self.text);
        (self.line, self.text) = (self.zone.opened, self.zone.opened_text);
        if !self.take_joined() {
            let hint = "it has an owner, perhaps a time and a class, a type, and what that has";
            self.unreadable(self.text, "begins a record that cannot be read", hint);
        }
        (self.line, self.text) = last;
    }

    /// Takes a record whose lines were joined.
    fn take_joined(&mut self) -> bool {
        let joined = std::mem::take(&mut self.zone.joined);
        let is_record = self.take_record(&joined, false);
        self.zone.joined = joined;
        is_record
    }

    /// Whether the record in the line names its owner: a blank stands for the one before.
    fn has_owner(&self) -> bool {
        !self.text.first().is_some_and(|byte| is_blank(*byte))
    }

    /// Takes a record of these words, which may be a part of the line. Returns whether it is one.
    fn take_record(&mut self, text: &[u8], is_of_line: bool) -> bool {
        let Parts::Record { owner, kind, data } = parts(text, self.has_owner()) else {
            return false;
        };
        if !is_data(kind, data) || owner.is_some_and(|owner| owner.len() > LONGEST_OWNER) {
            return false;
        }
        if let Some(owner) = owner {
            self.zone.owner.clear();
            self.zone.owner.extend_from_slice(owner);
            self.zone.owner_origin = None;
        }
        match kind {
            SOA => self.begin_zone(),
            // Every zone has some.
            NS if self.zone.owner == b"@" || self.zone.owner == self.zone.soa_owner => {}
            CNAME => match self.target(data) {
                Some(b"" | b"*" | b"rpz-drop" | b"rpz-tcp-only") => {
                    let from = owner.filter(|_| is_of_line).unwrap_or(self.text);
                    self.read_owner(from);
                }
                Some(b"rpz-passthru") => self.skip(Skip::Exception),
                _ => self.skip(Skip::Record),
            },
            _ => self.skip(Skip::Record),
        }
        true
    }

    /// The one of the targets that have a meaning which a CNAME record has; `None` for others.
    fn target(&self, data: &[u8]) -> Option<&'static [u8]> {
        const TARGETS: [&[u8]; 5] = [b"", b"*", b"rpz-drop", b"rpz-tcp-only", b"rpz-passthru"];
        let data = words(data).next()?;
        let name = match data.strip_suffix(b".") {
            Some(name) => name,
            // Below the root, nothing is added to a name.
            None if matches!(&self.zone.origin, Origin::Full(origin) if origin.is_empty()) => data,
            None => return None,
        };
        TARGETS.into_iter().find(|target| target.eq_ignore_ascii_case(name))
    }

    /// Takes the zone's name from its SOA record.
    fn begin_zone(&mut self) {
        self.zone.soa_owner.clone_from(&self.zone.owner);
        let owner = &self.zone.owner[..];
        let name = match owner {
            b"@" => Some(&[][..]),
            owner => self.buffer.read(owner).ok().map(|()| self.buffer.name().wire()),
        };
        let apex = match (name, &self.zone.origin) {
            (Some(name), _) if is_absolute(owner) => Some(name.to_vec()),
            (Some(name), Origin::Full(origin)) => Some([name, origin].concat()),
            // It is the zone's name, whose dot somebody left out: a zone has no SOA record below it.
            (Some(name), Origin::Zone(origin)) if origin.is_empty() && !name.is_empty() => {
                Some(name.to_vec())
            }
            _ => None,
        };
        if let Some(apex) = apex.filter(|apex| apex.len() <= LONGEST_NAME) {
            self.zone.apex = Some(apex);
        }
    }

    /// Takes the name that a record's owner stands for. `from` is where it stands in the line.
    fn read_owner(&mut self, from: &[u8]) {
        let owner = std::mem::take(&mut self.zone.owner);
        let read = match &owner[..] {
            b"" => {
                let hint =
                    "a blank at the front of a record stands for the owner of the one before";
                return self.unreadable(from, "has no owner", hint);
            }
            b"@" => self.buffer.read(b"."),
            b"*" => self.buffer.read(b"*."),
            owner => self.buffer.read(owner),
        };
        let is_absolute = is_absolute(&owner);
        self.zone.owner = owner;
        if let Err(error) = read {
            return self.refuse(from, error);
        }
        let origin = self.zone.owner_origin.as_ref().unwrap_or(&self.zone.origin);
        if !is_absolute && matches!(origin, Origin::Unreadable) {
            let hint = "mend the $ORIGIN above: names without a dot at their end go on with it";
            return self.unreadable(from, "is relative to an $ORIGIN that cannot be read", hint);
        }
        if !self.is_in_zone(is_absolute) {
            return self.skip(Skip::Record);
        }
        let (name, below_only) = (self.buffer.name(), self.buffer.below_only());
        let is_trigger = name.labels().last().is_some_and(|label| TRIGGERS.contains(&label));
        if is_trigger || (name == DomainName::ROOT && !below_only) {
            return self.skip(Skip::Record);
        }
        self.push(from);
    }

    /// Makes the name that was read relative to the zone. Returns whether it lies there.
    fn is_in_zone(&mut self, is_absolute: bool) -> bool {
        let origin = self.zone.owner_origin.as_ref().unwrap_or(&self.zone.origin);
        let (origin, is_full) = match origin {
            _ if is_absolute => (&[][..], true),
            Origin::Full(origin) => (&origin[..], true),
            Origin::Zone(origin) => (&origin[..], false),
            Origin::Unreadable => return false,
        };
        let apex = self.zone.apex.as_deref().filter(|_| is_full).unwrap_or_default();
        let mut name = DomainName::of_wire(self.buffer.name().wire());
        if origin == apex {
            return true;
        }
        let full;
        if !origin.is_empty() {
            full = [name.wire(), origin].concat();
            if full.len() > LONGEST_NAME {
                return false;
            }
            name = DomainName::of_wire(&full);
        }
        let Some(length) = length_below(name.wire(), apex) else { return false };
        let relative = name.wire()[..length].to_vec();
        self.buffer.replace(&relative)
    }
}

/// How many bytes of a name stand before that of its zone; `None` if it does not lie in the zone.
fn length_below(wire: &[u8], apex: &[u8]) -> Option<usize> {
    let mut name = DomainName::of_wire(wire);
    while name.wire() != apex {
        name = name.parent()?;
    }
    Some(wire.len() - apex.len())
}

/// Finds the parts of a record: an owner, perhaps a time to live and a class, a type, and data.
fn parts(text: &[u8], has_owner: bool) -> Parts<'_> {
    let mut rest = text;
    let mut next = || {
        let start = rest.iter().position(|byte| !is_blank(*byte))?;
        let (word, behind) = split_word(&rest[start..]).unwrap_or((&rest[start..], &[]));
        rest = behind;
        Some(word)
    };
    let owner = if has_owner { next() } else { None };
    let kind = loop {
        match next() {
            None => return Parts::Begun,
            Some(word) if is_ttl(word) || is_class(word) => {}
            Some(word) => break word,
        }
    };
    match qtype::named(kind) {
        None => Parts::Other,
        Some(_) if words(rest).next().is_none() => Parts::Begun,
        Some(kind) => Parts::Record { owner, kind, data: rest },
    }
}

const A: u16 = 1;
const NS: u16 = 2;
const CNAME: u16 = 5;
const SOA: u16 = 6;
const PTR: u16 = 12;
const AAAA: u16 = 28;
const DNAME: u16 = 39;
const OPT: u16 = 41;

/// Whether this can be the data of a record of that type. A type's name may be a word, as in
/// `evil.example a tracker`, which is no record.
fn is_data(kind: u16, data: &[u8]) -> bool {
    let mut fields = words(data);
    let Some(first) = fields.next() else { return false };
    let more = fields.count();
    // In the form of any type (RFC 3597, section 5).
    if first == b"\\#" {
        return more > 0;
    }
    match kind {
        A => is::<Ipv4Addr>(first) && more == 0,
        AAAA => is::<Ipv6Addr>(first) && more == 0,
        NS | CNAME | PTR | DNAME => more == 0,
        SOA => more >= 1,
        // Not of records, but of questions and of messages.
        OPT | 249..=255 => false,
        // MX, AFSDB, RT, KEY, PX, LOC, SRV, NAPTR, KX, DS, SSHFP, IPSECKEY, DNSKEY, NSEC3, TLSA and its
        // like, CDS, CDNSKEY, CSYNC, ZONEMD, SVCB, HTTPS, URI and CAA begin with a number.
        15
        | 18
        | 21
        | 25
        | 26
        | 29
        | 33
        | 35
        | 36
        | 43
        | 44
        | 45
        | 48
        | 50..=53
        | 59
        | 60
        | 62..=65
        | 256
        | 257 => more > 0 && first.iter().all(u8::is_ascii_digit),
        _ => true,
    }
}

fn is<T: FromStr>(word: &[u8]) -> bool {
    std::str::from_utf8(word).is_ok_and(|word| word.parse::<T>().is_ok())
}

/// A time to live: seconds, or such as `1h30m`.
fn is_ttl(field: &[u8]) -> bool {
    let unit = |byte: &u8| matches!(byte.to_ascii_lowercase(), b's' | b'm' | b'h' | b'd' | b'w');
    field.first().is_some_and(u8::is_ascii_digit)
        && field.iter().all(|byte| byte.is_ascii_digit() || unit(byte))
}

fn is_class(field: &[u8]) -> bool {
    [&b"IN"[..], b"CH", b"HS"].iter().any(|class| class.eq_ignore_ascii_case(field))
}
