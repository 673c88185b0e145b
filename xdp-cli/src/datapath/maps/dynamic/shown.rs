//! Records as they are shown.

use std::time::{Duration, UNIX_EPOCH};

use xdp_common::filter::dynamic::NEVER;

use crate::config::prefix::IpPrefix;
use crate::datapath::maps::dynamic::owners::Owners;
use crate::datapath::maps::dynamic::records::Record;
use crate::views::entries::Listed;

/// A live record, as it is shown.
pub(super) fn listed(
    prefix: IpPrefix,
    owner: &str,
    record: &Record,
    now: u64,
    packets: u64,
    note: Option<&str>,
) -> Listed {
    Listed {
        prefix,
        kind: record.kind,
        // Rounded up, so that a live entry never has 0 seconds left.
        expires_in_seconds: (record.deadline != NEVER)
            .then(|| record.deadline.saturating_sub(now).div_ceil(1_000_000_000)),
        note: note.map(str::to_owned),
        owner: owner.to_owned(),
        created: UNIX_EPOCH + Duration::from_millis(record.created),
        packets,
    }
}

/// The name of an owner; its number (`#3`), where somebody removed the name by hand.
pub(super) fn name(owners: &Owners, number: u32) -> String {
    owners.name(number).map_or_else(|| format!("#{number}"), str::to_owned)
}
