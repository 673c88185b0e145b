//! Writes captured frames as pcapng (draft-ietf-opsawg-pcapng): what became of a frame is the
//! comment of its block, which Wireshark, tshark and editcap show.

use std::borrow::Cow;
use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pcap_parser::{
    EnhancedPacketBlock, InterfaceDescriptionBlock, InterfaceStatisticsBlock, Linktype, OptionCode,
    PcapNGOption, SectionHeaderBlock, ToVec,
};
use xdp_common::packet::LinkType;

use super::{Frame, text};

/// Time stamps are in units of 10^-9 seconds (if_tsresol).
const NANOSECONDS: u8 = 9;
/// The receive queue of a frame (epb_queue), which `pcap_parser` has no name for.
const QUEUE: OptionCode = OptionCode(6);

/// What is captured, and from where.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    pub interface: &'a str,
    pub link_type: LinkType,
    /// Bytes of a frame that are captured at most.
    pub snaplen: u32,
    /// The options of the command line that leave frames out; empty where there are none.
    pub filter: &'a str,
}

/// What was counted until the end of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    pub started: SystemTime,
    pub ended: SystemTime,
    /// Frames that the interface received.
    pub seen: u64,
    /// Of these, frames that the filter asks for, before sampling.
    pub matched: u64,
    /// Frames that were lost because the ring buffer was full.
    pub lost: u64,
    /// Frames that were written.
    pub written: u64,
}

/// Writes what a capture begins with.
///
/// # Errors
///
/// As of `out`.
pub fn begin(out: &mut dyn Write, origin: &Origin<'_>) -> io::Result<()> {
    let program = concat!("xdpctl ", env!("CARGO_PKG_VERSION"));
    let mut section = SectionHeaderBlock {
        block_type: 0,
        block_len1: 0,
        bom: 0,
        major_version: 1,
        minor_version: 0,
        // Not known beforehand.
        section_len: -1,
        options: vec![option(OptionCode::ShbUserAppl, program.as_bytes().into())],
        block_len2: 0,
    };
    write(out, &mut section)?;
    let mut options = vec![
        option(OptionCode::IfName, origin.interface.as_bytes().into()),
        option(OptionCode::IfTsresol, vec![NANOSECONDS].into()),
    ];
    if !origin.filter.is_empty() {
        // The first byte says that it is text of some kind.
        let filter = [&[0], origin.filter.as_bytes()].concat();
        options.push(option(OptionCode::IfFilter, filter.into()));
    }
    let mut interface = InterfaceDescriptionBlock {
        block_type: 0,
        block_len1: 0,
        linktype: match origin.link_type {
            LinkType::Ethernet => Linktype::ETHERNET,
            LinkType::Raw => Linktype::RAW,
        },
        reserved: 0,
        snaplen: origin.snaplen,
        options,
        block_len2: 0,
        if_tsresol: NANOSECONDS,
        if_tsoffset: 0,
    };
    write(out, &mut interface)
}

/// Writes a frame.
///
/// # Errors
///
/// As of `out`.
pub fn frame(out: &mut dyn Write, frame: &Frame<'_>) -> io::Result<()> {
    let comment = text::comment(frame.explained);
    let [ts_high, ts_low] = halves(frame.time);
    let mut packet = EnhancedPacketBlock {
        block_type: 0,
        block_len1: 0,
        if_id: 0,
        ts_high,
        ts_low,
        caplen: frame.data.len() as u32,
        // Never less than what was captured, which readers refuse.
        origlen: frame.length.max(frame.data.len() as u32),
        data: frame.data,
        options: vec![
            option(OptionCode::Comment, comment.as_bytes().into()),
            option(QUEUE, frame.queue.to_le_bytes().to_vec().into()),
        ],
        block_len2: 0,
    };
    write(out, &mut packet)
}

/// Writes what a capture ends with.
///
/// # Errors
///
/// As of `out`.
pub fn end(out: &mut dyn Write, statistics: &Statistics) -> io::Result<()> {
    let Statistics { started, ended, seen, matched, lost, written } = *statistics;
    let time = |time| halves(time).map(u32::to_le_bytes).concat();
    let number = |number: u64| number.to_le_bytes().to_vec();
    let [ts_high, ts_low] = halves(ended);
    let mut block = InterfaceStatisticsBlock {
        block_type: 0,
        block_len1: 0,
        if_id: 0,
        ts_high,
        ts_low,
        options: vec![
            option(OptionCode::IsbStartTime, time(started).into()),
            option(OptionCode::IsbEndTime, time(ended).into()),
            option(OptionCode::IsbIfRecv, number(seen).into()),
            option(OptionCode::IsbIfDrop, number(lost).into()),
            option(OptionCode::IsbFilterAccept, number(matched).into()),
            option(OptionCode::IsbUsrDeliv, number(written).into()),
        ],
        block_len2: 0,
    };
    write(out, &mut block)
}

fn write(out: &mut dyn Write, block: &mut impl ToVec) -> io::Result<()> {
    out.write_all(&block.to_vec().map_err(io::Error::other)?)
}

/// An option. Its length is told in 16 bits, and longer text is cut.
fn option(code: OptionCode, value: Cow<'_, [u8]>) -> PcapNGOption<'_> {
    let mut value = value;
    if value.len() > usize::from(u16::MAX) {
        value.to_mut().truncate(u16::MAX.into());
    }
    PcapNGOption { code, len: value.len() as u16, value }
}

/// A time in nanoseconds since 1970, the upper half first.
fn halves(time: SystemTime) -> [u32; 2] {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let nanoseconds = since.as_nanos() as u64;
    [(nanoseconds >> 32) as u32, nanoseconds as u32]
}

#[cfg(test)]
mod tests {
    use pcap_parser::{Block, PcapBlockOwned, PcapError, create_reader};

    use super::*;
    use crate::frames::pcap::{Capture, Record};
    use crate::views::explain::Explained;

    fn at(nanoseconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(nanoseconds)
    }

    fn written() -> Vec<u8> {
        let mut out = Vec::new();
        let origin = Origin {
            interface: "eth0",
            link_type: LinkType::Ethernet,
            snaplen: 96,
            filter: "--verdict drop",
        };
        begin(&mut out, &origin).unwrap();
        let explained = Explained { verdict: "drop", reason: "default", ..Explained::default() };
        for (number, length) in [(1, 60), (2, 61), (3, 1514)] {
            let data = vec![number; (length as usize).min(96)];
            let time = at(1_700_000_000_123_456_789 + u64::from(number));
            let shown = Frame {
                time,
                link_type: LinkType::Ethernet,
                length,
                queue: 7,
                data: &data,
                explained: &explained,
            };
            frame(&mut out, &shown).unwrap();
        }
        let statistics =
            Statistics { started: at(1), ended: at(2), seen: 9, matched: 5, lost: 2, written: 3 };
        end(&mut out, &statistics).unwrap();
        out
    }

    #[test]
    fn what_is_written_is_read_back() {
        let bytes = written();
        let mut capture = Capture::open(Box::new(&bytes[..])).unwrap();
        let (mut frame, mut lengths) = (Vec::new(), Vec::new());
        while let Some(record) = capture.next(LinkType::Ethernet, &mut frame).unwrap() {
            let Record::Frame { original } = record else { panic!("{record:?}") };
            lengths.push((frame.len(), original));
            assert!(frame.iter().all(|byte| usize::from(*byte) == lengths.len()));
        }
        assert_eq!(lengths, [(60, 60), (61, 61), (96, 1514)]);
    }

    #[test]
    fn every_block_says_what_it_should() {
        let bytes = written();
        let mut reader = create_reader(1 << 16, &bytes[..]).unwrap();
        let mut seen = Vec::new();
        loop {
            match reader.next() {
                Ok((used, PcapBlockOwned::NG(block))) => {
                    seen.push(match &block {
                        Block::SectionHeader(_) => "section".to_owned(),
                        Block::InterfaceDescription(it) => {
                            assert_eq!((it.if_tsresol, it.snaplen), (9, 96));
                            let name = it.options.iter().find(|it| it.code == OptionCode::IfName);
                            String::from_utf8(name.unwrap().value.to_vec()).unwrap()
                        }
                        Block::EnhancedPacket(it) => {
                            let time = u64::from(it.ts_high) << 32 | u64::from(it.ts_low);
                            let comment = &it.options[0];
                            assert_eq!(comment.code, OptionCode::Comment);
                            let comment = &comment.value[..comment.len.into()];
                            format!("{time} {}", String::from_utf8_lossy(comment))
                        }
                        Block::InterfaceStatistics(it) => {
                            let lost =
                                it.options.iter().find(|it| it.code == OptionCode::IsbIfDrop);
                            format!("lost {:?}", lost.unwrap().value)
                        }
                        other => panic!("{other:?}"),
                    });
                    reader.consume(used);
                }
                Ok((_, PcapBlockOwned::Legacy(_) | PcapBlockOwned::LegacyHeader(_))) => panic!(),
                Err(PcapError::Eof) => break,
                Err(PcapError::Incomplete(_)) => reader.refill().unwrap(),
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(
            seen,
            [
                "section",
                "eth0",
                "1700000000123456790 xdpctl: drop default",
                "1700000000123456791 xdpctl: drop default",
                "1700000000123456792 xdpctl: drop default",
                "lost [2, 0, 0, 0, 0, 0, 0, 0]",
            ]
        );
    }
}
