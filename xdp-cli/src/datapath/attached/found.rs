//! What checks of backends found, told to the program.
//!
//! Backends are told apart by the ids in the image in force. A reload may exchange it at any
//! moment, and give an id to another backend; so each time, the image is the one that is in force
//! then, and still is afterwards.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use xdp_common::filter::tracking::{MOMENT_SHIFT, Said};
use xdp_common::stats::counter::CounterId;

use crate::datapath::attached::attachment::Attachment;
use crate::datapath::attached::in_force::InForce;
use crate::datapath::error::{Context as _, Error, Result};
use crate::datapath::maps::image::{Current, Mapped};
use crate::datapath::maps::states::{self, By, States, Word};
use crate::image::metadata::Kind;

/// How often to begin again where a reload comes in between, before giving up.
const ATTEMPTS: u32 = 100;

/// The states of the backends of an attachment.
pub struct BackendStates {
    attachment: Attachment,
    open: Option<Open>,
}

/// Those of the ruleset in force.
struct Open {
    image: Mapped,
    words: States,
    /// For the name of a service, its id; and for the names of its backends, theirs.
    ids: HashMap<String, (u32, HashMap<String, u32>)>,
}

impl BackendStates {
    /// Those of this attachment.
    pub fn new(attachment: Attachment) -> Self {
        Self { attachment, open: None }
    }

    pub fn attachment(&self) -> &Attachment {
        &self.attachment
    }

    /// What is in force now, and the id of its image.
    fn now(&mut self) -> io::Result<Option<(u32, &Open)>> {
        let (maps, _) = self.attachment.readable().map_err(|it| io::Error::other(it.message))?;
        let Some(id) = Current::of(&maps.ruleset).id()? else { return Ok(None) };
        if self.open.as_ref().is_none_or(|open| open.image.id != id) {
            self.open = None;
            let Some(image) = Mapped::in_force(&maps.ruleset)? else { return Ok(None) };
            let Some(in_force) = InForce::of(image.id, &image) else { return Ok(None) };
            let ids = ids(&in_force);
            self.open = Some(Open { words: States::open(maps)?, image, ids });
        }
        Ok(self.open.as_ref().map(|open| (open.image.id, open)))
    }

    /// What checks found of a backend, and until which moment that holds; `None` where the ruleset
    /// in force has no such backend.
    ///
    /// # Errors
    ///
    /// Where the states cannot be read.
    pub fn said(&mut self, service: &str, backend: &str) -> Result<Option<Word>> {
        let open = self.now().context("read the states of backends")?;
        let id = open.and_then(|(_, open)| Some((open, *open.ids.get(service)?.1.get(backend)?)));
        Ok(id.map(|(open, id)| open.words.said(id, By::Check)))
    }

    fn say(&mut self, service: &str, backend: &str, word: Word) -> io::Result<()> {
        for _ in 0..ATTEMPTS {
            let Some((id, open)) = self.now()? else { break };
            // One that a reload has just taken out is nobody's any more.
            let Some((service, backends)) = open.ids.get(service) else { return Ok(()) };
            let Some(backend) = backends.get(backend) else { return Ok(()) };
            open.words.say(&open.image, *service, *backend, By::Check, word)?;
            if self.now()?.is_some_and(|(after, _)| after == id) {
                return Ok(());
            }
        }
        Err(io::Error::other("the ruleset in force changes all the time"))
    }

    /// Says whether a backend is up: for ever, or until nobody has said so again for that time.
    /// `None` where nobody checks it any more.
    ///
    /// # Errors
    ///
    /// Where the states cannot be read or written.
    pub fn set(
        &mut self,
        service: &str,
        backend: &str,
        is_up: Option<bool>,
        deadline: Option<Duration>,
    ) -> Result<()> {
        let name = self.attachment.name();
        let what = || format!("say on {name} whether {backend} of {service} is up");
        let said = match is_up {
            None => Said::Nothing,
            Some(true) => Said::Up,
            Some(false) => Said::Down,
        };
        let until = match deadline {
            None => 0,
            Some(life) => {
                let moments = (life.as_nanos() >> MOMENT_SHIFT) as u64 + 1;
                states::now().context(what())?.saturating_add(moments)
            }
        };
        match self.say(service, backend, Word { said, until }) {
            // It is not there any more, and neither are its services.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::new(format!(
                "cannot {}: the program there has no states of backends",
                what()
            ))
            .hint(format!("`xdpctl attach --replace {name}` makes them"))),
            other => other.context(what()),
        }
    }
}

/// The ids of services and backends, by their names.
fn ids(in_force: &InForce) -> HashMap<String, (u32, HashMap<String, u32>)> {
    let metadata = &in_force.metadata;
    let services = metadata.counted.iter().filter(|it| it.kind == Kind::Service);
    let all = services.zip(&metadata.backends).map(|(service, backends)| {
        let id = |number| CounterId::new(number).0;
        let backends = backends.iter().map(|it| (it.name.clone(), id(it.number))).collect();
        (service.name.clone(), (id(service.number), backends))
    });
    all.collect()
}
