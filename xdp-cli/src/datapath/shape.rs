//! The shapes of maps: for a call on a map, the kernel reads and writes as many bytes as the map's
//! keys and values have, whatever room there is. A map that was found is asked for its shape
//! before anything else: it may be another version's, under the same name.

use std::io;
use std::os::fd::OwnedFd;

use xdp_common::bans::Switches;
use xdp_common::counter::Counter;
use xdp_common::cpu::PerCpu;
use xdp_common::image::Extent;

use super::{bpf, program};

/// A map's kind, and the sizes of its keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub kind: u32,
    pub key_size: u32,
    pub value_size: u32,
}

impl Shape {
    pub const fn new(kind: u32, key_size: usize, value_size: usize) -> Self {
        Self { kind, key_size: key_size as u32, value_size: value_size as u32 }
    }

    /// Whether a map of the shape `found` can be used as one of this shape.
    ///
    /// A DEVMAP may have values of four bytes, an interface index without a program: aya makes it so
    /// where the kernel refuses its question whether there may be one. Nothing but the index is
    /// written, and nothing is read.
    pub fn takes(self, found: Self) -> bool {
        let short = Self { value_size: 4, ..self };
        found == self || self.kind == bpf::DEVMAP && found == short
    }
}

/// A map of maps, which has inner maps' ids for values.
const OUTER: Shape = Shape::new(bpf::ARRAY_OF_MAPS, 4, 4);
/// A part of an image.
pub const EXTENT: Shape = Shape::new(bpf::ARRAY, 4, size_of::<Extent>());
/// Counters of lists and rules.
pub const COUNTER_PAGE: Shape = Shape::new(bpf::PERCPU_ARRAY, 4, size_of::<Counter>());

/// Those of the program's maps, in the order of [`program::MAPS`].
pub const MAPS: [Shape; program::MAPS.len()] = [
    OUTER,
    Shape::new(bpf::DEVMAP, 4, 8),
    Shape::new(bpf::PERCPU_ARRAY, 4, size_of::<PerCpu>()),
    OUTER,
    Shape::new(bpf::ARRAY, 4, size_of::<Switches>()),
    OUTER,
    OUTER,
    OUTER,
    OUTER,
    OUTER,
];

/// Opens a map by its id; one of another shape is `InvalidData`.
pub fn open(id: u32, shape: Shape) -> io::Result<OwnedFd> {
    let map = bpf::map_by_id(id)?;
    if bpf::map_info(&map)?.shape != shape {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a map of another version's shape"));
    }
    Ok(map)
}
