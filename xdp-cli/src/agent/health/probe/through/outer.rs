//! A check's packet inside the one that takes it to a backend, as the program would make it.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;

use xdp_common::image::{BLOCK_WORDS, Header};
use xdp_common::packet::rewrite::FrameMut;
use xdp_common::packet::tunnel::{Grow, Outer, put_into};
use xdp_common::packet::{self, LinkType, Network, Packet};

use crate::image::services::{tunnels, words};
use crate::ruleset::Prefix;

/// Puts a packet into another one, to a backend; with a port, into a datagram of GUE. `None` for what is no
/// IP packet.
pub(super) fn around(
    inner: &[u8],
    backend: IpAddr,
    port: u16,
    (source_v4, source_v6): (Prefix<u32>, Prefix<u128>),
) -> Option<Vec<u8>> {
    let mut read = Packet::LEFT_BEHIND;
    packet::parse(LinkType::Raw, inner, &mut read).ok()?;
    let mut header = Header::of(&[0; BLOCK_WORDS]).to_owned();
    tunnels(source_v4, source_v6, &mut header);
    let inner_is_v6 = read.network == Network::IPV6;
    let outer = Outer {
        inner: read.parts.end.checked_sub(read.parts.l3)?,
        inner_is_v6,
        class: match (inner_is_v6, inner) {
            (true, [first, second, ..]) => first << 4 | second >> 4,
            (false, [_, class, ..]) => *class,
            _ => return None,
        },
        destination: words(backend),
        flow: flow(&read, inner),
        port,
    };
    let mut frame = Grown(inner.to_vec());
    put_into(&mut frame, &header, &read, &outer, backend.is_ipv6())?;
    Some(frame.0)
}

/// A number that is the same for all packets of a connection.
fn flow(packet: &Packet, bytes: &[u8]) -> u32 {
    let mut hasher = DefaultHasher::new();
    (packet.source, packet.destination, packet.protocol).hash(&mut hasher);
    let ports = bytes.get(packet.parts.l4 as usize..).and_then(|rest| rest.first_chunk::<4>());
    ports.hash(&mut hasher);
    hasher.finish() as u32
}

/// A packet that can be made longer at its beginning.
struct Grown(Vec<u8>);

impl FrameMut for Grown {
    type WindowMut<'a, const N: usize> = &'a mut [u8; N];

    fn window_mut<const N: usize>(&mut self, offset: u32) -> Option<&mut [u8; N]> {
        self.0.as_mut_slice().window_mut(offset)
    }
}

impl Grow for Grown {
    fn grow(&mut self, bytes: u32) -> bool {
        self.0.splice(..0, std::iter::repeat_n(0, bytes as usize));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruleset::services::Settings;

    /// 198.51.100.7 asks 192.0.2.10, port 80, by TCP.
    fn inner() -> Vec<u8> {
        let mut inner = vec![0x45, 0x28, 0, 40, 0, 7, 0x40, 0, 64, 6, 0, 0];
        inner.extend([198, 51, 100, 7, 192, 0, 2, 10]);
        inner.extend([0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0x10, 0, 0, 0, 0, 0]);
        let sum = pnet_packet::util::checksum(&inner[..20], 5);
        inner[10..12].copy_from_slice(&sum.to_be_bytes());
        inner
    }

    fn sources() -> (Prefix<u32>, Prefix<u128>) {
        let Settings { tunnel_source_v4, tunnel_source_v6, .. } = Settings::default();
        (tunnel_source_v4, tunnel_source_v6)
    }

    fn around_by(backend: &str, port: u16) -> Vec<u8> {
        around(&inner(), backend.parse().unwrap(), port, sources()).unwrap()
    }

    #[test]
    fn as_the_program_makes_it() {
        let ipip = around_by("10.0.0.1", 0);
        assert_eq!(ipip[20..], inner());
        assert_eq!(ipip[..4], [0x45, 0x28, 0, 60]);
        assert_eq!(
            (ipip[9], &ipip[12..14], &ipip[16..20]),
            (4, &[172, 16][..], &[10, 0, 0, 1][..])
        );
        assert_eq!(pnet_packet::util::checksum(&ipip[..20], 5).to_be_bytes(), ipip[10..12]);
        let in_v6 = around_by("2001:db8::1", 0);
        assert_eq!(in_v6[40..], inner());
        assert_eq!((in_v6[0] >> 4, in_v6[6]), (6, 4));
        let gue = around_by("10.0.0.1", 6080);
        assert_eq!(gue[28..], inner());
        assert_eq!((gue[9], &gue[22..24]), (17, &6080_u16.to_be_bytes()[..]));
        assert_eq!(around(&[0; 20], [10, 0, 0, 1].into(), 0, sources()), None);
    }
}
