//! The kernel refuses, the disk is full, a hand was there: each fault has its message and its status,
//! and what was in force stays in force.

mod inputs;
mod limits;
mod locking;
mod opened;
mod pins;
pub mod shim;
mod state;
mod table;
