//! What allowlists and blocklists come to: a tree from addresses to decisions.

use rustc_hash::FxHashMap;
use xdp_common::counter::CounterId;
use xdp_common::image::Decision;

use super::intervals::{Address, Intervals, flatten};
use crate::ruleset::{Entry, List, ListAction, Prefix, Ruleset, Side};

/// Decisions, each once. Number 0 is the one that says nothing.
pub struct Decisions {
    pub all: Vec<Decision>,
    numbers: FxHashMap<Decision, u32>,
}

impl Decisions {
    pub fn new() -> Self {
        let nothing = Decision::default();
        Self { all: vec![nothing], numbers: FxHashMap::from_iter([(nothing, 0)]) }
    }

    fn number(&mut self, decision: Decision) -> u32 {
        *self.numbers.entry(decision).or_insert_with(|| {
            self.all.push(decision);
            self.all.len() as u32 - 1
        })
    }
}

/// A list, seen from one of its entries.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Member {
    /// Index into the lists given.
    list: u16,
    /// The entry's prefix length, which ranks it.
    length: u8,
}

/// What a list writes into the decisions of the addresses that it holds.
struct Effect {
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
    effects: Vec<Effect>,
}

impl<'a> Lists<'a> {
    /// `allow` and `block` are the counters' numbers, in the lists' order.
    pub fn new(ruleset: &'a Ruleset, allow: &[u32], block: &[u32]) -> Self {
        let allowed =
            ruleset.allowlists.iter().zip(allow).map(|(list, &number)| (list, None, number));
        let blocked = ruleset
            .blocklists
            .iter()
            .zip(block)
            .map(|(list, &number)| (list, Some(list.action), number));
        let mut lists = Vec::new();
        let mut effects = Vec::new();
        for (index, (list, action, number)) in allowed.chain(blocked).enumerate() {
            lists.push(list);
            effects.push(Effect {
                side: if action.is_none() { Side::Source } else { list.side },
                action,
                counter: CounterId::new(number),
                precedence: u32::from(u16::MAX) - index as u32,
            });
        }
        Self { lists, effects }
    }

    /// Whether some list looks at the source, and at the destination.
    pub fn sides(&self) -> (bool, bool) {
        let any = |side| self.effects.iter().any(|e| e.side == side || e.side == Side::Either);
        (any(Side::Source), any(Side::Destination))
    }

    pub fn intervals_v4(&self, decisions: &mut Decisions) -> Intervals<u32> {
        self.intervals(decisions, |list| &list.v4)
    }

    pub fn intervals_v6(&self, decisions: &mut Decisions) -> Intervals<u128> {
        self.intervals(decisions, |list| &list.v6)
    }

    fn intervals<A: Address + Default + 'a>(
        &self,
        decisions: &mut Decisions,
        entries: impl Fn(&'a List) -> &'a [Entry<A>],
    ) -> Intervals<A> {
        let mut members: Vec<(Prefix<A>, Member)> = Vec::new();
        members.reserve_exact(self.lists.iter().map(|&list| entries(list).len()).sum());
        for (index, &list) in self.lists.iter().enumerate() {
            members.extend(entries(list).iter().map(|entry| {
                (entry.prefix, Member { list: index as u16, length: entry.prefix.length })
            }));
        }
        // Few different steps are taken very often.
        let mut steps: FxHashMap<(u32, Member), u32> = FxHashMap::default();
        flatten(&mut members, 0, |outer, &member| {
            *steps.entry((outer, member)).or_insert_with(|| {
                let effect = &self.effects[usize::from(member.list)];
                decisions.number(effect.applied_to(decisions.all[outer as usize], member.length))
            })
        })
    }
}

impl Effect {
    /// The decision for addresses that one more prefix of the list holds.
    fn applied_to(&self, mut decision: Decision, length: u8) -> Decision {
        let rank = (u32::from(length) + 1) << 16 | self.precedence;
        let word = u64::from(rank) << 32 | u64::from(self.counter.0);
        let raise = |place: &mut u64| *place = (*place).max(word);
        let source = self.side != Side::Destination;
        let destination = self.side != Side::Source;
        match self.action {
            None => raise(&mut decision.source_allow),
            Some(ListAction::Drop) => {
                if source {
                    raise(&mut decision.source_drop);
                }
                if destination {
                    raise(&mut decision.destination_drop);
                }
            }
            Some(ListAction::Count) => {
                if source {
                    raise(&mut decision.source_count);
                }
                if destination {
                    raise(&mut decision.destination_count);
                }
            }
        }
        decision
    }
}
