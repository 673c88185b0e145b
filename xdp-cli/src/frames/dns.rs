//! Builds the DNS messages that ask for a name, or answer with it (RFC 1035, section 4.1).

/// Standard query, recursion desired.
const QUERY: u16 = 0x0100;
/// An answer to that, recursion available, without an error.
const ANSWER: u16 = 0x8180;
/// The class of all names on the Internet.
const IN: u16 = 1;

/// What a message asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The name in the form that it has in a message, without the root's label.
    pub name: Vec<u8>,
    pub qtype: u16,
}

impl Question {
    /// A message with this question and no record.
    pub fn message(&self, is_answer: bool) -> Vec<u8> {
        let flags = if is_answer { ANSWER } else { QUERY };
        // Id, flags, and how many questions, answers, authorities and additional records there are.
        let header = [0, flags, 1, 0, 0, 0].map(u16::to_be_bytes);
        let behind = [self.qtype, IN].map(u16::to_be_bytes);
        [header.as_flattened(), &self.name, &[0], behind.as_flattened()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_what_was_said_of_it() {
        let question = Question { name: b"\x01a\x07example".to_vec(), qtype: 28 };
        let bytes = |flags: &[u8]| {
            let header = [&[0, 0], flags, &[0, 1, 0, 0, 0, 0, 0, 0]].concat();
            [&header[..], b"\x01a\x07example\0", &[0, 28, 0, 1]].concat()
        };
        assert_eq!(question.message(false), bytes(&[1, 0]));
        assert_eq!(question.message(true), bytes(&[0x81, 0x80]));
    }
}
