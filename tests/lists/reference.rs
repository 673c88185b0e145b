//! What lists say of an address, by a scan of all prefixes, held against the compiled image. The
//! fuzz target `lists` includes this file.

use xdp_common::filter::lists::find_listed;
use xdp_common::image::{Lines as _, Membership};
use xdp_common::packet::Network;
use xdp_common::stats::counter::CounterId;
use xdpctl::image::Image;
use xdpctl::image::metadata::Metadata;
use xdpctl::ruleset::{Entry, Guards, List, ListAction, Prefix, Ruleset, Side};

/// The list of one kind that decides about an address: by its number among all lists.
type Deciding = Option<usize>;

/// Of each kind of word that a [`Membership`] has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Answer {
    source_allow: Deciding,
    source_drop: Deciding,
    source_count: Deciding,
    destination_drop: Deciding,
    destination_count: Deciding,
}

impl Answer {
    /// Without what is never asked for, because something that comes before it decides: an image
    /// is free to leave that out or not.
    fn asked(mut self) -> Self {
        if self.source_allow.is_some() {
            (self.source_drop, self.source_count) = (None, None);
        }
        if self.source_drop.is_some() {
            self.source_count = None;
        }
        if self.destination_drop.is_some() {
            self.destination_count = None;
        }
        self
    }
}

/// An address of either family, as a number.
pub trait Address: Copy + std::fmt::Debug {
    const BITS: u32;
    const NETWORK: Network;

    fn bits(self) -> u128;
    fn from_bits(bits: u128) -> Self;
    /// As the program has it in hand.
    fn words(self) -> [u64; 2];
    fn entries(list: &List) -> &[Entry<Self>];
}

impl Address for u32 {
    const BITS: u32 = Self::BITS;
    const NETWORK: Network = Network::IPV4;

    fn bits(self) -> u128 {
        self.into()
    }

    fn from_bits(bits: u128) -> Self {
        bits as Self
    }

    fn words(self) -> [u64; 2] {
        [self.into(), 0]
    }

    fn entries(list: &List) -> &[Entry<Self>] {
        &list.v4
    }
}

impl Address for u128 {
    const BITS: u32 = Self::BITS;
    const NETWORK: Network = Network::IPV6;

    fn bits(self) -> u128 {
        self
    }

    fn from_bits(bits: u128) -> Self {
        bits
    }

    fn words(self) -> [u64; 2] {
        [(self >> 64) as u64, self as u64]
    }

    fn entries(list: &List) -> &[Entry<Self>] {
        &list.v6
    }
}

/// The bits of an address of `A` that lie beyond a prefix of that length.
fn host_bits<A: Address>(length: u8) -> u128 {
    let whole = u128::MAX >> (128 - A::BITS);
    whole.checked_shr(length.into()).unwrap_or(0)
}

/// The prefix of that length that the address lies in.
pub fn prefix<A: Address>(address: A, length: u8) -> Prefix<A> {
    Prefix { address: A::from_bits(address.bits() & !host_bits::<A>(length)), length }
}

/// A list's entry; where it stands is of no account here.
pub fn entry<A>(prefix: Prefix<A>) -> Entry<A> {
    Entry { prefix, file: 0, line: 1 }
}

/// A list without prefixes.
pub fn list(number: usize, side: Side, action: ListAction) -> List {
    let name = format!("list-{number}");
    List {
        name,
        file: 0,
        line: 1,
        column: 1,
        side,
        action,
        strict: false,
        guards: Guards::default(),
        v4: Vec::new(),
        v6: Vec::new(),
    }
}

/// A ruleset with its image.
pub struct Compiled<'a> {
    ruleset: &'a Ruleset,
    image: Image,
    /// The counters of the lists, allowlists first.
    counters: Vec<u32>,
}

impl<'a> Compiled<'a> {
    pub fn new(ruleset: &'a Ruleset) -> Self {
        let metadata = Metadata::unbound(ruleset);
        let image = Image::build(ruleset, 1, &metadata).expect("a ruleset within the limits");
        let counters = metadata.counted.iter().map(|c| CounterId::new(c.number).0).collect();
        Self { ruleset, image, counters }
    }

    /// Asks for an address, and panics where the scan answers otherwise.
    pub fn compare<A: Address>(&self, address: A) {
        let (expected, found) = (self.scan(address).asked(), self.look_up(address).asked());
        assert_eq!(found, expected, "found, and expected, for {address:#x?}");
    }

    /// Asks at both ends of every prefix, and just outside of them.
    pub fn compare_edges(&self) {
        self.edges::<u32>();
        self.edges::<u128>();
    }

    fn edges<A: Address>(&self) {
        for list in self.ruleset.allowlists.iter().chain(&self.ruleset.blocklists) {
            for Entry { prefix, .. } in A::entries(list) {
                let first = prefix.address.bits();
                let last = first | host_bits::<A>(prefix.length);
                for bits in [first.wrapping_sub(1), first, last, last.wrapping_add(1)] {
                    self.compare(A::from_bits(bits));
                }
            }
        }
    }

    fn number<A: Address>(&self, address: A) -> u32 {
        find_listed(&self.image, self.image.header(), A::NETWORK, address.words())
            .expect("an image that is not corrupt")
    }

    fn look_up<A: Address>(&self, address: A) -> Answer {
        let number = self.number(address);
        if number == 0 {
            return Answer::default();
        }
        let line = self.image.header().memberships + number;
        let membership = Membership::of(self.image.line(line).expect("a line of the image"));
        let list = |word: u64| {
            let counter = word as u32;
            (word != 0).then(|| {
                let of_list = self.counters.iter().position(|&number| number == counter);
                of_list.expect("the counter of a list")
            })
        };
        Answer {
            source_allow: list(membership.source_allow),
            source_drop: list(membership.source_drop),
            source_count: list(membership.source_count),
            destination_drop: list(membership.destination_drop),
            destination_count: list(membership.destination_count),
        }
    }

    fn scan<A: Address>(&self, address: A) -> Answer {
        let mut answer = Answer::default();
        // The longest prefix that was seen, for each of the words.
        let mut longest = [None; 5];
        let mut decide = |word: usize, place: &mut Deciding, list: usize, length: u8| {
            // Of equal ones, the list that comes first in the file.
            if longest[word].is_none_or(|longest| length > longest) {
                longest[word] = Some(length);
                *place = Some(list);
            }
        };
        let allowlists = self.ruleset.allowlists.iter().map(|list| (list, true));
        let blocklists = self.ruleset.blocklists.iter().map(|list| (list, false));
        for (number, (list, allows)) in allowlists.chain(blocklists).enumerate() {
            let holding = A::entries(list)
                .iter()
                .map(|entry| entry.prefix)
                .filter(|p| (p.address.bits() ^ address.bits()) & !host_bits::<A>(p.length) == 0);
            let Some(length) = holding.map(|prefix| prefix.length).max() else { continue };
            if allows {
                decide(0, &mut answer.source_allow, number, length);
                continue;
            }
            let drops = list.action == ListAction::Drop;
            if list.side != Side::Destination {
                match drops {
                    true => decide(1, &mut answer.source_drop, number, length),
                    false => decide(2, &mut answer.source_count, number, length),
                }
            }
            if list.side != Side::Source {
                match drops {
                    true => decide(3, &mut answer.destination_drop, number, length),
                    false => decide(4, &mut answer.destination_count, number, length),
                }
            }
        }
        answer
    }
}
