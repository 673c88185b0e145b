//! The stages of judgement, a file each. [`order`] says in which order they are asked.

pub mod dynamic;
pub mod lists;
pub mod order;
pub mod rules;
