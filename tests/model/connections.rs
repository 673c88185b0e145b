//! Connections stay with their backends, whatever changes around them: said of the product without any
//! model of how it comes about.

use std::collections::BTreeMap;

use super::config::{Config, Prefix};
use super::dice::{Dice, seed};
use super::leaving::octets;
use super::loading;
use super::service_config::{Backend, Hash, Mode, Service, Services, State, TCP, Tracking, UDP};
use super::service_product::Product;
use super::services::{Ids, Who};

const SECOND: u64 = 1_000_000_000;

fn backend(nth: u8) -> Backend {
    Backend {
        name: format!("backend-{nth}"),
        address: [10, 0, 0, nth].into(),
        port: None,
        weight: 1,
        state: State::Up,
        next_hop: None,
    }
}

fn services(hash: Hash, tracking: Tracking, affinity: Option<u64>) -> Services {
    let service = Service {
        name: "web".into(),
        addresses: vec![Prefix::new([192, 0, 2, 10].into(), 32)],
        protocols: vec![TCP, UDP],
        ports: None,
        source: Vec::new(),
        mode: Mode::L2dsr,
        hash,
        table: 251,
        tracking,
        affinity,
        udp_timeout: None,
        passes_unserved: false,
        panic: 0,
        mtu: None,
        backends: (1..5).map(backend).collect(),
    };
    Services { next_hop: [2, 0, 0, 0, 0, 1], all: vec![service], ..Services::default() }
}

/// A client's address and port, and the protocol.
type Connection = (u8, u16, u8);

struct Lab {
    services: Services,
    ids: Ids,
    product: Product,
    /// What commands say of backends, by name.
    said: BTreeMap<String, State>,
    backends: BTreeMap<Connection, String>,
}

impl Lab {
    fn new(services: Services) -> Self {
        let mut lab = Self {
            services,
            ids: Ids::default(),
            product: Product::default(),
            said: BTreeMap::new(),
            backends: BTreeMap::new(),
        };
        lab.product.step(100_000 * SECOND);
        lab.reload();
        lab
    }

    fn reload(&mut self) {
        let config = Config { services: self.services.clone(), ..Config::default() };
        self.ids = self.product.reload(&loading::ruleset(&config).unwrap());
        let names = |name: &String| self.services.all[0].backends.iter().any(|it| it.name == *name);
        self.said.retain(|name, _| names(name));
    }

    /// The state of a backend; down if it is gone.
    fn state(&self, name: &str) -> State {
        let found = self.services.all[0].backends.iter().find(|it| it.name == name);
        let Some(backend) = found else { return State::Down };
        self.said.get(name).copied().unwrap_or(backend.state)
    }

    /// Sends a packet, and returns the backend that it goes to.
    fn send(&mut self, (client, port, protocol): Connection, flags: u8) -> Option<String> {
        let mut transport = port.to_be_bytes().to_vec();
        match protocol {
            TCP => transport.extend([0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0]),
            _ => transport.extend([0, 80, 0, 8, 0, 0]),
        }
        let mut frame = vec![2; 12];
        frame.extend([
            8,
            0,
            0x45,
            0,
            0,
            20 + transport.len() as u8,
            0,
            0,
            0,
            0,
            64,
            protocol,
            0,
            0,
        ]);
        frame.extend(octets([198, 51, 100, client].into()));
        frame.extend(octets([192, 0, 2, 10].into()));
        frame.extend(transport);
        self.product.serve(&frame).expect("the service takes it").backend
    }

    fn change(&mut self, dice: &mut Dice) {
        let backends = &mut self.services.all[0].backends;
        let at = dice.below(backends.len());
        match dice.below(6) {
            0 => {
                let free =
                    |nth: &u8| !backends.iter().any(|it| it.address == backend(*nth).address);
                let new = backend((1..).find(free).unwrap());
                backends.insert(at, new);
            }
            1 if backends.len() > 2 => _ = backends.remove(at),
            2 => backends[at].weight = dice.pick(&[1, 2, 3]),
            3 => {
                backends[at].state =
                    dice.pick(&[State::Up, State::Drain, State::Drain, State::Down])
            }
            _ => {
                let say = dice.maybe(2, |dice| dice.pick(&[State::Drain, State::Down, State::Up]));
                let name = backends[at].name.clone();
                let (service, id) = (self.ids.services[0], self.ids.backends[0][at]);
                self.product.say(service, id, Who::Command, say.map(|state| (state, None)));
                match say {
                    Some(state) => _ = self.said.insert(name, state),
                    None => _ = self.said.remove(&name),
                }
                return;
            }
        }
        self.reload();
    }

    /// Every connection sends a packet. One whose backend is down or gone may go on with another.
    fn all_send(&mut self, dice: &mut Dice) {
        let known: Vec<Connection> = self.backends.keys().copied().collect();
        for connection in known {
            for _ in 0..1 + dice.below(2) {
                let before = self.backends[&connection].clone();
                let Some(backend) = self.send(connection, 0x10) else {
                    self.backends.remove(&connection);
                    break;
                };
                assert!(
                    backend == before || self.state(&before) == State::Down,
                    "{connection:?} was with {before}, which is not down, and comes to {backend}"
                );
                self.backends.insert(connection, backend);
            }
        }
    }

    fn open(&mut self, dice: &mut Dice) {
        let protocol = dice.pick(&[TCP, UDP]);
        let connection = (dice.byte() % 32, 1024 + dice.below(400) as u16, protocol);
        if self.backends.contains_key(&connection) {
            return;
        }
        let Some(backend) = self.send(connection, 0x02) else { return };
        if protocol == TCP {
            let state = self.state(&backend);
            assert_eq!(state, State::Up, "{connection:?} begins with {backend}");
        }
        self.backends.insert(connection, backend);
    }
}

fn connections_stay(hash: Hash, tracking: Tracking, affinity: Option<u64>) {
    let mut dice = Dice::new(seed());
    let mut most = 0;
    for _ in 0..8 {
        let mut lab = Lab::new(services(hash, tracking, affinity));
        for _ in 0..40 {
            for _ in 0..dice.below(6) {
                lab.open(&mut dice);
            }
            lab.all_send(&mut dice);
            lab.product.step(dice.word() % (4 * SECOND));
            lab.change(&mut dice);
            if dice.one_in(2) {
                lab.all_send(&mut dice);
            }
        }
        most = most.max(lab.backends.len());
    }
    // At the end of a history, all backends may be down.
    assert!(most > 0);
}

#[test]
fn connections_stay_with_their_backends() {
    connections_stay(Hash::Connection, Tracking::Changed, None);
}

#[test]
fn connections_stay_where_all_are_tracked() {
    connections_stay(Hash::Connection, Tracking::All, None);
}

#[test]
fn connections_stay_where_clients_choose() {
    connections_stay(Hash::Source, Tracking::Changed, None);
}

#[test]
fn connections_stay_with_affinity() {
    connections_stay(Hash::Source, Tracking::Changed, Some(600));
}

/// A connection and its client have an entry each, and both may lie in one line: then the second leaves the first alone.
#[test]
fn the_entry_of_a_client_takes_the_place_of_no_connection() {
    let mut substituted = 0;
    for port in 1..120 {
        let mut lab = Lab::new(services(Hash::Source, Tracking::Changed, Some(600)));
        // Most connections are not where the table says.
        lab.services.all[0].backends[1..].iter_mut().for_each(|it| it.state = State::Drain);
        lab.reload();
        for client in 0..=u8::MAX {
            let connection = (client, port, TCP);
            let begun = lab.send(connection, 0x02).expect("a backend");
            substituted += usize::from(begun == "backend-1");
            assert_eq!(lab.send(connection, 0x10), Some(begun), "{connection:?}");
        }
    }
    assert_eq!(substituted, 119 * 256);
}

/// A client with a download opens another connection after a backend has come: the download goes on.
#[test]
fn a_new_connection_of_a_client_moves_none_of_its_old_ones() {
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    for affinity in [None, Some(600)] {
        let mut lab = Lab::new(services(Hash::Source, Tracking::Changed, affinity));
        let clients: Vec<u8> = (1..200).collect();
        let begin = |client: &u8| lab.send((*client, 40_000, TCP), SYN).unwrap();
        let with: Vec<String> = clients.iter().map(begin).collect();
        lab.services.all[0].backends[0].state = State::Drain;
        lab.services.all[0].backends.push(backend(5));
        lab.reload();
        for (client, with) in clients.into_iter().zip(with) {
            let download = (client, 40_000, TCP);
            assert_eq!(lab.send(download, ACK).as_ref(), Some(&with));
            lab.send((client, 40_001, TCP), SYN).unwrap();
            assert_eq!(lab.send(download, ACK).as_ref(), Some(&with), "client {client}");
        }
    }
}

/// A backend drains, and another one comes, as a moment begins. Packets right behind that have the moment
/// before, and their flows stay nevertheless.
#[test]
fn flows_stay_where_the_clock_of_packets_is_behind() {
    const MOMENT: u64 = 1 << 28;
    for comes in [false, true] {
        let mut lab = Lab::new(services(Hash::Connection, Tracking::Changed, None));
        let clients: Vec<u8> = (1..200).collect();
        let begin = |client: &u8| lab.send((*client, 40_000, UDP), 0).unwrap();
        let with: Vec<String> = clients.iter().map(begin).collect();
        lab.product.step(MOMENT - 100_000 * SECOND % MOMENT);
        match comes {
            true => lab.services.all[0].backends.push(backend(5)),
            false => lab.services.all[0].backends[0].state = State::Drain,
        }
        lab.reload();
        lab.product.fall_behind(SECOND / 1_000);
        for (client, with) in clients.into_iter().zip(with) {
            let now = lab.send((client, 40_000, UDP), 0);
            assert_eq!(now.as_ref(), Some(&with), "client {client}, a backend comes: {comes}");
        }
    }
}
