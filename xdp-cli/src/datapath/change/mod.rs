//! Changing what is attached: attach, reload, replace, detach. Knows no terminal.
//!
//! A ruleset comes into force in two steps, wherever it runs. *Prepare* compiles it and resolves
//! what it names; it changes nothing, and everything that can be wrong with the ruleset is found
//! there. *Activate* writes what the ruleset in force does not look at, then makes the one write that
//! puts the new one in force. What the one before held is *released* after that.

pub mod attach;
pub mod configured;
pub mod confirm;
pub mod detach;
pub mod kernel;
pub mod memory;
pub mod nic;
pub mod outcome;
mod pins;
pub mod redirect_targets;
mod refusal;
pub mod reload;
pub mod replace;
pub mod sweep;
