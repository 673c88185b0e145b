//! Packets that cannot be judged: their fields contradict each other, they are cut short, or have
//! too many headers.

use super::Table;
use crate::lab::bench::{Row, drop, pass};
use crate::lab::frame::*;

const HEADERS4: usize = 14 + 20;
const HEADERS6: usize = 14 + 40;

fn udp() -> Frame {
    udp4("198.51.100.7", "192.0.2.1", 1024, 53)
}

fn tcp() -> Frame {
    tcp4("198.51.100.7", "192.0.2.1", 1024, 80)
}

fn udp_v6() -> Frame {
    udp6("2001:db8:1::7", "2001:db8::1", 1024, 53)
}

fn tcp_v6() -> Frame {
    tcp6("2001:db8:1::7", "2001:db8::1", 1024, 80)
}

/// Malformed frames, whatever the ruleset.
fn frames() -> Vec<(&'static str, Frame)> {
    let ping = || icmp4("198.51.100.7", "192.0.2.1", 8);
    let ping_v6 = || icmp6("2001:db8:1::7", "2001:db8::1", 128);
    let sctp = || sctp4("198.51.100.7", "192.0.2.1", 1, 2);
    let padded = |frame: Frame, length: u16| frame.total_length(length).pad(20);
    vec![
        // Fields that contradict each other.
        ("version 5 as IPv4", udp().version(5)),
        ("version 6 as IPv4", udp().version(6)),
        ("version 0 as IPv4", udp().version(0)),
        ("version 4 as IPv6", udp_v6().version(4)),
        ("IPv6 under IPv4's EtherType", udp_v6().patch(12, &[0x08, 0x00])),
        ("IPv4 under IPv6's EtherType", udp().payload(&[0; 40]).patch(12, &[0x86, 0xdd])),
        ("header length 4", udp().ihl(4)),
        ("header length 0", udp().ihl(0)),
        ("header length beyond the packet", udp().ihl(15)),
        ("total length under the header's", udp().total_length(19)),
        ("total length 0", udp().total_length(0)),
        ("total length under the options", udp().options(&[1; 8]).total_length(24)),
        ("total length beyond the frame", udp().payload(b"").total_length(29)),
        ("total length 65535", udp().total_length(u16::MAX)),
        ("payload length beyond the frame", udp_v6().payload(b"").total_length(9)),
        ("payload length 65535", udp_v6().total_length(u16::MAX)),
        ("data offset 4", tcp().data_offset(4)),
        ("data offset 0", tcp().data_offset(0)),
        ("data offset 4, IPv6", tcp_v6().data_offset(4)),
        // Cut short by the frame.
        ("nothing behind Ethernet", udp().truncate(14)),
        ("nothing behind Ethernet, IPv6", udp_v6().truncate(14)),
        ("nothing behind Ethernet, ARP", arp_request("192.0.2.1", "192.0.2.2").truncate(14)),
        ("in IPv4", udp().truncate(HEADERS4 - 1)),
        ("in IPv4 options", udp().options(&[1; 40]).truncate(HEADERS4 + 39)),
        ("in IPv6", udp_v6().truncate(HEADERS6 - 1)),
        ("in ARP", arp_request("192.0.2.1", "192.0.2.2").truncate(14 + 27)),
        ("the last byte of a packet", udp().payload(b"12").truncate(HEADERS4 + 9)),
        ("the last byte of a packet, IPv6", udp_v6().payload(b"12").truncate(HEADERS6 + 9)),
        // Cut short by IP's length field, followed by bytes that look like the rest.
        ("no ports", padded(udp(), 20)),
        ("UDP ports", padded(udp(), 23)),
        ("TCP ports", padded(tcp(), 23)),
        ("SCTP ports", padded(sctp(), 23)),
        ("TCP data offset", padded(tcp(), 32)),
        ("TCP flags", padded(tcp(), 33)),
        ("ICMP type", padded(ping(), 20)),
        ("ports behind options", padded(udp().options(&[1; 12]), 35)),
        ("UDP ports, IPv6", padded(udp_v6(), 3)),
        ("TCP ports, IPv6", padded(tcp_v6(), 3)),
        ("TCP flags, IPv6", padded(tcp_v6(), 13)),
        ("ICMPv6 type", padded(ping_v6(), 0)),
        ("payload length 0, UDP", padded(udp_v6(), 0)),
        ("extension header", padded(udp_v6().extension(Extension::HopByHop), 7)),
        ("no extension header", padded(udp_v6().extension(Extension::Routing), 0)),
        ("fragment header", padded(udp_v6().fragment(8, true), 7)),
        ("AH", padded(udp_v6().extension(Extension::Authentication), 23)),
        (
            "a long extension header",
            padded(udp_v6().extension(Extension::Long { number: 60, units: 4 }), 39),
        ),
        (
            "an extension header that claims more than there is",
            udp_v6().extension(Extension::DestinationOptions).patch(HEADERS6 + 1, &[255]),
        ),
        ("ports behind extension headers", padded(udp_v6().extension(Extension::Hip), 11)),
    ]
}

/// Lists and rules that would decide, were the frames only well-formed.
const LISTS: &str = r#"
    [[allowlist]]
    name = "good"
    prefixes = ["198.51.100.0/24", "2001:db8:1::/48"]
    [[blocklist]]
    name = "bad"
    prefixes = ["192.0.2.0/24", "2001:db8::/64"]
    match = "destination"
"#;

pub fn malformed_dropped() -> Table {
    let row = |(description, frame): (&str, Frame)| drop(description, frame, "malformed");
    Table::new(LISTS, frames().into_iter().map(row).collect()).under_all_tags()
}

pub fn malformed_passed() -> Table {
    let configuration = format!(
        "[policy]\nmalformed = \"pass\"\ndefault = \"drop\"\n[arp]\naction = \"drop\"\n{LISTS}"
    );
    let row = |(description, frame): (&str, Frame)| pass(description, frame, "malformed");
    let mut rows: Vec<Row> = frames().into_iter().map(row).collect();
    rows.push(pass("a third tag", udp().vlan(1).vlan(2).vlan(3), "malformed"));
    Table::new(&configuration, rows)
}

pub fn well_formed_at_the_edge() -> Table {
    let other = |protocol| other4("10.0.0.1", "172.16.0.1", protocol).payload(b"");
    let other_v6 = |protocol| other6("2001:db9::1", "2001:db9::2", protocol).payload(b"");
    let udp = || udp4("10.0.0.1", "172.16.0.1", 0, 0);
    let tcp = || tcp4("10.0.0.1", "172.16.0.1", 0, 0);
    let tcp_v6 = || tcp6("2001:db9::1", "2001:db9::2", 0, 0);
    let ports = |frame: Frame, ip: u16| frame.total_length(ip).pad(9);
    let udp_length = HEADERS4 + 4;
    let frames = [
        ("padding", udp().payload(b"").pad(18)),
        ("much padding", udp().pad(1000)),
        ("UDP: ports are enough", ports(udp(), 24)),
        ("UDP's own length is not looked at", udp().patch(udp_length, &[0xff, 0xff])),
        ("UDP's own length 0", udp().patch(udp_length, &[0, 0])),
        ("TCP: flags are enough", ports(tcp(), 34)),
        ("TCP: flags are enough, IPv6", ports(tcp_v6(), 14)),
        ("TCP: options beyond the packet", tcp().data_offset(15)),
        ("SCTP: ports are enough", ports(sctp4("10.0.0.1", "172.16.0.1", 1, 2), 24)),
        ("ICMP: the type is enough", ports(icmp4("10.0.0.1", "172.16.0.1", 8), 21)),
        ("ICMPv6: the type is enough", ports(icmp6("2001:db9::1", "2001:db9::2", 128), 1)),
        ("all 40 bytes of options", udp().options(&[1; 40])),
        ("options and no payload", other(47).options(&[1; 40])),
        ("GRE without a byte", other(47)),
        ("AH in IPv4 is a protocol", other(51)),
        ("IPv4 in IPv4: the inner one is not judged", other(4).payload(&[0xff; 8])),
        ("protocol 255", other(255)),
        ("no next header", other_v6(59)),
        ("ESP without a byte", other_v6(50)),
        ("IPv6 in IPv6: the inner one is not judged", other_v6(41).payload(&[0xff; 8])),
        ("an extension header and no more", other_v6(59).extension(Extension::Shim6)),
        ("a long AH", other_v6(59).extension(Extension::Authentication)),
        (
            "the longest extension header that fits",
            other_v6(59).extension(Extension::Long { number: 60, units: 170 }),
        ),
        ("a wrong IPv4 checksum", udp().patch(24, &[0xde, 0xad])),
        ("TTL 0", udp().ttl(0)),
        ("not IP, nothing behind Ethernet", ethernet(0x88cc, &[])),
        ("an 802.3 length", ethernet(46, &[0x42; 46])),
    ];
    let row = |(description, frame): (&str, Frame)| pass(description, frame, "default");
    // Under a tag the kernel wants two bytes of payload at least.
    let (empty, rest): (Vec<_>, Vec<_>) =
        frames.into_iter().partition(|(_, frame)| frame.build().len() == 14);
    let mut table = Table::new(LISTS, rest.into_iter().map(row).collect()).under_all_tags();
    table.rows.extend(empty.into_iter().map(row));
    table
}

pub fn too_deep() -> Table {
    let of_every_kind = [
        Extension::HopByHop,
        Extension::DestinationOptions,
        Extension::Routing,
        Extension::Authentication,
        Extension::Mobility,
        Extension::Hip,
        Extension::Shim6,
        Extension::Fragment { offset: 0, more: true },
    ];
    let udp_v6 = || udp6("2001:db9::1", "2001:db9::2", 1024, 53);
    let eight = || udp_v6().extensions(of_every_kind.clone());
    let same = |count| udp_v6().extensions(vec![Extension::DestinationOptions; count]);
    let configuration = r#"
        [[rule]]
        name = "dns"
        destination_port = 53
        action = "drop"
    "#;
    let untagged = vec![
        drop("one of every kind", eight(), "rule").by("dns"),
        drop("eight alike", same(8), "rule").by("dns"),
        drop("nine", eight().extension(Extension::DestinationOptions), "malformed"),
        drop("nine alike", same(9), "malformed"),
        drop("nine, no next header", same(9).protocol(59), "malformed"),
        drop("thirty", same(30), "malformed"),
        pass("eight, the last a later fragment", same(7).fragment(3, false), "default"),
        pass("eight, no next header", same(8).protocol(59), "default"),
    ];
    let mut table = Table::new(configuration, untagged).under_all_tags();
    let udp = || udp4("10.0.0.1", "172.16.0.1", 1024, 53);
    table.rows.extend([
        drop("two tags", udp().qinq(1, 2), "rule").by("dns"),
        drop("three tags", udp().vlan(1).vlan(2).vlan(3), "malformed"),
        drop("three tags, 802.1ad outside", udp().qinq(1, 2).vlan(3), "malformed"),
        drop("three tags, 802.1ad inside", udp().vlan(1).vlan(2).tag(DOT1AD, 3), "malformed"),
        drop("four tags", udp_v6().qinq(1, 2).qinq(3, 4), "malformed"),
        drop("three tags, not IP", ethernet(0x88cc, &[0; 46]).qinq(1, 2).vlan(3), "malformed"),
    ]);
    table
}
