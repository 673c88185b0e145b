//! What each CPU has to itself.

use crate::filter::order::Scratch;
use crate::filter::pace::Bucket;
use crate::stats::counter::Matrix;

/// The value of the map `COUNTERS`: what a CPU counts, and where it works on a packet. All are one
/// value, so that a packet takes one lookup.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct PerCpu {
    pub matrix: Matrix,
    pub scratch: Scratch,
    /// Of the ICMP errors that it sends.
    pub errors: Bucket,
    /// Of the echo replies that it takes for replies.
    pub echoes: Bucket,
}
