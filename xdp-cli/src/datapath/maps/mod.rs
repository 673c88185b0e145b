//! The program's maps: their handles, filling them and reading them.

pub mod counters;
pub mod dynamic;
pub mod handles;
pub mod image;
pub mod limits;
pub mod nic;
pub mod ring;
pub mod sent;
pub mod states;
