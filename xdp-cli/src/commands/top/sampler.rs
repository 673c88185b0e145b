//! Looks at a sample of the frames, to find out who sends them.

use std::time::{Duration, Instant};

use xdp_common::capture::{Counts, Settings};
use xdp_common::packet::LinkType;
use xdp_common::stats::counter::CounterId;
use xdp_common::stats::verdict::Verdict;

use crate::commands::{Session, look_at};
use crate::datapath::attached::attachment::Attachment;
use crate::datapath::attached::capture::{Capture, program_now};
use crate::datapath::error::Error;
use crate::notation::plain;
use crate::views::explain::flow::Flow;
use crate::views::top::sources::{Source, Tally, adapted};

/// Of so many frames, one is looked at, until it is known how many come.
const FIRST: u32 = 1024;
/// How often the sample is made to fit: often enough that the ring buffer does not run full.
const ADAPT: Duration = Duration::from_millis(250);
/// Frames that are taken at once. Between, keys are looked for.
const BATCH: u32 = 1 << 13;

/// A capture of which nothing but sources and lengths is of interest.
pub(super) struct Sampler {
    attachment: Attachment,
    link_type: LinkType,
    capture: Capture,
    tally: Tally,
    /// When the sources were ranked.
    ranked: Instant,
    /// When the sample was made to fit, and what was counted until then.
    adapted: Instant,
    counts: Counts,
    data: Vec<u8>,
}

fn settings(sample: u32) -> Settings {
    let all = Settings::ALL;
    // The record has the addresses, whatever the length that is captured.
    Settings { snaplen: 1, sample, verdicts: all, reasons: all, counter: CounterId::NONE }
}

impl Sampler {
    /// Begins, or gives the attachment back. Until this ends, one of the two places for captures is
    /// taken.
    pub(super) fn begin(
        attachment: Attachment,
        session: &mut Session<'_>,
    ) -> Result<Self, Box<(Attachment, Error)>> {
        let mut begin = || -> Result<(LinkType, Capture), Error> {
            let link_type = attachment.link_type()?;
            let mut capture = Capture::new(&settings(FIRST))?;
            session.locked(|_namespace| capture.hook(&attachment))?;
            Ok((link_type, capture))
        };
        let (link_type, capture) = match begin() {
            Ok(begun) => begun,
            Err(error) => return Err(Box::new((attachment, error))),
        };
        let now = Instant::now();
        Ok(Self {
            attachment,
            link_type,
            capture,
            tally: Tally::new(FIRST),
            ranked: now,
            adapted: now,
            counts: Counts::default(),
            data: Vec::new(),
        })
    }

    /// Of how many frames one is looked at.
    pub(super) fn one_in(&self) -> u32 {
        self.tally.sample()
    }

    /// Takes what was captured since, and makes the sample fit what comes.
    pub(super) fn take(&mut self) -> Result<(), Error> {
        for _ in 0..BATCH {
            let Some(captured) = self.capture.next(self.link_type, &mut self.data) else { break };
            let packet = captured.answer.packet.filter(|packet| packet.network.is_ip());
            if let Some(source) = packet.and_then(|packet| Flow::of(&packet).source) {
                let is_dropped =
                    matches!(captured.answer.verdict, Verdict::Drop | Verdict::Aborted);
                self.tally.add(source, captured.length, is_dropped);
            }
        }
        let elapsed = self.adapted.elapsed();
        if elapsed >= ADAPT {
            let counts = self.capture.counts()?;
            let matched = counts.matched.saturating_sub(self.counts.matched);
            let sample = adapted(self.tally.sample(), matched, elapsed);
            if sample != self.tally.sample() {
                self.capture.set(&settings(sample))?;
                self.tally.set_sample(sample);
            }
            (self.counts, self.adapted) = (counts, Instant::now());
        }
        Ok(())
    }

    /// The sources, the busiest first.
    pub(super) fn rank(&mut self) -> Vec<Source> {
        let elapsed = self.ranked.elapsed();
        self.ranked = Instant::now();
        self.tally.look(elapsed)
    }

    /// Goes on with the program that is attached now, after `attach --replace`.
    pub(super) fn follow(&mut self, session: &mut Session<'_>) -> Result<(), Error> {
        let name = self.attachment.name();
        match program_now(&self.attachment)? {
            Some(program) if program == self.attachment.program_id() => self.capture.stay(),
            Some(_) => {
                let (_, attachment) = look_at(&name)?;
                self.link_type = attachment.link_type()?;
                session.locked(|_namespace| self.capture.hook(&attachment))?;
                self.attachment = attachment;
                Ok(())
            }
            None => Err(Error::new(format!("xdpctl was taken off {}", plain(&name)))),
        }
    }
}
