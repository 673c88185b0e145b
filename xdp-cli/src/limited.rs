//! Limits of rules as they stand in the kernel, plain data.

use xdp_common::stats::counter::Counter;

use crate::ruleset::limits::Limit;

/// A rule with a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InKernel {
    pub name: String,
    pub limit: Limit,
    pub under: Counter,
    pub over: Counter,
    /// In no order.
    pub heaviest: Vec<Heavy>,
}

/// A key that is over its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heavy {
    pub key: Key,
    /// That were over since the key is remembered: at least so many.
    pub packets: u64,
    /// Since the last of them.
    pub seconds_ago: u64,
}

/// The address of a key; what is not part of the key is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    V4(u32),
    V6(u128),
}
