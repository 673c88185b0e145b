//! The bits that addresses of services and of their backends have set: a filter that is read before the table of
//! services (`xdp_common::lookup::services::Bits`).

use xdp_common::image::{Header, LINE_WORDS, Line};
use xdp_common::lookup::services::{Bits, KEY_OWN, KEY_PREFIX, LINE_BITS};

use super::domains::{Generator, Seed};
use super::interval_tree::LineWriter;

/// Writes the bits of the keys of services' addresses, and of those of backends that reply.
pub(super) fn write(
    entries: &[([u64; 3], u32)],
    replies: &[([u64; 3], u32)],
    seed: Seed,
    header: &mut Header,
    lines: &mut LineWriter,
) {
    let mut generator = Generator::new(seed);
    header.service_bits_keys = [generator.next(), generator.next()];
    let mut bits_of = |entries: &[([u64; 3], u32)]| {
        let is_address = |rest: u64| rest & (KEY_OWN | KEY_PREFIX) == 0;
        let of = entries.iter().filter(|([_, _, rest], _)| is_address(*rest));
        let mut addresses: Vec<[u64; 2]> = of.map(|([high, low, _], _)| [*high, *low]).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let count = (addresses.len() * Bits::FOR_EACH).next_power_of_two().ilog2();
        let log = count.clamp(Bits::LEAST, Bits::MOST);
        let bits = Bits { at: 0, log, keys: header.service_bits_keys };
        let mut written: Vec<Line> = vec![[0; LINE_WORDS]; 1 << (log - Bits::LEAST)];
        for address in addresses {
            let bit = bits.bit(address);
            let word = &mut written[(bit / LINE_BITS) as usize][(bit / 64) as usize & 7];
            *word |= 1 << (bit % 64);
        }
        (lines.append(written), log)
    };
    (header.service_bits, header.service_bits_log) = bits_of(entries);
    (header.reply_bits, header.reply_bits_log) = bits_of(replies);
}
