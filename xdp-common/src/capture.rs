//! What `xdpctl capture` and its program agree on. The filter goes on with that program when it is
//! done with a packet, for as long as the capture runs.

use crate::capacity::MAX_SNAPLEN;
use crate::filter::effect::Effect;
use crate::filter::services::Told;
use crate::maps::{MapDefinition, MapSignature, kind};
use crate::packet::Packet;
use crate::stats::counter::CounterId;
use crate::stats::verdict::{Reason, Verdict};

/// Bytes of the ring buffer: a power of two. It has room for some thousand frames of full length, or
/// some ten thousand headers.
pub const RING_BYTES: u32 = 1 << 23;

/// Which frames are captured, and how much of them. Written by the command line, read by the
/// program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    /// Bytes of a frame to capture, from 1 to [`MAX_SNAPLEN`].
    pub snaplen: u32,
    /// One of so many is captured, on each CPU; at least 1.
    pub sample: u32,
    /// A bit for each verdict that is captured.
    pub verdicts: u32,
    /// A bit for each reason that is captured.
    pub reasons: u32,
    /// Only what is counted to this list, rule or service; with [`CounterId::NONE`], everything.
    pub counter: CounterId,
}

impl Settings {
    /// Every verdict, or every reason.
    pub const ALL: u32 = u32::MAX;
}

const _: () = assert!(Verdict::COUNT <= 32 && Reason::COUNT <= 32);

/// What is known of a captured frame. In the ring buffer, the first [`Record::captured`] bytes of
/// the frame follow it, as they are when the filter is done with it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Record {
    /// Nanoseconds of CLOCK_TAI, when the filter was done with it.
    pub time: u64,
    /// The generation in force then. If a reload came since the frame was judged, it was judged by
    /// the one before.
    pub generation: u64,
    /// Length of the frame with all its buffers, in bytes.
    pub length: u32,
    /// Bytes of the frame that were captured, from its beginning.
    pub captured: u32,
    /// The receive queue.
    pub queue: u32,
    /// Whether the frame is malformed: 0 or 1. Then nothing is known of `packet`.
    pub malformed: u32,
    /// What was read of it, and what became of it.
    pub packet: Packet,
    pub effect: Effect,
    /// What became of it where a service took it: where its reason is [`Reason::Service`].
    pub told: Told,
}

const _: () = assert!(size_of::<Record>().is_multiple_of(8) && size_of::<Record>() < 512);

/// Where a CPU puts a record together.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Buffer {
    pub record: Record,
    /// Behind the record without a gap: both are written to the ring buffer in one piece.
    pub data: [u8; MAX_SNAPLEN as usize],
}

const _: () = assert!(core::mem::offset_of!(Buffer, data) == size_of::<Record>());

/// What a CPU has counted since the capture began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Counts {
    /// Frames that the filter judged.
    pub seen: u64,
    /// Frames that were asked for, by what became of them, before sampling.
    pub matched: u64,
    /// Frames that were to be captured after sampling, for which the ring buffer had no room.
    pub lost: u64,
}

const fn of_one(kind: u32, value_size: usize) -> MapDefinition {
    let signature = MapSignature::new(kind, size_of::<u32>(), value_size);
    MapDefinition { signature, max_entries: 1, flags: 0 }
}

/// The filter's maps through which captures join it: arrays of one program each. There are two, so
/// that two captures can run at a time.
///
/// They are not in the registry of the filter's maps ([`crate::maps`]), because nothing may hold them
/// but the filter and the command that captures: the kernel empties an array of programs when
/// nobody has it open or pinned any more (`map_release_uref` in kernel/bpf/arraymap.c). So the array
/// of a capture that is killed is empty a moment later.
pub mod slot {
    use super::{MapDefinition, kind, of_one};

    /// Their names, and those of the programs for them.
    pub const ALL: [(&str, &str); 2] =
        [("CAPTURE_FIRST", "xdpctl_capture"), ("CAPTURE_SECOND", "xdpctl_capture2")];

    pub const DEFINITION: MapDefinition = of_one(kind::PROG_ARRAY, size_of::<u32>());
}

/// The maps of a capture's own, by their names in the program's object.
pub mod map {
    use super::{Buffer, Counts, MapDefinition, MapSignature, RING_BYTES, Settings, kind, of_one};

    pub const SETTINGS: &str = "CAPTURE_SETTINGS";
    pub const BUFFER: &str = "CAPTURE_BUFFER";
    pub const COUNTS: &str = "CAPTURE_COUNTS";
    pub const RING: &str = "CAPTURE_RING";

    const RING_SIGNATURE: MapSignature = MapSignature::new(kind::RINGBUF, 0, 0);

    /// How each of them is created.
    pub const ALL: [(&str, MapDefinition); 4] = [
        (SETTINGS, of_one(kind::ARRAY, size_of::<Settings>())),
        (BUFFER, of_one(kind::PERCPU_ARRAY, size_of::<Buffer>())),
        (COUNTS, of_one(kind::PERCPU_ARRAY, size_of::<Counts>())),
        (RING, MapDefinition { signature: RING_SIGNATURE, max_entries: RING_BYTES, flags: 0 }),
    ];
}
