//! What becomes of a packet. Every stage says it in this form, the program does it, and `explain`
//! reports it.

use core::ops::ControlFlow;

use crate::image::{Action, Header};
use crate::stats::counter::{CELLS, CounterId, Matrix};
use crate::stats::verdict::{Reason, Verdict};
use crate::verifier::black_box;

/// A verdict and its reason, in one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Decision(u32);

impl Decision {
    /// There is no image, or a corrupt one: the program's own failure, which no packet can cause.
    pub const BROKEN: Self = Self::new(Verdict::Aborted, Reason::Default);

    /// A DNS query is answered in its place.
    pub const ANSWERED: Self = Self::new(Verdict::Tx, Reason::Domain);

    #[inline(always)]
    pub const fn new(verdict: Verdict, reason: Reason) -> Self {
        Self((verdict as u32) << 8 | reason as u32)
    }

    /// The number of its [`Verdict`].
    #[inline(always)]
    pub const fn verdict(self) -> u32 {
        self.0 >> 8 & 0xff
    }

    /// The number of its [`Reason`].
    #[inline(always)]
    pub const fn reason(self) -> u32 {
        self.0 & 0xff
    }

    /// Where it is counted, [`Matrix::of_cell`].
    #[inline(always)]
    pub const fn cell(self) -> u32 {
        self.verdict() * Reason::COUNT as u32 + self.reason()
    }

    /// Its verdict and its reason; `None` of a number that is no decision.
    pub const fn parts(self) -> Option<(Verdict, Reason)> {
        Matrix::of_cell(self.cell() as usize)
    }

    /// The same reason, and the packet is dropped.
    #[inline(always)]
    #[must_use]
    pub const fn dropped(self) -> Self {
        Self((Verdict::Drop as u32) << 8 | self.reason())
    }
}

const _: () = assert!(CELLS <= 0x100 && Verdict::COUNT <= 0x100 && Reason::COUNT <= 0x100);

/// All that is done with a packet: its verdict, the counters that it goes to, and how it leaves.
///
/// It lies in the CPU's scratch, beside what was read of the packet. `action` keeps the previous
/// packet's values where this one does not leave by an interface: the verdict says whether it is
/// good ([`Effect::leaves`]). The counters are cleared for each packet ([`Effect::begin`]).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Effect {
    pub decision: Decision,
    /// The list that decided, or one that only counts.
    pub list: CounterId,
    /// The rule that decided.
    pub rule: CounterId,
    /// The counter of the run-time entry that decided, see
    /// [`CounterPlace`](crate::filter::dynamic::CounterPlace); 0 where none did.
    pub entry: u32,
    /// The rule's counter for packets that it could not redirect, if this is one.
    pub failure: CounterId,
    /// The list of names that decided, or one that let the message go on.
    pub domain: CounterId,
    /// Why the question of a DNS message could not be read, an
    /// [`Unreadable`](crate::packet::dns::Unreadable); 0 where it could, or was not asked for.
    pub unreadable: u32,
    /// How many rules with limits were asked, see [`crate::filter::limits::Limiting`].
    pub limits: u32,
    /// How a query is answered, an [`Action`](crate::filter::domains::Action): where the verdict is
    /// [`Verdict::Tx`] for [`Reason::Domain`]. What became of a SYN, an
    /// [`Outcome`](crate::filter::syn_cookie::Outcome): where a rule decided that answers those.
    pub answer: u32,
    /// How the packet leaves: where to, and which MAC addresses are written before.
    pub action: Action,
}

impl Effect {
    /// What another packet left behind.
    pub const LEFT_BEHIND: Self = Self {
        decision: Decision(u32::MAX),
        list: CounterId(u32::MAX),
        rule: CounterId(u32::MAX),
        entry: u32::MAX,
        failure: CounterId(u32::MAX),
        domain: CounterId(u32::MAX),
        unreadable: u32::MAX,
        limits: 0,
        answer: u32::MAX,
        action: Action::DROP,
    };

    /// Clears the counters: so far the packet goes to none.
    #[inline(always)]
    pub fn begin(&mut self) {
        // LLVM turns stores of a known zero into a call of memset, which each packet would pay for.
        let none = black_box(CounterId::NONE.0.into()) as u32;
        self.list = CounterId(none);
        self.rule = CounterId(none);
        self.entry = none;
        self.failure = CounterId(none);
        self.domain = CounterId(none);
        self.unreadable = none;
        self.limits = none;
    }

    /// Takes a decision that no list, rule or entry counts.
    #[inline(always)]
    pub fn conclude(&mut self, decision: Decision) {
        self.begin();
        self.decision = decision;
    }

    /// Whether the packet leaves by an interface as a rule's action says, so that `action` says how.
    #[inline(always)]
    pub const fn leaves(&self) -> bool {
        let verdict = self.decision.verdict();
        (verdict == Verdict::Tx as u32 || verdict == Verdict::Redirect as u32)
            && !self.is_answered()
    }

    /// Whether the packet is turned around into an answer, so that `answer` says which.
    #[inline(always)]
    pub const fn is_answered(&self) -> bool {
        self.decision.0 == Decision::ANSWERED.0
    }

    /// The slot of the map `REDIRECTS` that the packet goes to, if it is redirected.
    #[inline(always)]
    pub const fn redirect(&self) -> Option<u32> {
        if self.decision.verdict() == Verdict::Redirect as u32 {
            Some(self.action.slot)
        } else {
            None
        }
    }

    /// Drops a packet that could not be redirected, and counts that apart.
    #[inline(always)]
    pub fn fail(&mut self) {
        self.decision = self.decision.dropped();
        self.failure = CounterId(self.action.lost_counter);
    }
}

/// What a stage says: a decision, which ends the judgement, or something for the stages after it.
pub type Stage<T = ()> = ControlFlow<Decision, T>;

/// Ends the judgement where the image is corrupt: where a place that it names lies outside it.
#[inline(always)]
pub fn intact<T>(read: Option<T>) -> Stage<T> {
    match read {
        Some(value) => Stage::Continue(value),
        None => Stage::Break(Decision::BROKEN),
    }
}

/// Ends the judgement with a decision.
#[inline(always)]
pub const fn decide<T>(verdict: Verdict, reason: Reason) -> Stage<T> {
    Stage::Break(Decision::new(verdict, reason))
}

/// What one of the policies in the image's header says.
#[inline(always)]
pub fn policy(header: &Header, drop_flag: u32, reason: Reason) -> Decision {
    let verdict = if header.has(drop_flag) { Verdict::Drop } else { Verdict::Pass };
    Decision::new(verdict, reason)
}
