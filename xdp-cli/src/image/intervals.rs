//! Prefixes, possibly nested, flattened into intervals that cover all addresses.

use crate::ruleset::Prefix;

/// IPv4 (`u32`) and IPv6 (`u128`) addresses, in host order.
pub trait Address: Copy + Ord + Default {
    const BITS: u8;
    /// The last address of the prefix of this length that starts here.
    fn last(self, length: u8) -> Self;
    /// The next address; `None` after the last one.
    fn next(self) -> Option<Self>;
    /// The `bits` bits (1 to 31) after the first `depth`, as a number.
    fn bits_from(self, depth: u8, bits: u8) -> u32;
    /// The 96 bits after the first `depth`; zeros past the end of the address.
    fn next_96_bits(self, depth: u8) -> (u64, u32);
    /// How many leading bits both have in common.
    fn common_bits(self, other: Self) -> u8;
}

macro_rules! address {
    ($type:ty) => {
        impl Address for $type {
            const BITS: u8 = <$type>::BITS as u8;

            fn last(self, length: u8) -> Self {
                // For /32 or /128, a shift by the whole width would overflow; nothing is to be set.
                self | <$type>::MAX.checked_shr(u32::from(length)).unwrap_or(0)
            }

            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }

            fn bits_from(self, depth: u8, bits: u8) -> u32 {
                ((self << depth) >> (<$type>::BITS - u32::from(bits))) as u32
            }

            fn next_96_bits(self, depth: u8) -> (u64, u32) {
                let rest = (u128::from(self) << (128 - <$type>::BITS))
                    .checked_shl(depth.into())
                    .unwrap_or(0);
                ((rest >> 64) as u64, (rest >> 32) as u32)
            }

            fn common_bits(self, other: Self) -> u8 {
                (self ^ other).leading_zeros() as u8
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

    /// Sets the value from `start` on. `start` must not be less than in the call before.
    pub fn set(&mut self, start: K, value: u32) {
        if self.starts.last().is_some_and(|last| last.0 == start) {
            self.starts.pop();
        }
        if self.starts.last().is_none_or(|last| last.1 != value) {
            self.starts.push((start, value));
        }
    }
}

/// Flattens prefixes into intervals. The value of an address starts as `outside` and is folded by
/// `fold(value, item)` over all prefixes that hold the address, from the shortest to the longest
/// (equal ones in the order given). Takes a sort and one pass over the prefixes, however deep they
/// nest.
pub fn flatten<A: Address, T>(
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

/// Like [`flatten`], but keeps prefixes. Calls `each(prefix, value, value around it)` once for each
/// different prefix, sorted by address and then by length. `value` is that of the addresses of
/// which the prefix is the longest. Equal prefixes are folded in any order.
pub fn fold_nested<A: Address, T>(
    prefixes: &mut [(Prefix<A>, T)],
    outside: u32,
    mut fold: impl FnMut(u32, &T) -> u32,
    mut each: impl FnMut(Prefix<A>, u32, u32),
) {
    prefixes.sort_unstable_by_key(|(prefix, _)| (prefix.address, prefix.length));
    let mut open: Vec<(A, u32)> = Vec::with_capacity(usize::from(A::BITS) + 1);
    for same in prefixes.chunk_by(|a, b| a.0 == b.0) {
        let prefix = same[0].0;
        while open.pop_if(|&mut (last, _)| last < prefix.address).is_some() {}
        let around = open.last().map_or(outside, |&(_, value)| value);
        let value = same.iter().fold(around, |value, (_, item)| fold(value, item));
        each(prefix, value, around);
        open.push((prefix.address.last(prefix.length), value));
    }
}
