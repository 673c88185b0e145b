//! What a ruleset takes away from what the host uses an interface for: answers to its own connections,
//! neighbours, the gateway, leases of DHCP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use xdp_common::packet::LinkType;
use xdp_common::stats::verdict::Reason;

use super::{ACK, CLIENT_PORTS, Ground, SYN, decider};
use crate::frames::build::Payload;
use crate::judgement::sockets::Sockets;
use crate::notation::plain;
use crate::ruleset::Ruleset;
use crate::views::explain::Explained;

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
    use super::super::ruled::Ruled;
    use super::*;
    use crate::judgement::RunTimeEntries;

    impl Ruled {
        fn answers(&self) -> Option<Warning> {
            let entries = RunTimeEntries::default();
            self.ground(&entries, LinkType::Ethernet).answers(&role())
        }
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
}
