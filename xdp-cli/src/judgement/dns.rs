//! DNS messages in frames: what `xdp-ebpf/src/names.rs` does in the kernel.

use xdp_common::filter::domains;
use xdp_common::filter::effect::{Effect, Stage, intact};
use xdp_common::filter::order::AskNames;
use xdp_common::image::{Header, Lines};
use xdp_common::lookup::names::{Found, Search};
use xdp_common::packet::answer::{self, Answer, BEFORE, SESSION_LENGTH};
use xdp_common::packet::dns::{self, Asks, Message};
use xdp_common::packet::{NO_MACS, Packet};

/// A frame, and the message that was copied from it.
pub struct Names<'f> {
    frame: &'f [u8],
    message: Message,
}

impl<'f> Names<'f> {
    pub fn new(frame: &'f [u8]) -> Self {
        Self { frame, message: Message::LEFT_BEHIND }
    }

    /// Copies the message. Bytes that another packet left behind stay there, as in the kernel.
    fn copy(&mut self, packet: &Packet) {
        let message = &mut self.message;
        (message.length, message.is_first_fragment) = (0, 0);
        let wanted = Message::wanted(packet) as usize;
        let Some(from) = self.frame.get(packet.parts.l4 as usize..) else { return };
        let Some(from) = from.get(..wanted) else { return };
        message.bytes[..wanted].copy_from_slice(from);
        message.length = wanted as u32;
        if message.claims_more(packet) {
            let flags = self.frame.get((packet.parts.l3 + dns::IPV4_FLAGS) as usize..);
            let flags = flags.and_then(|bytes| bytes.first_chunk()).copied().unwrap_or_default();
            message.is_first_fragment =
                u32::from(dns::is_first_fragment(packet, u16::from_be_bytes(flags)));
        }
    }

    /// The frame as it leaves, turned around into an answer; `None` where that cannot be done.
    pub fn answered(&mut self, packet: &Packet, effect: &Effect) -> Option<Vec<u8>> {
        const ETHERNET: u32 = 14;
        let (l3, l4) = (packet.parts.l3 as usize, packet.parts.l4 as usize);
        let before_l3 = |bytes: u32| l3.wrapping_sub(bytes as usize);
        let mut before = 0;
        if packet.parts.l3 > ETHERNET {
            before = u64::from_be_bytes(*self.frame.get(before_l3(BEFORE)..)?.first_chunk()?);
        }
        let (mut answer, length) = (Answer::LEFT_BEHIND, self.frame.len() as u32);
        let message = &mut self.message;
        answer::turn_around(packet, before, length, effect.answer, message, &mut answer)?;
        let summed = answer::summed(&answer) as usize;
        let words = message.bytes.get(..summed)?.as_chunks().0.iter();
        let sum: u64 = words.map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
        let folded = (sum & 0xffff_ffff) + (sum >> 32);
        let folded = (folded & 0xffff_ffff) + (folded >> 32);
        answer::write_checksum(&answer, folded as u32, message);
        let mut frame = self.frame.to_vec();
        let mut put = |at: usize, bytes: &[u8]| -> Option<()> {
            frame.get_mut(at..)?.get_mut(..bytes.len())?.copy_from_slice(bytes);
            Some(())
        };
        put(l3, answer.ip.get(..answer.ip_length as usize)?)?;
        put(l4, message.bytes.get(..answer.message_length as usize)?)?;
        if answer.session_length != 0 {
            put(before_l3(SESSION_LENGTH), &(answer.session_length as u16).to_be_bytes())?;
        }
        if packet.macs != NO_MACS {
            let (destination, source) = self.frame.get(..12)?.split_at(6);
            put(0, source)?;
            put(6, destination)?;
        }
        frame.truncate(answer.frame_length as usize);
        Some(frame)
    }
}

/// The name and the type that a frame asks for, if its question can be read. The frame may be cut
/// behind that, and it may be the answer that the query was turned into (`is_answered`).
pub fn question(packet: &Packet, frame: &[u8], is_answered: bool) -> Option<(Vec<u8>, u16)> {
    let from = frame.get(packet.parts.l4 as usize..).filter(|_| dns::is_message(packet))?;
    let mut message = Message::LEFT_BEHIND;
    let there = from.len().min(Message::wanted(packet) as usize);
    message.bytes[..there].copy_from_slice(&from[..there]);
    message.length = there as u32;
    message.is_first_fragment = 1;
    if is_answered {
        message.bytes[10] &= 0x7f;
    }
    let read = message.read_question(packet);
    (read == Ok(Asks::One)).then(|| (message.name().to_vec(), message.qtype() as u16))
}

impl AskNames for Names<'_> {
    fn judge<L: Lines>(
        &mut self,
        lines: &L,
        header: &Header,
        packet: &Packet,
        effect: &mut Effect,
    ) -> Stage {
        self.copy(packet);
        let mut search = Search::LEFT_BEHIND;
        if !domains::read(packet, &mut self.message, effect) {
            return Stage::Continue(());
        }
        intact(search.begin(lines, header, self.message.labels()))?;
        let found = loop {
            match intact(search.advance(lines, header, &self.message))? {
                Found::Said(found) => break found,
                Found::More => {}
            }
        };
        domains::judge(lines, header, &self.message, found, effect)
    }
}
