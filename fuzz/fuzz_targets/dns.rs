//! Any bytes as a DNS message over UDP: what the product reads of its question is what the tests'
//! model reads; and every answer that a query can be turned into is the one that the model makes.
//!
//! The first byte says what carries the message, see [`frame`]. The rest is the packet from UDP's
//! ports on.

#![no_main]

use std::cell::LazyCell;

use libfuzzer_sys::fuzz_target;
use model::config::{Config, DomainAction, Domains, ListedName};
use model::product::Product;

#[path = "../../tests/model"]
#[expect(dead_code, reason = "the tests ask for more of the model")]
mod model {
    pub mod answer;
    pub mod bans;
    pub mod config;
    pub mod config_text;
    pub mod dice;
    pub mod dns;
    pub mod domains;
    pub mod judge;
    pub mod loading;
    pub mod packet;
    pub mod product;
    pub mod questions;
    pub mod service_config;
    pub mod sockets;
}

/// What the longest packet of IPv4 has room for.
const LONGEST: usize = 65_515;

fuzz_target!(|input: &[u8]| {
    let Some((how, packet)) = input.split_first() else { return };
    let frame = frame(*how, &packet[..packet.len().min(LONGEST)]);
    model::questions::compare(&frame);
    PRODUCTS.with(|products| {
        for (config, product) in products.iter() {
            if let Some(differs) = product.differs(config, &frame) {
                panic!("{config:?}\n{differs}");
            }
        }
    });
});

thread_local! {
    /// Every name, answered in each way, and a name with an exception below it.
    static PRODUCTS: LazyCell<Vec<(Config, Product)>> = LazyCell::new(|| {
        let every = |action| list("every", &[], action);
        let exception = list("exception", &[b"www", b"example", b"org"], DomainAction::Pass);
        let configs = [
            vec![every(DomainAction::Nxdomain)],
            vec![every(DomainAction::Refuse)],
            vec![every(DomainAction::Truncate)],
            vec![list("listed", &[b"example", b"org"], DomainAction::Drop), exception],
        ];
        let configs = configs.map(|domains| Config { domains, ..Config::default() });
        let load = |config: Config| {
            let product = Product::load(&config);
            (config, product.expect("a configuration that is right"))
        };
        configs.map(load).into()
    });
}

fn list(name: &str, labels: &[&[u8]], action: DomainAction) -> Domains {
    let labels = labels.iter().map(|label| label.to_vec()).collect();
    Domains {
        name: name.to_owned(),
        names: vec![ListedName { labels, below_only: false }],
        action: Some(action),
        ..Domains::default()
    }
}

/// By the bits of `how`: IPv6 or IPv4, under a tag, in a PPPoE session, whose protocol may be
/// compressed to a byte, and as the first fragment of more.
fn frame(how: u8, udp: &[u8]) -> Vec<u8> {
    let has = |bit: u8| how >> bit & 1 == 1;
    let mut ip = Vec::new();
    if has(0) {
        let goes_on: &[u8] = if has(4) { &[17, 0, 0, 1, 0, 0, 0, 7] } else { &[] };
        ip.extend([0x60, 0, 0, 0]);
        ip.extend(((udp.len() + goes_on.len()) as u16).to_be_bytes());
        ip.extend([if has(4) { 44 } else { 17 }, 64]);
        ip.extend([0x20; 32]);
        ip.extend(goes_on);
    } else {
        ip.extend([0x45, 0]);
        ip.extend((20 + udp.len() as u16).to_be_bytes());
        ip.extend([0, 0, u8::from(has(4)) << 5, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    }
    ip.extend(udp);
    let mut frame = vec![2; 12];
    if has(1) {
        frame.extend([0x81, 0, 0, 100]);
    }
    if has(2) {
        let protocol = [0, if has(0) { 0x57 } else { 0x21 }];
        let protocol = if has(3) { &protocol[1..] } else { &protocol };
        frame.extend([0x88, 0x64, 0x11, 0, 0, 1]);
        // A packet that is too long for PPPoE makes a length that lies.
        frame.extend(((protocol.len() + ip.len()) as u16).to_be_bytes());
        frame.extend(protocol);
    } else {
        frame.extend(if has(0) { [0x86, 0xdd] } else { [8, 0] });
    }
    frame.extend(ip);
    frame
}
