//! Redirected and bounced frames, byte for byte where they arrive.

use super::Table;
use crate::lab::bench::{Row, bounce, drop, pass, redirect};
use crate::lab::frame::*;
use crate::lab::{MacAddr, Topology};

/// The addresses that rules write.
const TO: MacAddr = MacAddr(0x02, 0xaa, 0, 0, 0, 1);
const FROM: MacAddr = MacAddr(0x02, 0xbb, 0, 0, 0, 2);

/// The same packet from and to a port that a rule decides by, in both families.
fn to_port(port: u16) -> [Frame; 2] {
    [udp4("10.0.0.1", "192.0.2.1", 1024, port), udp6("2001:db8::1", "2001:db8::2", 1024, port)]
}

pub fn redirected() -> Table {
    let configuration = r#"
        [[blocklist]]
        name = "bad"
        prefixes = ["203.0.113.0/24"]
        [[rule]]
        name = "by-name"
        destination_port = 1
        action = "redirect"
        to = "out0"
        [[rule]]
        name = "by-index"
        destination_port = 2
        action = "redirect"
        to = OUT0
        [[rule]]
        name = "elsewhere"
        destination_port = 3
        action = "redirect"
        to = "out1"
        [[rule]]
        name = "both-macs"
        destination_port = 4
        action = "redirect"
        to = "out0"
        set_destination_mac = "02:aa:00:00:00:01"
        set_source_mac = "02:bb:00:00:00:02"
        [[rule]]
        name = "destination-mac"
        destination_port = 5
        action = "redirect"
        to = OUT1
        set_destination_mac = "02:aa:00:00:00:01"
        [[rule]]
        name = "source-mac"
        destination_port = 6
        action = "redirect"
        to = "out0"
        set_source_mac = "02:bb:00:00:00:02"
        [[rule]]
        name = "fragments"
        source = ["10.9.0.0/16", "2001:db8:9::/48"]
        action = "redirect"
        to = "out0"
    "#;
    let mut rows = Vec::new();
    for frame in to_port(1) {
        rows.push(redirect("by name", frame, "by-name"));
    }
    for frame in to_port(2) {
        rows.push(redirect("by index", frame, "by-index"));
    }
    for frame in to_port(3) {
        rows.push(redirect("another way", frame.clone(), "elsewhere").arrives("dst1", frame));
    }
    for frame in to_port(4) {
        let rewritten = frame.clone().destination_mac(TO).source_mac(FROM);
        rows.push(redirect("both MACs", frame, "both-macs").arrives("dst0", rewritten));
    }
    for frame in to_port(5) {
        let rewritten = frame.clone().destination_mac(TO);
        rows.push(redirect("destination MAC", frame, "destination-mac").arrives("dst1", rewritten));
    }
    for frame in to_port(6) {
        let rewritten = frame.clone().source_mac(FROM);
        rows.push(redirect("source MAC", frame, "source-mac").arrives("dst0", rewritten));
    }
    let [frame, frame_v6] = to_port(1);
    rows.extend([
        redirect("padded", frame.clone().payload(b"").pad(18), "by-name"),
        redirect("of full length", frame.clone().length(1500), "by-name"),
        redirect("with options", frame.options(&[1; 16]), "by-name"),
        redirect(
            "behind extension headers",
            frame_v6.extensions(vec![Extension::DestinationOptions; 8]),
            "by-name",
        ),
        redirect(
            "a later fragment",
            udp4("10.9.0.1", "192.0.2.1", 7, 7).fragment(9, true),
            "fragments",
        ),
        redirect(
            "a later fragment, IPv6",
            udp6("2001:db8:9::1", "::1", 7, 7).fragment(9, false),
            "fragments",
        ),
        redirect("no ports", other4("10.9.0.1", "192.0.2.1", 47), "fragments"),
        drop("blocked before", udp4("203.0.113.7", "192.0.2.1", 1, 1), "blocklist").by("bad"),
    ]);
    for frame in to_port(7) {
        rows.push(pass("no rule", frame, "default"));
    }
    Table::new(configuration, rows).under_all_tags().forwards(Topology::two_outputs())
}

pub fn bounced() -> Table {
    let configuration = r#"
        [[rule]]
        name = "plain"
        destination_port = 1
        action = "bounce"
        [[rule]]
        name = "both-macs"
        destination_port = 2
        action = "bounce"
        set_destination_mac = "02:aa:00:00:00:01"
        set_source_mac = "02:bb:00:00:00:02"
        [[rule]]
        name = "destination-mac"
        destination_port = 3
        action = "bounce"
        set_destination_mac = "02:aa:00:00:00:01"
        [[rule]]
        name = "source-mac"
        destination_port = 4
        action = "bounce"
        set_source_mac = "02:bb:00:00:00:02"
        [[rule]]
        name = "vlan"
        vlan = 77
        action = "bounce"
        [[rule]]
        name = "sent-on"
        vlan = 78
        action = "redirect"
        to = "out0"
    "#;
    let mut rows = Vec::new();
    for frame in to_port(1) {
        rows.push(bounce("plain", frame.clone(), "plain"));
        rows.push(bounce("of full length", frame.length(1500), "plain"));
    }
    for frame in to_port(2) {
        let rewritten = frame.clone().destination_mac(TO).source_mac(FROM);
        rows.push(bounce("both MACs", frame, "both-macs").arrives("src0", rewritten));
    }
    for frame in to_port(3) {
        let rewritten = frame.clone().destination_mac(TO);
        rows.push(bounce("destination MAC", frame, "destination-mac").arrives("src0", rewritten));
    }
    for frame in to_port(4) {
        let rewritten = frame.clone().source_mac(FROM);
        rows.push(bounce("source MAC", frame, "source-mac").arrives("src0", rewritten));
    }
    for frame in to_port(5) {
        rows.push(pass("no rule", frame, "default"));
    }
    let lldp = || ethernet(0x88cc, &[7; 46]);
    let mut table = Table::new(configuration, rows).under_all_tags().forwards(Topology::standard());
    table.rows.extend([
        bounce("not IP", lldp().vlan(77), "vlan"),
        bounce("not IP, two tags", lldp().qinq(77, 1), "vlan"),
        redirect("not IP, sent on", lldp().vlan(78), "sent-on"),
        redirect("not IP, two tags, sent on", lldp().qinq(78, 77), "sent-on"),
    ]);
    table
}

pub fn jumbo_frames() -> Table {
    const MTU: u16 = 9000;
    let configuration = r#"
        [[rule]]
        name = "on"
        destination_port = 1
        action = "redirect"
        to = "out0"
        set_destination_mac = "02:aa:00:00:00:01"
        [[rule]]
        name = "back"
        destination_port = 2
        action = "bounce"
        set_destination_mac = "02:aa:00:00:00:01"
        [[rule]]
        name = "gone"
        destination_port = 3
        action = "drop"
    "#;
    let mut rows: Vec<Row> = Vec::new();
    // Below and above a page, with what a driver needs beside the packet; and the longest.
    for length in [3400, 4096, 6000, usize::from(MTU) + 14] {
        for frame in to_port(1).map(|frame| frame.length(length)) {
            let rewritten = frame.clone().destination_mac(TO);
            let name = format!("{length} bytes sent on");
            rows.push(redirect(&name, frame, "on").arrives("dst0", rewritten));
        }
        for frame in to_port(2).map(|frame| frame.length(length)) {
            let rewritten = frame.clone().destination_mac(TO);
            let name = format!("{length} bytes sent back");
            rows.push(bounce(&name, frame, "back").arrives("src0", rewritten));
        }
        for frame in to_port(3).map(|frame| frame.length(length)) {
            rows.push(drop(&format!("{length} bytes dropped"), frame, "rule").by("gone"));
        }
        for frame in to_port(4).map(|frame| frame.length(length)) {
            rows.push(pass(&format!("{length} bytes passed"), frame, "default"));
        }
    }
    // Ports that lie beyond the driver's first buffer, which is less than a page: 2, 3 and 4 options
    // headers of 2,048 bytes.
    for headers in 2..=4 {
        let long = Extension::Long { number: 60, units: 255 };
        let deep = |port| {
            let chain = std::iter::repeat_n(long.clone(), headers);
            udp6("2001:db8::1", "2001:db8::2", 9, port).extensions(chain).length(8800)
        };
        let name = format!("ports behind {headers} long headers");
        rows.push(drop(&name, deep(3), "rule").by("gone"));
        rows.push(pass(&name, deep(4), "default"));
        let rewritten = deep(2).destination_mac(TO);
        rows.push(bounce(&name, deep(2), "back").arrives("src0", rewritten));
        // The same, with half of the ports by the length that it gives.
        let cut = deep(4).total_length(2048 * headers as u16 + 2);
        rows.push(drop(&format!("{name}, cut short"), cut, "malformed"));
    }
    Table::new(configuration, rows).forwards(Topology::standard().mtu(MTU))
}
