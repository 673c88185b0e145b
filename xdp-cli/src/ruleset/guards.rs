//! What keeps a damaged list file from being put in force.

use serde::{Deserialize, Serialize};

/// What a list may hold, so that a damaged list file is not put in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guards {
    /// It may hold nothing.
    pub allow_empty: bool,
    /// It may hold every address of a family, or every name.
    pub catch_all: bool,
    /// The list must hold at least so many entries, each counted once.
    pub min_entries: Option<u32>,
    /// When it replaces a list in force, at most this share of its entries may be lost, in percent.
    pub max_shrink: Option<u8>,
}
