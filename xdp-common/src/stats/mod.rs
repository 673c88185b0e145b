//! What is counted, and how the counters lie in their maps.

pub mod counter;
pub mod names;
pub mod per_cpu;
pub mod verdict;
