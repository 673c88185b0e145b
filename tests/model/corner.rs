//! Single cases, each with the sentence of the contract that it tests. They also test the model,
//! which could be wrong in the same way as the product.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::config::{
    Action, Config, List, ListAction, Prefix, Protocol, Rule, Side, Verdict, Vlan,
};
use super::frames::udp;
use super::judge::judge;
use super::product::Product;

const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const DESTINATION: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);

/// Both opinions must be this one; `counted` are the names, joined by `+`.
pub fn expect(sentence: &str, config: &Config, frame: &[u8], expected: (&str, &str, &str)) {
    let product = Product::load(config).unwrap_or_else(|error| panic!("{sentence}: {error}"));
    for (who, opinion) in [("model", judge(config, frame)), ("product", product.judge(frame))] {
        let names: Vec<&str> = opinion.counted.iter().map(|(_, name)| name.as_str()).collect();
        let found = (opinion.verdict, opinion.reason, &*names.join("+"));
        assert_eq!(found, expected, "{who}: {sentence}");
    }
}

fn ethernet(tags: &[u16], ether_type: u16, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    for tag in tags {
        frame.extend([0x81, 0]);
        frame.extend(tag.to_be_bytes());
    }
    frame.extend(ether_type.to_be_bytes());
    frame.extend(body);
    frame
}

fn ipv4(protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend((20 + payload.len() as u16).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(SOURCE.octets());
    packet.extend(DESTINATION.octets());
    packet.extend(payload);
    ethernet(&[], 0x0800, &packet)
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    packet.extend([0x20; 32]);
    packet.extend(payload);
    ethernet(&[], 0x86dd, &packet)
}

/// An ARP request of `10.0.0.1`.
fn arp(ether_type: u16) -> Vec<u8> {
    let body = [
        &[0, 1, 8, 0, 6, 4, 0, 1, 2, 2, 2, 2, 2, 2][..],
        &SOURCE.octets(),
        &[0, 0, 0, 0, 0, 0, 192, 0, 2, 53],
    ];
    ethernet(&[], ether_type, &body.concat())
}

/// Ports 53 and 53.
const PORTS: [u8; 4] = [0, 53, 0, 53];

fn list(name: &str, prefix: (impl Into<IpAddr>, u8)) -> List {
    let prefixes = vec![Prefix::new(prefix.0.into(), prefix.1)];
    List { name: name.into(), prefixes, ..List::default() }
}

fn counting(name: &str, prefix: (impl Into<IpAddr>, u8)) -> List {
    List { action: Some(ListAction::Count), ..list(name, prefix) }
}

/// A rule that drops, with what `conditions` gives it.
fn rule(name: &str, conditions: impl FnOnce(&mut Rule)) -> Rule {
    let mut rule = Rule::new(name, Action::Drop);
    conditions(&mut rule);
    rule
}

fn rules(rules: impl Into<Vec<Rule>>) -> Config {
    Config { rules: rules.into(), ..Config::default() }
}

fn blocklists(blocklists: impl Into<Vec<List>>) -> Config {
    Config { blocklists: blocklists.into(), ..Config::default() }
}

const DEFAULT: (&str, &str, &str) = ("pass", "default", "");
const MALFORMED: (&str, &str, &str) = ("drop", "malformed", "");

#[test]
fn which_list_decides() {
    let frame = udp(SOURCE.into(), DESTINATION.into());
    let config = blocklists([counting("host", (SOURCE, 32)), list("net", (SOURCE, 8))]);
    let dropped_by = |name| ("drop", "blocklist", name);
    expect("a dropping one before a counting one", &config, &frame, dropped_by("net"));

    let config = blocklists([list("net", (SOURCE, 8)), list("host", (SOURCE, 32))]);
    expect("then the longest prefix", &config, &frame, dropped_by("host"));

    let config = blocklists([list("first", (SOURCE, 24)), list("second", (SOURCE, 24))]);
    expect("then the list that comes first in the file", &config, &frame, dropped_by("first"));

    let mut by_destination = list("destination", (DESTINATION, 32));
    by_destination.side = Some(Side::Destination);
    let config = blocklists([list("source", (SOURCE, 24)), by_destination]);
    expect("of all the entries, on either side", &config, &frame, dropped_by("destination"));

    let mut config = blocklists([counting("trial", (SOURCE, 24))]);
    expect("counted, and judgement goes on", &config, &frame, ("pass", "default", "trial"));
    config.rules.push(rule("all", |_| {}));
    expect("counted, and judgement goes on", &config, &frame, ("drop", "rule", "trial+all"));

    let mapped = blocklists([list("mapped", (SOURCE.to_ipv6_mapped(), 128))]);
    expect("IPv4-mapped IPv6 addresses are IPv6", &mapped, &frame, DEFAULT);
    let from_mapped = udp(SOURCE.to_ipv6_mapped().into(), Ipv6Addr::LOCALHOST.into());
    let v4 = blocklists([list("v4", (SOURCE, 0))]);
    expect("IPv4-mapped IPv6 addresses are IPv6", &v4, &from_mapped, DEFAULT);
}

#[test]
fn the_order_of_judgement() {
    let whole = udp(SOURCE.into(), DESTINATION.into());
    let mut config = blocklists([list("block", (SOURCE, 32))]);
    config.malformed = Some(Verdict::Pass);
    let final_pass = ("pass", "malformed", "");
    expect("malformed (final by its policy)", &config, &whole[..30], final_pass);

    config.allowlists.push(list("allow", (SOURCE, 8)));
    config.fragments = Some(Verdict::Drop);
    let later = ipv4(17, 2, &[]);
    let allowed = ("pass", "allowlist", "allow");
    expect("allowlists; fragments; blocklists", &config, &later, allowed);
    config.allowlists.clear();
    expect("allowlists; fragments; blocklists", &config, &later, ("drop", "fragment", ""));
    expect(
        "non-first IP fragments",
        &config,
        &ipv4(17, 0x2000, &PORTS),
        ("drop", "blocklist", "block"),
    );

    config.rules.push(rule("all", |_| {}));
    config.arp = Some(Verdict::Pass);
    expect("judged by [arp] alone", &config, &arp(0x0806), ("pass", "arp", ""));
    expect("RARP is not ARP", &config, &arp(0x8035), ("drop", "rule", "all"));
    config.arp = Some(Verdict::Drop);
    expect("judged by [arp] alone", &config, &arp(0x0806), ("drop", "arp", ""));
    config.arp_allow.push(SOURCE);
    expect(
        "sender protocol addresses still let through",
        &config,
        &arp(0x0806),
        ("pass", "arp", ""),
    );
}

#[test]
fn fragments_and_rules() {
    let by = |conditions: fn(&mut Rule)| rules([rule("r", conditions)]);
    let matched = ("drop", "rule", "r");
    let later = ipv4(17, 2, &PORTS);
    let by_port = by(|rule| rule.destination_port.push((0, 65535)));
    expect("rules that name no port, flag or ICMP type", &by_port, &later, DEFAULT);
    let by_protocol = by(|rule| rule.protocol = Some(Protocol::Udp));
    expect("its protocol is the one that the IP header names", &by_protocol, &later, matched);
    let ah = by(|rule| rule.protocol = Some(Protocol::Number(51)));
    expect("in IPv4, AH is protocol 51", &ah, &ipv4(51, 2, &[]), matched);
    expect("in IPv4, AH is protocol 51", &ah, &ipv4(51, 0, &[]), matched);

    let fragment = |next: u8| ipv6(44, &[next, 0, 0, 8, 0, 0, 0, 0]);
    expect("or fragment header names", &by_protocol, &fragment(17), matched);
    expect("if that is an extension header, it is unknown", &ah, &fragment(51), DEFAULT);
    let any = by(|_| {});
    expect("if that is an extension header, it is unknown", &any, &fragment(51), matched);
}

#[test]
fn what_rules_match() {
    let by = |conditions: fn(&mut Rule)| rules([rule("r", conditions)]);
    let matched = ("drop", "rule", "r");
    let vlan = by(|rule| rule.vlan = Some(Vlan::Ids(vec![100])));
    let not_ip = ethernet(&[100], 0x88cc, &[]);
    expect("names only a VLAN also matches frames that are not IP", &vlan, &not_ip, matched);
    expect("vlan is the outer tag's", &vlan, &ethernet(&[100, 7], 0x88cc, &[]), matched);
    expect("vlan is the outer tag's", &vlan, &ethernet(&[7, 100], 0x88cc, &[]), DEFAULT);
    expect("an id has 12 bits", &vlan, &ethernet(&[0xf064], 0x88cc, &[]), matched);
    let untagged = by(|rule| rule.vlan = Some(Vlan::Untagged));
    expect("a priority tag is a tag", &untagged, &ethernet(&[0], 0x88cc, &[]), DEFAULT);
    expect("\"none\" (untagged)", &untagged, &ethernet(&[], 0x88cc, &[]), matched);

    let port_0 = by(|rule| rule.source_port.push((0, 0)));
    for protocol in [17, 132] {
        let frame = ipv4(protocol, 0, &[0, 0, 0, 1]);
        expect("port 0 is a port; ports mean tcp, udp or sctp", &port_0, &frame, matched);
    }
    expect("ports mean tcp, udp or sctp", &port_0, &ipv4(136, 0, &[0; 8]), DEFAULT);
    expect("ports mean tcp, udp or sctp", &port_0, &ipv4(1, 0, &[0; 8]), DEFAULT);

    let icmp = by(|rule| rule.protocol = Some(Protocol::Icmp));
    let icmpv6 = by(|rule| rule.protocol = Some(Protocol::Icmpv6));
    expect("icmp (IPv4)", &icmp, &ipv4(1, 0, &[8]), matched);
    expect("icmp (IPv4)", &icmp, &ipv6(1, &[8]), DEFAULT);
    expect("icmpv6 (IPv6)", &icmpv6, &ipv6(58, &[128]), matched);
    expect("icmpv6 (IPv6)", &icmpv6, &ipv4(58, 0, &[128]), DEFAULT);
}

#[test]
fn what_is_malformed() {
    let config = Config::default();
    let first = |frame: Vec<u8>, keep: usize| frame[..keep].to_vec();
    expect("a frame under 14 bytes is malformed", &config, &[2; 13], MALFORMED);
    expect("not IP, and nothing cut", &config, &ethernet(&[], 0x88cc, &[]), DEFAULT);
    expect("a third tag", &config, &ethernet(&[1, 2, 3], 0x88cc, &[]), MALFORMED);
    expect("what is cut short inside ARP", &config, &first(arp(0x0806), 41), MALFORMED);

    let mut padded = ipv4(17, 0, &[0, 53]);
    padded.extend([0, 53, 0, 53, 0, 53]);
    expect("ports never come from padding", &config, &padded, MALFORMED);
    let mut padded = ipv4(17, 0, &PORTS);
    padded.extend([0; 60]);
    expect("padding after the packet is normal", &config, &padded, DEFAULT);
    expect(
        "UDP's own length is not looked at",
        &config,
        &ipv4(17, 0, &[0, 1, 0, 1, 255, 255]),
        DEFAULT,
    );
    expect(
        "only of later fragments nothing is asked",
        &config,
        &ipv4(17, 0x2000, &[0, 1]),
        MALFORMED,
    );
    expect("only of later fragments nothing is asked", &config, &ipv4(17, 0x2001, &[]), DEFAULT);

    let tcp = |data_offset: u8| {
        let header = [0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, data_offset << 4, 2];
        ipv4(6, 0, &header)
    };
    expect("a TCP data offset under 5", &config, &tcp(4), MALFORMED);
    expect("TCP's flags", &config, &ipv4(6, 0, &[0x50; 13]), MALFORMED);

    let chain = |headers: usize| {
        let mut payload = [60, 0, 0, 0, 0, 0, 0, 0].repeat(headers);
        let last = payload.len() - 8;
        payload[last] = 59;
        ipv6(60, &payload)
    };
    expect("a ninth IPv6 extension header", &config, &chain(8), DEFAULT);
    expect("a ninth IPv6 extension header", &config, &chain(9), MALFORMED);
    let mut fragment = chain(8);
    let eighth = fragment.len() - 8;
    fragment[eighth - 8] = 44;
    fragment[eighth..].copy_from_slice(&[60, 0, 0, 8, 0, 0, 0, 0]);
    expect("what a later fragment names is not in it", &config, &fragment, DEFAULT);
}

/// A frame of 12 bytes of MAC addresses, the headers `before`, and the packet of another frame.
fn carried(before: &[u8], frame: &[u8]) -> Vec<u8> {
    [&[2; 12], before, &frame[14..]].concat()
}

/// A PPPoE session's header, with that much behind it, and PPP's protocol field.
fn pppoe(length: usize, protocol: &[u8]) -> Vec<u8> {
    let [upper, lower] = ((length + protocol.len()) as u16).to_be_bytes();
    [&[0x88, 0x64, 0x11, 0, 0, 1, upper, lower], protocol].concat()
}

/// A label stack, whose last label is the bottom.
fn labels(number: usize) -> Vec<u8> {
    let mut bytes = vec![0x88, 0x47];
    for nth in 1..=number {
        bytes.extend([0, 1, u8::from(nth == number), 64]);
    }
    bytes
}

#[test]
fn in_pppoe_sessions_and_under_labels() {
    let config = blocklists([list("bad", (SOURCE, 32))]);
    let blocked = ("drop", "blocklist", "bad");
    let packet = ipv4(17, 0, &PORTS);
    let length = packet.len() - 14;
    for protocol in [&[0, 0x21][..], &[0x21]] {
        let frame = carried(&pppoe(length, protocol), &packet);
        expect("a packet in a PPPoE session", &config, &frame, blocked);
    }
    for number in [1, 2, 7, 8] {
        expect("under MPLS labels", &config, &carried(&labels(number), &packet), blocked);
    }
    let nested = [&pppoe(length + 8, &[2, 0x81])[..], &labels(2)[2..]].concat();
    expect("labels in a session", &config, &carried(&nested, &packet), blocked);
    let tagged = [&[0x81, 0, 0, 7][..], &labels(1)].concat();
    expect("under a tag and a label", &config, &carried(&tagged, &packet), blocked);

    expect("up to eight", &config, &carried(&labels(9), &packet), MALFORMED);
    let other = ("pass", "default", "");
    let lcp = carried(&pppoe(length, &[0xc0, 0x21]), &packet);
    expect("PPP's own protocols are not IP", &config, &lcp, other);
    let pseudowire = [&labels(1)[..], &[0, 0, 0, 0]].concat();
    expect("what labels carry may not be IP", &config, &carried(&pseudowire, &packet), other);
    let longer = carried(&pppoe(length + 1, &[0, 0x21]), &packet);
    expect("a length that lies", &config, &longer, MALFORMED);
    let shorter = carried(&pppoe(length - 1, &[0, 0x21]), &packet);
    expect("by the length that PPPoE gives", &config, &shorter, MALFORMED);
    let mut padded = carried(&pppoe(length, &[0, 0x21]), &packet);
    padded.extend([0; 20]);
    expect("padding after the packet is normal", &config, &padded, blocked);
    for (at, byte) in [(14, 0x21), (14, 0x12), (15, 0x09)] {
        let mut frame = carried(&pppoe(length, &[0, 0x21]), &packet);
        frame[at] = byte;
        expect("version, type and code of a session", &config, &frame, MALFORMED);
    }
    expect(
        "cut inside a label",
        &config,
        &carried(&labels(1)[..5], &ethernet(&[], 0, &[])),
        MALFORMED,
    );
    expect(
        "nothing under a label",
        &config,
        &carried(&labels(1), &ethernet(&[], 0, &[])),
        MALFORMED,
    );
}

/// The contract says nothing on these. They are written down so that any change of them is a
/// decision.
#[test]
fn where_the_contract_is_silent() {
    let config = Config::default();
    // The contract does not list a tag that is cut short, but a packet behind it could not be
    // judged.
    expect("cut inside a tag", &config, &ethernet(&[], 0x8100, &[0, 1, 8]), MALFORMED);
    expect("a TPID of old", &config, &ethernet(&[], 0x9100, &[0, 1, 8]), DEFAULT);

    // 28 bytes of header in 14 bytes: only the flags have to be there.
    let header = [0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0x70, 2];
    expect("a TCP data offset beyond the end", &config, &ipv4(6, 0, &header), DEFAULT);

    // RFC 4302 has 12 bytes at least, and in IPv6 a multiple of 8.
    let ah = ipv6(51, &[59, 0, 0, 0, 0, 0, 0, 0]);
    expect("an AH of 8 bytes", &config, &ah, DEFAULT);

    let mut merged = ipv4(17, 0, &PORTS);
    merged[16..18].copy_from_slice(&[0, 0]);
    expect("no length in a small packet", &config, &merged, MALFORMED);
    merged.resize(14 + 65_535, 0);
    expect("no length in a packet that could have one", &config, &merged, MALFORMED);
    merged.push(0);
    expect("no length in a packet beyond any", &config, &merged, DEFAULT);
    let mut merged = ipv6(17, &PORTS);
    merged[18..20].copy_from_slice(&[0, 0]);
    merged.resize(54 + 65_535, 0);
    expect("no length in a packet that could have one", &config, &merged, MALFORMED);
    merged.push(0);
    expect("no length in a packet beyond any", &config, &merged, DEFAULT);

    let frame = udp(SOURCE.into(), DESTINATION.into());
    let allowlists = |lists: [List; 2]| Config { allowlists: lists.into(), ..Config::default() };
    let config = allowlists([list("wide", (SOURCE, 8)), list("narrow", (SOURCE, 32))]);
    let counted = ("pass", "allowlist", "narrow");
    expect("which of two allowlists is counted", &config, &frame, counted);
    let config = allowlists([list("first", (SOURCE, 32)), list("second", (SOURCE, 32))]);
    let counted = ("pass", "allowlist", "first");
    expect("which of two allowlists is counted", &config, &frame, counted);
    // Several lists that only count: one decides, and one is counted.
    let config = blocklists([counting("wide", (SOURCE, 8)), counting("narrow", (SOURCE, 32))]);
    expect("which of two counting lists", &config, &frame, ("pass", "default", "narrow"));

    // An ARP packet whose sender has no IPv4 address is not from an allowed sender.
    let mut config = Config { arp: Some(Verdict::Drop), ..Config::default() };
    config.arp_allow = vec![SOURCE];
    let mut other = arp(0x0806);
    other[16..18].copy_from_slice(&[0x86, 0xdd]);
    expect("ARP of another protocol", &config, &other, ("drop", "arp", ""));
}
