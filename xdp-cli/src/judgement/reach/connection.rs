//! Whether a connection goes on under a ruleset, and whether its peer could open another one.

use std::net::{IpAddr, SocketAddr};

use xdp_common::stats::counter::CounterId;

use super::{ACK, CLIENT_PORTS, Ground, PSH, SYN};
use crate::frames::build::{Network, Payload};
use crate::judgement::judge_beside;
use crate::judgement::sockets::Sockets;
use crate::ruleset::RuleAction;
use crate::ruleset::limits::Limit;
use crate::views::explain::Explained;

/// Lengths of IPv4 packets with a TCP header alone, with the options that Linux sends: timestamps, or in a SYN
/// those and three more. A header without options is in each list that is made of these.
const HEADERS: [u16; 2] = [52, 60];
/// Likewise with data: a keystroke, a line, a screen. There are as long ones as the interface takes, too.
const WITH_DATA: [u16; 4] = [88, 200, 576, 1280];
const ETHERNET_MTU: u16 = 1500;
/// The code points of OpenSSH's defaults beside 0 (IPQoS in ssh_config(5)): LE, CS1, AF21, EF, and what
/// "lowdelay" and "throughput" of old versions are now.
const OF_SSH: [u8; 6] = [1, 8, 18, 46, 4, 2];

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
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use xdp_common::packet::LinkType;

    use super::super::decider;
    use super::super::role::Role;
    use super::super::ruled::Ruled;
    use super::*;
    use crate::judgement::RunTimeEntries;

    impl Ruled {
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
}
