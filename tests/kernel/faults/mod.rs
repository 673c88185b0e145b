//! The kernel refuses a call, the disk is full, somebody changed files by hand: each fault has its
//! message and its status, and what was in force stays in force.

mod inputs;
mod limits;
mod locking;
mod opened;
mod pins;
mod row;
pub mod shim;
pub mod stand;
mod state;
mod table;
