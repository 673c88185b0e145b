//! Frames of a capture: pcap (draft-ietf-opsawg-pcap) and pcapng (draft-ietf-opsawg-pcapng), also
//! compressed by gzip. Read as a stream, so that its length does not matter.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, create_reader};

/// Longest block that is read. Wireshark writes none that is longer.
const LONGEST_BLOCK: usize = 1 << 20;
/// The first bytes of a file compressed by gzip (RFC 1952, section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// The obsolete packet block of pcapng (appendix A of the draft), which old tools wrote.
const OBSOLETE_PACKET: u32 = 2;
/// Bytes of such a block before its data: interface, drops, time stamp, captured and original
/// length.
const OBSOLETE_HEADER: usize = 20;

/// Why a capture, or the rest of it, cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("it is neither a pcap nor a pcapng file, nor one of these compressed by gzip")]
    NotACapture,
    #[error("its link type is {0}, not Ethernet")]
    LinkType(String),
    #[error("it is cut off in the middle of a block, after frame {0}")]
    CutOff(u64),
    #[error("what follows frame {0} is damaged")]
    Damaged(u64),
    #[error("it cannot be read: {0}")]
    Io(io::Error),
}

impl Error {
    /// What would be right.
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotACapture => Some("`tcpdump -w FILE` and Wireshark write such files"),
            Self::LinkType(_) => Some(
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
    /// Of pcapng: link type and most bytes of a frame, for each interface of the section.
    interfaces: Vec<(Linktype, u32)>,
    big_endian: bool,
    /// Frames so far.
    frames: u64,
}

/// A step through the capture.
enum Step {
    Frame(u32),
    Other,
}

impl<'r> Capture<'r> {
    /// Begins to read.
    pub fn open(source: impl Read + Send + 'r) -> Result<Self, Error> {
        let mut source = BufReader::with_capacity(1 << 16, source);
        let compressed = source.fill_buf().map_err(Error::Io)?.starts_with(&GZIP);
        let reader = if compressed {
            create_reader(LONGEST_BLOCK, Whole::new(MultiGzDecoder::new(source)))
        } else {
            create_reader(LONGEST_BLOCK, Whole::new(source))
        };
        match reader {
            Ok(reader) => Ok(Self { reader, interfaces: Vec::new(), big_endian: false, frames: 0 }),
            Err(PcapError::ReadError) => Err(Error::Io(io::Error::other(if compressed {
                "it is compressed by gzip, and damaged"
            } else {
                "the system refuses it"
            }))),
            Err(_) => Err(Error::NotACapture),
        }
    }

    /// Puts the next frame into `frame`, and returns the length that it had on the wire; `None` at
    /// the end.
    pub fn next(&mut self, frame: &mut Vec<u8>) -> Result<Option<u32>, Error> {
        loop {
            let frames = self.frames;
            match self.reader.next() {
                Ok((length, block)) => {
                    let step = Self::block(
                        &block,
                        &mut self.interfaces,
                        &mut self.big_endian,
                        frames,
                        frame,
                    )?;
                    drop(block);
                    self.reader.consume(length);
                    if let Step::Frame(original) = step {
                        self.frames += 1;
                        return Ok(Some(original));
                    }
                }
                Err(PcapError::Eof) => return Ok(None),
                Err(PcapError::Incomplete(_)) => {
                    self.reader.refill().map_err(|_| unreadable())?;
                }
                Err(PcapError::UnexpectedEof) => return Err(Error::CutOff(frames)),
                Err(PcapError::ReadError) => return Err(unreadable()),
                Err(_) => return Err(Error::Damaged(frames)),
            }
        }
    }

    fn block(
        block: &PcapBlockOwned<'_>,
        interfaces: &mut Vec<(Linktype, u32)>,
        big_endian: &mut bool,
        frames: u64,
        frame: &mut Vec<u8>,
    ) -> Result<Step, Error> {
        let mut take = |data: Option<&[u8]>, original: u32| {
            let data = data.ok_or(Error::Damaged(frames))?;
            frame.clear();
            frame.extend_from_slice(data);
            Ok(Step::Frame(original))
        };
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                // The upper bits say whether frames have a checksum at their end.
                ethernet(Linktype(header.network.0 & 0xffff))?;
            }
            PcapBlockOwned::Legacy(block) => {
                return take(block.data.get(..block.caplen as usize), block.origlen);
            }
            PcapBlockOwned::NG(Block::SectionHeader(header)) => {
                *big_endian = header.big_endian();
                interfaces.clear();
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                interfaces.push((interface.linktype, interface.snaplen));
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let (link, _) = *of(interfaces, packet.if_id, frames)?;
                ethernet(link)?;
                return take(packet.data.get(..packet.caplen as usize), packet.origlen);
            }
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                let (link, most) = *of(interfaces, 0, frames)?;
                ethernet(link)?;
                // Such a block does not say how much was captured.
                let most = if most == 0 { u32::MAX } else { most };
                let length = packet.origlen.min(most) as usize;
                return take(packet.data.get(..length), packet.origlen);
            }
            PcapBlockOwned::NG(Block::Unknown(block))
                if is_obsolete(block.block_type, *big_endian) =>
            {
                let data = block.data;
                let header = data.get(..OBSOLETE_HEADER).ok_or(Error::Damaged(frames))?;
                let word = |at: usize| -> u32 {
                    let bytes = [header[at], header[at + 1], header[at + 2], header[at + 3]];
                    if *big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
                };
                let number = if *big_endian { word(0) >> 16 } else { word(0) & 0xffff };
                let (link, _) = *of(interfaces, number, frames)?;
                ethernet(link)?;
                let (captured, original) = (word(12) as usize, word(16));
                let data = data[OBSOLETE_HEADER..].get(..captured);
                return take(data, original);
            }
            // Names, statistics, comments, secrets.
            PcapBlockOwned::NG(_) => {}
        }
        Ok(Step::Other)
    }
}

fn of(interfaces: &[(Linktype, u32)], number: u32, frames: u64) -> Result<&(Linktype, u32), Error> {
    interfaces.get(number as usize).ok_or(Error::Damaged(frames))
}

/// The parser reads this number as little-endian, whatever it is.
const fn is_obsolete(block_type: u32, big_endian: bool) -> bool {
    let number = if big_endian { block_type.swap_bytes() } else { block_type };
    number == OBSOLETE_PACKET
}

fn ethernet(link: Linktype) -> Result<(), Error> {
    if link == Linktype::ETHERNET {
        return Ok(());
    }
    // Of those that it knows, it has a name.
    let name = link.to_string();
    Err(Error::LinkType(if name.contains('(') { link.0.to_string() } else { name }))
}

/// The reader keeps no cause.
fn unreadable() -> Error {
    Error::Io(io::Error::other("the system refuses it, or its compression is damaged"))
}

/// Fills the first buffer that it is given, which decides what kind of file it is.
struct Whole<R> {
    inner: R,
    begun: bool,
}

impl<R> Whole<R> {
    const fn new(inner: R) -> Self {
        Self { inner, begun: false }
    }
}

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
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
                // What was read is told first; the next call meets the error again.
                Err(_) if filled > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}
