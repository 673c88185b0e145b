//! Frames of which a capture holds only the beginning, as with `tcpdump -s 96`.

use std::cell::Cell;

use xdp_common::packet::dns::{self, Message, Unreadable};
use xdp_common::packet::{self, LinkType, Packet, PacketBytes};

/// The captured beginning of a frame, and whether bytes were asked for that the frame had, but that
/// were not captured.
struct Beginning<'b> {
    bytes: &'b [u8],
    /// The length of the frame on the wire, in bytes.
    length: u32,
    missed: Cell<bool>,
}

impl PacketBytes for Beginning<'_> {
    type Window<const N: usize> = [u8; N];

    fn length(&self) -> u32 {
        self.length
    }

    fn window<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let window = self.bytes.window(offset);
        self.missed.set(self.missed.get() || window.is_none());
        window
    }
}

/// Whether `bytes`, the beginning of a frame of `length` bytes on a link of that type, hold all its
/// headers and, where the ruleset `asks_about_questions`, that of a DNS message. Then the verdict does
/// not depend on the rest of the frame.
pub fn is_enough(
    link_type: LinkType,
    bytes: &[u8],
    length: u32,
    asks_about_questions: bool,
) -> bool {
    let frame = Beginning { bytes, length, missed: Cell::new(false) };
    // A malformed frame is as good: that was found in the bytes that are there.
    let mut packet = Packet::LEFT_BEHIND;
    let read = packet::parse(link_type, &frame, &mut packet);
    let is_question_cut = asks_about_questions && read.is_ok() && is_question_cut(&packet, bytes);
    !(frame.missed.get() || is_question_cut)
}

/// Whether it is a DNS message whose question ends behind these bytes, which are not the whole frame.
fn is_question_cut(packet: &Packet, bytes: &[u8]) -> bool {
    let there = bytes.get(packet.parts.l4 as usize..).unwrap_or_default();
    let wanted = Message::wanted(packet) as usize;
    if !dns::is_message(packet) || there.len() >= wanted {
        return false;
    }
    let mut message = Message::LEFT_BEHIND;
    message.bytes[..there.len()].copy_from_slice(there);
    message.length = there.len() as u32;
    message.is_first_fragment = 1;
    message.read_question(packet) == Err(Unreadable::Length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::build::{Addresses, Description, Ethernet, Payload, build};

    fn tcp(vlan: Option<u16>) -> Vec<u8> {
        let addresses = Addresses::V4([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let payload = Payload::Tcp { ports: [1, 2], flags: 2 };
        let macs = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];
        let [source_mac, destination_mac] = macs;
        let ethernet = Some(Ethernet { source_mac, destination_mac, vlan });
        build(&Description { ethernet, addresses, payload }).unwrap()
    }

    #[test]
    fn headers_are_there_up_to_the_last_byte_that_is_asked() {
        for (vlan, tag) in [(None, 0), (Some(7), 4)] {
            let frame = tcp(vlan);
            // Everything up to the flags of TCP, at byte 13 of its header.
            let needed = 14 + tag + 20 + 14;
            for kept in 0..=frame.len() {
                let length = frame.len() as u32;
                let there = is_enough(LinkType::Ethernet, &frame[..kept], length, true);
                assert_eq!(there, kept >= needed, "{kept} bytes");
            }
        }
        let packet = tcp(None).split_off(14);
        for kept in 0..=packet.len() {
            let there = is_enough(LinkType::Raw, &packet[..kept], packet.len() as u32, true);
            assert_eq!(there, kept >= 34, "{kept} bytes without a link layer header");
        }
    }

    #[test]
    fn the_question_of_a_message_is_there_up_to_its_class() {
        let addresses = Addresses::V4([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let payload = Payload::Udp { ports: [40_000, 53] };
        let mut frame = build(&Description { ethernet: None, addresses, payload }).unwrap();
        let message = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\x01\x07example\x03org\0\0\x01\0\x01\
                        \0\0\x29\x04\xd0\0\0\0\0\0\0";
        frame.truncate(28);
        frame.extend_from_slice(message);
        let length = frame.len() as u16;
        frame[2..4].copy_from_slice(&length.to_be_bytes());
        frame[24..26].copy_from_slice(&(length - 20).to_be_bytes());
        for kept in 28..=frame.len() {
            let there = is_enough(LinkType::Raw, &frame[..kept], length.into(), true);
            assert_eq!(there, kept >= 28 + 12 + 13 + 4, "{kept} bytes");
        }
    }

    #[test]
    fn what_is_malformed_in_what_is_there_needs_no_more() {
        let mut frame = tcp(None);
        frame[14] = 0x44;
        let there = |kept| is_enough(LinkType::Ethernet, &frame[..kept], frame.len() as u32, true);
        assert!(there(34) && !there(33));
    }
}
