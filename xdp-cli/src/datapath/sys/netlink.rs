//! One question to the kernel over netlink and all of its answer, blocking.
//!
//! Attributes are read one by one and not into typed messages. Of some hundred that an interface
//! has, a dozen matter here, and a parser of all would fail where a newer kernel sends one in a new
//! form.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_EXCL, NLM_F_MULTIPART,
    NLM_F_REPLACE, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer,
};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// Bytes before every message's payload.
const NETLINK_HEADER_LEN: usize = 16;
/// The upper two bits of an attribute's type are flags (nested, network byte order).
const NLA_TYPE_MASK: u16 = 0x3fff;
/// Bytes of an attribute's length and type.
const NLA_HEADER_LEN: usize = 4;
/// How often a dump is asked for, as long as the kernel marks it as inconsistent.
const DUMP_ATTEMPTS: u32 = 8;

/// A request under construction.
pub(in crate::datapath) struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// A question about one object. `header` is what the family puts before the attributes.
    pub(in crate::datapath) fn one(message_type: u16, header: &[u8]) -> Self {
        Self::new(message_type, header, false)
    }

    /// A question about all objects of a kind.
    pub(in crate::datapath) fn all(message_type: u16, header: &[u8]) -> Self {
        Self::new(message_type, header, true)
    }

    /// A change of one object, which is acknowledged. With `put`, it is made where it is not there, and
    /// replaced where it is.
    pub(in crate::datapath) fn change(message_type: u16, header: &[u8], put: bool) -> Self {
        let mut request = Self::new(message_type, header, false);
        let put = if put { NLM_F_CREATE | NLM_F_REPLACE } else { 0 };
        let mut buffer = NetlinkBuffer::new(&mut request.bytes);
        buffer.set_flags(NLM_F_REQUEST | NLM_F_ACK | put);
        request
    }

    /// Makes an object, which is acknowledged. With `exclusive`, it must not be there yet.
    pub(in crate::datapath) fn create(message_type: u16, header: &[u8], exclusive: bool) -> Self {
        let mut request = Self::new(message_type, header, false);
        let exclusive = if exclusive { NLM_F_EXCL } else { 0 };
        let mut buffer = NetlinkBuffer::new(&mut request.bytes);
        buffer.set_flags(NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | exclusive);
        request
    }

    fn new(message_type: u16, header: &[u8], dump: bool) -> Self {
        let mut bytes = vec![0; NETLINK_HEADER_LEN];
        bytes.extend_from_slice(header);
        let mut buffer = NetlinkBuffer::new(&mut bytes);
        buffer.set_message_type(message_type);
        buffer.set_flags(NLM_F_REQUEST | if dump { NLM_F_DUMP } else { 0 });
        Self { bytes }
    }

    /// Adds an attribute. `value` has to be shorter than 64 KiB, the most that its length field can
    /// say.
    pub(in crate::datapath) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        self.bytes.extend_from_slice(&attribute_bytes(kind, value));
        self
    }

    fn finish(&mut self, sequence: u32) -> &[u8] {
        let length = self.bytes.len() as u32;
        let mut buffer = NetlinkBuffer::new(&mut self.bytes);
        buffer.set_length(length);
        buffer.set_sequence_number(sequence);
        &self.bytes
    }
}

/// A netlink socket of one protocol.
pub(in crate::datapath) struct Netlink {
    socket: Socket,
    sequence: u32,
}

/// The part of an answer that has come so far.
#[derive(Debug, Default)]
struct Answer {
    /// The payload of each message.
    messages: Vec<Vec<u8>>,
    complete: bool,
    /// The tables changed while the kernel walked them.
    interrupted: bool,
}

impl Netlink {
    /// Opens a socket in the caller's network namespace.
    pub(in crate::datapath) fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Opens a socket for questions about interfaces, addresses and routes, rtnetlink(7).
    pub(in crate::datapath) fn route() -> io::Result<Self> {
        Self::open(NETLINK_ROUTE)
    }

    /// Sends the request and returns the payload of each message of the answer.
    pub(in crate::datapath) fn ask(&mut self, mut request: Request) -> io::Result<Vec<Vec<u8>>> {
        for _ in 0..DUMP_ATTEMPTS {
            self.sequence += 1;
            self.socket.send_to(request.finish(self.sequence), &SocketAddr::new(0, 0), 0)?;
            let mut answer = Answer::default();
            while !answer.complete {
                match self.socket.recv_from_full() {
                    Ok((datagram, _)) => answer.take(&datagram, self.sequence)?,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            if !answer.interrupted {
                return Ok(answer.messages);
            }
        }
        Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "the interfaces kept changing while they were being listed",
        ))
    }
}

impl Answer {
    /// Takes the messages of one datagram apart.
    fn take(&mut self, datagram: &[u8], sequence: u32) -> io::Result<()> {
        let mut rest = datagram;
        while !rest.is_empty() && !self.complete {
            let message = NetlinkBuffer::new_checked(rest)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            // A message with another number is the rest of an answer that was given up.
            if message.sequence_number() == sequence {
                self.interrupted |= message.flags() & NLM_F_DUMP_INTR != 0;
                match message.message_type() {
                    // Both carry a negated errno, 0 being an acknowledgement.
                    NLMSG_ERROR | NLMSG_DONE => {
                        match read_u32(message.payload()).map_or(0, |errno| errno as i32) {
                            0 => self.complete = true,
                            errno => return Err(io::Error::from_raw_os_error(-errno)),
                        }
                    }
                    _ => {
                        self.messages.push(message.payload().to_vec());
                        self.complete = message.flags() & NLM_F_MULTIPART == 0;
                    }
                }
            }
            let length = (message.length() as usize).next_multiple_of(4);
            rest = rest.get(length..).unwrap_or_default();
        }
        Ok(())
    }
}

/// An attribute, which may hold others, up to 64 KiB, and the padding behind it.
pub(in crate::datapath) fn attribute_bytes(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = ((NLA_HEADER_LEN + value.len()) as u16).to_ne_bytes().to_vec();
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// The attributes in `bytes`, up to the first one with an impossible length.
pub(in crate::datapath) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(read_u16(bytes)?);
        let kind = read_u16(bytes.get(2..)?)? & NLA_TYPE_MASK;
        let value = bytes.get(NLA_HEADER_LEN..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The first attribute of that type.
pub(in crate::datapath) fn attribute(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

pub(in crate::datapath) fn read_u16(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

pub(in crate::datapath) fn read_u32(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

pub(in crate::datapath) fn read_u64(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes))
}

/// An address of 4 or 16 bytes, in network order.
pub(in crate::datapath) fn read_ip(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(v4).into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|v6| Ipv6Addr::from(v6).into())
}

/// The bytes of an address, in network order.
pub(in crate::datapath) fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// Text up to the NUL that ends it.
pub(in crate::datapath) fn read_string(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(message_type: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Request::one(message_type, payload).finish(sequence).to_vec();
        NetlinkBuffer::new(&mut bytes).set_flags(flags);
        bytes
    }

    #[test]
    fn attributes_are_aligned_and_lose_their_flag_bits() {
        let bytes = Request::one(0, &[]).attribute(1, b"abc").attribute(0x8002, &[7]).bytes;
        let found: Vec<_> = attributes(&bytes[NETLINK_HEADER_LEN..]).collect();
        assert_eq!(found, [(1, &b"abc"[..]), (2, &[7][..])]);
    }

    #[test]
    fn attributes_stop_at_a_length_that_cannot_be() {
        for bytes in [&[3, 0, 1, 0][..], &[9, 0, 1, 0, 0], &[0, 0, 0, 0], &[4, 0]] {
            assert_eq!(attributes(bytes).count(), 0, "{bytes:?}");
        }
    }

    #[test]
    fn a_single_message_is_a_whole_answer() {
        let mut answer = Answer::default();
        answer.take(&message(16, 0, 5, &[1, 2, 3, 4]), 5).unwrap();
        assert!(answer.complete);
        assert_eq!(answer.messages, [[1, 2, 3, 4]]);
    }

    #[test]
    fn a_dump_goes_on_until_done() {
        let mut answer = Answer::default();
        let part = message(16, NLM_F_MULTIPART, 5, &[1, 2, 3, 4]);
        answer.take(&[part.clone(), part].concat(), 5).unwrap();
        assert!(!answer.complete);
        answer.take(&message(NLMSG_DONE, NLM_F_MULTIPART, 5, &[0; 4]), 5).unwrap();
        assert!(answer.complete && !answer.interrupted);
        assert_eq!(answer.messages.len(), 2);
    }

    #[test]
    fn an_interrupted_dump_is_known_by_its_end() {
        let mut answer = Answer::default();
        let flags = NLM_F_MULTIPART | NLM_F_DUMP_INTR;
        answer.take(&message(NLMSG_DONE, flags, 5, &[0; 4]), 5).unwrap();
        assert!(answer.complete && answer.interrupted);
    }

    #[test]
    fn an_older_answer_is_passed_over() {
        let mut answer = Answer::default();
        answer.take(&message(16, 0, 4, &[1, 2, 3, 4]), 5).unwrap();
        assert!(!answer.complete && answer.messages.is_empty());
    }

    #[test]
    fn an_error_is_the_errno() {
        let errno = (-libc::ENODEV).to_ne_bytes();
        let error = Answer::default().take(&message(NLMSG_ERROR, 0, 5, &errno), 5).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
    }
}
