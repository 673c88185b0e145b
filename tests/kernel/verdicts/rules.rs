//! Rules: each key by itself, all together, and which rule decides.

use super::Table;
use crate::lab::MacAddr;
use crate::lab::bench::{drop, pass};
use crate::lab::frame::*;

const A: &str = "10.0.0.1";
const B: &str = "192.0.2.1";
const A6: &str = "2001:db8:a::1";
const B6: &str = "2001:db8:b::1";

pub fn default_pass() -> Table {
    let rows = vec![
        pass("UDP", udp4(A, B, 1, 2), "default"),
        pass("TCP", tcp4(A, B, 1, 2), "default"),
        pass("UDP, IPv6", udp6(A6, B6, 1, 2), "default"),
        pass("ICMPv6", icmp6(A6, B6, 135), "default"),
        pass("ARP", arp_request(A, B), "arp"),
        pass("not IP", ethernet(0x88cc, &[0; 46]), "default"),
    ];
    Table::new("", rows).under_all_tags()
}

pub fn default_drop() -> Table {
    let configuration = r#"
        [policy]
        default = "drop"
        [[rule]]
        name = "web"
        protocol = "tcp"
        destination_port = [80, 443]
        action = "pass"
    "#;
    let rows = vec![
        pass("by a rule", tcp4(A, B, 1024, 443), "rule").by("web"),
        pass("by a rule, IPv6", tcp6(A6, B6, 1024, 80), "rule").by("web"),
        drop("UDP", udp4(A, B, 1024, 443), "default"),
        drop("another port, IPv6", tcp6(A6, B6, 1024, 8080), "default"),
        drop("a later fragment", tcp4(A, B, 1024, 443).fragment(1, true), "default"),
        drop("not IP", ethernet(0x88cc, &[0; 46]), "default"),
        pass("ARP has its own policy", arp_request(A, B), "arp"),
    ];
    Table::new(configuration, rows).under_all_tags()
}

pub fn first_match_wins() -> Table {
    let configuration = r#"
        [[rule]]
        name = "one-host"
        source = ["10.0.0.7", "2001:db8:a::7"]
        action = "pass"
        [[rule]]
        name = "its-net"
        source = ["10.0.0.0/24", "2001:db8:a::/64"]
        action = "drop"
        [[rule]]
        name = "never-reached"
        source = ["10.0.0.1", "2001:db8:a::1"]
        action = "pass"
        [[rule]]
        name = "dns"
        destination_port = 53
        action = "drop"
        [[rule]]
        name = "udp"
        protocol = "udp"
        action = "pass"
        [[rule]]
        name = "rest"
        action = "drop"
    "#;
    let rows = vec![
        pass("the first", udp4("10.0.0.7", B, 1, 53), "rule").by("one-host"),
        pass("the first, IPv6", udp6("2001:db8:a::7", B6, 1, 53), "rule").by("one-host"),
        drop("the second", udp4(A, B, 1, 2), "rule").by("its-net"),
        drop("the second, IPv6", udp6(A6, B6, 1, 2), "rule").by("its-net"),
        drop("the fourth", udp4("10.0.1.1", B, 1, 53), "rule").by("dns"),
        pass("the fifth", udp4("10.0.1.1", B, 1, 54), "rule").by("udp"),
        drop("the last", tcp4("10.0.1.1", B, 1, 54), "rule").by("rest"),
        drop("the last, IPv6", icmp6("2001:db8:c::1", B6, 128), "rule").by("rest"),
    ];
    Table::new(configuration, rows).under_all_tags()
}

pub fn protocols() -> Table {
    let rule = |protocol: &str| {
        let name = protocol.trim_matches('"');
        format!("[[rule]]\nname = \"p-{name}\"\nprotocol = {protocol}\naction = \"drop\"\n")
    };
    let configuration: String =
        ["\"tcp\"", "\"udp\"", "\"sctp\"", "\"icmp\"", "\"icmpv6\"", "47", "0", "255"]
            .map(rule)
            .concat();
    let rows = vec![
        drop("TCP", tcp4(A, B, 1, 2), "rule").by("p-tcp"),
        drop("UDP", udp4(A, B, 1, 2), "rule").by("p-udp"),
        drop("SCTP", sctp4(A, B, 1, 2), "rule").by("p-sctp"),
        drop("ICMP", icmp4(A, B, 3), "rule").by("p-icmp"),
        drop("GRE", other4(A, B, 47), "rule").by("p-47"),
        drop("protocol 255", other4(A, B, 255), "rule").by("p-255"),
        drop("protocol 0 in IPv4", other4(A, B, 0), "rule").by("p-0"),
        pass("OSPF", other4(A, B, 89), "default"),
        pass("ICMPv6's number in IPv4", other4(A, B, 58), "default"),
        drop("TCP, IPv6", tcp6(A6, B6, 1, 2), "rule").by("p-tcp"),
        drop("UDP, IPv6", udp6(A6, B6, 1, 2), "rule").by("p-udp"),
        drop("SCTP, IPv6", sctp6(A6, B6, 1, 2), "rule").by("p-sctp"),
        drop("ICMPv6", icmp6(A6, B6, 135), "rule").by("p-icmpv6"),
        drop("GRE, IPv6", other6(A6, B6, 47), "rule").by("p-47"),
        pass("ICMP's number in IPv6", other6(A6, B6, 1), "default"),
        pass("ESP", other6(A6, B6, 50), "default"),
        pass("not IP", ethernet(0x88cc, &[6; 46]), "default"),
    ];
    Table::new(&configuration, rows).under_all_tags()
}

pub fn addresses() -> Table {
    let configuration = r#"
        [[rule]]
        name = "source"
        source = "10.0.0.0/8"
        action = "drop"
        [[rule]]
        name = "destinations"
        destination = ["192.0.2.53", "192.0.2.54", "2001:db8:b::53"]
        action = "drop"
        [[rule]]
        name = "both"
        source = ["172.16.0.0/12", "2001:db8:a::/48"]
        destination = ["198.51.100.128/25", "2001:db8:b::/48"]
        action = "drop"
        [[rule]]
        name = "odd"
        source = ["100.64.0.0/11", "2001:db8:8000::/35", "2001:db8:ffff::1/127"]
        action = "drop"
        [[rule]]
        name = "any-ipv4"
        source = "0.0.0.0/0"
        protocol = 89
        action = "drop"
    "#;
    let rows = vec![
        drop("source", udp4("10.255.255.255", B, 1, 2), "rule").by("source"),
        pass("beside the source", udp4("11.0.0.0", B, 1, 2), "default"),
        drop("a destination", udp4("8.8.8.8", "192.0.2.53", 1, 2), "rule").by("destinations"),
        drop("the other", tcp4("8.8.8.8", "192.0.2.54", 1, 2), "rule").by("destinations"),
        pass("a destination as source", udp4("192.0.2.53", "8.8.8.8", 1, 2), "default"),
        drop("destination, IPv6", udp6("::1", "2001:db8:b::53", 1, 2), "rule").by("destinations"),
        drop("both", udp4("172.31.0.1", "198.51.100.128", 1, 2), "rule").by("both"),
        pass("one of both", udp4("172.31.0.1", "198.51.100.127", 1, 2), "default"),
        pass("the other of both", udp4("172.32.0.1", "198.51.100.128", 1, 2), "default"),
        pass("both, swapped", udp4("198.51.100.128", "172.31.0.1", 1, 2), "default"),
        drop("both, IPv6", udp6(A6, B6, 1, 2), "rule").by("both"),
        pass("one of both, IPv6", udp6(A6, A6, 1, 2), "default"),
        pass("the other of both, IPv6", udp6(B6, B6, 1, 2), "default"),
        drop("an odd length", udp4("100.95.255.255", B, 1, 2), "rule").by("odd"),
        pass("beyond the odd length", udp4("100.96.0.0", B, 1, 2), "default"),
        drop("an odd length, IPv6", udp6("2001:db8:9fff::1", "::1", 1, 2), "rule").by("odd"),
        pass("beyond it, IPv6", udp6("2001:db8:a000::1", "::1", 1, 2), "default"),
        drop("the last bit but one", udp6("2001:db8:ffff::", "::1", 1, 2), "rule").by("odd"),
        pass("beyond the last bits", udp6("2001:db8:ffff::2", "::1", 1, 2), "default"),
        drop("a whole family", other4("8.8.8.8", B, 89), "rule").by("any-ipv4"),
        pass("not the other family", other6("::1", B6, 89), "default"),
        pass("IPv4-mapped is IPv6", udp6("::ffff:10.0.0.1", "::1", 1, 2), "default"),
    ];
    Table::new(configuration, rows).under_all_tags()
}

pub fn ports() -> Table {
    let configuration = r#"
        [[rule]]
        name = "zero"
        source_port = 0
        action = "drop"
        [[rule]]
        name = "range"
        source_port = "2000-2999"
        action = "drop"
        [[rule]]
        name = "list"
        destination_port = [53, 5353, "6000-6002"]
        action = "drop"
        [[rule]]
        name = "last"
        destination_port = 65535
        protocol = "tcp"
        action = "drop"
        [[rule]]
        name = "both"
        source_port = "1024-65535"
        destination_port = 80
        action = "drop"
    "#;
    let rows = vec![
        drop("port 0 is a port", udp4(A, B, 0, 9), "rule").by("zero"),
        drop("port 0, IPv6", sctp6(A6, B6, 0, 9), "rule").by("zero"),
        pass("below the range", udp4(A, B, 1999, 9), "default"),
        drop("the range's first", udp4(A, B, 2000, 9), "rule").by("range"),
        drop("the range's last", tcp4(A, B, 2999, 9), "rule").by("range"),
        pass("above the range", udp4(A, B, 3000, 9), "default"),
        pass("a source port as destination", udp4(A, B, 9, 2500), "default"),
        drop("in a list, UDP", udp4(A, B, 9, 53), "rule").by("list"),
        drop("in a list, TCP", tcp4(A, B, 9, 5353), "rule").by("list"),
        drop("in a list, SCTP", sctp4(A, B, 9, 6002), "rule").by("list"),
        drop("in a list, UDP, IPv6", udp6(A6, B6, 9, 53), "rule").by("list"),
        drop("in a list, TCP, IPv6", tcp6(A6, B6, 9, 6000), "rule").by("list"),
        drop("in a list, SCTP, IPv6", sctp6(A6, B6, 9, 6001), "rule").by("list"),
        pass("bytes in another order", udp4(A, B, 9, 0x3500), "default"),
        drop("the last port", tcp4(A, B, 9, 65535), "rule").by("last"),
        pass("the last port, not TCP", udp4(A, B, 9, 65535), "default"),
        drop("both ports", udp4(A, B, 65535, 80), "rule").by("both"),
        pass("one of both", udp4(A, B, 1023, 80), "default"),
        drop("behind options", udp4(A, B, 9, 53).options(&[1; 24]), "rule").by("list"),
        pass("no ports in GRE", other4(A, B, 47).payload(&[0, 9, 0, 53]), "default"),
        pass("no ports in UDP-Lite", other4(A, B, 136).payload(&[0, 9, 0, 53]), "default"),
        pass("no ports in ICMP", icmp4(A, B, 0), "default"),
        pass("no ports in ICMPv6, though it looks so", icmp6(A6, B6, 0), "default"),
    ];
    Table::new(configuration, rows).under_all_tags()
}

pub fn icmp_types() -> Table {
    let configuration = r#"
        [[rule]]
        name = "echo"
        protocol = "icmp"
        icmp_type = 8
        action = "drop"
        [[rule]]
        name = "neighbours"
        protocol = "icmpv6"
        icmp_type = [135, 136]
        action = "drop"
        [[rule]]
        name = "zero"
        protocol = "icmp"
        icmp_type = 0
        action = "drop"
    "#;
    let rows = vec![
        drop("echo request", icmp4(A, B, 8), "rule").by("echo"),
        drop("whatever its code", icmp4(A, B, 8).code(7), "rule").by("echo"),
        drop("echo reply", icmp4(A, B, 0), "rule").by("zero"),
        pass("unreachable", icmp4(A, B, 3).code(8), "default"),
        drop("neighbour solicitation", icmp6(A6, B6, 135), "rule").by("neighbours"),
        drop("neighbour advertisement", icmp6(A6, B6, 136), "rule").by("neighbours"),
        pass("ICMPv6 of ICMP's type", icmp6(A6, B6, 8), "default"),
        pass("ICMP of ICMPv6's type", icmp4(A, B, 135), "default"),
        pass("UDP that looks like it", udp4(A, B, 0x0800, 9), "default"),
        drop("behind options", icmp4(A, B, 8).options(&[1; 4]), "rule").by("echo"),
        drop(
            "behind extension headers",
            icmp6(A6, B6, 136).extensions([Extension::HopByHop, Extension::Routing]),
            "rule",
        )
        .by("neighbours"),
    ];
    Table::new(configuration, rows).under_all_tags()
}

pub fn dscp() -> Table {
    let configuration = r#"
        [[rule]]
        name = "voice"
        dscp = "ef"
        protocol = "udp"
        action = "drop"
        [[rule]]
        name = "several"
        dscp = [1, "af41", 63]
        action = "drop"
        [[rule]]
        name = "tagged"
        dscp = 0
        vlan = 100
        action = "drop"
    "#;
    let rows = vec![
        drop("a name", udp4(A, B, 1, 2).dscp(46), "rule").by("voice"),
        drop("IPv6", udp6(A6, B6, 1, 2).dscp(46), "rule").by("voice"),
        pass("another protocol", icmp4(A, B, 8).dscp(46), "default"),
        pass("one less", udp4(A, B, 1, 2).dscp(45), "default"),
        drop("a number", udp4(A, B, 1, 2).dscp(1), "rule").by("several"),
        drop("a name in a list", icmp6(A6, B6, 128).dscp(34), "rule").by("several"),
        drop("the highest", udp6(A6, B6, 1, 2).dscp(63), "rule").by("several"),
        drop("a later fragment", udp4(A, B, 1, 2).dscp(1).fragment(1, true), "rule").by("several"),
        drop(
            "behind extension headers",
            udp6(A6, B6, 1, 2).dscp(46).extensions([Extension::HopByHop]),
            "rule",
        )
        .by("voice"),
        drop("0, with a tag", udp4(A, B, 1, 2).vlan(100), "rule").by("tagged"),
        pass("another tag", udp4(A, B, 1, 2).vlan(101), "default"),
        pass("what is not IP has none", ethernet(0x88b5, &[0; 46]).vlan(100), "default"),
    ];
    Table::new(configuration, rows)
}

pub fn tcp_flags() -> Table {
    let configuration = r#"
        [[rule]]
        name = "xmas"
        tcp_flags = "fin,psh,urg"
        action = "drop"
        [[rule]]
        name = "null"
        tcp_flags = "!fin,!syn,!rst,!psh,!ack,!urg"
        action = "drop"
        [[rule]]
        name = "new"
        tcp_flags = "syn,!ack"
        action = "drop"
        [[rule]]
        name = "congested"
        tcp_flags = "ece,cwr"
        action = "drop"
        [[rule]]
        name = "reset"
        protocol = "tcp"
        tcp_flags = "rst"
        destination_port = 80
        action = "drop"
    "#;
    let tcp = |flags| tcp4(A, B, 1024, 80).flags(flags);
    let tcp_v6 = |flags| tcp6(A6, B6, 1024, 80).flags(flags);
    let rows = vec![
        drop("SYN", tcp(SYN), "rule").by("new"),
        drop("SYN, others may be set", tcp(SYN | ECE | PSH), "rule").by("new"),
        pass("SYN and ACK", tcp(SYN | ACK), "default"),
        pass("ACK", tcp(ACK), "default"),
        drop("three flags", tcp(FIN | PSH | URG), "rule").by("xmas"),
        drop("three flags and more", tcp(FIN | PSH | URG | ACK), "rule").by("xmas"),
        pass("two of three", tcp(FIN | URG | ACK), "default"),
        drop("none", tcp(0), "rule").by("null"),
        drop("none that is named", tcp(ECE), "rule").by("null"),
        drop("both congestion flags", tcp(ACK | ECE | CWR), "rule").by("congested"),
        drop("flag and port", tcp(RST | ACK), "rule").by("reset"),
        pass("flag and another port", tcp4(A, B, 80, 1024).flags(RST | ACK), "default"),
        drop("SYN, IPv6", tcp_v6(SYN), "rule").by("new"),
        pass("SYN and ACK, IPv6", tcp_v6(SYN | ACK), "default"),
        drop("flag and port, IPv6", tcp_v6(RST), "rule").by("reset"),
        drop("whatever the data offset", tcp(SYN).payload(&[1; 40]).data_offset(15), "rule")
            .by("new"),
        pass("flags mean TCP", udp4(A, B, 1024, 80).payload(&[SYN; 32]), "default"),
        pass("flags mean TCP, SCTP", sctp4(A, B, 1024, 80).payload(&[SYN; 32]), "default"),
    ];
    Table::new(configuration, rows).under_all_tags()
}

pub fn vlans() -> Table {
    let configuration = r#"
        [[rule]]
        name = "untagged-dns"
        vlan = "none"
        destination_port = 53
        action = "drop"
        [[rule]]
        name = "one"
        vlan = 100
        action = "drop"
        [[rule]]
        name = "several"
        vlan = [200, 4094]
        action = "drop"
        [[rule]]
        name = "web-in-300"
        vlan = 300
        protocol = "tcp"
        destination_port = 80
        action = "drop"
    "#;
    let udp = || udp4(A, B, 9, 9);
    let dns = || udp4(A, B, 9, 53);
    let dns_v6 = || udp6(A6, B6, 9, 53);
    let lldp = || ethernet(0x88cc, &[0; 46]);
    let rows = vec![
        drop("untagged", dns(), "rule").by("untagged-dns"),
        drop("untagged, IPv6", dns_v6(), "rule").by("untagged-dns"),
        pass("tagged is not untagged", dns().vlan(5), "default"),
        pass("tagged is not untagged, IPv6", dns_v6().vlan(5), "default"),
        drop("an id", udp().vlan(100), "rule").by("one"),
        drop("an id, IPv6", udp6(A6, B6, 9, 9).vlan(100), "rule").by("one"),
        drop("an id, whatever the priority", udp().tag(DOT1Q, 0xf064), "rule").by("one"),
        drop("an id in 802.1ad", udp().tag(DOT1AD, 100), "rule").by("one"),
        drop("the outer id", udp().qinq(100, 5), "rule").by("one"),
        pass("the inner id is not asked", udp().qinq(5, 100), "default"),
        drop("in a list", udp().vlan(200), "rule").by("several"),
        drop("the highest id", udp().vlan(4094), "rule").by("several"),
        pass("another id", udp().vlan(101), "default"),
        drop("not IP", lldp().vlan(100), "rule").by("one"),
        drop("not IP, two tags", lldp().qinq(200, 5), "rule").by("several"),
        pass("not IP, another id", lldp().vlan(101), "default"),
        pass("not IP, more than a VLAN named", lldp().vlan(300), "default"),
        drop("with other keys", tcp4(A, B, 9, 80).vlan(300), "rule").by("web-in-300"),
        pass("with other keys, one off", tcp4(A, B, 9, 81).vlan(300), "default"),
        pass("ARP never comes to rules", arp_request(A, B).vlan(100), "arp"),
    ];
    Table::new(configuration, rows)
}

pub fn macs() -> Table {
    let configuration = r#"
        [[rule]]
        name = "from"
        source_mac = "02:00:00:00:00:09"
        action = "drop"
        [[rule]]
        name = "to"
        destination_mac = ["02:00:00:00:00:aa", "02:00:00:00:00:BB"]
        action = "drop"
        [[rule]]
        name = "both"
        source_mac = "02:00:00:00:00:0c"
        destination_mac = "02:00:00:00:00:0d"
        protocol = "tcp"
        action = "drop"
    "#;
    let mac = |last| MacAddr(2, 0, 0, 0, 0, last);
    let both = |from, to| tcp4(A, B, 1, 2).source_mac(mac(from)).destination_mac(mac(to));
    let rows = vec![
        drop("source", udp4(A, B, 1, 2).source_mac(mac(9)), "rule").by("from"),
        drop("source, IPv6", udp6(A6, B6, 1, 2).source_mac(mac(9)), "rule").by("from"),
        pass("a source as destination", udp4(A, B, 1, 2).destination_mac(mac(9)), "default"),
        drop("destination", udp4(A, B, 1, 2).destination_mac(mac(0xaa)), "rule").by("to"),
        drop("the other", icmp6(A6, B6, 1).destination_mac(mac(0xbb)), "rule").by("to"),
        pass("a destination as source", udp4(A, B, 1, 2).source_mac(mac(0xaa)), "default"),
        drop("both", both(0x0c, 0x0d), "rule").by("both"),
        pass("one of both", both(0x0c, 0x0e), "default"),
        pass("the other of both", both(0x0e, 0x0d), "default"),
        pass("one byte off", udp4(A, B, 1, 2).source_mac(MacAddr(3, 0, 0, 0, 0, 9)), "default"),
        pass("no bit in common", udp4(A, B, 1, 2).source_mac(MacAddr::broadcast()), "default"),
    ];
    Table::new(configuration, rows).under_all_tags()
}

pub fn all_keys_at_once() -> Table {
    let configuration = r#"
        [[rule]]
        name = "full"
        protocol = "tcp"
        source = ["10.0.0.0/8", "2001:db8:a::/48"]
        destination = ["192.0.2.0/24", "2001:db8:b::/48"]
        source_port = "1024-65535"
        destination_port = [80, 443]
        tcp_flags = "syn,!ack"
        vlan = 100
        source_mac = "02:00:00:00:01:01"
        destination_mac = "02:00:00:00:01:02"
        action = "drop"
    "#;
    let full = || tcp4(A, B, 1024, 443).vlan(100);
    let full_v6 = || tcp6(A6, B6, 1024, 443).vlan(100);
    let other_mac = MacAddr(2, 0, 0, 0, 0, 1);
    let rows = vec![
        drop("all of them", full(), "rule").by("full"),
        drop("all of them, IPv6", full_v6(), "rule").by("full"),
        drop("all of them, two tags", tcp4(A, B, 1024, 443).qinq(100, 7), "rule").by("full"),
        pass("but the protocol", udp4(A, B, 1024, 443).vlan(100), "default"),
        pass("but the source", tcp4("11.0.0.1", B, 1024, 443).vlan(100), "default"),
        pass("but the destination", tcp4(A, "192.0.3.1", 1024, 443).vlan(100), "default"),
        pass("but the destination, IPv6", tcp6(A6, A6, 1024, 443).vlan(100), "default"),
        pass("but the source port", tcp4(A, B, 1023, 443).vlan(100), "default"),
        pass("but the destination port", tcp4(A, B, 1024, 444).vlan(100), "default"),
        pass("but the flags", full().flags(SYN | ACK), "default"),
        pass("but the flags, IPv6", full_v6().flags(ACK), "default"),
        pass("but the VLAN", tcp4(A, B, 1024, 443).vlan(101), "default"),
        pass("but any VLAN", tcp4(A, B, 1024, 443), "default"),
        pass("but the source MAC", full().source_mac(other_mac), "default"),
        pass("but the destination MAC", full_v6().destination_mac(other_mac), "default"),
        pass("a later fragment", full().fragment(1, false), "default"),
    ];
    Table::new(configuration, rows)
}

pub fn behind_extension_headers() -> Table {
    let configuration = r#"
        [[rule]]
        name = "dns"
        protocol = "udp"
        destination_port = 53
        action = "drop"
        [[rule]]
        name = "gre"
        protocol = 47
        action = "drop"
        [[rule]]
        name = "ah"
        protocol = 51
        destination = "0.0.0.0/0"
        action = "drop"
    "#;
    let kinds = [
        ("hop-by-hop", Extension::HopByHop),
        ("routing", Extension::Routing),
        ("destination options", Extension::DestinationOptions),
        ("fragment", Extension::Fragment { offset: 0, more: false }),
        ("AH", Extension::Authentication),
        ("mobility", Extension::Mobility),
        ("HIP", Extension::Hip),
        ("shim6", Extension::Shim6),
        ("a long one", Extension::Long { number: 0, units: 12 }),
    ];
    let dns = || udp6(A6, B6, 1024, 53);
    let mut rows: Vec<_> = kinds
        .iter()
        .map(|(kind, extension)| {
            drop(&format!("behind {kind}"), dns().extension(extension.clone()), "rule").by("dns")
        })
        .collect();
    for count in 2..=8 {
        let chain = kinds.iter().cycle().skip(count).take(count).map(|(_, kind)| kind.clone());
        rows.push(drop(&format!("behind {count}"), dns().extensions(chain), "rule").by("dns"));
    }
    rows.extend([
        drop("GRE", other6(A6, B6, 47).extension(Extension::Routing), "rule").by("gre"),
        pass("another port", udp6(A6, B6, 53, 54).extension(Extension::HopByHop), "default"),
        pass(
            "ESP hides the rest",
            other6(A6, B6, 50).payload(&[0, 9, 0, 53, 0, 0, 0, 0]),
            "default",
        ),
        drop("AH in IPv4 is the protocol", other4(A, B, 51).payload(&[17, 4, 0, 0]), "rule")
            .by("ah"),
    ]);
    Table::new(configuration, rows).under_all_tags()
}
