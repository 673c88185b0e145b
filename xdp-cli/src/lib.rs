//! xdpctl: an XDP packet filter whose rulesets are data.
//!
//! The way of a configuration: [`config`] reads the text and makes a [`ruleset`] of it, [`image`]
//! compiles that into the bytes that the program judges by, and [`datapath`] puts those into the
//! kernel. Only the last of these talks to a kernel.

pub mod agent;
pub mod args;
pub mod commands;
pub mod config;
pub mod datapath;
pub mod diagnostic;
pub mod difference;
pub mod event;
pub mod frames;
mod gzip;
pub mod image;
pub mod judgement;
pub mod limited;
pub mod logging;
pub mod notation;
pub mod report;
pub mod ruleset;
pub mod served;
pub mod usage;
pub mod views;
pub mod watch;
