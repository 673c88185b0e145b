//! Finds rules that never match, since a rule before them matches every packet that they would.
//!
//! Every rule that is found is certain, but not all are found: not a rule that several others cover
//! only together, and none once comparing them would take too long.

use super::report::{Report, quote};
use crate::ruleset::{
    Excluded, Fragment, Matches, Prefix, Prefixes, Protocol, Rule, RuleAction, TcpFlags, Vlan,
};

/// How many pairs of values are compared at most. Without a limit, thousands of rules with
/// thousands of prefixes each would take minutes.
const MOST_COMPARISONS: usize = 50_000_000;

const TCP: u8 = 6;

/// Warns of rules that never match. `places` are the places of the rules.
pub(super) fn warn(rules: &[Rule], places: &[usize], report: &mut Report<'_>) {
    let all = Matches::default();
    // A rule with a limit leaves what is under to the others; one that blocks, what is not IP.
    let takes_all =
        |rule: &Rule| rule.limit.is_none() && !matches!(rule.action, RuleAction::Block { .. });
    let catch_all = rules.iter().position(|rule| rule.matches == all && takes_all(rule));
    let asked = catch_all.map_or(rules.len(), |last| last + 1);
    let mut comparing = Comparing { left: MOST_COMPARISONS };
    for later in 1..asked {
        let covers =
            |rule: &Rule| takes_all(rule) && comparing.covers(&rule.matches, &rules[later].matches);
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
            && covers_fragments(one, other)
            && is_wider(&one.tcp_flags, &other.tcp_flags, |one, other| looks_wider(*one, *other))
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
            && is_wider(&one.source_port, &other.source_port, |a, b| self.holds_ranges(a, b))
            && is_wider(&one.destination_port, &other.destination_port, |a, b| {
                self.holds_ranges(a, b)
            })
            && is_wider(&one.length, &other.length, |a, b| self.holds_ranges(a, b))
            && is_wider(&one.ttl, &other.ttl, |a, b| self.holds_ranges(a, b))
            && is_wider(&one.source, &other.source, |a, b| self.holds_prefixes(a, b))
            && is_wider(&one.destination, &other.destination, |a, b| self.holds_prefixes(a, b))
            && self.spares(&one.not, other)
    }

    /// Whether no packet that `other` matches is one that `one` excludes, key by key: `other` excludes
    /// it too, or names other values. Either way it has the field, which `one` asks for.
    fn spares(&mut self, one: &Excluded, other: &Matches) -> bool {
        let Matches { not, .. } = other;
        self.spares_protocol(one.protocol.as_deref(), other)
            && self.spares_values(&one.icmp_type, &other.icmp_type, &not.icmp_type)
            && self.spares_values(&one.dscp, &other.dscp, &not.dscp)
            && self.spares_values(&one.source_mac, &other.source_mac, &not.source_mac)
            && self.spares_values(
                &one.destination_mac,
                &other.destination_mac,
                &not.destination_mac,
            )
            && self.spares_ranges(&one.source_port, &other.source_port, &not.source_port)
            && self.spares_ranges(
                &one.destination_port,
                &other.destination_port,
                &not.destination_port,
            )
            && self.spares_ranges(&one.length, &other.length, &not.length)
            && self.spares_ranges(&one.ttl, &other.ttl, &not.ttl)
            && self.spares_prefixes(&one.source, &other.source, &not.source)
            && self.spares_prefixes(&one.destination, &other.destination, &not.destination)
            && one.tcp_flags.is_none_or(|one| {
                not.tcp_flags.is_some_and(|other| looks_wider(other, one))
                    || other
                        .tcp_flags
                        .is_some_and(|other| one.mask & other.mask & (one.value ^ other.value) != 0)
            })
            && match (&one.vlan, &other.vlan, &not.vlan) {
                (None, ..) => true,
                (Some(Vlan::Untagged), vlan, not) => {
                    matches!(vlan, Some(Vlan::Ids(_))) || not.is_some()
                }
                (Some(Vlan::Ids(one)), Some(Vlan::Ids(ids)), _) => {
                    self.apart(ids, one, |a, b| a == b)
                }
                (Some(Vlan::Ids(one)), _, Some(Vlan::Ids(not))) => {
                    self.holds(not, one, |a, b| a == b)
                }
                (Some(Vlan::Ids(_)), ..) => false,
            }
    }

    fn spares_protocol(&mut self, one: Option<&[Protocol]>, other: &Matches) -> bool {
        let Some(one) = one else { return true };
        let is = other.protocol.as_slice();
        (!is.is_empty()
            && self.apart(is, one, |a, b| holds_protocol(*a, *b) || holds_protocol(*b, *a)))
            || other.not.protocol.as_ref().is_some_and(|not| {
                self.holds(not, one, |outer, inner| holds_protocol(*outer, *inner))
            })
    }

    fn spares_values<T: PartialEq>(
        &mut self,
        one: &Option<Vec<T>>,
        is: &Option<Vec<T>>,
        not: &Option<Vec<T>>,
    ) -> bool {
        let Some(one) = one else { return true };
        is.as_ref().is_some_and(|is| self.apart(is, one, |a, b| a == b))
            || not.as_ref().is_some_and(|not| self.holds(not, one, |a, b| a == b))
    }

    fn spares_ranges<T: Copy + PartialOrd>(
        &mut self,
        one: &Option<Vec<(T, T)>>,
        is: &Option<Vec<(T, T)>>,
        not: &Option<Vec<(T, T)>>,
    ) -> bool {
        let Some(one) = one else { return true };
        is.as_ref().is_some_and(|is| self.apart(is, one, |a, b| a.0 <= b.1 && b.0 <= a.1))
            || not.as_ref().is_some_and(|not| self.holds_ranges(not, one))
    }

    fn spares_prefixes(
        &mut self,
        one: &Option<Prefixes>,
        is: &Option<Prefixes>,
        not: &Option<Prefixes>,
    ) -> bool {
        let Some(one) = one else { return true };
        is.as_ref().is_some_and(|is| {
            self.apart(&is.v4, &one.v4, |a, b| holds_v4(a, b) || holds_v4(b, a))
                && self.apart(&is.v6, &one.v6, |a, b| holds_v6(a, b) || holds_v6(b, a))
        }) || not.as_ref().is_some_and(|not| self.holds_prefixes(not, one))
    }

    /// Whether none of the first meets one of the second.
    fn apart<T>(&mut self, first: &[T], second: &[T], meets: impl Fn(&T, &T) -> bool) -> bool {
        first.iter().all(|one| {
            self.left = self.left.saturating_sub(second.len());
            self.left > 0 && !second.iter().any(|other| meets(one, other))
        })
    }

    /// Whether each of `inner` is held by some one of `outer`.
    fn holds<T>(&mut self, outer: &[T], inner: &[T], holds: impl Fn(&T, &T) -> bool) -> bool {
        inner.iter().all(|inner| {
            self.left = self.left.saturating_sub(outer.len());
            self.left > 0 && outer.iter().any(|outer| holds(outer, inner))
        })
    }

    fn holds_ranges<T: Copy + PartialOrd>(&mut self, outer: &[(T, T)], inner: &[(T, T)]) -> bool {
        self.holds(outer, inner, |outer, inner| outer.0 <= inner.0 && inner.1 <= outer.1)
    }

    fn holds_prefixes(&mut self, outer: &Prefixes, inner: &Prefixes) -> bool {
        self.holds(&outer.v4, &inner.v4, holds_v4) && self.holds(&outer.v6, &inner.v6, holds_v6)
    }
}

fn holds_v4(outer: &Prefix<u32>, inner: &Prefix<u32>) -> bool {
    let mask = u32::MAX.checked_shl(32 - u32::from(outer.length)).unwrap_or(0);
    outer.length <= inner.length && (outer.address ^ inner.address) & mask == 0
}

fn holds_v6(outer: &Prefix<u128>, inner: &Prefix<u128>) -> bool {
    let mask = u128::MAX.checked_shl(128 - u32::from(outer.length)).unwrap_or(0);
    outer.length <= inner.length && (outer.address ^ inner.address) & mask == 0
}

/// Whether all flags that look like `inner` look like `outer` too.
const fn looks_wider(outer: TcpFlags, inner: TcpFlags) -> bool {
    inner.mask & outer.mask == outer.mask && inner.value & outer.mask == outer.value
}

/// Whether the outer protocol is that of every packet of the inner.
fn holds_protocol(outer: Protocol, inner: Protocol) -> bool {
    match (outer, inner) {
        (Protocol::Number(1), Protocol::Icmp) | (Protocol::Number(58), Protocol::Icmpv6) => true,
        (outer, inner) => outer == inner,
    }
}

/// Whether `one` accepts every fragment, and every whole packet, that `other` does.
fn covers_fragments(one: &Matches, other: &Matches) -> bool {
    let accepted = |matches: &Matches| {
        let is = matches.fragment.map(Fragment::accepted);
        let not = matches.not.fragment.map(|not| not.accepted().map(|it| !it));
        is.or(not).map(|all| [0, 1, 2].map(|part| all[part] && not.is_none_or(|not| not[part])))
    };
    match (accepted(one), accepted(other)) {
        (None, _) => true,
        (Some(one), Some(other)) => one.iter().zip(other).all(|(one, other)| *one || !other),
        // What is not IP is no fragment, nor whole.
        (Some(_), None) => false,
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
        (Some(one), Some(other)) => holds_protocol(one, other),
        (Some(Protocol::Number(TCP)), None) => {
            other.tcp_flags.is_some() || other.not.tcp_flags.is_some()
        }
        (Some(_), None) => false,
    }
}
