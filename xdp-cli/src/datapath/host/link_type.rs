//! What the frames of a link begin with, by what the kernel says of the interface.
//!
//! Generic mode hands a packet over from its link layer header on (net/core/dev.c,
//! `bpf_prog_run_generic_xdp`). Where a link has no such header, it starts where the driver set the
//! header's offset: for most drivers at the packet's own start (`skb_reset_mac_header`, in the
//! kernel since 5.14), for some at the header of a tunnel around it or of the link below. So
//! interfaces without Ethernet headers are accepted by their kind, and only kinds whose packets
//! were seen to begin with IP, on Linux 6.1 and 6.12.

use xdp_common::packet::LinkType;

use crate::datapath::error::{Error, Result};
use crate::datapath::host::interface::Interface;

// Hardware types that libc does not have for every target, include/uapi/linux/if_arp.h.
const PPP: u16 = 512;
const TUNNEL: u16 = 768;
const TUNNEL6: u16 = 769;
const SIT: u16 = 776;
const IPGRE: u16 = 778;
const IP6GRE: u16 = 823;
const NONE: u16 = 0xfffe;

/// Kinds of interface without Ethernet headers whose packets begin with IP, with their hardware types.
const BEGIN_WITH_IP: [(u16, &str); 8] = [
    (NONE, "tun"),
    (NONE, "wireguard"),
    (PPP, "ppp"),
    (TUNNEL, "ipip"),
    (TUNNEL6, "ip6tnl"),
    (SIT, "sit"),
    (IP6GRE, "ip6gre"),
    // In external mode.
    (NONE, "gre"),
];

/// Names of the other usual hardware types, for messages.
const NAMES: [(u16, &str); 17] = [
    (3, "AX.25"),
    (32, "InfiniBand"),
    (280, "CAN"),
    (290, "MCTP"),
    (PPP, "PPP"),
    (513, "HDLC"),
    (519, "raw IP"),
    (TUNNEL, "IPv4 tunnel"),
    (TUNNEL6, "IPv6 tunnel"),
    (SIT, "IPv6 in IPv4"),
    (IPGRE, "GRE over IPv4"),
    (801, "IEEE 802.11"),
    (803, "IEEE 802.11 monitor"),
    (804, "IEEE 802.15.4"),
    (IP6GRE, "GRE over IPv6"),
    (824, "netlink monitor"),
    (NONE, "no link layer"),
];

impl Interface {
    /// What its frames begin with; the error says why that is not known.
    pub fn link_type(&self) -> Result<LinkType> {
        // A tun device can be given any hardware type, and has Ethernet headers only as a tap.
        if self.is_tun {
            return Ok(LinkType::Raw);
        }
        let kind = self.kind.as_deref();
        let hardware_type = self.hardware_type;
        if matches!(hardware_type, libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK) {
            return Ok(LinkType::Ethernet);
        }
        if BEGIN_WITH_IP.iter().any(|(known, name)| *known == hardware_type && kind == Some(name)) {
            return Ok(LinkType::Raw);
        }
        let known = NAMES.iter().find(|(known, _)| *known == hardware_type);
        let named = known.map_or_else(String::new, |(_, name)| format!(", {name}"));
        let of_kind = kind.map_or_else(String::new, |kind| format!(" of kind {kind}"));
        let name = &self.name;
        Err(Error::new(format!(
            "{name} has no Ethernet headers (hardware type {hardware_type}{named}{of_kind}), and what \
             its packets begin with is not known: they would be misjudged"
        ))
        .hint("attach to the interface that carries it"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(hardware_type: u16, kind: Option<&str>) -> Interface {
        let (name, kind) = ("link0".to_owned(), kind.map(str::to_owned));
        Interface { name, kind, hardware_type, ..Interface::default() }
    }

    #[test]
    fn what_begins_with_ethernet_or_ip_is_taken() {
        for kind in [None, Some("veth"), Some("bond"), Some("gretap"), Some("tun")] {
            let found = interface(libc::ARPHRD_ETHER, kind).link_type();
            assert_eq!(found, Ok(LinkType::Ethernet), "{kind:?}");
        }
        assert_eq!(interface(libc::ARPHRD_LOOPBACK, None).link_type(), Ok(LinkType::Ethernet));
        for (hardware_type, kind) in BEGIN_WITH_IP {
            assert_eq!(
                interface(hardware_type, Some(kind)).link_type(),
                Ok(LinkType::Raw),
                "{kind}"
            );
        }
    }

    /// The owner of a tun device can set any hardware type.
    #[test]
    fn a_tun_device_is_one_whatever_its_hardware_type() {
        for hardware_type in [NONE, libc::ARPHRD_ETHER, 280] {
            let tun = Interface { is_tun: true, ..interface(hardware_type, Some("tun")) };
            assert_eq!(tun.link_type(), Ok(LinkType::Raw));
        }
    }

    #[test]
    fn the_rest_is_refused_by_its_name() {
        for (hardware_type, kind, told) in [
            // Without one remote address, its packets begin with the tunnel's own headers.
            (IPGRE, Some("gre"), "hardware type 778, GRE over IPv4 of kind gre"),
            // Kinds that are accepted have these hardware types too.
            (TUNNEL, Some("vti"), "hardware type 768, IPv4 tunnel of kind vti"),
            (NONE, Some("xfrm"), "hardware type 65534, no link layer of kind xfrm"),
            (PPP, None, "hardware type 512, PPP)"),
            (32, Some("ipoib"), "hardware type 32, InfiniBand of kind ipoib"),
            (77, None, "hardware type 77)"),
        ] {
            let error = interface(hardware_type, kind).link_type().unwrap_err();
            assert!(error.message.starts_with("link0 has no Ethernet headers ("), "{error}");
            assert!(error.message.contains(told), "{error}");
            assert_eq!(error.hint.as_deref(), Some("attach to the interface that carries it"));
        }
    }
}
