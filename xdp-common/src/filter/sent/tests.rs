//! What is remembered, by a clock that the tests turn.

use super::*;
use crate::packet::LinkType;
use crate::packet::plain::{self, Frame, ipv4, ipv6};

const OWN: [u8; 4] = [192, 0, 2, 1];
const PEER: [u8; 4] = [198, 51, 100, 9];
const OWN6: [u16; 8] = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1];
const PEER6: [u16; 8] = [0x2001, 0xdb8, 9, 0, 0, 0, 0, 9];
const SECOND: u64 = 1_000_000_000;
/// Longer than any moment.
const LONGEST_MOMENT: u64 = 1 << MOMENT_SHIFT;

struct Table {
    lines: Vec<Line>,
    now: u64,
    written: u32,
}

impl Memory for Table {
    fn line(&mut self, number: u32) -> Option<&mut Line> {
        self.lines.get_mut(number as usize)
    }

    fn secrets(&self) -> [u64; 2] {
        [0x5851_f42d_4c95_7f2d, 0x1405_7b7e_f767_814f]
    }

    fn now(&self) -> u64 {
        self.now
    }
}

impl Table {
    fn new() -> Self {
        let lines = vec![[0; LINE_WORDS]; SENT_LINES as usize];
        Self { lines, now: 1_000_000 * SECOND, written: 0 }
    }

    /// A packet goes out.
    fn sends(&mut self, ip: &[u8], is_of_socket: bool) {
        let frame = Frame::ethernet(&[], ip);
        let packet = frame.parse(LinkType::Ethernet);
        let mut work = Work { key: 1, now: 1, says: 1, ports: 1 };
        let read = read(self, frame.0.as_slice(), &packet, is_of_socket, &mut work);
        if read.is_some() {
            let line = line_of(work.key, packet.protocol);
            let before = self.line(line).map(|line| *line);
            remember(self, packet.protocol, &work);
            self.written += u32::from(before != self.line(line).map(|line| *line));
        }
    }

    /// What is said of one that comes in.
    fn asked(&mut self, ip: &[u8]) -> u32 {
        let frame = Frame::ethernet(&[7], ip);
        let packet = frame.parse(LinkType::Ethernet);
        let ports = if packet.transport == Transport::ICMP {
            identifier(frame.0.as_slice(), &packet).unwrap()
        } else if packet.transport == Transport::PLAIN {
            0
        } else {
            packet.destination_port << 16 | packet.source_port
        };
        ask(self, &packet, ports)
    }

    fn is_answer(&mut self, ip: &[u8]) -> bool {
        self.asked(ip) < NOT_SENT
    }
}

fn tcp(flags: u8, own: u16, peer: u16) -> Vec<u8> {
    let mut segment = plain::tcp(own, peer, &[]);
    segment[13] = flags;
    segment
}

fn out(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4(OWN, PEER, protocol, &[], payload)
}

fn back(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4(PEER, OWN, protocol, &[], payload)
}

const SYN_ACK: u8 = 0x12;
const PSH_ACK: u8 = 0x18;
const ACK_: u8 = 0x10;
const SYN_: u8 = 0x02;

#[test]
fn what_was_asked_is_answered_and_nothing_else() {
    let mut table = Table::new();
    table.sends(&out(plain::TCP, &tcp(SYN_, 40_000, 443)), false);
    table.sends(&out(plain::UDP, &plain::udp(40_001, 53, &[])), true);
    table.sends(&out(plain::ICMP, &plain::icmp(8, 0, [1, 2, 0, 1], &[])), true);
    table.sends(&out(47, &[0; 8]), true);
    table.sends(&ipv6(OWN6, PEER6, plain::UDP, &plain::udp(40_001, 53, &[])), false);
    table.sends(&ipv6(OWN6, PEER6, plain::ICMPV6, &plain::icmp(128, 0, [1, 2, 0, 1], &[])), false);
    for answer in [
        back(plain::TCP, &tcp(SYN_ACK, 443, 40_000)),
        back(plain::UDP, &plain::udp(53, 40_001, &[])),
        back(plain::ICMP, &plain::icmp(0, 0, [1, 2, 0, 9], &[])),
        back(47, &[1; 8]),
        ipv6(PEER6, OWN6, plain::UDP, &plain::udp(53, 40_001, &[])),
        ipv6(PEER6, OWN6, plain::ICMPV6, &plain::icmp(129, 0, [1, 2, 0, 3], &[])),
    ] {
        assert_eq!(table.asked(&answer), 0, "{answer:?}");
    }
    let other6 = [0xa001, 0xdb8, 9, 0, 0, 0, 0, 9];
    for other in [
        back(plain::TCP, &tcp(SYN_ACK, 443, 40_001)),
        back(plain::TCP, &tcp(SYN_ACK, 444, 40_000)),
        back(plain::UDP, &plain::udp(443, 40_000, &[])),
        back(plain::UDP, &plain::udp(54, 40_001, &[])),
        back(plain::ICMP, &plain::icmp(0, 0, [1, 3, 0, 1], &[])),
        back(50, &[1; 8]),
        out(plain::UDP, &plain::udp(40_001, 53, &[])),
        ipv4([198, 51, 100, 8], OWN, plain::UDP, &[], &plain::udp(53, 40_001, &[])),
        ipv4(PEER, [192, 0, 2, 2], plain::UDP, &[], &plain::udp(53, 40_001, &[])),
        ipv6(other6, OWN6, plain::UDP, &plain::udp(53, 40_001, &[])),
        ipv6(PEER6, OWN6, plain::TCP, &tcp(SYN_ACK, 53, 40_001)),
    ] {
        assert_eq!(table.asked(&other), NOT_SENT, "{other:?}");
    }
}

#[test]
fn nothing_is_known_without_a_table() {
    let mut table = Table { lines: Vec::new(), ..Table::new() };
    table.sends(&out(plain::UDP, &plain::udp(40_001, 53, &[])), true);
    assert_eq!(table.asked(&back(plain::UDP, &plain::udp(53, 40_001, &[]))), NO_MEMORY);
}

#[test]
fn what_anybody_can_make_this_side_send_begins_nothing() {
    let mut table = Table::new();
    const RST_: u8 = 0x04;
    const FIN_ACK: u8 = 0x11;
    for flags in [SYN_ACK, RST_, RST_ | ACK_, FIN_ACK, 0] {
        table.sends(&out(plain::TCP, &tcp(flags, 22, 40_000)), false);
    }
    // Of what the kernel or a socket of this host sends, only a SYN begins anything.
    table.sends(&out(plain::TCP, &tcp(ACK_, 22, 40_000)), true);
    for (kind, kind6) in [(0, 129), (3, 1), (11, 3), (13, 135), (14, 136)] {
        table.sends(&out(plain::ICMP, &plain::icmp(kind, 0, [1, 2, 0, 1], &[])), false);
        let v6 = plain::icmp(kind6, 0, [1, 2, 0, 1], &[]);
        table.sends(&ipv6(OWN6, PEER6, plain::ICMPV6, &v6), false);
    }
    let group = plain::udp(5353, 5353, &[]);
    table.sends(&ipv4(OWN, [224, 0, 0, 251], plain::UDP, &[], &group), true);
    table.sends(&ipv4(OWN, [255; 4], plain::UDP, &[], &group), true);
    table.sends(&ipv6(OWN6, [0xff02, 0, 0, 0, 0, 0, 0, 0xfb], plain::UDP, &group), true);
    assert_eq!(table.written, 0);
    // A container's connection that was there before goes on.
    table.sends(&out(plain::TCP, &tcp(PSH_ACK, 41_000, 443)), false);
    assert!(table.is_answer(&back(plain::TCP, &tcp(ACK_, 443, 41_000))));
}

/// The last moment in which an answer passes, and the first in which it does not.
#[track_caller]
fn lasts(table: &mut Table, answer: &[u8], seconds: u64) {
    table.now += seconds * SECOND;
    assert!(table.is_answer(answer), "after {seconds} s");
    table.now += 2 * LONGEST_MOMENT;
    assert_eq!(table.asked(answer), NOT_SENT, "well after {seconds} s");
}

#[test]
fn how_long_answers_pass() {
    let mut table = Table::new();
    let ask = out(plain::UDP, &plain::udp(40_001, 53, &[]));
    let answer = back(plain::UDP, &plain::udp(53, 40_001, &[]));
    table.sends(&ask, true);
    lasts(&mut table, &answer, 30);
    table.sends(&ask, true);
    table.sends(&ask, true);
    lasts(&mut table, &answer, 180);

    let (from, answer) = (40_000, back(plain::TCP, &tcp(ACK_, 443, 40_000)));
    let send = |flags| out(plain::TCP, &tcp(flags, from, 443));
    table.sends(&send(SYN_), false);
    lasts(&mut table, &answer, 120);
    table.sends(&send(SYN_), false);
    table.sends(&send(ACK_), false);
    table.sends(&send(PSH_ACK), false);
    lasts(&mut table, &answer, 5 * 24 * 3600);
    table.sends(&send(ACK_), false);
    table.sends(&send(ACK_), false);
    table.sends(&send(0x11), false);
    // The last ACK of a connection that was closed, and what is left over of it.
    table.sends(&send(ACK_), false);
    lasts(&mut table, &answer, 120);
    // The ports are used again.
    table.sends(&send(0x14), false);
    table.sends(&send(SYN_), false);
    table.sends(&send(ACK_), false);
    lasts(&mut table, &answer, 5 * 24 * 3600);
    table.sends(&out(50, &[1; 8]), false);
    lasts(&mut table, &back(50, &[1; 8]), 600);
}

#[test]
fn a_flow_is_written_once_in_a_moment() {
    let mut table = Table::new();
    table.sends(&out(plain::TCP, &tcp(SYN_, 40_000, 443)), false);
    for _ in 0..100 {
        table.sends(&out(plain::TCP, &tcp(ACK_, 40_000, 443)), false);
    }
    assert_eq!(table.written, 2, "it begins, and is open");
    table.now += LONGEST_MOMENT;
    for _ in 0..100 {
        table.sends(&out(plain::TCP, &tcp(PSH_ACK, 40_000, 443)), true);
    }
    assert_eq!(table.written, 3);
}

/// Somebody inside scans the world, or a name server that a rule opens answers a flood.
#[test]
fn flows_of_one_packet_leave_open_flows_their_places() {
    let mut table = Table::new();
    let answers: Vec<Vec<u8>> = (0..1_000)
        .map(|nth| {
            for flags in [SYN_, ACK_, ACK_] {
                table.sends(&out(plain::TCP, &tcp(flags, 10_000 + nth, 443)), false);
            }
            back(plain::TCP, &tcp(ACK_, 443, 10_000 + nth))
        })
        .collect();
    let mut work = Work { key: 1, now: 1, says: 1, ports: 1 };
    for nth in 0..1_000_000_u32 {
        let bytes = nth.to_be_bytes();
        let from = [10, bytes[1], bytes[2], bytes[3]];
        let frame = Frame::ethernet(&[], &ipv4(OWN, from, plain::TCP, &[], &tcp(SYN_, 1, 80)));
        let packet = frame.parse(LinkType::Ethernet);
        read(&table, frame.0.as_slice(), &packet, false, &mut work).unwrap();
        remember(&mut table, packet.protocol, &work);
        table.now += LONGEST_MOMENT / 100_000;
    }
    assert!(answers.iter().all(|answer| table.is_answer(answer)));
    assert!(table.lines.iter().flatten().filter(|word| **word != 0).count() > 200_000);
    // And those of TCP leave the others alone.
    let half = &table.lines[SENT_LINES as usize / 2..];
    assert!(half.iter().flatten().all(|word| *word == 0));
}

/// Short connections drive out each other, and not one that is quiet for long.
#[test]
fn what_is_over_makes_way_before_what_is_quiet() {
    const NOW: u64 = 1_000;
    let word = |kind: Kind, ago: u64| (kind as u64) << KIND_SHIFT | (NOW - ago) | 7 << TAG_SHIFT;
    let mut line: Line = core::array::from_fn(|at| word(Kind::Open, 10 * at as u64));
    assert_eq!(oldest_lasting(&line, NOW), 5);
    line[2] = word(Kind::Closing, 0);
    assert_eq!(oldest_lasting(&line, NOW), 2);
    line[4] = 0;
    assert_eq!(oldest_lasting(&line, NOW), 4);
}

#[test]
fn seconds_are_rounded_up() {
    assert_eq!([0, 1, 6].map(seconds), [5, 9, 31]);
}
