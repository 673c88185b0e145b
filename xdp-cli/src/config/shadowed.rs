//! Finds rules that never match, since a rule before them matches every packet that they would.
//!
//! Every rule that is found is certain, but not all are found: not a rule that several others cover
//! only together, and none once comparing them would take too long.

use super::report::{Report, quote};
use crate::ruleset::{Matches, Prefix, Prefixes, Protocol, Rule, Vlan};

/// How many pairs of values are compared at most. Without a limit, thousands of rules with
/// thousands of prefixes each would take minutes.
const MOST_COMPARISONS: usize = 50_000_000;

const TCP: u8 = 6;

/// Warns of rules that never match. `places` are the places of the rules.
pub(super) fn warn(rules: &[Rule], places: &[usize], report: &mut Report<'_>) {
    let all = Matches::default();
    let catch_all = rules.iter().position(|rule| rule.matches == all);
    let asked = catch_all.map_or(rules.len(), |last| last + 1);
    let mut comparing = Comparing { left: MOST_COMPARISONS };
    for later in 1..asked {
        let covers = |rule: &Rule| comparing.covers(&rule.matches, &rules[later].matches);
        if let Some(earlier) = rules[..later].iter().position(covers) {
            report.warning(
                places[later],
                format!(
                    "rule {} never matches: rule {} in {} has matched all of it",
                    quote(&rules[later].name, 64),
                    quote(&rules[earlier].name, 64),
                    report.line_seen_from(places[earlier], places[later])
                ),
                "put the narrower rule first, or leave it out",
            );
        }
    }
    if let Some(behind) = rules.get(asked..).filter(|behind| !behind.is_empty()) {
        let names: Vec<_> = behind.iter().take(5).map(|rule| quote(&rule.name, 64)).collect();
        let more = behind.len() - names.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        report.warning(
            places[asked - 1],
            format!(
                "rule {} matches every packet: those behind it never match: {}{more}",
                quote(&rules[asked - 1].name, 64),
                names.join(", ")
            ),
            "put it last, or give it a condition",
        );
    }
}

struct Comparing {
    left: usize,
}

impl Comparing {
    /// Whether `one` matches every packet that `other` matches. `false` if that is not certain.
    fn covers(&mut self, one: &Matches, other: &Matches) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        covers_protocol(one.protocol, other)
            && is_wider(&one.tcp_flags, &other.tcp_flags, |one, other| {
                other.mask & one.mask == one.mask && other.value & one.mask == one.value
            })
            && is_wider(&one.vlan, &other.vlan, |one, other| match (one, other) {
                (Vlan::Untagged, Vlan::Untagged) => true,
                (Vlan::Ids(one), Vlan::Ids(other)) => self.holds(one, other, |a, b| a == b),
                _ => false,
            })
            && is_wider(&one.dscp, &other.dscp, |a, b| self.holds(a, b, |a, b| a == b))
            && is_wider(&one.icmp_type, &other.icmp_type, |a, b| self.holds(a, b, |a, b| a == b))
            && is_wider(&one.source_mac, &other.source_mac, |a, b| self.holds(a, b, |a, b| a == b))
            && is_wider(&one.destination_mac, &other.destination_mac, |a, b| {
                self.holds(a, b, |a, b| a == b)
            })
            && is_wider(&one.source_port, &other.source_port, |a, b| self.holds_ports(a, b))
            && is_wider(&one.destination_port, &other.destination_port, |a, b| {
                self.holds_ports(a, b)
            })
            && is_wider(&one.source, &other.source, |a, b| self.holds_prefixes(a, b))
            && is_wider(&one.destination, &other.destination, |a, b| self.holds_prefixes(a, b))
    }

    /// Whether each of `inner` is held by some one of `outer`.
    fn holds<T>(&mut self, outer: &[T], inner: &[T], holds: impl Fn(&T, &T) -> bool) -> bool {
        inner.iter().all(|inner| {
            self.left = self.left.saturating_sub(outer.len());
            self.left > 0 && outer.iter().any(|outer| holds(outer, inner))
        })
    }

    fn holds_ports(&mut self, outer: &[(u16, u16)], inner: &[(u16, u16)]) -> bool {
        self.holds(outer, inner, |outer, inner| outer.0 <= inner.0 && inner.1 <= outer.1)
    }

    fn holds_prefixes(&mut self, outer: &Prefixes, inner: &Prefixes) -> bool {
        self.holds(&outer.v4, &inner.v4, |outer: &Prefix<u32>, inner| {
            let mask = u32::MAX.checked_shl(32 - u32::from(outer.length)).unwrap_or(0);
            outer.length <= inner.length && (outer.address ^ inner.address) & mask == 0
        }) && self.holds(&outer.v6, &inner.v6, |outer: &Prefix<u128>, inner| {
            let mask = u128::MAX.checked_shl(128 - u32::from(outer.length)).unwrap_or(0);
            outer.length <= inner.length && (outer.address ^ inner.address) & mask == 0
        })
    }
}

/// Whether condition `one` accepts all that `other` does: it is left out, or `holds` says so.
fn is_wider<T>(one: &Option<T>, other: &Option<T>, holds: impl FnOnce(&T, &T) -> bool) -> bool {
    match (one, other) {
        (None, _) => true,
        (Some(one), Some(other)) => holds(one, other),
        (Some(_), None) => false,
    }
}

/// Whether a condition on the protocol accepts every packet of the other rule. A rule with TCP
/// flags means TCP even if it names no protocol; ports may be those of several protocols.
fn covers_protocol(protocol: Option<Protocol>, other: &Matches) -> bool {
    match (protocol, other.protocol) {
        (None, _) => true,
        (Some(Protocol::Number(1)), Some(Protocol::Icmp))
        | (Some(Protocol::Number(58)), Some(Protocol::Icmpv6)) => true,
        (Some(one), Some(other)) => one == other,
        (Some(Protocol::Number(TCP)), None) => other.tcp_flags.is_some(),
        (Some(_), None) => false,
    }
}
