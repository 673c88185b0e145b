//! Limits of rules with time as an input, from docs/limits.md: for each key of each limit, the time at which its bucket
//! of tokens is full again, with as much memory as that takes.
//!
//! What the product says is followed where the documentation leaves it a choice: times are known within the errors that
//! it states, and what lies clearly on one side has to be decided so.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::config::{Limit, Over, Per, Prefix, Rate, Rule};
use super::packet::{Frame, Payload};

/// In parts of a nanosecond, which make rounding here too small to matter.
type Time = i128;
const NANOSECOND: Time = 1 << 20;
const SECOND: Time = 1_000_000_000 * NANOSECOND;
/// What costs and the clock are rounded to.
const UNIT: Time = 1_024 * NANOSECOND;
/// How many nanoseconds the clock of packets may be behind, where the burst is worth at least `COARSE_FROM`.
pub const BEHIND: u64 = 10_000_000;
const COARSE_FROM: Time = 92 * SECOND / 100;

/// What stands for a bucket: the rule's name, what the limit counts by, its rate, and the part of an address.
type Key = (String, Per, (u8, u8), (u64, bool, u64), Option<(IpAddr, u8)>);

#[derive(Default)]
pub struct Buckets(BTreeMap<Key, Bucket>);

/// When a bucket is full, at the earliest and at the latest, without what rounding costs adds: they are of so many
/// packets.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    full: [Time; 2],
    packets: u32,
}

/// A moment, in nanoseconds: some time between two.
pub type Moment = [u64; 2];

/// What the documentation says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    Under,
    Over,
    /// It is so close that the stated errors decide.
    Either,
}

/// What a packet finds.
struct Asked {
    key: Key,
    bucket: Bucket,
    cost: [Time; 2],
    /// The clock, at the earliest and at the latest.
    clock: [Time; 2],
    says: Says,
}

impl Buckets {
    /// What a limit says of a frame of so many bytes at some moment.
    pub fn says(&self, rule: &Rule, frame: &Frame, length: usize, at: Moment) -> Says {
        self.ask(rule, frame, length, at).says
    }

    /// The same, and what becomes of the bucket where the product says whether the packet is over.
    pub fn take(
        &mut self,
        rule: &Rule,
        frame: &Frame,
        length: usize,
        at: Moment,
        is_over: bool,
    ) -> Says {
        let Asked { key, mut bucket, cost, clock, says } = self.ask(rule, frame, length, at);
        if !is_over {
            for (nth, full) in bucket.full.iter_mut().enumerate() {
                *full = clock[nth].max(*full) + cost[nth];
            }
            bucket.packets += 1;
            self.0.insert(key, bucket);
        }
        says
    }

    fn ask(&self, rule: &Rule, frame: &Frame, length: usize, at: Moment) -> Asked {
        let limit = rule.limit.expect("a rule with a limit");
        let Over::Rate(rate) = limit.over else { panic!("{rule:?} has no rate") };
        let exact = |amount: u64, parts: Time| -> Time {
            let bits = if rate.of_bits { 8 } else { 1 };
            Time::from(amount) * bits * Time::from(rate.seconds) * SECOND * parts
                / Time::from(rate.amount)
        };
        let amount = if rate.of_bits { length as u64 } else { 1 };
        let cost = exact(amount, 1);
        let burst = exact(rate.burst, 1);
        // Whole packets of a burst fit, though the cost of each is rounded.
        let excess = match is_rounded_at_random(rate, exact(if rate.of_bits { 60 } else { 1 }, 1)) {
            false if !rate.of_bits => Time::from(rate.burst) * UNIT / 2,
            _ => 0,
        };
        let behind = if burst < COARSE_FROM - excess { 0 } else { Time::from(BEHIND) * NANOSECOND };
        let [begin, end] = at.map(|time| Time::from(time) * NANOSECOND);
        let clock = [begin - behind - UNIT, end];
        let key = key(rule, limit, rate, frame);
        let empty = Bucket { full: clock, packets: 0 };
        let mut bucket = *self.0.get(&key).unwrap_or(&empty);
        let rounded =
            |packets| rounding(rate, exact(if rate.of_bits { 60 } else { 1 }, 1), packets);
        if bucket.full[1] + rounded(bucket.packets) <= clock[0] {
            // It is full for sure, and what it was before says nothing.
            bucket = empty;
        }
        let error = rounded(bucket.packets);
        let ahead = [
            (bucket.full[0] - error - clock[1]).max(0),
            (bucket.full[1] + error - clock[0]).max(0),
        ];
        let at_least = ahead[0] + cost - UNIT;
        let at_most = ahead[1] + cost + 1 + UNIT;
        let says = if at_least > burst + excess + 2 * UNIT {
            Says::Over
        } else if at_most <= burst {
            Says::Under
        } else {
            Says::Either
        };
        Asked { key, bucket, cost: [cost, cost + 1], clock, says }
    }
}

/// Whether a thousandth of what a packet costs is less than what it is rounded to.
fn is_rounded_at_random(_: Rate, least: Time) -> bool {
    least < 1_024 * UNIT
}

/// How far rounding the costs of so many packets may take their sum from what it should be.
fn rounding(rate: Rate, least: Time, packets: u32) -> Time {
    let packets = Time::from(packets);
    if !is_rounded_at_random(rate, least) {
        // To the nearest, and a bit for each packet's rate itself.
        return packets * (UNIT / 2 + NANOSECOND);
    }
    // By up to one unit, one way or the other: four times the deviation that this has at most.
    let deviation = (packets as f64).sqrt() * 2.0;
    packets.min(deviation.ceil() as Time + 4) * UNIT
}

fn key(rule: &Rule, limit: Limit, rate: Rate, frame: &Frame) -> Key {
    let lengths = limit.lengths.unwrap_or((32, 64));
    let part = match &frame.payload {
        Payload::Ip(packet) => {
            let address = match limit.per {
                Per::Rule => None,
                Per::Source => Some(packet.source),
                Per::Destination => Some(packet.destination),
            };
            address.map(|address| {
                let length = if address.is_ipv4() { lengths.0 } else { lengths.1 };
                (Prefix::new(Prefix::new(address, length).ends().0, length).address, length)
            })
        }
        _ => None,
    };
    let of = (rate.amount, rate.of_bits, rate.seconds);
    // Of a rule's own bucket there is one for both families.
    let lengths = if limit.per == Per::Rule { (0, 0) } else { lengths };
    (rule.name.clone(), limit.per, lengths, of, part)
}
