//! The one room that talks to the kernel. Each of its modules uses only modules above it in this
//! list.

pub mod error;
pub mod sys;

pub mod host;
pub mod program;

pub mod maps;

pub mod attached;

pub mod change;
