//! The services in force: what the kernel knows of them, and what commands say of their backends.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use xdp_common::filter::tracking::{self, DISREGARD_CHECKS, MOMENT_SHIFT, NOT_ALL_UP, Said};
use xdp_common::lookup::services::{Backend, State};
use xdp_common::stats::counter::CounterId;

use crate::datapath::attached::attachment::Attachment;
use crate::datapath::attached::in_force::InForce;
use crate::datapath::error::{Context, Error, Result};
use crate::datapath::maps::counters::read_counters;
use crate::datapath::maps::image::Mapped;
use crate::datapath::maps::states::{self, By, States, Word};
use crate::datapath::sys::private_dir;
use crate::image::services::{Before, backends, fronts};
use crate::notation::word;
use crate::served::{BackendInKernel, InKernel, SaidBy};

/// Reads the services in force.
///
/// # Errors
///
/// Where the kernel refuses to read them, or their ruleset is exchanged all the time.
pub fn read(attachment: &Attachment) -> Result<(InForce, Vec<InKernel>)> {
    const ATTEMPTS: u32 = 100;
    for _ in 0..ATTEMPTS {
        let in_force = attachment.in_force_now()?;
        let services = read_once(attachment, &in_force).context("read the services in force")?;
        if attachment.in_force_now()?.map_id == in_force.map_id {
            return Ok((in_force, services));
        }
    }
    Err(Error::new("the ruleset changes too fast to read its services"))
}

fn read_once(attachment: &Attachment, in_force: &InForce) -> io::Result<Vec<InKernel>> {
    let metadata = &in_force.metadata;
    if metadata.backends.is_empty() {
        return Ok(Vec::new());
    }
    let (maps, _) = attachment.readable().map_err(|error| io::Error::other(error.message))?;
    let Some(image) = Mapped::in_force(&maps.ruleset)? else { return Ok(Vec::new()) };
    let states = States::open(maps)?;
    let now = states::now()?;
    let numbers = metadata.services().flat_map(|(service, backends)| {
        service.numbers().chain(backends.iter().map(|backend| backend.number))
    });
    let counters = read_counters(maps, numbers)?;
    let counter = |number: u32| counters.get(&number).copied().unwrap_or_default();
    let connections = states::count_connections(maps)?;
    let tables = Before::of(&image, 0);
    let fronts: BTreeMap<u32, _> =
        fronts(&image).into_iter().map(|front| (front.counter, front)).collect();
    let mut services = Vec::new();
    for (service, named) in metadata.services() {
        let id = CounterId::new(service.number).0;
        let table = tables.tables.get(&id);
        let places = table.map(|table| table.places.as_slice()).unwrap_or_default();
        let mut of: BTreeMap<u32, usize> = BTreeMap::new();
        places.iter().for_each(|[now, _]| *of.entry(*now).or_default() += 1);
        let lines = fronts.get(&id).map(|front| backends(&image, front)).unwrap_or_default();
        let service_word = states.read(id);
        let backends = named
            .iter()
            .zip(&lines)
            .map(|(named, line)| {
                let (state, by) = state_of(&states, line, service_word, now);
                let (command, check) =
                    (states.said(line.counter, By::Command), states.said(line.counter, By::Check));
                let until = match by {
                    SaidBy::Command => command.until,
                    SaidBy::Health => check.until,
                    SaidBy::File => 0,
                };
                let left = (until != 0).then(|| left(until, now));
                BackendInKernel {
                    name: named.name.clone(),
                    counter: counter(named.number),
                    state,
                    by,
                    left,
                    check: holds(check, now).then_some(check.said == Said::Up),
                    places: of.get(&line.counter).copied().unwrap_or_default(),
                    connections: connections.get(&line.counter).copied().unwrap_or_default(),
                }
            })
            .collect();
        let mut numbers = service.numbers();
        services.push(InKernel {
            name: service.name.clone(),
            mode: service.action.clone(),
            counter: numbers.next().map(counter).unwrap_or_default(),
            losses: std::array::from_fn(|_| numbers.next().map(counter).unwrap_or_default()),
            places: places.len(),
            changed_places: places.iter().filter(|[now, before]| now != before).count(),
            panics: service_word & DISREGARD_CHECKS != 0,
            watches: service_word & NOT_ALL_UP != 0,
            backends,
        });
    }
    Ok(services)
}

/// Whether what was said holds.
fn holds(it: Word, now: u64) -> bool {
    it.said != Said::Nothing && (it.until == 0 || now < it.until)
}

/// The state of a backend, and who says so.
fn state_of(states: &States, line: &Backend, service: u64, now: u64) -> (State, SaidBy) {
    let state = match tracking::state(line, states.read(line.counter), service, now) {
        0 => State::Up,
        1 => State::Drain,
        _ => State::Down,
    };
    let by = if holds(states.said(line.counter, By::Command), now) {
        SaidBy::Command
    } else if line.state != State::Up as u8 || !holds(states.said(line.counter, By::Check), now) {
        SaidBy::File
    } else {
        SaidBy::Health
    };
    (state, by)
}

/// The state of one backend, and who says so; `None` where there is none of that name. Neither counters nor
/// connections are read, which takes long where there are many.
///
/// # Errors
///
/// Where the kernel refuses to read it.
pub fn state(
    attachment: &Attachment,
    (service, backend): (&str, &str),
) -> Result<Option<(State, SaidBy)>> {
    let in_force = attachment.in_force_now()?;
    let Ok((service, backend)) = find(&in_force, "", service, backend) else { return Ok(None) };
    let (maps, _) = attachment.readable()?;
    let read = || -> io::Result<Option<(State, SaidBy)>> {
        let Some(image) = Mapped::in_force(&maps.ruleset)? else { return Ok(None) };
        let Some(front) = fronts(&image).into_iter().find(|it| it.counter == service) else {
            return Ok(None);
        };
        let lines = backends(&image, &front);
        let Some(line) = lines.iter().find(|it| it.counter == backend) else { return Ok(None) };
        let states = States::open(maps)?;
        Ok(Some(state_of(&states, line, states.read(service), states::now()?)))
    };
    read().context("read the state of a backend")
}

/// What is said of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Says {
    /// `None` takes back what was said.
    pub state: Option<State>,
    /// How long it holds; `None` for ever.
    pub life: Option<Duration>,
}

/// The ids of a service in force and of one of its backends.
fn find(in_force: &InForce, interface: &str, service: &str, backend: &str) -> Result<(u32, u32)> {
    let mut services = in_force.metadata.services();
    let Some((found, backends)) = services.find(|(it, _)| it.name == service) else {
        let names: Vec<&str> =
            in_force.metadata.services().map(|(it, _)| it.name.as_str()).collect();
        let hint = match names.as_slice() {
            [] => "its ruleset has no services".to_owned(),
            names => format!("there are: {}", names.join(", ")),
        };
        return Err(Error::new(format!("no service \"{service}\" on {interface}")).hint(hint));
    };
    let Some(it) = backends.iter().find(|it| it.name == backend) else {
        const SHOWN: usize = 20;
        let names: Vec<&str> = backends.iter().take(SHOWN).map(|it| it.name.as_str()).collect();
        let more = if backends.len() > SHOWN { ", …" } else { "" };
        return Err(Error::new(format!("service \"{service}\" has no backend \"{backend}\""))
            .hint(format!("it has: {}{more}", names.join(", "))));
    };
    Ok((CounterId::new(found.number).0, CounterId::new(it.number).0))
}

/// Says something of a backend, as a command or as a check of its health. It is in force when this returns.
pub fn say(
    attachment: &Attachment,
    (service, backend): (&str, &str),
    by: By,
    says: Says,
) -> Result<()> {
    let name = attachment.name();
    let in_force = attachment.in_force_now()?;
    let (service, backend) = find(&in_force, &name, service, backend)?;
    let (maps, _) = attachment.readable()?;
    let write = || -> io::Result<()> {
        let image = Mapped::in_force(&maps.ruleset)?.ok_or(io::ErrorKind::NotFound)?;
        let until = match says.life {
            Some(life) => states::now()?.saturating_add(moments(life)),
            None => 0,
        };
        let said = match says.state {
            None => Said::Nothing,
            Some(State::Up) => Said::Up,
            Some(State::Drain) => Said::Drain,
            Some(State::Down) => Said::Down,
        };
        let word = Word { said, until: if said == Said::Nothing { 0 } else { until } };
        States::open(maps)?.say(&image, service, backend, by, word)
    };
    write().context("write the state of a backend")
}

/// How many moments a time takes, at least one.
fn moments(life: Duration) -> u64 {
    u64::try_from(life.as_nanos() >> MOMENT_SHIFT).unwrap_or(u64::MAX >> MOMENT_SHIFT) + 1
}

/// How long something holds yet, of which it was said for how long. That was rounded up to moments by at most one,
/// which is left out: nobody is told of more than was asked for.
fn left(until: u64, now: u64) -> Duration {
    Duration::from_nanos(until.saturating_sub(now).saturating_sub(1) << MOMENT_SHIFT)
}

const FILE: &str = "backends";
const NEW: &str = "backends.new";

/// Remarks of commands on backends, by service and backend, in a file beside the ruleset in force. No
/// verdict depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remarks(BTreeMap<String, Remark>);

/// A remark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remark {
    pub text: Option<String>,
    pub at: SystemTime,
}

impl Remarks {
    /// Those that are there: none where the file is lost, damaged, or another version's.
    pub fn read(directory: &Path) -> Self {
        let bytes = private_dir::read_file(directory, FILE).ok().flatten();
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    pub fn get(&self, service: &str, backend: &str) -> Option<&Remark> {
        self.0.get(&key(service, backend))
    }

    /// Sets one, or takes it away, and writes the file.
    pub fn set(
        &mut self,
        directory: &Path,
        (service, backend): (&str, &str),
        remark: Option<Remark>,
    ) -> Result<()> {
        match remark {
            Some(remark) => self.0.insert(key(service, backend), remark),
            None => self.0.remove(&key(service, backend)),
        };
        let (path, new): (PathBuf, PathBuf) = (directory.join(FILE), directory.join(NEW));
        let what = format!("keep the remark in {}", path.display());
        let mut file = private_dir::create_file(directory, NEW).context(&what)?;
        let mut write = || -> io::Result<()> {
            file.write_all(&serde_json::to_vec(self).map_err(io::Error::other)?)?;
            fs::rename(&new, &path)
        };
        write().context(&what)
    }
}

/// A service's name has no slash.
fn key(service: &str, backend: &str) -> String {
    format!("{service}/{backend}")
}

/// The command that shows the services of an interface.
pub fn command_of(interface: &str) -> String {
    format!("`xdpctl services {}`", word(interface))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_at_most_what_was_asked_for() {
        for seconds in 1..=600 {
            let life = Duration::from_secs(seconds);
            for now in [0, 7, 1 << 20] {
                let left = left(now + moments(life), now);
                assert!(left <= life, "{left:?} of {life:?}");
                assert!(
                    left + Duration::from_nanos(1 << MOMENT_SHIFT) > life,
                    "{left:?} of {life:?}"
                );
            }
        }
        assert_eq!(left(7, 7), Duration::ZERO);
    }
}
