//! DNS messages for tests, written byte by byte (RFC 1035, section 4.1; RFC 6891, section 6.1):
//! independent of the code that they test.
//!
//! ```ignore
//! query("www.example.org", A).edns(Edns::default()).build()
//! query("example.org", ANY).question(&wire("example.net"), A).build()
//! ```
//!
//! A message can also be made wrong: names are bytes ([`Message::ask`]), counts can lie
//! ([`Message::counts`]), and what [`Message::build`] returns can be cut.

/// Question types.
pub const A: u16 = 1;
pub const NS: u16 = 2;
pub const SOA: u16 = 6;
pub const TXT: u16 = 16;
pub const AAAA: u16 = 28;
pub const HTTPS: u16 = 65;
pub const ANY: u16 = 255;

/// Question classes.
pub const IN: u16 = 1;
pub const CHAOS: u16 = 3;

/// Flags of a message, in the header's second word.
pub const QR: u16 = 0x8000;
pub const AA: u16 = 0x0400;
pub const TC: u16 = 0x0200;
pub const RD: u16 = 0x0100;
pub const RA: u16 = 0x0080;
pub const Z: u16 = 0x0040;
pub const AD: u16 = 0x0020;
pub const CD: u16 = 0x0010;

/// Response codes.
pub const NXDOMAIN: u16 = 3;
pub const REFUSED: u16 = 5;
/// Its upper bits stand in the OPT record.
pub const BADVERS: u16 = 16;

/// Opcodes.
pub const STATUS: u16 = 2;
pub const NOTIFY: u16 = 4;
pub const UPDATE: u16 = 5;

/// Bytes of a message's header.
pub const HEADER: usize = 12;

/// The type of an OPT record.
const OPT: u16 = 41;
/// How many bytes an answer of xdpctl says that it takes.
const PAYLOAD_SIZE: u16 = 1232;

/// A message in the making.
#[derive(Clone, Debug)]
pub struct Message {
    id: u16,
    /// The header's second word: flags, opcode, response code.
    flags: u16,
    questions: Vec<Question>,
    /// Finished records of the sections for answers and for authority.
    answers: Vec<Vec<u8>>,
    authority: Vec<Vec<u8>>,
    /// Finished records before the OPT.
    additional: Vec<Vec<u8>>,
    edns: Option<Edns>,
    counts: Option<[u16; 4]>,
    trailing: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Question {
    name: Vec<u8>,
    kind: u16,
    class: u16,
}

/// An OPT record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edns {
    pub payload_size: u16,
    pub extended_rcode: u8,
    pub version: u8,
    pub dnssec_ok: bool,
    /// The flags beside DO.
    pub reserved: u16,
    /// Whole options: code, length and value of each.
    pub options: Vec<u8>,
}

impl Default for Edns {
    fn default() -> Self {
        Self {
            payload_size: 4096,
            extended_rcode: 0,
            version: 0,
            dnssec_ok: false,
            reserved: 0,
            options: Vec::new(),
        }
    }
}

impl Edns {
    pub fn dnssec_ok(mut self) -> Self {
        self.dnssec_ok = true;
        self
    }

    pub fn version(mut self, version: u8) -> Self {
        self.version = version;
        self
    }

    /// One more option.
    pub fn option(mut self, code: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len()).expect("fits in an option");
        self.options.extend([code.to_be_bytes(), length.to_be_bytes()].concat());
        self.options.extend(value);
        self
    }

    fn record(&self) -> Vec<u8> {
        let flags = u16::from(self.dnssec_ok) << 15 | self.reserved;
        let mut ttl = vec![self.extended_rcode, self.version];
        ttl.extend(flags.to_be_bytes());
        let ttl: [u8; 4] = ttl.try_into().expect("four bytes");
        record(&[0], OPT, self.payload_size, u32::from_be_bytes(ttl), &self.options)
    }
}

/// A record: owner, type, class, time to live, and data.
pub fn record(owner: &[u8], kind: u16, class: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).expect("fits in a record");
    let mut bytes = owner.to_vec();
    bytes.extend([kind.to_be_bytes(), class.to_be_bytes()].concat());
    bytes.extend(ttl.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes.extend(data);
    bytes
}

/// A name as it stands in a message, with the root's label at its end. Dots part the labels, so none
/// can be inside one; `.` is the root.
#[track_caller]
pub fn wire(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.trim_end_matches('.').split('.').filter(|label| !label.is_empty()) {
        assert!(label.len() <= 63, "{label:?} is longer than a label");
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// A query for that name, recursion desired, with an id of its own.
#[track_caller]
pub fn query(name: &str, kind: u16) -> Message {
    empty().ask(&wire(name), kind, IN)
}

/// A query without a question.
pub fn empty() -> Message {
    Message {
        id: 0x1d5a,
        flags: RD,
        questions: Vec::new(),
        answers: Vec::new(),
        authority: Vec::new(),
        additional: Vec::new(),
        edns: None,
        counts: None,
        trailing: Vec::new(),
    }
}

impl Message {
    pub fn id(mut self, id: u16) -> Self {
        self.id = id;
        self
    }

    /// These flags, and no others; opcode and response code too.
    pub fn flags(mut self, flags: u16) -> Self {
        self.flags = flags;
        self
    }

    pub fn opcode(mut self, opcode: u16) -> Self {
        self.flags = self.flags & !0x7800 | opcode << 11;
        self
    }

    /// One more question, whose name is these bytes.
    pub fn ask(mut self, name: &[u8], kind: u16, class: u16) -> Self {
        self.questions.push(Question { name: name.to_vec(), kind, class });
        self
    }

    /// The class of all questions.
    pub fn class(mut self, class: u16) -> Self {
        for question in &mut self.questions {
            question.class = class;
        }
        self
    }

    /// As a server answers it with a record of type A for the first question.
    pub fn answered(mut self) -> Self {
        self.flags = self.flags | QR | RA;
        self.answer(record(&[0xc0, HEADER as u8], A, IN, 60, &[192, 0, 2, 80]))
    }

    /// One more record that answers.
    pub fn answer(mut self, record: Vec<u8>) -> Self {
        self.answers.push(record);
        self
    }

    /// One more record of the authority section.
    pub fn authority(mut self, record: Vec<u8>) -> Self {
        self.authority.push(record);
        self
    }

    /// One more record before the OPT.
    pub fn additional(mut self, record: Vec<u8>) -> Self {
        self.additional.push(record);
        self
    }

    pub fn edns(mut self, edns: Edns) -> Self {
        self.edns = Some(edns);
        self
    }

    /// The counts to claim: questions, answers, authority, additional.
    pub fn counts(mut self, counts: [u16; 4]) -> Self {
        self.counts = Some(counts);
        self
    }

    /// Bytes behind everything.
    pub fn trailing(mut self, bytes: &[u8]) -> Self {
        self.trailing = bytes.to_vec();
        self
    }

    /// What xdpctl answers to this query in the server's place: its id, its question as it came, the
    /// response code, RD and CD as they were, and, if the query's first additional record is an OPT,
    /// an OPT.
    pub fn refused_with(&self, rcode: u16) -> Self {
        let asked = self.edns.as_ref().filter(|_| {
            self.answers.is_empty() && self.authority.is_empty() && self.additional.is_empty()
        });
        let rcode = match asked {
            Some(edns) if edns.version > 0 => BADVERS,
            _ => rcode,
        };
        let mut answer = empty().id(self.id);
        answer.flags = QR | RA | self.flags & (RD | CD) | rcode & 0xf;
        answer.questions = self.questions.clone();
        answer.edns = asked.map(|edns| Edns {
            payload_size: PAYLOAD_SIZE,
            extended_rcode: (rcode >> 4) as u8,
            dnssec_ok: edns.dnssec_ok,
            ..Edns::default()
        });
        answer
    }

    /// What xdpctl answers where it wants to be asked by TCP.
    pub fn truncated(&self) -> Self {
        let mut answer = self.refused_with(0);
        // BADVERS says no more than that, and has nothing that was cut off.
        if answer.edns.as_ref().is_none_or(|edns| edns.extended_rcode == 0) {
            answer.flags |= TC;
        }
        answer
    }

    /// The bytes.
    pub fn build(&self) -> Vec<u8> {
        let mut additional = self.additional.clone();
        additional.extend(self.edns.as_ref().map(Edns::record));
        let length = |records: &[Vec<u8>]| u16::try_from(records.len()).expect("fits in a count");
        let counts = self.counts.unwrap_or([
            u16::try_from(self.questions.len()).expect("fits in a count"),
            length(&self.answers),
            length(&self.authority),
            length(&additional),
        ]);
        let mut bytes = [self.id.to_be_bytes(), self.flags.to_be_bytes()].concat();
        bytes.extend(counts.into_iter().flat_map(u16::to_be_bytes));
        for Question { name, kind, class } in &self.questions {
            bytes.extend(name);
            bytes.extend([kind.to_be_bytes(), class.to_be_bytes()].concat());
        }
        for section in [&self.answers, &self.authority, &additional] {
            bytes.extend(section.concat());
        }
        bytes.extend(&self.trailing);
        bytes
    }
}
