//! `[policy]` and `[arp]`.

use std::net::{IpAddr, Ipv4Addr};

use toml::de::DeValue;

use super::report::{Report, quote};
use super::table::TomlTable;
use crate::ruleset::{Arp, Policy, PolicyAction, Replies, ReplyUdp};

const ACTIONS: [(&str, PolicyAction); 2] =
    [("pass", PolicyAction::Pass), ("drop", PolicyAction::Drop)];
const REPLIES: [(&str, Replies); 2] = [("judge", Replies::Judge), ("pass", Replies::Pass)];
const UDP: [(&str, ReplyUdp); 3] = [
    ("sent", ReplyUdp::Sent),
    ("ephemeral", ReplyUdp::Ephemeral),
    ("connected", ReplyUdp::Connected),
];

pub(super) fn read_policy(mut table: TomlTable<'_>, report: &mut Report<'_>) -> Policy {
    let defaults = Policy::default();
    let policy = Policy {
        default: table.word("default", &ACTIONS, report).unwrap_or(defaults.default),
        malformed: table.word("malformed", &ACTIONS, report).unwrap_or(defaults.malformed),
        fragments: table.word("fragments", &ACTIONS, report).unwrap_or(defaults.fragments),
        replies: table.word("replies", &REPLIES, report).unwrap_or(defaults.replies),
        replies_udp: table.word("replies_udp", &UDP, report).unwrap_or(defaults.replies_udp),
    };
    warn_of_replies(&mut table, &policy, report);
    table.finish(report);
    policy
}

/// Warns of keys about replies that change nothing.
fn warn_of_replies(table: &mut TomlTable<'_>, policy: &Policy, report: &mut Report<'_>) {
    if report.has_errors() {
        return;
    }
    let at = |table: &mut TomlTable<'_>, key| table.value(key).map(|value| value.at);
    if policy.replies == Replies::Pass
        && policy.default == PolicyAction::Pass
        && let Some(at) = at(table, "replies")
    {
        report.warning(
            at,
            "[policy]: replies = \"pass\" has no effect, since the default passes everything"
                .to_owned(),
            "it counts with default = \"drop\"",
        );
    }
    if policy.replies == Replies::Judge
        && let Some(at) = at(table, "replies_udp")
    {
        report.warning(
            at,
            "[policy]: replies_udp has no effect, since no replies are asked about".to_owned(),
            "it counts with replies = \"pass\"",
        );
    }
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
