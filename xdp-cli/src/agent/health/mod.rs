//! What `xdpctl health` does: checks the backends of services, and counts what it finds.
//!
//! A thread makes the checks ([`checker`]), each of them a task of its own, so that a backend that
//! does not answer keeps nobody waiting. What they find is counted in a row for each backend
//! ([`count`]) by the thread that says so to the kernel ([`keeper`]).

pub mod checker;
pub mod count;
pub mod keeper;
pub mod plan;
pub mod probe;
pub mod report;
mod schedule;
