//! A frame that is described by its headers on the command line.

use xdp_common::packet::LinkType;

use crate::args::{Headers, Mac, ProtocolArg};
use crate::datapath::error::Error;
use crate::frames::build::{self, Addresses, Description, Ethernet, Payload};

/// A description of a frame, without mistakes.
pub(super) struct Told {
    addresses: Addresses,
    payload: Payload,
    vlan: Option<u16>,
    source_mac: Option<Mac>,
    /// `None` means that of the interface.
    destination_mac: Option<Mac>,
}

/// What is contradictory, and a hint.
pub(super) type Mistake = (String, &'static str);

impl Told {
    pub(super) fn of(headers: &Headers) -> Result<Self, Mistake> {
        let (Some(source), Some(destination)) = (headers.source, headers.destination) else {
            return Err(("no frame was given".to_owned(), "--source and --destination name one"));
        };
        let addresses = Addresses::new(source, destination).ok_or_else(|| {
            (
                format!("{source} and {destination} are of two families"),
                "a packet has two IPv4 or two IPv6 addresses",
            )
        })?;
        Ok(Self {
            addresses,
            payload: payload(headers, addresses)?,
            vlan: headers.vlan,
            source_mac: headers.source_mac,
            destination_mac: headers.destination_mac,
        })
    }

    /// What the description says that a link of that type cannot have.
    pub(super) fn contradicts(&self, link_type: LinkType) -> Option<Mistake> {
        let has_ethernet =
            self.vlan.is_some() || self.source_mac.is_some() || self.destination_mac.is_some();
        (link_type == LinkType::Raw && has_ethernet).then(|| {
            let told = "packets of that interface have no Ethernet header".to_owned();
            (told, "omit --vlan, --source-mac and --destination-mac")
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
            addresses: self.addresses,
            payload: self.payload,
        };
        build::build(&description).ok_or_else(|| Error::new("the frame cannot be built"))
    }
}

fn payload(headers: &Headers, addresses: Addresses) -> Result<Payload, Mistake> {
    let protocol = headers.protocol.unwrap_or(ProtocolArg::Number(6));
    let v4 = matches!(addresses, Addresses::V4(..));
    let ports = [headers.source_port.unwrap_or(49152), headers.destination_port.unwrap_or(80)];
    let payload = match protocol {
        ProtocolArg::Number(6) => Payload::Tcp { ports, flags: headers.tcp_flags.unwrap_or(0x02) },
        ProtocolArg::Number(17) => Payload::Udp { ports },
        ProtocolArg::Number(132) => Payload::Sctp { ports },
        ProtocolArg::Icmp if v4 => Payload::Icmp { kind: headers.icmp_type.unwrap_or(8) },
        ProtocolArg::Icmpv6 if !v4 => Payload::Icmp { kind: headers.icmp_type.unwrap_or(128) },
        ProtocolArg::Icmp => {
            return Err(("icmp is IPv4's".to_owned(), "over IPv6 it is --protocol icmpv6"));
        }
        ProtocolArg::Icmpv6 => {
            return Err(("icmpv6 is IPv6's".to_owned(), "over IPv4 it is --protocol icmp"));
        }
        ProtocolArg::Number(protocol) => Payload::Other { protocol },
    };
    let has_ports =
        matches!(payload, Payload::Tcp { .. } | Payload::Udp { .. } | Payload::Sctp { .. });
    if !has_ports && (headers.source_port.is_some() || headers.destination_port.is_some()) {
        let told = "that protocol has no ports".to_owned();
        return Err((told, "tcp, udp and sctp have; omit the port"));
    }
    if !matches!(payload, Payload::Tcp { .. }) && headers.tcp_flags.is_some() {
        let told = "that protocol has no flags".to_owned();
        return Err((told, "tcp has; omit --tcp-flags"));
    }
    if !matches!(payload, Payload::Icmp { .. }) && headers.icmp_type.is_some() {
        let told = "that protocol has no ICMP type".to_owned();
        return Err((told, "--protocol icmp or icmpv6 has"));
    }
    Ok(payload)
}
