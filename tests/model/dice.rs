//! Random numbers that can be repeated: SplitMix64 from a seed, or bytes that a fuzzer chose.

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

/// A number from the environment.
pub fn setting(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

/// A new seed each time, unless `XDPCTL_MODEL_SEED` gives one.
pub fn seed() -> u64 {
    let seed = setting("XDPCTL_MODEL_SEED")
        .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64);
    println!("XDPCTL_MODEL_SEED={seed} makes this run again");
    seed
}

pub struct Dice {
    state: u64,
    /// These bytes are used up before random numbers are made.
    chosen: std::vec::IntoIter<u8>,
}

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self { state: seed, chosen: Vec::new().into_iter() }
    }

    /// Uses these bytes instead of random numbers, as far as they last.
    pub fn of(chosen: Vec<u8>) -> Self {
        Self { state: 0, chosen: chosen.into_iter() }
    }

    /// A number made of that many of the chosen bytes; once they are used up, a random one of 64
    /// bits.
    fn draw(&mut self, bytes: usize) -> u64 {
        if self.chosen.len() > 0 {
            return self
                .chosen
                .by_ref()
                .take(bytes)
                .fold(0, |word, byte| word << 8 | u64::from(byte));
        }
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.state;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    pub fn word(&mut self) -> u64 {
        self.draw(8)
    }

    pub fn wide(&mut self) -> u128 {
        u128::from(self.word()) << 64 | u128::from(self.word())
    }

    pub fn byte(&mut self) -> u8 {
        self.draw(1) as u8
    }

    /// From 0 to less than `end`.
    pub fn below(&mut self, end: usize) -> usize {
        let bytes = match end {
            ..=0x100 => 1,
            0x101..=0x1_0000 => 2,
            _ => 8,
        };
        (self.draw(bytes) % end as u64) as usize
    }

    /// True once in `times`.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    /// From `least` to `most` of what `make` makes.
    pub fn some<T>(
        &mut self,
        least: usize,
        most: usize,
        mut make: impl FnMut(&mut Self) -> T,
    ) -> Vec<T> {
        let number = least + self.below(most - least + 1);
        (0..number).map(|_| make(self)).collect()
    }

    /// What `make` makes, once in `times`.
    pub fn maybe<T>(&mut self, times: usize, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.one_in(times) { Some(make(self)) } else { None }
    }
}

#[test]
fn bytes_are_taken_before_chance() {
    let mut dice = Dice::of(vec![7, 0x01, 0x02, 9]);
    assert_eq!((dice.below(5), dice.below(1_000), dice.byte()), (2, 0x102, 9));
    assert_eq!(dice.word(), Dice::new(0).word());
}
