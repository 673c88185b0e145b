//! Whether a host can still be reached, and can still reach others, under a ruleset. Frames are
//! built as they would come in, and judged.

pub mod checks;
pub mod connection;
pub mod role;
#[cfg(test)]
mod ruled;

use std::net::IpAddr;

use xdp_common::filter::syn_cookie::Outcome;
use xdp_common::packet::LinkType;
use xdp_common::stats::verdict::Verdict;

use super::names::Names;
use super::sockets::Sockets;
use super::{RunTimeEntries, explain_beside, judge_beside};
use crate::frames::build::{Addresses, Description, Ethernet, Network, Payload, build_with};
use crate::image::Image;
use crate::image::metadata::Metadata;
use crate::notation::plain;
use crate::ruleset::Ruleset;
use crate::views::explain::Explained;
use crate::views::explain::entries::ListedEntries;

/// Flags of TCP (RFC 9293, section 3.1).
const SYN: u8 = 0x02;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
/// Ports that clients ask from: in both the range of IANA (RFC 6335, section 6) and that of Linux.
const CLIENT_PORTS: [u16; 2] = [50_000, 50_001];

/// A ruleset to ask, and the interface that its frames come in by.
pub struct Ground<'a> {
    pub image: &'a Image,
    pub metadata: &'a Metadata,
    pub ruleset: &'a Ruleset,
    /// The run-time entries that decide about the sources that are asked about.
    pub entries: &'a RunTimeEntries,
    pub link_type: LinkType,
    /// The MAC address of the interface, and the longest IP packet that comes in by it.
    pub mac: [u8; 6],
    pub mtu: u32,
}

impl Ground<'_> {
    fn frame(
        &self,
        source: IpAddr,
        destination: IpAddr,
        payload: Payload,
        vlan: Option<u16>,
    ) -> Option<Vec<u8>> {
        self.frame_of(source, destination, payload, Network::default(), vlan)
    }

    fn frame_of(
        &self,
        source: IpAddr,
        destination: IpAddr,
        payload: Payload,
        network: Network,
        vlan: Option<u16>,
    ) -> Option<Vec<u8>> {
        let ethernet = Ethernet { source_mac: [2, 0, 0, 0, 0, 1], destination_mac: self.mac, vlan };
        let description = Description {
            ethernet: (self.link_type == LinkType::Ethernet).then_some(ethernet),
            addresses: Addresses::new(source, destination)?,
            payload,
        };
        build_with(&description, network, &[])
    }

    /// What keeps a frame from the host; `None` if it passes. Names are looked up only for a frame
    /// that does not pass, since that can take long.
    fn unless_passed(&self, frame: &[u8]) -> Option<Explained> {
        self.unless_passed_beside(&Sockets::default(), frame)
    }

    /// The same while the host has these sockets.
    fn unless_passed_beside(&self, sockets: &Sockets, frame: &[u8]) -> Option<Explained> {
        let answer = judge_beside(self.image, self.entries, sockets, self.link_type, frame);
        // Who answers a cookie gets in.
        let is_answered = answer.syn_cookie == Some(Outcome::Answered);
        if answer.verdict == Verdict::Pass || is_answered {
            return None;
        }
        let entries = ListedEntries::of(self.ruleset.clone());
        let mut names = Names::new(self.metadata.clone(), Some(entries), |_| None);
        let Self { image, entries, link_type, .. } = *self;
        Some(explain_beside(image, &mut names, entries, sockets, link_type, frame))
    }
}

/// The list, rule or default that decided, as the subject of a sentence.
pub fn decider(explained: &Explained) -> String {
    let entry = explained.entry.as_deref();
    let place = match (&explained.file, explained.line) {
        (Some(file), Some(line)) => format!(" ({}:{line})", plain(file)),
        _ => String::new(),
    };
    match (&explained.rule, explained.reason) {
        (Some(rule), "rule") => format!("rule \"{}\"{place}", plain(rule)),
        (Some(list), reason) => {
            let entry = entry.map(|entry| format!(" {entry}")).unwrap_or_default();
            format!("{reason} \"{}\"{entry}{place}", plain(list))
        }
        (None, "banned") => format!("the run-time entry {}", entry.unwrap_or("of `xdpctl block`")),
        (None, "default") => "the default (policy.default = \"drop\")".to_owned(),
        (None, reason) => format!("the ruleset ({reason})"),
    }
}
