//! Compares what the product reads of a DNS message with what the model reads. The fuzz target `dns`
//! includes this file.

use xdp_common::filter::order::Scratch;
use xdp_common::packet::LinkType;
use xdp_common::packet::dns::{self as product, Asks, Message};

use super::dns::{self, Reading};
use super::domains::is_looked_into;
use super::packet::{self, Payload};

/// Panics where the two readings of an Ethernet frame differ. Returns whether it has a message.
pub fn compare(frame: &[u8]) -> bool {
    let Some(Payload::Ip(packet)) = packet::read(frame).map(|frame| frame.payload) else {
        return false;
    };
    let mut scratch = Scratch::LEFT_BEHIND;
    scratch.read(LinkType::Ethernet, frame);
    let read = &scratch.packet;
    let looked_into = is_looked_into(&packet);
    assert_eq!(product::is_message(read), looked_into.is_some(), "whether it is one");
    let Some(queries_only) = looked_into else { return false };
    assert_eq!(product::is_query_alone(read), queries_only);

    let mut message = Message::LEFT_BEHIND;
    let there = &frame[packet.parts.l4..packet.parts.end];
    let wanted = Message::wanted(read) as usize;
    message.bytes[..wanted].copy_from_slice(&there[..wanted]);
    message.length = wanted as u32;
    message.is_first_fragment = u32::from(packet.goes_on);
    let found = message.read_question(read);
    match dns::read(there, packet.source.is_ipv6(), packet.goes_on, queries_only) {
        Reading::AsksNothing => assert_eq!(found, Ok(Asks::Nothing)),
        Reading::Unreadable(why) => assert_eq!(found.map_err(|why| why.as_str()), Err(why)),
        Reading::Asks(expected) => {
            assert_eq!(found, Ok(Asks::One));
            assert_eq!(message.is_answer(), expected.is_answer());
            assert_eq!(message.qtype(), u32::from(expected.qtype));
            let labels = expected.labels.iter();
            let wire: Vec<u8> =
                labels.flat_map(|label| [&[label.len() as u8], &label[..]].concat()).collect();
            assert_eq!(message.name(), wire);
            assert_eq!(message.labels() as usize, expected.labels.len());
            assert_eq!(message.question_end() as usize, 20 + expected.question.len());
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::compare;
    use crate::model::config::{Config, Domains, ListedName};
    use crate::model::dice::{Dice, seed};
    use crate::model::frames::{Edges, frame};

    /// Frames of which every third has a message.
    fn edges() -> Edges {
        let labels = vec![b"example".to_vec(), b"org".to_vec()];
        let names = vec![ListedName { labels, below_only: false }];
        Edges::of(&Config {
            domains: vec![Domains { names, ..Domains::default() }],
            ..Config::default()
        })
    }

    #[test]
    fn messages_are_read_alike() {
        let (mut dice, edges) = (Dice::new(seed()), edges());
        let messages = (0..60_000).filter(|_| compare(&frame(&mut dice, &edges))).count();
        assert!(messages > 10_000, "only {messages} messages");
    }

    #[test]
    fn messages_cut_at_each_byte_are_read_alike() {
        let (mut dice, edges) = (Dice::new(seed()), edges());
        let mut messages = 0;
        while messages < 60 {
            let frame = frame(&mut dice, &edges);
            // UDP over IPv4, whose length is made to be what is there.
            if frame.get(12..15) != Some(&[8, 0, 0x45]) || !compare(&frame) {
                continue;
            }
            messages += 1;
            let total = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
            for length in 24..=total {
                let mut cut = frame[..14 + length].to_vec();
                cut[16..18].copy_from_slice(&(length as u16).to_be_bytes());
                compare(&cut);
                if length >= 28 {
                    cut[38..40].copy_from_slice(&(length as u16 - 20).to_be_bytes());
                    compare(&cut);
                }
            }
        }
    }
}
