//! What rules that block sources make, as the program reads it: [`xdp_common::filter::caught`].

use xdp_common::filter::caught::{Sentence, Source, key};
use xdp_common::packet::Packet;

use crate::config::prefix::{IpPrefix, masked_v4, masked_v6};

/// Bits of an IPv6 source that is caught.
pub const V6_LENGTH: u8 = 64;

/// The prefix that is blocked with a source.
pub fn prefix(source: Source) -> IpPrefix {
    match source {
        Source::V4(address) => IpPrefix::V4(masked_v4(address, 32).0),
        Source::V6(upper) => IpPrefix::V6(masked_v6(u128::from(upper) << 64, V6_LENGTH).0),
    }
}

/// The prefix that is blocked with the source of a packet; `None` where that is nobody's in particular.
pub fn prefix_of(packet: &Packet) -> Option<IpPrefix> {
    Source::of(key(packet.network, packet.source)).map(prefix)
}

/// What a rule of that name makes, for so many nanoseconds.
pub fn sentence(name: &str, life: u64) -> Sentence {
    let mut words = [0; size_of::<Sentence>() / 16];
    let (chunks, _) = name.as_bytes().as_chunks::<8>();
    let rest = &name.as_bytes()[8 * chunks.len()..];
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    for (word, bytes) in words.iter_mut().zip(chunks.iter().chain([&last])) {
        *word = u64::from_ne_bytes(*bytes);
    }
    Sentence { life, unused: [0; 7], name: words }
}

/// The name in a sentence, or in an entry that was made by one.
pub fn name(words: &[u64; 8]) -> String {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        for length in [1, 7, 8, 9, 16, 63, 64] {
            let text = "abcdefghijklmnop".repeat(4)[..length].to_owned();
            assert_eq!(name(&sentence(&text, 5).name), text);
        }
    }
}
