//! A frame that is described by its headers on the command line.

use xdp_common::packet::LinkType;

use crate::args::{FragmentArg, Headers, Mac, Named, ProtocolArg};
use crate::config::file::Disk;
use crate::config::names::Names;
use crate::config::rule::icmp;
use crate::datapath::error::Error;
use crate::frames::build::{self, Addresses, Description, Ethernet, Fragment, Network, Payload};
use crate::frames::dns::Question;
use crate::notation::plain;
use crate::ruleset::Protocol;

/// A description of a frame, without mistakes.
pub(super) struct Told {
    addresses: Addresses,
    payload: Payload,
    network: Network,
    question: Option<Question>,
    vlan: Option<u16>,
    source_mac: Option<Mac>,
    /// `None` means that of the interface.
    destination_mac: Option<Mac>,
}

/// What is contradictory, and a hint.
pub(super) type Mistake = (String, String);

fn mistake(message: impl Into<String>, hint: &str) -> Mistake {
    (message.into(), hint.to_owned())
}

impl Told {
    pub(super) fn of(headers: &Headers) -> Result<Self, Mistake> {
        let (Some(source), Some(destination)) = (headers.source, headers.destination) else {
            return Err(mistake("no frame was given", "--source and --destination name one"));
        };
        let addresses = Addresses::new(source, destination).ok_or_else(|| {
            mistake(
                format!("{source} and {destination} are of two families"),
                "a packet has two IPv4 or two IPv6 addresses",
            )
        })?;
        let told = Self {
            addresses,
            payload: payload(headers, addresses)?,
            network: network(headers),
            question: headers.question.clone(),
            vlan: headers.vlan,
            source_mac: headers.source_mac,
            destination_mac: headers.destination_mac,
        };
        let least = build::shortest(&told.packet(), told.network, &told.message());
        if headers.length.is_some_and(|length| usize::from(length) < least) {
            let hint = format!("write at least --length {least}");
            return Err(("the headers take more than --length".to_owned(), hint));
        }
        Ok(told)
    }

    /// Without what is in front of the IP header.
    const fn packet(&self) -> Description {
        Description { ethernet: None, addresses: self.addresses, payload: self.payload }
    }

    /// What the packet carries.
    fn message(&self) -> Vec<u8> {
        match (&self.question, self.payload) {
            (Some(question), Payload::Udp { ports }) => question.message(is_from_server(ports)),
            _ => Vec::new(),
        }
    }

    /// What the description says that a link of that type cannot have.
    pub(super) fn contradicts(&self, link_type: LinkType) -> Option<Mistake> {
        let has_ethernet =
            self.vlan.is_some() || self.source_mac.is_some() || self.destination_mac.is_some();
        (link_type == LinkType::Raw && has_ethernet).then(|| {
            let told = "packets of that interface have no Ethernet header";
            mistake(told, "omit --vlan, --source-mac and --destination-mac")
        })
    }

    /// Builds the frame. It goes to the MAC address `own`, unless another one was given.
    pub(super) fn frame(&self, own: [u8; 6], link_type: LinkType) -> Result<Vec<u8>, Error> {
        let ethernet = || Ethernet {
            source_mac: self.source_mac.map_or([2, 0, 0, 0, 0, 1], |mac| mac.0),
            destination_mac: self.destination_mac.map_or(own, |mac| mac.0),
            vlan: self.vlan,
        };
        let description = Description {
            ethernet: (link_type == LinkType::Ethernet).then(ethernet),
            ..self.packet()
        };
        build::build_with(&description, self.network, &self.message())
            .ok_or_else(|| Error::new("the frame cannot be built"))
    }

    /// Whether lists of names look at such a packet, but there is no question in it.
    pub(super) fn lacks_question(&self) -> bool {
        let of_dns = matches!(self.payload, Payload::Udp { ports } if ports.iter().any(is_of_dns));
        of_dns && self.question.is_none()
    }

    /// Whether no list of names looks at the packet, though there is a question in it.
    pub(super) fn asks_in_vain(&self) -> bool {
        let of_dns = matches!(self.payload, Payload::Udp { ports } if ports.iter().any(is_of_dns));
        !of_dns && self.question.is_some()
    }
}

const TCP: u8 = 6;
const UDP: u8 = 17;
/// Ports of DNS, and of Multicast DNS, to which single hosts may be asked as well.
const DNS: [u16; 2] = [53, 5353];

fn is_of_dns(port: &u16) -> bool {
    DNS.contains(port)
}

/// Whether a message between these ports is a server's.
fn is_from_server([source, destination]: [u16; 2]) -> bool {
    is_of_dns(&source) && !is_of_dns(&destination)
}

fn payload(headers: &Headers, addresses: Addresses) -> Result<Payload, Mistake> {
    let asks = headers.question.is_some();
    let protocol = headers.protocol.unwrap_or(ProtocolArg::Number(if asks { UDP } else { TCP }));
    let v4 = matches!(addresses, Addresses::V4(..));
    let ports = |of| -> Result<[u16; 2], Mistake> {
        let source = port(headers.source_port.as_ref(), "--source-port", of)?;
        let destination = port(headers.destination_port.as_ref(), "--destination-port", of)?;
        let from_server = asks && source.as_ref().is_some_and(is_of_dns);
        let default = if from_server { 49152 } else { 53 };
        Ok([source.unwrap_or(49152), destination.unwrap_or(if asks { default } else { 80 })])
    };
    let icmp = |of, default| -> Result<Payload, Mistake> {
        let kind = icmp_type(headers.icmp_type.as_ref(), of)?.unwrap_or(default);
        Ok(Payload::Icmp { kind })
    };
    let payload = match protocol {
        ProtocolArg::Number(TCP) => {
            Payload::Tcp { ports: ports("tcp")?, flags: headers.tcp_flags.unwrap_or(0x02) }
        }
        ProtocolArg::Number(UDP) => Payload::Udp { ports: ports("udp")? },
        ProtocolArg::Number(132) => Payload::Sctp { ports: ports("sctp")? },
        ProtocolArg::Icmp if v4 => icmp(Protocol::Icmp, 8)?,
        ProtocolArg::Icmpv6 if !v4 => icmp(Protocol::Icmpv6, 128)?,
        ProtocolArg::Icmp => {
            return Err(mistake("icmp is IPv4's", "over IPv6 it is --protocol icmpv6"));
        }
        ProtocolArg::Icmpv6 => {
            return Err(mistake("icmpv6 is IPv6's", "over IPv4 it is --protocol icmp"));
        }
        ProtocolArg::Number(protocol) => Payload::Other { protocol },
    };
    if asks && !matches!(payload, Payload::Udp { .. }) {
        return Err(mistake(
            "that protocol carries no question",
            "DNS is looked into over UDP alone",
        ));
    }
    let has_ports =
        matches!(payload, Payload::Tcp { .. } | Payload::Udp { .. } | Payload::Sctp { .. });
    if !has_ports && (headers.source_port.is_some() || headers.destination_port.is_some()) {
        let told = "that protocol has no ports";
        return Err(mistake(told, "tcp, udp and sctp have; omit the port"));
    }
    if !matches!(payload, Payload::Tcp { .. }) && headers.tcp_flags.is_some() {
        return Err(mistake("that protocol has no flags", "tcp has; omit --tcp-flags"));
    }
    if !matches!(payload, Payload::Icmp { .. }) && headers.icmp_type.is_some() {
        let told = "that protocol has no ICMP type";
        return Err(mistake(told, "--protocol icmp or icmpv6 has"));
    }
    if headers.fragment == Some(FragmentArg::Later) {
        return later_fragment(headers, payload.protocol(addresses).0);
    }
    Ok(payload)
}

/// A fragment that does not have the header of what it carries.
fn later_fragment(headers: &Headers, protocol: u8) -> Result<Payload, Mistake> {
    let given = [
        ("--source-port", headers.source_port.is_some()),
        ("--destination-port", headers.destination_port.is_some()),
        ("--tcp-flags", headers.tcp_flags.is_some()),
        ("--icmp-type", headers.icmp_type.is_some()),
        ("--question", headers.question.is_some()),
    ];
    match given.iter().find(|(_, is_given)| *is_given) {
        None => Ok(Payload::Other { protocol }),
        Some((option, _)) => {
            let told = "a later fragment has no ports, flags, type or question";
            Err((told.to_owned(), format!("omit {option}, or write --fragment first")))
        }
    }
}

fn network(headers: &Headers) -> Network {
    let all = Network::default();
    Network {
        ttl: headers.ttl.unwrap_or(all.ttl),
        dscp: headers.dscp.unwrap_or(all.dscp),
        fragment: headers.fragment.map(|which| match which {
            FragmentArg::First => Fragment::First,
            FragmentArg::Later => Fragment::Later,
        }),
        length: headers.length.unwrap_or(all.length),
    }
}

/// The port that is meant by an option, if it is given. `of` is the protocol's name in
/// /etc/services.
fn port(given: Option<&Named<u16>>, option: &str, of: &str) -> Result<Option<u16>, Mistake> {
    match given {
        None => Ok(None),
        Some(Named::Number(port)) => Ok(Some(*port)),
        Some(Named::Name(name)) => Names::new(&Disk)
            .port_or(name, Some(of), "a port such as 53")
            .map(Some)
            .map_err(|hint| (format!("{option} cannot be \"{}\"", plain(name)), hint)),
    }
}

/// The ICMP type that is meant, if it is given.
fn icmp_type(given: Option<&Named<u8>>, of: Protocol) -> Result<Option<u8>, Mistake> {
    match given {
        None => Ok(None),
        Some(Named::Number(kind)) => Ok(Some(*kind)),
        Some(Named::Name(name)) => icmp::by_name(name, Some(of))
            .map_err(|hint| (format!("--icmp-type cannot be \"{}\"", plain(name)), hint)),
    }
}
