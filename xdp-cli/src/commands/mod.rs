//! One command a file: settings in, exit status out.

pub mod check;
pub mod completions;
pub mod man;
