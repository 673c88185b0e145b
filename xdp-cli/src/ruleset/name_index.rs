//! Finds names of a list among up to a million.

use std::hash::{BuildHasher as _, RandomState};

use super::domains::{DomainName, Names};

/// An index of the names of one list.
#[derive(Debug)]
pub struct NameIndex {
    /// With a key that nobody knows: whoever writes a list could choose names of the same hash.
    hasher: RandomState,
    /// Hashes and numbers of the names, sorted.
    hashed: Vec<(u64, u32)>,
}

impl NameIndex {
    pub fn of(names: &Names) -> Self {
        let hasher = RandomState::new();
        let hash = |(number, key): (u32, (DomainName<'_>, bool))| (hasher.hash_one(key), number);
        let keys = names.iter().map(|listed| (listed.name, listed.below_only));
        let mut hashed: Vec<(u64, u32)> = (0..).zip(keys).map(hash).collect();
        hashed.sort_unstable();
        Self { hasher, hashed }
    }

    /// The number of the first entry that is this name. `names` is what the index was made of.
    pub fn find(&self, names: &Names, name: DomainName<'_>, below_only: bool) -> Option<usize> {
        let hash = self.hasher.hash_one((name, below_only));
        let first = self.hashed.partition_point(|(other, _)| *other < hash);
        let run = self.hashed.get(first..)?.iter().take_while(|(other, _)| *other == hash);
        let is_it = |number: &usize| {
            names.get(*number).is_some_and(|it| (it.name, it.below_only) == (name, below_only))
        };
        run.map(|(_, number)| *number as usize).find(is_it)
    }

    /// The numbers of all entries that hold a name, the most specific first; of two that are equally
    /// specific, the one that was read first.
    pub fn holding(&self, names: &Names, name: DomainName<'_>) -> Vec<usize> {
        let mut held: Vec<usize> = self.find(names, name, false).into_iter().collect();
        let mut parent = name.parent();
        while let Some(name) = parent {
            let mut both = [false, true].map(|below_only| self.find(names, name, below_only));
            both.sort_unstable();
            held.extend(both.into_iter().flatten());
            parent = name.parent();
        }
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruleset::domains::ListedName;

    #[test]
    fn what_holds_a_name_is_found_the_most_specific_first() {
        let all: [(&[u8], bool); 7] = [
            (b"\x03org", false),
            (b"\x07example\x03org", true),
            (b"\x07example\x03org", false),
            (b"\x01a\x07example\x03org", true),
            (b"\x01a\x07example\x03org", false),
            (b"\x01b\x03org", false),
            (b"", true),
        ];
        let mut names = Names::default();
        for (line, (wire, below_only)) in (1..).zip(all) {
            let name = DomainName::of_wire(wire);
            names.push(ListedName { name, below_only, file: 0, line }).unwrap();
        }
        let index = NameIndex::of(&names);
        let holding = |wire| index.holding(&names, DomainName::of_wire(wire));
        assert_eq!(holding(b"\x01a\x07example\x03org"), [4, 1, 2, 0, 6]);
        assert_eq!(holding(b"\x01x\x01a\x07example\x03org"), [3, 4, 1, 2, 0, 6]);
        assert_eq!(holding(b"\x07example\x03org"), [2, 0, 6]);
        assert_eq!(holding(b"\x03org"), [0, 6]);
        assert_eq!(holding(b"\x03net"), [6]);
        assert_eq!(holding(b""), [] as [usize; 0]);
    }
}
