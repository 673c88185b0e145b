//! Packets whose addresses are rewritten, and packets that are put into others.
//!
//! Whoever rewrites an address mends the checksums that cover it by the difference alone (RFC 1624,
//! equation 3): what was wrong before is as wrong afterwards, and what was right stays right.

use super::{Network, Packet, Transport, Window, transport};

/// A frame that can be written. In the kernel it lies in the driver's first buffer.
pub trait FrameMut {
    /// `N` bytes that were found to be there, and may be written.
    type WindowMut<'a, const N: usize>: WindowMut
    where
        Self: 'a;
    /// `N` bytes at `offset`; `None` where they are not there or cannot be reached.
    fn window_mut<const N: usize>(&mut self, offset: u32) -> Option<Self::WindowMut<'_, N>>;
}

/// Bytes that can be written, in network order; `at` as in [`Window`].
pub trait WindowMut: Window {
    fn put_u8(&mut self, at: usize, value: u8);
    fn put_u16(&mut self, at: usize, value: u16);
    fn put_u32(&mut self, at: usize, value: u32);
    fn put_u64(&mut self, at: usize, value: u64);
}

impl FrameMut for [u8] {
    type WindowMut<'a, const N: usize> = &'a mut [u8; N];

    fn window_mut<const N: usize>(&mut self, offset: u32) -> Option<&mut [u8; N]> {
        self.get_mut(offset as usize..)?.first_chunk_mut()
    }
}

impl<const N: usize> Window for &mut [u8; N] {
    fn u8(&self, at: usize) -> u8 {
        (**self).u8(at)
    }

    fn u16(&self, at: usize) -> u16 {
        (**self).u16(at)
    }

    fn u32(&self, at: usize) -> u32 {
        (**self).u32(at)
    }

    fn u64(&self, at: usize) -> u64 {
        (**self).u64(at)
    }
}

impl<const N: usize> WindowMut for &mut [u8; N] {
    fn put_u8(&mut self, at: usize, value: u8) {
        self[at] = value;
    }

    fn put_u16(&mut self, at: usize, value: u16) {
        self[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }

    fn put_u32(&mut self, at: usize, value: u32) {
        self[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }

    fn put_u64(&mut self, at: usize, value: u64) {
        self[at..at + 8].copy_from_slice(&value.to_be_bytes());
    }
}

/// Which of a packet's addresses is rewritten, with its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Source,
    Destination,
}

/// What a packet's address is rewritten to.
#[derive(Clone, Copy, Debug)]
pub struct Rewritten {
    pub side: Side,
    /// As in [`Packet::source`].
    pub address: [u64; 2],
    /// `None` leaves the port.
    pub port: Option<u16>,
}

const IPV4_TTL: usize = 8;
const IPV4_CHECKSUM: usize = 10;
const IPV4_ADDRESSES: usize = 12;
/// What one taken from the upper half of a word changes: the complement of the word before and the one after.
const TTL_TAKEN: u64 = 0xffff - 0x100;
const IPV6_HOP_LIMIT: usize = 7;
const IPV6_ADDRESSES: usize = 8;
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;

/// Rewrites an address and a port, and takes one from the packet's time to live. Whether the packet may
/// go on: it stays as it is where its time is over. `None` where it cannot be reached.
#[inline(always)]
pub fn translate<F: FrameMut>(frame: &mut F, packet: &Packet, to: &Rewritten) -> Option<bool> {
    let mut change = Change::default();
    if packet.network == Network::IPV6 {
        let mut ip = frame.window_mut::<40>(packet.parts.l3)?;
        let limit = ip.u8(IPV6_HOP_LIMIT);
        if limit <= 1 {
            return Some(false);
        }
        ip.put_u8(IPV6_HOP_LIMIT, limit - 1);
        let at = match to.side {
            Side::Source => IPV6_ADDRESSES,
            Side::Destination => IPV6_ADDRESSES + 16,
        };
        change.word(ip.u64(at), to.address[0]);
        change.word(ip.u64(at + 8), to.address[1]);
        ip.put_u64(at, to.address[0]);
        ip.put_u64(at + 8, to.address[1]);
    } else {
        let mut ip = frame.window_mut::<20>(packet.parts.l3)?;
        let ttl = ip.u8(IPV4_TTL);
        if ttl <= 1 {
            return Some(false);
        }
        let at = match to.side {
            Side::Source => IPV4_ADDRESSES,
            Side::Destination => IPV4_ADDRESSES + 4,
        };
        change.half(ip.u32(at), to.address[0] as u32);
        let mut of_header = change;
        of_header.0 += TTL_TAKEN;
        ip.put_u8(IPV4_TTL, ttl - 1);
        ip.put_u32(at, to.address[0] as u32);
        let checksum = of_header.mend(ip.u16(IPV4_CHECKSUM));
        ip.put_u16(IPV4_CHECKSUM, checksum);
    }
    translate_transport(frame, packet, to, change)?;
    Some(true)
}

#[inline(always)]
fn translate_transport<F: FrameMut>(
    frame: &mut F,
    packet: &Packet,
    to: &Rewritten,
    mut change: Change,
) -> Option<()> {
    let at = match to.side {
        Side::Source => 0,
        Side::Destination => 2,
    };
    if let Some(port) = to.port {
        let mut ports = frame.window_mut::<4>(packet.parts.l4)?;
        change.half(ports.u16(at).into(), port.into());
        ports.put_u16(at, port);
    }
    if packet.transport == Transport::TCP {
        let mut tcp = frame.window_mut::<18>(packet.parts.l4)?;
        let checksum = change.mend(tcp.u16(TCP_CHECKSUM));
        tcp.put_u16(TCP_CHECKSUM, checksum);
    } else if packet.protocol == u32::from(transport::UDP) {
        let mut udp = frame.window_mut::<8>(packet.parts.l4)?;
        let before = udp.u16(UDP_CHECKSUM);
        // No checksum stays none (RFC 768), and one that comes out as 0 is written as all ones.
        if before != 0 {
            let checksum = change.mend(before);
            udp.put_u16(UDP_CHECKSUM, if checksum == 0 { 0xffff } else { checksum });
        }
    }
    Some(())
}

/// The difference that a rewrite makes to a checksum.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change(u64);

impl Change {
    /// Some 16-bit words that lie at even places took the place of others.
    #[inline(always)]
    pub fn word(&mut self, before: u64, after: u64) {
        self.0 += halves(!before) + halves(after);
    }

    /// The same of two of them.
    #[inline(always)]
    pub fn half(&mut self, before: u32, after: u32) {
        self.0 += u64::from(!before) + u64::from(after);
    }

    /// All that another one changes is changed too.
    #[inline(always)]
    pub fn add(&mut self, other: Self) {
        self.0 += other.0;
    }

    /// The checksum after it.
    #[inline(always)]
    pub fn mend(self, checksum: u16) -> u16 {
        // A few words were changed: the sum has less than 40 bits.
        !fold_few(self.0 + u64::from(!checksum))
    }
}

/// The sum of the two halves of a number, which keeps the sum of its words and leaves room above it.
#[inline(always)]
pub const fn halves(number: u64) -> u64 {
    (number >> 32) + (number & 0xffff_ffff)
}

/// A sum in 16 bits, as Internet checksums are added up (RFC 1071).
#[inline(always)]
pub const fn fold(sum: u64) -> u16 {
    fold_few(halves(sum))
}

/// The same of a sum of at most 40 bits.
#[inline(always)]
const fn fold_few(mut sum: u64) -> u16 {
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    // By now it is at most 257 over 16 bits.
    ((sum >> 16) + (sum & 0xffff)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_folded_whatever_carries() {
        for sum in
            (0..40).flat_map(|bits| [(1_u64 << bits) - 1, 1 << bits, (1 << 40) - 1 - (1 << bits)])
        {
            let of_words = (0..4).map(|word| sum >> (16 * word) & 0xffff).sum::<u64>();
            assert_eq!(u64::from(fold_few(sum)) % 0xffff, of_words % 0xffff, "{sum:x}");
            assert_eq!(fold_few(sum) == 0, sum == 0, "{sum:x}");
            assert_eq!(fold(sum), fold_few(sum), "{sum:x}");
        }
    }

    /// A checksum computed from nothing agrees with one that was mended.
    #[test]
    fn a_mended_checksum_is_that_of_the_new_words() {
        let whole = |words: &[u16]| !fold(words.iter().map(|&word| u64::from(word)).sum());
        let mut state = 7_u64;
        let mut next = || {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (state >> 40) as u16
        };
        for _ in 0..100_000 {
            let before: [u16; 8] = std::array::from_fn(|_| next());
            let mut after = before;
            let mut change = Change::default();
            let word = |words: &[u16]| words.iter().fold(0, |sum, &it| sum << 16 | u64::from(it));
            after[..4].copy_from_slice(&std::array::from_fn::<u16, 4, _>(|_| next()));
            change.word(word(&before[..4]), word(&after[..4]));
            after[5] = next();
            change.word(before[5].into(), after[5].into());
            let (mended, anew) = (change.mend(whole(&before)), whole(&after));
            // Zero has two forms, which nothing tells apart when it is checked.
            assert!(
                mended == anew || (mended ^ anew) == 0xffff && mended.wrapping_add(anew) == 0xffff
            );
        }
    }
}
