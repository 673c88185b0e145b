//! Limits as the program asks them: [`xdp_common::filter::limits`].

use xdp_common::filter::limits::{Key, Limit as Line, PRECISE_BELOW, UNIT_SHIFT};
use xdp_common::stats::counter::CounterId;

use crate::ruleset::limits::{Lengths, Limit, Per, Quantity};

/// The line of a rule's limit. `under` is the number of the counter of what is under.
pub fn line(name: &str, limit: &Limit, under: u32) -> Line {
    // A rate of so many units of 2^-32 for a packet or a byte. No amount is 0, and no time is above a day.
    let nanoseconds = u128::from(limit.rate.time.seconds()) * 1_000_000_000;
    let of_one = match limit.rate.of {
        Quantity::Packets => 1_u128,
        Quantity::Bits => 8,
    };
    let whole = (nanoseconds * of_one) << (32 - UNIT_SHIFT);
    let amount = u128::from(limit.rate.amount.max(1));
    // As many bits of the fraction as leave room to multiply by a packet's length.
    let exact = whole / amount;
    let dropped = (u128::BITS - exact.leading_zeros()).saturating_sub(40).min(32);
    let shift = 32 - dropped;
    let rounded = |number: u128| (number + (1_u128 << dropped >> 1)) >> dropped;
    let step = u64::try_from(rounded(exact)).unwrap_or(u64::MAX).max(1);
    // The least that a packet costs: what is a bit more or less by rounding is less than 0.1 % then.
    let shortest = if of_one == 8 { 60 } else { 1 };
    let least = (exact * shortest) >> 32;
    let Lengths { v4, v6 } = limit.per.lengths().unwrap_or_default();
    let mask_v6 = u128::MAX << (128 - u32::from(v6.clamp(1, 128)));
    let key = match limit.per {
        Per::Rule => Key::Rule,
        Per::Source(_) => Key::Source,
        Per::Destination(_) => Key::Destination,
    };
    let is_fine = least < 1_024 && shift > 0;
    // Whole packets of the burst fit, however what each costs is rounded: to the nearest, unless it is rounded at
    // random.
    let excess = if is_fine || of_one == 8 { 0 } else { limit.burst / 2 };
    let window = ((u128::from(limit.burst) * whole / amount) >> 32) + u128::from(excess) + 1;
    let window = u64::try_from(window).unwrap_or(u64::MAX);
    Line {
        id: id(name, limit),
        step,
        window,
        mask_v6: [(mask_v6 >> 64) as u64, mask_v6 as u64],
        mask_v4: u32::MAX << (32 - u32::from(v4.clamp(1, 32))),
        under: CounterId::new(under).0,
        key: key as u8,
        of_bytes: u8::from(of_one == 8),
        is_precise: u8::from(window < PRECISE_BELOW),
        is_fine: u8::from(is_fine),
        shift,
        unused: 0,
    }
}

/// What stands for a limit beside images: rulesets that give a rule of that name the same key and the same rate share
/// what its keys have used up. (FNV-1a, 64 bits.)
pub fn id(name: &str, limit: &Limit) -> u64 {
    let Lengths { v4, v6 } = limit.per.lengths().unwrap_or_default();
    let kind = match limit.per {
        Per::Rule => "rule",
        Per::Source(_) => "source",
        Per::Destination(_) => "destination",
    };
    let text = format!("{name}\0{kind}/{v4},{v6}\0{}", limit.rate);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
