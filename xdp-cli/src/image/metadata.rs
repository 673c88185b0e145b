//! What an image tells the command line about itself: which names its counters and redirect slots
//! belong to, and where the ruleset came from. It is part of the image, so that it always belongs
//! to the ruleset in force.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xdp_common::capacity::COUNTERS_OF_SERVICE;

use super::domains::Seed;
use crate::ruleset::limits::Limit;
use crate::ruleset::{EntryCount, RedirectTarget, path_bytes};

/// The metadata of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// The interface's name when it was attached.
    pub interface: String,
    /// The mode that the program was attached in.
    pub mode: Mode,
    /// The configuration file given at attach, absolute: the one that a reload reads.
    #[serde(with = "path_bytes")]
    pub config: PathBuf,
    /// The file that this ruleset came from. Another one than `config` if a reload was given one.
    #[serde(with = "path_bytes")]
    pub loaded_from: PathBuf,
    /// When the program was attached, and when this ruleset was put in force, in milliseconds since
    /// 1970-01-01 UTC.
    pub attached_at: u64,
    pub loaded_at: u64,
    /// Lists and rules, in the order of judgement: allowlists, blocklists, domains lists, rules.
    pub counted: Vec<Counted>,
    pub redirects: Vec<Redirect>,
    /// Whether some rule has a `vlan` condition.
    pub vlan_rules: bool,
    /// The most bytes of an IP packet on the interface when the ruleset was put in force; 0 where that is
    /// not known.
    pub mtu: u16,
    /// The backends of each service, in the order of the services.
    pub backends: Vec<Vec<BackendCounter>>,
    /// Addresses of this host when the ruleset was put in force; none where neither services nor rules need them.
    pub own: Vec<IpAddr>,
    /// Where services' packets are sent on to by the kernel's routes: each next hop once.
    pub next_hops: Vec<NextHop>,
    /// The indexes of interfaces that may take redirected frames, next hops first; none without services.
    pub takers: Vec<u32>,
    /// Lines of connections that are remembered; 0 where none are.
    pub connection_lines: u32,
    /// Ports at which a UDP socket that is not connected is taken to have asked, as ranges; none where
    /// replies are not asked about, or only connected sockets are.
    pub reply_ports: Vec<(u16, u16)>,
    /// Whether what answers this host passes where the default drops.
    pub passes_replies: bool,
    /// Whether these ports count also where it is known what the interface has sent.
    pub replies_by_port: bool,
    /// Whether the configuration says of some service how its backends are checked.
    pub is_checked: bool,
    /// What the keys for names and services are drawn from.
    pub seed: Seed,
}

impl Metadata {
    /// How many entries a list has; `None` where the ruleset has no list of that kind and name.
    ///
    /// The count lies in the kernel with the ruleset. It is known as long as the ruleset is in
    /// force, even if the list files or the kept ruleset are gone.
    pub fn list_entries(&self, kind: Kind, name: &str) -> Option<EntryCount> {
        let list = self.counted.iter().find(|counted| counted.kind == kind && counted.name == name);
        list.and_then(|list| list.entries)
    }

    /// The numbers of all counters.
    pub fn counters(&self) -> impl Iterator<Item = u32> {
        let backends = self.backends.iter().flatten().map(|backend| backend.number);
        self.counted.iter().flat_map(Counted::numbers).chain(backends)
    }

    /// The indexes of the interfaces that packets are redirected to: by rules, and by services.
    pub fn targets(&self) -> impl Iterator<Item = u32> {
        let of_rules = self.redirects.iter().filter_map(|redirect| redirect.ifindex);
        let takes = |hop: &&NextHop| hop.is_other && self.takers.contains(&hop.ifindex);
        let next_hops = self.next_hops.iter().filter(takes);
        of_rules.chain(next_hops.map(|hop| hop.ifindex))
    }

    /// The services, each with its backends.
    pub fn services(&self) -> impl Iterator<Item = (&Counted, &[BackendCounter])> {
        let services = self.counted.iter().filter(|counted| counted.kind == Kind::Service);
        services.zip(self.backends.iter().map(Vec::as_slice))
    }

    /// How many entries all lists have together. An entry that stands in two lists counts twice.
    pub fn entries(&self) -> EntryCount {
        let lists = self.counted.iter().filter_map(|counted| counted.entries);
        lists.fold(EntryCount::default(), EntryCount::plus)
    }
}

/// Where an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Mode {
    /// In the driver.
    Native,
    /// In the network stack, after the driver has made an skb.
    Generic,
    /// On the NIC itself.
    Offload,
}

impl Mode {
    /// The mode's name on the command line and in output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Offload => "offload",
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// A list or a rule, and its counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    pub name: String,
    pub kind: Kind,
    /// The action's name in the configuration; "pass" for an allowlist.
    pub action: String,
    /// How many different entries a list has; `None` for a rule.
    pub entries: Option<EntryCount>,
    /// Number of the counter.
    pub number: u32,
    /// Number of the counter of packets that could not be redirected; `None` unless a redirect.
    pub lost: Option<u32>,
    /// The limit of a rule; `None` if it has none.
    pub limit: Option<LimitCounted>,
    /// How long a rule blocks the source of what it matches; `None` if it does not.
    pub life: Option<Duration>,
}

/// A rule's limit, and the counter of what is under. What is over, the rule's own counter has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitCounted {
    pub limit: Limit,
    pub under: u32,
}

impl Counted {
    /// The numbers of its counters.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        let own = match self.kind {
            Kind::Service => COUNTERS_OF_SERVICE as u32,
            _ => 1,
        };
        let under = self.limit.map(|limit| limit.under);
        (0..own).map(|nth| self.number.saturating_add(nth)).chain(self.lost).chain(under)
    }
}

/// A next hop, as the kernel's routes had it when the ruleset was put in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NextHop {
    /// The interface that packets leave by, and whether that is another one than they came in by.
    pub ifindex: u32,
    pub is_other: bool,
    pub address: IpAddr,
}

/// A backend, and its counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendCounter {
    pub name: String,
    /// Where packets for it go. Another place under the same name is another backend: connections of the
    /// one before would mean nothing to it.
    pub address: IpAddr,
    pub port: Option<u16>,
    pub number: u32,
}

/// What a counter belongs to. A name and kind keep their counter from one ruleset to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    Allowlist,
    Blocklist,
    Domains,
    Rule,
    Service,
}

impl Kind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowlist => "allowlist",
            Self::Blocklist => "blocklist",
            Self::Domains => "domains",
            Self::Rule => "rule",
            Self::Service => "service",
        }
    }
}

/// An interface that rules redirect to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirect {
    /// Key in the map `REDIRECTS`.
    pub slot: u32,
    /// The interface as the configuration names it.
    pub to: RedirectTarget,
    /// Its index when the ruleset was put in force. `None` if there was no such interface, which
    /// only a reload allows.
    pub ifindex: Option<u32>,
    /// The rules that redirect there.
    pub rules: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruleset::domains::{DomainAction, DomainList, DomainName, ListedName, Names};
    use crate::ruleset::{Entry, Guards, List, ListAction, Prefix, Ruleset, Side};

    fn list(name: &str, ipv4: u32, ipv6: u32) -> List {
        let entry = |line| (0, line);
        let (v4, v6) = ((0..ipv4).map(entry), (0..ipv6).map(entry));
        List {
            name: name.to_owned(),
            file: 0,
            line: 1,
            column: 1,
            side: Side::Source,
            action: ListAction::Drop,
            strict: false,
            guards: Guards::default(),
            v4: v4
                .map(|(file, line)| Entry {
                    prefix: Prefix { address: line, length: 32 },
                    file,
                    line,
                })
                .collect(),
            v6: v6
                .map(|(file, line)| Entry {
                    prefix: Prefix { address: line.into(), length: 128 },
                    file,
                    line,
                })
                .collect(),
        }
    }

    fn domains(name: &str, labels: &[&str]) -> DomainList {
        let mut names = Names::default();
        for label in labels {
            let wire = [&[label.len() as u8], label.as_bytes()].concat();
            let name = DomainName::of_wire(&wire);
            names.push(ListedName { name, below_only: false, file: 0, line: 1 }).unwrap();
        }
        DomainList {
            name: name.to_owned(),
            file: 0,
            line: 1,
            column: 1,
            action: DomainAction::Drop,
            qtypes: None,
            strict: false,
            guards: Guards::default(),
            names,
        }
    }

    #[test]
    fn each_list_says_how_many_entries_it_has() {
        let ruleset = Ruleset {
            allowlists: vec![list("office", 1, 2)],
            blocklists: vec![list("drop", 3, 0), list("office6", 0, 4)],
            domains: vec![domains("malware", &["org", "example"])],
            ..Ruleset::default()
        };
        let metadata = Metadata::unbound(&ruleset);
        let of = |kind, name| metadata.list_entries(kind, name);
        assert_eq!(of(Kind::Allowlist, "office"), Some(EntryCount { ipv4: 1, ipv6: 2, names: 0 }));
        assert_eq!(of(Kind::Blocklist, "office6"), Some(EntryCount { ipv4: 0, ipv6: 4, names: 0 }));
        assert_eq!(of(Kind::Blocklist, "office"), None);
        assert_eq!(of(Kind::Domains, "malware"), Some(EntryCount { ipv4: 0, ipv6: 0, names: 2 }));
        assert_eq!(metadata.entries(), EntryCount { ipv4: 4, ipv6: 6, names: 2 });
        assert_eq!(metadata.entries().total(), 12);
    }
}
