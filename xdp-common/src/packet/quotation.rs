//! ICMP errors that quote a packet (RFC 792; RFC 4443, section 3): which connection they are about, and
//! what they say to the other side of a translation. Eight bytes of the quoted transport header are enough.

use super::rewrite::{Change, FrameMut, Rewritten, Side, WindowMut};
use super::transport::{ICMP, ICMPV6, SCTP, TCP, UDP};
use super::{Network, Packet, PacketBytes, Transport, Window, echo};

/// ICMP's and ICMPv6's header, behind which the quotation begins.
const HEADER: u32 = 8;
const CHECKSUM: u32 = 2;
/// What every error quotes of a transport header.
const QUOTED: u32 = 8;

/// Whether it is an error about a packet. A redirect is none: it is about a way, and for the next router.
#[inline(always)]
pub fn is_error(packet: &Packet) -> bool {
    let kind = packet.l4_octet;
    if packet.transport != Transport::ICMP {
        return false;
    }
    if packet.network == Network::IPV6 {
        return kind.wrapping_sub(1) < 4;
    }
    kind == 3 || kind == 4 || kind == 11 || kind == 12
}

/// Reads the packet that an error quotes, and leaves it turned round in `about`: as the packet to which it
/// was an answer. `None` where it has no ports that could be read, or where the error does not go
/// to where that packet came from.
#[inline(always)]
pub fn read<P: PacketBytes + ?Sized>(bytes: &P, packet: &Packet, about: &mut Packet) -> Option<()> {
    read_ip(bytes, packet, about)?;
    read_ports(bytes, about)
}

/// The same without its ports: for [`read_ports`] and [`is_echo`]. `None` where less is quoted than
/// these need, or where the error does not go to where the packet came from.
#[inline(always)]
pub fn read_ip<P: PacketBytes + ?Sized>(
    bytes: &P,
    packet: &Packet,
    about: &mut Packet,
) -> Option<()> {
    let l3 = packet.parts.l4.wrapping_add(HEADER);
    let end = packet.parts.end;
    about.network = packet.network;
    about.parts.l3 = l3;
    about.parts.end = end;
    let protocol = if packet.network == Network::IPV6 {
        read_v6(bytes, l3, end, about)?
    } else {
        read_v4(bytes, l3, end, about)?
    };
    about.protocol = protocol.into();
    if about.parts.l4.wrapping_add(QUOTED) > end {
        return None;
    }
    let differs = about.destination[0] ^ packet.destination[0];
    if packet.network == Network::IPV6 {
        let lower = about.destination[1] ^ packet.destination[1];
        return (differs | lower == 0).then_some(());
    }
    (differs == 0).then_some(())
}

/// Reads the ports of a packet of which [`read_ip`] has read the rest. `None` where it has none.
#[inline(always)]
pub fn read_ports<P: PacketBytes + ?Sized>(bytes: &P, about: &mut Packet) -> Option<()> {
    about.transport = match about.protocol as u8 {
        TCP => Transport::TCP,
        UDP | SCTP => Transport::PORTS,
        _ => return None,
    };
    let ports = bytes.window::<4>(about.parts.l4)?;
    about.destination_port = ports.u16(0).into();
    about.source_port = ports.u16(2).into();
    Some(())
}

/// Whether a packet of which [`read_ip`] has read the rest is a request for an echo.
#[inline(always)]
pub fn is_echo<P: PacketBytes + ?Sized>(bytes: &P, about: &Packet) -> bool {
    let (icmp, request) = match about.network {
        Network::IPV6 => (ICMPV6, echo::REQUEST_V6),
        _ => (ICMP, echo::REQUEST),
    };
    about.protocol == u32::from(icmp)
        && bytes.window::<1>(about.parts.l4).is_some_and(|it| u32::from(it.u8(0)) == request)
}

/// Returns its protocol.
#[inline(always)]
fn read_v4<P: PacketBytes + ?Sized>(
    bytes: &P,
    l3: u32,
    end: u32,
    about: &mut Packet,
) -> Option<u8> {
    const OFFSET: u16 = 0x1fff;
    if l3.wrapping_add(20) > end {
        return None;
    }
    let ip = bytes.window::<20>(l3)?;
    let words = u32::from(ip.u8(0)).wrapping_sub(0x40);
    if words.wrapping_sub(5) > 10 || ip.u16(6) & OFFSET != 0 {
        return None;
    }
    about.parts.l4 = l3 + words * 4;
    about.destination[0] = ip.u32(12).into();
    about.source[0] = ip.u32(16).into();
    Some(ip.u8(9))
}

/// Returns its protocol.
#[inline(always)]
fn read_v6<P: PacketBytes + ?Sized>(
    bytes: &P,
    l3: u32,
    end: u32,
    about: &mut Packet,
) -> Option<u8> {
    const FRAGMENT: u8 = 44;
    if l3.wrapping_add(40) > end {
        return None;
    }
    let ip = bytes.window::<40>(l3)?;
    if ip.u8(0) >> 4 != 6 {
        return None;
    }
    about.destination = [ip.u64(8), ip.u64(16)];
    about.source = [ip.u64(24), ip.u64(32)];
    let mut next = ip.u8(6);
    let mut at = l3 + 40;
    // Two extension headers, as the kernel's own packets have at most: hop-by-hop or destination options,
    // and a fragment header.
    macro_rules! skip_extension {
        () => {
            if next == 0 || next == 60 || next == FRAGMENT {
                if at.wrapping_add(8) > end {
                    return None;
                }
                let extension = bytes.window::<4>(at)?;
                if next == FRAGMENT && extension.u16(2) >> 3 != 0 {
                    return None;
                }
                let units = if next == FRAGMENT { 0 } else { u32::from(extension.u8(1)) };
                at = bytes.widen(at.wrapping_add(8 * (units + 1)));
                next = extension.u8(0);
            }
        };
    }
    skip_extension!();
    skip_extension!();
    about.parts.l4 = at;
    Some(next)
}

/// Rewrites an address and a port of the packet that an error quotes, and the error's own address on the
/// side `outer`, if it is another side's too; takes one from the error's time to live. All checksums are
/// mended, those of the quoted packet too, as far as it is quoted. Whether the error may go on: it stays
/// as it is where its time is over. `None` where it cannot be reached.
#[inline(always)]
pub fn translate<F: FrameMut>(
    frame: &mut F,
    packet: &Packet,
    about: &Packet,
    to: &Rewritten,
    outer: Option<Side>,
) -> Option<bool> {
    // What changes under ICMP's checksum.
    let mut icmp = Change::default();
    if !translate_outer(frame, packet, to, outer, &mut icmp)? {
        return Some(false);
    }
    translate_quoted(frame, about, to, &mut icmp)?;
    mend(frame, packet.parts.l4.wrapping_add(CHECKSUM), icmp)?;
    Some(true)
}

/// Where an address begins in an IP header.
#[inline(always)]
const fn address_at(is_v6: bool, side: Side) -> u32 {
    match (is_v6, side) {
        (false, Side::Source) => 12,
        (false, Side::Destination) => 16,
        (true, Side::Source) => 8,
        (true, Side::Destination) => 24,
    }
}

/// Puts an address in the place of another.
#[inline(always)]
fn replace<F: FrameMut>(
    frame: &mut F,
    at: u32,
    is_v6: bool,
    address: [u64; 2],
    change: &mut Change,
) -> Option<()> {
    if is_v6 {
        let mut own = frame.window_mut::<16>(at)?;
        change.word(own.u64(0), address[0]);
        change.word(own.u64(8), address[1]);
        own.put_u64(0, address[0]);
        own.put_u64(8, address[1]);
    } else {
        let mut own = frame.window_mut::<4>(at)?;
        change.word(own.u32(0).into(), address[0]);
        own.put_u32(0, address[0] as u32);
    }
    Some(())
}

/// Mends the checksum at that place.
#[inline(always)]
fn mend<F: FrameMut>(frame: &mut F, at: u32, change: Change) -> Option<()> {
    let mut checksum = frame.window_mut::<2>(at)?;
    let mended = change.mend(checksum.u16(0));
    checksum.put_u16(0, mended);
    Some(())
}

#[inline(always)]
fn translate_outer<F: FrameMut>(
    frame: &mut F,
    packet: &Packet,
    to: &Rewritten,
    outer: Option<Side>,
    icmp: &mut Change,
) -> Option<bool> {
    let l3 = packet.parts.l3;
    let is_v6 = packet.network == Network::IPV6;
    let mut change = Change::default();
    {
        let mut limit = frame.window_mut::<1>(l3.wrapping_add(if is_v6 { 7 } else { 8 }))?;
        let before = limit.u8(0);
        if before <= 1 {
            return Some(false);
        }
        limit.put_u8(0, before - 1);
        change.word(u64::from(before) << 8, u64::from(before - 1) << 8);
    }
    // ICMPv6's pseudo header has the addresses; IPv4's header has a checksum of its own.
    let of_address = if is_v6 { icmp } else { &mut change };
    if let Some(side) = outer {
        let at = l3.wrapping_add(address_at(is_v6, side));
        replace(frame, at, is_v6, to.address, of_address)?;
    }
    if !is_v6 {
        mend(frame, l3.wrapping_add(10), change)?;
    }
    Some(true)
}

/// Rewrites what is quoted, and adds to `icmp` what changed there.
#[inline(always)]
fn translate_quoted<F: FrameMut>(
    frame: &mut F,
    about: &Packet,
    to: &Rewritten,
    icmp: &mut Change,
) -> Option<()> {
    let mut change = Change::default();
    let is_v6 = about.network == Network::IPV6;
    let at = about.parts.l3.wrapping_add(address_at(is_v6, to.side));
    replace(frame, at, is_v6, to.address, &mut change)?;
    if !is_v6 {
        let mut checksum = frame.window_mut::<2>(about.parts.l3.wrapping_add(10))?;
        let before = checksum.u16(0);
        let mended = change.mend(before);
        checksum.put_u16(0, mended);
        icmp.word(before.into(), mended.into());
    }
    if let Some(port) = to.port {
        let at = match to.side {
            Side::Source => 0,
            Side::Destination => 2,
        };
        let mut own = frame.window_mut::<2>(about.parts.l4.wrapping_add(at))?;
        change.word(own.u16(0).into(), port.into());
        own.put_u16(0, port);
    }
    icmp.add(change);
    let is_udp = about.protocol == u32::from(UDP);
    let at = if is_udp { 6 } else { 16 };
    let has_checksum = is_udp || about.transport == Transport::TCP;
    if has_checksum && about.parts.l4.wrapping_add(at + 2) <= about.parts.end {
        let mut checksum = frame.window_mut::<2>(about.parts.l4.wrapping_add(at))?;
        let before = checksum.u16(0);
        // As of a packet that is whole: no checksum stays none.
        if !is_udp || before != 0 {
            let mended = change.mend(before);
            let mended = if is_udp && mended == 0 { 0xffff } else { mended };
            checksum.put_u16(0, mended);
            icmp.word(before.into(), mended.into());
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::LinkType;
    use crate::packet::plain::{self, Frame, assert_sums, ipv4, ipv6};

    const CLIENT: [u8; 4] = [198, 51, 100, 7];
    const SERVICE: [u8; 4] = [192, 0, 2, 10];
    const BACKEND: [u8; 4] = [10, 0, 0, 2];
    const ROUTER: [u8; 4] = [203, 0, 113, 9];
    const CLIENT6: [u16; 8] = [0x2001, 0xdb8, 0xffff, 9, 8, 7, 6, 0xfffe];
    const SERVICE6: [u16; 8] = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10];
    const BACKEND6: [u16; 8] = [0xfd00, 0, 0, 0, 0, 0, 0, 2];
    const ROUTER6: [u16; 8] = [0x2001, 0xdb8, 0xaaaa, 0, 0, 0, 0, 9];

    /// What a router quotes of a packet, up to so many bytes.
    fn quote(ip: &[u8], most: usize) -> Vec<u8> {
        ip[..ip.len().min(most)].to_vec()
    }

    fn words(address: [u8; 4]) -> [u64; 2] {
        [u32::from_be_bytes(address).into(), 0]
    }

    fn words6(address: [u16; 8]) -> [u64; 2] {
        let half = |words: &[u16]| words.iter().fold(0, |sum, &it| sum << 16 | u64::from(it));
        [half(&address[..4]), half(&address[4..])]
    }

    const LENGTHS: [usize; 5] = [28, 40, 41, 548, 1400];

    fn transports(source: u16, destination: u16) -> [(u8, Vec<u8>); 4] {
        let payload: Vec<u8> = (0..601).map(|at| (at * 29 + 3) as u8).collect();
        [
            (TCP, plain::tcp(source, destination, &payload)),
            (UDP, plain::udp(source, destination, &payload)),
            // Without a checksum, for its source port is 1, or with one.
            (UDP, plain::udp(1, destination, &payload)),
            (SCTP, plain::tcp(source, destination, &payload)),
        ]
    }

    /// A frame is translated, and is what a router beyond the translation would have sent.
    #[track_caller]
    fn check(before: &[u8], after: &[u8], to: &Rewritten, outer: Option<Side>) {
        for tags in [&[][..], &[5], &[5, 6]] {
            let mut frame = Frame::ethernet(tags, before);
            let packet = frame.parse(LinkType::Ethernet);
            assert!(is_error(&packet));
            let mut about = Packet::LEFT_BEHIND;
            read(frame.0.as_slice(), &packet, &mut about).expect("a quotation");
            assert_eq!(translate(&mut frame, &packet, &about, to, outer), Some(true));
            let l3 = packet.parts.l3 as usize;
            let mut now = frame.0[l3..l3 + before.len()].to_vec();
            assert_sums(&now);
            // A hop was taken; the rest is as it should be.
            if now[0] >> 4 == 4 {
                now[8] += 1;
                now[10..12].copy_from_slice(&after[10..12]);
            } else {
                now[7] += 1;
            }
            assert_eq!(now, after);
        }
    }

    #[test]
    fn an_error_about_a_reply_reaches_the_backend_that_sent_it() {
        for (options, length) in [&[][..], &[1; 8]].into_iter().zip([0, 8]) {
            for most in LENGTHS {
                let most = most + length;
                let seen = transports(443, 40_000);
                let sent = transports(8443, 40_000);
                for ((protocol, seen), (_, sent)) in seen.into_iter().zip(sent) {
                    let port = (seen[..2] != sent[..2]).then_some(8443);
                    let error = |to, quoted: &[u8]| {
                        let icmp = plain::icmp(3, 4, [0, 0, 5, 0], &quote(quoted, most));
                        ipv4(ROUTER, to, plain::ICMP, &[], &icmp)
                    };
                    let seen = ipv4(SERVICE, CLIENT, protocol, options, &seen);
                    let sent = ipv4(BACKEND, CLIENT, protocol, options, &sent);
                    let to = Rewritten { side: Side::Source, address: words(BACKEND), port };
                    check(
                        &error(SERVICE, &seen),
                        &error(BACKEND, &sent),
                        &to,
                        Some(Side::Destination),
                    );
                }
            }
        }
    }

    #[test]
    fn an_error_from_behind_comes_from_the_service() {
        for most in LENGTHS {
            let sent = transports(40_000, 8443);
            let seen = transports(40_000, 443);
            for ((protocol, sent), (_, seen)) in sent.into_iter().zip(seen) {
                for (from, shown, outer) in
                    [(BACKEND, SERVICE, Some(Side::Source)), (ROUTER, ROUTER, None)]
                {
                    let error = |from, quoted: &[u8]| {
                        let icmp = plain::icmp(11, 0, [0; 4], &quote(quoted, most));
                        ipv4(from, CLIENT, plain::ICMP, &[], &icmp)
                    };
                    let sent = ipv4(CLIENT, BACKEND, protocol, &[], &sent);
                    let seen = ipv4(CLIENT, SERVICE, protocol, &[], &seen);
                    let port = Some(443);
                    let to = Rewritten { side: Side::Destination, address: words(SERVICE), port };
                    check(&error(from, &sent), &error(shown, &seen), &to, outer);
                }
            }
        }
    }

    #[test]
    fn errors_of_icmpv6_are_translated() {
        for most in [48, 60, 61, 1232] {
            for (protocol, sent) in transports(40_000, 8443) {
                let seen = |port: u16| {
                    let mut seen = sent.clone();
                    seen[2..4].copy_from_slice(&port.to_be_bytes());
                    for sum in if protocol == UDP { 6..8 } else { 16..18 } {
                        if protocol != SCTP {
                            seen[sum] = 0;
                        }
                    }
                    seen
                };
                let sent = ipv6(CLIENT6, BACKEND6, protocol, &sent);
                let shown = ipv6(CLIENT6, SERVICE6, protocol, &seen(443));
                let error = |from, quoted: &[u8]| {
                    let icmp = plain::icmp(1, 4, [0; 4], &quote(quoted, most));
                    ipv6(from, CLIENT6, plain::ICMPV6, &icmp)
                };
                let port = Some(443);
                let to = Rewritten { side: Side::Destination, address: words6(SERVICE6), port };
                let outer = Some(Side::Source);
                check(&error(BACKEND6, &sent), &error(SERVICE6, &shown), &to, outer);
                check(&error(ROUTER6, &sent), &error(ROUTER6, &shown), &to, None);
            }
        }
    }

    fn about(ip: &[u8]) -> Option<Packet> {
        let frame = Frame::ethernet(&[], ip);
        let packet = frame.parse(LinkType::Ethernet);
        let mut about = Packet::LEFT_BEHIND;
        read(frame.0.as_slice(), &packet, &mut about)?;
        Some(about)
    }

    #[test]
    fn a_quotation_is_read_turned_round() {
        let quoted = ipv4(SERVICE, CLIENT, UDP, &[1; 4], &plain::udp(53, 40_000, &[]));
        let error = plain::icmp(3, 3, [0; 4], &quoted);
        let about = about(&ipv4(ROUTER, SERVICE, plain::ICMP, &[1; 4], &error)).expect("whole");
        assert_eq!(
            (about.source, about.source_port),
            ([words(CLIENT)[0], about.source[1]], 40_000)
        );
        assert_eq!(about.destination[0], words(SERVICE)[0]);
        assert_eq!((about.destination_port, about.protocol), (53, 17));
    }

    /// Hop-by-hop options and a fragment header that says that it is the first one.
    #[test]
    fn extension_headers_of_a_quotation_are_passed_over() {
        let mut payload = vec![44, 0, 1, 4, 0, 0, 0, 0, UDP, 0, 0, 1, 0, 0, 0, 9];
        payload.extend(plain::udp(53, 40_000, &[1; 9]));
        let quoted = ipv6(SERVICE6, CLIENT6, 0, &payload);
        let error = plain::icmp(2, 0, [0, 0, 5, 0], &quoted);
        let outer = ipv6(ROUTER6, SERVICE6, plain::ICMPV6, &error);
        let about_first = about(&outer).expect("whole");
        assert_eq!((about_first.destination_port, about_first.source_port), (53, 40_000));
        let mut later = outer.clone();
        later[40 + 8 + 40 + 8 + 3] = 9;
        assert_eq!(about(&later), None, "what a later fragment has are no ports");
    }

    #[test]
    fn what_says_nothing_of_a_connection_is_left_alone() {
        let quoted = ipv4(SERVICE, CLIENT, UDP, &[], &plain::udp(53, 40_000, &[]));
        let error = |to, change: &dyn Fn(&mut Vec<u8>), keep: usize| {
            let mut quoted = quoted.clone();
            change(&mut quoted);
            let icmp = plain::icmp(3, 3, [0; 4], &quoted[..keep]);
            about(&ipv4(ROUTER, to, plain::ICMP, &[], &icmp))
        };
        let as_is = |_: &mut Vec<u8>| {};
        assert!(error(SERVICE, &as_is, 28).is_some());
        assert!(error(SERVICE, &as_is, 27).is_none(), "cut short");
        assert!(error(SERVICE, &as_is, 19).is_none(), "cut short in the IP header");
        assert!(error(BACKEND, &as_is, 28).is_none(), "not for whom it was sent to");
        assert!(error(SERVICE, &|ip| ip[9] = 1, 28).is_none(), "about ICMP");
        assert!(error(SERVICE, &|ip| ip[7] = 1, 28).is_none(), "about a later fragment");
        assert!(error(SERVICE, &|ip| ip[0] = 0x44, 28).is_none(), "no IPv4 header");
        assert!(error(SERVICE, &|ip| ip[0] = 0x65, 28).is_none(), "no IPv4 header");
        assert!(error(SERVICE, &|ip| ip[0] = 0x4f, 28).is_none(), "options that are not there");
    }

    #[test]
    fn an_error_whose_time_is_over_stays_as_it_is() {
        let quoted = ipv4(SERVICE, CLIENT, UDP, &[], &plain::udp(53, 40_000, &[]));
        let error = plain::icmp(3, 3, [0; 4], &quoted);
        let mut ip = ipv4(ROUTER, SERVICE, plain::ICMP, &[], &error);
        ip[8] = 1;
        let mut frame = Frame::ethernet(&[], &ip);
        let before = frame.clone();
        let packet = frame.parse(LinkType::Ethernet);
        let mut about = Packet::LEFT_BEHIND;
        read(frame.0.as_slice(), &packet, &mut about).expect("a quotation");
        let to = Rewritten { side: Side::Source, address: words(BACKEND), port: None };
        let outer = Some(Side::Destination);
        assert_eq!(translate(&mut frame, &packet, &about, &to, outer), Some(false));
        assert_eq!(frame, before);
    }
}
