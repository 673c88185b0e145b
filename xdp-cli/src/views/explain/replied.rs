//! What is said of a frame about which sockets were asked.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Serialize, Serializer};
use xdp_common::filter::replies::{About, Found, Reply, state};
use xdp_common::filter::sent::{NO_MEMORY, NOT_SENT, seconds};
use xdp_common::packet::Packet;

use super::flow::Flow;

/// Whether a frame answers what the host has open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replied {
    /// What it is about: `tcp`, `udp`, `echo` or `other`, a protocol without sockets; `None` if it is about none
    /// of these.
    pub about: Option<&'static str>,
    /// Whether it is an ICMP error, about what the host has sent.
    pub error: bool,
    /// The host's end of the connection, and the other one.
    #[serde(serialize_with = "text")]
    pub own: Option<End>,
    #[serde(serialize_with = "text")]
    pub peer: Option<End>,
    /// The socket's state: `established`, `listen` …, or `connected` and `unconnected` of UDP; `None` if
    /// there is no socket.
    pub state: Option<&'static str>,
    /// Why it is no reply: `no_socket`, `listener`, `opens`, `request`, `port`, `elsewhere`, `fragment`,
    /// `protocol`, `message`, `quotation`, `pace`, `not_sent` or `unknown` (nobody could be asked); `None` if it is one.
    pub why: Option<&'static str>,
    /// Whether it is known what the interface has sent, and was looked up.
    #[serde(skip)]
    pub looked_up: bool,
    /// How many seconds ago, at most, the interface has sent what this answers; `None` if no socket or nothing
    /// was asked for that.
    pub sent_seconds_ago: Option<u64>,
}

/// An address, with a port where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    pub address: IpAddr,
    pub port: Option<u16>,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.address, port).fmt(f),
            None => self.address.fmt(f),
        }
    }
}

fn text<S: Serializer>(end: &Option<End>, serializer: S) -> Result<S::Ok, S::Error> {
    match end {
        Some(end) => serializer.collect_str(end),
        None => serializer.serialize_none(),
    }
}

impl Replied {
    /// Of what the program left about a packet; `None` if nobody was asked about it.
    pub fn of(packet: &Packet, reply: &Reply) -> Option<Self> {
        let why = match Found::of(reply.found)? {
            Found::NotAsked => return None,
            Found::Reply => None,
            Found::NoSocket => Some("no_socket"),
            Found::Listener => Some("listener"),
            Found::Opens => Some("opens"),
            Found::Request => Some("request"),
            Found::Port => Some("port"),
            Found::Elsewhere => Some("elsewhere"),
            Found::Fragment => Some("fragment"),
            Found::Protocol => Some("protocol"),
            Found::Message => Some("message"),
            Found::Quotation => Some("quotation"),
            Found::Pace => Some("pace"),
            Found::NotSent => Some("not_sent"),
            Found::Unknown => Some("unknown"),
        };
        let (about, has_ports) = match About::of(reply.about)? {
            About::Other => (None, false),
            About::Tcp => (Some("tcp"), true),
            About::Udp => (Some("udp"), true),
            About::Echo => (Some("echo"), false),
            About::Plain => (Some("other"), false),
        };
        let end = |address: Option<IpAddr>, port: u32| {
            let address = address.filter(|_| about.is_some())?;
            Some(End { address, port: has_ports.then_some(port as u16) })
        };
        let own = Flow::of(packet).destination;
        let peer = Flow::of(&Packet { source: reply.peer, ..*packet }).source;
        Some(Self {
            about,
            error: reply.is_error != 0,
            own: end(own, reply.port),
            peer: end(peer, reply.peer_port),
            state: state_name(about == Some("udp"), reply.state),
            why,
            looked_up: reply.sent != NO_MEMORY,
            sent_seconds_ago: (reply.sent < NOT_SENT).then(|| seconds(reply.sent)),
        })
    }
}

fn state_name(is_udp: bool, number: u32) -> Option<&'static str> {
    Some(match number {
        0 => return None,
        state::ESTABLISHED if is_udp => "connected",
        _ if is_udp => "unconnected",
        state::ESTABLISHED => "established",
        state::SYN_SENT => "syn-sent",
        state::SYN_RECEIVED => "syn-received",
        state::FIN_WAIT_1 => "fin-wait-1",
        state::FIN_WAIT_2 => "fin-wait-2",
        state::TIME_WAIT => "time-wait",
        state::CLOSE_WAIT => "close-wait",
        state::LAST_ACK => "last-ack",
        state::LISTEN => "listen",
        state::CLOSING => "closing",
        state::NEW_SYN_RECEIVED => "syn-received from outside",
        _ => "closed",
    })
}

/// Such as `tcp socket 192.0.2.1:40312 established`, or `sent 192.0.2.7:40312 -> 198.51.100.1:53 udp, up to 5 s ago`,
/// or why there is no reply.
impl fmt::Display for Replied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let about = self.about.unwrap_or_default();
        let end = |end: Option<End>| end.map(|end| end.to_string()).unwrap_or_default();
        let (own, peer) = (end(self.own), end(self.peer));
        let Some(why) = self.why else {
            if self.error {
                f.write_str("an error about ")?;
            }
            if let Some(ago) = self.sent_seconds_ago {
                let about = if about == "other" { "" } else { about };
                let gap = if about.is_empty() { "" } else { " " };
                return write!(f, "sent {own} -> {peer}{gap}{about}, up to {ago} s ago");
            }
            return match self.state {
                Some(state) => write!(f, "{about} socket {own} {state}"),
                None => {
                    write!(f, "an echo between {own} and {peer}, which no socket is asked about")
                }
            };
        };
        f.write_str("no reply: ")?;
        match why {
            "no_socket" if self.looked_up => write!(
                f,
                "no {about} socket {own} has asked {peer}, and the interface has sent nothing from there"
            ),
            "no_socket" => write!(f, "no {about} socket {own} has asked {peer}"),
            "unknown" => f.write_str(
                "none that is known: which sockets are open, and what was sent, only what is attached can say",
            ),
            "not_sent" if about == "udp" => write!(
                f,
                "udp socket {own} is not connected, and the interface has sent nothing from there to {peer}"
            ),
            "not_sent" if about == "echo" => {
                write!(f, "no request for this echo has gone out from {own} to {peer}")
            }
            "not_sent" => {
                write!(f, "the interface has sent nothing of this protocol from {own} to {peer}")
            }
            "listener" => write!(f, "{about} socket {own} listens, and rules decide who comes in"),
            "opens" => write!(f, "a SYN opens a connection, and rules decide who comes in"),
            "request" => {
                write!(f, "{peer} is opening a connection to {own}, and rules decide who comes in")
            }
            "port" => write!(
                f,
                "udp socket {own} is not connected, and its port is none that the kernel assigns"
            ),
            "elsewhere" => write!(
                f,
                "udp socket {own} is not connected, and this is for several hosts or for another one"
            ),
            "fragment" => f.write_str("a later fragment has no ports"),
            "protocol" => f.write_str("the kernel has no table of sockets of this protocol"),
            "message" => f.write_str("this ICMP message is neither an echo reply nor an error"),
            "quotation" => f.write_str("the error quotes no packet of this host"),
            _ => f.write_str("more echo replies than are passed in a second"),
        }
    }
}

#[cfg(test)]
mod tests {
    use xdp_common::packet::{LinkType, parse};

    use super::*;
    use crate::frames::build::{Addresses, Description, Payload, build};

    fn replied(reply: Reply) -> Option<Replied> {
        let addresses =
            Addresses::new("198.51.100.1".parse().unwrap(), "192.0.2.1".parse().unwrap()).unwrap();
        let payload = Payload::Tcp { ports: [443, 40_312], flags: 0x10 };
        let bytes = build(&Description { ethernet: None, addresses, payload }).unwrap();
        let mut packet = Packet::LEFT_BEHIND;
        parse(LinkType::Raw, &bytes[..], &mut packet).unwrap();
        Replied::of(&packet, &reply)
    }

    fn reply(found: Found, about: About, state: u32) -> Reply {
        Reply {
            found: found as u32,
            about: about as u32,
            state,
            is_error: 0,
            port: 40_312,
            peer_port: 443,
            peer: [0xc633_6401, 0],
            sent: NO_MEMORY,
            padding: 0,
        }
    }

    #[test]
    fn what_is_said_of_replies_and_others() {
        let said = |reply| replied(reply).unwrap().to_string();
        let tcp = reply(Found::Reply, About::Tcp, state::ESTABLISHED);
        assert_eq!(said(tcp), "tcp socket 192.0.2.1:40312 established");
        assert_eq!(
            said(Reply { is_error: 1, about: About::Udp as u32, ..tcp }),
            "an error about udp socket 192.0.2.1:40312 connected"
        );
        assert_eq!(
            said(reply(Found::NoSocket, About::Tcp, 0)),
            "no reply: no tcp socket 192.0.2.1:40312 has asked 198.51.100.1:443"
        );
        assert_eq!(
            said(reply(Found::Listener, About::Tcp, state::LISTEN)),
            "no reply: tcp socket 192.0.2.1:40312 listens, and rules decide who comes in"
        );
        assert_eq!(
            said(reply(Found::Reply, About::Echo, 0)),
            "an echo between 192.0.2.1 and 198.51.100.1, which no socket is asked about"
        );
        let udp = reply(Found::Reply, About::Udp, state::CLOSE);
        assert_eq!(
            said(Reply { sent: 0, ..udp }),
            "sent 192.0.2.1:40312 -> 198.51.100.1:443 udp, up to 5 s ago"
        );
        assert_eq!(
            said(Reply { sent: 2, is_error: 1, about: About::Echo as u32, ..udp }),
            "an error about sent 192.0.2.1 -> 198.51.100.1 echo, up to 13 s ago"
        );
        assert_eq!(
            said(Reply { sent: NOT_SENT, ..reply(Found::NotSent, About::Udp, state::CLOSE) }),
            "no reply: udp socket 192.0.2.1:40312 is not connected, and the interface has sent nothing from \
             there to 198.51.100.1:443"
        );
        assert_eq!(replied(reply(Found::NotAsked, About::Tcp, 0)), None);
        assert_eq!(replied(Reply::LEFT_BEHIND), None);
    }

    #[test]
    fn the_keys_in_json() {
        let json = |reply| serde_json::to_string(&replied(reply).unwrap()).unwrap();
        assert_eq!(
            json(reply(Found::Reply, About::Tcp, state::TIME_WAIT)),
            r#"{"about":"tcp","error":false,"own":"192.0.2.1:40312","peer":"198.51.100.1:443","state":"time-wait","why":null,"sent_seconds_ago":null}"#
        );
        assert_eq!(
            json(reply(Found::Fragment, About::Other, 0)),
            r#"{"about":null,"error":false,"own":null,"peer":null,"state":null,"why":"fragment","sent_seconds_ago":null}"#
        );
    }
}
