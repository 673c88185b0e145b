//! A ruleset: what a configuration and its list files come to once every mistake is ruled out.
//!
//! Only [`crate::config`] makes one from text. It is plain data that knows no kernel, and it is
//! what is kept in a file beside the pins as the ruleset in force.

mod count;
pub mod domains;
mod guards;
pub mod limits;
pub mod name_index;
pub mod service_keys;
pub mod services;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use count::EntryCount;
use domains::DomainList;
pub use guards::Guards;

/// A validated ruleset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruleset {
    pub policy: Policy,
    pub arp: Arp,
    /// In file order.
    pub allowlists: Vec<List>,
    /// In file order.
    pub blocklists: Vec<List>,
    /// In file order.
    pub domains: Vec<DomainList>,
    /// In file order, which is the order of matching.
    pub rules: Vec<Rule>,
    pub service_settings: services::Settings,
    /// In file order, which is the order of matching.
    pub services: Vec<services::Service>,
    /// The files that `file` in lists, entries and rules is an index into: first the configuration,
    /// then the files that it includes, then list files.
    #[serde(with = "path_bytes::list")]
    pub files: Vec<PathBuf>,
    /// How many of these, the first ones, are not list files.
    pub configurations: u16,
}

/// Serializes paths as bytes: serde's own implementation refuses a path that is not UTF-8.
pub(crate) mod path_bytes {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    use std::path::{Path, PathBuf};

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        path.as_os_str().as_bytes().serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        Vec::deserialize(deserializer).map(|bytes| OsString::from_vec(bytes).into())
    }

    pub mod list {
        use super::*;

        pub fn serialize<S: Serializer>(
            paths: &[PathBuf],
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            let bytes: Vec<&[u8]> = paths.iter().map(|path| path.as_os_str().as_bytes()).collect();
            bytes.serialize(serializer)
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Vec<PathBuf>, D::Error> {
            let paths: Vec<Vec<u8>> = Vec::deserialize(deserializer)?;
            Ok(paths.into_iter().map(|bytes| OsString::from_vec(bytes).into()).collect())
        }
    }
}

/// A verdict that `[policy]` and `[arp]` may name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PolicyAction {
    #[default]
    Pass,
    Drop,
}

/// `[policy]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// For packets that nothing else decides.
    pub default: PolicyAction,
    /// For frames whose headers contradict themselves, are cut short, or nest too deep to judge.
    pub malformed: PolicyAction,
    /// For IP fragments other than the first. `Pass` has lists and rules judge them by what they
    /// carry; it does not let them through by itself.
    pub fragments: PolicyAction,
    /// What answers the host, where the default drops.
    pub replies: Replies,
    /// Which UDP sockets have asked.
    pub replies_udp: ReplyUdp,
}

/// What becomes of packets that answer what the host has open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Replies {
    /// What becomes of all others.
    #[default]
    Judge,
    /// They pass where the default would drop them.
    Pass,
}

/// Which UDP sockets have asked something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReplyUdp {
    /// Those that are connected, and others where the interface has sent what is answered. Where that is not
    /// noted, others on ports that the kernel assigns.
    #[default]
    Sent,
    /// Those that are connected, and others on ports that the kernel assigns.
    Ephemeral,
    /// Those that are connected.
    Connected,
}

impl Policy {
    /// Whether replies are asked about: only a default that drops leaves anything to ask.
    pub fn asks_replies(&self) -> bool {
        self.replies == Replies::Pass && self.default == PolicyAction::Drop
    }

    /// Whether the port of a UDP socket that is not connected says that it has asked.
    pub fn asks_by_port(&self) -> bool {
        self.asks_replies() && self.replies_udp != ReplyUdp::Connected
    }

    /// Whether it does also where it is known what the interface has sent.
    pub fn always_asks_by_port(&self) -> bool {
        self.asks_replies() && self.replies_udp == ReplyUdp::Ephemeral
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            default: PolicyAction::Pass,
            malformed: PolicyAction::Drop,
            fragments: PolicyAction::Pass,
            replies: Replies::Judge,
            replies_udp: ReplyUdp::Sent,
        }
    }
}

/// `[arp]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arp {
    pub action: PolicyAction,
    /// Sender protocol addresses that `Drop` still lets through.
    pub allow: Vec<u32>,
}

/// An `[[allowlist]]` or a `[[blocklist]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    pub name: String,
    /// Index into [`Ruleset::files`] of the configuration that it stands in.
    pub file: u16,
    /// Where its name stands in that, both from 1.
    pub line: u32,
    pub column: u32,
    /// Which address of a packet it looks at. Allowlists always look at the source.
    pub side: Side,
    /// What a match does. Meaningless for an allowlist.
    pub action: ListAction,
    /// Whether a line of its files that cannot be read is an error.
    pub strict: bool,
    pub guards: Guards,
    pub v4: Vec<Entry<u32>>,
    pub v6: Vec<Entry<u128>>,
}

impl List {
    /// How many different prefixes it holds. Its entries can name one several times.
    pub fn entries(&self) -> EntryCount {
        EntryCount {
            ipv4: in_order(&self.v4).len() as u64,
            ipv6: in_order(&self.v6).len() as u64,
            names: 0,
        }
    }
}

/// Each prefix of these entries once, sorted by address and then by length.
pub fn in_order<A: Copy + Ord>(entries: &[Entry<A>]) -> Vec<Prefix<A>> {
    let mut prefixes: Vec<Prefix<A>> = entries.iter().map(|entry| entry.prefix).collect();
    prefixes.sort_unstable();
    prefixes.dedup();
    prefixes
}

/// Which address of a packet a list looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    #[default]
    Source,
    Destination,
    Either,
}

/// What a blocklist does with what matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ListAction {
    #[default]
    Drop,
    /// Counts the packet, and judgement goes on.
    Count,
}

/// One prefix of a list, with its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry<A> {
    pub prefix: Prefix<A>,
    /// Index into [`Ruleset::files`].
    pub file: u16,
    /// Line in that file, from 1.
    pub line: u32,
}

/// An address prefix, as `u32` for IPv4 and `u128` for IPv6, in host order. No bit beyond the
/// length is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Prefix<A> {
    pub address: A,
    pub length: u8,
}

/// A `[[rule]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    pub name: String,
    /// Index into [`Ruleset::files`] of the configuration that it stands in.
    pub file: u16,
    /// Where it stands in that.
    pub line: u32,
    pub matches: Matches,
    /// Then it matches only what is over.
    pub limit: Option<limits::Limit>,
    pub action: RuleAction,
}

/// The highest code point: six bits (RFC 2474, section 3).
pub const MAX_DSCP: u8 = 63;

/// The conditions of a rule, all of which must hold. `None` matches every packet, including one
/// without that field.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matches {
    pub protocol: Option<Protocol>,
    pub source: Option<Prefixes>,
    pub destination: Option<Prefixes>,
    /// Inclusive ranges.
    pub source_port: Option<Vec<(u16, u16)>>,
    /// Inclusive ranges.
    pub destination_port: Option<Vec<(u16, u16)>>,
    pub icmp_type: Option<Vec<u8>>,
    pub tcp_flags: Option<TcpFlags>,
    /// 0 to [`MAX_DSCP`].
    pub dscp: Option<Vec<u8>>,
    pub vlan: Option<Vlan>,
    pub source_mac: Option<Vec<[u8; 6]>>,
    pub destination_mac: Option<Vec<[u8; 6]>>,
    /// Inclusive ranges of bytes of the IP packet.
    pub length: Option<Vec<(u16, u16)>>,
    /// Inclusive ranges of IPv4's time to live and IPv6's hop limit.
    pub ttl: Option<Vec<(u8, u8)>>,
    pub fragment: Option<Fragment>,
    pub not: Excluded,
}

impl Matches {
    /// Whether it looks at VLAN tags.
    pub const fn names_vlan(&self) -> bool {
        self.vlan.is_some() || self.not.vlan.is_some()
    }

    /// Whether a packet to that address may match.
    pub fn admits(&self, destination: IpAddr) -> bool {
        let holds = |prefixes: &Prefixes| prefixes.contain(destination);
        let is_of_family = |prefixes: &Prefixes| match destination {
            IpAddr::V4(_) => !prefixes.v4.is_empty(),
            IpAddr::V6(_) => !prefixes.v6.is_empty(),
        };
        // A packet's addresses are of one family.
        self.source.as_ref().is_none_or(is_of_family)
            && self.destination.as_ref().is_none_or(holds)
            && !self.not.destination.as_ref().is_some_and(holds)
    }

    /// Whether only a frame with an Ethernet header can match.
    pub const fn asks_ethernet(&self) -> bool {
        matches!(self.vlan, Some(Vlan::Ids(_)))
            || self.source_mac.is_some()
            || self.destination_mac.is_some()
            || self.not.vlan.is_some()
            || self.not.source_mac.is_some()
            || self.not.destination_mac.is_some()
    }
}

/// Values that a packet must not have, by the keys that begin with `not_`. A packet without the
/// field does not match either. `None` matches every packet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excluded {
    /// What has none of these; a protocol that is unknown does not match.
    pub protocol: Option<Vec<Protocol>>,
    pub source: Option<Prefixes>,
    pub destination: Option<Prefixes>,
    pub source_port: Option<Vec<(u16, u16)>>,
    pub destination_port: Option<Vec<(u16, u16)>>,
    pub icmp_type: Option<Vec<u8>>,
    /// TCP flags that do not look like that.
    pub tcp_flags: Option<TcpFlags>,
    pub dscp: Option<Vec<u8>>,
    /// A tag, with none of these ids; with [`Vlan::Untagged`], any tag.
    pub vlan: Option<Vlan>,
    pub source_mac: Option<Vec<[u8; 6]>>,
    pub destination_mac: Option<Vec<[u8; 6]>>,
    pub length: Option<Vec<(u16, u16)>>,
    pub ttl: Option<Vec<(u8, u8)>>,
    pub fragment: Option<Fragment>,
}

/// A rule's condition on whether an IP packet is a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fragment {
    /// It is none.
    None,
    /// It is one, whichever.
    Any,
    /// The first, which has the transport layer's header.
    First,
    /// One of those after the first.
    Later,
}

impl Fragment {
    /// Whether a whole packet, a first fragment and a later one match.
    pub const fn accepted(self) -> [bool; 3] {
        match self {
            Self::None => [true, false, false],
            Self::Any => [false, true, true],
            Self::First => [false, true, false],
            Self::Later => [false, false, true],
        }
    }
}

/// Prefixes of both families.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prefixes {
    pub v4: Vec<Prefix<u32>>,
    pub v6: Vec<Prefix<u128>>,
}

impl Prefixes {
    /// Whether an address is in one of them.
    pub fn contain(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(ip) => self
                .v4
                .iter()
                .any(|it| (u32::from(ip) ^ it.address).leading_zeros() >= u32::from(it.length)),
            IpAddr::V6(ip) => self
                .v6
                .iter()
                .any(|it| (u128::from(ip) ^ it.address).leading_zeros() >= u32::from(it.length)),
        }
    }
}

/// A rule's condition on the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Protocol {
    /// A protocol number, over both IPv4 and IPv6.
    Number(u8),
    /// ICMP over IPv4.
    Icmp,
    /// ICMPv6 over IPv6.
    Icmpv6,
}

/// The names of TCP's flags, from bit 0 up (RFC 9293, section 3.1).
pub const TCP_FLAGS: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];

/// Matches TCP packets whose flags byte, masked with `mask`, equals `value` (RFC 9293, section 3.1;
/// fin is bit 0, cwr bit 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpFlags {
    pub mask: u8,
    pub value: u8,
}

/// A rule's condition on the outer VLAN tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Vlan {
    /// No tag at all.
    Untagged,
    /// One of these ids.
    Ids(Vec<u16>),
}

/// What a rule does with what it matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuleAction {
    Pass,
    Drop,
    Redirect {
        to: RedirectTarget,
        rewrite: Rewrite,
        /// Where `to` stands in the rule's file.
        line: u32,
        column: u32,
    },
    Bounce {
        rewrite: Rewrite,
    },
    /// Drops, and blocks the source for so long, as a run-time entry.
    Block {
        life: Duration,
    },
    /// Answers SYNs with the kernel's SYN cookies. Its conditions match nothing else.
    SynCookie,
}

impl Ruleset {
    /// The file of that number in lists, rules, services and backends.
    pub fn file_of(&self, number: u16) -> Option<&Path> {
        self.files.get(usize::from(number)).map(PathBuf::as_path)
    }

    /// Whether some rule answers SYNs.
    pub fn answers_syns(&self) -> bool {
        self.rules.iter().any(|rule| rule.action == RuleAction::SynCookie)
    }
}

/// MAC addresses to write on the way out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewrite {
    pub source_mac: Option<[u8; 6]>,
    pub destination_mac: Option<[u8; 6]>,
}

/// Where a rule redirects to, as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RedirectTarget {
    Name(String),
    Index(u32),
}

impl std::fmt::Display for RedirectTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Index(index) => write!(f, "interface index {index}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_counts_once_however_often_it_is_named() {
        let entry =
            |address, length, line| Entry { prefix: Prefix { address, length }, file: 0, line };
        let v4 = vec![entry(9, 32, 1), entry(8, 31, 2), entry(8, 29, 3), entry(9, 32, 4)];
        let list = List {
            name: "x".into(),
            file: 0,
            line: 1,
            column: 1,
            side: Side::Source,
            action: ListAction::Drop,
            strict: false,
            guards: Guards::default(),
            v4,
            v6: Vec::new(),
        };
        assert_eq!(list.entries(), EntryCount { ipv4: 3, ipv6: 0, names: 0 });
        let ordered = in_order(&list.v4);
        assert_eq!(
            ordered.iter().map(|it| (it.address, it.length)).collect::<Vec<_>>(),
            [(8, 29), (8, 31), (9, 32)]
        );
    }

    #[test]
    fn an_address_is_admitted_by_prefixes_of_its_family() {
        let prefixes = Prefixes {
            v4: vec![Prefix { address: 0xc000_0200, length: 24 }],
            v6: vec![Prefix { address: 0, length: 0 }],
        };
        let of = |destination: Option<&Prefixes>, not: Option<&Prefixes>| {
            let not = Excluded { destination: not.cloned(), ..Excluded::default() };
            let matches = Matches { destination: destination.cloned(), not, ..Matches::default() };
            ["192.0.2.255", "192.0.3.0", "::1"].map(|it| matches.admits(it.parse().unwrap()))
        };
        assert_eq!(of(None, None), [true; 3]);
        assert_eq!(of(Some(&prefixes), None), [true, false, true]);
        assert_eq!(of(None, Some(&prefixes)), [false, true, false]);
        assert_eq!(of(Some(&prefixes), Some(&prefixes)), [false; 3]);
        let only_v6 = Prefixes { v4: Vec::new(), ..prefixes };
        let matches = Matches { source: Some(only_v6), ..Matches::default() };
        let admitted = ["192.0.2.255", "::1"].map(|it| matches.admits(it.parse().unwrap()));
        assert_eq!(admitted, [false, true]);
    }

    /// Counts come from the kernel, where anybody with privilege may have written them.
    #[test]
    fn counts_that_cannot_be_added_are_the_most() {
        let most = EntryCount { ipv4: u64::MAX, ipv6: u64::MAX, names: u64::MAX };
        assert_eq!(most.plus(EntryCount { ipv4: 1, ipv6: 0, names: 1 }), most);
        assert_eq!(most.total(), u64::MAX);
    }
}
