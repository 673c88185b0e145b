//! Packets in PPPoE sessions and under MPLS labels: judged like the same packets without.

use super::Table;
use crate::lab::bench::{Row, drop, pass};
use crate::lab::frame::*;

/// Where PPPoE's header begins in an untagged frame, and where MPLS's first label does.
const CARRIER: usize = 14;
const PPPOE_LENGTH: usize = CARRIER + 4;

const CONFIGURATION: &str = r#"
    [policy]
    fragments = "drop"
    [[allowlist]]
    name = "good"
    prefixes = ["203.0.113.9", "2001:db8:bad::9"]
    [[blocklist]]
    name = "bad"
    prefixes = ["203.0.113.0/24", "2001:db8:bad::/48"]
    [[rule]]
    name = "dns"
    protocol = "udp"
    destination_port = 53
    action = "drop"
"#;

fn udp() -> Frame {
    udp4("198.51.100.7", "192.0.2.1", 1024, 7)
}

fn udp_v6() -> Frame {
    udp6("2001:db8:1::7", "2001:db8::1", 1024, 7)
}

fn bad() -> Frame {
    udp4("203.0.113.7", "192.0.2.1", 1024, 7)
}

fn bad_v6() -> Frame {
    udp6("2001:db8:bad::7", "2001:db8::1", 1024, 7)
}

type Carry = fn(Frame) -> Frame;

/// Every encapsulation that the program reads through, with one packet of each kind in it.
pub fn read_through() -> Table {
    let carriers: [(&str, Carry); 10] = [
        ("a PPPoE session", |frame| frame.pppoe()),
        ("a label", |frame| frame.mpls(&[16])),
        ("three labels", |frame| frame.mpls(&[16, 17, 0x45000])),
        ("eight labels", |frame| frame.mpls(&[16, 17, 18, 19, 20, 21, 22, 0xf_ffff])),
        ("IPv4's explicit null label", |frame| frame.mpls(&[0])),
        ("IPv6's explicit null label", |frame| frame.mpls(&[2])),
        ("a label and explicit null", |frame| frame.mpls(&[16, 0])),
        ("a multicast label", |frame| frame.mpls(&[16]).patch(CARRIER - 2, &[0x88, 0x48])),
        ("labels in a PPPoE session", |frame| frame.pppoe().mpls(&[16, 17])),
        ("multicast labels in a PPPoE session", |frame| {
            frame.pppoe_protocol(&[0x02, 0x83]).mpls(&[16])
        }),
    ];
    let mut rows = Vec::new();
    for (name, carry) in carriers {
        let in_it = |what: &str| format!("{what} in {name}");
        let tcp = tcp4("203.0.113.7", "192.0.2.1", 1, 2);
        rows.extend([
            drop(&in_it("a blocked source"), carry(bad()), "blocklist").by("bad"),
            drop(&in_it("a blocked source, IPv6"), carry(bad_v6()), "blocklist").by("bad"),
            drop(&in_it("a blocked source, TCP"), carry(tcp), "blocklist").by("bad"),
            pass(
                &in_it("an allowed source"),
                carry(udp4("203.0.113.9", "192.0.2.1", 1, 53)),
                "allowlist",
            )
            .by("good"),
            drop(
                &in_it("what a rule names"),
                carry(udp4("198.51.100.7", "192.0.2.1", 1, 53)),
                "rule",
            )
            .by("dns"),
            drop(
                &in_it("what a rule names, behind extension headers"),
                carry(
                    udp6("2001:db8:1::7", "2001:db8::1", 1, 53)
                        .extension(Extension::HopByHop)
                        .extension(Extension::DestinationOptions),
                ),
                "rule",
            )
            .by("dns"),
            drop(&in_it("a later fragment"), carry(udp().fragment(1, false)), "fragment"),
            drop(&in_it("what is malformed"), carry(udp().ihl(4)), "malformed"),
            pass(&in_it("the rest"), carry(udp()), "default"),
            pass(&in_it("the rest, IPv6"), carry(udp_v6()), "default"),
        ]);
    }
    let mut table = Table::new(CONFIGURATION, rows).under_all_tags();
    table.rows.extend(compressed());
    table
}

/// PPP's protocol field in one byte: PPPoE forbids it, and Linux takes it.
fn compressed() -> Vec<Row> {
    vec![
        drop("compressed to one byte", bad().pppoe_protocol(&[0x21]), "blocklist").by("bad"),
        drop("compressed, IPv6", bad_v6().pppoe_protocol(&[0x57]), "blocklist").by("bad"),
        pass("compressed, not blocked", udp().pppoe_protocol(&[0x21]), "default"),
    ]
}

/// Other protocols in PPP and under labels are not IP.
pub fn not_ip_inside() -> Table {
    let other = |protocol: [u8; 2]| ethernet(0, &[0x45; 40]).pppoe_protocol(&protocol);
    let labelled = |payload: &[u8]| ethernet(0, payload).mpls(&[16]);
    let configuration = format!(
        "[policy]\ndefault = \"drop\"\n{}",
        r#"
        [[rule]]
        name = "ip"
        source = ["0.0.0.0/0", "::/0"]
        action = "pass"
    "#
    );
    let mut rows = Vec::new();
    for (name, protocol) in [
        ("LCP", [0xc0, 0x21]),
        ("IPCP", [0x80, 0x21]),
        ("CHAP", [0xc2, 0x23]),
        ("Van Jacobson's TCP", [0x00, 0x2d]),
        ("multilink", [0x00, 0x3d]),
        ("compressed", [0x00, 0xfd]),
        ("HDLC's address and control", [0xff, 0x03]),
    ] {
        rows.push(drop(name, other(protocol), "default"));
    }
    rows.extend([
        drop("PPPoE discovery", ethernet(0x8863, &[0x11, 9, 0, 0, 0, 0]), "default"),
        drop("a pseudowire's control word", labelled(&[0; 40]), "default"),
        drop("version 5 under a label", labelled(&[0x55; 40]), "default"),
        pass("IPv4 under a label", udp().mpls(&[16]), "rule").by("ip"),
        pass("IPv6 in a session", udp_v6().pppoe(), "rule").by("ip"),
    ]);
    Table::new(&configuration, rows).under_all_tags()
}

pub fn malformed_carriers() -> Table {
    let labels = |number: usize| udp().mpls(&vec![16; number]);
    let claiming = |length: u16| udp().pppoe().patch(PPPOE_LENGTH, &length.to_be_bytes());
    let rows = vec![
        drop("a ninth label", labels(9), "malformed"),
        drop("twenty labels", labels(20), "malformed"),
        drop("a ninth label in a session", udp().pppoe().mpls(&[16; 9]), "malformed"),
        drop("a stack without a bottom", labels(8).truncate(CARRIER + 28), "malformed"),
        drop("cut in a label", labels(1).truncate(CARRIER + 3), "malformed"),
        drop("no label", labels(1).truncate(CARRIER), "malformed"),
        drop("nothing under the labels", labels(3).truncate(CARRIER + 12), "malformed"),
        drop("IPv4 cut under a label", labels(1).truncate(CARRIER + 4 + 19), "malformed"),
        drop("PPPoE's version", udp().pppoe().patch(CARRIER, &[0x21]), "malformed"),
        drop("PPPoE's type", udp().pppoe().patch(CARRIER, &[0x12]), "malformed"),
        drop("a code of discovery", udp().pppoe().patch(CARRIER + 1, &[0x09]), "malformed"),
        drop("cut in PPPoE", udp().pppoe().truncate(CARRIER + 5), "malformed"),
        drop("no length", claiming(0), "malformed"),
        drop("half a protocol field", claiming(1), "malformed"),
        drop("a length beyond the frame", claiming(500), "malformed"),
        // 2 of PPP, 20 of IPv4, 8 of UDP and 10 of payload are 40.
        drop("IPv4 beyond PPPoE's length", claiming(39), "malformed"),
        drop(
            "IPv6 beyond PPPoE's length",
            udp_v6().pppoe().patch(PPPOE_LENGTH, &59_u16.to_be_bytes()),
            "malformed",
        ),
        drop("IPv4 as IPv6", udp().payload(&[0; 40]).pppoe_protocol(&[0, 0x57]), "malformed"),
        drop("IPv6 as IPv4", udp_v6().pppoe_protocol(&[0, 0x21]), "malformed"),
        // At the edge, and well-formed.
        pass("padding behind PPPoE", udp().pppoe().pad(30), "default"),
        pass("padding behind labels", labels(8).pad(30), "default"),
        pass("IPv4 in a longer session packet", claiming(50).pad(20), "default"),
    ];
    Table::new(CONFIGURATION, rows)
}
