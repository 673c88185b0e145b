//! Keeps what checks find of each backend, and says what follows from it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, SystemTime};

use super::checker::{Finding, Order, Start};
use super::count::Count;
use super::plan::{Target, Targets};
use super::probe::Verdict;
use super::report::{Checked, Last, Report, Word};
use crate::datapath::error::{Error, Result};
use crate::notation::millis;

/// Is told what was found of a backend: the data plane of an interface.
pub trait Found {
    /// A backend is up or down: for ever, or until nobody has said so again for that time. `None`
    /// where nobody checks it any more.
    ///
    /// # Errors
    ///
    /// Where it cannot be told.
    fn set(
        &mut self,
        service: &str,
        backend: &str,
        is_up: Option<bool>,
        deadline: Option<Duration>,
    ) -> Result<()>;
}

/// An interface, and what is to be checked there.
pub struct Planned<F> {
    /// By which the attachment is known.
    pub key: String,
    pub states: F,
    pub targets: Targets,
    /// What an earlier daemon has found there.
    pub before: Option<Report>,
}

impl<F> Planned<F> {
    /// The same, with that in place of its states.
    pub fn with<G>(self, states: impl FnOnce(F) -> G) -> Planned<G> {
        let Self { key, states: given, targets, before } = self;
        Planned { key, states: states(given), targets, before }
    }
}

/// What became of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// It is up or down now, as so many checks in a row have found; `message` says why.
    Changed {
        /// The interfaces that were told so.
        places: Vec<String>,
        service: String,
        backend: String,
        is_up: bool,
        message: String,
        in_a_row: u32,
    },
    /// It could not be checked.
    Unchecked { service: String, backend: String, message: String },
}

/// All backends that are checked.
pub struct Keeper<F> {
    places: BTreeMap<String, F>,
    watched: BTreeMap<u64, Watched>,
    next: u64,
    /// What could not be told, each said once.
    told: HashSet<String>,
}

/// A backend, which may be that of services on several interfaces: it is checked once.
struct Watched {
    target: Target,
    places: BTreeSet<String>,
    count: Count,
    since: Option<SystemTime>,
    last: Option<Last>,
    /// What the one before was told last: this process may not have checked it yet.
    before: Option<Last>,
    checks: u32,
}

impl<F> Default for Keeper<F> {
    fn default() -> Self {
        Self { places: BTreeMap::new(), watched: BTreeMap::new(), next: 0, told: HashSet::new() }
    }
}

impl<F: Found> Keeper<F> {
    /// Takes over what there is to check now, on all interfaces. Returns what the checks have to be
    /// told, and what could not be done. What has not changed goes on as it is.
    pub fn plan(&mut self, all: Vec<Planned<F>>, start: Start) -> (Vec<Order>, Vec<Error>) {
        self.told.clear();
        self.places.clear();
        let mut before: HashMap<Target, (u64, Watched)> = std::mem::take(&mut self.watched)
            .into_iter()
            .map(|(id, watched)| (watched.target.clone(), (id, watched)))
            .collect();
        // For each interface, what was known of a backend, whatever the check was.
        let mut known: HashMap<(String, String, String), Known> = HashMap::new();
        for (_, watched) in before.values() {
            let Target { service, backend, address, .. } = &watched.target;
            for place in &watched.places {
                let key = (place.clone(), service.clone(), backend.clone());
                let (is_up, since) = (watched.count.is_up(), watched.since);
                let last = watched.last().cloned();
                known.insert(key, Known { address: *address, is_up, since, last });
            }
        }
        for Planned { key, before: report, .. } in &all {
            for it in report.iter().flat_map(|report| &report.checks) {
                let key = (key.clone(), it.service.clone(), it.backend.clone());
                let since =
                    it.since.map(|since| SystemTime::UNIX_EPOCH + Duration::from_millis(since));
                known.entry(key).or_insert(Known {
                    address: it.address.unwrap_or(it.place.ip()),
                    is_up: it.is_up,
                    since,
                    last: it.last.clone(),
                });
            }
        }
        let (mut orders, mut ids, mut forgotten) = (Vec::new(), HashMap::new(), Vec::new());
        for Planned { key, states, targets, before: _ } in all {
            for (service, backend) in targets.unchecked {
                // Nobody would ever say that it is up again.
                if known.contains_key(&(key.clone(), service.clone(), backend.clone())) {
                    forgotten.push((key.clone(), service, backend));
                }
            }
            for target in targets.checked {
                let id = *ids.entry(target.clone()).or_insert_with(|| {
                    if let Some((id, mut watched)) = before.remove(&target) {
                        watched.places.clear();
                        self.watched.insert(id, watched);
                        return id;
                    }
                    let id = self.next;
                    self.next += 1;
                    let key = (key.clone(), target.service.clone(), target.backend.clone());
                    let known = known.get(&key).filter(|it| it.address == target.address);
                    let watched = Watched::new(target.clone(), known);
                    self.watched.insert(id, watched);
                    orders.push(Order::Watch { id, target, start });
                    id
                });
                if let Some(watched) = self.watched.get_mut(&id) {
                    watched.places.insert(key.clone());
                }
            }
            self.places.insert(key, states);
        }
        let gone: BTreeSet<u64> = before.into_values().map(|(id, _)| id).collect();
        orders.extend(gone.into_iter().map(Order::Forget));
        let mut errors = Vec::new();
        // The maps may be new ones.
        for watched in self.watched.values() {
            if let Some(is_up) = watched.count.decided() {
                errors.extend(watched.tell(&mut self.places, is_up));
            }
        }
        for (key, service, backend) in forgotten {
            let states = self.places.get_mut(&key);
            errors.extend(states.and_then(|it| it.set(&service, &backend, None, None).err()));
        }
        (orders, self.new_ones(errors))
    }

    /// Counts what a check found. Returns what follows from it, and what could not be done.
    pub fn found(&mut self, finding: &Finding) -> (Option<News>, Vec<Error>) {
        // It may have been on its way while the backend was forgotten.
        let Some(watched) = self.watched.get_mut(&finding.id) else { return (None, Vec::new()) };
        let Finding { outcome, at, .. } = finding;
        watched.checks = watched.checks.saturating_add(1);
        let (service, backend) = (watched.target.service.clone(), watched.target.backend.clone());
        let mut last = Last {
            result: Word::Ok,
            at: millis(*at),
            rtt_ms: (outcome.took.as_secs_f64() * 1e6).round() / 1e3,
            message: None,
            in_a_row: 1,
        };
        let (is_ok, message) = match &outcome.verdict {
            Verdict::Ok => (true, String::new()),
            Verdict::Failed(message) => (false, message.clone()),
            Verdict::Unknown(message) => {
                let before = watched.last.as_ref().filter(|it| it.result == Word::Unknown);
                let is_new = before.is_none();
                last.result = Word::Unknown;
                last.in_a_row = before.map_or(1, |it| it.in_a_row.saturating_add(1));
                last.message = Some(message.clone());
                watched.last = Some(last);
                let message = message.clone();
                // What is known stays, and must not end by itself.
                let renewed = watched.renew(&mut self.places);
                let news = is_new.then_some(News::Unchecked { service, backend, message });
                return (news, self.new_ones(renewed));
            }
        };
        let was_up = watched.count.is_up();
        let has_decided = watched.count.add(is_ok);
        let in_a_row = watched.count.in_a_row();
        last.in_a_row = in_a_row;
        if !is_ok {
            (last.result, last.message) = (Word::Failed, Some(message.clone()));
        }
        watched.last = Some(last);
        let (mut news, errors) = (
            None,
            match has_decided {
                true => watched.tell(&mut self.places, is_ok),
                false => watched.renew(&mut self.places),
            },
        );
        if has_decided && was_up != Some(is_ok) {
            watched.since = Some(*at);
            // That all is well at the beginning is no news.
            if was_up.is_some() || !is_ok {
                let places = watched.places.iter().cloned().collect();
                news = Some(News::Changed {
                    places,
                    service,
                    backend,
                    is_up: is_ok,
                    message,
                    in_a_row,
                });
            }
        }
        (news, self.new_ones(errors))
    }

    /// What was found on each interface.
    pub fn reports(&self, now: SystemTime) -> BTreeMap<String, Report> {
        let mut checks: BTreeMap<String, Vec<Checked>> =
            self.places.keys().map(|key| (key.clone(), Vec::new())).collect();
        for watched in self.watched.values() {
            for place in &watched.places {
                checks.entry(place.clone()).or_default().push(watched.checked());
            }
        }
        checks.into_iter().map(|(key, checks)| (key, Report::new(millis(now), checks))).collect()
    }

    /// How many services and backends are checked.
    pub fn counts(&self) -> (usize, usize) {
        let services: BTreeSet<&str> =
            self.watched.values().map(|it| it.target.service.as_str()).collect();
        (services.len(), self.watched.len())
    }

    /// The interface that is known by that key.
    pub fn place(&self, key: &str) -> Option<&F> {
        self.places.get(key)
    }

    /// What this process found of each backend.
    pub fn all(&self) -> impl Iterator<Item = (&Target, Checked)> {
        let own = |it: &Watched| Checked { last: it.last.clone(), ..it.checked() };
        self.watched.values().map(move |watched| (&watched.target, own(watched)))
    }

    /// Whether each backend has been decided, or was checked so often that it is never going to be:
    /// one that answers now and then.
    pub fn is_settled(&self) -> bool {
        self.watched.values().all(|it| {
            let check = &it.target.check;
            let enough = 2 * (u32::from(check.fall) + u32::from(check.rise));
            it.count.decided().is_some() || it.checks >= enough
        })
    }

    /// Those errors that have not been returned yet.
    fn new_ones(&mut self, errors: Vec<Error>) -> Vec<Error> {
        errors.into_iter().filter(|error| self.told.insert(error.message.clone())).collect()
    }
}

/// What was known of a backend.
struct Known {
    address: std::net::IpAddr,
    is_up: Option<bool>,
    since: Option<SystemTime>,
    last: Option<Last>,
}

impl Watched {
    fn new(target: Target, known: Option<&Known>) -> Self {
        let count = Count::new(target.check.fall, target.check.rise, known.and_then(|it| it.is_up));
        Self {
            places: BTreeSet::new(),
            count,
            since: known.and_then(|it| it.since),
            last: None,
            before: known.and_then(|it| it.last.clone()),
            checks: 0,
            target,
        }
    }

    /// What the last check found, though it may have been another process's.
    fn last(&self) -> Option<&Last> {
        self.last.as_ref().or(self.before.as_ref())
    }

    fn checked(&self) -> Checked {
        Checked {
            service: self.target.service.clone(),
            backend: self.target.backend.clone(),
            place: self.target.place(),
            address: self.target.way.as_ref().map(|way| way.backend),
            is_up: self.count.is_up(),
            since: self.since.map(millis),
            last: self.last().cloned(),
        }
    }

    /// Tells all interfaces of the backend whether it is up.
    fn tell<F: Found>(&self, places: &mut BTreeMap<String, F>, is_up: bool) -> Vec<Error> {
        let Target { service, backend, check, .. } = &self.target;
        let deadline = check.deadline().filter(|_| !is_up);
        let mut errors = Vec::new();
        for place in &self.places {
            let states = places.get_mut(place);
            errors.extend(
                states.and_then(|it| it.set(service, backend, Some(is_up), deadline).err()),
            );
        }
        errors
    }

    /// Says once more that a backend is down where that would end by itself.
    fn renew<F: Found>(&self, places: &mut BTreeMap<String, F>) -> Vec<Error> {
        match (self.count.is_up(), self.target.check.deadline()) {
            (Some(false), Some(_)) => self.tell(places, false),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
