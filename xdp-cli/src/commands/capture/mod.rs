//! `xdpctl capture`.

mod output;
mod rulesets;

use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use xdp_common::capture::Settings;
use xdp_common::packet::LinkType;
use xdp_common::stats::counter::CounterId;

use super::{Failure, Session};
use crate::args::Capture as Args;
use crate::datapath::attached::attachment::Attachment;
use crate::datapath::attached::capture::{Capture, Captured, program_now};
use crate::datapath::attached::namespace::Namespace;
use crate::datapath::error::Error;
use crate::datapath::host::interface::Interface;
use crate::notation::{counted, grouped, plain};
use crate::views::capture::pcapng::{self, Origin, Statistics};
use crate::views::capture::{Frame, text};
use crate::views::explain::Explained;
use crate::views::stats::stop::Stop;
use output::Output;
use rulesets::Rulesets;

/// How often is looked whether another ruleset or program is in force.
const LOOK: Duration = Duration::from_millis(200);
/// Frames after which is looked in any case.
const BATCH: u32 = 1 << 10;

/// Shows frames until something ends it.
pub fn run(args: &Args, session: &mut Session<'_>) -> Result<(), Failure> {
    let stop =
        Stop::on_signals().map_err(|error| Error::new(format!("cannot catch Ctrl-C: {error}")))?;
    let to_stdout = args.write.as_deref() == Some(Path::new("-"));
    if to_stdout && io::stdout().is_terminal() {
        session.reporter.error(
            "pcapng is not for a terminal",
            Some(
                "`-w FILE` writes a file, and `-w - | tshark -r -` shows the frames; without -w, each \
                 is a line",
            ),
        );
        return Err(Failure::Configuration);
    }
    let (namespace, attachment) = super::look_at(&args.interface)?;
    if let Some(error) = attachment.stranded() {
        return Err(error.into());
    }
    let name = attachment.name();
    let link_type = attachment.link_type()?;
    // In offload mode, this is the error.
    let (_, in_force) = attachment.readable()?;
    let mode = in_force.metadata.mode;
    let rulesets = Rulesets::new(&namespace, &attachment, session)?;
    let settings = rulesets.settings(args, &name)?;
    let mut capture = Capture::new(&settings)?;
    // Nothing is written, and no file is emptied, before it is sure that frames can be captured.
    session.locked(|_namespace| capture.hook(&attachment))?;
    let started = SystemTime::now();
    let out = open(args.write.as_deref(), &stop)?;
    let mut capturing = Capturing {
        args,
        name,
        link_type,
        namespace,
        attachment,
        rulesets,
        capture,
        out,
        written: 0,
        unread: 0,
        data: Vec::new(),
    };
    let begun = capturing.begin();
    session
        .reporter
        .note(&format!("capturing on {} ({mode} mode) until Ctrl-C", plain(&capturing.name)), None);
    let end = match begun {
        Ok(()) => capturing.follow(&stop, session),
        Err(error) => Err(error),
    };
    let end = capturing.finish(end, started, &stop);
    capturing.tell(session)?;
    match end {
        Ok(()) | Err(Failure::ClosedPipe) => Ok(()),
        failed => failed,
    }
}

/// Opens what the frames are written to.
fn open(path: Option<&Path>, stop: &Stop) -> Result<Output, Failure> {
    let (what, opened) = match path {
        Some(path) if path != Path::new("-") => {
            (plain(&path.to_string_lossy()), Output::file(path, stop))
        }
        _ => ("the output".to_owned(), Output::stdout(stop)),
    };
    opened.map_err(|error| match error.kind() {
        // There was a signal, and nobody to read.
        io::ErrorKind::TimedOut => Failure::ClosedPipe,
        _ => Error::new(format!("cannot write {what}: {error}")).into(),
    })
}

/// The failure for output that cannot be written. A reader that does not read is left alone after a
/// signal, as one that is gone.
fn unwritten(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::TimedOut {
        return Failure::ClosedPipe;
    }
    Failure::from_output(error)
}

/// A capture under way.
struct Capturing<'a> {
    args: &'a Args,
    /// The interface's name when it began.
    name: String,
    link_type: LinkType,
    namespace: Namespace,
    attachment: Attachment,
    rulesets: Rulesets,
    capture: Capture,
    out: Output,
    /// Frames that were written.
    written: u64,
    /// Frames that were captured and not written: nobody read, or the disk was full.
    unread: u64,
    /// The last frame's bytes.
    data: Vec<u8>,
}

impl Capturing<'_> {
    fn is_pcapng(&self) -> bool {
        self.args.write.is_some()
    }

    /// Writes what comes before the first frame, at once, so that a reader can begin.
    fn begin(&mut self) -> Result<(), Failure> {
        if self.is_pcapng() {
            let origin = Origin {
                interface: &self.name,
                link_type: self.link_type,
                snaplen: self.args.snaplen,
                filter: &self.args.filter(),
            };
            pcapng::begin(&mut self.out, &origin).map_err(unwritten)?;
        }
        self.out.flush().map_err(unwritten)
    }

    /// Writes frames as they come, until a signal, the count, or the end of the output or of the
    /// attachment.
    fn follow(&mut self, stop: &Stop, session: &mut Session<'_>) -> Result<(), Failure> {
        let mut looked = Instant::now();
        while !stop.is_set() {
            let more = self.take(BATCH, session)?;
            self.out.flush().map_err(unwritten)?;
            if self.is_complete() {
                return Ok(());
            }
            if looked.elapsed() >= LOOK {
                self.look(session)?;
                looked = Instant::now();
            }
            if !more && self.capture.wait(self.out.as_fd(), LOOK)? {
                return Err(Failure::ClosedPipe);
            }
        }
        // What came before the signal is shown too.
        self.capture.unhook();
        self.take(u32::MAX, session).map(drop)
    }

    fn is_complete(&self) -> bool {
        self.args.count.is_some_and(|count| self.written >= count)
    }

    /// Writes up to `most` frames that were captured. Returns whether there may be more.
    fn take(&mut self, most: u32, session: &mut Session<'_>) -> Result<bool, Failure> {
        for _ in 0..most {
            if self.is_complete() {
                return Ok(true);
            }
            let Some(captured) = self.capture.next(self.link_type, &mut self.data) else {
                return Ok(false);
            };
            if !self.rulesets.knows(&captured) {
                self.refresh(session)?;
            }
            self.write(&captured)?;
        }
        Ok(true)
    }

    fn write(&mut self, captured: &Captured) -> Result<(), Failure> {
        let explained =
            self.rulesets.explained(captured, &self.attachment, self.link_type, &self.data)?;
        if !self.is_asked_for(&explained) {
            return Ok(());
        }
        let frame = Frame {
            time: captured.time,
            link_type: self.link_type,
            length: captured.length,
            queue: captured.queue,
            data: &self.data,
            explained: &explained,
        };
        let written = if self.args.write.is_some() {
            pcapng::frame(&mut self.out, &frame)
        } else {
            text::write(&mut self.out, &frame)
        };
        if let Err(error) = written {
            self.unread += u64::from(error.kind() != io::ErrorKind::BrokenPipe);
            return Err(unwritten(error));
        }
        self.written += 1;
        Ok(())
    }

    /// Whether the list or rule is the one asked for. The kernel compares its counter, which after a
    /// reload may belong to another one for a moment.
    fn is_asked_for(&self, explained: &Explained) -> bool {
        let Some(name) = &self.args.rule else { return true };
        let others = [&explained.counted, &explained.excepted];
        explained.rule.is_none()
            || explained.rule.as_ref() == Some(name)
            || others.into_iter().flatten().any(|other| other.rule == *name)
    }

    /// Looks what is in force now, and goes on with that.
    fn look(&mut self, session: &mut Session<'_>) -> Result<(), Failure> {
        match program_now(&self.attachment)? {
            Some(program) if program == self.attachment.program_id() => self.capture.stay()?,
            Some(_) => {
                // `attach --replace`: what is captured next are the frames that the new program
                // judges, by names of its own.
                self.capture.unhook();
                self.take(u32::MAX, session)?;
                let (namespace, attachment) = super::look_at(&self.args.interface)?;
                (self.namespace, self.attachment) = (namespace, attachment);
                self.rulesets = Rulesets::new(&self.namespace, &self.attachment, session)?;
                self.set(session)?;
                session.locked(|_namespace| self.capture.hook(&self.attachment))?;
                session.reporter.note(
                    &format!(
                        "the program on {} was replaced: frames in between are not captured",
                        plain(&self.name)
                    ),
                    None,
                );
                return Ok(());
            }
            None => {
                self.take(u32::MAX, session)?;
                return Err(self.ended().into());
            }
        }
        self.refresh(session)
    }

    /// Reads the ruleset in force, if it is another one now.
    fn refresh(&mut self, session: &mut Session<'_>) -> Result<(), Failure> {
        if self.rulesets.refresh(&self.namespace, &self.attachment, session)? {
            self.set(session)?;
        }
        Ok(())
    }

    /// Asks for the frames of the list or rule by the counter that it has now.
    fn set(&mut self, session: &mut Session<'_>) -> Result<(), Failure> {
        if self.args.rule.is_none() {
            return Ok(());
        }
        let settings = match self.rulesets.settings(self.args, &self.name) {
            Ok(settings) => settings,
            Err(error) => {
                session.reporter.warning(
                    &format!("{} any more", error.message),
                    Some("nothing is captured until a reload brings it back"),
                );
                let everything = Args { rule: None, ..self.args.clone() };
                let settings = self.rulesets.settings(&everything, &self.name)?;
                // No list or rule has this counter.
                Settings { counter: CounterId(u32::MAX), ..settings }
            }
        };
        Ok(self.capture.set(&settings)?)
    }

    /// Why there is nothing to capture any more.
    fn ended(&self) -> Error {
        let name = plain(&self.name);
        let is_there = self.attachment.ifindex().is_some_and(|it| Interface::by_index(it).is_ok());
        if is_there {
            Error::new(format!("xdpctl was detached from {name}: the capture has ended"))
        } else {
            Error::new(format!("{name} is gone: the capture has ended"))
        }
    }

    /// Takes the programs away and writes what comes behind the last frame.
    fn finish(
        &mut self,
        end: Result<(), Failure>,
        started: SystemTime,
        stop: &Stop,
    ) -> Result<(), Failure> {
        self.capture.unhook();
        // Without a signal, a reader that is gone had what it wanted.
        let is_left = matches!(end, Err(Failure::ClosedPipe)) && !stop.is_set();
        if end.is_err() && !is_left {
            while self.capture.next(self.link_type, &mut self.data).is_some() {
                self.unread += 1;
            }
        }
        if matches!(end, Err(Failure::ClosedPipe)) {
            return end;
        }
        let mut rest = || -> Result<(), Failure> {
            if self.is_pcapng() {
                let counts = self.capture.counts()?;
                let statistics = Statistics {
                    started,
                    ended: SystemTime::now(),
                    seen: counts.seen,
                    matched: counts.matched,
                    lost: counts.lost,
                    written: self.written,
                };
                pcapng::end(&mut self.out, &statistics).map_err(unwritten)?;
            }
            self.out.flush().map_err(unwritten)
        };
        let rest = rest();
        end.and(rest)
    }

    /// Says how many frames were captured, and how many were lost.
    fn tell(&self, session: &mut Session<'_>) -> Result<(), Failure> {
        let counts = self.capture.counts()?;
        let lost = counts.lost + self.unread;
        session.reporter.note(
            &format!(
                "{} captured, {} lost; {} matched, of {} that came in",
                counted(self.written, "frame"),
                grouped(lost),
                grouped(counts.matched),
                grouped(counts.seen)
            ),
            (lost > 0).then_some(
                "the capture was read too slowly: --sample, --snaplen or a filter make it less; the \
                 frames themselves went their way",
            ),
        );
        Ok(())
    }
}
