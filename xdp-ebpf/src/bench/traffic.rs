//! What the generator and the benchmark must agree on. The benchmark includes this file.

/// Lines of prepared traffic in the map `TRAFFIC`: 4 MiB. The generator reads them in order, so
/// that the processor fetches them ahead and many flows hardly cost more than one.
pub const LINES: u32 = 65_536;

/// Frames with sources alone, 16 a line, or with whole flows, 4 a line.
pub const SOURCES_V4: u32 = 0;
pub const FLOWS_V4: u32 = 1;
/// The same for IPv6: 4 a line, and one.
pub const SOURCES_V6: u32 = 2;
pub const FLOWS_V6: u32 = 3;

/// DNS queries over IPv4: names alone, 2 a line.
pub const NAMES_V4: u32 = 4;
/// A name in a line, as two-byte pieces.
pub type NameLine = [u16; 16];

/// As [`FLOWS_V4`], with all that a service may have rewritten; and of each flow as many as
/// [`Control::vary`] says.
pub const SERVED_V4: u32 = 5;

/// The only element of the map `CONTROL`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Control {
    /// How many frames were generated, which is also the place in the traffic. The generator adds
    /// to it.
    pub generated: u64,
    /// What the lines hold: one of the numbers above.
    pub kind: u32,
    /// Where the frames go: a slot of the map `DEVICES`.
    pub device: u32,
    /// The sum of the IPv4 header's two-byte pieces, as they lie in memory, without those that
    /// change from frame to frame.
    pub header_sum: u32,
    /// Bits of the source port, and above these of the destination port, that change each time all flows have
    /// been generated.
    pub vary: u32,
}

const _: () = assert!(size_of::<Control>() == 24);

/// A line of traffic, of any kind.
pub type Line = [u64; 8];

/// Addresses, ports and protocol of a frame, in network order, as two-byte pieces: an IPv4 address
/// in a frame is aligned to two bytes only, and LLVM makes no unaligned loads and stores for eBPF.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct FlowV4 {
    pub source: [u16; 2],
    pub destination: [u16; 2],
    /// Source and destination port, or type, code and checksum of ICMP.
    pub ports: [u16; 2],
    pub protocol: u8,
    pub tcp_flags: u8,
    /// The IPv4 header's checksum.
    pub checksum: u16,
}

const _: () = assert!(size_of::<FlowV4>() == size_of::<Line>() / 4);

/// As [`FlowV4`].
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct FlowV6 {
    pub source: [u16; 8],
    pub destination: [u16; 8],
    pub ports: [u16; 2],
    pub protocol: u8,
    pub tcp_flags: u8,
    pub padding: [u16; 13],
}

const _: () = assert!(size_of::<FlowV6>() == size_of::<Line>());
