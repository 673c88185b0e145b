//! `xdpctl explain`.

mod asking;
mod headers;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::{Failure, Session};
use crate::args::Explain;
use crate::datapath::attached::question::LONGEST;
use crate::frames::pcap::{self, Capture};
use crate::notation::{counted, plain};
use crate::views::explain::{Explained, json, text};
use asking::Asking;
use headers::Told;

pub(super) use asking::full;

/// Says what would become of a frame, or of every frame of a capture.
pub fn run(args: &Explain, session: &mut Session<'_>) -> Result<(), Failure> {
    // What is wrong with the question is told before anything is asked.
    let question = Question::of(args, session)?;
    let namespace = super::attached(&args.interface)?;
    let attachment = namespace.require_attachment(&args.interface)?;
    let mut asking = Asking::begin(&namespace, &attachment, session)?;
    match question {
        Question::Frame(frame) => {
            let explained = asking.ask(&frame, session)?;
            print(session, args.json, None, &explained)?;
        }
        Question::Headers(headers) => {
            let frame = headers.frame(&attachment)?;
            let explained = asking.ask(&frame, session)?;
            print(session, args.json, None, &explained)?;
        }
        Question::Capture(capture, path) => {
            capture_of(*capture, path, &mut asking, args.json, session)?;
        }
    }
    session.out.flush().map_err(Failure::from_output)
}

fn print(
    session: &mut Session<'_>,
    as_json: bool,
    number: Option<u64>,
    explained: &Explained,
) -> Result<(), Failure> {
    let written = if as_json {
        json::write(session.out, explained)
    } else {
        text::write(session.out, number, explained)
    };
    written.map_err(Failure::from_output)
}

/// What is asked about.
enum Question<'a> {
    Frame(Vec<u8>),
    Headers(Told),
    Capture(Box<Capture<'static>>, &'a Path),
}

impl<'a> Question<'a> {
    fn of(args: &'a Explain, session: &mut Session<'_>) -> Result<Self, Failure> {
        if let Some(packet) = &args.packet {
            return Ok(Self::Frame(packet.0.clone()));
        }
        if let Some(path) = &args.pcap {
            let capture = open(path).map_err(|error| refuse(path, &error, session))?;
            return Ok(Self::Capture(Box::new(capture), path));
        }
        Told::of(&args.headers).map(Self::Headers).map_err(|(message, hint)| {
            session.reporter.error(&message, Some(hint));
            Failure::Configuration
        })
    }
}

fn open(path: &Path) -> Result<Capture<'static>, pcap::Error> {
    let source: Box<dyn Read + Send> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).map_err(pcap::Error::Io)?)
    };
    Capture::open(source)
}

/// What is wrong with a capture is told as what is wrong with a configuration.
fn refuse(path: &Path, error: &pcap::Error, session: &mut Session<'_>) -> Failure {
    let told = format!("the capture {}: {error}", plain(&path.to_string_lossy()));
    session.reporter.error(&told, error.hint());
    Failure::Configuration
}

/// Each frame, in order.
fn capture_of(
    mut capture: Capture<'_>,
    path: &Path,
    asking: &mut Asking<'_>,
    as_json: bool,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let mut frame = Vec::new();
    let (mut number, mut cut) = (0, 0);
    loop {
        let original = match capture.next(&mut frame) {
            Ok(Some(original)) => original as usize,
            Ok(None) => break,
            Err(error) => {
                // What was answered so far comes first.
                session.out.flush().map_err(Failure::from_output)?;
                return Err(refuse(path, &error, session));
            }
        };
        number += 1;
        let length = frame.len().max(original);
        if length > LONGEST {
            session.out.flush().map_err(Failure::from_output)?;
            let told = format!(
                "the capture {}: frame {number} has {length} bytes, {LONGEST} are the most",
                plain(&path.to_string_lossy())
            );
            let hint = "capture with receive offload off (`ethtool -K IFACE gro off lro off`)";
            session.reporter.error(&told, Some(hint));
            return Err(Failure::Configuration);
        }
        // Where the capture kept only the beginning, a frame as long as it was is judged as that
        // was, if its headers are in what was kept.
        let captured = (length > frame.len()).then_some(frame.len());
        cut += u64::from(captured.is_some());
        frame.resize(length, 0);
        let explained = Explained { captured, ..asking.ask(&frame, session)? };
        print(session, as_json, Some(number), &explained)?;
    }
    if number == 0 {
        session.reporter.warning("the capture holds no frame", None);
    }
    if cut > 0 {
        session.out.flush().map_err(Failure::from_output)?;
        session.reporter.warning(
            &format!(
                "the capture holds only the beginning of {}: they were judged with zeros in place \
                 of the rest",
                counted(cut, "frame")
            ),
            Some("`tcpdump -s 0` captures whole frames"),
        );
    }
    Ok(())
}
