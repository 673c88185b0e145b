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
use super::dice::{Dice, seed, setting};
use super::disagreement::tell;
use super::frames::{self, Edges};
use super::judge::judge;
use super::loading;
use super::packet::{self, Payload};
use super::product::{Product, differs};
use super::rulesets::{ipv4, ipv6};
use super::syn_ack::syn_ack;
use super::syn_rulesets::{config, syn};

const FRAMES_PER_CONFIG: usize = 200;
/// The least that a link has for IPv6, the usual one, and the most that there is.
const MTUS: [u16; 6] = [0, 68, 1_280, 1_500, 9_000, 65_535];

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
                if dice.one_in(4) { frames::frame(&mut dice, &edges) } else { syn(&mut dice, &[]) };
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
