//! Reads the frames of a capture: pcap (draft-ietf-opsawg-pcap) and pcapng
//! (draft-ietf-opsawg-pcapng), also compressed by gzip. A capture is read as a stream, so that its
//! length does not matter.
//!
//! A record with wrong content costs only its own frame, as long as the file says where the next
//! one begins: pcap by the captured length, pcapng by the length of the block.

use std::io::{self, BufRead as _, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, create_reader};
use xdp_common::packet::LinkType;

use crate::gzip::{self, Members, Tail};

/// Longest block that is read, in bytes. Wireshark writes no longer ones.
const LONGEST_BLOCK: usize = 1 << 20;
/// Types of pcapng's blocks (sections 4.1 to 4.4 of the draft).
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
/// The obsolete packet block (appendix A of the draft), which old tools wrote.
const OBSOLETE_PACKET: u32 = 2;
/// Bytes of a block around its body: type and length before it, and the length again after it.
const BLOCK_FRAME: usize = 12;
/// Bytes of an enhanced packet block between type and length and its data: interface, time stamp,
/// captured and original length.
const ENHANCED_HEADER: usize = 20;
/// Bytes of an obsolete packet block between type and length and its data: interface, drops, time
/// stamp, captured and original length.
const OBSOLETE_HEADER: usize = 20;

/// A link type other than the one that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found}, not {}", named(*.wanted))]
pub struct OtherLink {
    pub found: String,
    pub wanted: LinkType,
}

/// Why a capture, or the rest of it, cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("it is neither a pcap nor a pcapng file, nor one of these compressed by gzip")]
    NotACapture,
    #[error("its link type is {0}")]
    LinkType(OtherLink),
    #[error("it is cut off in the middle of a block, after frame {0}")]
    CutOff(u64),
    #[error("what follows frame {0} is damaged")]
    Damaged(u64),
    #[error("it cannot be read: {0}")]
    Io(io::Error),
}

/// Why one frame of a capture cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("its link type is {0}")]
    LinkType(OtherLink),
    #[error("it was captured on interface {0}, which the capture does not describe")]
    Interface(u32),
    #[error("its record claims {claimed} captured bytes and has room for {room}")]
    Claims { claimed: u32, room: usize },
    #[error("its record claims {captured} captured bytes of a frame of {original}")]
    LongerThanItWas { captured: u32, original: u32 },
    #[error("its record claims {0} captured bytes, more than any capture has in one")]
    TooLarge(u32),
    #[error("its record is damaged")]
    Damaged,
    #[error("the capture ends in the middle of its record")]
    CutOff,
    #[error("the capture cannot be read any further than into its record")]
    Io,
}

/// What comes next in a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A frame.
    Frame {
        /// Its length on the wire, in bytes, which is never less than what was captured.
        original: u32,
    },
    /// A frame that was captured, but cannot be read.
    Unreadable(Fault),
}

impl Error {
    /// Whether nothing of the file can be read, so that another file has to be named.
    pub const fn is_of_the_whole(&self) -> bool {
        matches!(self, Self::NotACapture | Self::LinkType(_))
    }

    /// A hint that says what to do.
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotACapture => Some("`tcpdump -w FILE` and Wireshark write such files"),
            Self::LinkType(OtherLink { wanted: LinkType::Raw, .. }) => Some(
                "packets on that interface have no Ethernet header: capture there, `tcpdump -i IFACE \
                 -w FILE`",
            ),
            Self::LinkType(OtherLink { wanted: LinkType::Ethernet, .. }) => Some(
                "capture on an Ethernet interface itself: `tcpdump -i IFACE -w FILE`, not `-i any`, \
                 which has no Ethernet headers",
            ),
            Self::Io(_) => Some("name a pcap or pcapng file, or `-` for standard input"),
            Self::CutOff(_) | Self::Damaged(_) => Some("capture it again, or cut it at that frame"),
        }
    }
}

/// A capture that is being read.
pub struct Capture<'r> {
    reader: Box<dyn PcapReaderIterator + Send + 'r>,
    layout: Layout,
    /// Frames so far, including those that could not be read.
    frames: u64,
    /// The error to return next: why nothing follows the last frame.
    broken: Option<Error>,
    tail: Tail,
}

/// What the headers so far say about the records that follow them.
#[derive(Default)]
struct Layout {
    is_pcapng: bool,
    big_endian: bool,
    /// For pcapng: the link type and the snap length of each interface of the section.
    interfaces: Vec<(Linktype, u32)>,
}

/// A step through the capture.
enum Step {
    Record(Record),
    Other,
}

/// Why the parser has no block.
enum Stop {
    Incomplete,
    CutOff,
    Damaged,
    Io,
}

impl<'r> Capture<'r> {
    /// Begins to read a capture.
    ///
    /// # Errors
    ///
    /// [`Error::NotACapture`], and [`Error::Io`] if the source or its compression fails.
    pub fn open(source: impl Read + Send + 'r) -> Result<Self, Error> {
        let mut source = BufReader::with_capacity(1 << 16, source);
        let compressed = source.fill_buf().map_err(Error::Io)?.starts_with(&gzip::MAGIC);
        let (tail, open) = (Tail::default(), Arc::<AtomicBool>::default());
        let reader = if compressed {
            create_reader(
                LONGEST_BLOCK,
                Whole::new(Members::new(source, tail.clone()), open.clone()),
            )
        } else {
            create_reader(LONGEST_BLOCK, Whole::new(source, open.clone()))
        };
        match reader {
            Ok(reader) => {
                open.store(true, Ordering::Relaxed);
                Ok(Self { reader, layout: Layout::default(), frames: 0, broken: None, tail })
            }
            Err(PcapError::ReadError) => Err(Error::Io(io::Error::other(if compressed {
                "it is compressed by gzip, and damaged"
            } else {
                "the system refuses it"
            }))),
            Err(_) => Err(Error::NotACapture),
        }
    }

    /// Whether bytes after the compressed data that are not gzip's were ignored. Known only at the
    /// end.
    pub fn has_left_a_tail(&self) -> bool {
        self.tail.was_left()
    }

    /// Puts the next frame into `frame`; `None` at the end. Its link has to be of type `link_type`.
    ///
    /// # Errors
    ///
    /// Fails where nothing more can be read: the file breaks off, or it is unknown where the next
    /// record begins. A frame at that place is returned before, as [`Record::Unreadable`].
    pub fn next(
        &mut self,
        link_type: LinkType,
        frame: &mut Vec<u8>,
    ) -> Result<Option<Record>, Error> {
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        loop {
            let stop = match self.reader.next() {
                Ok((length, block)) => {
                    let step = self.layout.read(&block, link_type, frame)?;
                    drop(block);
                    self.reader.consume(length);
                    match step {
                        Step::Other => continue,
                        Step::Record(record) => return Ok(Some(self.counted(record))),
                    }
                }
                Err(PcapError::Eof) => return Ok(None),
                Err(PcapError::Incomplete(_)) => Stop::Incomplete,
                Err(PcapError::UnexpectedEof) => Stop::CutOff,
                Err(PcapError::ReadError) => Stop::Io,
                Err(_) => Stop::Damaged,
            };
            // A wrong length inside a block makes the parser ask for more than the block has.
            if let Some((kind, length)) = self.layout.whole_block(self.reader.data()) {
                let fault = self.layout.fault(kind, &self.reader.data()[..length]);
                match kind {
                    // Without these blocks, those that follow cannot be understood.
                    SECTION_HEADER | INTERFACE_DESCRIPTION => {
                        return Err(Error::Damaged(self.frames));
                    }
                    _ => self.reader.consume(length),
                }
                match fault {
                    Some(fault) => return Ok(Some(self.counted(Record::Unreadable(fault)))),
                    None => continue,
                }
            }
            let stop = match stop {
                Stop::Incomplete if self.reader.refill().is_ok() => continue,
                Stop::Incomplete => Stop::Io,
                stop => stop,
            };
            return self.end(&stop);
        }
    }

    fn counted(&mut self, record: Record) -> Record {
        self.frames += 1;
        record
    }

    /// Ends the capture with an error. If reading stopped within the record of a frame, returns
    /// that as unreadable first.
    fn end(&mut self, stop: &Stop) -> Result<Option<Record>, Error> {
        let error = match stop {
            Stop::CutOff => Error::CutOff(self.frames),
            Stop::Damaged => Error::Damaged(self.frames),
            Stop::Io | Stop::Incomplete => unreadable(),
        };
        let data = self.reader.data();
        if !self.layout.begins_a_frame(data) {
            return Err(error);
        }
        let fault = match stop {
            Stop::CutOff => Fault::CutOff,
            Stop::Damaged => self.layout.claimed(data).map_or(Fault::Damaged, Fault::TooLarge),
            Stop::Io | Stop::Incomplete => Fault::Io,
        };
        self.broken = Some(error);
        Ok(Some(self.counted(Record::Unreadable(fault))))
    }
}

impl Layout {
    /// Reads a block, and puts the frame in it into `frame`.
    fn read(
        &mut self,
        block: &PcapBlockOwned<'_>,
        link_type: LinkType,
        frame: &mut Vec<u8>,
    ) -> Result<Step, Error> {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                self.big_endian = header.is_bigendian();
                // The upper bits say whether frames end with a checksum.
                let link = Linktype(header.network.0 & 0xffff);
                require(link_type, link).map_err(Error::LinkType)?;
                return Ok(Step::Other);
            }
            PcapBlockOwned::NG(Block::SectionHeader(header)) => {
                self.is_pcapng = true;
                self.big_endian = header.big_endian();
                self.interfaces.clear();
                return Ok(Step::Other);
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                self.interfaces.push((interface.linktype, interface.snaplen));
                return Ok(Step::Other);
            }
            _ => {}
        }
        let taken = match block {
            PcapBlockOwned::Legacy(block) => take(block.data, block.caplen, block.origlen, frame),
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => self
                .interface(packet.if_id, link_type)
                .and_then(|_| take(packet.data, packet.caplen, packet.origlen, frame)),
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                self.interface(0, link_type).and_then(|most| {
                    // A simple packet block does not say how much was captured.
                    let most = if most == 0 { u32::MAX } else { most };
                    take(packet.data, packet.origlen.min(most), packet.origlen, frame)
                })
            }
            PcapBlockOwned::NG(Block::Unknown(block))
                if self.kind(block.block_type) == OBSOLETE_PACKET =>
            {
                self.obsolete(block.data, link_type, frame)
            }
            // Names, statistics, comments, secrets.
            _ => return Ok(Step::Other),
        };
        Ok(Step::Record(taken.unwrap_or_else(Record::Unreadable)))
    }

    fn obsolete(
        &self,
        data: &[u8],
        link_type: LinkType,
        frame: &mut Vec<u8>,
    ) -> Result<Record, Fault> {
        if data.len() < OBSOLETE_HEADER {
            return Err(Fault::Damaged);
        }
        let word = |at: usize| self.word(data, at).ok_or(Fault::Damaged);
        let first = word(0)?;
        let number = if self.big_endian { first >> 16 } else { first & 0xffff };
        self.interface(number, link_type)?;
        take(&data[OBSOLETE_HEADER..], word(12)?, word(16)?, frame)
    }

    /// The snap length of an interface, whose link has to be of that type.
    fn interface(&self, number: u32, link_type: LinkType) -> Result<u32, Fault> {
        let found = self.interfaces.get(number as usize);
        let (link, most) = *found.ok_or(Fault::Interface(number))?;
        require(link_type, link).map_err(Fault::LinkType)?;
        Ok(most)
    }

    /// The type of a block. The parser always reads it as little-endian.
    const fn kind(&self, block_type: u32) -> u32 {
        if self.big_endian { block_type.swap_bytes() } else { block_type }
    }

    fn word(&self, data: &[u8], at: usize) -> Option<u32> {
        let bytes = *data.get(at..)?.first_chunk()?;
        Some(if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    /// Type and length of the pcapng block at the beginning of `data`; `None` unless all of it is
    /// there and its two lengths agree.
    fn whole_block(&self, data: &[u8]) -> Option<(u32, usize)> {
        if !self.is_pcapng {
            return None;
        }
        let (kind, length) = (self.word(data, 0)?, self.word(data, 4)?);
        let size = usize::try_from(length).ok()?;
        let whole = size >= BLOCK_FRAME && size.is_multiple_of(4);
        (whole && self.word(data, size - 4)? == length).then_some((kind, size))
    }

    /// What is wrong with the frame in a block that cannot be parsed; `None` if it holds no frame.
    fn fault(&self, kind: u32, block: &[u8]) -> Option<Fault> {
        if !is_packet(kind) {
            return None;
        }
        let room = block.len().checked_sub(BLOCK_FRAME + ENHANCED_HEADER);
        let claims = match (kind, room, self.word(block, 20)) {
            (ENHANCED_PACKET, Some(room), Some(claimed)) if claimed as usize > room => {
                Some(Fault::Claims { claimed, room })
            }
            _ => None,
        };
        Some(claims.unwrap_or(Fault::Damaged))
    }

    /// Whether the record of a frame begins at `data`.
    fn begins_a_frame(&self, data: &[u8]) -> bool {
        if self.is_pcapng { self.word(data, 0).is_some_and(is_packet) } else { !data.is_empty() }
    }

    /// The captured length in a pcap record, the only thing in it that can be wrong.
    fn claimed(&self, data: &[u8]) -> Option<u32> {
        if self.is_pcapng { None } else { self.word(data, 8) }
    }
}

const fn is_packet(kind: u32) -> bool {
    matches!(kind, ENHANCED_PACKET | SIMPLE_PACKET | OBSOLETE_PACKET)
}

/// Puts the captured bytes of a frame into `frame`. `data` may have padding and more after them.
fn take(data: &[u8], captured: u32, original: u32, frame: &mut Vec<u8>) -> Result<Record, Fault> {
    let claims = Fault::Claims { claimed: captured, room: data.len() };
    let data = data.get(..captured as usize).ok_or(claims)?;
    if captured > original {
        return Err(Fault::LongerThanItWas { captured, original });
    }
    frame.clear();
    frame.extend_from_slice(data);
    Ok(Record::Frame { original })
}

/// Refuses links of another type.
fn require(wanted: LinkType, link: Linktype) -> Result<(), OtherLink> {
    let is_wanted = match wanted {
        LinkType::Ethernet => link == Linktype::ETHERNET,
        LinkType::Raw => [Linktype::RAW, Linktype::IPV4, Linktype::IPV6].contains(&link),
    };
    if is_wanted {
        return Ok(());
    }
    // Link types without a known name are printed with their number in parentheses.
    let name = link.to_string();
    let found = if name.contains('(') { link.0.to_string() } else { name };
    Err(OtherLink { found, wanted })
}

const fn named(link_type: LinkType) -> &'static str {
    match link_type {
        LinkType::Ethernet => "Ethernet",
        LinkType::Raw => "RAW (IP without a link layer header)",
    }
}

/// An I/O error of unknown cause: the reader does not keep the cause.
fn unreadable() -> Error {
    Error::Io(io::Error::other("the system refuses it, or its compression is damaged"))
}

/// A reader that fills the first buffer it is given as far as it can: the parser decides by that
/// buffer what kind of file it is.
struct Whole<R> {
    inner: R,
    begun: bool,
    /// The error that ended the first read. It is kept, since a decoder does not fail twice.
    failed: Option<io::Error>,
    /// Set once the kind of file is known. Returning an error earlier would lose the frames that
    /// were read before it.
    open: Arc<AtomicBool>,
}

impl<R> Whole<R> {
    const fn new(inner: R, open: Arc<AtomicBool>) -> Self {
        Self { inner, begun: false, failed: None, open }
    }
}

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.failed.is_some() && !self.open.load(Ordering::Relaxed) {
            return Ok(0);
        }
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if self.begun {
            return self.inner.read(buffer);
        }
        self.begun = true;
        let mut filled = 0;
        while filled < buffer.len() {
            match self.inner.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(length) => filled += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Return what was read first, and the error next time.
                Err(error) if filled > 0 => {
                    self.failed = Some(error);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}
