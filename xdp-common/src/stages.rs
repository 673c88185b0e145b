//! The programs of the filter, by their places in the map `STAGES`: each can go on with another,
//! and does not come back.

use crate::packet::LinkType;

/// The filter itself, which begins anew.
pub const FILTER: u32 = 0;
/// The program that asks the lists of names.
pub const NAMES: u32 = 1;
/// How many places there are.
pub const COUNT: usize = 2;

/// The name of the filter in the programs' object, for links of that type.
pub const fn filter_name(link_type: LinkType) -> &'static str {
    match link_type {
        LinkType::Ethernet => "xdpctl",
        LinkType::Raw => "xdpctl_raw",
    }
}

/// The name of the program for the lists of names.
pub const NAMES_PROGRAM: &str = "xdpctl_names";
