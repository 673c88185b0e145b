//! A DNS message in a UDP packet, read byte by byte as RFC 1035, section 4.1, has it.

use super::config::Labels;

/// What a UDP packet to or from a port of DNS is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// A message that asks nothing: without a question, or of another opcode than QUERY.
    AsksNothing,
    /// Why the question cannot be read, by the name that `stats` has for it.
    Unreadable(&'static str),
    Asks(Message),
}

/// A message with one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub header: [u8; 12],
    /// The name that is asked for, as it came.
    pub labels: Labels,
    pub qtype: u16,
    /// The question section, as it came.
    pub question: Vec<u8>,
    /// What follows that.
    pub records: Vec<u8>,
}

impl Message {
    /// The bit QR.
    pub fn is_answer(&self) -> bool {
        is_answer(&self.header)
    }

    /// ANCOUNT, NSCOUNT and ARCOUNT.
    pub fn records_counted(&self) -> [u16; 3] {
        [6, 8, 10].map(|at| u16::from_be_bytes([self.header[at], self.header[at + 1]]))
    }
}

fn is_answer(header: &[u8; 12]) -> bool {
    header[2] >> 7 == 1
}

const LABEL: Reading = Reading::Unreadable("label");
const QUESTIONS: Reading = Reading::Unreadable("questions");
const LENGTH: Reading = Reading::Unreadable("length");

/// Reads what lies between the beginning of the UDP header and the end of the IP packet. Of a first
/// fragment (`goes_on`), UDP's length may say more than is there; over IPv6, 0 is all that is there.
/// `queries_only`: answers are none of anybody's business.
pub fn read(packet: &[u8], is_v6: bool, goes_on: bool, queries_only: bool) -> Reading {
    if packet.len() < 8 {
        return LENGTH;
    }
    let stated = match u16::from_be_bytes([packet[4], packet[5]]) {
        0 if is_v6 => packet.len(),
        stated => usize::from(stated),
    };
    if stated < 8 || stated > packet.len() && !goes_on {
        return LENGTH;
    }
    let message = &packet[8..stated.min(packet.len())];
    let Some((header, rest)) = message.split_first_chunk::<12>() else { return LENGTH };
    let opcode = header[2] >> 3 & 15;
    let questions = u16::from_be_bytes([header[4], header[5]]);
    if queries_only && is_answer(header) || opcode != 0 || questions == 0 {
        return Reading::AsksNothing;
    }
    if questions > 1 {
        return QUESTIONS;
    }
    read_question(*header, rest)
}

/// Section 4.1.2, with the limits of section 2.3.4: labels of 63 bytes, names of 255.
fn read_question(header: [u8; 12], bytes: &[u8]) -> Reading {
    let mut labels = Labels::new();
    let mut at = 0;
    loop {
        // Where another byte is more than a name has.
        if at == 255 {
            return LENGTH;
        }
        let Some(&length) = bytes.get(at) else { return LENGTH };
        if length > 63 {
            return LABEL;
        }
        at += 1;
        if length == 0 {
            break;
        }
        let end = at + usize::from(length);
        if end > 255 {
            return LENGTH;
        }
        let Some(label) = bytes.get(at..end) else { return LENGTH };
        labels.push(label.to_vec());
        at = end;
    }
    let Some(&[upper, lower, _, _]) = bytes[at..].first_chunk() else { return LENGTH };
    let (question, records) = bytes.split_at(at + 4);
    Reading::Asks(Message {
        header,
        labels,
        qtype: u16::from_be_bytes([upper, lower]),
        question: question.to_vec(),
        records: records.to_vec(),
    })
}
