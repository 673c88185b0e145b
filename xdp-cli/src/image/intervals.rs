//! Prefixes, possibly nested, flattened into intervals that cover all addresses.

use crate::ruleset::Prefix;

/// IPv4 (`u32`) and IPv6 (`u128`) addresses, in host order.
pub trait Address: Copy + Ord {
    const BITS: u8;
    /// The last address of the prefix that starts here.
    fn last(self, length: u8) -> Self;
    /// The next address; `None` after the last one.
    fn next(self) -> Option<Self>;
}

macro_rules! address {
    ($type:ty) => {
        impl Address for $type {
            const BITS: u8 = <$type>::BITS as u8;

            fn last(self, length: u8) -> Self {
                // A shift by all of the bits is not a shift: /0 covers everything.
                self | <$type>::MAX.checked_shr(u32::from(length)).unwrap_or(0)
            }

            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }
        }
    };
}

address!(u32);
address!(u128);

/// Starts of intervals, each with its value: the first starts at 0, each ends where the next
/// starts, and neighbours differ.
#[derive(Debug, PartialEq, Eq)]
pub struct Intervals<K> {
    pub starts: Vec<(K, u32)>,
}

impl<K: Copy + Ord + Default> Intervals<K> {
    /// One interval over everything.
    pub fn new(value: u32) -> Self {
        Self { starts: vec![(K::default(), value)] }
    }

    /// From `start` on, the value is this. `start` does not go back.
    pub fn set(&mut self, start: K, value: u32) {
        if self.starts.last().is_some_and(|last| last.0 == start) {
            self.starts.pop();
        }
        if self.starts.last().is_none_or(|last| last.1 != value) {
            self.starts.push((start, value));
        }
    }

    /// Whether the value is 0 everywhere.
    pub fn is_nothing(&self) -> bool {
        matches!(self.starts.as_slice(), [(_, 0)])
    }
}

/// Flattens prefixes: an address's value comes of all prefixes that hold it, folded from the
/// shortest to the longest (in the order given where they are equal) by `fold(value, item)`,
/// from `outside`. Takes a sort and one pass over the prefixes, however deep they nest.
pub fn flatten<A: Address + Default, T>(
    prefixes: &mut [(Prefix<A>, T)],
    outside: u32,
    mut fold: impl FnMut(u32, &T) -> u32,
) -> Intervals<A> {
    prefixes.sort_by_key(|(prefix, _)| (prefix.address, prefix.length));
    let mut intervals = Intervals::new(outside);
    // The prefixes that hold the current address: their last addresses, and the value inside.
    let mut open: Vec<(A, u32)> = Vec::with_capacity(usize::from(A::BITS) + 1);
    let close = |open: &mut Vec<(A, u32)>, intervals: &mut Intervals<A>| {
        if let Some((last, _)) = open.pop()
            && let Some(next) = last.next()
        {
            let value = open.last().map_or(outside, |&(_, value)| value);
            intervals.set(next, value);
        }
    };
    for (prefix, item) in prefixes.iter() {
        while open.last().is_some_and(|&(last, _)| last < prefix.address) {
            close(&mut open, &mut intervals);
        }
        let value = fold(open.last().map_or(outside, |&(_, value)| value), item);
        intervals.set(prefix.address, value);
        open.push((prefix.address.last(prefix.length), value));
    }
    while !open.is_empty() {
        close(&mut open, &mut intervals);
    }
    intervals
}
