//! The program's maps, as they are held, filled and read.

pub mod counters;
pub mod dynamic;
pub mod handles;
pub mod image;
pub mod nic;
