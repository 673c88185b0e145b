//! A DNS query turned around in its place: the frame goes back as an answer without records.
//!
//! The question stays as it came. The header says what RFC 1035, section 4.1.1, RFC 4035, section
//! 3.2.2 (CD is copied) and RFC 6891, section 6.1.1 want: a query with an OPT record gets one with
//! ours, which has no options. An answer is never longer than its query, so it cannot be used to
//! amplify anything.
//!
//! IP and UDP headers are written anew from what was read of the packet. Where that would not do
//! (options, extension headers, labels of MPLS, whose way back nobody knows, a group of receivers)
//! there is no answer, and the query is dropped.

use super::dns::{self, Message, OPT_LENGTH};
use super::{NO_MACS, Network, Packet, pppoe, transport};
use crate::filter::domains::Action;
use crate::verifier::launder;

const IPV4_HEADER: u32 = 20;
const IPV6_HEADER: u32 = 40;
/// Time to live of answers (RFC 1700, "IP time to live").
const TIME_TO_LIVE: u8 = 64;
/// "Don't fragment" (RFC 791, section 3.1).
const DONT_FRAGMENT: u8 = 0x40;
/// UDP payload that this side takes, in bytes: what goes through most paths in one piece
/// (dnsflagday.net/2020).
const PAYLOAD: u16 = 1232;
/// EDNS version is not known: the upper bits of this response code go into the OPT record (RFC
/// 6891, section 6.1.3).
const BADVERS_UPPER: u8 = 1;
/// Bytes before a packet by which its encapsulation is told: a PPPoE header with PPP's protocol.
pub const BEFORE: u32 = 8;
/// How far before a packet PPPoE's length lies, with PPP's protocol between.
pub const SESSION_LENGTH: u32 = 4;
/// The shortest frame of Ethernet, without its check sequence: no answer is shorter if its query was
/// not.
const SHORTEST: u32 = 60;
/// The most bytes of an answer's message with its UDP header: a multiple of 4.
pub const LONGEST: u32 = dns::COPIED.next_multiple_of(4);

/// What to write into the frame so that it becomes the answer, beside its message. The MAC addresses
/// change places.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Answer {
    /// The IP header, to be written where the query's begins.
    pub ip: [u8; IPV6_HEADER as usize],
    pub ip_length: u32,
    /// Bytes of the message with its UDP header, to be written where the query's begins.
    pub message_length: u32,
    /// PPPoE's length, to be written [`SESSION_LENGTH`] bytes before the packet; `0` where there
    /// is none.
    pub session_length: u32,
    /// How long the frame becomes, in bytes.
    pub frame_length: u32,
    /// The sum of the pseudo header's words.
    sum: u64,
}

impl Answer {
    /// An answer with what another packet left behind.
    pub const LEFT_BEHIND: Self = Self {
        ip: [0x55; IPV6_HEADER as usize],
        ip_length: u32::MAX,
        message_length: u32::MAX,
        session_length: u32::MAX,
        frame_length: u32::MAX,
        sum: u64::MAX,
    };
}

/// What lies before a packet that can be answered.
enum Encapsulation {
    Plain,
    Session,
}

impl Encapsulation {
    /// By the [`BEFORE`] bytes before the packet, whose last two are an EtherType, PPP's protocol, or the
    /// end of an MPLS label, where the lowest bit of the upper byte is set (RFC 3032, section 2.1).
    /// `None` is labels, and a session whose protocol is compressed into one byte.
    #[inline(always)]
    const fn of(before: u64) -> Option<Self> {
        // Version, type and code of a session (RFC 2516, section 4): what is compressed begins a byte
        // later.
        const SESSION: u64 = 0x1100;
        const ETHERNET_IPV4: u16 = 0x0800;
        const ETHERNET_IPV6: u16 = 0x86dd;
        match before as u16 {
            0 | ETHERNET_IPV4 | ETHERNET_IPV6 => Some(Self::Plain),
            pppoe::IPV4 | pppoe::IPV6 if before >> 48 == SESSION => Some(Self::Session),
            _ => None,
        }
    }
}

/// Whether a packet goes from one host to another, in a frame to one host: nobody else is answered,
/// and in nobody else's name.
#[inline(always)]
pub fn is_between_hosts(packet: &Packet) -> bool {
    let to_a_group_of_hosts = packet.macs != NO_MACS && packet.destination_mac() >> 40 & 1 != 0;
    !(to_a_group_of_hosts || dns::is_to_a_group(packet) || dns::is_from_a_group(packet))
}

/// Makes an answer of the message, but for its checksum ([`write_checksum`]), and says what else to
/// write. `before` are the [`BEFORE`] bytes before the packet, in network order; 0 where nothing can be there but an Ethernet header. `None`
/// where there can be no answer.
#[inline(always)]
pub fn turn_around(
    packet: &Packet,
    before: u64,
    frame_length: u32,
    action: u32,
    message: &mut Message,
    answer: &mut Answer,
) -> Option<()> {
    let is_v6 = packet.network == Network::IPV6;
    let ip_length = if is_v6 { IPV6_HEADER } else { IPV4_HEADER };
    if packet.parts.l4.wrapping_sub(packet.parts.l3) != ip_length || !is_between_hosts(packet) {
        return None;
    }
    answer.ip_length = ip_length;
    answer.message_length = answer_message(action, message)?;
    // The verifier would follow each length through all that comes after.
    let (answer, message) = (launder(answer), launder(message));
    let (ip_length, length) = (answer.ip_length, answer.message_length);
    answer.session_length = match Encapsulation::of(before)? {
        Encapsulation::Plain => 0,
        // PPP's protocol is counted too (RFC 2516, section 4).
        Encapsulation::Session => ip_length + length + 2,
    };
    let end = packet.parts.l4.wrapping_add(length);
    let shortest = if frame_length < SHORTEST { frame_length } else { SHORTEST };
    answer.frame_length = if end < shortest { shortest } else { end };
    let answer = launder(answer);
    answer.sum = if is_v6 {
        write_ipv6(packet, length, &mut answer.ip)
    } else {
        write_ipv4(packet, length, &mut answer.ip)
    };
    write_udp(launder(answer).message_length, message);
    Some(())
}

/// Writes the DNS message, and returns its length with the UDP header.
#[inline(always)]
fn answer_message(action: u32, message: &mut Message) -> Option<u32> {
    let (mut truncated, mut code) = match Action::of(action) {
        Some(Action::Nxdomain) => (0, 3),
        Some(Action::Refuse) => (0, 5),
        Some(Action::Truncate) => (2, 0),
        _ => return None,
    };
    let end = message.question_end();
    let mut length = end;
    let has_options = has_options(message);
    if has_options {
        let mut upper = 0;
        if message.u8(end + 6) != 0 {
            (truncated, code, upper) = (0, 0, BADVERS_UPPER);
        }
        let [size_upper, size_lower] = PAYLOAD.to_be_bytes();
        // The root's name and the type stand there already.
        message.put(end + 3, size_upper);
        message.put(end + 4, size_lower);
        message.put(end + 5, upper);
        message.put(end + 6, 0);
        // DO is copied (RFC 3225, section 3), nothing else is.
        message.put(end + 7, message.u8(end + 7) & 0x80);
        message.put(end + 8, 0);
        message.put(end + 9, 0);
        message.put(end + 10, 0);
        length += OPT_LENGTH;
    }
    message.put(10, 0x80 | truncated | message.u8(10) & 1);
    message.put(11, 0x80 | message.u8(11) & 0x10 | code);
    let mut at = 14;
    while at < 19 {
        message.put(at, 0);
        at += 1;
    }
    message.put(19, u8::from(has_options));
    Some(length)
}

/// Whether the record behind the question is an OPT record: one of version 0 or another, of the
/// root.
#[inline(always)]
fn has_options(message: &Message) -> bool {
    const OPT: u16 = 41;
    let end = message.question_end();
    message.u16(14) | message.u16(16) == 0
        && message.u16(18) != 0
        && end + OPT_LENGTH <= message.end()
        && message.u8(end) == 0
        && message.u16(end + 1) == OPT
}

/// Writes an IPv4 header, and returns the sum of the pseudo header's words (RFC 768).
#[inline(always)]
fn write_ipv4(packet: &Packet, length: u32, ip: &mut [u8; IPV6_HEADER as usize]) -> u64 {
    let [source, destination] =
        [packet.destination[0] as u32, packet.source[0] as u32].map(u32::to_be_bytes);
    let [total_upper, total_lower] = ((IPV4_HEADER + length) as u16).to_be_bytes();
    let header = [
        [0x45, (packet.dscp << 2) as u8, total_upper, total_lower],
        [0, 0, DONT_FRAGMENT, 0],
        [TIME_TO_LIVE, transport::UDP, 0, 0],
        source,
        destination,
    ];
    let mut sum = 0;
    let mut word = 0;
    while word < header.len() {
        sum += u64::from(u32::from_ne_bytes(header[word]));
        put_word(ip, word, header[word]);
        word += 1;
    }
    let [upper, lower] = fold(sum).to_ne_bytes();
    (ip[10], ip[11]) = (upper, lower);
    let addresses =
        u64::from(u32::from_ne_bytes(source)) + u64::from(u32::from_ne_bytes(destination));
    addresses + pseudo_header(length)
}

/// Writes an IPv6 header, and returns the sum of the pseudo header's words (RFC 8200, section 8.1).
#[inline(always)]
fn write_ipv6(packet: &Packet, length: u32, ip: &mut [u8; IPV6_HEADER as usize]) -> u64 {
    let class = packet.dscp << 2;
    let [length_upper, length_lower] = (length as u16).to_be_bytes();
    put_word(ip, 0, [0x60 | (class >> 4) as u8, (class << 4) as u8, 0, 0]);
    put_word(ip, 1, [length_upper, length_lower, transport::UDP, TIME_TO_LIVE]);
    let both = [packet.destination, packet.source];
    let addresses = both.as_flattened().as_ptr();
    let mut sum = 0;
    let mut half = 0;
    while half < 8 {
        // SAFETY: there are four words in the array, which lives until the function ends.
        let word = unsafe { *addresses.add(half / 2) };
        let word = if half % 2 == 0 { (word >> 32) as u32 } else { word as u32 };
        let word = word.to_be_bytes();
        put_word(ip, 2 + half, word);
        sum += u64::from(u32::from_ne_bytes(word));
        half += 1;
    }
    sum + pseudo_header(length)
}

/// Protocol and length, as words in network order.
#[inline(always)]
fn pseudo_header(length: u32) -> u64 {
    u64::from(u16::from(transport::UDP).to_be()) + u64::from((length as u16).to_be())
}

#[inline(always)]
fn put_word(ip: &mut [u8; IPV6_HEADER as usize], word: usize, bytes: [u8; 4]) {
    let at = word * 4;
    [ip[at], ip[at + 1], ip[at + 2], ip[at + 3]] = bytes;
}

/// Writes the UDP header: ports change places. Its checksum is left at 0, and behind the message are
/// zeros up to the next multiple of 4.
#[inline(always)]
fn write_udp(length: u32, message: &mut Message) {
    let ports = [message.u8(0), message.u8(1), message.u8(2), message.u8(3)];
    let [length_upper, length_lower] = (length as u16).to_be_bytes();
    message.put(0, ports[2]);
    message.put(1, ports[3]);
    message.put(2, ports[0]);
    message.put(3, ports[1]);
    message.put(4, length_upper);
    message.put(5, length_lower);
    message.put(6, 0);
    message.put(7, 0);
    message.put(length, 0);
    message.put(length + 1, 0);
    message.put(length + 2, 0);
}

/// How many bytes of the message are to be summed up: a multiple of 4, at most [`LONGEST`].
#[inline(always)]
pub fn summed(answer: &Answer) -> u32 {
    (answer.message_length + 3) & 0x1fc
}

/// Writes the checksum. `sum` is that of the message's 32-bit words, in the order in which the bytes
/// lie, with carries added back.
#[inline(always)]
pub fn write_checksum(answer: &Answer, sum: u32, message: &mut Message) {
    let checksum = fold(answer.sum + u64::from(sum));
    // 0 says that there is none (RFC 768).
    let checksum = if checksum == 0 { u16::MAX } else { checksum };
    let [first, second] = checksum.to_ne_bytes();
    message.put(6, first);
    message.put(7, second);
}

/// The ones' complement of the ones' complement sum of the 16-bit words in a sum of 32-bit words
/// (RFC 1071).
#[inline(always)]
fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}
