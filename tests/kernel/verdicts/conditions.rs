//! Rules by length, TTL and fragment, and the negations of all conditions.

use super::Table;
use crate::lab::MacAddr;
use crate::lab::bench::{drop, pass};
use crate::lab::frame::*;

const A: &str = "10.0.0.1";
const B: &str = "192.0.2.1";
const A6: &str = "2001:db8:a::1";
const B6: &str = "2001:db8:b::1";

/// Bytes of an Ethernet header.
const LINK: usize = 14;

pub fn lengths_and_ttls() -> Table {
    let configuration = r#"
        [[rule]]
        name = "both"
        length = [100, "200-300"]
        ttl = "0-4"
        action = "drop"
        [[rule]]
        name = "long"
        length = "1000-65535"
        action = "drop"
        [[rule]]
        name = "last"
        ttl = [1, 255]
        protocol = "udp"
        action = "drop"
        [[rule]]
        name = "others"
        not_length = ["0-64", "66-65535"]
        not_ttl = "0-99"
        action = "drop"
    "#;
    let v4 = |length: usize, ttl| udp4(A, B, 1, 2).length(LINK + length).ttl(ttl);
    let v6 = |length: usize, ttl| udp6(A6, B6, 1, 2).length(LINK + length).ttl(ttl);
    let tcp = |length: usize, ttl| tcp4(A, B, 1, 2).length(LINK + length).ttl(ttl);
    let rows = vec![
        drop("one length", v4(100, 4), "rule").by("both"),
        drop("one length, IPv6, with the header", v6(100, 4), "rule").by("both"),
        pass("a byte more", v4(101, 4), "default"),
        pass("a byte less", v6(99, 4), "default"),
        pass("one hop more", v4(100, 5), "default"),
        drop("a range's first", v6(200, 0), "rule").by("both"),
        drop("a range's last", v4(300, 3), "rule").by("both"),
        pass("behind the range", v4(301, 3), "default"),
        drop("under a tag", v4(300, 3).vlan(7), "rule").by("both"),
        drop("padding does not count", v4(50, 64).ttl(1).pad(60), "rule").by("last"),
        drop("padding is no length", v4(100, 2).pad(700), "rule").by("both"),
        drop("behind extension headers", v6(208, 2).extension(Extension::HopByHop), "rule")
            .by("both"),
        drop("a later fragment", v4(200, 1).fragment(3, true), "rule").by("both"),
        drop("long", tcp(1000, 64), "rule").by("long"),
        pass("not long", tcp(999, 64), "default"),
        drop("the last TTL", v6(70, 255), "rule").by("last"),
        pass("of TCP", tcp(70, 255), "default"),
        drop("what is left", tcp(65, 100), "rule").by("others"),
        pass("another length", tcp(66, 100), "default"),
        pass("another TTL", tcp(65, 99), "default"),
        pass("what is not IP has none", ethernet(0x88b5, &[0; 86]), "default"),
        pass("ARP has none", arp_request(A, B), "arp"),
    ];
    Table::new(configuration, rows)
}

pub fn fragment_kinds() -> Table {
    let configuration = r#"
        [[rule]]
        name = "first"
        fragment = "first"
        destination_port = 53
        action = "drop"
        [[rule]]
        name = "later"
        fragment = "later"
        source = [ "10.0.0.1", "2001:db8:a::1" ]
        action = "drop"
        [[rule]]
        name = "any"
        fragment = true
        protocol = "tcp"
        action = "drop"
        [[rule]]
        name = "whole"
        fragment = false
        protocol = "icmpv6"
        action = "drop"
        [[rule]]
        name = "not-first"
        not_fragment = "first"
        protocol = "sctp"
        action = "drop"
    "#;
    let udp = |port| udp4(A, B, 1, port);
    let udp_v6 = |port| udp6(A6, B6, 1, port);
    let fragment = |offset, more| Extension::Fragment { offset, more };
    let rows = vec![
        drop("first", udp(53).fragment(0, true), "rule").by("first"),
        drop("first, IPv6", udp_v6(53).fragment(0, true), "rule").by("first"),
        pass("whole", udp(53), "default"),
        pass("whole, may not be fragmented", udp(53).dont_fragment(), "default"),
        pass("whole, IPv6", udp_v6(53), "default"),
        pass("all there is, in a fragment header", udp_v6(53).fragment(0, false), "default"),
        pass("another port", udp_v6(54).fragment(0, true), "default"),
        drop("later", udp(53).fragment(1, true), "rule").by("later"),
        drop("the last", udp(53).fragment(0x1fff, false), "rule").by("later"),
        drop("later, IPv6", udp_v6(53).fragment(1, true), "rule").by("later"),
        drop(
            "behind other headers",
            udp_v6(53).extensions([Extension::Routing, fragment(0, true), Extension::HopByHop]),
            "rule",
        )
        .by("first"),
        drop(
            "a fragment of a fragment",
            udp_v6(53).extensions([fragment(0, true), fragment(0, false)]),
            "rule",
        )
        .by("first"),
        drop(
            "a later one of a first one",
            udp_v6(53).extensions([fragment(0, true), fragment(4, false)]),
            "rule",
        )
        .by("later"),
        drop("an extension header in a later one", other6(A6, B6, 60).fragment(9, true), "rule")
            .by("later"),
        drop("any: the first", tcp4("10.0.0.2", B, 1, 2).fragment(0, true), "rule").by("any"),
        drop("any: a later one", tcp6("2001:db8::2", B6, 1, 2).fragment(1, false), "rule")
            .by("any"),
        pass("any: none", tcp4("10.0.0.2", B, 1, 2), "default"),
        drop("none", icmp6(A6, B6, 128), "rule").by("whole"),
        pass("but the first", icmp6(A6, B6, 128).fragment(0, true), "default"),
        drop("not the first: whole", sctp4("10.0.0.2", B, 1, 2), "rule").by("not-first"),
        pass("not the first: first", sctp4("10.0.0.2", B, 1, 2).fragment(0, true), "default"),
        drop("not the first: later", sctp4("10.0.0.2", B, 1, 2).fragment(5, true), "rule")
            .by("not-first"),
        pass("what is not IP is not whole either", ethernet(0x88b5, &[0; 46]), "default"),
    ];
    Table::new(configuration, rows)
}

pub fn negations() -> Table {
    let configuration = r#"
        [[rule]]
        name = "ports"
        not_source_port = ["0-999", 5000]
        not_destination_port = 53
        source = "10.0.0.1"
        action = "drop"
        [[rule]]
        name = "addresses"
        source = ["10.1.0.0/16", "10.1.2.128/25"]
        not_source = ["10.1.2.0/24", "10.1.3.3"]
        not_destination = "192.0.2.0/25"
        action = "drop"
        [[rule]]
        name = "inside"
        source = "10.1.2.0/24"
        not_source = ["10.1.2.128/25"]
        action = "drop"
        [[rule]]
        name = "protocols"
        source = ["10.2.0.0/16", "2001:db8:2::/48"]
        not_protocol = ["tcp", "icmp", 47]
        action = "drop"
        [[rule]]
        name = "flags"
        source = "10.3.0.0/16"
        not_tcp_flags = "syn,!ack"
        action = "drop"
        [[rule]]
        name = "types"
        source = "10.3.0.0/16"
        protocol = "icmp"
        not_icmp_type = ["echo-request", 0]
        action = "drop"
        [[rule]]
        name = "points"
        source = "10.4.0.0/16"
        not_dscp = ["ef", "0-10"]
        action = "drop"
        [[rule]]
        name = "other-net"
        not_source = ["10.0.0.0/8", "2001:db8::/32"]
        destination = ["198.51.100.1", "2001:db8::1"]
        action = "drop"
    "#;
    let b = "203.0.113.1";
    let udp = |from| udp4(A, B, from, 54);
    let of = |source| udp4(source, b, 1, 2);
    let rows = vec![
        drop("another port", udp(1000), "rule").by("ports"),
        drop("between", udp(4999), "rule").by("ports"),
        drop("the highest, of TCP", tcp4(A, B, 65535, 2), "rule").by("ports"),
        pass("a port in the range", udp(999), "default"),
        pass("a port by itself", udp(5000), "default"),
        pass("another negation", udp4(A, B, 1000, 53), "default"),
        pass("no port is not another port", icmp4(A, B, 8), "default"),
        pass("a later fragment has none", udp(1000).fragment(2, true), "default"),
        drop("outside what is excluded", of("10.1.1.1"), "rule").by("addresses"),
        drop("behind it", of("10.1.3.2"), "rule").by("addresses"),
        pass("one address", of("10.1.3.3"), "default"),
        drop("by the rule after it", of("10.1.2.1"), "rule").by("inside"),
        pass("named inside what is excluded", of("10.1.2.200"), "default"),
        pass("the destination", udp4("10.1.1.1", "192.0.2.9", 1, 2), "default"),
        drop("the other half", udp4("10.1.1.1", "192.0.2.129", 1, 2), "rule").by("addresses"),
        drop("another protocol", of("10.2.0.1"), "rule").by("protocols"),
        drop("that nobody names", other4("10.2.0.1", b, 99), "rule").by("protocols"),
        pass("a protocol by name", tcp4("10.2.0.1", b, 1, 2), "default"),
        pass("a protocol by number", other4("10.2.0.1", b, 47), "default"),
        pass("ICMP over IPv4", icmp4("10.2.0.1", b, 8), "default"),
        drop("ICMPv6 is not ICMP", icmp6("2001:db8:2::1", B6, 128), "rule").by("protocols"),
        drop("the protocol of a later fragment", of("10.2.0.1").fragment(1, true), "rule")
            .by("protocols"),
        pass(
            "a protocol that is unknown",
            other6("2001:db8:2::1", B6, 60).fragment(9, true),
            "default",
        ),
        drop("other flags", tcp4("10.3.0.1", b, 1, 2).flags(SYN | ACK), "rule").by("flags"),
        pass("these flags", tcp4("10.3.0.1", b, 1, 2).flags(SYN | PSH), "default"),
        pass("no flags are no other flags", of("10.3.0.1"), "default"),
        drop("another type", icmp4("10.3.0.1", b, 3), "rule").by("types"),
        pass("one of these types", icmp4("10.3.0.1", b, 8), "default"),
        pass("no type is no other type", icmp4("10.3.0.1", b, 3).fragment(1, true), "default"),
        drop("another code point", of("10.4.0.1").dscp(11), "rule").by("points"),
        pass("a code point in a range", of("10.4.0.1").dscp(10), "default"),
        pass("a code point by name", of("10.4.0.1").dscp(46), "default"),
        drop("from elsewhere", udp4("172.16.0.1", "198.51.100.1", 1, 2), "rule").by("other-net"),
        drop("from elsewhere, IPv6", udp6("2001:db9::1", "2001:db8::1", 1, 2), "rule")
            .by("other-net"),
        pass("from there", udp4("10.200.0.1", "198.51.100.1", 1, 2), "default"),
        pass("from there, IPv6", udp6(A6, "2001:db8::1", 1, 2), "default"),
    ];
    Table::new(configuration, rows)
}

pub fn negations_of_the_link() -> Table {
    let configuration = r#"
        [[rule]]
        name = "tagged"
        vlan = "none"
        not_source_mac = ["02:00:00:00:00:09", "ff:ff:ff:ff:ff:ff"]
        protocol = "udp"
        action = "drop"
        [[rule]]
        name = "other-tag"
        not_vlan = [100, 4095]
        protocol = "tcp"
        action = "drop"
        [[rule]]
        name = "any-tag"
        not_vlan = "none"
        not_destination_mac = "02:00:00:00:00:bb"
        action = "drop"
    "#;
    let mac = |last| MacAddr(2, 0, 0, 0, 0, last);
    let rows = vec![
        drop("another source", udp4(A, B, 1, 2).source_mac(mac(8)), "rule").by("tagged"),
        pass("that source", udp6(A6, B6, 1, 2).source_mac(mac(9)), "default"),
        drop("another tag", tcp4(A, B, 1, 2).vlan(101), "rule").by("other-tag"),
        drop("tag 0", tcp6(A6, B6, 1, 2).vlan(0), "rule").by("other-tag"),
        drop("the outer tag", tcp4(A, B, 1, 2).qinq(7, 100), "rule").by("other-tag"),
        pass("no tag is no other tag", tcp4(A, B, 1, 2), "default"),
        pass(
            "that tag, and that destination",
            tcp4(A, B, 1, 2).vlan(100).destination_mac(mac(0xbb)),
            "default",
        ),
        drop("any tag, not IP", ethernet(0x88b5, &[0; 46]).vlan(5), "rule").by("any-tag"),
        drop("any tag", icmp4(A, B, 8).vlan(4095), "rule").by("any-tag"),
        pass("that destination", icmp4(A, B, 8).vlan(4095).destination_mac(mac(0xbb)), "default"),
        pass("no tag at all", icmp4(A, B, 8), "default"),
    ];
    Table::new(configuration, rows)
}
