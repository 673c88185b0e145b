//! Shows captured frames with what became of them. Does not know where they come from.

pub mod pcapng;
pub mod text;

use std::time::SystemTime;

use xdp_common::packet::LinkType;

use crate::views::explain::Explained;

/// A frame, and what became of it.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    pub time: SystemTime,
    pub link_type: LinkType,
    /// Length of the whole frame, in bytes.
    pub length: u32,
    /// The receive queue that it came in by.
    pub queue: u32,
    /// The captured bytes of it, from its beginning.
    pub data: &'a [u8],
    pub explained: &'a Explained,
}
