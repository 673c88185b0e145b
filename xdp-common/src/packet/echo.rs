//! Requests for an echo (RFC 792; RFC 4443, section 4.1), which are turned around into the reply where
//! they lie.

use super::answer::is_between_hosts;
use super::rewrite::{Change, FrameMut, WindowMut};
use super::{NO_MACS, Network, Packet, Transport, Window};

const TIME_TO_LIVE: u8 = 64;
pub(super) const REQUEST: u32 = 8;
pub(super) const REQUEST_V6: u32 = 128;
const REPLY: u8 = 0;
const REPLY_V6: u8 = 129;

/// Whether it is a request of one host to another.
#[inline(always)]
pub fn is_request(packet: &Packet) -> bool {
    let request = if packet.network == Network::IPV6 { REQUEST_V6 } else { REQUEST };
    packet.transport == Transport::ICMP && packet.l4_octet == request && is_between_hosts(packet)
}

/// Whether it is a reply to one host.
#[inline(always)]
pub fn is_reply(packet: &Packet) -> bool {
    let reply = if packet.network == Network::IPV6 { REPLY_V6 } else { REPLY };
    packet.transport == Transport::ICMP && packet.l4_octet == reply.into()
}

/// What a request is about, as an error is about a packet: itself, without ports.
#[inline(always)]
pub fn read(packet: &Packet, about: &mut Packet) {
    about.network = packet.network;
    about.transport = packet.transport;
    about.protocol = packet.protocol;
    about.source = packet.source;
    about.destination = packet.destination;
    about.source_port = 0;
    about.destination_port = 0;
}

/// Makes the reply of a request. `None` where it cannot be reached; then it may have been changed.
#[inline(always)]
pub fn turn_around<F: FrameMut>(frame: &mut F, packet: &Packet) -> Option<()> {
    let Packet { source, destination, parts, .. } = packet;
    let is_v6 = packet.network == Network::IPV6;
    if is_v6 {
        let mut ip = frame.window_mut::<40>(parts.l3)?;
        ip.put_u8(7, TIME_TO_LIVE);
        ip.put_u64(8, destination[0]);
        ip.put_u64(16, destination[1]);
        ip.put_u64(24, source[0]);
        ip.put_u64(32, source[1]);
    } else {
        let mut ip = frame.window_mut::<20>(parts.l3)?;
        let mut change = Change::default();
        change.word(u64::from(ip.u8(8)) << 8, u64::from(TIME_TO_LIVE) << 8);
        ip.put_u8(8, TIME_TO_LIVE);
        let mended = change.mend(ip.u16(10));
        ip.put_u16(10, mended);
        ip.put_u32(12, destination[0] as u32);
        ip.put_u32(16, source[0] as u32);
    }
    turn_message(&mut frame.window_mut::<4>(parts.l4)?, is_v6);
    if packet.macs != NO_MACS {
        let [to, from] = [packet.source_mac(), packet.destination_mac()];
        let mut macs = frame.window_mut::<12>(0)?;
        macs.put_u64(0, to << 16 | from >> 32);
        macs.put_u32(8, from as u32);
    }
    Some(())
}

/// ICMPv6's pseudo header changes no sum where source and destination change places.
#[inline(always)]
fn turn_message<W: WindowMut>(icmp: &mut W, is_v6: bool) {
    let reply = if is_v6 { REPLY_V6 } else { REPLY };
    let mut change = Change::default();
    change.word(u64::from(icmp.u8(0)) << 8, u64::from(reply) << 8);
    icmp.put_u8(0, reply);
    let mended = change.mend(icmp.u16(2));
    icmp.put_u16(2, mended);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::LinkType;
    use crate::packet::plain::{self, Frame, assert_sums, ipv4, ipv6};

    const CLIENT6: [u16; 8] = [0x2001, 0xdb8, 0xffff, 9, 8, 7, 6, 0xfffe];
    const SERVICE6: [u16; 8] = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10];

    #[test]
    fn a_request_becomes_its_reply() {
        for length in 0..100 {
            let data: Vec<u8> = (0..length).map(|at: u32| (at * 3 + 1) as u8).collect();
            let (client, service) = ([198, 51, 100, 7], [192, 0, 2, 10]);
            let v4 = plain::icmp(8, 0, [1, 2, 3, 4], &data);
            let v6 = plain::icmp(128, 0, [1, 2, 3, 4], &data);
            for ip in [
                ipv4(client, service, plain::ICMP, &[], &v4),
                ipv4(client, service, plain::ICMP, &[1; 8], &v4),
                ipv6(CLIENT6, SERVICE6, plain::ICMPV6, &v6),
            ] {
                for tags in [&[][..], &[5], &[5, 6]] {
                    let mut frame = Frame::ethernet(tags, &ip);
                    let packet = frame.parse(LinkType::Ethernet);
                    assert!(is_request(&packet));
                    turn_around(&mut frame, &packet).expect("whole");
                    let now = frame.parse(LinkType::Ethernet);
                    assert_eq!((now.source, now.destination), {
                        (packet.destination, packet.source)
                    });
                    assert_eq!(now.source_mac(), packet.destination_mac());
                    assert_eq!(now.destination_mac(), packet.source_mac());
                    let l3 = 14 + 4 * tags.len();
                    let reply = &frame.0[l3..l3 + ip.len()];
                    assert_sums(reply);
                    let l4 = ip.len() - 8 - data.len();
                    let kind = if ip[0] >> 4 == 4 { 0 } else { 129 };
                    assert_eq!(reply[l4..l4 + 2], [kind, 0]);
                    assert_eq!(reply[l4 + 4..], ip[l4 + 4..], "identifier, number and data");
                    assert!(!is_request(&now));
                }
            }
        }
    }
}
