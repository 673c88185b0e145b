//! Parts of commands that keep running.

pub mod health;
pub mod http;
