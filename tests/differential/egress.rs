//! What an interface has sent (`tests/model/flows.rs`), in the kernel: frames go out through the program at the egress,
//! and others come in through the filter, which lets in what answers them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use xdp_common::packet::LinkType;
use xdpctl::datapath::sys::bpf;

use crate::bench;
use crate::config::{Config, ReplyUdp, Verdict};
use crate::dice::{Dice, seed, setting};
use crate::filter::{Filter, Given};
use crate::flows::Flows;
use crate::judge::judge;
use crate::sockets::{error, ip, segment};

const EVENTS: usize = 400;
/// TC_ACT_UNSPEC, which is TCX_NEXT too (include/uapi/linux): whatever is behind decides.
const NEXT: u32 = u32::MAX;
const PORTS: [u16; 3] = [53, 1_024, 40_000];
const OWN: [&str; 4] = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"];
const PEERS: [&str; 6] =
    ["198.51.100.1", "198.51.100.2", "224.0.0.1", "2001:db8:9::1", "2001:db8:9::2", "ff02::1"];

/// This side and the other one.
fn ends(dice: &mut Dice) -> (SocketAddr, SocketAddr) {
    let is_v4 = dice.one_in(2);
    let own = dice.pick(if is_v4 { &OWN[..2] } else { &OWN[2..] });
    // Groups now and then.
    let peers = if is_v4 { &PEERS[..3] } else { &PEERS[3..] };
    let peers = if dice.one_in(6) { peers } else { &peers[..2] };
    let peer = dice.pick(peers);
    let end = |address: &str, port| SocketAddr::new(address.parse().expect("an address"), port);
    (end(own, dice.pick(&PORTS)), end(peer, dice.pick(&PORTS)))
}

/// A packet from one end to the other: what asks, answers, or does neither.
fn packet(dice: &mut Dice, from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let icmp = if from.is_ipv4() { 1 } else { 58 };
    let protocol = dice.pick(&[6, 6, 6, 17, 17, 132, icmp, icmp, 47, 59 - icmp]);
    let payload = match protocol {
        6 => {
            let flags = dice.pick(&[0x02, 0x02, 0x12, 0x10, 0x10, 0x18, 0x11, 0x04, 0, 0x03]);
            segment(true, from, to, flags)
        }
        17 | 132 => segment(false, from, to, 0),
        1 | 58 => {
            let kind = dice.pick(&[8, 0, 128, 129, 8, 0, 128, 129, 13, 135]);
            vec![kind, 0, 0, 0, 0, dice.pick(&[7, 7, 8]), 0, 1]
        }
        _ => vec![0; 8],
    };
    let mut packet = ip(protocol, from.ip(), to.ip(), &payload);
    if dice.one_in(8) {
        if from.is_ipv4() {
            // The first fragment, or a later one.
            packet[6] = dice.pick(&[0x20, 0, 0x20]);
            packet[7] = dice.pick(&[0, 5]);
        } else {
            // The same, or options for the destination.
            let header = dice.pick(&[
                [44, 0, 0, 1, 0, 0, 0, 9],
                [44, 0, 0, 8, 0, 0, 0, 9],
                [60, 0, 1, 4, 0, 0, 0, 0],
            ]);
            let next = std::mem::replace(&mut packet[6], header[0]);
            packet.splice(40..40, [&[next][..], &header[1..]].concat());
            packet[5] += 8;
        }
    }
    packet
}

/// That in a frame: under tags, in a session or under a label, cut or padded.
fn frame(dice: &mut Dice, packet: &[u8]) -> Vec<u8> {
    let is_v4 = packet[0] >> 4 == 4;
    let mut frame = vec![2; 12];
    if dice.one_in(10) {
        frame[0] = 3;
    }
    for _ in 0..dice.pick(&[0, 0, 0, 1, 2]) {
        frame.extend([0x81, 0, 0, 7]);
    }
    match dice.below(12) {
        0 => {
            let [upper, lower] = (packet.len() as u16 + 2).to_be_bytes();
            frame.extend([0x88, 0x64, 0x11, 0, 0, 1, upper, lower]);
            frame.extend([0, if is_v4 { 0x21 } else { 0x57 }]);
        }
        1 => frame.extend([0x88, 0x47, 0, 1, 1, 64]),
        _ => frame.extend(if is_v4 { [8, 0] } else { [0x86, 0xdd] }),
    }
    frame.extend(packet);
    match dice.below(16) {
        0 => {
            // A test run of a packet that goes out wants something behind Ethernet's header, and IP's whole where that
            // is next.
            let is_plain = [[8, 0], [0x86, 0xdd]].contains(&[frame[12], frame[13]]);
            let least = if is_plain { 14 + if is_v4 { 20 } else { 40 } } else { 15 };
            frame.truncate(least + dice.below(frame.len() + 1 - least));
        }
        1..4 => frame.resize(frame.len().max(60), 0),
        _ => {}
    }
    frame
}

/// One that may answer what went out: from the other side, or an error about it.
fn coming_in(dice: &mut Dice) -> Vec<u8> {
    let (own, peer) = ends(dice);
    let inner = if dice.one_in(4) {
        let quoted = packet(dice, own, peer);
        error(dice, own.ip(), &quoted)
    } else {
        packet(dice, peer, own)
    };
    frame(dice, &inner)
}

/// The configuration of a history, and whether anybody notes what goes out: by turns and not by chance, so that each run
/// meets enough of each.
fn config(history: u64) -> (Config, bool) {
    let udp = [None, Some(ReplyUdp::Sent), Some(ReplyUdp::Ephemeral), Some(ReplyUdp::Connected)];
    let config = Config {
        default: Some(Verdict::Drop),
        replies: Some(if history % 8 == 7 { Verdict::Drop } else { Verdict::Pass }),
        replies_udp: udp[(history / 3 % 4) as usize],
        ..Config::default()
    };
    (config, history % 3 != 2)
}

/// `XDPCTL_MODEL_HISTORIES` of them.
#[test]
fn model_and_program_know_what_was_sent_alike() {
    let histories = setting("XDPCTL_MODEL_HISTORIES").unwrap_or(30);
    let seed = seed();
    bench::within(|| {
        let mut dice = Dice::new(seed);
        let mut filter = Filter::load();
        filter.remember_nothing();
        let egress = filter.load_egress(LinkType::Ethernet);
        let mut out = [0; 2_048];
        let mut met: BTreeMap<String, usize> = BTreeMap::new();
        for history in 0..histories {
            let (mut config, is_noted) = config(history);
            filter.put(&config).unwrap_or_else(|error| panic!("{error}"));
            filter.begin_to_note(is_noted);
            let mut flows = Flows::default();
            let mut told = config.to_toml().0;
            for _ in 0..EVENTS {
                if dice.one_in(3) {
                    let (own, peer) = ends(&mut dice);
                    let packet = packet(&mut dice, own, peer);
                    let frame = frame(&mut dice, &packet);
                    let by_socket = dice.one_in(2);
                    // What came in by an interface is forwarded.
                    let came_by = if by_socket { 0 } else { 2 };
                    let _ = writeln!(told, "out, by a socket: {by_socket}, {frame:02x?}");
                    let run = bpf::run_egress(&egress, &frame, came_by, &mut out)
                        .unwrap_or_else(|error| panic!("{error}\n{told}"));
                    assert_eq!((run.action, &out[..run.length]), (NEXT, &frame[..]), "{told}");
                    let is_known = flows.goes_out(&frame, by_socket);
                    let what = if is_known { "noted" } else { "not noted" };
                    *met.entry(what.to_owned()).or_default() += 1;
                    config.sent = is_noted.then(|| flows.all().to_vec());
                    continue;
                }
                config.sent = is_noted.then(|| flows.all().to_vec());
                let frame = coming_in(&mut dice);
                let opinion = judge(&config, &frame);
                let given = Given { frame: &frame, first: None };
                if let Some(difference) = filter.compare(&opinion, given) {
                    panic!("{told}in, {frame:02x?}\n{difference}");
                }
                let what = format!("{} by {}, noted: {is_noted}", opinion.verdict, opinion.reason);
                *met.entry(what).or_default() += 1;
            }
        }
        println!("{histories} histories: {met:?}");
        if histories >= 20 {
            // A run has to meet all of these, or it has compared little.
            let events = histories as usize * EVENTS;
            let needed = [
                "noted",
                "not noted",
                "pass by reply, noted: true",
                "drop by default, noted: true",
                "pass by reply, noted: false",
                "drop by default, noted: false",
            ];
            for what in needed {
                let times = met.get(what).copied().unwrap_or(0);
                assert!(times * 500 > events, "{what} only {times} times of {events}");
            }
        }
    });
}
