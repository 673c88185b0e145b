//! A second opinion: the contract written down once more in the plainest way, and held against
//! the product over random configurations and frames. Neither kernel nor root is needed.

#[path = "model/mod.rs"]
mod model;
