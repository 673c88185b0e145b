//! Interfaces that tests ask about, and what they are told.

use super::Note;
use crate::datapath::host::interface::{Interface, xdp_feature};

/// A physical interface that there is nothing to say about.
pub(super) fn plain() -> Interface {
    Interface {
        index: 2,
        name: "eth0".to_owned(),
        mtu: 1500,
        up: true,
        admin_up: true,
        carrier: true,
        hardware_type: libc::ARPHRD_ETHER,
        xdp_features: Some(
            xdp_feature::BASIC | xdp_feature::REDIRECT | xdp_feature::NDO_XMIT | xdp_feature::RX_SG,
        ),
        ..Interface::default()
    }
}

pub(super) fn of_kind(kind: &str) -> Interface {
    Interface { index: 3, name: format!("{kind}0"), kind: Some(kind.to_owned()), ..plain() }
}

/// The only note, with its hint.
pub(super) fn single(notes: Vec<Note>) -> String {
    assert_eq!(notes.len(), 1, "{notes:#?}");
    notes[0].to_string()
}
