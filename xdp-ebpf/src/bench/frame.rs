//! The frames that the generator fills in, in two-byte pieces: see [`crate::traffic::FlowV4`].

/// Ethernet, IPv4 (RFC 791) without options, and the beginning of TCP (RFC 9293), of which the
/// first four bytes are ports for UDP too.
#[repr(C)]
pub struct FrameV4 {
    pub macs: [u16; 6],
    pub ether_type: u16,
    pub version_to_fragment: [u16; 4],
    pub ttl: u8,
    pub protocol: u8,
    pub checksum: u16,
    pub source: [u16; 2],
    pub destination: [u16; 2],
    pub ports: [u16; 2],
    pub sequence_numbers: [u16; 4],
    pub data_offset: u8,
    pub tcp_flags: u8,
}

const _: () = assert!(size_of::<FrameV4>() == 14 + 20 + 14 && align_of::<FrameV4>() == 2);

/// Ethernet, IPv4 without options, UDP (RFC 768) and a DNS query (RFC 1035).
#[repr(C)]
pub struct FrameDns {
    pub macs: [u16; 6],
    pub ether_type: u16,
    pub ip: [u16; 10],
    pub ports: [u16; 2],
    pub length_and_checksum: [u16; 2],
    pub message: [u16; 6],
    pub name: [u16; 12],
    pub type_and_class: [u16; 2],
}

const _: () = assert!(size_of::<FrameDns>() == 14 + 20 + 8 + 12 + 24 + 4);

/// Ethernet, IPv6 (RFC 8200), and the beginning of TCP.
#[repr(C)]
pub struct FrameV6 {
    pub macs: [u16; 6],
    pub ether_type: u16,
    pub version_to_length: [u16; 3],
    pub next_header: u8,
    pub hop_limit: u8,
    pub source: [u16; 8],
    pub destination: [u16; 8],
    pub ports: [u16; 2],
    pub sequence_numbers: [u16; 4],
    pub data_offset: u8,
    pub tcp_flags: u8,
}

const _: () = assert!(size_of::<FrameV6>() == 14 + 40 + 14 && align_of::<FrameV6>() == 2);
