//! xdpctl: an XDP packet filter whose rulesets are data.
//!
//! A configuration's way, from top to bottom: [`config`] reads the text, [`ruleset`] is what it
//! comes to.

pub mod datapath;
pub mod diagnostic;
pub mod ruleset;
