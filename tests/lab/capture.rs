//! Capture files, written by hand.

/// LINKTYPE_ETHERNET.
pub const ETHERNET: u32 = 1;

/// The byte order of the numbers: that of the machine that captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Little,
    Big,
}

impl Order {
    fn u16(self, number: u16) -> [u8; 2] {
        match self {
            Self::Little => number.to_le_bytes(),
            Self::Big => number.to_be_bytes(),
        }
    }

    fn u32(self, number: u32) -> [u8; 4] {
        match self {
            Self::Little => number.to_le_bytes(),
            Self::Big => number.to_be_bytes(),
        }
    }
}

/// A pcap file. `magic` says whether its time stamps count microseconds or nanoseconds.
pub fn pcap_with<F: AsRef<[u8]>>(order: Order, magic: u32, link: u32, frames: &[F]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(order.u32(magic));
    bytes.extend([order.u16(2), order.u16(4)].concat());
    bytes.extend([0; 8]);
    bytes.extend(order.u32(262_144));
    bytes.extend(order.u32(link));
    for frame in frames {
        let length = order.u32(frame.as_ref().len() as u32);
        bytes.extend([[0; 4], [0; 4], length, length].concat());
        bytes.extend(frame.as_ref());
    }
    bytes
}

/// As `tcpdump -w` writes it.
pub fn pcap<F: AsRef<[u8]>>(frames: &[F]) -> Vec<u8> {
    pcap_with(Order::Little, 0xa1b2_c3d4, ETHERNET, frames)
}

/// Kinds of blocks of pcapng that hold a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    Enhanced,
    Simple,
    /// The old packet block, which the others replaced.
    Obsolete,
}

/// A pcapng file, with a block in it that has nothing to do with frames.
pub fn pcapng<F: AsRef<[u8]>>(order: Order, link: u16, block: Block, frames: &[F]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut add = |kind: u32, body: &[u8]| {
        let padding = vec![0; body.len().next_multiple_of(4) - body.len()];
        let length = order.u32((12 + body.len() + padding.len()) as u32);
        bytes.extend([&order.u32(kind)[..], &length, body, &padding, &length].concat());
    };
    let section = [&order.u32(0x1a2b_3c4d)[..], &order.u16(1), &order.u16(0), &[0xff; 8]].concat();
    add(0x0a0d_0d0a, &section);
    add(1, &[&order.u16(link)[..], &[0; 2], &order.u32(0)].concat());
    // Interface statistics.
    add(5, &[0; 12]);
    for frame in frames {
        let frame = frame.as_ref();
        let length = order.u32(frame.len() as u32);
        match block {
            Block::Enhanced => add(6, &[&[0; 12], &length[..], &length, frame].concat()),
            Block::Simple => add(3, &[&length[..], frame].concat()),
            Block::Obsolete => add(2, &[&[0; 12], &length[..], &length, frame].concat()),
        }
    }
    bytes
}
