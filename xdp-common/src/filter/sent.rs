//! What an interface has sent out, so that answers are known where no socket of this host has asked: what
//! containers and hosts behind it ask, translated or not, pings, and UDP sockets that are not connected.
//!
//! A program at the interface's egress writes it, for packets that go out, as they leave: after the
//! kernel's translation of addresses. The filter only looks: no packet that comes in writes anything.
//!
//! ```text
//! lines of eight words, those of TCP in one half of the table and all others in the other half
//!   bits 0-19   when the last packet went out (`Moment`)
//!        20-21  what is known of the flow (`Kind`); 0 is an empty word
//!        22-63  a tag, which stands for the flow
//! ```
//!
//! A keyed hash of a flow gives its line and its tag. An answer is the flow turned round.

use crate::capacity::SENT_LINES;
use crate::image::{LINE_WORDS, Line};
use crate::packet::transport::{ICMP, ICMPV6, TCP, UDP};
use crate::packet::{Network, Packet, PacketBytes, Transport, Window, echo};
use crate::verifier::black_box;

/// Bits of the kernel's monotonic clock, in nanoseconds, that a moment leaves out: it is 4.3 s long.
pub const MOMENT_SHIFT: u32 = 32;
/// Bits of a moment: it comes again after 52 days.
const MOMENT_BITS: u32 = 20;
const MOMENTS: u64 = (1 << MOMENT_BITS) - 1;
const KIND_SHIFT: u32 = MOMENT_BITS;
const KINDS: u64 = 3;
const TAG_SHIFT: u32 = KIND_SHIFT + 2;

/// What is known of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// One packet has gone out, or only SYNs.
    Begun = 1,
    /// More have.
    Open = 2,
    /// A FIN or RST has.
    Closing = 3,
}

/// For how many moments after its last packet a flow is answered, at least.
const fn moments(seconds: u64) -> u64 {
    (seconds * 1_000_000_000).div_ceil(1 << MOMENT_SHIFT)
}

/// The times of the kernel's connection tracking (net.netfilter.nf_conntrack_*_timeout*): an answer that
/// comes later would not be translated either.
#[inline(always)]
const fn life(protocol: u32, kind: u64) -> u64 {
    const TCP_: u32 = TCP as u32;
    const ASKED: [u32; 3] = [UDP as u32, ICMP as u32, ICMPV6 as u32];
    let is_open = kind == Kind::Open as u64;
    if protocol == TCP_ {
        return if is_open { moments(5 * 24 * 3600) } else { moments(120) };
    }
    if protocol == ASKED[0] || protocol == ASKED[1] || protocol == ASKED[2] {
        return if is_open { moments(180) } else { moments(30) };
    }
    moments(600)
}

/// Where it is remembered.
pub trait Memory {
    /// A line of the table, by its number below [`SENT_LINES`]; `None` where there is no table, because
    /// nobody writes one.
    fn line(&mut self, number: u32) -> Option<&mut Line>;
    /// Numbers that differ from attachment to attachment, so that nobody knows which flows share a line.
    fn secrets(&self) -> [u64; 2];
    /// The kernel's monotonic clock, in nanoseconds.
    fn now(&self) -> u64;
}

/// What [`ask`] says where there is no table.
pub const NO_MEMORY: u32 = u32::MAX;
/// What it says where nothing was sent that this could answer.
pub const NOT_SENT: u32 = u32::MAX - 1;

/// How many moments ago the last packet went out that this packet answers, whose ports are `ports`: those of
/// this side in the upper half. Or [`NO_MEMORY`], or [`NOT_SENT`].
#[inline(always)]
pub fn ask<M: Memory>(memory: &mut M, answer: &Packet, ports: u32) -> u32 {
    let is_v6 = answer.network == Network::IPV6;
    let key =
        key(memory.secrets(), is_v6, answer.protocol, answer.destination, answer.source, ports);
    let now = memory.now() >> MOMENT_SHIFT;
    let Some(line) = memory.line(line_of(key, answer.protocol)) else { return NO_MEMORY };
    let (word, _) = look(line, now, key);
    let ago = now.wrapping_sub(word) & MOMENTS;
    if word == 0 || ago > life(answer.protocol, word >> KIND_SHIFT & KINDS) {
        return NOT_SENT;
    }
    ago as u32
}

/// The seconds that so many moments are, rounded up.
pub const fn seconds(moments: u32) -> u64 {
    (((moments as u64 + 1) << MOMENT_SHIFT) - 1) / 1_000_000_000 + 1
}

/// What a packet that goes out says of its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Says {
    /// Nothing: it is an answer, or nobody could answer it.
    Nothing,
    /// That one begins.
    Begins,
    /// That one goes on, which may have begun before anybody looked.
    GoesOn,
    /// That one goes on, if it is known.
    MayGoOn,
    /// That one ends, if it is known.
    Ends,
}

/// TCP's flags (RFC 9293, section 3.1).
const FIN: u32 = 0x01;
const SYN: u32 = 0x02;
const RST: u32 = 0x04;
const ACK: u32 = 0x10;

/// What a packet that goes out says of its flow. `is_of_socket` says whether a TCP socket of this host has sent it,
/// or the kernel itself has: these are known as sockets, and an attacker can make listeners send as many ACKs as
/// he wants.
///
/// A SYN-ACK or RST begins nothing: both are what anybody gets who sends to this side.
#[inline(always)]
pub fn says(packet: &Packet, is_of_socket: bool) -> Says {
    if !packet.network.is_ip() || packet.transport == Transport::FRAGMENT || is_group(packet) {
        return Says::Nothing;
    }
    if packet.transport == Transport::ICMP {
        return if echo::is_request(packet) { Says::GoesOn } else { Says::Nothing };
    }
    if packet.transport != Transport::TCP {
        return Says::GoesOn;
    }
    let flags = packet.l4_octet;
    if flags & (FIN | RST) != 0 {
        return Says::Ends;
    }
    match (flags & SYN != 0, flags & ACK != 0) {
        (true, false) => Says::Begins,
        (false, true) if is_of_socket => Says::MayGoOn,
        (false, true) => Says::GoesOn,
        _ => Says::Nothing,
    }
}

/// Whether it goes to several hosts, by its destination alone.
#[inline(always)]
fn is_group(packet: &Packet) -> bool {
    if packet.network == Network::IPV6 {
        return packet.destination[0] >> 56 == 0xff;
    }
    packet.destination[0] >> 28 >= 0xe
}

/// The ports of a packet that goes out, its source's in the upper half; or those that stand for it where it has
/// none: an echo's identifier, or 0. `None` where they cannot be reached.
#[inline(always)]
pub fn ports_of<P: PacketBytes + ?Sized>(bytes: &P, packet: &Packet) -> Option<u32> {
    if packet.transport == Transport::TCP || packet.transport == Transport::PORTS {
        return Some(packet.source_port << 16 | packet.destination_port);
    }
    if packet.transport == Transport::ICMP {
        return identifier(bytes, packet);
    }
    Some(0)
}

/// The identifier of an echo (RFC 792; RFC 4443, section 4.1), in the upper half.
#[inline(always)]
pub fn identifier<P: PacketBytes + ?Sized>(bytes: &P, packet: &Packet) -> Option<u32> {
    const IDENTIFIER: u32 = 4;
    let id = bytes.window::<2>(packet.parts.l4.wrapping_add(IDENTIFIER))?;
    Some(u32::from(id.u16(0)) << 16)
}

/// What is known while a flow is remembered. It lies in a map's value, so that the verifier forgets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Work {
    pub key: u64,
    pub now: u64,
    /// A [`Says`].
    pub says: u32,
    pub ports: u32,
}

/// Reads what is to be remembered of a packet into `work`; `None` where it is nothing.
#[inline(always)]
pub fn read<P: PacketBytes + ?Sized, M: Memory>(
    memory: &M,
    bytes: &P,
    packet: &Packet,
    is_of_socket: bool,
    work: &mut Work,
) -> Option<()> {
    let says = says(packet, is_of_socket);
    if matches!(says, Says::Nothing) {
        return None;
    }
    work.says = says as u32;
    work.ports = ports_of(bytes, packet)?;
    let is_v6 = packet.network == Network::IPV6;
    let (own, peer) = (packet.source, packet.destination);
    work.key = key(memory.secrets(), is_v6, packet.protocol, own, peer, work.ports);
    work.now = memory.now() >> MOMENT_SHIFT;
    Some(())
}

/// Remembers a flow that goes out, of that protocol. A flow that is known is written once in a moment.
#[inline(always)]
pub fn remember<M: Memory>(memory: &mut M, protocol: u32, work: &Work) {
    let Work { key, now, says, .. } = *work;
    let Some(line) = memory.line(line_of(key, protocol)) else { return };
    let (word, slot) = look(line, now, key);
    let kind = word >> KIND_SHIFT & KINDS;
    let ago = now.wrapping_sub(word) & MOMENTS;
    let is_known = word != 0 && ago <= life(protocol, kind);
    let next = next_kind(is_known, kind, says);
    if next == 0 {
        return;
    }
    let entry = key & !0 << TAG_SHIFT | next << KIND_SHIFT | now & MOMENTS;
    let mut slot = slot as usize % LINE_WORDS;
    if is_known && slot >= LASTING && next == Kind::Open as u64 {
        // It is there twice for a moment, and never not at all.
        let before = slot;
        slot = oldest_lasting(line, now) as usize % LINE_WORDS;
        line[slot] = entry;
        line[before] = 0;
        return;
    }
    if line[slot] != entry {
        // The last one wins: the word is written whole.
        line[slot] = entry;
    }
}

/// The kind that a flow has after a packet; 0 where nothing is written.
#[inline(always)]
const fn next_kind(is_known: bool, kind: u64, says: u32) -> u64 {
    const BEGUN: u64 = Kind::Begun as u64;
    const OPEN: u64 = Kind::Open as u64;
    const CLOSING: u64 = Kind::Closing as u64;
    if says == Says::Begins as u32 {
        // Ports are used again, and a SYN is sent again.
        return BEGUN;
    }
    if !is_known {
        return if says == Says::GoesOn as u32 { BEGUN } else { 0 };
    }
    if says == Says::Ends as u32 || kind == CLOSING { CLOSING } else { OPEN }
}

/// The first slots of a line are for flows that more than one packet of has gone out; a flow that only
/// begins takes one of the two last ones, or one that is empty. So who sends to many takes the places of others
/// of his kind alone.
const LASTING: usize = LINE_WORDS - 2;

/// Looks for the word of the flow with that key, 0 if there is none, and for the slot that it has or would take.
#[inline(always)]
fn look(line: &Line, now: u64, key: u64) -> (u64, u32) {
    let tag = key >> TAG_SHIFT;
    let mut best = 0;
    let mut slot = LINE_WORDS as u64 - 1;
    let mut at = 0;
    while at < LINE_WORDS {
        let word = line[at];
        let is_own = word >> TAG_SHIFT == tag && word >> KIND_SHIFT & KINDS != 0;
        // One more than any age, and two more.
        let rank = if is_own {
            MOMENTS + 3
        } else if word == 0 {
            MOMENTS + 2
        } else if at >= LASTING {
            (now.wrapping_sub(word) & MOMENTS) + 1
        } else {
            0
        };
        let is_better = black_box(u64::from(rank > best));
        best = black_box(if is_better != 0 { rank } else { best });
        slot = black_box(if is_better != 0 { at as u64 } else { slot });
        at += 1;
    }
    let word = if best == MOMENTS + 3 { line[slot as usize % LINE_WORDS] } else { 0 };
    (black_box(word), black_box(slot) as u32)
}

/// Of the first slots, the one that is empty, or whose flow is over, or of which a packet went out longest ago.
#[inline(always)]
fn oldest_lasting(line: &Line, now: u64) -> u32 {
    let mut best = 0;
    let mut slot = 0;
    let mut at = 0;
    while at < LASTING {
        let word = line[at];
        let is_closing = word >> KIND_SHIFT & KINDS == Kind::Closing as u64;
        let rank = if is_closing { MOMENTS + 1 } else { (now.wrapping_sub(word) & MOMENTS) + 1 };
        let rank = if word == 0 { MOMENTS + 2 } else { rank };
        let is_better = black_box(u64::from(rank > best));
        best = black_box(if is_better != 0 { rank } else { best });
        slot = black_box(if is_better != 0 { at as u64 } else { slot });
        at += 1;
    }
    black_box(slot) as u32
}

/// The line of a flow, by the lower bits of its key: TCP has one half of them.
#[inline(always)]
const fn line_of(key: u64, protocol: u32) -> u32 {
    const HALF: u32 = SENT_LINES / 2;
    const { assert!(HALF.is_power_of_two() && HALF <= 1 << TAG_SHIFT) };
    let line = key as u32 & (HALF - 1);
    if protocol == TCP as u32 { line } else { line | HALF }
}

/// A flow's hash. `own` is this side.
#[inline(always)]
fn key(
    secrets: [u64; 2],
    is_v6: bool,
    protocol: u32,
    own: [u64; 2],
    peer: [u64; 2],
    ports: u32,
) -> u64 {
    let mut sum = u64::from(ports) << 32 | u64::from(protocol) << 1 | u64::from(is_v6);
    if is_v6 {
        sum = mix(sum, own[0], secrets);
        sum = mix(sum, own[1], secrets);
        sum = mix(sum, peer[0], secrets);
        sum = mix(sum, peer[1], secrets);
    } else {
        sum = mix(sum, own[0] << 32 | peer[0], secrets);
    }
    mix(sum, 0, secrets)
}

/// Two rounds: after one alone, a change of the upper bit of one word could be made good by a change of the
/// next one, whatever the secret is.
#[inline(always)]
const fn mix(sum: u64, word: u64, secrets: [u64; 2]) -> u64 {
    let product = (sum ^ word).wrapping_add(secrets[0]).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let product =
        (product ^ product >> 32).wrapping_add(secrets[1]).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    product ^ product >> 29
}

#[cfg(test)]
mod tests;
