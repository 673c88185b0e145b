//! `xdpctl explain`.

mod attached;
mod file;
mod headers;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use xdp_common::capacity::MAX_EXPLAINED_FRAME;
use xdp_common::packet::LinkType;

use super::{Failure, Session};
use crate::args::{Explain, LinkTypeArg, NO_BYTES, PacketArg};
use crate::datapath::error::Error;
use crate::datapath::host::interface::Interface;
use crate::frames::pcap::{self, Capture, OtherLink, Record};
use crate::frames::{cut, dump};
use crate::notation::{counted, plain};
use crate::views::explain::{Explained, Unjudged, json, text};
use attached::Asking;
use file::Compiled;
use headers::Told;

/// The destination of a frame that is built for no interface.
const NOBODYS_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// Who judges the frames.
enum Judge<'a> {
    Attached(Box<Asking<'a>>),
    Configuration(Box<Compiled>),
}

impl Judge<'_> {
    fn ask(&mut self, frame: &[u8], session: &mut Session<'_>) -> Result<Explained, Failure> {
        match self {
            Self::Attached(asking) => asking.ask(frame, session),
            Self::Configuration(compiled) => Ok(compiled.ask(frame)),
        }
    }

    /// Whether verdicts may depend on the question of a DNS message.
    fn asks_about_questions(&self) -> bool {
        match self {
            Self::Attached(asking) => asking.asks_about_questions(),
            Self::Configuration(compiled) => compiled.asks_about_questions(),
        }
    }

    /// A hint for a capture that is refused.
    fn hint(&self, error: &pcap::Error) -> Option<&'static str> {
        match (self, error) {
            // For a configuration, only the command line says what the link type is.
            (Self::Configuration(_), pcap::Error::LinkType(OtherLink { wanted, .. })) => {
                Some(match wanted {
                    LinkType::Ethernet => {
                        "`--link-type raw` is for captures of interfaces without Ethernet headers"
                    }
                    LinkType::Raw => "without `--link-type raw`, captures of Ethernet are taken",
                })
            }
            _ => error.hint(),
        }
    }
}

/// Says what would happen to a frame, or to every frame of a capture.
pub fn run(args: &Explain, session: &mut Session<'_>) -> Result<(), Failure> {
    // Mistakes in the question are reported before anything is asked.
    let question = Question::of(args, session)?;
    if let Some(path) = &args.judge.config {
        let link_type = match args.link_type {
            LinkTypeArg::Ethernet => LinkType::Ethernet,
            LinkTypeArg::Raw => LinkType::Raw,
        };
        let mut judge = Judge::Configuration(Box::new(Compiled::read(path, link_type, session)?));
        return answer(question, &mut judge, link_type, NOBODYS_MAC, args.json, session);
    }
    let interface = args.judge.interface.as_deref().unwrap_or_default();
    let (namespace, attachment) = super::look_at(interface)?;
    let link_type = attachment.link_type()?;
    let own = attachment.interface().and_then(|interface: Interface| interface.mac);
    let asking = Asking::begin(&namespace, &attachment, link_type, session)?;
    let mut judge = Judge::Attached(Box::new(asking));
    answer(question, &mut judge, link_type, own.unwrap_or_default(), args.json, session)
}

/// Answers the question. `own` is the MAC address that a frame goes to, unless another one was
/// given.
fn answer(
    question: Question<'_>,
    judge: &mut Judge<'_>,
    link_type: LinkType,
    own: [u8; 6],
    as_json: bool,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    match question {
        Question::Frame(frame) => {
            if link_type == LinkType::Ethernet && dump::lacks_ethernet(&frame) {
                session.reporter.warning(
                    "that looks like an IP packet without its Ethernet header: it is judged as if its \
                     first bytes were addresses",
                    Some("`tcpdump -xx` prints whole frames, `-x` does not"),
                );
            }
            let explained = judge.ask(&frame, session)?;
            print(session, as_json, &explained)?;
        }
        Question::Headers(headers) => {
            if let Some((message, hint)) = headers.contradicts(link_type) {
                session.reporter.error(&message, Some(&hint));
                return Err(Failure::Configuration);
            }
            let frame = headers.frame(own, link_type)?;
            let explained = judge.ask(&frame, session)?;
            print(session, as_json, &explained)?;
            if headers.lacks_question() && judge.asks_about_questions() {
                session.reporter.note(
                    "the packet has no question, so that no list of names was asked",
                    Some("`--question NAME` puts one in"),
                );
            }
            if headers.asks_in_vain() && judge.asks_about_questions() {
                session.reporter.note(
                    "lists of names look at UDP to and from port 53 alone, and to port 5353: none was \
                     asked",
                    None,
                );
            }
        }
        Question::Capture(capture, path) => {
            capture_of(*capture, path, link_type, judge, as_json, session)?;
        }
    }
    session.out.flush().map_err(Failure::from_output)
}

fn print(session: &mut Session<'_>, as_json: bool, explained: &Explained) -> Result<(), Failure> {
    let written = if as_json {
        json::write(session.out, explained)
    } else {
        text::write(session.out, explained)
    };
    written.map_err(Failure::from_output)
}

/// The frame or the frames that are asked about.
enum Question<'a> {
    Frame(Vec<u8>),
    Headers(Told),
    Capture(Box<Capture<'static>>, &'a Path),
}

impl<'a> Question<'a> {
    fn of(args: &'a Explain, session: &mut Session<'_>) -> Result<Self, Failure> {
        if let Some(packet) = &args.packet {
            return Ok(Self::Frame(match packet {
                PacketArg::Bytes(bytes) => bytes.clone(),
                PacketArg::StandardInput => typed(io::stdin()).map_err(|(message, hint)| {
                    session.reporter.error(&message, hint);
                    Failure::Configuration
                })?,
            }));
        }
        if let Some(path) = &args.pcap {
            let capture =
                open(path).map_err(|error| refuse(path, &error, error.hint(), session))?;
            return Ok(Self::Capture(Box::new(capture), path));
        }
        Told::of(&args.headers).map(Self::Headers).map_err(|(message, hint)| {
            session.reporter.error(&message, Some(&hint));
            Failure::Configuration
        })
    }
}

/// How many bytes of text are read for a frame at most: enough for the longest in any form.
const MOST_TEXT: u64 = 1 << 20;

/// Reads a frame in hexadecimal from standard input. The error is what is wrong with it, and a
/// hint.
fn typed(input: impl Read) -> Result<Vec<u8>, (String, Option<&'static str>)> {
    let mut text = Vec::new();
    input
        .take(MOST_TEXT + 1)
        .read_to_end(&mut text)
        .map_err(|error| (format!("standard input cannot be read: {error}"), None))?;
    let hint = "`tcpdump -xx` and Wireshark's \"Copy as Hex Dump\" print a frame; `--pcap -` reads \
                captures";
    let wrong = |why: String| (format!("the frame on standard input: {why}"), Some(hint));
    if text.len() as u64 > MOST_TEXT {
        return Err(wrong(format!("it is longer than {MOST_TEXT} bytes of text")));
    }
    let text = String::from_utf8(text).map_err(|_| wrong("it is not text".to_owned()))?;
    let frame = dump::parse(&text).map_err(wrong)?;
    if frame.is_empty() {
        return Err(wrong(NO_BYTES.to_owned()));
    }
    Ok(frame)
}

fn open(path: &Path) -> Result<Capture<'static>, pcap::Error> {
    let source: Box<dyn Read + Send> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).map_err(pcap::Error::Io)?)
    };
    Capture::open(source)
}

/// Reports what is wrong with a capture in the same form as mistakes in a configuration.
fn refuse(
    path: &Path,
    error: &pcap::Error,
    hint: Option<&str>,
    session: &mut Session<'_>,
) -> Failure {
    let told = format!("the capture {}: {error}", plain(&path.to_string_lossy()));
    session.reporter.error(&told, hint);
    Failure::Configuration
}

/// Judges each frame in order. A frame that cannot be judged is reported in its place, and the
/// others follow. If the file breaks off the command fails, after all frames before that were
/// judged.
fn capture_of(
    mut capture: Capture<'_>,
    path: &Path,
    link_type: LinkType,
    judge: &mut Judge<'_>,
    as_json: bool,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let mut frame = Vec::new();
    let mut tally = Tally::default();
    let end = loop {
        let record = match capture.next(link_type, &mut frame) {
            Ok(Some(record)) => record,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        tally.frames += 1;
        match tally.judgeable(record, link_type, judge.asks_about_questions(), &mut frame) {
            Ok(captured) => {
                let explained = judge.ask(&frame, session)?;
                let explained = Explained { frame: Some(tally.frames), captured, ..explained };
                print(session, as_json, &explained)?;
            }
            Err(error) => {
                tally.unjudged += 1;
                let unjudged = Unjudged { frame: tally.frames, error };
                let written = if as_json {
                    json::write_unjudged(session.out, &unjudged)
                } else {
                    text::write_unjudged(session.out, &unjudged)
                };
                written.map_err(Failure::from_output)?;
            }
        }
    };
    // Answers are printed before warnings about the capture as a whole.
    session.out.flush().map_err(Failure::from_output)?;
    tally.warn(&capture, end.is_ok(), session);
    match end {
        Ok(()) => Ok(()),
        Err(error) if error.is_of_the_whole() => {
            Err(refuse(path, &error, judge.hint(&error), session))
        }
        Err(error) => {
            let told = format!("the capture {}: {error}", plain(&path.to_string_lossy()));
            let failed = Error::new(told);
            Err(match error.hint() {
                Some(hint) => failed.hint(hint),
                None => failed,
            }
            .into())
        }
    }
}

/// Counts the frames of a capture that were answered.
#[derive(Default)]
struct Tally {
    frames: u64,
    /// Of these, the frames that could not be judged.
    unjudged: u64,
    /// Of these, the frames that were too long to be judged.
    too_long: u64,
    /// Frames that were judged with zeros in place of bytes that the capture does not hold.
    cut: u64,
}

impl Tally {
    /// Makes `frame` as long as it was on the wire. Returns how many bytes of that were captured,
    /// if not all; fails with the reason if the frame cannot be judged.
    fn judgeable(
        &mut self,
        record: Record,
        link_type: LinkType,
        asks_about_questions: bool,
        frame: &mut Vec<u8>,
    ) -> Result<Option<usize>, String> {
        let original = match record {
            Record::Frame { original } => original,
            Record::Unreadable(fault) => return Err(fault.to_string()),
        };
        let (captured, length) = (frame.len(), original as usize);
        if length > MAX_EXPLAINED_FRAME {
            self.too_long += 1;
            return Err(format!("it has {length} bytes, {MAX_EXPLAINED_FRAME} are the most"));
        }
        if captured == length {
            return Ok(None);
        }
        if !cut::is_enough(link_type, frame, original, asks_about_questions) {
            return Err(format!("cut by the capture: {captured} of {length} bytes"));
        }
        self.cut += 1;
        frame.resize(length, 0);
        Ok(Some(captured))
    }

    fn warn(&self, capture: &Capture<'_>, to_the_end: bool, session: &mut Session<'_>) {
        if self.frames == 0 && to_the_end {
            session.reporter.warning("the capture holds no frame", None);
        }
        if self.unjudged > 0 {
            let hint = "capture with receive offload off (`ethtool -K IFACE gro off lro off`)";
            session.reporter.warning(
                &format!("{} could not be judged", counted(self.unjudged, "frame")),
                (self.too_long > 0).then_some(hint),
            );
        }
        if self.cut > 0 {
            session.reporter.warning(
                &format!(
                    "the capture holds only the beginning of {}: they were judged by their headers, \
                     with zeros in place of the rest",
                    counted(self.cut, "frame")
                ),
                Some("`tcpdump -s 0` captures whole frames"),
            );
        }
        if capture.has_left_a_tail() {
            session.reporter.warning(
                "what follows the compressed data of the capture is not gzip's, and was left aside",
                Some("`gzip -t` says so too; if more frames were expected, the file is damaged"),
            );
        }
    }
}
