//! Cases of services: packets that are sent on to a backend, against a bare program that sends every frame
//! back.
//!
//! Every flow is from a client of its own, and comes with four source ports: a million flows. The
//! generator writes what a service may have rewritten into every frame anew.

use std::fmt::Write as _;

use xdp_common::stats::verdict::Reason;

use crate::case::{Beside, Case, Extent, Goal, Group, Subject};
use crate::prefixes::Prefixes;
use crate::random::Random;
use crate::testbed::Floor;
use crate::traffic::{FLOWS_V4_COUNT, Flow, Traffic};

const TCP: u8 = 6;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
pub const BACKENDS: u32 = 100;
/// 192.0.2.0 and 10.0.0.0: where services and backends have their addresses.
const SERVICES_AT: u32 = 0xc000_0200;
const BACKENDS_AT: u32 = 0x0a00_0000;
/// Where backends are.
pub const BACKEND_NETWORK: &str = "10.0.0.0/9";
pub const PORT: u16 = 443;

/// The least that a service needs, of so many.
struct Services {
    count: u32,
    /// Of each service, beside its address and port.
    text: &'static str,
    /// Of all, beside the seed.
    settings: &'static str,
    /// Of one backend.
    odd: &'static str,
}

const FIXED: &str = "next_hop = \"02:00:00:00:00:09\"\n";

impl Services {
    const fn one(text: &'static str) -> Self {
        Self { count: 1, text, settings: FIXED, odd: "" }
    }

    fn subject(&self) -> Subject {
        let mut text = format!("[services]\nseed = \"bench+seed+16+by\"\n{}", self.settings);
        for service in 0..self.count {
            let address = std::net::Ipv4Addr::from(address_of(service));
            let _ = write!(
                text,
                "[[service]]\nname = \"service-{service}\"\naddress = \"{address}\"\n\
                 protocol = \"tcp\"\nport = {PORT}\n{}",
                self.text
            );
            for backend in 0..BACKENDS {
                let address = std::net::Ipv4Addr::from(backend_of(service, backend));
                let odd = if backend == 0 { self.odd } else { "" };
                let _ = write!(text, "[[service.backend]]\naddress = \"{address}\"\n{odd}");
            }
        }
        Subject::plain(&text)
    }
}

pub const fn address_of(service: u32) -> u32 {
    SERVICES_AT + (service << 8)
}

pub const fn backend_of(service: u32, backend: u32) -> u32 {
    BACKENDS_AT + (service << 8) + backend + 1
}

/// Packets of established connections to the first services.
fn to_services<const COUNT: u32>(_: &Subject) -> Traffic {
    Traffic::served(&flows(COUNT, ACK), [3, 0])
}

/// Packets of so many connections to the first service, as they stand.
pub fn connections(count: usize) -> Traffic {
    Traffic::served(&flows(1, ACK)[..count], [0, 0])
}

/// Packets of a million connections to the first service.
pub fn established() -> Traffic {
    Traffic::served(&flows(1, ACK), [3, 0])
}

/// The first packets of connections, each of another one.
fn opening<const COUNT: u32>(_: &Subject) -> Traffic {
    Traffic::served(&flows(COUNT, SYN), [0xffff, 0])
}

fn flows(services: u32, tcp_flags: u8) -> Vec<Flow> {
    let clients = Prefixes::blocklist_v4(0, 0).misses(FLOWS_V4_COUNT, 30);
    let random = &mut Random::new(31);
    let flow = |source| {
        let service = random.between(0, u64::from(services) - 1) as u32;
        let destination = address_of(service).into();
        let ports = [random.port(1_024, 65_535), PORT];
        Flow { source, destination, ports, protocol: TCP, tcp_flags }
    };
    clients.into_iter().map(flow).collect()
}

/// What the first service's backends send to clients.
fn replies(_: &Subject) -> Traffic {
    let random = &mut Random::new(32);
    let reply = |to: Flow| {
        let backend = random.between(0, u64::from(BACKENDS) - 1) as u32;
        let [client, service] = to.ports;
        Flow {
            source: backend_of(0, backend).into(),
            destination: to.source,
            ports: [service, client],
            ..to
        }
    };
    let flows: Vec<Flow> = flows(1, ACK).into_iter().map(reply).collect();
    Traffic::served(&flows, [0, 3])
}

/// Packets to an address that no service has.
fn to_others(_: &Subject) -> Traffic {
    const OTHER: u128 = 0xc633_6401;
    let other = |flow: Flow| Flow { destination: OTHER, ..flow };
    let flows: Vec<Flow> = flows(1, ACK).into_iter().map(other).collect();
    Traffic::served(&flows, [3, 0])
}

const NAT: &str = "mode = \"nat\"\n";
const MANY: &str = "mode = \"nat\"\ntable = 4093\n";
const NAT_ROW: &str = "nat, 100 backends";

/// A thousand services of a hundred backends.
pub fn thousand() -> Subject {
    Services { count: 1_000, ..Services::one(MANY) }.subject()
}

pub fn groups() -> Vec<Group> {
    let served = |name, traffic| Case {
        extent: Extent::Usual,
        name,
        traffic,
        floor: Floor::Tx,
        reason: Some(Reason::Service),
        goal: None,
    };
    let all = |case: Case| Case { extent: Extent::All, ..case };
    let other = |name| Case {
        floor: Floor::Pass,
        reason: Some(Reason::Default),
        ..served(name, to_others)
    };
    let group = |name, make, cases| Group { subject: Some((name, make)), cases };
    vec![
        group("no services", || Subject::plain(""), vec![other("no services, to bare pass")]),
        group(
            "nat, 100 backends",
            || Services::one(NAT).subject(),
            vec![
                served(NAT_ROW, to_services::<1>).goal(Goal::Floor(1.25)),
                served("nat, replies", replies).goal(Goal::Floor(1.25)),
                other("nat, a packet of no service")
                    .goal(Goal::Case("no services, to bare pass", 1.05)),
                served("nat, every packet opens a connection", opening::<1>)
                    .goal(Goal::Case(NAT_ROW, 1.05)),
            ],
        ),
        group(
            "nat, one backend of 100 down",
            || Services { odd: "state = \"down\"\n", ..Services::one(NAT) }.subject(),
            vec![
                served("nat, one backend of 100 down", to_services::<1>)
                    .goal(Goal::Case(NAT_ROW, 1.05)),
                served("the same, every packet opens a connection", opening::<1>)
                    .goal(Goal::Case("nat, one backend of 100 down", 1.05)),
            ],
        ),
        group(
            "nat, all connections tracked",
            || {
                let settings = "connections = 4194304\nnext_hop = \"02:00:00:00:00:09\"\n";
                let text = "mode = \"nat\"\ntracking = \"all\"\n";
                Services { settings, ..Services::one(text) }.subject()
            },
            vec![
                served("nat, a million connections tracked", to_services::<1>)
                    .goal(Goal::Floor(2.0)),
                served("the same, every one opens a connection", opening::<1>)
                    .goal(Goal::Case("nat, a million connections tracked", 1.10)),
            ],
        ),
        group(
            "dsr, ipip, 100 backends",
            || Services::one("mode = \"dsr\"\nencapsulation = \"ipip\"\n").subject(),
            vec![served("dsr, ipip, 100 backends", to_services::<1>).goal(Goal::Floor(1.35))],
        ),
        group(
            "dsr, gue, 100 backends",
            || Services::one("mode = \"dsr\"\nencapsulation = \"gue\"\n").subject(),
            vec![served("dsr, gue, 100 backends", to_services::<1>).goal(Goal::Floor(1.45))],
        ),
        group(
            "l2dsr, 100 backends",
            || Services::one("mode = \"l2dsr\"\n").subject(),
            vec![served("l2dsr, 100 backends", to_services::<1>).goal(Goal::Floor(1.20))],
        ),
        group(
            "nat, 100 backends by route",
            || {
                let mut subject = Services { settings: "", ..Services::one(NAT) }.subject();
                subject.beside = Beside::Routes(&[BACKEND_NETWORK]);
                subject
            },
            vec![
                served("nat, 100 backends by route", to_services::<1>)
                    .goal(Goal::Above(NAT_ROW, 0.40)),
            ],
        ),
        group(
            "nat, 1,000 services of 100 backends",
            thousand,
            vec![
                served("1,000 services, traffic to 100 of them", to_services::<100>)
                    .goal(Goal::Floor(1.6)),
                served("1,000 services, traffic to all", to_services::<1_000>)
                    .goal(Goal::Floor(2.5)),
                all(served("1,000 services, each packet opens a connection", opening::<1_000>)),
                other("1,000 services, a packet of none")
                    .goal(Goal::Case("no services, to bare pass", 1.05)),
            ],
        ),
    ]
}
