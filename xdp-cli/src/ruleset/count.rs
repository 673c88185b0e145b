//! How many entries a list has.

use serde::{Deserialize, Serialize};

/// Entries of a list, each counted once: prefixes by family, and names of the Domain Name System.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryCount {
    pub ipv4: u64,
    pub ipv6: u64,
    pub names: u64,
}

impl EntryCount {
    /// All of them; `u64::MAX` if it is too large.
    pub const fn total(self) -> u64 {
        self.ipv4.saturating_add(self.ipv6).saturating_add(self.names)
    }

    /// Adds two counts, each kind of entry by itself. Saturates: counts read back from the kernel may be
    /// any numbers, so a sum may not fit.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            ipv4: self.ipv4.saturating_add(other.ipv4),
            ipv6: self.ipv6.saturating_add(other.ipv6),
            names: self.names.saturating_add(other.names),
        }
    }
}
