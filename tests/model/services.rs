//! Services, written down once more: which one takes a packet, and to which of its backends it goes, over
//! all that happens: rulesets that come and go, what commands and checks say of backends, connections
//! that are remembered, and time.
//!
//! Tables of places are vectors, and connections are a map without an end: the product's table of them
//! has room enough for the few that there are here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::maglev;
use super::packet::{Packet, Payload, read};
use super::service_config::{
    Backend, Hash, Mode, SCTP, Service, Services, State, TCP, Tracking, UDP,
};

/// The units of time in which the product remembers, in nanoseconds: see `filter/tracking.rs`.
const MOMENT: u64 = 1 << 28;
const AGE: u64 = 1 << 33;
const MOMENTS_OF_AN_AGE: u64 = AGE / MOMENT;
const SECOND: u64 = 1_000_000_000;

/// Numbers that stand for services and backends, by their places in the ruleset.
#[derive(Clone, Debug, Default)]
pub struct Ids {
    pub services: Vec<u32>,
    pub backends: Vec<Vec<u32>>,
}

impl Ids {
    fn all(&self) -> BTreeSet<u32> {
        self.services.iter().chain(self.backends.iter().flatten()).copied().collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    Command,
    Check,
}

/// What somebody says of a backend: `None` takes back what was said before.
pub type Say = Option<(State, Until)>;

/// A moment; `None` is for ever.
pub type Until = Option<u64>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Entry,
    Before,
    Hash,
    Substitute,
}

/// What a service does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A service and its backend, why that one, the flow's number, and whether it begins a connection.
    Forward {
        service: usize,
        backend: usize,
        number: u64,
        is_new: bool,
        by: By,
    },
    /// A reply of that service's backend.
    Return {
        service: usize,
        backend: usize,
    },
    /// No backend of the service is up.
    Unserved {
        service: usize,
    },
    Fragment {
        service: usize,
    },
}

impl Work {
    /// Whether it begins a connection.
    pub fn begins(self) -> bool {
        matches!(self, Self::Forward { is_new: true, .. })
    }

    /// How its backend was chosen.
    pub fn by(self) -> Option<By> {
        match self {
            Self::Forward { by, .. } => Some(by),
            _ => None,
        }
    }
}

struct Table {
    /// The ids of the backends of now and of before.
    places: Vec<(u32, u32)>,
    changed_at: u64,
    history_ends: u64,
}

/// What is known of a service as a whole.
#[derive(Clone, Debug, Default)]
struct Summary {
    /// Whether connections may be with others than their places say: some backend is not up, or
    /// was not until lately. If the latter, until when.
    disturbed: Option<Until>,
    changed_at: u64,
    checks_count_nothing: bool,
    spares: Vec<u32>,
}

/// A connection: its backend's id, and the age in which it was last used.
struct Entry {
    backend: u32,
    used: u64,
}

#[derive(Default)]
pub struct Balancer {
    /// Nanoseconds.
    pub now: u64,
    services: Services,
    ids: Ids,
    secret: maglev::Secret,
    tables: BTreeMap<u32, Table>,
    summaries: BTreeMap<u32, Summary>,
    said: BTreeMap<(u32, Who), (State, Until)>,
    /// By service and number: of connections, and of clients.
    entries: BTreeMap<(u32, u64, bool), Entry>,
}

impl Balancer {
    fn moment(&self) -> u64 {
        self.now / MOMENT
    }

    /// A ruleset comes into force.
    pub fn reload(&mut self, services: &Services, ids: Ids) {
        let (new, old) = (ids.all(), self.ids.all());
        let is_fresh = |id: &u32| new.contains(id) && !old.contains(id);
        self.said.retain(|(id, _), _| !is_fresh(id));
        self.summaries.retain(|id, _| !is_fresh(id));
        self.entries.retain(|_, entry| !is_fresh(&entry.backend));
        let before = std::mem::replace(&mut self.services, services.clone());
        let before_ids = std::mem::replace(&mut self.ids, ids);
        self.secret = maglev::secret(services);
        let states = |services: &Services, ids: &Ids| -> BTreeMap<u32, State> {
            let backends = services.all.iter().flat_map(|service| &service.backends);
            ids.backends.iter().flatten().copied().zip(backends.map(|it| it.state)).collect()
        };
        let old_states = states(&before, &before_ids);
        let new_states = states(&self.services, &self.ids);
        let old_tables = std::mem::take(&mut self.tables);
        for index in 0..self.services.all.len() {
            let id = self.ids.services[index];
            let table = self.table(index, old_tables.get(&id));
            self.tables.insert(id, table);
            let of_service = &self.ids.backends[index];
            let differs = of_service.iter().any(|it| old_states.get(it) != new_states.get(it));
            self.settle(index, differs);
        }
    }

    fn table(&self, index: usize, old: Option<&Table>) -> Table {
        let service = &self.services.all[index];
        let ids = &self.ids.backends[index];
        let backends: Vec<(&str, u16)> =
            service.backends.iter().map(|it| (&*it.name, it.weight)).collect();
        let now = maglev::table(&self.secret, service.table, &backends);
        let now: Vec<u32> = now.into_iter().map(|backend| ids[backend]).collect();
        let Some(old) = old else {
            let places = now.into_iter().map(|id| (id, id)).collect();
            return Table { places, changed_at: 0, history_ends: 0 };
        };
        let mut changed = false;
        let mut places = Vec::new();
        for (place, &id) in now.iter().enumerate() {
            // In a table of another size, the place in which the middle of this one lies.
            let (last, earlier) = match old.places.len() == now.len() {
                true => old.places[place],
                false => old.places[(2 * place + 1) * old.places.len() / (2 * now.len())],
            };
            changed |= last != id;
            let former = if last == id { earlier } else { last };
            let long_ago = self.moment() - old.changed_at
                > (24 * 3_600 * SECOND / MOMENT + 1).max(self.history());
            places.push(match last == id && (earlier == last || long_ago) {
                true => (id, id),
                // Where it is gone, connections may be with others yet.
                false => (id, if ids.contains(&former) { former } else { 0 }),
            });
        }
        let (changed_at, history_ends) = match changed {
            true => (self.moment(), self.moment() + self.history()),
            false => (old.changed_at, old.history_ends),
        };
        Table { places, changed_at, history_ends }
    }

    /// In moments.
    fn history(&self) -> u64 {
        self.services.history.unwrap_or(3600) * SECOND / MOMENT + 1
    }

    /// Somebody says something of a backend.
    pub fn say(&mut self, index: usize, backend: usize, who: Who, say: Say) {
        let id = self.ids.backends[index][backend];
        let before = self.said.remove(&(id, who));
        if let Some(say) = say {
            self.said.insert((id, who), say);
        }
        // What was said for a while, and is over, is not what holds.
        let is_over = before.is_some_and(|(_, until)| !self.holds(until));
        self.settle(index, is_over || before.map(|it| it.0) != say.map(|it| it.0));
    }

    fn holds(&self, until: Until) -> bool {
        until.is_none_or(|until| self.moment() < until)
    }

    /// The state of a backend: what a command says, else what the configuration says unless that is up,
    /// else what a check says.
    fn state(&self, id: u32, backend: &Backend, regards_checks: bool) -> State {
        let said = |who| {
            let said = self.said.get(&(id, who)).filter(|(_, until)| self.holds(*until));
            said.map(|(state, _)| *state)
        };
        if let Some(state) = said(Who::Command) {
            return state;
        }
        if backend.state != State::Up || !regards_checks {
            return backend.state;
        }
        said(Who::Check).unwrap_or(State::Up)
    }

    /// What follows for a service from the states of its backends as they are now.
    fn settle(&mut self, index: usize, has_changed: bool) {
        let service = &self.services.all[index];
        let ids = &self.ids.backends[index];
        let pairs = || ids.iter().copied().zip(&service.backends);
        let all: u64 = service.backends.iter().map(|it| u64::from(it.weight)).sum();
        let up = pairs().filter(|(id, backend)| self.state(*id, backend, true) == State::Up);
        let up: u64 = up.map(|(_, backend)| u64::from(backend.weight)).sum();
        let panics = up * 100 < all * u64::from(service.panic);
        let up: Vec<u32> = pairs()
            .filter(|(id, backend)| self.state(*id, backend, !panics) == State::Up)
            .map(|(id, _)| id)
            .collect();
        // A command keeps it up for a while, and then it is not.
        let falls = pairs().any(|(id, backend)| {
            let held = matches!(self.said.get(&(id, Who::Command)), Some((State::Up, Some(_))));
            let check = self.said.get(&(id, Who::Check)).map(|it| it.0);
            held && (backend.state != State::Up || check == Some(State::Down))
        });
        let mut summary =
            self.summaries.get(&self.ids.services[index]).cloned().unwrap_or_default();
        summary.disturbed = if up.len() < ids.len() || falls {
            Some(None)
        } else {
            let ends = summary.disturbed.map(|ends| ends.unwrap_or(self.moment() + self.history()));
            ends.filter(|ends| self.moment() < *ends).map(Some)
        };
        // Where checks come to count for nothing, or count again, any backend may change.
        if has_changed || panics != summary.checks_count_nothing {
            summary.changed_at = self.moment();
        }
        summary.checks_count_nothing = panics;
        // Three, as far apart as they can be; the last stands for those that there are not.
        let count = up.len().min(3);
        let spares = if count == 0 { 0..0 } else { 0..3 };
        summary.spares = spares.map(|at: usize| up[at.min(count - 1) * up.len() / count]).collect();
        self.summaries.insert(self.ids.services[index], summary);
    }

    /// What services do with a frame that the rules leave to them. `None` where no service takes it.
    pub fn serve(&mut self, frame: &[u8]) -> Option<Work> {
        let read = read(frame)?;
        let Payload::Ip(packet) = read.payload else { return None };
        let is_plain = packet.parts.session_length.is_none() && !packet.parts.under_labels;
        if !is_plain {
            return None;
        }
        let protocol = packet.protocol.filter(|it| [TCP, UDP, SCTP].contains(it))?;
        if packet.later_fragment {
            let service = self.of_address(&packet, protocol)?;
            return Some(Work::Fragment { service });
        }
        let ports = packet.ports?;
        let Some(service) = self.taking(&packet, protocol, ports.1) else {
            let (service, backend) = self.replying(packet.source, protocol, ports.0)?;
            return Some(Work::Return { service, backend });
        };
        if packet.first_fragment {
            return Some(Work::Fragment { service });
        }
        let addresses = (packet.source, packet.destination);
        let hash = self.services.all[service].hash;
        let number = maglev::number(&self.secret, hash, addresses, protocol, ports);
        let is_new = match protocol {
            TCP => packet.tcp_flags.is_some_and(|flags| flags & 0x12 == 0x02),
            SCTP => frame.get(packet.parts.l4 + 12) == Some(&1),
            _ => false,
        };
        let connection = maglev::number(&self.secret, Hash::Connection, addresses, protocol, ports);
        Some(match self.choose(service, protocol, (number, connection), is_new) {
            Some((backend, by)) => Work::Forward { service, backend, number, is_new, by },
            None => Work::Unserved { service },
        })
    }

    /// The services that are asked about packets to an address: those of the longest prefix first; of
    /// these, those that name the port before those for all ports; of these, as in the file. None
    /// stands behind one for all clients. `None` is a port that no service names.
    fn asked(&self, address: IpAddr, protocol: u8, port: Option<u16>) -> Vec<usize> {
        let rank = |service: &Service| {
            let around = service.addresses.iter().filter(|prefix| prefix.contains(address));
            let longest = around.map(|prefix| prefix.length).max()?;
            let names_port = service.ports.as_ref().map(|ranges| {
                let holds = |(first, last): &(u16, u16)| {
                    port.is_some_and(|it| (*first..=*last).contains(&it))
                };
                ranges.iter().any(holds)
            });
            let takes = service.protocols.contains(&protocol) && names_port != Some(false);
            takes.then_some((u8::MAX - longest, names_port.is_none()))
        };
        let all = self.services.all.iter().enumerate();
        let mut asked: Vec<_> =
            all.filter_map(|(index, service)| Some((rank(service)?, index))).collect();
        asked.sort_unstable();
        let is_last = |index: usize| self.services.all[index].source.is_empty();
        let last = asked.iter().position(|(_, index)| is_last(*index));
        asked.truncate(last.map_or(asked.len(), |last| last + 1));
        asked.into_iter().map(|(_, index)| index).collect()
    }

    fn takes(&self, index: usize, client: IpAddr) -> bool {
        let source = &self.services.all[index].source;
        source.is_empty() || source.iter().any(|prefix| prefix.contains(client))
    }

    /// The service that drops a fragment, which carries no ports: the first in the file that may take a
    /// packet to the address from that client.
    fn of_address(&self, packet: &Packet, protocol: u8) -> Option<usize> {
        let ranges =
            self.services.all.iter().filter_map(|service| service.ports.as_ref()).flatten();
        let ports = ranges.flat_map(|(first, last)| *first..=*last).map(Some).chain([None]);
        let asked = ports.flat_map(|port| self.asked(packet.destination, protocol, port));
        asked.filter(|index| self.takes(*index, packet.source)).min()
    }

    /// The service that takes a packet.
    fn taking(&self, packet: &Packet, protocol: u8, port: u16) -> Option<usize> {
        let asked = self.asked(packet.destination, protocol, Some(port));
        asked.into_iter().find(|index| self.takes(*index, packet.source))
    }

    /// The nat backend that a packet is a reply of.
    fn replying(&self, source: IpAddr, protocol: u8, port: u16) -> Option<(usize, usize)> {
        for (index, service) in self.services.all.iter().enumerate() {
            if service.mode != Mode::Nat || !service.protocols.contains(&protocol) {
                continue;
            }
            let found = service.backends.iter().position(|backend| {
                let from = match (backend.port, &service.ports) {
                    (Some(own), _) => own == port,
                    (None, None) => true,
                    (None, Some(ranges)) => {
                        ranges.iter().any(|(first, last)| (*first..=*last).contains(&port))
                    }
                };
                backend.address == source && from
            });
            if let Some(backend) = found {
                return Some((index, backend));
            }
        }
        None
    }

    /// Whether a backend has been up for so long that no connection is with another one in its place.
    fn is_settled(&self, index: usize, backend: usize) -> bool {
        let id = self.ids.backends[index][backend];
        let summary = &self.summaries[&self.ids.services[index]];
        let is_long_ago = |moment: u64| moment == 0 || self.moment() - moment >= self.history();
        let is_up = self.state(
            id,
            &self.services.all[index].backends[backend],
            !summary.checks_count_nothing,
        ) == State::Up;
        // What was said for a while, and is over.
        let ended = [Who::Command, Who::Check].into_iter().filter_map(|who| {
            self.said
                .get(&(id, who))
                .and_then(|(_, until)| *until)
                .filter(|it| *it <= self.moment())
        });
        is_up && is_long_ago(summary.changed_at) && ended.into_iter().all(is_long_ago)
    }

    /// Chooses a backend, and remembers it where that is needed.
    fn choose(
        &mut self,
        index: usize,
        protocol: u8,
        (number, connection): (u64, u64),
        is_new: bool,
    ) -> Option<(usize, By)> {
        let service = &self.services.all[index];
        let ids = &self.ids.backends[index];
        let id = self.ids.services[index];
        let (table, summary) = (&self.tables[&id], &self.summaries[&id]);
        let here = |number| table.places[maglev::place(number, table.places.len())];
        let (now, before) = here(number);
        let of = |id: u32| ids.iter().position(|it| *it == id);
        let usual = of(now).expect("a backend of the service");
        let is_quiet = summary.disturbed.is_none() || self.is_settled(index, usual);
        if now == before && is_quiet && service.tracking != Tracking::All {
            return Some((usual, By::Hash));
        }
        // How long what has no connections keeps its backend, in ages. `None`: as long as it is known.
        let life =
            service.affinity.or((protocol == UDP).then(|| service.udp_timeout.unwrap_or(30)));
        let life = life.map(|seconds| seconds * SECOND / AGE + 1);
        let since = |moment: u64| self.moment() - moment;
        let within = |moments: u64| life.is_some_and(|life| moments < life * MOMENTS_OF_AN_AGE);
        let age = self.now / AGE;
        let is_udp = protocol == UDP;
        let entry_of = |key: (u32, u64, bool), ends: bool| {
            let entry = self.entries.get(&key).filter(|_| service.tracking != Tracking::None);
            let lives = |it: &&Entry| !ends || life.is_none_or(|life| age - it.used <= life);
            entry.filter(lives).map(|entry| entry.backend)
        };
        let own = entry_of((id, connection, false), is_udp);
        let clients = entry_of((id, number, true), true).filter(|_| service.affinity.is_some());
        // Whether the connection may be older than the last change.
        let old = match is_udp {
            false => !is_new,
            true => within(since(summary.changed_at).min(since(table.changed_at))),
        };
        let remembers_before = match is_udp || is_new {
            false => self.moment() < table.history_ends,
            true => (is_udp || service.affinity.is_some()) && within(since(table.changed_at)),
        };
        // Candidates, each with whether it may be drained.
        let mut candidates = vec![
            (own.filter(|_| !is_new), By::Entry, true),
            (clients.filter(|_| is_new || is_udp), By::Entry, false),
            ((now != before && remembers_before).then_some(before), By::Before, true),
            (Some(now), By::Hash, old),
        ];
        for nth in 4..20 {
            candidates.push((Some(here(maglev::other(number, nth)).0), By::Substitute, false));
        }
        let first = (number >> 32) as usize % 3;
        for nth in 20..23 {
            let spare = summary.spares.get((first + nth) % 3).copied();
            candidates.push((spare, By::Substitute, false));
        }
        let chosen = candidates.into_iter().find_map(|(id, by, keeps)| {
            let backend = of(id?)?;
            let state =
                self.state(ids[backend], &service.backends[backend], !summary.checks_count_nothing);
            let takes = match state {
                State::Up => true,
                State::Drain => keeps && !is_new && service.tracking != Tracking::None,
                State::Down => false,
            };
            takes.then_some((backend, by, state))
        });
        let (backend, by, state) = chosen?;
        let says_otherwise = now != before
            || by != By::Hash
            || own.is_some()
            || service.tracking == Tracking::All && !is_new
            || state == State::Drain && is_udp;
        let of_client = service.affinity.is_some()
            && (clients == Some(ids[backend])
                || (now != before || by != By::Hash || clients.is_some())
                    && state != State::Drain
                    && (is_new || is_udp));
        let entry = || Entry { backend: ids[backend], used: age };
        if service.tracking != Tracking::None && says_otherwise {
            self.entries.insert((id, connection, false), entry());
        }
        if service.tracking != Tracking::None && of_client {
            self.entries.insert((id, number, true), entry());
        }
        Some((backend, by))
    }

    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    pub fn services(&self) -> &Services {
        &self.services
    }

    /// The names of a service and of its backend that a packet goes to or comes from.
    pub fn names(&self, work: Work) -> (&str, Option<&str>) {
        let (service, backend) = match work {
            Work::Forward { service, backend, .. } | Work::Return { service, backend } => {
                (service, Some(backend))
            }
            Work::Unserved { service } | Work::Fragment { service } => (service, None),
        };
        let service = &self.services.all[service];
        (&service.name, backend.map(|backend| &*service.backends[backend].name))
    }
}
