//! Metadata of a ruleset that is on no interface, for commands that check it, or ask what it would
//! do with a frame, without a kernel.

use std::path::PathBuf;

use super::counters;
use super::domains::Seed;
use super::metadata::{Metadata, Mode, Redirect};
use super::services;
use crate::ruleset::{RuleAction, Ruleset};

/// Ports that Linux assigns, unless it is told otherwise (net.ipv4.ip_local_port_range).
pub const USUAL_PORTS: (u16, u16) = (32_768, 60_999);

impl Metadata {
    /// Metadata for a ruleset that is put on no interface: all counters are new, and each redirect
    /// target has a slot but no interface.
    pub fn unbound(ruleset: &Ruleset) -> Self {
        let mut redirects: Vec<Redirect> = Vec::new();
        for rule in &ruleset.rules {
            let RuleAction::Redirect { to, .. } = &rule.action else { continue };
            if let Some(known) = redirects.iter_mut().find(|redirect| redirect.to == *to) {
                known.rules.push(rule.name.clone());
                continue;
            }
            let slot = redirects.len() as u32;
            let rules = vec![rule.name.clone()];
            redirects.push(Redirect { slot, to: to.clone(), ifindex: None, rules });
        }
        let assigned = counters::assign(ruleset, &[], &[]);
        Self {
            interface: String::new(),
            mode: Mode::Native,
            config: PathBuf::new(),
            loaded_from: PathBuf::new(),
            attached_at: 0,
            loaded_at: 0,
            counted: assigned.counted,
            mtu: 0,
            backends: assigned.backends,
            own: Vec::new(),
            next_hops: Vec::new(),
            takers: Vec::new(),
            connection_lines: services::connection_lines(ruleset),
            reply_ports: ruleset.policy.asks_by_port().then_some(USUAL_PORTS).into_iter().collect(),
            passes_replies: ruleset.policy.asks_replies(),
            replies_by_port: ruleset.policy.always_asks_by_port(),
            is_checked: ruleset.services.iter().any(|service| service.check.is_some()),
            redirects,
            vlan_rules: ruleset.rules.iter().any(|rule| rule.matches.names_vlan()),
            seed: Seed::default(),
        }
    }
}
