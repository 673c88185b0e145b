//! Rules with `action = "syncookie"`: a SYN is answered in the driver with the kernel's own SYN cookie, so that a
//! flood of them opens nothing. What comes back with the cookie opens the connection, and passes such rules, which match
//! nothing but SYNs.

use crate::filter::effect::{Decision, Effect};
use crate::image::{Action, ActionKind};
use crate::stats::verdict::{Reason, Verdict};

/// What became of a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Outcome {
    /// Its sender gets a cookie.
    Answered = 1,
    /// The kernel takes it as it is: its queue has room, or it belongs to a connection that is there.
    NotNeeded = 2,
    /// Nobody listens there.
    NoListener = 3,
    /// It cannot be answered in its place, see [`is_answerable`](crate::packet::syn_ack::is_answerable).
    Odd = 4,
    /// This host had no such address when the ruleset was put in force, and forwards it nowhere: the kernel's stack
    /// knows whether it has got the address since, and drops what is for others, unless a bridge takes it to them.
    UnknownAddress = 5,
}

impl Outcome {
    pub const ALL: [Self; 5] =
        [Self::Answered, Self::NotNeeded, Self::NoListener, Self::Odd, Self::UnknownAddress];

    /// What becomes of the packet.
    #[inline(always)]
    pub const fn decision(self) -> Decision {
        let verdict = match self {
            Self::Answered => Verdict::Tx,
            Self::NotNeeded | Self::UnknownAddress => Verdict::Pass,
            Self::NoListener | Self::Odd => Verdict::Drop,
        };
        Decision::new(verdict, Reason::Rule)
    }

    /// The name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::NotNeeded => "not_needed",
            Self::NoListener => "no_listener",
            Self::Odd => "odd",
            Self::UnknownAddress => "unknown_address",
        }
    }

    /// What was noted of a packet, [`Effect::answer`], where such a rule decided.
    pub fn of(effect: &Effect) -> Option<Self> {
        let by_rule = effect.decision.reason() == Reason::Rule as u32
            && effect.action.kind == ActionKind::SynCookie as u8;
        Self::ALL.into_iter().find(|outcome| by_rule && *outcome as u32 == effect.answer)
    }
}

/// Whether such a rule has decided.
#[inline(always)]
pub fn concerns(effect: &Effect) -> bool {
    effect.decision == Outcome::Answered.decision()
        && effect.action.kind == ActionKind::SynCookie as u8
}

/// The largest segments that a host takes, of IPv4 and of IPv6, as they stand in [`Action::slot`].
pub const fn sizes(v4: u16, v6: u16) -> u32 {
    v4 as u32 | (v6 as u32) << 16
}

/// The one of them for a family.
#[inline(always)]
pub const fn size(action: &Action, is_v6: bool) -> u32 {
    let shift = if is_v6 { 16 } else { 0 };
    action.slot >> shift & 0xffff
}
