//! Which backend of its service a packet goes to: as the table says, as long as nothing changed. A
//! connection stays with its backend when the table changes, or when another backend fails or recovers.
//!
//! Each place of a table names the backend of now and the one of before. Only where these differ, or where the
//! backend is not up or was not until lately, or where the service tracks all flows, the connection table is
//! asked at all: it lies beside the image, outlives reloads, and is written by packets.
//!
//! ```text
//! states        a word for each backend and service, by their ids, written by commands alone
//!   backend       bits 0-1 what a command said (see `Said`), 2-3 what a check found, 4-33 until when
//!                 the former holds, 34-63 until when the latter: `Moment`s, 0 for ever
//!   service       bit 0 some backend may not be up; bit 1 checks are disregarded; bit 2 all flows are looked
//!                 up; 4-33 until when connections may be with a substitute; 34-63 when a backend last changed.
//!                 That is written before the backend's own word
//!   spares        up to three ids of backends that are up, 20 bits each, 0 for none
//! connections   lines of eight words: bits 0-13 when it was last used (`Age`), 14-31 the backend's id,
//!               32-63 a tag, which stands for the flow
//! ```

use crate::image::{Header, LINE_WORDS, Line, Lines};
use crate::lookup::services::{self, Backend, Front, GONE, PLACE_BITS, State, Tracking, mix};
use crate::verifier::{black_box, launder};

/// Bits of the kernel's monotonic clock, in nanoseconds, that a moment leaves out: it is 268 ms long.
pub const MOMENT_SHIFT: u32 = 28;
/// Bits of a moment.
pub const MOMENT_BITS: u32 = 30;
/// Bits of the clock that an age leaves out: it is 8.6 s long.
pub const AGE_SHIFT: u32 = 33;
/// Bits of an age: it comes again after 39 hours.
pub const AGE_BITS: u32 = 14;
/// Bits of a backend's id.
pub const ID_BITS: u32 = 18;
const _: () = assert!(crate::capacity::MAX_COUNTERS <= 1 << ID_BITS);
/// Bits of an id among a service's spares.
pub const SPARE_BITS: u32 = 20;
/// Spares of a service.
pub const SPARES: u32 = 3;

pub const MOMENTS: u64 = (1 << MOMENT_BITS) - 1;
const AGES: u64 = (1 << AGE_BITS) - 1;
pub const IDS: u64 = (1 << ID_BITS) - 1;
const TAG_SHIFT: u32 = AGE_BITS + ID_BITS;

/// Words of state that a map has, and lines of connections: 1 MiB of either.
pub use crate::capacity::STATES_PER_SLOT;
pub const LINES_PER_SLOT: u32 = 1 << 14;
/// The element of such a map.
pub type Memory = [u64; STATES_PER_SLOT as usize];

/// What somebody said of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Said {
    Nothing = 0,
    Up = 1,
    Drain = 2,
    Down = 3,
}

/// Bits of a service's word.
pub const NOT_ALL_UP: u64 = 1;
pub const DISREGARD_CHECKS: u64 = 2;
/// The ruleset is on trial, and the connections of now are to be found when the one before comes back.
pub const ASK_ALL: u64 = 4;
/// Where both kinds of words have their moments.
pub const FIRST_MOMENT: u32 = 4;
pub const SECOND_MOMENT: u32 = FIRST_MOMENT + MOMENT_BITS;

/// How a backend was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum By {
    /// By the table.
    Hash = 0,
    /// By the entry of its connection.
    Entry = 1,
    /// By the table of before.
    Before = 2,
    /// In place of one that is not up.
    Substitute = 3,
}

impl By {
    pub const ALL: [Self; 4] = [Self::Hash, Self::Entry, Self::Before, Self::Substitute];

    /// As it is called in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::Entry => "entry",
            Self::Before => "before",
            Self::Substitute => "substitute",
        }
    }
}

/// What lies beside the image.
pub trait Beside {
    /// A service's or a backend's word; 0 where there is none.
    fn state(&self, id: u32) -> u64;
    /// A line of the table of connections, chosen by the upper bits of a number; `None` where there is no
    /// table.
    fn connections(&mut self, number: u32) -> Option<&mut Line>;
    /// A number that differs from attachment to attachment, so that nobody knows which flows share a line.
    fn secret(&self) -> u64;
    /// The kernel's monotonic clock, in nanoseconds.
    fn now(&self) -> u64;
    /// Whether connections may be written: not by a question.
    fn writes(&self) -> bool;
}

/// What is known while a backend is chosen. It lies in the scratch, so that the verifier forgets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Choice {
    /// The clock, the flow's key among connections, the service's word and its spares.
    pub now: u64,
    pub key: u64,
    pub word: u64,
    pub spares: u64,
    /// The entry of its connection, and, with affinity, that of its client; 0 where there is none.
    pub entry: u64,
    pub client: u64,
    /// The key of the client among connections.
    pub client_key: u64,
    /// What stands at its place, and the line of the backend that is asked next.
    pub place: u32,
    pub candidate: u32,
    /// Whether it begins a connection, and whether what has no entry may have begun before places or
    /// states changed: 0 or 1 each.
    pub is_new: u32,
    pub old: u32,
    /// Where in its line it is, or may be put; and the client's.
    pub slot: u32,
    pub client_slot: u32,
    /// Whether the backend that was chosen drains: 0 or 1.
    pub drains: u32,
}

impl Choice {
    pub const LEFT_BEHIND: Self = Self {
        now: u64::MAX,
        key: u64::MAX,
        word: u64::MAX,
        spares: u64::MAX,
        entry: u64::MAX,
        client: u64::MAX,
        client_key: u64::MAX,
        place: u32::MAX,
        candidate: u32::MAX,
        is_new: u32::MAX,
        old: u32::MAX,
        slot: u32::MAX,
        client_slot: u32::MAX,
        drains: u32::MAX,
    };
}

/// A flow whose backend is to be chosen.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// From [`services::flow`], with the fields that choose its place.
    pub number: u64,
    /// The same with all fields: that of its connection.
    pub connection: u64,
    /// Whether the packet begins a connection, and whether connections have no beginning: 0 or 1 each.
    pub is_new: u32,
    pub is_timed: u32,
    /// Whether it says something about a connection, and is none of its packets: then nothing is
    /// remembered.
    pub is_report: bool,
}

/// Chooses a backend. Leaves its line in `backend`, 0 where none is up, and how it was chosen. `None` is
/// a corrupt image.
#[inline(always)]
pub fn choose<L: Lines, B: Beside>(
    lines: &L,
    beside: &mut B,
    header: &Header,
    front: &Front,
    flow: &Flow,
    choice: &mut Choice,
) -> Option<(u32, By)> {
    let backend = at_once(lines, beside, front, flow.number, choice)?;
    if backend != 0 {
        return Some((backend, By::Hash));
    }
    choice.is_new = flow.is_new;
    track(lines, beside, header, front, flow, launder(choice))
}

/// The line of the backend that a flow's place names, if nothing else has a say; 0 where connections have to be
/// looked up, and what is known so far lies in `choice`. `None` is a corrupt image.
#[inline(always)]
pub fn at_once<L: Lines, B: Beside>(
    lines: &L,
    beside: &B,
    front: &Front,
    number: u64,
    choice: &mut Choice,
) -> Option<u32> {
    choice.place = services::place(lines, front, (number >> 32) as u32)?;
    choice.word = beside.state(front.counter);
    let now = choice.place & ((1 << PLACE_BITS) - 1);
    let is_unmoved = now == choice.place >> PLACE_BITS && front.tracking != Tracking::All as u8;
    let backend = front.backends.wrapping_add(now);
    if is_unmoved && choice.word & NOT_ALL_UP == 0 {
        return Some(backend);
    }
    choice.now = beside.now();
    if is_unmoved
        && choice.word & ASK_ALL == 0
        && is_settled(beside, front, Backend::of(lines.line(backend)?), choice)
    {
        return Some(backend);
    }
    Some(0)
}

/// Whether the backend at a place is up, and has been for so long that no connection of the place is with a
/// substitute any more: then it is of no importance that others are not up.
#[inline(always)]
fn is_settled<B: Beside>(
    beside: &B,
    front: &Front,
    backend: &Backend,
    choice: &mut Choice,
) -> bool {
    let word = beside.state(backend.counter);
    // The service's word is read after the backend's: who finds a backend up that was not finds out when it
    // changed. The difference is 0, and has a CPU wait that reads words out of order.
    let zero = (black_box(word) ^ black_box(word)) as u32;
    choice.word = beside.state(front.counter.wrapping_add(zero));
    let now = choice.now >> MOMENT_SHIFT;
    // It may not have changed since the machine was started, which need not be so long ago.
    let is_old =
        |moment: u64| moment == 0 || now.saturating_sub(moment) >= u64::from(front.history);
    // What held until lately has changed without anybody writing it.
    let keeps = |until: u64| until == 0 || now < until || is_old(until);
    let settled = is_old(choice.word >> SECOND_MOMENT & MOMENTS)
        && keeps(word >> FIRST_MOMENT & MOMENTS)
        && keeps(word >> SECOND_MOMENT & MOMENTS)
        && state(backend, word, choice.word, now) == State::Up as u32;
    black_box(settled.into()) != 0
}

/// The candidates, in order: the connection's entry, the client's, the backend of before, that of now, those at other places of the
/// table, and the service's spares.
const OF_ENTRY: u32 = 0;
const OF_CLIENT: u32 = 1;
const OF_BEFORE: u32 = 2;
const OF_NOW: u32 = 3;
const FIRST_OTHER: u32 = 4;
const FIRST_SPARE: u32 = FIRST_OTHER + 16;
const CANDIDATES: u32 = FIRST_SPARE + SPARES;

#[inline(always)]
fn track<L: Lines, B: Beside>(
    lines: &L,
    beside: &mut B,
    header: &Header,
    front: &Front,
    flow: &Flow,
    choice: &mut Choice,
) -> Option<(u32, By)> {
    choice.key = mix(flow.connection, beside.secret(), front.counter.into());
    // Another one than that of any connection.
    choice.client_key = mix(flow.number, !beside.secret(), front.counter.into());
    choice.spares = beside.state(front.spares);
    (choice.entry, choice.client) = (0, 0);
    choice.old = is_old(front, flow, choice);
    if front.tracking != Tracking::None as u8 {
        let life = if flow.is_timed != 0 { front.life } else { 0 };
        if let Some(line) = beside.connections((choice.key >> 32) as u32) {
            (choice.entry, choice.slot) = look(line, choice.now, choice.key, life);
        }
        if front.affine != 0
            && let Some(line) = beside.connections((choice.client_key >> 32) as u32)
        {
            (choice.client, choice.client_slot) =
                look(line, choice.now, choice.client_key, front.life);
        }
    }
    let mut at = 0;
    let mut by = OF_NOW;
    let mut found = 0;
    while at < CANDIDATES {
        let choice = launder(&mut *choice);
        let candidate = candidate(lines, header, front, flow, choice, at)?;
        // Line 0 is the image's header: whatever it says as a backend is not looked at.
        let backend = Backend::of(lines.line(candidate)?);
        let word = beside.state(backend.counter);
        let state = state(backend, word, choice.word, choice.now >> MOMENT_SHIFT);
        // Without tracking, the second packet of a connection cannot be told from an old one's.
        let keeps = front.tracking != Tracking::None as u8
            && (at == OF_ENTRY || at == OF_BEFORE || at == OF_NOW && choice.old != 0);
        let takes = state == State::Up as u32
            || state == State::Drain as u32 && keeps && choice.is_new == 0;
        if takes && candidate != 0 && backend.service == front.counter {
            found = candidate;
            by = at;
            choice.drains = u32::from(state == State::Drain as u32);
            break;
        }
        at += 1;
    }
    if found == 0 {
        return Some((0, By::Hash));
    }
    let (found, by) = (black_box(u64::from(found)) as u32, black_box(by.into()) as u32);
    if front.tracking != Tracking::None as u8 && !flow.is_report && beside.writes() {
        let id = Backend::of(lines.line(found)?).counter;
        let mut taken = u32::MAX;
        if is_to_be_remembered(front, flow, choice, by)
            && let Some(line) = beside.connections((choice.key >> 32) as u32)
        {
            let is_proven = choice.entry != 0 && choice.is_new == 0;
            taken = remember(line, choice.slot, is_proven, choice.now, choice.key, id);
        }
        if is_of_client(front, flow, choice, id, by)
            && let Some(line) = beside.connections((choice.client_key >> 32) as u32)
        {
            let is_proven = choice.client != 0;
            // Both may lie in one line, and were looked for before either was written: the connection keeps its place.
            let apart = ((choice.key ^ choice.client_key) >> 32) as u32;
            let is_shared = apart & header.connection_lines.wrapping_sub(1) == 0;
            if !is_shared || choice.client_slot != taken {
                remember(line, choice.client_slot, is_proven, choice.now, choice.client_key, id);
            }
        }
    }
    let by = match by {
        OF_ENTRY | OF_CLIENT => By::Entry,
        OF_BEFORE => By::Before,
        OF_NOW => By::Hash,
        _ => By::Substitute,
    };
    Some((found, by))
}

/// Whether what has no entry may have begun before places or states changed: 0 or 1.
#[inline(always)]
fn is_old(front: &Front, flow: &Flow, choice: &Choice) -> u32 {
    let now = (choice.now >> MOMENT_SHIFT) as u32;
    if flow.is_timed == 0 {
        // A connection says of itself whether it is new.
        return u32::from(choice.is_new == 0);
    }
    let changed = (choice.word >> SECOND_MOMENT & MOMENTS) as u32;
    // The clock of packets may be a little behind the one that changes are written by.
    let since = now.saturating_sub(changed).min(now.saturating_sub(front.changed_at));
    u32::from(since < u32::from(front.life) << (AGE_SHIFT - MOMENT_SHIFT))
}

/// The line of a candidate; 0 where there is none at that place of the order.
#[inline(always)]
fn candidate<L: Lines>(
    lines: &L,
    header: &Header,
    front: &Front,
    flow: &Flow,
    choice: &Choice,
    at: u32,
) -> Option<u32> {
    const BACKENDS: u32 = (1 << PLACE_BITS) - 1;
    if at == OF_ENTRY || at == OF_CLIENT {
        let entry = if at == OF_ENTRY {
            // A new connection never goes where an old one went.
            if choice.is_new != 0 { 0 } else { choice.entry }
        } else if choice.is_new != 0 || flow.is_timed != 0 {
            choice.client
        } else {
            // It has an entry of its own, or began where its place sent it then.
            0
        };
        if entry == 0 {
            return Some(0);
        }
        return services::by_id(lines, header, (entry >> AGE_BITS & IDS) as u32);
    }
    if at == OF_BEFORE {
        let now = (choice.now >> MOMENT_SHIFT) as u32;
        let life = u32::from(front.life) << (AGE_SHIFT - MOMENT_SHIFT);
        let is_remembered = if choice.is_new != 0 || flow.is_timed != 0 {
            // Without affinity, a new connection has nothing to do with the one before.
            (front.affine != 0 || flow.is_timed != 0) && now.saturating_sub(front.changed_at) < life
        } else {
            now < front.history_ends
        };
        let differs = choice.place & BACKENDS != choice.place >> PLACE_BITS;
        if !is_remembered || !differs || choice.place >> PLACE_BITS == GONE {
            return Some(0);
        }
        return Some(front.backends.wrapping_add(choice.place >> PLACE_BITS));
    }
    if at == OF_NOW {
        return Some(front.backends.wrapping_add(choice.place & BACKENDS));
    }
    if at < FIRST_SPARE {
        let number = (mix(flow.number, at.into(), 0x2545_f491_4f6c_dd1d) >> 32) as u32;
        let place = services::place(lines, front, number)?;
        return Some(front.backends.wrapping_add(place & BACKENDS));
    }
    // Beginning with one that the flow chooses, so that they share what is left.
    let which = ((flow.number >> 32) as u32 % SPARES).wrapping_add(at) % SPARES;
    let id = (choice.spares >> (SPARE_BITS * which)) as u32 & ((1 << SPARE_BITS) - 1);
    if id == 0 { Some(0) } else { services::by_id(lines, header, id) }
}

/// A [`State`]: what a command said comes before the configuration, and that before checks. `service` is
/// the service's word, and `now` a moment.
#[inline(always)]
pub fn state(backend: &Backend, word: u64, service: u64, now: u64) -> u32 {
    let holds = |until: u64| until == 0 || now < until;
    let command = word & 3;
    if command != 0 && holds(word >> FIRST_MOMENT & MOMENTS) {
        return command as u32 - Said::Up as u32;
    }
    if backend.state != State::Up as u8 {
        return backend.state.into();
    }
    let check = word >> 2 & 3;
    if check != 0 && service & DISREGARD_CHECKS == 0 && holds(word >> SECOND_MOMENT & MOMENTS) {
        return check as u32 - Said::Up as u32;
    }
    State::Up as u32
}

/// Looks for the entry with that key, and for the place that a new one would take: its own, or else one that
/// is empty, or else that of the two last ones that was used longest ago. So a flood of packets that belong to no
/// connection drives out other such entries alone: see [`remember`]. An entry counts for `life` ages after its
/// last use; 0 is for ever.
#[inline(always)]
fn look(line: &Line, now: u64, key: u64, life: u16) -> (u64, u32) {
    let age = now >> AGE_SHIFT;
    let tag = key & 0xffff_ffff;
    let mut best = 0;
    let mut slot = LINE_WORDS as u64 - 1;
    let mut at = 0;
    while at < LINE_WORDS {
        let word = line[at];
        let unused = age.wrapping_sub(word) & AGES;
        let is_own = word >> TAG_SHIFT == tag && word >> AGE_BITS & IDS != 0;
        // One more than any age, and two more.
        let rank = if is_own {
            AGES + 3
        } else if word == 0 {
            AGES + 2
        } else if at >= PROVEN {
            unused + 1
        } else {
            0
        };
        let is_better = black_box(u64::from(rank > best));
        best = black_box(if is_better != 0 { rank } else { best });
        slot = black_box(if is_better != 0 { at as u64 } else { slot });
        at += 1;
    }
    let mut entry = 0;
    if best == AGES + 3 {
        let word = line[slot as usize % LINE_WORDS];
        let unused = age.wrapping_sub(word) & AGES;
        if life == 0 || unused <= life.into() {
            entry = word;
        }
    }
    (black_box(entry), black_box(slot) as u32)
}

/// The first slots of a line are for entries that a second packet has asked for.
const PROVEN: usize = LINE_WORDS - 2;

/// Of those slots, the one that is empty, or was used longest ago.
#[inline(always)]
fn oldest_proven(line: &Line, now: u64) -> u32 {
    let age = now >> AGE_SHIFT;
    let mut best = 0;
    let mut slot = 0;
    let mut at = 0;
    while at < PROVEN {
        let word = line[at];
        let unused = age.wrapping_sub(word) & AGES;
        let rank = if word == 0 { AGES + 2 } else { unused + 1 };
        let is_better = black_box(u64::from(rank > best));
        best = black_box(if is_better != 0 { rank } else { best });
        slot = black_box(if is_better != 0 { at as u64 } else { slot });
        at += 1;
    }
    black_box(slot) as u32
}

/// Whether the table would not say the backend of a connection again.
#[inline(always)]
fn is_to_be_remembered(front: &Front, flow: &Flow, choice: &Choice, by: u32) -> bool {
    let differs = choice.place & ((1 << PLACE_BITS) - 1) != choice.place >> PLACE_BITS;
    let all = front.tracking == Tracking::All as u8 && choice.is_new == 0;
    // What has no beginning is known by its entry once the backend has drained for a while.
    let drains = choice.drains != 0 && flow.is_timed != 0;
    differs || by != OF_NOW || choice.entry != 0 || all || drains
}

/// Whether that is where new connections of the client go too. A connection that is there already says so
/// only where its client has just that backend: then it is still in use.
#[inline(always)]
fn is_of_client(front: &Front, flow: &Flow, choice: &Choice, id: u32, by: u32) -> bool {
    if front.affine == 0 {
        return false;
    }
    if choice.client >> AGE_BITS & IDS == id.into() {
        return true;
    }
    let differs = choice.place & ((1 << PLACE_BITS) - 1) != choice.place >> PLACE_BITS;
    let is_wanted = differs || by != OF_NOW || choice.client != 0;
    is_wanted && choice.drains == 0 && (choice.is_new != 0 || flow.is_timed != 0)
}

/// Writes an entry. One that a second packet has asked for moves on from the last slots, which every first
/// packet may take, to those that only such entries take. Returns the slot.
#[inline(always)]
fn remember(line: &mut Line, slot: u32, is_proven: bool, now: u64, key: u64, id: u32) -> u32 {
    let word =
        (key & 0xffff_ffff) << TAG_SHIFT | u64::from(id) << AGE_BITS | now >> AGE_SHIFT & AGES;
    let mut slot = slot as usize % LINE_WORDS;
    if is_proven && slot >= PROVEN {
        let before = slot;
        slot = oldest_proven(line, now) as usize % LINE_WORDS;
        line[before] = 0;
    }
    if line[slot] != word {
        // The last one wins: the word is written whole.
        line[slot] = word;
    }
    black_box(slot as u64) as u32
}
