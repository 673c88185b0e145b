//! What a user should know about an interface that frames are sent out of: a target of a redirect, or the
//! one that they came in by.

use super::{Note, is_kind, lower, note};
use crate::datapath::host::interface::{Interface, Mode, xdp_feature};
use crate::notation::word;

/// What there is to know about sending frames from `interface`, with a program in that mode, to
/// `target`.
pub fn redirect(interface: &Interface, mode: Mode, target: &Interface) -> Vec<Note> {
    let mut notes = redirect_target(interface, target);
    // In generic mode the stack sends, and needs no XDP support of the driver.
    if mode != Mode::Generic {
        notes.extend(no_xdp_transmit(target));
    }
    notes
}

/// The notes of [`redirect`] that do not depend on how the driver takes redirected frames.
pub fn redirect_target(interface: &Interface, target: &Interface) -> Vec<Note> {
    let mut notes = Vec::new();
    let name = &target.name;
    if !target.up {
        notes.push(note(
            format!("{name} is down: what is redirected to it is dropped"),
            (!target.admin_up).then(|| format!("`ip link set {} up`", word(name))),
        ));
    }
    if target.mtu < interface.mtu {
        notes.push(note(
            format!(
                "{name} has a smaller MTU ({}) than {} ({}): larger frames cannot be redirected",
                target.mtu, interface.name, interface.mtu
            ),
            None,
        ));
    }
    notes
}

fn no_xdp_transmit(target: &Interface) -> Option<Note> {
    let name = &target.name;
    let veth = is_kind(target, "veth");
    let known = target.has_xdp_feature(xdp_feature::NDO_XMIT);
    let lost = match known {
        Some(true) => return None,
        Some(false) => "are lost",
        // Before Linux 6.3 no driver can be asked: only the two that are known to lose frames get a
        // note.
        None if veth || target.driver.as_deref() == Some("virtio_net") => "may be lost",
        None => return None,
    };
    let (reason, hint) = if veth {
        (
            "a veth takes them only while its peer has an XDP program or GRO",
            "attach to the peer, if only an empty ruleset, or `ethtool -K PEER gro on` there",
        )
    } else {
        (
            "its driver does not take them as things are",
            "many drivers do once the interface has an XDP program itself: attach to it, if only \
             an empty ruleset",
        )
    };
    Some(note(
        format!("frames redirected to {name} in native mode {lost}: {reason}"),
        Some(hint.to_owned()),
    ))
}

/// What there is to know about an interface whose program sends frames back where they came from: rules
/// that bounce, lists of names that answer, and services. `others` as in [`attach`](super::attach).
///
/// Frames that are redirected to a veth arrive if its peer has GRO. For those that its own program sends
/// back, that is not enough: they are put into the peer's queue, but veth_xdp_flush() in drivers/net/veth.c wakes
/// the peer only if that has a program, so they lie there until something else wakes it.
pub fn sent_back(interface: &Interface, mode: Mode, others: &[Interface]) -> Option<SentBack> {
    // In generic mode the stack sends.
    if mode == Mode::Generic || !is_kind(interface, "veth") {
        return None;
    }
    let is_native = |it: &Interface| it.xdp.iter().any(|xdp| xdp.mode != Mode::Generic);
    let peer = lower(interface, others);
    if peer.is_some_and(is_native) {
        return None;
    }
    let name = &interface.name;
    let with = |consequence: &str| {
        note(
            format!(
                "what is sent back out of {name} (bounced frames, answers, packets of services) \
                 {consequence}: a veth hands it on at once only while its peer has an XDP program"
            ),
            Some(match peer {
                Some(peer) => {
                    format!("`xdpctl attach {}`, if only with an empty ruleset", word(&peer.name))
                }
                None => {
                    "in the peer's network namespace, attach to it, if only with an empty ruleset"
                        .to_owned()
                }
            }),
        )
    };
    match interface.has_xdp_feature(xdp_feature::NDO_XMIT) {
        Some(true) if peer.is_some() => {
            Some(SentBack::Lost(with("arrives late or never, for GRO there does not suffice")))
        }
        // A peer in another network namespace has a program, or GRO: from here, these look alike.
        Some(true) => None,
        Some(false) => Some(SentBack::Lost(with("is lost"))),
        // Before Linux 6.3, nobody can be asked.
        None => Some(SentBack::Unknown(with("may be lost"))),
    }
}

/// What becomes of frames that are sent back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SentBack {
    Lost(Note),
    Unknown(Note),
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{of_kind, plain, single};
    use super::*;
    use crate::datapath::host::interface::AttachedXdp;

    #[test]
    fn a_veth_that_loses_what_is_sent_back_is_pointed_out() {
        let lossy = Interface { xdp_features: Some(xdp_feature::BASIC), ..of_kind("veth") };
        let near = Interface { link: Some(9), ..lossy.clone() };
        let peer = Interface { index: 9, name: "peer0".to_owned(), ..plain() };
        let Some(SentBack::Lost(told)) = sent_back(&lossy, Mode::Native, &[]) else {
            panic!("nothing is said");
        };
        assert!(told.message.starts_with("what is sent back out of veth0"), "{told}");
        assert!(
            told.to_string().contains(" is lost: ")
                && told.to_string().contains("in the peer's network namespace"),
            "{told}"
        );
        let Some(SentBack::Lost(told)) =
            sent_back(&near, Mode::Native, std::slice::from_ref(&peer))
        else {
            panic!("nothing is said");
        };
        assert!(told.to_string().contains("`xdpctl attach peer0`"), "{told}");
        let unknown = Interface { xdp_features: None, ..near.clone() };
        let said = sent_back(&unknown, Mode::Native, std::slice::from_ref(&peer));
        assert!(matches!(said, Some(SentBack::Unknown(_))), "{said:?}");

        let xdp = |mode| vec![AttachedXdp { mode, program_id: 1 }];
        let carrying = Interface { xdp: xdp(Mode::Native), ..peer.clone() };
        assert_eq!(sent_back(&unknown, Mode::Native, &[carrying]), None);
        let takes = Some(xdp_feature::BASIC | xdp_feature::NDO_XMIT);
        let takes = Interface { xdp_features: takes, ..near.clone() };
        assert_eq!(sent_back(&takes, Mode::Native, &[]), None);
        // The peer is seen to have no program, so GRO it is.
        let Some(SentBack::Lost(told)) = sent_back(&takes, Mode::Native, &[peer]) else {
            panic!("nothing is said");
        };
        assert!(told.message.contains("arrives late or never, for GRO"), "{told}");
        assert!(!told.to_string().contains("ethtool"), "{told}");
        assert_eq!(sent_back(&lossy, Mode::Generic, &[]), None);
        assert_eq!(sent_back(&plain(), Mode::Native, &[]), None);
    }

    #[test]
    fn a_target_that_loses_frames_is_pointed_out() {
        let veth = Interface { xdp_features: Some(xdp_feature::BASIC), ..of_kind("veth") };
        let told = single(redirect(&plain(), Mode::Native, &veth));
        assert!(told.contains("veth0 in native mode are lost"), "{told}");
        assert!(told.contains("gro on"), "{told}");
        assert_eq!(redirect(&plain(), Mode::Generic, &veth), []);
        let unknown = Interface { xdp_features: None, ..veth };
        assert!(single(redirect(&plain(), Mode::Native, &unknown)).contains("may be lost"));
        let unknown = Interface { xdp_features: None, ..plain() };
        assert_eq!(redirect(&plain(), Mode::Native, &unknown), []);

        let small = Interface { mtu: 1400, ..plain() };
        assert!(single(redirect(&plain(), Mode::Generic, &small)).contains("smaller MTU"));
        let off = Interface { up: false, admin_up: false, ..plain() };
        assert!(single(redirect(&plain(), Mode::Generic, &off)).contains("is down"));
    }
}
