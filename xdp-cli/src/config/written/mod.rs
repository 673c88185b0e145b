//! The way back from a ruleset to a configuration: its keys with their values.
//!
//! `show` prints these, and a reload compares them to say what changes, so both know every key.
//! What means the same is written the same: several values of a key are sorted, each there once.

mod rule;
mod service;
mod settings;
mod value;

use std::net::Ipv4Addr;

use self::settings::Settings;
use super::qtype;
use crate::ruleset::domains::DomainList;
use crate::ruleset::{
    Arp, Guards, List, ListAction, Policy, PolicyAction, Replies, ReplyUdp, Side,
};

pub use self::rule::rule;
pub use self::service::{backend, check, checked, service, service_settings, whole_backend};
pub use self::value::{Setting, Value, prefix_v4, prefix_v6};

/// The keys of `[policy]`, even those with default values, but for replies where these are not asked about.
pub fn policy(policy: &Policy) -> Vec<Setting> {
    let Policy { default, malformed, fragments, replies, replies_udp } = *policy;
    let keys = [("default", default), ("malformed", malformed), ("fragments", fragments)];
    let mut settings =
        Settings(keys.map(|(key, value)| Setting { key, value: policy_action(value) }).into());
    if replies == Replies::Pass {
        settings.add("replies", Value::text("pass"));
        let udp = match replies_udp {
            ReplyUdp::Sent => "sent",
            ReplyUdp::Ephemeral => "ephemeral",
            ReplyUdp::Connected => "connected",
        };
        settings.add("replies_udp", Value::text(udp));
    }
    settings.0
}

/// The keys of `[arp]`.
pub fn arp(arp: &Arp) -> Vec<Setting> {
    let Arp { action, allow } = arp;
    let mut settings = Settings::default();
    settings.add("action", policy_action(*action));
    let allow = (!allow.is_empty()).then_some(&allow[..]);
    settings
        .several("allow", allow, |address| Value::text(Ipv4Addr::from_bits(*address).to_string()));
    settings.0
}

/// The keys of an allowlist or a blocklist, without its name and its entries.
pub fn list(list: &List, is_blocklist: bool) -> Vec<Setting> {
    // The caller deals with its place, its name and its entries.
    let List { name: _, file: _, line: _, column: _, v4: _, v6: _, side, action, strict, guards } =
        list;
    let mut settings = Settings::default();
    if is_blocklist {
        let side = match side {
            Side::Source => "source",
            Side::Destination => "destination",
            Side::Either => "either",
        };
        let action = match action {
            ListAction::Drop => "drop",
            ListAction::Count => "count",
        };
        settings.add("match", Value::text(side));
        settings.add("action", Value::text(action));
    }
    if *strict {
        settings.add("strict", Value::Boolean(true));
    }
    write_guards(&mut settings, guards);
    settings.0
}

/// The keys of a list of names, without its name and its entries.
pub fn domains(list: &DomainList) -> Vec<Setting> {
    let DomainList {
        name: _,
        file: _,
        line: _,
        column: _,
        names: _,
        action,
        qtypes,
        strict,
        guards,
    } = list;
    let mut settings = Settings::default();
    settings.add("action", Value::text(action.as_str()));
    settings.several("qtype", qtypes.as_deref(), |number| Value::text(qtype::text(*number)));
    if *strict {
        settings.add("strict", Value::Boolean(true));
    }
    write_guards(&mut settings, guards);
    settings.0
}

fn write_guards(settings: &mut Settings, guards: &Guards) {
    let Guards { allow_empty, catch_all, min_entries, max_shrink } = *guards;
    for (key, value) in [("allow_empty", allow_empty), ("catch_all", catch_all)] {
        if value {
            settings.add(key, Value::Boolean(true));
        }
    }
    if let Some(number) = min_entries {
        settings.add("min_entries", Value::Number(number));
    }
    if let Some(percent) = max_shrink {
        settings.add("max_shrink", Value::Text(format!("{percent}%")));
    }
}

fn policy_action(action: PolicyAction) -> Value {
    Value::text(match action {
        PolicyAction::Pass => "pass",
        PolicyAction::Drop => "drop",
    })
}
