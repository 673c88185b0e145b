//! Finds the entry of a list that decided about a packet. The program knows only the list.
//!
//! Of prefixes, here; of names, in [`names`](super::names).

use std::collections::HashMap;

use xdp_common::capacity::MAX_SHOWN_PLACES;

use super::Place;
use super::names::{HeldName, NameIndexes, NamePlace};
use crate::config::prefix::{IpPrefix, masked_v4, masked_v6};
use crate::image::metadata::Kind;
use crate::ruleset::domains::DomainName;
use crate::ruleset::{Entry, List, ListAction, PolicyAction, Prefix, Ruleset, Side};

/// An IPv4 or IPv6 address, in host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    V4(u32),
    V6(u128),
}

/// The entries of a ruleset, which can be found by an address or a name that they hold. A list is
/// sorted when it is first asked for.
pub struct ListedEntries {
    ruleset: Ruleset,
    lists: HashMap<(Kind, usize), Index>,
    names: NameIndexes,
}

/// An entry that holds an address, and its list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub kind: Kind,
    pub name: String,
    pub side: Side,
    pub action: ListAction,
    pub place: Place,
}

impl ListedEntries {
    pub fn of(ruleset: Ruleset) -> Self {
        Self { ruleset, lists: HashMap::new(), names: NameIndexes::default() }
    }

    /// The entry of a list that decides about a packet: the longest one that holds an address the
    /// list looks at. If they are equally long, that of the source.
    pub fn deciding(
        &mut self,
        kind: Kind,
        name: &str,
        source: Address,
        destination: Address,
    ) -> Option<Place> {
        let number = self.lists(kind).iter().position(|list| list.name == name)?;
        let side = self.lists(kind)[number].side;
        let asked: &[Address] = match side {
            Side::Source => &[source],
            Side::Destination => &[destination],
            Side::Either => &[source, destination],
        };
        let mut best: Option<Place> = None;
        for address in asked {
            if let Some(found) = self.longest(kind, number, *address)
                && best.as_ref().is_none_or(|best| length(found.prefix) > length(best.prefix))
            {
                best = Some(found);
            }
        }
        best
    }

    /// Every entry that holds the address, in the order in which they would decide: those of
    /// allowlists, then of blocklists that drop, then of blocklists that count; among each of these
    /// the longest first, and among equally long ones that of the list that comes first.
    pub fn holding(&mut self, address: Address) -> Vec<Held> {
        let mut held = Vec::new();
        for kind in [Kind::Allowlist, Kind::Blocklist] {
            for number in 0..self.lists(kind).len() {
                let places = self.first(kind, number, address, usize::MAX);
                let List { name, side, action, .. } = &self.lists(kind)[number];
                let (side, action) = (*side, *action);
                let of_list = |place| Held { kind, name: name.clone(), side, action, place };
                held.extend(places.into_iter().map(of_list));
            }
        }
        // The sort is stable: equal entries stay in the order of the lists in the file.
        held.sort_by_key(|held| {
            let counts = held.kind == Kind::Blocklist && held.action == ListAction::Count;
            (held.kind == Kind::Blocklist, counts, u8::MAX - length(held.place.prefix))
        });
        held
    }

    /// The entry of a list of names that decides about a message with this question: the most
    /// specific one that holds its name, in whatever case that is. `None` if the list does not look
    /// at that question type.
    pub fn deciding_name(
        &mut self,
        list: &str,
        queried: DomainName<'_>,
        qtype: u16,
    ) -> Option<NamePlace> {
        self.names.deciding(&self.ruleset, list, queried, qtype)
    }

    /// Every entry of lists of names that holds a name, in the order in which they would decide if
    /// all lists looked at its question type.
    pub fn holding_name(&mut self, queried: DomainName<'_>) -> Vec<HeldName> {
        self.names.holding(&self.ruleset, queried)
    }

    fn lists(&self, kind: Kind) -> &[List] {
        match kind {
            Kind::Allowlist => &self.ruleset.allowlists,
            Kind::Blocklist => &self.ruleset.blocklists,
            Kind::Domains | Kind::Rule | Kind::Service => &[],
        }
    }

    /// File and line of the rule of that name.
    pub fn rule(&self, name: &str) -> Option<(String, u32)> {
        let rule = self.ruleset.rules.iter().find(|rule| rule.name == name)?;
        Some((self.file(rule.file), rule.line))
    }

    /// File and line of the service of that name.
    pub fn service(&self, name: &str) -> Option<(String, u32)> {
        let service = self.ruleset.services.iter().find(|service| service.name == name)?;
        Some((self.file(service.file), service.line))
    }

    /// Whether `[arp]` drops packets, but lets those of this sender through.
    pub fn lets_through(&self, sender: u32) -> bool {
        self.ruleset.arp.action == PolicyAction::Drop && self.ruleset.arp.allow.contains(&sender)
    }

    fn file(&self, number: u16) -> String {
        let file = self.ruleset.files.get(usize::from(number));
        file.map_or_else(|| "?".to_owned(), |file| file.to_string_lossy().into_owned())
    }

    fn longest(&mut self, kind: Kind, number: usize, address: Address) -> Option<Place> {
        self.first(kind, number, address, 1).pop()
    }

    /// The first `most` entries of a list that hold the address: the longest first, and each in all
    /// places where it stands.
    fn first(&mut self, kind: Kind, number: usize, address: Address, most: usize) -> Vec<Place> {
        let list = match kind {
            Kind::Allowlist => self.ruleset.allowlists.get(number),
            Kind::Blocklist => self.ruleset.blocklists.get(number),
            Kind::Domains | Kind::Rule | Kind::Service => None,
        };
        let Some(list) = list else { return Vec::new() };
        let index = self.lists.entry((kind, number)).or_insert_with(|| Index::of(list));
        let mut found: Vec<(IpPrefix, u16, u32)> = match address {
            Address::V4(address) => index
                .v4
                .holding(&list.v4, |length| masked_v4(address, length).0)
                .take(most)
                .map(|entry| (IpPrefix::V4(entry.prefix), entry.file, entry.line))
                .collect(),
            Address::V6(address) => index
                .v6
                .holding(&list.v6, |length| masked_v6(address, length).0)
                .take(most)
                .map(|entry| (IpPrefix::V6(entry.prefix), entry.file, entry.line))
                .collect(),
        };
        // An entry may stand twice in a line.
        found.dedup();
        let place = |(prefix, file, line)| Place { prefix, file: self.file(file), line };
        found.into_iter().map(place).collect()
    }
}

pub fn length(prefix: IpPrefix) -> u8 {
    match prefix {
        IpPrefix::V4(prefix) => prefix.length,
        IpPrefix::V6(prefix) => prefix.length,
    }
}

/// The entries of a list, sorted, for each family.
struct Index {
    v4: Sorted,
    v6: Sorted,
}

impl Index {
    fn of(list: &List) -> Self {
        Self { v4: Sorted::of(&list.v4), v6: Sorted::of(&list.v6) }
    }
}

/// Indexes of a list's entries, sorted by prefix; those of the same prefix stay in the order of the
/// list.
struct Sorted {
    places: Vec<u32>,
    /// The different prefix lengths of the entries, the longest first.
    lengths: Vec<u8>,
}

impl Sorted {
    fn of<A: Copy + Ord>(entries: &[Entry<A>]) -> Self {
        let mut places: Vec<u32> = (0..entries.len() as u32).collect();
        places.sort_unstable_by_key(|&place| {
            let entry = &entries[place as usize];
            (entry.prefix, entry.file, entry.line)
        });
        let mut lengths: Vec<u8> = entries.iter().map(|entry| entry.prefix.length).collect();
        lengths.sort_unstable_by(|one, other| other.cmp(one));
        lengths.dedup();
        Self { places, lengths }
    }

    /// The entries that hold an address, the longest first; of one prefix the first
    /// [`MAX_SHOWN_PLACES`], in the order in which they were named. `around` gives the prefix of a length around the address.
    fn holding<'e, A: Copy + Ord>(
        &self,
        entries: &'e [Entry<A>],
        around: impl Fn(u8) -> Prefix<A>,
    ) -> impl Iterator<Item = &'e Entry<A>> {
        let entry = |place: u32| entries.get(place as usize);
        self.lengths.iter().flat_map(move |&length| {
            let wanted = around(length);
            let first = self
                .places
                .partition_point(|&place| entry(place).is_some_and(|it| it.prefix < wanted));
            let from_first = self.places.iter().skip(first).copied().filter_map(entry);
            from_first.take_while(move |it| it.prefix == wanted).take(MAX_SHOWN_PLACES)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;

    fn entries(configuration: &str, list: &str) -> (tempfile::TempDir, ListedEntries) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("list.txt"), list).unwrap();
        let path = folder.path().join("c.toml");
        std::fs::write(&path, configuration).unwrap();
        let loaded = load(&path);
        let ruleset = loaded.ruleset.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
        (folder, ListedEntries::of(ruleset))
    }

    fn shown(place: Option<Place>) -> Option<(String, String, u32)> {
        let place = place?;
        let file = place.file.rsplit('/').next().unwrap_or_default().to_owned();
        Some((place.prefix.to_string(), file, place.line))
    }

    fn v4(text: &str) -> Address {
        Address::V4(text.parse::<std::net::Ipv4Addr>().unwrap().to_bits())
    }

    fn v6(text: &str) -> Address {
        Address::V6(text.parse::<std::net::Ipv6Addr>().unwrap().to_bits())
    }

    const BOTH: &str = "[[blocklist]]\nname = \"b\"\nmatch = \"either\"\ncatch_all = true\n\
                        prefixes = [\"10.0.0.0/8\",\n\"10.1.0.0/16\", \"2001:db8::/32\"]\n\
                        files = [\"list.txt\"]\n";

    #[test]
    fn the_longest_decides_and_the_source_before_the_destination() {
        let (_folder, mut entries) = entries(BOTH, "10.1.0.0/16\n10.9.0.1\n::/0\n");
        let mut decides = |source, destination| {
            shown(entries.deciding(Kind::Blocklist, "b", source, destination))
        };
        let at = |prefix: &str, file: &str, line| Some((prefix.into(), file.into(), line));
        assert_eq!(decides(v4("10.1.2.3"), v4("10.9.0.1")), at("10.9.0.1/32", "list.txt", 2));
        assert_eq!(decides(v4("10.1.2.3"), v4("10.1.2.4")), at("10.1.0.0/16", "c.toml", 6));
        assert_eq!(decides(v4("10.2.2.3"), v4("9.1.2.4")), at("10.0.0.0/8", "c.toml", 5));
        assert_eq!(decides(v4("9.2.2.3"), v4("9.1.2.4")), None);
        assert_eq!(decides(v6("2001:db8::1"), v6("::1")), at("2001:db8::/32", "c.toml", 6));
        assert_eq!(decides(v6("fe80::1"), v6("::1")), at("::/0", "list.txt", 3));
        // An IPv4-mapped address is an IPv6 address.
        assert_eq!(decides(v6("::ffff:10.1.2.3"), v6("::1")), at("::/0", "list.txt", 3));
    }

    #[test]
    fn every_entry_that_holds_an_address_in_the_order_of_judgement() {
        let configuration = "[[allowlist]]\nname = \"a\"\nprefixes = [\"10.0.0.0/30\"]\n\
                             [[blocklist]]\nname = \"trial\"\naction = \"count\"\n\
                             prefixes = [\"10.0.0.1\"]\n\
                             [[blocklist]]\nname = \"first\"\nprefixes = [\"10.0.0.0/24\"]\n\
                             [[blocklist]]\nname = \"second\"\n\
                             prefixes = [\"10.0.0.0/25\", \"10.0.0.0/24\"]\n";
        let (_folder, mut entries) = entries(configuration, "");
        let held = entries.holding(v4("10.0.0.1"));
        let names: Vec<(&str, u8)> =
            held.iter().map(|held| (held.name.as_str(), length(held.place.prefix))).collect();
        assert_eq!(
            names,
            [("a", 30), ("second", 25), ("first", 24), ("second", 24), ("trial", 32)]
        );
        assert_eq!(entries.holding(v4("10.0.1.1")), []);
    }

    /// Whoever wants an address off a list has to know every place of it.
    #[test]
    fn an_entry_is_found_in_every_place_where_it_stands() {
        let configuration = "[[blocklist]]\nname = \"b\"\nfiles = [\"list.txt\"]\n\
                             prefixes = [\"10.0.0.1\", \"10.0.0.1\",\n\"10.0.0.0/24\"]\n";
        let (_folder, mut entries) = entries(configuration, "10.0.0.1\n# no\n10.0.0.1/32\n");
        let held = entries.holding(v4("10.0.0.1")).into_iter().map(|it| shown(Some(it.place)));
        let at = |prefix: &str, file: &str, line| Some((prefix.into(), file.into(), line));
        let expected = [
            at("10.0.0.1/32", "c.toml", 4),
            at("10.0.0.1/32", "list.txt", 1),
            at("10.0.0.1/32", "list.txt", 3),
            at("10.0.0.0/24", "c.toml", 5),
        ];
        assert_eq!(held.collect::<Vec<_>>(), expected);
        let decides = entries.deciding(Kind::Blocklist, "b", v4("10.0.0.1"), v4("10.0.0.2"));
        assert_eq!(shown(decides), at("10.0.0.1/32", "c.toml", 4));
    }

    #[test]
    fn the_most_specific_name_decides_and_then_the_first_list() {
        let configuration = "[[domains]]\nname = \"any\"\nnames = [\".\"]\nqtype = [\"ANY\"]\n\
                             [[domains]]\nname = \"a\"\nnames = [\"org\", \"*.example.org\"]\n\
                             [[domains]]\nname = \"b\"\naction = \"pass\"\nfiles = [\"list.txt\"]\n";
        let list = "example.org\nWWW.example.org\n";
        let (_folder, mut entries) = entries(configuration, list);
        let www = DomainName::of_wire(b"\x03wWw\x07EXAMPLE\x03org");
        let held = entries.holding_name(www);
        let shown: Vec<_> = held
            .iter()
            .map(|it| (it.list.as_str(), it.place.entry.as_str(), it.place.line))
            .collect();
        assert_eq!(
            shown,
            [
                ("b", "www.example.org", 2),
                ("a", "*.example.org", 7),
                ("b", "example.org", 1),
                ("a", "org", 7),
                ("any", ".", 3),
            ]
        );
        assert!(held[0].place.file.ends_with("list.txt") && held[1].place.file.ends_with("c.toml"));
        assert_eq!(
            (held[4].qtypes.as_deref(), held[0].action.as_str()),
            (Some(&[255][..]), "pass")
        );
        let mut decides = |list, name, qtype| {
            entries.deciding_name(list, name, qtype).map(|place| (place.entry, place.line))
        };
        assert_eq!(decides("a", www, 1), Some(("*.example.org".into(), 7)));
        assert_eq!(decides("any", www, 255), Some((".".into(), 3)));
        assert_eq!(decides("any", www, 1), None);
        assert_eq!(decides("a", DomainName::of_wire(b"\x03net"), 1), None);
        assert_eq!(decides("none", www, 1), None);
    }
}
