//! What the kernel says about a network interface.

use std::io;
use std::sync::OnceLock;

use netlink_sys::protocols::NETLINK_GENERIC;

use crate::config::spelling::distance;
use crate::datapath::sys::ethtool::Ethtool;
use crate::datapath::sys::netlink::{
    Netlink, Request, attribute, attributes, read_string, read_u16, read_u32, read_u64,
};

// include/uapi/linux/rtnetlink.h
const RTM_GETLINK: u16 = 18;
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
// struct ifinfomsg: family, padding, hardware type, index, flags, change mask.
const IFINFOMSG_LEN: usize = 16;
const IFI_TYPE: usize = 2;
const IFI_INDEX: usize = 4;
const IFI_FLAGS: usize = 8;
// include/uapi/linux/if_link.h
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKINFO: u16 = 18;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_XDP: u16 = 43;
const IFLA_ALT_IFNAME: u16 = 53;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;
const IFLA_XDP_DRV_PROG_ID: u16 = 5;
const IFLA_XDP_SKB_PROG_ID: u16 = 6;
const IFLA_XDP_HW_PROG_ID: u16 = 7;
const XDP_ATTACHED_DRV: u8 = 1;
const XDP_ATTACHED_SKB: u8 = 2;
const XDP_ATTACHED_HW: u8 = 3;
// include/uapi/linux/if_link.h, and if_tun.h for the type's values.
const IFLA_TUN_TYPE: u16 = 3;
const IFF_TUN: u8 = 1;
// include/uapi/linux/if.h: operational states, RFC 2863.
const IF_OPER_UNKNOWN: u8 = 0;
const IF_OPER_UP: u8 = 6;
/// Most bytes of a name; longer ones can only be alternative names.
const IFNAME_MAX: usize = libc::IFNAMSIZ - 1;
// include/uapi/linux/genetlink.h
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const GENLMSGHDR_LEN: usize = 4;
// include/uapi/linux/netdev.h
const NETDEV_FAMILY: &[u8] = b"netdev\0";
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;

/// The bits of [`Interface::xdp_features`]: `enum netdev_xdp_act` in
/// include/uapi/linux/netdev.h, there with the prefix `NETDEV_XDP_ACT_`.
pub mod xdp_feature {
    /// Native XDP, with the verdicts pass, drop, aborted and tx.
    pub const BASIC: u64 = 1 << 0;
    /// The verdict redirect.
    pub const REDIRECT: u64 = 1 << 1;
    /// Can be the target of a redirect.
    pub const NDO_XMIT: u64 = 1 << 2;
    /// AF_XDP without a copy.
    pub const XSK_ZEROCOPY: u64 = 1 << 3;
    /// The device itself can run a program.
    pub const HW_OFFLOAD: u64 = 1 << 4;
    /// Receives frames in several buffers, so that a large MTU is possible.
    pub const RX_SG: u64 = 1 << 5;
    /// Can be the target of a redirect of such frames.
    pub const NDO_XMIT_SG: u64 = 1 << 6;
}

pub use crate::image::metadata::Mode;

/// A program on an interface, whoever put it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachedXdp {
    pub mode: Mode,
    pub program_id: u32,
}

/// One network interface, as it was when the kernel was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    pub index: u32,
    /// The name proper, even if the interface was found by an alternative one.
    pub name: String,
    pub mtu: u32,
    /// Frames can come in: it is switched on, has a carrier, and its operational state is up or
    /// unknown.
    pub up: bool,
    /// Switched on (IFF_UP).
    pub admin_up: bool,
    /// Has a carrier (IFF_LOWER_UP).
    pub carrier: bool,
    /// `ARPHRD_*`, include/uapi/linux/if_arp.h.
    pub hardware_type: u16,
    /// A tun device that carries IP packets (IFF_TUN), not Ethernet frames (IFF_TAP).
    pub is_tun: bool,
    pub mac: Option<[u8; 6]>,
    /// The driver as ethtool names it.
    pub driver: Option<String>,
    /// `veth`, `bond`, `vlan` and so on; physical interfaces have none.
    pub kind: Option<String>,
    /// The bond, bridge, team or VRF that this is a port of.
    pub master: Option<u32>,
    /// Index of a veth's peer, or of the interface that a VLAN or macvlan stands on. It counts in
    /// another network namespace if `link_netns` is set.
    pub link: Option<u32>,
    /// The caller's id for the network namespace that `link` is in, if it is another one.
    pub link_netns: Option<i32>,
    /// The id of a VLAN interface.
    pub vlan: Option<u16>,
    pub xdp: Vec<AttachedXdp>,
    /// The device takes VLAN tags off before XDP sees the frame.
    pub rx_vlan_offload: bool,
    /// The device merges TCP segments before XDP sees them.
    pub lro: bool,
    /// Bits of [`xdp_feature`]; `None` before Linux 6.3, which cannot be asked.
    pub xdp_features: Option<u64>,
}

/// An interface could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no interface `{name}` in this network namespace")]
    NotFound {
        name: String,
        /// Names that it may have been meant to be, best first.
        similar: Vec<String>,
        /// All there are.
        available: Vec<String>,
    },
    #[error("no interface with index {0} in this network namespace")]
    NoIndex(u32),
    #[error("cannot ask the kernel about {what}: {source}")]
    Kernel { what: String, source: io::Error },
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { similar, .. } if !similar.is_empty() => {
                Some(format!("did you mean `{}`?", similar.join("` or `")))
            }
            Self::NotFound { available, .. } if !available.is_empty() => {
                Some(format!("there are: {}", available.join(", ")))
            }
            Self::NoIndex(_) => Some("`ip link` lists the interfaces with their indexes".into()),
            _ => None,
        }
    }
}

impl Interface {
    /// The interface of that name, which may be an alternative one.
    pub fn by_name(name: &str) -> Result<Self, Error> {
        let missing = || {
            // The list only makes the message better, which is true without it too.
            let all = Self::all().unwrap_or_default();
            Error::NotFound {
                name: name.to_owned(),
                similar: similar_names(name, &all),
                available: all.into_iter().map(|interface| interface.name).collect(),
            }
        };
        // The kernel would read the name only up to the NUL.
        if name.is_empty() || name.contains('\0') {
            return Err(missing());
        }
        let kind = if name.len() > IFNAME_MAX { IFLA_ALT_IFNAME } else { IFLA_IFNAME };
        let request = link_request(0).attribute(kind, &[name.as_bytes(), b"\0"].concat());
        match one(request) {
            // ERANGE: longer than even an alternative name may be.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ERANGE)) => {
                Err(missing())
            }
            Err(source) => Err(Error::Kernel { what: format!("interface `{name}`"), source }),
            Ok(interface) => Ok(interface),
        }
    }

    /// The interface with that index.
    pub fn by_index(index: u32) -> Result<Self, Error> {
        // To the kernel an index that is not positive means "not by index".
        if index == 0 || i32::try_from(index).is_err() {
            return Err(Error::NoIndex(index));
        }
        one(link_request(index)).map_err(|source| match source.raw_os_error() {
            Some(libc::ENODEV) => Error::NoIndex(index),
            _ => Error::Kernel { what: format!("the interface with index {index}"), source },
        })
    }

    /// Every interface of the caller's network namespace, sorted by index.
    pub fn all() -> Result<Vec<Self>, Error> {
        let list = || {
            let mut all = dump()?;
            let ethtool = Ethtool::open()?;
            let mut features = XdpFeatures::open()?;
            for interface in &mut all {
                interface.complete(&ethtool, &mut features);
            }
            Ok(all)
        };
        list().map_err(|source| Error::Kernel { what: "the interfaces".to_owned(), source })
    }

    /// Whether the driver is known to have that bit of [`xdp_feature`]; `None` if it cannot say.
    pub fn has_xdp_feature(&self, feature: u64) -> Option<bool> {
        self.xdp_features.map(|features| features & feature != 0)
    }

    /// Whether it may take redirected frames, perhaps once it carries a program. VLAN interfaces, bridges
    /// and tunnels do not: what is redirected to them is lost.
    pub fn may_take_redirected(&self) -> bool {
        match self.xdp_features {
            Some(features) => features & (xdp_feature::NDO_XMIT | xdp_feature::BASIC) != 0,
            // Before Linux 6.3, drivers do not say.
            None => matches!(self.kind.as_deref(), None | Some("veth" | "tun" | "bond")),
        }
    }

    /// Adds what rtnetlink does not say.
    fn complete(&mut self, ethtool: &Ethtool, features: &mut XdpFeatures) {
        let offloads = ethtool.offloads(&self.name);
        self.driver = ethtool.driver(&self.name);
        self.rx_vlan_offload = offloads.rx_vlan;
        self.lro = offloads.lro;
        self.xdp_features = features.of(self.index);
    }
}

/// The names that `name` may have been meant to be, best first, at most three.
pub fn similar_names(name: &str, interfaces: &[Interface]) -> Vec<String> {
    let wanted = name.to_lowercase();
    let mut candidates: Vec<(usize, &str)> = interfaces
        .iter()
        .filter_map(|interface| {
            let present = interface.name.to_lowercase();
            let distance = distance(&wanted, &present);
            // eth0 for eth1, but not for lo; enp3s0 for enp3s0f0.
            let near = distance <= (wanted.len().max(present.len()) / 3).max(1)
                && distance < wanted.chars().count();
            let begins = wanted.len() >= 3 && present.starts_with(&wanted);
            (near || begins).then_some((distance, interface.name.as_str()))
        })
        .collect();
    candidates.sort();
    candidates.into_iter().take(3).map(|(_, name)| name.to_owned()).collect()
}

fn ifinfomsg(index: u32) -> [u8; IFINFOMSG_LEN] {
    let mut header = [0; IFINFOMSG_LEN];
    header[IFI_INDEX..IFI_INDEX + 4].copy_from_slice(&index.to_ne_bytes());
    header
}

fn link_request(index: u32) -> Request {
    Request::one(RTM_GETLINK, &ifinfomsg(index)).without_statistics()
}

impl Request {
    /// Asks to leave out a device's counters: reading them takes far longer than all the rest.
    fn without_statistics(self) -> Self {
        self.attribute(IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes())
    }
}

/// Every interface, sorted by index, without what rtnetlink does not say: driver, offloads, XDP
/// features.
pub(super) fn dump() -> io::Result<Vec<Interface>> {
    let request = Request::all(RTM_GETLINK, &ifinfomsg(0)).without_statistics();
    let messages = Netlink::route()?.ask(request)?;
    let mut all: Vec<_> = messages.iter().filter_map(|message| parse(message)).collect();
    all.sort_by_key(|interface| interface.index);
    Ok(all)
}

fn one(request: Request) -> io::Result<Interface> {
    let messages = Netlink::route()?.ask(request)?;
    let mut interface = messages
        .first()
        .and_then(|message| parse(message))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is cut short"))?;
    interface.complete(&Ethtool::open()?, &mut XdpFeatures::open()?);
    Ok(interface)
}

/// Reads an RTM_NEWLINK message: struct ifinfomsg, then attributes.
pub(super) fn parse(message: &[u8]) -> Option<Interface> {
    let (header, rest) = message.split_at_checked(IFINFOMSG_LEN)?;
    let flags = read_u32(&header[IFI_FLAGS..])?;
    let mut operstate = IF_OPER_UNKNOWN;
    let mut interface = Interface {
        index: read_u32(&header[IFI_INDEX..])?,
        hardware_type: read_u16(&header[IFI_TYPE..])?,
        admin_up: flags & libc::IFF_UP as u32 != 0,
        carrier: flags & libc::IFF_LOWER_UP as u32 != 0,
        ..Interface::default()
    };
    for (kind, value) in attributes(rest) {
        match kind {
            IFLA_IFNAME => interface.name = read_string(value),
            IFLA_MTU => interface.mtu = read_u32(value)?,
            IFLA_ADDRESS => interface.mac = value.try_into().ok(),
            // A tunnel that stands on no particular interface has index 0 here.
            IFLA_LINK => interface.link = read_u32(value).filter(|&link| link != 0),
            IFLA_LINK_NETNSID => interface.link_netns = read_u32(value).map(|id| id as i32),
            IFLA_MASTER => interface.master = read_u32(value),
            IFLA_OPERSTATE => operstate = *value.first()?,
            IFLA_LINKINFO => {
                interface.kind = attribute(value, IFLA_INFO_KIND).map(read_string);
                interface.is_tun = interface.kind.as_deref() == Some("tun") && is_tun(value);
                interface.vlan = vlan(value).filter(|_| interface.kind.as_deref() == Some("vlan"));
            }
            IFLA_XDP => interface.xdp = parse_xdp(value),
            _ => {}
        }
    }
    // Simple drivers leave the operational state unknown.
    interface.up = interface.admin_up
        && match operstate {
            IF_OPER_UP => true,
            IF_OPER_UNKNOWN => interface.carrier,
            _ => false,
        };
    Some(interface)
}

/// Whether a device of kind tun is one that carries IP packets, by its IFLA_LINKINFO nest.
fn is_tun(nest: &[u8]) -> bool {
    let data = attribute(nest, IFLA_INFO_DATA);
    let tun_type = data.and_then(|data| attribute(data, IFLA_TUN_TYPE));
    tun_type.and_then(|value| value.first()) == Some(&IFF_TUN)
}

fn vlan(nest: &[u8]) -> Option<u16> {
    attribute(attribute(nest, IFLA_INFO_DATA)?, IFLA_VLAN_ID).and_then(read_u16)
}

/// Reads the IFLA_XDP nest.
fn parse_xdp(nest: &[u8]) -> Vec<AttachedXdp> {
    let program = |kind| attribute(nest, kind).and_then(read_u32).filter(|&id| id != 0);
    let mut attached: Vec<_> = [
        (IFLA_XDP_DRV_PROG_ID, Mode::Native),
        (IFLA_XDP_SKB_PROG_ID, Mode::Generic),
        (IFLA_XDP_HW_PROG_ID, Mode::Offload),
    ]
    .into_iter()
    .filter_map(|(kind, mode)| program(kind).map(|program_id| AttachedXdp { mode, program_id }))
    .collect();
    // Some kernels give a lone program without its mode's own attribute.
    if attached.is_empty()
        && let Some(program_id) = program(IFLA_XDP_PROG_ID)
        && let Some(mode) = match attribute(nest, IFLA_XDP_ATTACHED).and_then(|v| v.first()) {
            Some(&XDP_ATTACHED_DRV) => Some(Mode::Native),
            Some(&XDP_ATTACHED_SKB) => Some(Mode::Generic),
            Some(&XDP_ATTACHED_HW) => Some(Mode::Offload),
            _ => None,
        }
    {
        attached.push(AttachedXdp { mode, program_id });
    }
    attached
}

/// The generic netlink family that knows what drivers can do with XDP.
struct XdpFeatures {
    netlink: Netlink,
    /// The number that the kernel gave the family; `None` before Linux 6.3.
    family: Option<u16>,
}

impl XdpFeatures {
    fn open() -> io::Result<Self> {
        /// The answer stays the same as long as a kernel runs.
        static FAMILY: OnceLock<Option<u16>> = OnceLock::new();

        let mut netlink = Netlink::open(NETLINK_GENERIC)?;
        let family = match FAMILY.get() {
            Some(known) => *known,
            None => {
                let found = Self::find_family(&mut netlink)?;
                *FAMILY.get_or_init(|| found)
            }
        };
        Ok(Self { netlink, family })
    }

    /// Looks through all families. Asked for one by a name that it does not know, the kernel would
    /// run modprobe and wait for it.
    fn find_family(netlink: &mut Netlink) -> io::Result<Option<u16>> {
        let messages = netlink.ask(Request::all(GENL_ID_CTRL, &[CTRL_CMD_GETFAMILY, 1, 0, 0]))?;
        let mut families = messages.iter().filter_map(|message| message.get(GENLMSGHDR_LEN..));
        let family =
            families.find(|family| attribute(family, CTRL_ATTR_FAMILY_NAME) == Some(NETDEV_FAMILY));
        Ok(family.and_then(|family| attribute(family, CTRL_ATTR_FAMILY_ID)).and_then(read_u16))
    }

    fn of(&mut self, index: u32) -> Option<u64> {
        let request = Request::one(self.family?, &[NETDEV_CMD_DEV_GET, 1, 0, 0])
            .attribute(NETDEV_A_DEV_IFINDEX, &index.to_ne_bytes());
        // An interface that has gone meanwhile is an error here: then the features are unknown, as
        // they are on an old kernel.
        let messages = self.netlink.ask(request).ok()?;
        let rest = messages.first()?.get(GENLMSGHDR_LEN..)?;
        attribute(rest, NETDEV_A_DEV_XDP_FEATURES).and_then(read_u64)
    }
}

#[cfg(test)]
mod tests {
    use xdp_common::packet::LinkType;

    use super::*;
    use crate::datapath::sys::netlink::attribute_bytes;

    fn named(names: &[&str]) -> Vec<Interface> {
        names
            .iter()
            .map(|name| Interface { name: (*name).to_owned(), ..Interface::default() })
            .collect()
    }

    #[test]
    fn the_loopback_interface_is_found_by_name_and_index() {
        let by_name = Interface::by_name("lo").unwrap();
        assert_eq!(by_name.index, 1);
        assert_eq!(by_name.link_type(), Ok(LinkType::Ethernet));
        assert_eq!(Interface::by_index(1).unwrap().name, "lo");
        assert!(Interface::all().unwrap().iter().any(|interface| interface.name == "lo"));
    }

    #[test]
    fn names_that_cannot_be_are_not_found() {
        let endless = "x".repeat(300);
        for name in ["", "no/such", "lo\0", "an-alternative-name-nobody-has", endless.as_str()] {
            let error = Interface::by_name(name).unwrap_err();
            assert!(matches!(error, Error::NotFound { .. }), "{name:?}: {error}");
        }
        for index in [0, u32::MAX, i32::MAX as u32] {
            let error = Interface::by_index(index).unwrap_err();
            assert!(matches!(error, Error::NoIndex(_)), "{index}: {error}");
        }
    }

    #[test]
    fn the_hint_names_what_was_meant_or_what_there_is() {
        let error = |similar: &[&str]| Error::NotFound {
            name: "eth".to_owned(),
            similar: similar.iter().map(|name| (*name).to_owned()).collect(),
            available: vec!["lo".to_owned(), "wan".to_owned()],
        };
        assert_eq!(error(&["eth0"]).hint().unwrap(), "did you mean `eth0`?");
        assert_eq!(error(&[]).hint().unwrap(), "there are: lo, wan");
    }

    #[test]
    fn similar_names_are_near_ones() {
        let all = named(&["lo", "eth0", "eth1", "enp3s0f0np0", "wg0"]);
        assert_eq!(similar_names("eth2", &all), ["eth0", "eth1"]);
        assert_eq!(similar_names("Eth0", &all), ["eth0", "eth1"]);
        assert_eq!(similar_names("enp3s0f0", &all), ["enp3s0f0np0"]);
        assert_eq!(similar_names("wlan0", &all), [""; 0]);
        assert_eq!(similar_names("", &all), [""; 0]);
    }

    #[test]
    fn an_operational_state_outranks_the_carrier() {
        let up = |flags: u32, operstate: u8| {
            let mut message = ifinfomsg(7).to_vec();
            message[IFI_FLAGS..IFI_FLAGS + 4].copy_from_slice(&flags.to_ne_bytes());
            message.extend(attribute_bytes(IFLA_OPERSTATE, &[operstate]));
            parse(&message).unwrap().up
        };
        let admin = libc::IFF_UP as u32;
        let lower = libc::IFF_LOWER_UP as u32;
        assert!(up(admin | lower, IF_OPER_UP));
        assert!(up(admin | lower, IF_OPER_UNKNOWN));
        assert!(!up(admin, IF_OPER_UNKNOWN));
        assert!(!up(lower, IF_OPER_UNKNOWN));
        let dormant = 5;
        assert!(!up(admin | lower, dormant));
    }

    #[test]
    fn a_vlan_is_read_with_its_parent_and_without_a_link_of_zero() {
        let link = |index: u32| {
            let info = attribute_bytes(IFLA_INFO_KIND, b"vlan\0");
            let mut message = ifinfomsg(7).to_vec();
            message.extend(attribute_bytes(IFLA_IFNAME, b"eth0.7\0"));
            message.extend(attribute_bytes(IFLA_LINK, &index.to_ne_bytes()));
            message.extend(attribute_bytes(IFLA_LINKINFO, &info));
            parse(&message).unwrap()
        };
        assert_eq!(link(2).name, "eth0.7");
        assert_eq!(link(2).kind.as_deref(), Some("vlan"));
        assert_eq!((link(2).link, link(0).link), (Some(2), None));
    }

    #[test]
    fn several_programs_at_once_are_all_seen() {
        let nest = [
            attribute_bytes(IFLA_XDP_ATTACHED, &[4]),
            attribute_bytes(IFLA_XDP_DRV_PROG_ID, &8_u32.to_ne_bytes()),
            attribute_bytes(IFLA_XDP_HW_PROG_ID, &9_u32.to_ne_bytes()),
        ]
        .concat();
        assert_eq!(
            parse_xdp(&nest),
            [
                AttachedXdp { mode: Mode::Native, program_id: 8 },
                AttachedXdp { mode: Mode::Offload, program_id: 9 },
            ]
        );
    }

    #[test]
    fn a_lone_program_is_seen_by_what_is_attached() {
        let nest = [
            attribute_bytes(IFLA_XDP_ATTACHED, &[XDP_ATTACHED_SKB]),
            attribute_bytes(IFLA_XDP_PROG_ID, &8_u32.to_ne_bytes()),
        ]
        .concat();
        assert_eq!(parse_xdp(&nest), [AttachedXdp { mode: Mode::Generic, program_id: 8 }]);
        assert_eq!(parse_xdp(&attribute_bytes(IFLA_XDP_ATTACHED, &[0])), []);
    }

    #[test]
    fn a_message_cut_short_is_no_interface() {
        assert_eq!(parse(&[0; IFINFOMSG_LEN - 1]), None);
    }
}
