//! What the program at an interface's egress shares with the command line: its name, and where it works. What
//! it writes stands in [`crate::filter::sent`].

use crate::filter::sent::Work;
use crate::maps::{MapDefinition, MapSignature, kind};
use crate::packet::{LinkType, Packet};

/// Where a CPU works on a packet. Fields that a packet lacks keep the previous packet's values.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Scratch {
    pub packet: Packet,
    pub work: Work,
    /// Always 0, but the verifier does not know that: see `xdp_common::filter::order::Scratch::zero`.
    pub zero: u32,
    /// Whether the packet cannot be read: 0 or 1.
    pub malformed: u32,
}

/// The name in the program's object of the map of that.
pub const SCRATCH: &str = "EGRESS";
pub const SCRATCH_DEFINITION: MapDefinition = MapDefinition {
    signature: MapSignature::new(kind::PERCPU_ARRAY, size_of::<u32>(), size_of::<Scratch>()),
    max_entries: 1,
    flags: 0,
};

/// The name of the program for links of that type.
pub const fn program_name(link_type: LinkType) -> &'static str {
    match link_type {
        LinkType::Ethernet => "xdpctl_egress",
        LinkType::Raw => "xdpctl_egr_raw",
    }
}
