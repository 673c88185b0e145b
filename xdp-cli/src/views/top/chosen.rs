//! What the user has chosen to see.

use std::net::IpAddr;

/// What lists and rules are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    #[default]
    Rate,
    Packets,
    Name,
}

/// What keys go to, other than to the picture itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Asking {
    #[default]
    Nothing,
    /// The filter is being written; with what it was before.
    Filter { before: String },
    /// Whether to block this source.
    Block(IpAddr),
    /// Nothing, but the help is shown.
    Help,
}
