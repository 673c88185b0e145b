//! Limits by a clock that the tests turn.

use super::*;

const SECOND: u64 = (1_000_000_000 >> UNIT_SHIFT) + 1;
const SECRET: u64 = 0x5851_f42d_4c95_7f2d;

/// A limit of packets in a second.
fn limit(rate: u64, burst: u64) -> Limit {
    let step = (1_000_000_000_u64 << 22) / rate;
    Limit {
        id: 0x1234_5678_9abc_def0,
        step,
        window: ((step * burst) >> 32) + burst / 2 + 1,
        mask_v6: [u64::MAX; 2],
        mask_v4: u32::MAX,
        under: 0,
        key: Key::Source as u8,
        of_bytes: 0,
        is_precise: 0,
        is_fine: 0,
        shift: 32,
        unused: 0,
    }
}

/// All lines of the program's map, or a part of them.
struct Table {
    lines: Vec<Cells>,
    limit: Limit,
    limiting: Limiting,
}

impl Table {
    fn new(lines: usize, limit: Limit) -> Self {
        let lines = (0..lines).map(|_| [const { Word::new(0) }; LINE_WORDS]).collect();
        Self { lines, limit, limiting: Limiting::LEFT_BEHIND }
    }

    fn is_over(&mut self, key: u64, now: u64) -> bool {
        let limiting = &mut self.limiting;
        limiting.now = now;
        limiting.cost = self.limit.cost(60, || 0);
        limiting.key = [key, 0];
        limiting.hash = hash(self.limit.id, limiting.key, false, SECRET);
        let line = (limiting.hash >> 32) as usize % self.lines.len();
        look(&self.lines[line], limiting);
        take(&self.lines[line], limiting, self.limit.window, true).1
    }
}

/// Another number each time, the same in each run (Steele and others' SplitMix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }
}

#[test]
fn a_burst_and_then_the_rate() {
    for (rate, burst) in [(100, 100), (100, 1), (1, 1), (1, 10), (5_000, 50)] {
        let mut table = Table::new(1, limit(rate, burst));
        let begin = 77 * SECOND;
        let passed = |table: &mut Table, from, seconds: u64| {
            let packets = seconds * 100 * rate;
            let at = |nth| from + nth * seconds * SECOND / packets;
            (0..packets).filter(|nth| !table.is_over(7, at(*nth))).count() as u64
        };
        let first = passed(&mut table, begin, 20);
        let expected = burst + 20 * rate;
        // A burst of one makes up for no packet that comes a little late.
        let slack = |packets: u64| 1 + packets / if burst == 1 { 80 } else { 500 };
        assert!(first.abs_diff(expected) <= slack(expected), "{rate}/{burst}: {first}");
        let next = passed(&mut table, begin + 20 * SECOND, 20);
        assert!(next.abs_diff(20 * rate) <= slack(20 * rate), "{rate}/{burst}: {next}");
        // What nobody uses comes back, and no more than the burst.
        let later = begin + 10_000 * SECOND;
        let at_once = (0..10 * burst).filter(|_| !table.is_over(7, later)).count() as u64;
        assert!(at_once.abs_diff(burst) <= 1 + burst / 500, "{rate}/{burst}: {at_once}");
    }
}

/// A packet that takes 51 ns of ten gigabits costs a twentieth of a unit.
#[test]
fn costs_below_a_unit_add_up() {
    let mut dice = Dice(1);
    // 0.8 ns.
    let a_byte = 3_355_443;
    let of_bytes = Limit { of_bytes: 1, is_fine: 1, step: a_byte, ..limit(1, 1) };
    let packets = 1_000_000;
    let sum: u64 = (0..packets).map(|_| of_bytes.cost(64, || dice.next() as u32)).sum();
    let exact = (packets * 64 * a_byte) >> 32;
    assert!(sum.abs_diff(exact) < exact / 100, "{sum} for {exact}");
}

#[test]
fn a_frame_longer_than_the_burst_is_always_over() {
    let mut table = Table::new(1, Limit { window: 1, ..limit(100, 1) });
    assert!(table.is_over(7, SECOND) && table.is_over(7, 100 * SECOND));
}

/// A cell whose time the clock has come round to is of nobody: else its key would be over for a year.
#[test]
fn what_is_older_than_the_clocks_period_says_nothing() {
    let mut table = Table::new(1, limit(1, 1));
    assert!(!table.is_over(7, SECOND));
    let half = 1 << 45;
    assert!(!table.is_over(7, SECOND + half + (1 << 43)));
    let mut table = Table::new(1, limit(1, 1));
    for key in 0..8 {
        assert!(!table.is_over(key, SECOND));
    }
    assert!(!table.is_over(9, SECOND + half + (1 << 43)));
    assert!(table.is_over(9, SECOND + half + (1 << 43)), "it took a place");
}

/// Eight keys that use their limit fill a line. Nobody drives them out, however many come; and one whose bucket
/// is full again makes room.
#[test]
fn nobody_takes_the_place_of_a_key_that_uses_its_limit() {
    let mut table = Table::new(1, limit(10, 10));
    for key in 0..8 {
        let over = (0..40).filter(|_| table.is_over(key, SECOND)).count();
        assert_eq!(over, 30);
    }
    // What has no place is under, but for the few with the tag of one that has.
    let others = (100..100_000).filter(|key| table.is_over(*key, SECOND)).count();
    assert!(others < 50, "{others}");
    for key in 0..8 {
        assert!(table.is_over(key, SECOND), "{key} is still over");
    }
    let later = 3 * SECOND;
    assert_eq!((0..40).filter(|_| table.is_over(9, later)).count(), 30, "a place is free");
}

/// The goal: 100 million forged sources at a million a second, ten abusers at a hundred times their limit, a
/// thousand innocents at half of theirs. Scaled down in the number of packets by `scale`, with as many lines less,
/// so that as many packets come to a line; the abusers and the innocents are those of one part.
fn flood(scale: u64, rate: u64, burst: u64, packets_each: u64) {
    const LINES: u64 = 1 << 17;
    let seconds = 100 / packets_each.max(1);
    let mut table = Table::new((LINES / scale) as usize, limit(rate, burst));
    let mut dice = Dice(rate ^ burst << 20 ^ packets_each << 40);
    let (abusers, innocents) = (10, 1_000 / scale.min(10));
    let forged_a_second = 1_000_000 / scale;
    let (mut of_abusers, mut dropped, mut sent) = (0_u64, 0_u64, 0_u64);
    // Steps of time: in each, forged packets, and the others as often as they are due.
    let steps_a_second = 1_000.max(rate * 200);
    let mut forged_due = 0;
    let mut forged = 1_u64 << 40;
    for step in 0..seconds * steps_a_second {
        let now = 9_000 * SECOND + step * SECOND / steps_a_second;
        forged_due += forged_a_second;
        while forged_due >= steps_a_second {
            forged_due -= steps_a_second;
            // Each forged source sends once or several times in a row.
            forged += 1;
            table.is_over(forged / packets_each, now);
        }
        let due = |a_second: u64| {
            step * a_second / steps_a_second != (step + 1) * a_second / steps_a_second
        };
        if due(100 * rate) {
            for abuser in 0..abusers {
                of_abusers += u64::from(!table.is_over(abuser, now));
            }
        }
        // At every second beat at most, so half of the rate.
        let beat = step * rate / steps_a_second;
        if beat != (step + 1) * rate / steps_a_second {
            for innocent in (0..innocents).filter(|innocent| (beat + innocent).is_multiple_of(2)) {
                if dice.next() & 1 == 0 {
                    sent += 1;
                    dropped += u64::from(table.is_over(1_000 + innocent, now));
                }
            }
        }
    }
    let allowed = abusers * (burst + rate * seconds);
    println!(
        "{rate}/s, burst {burst}, {packets_each} each: abusers {of_abusers} of {allowed} allowed, innocents {dropped} of {sent} dropped"
    );
    assert!(of_abusers <= allowed + allowed / 20, "{rate}/{burst}: {of_abusers} of {allowed}");
    assert!(of_abusers >= allowed - allowed / 20, "{rate}/{burst}: {of_abusers} of {allowed}");
    assert!(dropped * 1_000 <= sent, "{rate}/{burst}: {dropped} of {sent} dropped");
}

#[test]
fn a_flood_of_forged_sources_frees_no_abuser_and_hurts_nobody() {
    for (rate, burst) in [(100, 100), (10, 10), (1, 2), (1, 1), (100, 1)] {
        flood(1_024, rate, burst, 1);
    }
    // Each forged source sends twice, so that it seems to use its limit.
    flood(1_024, 100, 100, 2);
    flood(1_024, 10, 10, 2);
}

#[test]
#[ignore = "takes minutes: 100 million packets each"]
fn the_whole_flood() {
    for (rate, burst) in [(100, 100), (1, 2), (1, 1)] {
        flood(1, rate, burst, 1);
    }
}

/// Those that are over most often stay among the heavy ones, however many others are over now and then.
#[test]
fn the_heaviest_keys_are_known() {
    let lines: Vec<Cells> = (0..64).map(|_| [const { Word::new(0) }; LINE_WORDS]).collect();
    let over = |key: u64, now: u64| {
        let key = [key, 0];
        let hash = hash(5 << 40, key, false, SECRET);
        let limiting = Limiting { now, hash, key, ..Limiting::LEFT_BEHIND };
        remember(&lines[heavy_line(hash) as usize % lines.len()], 5 << 40, &limiting, false);
    };
    let mut dice = Dice(3);
    for nth in 0..200_000 {
        let now = 50 * SECOND + nth;
        over(nth % 10, now);
        over(1_000 + dice.next() % 100_000, now);
    }
    let entries = lines.iter().flat_map(|line| line.as_chunks::<4>().0);
    let found: Vec<(u64, u64)> =
        entries.map(|entry| (entry[1].load(), entry[3].load())).filter(|it| it.0 < 10).collect();
    for key in 0..10 {
        let count = found.iter().find(|it| it.0 == key).expect("an abuser is known").1;
        assert!((15_000..=20_000).contains(&count), "{key}: {count}");
    }
}

#[test]
fn addresses_are_cut_to_keys() {
    let packet = |network, source| Packet { network, source, ..Packet::LEFT_BEHIND };
    let cut = Limit { mask_v4: 0xffff_ff00, mask_v6: [!0xffff, 0], ..limit(1, 1) };
    let v4 = packet(Network::IPV4, [0xc000_0207, 99]);
    let v6 = packet(Network::IPV6, [0x2001_0db8_0001_0002, 3]);
    assert_eq!(key(&cut, &v4), [0xc000_0200, 0]);
    assert_eq!(key(&cut, &v6), [0x2001_0db8_0001_0000, 0]);
    let of_rule = Limit { key: Key::Rule as u8, ..cut };
    assert_eq!((key(&of_rule, &v4), key(&of_rule, &v6)), ([0; 2], [0; 2]));
    let one = |key, is_v6| hash(1, key, is_v6, SECRET);
    assert_ne!(one([5, 0], false), one([5, 0], true), "of two families");
    assert_eq!(one([0; 2], false), one([0; 2], true), "the rule's own");
    assert_ne!(hash(1, [5, 0], false, SECRET), hash(2, [5, 0], false, SECRET), "of two limits");
}
