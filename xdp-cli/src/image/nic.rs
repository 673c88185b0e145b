//! Compiles a ruleset for a NIC, as far as it fits: the entries of the NIC's hashes, and the
//! flags beside them. `xdp_common::nic` has the layout, and says what such a NIC holds.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use xdp_common::capacity::MAX_NIC_LISTS;
use xdp_common::nic::{flag, list};

use super::metadata::{Counted, Kind};
use crate::notation::grouped;
use crate::ruleset::{Entry, List, ListAction, PolicyAction, Replies, Ruleset, Side};

/// A message names at most so many rules, so many lists, and so many prefixes of each list.
const NAMED: usize = 10;

/// What goes into a bank, and the flags that go with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NicTables {
    /// All flags but [`flag::SECOND_BANK`], which depends on the bank that is written.
    pub flags: u32,
    pub v4: BTreeMap<u32, u64>,
    /// The key is the address, its upper half first.
    pub v6: BTreeMap<[u64; 2], u64>,
}

/// What a NIC cannot hold of a ruleset, each as a part of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit(Vec<String>);

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a NIC cannot hold {}", self.0.join("; "))
    }
}

/// Checks that a NIC could hold the ruleset, whatever the size of the NIC's tables. The error names
/// all that it could not hold.
pub fn fits(ruleset: &Ruleset) -> Result<(), Unfit> {
    let mut unfit = Vec::new();
    if !ruleset.rules.is_empty() {
        let named: Vec<String> =
            ruleset.rules.iter().take(NAMED).map(|rule| format!("\"{}\"", rule.name)).collect();
        let what = if ruleset.rules.len() == 1 { "rule" } else { "rules" };
        unfit.push(format!("{what} {}{}", named.join(", "), more(ruleset.rules.len())));
    }
    let allowlists = ruleset.allowlists.iter().map(|list| (Kind::Allowlist, list));
    let blocklists = ruleset.blocklists.iter().map(|list| (Kind::Blocklist, list));
    let lists: Vec<(Kind, &List)> = allowlists.chain(blocklists).collect();
    for (kind, list) in &lists {
        let v4 = wide(&list.v4, 32).map(|entry| {
            format!("{}/{}", std::net::Ipv4Addr::from(entry.prefix.address), entry.prefix.length)
        });
        let v6 = wide(&list.v6, 128).map(|entry| {
            format!("{}/{}", std::net::Ipv6Addr::from(entry.prefix.address), entry.prefix.length)
        });
        let wide: Vec<String> = v4.chain(v6).collect();
        if !wide.is_empty() {
            let named = wide[..wide.len().min(NAMED)].join(", ");
            let (kind, name, more) = (kind.as_str(), &list.name, more(wide.len()));
            let what =
                if wide.len() == 1 { "is no single address" } else { "are no single addresses" };
            unfit.push(format!("{kind} \"{name}\", of which {named}{more} {what}"));
        }
    }
    if !ruleset.domains.is_empty() {
        let named: Vec<String> =
            ruleset.domains.iter().take(NAMED).map(|list| format!("\"{}\"", list.name)).collect();
        let more = more(ruleset.domains.len());
        unfit.push(format!("domains {}{more}, since it does not read names", named.join(", ")));
    }
    if !ruleset.services.is_empty() {
        let services = ruleset.services.iter().take(NAMED);
        let named: Vec<String> = services.map(|it| format!("\"{}\"", it.name)).collect();
        unfit.push(format!("services {}{}", named.join(", "), more(ruleset.services.len())));
    }
    if ruleset.policy.replies == Replies::Pass {
        unfit.push("replies = \"pass\", since it knows no sockets".to_owned());
    }
    if lists.len() > MAX_NIC_LISTS {
        let mut text = String::new();
        for (nth, (kind, list)) in lists.iter().skip(MAX_NIC_LISTS).take(NAMED).enumerate() {
            let comma = if nth == 0 { "" } else { ", " };
            let _ = write!(text, "{comma}{} \"{}\"", kind.as_str(), list.name);
        }
        let more = more(lists.len() - MAX_NIC_LISTS);
        unfit.push(format!("more than {MAX_NIC_LISTS} lists, which {text}{more} would be"));
    }
    if unfit.is_empty() { Ok(()) } else { Err(Unfit(unfit)) }
}

/// " and N more" for those of `all` that a message does not name.
fn more(all: usize) -> String {
    match all.saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {} more", grouped(more as u64)),
    }
}

/// The entries that are not single addresses.
fn wide<A>(entries: &[Entry<A>], width: u8) -> impl Iterator<Item = &Entry<A>> {
    entries.iter().filter(move |entry| entry.prefix.length != width)
}

/// Compiles the tables of a ruleset. `counted` has its lists in order, with their counters. Fails
/// as [`fits`] does.
pub fn compile(ruleset: &Ruleset, counted: &[Counted]) -> Result<NicTables, Unfit> {
    fits(ruleset)?;
    let mut tables = NicTables { flags: flags(ruleset), ..NicTables::default() };
    let numbers = |kind| counted.iter().filter(move |c| c.kind == kind).map(|c| c.number);
    for (order, (list, number)) in
        ruleset.allowlists.iter().zip(numbers(Kind::Allowlist)).enumerate()
    {
        tables.add(list, byte(order, number), &[0]);
    }
    for (order, (list, number)) in
        ruleset.blocklists.iter().zip(numbers(Kind::Blocklist)).enumerate()
    {
        let (source, destination) = match list.action {
            ListAction::Drop => (1, 3),
            ListAction::Count => (2, 4),
        };
        let places: &[u32] = match list.side {
            Side::Source => &[source],
            Side::Destination => &[destination],
            Side::Either => &[source, destination],
        };
        tables.add(list, byte(order, number), places);
    }
    if ruleset.arp.action == PolicyAction::Drop {
        for address in &ruleset.arp.allow {
            *tables.v4.entry(*address).or_default() |= 1 << 40;
        }
    }
    Ok(tables)
}

fn byte(order: usize, number: u32) -> u64 {
    list(order, number).into()
}

impl NicTables {
    /// Writes a list's byte for each of its addresses, unless a list of a higher rank is there.
    fn add(&mut self, list: &List, byte: u64, places: &[u32]) {
        let place = |value: &mut u64| {
            for place in places {
                let shift = 8 * place;
                let before = *value >> shift & 0xff;
                *value = *value & !(0xff << shift) | before.max(byte) << shift;
            }
        };
        for entry in &list.v4 {
            place(self.v4.entry(entry.prefix.address).or_default());
        }
        for entry in &list.v6 {
            let address = entry.prefix.address;
            place(self.v6.entry([(address >> 64) as u64, address as u64]).or_default());
        }
    }

    /// The number of entries of the family that has more.
    pub fn largest(&self) -> usize {
        self.v4.len().max(self.v6.len())
    }
}

fn flags(ruleset: &Ruleset) -> u32 {
    let policy = ruleset.policy;
    let dropping = [
        (policy.default, flag::DEFAULT_DROP),
        (policy.malformed, flag::MALFORMED_DROP),
        (policy.fragments, flag::FRAGMENTS_DROP),
        (ruleset.arp.action, flag::ARP_DROP),
    ];
    let mut flags = 0;
    for (action, flag) in dropping {
        flags |= if action == PolicyAction::Drop { flag } else { 0 };
    }
    let sides = || ruleset.blocklists.iter().map(|list| list.side);
    if !ruleset.allowlists.is_empty() || sides().any(|side| side != Side::Destination) {
        flags |= flag::SOURCE_LISTS;
    }
    if sides().any(|side| side != Side::Source) {
        flags |= flag::DESTINATION_LISTS;
    }
    flags
}

#[cfg(test)]
mod tests;
