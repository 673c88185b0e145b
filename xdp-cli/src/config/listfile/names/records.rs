//! Reads response policy zones (RPZ): zone files (RFC 1035, section 5) whose records say what a
//! resolver does about names.
//!
//! `name CNAME .`, `name CNAME *.`, `name CNAME rpz-drop.` and `name CNAME rpz-tcp-only.` list a
//! name; `*.name` lists those below. Names are relative to the zone. `rpz-passthru.` is an
//! exception. Records of other kinds, and those about addresses or name servers, are left aside.

use super::scan::{Scan, Skip};
use super::words::{is_blank, split_word, words};
use super::zone::Zone;
use crate::config::qtype;
use crate::ruleset::domains::DomainName;

/// What the last label of a record's owner says that it is about, if it is no name that is asked for.
const TRIGGERS: [&[u8]; 4] = [b"rpz-ip", b"rpz-client-ip", b"rpz-nsip", b"rpz-nsdname"];

impl<'s> Scan<'s> {
    /// Reads a line that begins with `$`.
    pub(super) fn read_directive(&mut self, text: &'s [u8]) {
        let (word, rest) = split_word(text).unwrap_or((text, &[]));
        let value = words(rest).next().unwrap_or_default();
        if word.eq_ignore_ascii_case(b"$TTL") {
        } else if word.eq_ignore_ascii_case(b"$ORIGIN") {
            match self.buffer.read(value) {
                Ok(()) => self.zone.origin = self.buffer.name().wire().to_vec(),
                Err(error) => self.refuse(value, error),
            }
            if self.zone.apex.is_empty() {
                self.zone.apex.clone_from(&self.zone.origin);
            }
        } else {
            let hint = "of such lines, $TTL and $ORIGIN are read; `named-compilezone` writes a zone \
                        without the others";
            self.unreadable(word, "is not read in a zone file", hint);
        }
    }

    /// Reads a record. Returns whether the line is one.
    pub(super) fn read_record(&mut self, text: &'s [u8]) -> bool {
        let has_owner = !self.text.first().is_some_and(|byte| is_blank(*byte));
        let mut fields = words(text);
        let owner = if has_owner { fields.next() } else { None };
        let mut fields = fields.skip_while(|field| is_ttl(field) || is_class(field));
        let (Some(kind), Some(data)) = (fields.next(), fields.next()) else { return false };
        let Some(number) = qtype::named(kind) else { return false };
        if let Some(owner) = owner {
            self.zone.owner.clear();
            self.zone.owner.extend_from_slice(owner);
        }
        self.zone.opened = self.line;
        self.zone.count_parentheses(text);
        match number {
            SOA => self.begin_zone(),
            NS => {}
            CNAME => {
                let target = data.strip_suffix(b".").unwrap_or(data).to_ascii_lowercase();
                match &target[..] {
                    b"" | b"*" | b"rpz-drop" | b"rpz-tcp-only" => {
                        self.read_owner(owner.unwrap_or(text));
                    }
                    b"rpz-passthru" => self.skip(Skip::Exception),
                    _ => self.skip(Skip::Record),
                }
            }
            _ => self.skip(Skip::Record),
        }
        true
    }

    /// Takes the zone's name from its SOA record.
    fn begin_zone(&mut self) {
        if self.zone.owner != b"@" && self.buffer.read(&self.zone.owner).is_ok() {
            self.zone.apex = self.buffer.name().wire().to_vec();
            if self.zone.origin.is_empty() {
                self.zone.origin.clone_from(&self.zone.apex);
            }
        } else {
            self.zone.apex.clone_from(&self.zone.origin);
        }
    }

    /// Takes the name that a record's owner stands for. `from` is where it stands in the line.
    fn read_owner(&mut self, from: &'s [u8]) {
        let owner = std::mem::take(&mut self.zone.owner);
        let read = match &owner[..] {
            b"*" => self.buffer.read(b"*."),
            owner => self.buffer.read(owner),
        };
        let is_absolute = owner.ends_with(b".");
        self.zone.owner = owner;
        if let Err(error) = read {
            return self.refuse(from, error);
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
        let Zone { apex, origin, .. } = &self.zone;
        if is_absolute {
            let wire = self.buffer.name().wire();
            let Some(length) = length_below(wire, apex) else { return false };
            let relative = wire[..length].to_vec();
            return self.buffer.replace(&relative);
        }
        // What the name lacks to be relative to the zone, and not to a part of it.
        let Some(length) = length_below(origin, apex) else { return false };
        let lacks = &origin[..length];
        lacks.is_empty() || {
            let relative = [self.buffer.name().wire(), lacks].concat();
            self.buffer.replace(&relative)
        }
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

const NS: u16 = 2;
const CNAME: u16 = 5;
const SOA: u16 = 6;

/// A time to live: seconds, or such as `1h30m`.
fn is_ttl(field: &[u8]) -> bool {
    let unit = |byte: &u8| matches!(byte.to_ascii_lowercase(), b's' | b'm' | b'h' | b'd' | b'w');
    field.first().is_some_and(u8::is_ascii_digit)
        && field.iter().all(|byte| byte.is_ascii_digit() || unit(byte))
}

fn is_class(field: &[u8]) -> bool {
    [&b"IN"[..], b"CH", b"HS"].iter().any(|class| class.eq_ignore_ascii_case(field))
}
