//! Compiles services: the table of their addresses, the tables by which flows find their backends, and
//! what is known of each backend (`xdp_common::lookup::services`).

use std::net::IpAddr;
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};
use xdp_common::filter::tracking::{AGE_SHIFT, LINES_PER_SLOT, MOMENT_SHIFT};
use xdp_common::image::{Header, LINE_WORDS, Line, flag};
use xdp_common::lookup::services::{
    self, Backend, ENTRY_WORDS, Front, GONE, KEY_ANY_PORT, KEY_IPV6, KEY_OWN, KEY_PROTOCOL_SHIFT,
    KEY_REPLY, KEY_SET, Key, LINE_ENTRIES, LINE_PLACES, Mode, Origin, PLACE_BITS, Tracking, fields,
};
use xdp_common::stats::counter::CounterId;

use super::counters::losses;
use super::domains::{Generator, Seed};
use super::interval_tree::LineWriter;
use super::lpm::TooLarge;
use super::maglev::{self, Candidate};
use super::service_bits;
use super::service_classes::{Classes, destinations, key};
use super::service_clients::Clients;
pub use super::service_tables::{
    Before, Moved, Table, backends, changed, fronts, moved, spare_word,
};
use crate::ruleset::services::check::{Probe, Through};
use crate::ruleset::services::{
    Echo, Hash, Mode as Wanted, NextHop, NoBackend, Service, Settings, State, TooBig,
    Tracking as Remembered, Transport,
};
use crate::ruleset::{Prefix, Prefixes, Ruleset};

/// The counters of a service: its own, behind which those of its losses follow, and those of its backends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub service: u32,
    pub backends: Vec<u32>,
}

/// What services are compiled for.
pub struct Context<'a> {
    pub counters: &'a [Counters],
    /// The interface's.
    pub mtu: u16,
    pub seed: Seed,
    /// Addresses of this host.
    pub own: &'a [IpAddr],
    /// Whether rules ask for them too.
    pub rules_ask_own: bool,
    /// See [`connection_lines`].
    pub connection_lines: u32,
    pub before: &'a Before,
}

/// The entries of this host's addresses.
fn own_entries(own: &[IpAddr]) -> impl Iterator<Item = ([u64; 3], u32)> {
    // All that is asked is whether there is an entry.
    own.iter().map(|address| (own_key(*address), 1))
}

/// The key of an address of this host.
fn own_key(address: IpAddr) -> [u64; 3] {
    let family = if address.is_ipv6() { KEY_IPV6 } else { 0 };
    let [high, low] = words(address);
    [high, low, KEY_SET | KEY_OWN | family]
}

/// Lines of connections that a ruleset's services want; 0 where they want none.
pub fn connection_lines(ruleset: &Ruleset) -> u32 {
    let remembers = |service: &Service| service.tracking != Remembered::None;
    if !ruleset.services.iter().any(remembers) {
        return 0;
    }
    // A map holds so many: with fewer, the rest would lie idle.
    (ruleset.service_settings.connections / LINE_WORDS as u32).max(LINES_PER_SLOT)
}

/// Whether a check of it may ask for an echo inside of another packet, as its packets go: then the program at the
/// egress does not see the request.
fn asks_for_echoes_inside(service: &Service) -> bool {
    let is_inside = matches!(service.mode, Wanted::Ipip | Wanted::Gue { .. });
    is_inside
        && service.check.as_ref().is_some_and(|check| {
            check.through == Through::Service
                && matches!(check.probe, Probe::Icmp | Probe::Exec { .. })
        })
}

/// Writes the services into the image.
pub fn write(
    settings: &Settings,
    services: &[Service],
    context: &Context<'_>,
    header: &mut Header,
    lines: &mut LineWriter,
) -> Result<(), TooLarge> {
    if services.is_empty() {
        if context.rules_ask_own {
            let replies: Vec<_> = own_entries(context.own).collect();
            write_tables(&[], &replies, context.seed, header, lines);
        }
        return Ok(());
    }
    let counters = context.counters;
    header.flags |= flag::SERVICES;
    if services.iter().any(asks_for_echoes_inside) {
        header.flags |= flag::ECHOES_OF_CHECKS;
    }
    header.connection_lines = context.connection_lines;
    let secret = secret(settings);
    header.service_secret = lines.push(secret);
    tunnels(settings.tunnel_source_v4, settings.tunnel_source_v6, header);
    let clients = Clients::new(services);
    clients.write(services, header, lines)?;
    let classes = Classes::new(services);
    classes.write(header, lines)?;
    let mut backends = Vec::new();
    for (service, counters) in services.iter().zip(counters) {
        backends.push(lines.next());
        for (backend, &counter) in service.backends.iter().zip(&counters.backends) {
            lines.push(backend_line(settings, backend, counter, counters.service));
        }
    }
    directory(counters, &backends, header, lines);
    let tables: Vec<WrittenTable> = services
        .iter()
        .zip(counters)
        .map(|(service, counters)| {
            places(service, counters, settings.history, context.before, &secret, lines)
        })
        .collect();
    let mut fronts = Fronts {
        services,
        counters,
        clients: &clients,
        backends,
        tables,
        mtu: context.mtu,
        history: moments(settings.history),
        written: FxHashMap::default(),
    };
    let (mut entries, mut replies) = (Vec::new(), Vec::new());
    for (key, of) in destinations(services, &classes) {
        let protocol = (key[2] >> KEY_PROTOCOL_SHIFT) as u8;
        let line = fronts.line(&of, protocol, lines);
        entries.push((key, line));
    }
    for (key, origin) in origins(settings, services, counters) {
        header.flags |= flag::SERVICE_REPLIES;
        replies.push((key, lines.push(origin.to_line())));
    }
    let services_ask =
        matches!(settings.next_hop, NextHop::Mac(_)) && header.has(flag::SERVICE_REPLIES);
    if services_ask || context.rules_ask_own {
        replies.extend(own_entries(context.own));
    }
    service_bits::write(&entries, &replies, context.seed.next(), header, lines);
    write_tables(&entries, &replies, context.seed, header, lines);
    Ok(())
}

/// Writes the table of services' addresses, and that of backends that reply and of this host's addresses.
fn write_tables(
    entries: &[([u64; 3], u32)],
    replies: &[([u64; 3], u32)],
    seed: Seed,
    header: &mut Header,
    lines: &mut LineWriter,
) {
    for &([high, low, rest], _) in replies {
        if rest & KEY_OWN != 0 {
            header.own_bits |= 1 << services::own_bit([high, low]);
        }
    }
    let (keys, [table, reply_table]) = place([entries, replies], seed);
    header.service_keys = lines.push(keys);
    header.service_table_lines = table.len() as u32;
    header.service_table = lines.append(table);
    header.reply_table_lines = reply_table.len() as u32;
    header.reply_table = lines.append(reply_table);
}

/// The secret that flows are spread by, as it stands in the image.
fn secret(settings: &Settings) -> Line {
    // What is used where the configuration has none: no secret at all, as `check` says.
    const PUBLIC: &[u8] = b"xdpctl services";
    let bytes = settings.seed.as_deref().unwrap_or(PUBLIC);
    let mut state = bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        state = services::mix(state, u64::from_le_bytes(word), 0x2545_f491_4f6c_dd1d);
    }
    let mut line = [0; LINE_WORDS];
    for (place, word) in line.iter_mut().enumerate() {
        state = services::mix(state, place as u64, 0x2545_f491_4f6c_dd1d);
        *word = state;
    }
    line
}

/// Says where tunnelled packets come from.
pub fn tunnels(v4: Prefix<u32>, v6: Prefix<u128>, header: &mut Header) {
    header.tunnel_v4 = v4.address;
    header.tunnel_v4_flow = u32::MAX.checked_shr(v4.length.into()).unwrap_or(0);
    header.tunnel_v6 = [(v6.address >> 64) as u64, v6.address as u64];
    // A prefix is 64 bits or longer.
    header.tunnel_v6_flow = u64::MAX.checked_shr(u32::from(v6.length) - 64).unwrap_or(0);
}

/// An address as the program has it.
pub fn words(address: IpAddr) -> [u64; 2] {
    match address {
        IpAddr::V4(address) => [address.to_bits().into(), 0],
        IpAddr::V6(address) => [(address.to_bits() >> 64) as u64, address.to_bits() as u64],
    }
}

fn backend_line(
    settings: &Settings,
    backend: &crate::ruleset::services::Backend,
    counter: u32,
    service: u32,
) -> Line {
    let (has_mac, mac) = mac(backend.next_hop.unwrap_or(settings.next_hop));
    Backend {
        address: words(backend.address),
        counter: CounterId::new(counter).0,
        port: backend.port.unwrap_or(0),
        has_port: backend.port.is_some().into(),
        is_v6: backend.address.is_ipv6().into(),
        has_mac,
        state: match backend.state {
            State::Up => services::State::Up,
            State::Drain => services::State::Drain,
            State::Down => services::State::Down,
        } as u8,
        mac,
        service: CounterId::new(service).0,
        weight: backend.weight.into(),
        padding: [0; 3],
    }
    .to_line()
}

fn mac(next_hop: NextHop) -> (u8, [u8; 6]) {
    match next_hop {
        NextHop::Mac(mac) => (1, mac),
        NextHop::Route => (0, [0; 6]),
    }
}

/// Writes where the line of each backend is, by its id.
fn directory(counters: &[Counters], backends: &[u32], header: &mut Header, lines: &mut LineWriter) {
    let mut by_id: Vec<u32> = Vec::new();
    for (counters, &first) in counters.iter().zip(backends) {
        for (line, &counter) in (first..).zip(&counters.backends) {
            let id = CounterId::new(counter).0 as usize;
            if by_id.len() <= id {
                by_id.resize(id + 1, 0);
            }
            by_id[id] = line;
        }
    }
    header.service_ids = by_id.len() as u32;
    header.service_directory = lines.next();
    write_numbers(&by_id, lines);
}

fn write_numbers(numbers: &[u32], lines: &mut LineWriter) {
    for chunk in numbers.chunks(LINE_PLACES as usize) {
        let mut line = [0; LINE_WORDS];
        for (place, &number) in chunk.iter().enumerate() {
            line[place / 2] |= u64::from(number) << (32 * (place % 2));
        }
        lines.push(line);
    }
}

/// How long after the last change of its table a service looks for connections that are with other backends
/// than their places say, at least. It ends with a reload.
const FORGOTTEN: Duration = Duration::from_secs(24 * 3_600);

struct WrittenTable {
    first: u32,
    places: u32,
    history_ends: u32,
    changed_at: u32,
}

/// Writes a service's table. All its backends have places there, whether they are up or not: while one is
/// not, packets at its places find another, and no other place changes.
fn places(
    service: &Service,
    counters: &Counters,
    history: Duration,
    before: &Before,
    secret: &Line,
    lines: &mut LineWriter,
) -> WrittenTable {
    let candidates: Vec<Candidate> = service
        .backends
        .iter()
        .map(|backend| Candidate { number: number(secret, &backend.name), weight: backend.weight })
        .collect();
    let table = maglev::table(service.table, &candidates);
    let id = |index: u16| CounterId::new(counters.backends[usize::from(index)]).0;
    let indexes: FxHashMap<u32, u16> =
        (0..service.backends.len() as u16).map(|index| (id(index), index)).collect();
    let old = before.tables.get(&CounterId::new(counters.service).0);
    let mut has_changed = false;
    // No connection of before is looked for any more.
    let is_long_ago = old.is_some_and(|old| {
        before.now.saturating_sub(old.changed_at) > moments(FORGOTTEN.max(history))
    });
    let numbers: Vec<u32> = table
        .iter()
        .enumerate()
        .map(|(place, &now)| {
            let former = old.and_then(|old| old.at(place, table.len())).map(|[last, first]| {
                let stays = last == id(now);
                has_changed |= !stays;
                if stays && (first == last || is_long_ago) {
                    return now.into();
                }
                indexes.get(if stays { &first } else { &last }).map_or(GONE, |&it| it.into())
            });
            u32::from(now) | former.unwrap_or(now.into()) << PLACE_BITS
        })
        .collect();
    let first = lines.next();
    write_numbers(&numbers, lines);
    let mut written = WrittenTable {
        first,
        places: table.len() as u32,
        history_ends: old.map_or(0, |old| old.history_ends),
        changed_at: old.map_or(0, |old| old.changed_at),
    };
    if has_changed {
        written.changed_at = before.now;
        written.history_ends = before.now.saturating_add(moments(history));
    }
    written
}

/// How many moments a time takes.
fn moments(time: Duration) -> u32 {
    u32::try_from(time.as_nanos() >> MOMENT_SHIFT).map_or(u32::MAX, |moments| moments + 1)
}

/// How many ages a time takes.
fn ages(time: Duration) -> u16 {
    u16::try_from(time.as_nanos() >> AGE_SHIFT).map_or(u16::MAX, |ages| ages + 1)
}

/// The number of a backend's name, by which its places are ordered.
fn number(secret: &Line, name: &str) -> u64 {
    let mut number = secret[7] ^ name.len() as u64;
    for chunk in name.as_bytes().chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        number = services::mix(number, u64::from_le_bytes(word), secret[6]);
    }
    services::mix(number, secret[5], secret[4])
}

/// Hosts of a service's addresses, as key words, with whether they are IPv6.
fn hosts(addresses: &Prefixes) -> Vec<([u64; 2], bool)> {
    let v4 = addresses.v4.iter().map(|prefix| ([prefix.address.into(), 0], false));
    let v6 = addresses.v6.iter();
    let v6 = v6.map(|prefix| ([(prefix.address >> 64) as u64, prefix.address as u64], true));
    v4.chain(v6).collect()
}

/// What stands for the ports in keys.
fn port_keys(ports: Option<&[(u16, u16)]>) -> Vec<u64> {
    match ports {
        None => vec![KEY_ANY_PORT],
        Some(ranges) => {
            ranges.iter().flat_map(|&(first, last)| first..=last).map(u64::from).collect()
        }
    }
}

/// What the replies of backends are rewritten to, by their keys.
fn origins(
    settings: &Settings,
    services: &[Service],
    counters: &[Counters],
) -> Vec<([u64; 3], Origin)> {
    let mut origins = Vec::new();
    for (service, counters) in services.iter().zip(counters) {
        if service.mode != Wanted::Nat {
            continue;
        }
        for (backend, &counter) in service.backends.iter().zip(&counters.backends) {
            let is_v6 = backend.address.is_ipv6();
            let address = hosts(&service.addresses).into_iter().find(|host| host.1 == is_v6);
            let Some((address, _)) = address else { continue };
            let (has_mac, mac) = mac(settings.next_hop);
            let mut origin = Origin {
                address,
                service_counter: CounterId::new(counters.service).0,
                backend_counter: CounterId::new(counter).0,
                port: 0,
                has_port: 0,
                has_mac,
                answers: if service.too_big == TooBig::Icmp {
                    services::answers::TOO_BIG
                } else {
                    0
                },
                reserved: [0; 3],
                mac,
                unused: [0; 2],
                losses: CounterId::new(losses(counters.service)).0,
                others: 0,
                padding: [0; 2],
            };
            let rest = match (backend.port, service.ports.as_deref()) {
                (Some(port), Some(&[(own, _)])) => {
                    (origin.port, origin.has_port) = (own, 1);
                    vec![u64::from(port)]
                }
                (_, ports) => port_keys(ports),
            };
            for protocol in &service.protocols {
                for rest in &rest {
                    let Key(key) =
                        key(words(backend.address), is_v6, protocol.number(), rest | KEY_REPLY);
                    origins.push((key, origin));
                }
            }
        }
    }
    origins
}

/// The fronts, each written once.
struct Fronts<'a> {
    services: &'a [Service],
    counters: &'a [Counters],
    clients: &'a Clients,
    backends: Vec<u32>,
    tables: Vec<WrittenTable>,
    mtu: u16,
    history: u32,
    written: FxHashMap<(Vec<usize>, u8), u32>,
}

impl Fronts<'_> {
    /// The line of the front of services that share a key, in file order.
    fn line(&mut self, of: &[usize], protocol: u8, lines: &mut LineWriter) -> u32 {
        let Some((&index, behind)) = of.split_first() else { return 0 };
        // Nothing behind a service for all clients is ever reached.
        let behind = if self.clients.numbers[index].is_none() { &[] } else { behind };
        let own: Vec<usize> = [&[index], behind].concat();
        let key = (own, protocol);
        if let Some(&line) = self.written.get(&key) {
            return line;
        }
        let next = self.line(behind, protocol, lines);
        let front = self.front(index, protocol, next);
        let line = lines.push(front.to_line());
        self.written.insert(key, line);
        line
    }

    fn front(&self, index: usize, protocol: u8, next: u32) -> Front {
        let service = &self.services[index];
        let (mode, gue_port) = match service.mode {
            Wanted::Nat => (Mode::Nat, 0),
            Wanted::Ipip => (Mode::Ipip, 0),
            Wanted::Gue { port } => (Mode::Gue, port),
            Wanted::L2dsr => (Mode::L2dsr, 0),
        };
        let table = &self.tables[index];
        let counters = &self.counters[index];
        let losses = CounterId::new(losses(counters.service)).0;
        let is_udp = protocol == Transport::Udp.number();
        let life = service.affinity.or(is_udp.then_some(service.udp_timeout));
        let answers = [
            (service.too_big == TooBig::Icmp, services::answers::TOO_BIG),
            (service.no_backend == NoBackend::Reject, services::answers::UNREACHABLE),
            (service.echo == Echo::Reply, services::answers::ECHO),
        ];
        Front {
            mode: mode as u8,
            hash: match service.hash {
                Hash::Connection => fields::SOURCE_PORT | fields::DESTINATION_PORT,
                Hash::Source => 0,
                Hash::SourceAndPort => fields::SOURCE_PORT,
                Hash::DestinationPort => fields::DESTINATION_PORT,
            },
            pass_unserved: (service.no_backend == NoBackend::Pass).into(),
            limited: self.clients.numbers[index].is_some().into(),
            gue_port,
            mtu: service.mtu.unwrap_or(self.mtu),
            places_at: table.first,
            places: table.places,
            backends: self.backends[index],
            counter: CounterId::new(counters.service).0,
            next,
            clients: self.clients.numbers[index].unwrap_or(0),
            history_ends: table.history_ends,
            changed_at: table.changed_at,
            life: life.map_or(0, ages),
            tracking: match service.tracking {
                Remembered::None => Tracking::None,
                Remembered::Changed => Tracking::Changed,
                Remembered::All => Tracking::All,
            } as u8,
            affine: service.affinity.is_some().into(),
            answers: answers.iter().filter(|(on, _)| *on).fold(0, |bits, (_, bit)| bits | bit),
            panic: service.panic,
            unused: [0; 2],
            spares: losses,
            losses,
            backend_count: service.backends.len() as u32,
            history: self.history,
        }
    }
}

/// Places the entries of two tables, each in one of its two lines. Returns the keys of the hash, which is that of both,
/// too.
fn place(tables: [&[([u64; 3], u32)]; 2], mut seed: Seed) -> (Line, [Vec<Line>; 2]) {
    for entries in tables {
        let distinct: FxHashSet<[u64; 3]> = entries.iter().map(|(key, _)| *key).collect();
        assert_eq!(distinct.len(), entries.len(), "the configuration has each address once");
    }
    let mut counts = tables.map(|entries| entries.len().max(1));
    loop {
        let mut generator = Generator::new(seed);
        let keys = [0; LINE_WORDS].map(|_: u64| generator.next());
        let mut fill = |at: usize| fill(tables[at], &keys, counts[at] as u32, &mut generator);
        match [fill(0), fill(1)] {
            [Some(table), Some(reply_table)] => return (keys, [table, reply_table]),
            filled => {
                for (count, _) in counts.iter_mut().zip(filled).filter(|(_, it)| it.is_none()) {
                    *count += *count / 8 + 1;
                }
            }
        }
        seed = seed.next();
    }
}

/// A table of so many lines; `None` where an entry finds no room (Pagh and Rodler, "Cuckoo hashing",
/// Journal of Algorithms 51, 2004).
fn fill(
    entries: &[([u64; 3], u32)],
    keys: &Line,
    count: u32,
    generator: &mut Generator,
) -> Option<Vec<Line>> {
    const MAX_MOVES: usize = 1_000;
    let mut slots = vec![[None; LINE_ENTRIES]; count as usize];
    for entry in 0..entries.len() {
        let mut entry = entry;
        let mut moves = 0;
        'placing: loop {
            let lines = Key(entries[entry].0).places(keys, count);
            for line in lines {
                for slot in &mut slots[line as usize] {
                    if slot.is_none() {
                        *slot = Some(entry);
                        break 'placing;
                    }
                }
            }
            if moves == MAX_MOVES {
                return None;
            }
            moves += 1;
            let random = generator.next() as usize;
            let line = lines[random & 1] as usize;
            let slot = &mut slots[line][random >> 1 & (LINE_ENTRIES - 1)];
            entry = slot.replace(entry).expect("no slot of the line is free");
        }
    }
    let line = |slots: &[Option<usize>; LINE_ENTRIES]| {
        let mut line = [0; LINE_WORDS];
        for (words, slot) in line.chunks_exact_mut(ENTRY_WORDS).zip(slots) {
            if let Some(entry) = *slot {
                let (key, leads_to) = entries[entry];
                words[..3].copy_from_slice(&key);
                words[3] = leads_to.into();
            }
        }
        line
    };
    Some(slots.iter().map(line).collect())
}
