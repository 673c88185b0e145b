//! The keys of a rule: what it matches, its limit and its action.

use super::super::time;
use super::settings::{Settings, number, range};
use super::value::{Setting, Value};
use crate::ruleset::limits::{Limit, Quantity};
use crate::ruleset::{Excluded, Matches, Protocol, RedirectTarget, Rewrite, Rule, RuleAction};

/// The keys of a rule, without its name.
pub fn rule(rule: &Rule) -> Vec<Setting> {
    let Rule { name: _, file: _, line: _, matches, limit, action } = rule;
    let mut settings = Settings::default();
    write_matches(&mut settings, matches);
    if let Some(limit) = limit {
        write_limit(&mut settings, limit);
    }
    write_action(&mut settings, action);
    settings.0
}

fn write_matches(settings: &mut Settings, matches: &Matches) {
    let Matches {
        protocol,
        source,
        destination,
        source_port,
        destination_port,
        icmp_type,
        tcp_flags,
        dscp,
        vlan,
        source_mac,
        destination_mac,
        length,
        ttl,
        fragment,
        not,
    } = matches;
    if let Some(protocol) = protocol {
        settings.add("protocol", write_protocol(*protocol));
    }
    settings.prefixes("source", source.as_ref());
    settings.prefixes("destination", destination.as_ref());
    settings.several("source_port", source_port.as_deref(), range);
    settings.several("destination_port", destination_port.as_deref(), range);
    settings.several("icmp_type", icmp_type.as_deref(), number);
    settings.flags("tcp_flags", *tcp_flags);
    settings.several("dscp", dscp.as_deref(), number);
    settings.vlan("vlan", vlan.as_ref());
    settings.several("source_mac", source_mac.as_deref(), mac);
    settings.several("destination_mac", destination_mac.as_deref(), mac);
    settings.several("length", length.as_deref(), range);
    settings.several("ttl", ttl.as_deref(), range);
    settings.fragment("fragment", *fragment);
    write_excluded(settings, not);
}

fn write_excluded(settings: &mut Settings, not: &Excluded) {
    let Excluded {
        protocol,
        source,
        destination,
        source_port,
        destination_port,
        icmp_type,
        tcp_flags,
        dscp,
        vlan,
        source_mac,
        destination_mac,
        length,
        ttl,
        fragment,
    } = not;
    settings.several("not_protocol", protocol.as_deref(), |protocol| write_protocol(*protocol));
    settings.prefixes("not_source", source.as_ref());
    settings.prefixes("not_destination", destination.as_ref());
    settings.several("not_source_port", source_port.as_deref(), range);
    settings.several("not_destination_port", destination_port.as_deref(), range);
    settings.several("not_icmp_type", icmp_type.as_deref(), number);
    settings.flags("not_tcp_flags", *tcp_flags);
    settings.several("not_dscp", dscp.as_deref(), number);
    settings.vlan("not_vlan", vlan.as_ref());
    settings.several("not_source_mac", source_mac.as_deref(), mac);
    settings.several("not_destination_mac", destination_mac.as_deref(), mac);
    settings.several("not_length", length.as_deref(), range);
    settings.several("not_ttl", ttl.as_deref(), range);
    settings.fragment("not_fragment", *fragment);
}

fn write_limit(settings: &mut Settings, limit: &Limit) {
    let Limit { rate, burst, per } = limit;
    settings.add("over", Value::text(rate.to_string()));
    settings.add("per", Value::text(per.to_string()));
    let burst = match rate.of {
        // The parser takes no more.
        Quantity::Packets => Value::Number(u32::try_from(*burst).unwrap_or(u32::MAX)),
        Quantity::Bits => Value::text(limit.written_burst().to_string()),
    };
    settings.add("burst", burst);
}

fn write_action(settings: &mut Settings, action: &RuleAction) {
    let mut life = None;
    let (word, to, rewrite) = match action {
        RuleAction::Pass => ("pass", None, None),
        RuleAction::Drop => ("drop", None, None),
        // The place in the file is no part of what a rule does.
        RuleAction::Redirect { to, rewrite, line: _, column: _ } => {
            ("redirect", Some(to), Some(rewrite))
        }
        RuleAction::Bounce { rewrite } => ("bounce", None, Some(rewrite)),
        RuleAction::SynCookie => ("syncookie", None, None),
        RuleAction::Block { life: blocked } => {
            life = Some(*blocked);
            ("block", None, None)
        }
    };
    settings.add("action", Value::text(word));
    if let Some(life) = life {
        settings.add("for", Value::Text(time::text(life)));
    }
    match to {
        Some(RedirectTarget::Name(name)) => settings.add("to", Value::text(name)),
        Some(RedirectTarget::Index(index)) => settings.add("to", Value::Number(*index)),
        None => {}
    }
    let Rewrite { source_mac, destination_mac } = rewrite.copied().unwrap_or_default();
    let rewrites = [("set_source_mac", source_mac), ("set_destination_mac", destination_mac)];
    for (key, address) in rewrites {
        if let Some(address) = address {
            settings.add(key, mac(&address));
        }
    }
}

fn write_protocol(protocol: Protocol) -> Value {
    match protocol {
        Protocol::Icmp => Value::text("icmp"),
        Protocol::Icmpv6 => Value::text("icmpv6"),
        Protocol::Number(6) => Value::text("tcp"),
        Protocol::Number(17) => Value::text("udp"),
        Protocol::Number(132) => Value::text("sctp"),
        Protocol::Number(number) => Value::Number(number.into()),
    }
}

fn mac(address: &[u8; 6]) -> Value {
    Value::Text(address.map(|byte| format!("{byte:02x}")).join(":"))
}
