//! Whether a host can still be reached, and can still reach others, under a ruleset. Frames are
//! built as they would come in, and judged.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use xdp_common::filter::syn_cookie::Outcome;
use xdp_common::packet::LinkType;
use xdp_common::stats::counter::CounterId;
use xdp_common::stats::verdict::{Reason, Verdict};

use super::names::Names;
use super::sockets::Sockets;
use super::{RunTimeEntries, explain_beside, judge_beside};
use crate::frames::build::{Addresses, Description, Ethernet, Network, Payload, build_with};
use crate::image::Image;
use crate::image::metadata::Metadata;
use crate::notation::plain;
use crate::ruleset::limits::Limit;
use crate::ruleset::{RuleAction, Ruleset};
use crate::views::explain::Explained;
use crate::views::explain::entries::ListedEntries;

/// Flags of TCP (RFC 9293, section 3.1).
const SYN: u8 = 0x02;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
/// Lengths of IPv4 packets with a TCP header alone, with the options that Linux sends: timestamps, or in a SYN
/// those and three more. A header without options is in each list that is made of these.
const HEADERS: [u16; 2] = [52, 60];
/// Likewise with data: a keystroke, a line, a screen. There are as long ones as the interface takes, too.
const WITH_DATA: [u16; 4] = [88, 200, 576, 1280];
const ETHERNET_MTU: u16 = 1500;
/// The code points of OpenSSH's defaults beside 0 (IPQoS in ssh_config(5)): LE, CS1, AF21, EF, and what
/// "lowdelay" and "throughput" of old versions are now.
const OF_SSH: [u8; 6] = [1, 8, 18, 46, 4, 2];
/// Ports that clients ask from: in both the range of IANA (RFC 6335, section 6) and that of Linux.
const CLIENT_PORTS: [u16; 2] = [50_000, 50_001];
/// Addresses on the Internet, not of a neighbour, to ask whether answers come in.
const SOMEBODY: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(1, 1, 1, 1), Ipv6Addr::new(0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1111));
/// Link-local addresses of a neighbour, and of the host itself.
const NEIGHBOUR: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const OWN_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Neighbour discovery (RFC 4861, section 4).
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

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

/// A rule that takes packets of a connection away as long as they are over its limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverLimit {
    pub rule: String,
    pub limit: Limit,
    /// Whether it blocks the source then.
    pub blocks: bool,
}

/// A connection that would be cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Whether segments of the connection itself would be cut off. If not, it goes on, and only a
    /// new one like it could not be opened.
    pub is_itself: bool,
    /// What happens to those segments, and why.
    pub explained: Explained,
}

/// What the host uses an interface for, as far as a ruleset could take that away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// The name of the interface.
    pub name: String,
    /// An address of each family, if it has any. For IPv6, a link-local one will do.
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
    /// The gateways of the IPv4 default route, if it goes through this interface; then whether the
    /// IPv6 default route does.
    pub default_v4: Option<Vec<Ipv4Addr>>,
    pub default_v6: bool,
    /// Addresses of each family that have a limited lifetime, as DHCP gives them.
    pub leased_v4: Option<Ipv4Addr>,
    pub leased_v6: Option<Ipv6Addr>,
}

/// What a ruleset takes away (`message`), and the rule that would give it back (`hint`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub message: String,
    pub hint: String,
}

impl Ground<'_> {
    /// Whether a connection between these ends is cut off: first whether what the peer sends over
    /// it comes in, and then whether the peer could open another one. `vlan` is the VLAN id of its
    /// frames. `None` if nothing is cut off.
    pub fn cuts(&self, peer: SocketAddr, own: SocketAddr, vlan: Option<u16>) -> Option<Cut> {
        let [first, second] = CLIENT_PORTS;
        let new_port = if peer.port() == first { second } else { first };
        let segments = [
            (true, peer.port(), ACK),
            (true, peer.port(), PSH | ACK),
            (false, new_port, SYN),
            // The end of the handshake, for which no socket is there yet.
            (false, new_port, ACK),
        ];
        segments.into_iter().find_map(|(is_itself, port, flags)| {
            let payload = Payload::Tcp { ports: [port, own.port()], flags };
            let sockets = match is_itself {
                true => Sockets::of_connection(peer, own),
                false => Sockets::default(),
            };
            self.forms(peer.ip(), flags).into_iter().find_map(|form| {
                let frame = self.frame_of(peer.ip(), own.ip(), payload, form, vlan)?;
                let explained = self.unless_passed_beside(&sockets, &frame)?;
                Some(Cut { is_itself, explained })
            })
        })
    }

    /// The rule that would take away what `peer` sends to the host's `own` end of a connection if that were over the
    /// rule's limit. Of new connections, only what blocks `peer` counts: that others are few is what such a limit
    /// is for.
    pub fn may_cut(
        &self,
        peer: SocketAddr,
        own: SocketAddr,
        vlan: Option<u16>,
    ) -> Option<OverLimit> {
        [ACK, PSH | ACK, SYN].into_iter().find_map(|flags| {
            let payload = Payload::Tcp { ports: [peer.port(), own.port()], flags };
            self.forms(peer.ip(), flags).into_iter().find_map(|form| {
                let frame = self.frame_of(peer.ip(), own.ip(), payload, form, vlan)?;
                let sockets = Sockets::of_connection(peer, own);
                let answer =
                    judge_beside(self.image, self.entries, &sockets, self.link_type, &frame);
                answer.limits.iter().find_map(|asked| {
                    let mut counted = self.metadata.counted.iter();
                    let counted = counted.find(|it| CounterId::new(it.number) == asked.rule)?;
                    let rule = self.ruleset.rules.iter().find(|it| it.name == counted.name)?;
                    let blocks = match rule.action {
                        RuleAction::Block { .. } => true,
                        RuleAction::Drop
                        | RuleAction::Redirect { .. }
                        | RuleAction::Bounce { .. }
                            if flags != SYN =>
                        {
                            false
                        }
                        _ => return None,
                    };
                    let (rule, limit) = (counted.name.clone(), counted.limit?.limit);
                    Some(OverLimit { rule, limit, blocks })
                })
            })
        })
    }

    /// What the IP headers of a TCP segment with these flags may say, as far as the ruleset looks at that. The
    /// time to live is not known, for the number of routers in between is not.
    fn forms(&self, peer: IpAddr, flags: u8) -> Vec<Network> {
        let rules = || self.ruleset.rules.iter().map(|rule| &rule.matches);
        let mut lengths = vec![0];
        if rules().any(|it| it.length.is_some() || it.not.length.is_some()) {
            let longer: &[u16] = if flags & PSH == 0 { &HEADERS } else { &WITH_DATA };
            let beside_v4 = if peer.is_ipv6() { 20 } else { 0 };
            let fits = |length: &u16| u32::from(*length) <= self.mtu;
            lengths.extend(longer.iter().map(|length| length + beside_v4).filter(fits));
            if flags & PSH != 0 {
                // The peer's MTU may be less than the interface's: it is hardly ever more than Ethernet's.
                let longest = u16::try_from(self.mtu).unwrap_or(u16::MAX);
                lengths.extend([longest, longest.min(ETHERNET_MTU)]);
            }
        }
        let mut code_points = vec![0];
        if rules().any(|it| it.dscp.is_some() || it.not.dscp.is_some()) {
            code_points.extend(OF_SSH);
        }
        let form = |dscp| {
            lengths.iter().map(move |&length| Network { dscp, length, ..Network::default() })
        };
        code_points.into_iter().flat_map(form).collect()
    }

    /// What the ruleset takes away from the host, if it uses the interface in that role.
    pub fn warnings(&self, role: &Role) -> Vec<Warning> {
        let found = [self.answers(role), self.neighbours(role), self.arp(role), self.dhcp(role)];
        found.into_iter().flatten().chain(self.dhcp_v6(role)).collect()
    }

    fn answers(&self, role: &Role) -> Option<Warning> {
        let v4 = role.v4.filter(|_| role.default_v4.is_some());
        let v6 = role.v6.filter(|_| role.default_v6);
        let ends = [
            v4.map(|own| (SOMEBODY.0.into(), own.into())),
            v6.map(|own| (SOMEBODY.1.into(), own.into())),
        ];
        let is_dropped = |(somebody, own): (IpAddr, IpAddr)| {
            let payload = Payload::Tcp { ports: [443, CLIENT_PORTS[0]], flags: SYN | ACK };
            let frame = self.frame(somebody, own, payload, None)?;
            let asking = Sockets::of_connection(
                SocketAddr::new(somebody, 443),
                SocketAddr::new(own, CLIENT_PORTS[0]),
            );
            let explained = self.unless_passed_beside(&asking, &frame)?;
            // Only the default is worth a warning: a list or a rule that drops this is meant to.
            (explained.reason == Reason::Default.as_str()).then_some(())
        };
        ends.into_iter().flatten().find_map(is_dropped)?;
        Some(Warning {
            message: format!(
                "{} holds the default route, and the default drops what answers this host's own \
                 connections",
                plain(&role.name)
            ),
            hint: format!(
                "write replies = \"pass\" in [policy], or {}",
                rule(
                    "answers",
                    "protocol = \"tcp\", tcp_flags = \"ack\"",
                    "; over UDP, one with the source_port of the services asked, such as 53 and 123",
                )
            ),
        })
    }

    fn neighbours(&self, role: &Role) -> Option<Warning> {
        let own = role.v6.filter(|_| self.link_type == LinkType::Ethernet)?;
        let mut asked = vec![
            (NEIGHBOUR_SOLICITATION, solicited(own)),
            (NEIGHBOUR_ADVERTISEMENT, OWN_LINK_LOCAL),
        ];
        if role.default_v6 {
            asked.push((ROUTER_ADVERTISEMENT, ALL_NODES));
        }
        let (kind, explained) = asked.into_iter().find_map(|(kind, destination)| {
            let payload = Payload::Icmp { kind };
            let frame = self.frame(NEIGHBOUR.into(), destination.into(), payload, None)?;
            Some((kind, self.unless_passed(&frame)?))
        })?;
        Some(Warning {
            message: format!(
                "{} keeps IPv6 neighbour discovery (ICMPv6 type {kind}) out: {} has IPv6, which ends \
                 without it",
                decider(&explained),
                plain(&role.name)
            ),
            hint: rule("neighbours", "protocol = \"icmpv6\", icmp_type = [133, 134, 135, 136]", ""),
        })
    }

    fn arp(&self, role: &Role) -> Option<Warning> {
        let gateways = role.default_v4.as_deref().unwrap_or_default();
        if self.link_type != LinkType::Ethernet {
            return None;
        }
        let cut = gateways
            .iter()
            .find(|gateway| self.unless_passed(&arp_reply(**gateway, self.mac)).is_some())?;
        Some(Warning {
            message: format!(
                "[arp] drops what the gateway {cut} says of itself: without it, {} reaches nothing \
                 beyond its own network",
                plain(&role.name)
            ),
            hint: format!("add it to [arp]: allow = [\"{cut}\"]"),
        })
    }

    fn dhcp(&self, role: &Role) -> Option<Warning> {
        let own = role.leased_v4?;
        let server = role.default_v4.iter().flatten().next().copied();
        // The server is not known. An address on the Internet stands for it, so that only what
        // drops every server is found.
        let server = server.unwrap_or(SOMEBODY.0);
        let payload = Payload::Udp { ports: [67, 68] };
        let frames = [own, Ipv4Addr::BROADCAST]
            .map(|to| self.frame(server.into(), to.into(), payload, None));
        let explained =
            frames.into_iter().flatten().find_map(|frame| self.unless_passed(&frame))?;
        Some(leased(role, own.into(), &explained, "dhcp", [67, 68]))
    }

    fn dhcp_v6(&self, role: &Role) -> Option<Warning> {
        let own = role.leased_v6?;
        let payload = Payload::Udp { ports: [547, 546] };
        let frame = self.frame(NEIGHBOUR.into(), OWN_LINK_LOCAL.into(), payload, None)?;
        let explained = self.unless_passed(&frame)?;
        Some(leased(role, own.into(), &explained, "dhcpv6", [547, 546]))
    }

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

/// Whether a ruleset lets some IPv6 in on purpose. Then it has to let neighbour discovery in too,
/// whatever the interface.
pub fn names_ipv6(ruleset: &Ruleset) -> bool {
    let lists = ruleset.allowlists.iter().any(|list| !list.v6.is_empty());
    lists
        || ruleset.rules.iter().any(|rule| {
            use crate::ruleset::{Protocol, RuleAction};

            let prefixes = [&rule.matches.source, &rule.matches.destination];
            let of_v6 = prefixes.into_iter().flatten().any(|prefixes| !prefixes.v6.is_empty());
            let is_v6 = of_v6 || rule.matches.protocol == Some(Protocol::Icmpv6);
            is_v6 && rule.action == RuleAction::Pass
        })
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

fn rule(name: &str, conditions: &str, more: &str) -> String {
    format!(
        "add before it a [[rule]] with name = \"{name}\", {conditions}, action = \"pass\"{more}"
    )
}

fn leased(
    role: &Role,
    address: IpAddr,
    explained: &Explained,
    name: &str,
    [source, destination]: [u16; 2],
) -> Warning {
    Warning {
        message: format!(
            "{} keeps DHCP out: {} has {address} for a while only, and loses it when that is over",
            decider(explained),
            plain(&role.name)
        ),
        hint: rule(
            name,
            &format!(
                "protocol = \"udp\", source_port = {source}, destination_port = {destination}"
            ),
            "",
        ),
    }
}

/// The solicited-node multicast address: where a neighbour asks for this address (RFC 4291, section
/// 2.7.1).
fn solicited(own: Ipv6Addr) -> Ipv6Addr {
    let [.., high, low] = own.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (high & 0xff), low)
}

/// The frame of an ARP reply (RFC 826) from the gateway `sender` to the MAC address `to`.
fn arp_reply(sender: Ipv4Addr, to: [u8; 6]) -> Vec<u8> {
    let gateway = [2, 0, 0, 0, 0, 1];
    let link = [&to[..], &gateway, &[0x08, 0x06]].concat();
    // Ethernet and IPv4, the lengths of their addresses, and the operation: a reply.
    let kind = [0, 1, 0x08, 0, 6, 4, 0, 2];
    let mut frame = [&link[..], &kind, &gateway, &sender.octets(), &to, &[0; 4]].concat();
    // The shortest Ethernet frame, without its checksum.
    frame.resize(60, 0);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;

    struct Ruled {
        ruleset: Ruleset,
        metadata: Metadata,
        image: Image,
    }

    impl Ruled {
        fn by(text: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("c.toml");
            std::fs::write(&path, text).unwrap();
            let loaded = load(&path);
            let mut ruleset = loaded.ruleset.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
            ruleset.files = vec!["c.toml".into()];
            let metadata = Metadata::unbound(&ruleset);
            let image = Image::build(&ruleset, 1, &metadata).unwrap();
            Self { ruleset, metadata, image }
        }

        fn ground<'a>(&'a self, entries: &'a RunTimeEntries, link_type: LinkType) -> Ground<'a> {
            let Self { ruleset, metadata, image } = self;
            let mac = [2, 0, 0, 0, 0, 9];
            Ground { image, metadata, ruleset, entries, link_type, mac, mtu: 1400 }
        }

        fn cut(&self, peer: &str, own: &str, vlan: Option<u16>) -> Option<(bool, String)> {
            let entries = RunTimeEntries::default();
            let [peer, own] = [peer, own].map(|text| text.parse().unwrap());
            let both = [LinkType::Ethernet, LinkType::Raw].map(|link_type| {
                let cut = self.ground(&entries, link_type).cuts(peer, own, vlan)?;
                Some((cut.is_itself, decider(&cut.explained)))
            });
            let [ethernet, raw] = both;
            if vlan.is_none() {
                assert_eq!(ethernet, raw);
            }
            ethernet
        }

        fn warned(&self, role: &Role) -> Vec<Warning> {
            let entries = RunTimeEntries::default();
            self.ground(&entries, LinkType::Ethernet).warnings(role)
        }
    }

    const PEER: &str = "198.51.100.7:50000";
    const OWN: &str = "192.0.2.1:22";

    /// What answers the host passes, so a connection that is open goes on; another one like it does not
    /// get in that way.
    #[test]
    fn with_replies_what_is_open_stays_open() {
        let ruled = Ruled::by("policy = { default = \"drop\", replies = \"pass\" }");
        let by_default = "the default (policy.default = \"drop\")".to_owned();
        assert_eq!(ruled.cut(PEER, OWN, None), Some((false, by_default)));
        let ssh = Ruled::by(
            "policy = { default = \"drop\", replies = \"pass\" }
             rule = [{ name = \"ssh\", protocol = \"tcp\", destination_port = 22, action = \"pass\" }]",
        );
        assert_eq!(ssh.cut(PEER, OWN, None), None);
        let role = Role {
            name: "eth0".to_owned(),
            v4: Some([192, 0, 2, 1].into()),
            default_v4: Some(vec![[192, 0, 2, 254].into()]),
            ..Role::default()
        };
        assert_eq!(ruled.warned(&role), []);
    }

    #[test]
    fn what_keeps_a_connection_out_is_named() {
        let rule = |conditions: &str| {
            format!(
                "[[rule]]\nname = \"ssh\"\nprotocol = \"tcp\"\n{conditions}\naction = \"drop\"\n"
            )
        };
        let by_rule = |is_itself| Some((is_itself, "rule \"ssh\" (c.toml:2)".to_owned()));
        for (text, cut) in [
            (String::new(), None),
            (rule("destination_port = 22"), by_rule(true)),
            (rule("destination_port = 23"), None),
            (rule("source_port = 50000"), by_rule(true)),
            // An open connection goes on, but no new one can be opened.
            (rule("destination_port = 22\ntcp_flags = \"syn,!ack\""), by_rule(false)),
            (rule("destination_port = 22\ntcp_flags = \"psh\""), by_rule(true)),
            (
                "[policy]\ndefault = \"drop\"".to_owned(),
                Some((true, "the default (policy.default = \"drop\")".to_owned())),
            ),
            (
                "[[blocklist]]\nname = \"bad\"\nprefixes = [\"198.51.100.0/24\"]".to_owned(),
                Some((true, "blocklist \"bad\" 198.51.100.0/24 (c.toml:3)".to_owned())),
            ),
            (
                "[[blocklist]]\nname = \"bad\"\nprefixes = [\"198.51.100.0/24\"]\n\
                 [[allowlist]]\nname = \"me\"\nprefixes = [\"198.51.100.7\"]"
                    .to_owned(),
                None,
            ),
            // Out of another interface it does not reach this host.
            (
                "[[rule]]\nname = \"ssh\"\naction = \"redirect\"\nto = \"eth1\"".to_owned(),
                by_rule(true),
            ),
        ] {
            assert_eq!(Ruled::by(&text).cut(PEER, OWN, None), cut, "{text}");
        }
        let v6 = Ruled::by(&rule("source = \"2001:db8::/32\""));
        assert_eq!(v6.cut("[2001:db8::7]:50000", "[2001:db8::1]:22", None), by_rule(true));
        assert_eq!(v6.cut("[2001:db9::7]:50000", "[2001:db8::1]:22", None), None);
        let tagged = Ruled::by(&rule("vlan = 7"));
        assert_eq!(tagged.cut(PEER, OWN, Some(7)), by_rule(true));
        assert_eq!(tagged.cut(PEER, OWN, Some(8)), None);
    }

    /// A SYN of 40 bytes is not all that a connection consists of.
    #[test]
    fn longer_packets_and_marked_ones_are_asked_about() {
        let rule = |conditions: &str| {
            format!(
                "[[rule]]\nname = \"ssh\"\nprotocol = \"tcp\"\ndestination_port = 22\n{conditions}\n\
                 action = \"drop\"\n"
            )
        };
        for (conditions, is_itself) in [
            ("length = \"60-1500\"", Some(true)),
            ("length = \"1300-1400\"", Some(true)),
            ("not_length = \"1-100\"", Some(true)),
            ("length = 60\ntcp_flags = \"syn,!ack\"", Some(false)),
            // Longer than the interface takes.
            ("length = \"1401-65535\"", None),
            ("length = \"20-39\"", None),
            ("dscp = 18", Some(true)),
            ("not_dscp = 0", Some(true)),
            ("dscp = 10", None),
        ] {
            let by_rule = is_itself.map(|it| (it, "rule \"ssh\" (c.toml:2)".to_owned()));
            assert_eq!(Ruled::by(&rule(conditions)).cut(PEER, OWN, None), by_rule, "{conditions}");
        }
        let v6 = Ruled::by(&rule("length = 80\ntcp_flags = \"syn,!ack\""));
        assert!(v6.cut("[2001:db8::7]:50000", "[2001:db8::1]:22", None).is_some());
        // As long as the interface takes, and as Ethernet does.
        for (mtu, length, is_cut) in [
            (1500, "1400-1500", true),
            (9000, "1450-1500", true),
            (9000, "8900-9000", true),
            (1500, "1501-9000", false),
        ] {
            let ruled = Ruled::by(&rule(&format!("length = \"{length}\"")));
            let entries = RunTimeEntries::default();
            let ground = Ground { mtu, ..ruled.ground(&entries, LinkType::Ethernet) };
            for [peer, own] in [[PEER, OWN], ["[2001:db8::7]:50000", "[2001:db8::1]:22"]] {
                let (peer, own) = (peer.parse().unwrap(), own.parse().unwrap());
                assert_eq!(ground.cuts(peer, own, None).is_some(), is_cut, "{peer} {mtu} {length}");
            }
        }
    }

    #[test]
    fn what_is_taken_away_over_a_limit_is_found() {
        let rule = |action: &str| {
            format!(
                "[[rule]]\nname = \"slow\"\nprotocol = \"tcp\"\ndestination_port = 22\n{action}\n\
                 over = \"5/m\"\nper = \"source\"\n"
            )
        };
        let block = "action = \"block\"\nfor = \"10m\"";
        for (action, blocks) in [
            ("action = \"drop\"", Some(false)),
            ("action = \"bounce\"", Some(false)),
            ("action = \"redirect\"\nto = \"eth1\"", Some(false)),
            (block, Some(true)),
            ("action = \"drop\"\nlength = \"1000-1400\"", Some(false)),
            // Only new connections.
            ("action = \"drop\"\ntcp_flags = \"syn,!ack\"", None),
            (&*format!("{block}\ntcp_flags = \"syn,!ack\""), Some(true)),
            ("action = \"drop\"\nlength = \"1401-1500\"", None),
        ] {
            let ruled = Ruled::by(&rule(action));
            let entries = RunTimeEntries::default();
            let ground = ruled.ground(&entries, LinkType::Ethernet);
            let (peer, own) = (PEER.parse().unwrap(), OWN.parse().unwrap());
            let found = ground.may_cut(peer, own, None);
            assert_eq!(found.as_ref().map(|it| it.blocks), blocks, "{action}");
            assert!(found.is_none_or(|it| it.rule == "slow"));
            assert_eq!(ground.cuts(peer, own, None), None, "{action}");
        }
    }

    #[test]
    fn run_time_entries_count() {
        use crate::judgement::names::{RunTime, full};
        use crate::views::entries::Kind;
        use crate::views::explain::entries::Address;

        let address = Address::V4(Ipv4Addr::new(198, 51, 100, 7).to_bits());
        let entry = |kind| {
            let mut entries = RunTimeEntries::default();
            let prefix = full(address);
            entries.insert(
                address,
                RunTime { prefix, kind, expires_in_seconds: None, note: None, owner: None },
            );
            entries
        };
        let cut = |ruled: &Ruled, kind| {
            let entries = entry(kind);
            let ground = ruled.ground(&entries, LinkType::Ethernet);
            let cut = ground.cuts(PEER.parse().unwrap(), OWN.parse().unwrap(), None)?;
            Some(decider(&cut.explained))
        };
        let blocked = Some("the run-time entry 198.51.100.7/32".to_owned());
        assert_eq!(cut(&Ruled::by(""), Kind::Block), blocked);
        assert_eq!(cut(&Ruled::by("[policy]\ndefault = \"drop\""), Kind::Allow), None);
    }

    fn role() -> Role {
        Role {
            name: "eth0".to_owned(),
            v4: Some(Ipv4Addr::new(192, 0, 2, 1)),
            v6: Some("2001:db8::1".parse().unwrap()),
            default_v4: Some(vec![Ipv4Addr::new(192, 0, 2, 254)]),
            default_v6: true,
            leased_v4: Some(Ipv4Addr::new(192, 0, 2, 1)),
            leased_v6: Some("2001:db8::1".parse().unwrap()),
        }
    }

    const CLOSED: &str = "[policy]\ndefault = \"drop\"\n[arp]\naction = \"drop\"\n";
    /// The rules of the hints in TOML, in the order of the warnings.
    const GIVEN_BACK: [&str; 5] = [
        "[[rule]]\nname = \"answers\"\nprotocol = \"tcp\"\ntcp_flags = \"ack\"\naction = \"pass\"\n",
        "[[rule]]\nname = \"neighbours\"\nprotocol = \"icmpv6\"\nicmp_type = [133, 134, 135, 136]\n\
         action = \"pass\"\n",
        "allow = [\"192.0.2.254\"]\n",
        "[[rule]]\nname = \"dhcp\"\nprotocol = \"udp\"\nsource_port = 67\ndestination_port = 68\n\
         action = \"pass\"\n",
        "[[rule]]\nname = \"dhcpv6\"\nprotocol = \"udp\"\nsource_port = 547\ndestination_port = 546\n\
         action = \"pass\"\n",
    ];

    /// Adding the rule of a hint silences that warning, and no other.
    #[test]
    fn each_rule_gives_back_what_is_taken() {
        let all = Ruled::by(CLOSED).warned(&role());
        let messages: Vec<&str> = all.iter().map(|it| it.message.as_str()).collect();
        insta::assert_snapshot!(messages.join("\n"), @r#"
        eth0 holds the default route, and the default drops what answers this host's own connections
        the default (policy.default = "drop") keeps IPv6 neighbour discovery (ICMPv6 type 135) out: eth0 has IPv6, which ends without it
        [arp] drops what the gateway 192.0.2.254 says of itself: without it, eth0 reaches nothing beyond its own network
        the default (policy.default = "drop") keeps DHCP out: eth0 has 192.0.2.1 for a while only, and loses it when that is over
        the default (policy.default = "drop") keeps DHCP out: eth0 has 2001:db8::1 for a while only, and loses it when that is over
        "#);
        assert_eq!(all.len(), GIVEN_BACK.len());
        for (number, rule) in GIVEN_BACK.iter().enumerate() {
            let mut left = all.clone();
            left.remove(number);
            assert_eq!(Ruled::by(&format!("{CLOSED}{rule}")).warned(&role()), left, "{rule}");
            let keys = rule.lines().filter(|line| !line.starts_with("[["));
            for key in keys {
                assert!(all[number].hint.contains(key), "{key} in {}", all[number].hint);
            }
        }
        assert_eq!(Ruled::by("").warned(&role()), []);
    }

    /// An interface without a role has nothing to lose.
    #[test]
    fn what_an_interface_has_not_cannot_be_taken() {
        let closed = Ruled::by(CLOSED);
        assert_eq!(closed.warned(&Role::default()), []);
        let beside = Role {
            default_v4: None,
            default_v6: false,
            leased_v4: None,
            leased_v6: None,
            v6: None,
            ..role()
        };
        assert_eq!(closed.warned(&beside), []);
        // Without Ethernet there is neither ARP nor neighbour discovery.
        let entries = RunTimeEntries::default();
        let raw = closed.ground(&entries, LinkType::Raw).warnings(&role());
        assert_eq!(raw.len(), 3, "{raw:?}");
        assert!(raw.iter().all(|it| it.message.contains("DHCP") || it.message.contains("route")));
    }

    #[test]
    fn what_is_on_a_list_is_not_meant_to_answer() {
        let listed = "[[blocklist]]\nname = \"all\"\nprefixes = [\"0.0.0.0/1\", \"::/1\"]\n";
        assert_eq!(Ruled::by(listed).answers(), None);
    }

    impl Ruled {
        fn answers(&self) -> Option<Warning> {
            let entries = RunTimeEntries::default();
            self.ground(&entries, LinkType::Ethernet).answers(&role())
        }
    }
}
