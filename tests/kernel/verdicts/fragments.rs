//! Non-first fragments, which carry no ports though their payload may look like it.

use super::Table;
use crate::lab::bench::{drop, pass};
use crate::lab::frame::*;

pub fn fragments_judged_by_what_they_carry() -> Table {
    let configuration = r#"
        [[blocklist]]
        name = "bad"
        prefixes = ["203.0.113.0/24", "2001:db8:bad::/48"]
        match = "either"
        [[rule]]
        name = "dns"
        destination_port = 53
        action = "drop"
        [[rule]]
        name = "syn"
        tcp_flags = "syn"
        action = "drop"
        [[rule]]
        name = "echo"
        protocol = "icmp"
        icmp_type = 8
        action = "drop"
        [[rule]]
        name = "udp"
        protocol = "udp"
        source = ["10.0.0.0/8", "2001:db8:a::/48"]
        action = "drop"
        [[rule]]
        name = "options"
        protocol = 60
        action = "drop"
        [[rule]]
        name = "host"
        source = ["10.0.0.9", "2001:db8:a::9"]
        action = "drop"
    "#;
    let udp = || udp4("10.0.0.1", "192.0.2.1", 1024, 53);
    let udp_v6 = || udp6("2001:db8:a::1", "2001:db8::1", 1024, 53);
    let elsewhere = || udp4("172.16.0.1", "192.0.2.1", 1024, 53);
    let elsewhere_v6 = || udp6("2001:db8:e::1", "2001:db8::1", 1024, 53);
    let rows = vec![
        drop("whole", udp(), "rule").by("dns"),
        drop("first", udp().fragment(0, true), "rule").by("dns"),
        drop("middle: the protocol is known", udp().fragment(1, true), "rule").by("udp"),
        drop("last: the protocol is known", udp().fragment(0x1fff, false), "rule").by("udp"),
        pass("no port is read", elsewhere().fragment(100, false), "default"),
        pass("no flag", tcp4("10.0.0.1", "192.0.2.1", 1, 2).fragment(8, true), "default"),
        pass("no type", icmp4("10.0.0.1", "192.0.2.1", 8).fragment(8, true), "default"),
        drop("by address", tcp4("10.0.0.9", "192.0.2.1", 1, 2).fragment(8, true), "rule")
            .by("host"),
        drop("blocked", tcp4("203.0.113.9", "192.0.2.1", 1, 2).fragment(8, true), "blocklist")
            .by("bad"),
        drop(
            "blocked at the end",
            udp4("1.1.1.1", "203.0.113.9", 1, 2).fragment(8, true),
            "blocklist",
        )
        .by("bad"),
        pass(
            "too short for a header, which none has",
            other4("172.16.0.1", "192.0.2.1", 6).payload(&[1, 2]).fragment(8, false),
            "default",
        ),
        drop(
            "first, and too short for its ports",
            other4("172.16.0.1", "192.0.2.1", 6).payload(&[1, 2]).fragment(0, true),
            "malformed",
        ),
        pass(
            "don't-fragment alone",
            udp4("172.16.0.1", "1.1.1.1", 1, 2).patch(20, &[0x40]),
            "default",
        ),
        drop("whole, IPv6", udp_v6(), "rule").by("dns"),
        drop("first, IPv6", udp_v6().fragment(0, true), "rule").by("dns"),
        drop("the only one, IPv6", udp_v6().fragment(0, false), "rule").by("dns"),
        drop("middle, IPv6", udp_v6().fragment(1, true), "rule").by("udp"),
        drop("last, IPv6", udp_v6().fragment(0x1fff, false), "rule").by("udp"),
        pass("no port is read, IPv6", elsewhere_v6().fragment(100, false), "default"),
        pass("no flag, IPv6", tcp6("2001:db8:e::1", "::1", 1, 2).fragment(8, true), "default"),
        drop("by address, IPv6", tcp6("2001:db8:a::9", "::1", 1, 2).fragment(8, true), "rule")
            .by("host"),
        drop("blocked, IPv6", tcp6("2001:db8:bad::9", "::1", 1, 2).fragment(8, true), "blocklist")
            .by("bad"),
        pass(
            "the fragment header names an extension header: unknown",
            udp_v6().fragment(8, true).extension(Extension::DestinationOptions),
            "default",
        ),
        drop(
            "unknown, by address",
            udp6("2001:db8:a::9", "::1", 1, 2).fragment(8, true).extension(Extension::Routing),
            "rule",
        )
        .by("host"),
        drop(
            "first, extension headers on both sides",
            udp_v6()
                .extension(Extension::HopByHop)
                .fragment(0, true)
                .extension(Extension::DestinationOptions),
            "rule",
        )
        .by("dns"),
        drop(
            "middle, behind extension headers",
            udp_v6().extensions([Extension::HopByHop, Extension::Routing]).fragment(2, true),
            "rule",
        )
        .by("udp"),
    ];
    Table::new(configuration, rows).under_all_tags()
}

pub fn fragments_dropped() -> Table {
    let configuration = r#"
        [policy]
        fragments = "drop"
        [[allowlist]]
        name = "good"
        prefixes = ["198.51.100.0/24", "2001:db8:600d::/48"]
        [[blocklist]]
        name = "bad"
        prefixes = ["203.0.113.0/24", "2001:db8:bad::/48"]
        [[rule]]
        name = "dns"
        destination_port = 53
        action = "pass"
    "#;
    let udp = || udp4("10.0.0.1", "192.0.2.1", 1024, 53);
    let udp_v6 = || udp6("2001:db8:a::1", "2001:db8::1", 1024, 53);
    let bad = || udp4("203.0.113.7", "192.0.2.1", 1024, 53);
    let good = || udp4("198.51.100.7", "192.0.2.1", 1024, 53);
    let good_v6 = || udp6("2001:db8:600d::7", "::1", 1024, 53);
    let rows = vec![
        pass("whole", udp(), "rule").by("dns"),
        pass("first", udp().fragment(0, true), "rule").by("dns"),
        drop("middle", udp().fragment(1, true), "fragment"),
        drop("last", udp().fragment(185, false), "fragment"),
        drop("before the blocklists", bad().fragment(185, false), "fragment"),
        drop("first, blocked", bad().fragment(0, true), "blocklist").by("bad"),
        pass("after the allowlists", good().fragment(185, false), "allowlist").by("good"),
        pass("first, IPv6", udp_v6().fragment(0, true), "rule").by("dns"),
        pass("the only one, IPv6", udp_v6().fragment(0, false), "rule").by("dns"),
        drop("middle, IPv6", udp_v6().fragment(1, true), "fragment"),
        drop("last, IPv6", udp_v6().fragment(1, false), "fragment"),
        drop(
            "behind extension headers, IPv6",
            udp_v6().extension(Extension::HopByHop).fragment(1, false),
            "fragment",
        ),
        pass("after the allowlists, IPv6", good_v6().fragment(185, true), "allowlist").by("good"),
    ];
    Table::new(configuration, rows).under_all_tags()
}
