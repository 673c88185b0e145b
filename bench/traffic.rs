//! Prepared traffic: the lines that the generator takes its frames from, and the frame that it
//! starts with.

#[path = "../xdp-ebpf/src/bench/traffic.rs"]
mod shared;

pub use shared::{Control, LINES, Line};
use shared::{
    FLOWS_V4, FLOWS_V6, FlowV4, FlowV6, NAMES_V4, NameLine, SERVED_V4, SOURCES_V4, SOURCES_V6,
};

use crate::prefixes::Family;

/// Most sources, of either family, and most flows that fit.
pub const SOURCES_V4_COUNT: usize = LINES as usize * 16;
pub const SOURCES_V6_COUNT: usize = LINES as usize * 4;
pub const FLOWS_V4_COUNT: usize = LINES as usize * 4;
pub const FLOWS_V6_COUNT: usize = LINES as usize;
pub const NAMES_V4_COUNT: usize = LINES as usize * 2;

/// Bytes of a name, with the root's label and a byte that is not used.
pub const NAME: usize = 25;

/// What a rule can look at, in host order.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    pub source: u128,
    pub destination: u128,
    pub ports: [u16; 2],
    pub protocol: u8,
    pub tcp_flags: u8,
}

/// Traffic of one kind.
pub struct Traffic {
    /// What the lines hold, as the generator knows it.
    pub kind: u32,
    pub lines: Vec<Line>,
    /// The frame, of which the generator overwrites what the lines hold.
    pub frame: Vec<u8>,
    /// As in [`Control`].
    pub vary: u32,
}

impl Traffic {
    /// UDP from these sources, over and over, to one address.
    pub fn from_sources(family: Family, sources: &[u128]) -> Self {
        let pieces = sources.iter().cycle();
        let (kind, lines) = match family {
            Family::V4 => {
                (SOURCES_V4, lines::<4>(pieces.map(|&source| (source as u32).to_be_bytes())))
            }
            Family::V6 => (SOURCES_V6, lines::<16>(pieces.map(|source| source.to_be_bytes()))),
        };
        Self { kind, lines, frame: frame(family), vary: 0 }
    }

    /// These flows, over and over.
    pub fn from_flows(family: Family, flows: &[Flow]) -> Self {
        let frame = frame(family);
        let pieces = flows.iter().cycle();
        let (kind, lines) = match family {
            Family::V4 => (FLOWS_V4, lines::<16>(pieces.map(|flow| flow_v4(flow, &frame)))),
            Family::V6 => (FLOWS_V6, lines::<64>(pieces.map(flow_v6))),
        };
        Self { kind, lines, frame, vary: 0 }
    }

    /// These flows over IPv4, which a service takes: over and over, with other ports each time in the bits
    /// that `vary` has for source and destination.
    pub fn served(flows: &[Flow], vary: [u16; 2]) -> Self {
        let [source, destination] = vary.map(|mask| u32::from(mask.to_be()));
        let traffic = Self::from_flows(Family::V4, flows);
        Self { kind: SERVED_V4, vary: destination << 16 | source, ..traffic }
    }

    /// DNS queries for these names, over and over. The generator writes the whole frame but its
    /// EtherType.
    pub fn from_names(names: &[[u8; NAME]]) -> Self {
        const QUERY: usize = 82;
        let pieces = names.iter().cycle().map(|name| {
            let mut piece = [0; size_of::<NameLine>()];
            piece[..NAME].copy_from_slice(name);
            piece
        });
        let mut frame = frame(Family::V4);
        frame.resize(QUERY, 0);
        Self { kind: NAMES_V4, lines: lines::<{ size_of::<NameLine>() }>(pieces), frame, vary: 0 }
    }
}

impl Traffic {
    /// DNS queries for one name, which ends with the root's label, from these sources, over and over.
    pub fn from_name(name: &[u8], sources: &[u128]) -> Self {
        let mut message = vec![0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(name);
        message.extend([0, 1, 0, 1]);
        let mut traffic = Self::from_sources(Family::V4, sources);
        let frame = &mut traffic.frame;
        frame.truncate(IPV4_HEADER.end + UDP_HEADER);
        frame.append(&mut message);
        let length = |from: usize| ((frame.len() - from) as u16).to_be_bytes();
        let [ip_length, udp_length] = [length(IPV4_HEADER.start), length(IPV4_HEADER.end)];
        frame[IPV4_HEADER.start + 2..][..2].copy_from_slice(&ip_length);
        frame[IPV4_HEADER.end + 4..][..4].copy_from_slice(&[udp_length[0], udp_length[1], 0, 0]);
        traffic
    }

    /// The sum of the IPv4 header's two-byte pieces without the source and the checksum, which
    /// the generator adds and writes.
    pub fn header_sum(&self) -> u32 {
        pieces_sum(&self.frame[IPV4_HEADER])
    }
}

/// Where a frame has its IPv4 header.
const IPV4_HEADER: std::ops::Range<usize> = 14..34;

const UDP_HEADER: usize = 8;

fn pieces_sum(bytes: &[u8]) -> u32 {
    bytes.chunks_exact(2).map(|piece| u32::from(u16::from_ne_bytes([piece[0], piece[1]]))).sum()
}

fn lines<const PIECE: usize>(mut pieces: impl Iterator<Item = [u8; PIECE]>) -> Vec<Line> {
    let line = || {
        let bytes: Vec<u8> = pieces.by_ref().take(size_of::<Line>() / PIECE).flatten().collect();
        let mut line = Line::default();
        for (word, bytes) in line.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_ne_bytes(bytes.try_into().expect("eight bytes"));
        }
        line
    };
    std::iter::repeat_with(line).take(LINES as usize).collect()
}

fn flow_v4(flow: &Flow, frame: &[u8]) -> [u8; size_of::<FlowV4>()] {
    let mut bytes = [0; size_of::<FlowV4>()];
    bytes[0..4].copy_from_slice(&(flow.source as u32).to_be_bytes());
    bytes[4..8].copy_from_slice(&(flow.destination as u32).to_be_bytes());
    bytes[8..14].copy_from_slice(&beyond_addresses(flow));
    let mut header = [0; 20];
    header.copy_from_slice(&frame[IPV4_HEADER]);
    header[9] = flow.protocol;
    header[12..20].copy_from_slice(&bytes[0..8]);
    let mut sum = pieces_sum(&header);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    bytes[14..16].copy_from_slice(&(!(sum as u16)).to_ne_bytes());
    bytes
}

fn flow_v6(flow: &Flow) -> [u8; size_of::<FlowV6>()] {
    let mut bytes = [0; size_of::<FlowV6>()];
    bytes[0..16].copy_from_slice(&flow.source.to_be_bytes());
    bytes[16..32].copy_from_slice(&flow.destination.to_be_bytes());
    bytes[32..38].copy_from_slice(&beyond_addresses(flow));
    bytes
}

/// Ports, protocol and flags, as both kinds of flows have them.
fn beyond_addresses(flow: &Flow) -> [u8; 6] {
    let [[a, b], [c, d]] = flow.ports.map(u16::to_be_bytes);
    [a, b, c, d, flow.protocol, flow.tcp_flags]
}

/// The shortest frame that holds a TCP header, and as long as Ethernet wants it; UDP unless the
/// generator says otherwise.
fn frame(family: Family) -> Vec<u8> {
    const UDP: u8 = 17;
    const TRANSPORT: u16 = 26;
    let mut frame = vec![0x02, 0, 0, 0, 0, 0xbe, 0x02, 0, 0, 0, 0, 0xef];
    match family {
        Family::V4 => {
            frame.extend([0x08, 0x00, 0x45, 0x00]);
            frame.extend((20 + TRANSPORT).to_be_bytes());
            frame.extend([0, 0, 0x40, 0, 64, UDP, 0, 0]);
            frame.extend([0, 0, 0, 0, 198, 51, 100, 1]);
        }
        Family::V6 => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(TRANSPORT.to_be_bytes());
            frame.extend([UDP, 64]);
            for address in [1u128, 2] {
                frame.extend((0x2001_0db8 << 96 | address).to_be_bytes());
            }
        }
    }
    // Ports 4096 to 53; a length for UDP and a data offset for TCP, which overlap nowhere.
    let mut transport = [0; TRANSPORT as usize];
    transport[0..6].copy_from_slice(&[0x10, 0, 0, 53, 0, TRANSPORT as u8]);
    transport[12] = 0x50;
    frame.extend(transport);
    frame
}
