//! The question of a DNS message over UDP (RFC 1035, section 4.1).
//!
//! ```text
//! UDP       0..2 source port, 2..4 destination port, 4..6 length, 6..8 checksum
//! message   8..10 id
//!           10 QR (bit 7: an answer), opcode (4 bits), AA, TC, RD; 11 RA, Z, AD, CD, rcode
//!           12..14 questions, 14..16 answers, 16..18 authorities, 18..20 additional records
//! question  20.. labels: a byte with the length, 1 to 63, and as many bytes; a 0 ends the name;
//!           then two bytes of type and two of class
//! ```
//!
//! In the kernel the message is copied from the frame: it may begin at any offset and lie in several
//! buffers. That takes one call, and whatever reads the copy needs no further checks of the frame.

use crate::packet::{Network, Packet, Transport, transport};
use crate::verifier::launder;

/// The port of DNS servers.
pub const PORT: u32 = 53;
/// The port of Multicast DNS (RFC 6762), which takes unicast queries too (section 5.5).
pub const MULTICAST_PORT: u32 = 5353;

/// Where the question begins.
pub const QUESTION: u32 = 20;
/// Bytes of the longest name with the root's label (RFC 1035, section 3.1).
const LONGEST_NAME: u32 = 255;
/// The most labels of a name, without the root's: one byte each.
pub const MAX_LABELS: u32 = 127;
/// Type and class behind a name.
const TYPE_AND_CLASS: u32 = 4;
/// The fixed part of an OPT record (RFC 6891, section 6.1.2).
pub const OPT_LENGTH: u32 = 11;
/// Bytes that are copied: everything up to the fixed part of the record behind the longest
/// question.
pub const COPIED: u32 = QUESTION + LONGEST_NAME + TYPE_AND_CLASS + OPT_LENGTH;
/// Places are kept in these bits, which spares the verifier a check.
const PLACES: u32 = 511;
/// Room for eight bytes from any place on.
const ROOM: usize = PLACES as usize + 1 + 8;

const _: () = assert!(COPIED <= PLACES);

/// Why the question of a message cannot be read. Numbers from 1, as they are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Unreadable {
    /// A compression pointer, or another label that is not plain (RFC 1035, section 4.1.4).
    Label = 1,
    /// More than one question (RFC 9619 forbids it).
    Questions = 2,
    /// The message is cut short, the name is too long, or UDP's length is not the packet's.
    Length = 3,
}

impl Unreadable {
    /// How many there are.
    pub const COUNT: usize = 3;
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [Self::Label, Self::Questions, Self::Length];

    /// The one of that number.
    pub const fn of(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Label),
            2 => Some(Self::Questions),
            3 => Some(Self::Length),
            _ => None,
        }
    }

    /// The name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Label => "label",
            Self::Questions => "questions",
            Self::Length => "length",
        }
    }
}

/// Whether a message asks, and can be asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// It has one question, which was read.
    One,
    /// It has no question, is not a standard query or its answer (opcode 0), or is an answer where only
    /// queries are looked at.
    Nothing,
}

/// The beginning of a UDP packet with a DNS message, and what was read of its question.
///
/// In the kernel it lies in a map's value, where places and lengths are numbers that the verifier
/// knows nothing of.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Message {
    /// How many bytes were copied.
    pub length: u32,
    /// Where the message ends, as far as it was copied.
    end: u32,
    /// How many labels the name has, without the root's.
    labels: u32,
    /// Where the question ends.
    question_end: u32,
    qtype: u32,
    /// Whether the packet is known to be the first fragment of several: 0 or 1. Asked only where
    /// UDP's length is more than the packet has, see [`Message::claims_more`].
    pub is_first_fragment: u32,
    pub bytes: [u8; ROOM],
    /// Where each label begins, from the beginning of the name.
    starts: [u8; MAX_LABELS as usize + 1],
}

impl Message {
    /// A message with what another packet left behind.
    pub const LEFT_BEHIND: Self = Self {
        length: u32::MAX,
        end: u32::MAX,
        labels: u32::MAX,
        question_end: u32::MAX,
        qtype: u32::MAX,
        is_first_fragment: u32::MAX,
        bytes: [0x55; ROOM],
        starts: [0x55; MAX_LABELS as usize + 1],
    };

    /// How many bytes of a packet to copy, from its UDP header on.
    #[inline(always)]
    pub fn wanted(packet: &Packet) -> u32 {
        let there = packet.parts.end.wrapping_sub(packet.parts.l4);
        if there < COPIED { there } else { COPIED }
    }

    #[inline(always)]
    pub fn u8(&self, at: u32) -> u8 {
        self.bytes[(at & PLACES) as usize]
    }

    #[inline(always)]
    pub fn u16(&self, at: u32) -> u16 {
        u16::from_be_bytes([self.u8(at), self.u8(at + 1)])
    }

    /// Eight bytes, the first of them lowest.
    #[inline(always)]
    pub fn eight(&self, at: u32) -> u64 {
        let at = (at & PLACES) as usize;
        // SAFETY: there is room for eight bytes behind the last place.
        u64::from_le(unsafe { self.bytes.as_ptr().add(at).cast::<u64>().read_unaligned() })
    }

    #[inline(always)]
    pub fn put(&mut self, at: u32, byte: u8) {
        self.bytes[(at & PLACES) as usize] = byte;
    }

    /// How many labels the name has, without the root's.
    #[inline(always)]
    pub const fn labels(&self) -> u32 {
        self.labels
    }

    /// Where the label of that number begins, the leftmost being 0.
    #[inline(always)]
    pub fn label(&self, number: u32) -> u32 {
        QUESTION + u32::from(self.starts[(number & MAX_LABELS) as usize])
    }

    /// The type that is asked for.
    #[inline(always)]
    pub const fn qtype(&self) -> u32 {
        self.qtype
    }

    /// Where the question ends.
    #[inline(always)]
    pub const fn question_end(&self) -> u32 {
        self.question_end
    }

    /// Where the message ends, as far as it was copied.
    #[inline(always)]
    pub const fn end(&self) -> u32 {
        self.end
    }

    /// Whether it is an answer.
    #[inline(always)]
    pub fn is_answer(&self) -> bool {
        self.u8(10) & 0x80 != 0
    }

    /// The name that is asked for, as it stands in the message, without the root's label.
    pub fn name(&self) -> &[u8] {
        let end = self.question_end - TYPE_AND_CLASS - 1;
        self.bytes.get(QUESTION as usize..end as usize).unwrap_or_default()
    }

    /// Whether UDP's length is more than the packet has, as it is in a first fragment.
    #[inline(always)]
    pub fn claims_more(&self, packet: &Packet) -> bool {
        u32::from(self.u16(4)) > packet.parts.end.wrapping_sub(packet.parts.l4)
    }

    /// Reads the question of the message that was copied from `packet`.
    ///
    /// # Errors
    ///
    /// Why it cannot be read.
    #[inline(always)]
    pub fn read_question(&mut self, packet: &Packet) -> Result<Asks, Unreadable> {
        let mut claimed = u32::from(self.u16(4));
        // A packet with 0 there is read to its end by Linux over IPv6 (RFC 2675, section 4;
        // __udp6_lib_rcv in net/ipv6/udp.c).
        if claimed == 0 && packet.network == Network::IPV6 {
            claimed = self.length;
        }
        if self.length < QUESTION || claimed < QUESTION {
            return Err(Unreadable::Length);
        }
        // Of a first fragment, the rest of the message is in the others.
        if self.claims_more(packet) && self.is_first_fragment == 0 {
            return Err(Unreadable::Length);
        }
        self.end = if claimed < self.length { claimed } else { self.length };
        let (opcode, questions) = (self.u8(10) >> 3 & 0xf, self.u16(12));
        if opcode != 0 || questions == 0 || self.is_answer() && is_query_alone(packet) {
            return Ok(Asks::Nothing);
        }
        if questions > 1 {
            return Err(Unreadable::Questions);
        }
        self.read_labels()?;
        // The verifier has seen the labels counted; from here on it knows nothing of them.
        let this = launder(self);
        let end = this.question_end;
        if end + TYPE_AND_CLASS > this.end {
            return Err(Unreadable::Length);
        }
        this.qtype = u32::from(this.u16(end));
        this.question_end = end + TYPE_AND_CLASS;
        Ok(Asks::One)
    }

    /// Finds the labels, and where the name ends.
    #[inline(always)]
    fn read_labels(&mut self) -> Result<(), Unreadable> {
        // What lies beyond is no part of a name, whatever it looks like.
        let longest = QUESTION + LONGEST_NAME;
        let name_end = if self.end < longest { self.end } else { longest };
        let (mut at, mut labels) = (QUESTION, 0);
        while labels <= MAX_LABELS {
            if at >= name_end {
                return Err(Unreadable::Length);
            }
            let length = self.u8(at);
            if length == 0 {
                self.labels = labels;
                self.question_end = at + 1;
                return Ok(());
            }
            if length > 63 {
                return Err(Unreadable::Label);
            }
            self.starts[labels as usize] = (at - QUESTION) as u8;
            labels += 1;
            at += 1 + u32::from(length);
        }
        Err(Unreadable::Length)
    }
}

/// Where the flags of an IPv4 header lie, from its beginning, and the one that says that more
/// fragments follow (RFC 791, section 3.1).
pub const IPV4_FLAGS: u32 = 6;
const MORE_FRAGMENTS: u16 = 0x2000;

/// Whether a packet that is no later fragment is a first one. `ipv4_flags` are the two bytes at
/// [`IPV4_FLAGS`]. IPv6 says it in an extension header; there, any extension header is taken for one:
/// the question of such a message is read as far as it is there.
#[inline(always)]
pub fn is_first_fragment(packet: &Packet, ipv4_flags: u16) -> bool {
    if packet.network == Network::IPV6 {
        packet.parts.l4.wrapping_sub(packet.parts.l3) > 40
    } else {
        ipv4_flags & MORE_FRAGMENTS != 0
    }
}

/// Whether a packet may be a DNS message to be looked into: UDP to or from port 53, or to or from
/// port 5353 and not to a group.
#[inline(always)]
pub fn is_message(packet: &Packet) -> bool {
    if packet.transport != Transport::PORTS || packet.protocol != u32::from(transport::UDP) {
        return false;
    }
    has_port(packet, PORT) || has_port(packet, MULTICAST_PORT) && !is_to_a_group(packet)
}

/// Whether only queries of it are looked at: not to or from port 53.
#[inline(always)]
pub fn is_query_alone(packet: &Packet) -> bool {
    !has_port(packet, PORT)
}

#[inline(always)]
fn has_port(packet: &Packet, port: u32) -> bool {
    packet.source_port == port || packet.destination_port == port
}

/// Whether it goes to a multicast address, or to the limited broadcast address or a reserved one (RFC
/// 1112, section 4; RFC 4291, section 2.7).
#[inline(always)]
pub fn is_to_a_group(packet: &Packet) -> bool {
    is_group(packet.network, packet.destination[0])
}

/// The same of where it comes from, which nothing should.
#[inline(always)]
pub fn is_from_a_group(packet: &Packet) -> bool {
    is_group(packet.network, packet.source[0])
}

#[inline(always)]
fn is_group(network: Network, address: u64) -> bool {
    if network == Network::IPV6 { address >> 56 == 0xff } else { address >> 28 >= 0xe }
}
