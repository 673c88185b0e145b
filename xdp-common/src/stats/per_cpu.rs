//! What each CPU has to itself.

use crate::filter::order::Scratch;
use crate::stats::counter::Matrix;

/// The value of the map `COUNTERS`: what a CPU counts, and where it works on a packet. Both are one
/// value, so that a packet takes one lookup.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct PerCpu {
    pub matrix: Matrix,
    pub scratch: Scratch,
}
