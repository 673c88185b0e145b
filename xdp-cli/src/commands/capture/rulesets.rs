//! The rulesets that may have judged the frames of a capture: a reload may come while it runs.

use std::collections::HashMap;

use xdp_common::capture::Settings;
use xdp_common::packet::LinkType;
use xdp_common::stats::counter::CounterId;

use crate::args::Capture as Args;
use crate::commands::{Session, named};
use crate::config::spelling::closest;
use crate::datapath::attached::attachment::Attachment;
use crate::datapath::attached::capture::Captured;
use crate::datapath::attached::namespace::Namespace;
use crate::datapath::error::{Context, Error};
use crate::datapath::maps::{dynamic, image};
use crate::image::metadata::Metadata;
use crate::judgement::answer::Answer;
use crate::judgement::names::{Names, RunTime, addresses, full};
use crate::notation::{plain, word};
use crate::ruleset::Ruleset;
use crate::views::explain::Explained;
use crate::views::explain::entries::Address;

/// How many are remembered. Frames that wait in the ring buffer were judged by the last ones.
const REMEMBERED: usize = 4;
/// Run-time entries that are remembered between two looks at what is in force.
const MOST_MET: usize = 1 << 12;

/// The ruleset in force, and those before it.
pub(super) struct Rulesets {
    /// The newest last; never empty.
    known: Vec<Known>,
    /// For sources and the counters of their entries: the run-time entry that decided.
    met: HashMap<(Address, u32), Option<RunTime>>,
}

struct Known {
    generation: u64,
    /// Id of the image's map.
    map_id: u32,
    /// Names and counters of its lists and rules.
    counters: Vec<(String, CounterId)>,
    names: Names,
}

impl Rulesets {
    /// Begins with the ruleset in force.
    pub(super) fn new(
        namespace: &Namespace,
        attachment: &Attachment,
        session: &mut Session<'_>,
    ) -> Result<Self, Error> {
        let known = vec![Known::read(namespace, attachment, session)?];
        Ok(Self { known, met: HashMap::new() })
    }

    /// Looks whether another ruleset is in force now, and reads it. Returns whether it is.
    pub(super) fn refresh(
        &mut self,
        namespace: &Namespace,
        attachment: &Attachment,
        session: &mut Session<'_>,
    ) -> Result<bool, Error> {
        self.met.clear();
        let (maps, _) = attachment.readable()?;
        let now = image::Current::of(&maps.ruleset).id();
        let now = now.context("look at the ruleset in force")?;
        if now == self.known.last().map(|known| known.map_id) {
            return Ok(false);
        }
        self.known.push(Known::read(namespace, attachment, session)?);
        if self.known.len() > REMEMBERED {
            self.known.remove(0);
        }
        Ok(true)
    }

    pub(super) fn knows(&self, captured: &Captured) -> bool {
        self.find(captured.generation).is_some()
    }

    /// The settings that `args` ask for, by the ruleset in force. The error is that it has no list
    /// or rule of the name asked for.
    pub(super) fn settings(&self, args: &Args, interface: &str) -> Result<Settings, Error> {
        let bits = |numbers: &mut dyn Iterator<Item = u32>| {
            numbers.map(|number| 1 << number).reduce(|one, other| one | other)
        };
        let verdicts = bits(&mut args.verdict.iter().map(|it| *it as u32));
        let reasons = bits(&mut args.reason.iter().map(|it| *it as u32));
        let counter = args.rule.as_deref().map(|name| self.counter(name, interface)).transpose()?;
        Ok(Settings {
            snaplen: args.snaplen,
            sample: args.sample.unwrap_or(1),
            verdicts: verdicts.unwrap_or(Settings::ALL),
            reasons: reasons.unwrap_or(Settings::ALL),
            counter: counter.unwrap_or(CounterId::NONE),
        })
    }

    fn counter(&self, name: &str, interface: &str) -> Result<CounterId, Error> {
        let counters = self.known.last().map(|known| &known.counters[..]).unwrap_or_default();
        if let Some((_, counter)) = counters.iter().find(|(known, _)| known == name) {
            return Ok(*counter);
        }
        let error = Error::new(format!(
            "the ruleset in force on {} has no list or rule \"{}\"",
            plain(interface),
            plain(name)
        ));
        Err(match closest(name, counters.iter().map(|(known, _)| known.as_str())) {
            Some(meant) => error.hint(format!("did you mean \"{meant}\"?")),
            None => error.hint(format!("`xdpctl show {}` shows what it has", word(interface))),
        })
    }

    /// Names what decided a captured frame.
    pub(super) fn explained(
        &mut self,
        captured: &Captured,
        attachment: &Attachment,
        link_type: LinkType,
        data: &[u8],
    ) -> Result<Explained, Error> {
        let answer = &captured.answer;
        let entry = self.run_time_entry(answer, attachment)?;
        let mut explained =
            match self.judge_of(captured) {
                Some(known) => known.names.explained(answer, entry.as_ref(), link_type, data),
                // Several reloads came while the frame waited: its lists and rules have no names.
                None => Names::new(Metadata::unbound(&Ruleset::default()), None, |_| None)
                    .explained(answer, entry.as_ref(), link_type, data),
            };
        if data.len() < captured.length as usize {
            // What is wrong with a part of a frame need not be what is wrong with all of it.
            explained.cause = None;
        }
        Ok(explained)
    }

    /// The newest of that generation: after a ruleset that was not confirmed, the number comes again.
    fn find(&self, generation: u64) -> Option<usize> {
        self.known.iter().rposition(|known| known.generation == generation)
    }

    /// The ruleset that judged a frame: the one in force when it was captured, unless that lacks a
    /// list or rule that counted the frame. Then another one came in between, and it was the one
    /// before: no two rulesets in a row give one counter to different ones.
    fn judge_of(&mut self, captured: &Captured) -> Option<&mut Known> {
        let answer = &captured.answer;
        let rule = answer.action.map_or(CounterId::NONE, |action| CounterId(action.counter));
        let service = answer.served.map_or(CounterId::NONE, |served| served.service);
        let counted = [answer.list, answer.domain, rule, service];
        let counted = counted.into_iter().filter(|id| *id != CounterId::NONE);
        let has_all = |known: &Known| {
            counted.clone().all(|id| known.counters.iter().any(|(_, counter)| *counter == id))
        };
        let place = self.find(captured.generation)?;
        let judge = if has_all(&self.known[place]) {
            place
        } else {
            self.known.iter().rposition(has_all).unwrap_or(place)
        };
        self.known.get_mut(judge)
    }

    /// The run-time entry that decided about the source of a frame, if one did.
    fn run_time_entry(
        &mut self,
        answer: &Answer,
        attachment: &Attachment,
    ) -> Result<Option<RunTime>, Error> {
        let addresses = answer.packet.as_ref().and_then(addresses);
        let Some((source, _)) = addresses.filter(|_| answer.has_entry()) else {
            return Ok(None);
        };
        let met = (source, answer.entry);
        if let Some(known) = self.met.get(&met) {
            return Ok(known.clone());
        }
        let (maps, _) = attachment.readable()?;
        let deciding = dynamic::deciding(maps, full(source))?;
        let entry = deciding.map(|(prefix, kind)| RunTime {
            prefix,
            kind,
            expires_in_seconds: None,
            note: None,
            owner: None,
        });
        if self.met.len() >= MOST_MET {
            self.met.clear();
        }
        self.met.insert(met, entry.clone());
        Ok(entry)
    }
}

impl Known {
    fn read(
        namespace: &Namespace,
        attachment: &Attachment,
        session: &mut Session<'_>,
    ) -> Result<Self, Error> {
        let in_force = attachment.in_force_now()?;
        let counted = in_force.metadata.counted.iter();
        Ok(Self {
            generation: in_force.generation,
            map_id: in_force.map_id,
            counters: counted.map(|it| (it.name.clone(), CounterId::new(it.number))).collect(),
            names: named::names(namespace, attachment, &in_force, session),
        })
    }
}
