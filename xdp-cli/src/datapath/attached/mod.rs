//! What is attached in a network namespace: found through its pins, read, and asked.

pub mod allowlisted;
pub mod attachment;
pub mod attachments;
pub mod capture;
pub mod egress;
pub mod found;
pub mod in_force;
pub mod kept_ruleset;
pub mod key;
pub mod limits;
pub mod namespace;
pub mod nic;
pub mod pending;
pub mod persisted;
pub mod question;
pub mod services;
pub mod tried;
