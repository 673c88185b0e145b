//! The programs of the filter, by their places in the map `STAGES`: each can go on with another,
//! and does not come back.

use crate::packet::LinkType;

/// The filter itself, which begins anew.
pub const FILTER: u32 = 0;
/// The program that reads the question of a DNS message, and asks the lists of names about it.
pub const QUESTION: u32 = 1;
/// The program that goes on with the search for a long name.
pub const NAMES: u32 = 2;
/// The program that goes on from there: rules, and what follows them.
pub const RULES: u32 = 3;
/// The program that finds the service and the backend of a packet.
pub const SERVICES: u32 = 4;
/// The program that sends it there.
pub const SERVE: u32 = 5;
/// How many places there are.
pub const COUNT: usize = 6;

/// The name of the filter in the programs' object, for links of that type.
pub const fn filter_name(link_type: LinkType) -> &'static str {
    match link_type {
        LinkType::Ethernet => "xdpctl",
        LinkType::Raw => "xdpctl_raw",
    }
}

/// The programs beside the filter, with their places.
pub const OTHERS: [(u32, &str); COUNT - 1] = [
    (QUESTION, "xdpctl_question"),
    (NAMES, "xdpctl_names"),
    (RULES, "xdpctl_rules"),
    (SERVICES, "xdpctl_services"),
    (SERVE, "xdpctl_serve"),
];
