//! What lists of domain names say of a DNS message, by its question.

use crate::filter::effect::{Effect, Stage, decide, intact};
use crate::filter::rules::paged_class;
use crate::image::{Header, Lines, flag};
use crate::packet::Packet;
use crate::packet::dns::{self, Asks, Message};
use crate::stats::counter::CounterId;
use crate::stats::verdict::{Reason, Verdict};

/// What a list of names does, as it stands in the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Action {
    Drop = 0,
    Nxdomain = 1,
    Refuse = 2,
    Truncate = 3,
    Pass = 4,
}

impl Action {
    /// The one of that number.
    #[inline(always)]
    pub const fn of(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Drop,
            1 => Self::Nxdomain,
            2 => Self::Refuse,
            3 => Self::Truncate,
            4 => Self::Pass,
            _ => return None,
        })
    }
}

/// A list of names, in half a word of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ListedAction {
    /// An [`Action`].
    pub action: u32,
    pub counter: CounterId,
}

/// Classes of question types: two types that the same lists look at are of one class.
pub const MAX_TYPE_CLASSES: usize = 16;
/// What the lists say of a name, by the class of the type that is asked for: 0, or the number of a
/// list from 1. A line of the image.
pub type Membership = [u32; MAX_TYPE_CLASSES];

/// Whether a packet has to be looked into.
#[inline(always)]
pub fn concerns(header: &Header, packet: &Packet) -> bool {
    header.has(flag::DOMAINS) && dns::is_message(packet)
}

/// Reads the question of a message that was copied from the packet. Whether there is one to ask the
/// lists about.
#[inline(always)]
pub fn read(packet: &Packet, message: &mut Message, effect: &mut Effect) -> bool {
    match message.read_question(packet) {
        Ok(Asks::One) => true,
        Ok(Asks::Nothing) => false,
        Err(unreadable) => {
            effect.unreadable = unreadable as u32;
            false
        }
    }
}

/// Decides by what is said of the name of a question that was read, as a search
/// ([`Search`](crate::lookup::names::Search)) found it.
#[inline(always)]
pub fn judge<L: Lines>(
    lines: &L,
    header: &Header,
    message: &Message,
    found: u32,
    effect: &mut Effect,
) -> Stage {
    if found <= 1 {
        return Stage::Continue(());
    }
    let list = intact(list_of(lines, header, message, found))?;
    let Some(number) = list.checked_sub(1) else { return Stage::Continue(()) };
    let list = intact(listed_action(lines, header, number))?;
    effect.domain = list.counter;
    let action = Action::of(list.action).unwrap_or(Action::Drop);
    if action == Action::Pass {
        return Stage::Continue(());
    }
    if message.is_answer() || action == Action::Drop {
        return decide(Verdict::Drop, Reason::Domain);
    }
    effect.answer = list.action;
    decide(Verdict::Tx, Reason::Domain)
}

/// The number of the list that decides, from 1; 0 if none looks at the type that is asked for.
#[inline(always)]
fn list_of<L: Lines>(lines: &L, header: &Header, message: &Message, found: u32) -> Option<u32> {
    let mut class = 0;
    if header.has(flag::DOMAIN_TYPES) {
        class = paged_class(lines, header, header.qtype_directory, message.qtype())?;
    }
    let line = lines.line(header.name_memberships.wrapping_add(found))?;
    // SAFETY: a line is 64 bytes, sixteen numbers of four, and any bit pattern is one.
    let membership = unsafe { &*line.as_ptr().cast::<Membership>() };
    Some(membership[class as usize % MAX_TYPE_CLASSES])
}

/// What list number `number` does.
#[inline(always)]
fn listed_action<'a, L: Lines>(
    lines: &'a L,
    header: &Header,
    number: u32,
) -> Option<&'a ListedAction> {
    const PER_LINE: u32 = 8;
    let line = lines.line(header.domain_actions.wrapping_add(number / PER_LINE))?;
    // SAFETY: a line is 64 bytes, eight such structures of eight, and any bit pattern is one.
    let actions = unsafe { &*line.as_ptr().cast::<[ListedAction; PER_LINE as usize]>() };
    Some(&actions[(number % PER_LINE) as usize])
}
