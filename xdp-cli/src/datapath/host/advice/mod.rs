//! What a user should know about an interface before, or because, a program is attached to it.
//!
//! A note stops no command. What it says of a driver is what the driver's source does in some
//! versions and settings, so it says "may".

#[cfg(test)]
mod made_up;
pub mod sending;

use std::fmt;

use crate::datapath::host::interface::{Interface, Mode, xdp_feature};
use crate::notation::word;

/// Something worth knowing, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub message: String,
    pub hint: Option<String>,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

fn note(message: String, hint: Option<String>) -> Note {
    Note { message, hint }
}

/// What is about to be attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The mode that was asked for or that was got; `None` while the best possible one is wanted.
    pub mode: Option<Mode>,
    /// A rule names a VLAN.
    pub vlan_rules: bool,
    /// A rule redirects or bounces.
    pub redirects: bool,
}

impl Plan {
    /// Whether the program may end up in the driver.
    fn may_be_native(self) -> bool {
        !matches!(self.mode, Some(Mode::Generic | Mode::Offload))
    }
}

/// Kinds of interface whose drivers have no XDP: there only generic mode is possible.
const GENERIC_ONLY: [&str; 7] =
    ["bridge", "ipvlan", "ipvtap", "macvlan", "macvtap", "team", "vlan"];

/// Drivers that stop and start the interface, or reset the device, at least when the first program
/// is attached and when the last one is detached.
const RESTARTS_INTERFACE: [&str; 14] = [
    "atlantic",
    "fec",
    "fsl_dpaa2_eth",
    "i40e",
    "igb",
    "igc",
    "ixgbe",
    "ixgbevf",
    "mlx4_en",
    "mvneta",
    "mvpp2",
    "nicvf",
    "qede",
    "st_gmac",
];

/// Drivers that at those times only rebuild or pause their queues.
const RESTARTS_QUEUES: [&str; 6] = ["bnxt_en", "ena", "ice", "mlx5_core", "nfp", "virtio_net"];

/// The usual MTU in bytes, with which every driver can do native mode.
const COMMON_MTU: u32 = 1500;

/// What there is to know about attaching to `interface`. `others` are the interfaces of the same
/// network namespace, from which the names of a peer or a parent are taken.
pub fn attach(interface: &Interface, others: &[Interface], plan: Plan) -> Vec<Note> {
    let mut notes = Vec::new();
    notes.extend(down(interface));
    notes.extend(kind(interface, others, plan));
    notes.extend(port(interface, others));
    notes.extend(no_such_mode(interface, plan));
    notes.extend(vlan_tags(interface, others, plan));
    notes.extend(lro(interface, plan));
    notes.extend(mtu(interface, plan));
    notes.extend(interruption(interface, plan));
    notes
}

fn down(interface: &Interface) -> Option<Note> {
    if interface.up {
        return None;
    }
    let name = &interface.name;
    Some(if interface.admin_up {
        note(format!("{name} has no link: no frame comes in yet"), None)
    } else {
        note(format!("{name} is switched off"), Some(format!("`ip link set {} up`", word(name))))
    })
}

fn kind(interface: &Interface, others: &[Interface], plan: Plan) -> Option<Note> {
    let name = &interface.name;
    let kind = interface.kind.as_deref()?;
    let lower = lower(interface, others);
    let better = |what: &str| lower.map(|lower| format!("attach to {}{what}", lower.name));
    let generic = GENERIC_ONLY.contains(&kind);
    let only = format!("{name} is a {kind}, which has generic mode only");
    let (message, hint) = match kind {
        "bond" if plan.may_be_native() => (
            format!(
                "{name} is a bond: native mode needs native XDP in the driver of every port, and \
                 the bond's mode to be balance-rr, active-backup, balance-xor or 802.3ad"
            ),
            None,
        ),
        "bridge" => (
            format!(
                "{only}; the program sees what the bridge hands to this host, and nothing of what \
                 it forwards between its ports"
            ),
            Some("attach to the ports".to_owned()),
        ),
        "vlan" if plan.vlan_rules => (
            format!("{only}; the tag is gone there, so rules that name a VLAN do not match"),
            better(", where the tag is still there, and name the VLAN in rules"),
        ),
        "vlan" => (only, better(" and name the VLAN in rules")),
        "vrf" => (
            format!("{name} is a VRF: frames that come in through its ports are not seen there"),
            Some("attach to the ports".to_owned()),
        ),
        "team" => (only, Some("attach to the ports".to_owned())),
        _ if generic => (only, better("")),
        _ => return None,
    };
    Some(note(message, hint))
}

fn port(interface: &Interface, others: &[Interface]) -> Option<Note> {
    let name = &interface.name;
    let master = by_index(interface.master?, others)?;
    let consequence = match master.kind.as_deref()? {
        "bridge" => "what the bridge would forward is judged too",
        "bond" | "team" => "what comes in through the other ports is not judged",
        _ => return None,
    };
    let hint = is_kind(master, "bond").then(|| {
        format!("a program on {} itself is refused while a port has its own", master.name)
    });
    Some(note(format!("{name} is a port of {}: {consequence}", master.name), hint))
}

fn no_such_mode(interface: &Interface, plan: Plan) -> Option<Note> {
    let name = &interface.name;
    let driver = interface.driver.as_deref().unwrap_or("its driver");
    let lacks = |feature| interface.has_xdp_feature(feature) == Some(false);
    match plan.mode? {
        Mode::Native if lacks(xdp_feature::BASIC) && is_kind(interface, "veth") => Some(note(
            format!(
                "{name} may refuse native mode: a veth needs at least as many receive queues as \
                 its peer has transmit queues"
            ),
            Some(format!("`ethtool -L {name} rx N`, or `--mode generic`")),
        )),
        Mode::Native if lacks(xdp_feature::BASIC) => Some(note(
            format!("{name} has no native mode: {driver} says that it cannot do XDP"),
            Some("`--mode generic`".to_owned()),
        )),
        Mode::Offload if lacks(xdp_feature::HW_OFFLOAD) => Some(note(
            format!("{name} has no offload mode: {driver} says that the device runs no programs"),
            Some("`--mode native`".to_owned()),
        )),
        _ => None,
    }
}

fn vlan_tags(interface: &Interface, others: &[Interface], plan: Plan) -> Option<Note> {
    let name = &interface.name;
    let consequence = match (plan.vlan_rules, plan.redirects) {
        (true, true) => {
            "tagged frames look untagged: `vlan = N` never matches, `vlan = \"none\"` always does, \
             and what is redirected or bounced goes out without its tag"
        }
        (true, false) => {
            "tagged frames look untagged: `vlan = N` never matches, and `vlan = \"none\"` always \
             does"
        }
        (false, true) => "tagged frames are redirected or bounced without their tag",
        (false, false) => return None,
    };
    if is_kind(interface, "veth") {
        // There is no wire. The sending side leaves the tag beside the frame, and this end's
        // offload setting does not change that.
        let peer = lower(interface, others).map_or("PEER", |peer| &peer.name);
        return Some(note(
            format!("VLAN tags that the peer's host adds may not reach the program: {consequence}"),
            Some(format!("`ethtool -K {peer} txvlan off` at the other end of {name}")),
        ));
    }
    interface.rx_vlan_offload.then(|| {
        note(
            format!("{name} takes VLAN tags off before XDP (rx-vlan-offload): {consequence}"),
            Some(format!("`ethtool -K {name} rxvlan off`")),
        )
    })
}

fn lro(interface: &Interface, plan: Plan) -> Option<Note> {
    let name = &interface.name;
    (interface.lro && plan.may_be_native()).then(|| {
        note(
            format!("{name} merges TCP segments (LRO), and drivers may refuse native mode for it"),
            Some(format!("`ethtool -K {name} lro off`")),
        )
    })
}

fn mtu(interface: &Interface, plan: Plan) -> Option<Note> {
    let (name, mtu) = (&interface.name, interface.mtu);
    let single_buffer = interface.has_xdp_feature(xdp_feature::BASIC) == Some(true)
        && interface.has_xdp_feature(xdp_feature::RX_SG) == Some(false);
    (plan.may_be_native() && single_buffer && mtu > COMMON_MTU).then(|| {
        note(
            format!(
                "{name} has an MTU of {mtu}, and its driver keeps each frame of native XDP in one \
                 buffer: it may refuse"
            ),
            Some(format!("`ip link set {} mtu {COMMON_MTU}`, or `--mode generic`", word(name))),
        )
    })
}

fn interruption(interface: &Interface, plan: Plan) -> Option<Note> {
    let name = &interface.name;
    let driver = interface.driver.as_deref()?;
    if !plan.may_be_native() {
        return None;
    }
    let what = if RESTARTS_INTERFACE.contains(&driver) {
        "may take the link down for a moment"
    } else if RESTARTS_QUEUES.contains(&driver) {
        "may restart its queues and lose frames for a moment"
    } else {
        return None;
    };
    Some(note(
        format!("{driver} ({name}) {what} on attach and on detach; reload does neither"),
        None,
    ))
}

fn is_kind(interface: &Interface, kind: &str) -> bool {
    interface.kind.as_deref() == Some(kind)
}

/// The peer or parent. `None` where it is in another network namespace: the same index here means
/// another interface.
fn lower<'a>(interface: &Interface, others: &'a [Interface]) -> Option<&'a Interface> {
    if interface.link_netns.is_some() {
        return None;
    }
    by_index(interface.link?, others)
}

fn by_index(index: u32, others: &[Interface]) -> Option<&Interface> {
    others.iter().find(|other| other.index == index)
}

#[cfg(test)]
mod tests {
    use super::made_up::{of_kind, plain, single};
    use super::sending::redirect;
    use super::*;

    fn with_driver(driver: &str) -> Interface {
        Interface { driver: Some(driver.to_owned()), ..plain() }
    }

    const EVERYTHING: Plan = Plan { mode: None, vlan_rules: true, redirects: true };

    fn generic(plan: Plan) -> Plan {
        Plan { mode: Some(Mode::Generic), ..plan }
    }

    #[test]
    fn there_is_nothing_to_say_about_a_plain_interface() {
        assert_eq!(attach(&plain(), &[], EVERYTHING), []);
        assert_eq!(redirect(&plain(), Mode::Native, &plain()), []);
    }

    #[test]
    fn tags_taken_off_matter_to_vlan_rules_and_to_redirects() {
        let interface = Interface { rx_vlan_offload: true, ..plain() };
        assert_eq!(attach(&interface, &[], Plan::default()), []);
        let vlan = single(attach(&interface, &[], Plan { redirects: false, ..EVERYTHING }));
        assert!(vlan.contains("never matches") && !vlan.contains("redirected"), "{vlan}");
        assert!(vlan.ends_with("(`ethtool -K eth0 rxvlan off`)"), "{vlan}");
        let redirects = single(attach(&interface, &[], Plan { vlan_rules: false, ..EVERYTHING }));
        assert!(redirects.contains("without their tag"), "{redirects}");
        let both = single(attach(&interface, &[], EVERYTHING));
        assert!(both.contains("never matches") && both.contains("without its tag"), "{both}");
    }

    #[test]
    fn the_tags_of_a_veth_depend_on_its_peer() {
        let peer = Interface { index: 9, name: "peer".to_owned(), ..plain() };
        let near = Interface { link: Some(9), ..of_kind("veth") };
        let told = single(attach(&near, std::slice::from_ref(&peer), EVERYTHING));
        assert!(told.contains("`ethtool -K peer txvlan off`"), "{told}");
        // The same index in another namespace is another interface.
        let far = Interface { link_netns: Some(0), ..near };
        let told = single(attach(&far, &[peer], EVERYTHING));
        assert!(told.contains("`ethtool -K PEER txvlan off`"), "{told}");
    }

    #[test]
    fn kinds_without_native_mode_name_the_interface_below() {
        for kind in ["vlan", "macvlan", "ipvlan"] {
            let upper = Interface { link: Some(2), ..of_kind(kind) };
            let told = single(attach(&upper, &[plain()], Plan::default()));
            assert!(told.contains("generic mode only"), "{told}");
            assert!(told.contains("attach to eth0"), "{told}");
        }
    }

    #[test]
    fn a_vlan_interface_never_shows_its_tag() {
        let upper = Interface { link: Some(2), ..of_kind("vlan") };
        let told = single(attach(&upper, &[plain()], EVERYTHING));
        assert!(told.contains("the tag is gone"), "{told}");
    }

    #[test]
    fn a_bridge_does_not_show_what_it_forwards() {
        let told = single(attach(&of_kind("bridge"), &[], Plan::default()));
        assert!(told.contains("nothing of what it forwards"), "{told}");
        assert!(told.ends_with("(attach to the ports)"), "{told}");
    }

    #[test]
    fn a_bond_is_only_as_good_as_its_ports() {
        let told = single(attach(&of_kind("bond"), &[], Plan::default()));
        assert!(told.contains("every port"), "{told}");
        assert_eq!(attach(&of_kind("bond"), &[], generic(Plan::default())), []);
    }

    #[test]
    fn a_port_is_told_from_the_whole() {
        let port = Interface { master: Some(3), ..plain() };
        let told = single(attach(&port, &[of_kind("bond")], Plan::default()));
        assert!(told.starts_with("eth0 is a port of bond0"), "{told}");
        let told = single(attach(&port, &[of_kind("bridge")], Plan::default()));
        assert!(told.contains("would forward is judged too"), "{told}");
        assert_eq!(attach(&port, &[of_kind("vrf")], Plan::default()), []);
    }

    #[test]
    fn drivers_that_interrupt_are_named() {
        let told = single(attach(&with_driver("ixgbe"), &[], Plan::default()));
        assert!(told.starts_with("ixgbe (eth0) may take the link down"), "{told}");
        let told = single(attach(&with_driver("virtio_net"), &[], Plan::default()));
        assert!(told.contains("may restart its queues"), "{told}");
        assert_eq!(attach(&with_driver("ixgbe"), &[], generic(Plan::default())), []);
        assert_eq!(attach(&with_driver("sfc"), &[], Plan::default()), []);
    }

    #[test]
    fn lro_and_a_large_mtu_stand_in_the_way_of_native_mode_only() {
        let interface = Interface { lro: true, ..plain() };
        let told = single(attach(&interface, &[], Plan::default()));
        assert!(told.ends_with("(`ethtool -K eth0 lro off`)"), "{told}");
        assert_eq!(attach(&interface, &[], generic(Plan::default())), []);

        let jumbo = Interface { mtu: 9000, ..plain() };
        assert_eq!(attach(&jumbo, &[], Plan::default()), [], "the driver can do it");
        let jumbo = Interface { xdp_features: Some(xdp_feature::BASIC), ..jumbo };
        let told = single(attach(&jumbo, &[], Plan::default()));
        assert!(told.contains("MTU of 9000"), "{told}");
        let unknown = Interface { xdp_features: None, ..jumbo };
        assert_eq!(attach(&unknown, &[], Plan::default()), []);
    }

    #[test]
    fn a_mode_that_the_driver_has_not_is_known_before() {
        let none = Interface { xdp_features: Some(0), ..with_driver("e1000e") };
        let plan = |mode| Plan { mode: Some(mode), ..Plan::default() };
        let told = single(attach(&none, &[], plan(Mode::Native)));
        assert!(told.starts_with("eth0 has no native mode: e1000e"), "{told}");
        let told = single(attach(&none, &[], plan(Mode::Offload)));
        assert!(told.starts_with("eth0 has no offload mode"), "{told}");
        assert_eq!(attach(&none, &[], Plan::default()), []);
    }

    #[test]
    fn an_interface_without_frames_is_pointed_out() {
        let off = Interface { up: false, admin_up: false, ..plain() };
        let told = single(attach(&off, &[], Plan::default()));
        assert_eq!(told, "eth0 is switched off (`ip link set eth0 up`)");
        let odd = Interface { name: "e;reboot".to_owned(), ..off.clone() };
        let told = single(attach(&odd, &[], Plan::default()));
        assert_eq!(told, "e;reboot is switched off (`ip link set 'e;reboot' up`)");
        let unplugged = Interface { up: false, carrier: false, ..plain() };
        assert!(single(attach(&unplugged, &[], Plan::default())).contains("no link"));
    }
}
