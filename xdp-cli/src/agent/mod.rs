//! Parts of commands that keep running.

pub mod http;
