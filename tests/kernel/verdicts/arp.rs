//! ARP: judged by its own policy alone.

use super::Table;
use crate::lab::bench::{drop, pass};
use crate::lab::frame::*;

pub fn arp_dropped_but_for_some_senders() -> Table {
    let configuration = r#"
        [arp]
        action = "drop"
        allow = ["192.0.2.1", "192.0.2.77"]
        [[allowlist]]
        name = "all"
        prefixes = ["0.0.0.0/0"]
        catch_all = true
    "#;
    // The same bytes under another EtherType.
    let rarp = arp_request("192.0.2.1", "192.0.2.9").patch(12, &[0x80, 0x35]);
    let rows = vec![
        pass("request by an allowed sender", arp_request("192.0.2.1", "192.0.2.9"), "arp"),
        pass("reply by an allowed sender", arp_reply("192.0.2.77", "10.0.0.1"), "arp"),
        pass("padded", arp_reply("192.0.2.77", "10.0.0.1").pad(18), "arp"),
        drop("request by another", arp_request("192.0.2.2", "192.0.2.9"), "arp"),
        drop("reply by another", arp_reply("10.0.0.1", "10.0.0.2"), "arp"),
        drop("the target is not asked", arp_request("192.0.2.2", "192.0.2.1"), "arp"),
        drop("probe", arp_request("0.0.0.0", "192.0.2.1"), "arp"),
        pass("RARP is not ARP", rarp, "default"),
        pass("IP is not ARP", udp4("192.0.2.2", "192.0.2.9", 1, 2), "allowlist").by("all"),
    ];
    Table::new(configuration, rows).under_all_tags()
}

pub fn arp_passed_whatever_else_is_dropped() -> Table {
    let configuration = r#"
        [policy]
        default = "drop"
        [[blocklist]]
        name = "all"
        prefixes = ["0.0.0.0/0"]
        catch_all = true
        match = "either"
    "#;
    let rows = vec![
        pass("request", arp_request("192.0.2.1", "192.0.2.9"), "arp"),
        pass("reply", arp_reply("192.0.2.1", "192.0.2.9"), "arp"),
        drop("cut short", arp_request("192.0.2.1", "192.0.2.9").truncate(41), "malformed"),
        drop("IP", udp4("192.0.2.1", "192.0.2.9", 1, 2), "blocklist").by("all"),
    ];
    Table::new(configuration, rows).under_all_tags()
}
