//! The one room that talks to the kernel. Each of its rooms uses those above it in this list, and
//! none below.

pub mod error;
pub mod sys;

pub mod host;
pub mod program;

pub mod maps;

pub mod attached;

pub mod change;
