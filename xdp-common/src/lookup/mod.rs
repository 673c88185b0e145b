//! Lookup structures of an image: from an address or a number to a value. They know nothing of
//! filters.

pub mod bits;
pub mod interval_tree;
pub mod lpm;
pub mod names;
pub mod services;
