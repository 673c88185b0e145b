//! What is over its limit: a rule with `over` matches only that, and what is under goes on to the next rule.
//!
//! A limit is a bucket of tokens for each key: a source, a destination, or the rule. It is kept as the time at
//! which the bucket will be full again (the generic cell rate algorithm, ITU-T I.371, with its virtual
//! scheduling): a packet moves that time on by what it costs, and is over where that would be further ahead
//! than the burst is worth. A bucket that is full is in the state of a key that was never seen. So an entry whose
//! time has passed says nothing, and a new key may take its place; one that is ahead is of a key that is using its
//! limit, and nobody takes its place while a second packet has asked for it. A flood of keys that send once
//! drives out only each other.
//!
//! ```text
//! cells    lines of eight words, one line for a key: bits 18-63 the time at which its bucket is full, 17
//!          whether a second packet has asked for it while it was not, 0-15 a tag, which stands for the key
//! heavy    lines of two entries of four words: bits 32-63 the limit, 0-31 when it was last over; the key, two
//!          words; how many packets were over. Which entry of a line stays is decided by majority vote.
//! ```
//!
//! Both lie beside the image and outlive it. Words are read and written whole, by all CPUs: what a packet costs
//! is added in one step. So packets on n CPUs at one time may together be n - 1 packets over, and nothing is lost.

use crate::capacity::{HEAVY_LINES, LIMIT_LINES, MAX_ASKED_LIMITS};
use crate::filter::effect::{Effect, Stage, intact};
use crate::filter::rules::{self, Classes};
use crate::image::{Header, LINE_WORDS, Line, Lines};
use crate::lookup::bits::lowest_bit_of_8;
use crate::lookup::services::mix;
use crate::packet::{Network, Packet};
use crate::stats::counter::CounterId;
use crate::verifier::{black_box, launder};
use crate::word::Word;

/// Bits of the kernel's monotonic clock, in nanoseconds, that a time leaves out: a unit is 1,024 ns.
pub const UNIT_SHIFT: u32 = 10;
/// Where a cell has its time. It comes again after 2.2 years.
const TIME_SHIFT: u32 = 18;
const PROVEN: u64 = 1 << 17;
const TAG: u64 = (1 << 16) - 1;
/// Units that a bucket may take to fill: 6.5 days.
pub const MAX_WINDOW: u64 = 1 << 39;
/// No bucket is further ahead than this: what seems to be is older than the clock's period.
const FURTHEST: i64 = 1 << 41;
/// Units of a burst below which the precise clock is asked: the coarse one may be 10 ms behind, 1 % of this.
pub const PRECISE_BELOW: u64 = 900_000;
/// Bits of the clock that the time of the last packet over a limit leaves out: it is 1.07 s long.
pub const SEEN_SHIFT: u32 = 30;
/// After so long without a packet over its limit, an entry among the heavy ones is given up at once: ten minutes.
pub const HEAVY_LIFE: u32 = 560;

/// Cells that keys share: one line.
pub type Cells = [Word; LINE_WORDS];

/// Which packets share a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Key {
    /// All that the rule matches.
    Rule = 0,
    Source = 1,
    Destination = 2,
}

/// A limit, as it stands in the image: a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Limit {
    /// Stands for the rule's name, its key and its rate. Another one has other cells.
    pub id: u64,
    /// What a packet or a byte costs: units, times 2 to the power of `shift`.
    pub step: u64,
    /// What the burst is worth, in units: an empty bucket is full after so long.
    pub window: u64,
    /// The bits of an address that are the key.
    pub mask_v6: [u64; 2],
    pub mask_v4: u32,
    /// The counter of packets that were under.
    pub under: u32,
    /// A [`Key`].
    pub key: u8,
    /// Whether bytes are counted and not packets, whether the coarse clock is too coarse, and whether costs are
    /// so small that they are rounded at random: 0 or 1 each.
    pub of_bytes: u8,
    pub is_precise: u8,
    pub is_fine: u8,
    /// At most 32.
    pub shift: u32,
    pub unused: u64,
}

const _: () = assert!(size_of::<Limit>() == size_of::<Line>());

impl Limit {
    /// The line that holds this limit.
    pub const fn to_line(self) -> Line {
        // SAFETY: same size, and every bit pattern is a line.
        unsafe { core::mem::transmute::<Self, Line>(self) }
    }

    /// The limit on a line.
    #[inline(always)]
    pub const fn of(line: &Line) -> &Self {
        // SAFETY: same size and alignment, and every bit pattern is a limit.
        unsafe { &*line.as_ptr().cast::<Self>() }
    }

    /// What a packet costs, in units. `random` is read only where rounding to the nearest would be too coarse.
    #[inline(always)]
    pub fn cost(&self, length: u32, random: impl FnOnce() -> u32) -> u64 {
        let amount = if self.of_bytes != 0 { u64::from(length) } else { 1 };
        let shift = self.shift & 63;
        let below = (1_u64 << shift).wrapping_sub(1);
        let round = if self.is_fine != 0 { u64::from(random()) & below } else { below / 2 };
        amount.wrapping_mul(self.step).wrapping_add(round) >> shift
    }
}

/// What lies beside the image.
pub trait Beside {
    /// A line of cells, chosen by a number; `None` where there are none: then nothing is over.
    fn cells(&self, number: u32) -> Option<&Cells>;
    /// A line of keys that are over their limits.
    fn heavy(&self, number: u32) -> Option<&Cells>;
    /// A number that differs from attachment to attachment, so that nobody knows which keys share a line.
    fn secret(&self) -> u64;
    /// The kernel's monotonic clock, in nanoseconds. Where it need not be precise, it may be 10 ms behind.
    fn now(&self, precise: bool) -> u64;
    /// Whether packets cost anything: not a question.
    fn writes(&self) -> bool;
    /// Counts the packet to what was under its limit.
    fn count(&mut self, counter: CounterId);
}

/// Who goes on where a rule has a limit. In the kernel it is another program (`xdp-ebpf/src/limits.rs`).
pub trait AskLimits {
    /// What the rules say from the one on that is noted in `limiting`.
    fn go_on<L: Lines>(
        &mut self,
        lines: &L,
        header: &Header,
        packet: &Packet,
        judged: Judged<'_>,
    ) -> Stage;
}

/// What is known of a packet whose rules are being asked.
pub struct Judged<'a> {
    /// Bytes of the frame.
    pub length: u32,
    /// [`crate::filter::order::Scratch::generation`].
    pub generation: &'a mut u64,
    pub classes: &'a mut Classes,
    pub limiting: &'a mut Limiting,
    pub effect: &'a mut Effect,
}

/// What a rule with a limit said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Answer {
    /// How far ahead the time of the key's bucket was, and what the packet costs: in units.
    pub ahead: u64,
    pub cost: u64,
    /// The rule's counter.
    pub rule: CounterId,
    /// Whether the packet is over: 0 or 1.
    pub is_over: u32,
}

/// Where a CPU works on limits. It lies in the scratch. [`Effect::limits`] says how many answers there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Limiting {
    /// The clock in units, the key and its hash.
    now: u64,
    hash: u64,
    key: [u64; 2],
    cost: u64,
    /// The best place in the line, and how good it is.
    slot: u64,
    rank: u64,
    /// The number of the rule that is asked.
    pub rule: u32,
    /// What the next random number comes from.
    dice: u32,
    pub answers: [Answer; MAX_ASKED_LIMITS],
}

impl Limiting {
    /// What another packet left behind.
    pub const LEFT_BEHIND: Self = Self {
        now: u64::MAX,
        hash: u64::MAX,
        key: [u64::MAX; 2],
        cost: u64::MAX,
        slot: u64::MAX,
        rank: u64::MAX,
        rule: u32::MAX,
        dice: u32::MAX,
        answers: [Answer {
            ahead: u64::MAX,
            cost: u64::MAX,
            rule: CounterId(u32::MAX),
            is_over: u32::MAX,
        }; MAX_ASKED_LIMITS],
    };
}

/// Asks the limit of the rule whose action lies in the effect. Where the packet is over, that rule decides; else the
/// next one that matches. Gives whether that has a limit to be asked, too.
#[inline(always)]
pub fn judge<L: Lines, B: Beside>(
    lines: &L,
    beside: &mut B,
    header: &Header,
    packet: &Packet,
    judged: Judged<'_>,
) -> Stage<bool> {
    let Judged { length, classes, limiting, effect, .. } = judged;
    let limit = Limit::of(intact(lines.line(effect.action.limit))?);
    limiting.key = key(limit, packet);
    limiting.hash = hash(limit.id, limiting.key, is_v6(packet), beside.secret());
    let cells = beside.cells((limiting.hash >> 32) as u32);
    if let Some(cells) = cells {
        // Has the processor fetch the line while it goes on: no cache may have it.
        cells[0].load();
    }
    limiting.now = beside.now(limit.is_precise != 0) >> UNIT_SHIFT;
    limiting.cost = limit.cost(length, || throw(&mut limiting.dice));
    let limiting = launder(limiting);
    let mut ahead = 0;
    let mut is_over = false;
    if let Some(cells) = cells {
        look(cells, limiting);
        (ahead, is_over) = take(cells, launder(limiting), limit.window, beside.writes());
    }
    let limiting = launder(limiting);
    let nth = black_box(effect.limits.into()) as usize % MAX_ASKED_LIMITS;
    limiting.answers[nth] =
        Answer { ahead, cost: limiting.cost, rule: effect.rule, is_over: u32::from(is_over) };
    effect.limits += 1;
    if is_over {
        // A rule's own bucket is nobody's in particular.
        if beside.writes()
            && limit.key != Key::Rule as u8
            && let Some(line) = beside.heavy(heavy_line(limiting.hash))
        {
            remember(line, limit.id, limiting, is_v6(packet));
        }
        return rules::decide_by(&effect.action);
    }
    beside.count(CounterId(limit.under));
    effect.rule = CounterId::NONE;
    let next = intact(rules::next_match(lines, header, launder(classes), limiting.rule))?;
    let Some(rule) = next else { return Stage::Continue(false) };
    limiting.rule = rule;
    rules::act(lines, header, rule, effect)?;
    // No ruleset has more that match one packet.
    intact((effect.limits < MAX_ASKED_LIMITS as u32).then_some(true))?;
    Stage::Continue(true)
}

#[inline(always)]
fn is_v6(packet: &Packet) -> bool {
    packet.network == Network::IPV6
}

/// The key of a packet: the part of an address. Of IPv4, the second word is 0.
#[inline(always)]
fn key(limit: &Limit, packet: &Packet) -> [u64; 2] {
    let address = if limit.key == Key::Source as u8 { packet.source } else { packet.destination };
    if limit.key == Key::Rule as u8 || !packet.network.is_ip() {
        return [0; 2];
    }
    if is_v6(packet) {
        return [address[0] & limit.mask_v6[0], address[1] & limit.mask_v6[1]];
    }
    [address[0] & u64::from(limit.mask_v4), 0]
}

/// The hash of a limit's key. A rule's own bucket is the same for both families.
#[inline(always)]
pub fn hash(id: u64, key: [u64; 2], is_v6: bool, secret: u64) -> u64 {
    let family = u64::from(is_v6 && key != [0; 2]);
    mix(mix(id ^ family, key[0], secret), key[1], !secret)
}

/// The line among the heavy ones of a key with that hash.
#[inline(always)]
pub const fn heavy_line(hash: u64) -> u32 {
    (hash >> 24) as u32
}

/// How far the time of a cell is ahead of the clock.
#[inline(always)]
const fn ahead(word: u64, now: u64) -> i64 {
    (word & !(PROVEN | TAG)).wrapping_sub(now << TIME_SHIFT) as i64 >> TIME_SHIFT
}

/// Ranks of places, the better the higher. Within the lower ones, what passed longer ago is better.
const RECENT: u64 = 1 << 50;
const UNPROVEN: u64 = 2 << 50;
const PASSED: u64 = 3 << 50;
const EMPTY: u64 = 4 << 50;
const OWN: u64 = 5 << 50;
const LONGEST: u64 = 1 << 46;

/// A number to round by (Knuth's linear congruential generator, of which the upper bits are good). The kernel's own
/// would take longer than all else that a limit does.
#[inline(always)]
fn throw(dice: &mut u32) -> u32 {
    let next = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    *dice = next;
    (u64::from(next).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
}

/// How good a place is for a key that has none: one that is empty, or whose time has passed, or which one packet alone
/// has asked for; and as a last resort that of a key whose time passed just now. 0 is for what nobody takes.
#[inline(always)]
fn rank(word: u64, limiting: &Limiting) -> u64 {
    if word == 0 {
        return EMPTY;
    }
    let ahead = ahead(word, limiting.now);
    if ahead > FURTHEST {
        return PASSED;
    }
    if ahead > 0 {
        return if word & PROVEN == 0 { UNPROVEN + LONGEST - ahead as u64 } else { 0 };
    }
    let ago = ahead.unsigned_abs();
    // A key that uses all of a burst of one is at this point between any two of its packets.
    if word & PROVEN != 0 && ago <= limiting.cost { RECENT + ago } else { PASSED + ago }
}

/// Looks for the key's place in its line, or the best that it could take. No branch here goes by what lies in a single
/// place: the processor would guess many of them wrong.
#[inline(always)]
fn look(cells: &Cells, limiting: &mut Limiting) {
    let mut own = 0_u64;
    let mut at = 0;
    while at < LINE_WORDS {
        // An empty place has the tag 0. Places are taken from the first one on, so that a key with this tag finds its
        // own before an empty one.
        let differs = black_box((cells[at].load() ^ limiting.hash) & TAG);
        own |= differs.wrapping_sub(1) >> 63 << at;
        at += 1;
    }
    if own == 0 {
        look_for_another(cells, limiting);
        return;
    }
    limiting.rank = OWN;
    limiting.slot = lowest_bit_of_8(own).into();
}

/// The best place that a key could take that has none.
#[inline(always)]
fn look_for_another(cells: &Cells, limiting: &mut Limiting) {
    const LAST: u64 = LINE_WORDS as u64 - 1;
    let mut best = 0_u64;
    let mut at = 0;
    while at < LINE_WORDS {
        // Of equals, the first.
        let rank = rank(cells[at].load(), limiting) * LINE_WORDS as u64 + (LAST - at as u64);
        let less = black_box(best.wrapping_sub(rank));
        best = best.wrapping_sub(less & (less as i64 >> 63) as u64);
        at += 1;
    }
    limiting.rank = best / LINE_WORDS as u64;
    limiting.slot = LAST - best % LINE_WORDS as u64;
}

const _: () = assert!(OWN < 1 << 60);

/// Takes what the packet costs from the key's bucket, if there is as much. Returns how far ahead its time was, and
/// whether the packet is over.
#[inline(always)]
fn take(cells: &Cells, limiting: &Limiting, window: u64, writes: bool) -> (u64, bool) {
    let Limiting { now, hash, cost, slot, rank, .. } = *limiting;
    let cell = &cells[black_box(slot) as usize % LINE_WORDS];
    let word = cell.load();
    let is_own = rank == OWN && (word ^ hash) & TAG == 0;
    // Another CPU's key took the place just now: this one has none.
    let rank = if is_own || rank != OWN { rank } else { 0 };
    let mut ahead = ahead(word, now);
    if !is_own || !(0..=FURTHEST).contains(&ahead) {
        ahead = 0;
    }
    let ahead = ahead as u64;
    let is_over = ahead.wrapping_add(cost) > window;
    if !writes {
        return (ahead, is_over);
    }
    if ahead > 0 {
        if word & PROVEN == 0 {
            cell.set(PROVEN);
        }
        if !is_over {
            cell.add(cost << TIME_SHIFT);
        }
    } else if !is_over && rank != 0 {
        let proven = if is_own { word & PROVEN } else { 0 };
        let new = now.wrapping_add(cost) << TIME_SHIFT | proven | hash & TAG;
        let found = cell.exchange(word, new);
        if found != word && (found ^ hash) & TAG == 0 {
            // Another CPU was first, with the same key.
            cell.add(cost << TIME_SHIFT);
        }
    }
    (ahead, is_over)
}

/// Words of an entry among the heavy ones.
const HEAVY_WORDS: usize = LINE_WORDS / 2;

/// The upper half of the first word of such an entry.
#[inline(always)]
pub const fn heavy_limit(id: u64, is_v6: bool) -> u32 {
    (id >> 32) as u32 & !1 | is_v6 as u32
}

/// Counts a packet that is over to its key. A key that has no entry takes one vote from the weaker entry of its line,
/// and its place when no vote is left: so those stay that are over most often.
#[inline(always)]
fn remember(line: &Cells, id: u64, limiting: &Limiting, is_v6: bool) {
    let seen = (limiting.now >> (SEEN_SHIFT - UNIT_SHIFT)) as u32;
    let limit = heavy_limit(id, is_v6 && limiting.key != [0; 2]);
    let first = u64::from(limit) << 32 | u64::from(seen);
    let mut weaker = 0;
    let mut votes = u64::MAX;
    let mut at = 0;
    while at < LINE_WORDS {
        let word = line[at].load();
        let is_own = word >> 32 == u64::from(limit)
            && line[at + 1].load() == limiting.key[0]
            && line[at + 2].load() == limiting.key[1];
        if is_own {
            line[at + 3].add(1);
            if word != first {
                line[at].store(first);
            }
            return;
        }
        // The entry may be newer, by another clock or another CPU's.
        let ago = seen.wrapping_sub(word as u32) as i32;
        let count = line[at + 3].load();
        // Several CPUs may have taken the last vote.
        let has_none = ago > HEAVY_LIFE as i32 || count as i64 <= 0;
        let count = if has_none { 0 } else { count };
        if count < votes {
            votes = count;
            weaker = at;
        }
        at += HEAVY_WORDS;
    }
    let at = black_box(weaker as u64) as usize & HEAVY_WORDS;
    if votes > 1 {
        line[at + 3].add(u64::MAX);
        return;
    }
    line[at + 3].store(1);
    line[at + 1].store(limiting.key[0]);
    line[at + 2].store(limiting.key[1]);
    line[at].store(first);
}

const _: () = assert!(LIMIT_LINES.is_power_of_two() && HEAVY_LINES.is_power_of_two());

#[cfg(test)]
mod tests;
