//! Rules that answer SYNs, over random rulesets and frames: which SYNs are answered, whether their addresses are this
//! host's, and what their answers look like. Routes, listeners and cookies are the kernel's: cookies are made up
//! here, and every address has a listener.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use xdp_common::filter::serve::before;
use xdp_common::filter::syn_cookie::{Outcome, size};
use xdp_common::image::Action as Decided;
use xdp_common::lookup::services::{Key, find_reply};
use xdp_common::packet::rewrite::FrameMut;
use xdp_common::packet::syn_ack::{Resize, is_answerable, turn_around};
use xdp_common::packet::{LinkType, Network, Packet};
use xdpctl::image::Image;
use xdpctl::image::metadata::Metadata;
use xdpctl::judgement;

use super::bans::InMemory;
use super::config::{Action, Config, Rule};
use super::dice::{Dice, seed, setting};
use super::disagreement::tell;
use super::frames::{self, Edges};
use super::judge::judge;
use super::loading;
use super::packet::{self, Payload};
use super::possible::can_match;
use super::product::{Product, differs};
use super::rulesets::{self, MACS, PORTS, TTLS, ipv4, ipv6};
use super::syn_ack::syn_ack;

const FRAMES_PER_CONFIG: usize = 200;
/// The least that a link has for IPv6, the usual one, and the most that there is.
const MTUS: [u16; 6] = [0, 68, 1_280, 1_500, 9_000, 65_535];

/// Random rules, of which many answer SYNs.
fn config(dice: &mut Dice) -> Config {
    let mut config = rulesets::config(dice);
    for rule in &mut config.rules {
        let mut answering = rule.clone();
        answering.action = Action::SynCookie;
        (answering.set_source_mac, answering.set_destination_mac) = (None, None);
        answering.icmp_type.clear();
        answering.not.icmp_type.clear();
        if dice.one_in(2) {
            answering.protocol = None;
        }
        if dice.one_in(2) && can_match(&answering) {
            *rule = answering;
        }
    }
    let place = dice.below(config.rules.len() + 1);
    config.rules.insert(place, Rule::new("syns", Action::SynCookie));
    config
}

fn octets(frame: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => frame.extend(address.octets()),
        IpAddr::V6(address) => frame.extend(address.octets()),
    }
}

/// A SYN between two hosts, now and then with what keeps it from being answered.
fn syn(dice: &mut Dice) -> Vec<u8> {
    let mut tcp = Vec::new();
    tcp.extend(dice.pick(&PORTS).to_be_bytes());
    tcp.extend(dice.pick(&PORTS).to_be_bytes());
    let any = dice.word() as u32;
    tcp.extend(dice.pick(&[0, u32::MAX, any]).to_be_bytes());
    tcp.extend((dice.word() as u32).to_be_bytes());
    let words = dice.pick(&[5, 5, 6, 10, 15]);
    let flags = if dice.one_in(6) { dice.byte() | 2 } else { dice.pick(&[0x02, 0x02, 0xc2]) };
    tcp.extend([words << 4, flags]);
    tcp.resize(usize::from(words) * 4, 0x01);
    if dice.one_in(4) {
        tcp.extend(dice.some(1, 40, Dice::byte));
    }
    if dice.one_in(10) {
        // TCP's header is not whole.
        tcp.truncate(dice.below(24));
    }
    let mut frame = [dice.pick(&MACS), dice.pick(&MACS)].concat();
    if !dice.one_in(4) {
        frame[0] &= 0xfe;
    }
    for _ in 0..dice.pick(&[0, 0, 1, 2]) {
        frame.extend([0x81, 0, 0, dice.byte()]);
    }
    let is_v6 = dice.one_in(2);
    let options = if !is_v6 && dice.one_in(10) { 4 } else { 0 };
    let extension = is_v6 && dice.one_in(10);
    let mut ip = Vec::new();
    let ttl = dice.pick(&TTLS);
    if is_v6 {
        let [upper, lower] = (tcp.len() as u16 + if extension { 8 } else { 0 }).to_be_bytes();
        let next = if extension { 60 } else { 6 };
        ip.extend([0x60, dice.byte() & 0xf, 1, 2, upper, lower, next, ttl]);
        octets(&mut ip, ipv6(dice));
        octets(&mut ip, ipv6(dice));
        if extension {
            ip.extend([6, 0, 1, 4, 0, 0, 0, 0]);
        }
    } else {
        let [upper, lower] = (20 + options + tcp.len() as u16).to_be_bytes();
        let fragment = if dice.one_in(10) { 0x20 } else { dice.pick(&[0, 0x40]) };
        ip.extend([0x45 + (options / 4) as u8, dice.byte(), upper, lower, 7, 7, fragment, 0]);
        ip.extend([ttl, 6, dice.byte(), dice.byte()]);
        octets(&mut ip, ipv4(dice));
        octets(&mut ip, ipv4(dice));
        ip.extend(&[1; 4][..usize::from(options)]);
    }
    ip.extend(tcp);
    match dice.below(20) {
        0 => {
            let [upper, lower] = (ip.len() as u16 + 2).to_be_bytes();
            frame.extend([0x88, 0x64, 0x11, 0, 0, 1, upper, lower]);
            frame.extend([0, if is_v6 { 0x57 } else { 0x21 }]);
        }
        1 => frame.extend([0x88, 0x47, 0, 1, 1, 64]),
        _ => frame.extend(if is_v6 { [0x86, 0xdd] } else { [8, 0] }),
    }
    frame.extend(ip);
    match dice.below(4) {
        0 => frame.resize(frame.len().max(60), 0x55),
        1 => frame.extend(dice.some(0, 9, Dice::byte)),
        _ => {}
    }
    frame
}

/// A frame that can be made longer, or not.
struct Buffer {
    bytes: Vec<u8>,
    has_room: bool,
}

impl FrameMut for Buffer {
    type WindowMut<'a, const N: usize> = &'a mut [u8; N];

    fn window_mut<const N: usize>(&mut self, offset: u32) -> Option<&mut [u8; N]> {
        self.bytes.as_mut_slice().window_mut(offset)
    }
}

impl Resize for Buffer {
    fn resize(&mut self, by: i32) -> bool {
        if by > 0 && !self.has_room {
            return false;
        }
        let length = self.bytes.len().checked_add_signed(by as isize).expect("a length");
        self.bytes.resize(length, 0xaa);
        true
    }
}

/// What the product makes of a SYN that one of its rules answers.
fn turned(
    frame: &[u8],
    packet: &Packet,
    action: &Decided,
    cookie: u32,
    has_room: bool,
) -> Option<Vec<u8>> {
    let mut buffer = Buffer { bytes: frame.to_vec(), has_room };
    let size = size(action, packet.network == Network::IPV6);
    turn_around(&mut buffer, packet, frame.len() as u32, cookie, size)?;
    Some(buffer.bytes)
}

/// `XDPCTL_MODEL_PAIRS` configurations and frames.
#[test]
fn model_and_product_answer_syns_alike() {
    let pairs = setting("XDPCTL_MODEL_PAIRS").unwrap_or(50_000) as usize;
    let mut dice = Dice::new(seed());
    let mut met: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..pairs.div_ceil(FRAMES_PER_CONFIG) {
        let config = config(&mut dice);
        let product = Product::load(&config)
            .unwrap_or_else(|error| panic!("refused: {error}\n{}", config.to_toml().0));
        let ruleset = loading::ruleset(&config).expect("the same once more");
        let own = dice.some(0, 6, |dice| if dice.one_in(2) { ipv4(dice) } else { ipv6(dice) });
        let own: Vec<IpAddr> = own.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        let mtu = dice.pick(&MTUS);
        let metadata = Metadata { own: own.clone(), mtu, ..Metadata::unbound(&ruleset) };
        let image = Image::build(&ruleset, 1, &metadata).expect("an image");
        let (entries, edges) = (InMemory::of(&config), Edges::of(&config));
        for _ in 0..FRAMES_PER_CONFIG {
            let bytes =
                if dice.one_in(4) { frames::frame(&mut dice, &edges) } else { syn(&mut dice) };
            if product.differs(&config, &bytes).is_some() {
                tell(&config, &bytes, &mut differs);
            }
            let opinion = judge(&config, &bytes);
            *met.entry(opinion.syn_cookie.unwrap_or("of no such rule")).or_default() += 1;
            if opinion.syn_cookie != Some("answered") {
                continue;
            }
            let said = judgement::judge(&image, &entries, LinkType::Ethernet, &bytes);
            assert_eq!(said.syn_cookie, Some(Outcome::Answered), "{bytes:02x?}");
            let (action, packet) = (said.action.expect("a rule's"), said.packet.expect("a SYN"));
            assert!(is_answerable(&packet, before(&bytes[..], &packet)), "{bytes:02x?}");
            let frame = packet::read(&bytes).expect("well formed");
            let Payload::Ip(of) = &frame.payload else { panic!("{frame:?}") };

            // One that this host had not when the ruleset was put in force is passed on.
            let found = find_reply(&image, image.header(), Key::own(&packet)).expect("a table");
            assert_eq!(found != 0, own.contains(&of.destination), "{own:?} {bytes:02x?}");
            *met.entry(if found == 0 { "unknown_address" } else { "own address" }).or_default() +=
                1;

            let (cookie, has_room) = (dice.word() as u32, !dice.one_in(4));
            // The MTU is not known before an interface is.
            let mtu = if mtu == 0 { 1_500 } else { mtu };
            let expected = syn_ack(&bytes, &frame, of, cookie, mtu);
            let fits = has_room || expected.len() <= bytes.len();
            *met.entry(if fits { "fits" } else { "does not fit" }).or_default() += 1;
            let turned = turned(&bytes, &packet, &action, cookie, has_room);
            assert_eq!(turned, fits.then_some(expected), "mtu {mtu}, {bytes:02x?}");
        }
    }
    println!("{pairs} pairs: {met:?}");
    if pairs < 20_000 {
        return;
    }
    // A run has to meet all of these, or it has compared little.
    for what in ["answered", "odd", "unknown_address", "own address", "fits", "does not fit"] {
        let times = met.get(what).copied().unwrap_or(0);
        assert!(times * 500 > pairs, "{what} only {times} times");
    }
}

/// What the documentation says of each outcome.
#[test]
fn what_becomes_of_a_syn_has_a_verdict() {
    let told = Outcome::ALL.map(|outcome| {
        let (verdict, reason) = outcome.decision().parts().expect("a decision");
        (outcome.as_str(), verdict.as_str(), reason.as_str())
    });
    assert_eq!(
        told,
        [
            ("answered", "tx", "rule"),
            ("not_needed", "pass", "rule"),
            ("no_listener", "drop", "rule"),
            ("odd", "drop", "rule"),
            ("unknown_address", "pass", "rule"),
        ]
    );
}
