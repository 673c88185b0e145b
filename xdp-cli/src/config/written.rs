//! The way back from a ruleset to a configuration: its keys with their values.
//!
//! `show` prints these, and a reload compares them to say what changes, so both know every key.
//! What means the same is written the same: several values of a key are sorted, each there once.

use std::fmt::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::Serialize;

use super::qtype;
use super::time;
use crate::notation::steers;
use crate::ruleset::domains::DomainList;
use crate::ruleset::limits::{Limit, Quantity};
use crate::ruleset::services;
use crate::ruleset::services::check::{Check, Http, Probe, Tls};
use crate::ruleset::{
    Arp, Excluded, Fragment, Guards, List, ListAction, Matches, Policy, PolicyAction, Prefix,
    Prefixes, Protocol, RedirectTarget, Replies, ReplyUdp, Rewrite, Rule, RuleAction, Side,
    TCP_FLAGS, TcpFlags, Vlan,
};

/// The value of a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(untagged)]
pub enum Value {
    Boolean(bool),
    Number(u32),
    Text(String),
    /// None or at least two: a single value is written without an array.
    Several(Vec<Value>),
}

/// Writes the value as TOML.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => value.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => quoted(f, text),
            Self::Several(values) => {
                f.write_char('[')?;
                for (place, value) in values.iter().enumerate() {
                    f.write_str(if place > 0 { ", " } else { "" })?;
                    value.fmt(f)?;
                }
                f.write_char(']')
            }
        }
    }
}

impl Value {
    fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A single value for one, else [`Value::Several`].
    fn of(mut values: Vec<Self>) -> Self {
        match values.len() {
            1 => values.swap_remove(0),
            _ => Self::Several(values),
        }
    }
}

/// Writes a basic string (TOML 1.0.0, String). Names of interfaces may have almost anything in
/// them; characters that control a terminal are escaped, which means the same.
fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for character in text.chars() {
        match character {
            '"' | '\\' => write!(f, "\\{character}")?,
            // None of these characters is above U+FFFF.
            _ if steers(character) => write!(f, "\\u{:04X}", u32::from(character))?,
            _ => f.write_char(character)?,
        }
    }
    f.write_char('"')
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    pub key: &'static str,
    pub value: Value,
}

/// Keys of one table, in the order in which they are written.
#[derive(Default)]
struct Settings(Vec<Setting>);

impl Settings {
    fn add(&mut self, key: &'static str, value: Value) {
        self.0.push(Setting { key, value });
    }

    fn several<T>(&mut self, key: &'static str, values: Option<&[T]>, value: impl Fn(&T) -> Value)
    where
        T: Clone + Ord,
    {
        let Some(values) = values else { return };
        let mut values = values.to_vec();
        values.sort_unstable();
        values.dedup();
        self.add(key, Value::of(values.iter().map(value).collect()));
    }

    fn prefixes(&mut self, key: &'static str, prefixes: Option<&Prefixes>) {
        if let Some(prefixes) = prefixes {
            self.add(key, Value::of(write_prefixes(prefixes)));
        }
    }

    fn flags(&mut self, key: &'static str, flags: Option<TcpFlags>) {
        if let Some(flags) = flags {
            self.add(key, write_flags(flags));
        }
    }

    fn vlan(&mut self, key: &'static str, vlan: Option<&Vlan>) {
        match vlan {
            Some(Vlan::Untagged) => self.add(key, Value::text("none")),
            Some(Vlan::Ids(ids)) => self.several(key, Some(ids), number),
            None => {}
        }
    }

    fn fragment(&mut self, key: &'static str, fragment: Option<Fragment>) {
        let value = match fragment {
            Some(Fragment::None) => Value::Boolean(false),
            Some(Fragment::Any) => Value::Boolean(true),
            Some(Fragment::First) => Value::text("first"),
            Some(Fragment::Later) => Value::text("later"),
            None => return,
        };
        self.add(key, value);
    }
}

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

/// The keys of `[services]` that are not those of a configuration without it.
pub fn service_settings(settings: &services::Settings) -> Vec<Setting> {
    let services::Settings {
        seed,
        tracking,
        connections,
        history,
        tunnel_source_v4,
        tunnel_source_v6,
        next_hop,
    } = settings;
    let usual = services::Settings::default();
    let mut written = Settings::default();
    if let Some(seed) = seed {
        written.add("seed", Value::Text(base64(seed)));
    }
    if *tracking != usual.tracking {
        written.add("tracking", Value::text(tracking.as_str()));
    }
    if *connections != usual.connections {
        written.add("connections", Value::Number(*connections));
    }
    if *history != usual.history {
        written.add("history", Value::Text(time::text(*history)));
    }
    let mut sources = Vec::new();
    if *tunnel_source_v4 != usual.tunnel_source_v4 {
        sources.push(Value::Text(prefix_v4(*tunnel_source_v4)));
    }
    if *tunnel_source_v6 != usual.tunnel_source_v6 {
        sources.push(Value::Text(prefix_v6(*tunnel_source_v6)));
    }
    if !sources.is_empty() {
        written.add("tunnel_source", Value::Several(sources));
    }
    if *next_hop != usual.next_hop {
        written.add("next_hop", Value::Text(next_hop.to_string()));
    }
    written.0
}

/// The keys of a service, without its name and its backends.
pub fn service(service: &services::Service) -> Vec<Setting> {
    let services::Service {
        name: _,
        file: _,
        line: _,
        column: _,
        // These have tables of their own.
        check: _,
        backends: _,
        addresses,
        protocols,
        ports: ranges,
        source,
        mode,
        hash,
        table,
        tracking,
        affinity,
        udp_timeout,
        too_big,
        no_backend,
        echo,
        panic,
        mtu,
    } = service;
    let mut settings = Settings::default();
    settings.prefixes("address", Some(addresses));
    settings.several("protocol", Some(protocols), |it| Value::text(it.as_str()));
    settings.several("port", ranges.as_deref(), range);
    settings.prefixes("source", source.as_ref());
    settings.add("mode", Value::text(mode.as_str()));
    if let services::Mode::Gue { port } = mode {
        settings.add("encapsulation", Value::text("gue"));
        settings.add("gue_port", Value::Number((*port).into()));
    }
    if *hash != services::Hash::default() {
        settings.add("hash", Value::text(hash.as_str()));
    }
    settings.add("table", Value::Number(*table));
    // What a service tracks that does not say so depends on [services].
    settings.add("tracking", Value::text(tracking.as_str()));
    if let Some(affinity) = affinity {
        settings.add("affinity", Value::Text(time::text(*affinity)));
    }
    if *udp_timeout != services::UDP_TIMEOUT {
        settings.add("udp_timeout", Value::Text(time::text(*udp_timeout)));
    }
    if *too_big != services::TooBig::default() {
        settings.add("too_big", Value::text(too_big.as_str()));
    }
    if *no_backend != services::NoBackend::default() {
        settings.add("no_backend", Value::text(no_backend.as_str()));
    }
    if *echo != services::Echo::default() {
        settings.add("echo", Value::text(echo.as_str()));
    }
    if *panic != 0 {
        settings.add("panic", Value::Number((*panic).into()));
    }
    if let Some(mtu) = mtu {
        settings.add("mtu", Value::Number((*mtu).into()));
    }
    settings.0
}

/// The keys of a service's check.
pub fn check(check: &Check) -> Vec<Setting> {
    let Check { probe, through, port, interval, timeout, fall, rise, if_unwatched } = check;
    let mut settings = Settings::default();
    settings.add("type", Value::text(probe.as_str()));
    settings.add("through", Value::text(through.as_str()));
    if let Some(port) = port {
        settings.add("port", Value::Number((*port).into()));
    }
    match probe {
        Probe::Tcp { send, expect } | Probe::Udp { send, expect } => {
            for (key, text) in [("send", send), ("expect", expect)] {
                if let Some(text) = text {
                    settings.add(key, Value::text(text));
                }
            }
        }
        Probe::Http(Http { tls, host, path, status, body }) => {
            settings.add("path", Value::text(path));
            if let Some(host) = host {
                settings.add("host", Value::text(host));
            }
            settings.several("status", Some(status), range);
            if let Some(body) = body {
                settings.add("body", Value::text(body));
            }
            if let Some(Tls { verify }) = tls {
                settings.add("verify", Value::Boolean(*verify));
            }
        }
        Probe::Icmp => {}
        Probe::Exec { command } => {
            settings.add("command", Value::Several(command.iter().map(Value::text).collect()));
        }
    }
    settings.add("interval", Value::Text(time::text(*interval)));
    settings.add("timeout", Value::Text(time::text(*timeout)));
    settings.add("fall", Value::Number((*fall).into()));
    settings.add("rise", Value::Number((*rise).into()));
    settings.add("if_unwatched", Value::text(if_unwatched.as_str()));
    settings.0
}

/// A service's check, as the value of one key, to be compared.
pub fn checked(check: &Check) -> Setting {
    let settings = self::check(check);
    let keys = settings.iter().map(|Setting { key, value }| format!("{key} {value}"));
    Setting { key: "check", value: Value::Text(keys.collect::<Vec<_>>().join(", ")) }
}

/// The keys of a backend, without its name.
pub fn backend(backend: &services::Backend) -> Vec<Setting> {
    let usual = [("weight", Value::Number(1)), ("state", Value::text("up"))];
    let mut settings = whole_backend(backend);
    settings.retain(|it| !usual.iter().any(|(key, value)| *key == it.key && *value == it.value));
    settings
}

/// The keys of a backend, without its name, even those with default values: what is compared.
pub fn whole_backend(backend: &services::Backend) -> Vec<Setting> {
    let services::Backend { name: _, file: _, line: _, address, port, weight, state, next_hop } =
        backend;
    let mut settings = Settings::default();
    settings.add("address", Value::Text(address.to_string()));
    if let Some(port) = port {
        settings.add("port", Value::Number((*port).into()));
    }
    settings.add("weight", Value::Number((*weight).into()));
    settings.add("state", Value::text(state.as_str()));
    if let Some(next_hop) = next_hop {
        settings.add("next_hop", Value::Text(next_hop.to_string()));
    }
    settings.0
}

/// Base64 (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut three = [0; 3];
        three[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for digit in 0..4 {
            text.push(match digit <= chunk.len() {
                true => char::from(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize]),
                false => '=',
            });
        }
    }
    text
}

fn policy_action(action: PolicyAction) -> Value {
    Value::text(match action {
        PolicyAction::Pass => "pass",
        PolicyAction::Drop => "drop",
    })
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

fn write_prefixes(prefixes: &Prefixes) -> Vec<Value> {
    let Prefixes { mut v4, mut v6 } = prefixes.clone();
    v4.sort_unstable();
    v4.dedup();
    v6.sort_unstable();
    v6.dedup();
    let v4 = v4.into_iter().map(prefix_v4);
    v4.chain(v6.into_iter().map(prefix_v6)).map(Value::Text).collect()
}

/// An IPv4 prefix as text; a single address is written without its length.
pub fn prefix_v4(prefix: Prefix<u32>) -> String {
    let address = Ipv4Addr::from_bits(prefix.address);
    if prefix.length == 32 { address.to_string() } else { format!("{address}/{}", prefix.length) }
}

/// An IPv6 prefix as text; a single address is written without its length.
pub fn prefix_v6(prefix: Prefix<u128>) -> String {
    let address = Ipv6Addr::from_bits(prefix.address);
    if prefix.length == 128 { address.to_string() } else { format!("{address}/{}", prefix.length) }
}

fn range<T: Copy + PartialEq + Into<u32>>(&(first, last): &(T, T)) -> Value {
    let (from, to) = (first.into(), last.into());
    if first == last { Value::Number(from) } else { Value::Text(format!("{from}-{to}")) }
}

fn number<T: Copy + Into<u32>>(number: &T) -> Value {
    Value::Number((*number).into())
}

fn write_flags(flags: TcpFlags) -> Value {
    let asked = TCP_FLAGS.iter().enumerate().filter(|(bit, _)| flags.mask >> bit & 1 == 1);
    let words = asked.map(|(bit, flag)| {
        let not = if flags.value >> bit & 1 == 1 { "" } else { "!" };
        format!("{not}{flag}")
    });
    Value::Text(words.collect::<Vec<_>>().join(","))
}

fn mac(address: &[u8; 6]) -> Value {
    Value::Text(address.map(|byte| format!("{byte:02x}")).join(":"))
}
