//! Allowlists and blocklists: which one is asked, which side, and which entry decides.

use super::Table;
use crate::lab::bench::{drop, pass};
use crate::lab::frame::*;

pub fn allowlist_over_blocklist() -> Table {
    let configuration = r#"
        [policy]
        fragments = "drop"
        [[blocklist]]
        name = "bad"
        prefixes = ["198.51.0.0/16", "198.51.100.9", "2001:db8::/32", "2001:db8:1::9"]
        [[allowlist]]
        name = "office"
        prefixes = ["198.51.100.0/24", "2001:db8:1::/48"]
        [[rule]]
        name = "nobody"
        source = ["198.51.100.0/24", "2001:db8:1::/48"]
        action = "drop"
    "#;
    let office4 = || udp4("198.51.100.5", "192.0.2.1", 1024, 53);
    let office6 = || udp6("2001:db8:1::5", "2001:db9::1", 1024, 53);
    let rows = vec![
        pass("allowed, and blocked by a shorter prefix", office4(), "allowlist").by("office"),
        pass("allowed, IPv6", office6(), "allowlist").by("office"),
        pass(
            "allowed, and blocked by a longer prefix",
            tcp4("198.51.100.9", "192.0.2.1", 1, 2),
            "allowlist",
        )
        .by("office"),
        pass(
            "allowed, and blocked by a longer prefix, IPv6",
            tcp6("2001:db8:1::9", "2001:db9::1", 1, 2),
            "allowlist",
        )
        .by("office"),
        pass("a fragment of an allowed source", office4().fragment(10, false), "allowlist")
            .by("office"),
        pass("a fragment of an allowed source, IPv6", office6().fragment(10, true), "allowlist")
            .by("office"),
        drop("only blocked", udp4("198.51.101.5", "192.0.2.1", 1, 2), "blocklist").by("bad"),
        drop("only blocked, IPv6", udp6("2001:db8:2::5", "2001:db9::1", 1, 2), "blocklist")
            .by("bad"),
        drop("to the office", udp4("198.51.101.5", "198.51.100.5", 1, 2), "blocklist").by("bad"),
        pass("neither", udp4("10.0.0.1", "198.51.100.5", 1, 2), "default"),
        pass("neither, IPv6", udp6("2001:db9::1", "2001:db8:1::5", 1, 2), "default"),
        drop(
            "malformed comes before",
            udp4("198.51.100.5", "192.0.2.1", 1, 2).version(5),
            "malformed",
        ),
    ];
    Table::new(configuration, rows).under_all_tags()
}

pub fn blocklist_sides() -> Table {
    let configuration = r#"
        [[blocklist]]
        name = "from"
        prefixes = ["203.0.113.0/24", "2001:db8:a::/48"]
        [[blocklist]]
        name = "to"
        prefixes = ["192.0.2.0/25", "2001:db8:b::/48"]
        match = "destination"
        [[blocklist]]
        name = "either"
        prefixes = ["100.64.0.0/10", "2001:db8:c::/48"]
        match = "either"
    "#;
    let rows = vec![
        drop("source", udp4("203.0.113.255", "10.0.0.1", 1, 2), "blocklist").by("from"),
        pass("just below the prefix", udp4("203.0.112.255", "10.0.0.1", 1, 2), "default"),
        pass("just above the prefix", udp4("203.0.114.0", "10.0.0.1", 1, 2), "default"),
        pass("a source as destination", udp4("10.0.0.1", "203.0.113.7", 1, 2), "default"),
        drop("destination", tcp4("10.0.0.1", "192.0.2.127", 1, 2), "blocklist").by("to"),
        pass("beyond an odd prefix", tcp4("10.0.0.1", "192.0.2.128", 1, 2), "default"),
        pass("a destination as source", tcp4("192.0.2.1", "10.0.0.1", 1, 2), "default"),
        drop("either, as source", icmp4("100.64.0.1", "10.0.0.1", 8), "blocklist").by("either"),
        drop("either, as destination", icmp4("10.0.0.1", "100.127.255.255", 8), "blocklist")
            .by("either"),
        drop("either, as both", icmp4("100.64.0.1", "100.64.0.2", 8), "blocklist").by("either"),
        drop("source, IPv6", udp6("2001:db8:a::1", "2001:db8::1", 1, 2), "blocklist").by("from"),
        pass("a source as destination, IPv6", udp6("::1", "2001:db8:a::1", 1, 2), "default"),
        drop("destination, IPv6", tcp6("2001:db8::1", "2001:db8:b:ffff::1", 1, 2), "blocklist")
            .by("to"),
        pass("a destination as source, IPv6", tcp6("2001:db8:b::1", "::1", 1, 2), "default"),
        drop("either, as source, IPv6", icmp6("2001:db8:c::", "::1", 128), "blocklist")
            .by("either"),
        drop("either, as destination, IPv6", icmp6("::1", "2001:db8:c::1", 128), "blocklist")
            .by("either"),
        drop("any protocol", other4("203.0.113.7", "10.0.0.1", 47), "blocklist").by("from"),
        drop("any protocol, IPv6", other6("2001:db8:a::1", "::1", 59), "blocklist").by("from"),
        drop(
            "behind extension headers",
            udp6("2001:db8:a::1", "::1", 1, 2).extensions([Extension::HopByHop, Extension::Hip]),
            "blocklist",
        )
        .by("from"),
        drop(
            "under IPv4 options",
            udp4("203.0.113.7", "10.0.0.1", 1, 2).options(&[1; 40]),
            "blocklist",
        )
        .by("from"),
        pass("IPv4-mapped is IPv6", udp6("::ffff:203.0.113.7", "::1", 1, 2), "default"),
        pass("not IP", ethernet(0x88cc, &[203, 0, 113, 7]), "default"),
    ];
    Table::new(configuration, rows).under_all_tags()
}

pub fn blocklist_entry_that_decides() -> Table {
    let configuration = r#"
        [[blocklist]]
        name = "count-host"
        action = "count"
        prefixes = ["203.0.113.7", "2001:db8:bad::7"]
        [[blocklist]]
        name = "drop-short"
        prefixes = ["203.0.0.0/16", "2001:db8:bad::/48"]
        [[blocklist]]
        name = "drop-long"
        prefixes = ["203.0.113.0/24", "2001:db8:bad::/64"]
        [[blocklist]]
        name = "same-first"
        prefixes = ["192.0.2.0/24"]
        match = "either"
        [[blocklist]]
        name = "same-second"
        prefixes = ["192.0.2.0/24"]
        match = "either"
        [[blocklist]]
        name = "count-short"
        action = "count"
        prefixes = ["10.0.0.0/8", "2001:db8:10::/48"]
        match = "either"
        [[blocklist]]
        name = "count-long"
        action = "count"
        prefixes = ["10.1.0.0/16", "2001:db8:10:1::/64"]
        match = "either"
        [[blocklist]]
        name = "to-first"
        prefixes = ["198.18.0.0/24"]
        match = "destination"
        [[blocklist]]
        name = "from-second"
        prefixes = ["198.19.0.0/24", "198.19.1.0/25"]
        [[rule]]
        name = "no-telnet"
        destination_port = 23
        action = "drop"
    "#;
    let rows = vec![
        drop("a drop beats a longer count", udp4("203.0.113.7", "8.8.8.8", 1, 2), "blocklist")
            .by("drop-long"),
        drop(
            "a drop beats a longer count, IPv6",
            udp6("2001:db8:bad::7", "::1", 1, 2),
            "blocklist",
        )
        .by("drop-long"),
        drop("the longer prefix", udp4("203.0.113.8", "8.8.8.8", 1, 2), "blocklist")
            .by("drop-long"),
        drop("only the shorter one", udp4("203.0.112.8", "8.8.8.8", 1, 2), "blocklist")
            .by("drop-short"),
        drop("only the shorter one, IPv6", udp6("2001:db8:bad:1::", "::1", 1, 2), "blocklist")
            .by("drop-short"),
        drop("the same prefix twice", udp4("192.0.2.5", "8.8.8.8", 1, 2), "blocklist")
            .by("same-first"),
        drop("the same, as destination", udp4("8.8.8.8", "192.0.2.5", 1, 2), "blocklist")
            .by("same-first"),
        pass("counted and passed", udp4("10.2.0.1", "8.8.8.8", 1, 2), "default").by("count-short"),
        pass("counted once, by the longer", udp4("10.1.0.1", "10.2.0.1", 1, 2), "default")
            .by("count-long"),
        pass("the longer as destination", udp4("10.2.0.1", "10.1.0.1", 1, 2), "default")
            .by("count-long"),
        pass("counted, IPv6", udp6("2001:db8:10:1::1", "2001:db8:10::1", 1, 2), "default")
            .by("count-long"),
        drop("counted, then dropped by a rule", tcp4("10.2.0.1", "8.8.8.8", 1, 23), "rule")
            .by("count-short")
            .by("no-telnet"),
        drop("a drop on the other side", udp4("10.1.0.1", "198.18.0.9", 1, 2), "blocklist")
            .by("to-first"),
        drop("equally long: the first list", udp4("198.19.0.1", "198.18.0.1", 1, 2), "blocklist")
            .by("to-first"),
        drop("longer on the source", udp4("198.19.1.1", "198.18.0.1", 1, 2), "blocklist")
            .by("from-second"),
    ];
    Table::new(configuration, rows).under_all_tags()
}

pub fn list_files() -> Table {
    let configuration = r#"
        [[blocklist]]
        name = "netset"
        files = ["bad.netset"]
        [[blocklist]]
        name = "spamhaus"
        files = ["drop.txt", "drop.json"]
    "#;
    let rows = vec![
        drop("an address", udp4("203.0.113.7", "10.0.0.1", 1, 2), "blocklist").by("netset"),
        pass("beside the address", udp4("203.0.113.8", "10.0.0.1", 1, 2), "default"),
        drop("a prefix", udp4("198.51.100.255", "10.0.0.1", 1, 2), "blocklist").by("netset"),
        pass("below the range", udp4("192.0.2.9", "10.0.0.1", 1, 2), "default"),
        drop("the range's first", udp4("192.0.2.10", "10.0.0.1", 1, 2), "blocklist").by("netset"),
        drop("the range's last", udp4("192.0.2.21", "10.0.0.1", 1, 2), "blocklist").by("netset"),
        pass("above the range", udp4("192.0.2.22", "10.0.0.1", 1, 2), "default"),
        drop("IPv6", udp6("2001:db8:bad::1", "::1", 1, 2), "blocklist").by("netset"),
        drop("DROP in text", udp4("100.64.3.4", "10.0.0.1", 1, 2), "blocklist").by("spamhaus"),
        drop("DROP in JSON", udp6("2001:db8:dead::1", "::1", 1, 2), "blocklist").by("spamhaus"),
    ];
    Table::new(configuration, rows)
        .file(
            "bad.netset",
            "# a FireHOL set\r\n203.0.113.7\r\n\r\n198.51.100.0/24 \n192.0.2.10-192.0.2.21\n\
             2001:db8:bad::/48\n203.0.113.7\n",
        )
        .file("drop.txt", "; Spamhaus DROP List\n100.64.0.0/16 ; SBL1\n")
        .file(
            "drop.json",
            "{\"cidr\":\"2001:db8:dead::/48\",\"sblid\":\"SBL2\",\"rir\":\"ripencc\"}\n\
             {\"type\":\"metadata\",\"timestamp\":1700000000,\"size\":1,\"records\":1}\n",
        )
}

pub fn whole_families() -> Table {
    let configuration = r#"
        [[allowlist]]
        name = "one"
        prefixes = ["192.0.2.1/32", "2001:db8::1/128"]
        [[blocklist]]
        name = "rest"
        prefixes = ["0.0.0.0/0", "::/0"]
        catch_all = true
    "#;
    let rows = vec![
        pass("the one", udp4("192.0.2.1", "10.0.0.1", 1, 2), "allowlist").by("one"),
        pass("the one, IPv6", udp6("2001:db8::1", "::1", 1, 2), "allowlist").by("one"),
        drop("zero", udp4("0.0.0.0", "10.0.0.1", 1, 2), "blocklist").by("rest"),
        drop("all ones", udp4("255.255.255.255", "10.0.0.1", 1, 2), "blocklist").by("rest"),
        drop("zero, IPv6", udp6("::", "::1", 1, 2), "blocklist").by("rest"),
        drop("last, IPv6", udp6("ffff:ffff::ffff", "::1", 1, 2), "blocklist").by("rest"),
        pass("not IP", ethernet(0x0801, &[0; 46]), "default"),
    ];
    Table::new(configuration, rows).under_all_tags()
}
