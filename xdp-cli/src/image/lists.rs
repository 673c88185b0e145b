//! Compiles allowlists and blocklists into prefixes, each with the membership of its addresses.

use rustc_hash::FxHashMap;
use xdp_common::image::Membership;
use xdp_common::stats::counter::CounterId;

use super::intervals::{Address, fold_nested};
use super::lpm::Valued;
use crate::ruleset::{Entry, List, ListAction, Prefix, Ruleset, Side};

/// The different memberships, numbered. Number 0 is that of an address that no list holds.
struct Memberships {
    all: Vec<Membership>,
    numbers: FxHashMap<Membership, u32>,
}

impl Memberships {
    fn new() -> Self {
        let nothing = Membership::default();
        Self { all: vec![nothing], numbers: FxHashMap::from_iter([(nothing, 0)]) }
    }

    fn number(&mut self, membership: Membership) -> u32 {
        *self.numbers.entry(membership).or_insert_with(|| {
            self.all.push(membership);
            self.all.len() as u32 - 1
        })
    }
}

/// The lists of a ruleset, flattened into one table per address family.
pub struct MembershipTable {
    /// By number. Number 0 is that of an address that no list holds; after it, memberships that
    /// more prefixes have come first.
    pub memberships: Vec<Membership>,
    /// Sorted, each prefix once. The value is the number of the membership of the addresses of
    /// which it is the longest prefix.
    pub v4: Vec<Valued<u32>>,
    pub v6: Vec<Valued<u128>>,
}

/// A list, seen from one of its entries.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Member {
    /// Index into [`Lists`]: allowlists first, then blocklists.
    list: u16,
    /// The entry's prefix length, which ranks it.
    length: u8,
}

/// What a list adds to the memberships of the addresses that it holds.
struct Contribution {
    side: Side,
    /// `None` for an allowlist.
    action: Option<ListAction>,
    counter: CounterId,
    /// Lower half of a rank: the list that comes first in the file has the highest.
    precedence: u32,
}

/// The lists of a ruleset with the numbers of their counters.
pub struct Lists<'a> {
    lists: Vec<&'a List>,
    contributions: Vec<Contribution>,
}

impl<'a> Lists<'a> {
    /// `allow` and `block` are the numbers of the counters of the allowlists and the blocklists, in
    /// the order of the lists.
    pub fn new(ruleset: &'a Ruleset, allow: &[u32], block: &[u32]) -> Self {
        let allowed =
            ruleset.allowlists.iter().zip(allow).map(|(list, &number)| (list, None, number));
        let blocked = ruleset
            .blocklists
            .iter()
            .zip(block)
            .map(|(list, &number)| (list, Some(list.action), number));
        let mut lists = Vec::new();
        let mut contributions = Vec::new();
        for (index, (list, action, number)) in allowed.chain(blocked).enumerate() {
            lists.push(list);
            contributions.push(Contribution {
                side: if action.is_none() { Side::Source } else { list.side },
                action,
                counter: CounterId::new(number),
                precedence: u32::from(u16::MAX) - index as u32,
            });
        }
        Self { lists, contributions }
    }

    /// Whether some list looks at the source address, and whether some looks at the destination.
    pub fn sides(&self) -> (bool, bool) {
        let any =
            |side| self.contributions.iter().any(|e| e.side == side || e.side == Side::Either);
        (any(Side::Source), any(Side::Destination))
    }

    /// Flattens the lists into a membership for every address.
    pub fn table(&self) -> MembershipTable {
        let mut steps = Steps::new(self);
        let mut v4 = steps.prefixes(|list| &list.v4);
        let mut v6 = steps.prefixes(|list| &list.v6);
        let mut uses: Vec<(u32, u32)> = (0..steps.asked.all.len() as u32).map(|n| (n, 0)).collect();
        let values = v4.iter().map(|p| p.value).chain(v6.iter().map(|p| p.value));
        for value in values {
            uses[value as usize].1 += 1;
        }
        // The most frequent memberships get the lowest numbers: compact slots of the index hold
        // nothing greater than `xdp_common::lookup::lpm::BYTES_MAX`.
        uses[1..].sort_by_key(|&(_, uses)| std::cmp::Reverse(uses));
        let mut renumbered = vec![0; uses.len()];
        for (new, &(old, _)) in uses.iter().enumerate() {
            renumbered[old as usize] = new as u32;
        }
        v4.iter_mut().for_each(|p| p.value = renumbered[p.value as usize]);
        v6.iter_mut().for_each(|p| p.value = renumbered[p.value as usize]);
        let memberships = uses.iter().map(|&(old, _)| steps.asked.all[old as usize]).collect();
        MembershipTable { memberships, v4, v6 }
    }
}

/// Steps from the membership that shorter prefixes give to the one that a longer prefix makes of
/// it. Memberships are known by their numbers here.
struct Steps<'a> {
    lists: &'a Lists<'a>,
    /// Memberships with all ranks, by which nested prefixes are compared during the build.
    ranked: Memberships,
    /// Memberships as the program reads them, without the ranks that it never compares. Many
    /// ranked ones become the same, so there are fewer of them.
    asked: Memberships,
    /// From a number in `ranked` to the number in `asked`.
    asked_of: Vec<u32>,
    /// Steps already worked out: a list of a million prefixes takes few different ones, often.
    taken: FxHashMap<(u32, Member), u32>,
    /// Whether lists look at both sides of a packet. Only then does the program compare the rank of
    /// a source's word with that of a destination's.
    both_sides: bool,
}

impl<'a> Steps<'a> {
    fn new(lists: &'a Lists<'a>) -> Self {
        Self {
            lists,
            ranked: Memberships::new(),
            asked: Memberships::new(),
            asked_of: vec![0],
            taken: FxHashMap::default(),
            both_sides: lists.sides() == (true, true),
        }
    }

    fn step(&mut self, outer: u32, member: Member) -> u32 {
        let Self { lists, ranked, asked, asked_of, taken, both_sides } = self;
        *taken.entry((outer, member)).or_insert_with(|| {
            let contribution = &lists.contributions[usize::from(member.list)];
            let membership = contribution.applied_to(ranked.all[outer as usize], member.length);
            let number = ranked.number(membership);
            if number as usize == asked_of.len() {
                asked_of.push(asked.number(membership.without_ranks(!*both_sides)));
            }
            number
        })
    }

    /// The prefixes whose membership differs from that of the addresses around them.
    fn prefixes<A: Address + 'a>(
        &mut self,
        entries: impl Fn(&'a List) -> &'a [Entry<A>],
    ) -> Vec<Valued<A>> {
        let lists = self.lists;
        let mut members: Vec<(Prefix<A>, Member)> = Vec::new();
        members.reserve_exact(lists.lists.iter().map(|&list| entries(list).len()).sum());
        for (index, &list) in lists.lists.iter().enumerate() {
            members.extend(entries(list).iter().map(|entry| {
                (entry.prefix, Member { list: index as u16, length: entry.prefix.length })
            }));
        }
        let mut values: Vec<(Prefix<A>, u32, u32)> = Vec::with_capacity(members.len());
        fold_nested(
            &mut members,
            0,
            |outer, &member| self.step(outer, member),
            |prefix, value, around| values.push((prefix, value, around)),
        );
        drop(members);
        values
            .into_iter()
            .map(|(prefix, value, around)| {
                let asked = |number| self.asked_of[number as usize];
                (Valued { prefix, value: asked(value) }, asked(around))
            })
            .filter(|(valued, around)| valued.value != *around)
            .map(|(valued, _)| valued)
            .collect()
    }
}

trait WithoutRanks {
    /// The same membership with all ranks of allowlists set to 1: any match passes, so the program
    /// never compares them. With `of_blocklists`, the ranks of blocklists too.
    fn without_ranks(self, of_blocklists: bool) -> Self;
}

impl WithoutRanks for Membership {
    fn without_ranks(mut self, of_blocklists: bool) -> Self {
        let strip = |word: &mut u64| {
            if *word != 0 {
                *word = 1 << 32 | *word & u64::from(u32::MAX);
            }
        };
        strip(&mut self.source_allow);
        if of_blocklists {
            strip(&mut self.source_drop);
            strip(&mut self.source_count);
            strip(&mut self.destination_drop);
            strip(&mut self.destination_count);
        }
        self
    }
}

impl Contribution {
    /// The membership of addresses that a prefix of this list, of this length, holds as well.
    fn applied_to(&self, mut membership: Membership, length: u8) -> Membership {
        let rank = (u32::from(length) + 1) << 16 | self.precedence;
        let word = u64::from(rank) << 32 | u64::from(self.counter.0);
        let raise = |place: &mut u64| *place = (*place).max(word);
        let source = self.side != Side::Destination;
        let destination = self.side != Side::Source;
        match self.action {
            None => raise(&mut membership.source_allow),
            Some(ListAction::Drop) => {
                if source {
                    raise(&mut membership.source_drop);
                }
                if destination {
                    raise(&mut membership.destination_drop);
                }
            }
            Some(ListAction::Count) => {
                if source {
                    raise(&mut membership.source_count);
                }
                if destination {
                    raise(&mut membership.destination_count);
                }
            }
        }
        membership
    }
}
