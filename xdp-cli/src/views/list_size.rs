//! How many entries a list has, as JSON: prefixes by family, or names.

use serde::Serialize;

use crate::image::metadata::Kind;
use crate::ruleset::EntryCount;

/// The entries of one list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum ListSize {
    Prefixes { ipv4: u64, ipv6: u64 },
    Names { domains: u64 },
}

impl ListSize {
    pub(super) fn of(kind: Kind, EntryCount { ipv4, ipv6, names }: EntryCount) -> Self {
        match kind {
            Kind::Domains => Self::Names { domains: names },
            Kind::Allowlist | Kind::Blocklist | Kind::Rule | Kind::Service => {
                Self::Prefixes { ipv4, ipv6 }
            }
        }
    }
}
