//! `[policy]` and `[arp]`.

use std::net::{IpAddr, Ipv4Addr};

use toml::de::DeValue;

use super::report::{Report, quote};
use super::table::TomlTable;
use crate::ruleset::{Arp, Policy, PolicyAction};

const ACTIONS: [(&str, PolicyAction); 2] =
    [("pass", PolicyAction::Pass), ("drop", PolicyAction::Drop)];

pub(super) fn read_policy(mut table: TomlTable<'_>, report: &mut Report<'_>) -> Policy {
    let defaults = Policy::default();
    let policy = Policy {
        default: table.word("default", &ACTIONS, report).unwrap_or(defaults.default),
        malformed: table.word("malformed", &ACTIONS, report).unwrap_or(defaults.malformed),
        fragments: table.word("fragments", &ACTIONS, report).unwrap_or(defaults.fragments),
    };
    table.finish(report);
    policy
}

/// The place at which `[policy]` says that fragments pass; `None` where it does not say so itself.
pub(super) fn passed_fragments(table: &mut TomlTable<'_>) -> Option<usize> {
    let value = table.value("fragments")?;
    matches!(value.value, DeValue::String(text) if text == "pass").then_some(value.at)
}

pub(super) fn read_arp(mut table: TomlTable<'_>, report: &mut Report<'_>) -> Arp {
    let action = table.word("action", &ACTIONS, report);
    let addresses = table.strings("allow", "write addresses, such as [\"192.0.2.1\"]", report);
    let first = addresses.first().map(|address| address.at);
    let mut allow = Vec::with_capacity(addresses.len());
    for address in addresses {
        if let Ok(address) = address.value.parse::<Ipv4Addr>() {
            allow.push(address.to_bits());
            continue;
        }
        let hint = match address.value.split_once('/') {
            Some(_) => "write single addresses, not prefixes",
            None if address.value.parse::<IpAddr>().is_ok() => {
                "ARP is for IPv4 alone; IPv6 has neighbour discovery, which is ICMPv6"
            }
            None => "write an address such as 192.0.2.1",
        };
        let message =
            format!("{}: {} is not an IPv4 address", table.title, quote(address.value, 60));
        report.error(address.at, message, hint);
    }
    if let Some(at) = first
        && (action == Some(PolicyAction::Pass) || !(table.has("action") || report.is_broken()))
    {
        report.warning(
            at,
            format!("{}: allow has no effect, since all ARP passes", table.title),
            "it counts with action = \"drop\"",
        );
    }
    table.finish(report);
    Arp { action: action.unwrap_or_default(), allow }
}
