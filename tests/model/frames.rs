//! Random frames: every header in every order that is legal, and many that are not.

use std::net::IpAddr;

use super::config::{Config, Labels, Prefix, bits, with_bits};
use super::dice::Dice;
use super::messages;
use super::rulesets::{DSCP, ICMP_TYPES, MACS, PORTS, TTLS, VLANS, ipv4, ipv6};

/// Bytes of the longest frame, a little less than the kernel's test runs take: 17 pages
/// (MAX_SKB_FRAGS) behind a first buffer, which may have been made short.
const LONGEST: usize = 69_500;

/// Addresses at the edges of a configuration's prefixes, where the answer may change, and the names
/// that it lists.
pub struct Edges {
    v4: Vec<IpAddr>,
    v6: Vec<IpAddr>,
    names: Vec<Labels>,
}

impl Edges {
    pub fn of(config: &Config) -> Self {
        let lists = config.allowlists.iter().chain(&config.blocklists);
        let mut edges: Vec<IpAddr> = Vec::new();
        for list in lists {
            edges.extend(list.prefixes.iter().flat_map(around));
            for (first, last) in &list.ranges {
                edges.extend([before(*first), *first, *last, after(*last)]);
            }
        }
        for rule in &config.rules {
            edges.extend(rule.source.iter().chain(&rule.destination).flat_map(around));
        }
        edges.extend(config.entries.iter().flat_map(|entry| around(&entry.prefix)));
        let (v4, v6) = edges.into_iter().partition(IpAddr::is_ipv4);
        let lists = config.domains.iter();
        let names = lists.flat_map(|list| list.names.iter().chain(&list.filed));
        Self { v4, v6, names: names.map(|name| name.labels.clone()).collect() }
    }

    pub fn v4(&self, dice: &mut Dice) -> IpAddr {
        if self.v4.is_empty() || dice.one_in(3) { ipv4(dice) } else { dice.pick(&self.v4) }
    }

    fn v6(&self, dice: &mut Dice) -> IpAddr {
        if self.v6.is_empty() || dice.one_in(3) { ipv6(dice) } else { dice.pick(&self.v6) }
    }
}

/// The first and the last address of a prefix, and those next to them outside.
pub fn around(prefix: &Prefix) -> [IpAddr; 4] {
    let (first, last) = prefix.ends();
    [before(first), first, last, after(last)]
}

fn before(address: IpAddr) -> IpAddr {
    with_bits(address, bits(address).0.wrapping_sub(1))
}

fn after(address: IpAddr) -> IpAddr {
    with_bits(address, bits(address).0.wrapping_add(1))
}

pub fn frame(dice: &mut Dice, edges: &Edges) -> Vec<u8> {
    let mut frame = Vec::with_capacity(128);
    frame.extend(dice.pick(&MACS));
    frame.extend(dice.pick(&MACS));
    let usual = dice.pick(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3]);
    let tags = if dice.one_in(200) { 4 } else { usual };
    for _ in 0..tags {
        frame.extend(dice.pick(&[[0x81, 0x00], [0x88, 0xa8]]));
        let priority = dice.pick(&[0, 0, 7, 15]) << 12;
        frame.extend((dice.pick(&VLANS) | priority).to_be_bytes());
    }
    if !edges.names.is_empty() && dice.one_in(3) {
        let is_v6 = dice.one_in(2);
        let packet = dns_packet(dice, edges, is_v6);
        network_layer(dice, &mut frame, is_v6, &packet);
        damage(dice, &mut frame);
        return frame;
    }
    match dice.below(16) {
        // Now and then the EtherType and the packet have different versions.
        0..8 => {
            let says_ipv6 = dice.one_in(60);
            let packet = packet(dice, edges, false);
            network_layer(dice, &mut frame, says_ipv6, &packet);
        }
        8..14 => {
            let says_ipv6 = !dice.one_in(60);
            let packet = packet(dice, edges, true);
            network_layer(dice, &mut frame, says_ipv6, &packet);
        }
        14 => {
            frame.extend([0x08, 0x06]);
            arp(dice, &mut frame);
        }
        _ => {
            // RARP, LLDP, PPPoE's discovery, QinQ of old, an 802.3 length, anything.
            let known = [0x8035, 0x88cc, 0x8863, 0x9100, 46, 0x0801];
            let ether_type = if dice.one_in(4) { dice.word() as u16 } else { dice.pick(&known) };
            frame.extend(ether_type.to_be_bytes());
            if dice.one_in(4) {
                // IEEE 802.2 with SNAP, which names an EtherType again. Nothing looks there.
                frame.extend([0xaa, 0xaa, 3, 0, 0, 0, 8, 0]);
                ipv4_packet(dice, edges, &mut frame);
            } else {
                frame.extend(dice.some(0, 50, Dice::byte));
            }
        }
    }
    damage(dice, &mut frame);
    frame.truncate(LONGEST);
    frame
}

/// A packet of a link without a link layer header.
pub fn raw_packet(dice: &mut Dice, edges: &Edges) -> Vec<u8> {
    let is_ipv6 = dice.one_in(2);
    let mut packet = if !edges.names.is_empty() && dice.one_in(3) {
        dns_packet(dice, edges, is_ipv6)
    } else {
        packet(dice, edges, is_ipv6)
    };
    if dice.one_in(24) {
        packet[0] = dice.byte();
    }
    damage(dice, &mut packet);
    packet.truncate(LONGEST);
    packet
}

/// A packet with a DNS message and nothing between that and the IP header, whose lengths are right:
/// what can be answered.
fn dns_packet(dice: &mut Dice, edges: &Edges, is_ipv6: bool) -> Vec<u8> {
    let udp = messages::udp(dice, &edges.names);
    let mut packet = Vec::with_capacity(128);
    let class = traffic_class(dice);
    if is_ipv6 {
        packet.extend([0x60 | class >> 4, class << 4 | dice.byte() & 0xf, 7, 7]);
        packet.extend((udp.len() as u16).to_be_bytes());
        packet.extend([17, dice.byte()]);
        octets(&mut packet, edges.v6(dice));
        octets(&mut packet, edges.v6(dice));
    } else {
        packet.extend([0x45, class]);
        packet.extend((20 + udp.len() as u16).to_be_bytes());
        packet.extend((dice.word() as u16).to_be_bytes());
        packet.extend([dice.pick(&[0, 0x40, 0x40, 0x20]), 0, dice.byte(), 17]);
        packet.extend((dice.word() as u16).to_be_bytes());
        octets(&mut packet, edges.v4(dice));
        octets(&mut packet, edges.v4(dice));
    }
    packet.extend(udp);
    packet
}

fn packet(dice: &mut Dice, edges: &Edges, is_ipv6: bool) -> Vec<u8> {
    let mut packet = Vec::with_capacity(64);
    if is_ipv6 {
        ipv6_packet(dice, edges, &mut packet);
    } else {
        ipv4_packet(dice, edges, &mut packet);
    }
    packet
}

/// An IP packet, now and then in a PPPoE session or under labels.
fn network_layer(dice: &mut Dice, frame: &mut Vec<u8>, says_ipv6: bool, packet: &[u8]) {
    match dice.below(12) {
        0 => {
            frame.extend([0x88, 0x64]);
            pppoe(dice, frame, says_ipv6, packet);
        }
        1 => {
            frame.extend(dice.pick(&[[0x88, 0x47], [0x88, 0x47], [0x88, 0x47], [0x88, 0x48]]));
            mpls(dice, frame, packet);
        }
        _ => {
            frame.extend(if says_ipv6 { [0x86, 0xdd] } else { [0x08, 0x00] });
            frame.extend(packet);
        }
    }
}

/// A PPPoE session's header (RFC 2516), and what PPP carries.
fn pppoe(dice: &mut Dice, frame: &mut Vec<u8>, says_ipv6: bool, packet: &[u8]) {
    let mut carried = Vec::with_capacity(packet.len() + 40);
    match dice.below(16) {
        // PPP's own, what it compresses, encrypts and splits, and a header that PPPoE has not.
        0 => carried.extend(dice.pick(&[
            [0xc0, 0x21],
            [0x80, 0x21],
            [0x00, 0x2d],
            [0x00, 0xfd],
            [0x00, 0x3d],
            [0xff, 0x03],
        ])),
        1 | 2 => carried.extend(dice.pick(&[[0x02, 0x81], [0x02, 0x83]])),
        // Compressed to one byte.
        3..6 => carried.push(if says_ipv6 { 0x57 } else { 0x21 }),
        _ => carried.extend([0, if says_ipv6 { 0x57 } else { 0x21 }]),
    }
    if carried[0] == 2 {
        mpls(dice, &mut carried, packet);
    } else {
        carried.extend(packet);
    }
    let length = match dice.below(24) {
        0 => dice.below(carried.len() + 1),
        1 => carried.len() + dice.below(8),
        2 => dice.pick(&[0, 1, 2, 65_535]),
        _ => carried.len(),
    };
    frame.push(if dice.one_in(40) { dice.pick(&[0x10, 0x01, 0x12, 0x21]) } else { 0x11 });
    // Codes of discovery, which have no place in a session.
    frame.push(if dice.one_in(40) { dice.pick(&[0x09, 0x19, 0xa7]) } else { 0 });
    frame.extend((dice.word() as u16).to_be_bytes());
    frame.extend((length as u16).to_be_bytes());
    frame.extend(carried);
}

/// A label stack (RFC 3032), and what it carries.
fn mpls(dice: &mut Dice, frame: &mut Vec<u8>, packet: &[u8]) {
    let number = match dice.below(12) {
        0 => 8,
        1 => 9,
        2 => dice.below(12),
        _ => 1 + dice.below(3),
    };
    for nth in 1..=number {
        // Explicit null of both families, alert, entropy; and one that looks like an IPv4 header.
        let label = dice.pick(&[0, 2, 1, 7, 16, 1000, 0x45000, 0xf_ffff]);
        let is_bottom = (nth == number) != dice.one_in(60);
        let entry: u32 = label << 12 | dice.pick(&[0, 0, 5]) << 9 | u32::from(is_bottom) << 8 | 64;
        frame.extend(entry.to_be_bytes());
    }
    match dice.below(16) {
        // An Ethernet pseudowire's control word (RFC 4448), and one without.
        0 => frame.extend([0, 0, 0, 7, 2, 2, 2, 2, 2, 2]),
        1 => frame.extend([2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 8, 0]),
        _ => {}
    }
    frame.extend(packet);
}

/// Cuts, padding and noise.
fn damage(dice: &mut Dice, frame: &mut Vec<u8>) {
    match dice.below(24) {
        0 | 1 => {
            let keep = dice.below(frame.len() + 1);
            frame.truncate(keep);
        }
        2 => {
            let at = dice.below(frame.len());
            frame[at] = dice.byte();
        }
        3 => {
            let at = dice.below(frame.len());
            frame[at] ^= 1 << dice.below(8);
        }
        // Padding may look like ports.
        4..8 => {
            let port = dice.pick(&PORTS).to_be_bytes();
            while frame.len() < 60 {
                frame.extend(port);
            }
        }
        8 => frame.extend(dice.some(0, 40, Dice::byte)),
        9 if dice.one_in(20) => frame.resize(9000, 0x55),
        9 if dice.one_in(20) => frame.resize(65_536 + 40 + dice.below(3000), 0),
        _ => {}
    }
}

fn transport(dice: &mut Dice, edges: &Edges, protocol: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    match protocol {
        6 => {
            bytes.extend(dice.pick(&PORTS).to_be_bytes());
            bytes.extend(dice.pick(&PORTS).to_be_bytes());
            bytes.extend(dice.word().to_be_bytes());
            let data_offset: u8 = if dice.one_in(12) { dice.byte() >> 4 } else { 5 };
            bytes.push(data_offset << 4 | dice.byte() & 0xf);
            bytes.push(if dice.one_in(3) { dice.byte() } else { dice.pick(&[0x02, 0x12, 0x10]) });
            bytes.extend([0; 6]);
        }
        17 if dice.one_in(if edges.names.is_empty() { 8 } else { 2 }) => {
            bytes = messages::udp(dice, &edges.names);
        }
        17 | 132 => {
            bytes.extend(dice.pick(&PORTS).to_be_bytes());
            bytes.extend(dice.pick(&PORTS).to_be_bytes());
            // UDP's own length, which nobody looks at but those who look for DNS messages.
            bytes.extend((dice.word() as u32).to_be_bytes());
        }
        1 | 58 => {
            bytes.push(dice.pick(&ICMP_TYPES));
            bytes.extend([0; 7]);
            if dice.one_in(4) {
                // An error carries the packet that it is about.
                bytes.extend(inner(dice));
            }
        }
        // IP in IP, and GRE: only the outermost header is judged.
        4 | 41 => bytes.extend(inner(dice)),
        47 => {
            bytes.extend([0, 0, 8, 0]);
            bytes.extend(inner(dice));
        }
        _ => bytes.extend(dice.some(0, 12, Dice::byte)),
    }
    match dice.below(8) {
        0 => {
            let keep = dice.below(bytes.len() + 1);
            bytes.truncate(keep);
        }
        1 => bytes.extend(dice.some(0, 30, Dice::byte)),
        // A jumbo frame that is one packet, and the longest that IP can say.
        2 if dice.one_in(25) => {
            let (least, most) = match dice.below(8) {
                0..2 => (1_400, 3_600),
                2..5 => (3_400, 9_000),
                5 => (9_000, 65_400),
                _ => (65_450, 65_700),
            };
            let filler = least + dice.below(most - least);
            bytes.resize(bytes.len() + filler, 0x35);
        }
        _ => {}
    }
    bytes
}

/// A packet in a packet, with addresses and ports that nothing looks at.
fn inner(dice: &mut Dice) -> Vec<u8> {
    let port = dice.pick(&PORTS).to_be_bytes();
    let mut bytes = if dice.one_in(2) {
        vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]
    } else {
        let mut header = vec![0x60, 0, 0, 0, 0, 8, 17, 64];
        header.extend([0x20; 32]);
        header
    };
    bytes.extend([port[0], port[1], port[0], port[1], 0, 8, 0, 0]);
    bytes
}

fn protocol(dice: &mut Dice) -> u8 {
    if dice.one_in(24) {
        return dice.byte();
    }
    let others = [0, 4, 41, 43, 44, 47, 50, 51, 59, 60, 135, 139, 140, 255];
    match dice.below(8) {
        0..3 => 6,
        3 | 4 => 17,
        5 => 132,
        6 => dice.pick(&[1, 58]),
        _ => dice.pick(&others),
    }
}

fn ipv4_packet(dice: &mut Dice, edges: &Edges, frame: &mut Vec<u8>) {
    let protocol = protocol(dice);
    let mut payload = transport(dice, edges, protocol);
    let fragment = match dice.below(12) {
        0 => 0x2000,
        1 => 0x2000 | dice.pick(&[1, 2, 185, 0x1fff]),
        2 => dice.pick(&[1, 2, 185, 0x1000, 0x1fff]),
        3 => 0x4000,
        4 => 0x8000,
        _ => 0u16,
    };
    if fragment == 0x2000 && dice.one_in(3) {
        // A first fragment too short for its ports, or for TCP's flags.
        payload.truncate(dice.below(14));
    }
    let words = if dice.one_in(4) { 5 + dice.below(11) } else { 5 };
    let length = words * 4 + payload.len();
    let stated = match dice.below(24) {
        0 => dice.below(length + 1),
        1 => length + dice.below(8),
        2 => dice.pick(&[0, 1, 19, 20, 21, 24, 65_535]),
        // A packet longer than the field can say has 0 there (receive offload).
        _ if length > 65_535 && !dice.one_in(4) => 0,
        _ => length,
    };
    let version = if dice.one_in(40) { dice.below(16) } else { 4 };
    let shown = if dice.one_in(30) { dice.below(16) } else { words };
    frame.push((version << 4 | shown) as u8);
    frame.push(traffic_class(dice));
    frame.extend((stated as u16).to_be_bytes());
    frame.extend((dice.word() as u16).to_be_bytes());
    frame.extend(fragment.to_be_bytes());
    frame.extend([ttl(dice), protocol, 0, 0]);
    octets(frame, edges.v4(dice));
    octets(frame, edges.v4(dice));
    for _ in 20..words * 4 {
        frame.push(dice.byte());
    }
    frame.extend(payload);
}

/// IPv4's time to live, IPv6's hop limit.
fn ttl(dice: &mut Dice) -> u8 {
    if dice.one_in(3) { dice.byte() } else { dice.pick(&TTLS) }
}

/// DSCP and ECN.
fn traffic_class(dice: &mut Dice) -> u8 {
    if dice.one_in(2) { dice.byte() } else { dice.pick(&DSCP) << 2 | dice.byte() & 3 }
}

fn ipv6_packet(dice: &mut Dice, edges: &Edges, frame: &mut Vec<u8>) {
    let last = protocol(dice);
    let long = dice.one_in(100);
    let number = match dice.below(8) {
        _ if long => 1 + dice.below(8),
        0..4 => 0,
        4 | 5 => 1,
        6 => dice.below(4),
        _ => dice.below(11),
    };
    // Each with its bytes; what comes next is filled in below.
    let mut headers: Vec<(u8, Vec<u8>)> = dice.some(number, number, |dice| extension(dice, long));
    let mut first = last;
    for at in (0..headers.len()).rev() {
        headers[at].1[0] = first;
        first = headers[at].0;
    }
    let mut payload: Vec<u8> = headers.into_iter().flat_map(|(_, bytes)| bytes).collect();
    let mut carried = transport(dice, edges, last);
    if payload.len() > 7 && dice.one_in(8) {
        carried.truncate(dice.below(14));
    }
    payload.extend(carried);
    let stated = match dice.below(24) {
        0 => dice.below(payload.len() + 1),
        1 => payload.len() + dice.below(8),
        2 => dice.pick(&[0, 1, 3, 4, 8, 65_535]),
        _ if payload.len() > 65_535 && !dice.one_in(4) => 0,
        _ => payload.len(),
    };
    let class = traffic_class(dice);
    let version = if dice.one_in(40) { dice.byte() } else { 0x60 | class >> 4 };
    frame.push(version);
    frame.extend([class << 4 | dice.byte() & 0xf, 0, 0]);
    frame.extend((stated as u16).to_be_bytes());
    frame.extend([first, ttl(dice)]);
    octets(frame, edges.v6(dice));
    octets(frame, edges.v6(dice));
    frame.extend(payload);
}

/// An extension header's number and bytes.
fn extension(dice: &mut Dice, long: bool) -> (u8, Vec<u8>) {
    let number = dice.pick(&[0, 43, 44, 51, 60, 135, 139, 140]);
    let usual = dice.pick(&[0, 0, 0, 1, 1, 2, 3, 4]);
    // Some of the long ones reach beyond the first buffer of a jumbo frame.
    let length = if long || dice.one_in(40) { dice.pick(&[63, 200, 255]) } else { usual };
    let size = match number {
        44 => 8,
        51 => (length + 2) * 4,
        _ => (length + 1) * 8,
    };
    let mut bytes = vec![0; size];
    bytes[1] = length as u8;
    if number == 44 {
        // Offsets and flags: most often the first fragment, which is judged like a whole packet.
        let place =
            if dice.one_in(4) { dice.pick(&[8, 9, 0xfff8u16]) } else { dice.pick(&[0, 1, 7]) };
        bytes[2..4].copy_from_slice(&place.to_be_bytes());
        // Reserved, and nothing looks at it.
        bytes[1] = dice.pick(&[0, 0, 255]);
    }
    if dice.one_in(30) {
        bytes[1] = dice.byte();
    }
    (number, bytes)
}

fn octets(frame: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => frame.extend(address.octets()),
        IpAddr::V6(address) => frame.extend(address.octets()),
    }
}

/// RFC 826, most often of Ethernet and IPv4.
fn arp(dice: &mut Dice, frame: &mut Vec<u8>) {
    let usual = !dice.one_in(4);
    let hardware: u16 = if usual { 1 } else { dice.pick(&[1, 6, 24]) };
    let protocol: u16 = if usual { 0x0800 } else { dice.pick(&[0x0800, 0x86dd]) };
    let hardware_length: u8 = if usual { 6 } else { dice.pick(&[0, 6, 8, 16]) };
    let protocol_length: u8 = if usual { 4 } else { dice.pick(&[0, 4, 4, 16]) };
    frame.extend(hardware.to_be_bytes());
    frame.extend(protocol.to_be_bytes());
    frame.extend([hardware_length, protocol_length, 0, dice.pick(&[1, 2])]);
    for _ in 0..2 {
        frame.extend(vec![2; hardware_length.into()]);
        let mut address = vec![0; protocol_length.into()];
        let IpAddr::V4(sender) = ipv4(dice) else { unreachable!() };
        for (byte, l4_octet) in address.iter_mut().zip(sender.octets()) {
            *byte = l4_octet;
        }
        frame.extend(address);
    }
}

/// One frame of every kind, whole, to be cut at each byte.
pub fn to_cut(dice: &mut Dice, edges: &Edges) -> Vec<u8> {
    loop {
        let frame = frame(dice, edges);
        if (60..600).contains(&frame.len()) {
            return frame;
        }
    }
}

/// An Ethernet frame with a UDP packet without payload.
pub fn udp(source: IpAddr, destination: IpAddr) -> Vec<u8> {
    let mut frame = vec![2; 12];
    match source {
        IpAddr::V4(_) => frame.extend([8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0]),
        IpAddr::V6(_) => frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 17, 64]),
    }
    octets(&mut frame, source);
    octets(&mut frame, destination);
    frame.extend([0, 53, 0, 53, 0, 8, 0, 0]);
    frame
}
