//! Changing what is attached: attach, reload, replace, detach. Knows no terminal.
//!
//! A ruleset comes into force in two steps, wherever it runs. *Prepare* compiles it and resolves
//! the interfaces that it names; it changes nothing, and finds everything that can be wrong with
//! the ruleset. *Activate* writes where the ruleset in force does not look, then makes the one
//! write that puts the new one in force. After that, what the old one held is *released*.

pub mod attach;
pub mod configured;
pub mod confirm;
pub mod detach;
pub mod egress;
pub mod kernel;
pub mod memory;
pub mod next_hops;
pub mod nic;
pub mod outcome;
pub mod pins;
pub mod redirect_targets;
mod refusal;
pub mod reload;
pub mod replace;
pub mod sweep;
pub mod trial;
