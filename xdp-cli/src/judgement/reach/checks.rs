//! Whether what backends answer to checks comes in. Checks are connections of this host's own, so a ruleset that drops
//! what it was not asked to let in drops their answers too, and every backend seems to be down.

use std::net::{IpAddr, SocketAddr};

use xdp_common::stats::verdict::Reason;

use super::role::Warning;
use super::{ACK, CLIENT_PORTS, Ground, SYN, decider};
use crate::frames::build::Payload;
use crate::judgement::sockets::Sockets;
use crate::notation::plain;
use crate::ruleset::services::check::{Probe, Through};
use crate::ruleset::services::{Backend, Service, State};
use crate::ruleset::{PolicyAction, Replies, Ruleset};

/// Types of echo replies (RFC 792, RFC 4443, section 4.2).
const ECHO_REPLY: u8 = 0;
const ECHO_REPLY_V6: u8 = 129;

/// A backend that is checked at its own address, and the host's address that it answers to.
#[derive(Clone, Copy, Debug)]
pub struct Checked<'a> {
    pub service: &'a Service,
    pub backend: &'a Backend,
    pub own: IpAddr,
}

/// The first backend of each family of each service that is checked by the kernel's routes: what keeps its answers out
/// mostly keeps out the others', too, but a list or a rule may hold one of those alone.
pub fn checked(ruleset: &Ruleset) -> impl Iterator<Item = (&Service, &Backend)> {
    let at_backends =
        |it: &&Service| it.check.as_ref().is_some_and(|check| check.through == Through::Backend);
    ruleset.services.iter().filter(at_backends).flat_map(|service| {
        [false, true].into_iter().filter_map(move |is_v6| {
            let mut backends = service.backends.iter().filter(|it| it.state != State::Down);
            Some((service, backends.find(|it| it.address.is_ipv6() == is_v6)?))
        })
    })
}

impl Ground<'_> {
    /// That the answers to a backend's checks are dropped, if they are.
    pub fn lost_check(&self, Checked { service, backend, own }: &Checked<'_>) -> Option<Warning> {
        let check = service.check.as_ref()?;
        let (address, port) = service.checked_at(check, backend);
        let [peer, asking] =
            [(address, port), (*own, CLIENT_PORTS[0])].map(|(ip, port)| SocketAddr::new(ip, port));
        let ports = [port, CLIENT_PORTS[0]];
        let is_echo = matches!(check.probe, Probe::Icmp);
        let (payload, sockets, answers) = match check.probe {
            // One by UDP that expects nothing is content with nothing.
            Probe::Exec { .. } | Probe::Udp { expect: None, .. } => return None,
            Probe::Icmp => {
                // Those are let in by what was sent.
                if self.ruleset.policy.replies == Replies::Pass {
                    return None;
                }
                let kind = if address.is_ipv6() { ECHO_REPLY_V6 } else { ECHO_REPLY };
                let family = if address.is_ipv6() { "icmpv6" } else { "icmp" };
                let answers = format!("protocol = \"{family}\", icmp_type = {kind}");
                (Payload::Icmp { kind }, Sockets::default(), answers)
            }
            Probe::Udp { .. } => {
                let answers = format!("protocol = \"udp\", source_port = {port}");
                (Payload::Udp { ports }, Sockets::asking_by_udp(peer, asking), answers)
            }
            Probe::Tcp { .. } | Probe::Http(_) => {
                let answers =
                    format!("protocol = \"tcp\", source_port = {port}, tcp_flags = \"ack\"");
                let payload = Payload::Tcp { ports, flags: SYN | ACK };
                (payload, Sockets::of_connection(peer, asking), answers)
            }
        };
        let frame = self.frame(address, *own, payload, None)?;
        let explained = self.unless_passed_beside(&sockets, &frame)?;
        let is_default = explained.reason == Reason::Default.as_str();
        // A nat service takes it for a reply here. In the kernel it is asked where it goes: what is to this host is left to the
        // rest of the ruleset, so that nothing is known of it.
        if explained.reason == Reason::Service.as_str() {
            return None;
        }
        let place = if is_echo { address.to_string() } else { peer.to_string() };
        Some(Warning {
            message: format!(
                "service \"{}\", backend \"{}\": {} drops what {place} answers to checks from {own}, so that they fail",
                plain(&service.name),
                plain(&backend.name),
                decider(&explained)
            ),
            hint: match is_default && self.ruleset.policy.default == PolicyAction::Drop {
                true => format!(
                    "write replies = \"pass\" in [policy], or add a [[rule]] with name = \"checks\", source = \"{address}\", \
                     {answers}, action = \"pass\""
                ),
                false => format!("let {address} in by an [[allowlist]], or check it otherwise"),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use xdp_common::packet::LinkType;

    use super::super::ruled::Ruled;
    use super::*;
    use crate::judgement::RunTimeEntries;

    fn configuration(policy: &str, check: &str, more: &str) -> String {
        format!(
            "[policy]\n{policy}\n[services]\nnext_hop = \"02:00:00:00:00:01\"\n[[service]]\nname = \"web\"\naddress = \"192.0.2.10\"\nprotocol = \"tcp\"\nport = 80\nmode = \"dsr\"\n\
             check = {{ {check} }}\n[[service.backend]]\nname = \"b1\"\naddress = \"10.0.0.1\"\n{more}"
        )
    }

    fn warned(text: &str) -> Option<Warning> {
        let ruled = Ruled::by(text);
        let entries = RunTimeEntries::default();
        let ground = ruled.ground(&entries, LinkType::Ethernet);
        let own = "10.0.0.254".parse().unwrap();
        checked(ground.ruleset)
            .find_map(|(service, backend)| ground.lost_check(&Checked { service, backend, own }))
    }

    const DROP: &str = "default = \"drop\"";
    const CHECKS: [&str; 4] = [
        "type = \"tcp\"",
        "type = \"http\", path = \"/\"",
        "type = \"udp\", send = \"x\", expect = \"y\"",
        "type = \"icmp\"",
    ];

    #[test]
    fn a_default_that_drops_their_answers_is_told() {
        let said: Vec<String> = CHECKS
            .iter()
            .map(|check| warned(&configuration(DROP, check, "")).expect(check))
            .map(|Warning { message, hint }| format!("{message}\n  {hint}"))
            .collect();
        insta::assert_snapshot!(said.join("\n"));
        for check in CHECKS {
            assert_eq!(warned(&configuration("", check, "")), None, "{check}");
            let replies = format!("{DROP}\nreplies = \"pass\"");
            assert_eq!(warned(&configuration(&replies, check, "")), None, "{check}");
        }
    }

    /// The rule of each hint, added, silences it.
    #[test]
    fn the_rule_of_the_hint_lets_them_in() {
        for check in CHECKS {
            let Warning { hint, .. } = warned(&configuration(DROP, check, "")).expect(check);
            let (_, rule) = hint.split_once("[[rule]] with ").expect("a rule");
            let rule = format!("[[rule]]\n{}\n", rule.replace(", ", "\n"));
            assert_eq!(warned(&configuration(DROP, check, &rule)), None, "{rule}");
        }
    }

    #[test]
    fn a_list_and_a_rule_are_named() {
        let list = "[[blocklist]]\nname = \"bad\"\nprefixes = [\"10.0.0.0/24\"]\n";
        let rule = "[[rule]]\nname = \"no-acks\"\nprotocol = \"tcp\"\naction = \"drop\"\n";
        for (more, by) in [(list, "blocklist \"bad\" 10.0.0.0/24"), (rule, "rule \"no-acks\"")] {
            let Warning { message, hint } =
                warned(&configuration("", CHECKS[0], more)).expect("warned");
            assert!(message.contains(by) && hint.contains("allowlist"), "{message}, {hint}");
        }
    }

    #[test]
    fn what_no_packet_answers_is_not_asked_about() {
        let content = "type = \"udp\", send = \"x\"";
        assert_eq!(warned(&configuration(DROP, content, "")), None);
        let exec = "type = \"exec\", command = [\"/bin/true\"]";
        assert_eq!(warned(&configuration(DROP, exec, "")), None);
        let through = "type = \"tcp\", through = \"service\"";
        assert_eq!(warned(&configuration(DROP, through, "")), None);
        let down = "state = \"down\"\n";
        assert_eq!(warned(&configuration(DROP, CHECKS[0], down)), None);
    }
}
