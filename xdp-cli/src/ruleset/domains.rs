//! Names of the Domain Name System, and lists of them.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};

use serde::{Deserialize, Serialize};

use super::count::EntryCount;
use super::guards::Guards;

/// A `[[domains]]` list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainList {
    pub name: String,
    /// Index into [`Ruleset::files`](super::Ruleset::files) of the configuration that it stands in.
    pub file: u16,
    /// Where its name stands in that, both from 1.
    pub line: u32,
    pub column: u32,
    pub action: DomainAction,
    /// The question types that it looks at, sorted, each once (RFC 1035, section 3.2.2); `None`
    /// looks at all.
    pub qtypes: Option<Vec<u16>>,
    /// Whether a line of its files that cannot be read is an error.
    pub strict: bool,
    pub guards: Guards,
    pub names: Names,
}

impl DomainList {
    /// How many names it holds; `example.org` and `*.example.org` are two.
    pub fn entries(&self) -> EntryCount {
        EntryCount { names: self.names.len() as u64, ..EntryCount::default() }
    }
}

/// What a list does with a message that asks for one of its names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DomainAction {
    #[default]
    Drop,
    /// Answers that there is no such name.
    Nxdomain,
    /// Answers that the query is refused.
    Refuse,
    /// Answers that the answer has to be asked for over TCP.
    Truncate,
    /// Counts the packet, and judgement goes on: an exception to other lists.
    Pass,
}

impl DomainAction {
    pub const ALL: [Self; 5] =
        [Self::Drop, Self::Nxdomain, Self::Refuse, Self::Truncate, Self::Pass];

    /// Whether queries are answered, back out of the interface that they came in by.
    pub const fn answers(self) -> bool {
        match self {
            Self::Nxdomain | Self::Refuse | Self::Truncate => true,
            Self::Drop | Self::Pass => false,
        }
    }

    /// As it is written in a configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Nxdomain => "nxdomain",
            Self::Refuse => "refuse",
            Self::Truncate => "truncate",
            Self::Pass => "pass",
        }
    }
}

/// A name as it stands in a message (RFC 1035, section 3.1), in lower case, without the root's
/// empty label at its end: each label is a byte with its length, 1 to 63, and as many bytes. The root
/// is no byte at all.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DomainName<'a>(&'a [u8]);

/// Bytes of the longest label.
pub const LONGEST_LABEL: usize = 63;

/// Bytes of the longest name, without the root's label.
pub const LONGEST_NAME: usize = 254;

impl<'a> DomainName<'a> {
    /// The root.
    pub const ROOT: Self = Self(&[]);

    /// Takes a name that is in this form.
    pub const fn of_wire(wire: &'a [u8]) -> Self {
        Self(wire)
    }

    pub const fn wire(self) -> &'a [u8] {
        self.0
    }

    /// Its labels, the leftmost first.
    pub fn labels(self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (&length, behind) = rest.split_first()?;
            let (label, behind) = behind.split_at_checked(length.into())?;
            rest = behind;
            Some(label)
        })
    }

    /// The name without its leftmost label; `None` of the root.
    pub fn parent(self) -> Option<Self> {
        let (&length, behind) = self.0.split_first()?;
        Some(Self(behind.get(length.into()..)?))
    }
}

/// As text (RFC 1035, section 5.1), without a dot at its end; the root is `.`. Bytes that are not
/// letters, digits, `-` or `_` are written as `\` with the byte itself or its number.
impl fmt::Display for DomainName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str(".");
        }
        for (place, label) in self.labels().enumerate() {
            if place > 0 {
                f.write_str(".")?;
            }
            for &byte in label {
                match byte {
                    b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => write!(f, "{}", char::from(byte))?,
                    b'!'..=b'~' => write!(f, "\\{}", char::from(byte))?,
                    _ => write!(f, "\\{byte:03}")?,
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for DomainName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The names of a list, with their places: a million of them, so their bytes lie in one piece. The
/// loader leaves each name there once, with its first place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    bytes: Vec<u8>,
    places: Vec<NamePlace>,
}

/// Where a name lies in the bytes, and where it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct NamePlace {
    start: u32,
    length: u8,
    below_only: bool,
    file: u16,
    line: u32,
}

/// A name of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedName<'a> {
    pub name: DomainName<'a>,
    /// Stands for the names below it alone: `*.example.org`.
    pub below_only: bool,
    /// Index into [`Ruleset::files`](super::Ruleset::files).
    pub file: u16,
    /// Line in that file, from 1.
    pub line: u32,
}

/// As in a configuration.
impl fmt::Display for ListedName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.below_only, self.name == DomainName::ROOT) {
            (false, _) => self.name.fmt(f),
            (true, false) => write!(f, "*.{}", self.name),
            (true, true) => f.write_str("*."),
        }
    }
}

/// There is no room for more names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyNames;

impl Names {
    /// How many there are; one that is named several times counts as often.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Adds a name.
    ///
    /// # Errors
    ///
    /// Where all of them would take more than 4 GiB.
    pub fn push(&mut self, listed: ListedName<'_>) -> Result<(), TooManyNames> {
        let start = u32::try_from(self.bytes.len()).map_err(|_| TooManyNames)?;
        let wire = listed.name.wire();
        let length = u8::try_from(wire.len()).map_err(|_| TooManyNames)?;
        self.bytes.extend_from_slice(wire);
        let ListedName { below_only, file, line, .. } = listed;
        self.places.push(NamePlace { start, length, below_only, file, line });
        Ok(())
    }

    /// Adds all names of another list.
    ///
    /// # Errors
    ///
    /// As [`Self::push`] does.
    pub fn extend(&mut self, other: &Self) -> Result<(), TooManyNames> {
        let base = u32::try_from(self.bytes.len()).map_err(|_| TooManyNames)?;
        base.checked_add(u32::try_from(other.bytes.len()).map_err(|_| TooManyNames)?)
            .ok_or(TooManyNames)?;
        self.bytes.extend_from_slice(&other.bytes);
        let moved = |place: &NamePlace| NamePlace { start: base + place.start, ..*place };
        self.places.extend(other.places.iter().map(moved));
        Ok(())
    }

    /// Removes duplicates: leaves the first of each name.
    pub fn keep_first(&mut self) {
        // With a key that nobody knows: names come from lists that others write, who could choose
        // some of the same hash.
        let hasher = RandomState::new();
        let mut hashed: Vec<(u64, u32)> = Vec::with_capacity(self.len());
        for number in 0..self.places.len() {
            hashed.push((hasher.hash_one(self.key(number as u32)), number as u32));
        }
        // Those of the same name lie behind the first of them.
        hashed.sort_unstable();
        let mut is_repeat = vec![false; self.len()];
        for run in hashed.chunk_by(|(one, _), (other, _)| one == other) {
            for (at, &(_, later)) in run.iter().enumerate().skip(1) {
                let repeats = |&(_, earlier): &(u64, u32)| self.key(earlier) == self.key(later);
                is_repeat[later as usize] = run[..at].iter().any(repeats);
            }
        }
        drop(hashed);
        if !is_repeat.contains(&true) {
            return;
        }
        let mut end = 0;
        let mut is_repeat = is_repeat.into_iter();
        let bytes = &mut self.bytes;
        self.places.retain_mut(|place| {
            let keep = !is_repeat.next().unwrap_or(false);
            if keep {
                let start = place.start as usize;
                bytes.copy_within(start..start + usize::from(place.length), end);
                place.start = end as u32;
                end += usize::from(place.length);
            }
            keep
        });
        bytes.truncate(end);
    }

    /// What makes a name another one.
    fn key(&self, number: u32) -> Option<(DomainName<'_>, bool)> {
        self.get(number as usize).map(|listed| (listed.name, listed.below_only))
    }

    /// The name of that number, from 0.
    pub fn get(&self, number: usize) -> Option<ListedName<'_>> {
        let NamePlace { start, length, below_only, file, line } = *self.places.get(number)?;
        let wire = self.bytes.get(start as usize..)?.get(..length.into())?;
        Some(ListedName { name: DomainName(wire), below_only, file, line })
    }

    /// Whether every place lies within the bytes. What [`Self::push`] made does; what was read back
    /// from a file may not.
    pub fn is_whole(&self) -> bool {
        self.places
            .iter()
            .all(|place| place.start as usize + usize::from(place.length) <= self.bytes.len())
    }

    /// All of them, in the order in which they were added.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = ListedName<'_>> {
        (0..self.len()).map(|number| {
            self.get(number).unwrap_or(ListedName {
                name: DomainName::ROOT,
                below_only: true,
                file: 0,
                line: 0,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(all: &[(u8, bool)]) -> Names {
        let mut names = Names::default();
        for (line, &(letter, below_only)) in all.iter().enumerate() {
            let wire = [1, b'a' + letter];
            let name = if letter == 0 { DomainName::ROOT } else { DomainName::of_wire(&wire) };
            let line = line as u32;
            names.push(ListedName { name, below_only, file: 3, line }).unwrap();
        }
        names
    }

    proptest! {
        #[test]
        fn the_first_of_each_name_is_left(
            all in prop::collection::vec((0u8..6, any::<bool>()), 0..40),
        ) {
            let mut left = names(&all);
            left.keep_first();
            let first = |(at, one): &(usize, &(u8, bool))| !all[..*at].contains(one);
            let expected: Vec<(u32, String)> = all.iter().enumerate().filter(first)
                .map(|(at, _)| (at as u32, names(&all).get(at).unwrap().to_string()))
                .collect();
            let shown: Vec<_> = left.iter().map(|it| (it.line, it.to_string())).collect();
            prop_assert_eq!(shown, expected);
            prop_assert!(left.is_whole());
        }

        #[test]
        fn two_lists_one_after_the_other(
            one in prop::collection::vec((0u8..6, any::<bool>()), 0..9),
            other in prop::collection::vec((0u8..6, any::<bool>()), 0..9),
        ) {
            let mut both = names(&one);
            both.extend(&names(&other)).unwrap();
            let (first, second) = (names(&one), names(&other));
            let shown = |names: &Names| names.iter().map(|it| it.to_string()).collect::<Vec<_>>();
            prop_assert_eq!(shown(&both), [shown(&first), shown(&second)].concat());
        }
    }

    #[test]
    fn names_as_text() {
        let listed = |wire, below_only| {
            let name = DomainName::of_wire(wire);
            ListedName { name, below_only, file: 0, line: 0 }.to_string()
        };
        assert_eq!(listed(b"\x07example\x03org", false), "example.org");
        assert_eq!(listed(b"\x07example\x03org", true), "*.example.org");
        assert_eq!(listed(b"\x04a.b\\\x01\xff", false), r"a\.b\\.\255");
        assert_eq!((listed(b"", false), listed(b"", true)), (".".into(), "*.".into()));
    }
}
