//! Asks the attached program what it would do with a frame.

use std::collections::HashMap;

use xdp_common::packet::LinkType;

use crate::commands::{Failure, Session, named};
use crate::config::prefix::IpPrefix;
use crate::datapath::attached::attachment::Attachment;
use crate::datapath::attached::namespace::Namespace;
use crate::datapath::attached::question::Explainer;
use crate::datapath::error::Error;
use crate::datapath::maps::dynamic;
use crate::datapath::maps::handles::Maps;
use crate::event::RULES;
use crate::judgement::answer::Answer;
use crate::judgement::names::{Names, RunTime, addresses, full};
use crate::notation::plain;
use crate::views::entries::Kind;
use crate::views::explain::Explained;
use crate::views::explain::entries::Address;

/// The attached program, and what is known about the ruleset that it judges by.
pub(super) struct Asking<'a> {
    namespace: &'a Namespace,
    attachment: &'a Attachment,
    maps: &'a Maps,
    explainer: Explainer<'a>,
    link_type: LinkType,
    known: Known,
    /// Run-time entries that have decided so far, as they were when they first did.
    met: HashMap<IpPrefix, RunTime>,
}

/// A ruleset in force.
struct Known {
    map_id: u32,
    names: Names,
}

impl<'a> Asking<'a> {
    pub(super) fn begin(
        namespace: &'a Namespace,
        attachment: &'a Attachment,
        link_type: LinkType,
        session: &mut Session<'_>,
    ) -> Result<Self, Failure> {
        let (maps, _) = attachment.readable()?;
        let explainer = Explainer::beside(maps, link_type)?.coming_by(attachment.ifindex());
        if !explainer.is_like(attachment.program_id())? {
            session.reporter.warning(
                &format!(
                    "the program on {} was attached by another version of xdpctl: the answer is \
                     what this version's would do",
                    plain(&attachment.name())
                ),
                Some("`xdpctl attach --replace IFACE` puts this version's in its place"),
            );
        }
        let known = Self::know(namespace, attachment, session)?;
        Ok(Self { namespace, attachment, maps, explainer, link_type, known, met: HashMap::new() })
    }

    pub(super) fn asks_about_questions(&self) -> bool {
        self.known.names.ask_about_questions()
    }

    fn know(
        namespace: &Namespace,
        attachment: &Attachment,
        session: &mut Session<'_>,
    ) -> Result<Known, Failure> {
        let in_force = attachment.in_force_now()?;
        let names = named::names(namespace, attachment, &in_force, session);
        Ok(Known { map_id: in_force.map_id, names })
    }

    pub(super) fn ask(
        &mut self,
        frame: &[u8],
        session: &mut Session<'_>,
    ) -> Result<Explained, Failure> {
        for _ in 0..100 {
            let asked = self.explainer.ask(frame)?;
            if asked.image == self.known.map_id {
                let answer = &asked.answer;
                let entry = self.run_time_entry(answer)?;
                return Ok(self.known.names.explained(
                    answer,
                    entry.as_ref(),
                    self.link_type,
                    frame,
                ));
            }
            // A reload came in between: take the names and entries of the ruleset that judged.
            self.known = Self::know(self.namespace, self.attachment, session)?;
        }
        Err(Error::new("the ruleset changes too fast to ask about it").into())
    }

    /// The run-time entry that decided about the source of a frame, if one did.
    fn run_time_entry(&mut self, answer: &Answer) -> Result<Option<RunTime>, Error> {
        let addresses = answer.packet.as_ref().and_then(addresses);
        let Some((source, _)) = addresses.filter(|_| answer.has_entry()) else {
            return Ok(None);
        };
        let Some((prefix, kind)) = dynamic::deciding(self.maps, full(source))? else {
            return Ok(None);
        };
        if let Some(known) = self.met.get(&prefix).filter(|known| known.kind == kind) {
            return Ok(Some(known.clone()));
        }
        // Finding the note and the expiry takes more calls than the decision, so once for each
        // entry.
        let entry = self.described(source, prefix, kind)?;
        self.met.insert(prefix, entry.clone());
        Ok(Some(entry))
    }

    fn described(&self, source: Address, prefix: IpPrefix, kind: Kind) -> Result<RunTime, Error> {
        let notes = self.namespace.notes_directory(self.attachment.key())?;
        let holding = dynamic::holding(self.maps, notes, full(source))?;
        let found = holding.into_iter().find(|it| (it.prefix, it.kind) == (prefix, kind));
        // An entry that has expired since has neither.
        let (expires_in_seconds, note, owner) = found.map_or((None, None, None), |entry| {
            let by_rule = Some(entry.owner).filter(|owner| owner.starts_with(RULES));
            (entry.expires_in_seconds, entry.note, by_rule)
        });
        Ok(RunTime { prefix, kind, expires_in_seconds, note, owner })
    }
}
