use core::cell::Cell;
use std::vec::Vec;

use super::*;
use crate::filter::dynamic::{
    Entry, EntryTable, EntryTables, NEVER, Value, deciding_v4, deciding_v6, flag,
};
use crate::image::{Action, SPAN_WORDS};

/// The image: a sentence at line 3.
struct Image([u64; 3 * LINE_WORDS + SPAN_WORDS]);

impl Image {
    fn of(life: u64, name: u64) -> Self {
        let mut words = [0; 3 * LINE_WORDS + SPAN_WORDS];
        let sentence = Sentence { life, unused: [0; 7], name: [name; LINE_WORDS] };
        let lines: Vec<u64> = sentence.to_lines().into_iter().flatten().collect();
        words[3 * LINE_WORDS..5 * LINE_WORDS].copy_from_slice(&lines);
        Self(words)
    }
}

impl Lines for Image {
    fn words(&self, line: u32) -> Option<&[u64]> {
        (line == 3).then(|| &self.0[3 * LINE_WORDS..])
    }
}

/// One bucket, which all sources share, and an entry of a trie and one of a hash, which hold all addresses.
struct Tables {
    bucket: Bucket,
    now: Cell<u64>,
    made: Cell<u64>,
    lost: Cell<u64>,
    latest: Cell<u64>,
    host: Option<Cell<Value>>,
    prefix: Option<Cell<Value>>,
}

impl Tables {
    fn new() -> Self {
        let (now, made, lost) = (Cell::new(100), Cell::new(0), Cell::new(0));
        let bucket = [const { Word::new(0) }; BUCKET_WORDS];
        let latest = Cell::new(u64::MAX);
        Self { bucket, now, made, lost, latest, host: None, prefix: None }
    }

    fn catch(&self, source: Source, life: u64, name: u64) {
        let mut packet = Packet::LEFT_BEHIND;
        (packet.network, packet.source) = match source {
            Source::V4(address) => (Network::IPV4, [address.into(), u64::MAX]),
            Source::V6(upper) => (Network::IPV6, [upper, 7]),
        };
        let mut effect = Effect::LEFT_BEHIND;
        effect.action = Action { kind: ActionKind::Block as u8, slot: 3, ..Action::DROP };
        assert_eq!(catch(&Image::of(life, name), self, &packet, &effect), Some(()));
    }

    fn v4(&self, address: u32) -> EntryAction {
        deciding_v4(self, address).action()
    }

    fn v6(&self, upper: u64) -> EntryAction {
        deciding_v6(self, [upper, 9]).action()
    }

    /// The places that have an entry, with the name of the rule.
    fn all(&self) -> Vec<(Source, u64)> {
        let of = |at: usize| Some((Source::of(self.bucket[at].load())?, self.name(at)));
        (0..PLACES).filter_map(of).collect()
    }

    fn name(&self, at: usize) -> u64 {
        self.bucket[NAMES + at * LINE_WORDS].load()
    }
}

impl Buckets for Tables {
    fn bucket(&self, _: u32) -> Option<&Bucket> {
        Some(&self.bucket)
    }

    fn secret(&self) -> u64 {
        5
    }

    fn now(&self) -> u64 {
        self.now.get()
    }
}

impl Cells for Tables {
    fn made(&self) {
        self.made.set(self.made.get() + 1);
    }

    fn lost(&self, now: u64) {
        assert_eq!(now, self.now.get());
        self.lost.set(self.lost.get() + 1);
    }

    fn latest(&self) -> u64 {
        self.latest.get()
    }
}

/// Going back to the ruleset before frees whom the one on trial has blocked.
#[test]
fn what_a_ruleset_on_trial_catches_ends_with_the_trial() {
    const SOURCE: u32 = 0xc000_0201;
    let tables = Tables::new();
    tables.latest.set(150);
    tables.catch(Source::V4(SOURCE), 1_000, 1);
    assert_eq!(tables.v4(SOURCE), EntryAction::BLOCKED);
    tables.now.set(150);
    assert_eq!(tables.v4(SOURCE), EntryAction::NONE);
    // It was confirmed.
    tables.latest.set(u64::MAX);
    tables.catch(Source::V4(SOURCE), 1_000, 1);
    tables.now.set(1_149);
    assert_eq!(tables.v4(SOURCE), EntryAction::BLOCKED);
}

/// All of IPv4 comes from one /64 of a translator.
#[test]
fn who_comes_through_a_translator_is_not_caught() {
    let tables = Tables::new();
    tables.catch(Source::V6(0x0064_ff9b_0000_0000), 1_000, 1);
    assert_eq!((tables.made.get(), tables.all()), (0, Vec::new()));
    tables.catch(Source::V6(0x0064_ff9b_0001_0000), 1_000, 1);
    assert_eq!(tables.made.get(), 1);
}

impl EntryTables for Tables {
    type Place<'a> = &'a Cell<Value>;

    fn flags(&self) -> u32 {
        let hosts = EntryTable::HostsV4.flag() | EntryTable::HostsV6.flag();
        let prefixes = EntryTable::PrefixesV4.flag() | EntryTable::PrefixesV6.flag();
        let of = |flags, is: bool| if is { flags } else { 0 };
        let caught = if self.made.get() > 0 { flag::CAUGHT } else { 0 };
        of(hosts, self.host.is_some())
            | of(prefixes | flag::V6_ALWAYS, self.prefix.is_some())
            | caught
    }

    fn epoch(&self) -> u32 {
        0
    }

    fn multipliers(&self) -> [u64; 2] {
        [5, 7]
    }

    fn is_set(&self, _: EntryTable, _: u32) -> bool {
        true
    }

    fn host_v4(&self, _: u32) -> Option<&Cell<Value>> {
        self.host.as_ref()
    }

    fn host_v6(&self, _: [u64; 2]) -> Option<&Cell<Value>> {
        self.host.as_ref()
    }

    fn prefix_v4(&self, length: u32, _: u32) -> Option<&Cell<Value>> {
        self.prefix.as_ref().filter(|it| Entry::of(&it.get()).length <= length)
    }

    fn prefix_v6(&self, length: u32, _: [u64; 2]) -> Option<&Cell<Value>> {
        self.prefix.as_ref().filter(|it| Entry::of(&it.get()).length <= length)
    }

    fn now(&self) -> u64 {
        self.now.get()
    }

    fn caught(&self, network: Network, source: [u64; 2]) -> Deciding {
        let key = key(network, source);
        deciding(self, key)
    }
}

const A: Source = Source::V4(0xc000_0201);
const B: Source = Source::V6(0x2001_0db8_0000_0001);

#[test]
fn a_caught_source_is_blocked_until_its_time_is_over() {
    let tables = Tables::new();
    assert_eq!(tables.v4(0xc000_0201), EntryAction::NONE);
    tables.catch(A, 50, 1);
    tables.catch(B, 20, 2);
    assert_eq!(
        (tables.v4(0xc000_0201), tables.v4(0xc000_0202)),
        (EntryAction::BLOCKED, EntryAction::NONE)
    );
    assert_eq!(tables.v6(0x2001_0db8_0000_0001), EntryAction::BLOCKED);
    // The upper half of an IPv6 address that is an IPv4 address.
    assert_eq!(tables.v6(0xc000_0201), EntryAction::NONE);
    // Again while it lives: nothing changes.
    tables.catch(A, 5_000, 3);
    assert_eq!((tables.all(), tables.made.get()), ([(A, 1), (B, 2)].to_vec(), 2));
    tables.now.set(120);
    assert_eq!(
        (tables.v4(0xc000_0201), tables.v6(0x2001_0db8_0000_0001)),
        (EntryAction::BLOCKED, EntryAction::NONE)
    );
    tables.now.set(150);
    assert_eq!(tables.v4(0xc000_0201), EntryAction::NONE);
    // And once more, in its own place.
    tables.catch(A, 1, 4);
    assert_eq!(
        (tables.all(), tables.v4(0xc000_0201)),
        ([(A, 4), (B, 2)].to_vec(), EntryAction::BLOCKED)
    );
}

#[test]
fn a_full_bucket_drives_nobody_out_and_ended_entries_make_room() {
    let tables = Tables::new();
    for number in 0..8 {
        tables.catch(Source::V4(0x0a00_0000 + number), 50 + u64::from(number), 1);
    }
    tables.catch(A, 50, 1);
    tables.catch(A, 50, 1);
    assert_eq!((tables.made.get(), tables.lost.get()), (8, 2));
    assert_eq!(
        (tables.v4(0xc000_0201), tables.v4(0x0a00_0007)),
        (EntryAction::NONE, EntryAction::BLOCKED)
    );
    tables.now.set(150);
    tables.catch(A, 50, 1);
    assert_eq!(tables.v4(0xc000_0201), EntryAction::BLOCKED);
    assert!((1..8).all(|number| tables.v4(0x0a00_0000 + number) == EntryAction::BLOCKED));
    assert_eq!((tables.made.get(), tables.lost.get()), (9, 2));
}

#[test]
fn sources_that_are_nobodys_in_particular_are_not_caught() {
    let tables = Tables::new();
    for address in [0, 0xe000_0001, 0xf000_0000, 0xffff_ffff] {
        tables.catch(Source::V4(address), 50, 1);
    }
    for upper in [0, 0xfe80 << 48, 0xfebf << 48, 0xff02 << 48, u64::MAX] {
        tables.catch(Source::V6(upper), 50, 1);
    }
    assert_eq!((tables.all(), tables.made.get()), (Vec::new(), 0));
    for (source, key) in [(A, key_v4(0xc000_0201)), (B, 0x2001_0db8_0000_0001)] {
        assert_eq!((source.key(), Source::of(key)), (key, Some(source)));
    }
    assert_eq!((Source::of(0), Source::of(CLAIMED)), (None, None));
}

#[test]
fn of_entries_that_hold_a_source_the_longest_decides() {
    let mut tables = Tables::new();
    tables.catch(A, 50, 1);
    tables.catch(B, 50, 1);
    let mut decide = |length, action, is_host| {
        let until = |of| if action == of { NEVER } else { 0 };
        let (allowed_until, blocked_until) =
            (until(EntryAction::ALLOWED), until(EntryAction::BLOCKED));
        let entry =
            Entry { allowed_until, blocked_until, length, allowed_counter: 3, blocked_counter: 4 };
        let entry = Some(Cell::new(entry.to_value()));
        (tables.host, tables.prefix) = if is_host { (entry, None) } else { (None, entry) };
        let v4 = deciding_v4(&tables, 0xc000_0201);
        let v6 = deciding_v6(&tables, [0x2001_0db8_0000_0001, 9]);
        [v4, v6].map(|it| (it.action(), it.counter() & COUNTER == 0))
    };
    let (allowed, blocked) = (EntryAction::ALLOWED, EntryAction::BLOCKED);
    assert_eq!(decide(32, allowed, true), [(allowed, true); 2], "the address itself");
    assert_eq!(decide(24, allowed, false), [(blocked, false); 2], "a shorter prefix");
    assert_eq!(decide(63, allowed, false)[1], (blocked, false));
    assert_eq!(decide(64, allowed, false)[1], (allowed, true));
    assert_eq!(decide(64, blocked, false)[1], (blocked, false));
    assert_eq!(decide(65, blocked, false)[1], (blocked, true));
}

#[test]
fn a_counter_begins_anew_with_each_entry_of_its_place() {
    let one = counted(0, 0);
    assert_eq!(packets(counted(one, 0), 0), 2);
    assert_eq!((packets(one, 1), packets(counted(one, 1), 1)), (0, 1));
    // Places are taken more often than the counter has bits for.
    assert_eq!(packets(counted(counted(0, 0x1_0003), 0x1_0003), 0x1_0003), 2);
}

#[test]
fn places_of_many_sources_are_spread() {
    let mut buckets = std::vec![0_u32; BUCKETS as usize];
    for address in 0..BUCKETS {
        buckets[bucket(key_v4(0x0a00_0000 + address), 0x1234_5678_9abc_def1) as usize] += 1;
    }
    assert!(buckets.iter().all(|count| *count <= PLACES as u32 + 2), "{:?}", buckets.iter().max());
}
