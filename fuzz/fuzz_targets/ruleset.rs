//! Any configurations and frames, as the tests' model makes them, with the input in the place of
//! chance: from text to image to judgement, held against the model's judgement.
//!
//! The configuration is drawn from the input's front, the frames from its back, so that a change of
//! the one leaves the other as it was.

#![no_main]

use libfuzzer_sys::fuzz_target;
use model::dice::Dice;
use model::disagreement::tell;
use model::frames::{Edges, frame, raw_packet};
use model::product::Product;
use model::rulesets;

#[path = "../../tests/model"]
#[expect(dead_code, reason = "the tests ask for more of the model")]
mod model {
    pub mod answer;
    pub mod bans;
    pub mod config;
    pub mod config_text;
    pub mod dice;
    pub mod disagreement;
    pub mod dns;
    pub mod domains;
    pub mod frames;
    pub mod judge;
    pub mod loading;
    pub mod messages;
    pub mod packet;
    pub mod product;
    pub mod possible;
    pub mod rulesets;
    pub mod service_config;
    pub mod sockets;
}

const FRAMES: usize = 40;

fuzz_target!(|input: &[u8]| {
    let config = rulesets::config(&mut Dice::of(input.to_vec()));
    let product = Product::load(&config)
        .unwrap_or_else(|error| panic!("refused: {error}\n{}", config.to_toml().0));
    let edges = Edges::of(&config);
    let mut dice = Dice::of(input.iter().rev().copied().collect());
    for _ in 0..FRAMES {
        let frame = frame(&mut dice, &edges);
        if product.differs(&config, &frame).is_some() {
            tell(&config, &frame, &mut |config, frame| {
                Product::load(config).ok()?.differs(config, frame)
            });
        }
        let packet = raw_packet(&mut dice, &edges);
        if product.differs_raw(&config, &packet).is_some() {
            tell(&config, &packet, &mut |config, packet| {
                Product::load(config).ok()?.differs_raw(config, packet)
            });
        }
    }
});
