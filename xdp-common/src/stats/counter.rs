//! Counters, and how they lie in their maps.
//!
//! All counters are per CPU. Only their own CPU adds to them, from a program that does not
//! interrupt itself there, so no atomics are needed. Every packet moves exactly one cell of the
//! [`Matrix`]. Verdicts and reasons are both sums over that matrix, which is read in one call, so
//! they always agree.

use crate::capacity::COUNTERS_PER_PAGE;
use crate::stats::verdict::{Reason, Verdict};

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Counter {
    pub packets: u64,
    pub bytes: u64,
}

const _: () = assert!(size_of::<Counter>() == 16);

/// Cells of the [`Matrix`].
pub const CELLS: usize = Verdict::COUNT * Reason::COUNT;

/// One counter for each verdict with each reason; see [`crate::stats::per_cpu::PerCpu`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Matrix {
    pub cells: [Counter; CELLS],
}

const _: () = assert!(size_of::<Matrix>() == CELLS * 16);

impl Matrix {
    /// Where a verdict with a reason is counted.
    #[inline(always)]
    pub const fn cell(verdict: Verdict, reason: Reason) -> usize {
        verdict as usize * Reason::COUNT + reason as usize
    }

    /// The verdict and the reason that are counted in a cell; `None` beyond the last cell.
    pub const fn of_cell(cell: usize) -> Option<(Verdict, Reason)> {
        let verdict = Verdict::of((cell / Reason::COUNT) as u32);
        let reason = Reason::of((cell % Reason::COUNT) as u32);
        match (verdict, reason) {
            (Some(verdict), Some(reason)) => Some((verdict, reason)),
            _ => None,
        }
    }
}

/// Names a counter of a list or a rule in an image: its number plus one, or [`CounterId::NONE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct CounterId(pub u32);

impl CounterId {
    /// Nothing to count.
    pub const NONE: Self = Self(0);

    /// The id of counter number `number`.
    pub const fn new(number: u32) -> Self {
        Self(number + 1)
    }

    /// The counter's page and its place in that page; `None` where nothing is counted.
    #[inline(always)]
    pub const fn place(self) -> Option<(u32, u32)> {
        if self.0 == 0 {
            return None;
        }
        let number = self.0 - 1;
        Some((number / COUNTERS_PER_PAGE, number % COUNTERS_PER_PAGE))
    }
}
