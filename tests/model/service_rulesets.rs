//! Random services, changes of them, and frames that are aimed at them. There are few clients, addresses
//! and ports, so that flows come again, and services share addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::config::{
    Action, Config, List, ListAction, Mac, Prefix, Rule, Verdict, bits, with_bits,
};
use super::dice::Dice;
use super::leaving::{octets, sum};
use super::service_config::{
    Backend, Hash, Mode, SCTP, Service, Services, State, TCP, Tracking, UDP,
};

const V4: [(Ipv4Addr, u8); 6] = [
    (Ipv4Addr::new(192, 0, 2, 10), 32),
    (Ipv4Addr::new(192, 0, 2, 11), 32),
    (Ipv4Addr::new(203, 0, 113, 5), 32),
    (Ipv4Addr::new(192, 0, 2, 8), 29),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(203, 0, 0, 0), 16),
];
const V6: [(u128, u8); 4] = [
    (0x2001_0db8 << 96 | 0x10, 128),
    (0x2001_0db8 << 96 | 0x11, 128),
    (0x2001_0db8 << 96 | 0x10, 124),
    (0x2001_0db8 << 96, 64),
];
const CLIENTS_V4: [Ipv4Addr; 4] = [
    Ipv4Addr::new(198, 51, 100, 1),
    Ipv4Addr::new(198, 51, 100, 2),
    Ipv4Addr::new(198, 51, 100, 129),
    Ipv4Addr::new(198, 18, 0, 77),
];
const CLIENTS_V6: [u128; 3] =
    [0x2001_0db8_000c << 80 | 1, 0x2001_0db8_000c << 80 | 2, 0x2001_0db8_000c_0001 << 64 | 1];
const PORTS: [u16; 5] = [53, 80, 81, 443, 8080];
const MACS: [Mac; 3] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], [2, 0, 0, 1, 2, 3]];

/// What else judges these packets, before services are asked.
pub fn config(dice: &mut Dice) -> Config {
    let verdicts = [Verdict::Pass, Verdict::Drop];
    let mut config =
        Config { default: dice.maybe(2, |dice| dice.pick(&verdicts)), ..Config::default() };
    config.fragments = dice.maybe(4, |dice| dice.pick(&verdicts));
    if dice.one_in(2) {
        for (port, action) in [(1024, Action::Drop), (1025, Action::Pass), (1026, Action::Bounce)] {
            if dice.one_in(4) {
                let mut rule = Rule::new(format!("from-{port}"), action);
                rule.source_port.push((port, port));
                config.rules.push(rule);
            }
        }
    }
    if dice.one_in(4) {
        let list = List { name: "listed".into(), ..List::default() };
        let list = List { prefixes: vec![Prefix::new(CLIENTS_V4[1].into(), 32)], ..list };
        match dice.below(3) {
            0 => config.allowlists.push(list),
            1 => config.blocklists.push(list),
            _ => config.blocklists.push(List { action: Some(ListAction::Count), ..list }),
        }
    }
    config
}

fn prefix(dice: &mut Dice, is_v6: bool, hosts: bool) -> Prefix {
    loop {
        let (address, length): (IpAddr, u8) = if is_v6 {
            let (address, length) = dice.pick(&V6);
            (Ipv6Addr::from_bits(address).into(), length)
        } else {
            let (address, length) = dice.pick(&V4);
            (address.into(), length)
        };
        let is_host = length == bits(address).1;
        if is_host || !hosts && dice.one_in(2) {
            return Prefix::new(address, length);
        }
    }
}

fn client(dice: &mut Dice, is_v6: bool) -> IpAddr {
    match is_v6 {
        true => Ipv6Addr::from_bits(dice.pick(&CLIENTS_V6)).into(),
        false => dice.pick(&CLIENTS_V4).into(),
    }
}

/// Services, not all of which go together: `accepts` says which do.
pub fn services(dice: &mut Dice, accepts: &mut dyn FnMut(&Services) -> bool) -> Services {
    let prefix = |text: &str, length| Prefix::new(text.parse().unwrap(), length);
    let mut services = Services {
        seed: dice.maybe(2, |dice| dice.some(12, 32, Dice::byte)),
        history: dice.maybe(2, |dice| dice.pick(&[60, 61, 600])),
        next_hop: dice.pick(&MACS),
        tunnel_source: dice.maybe(3, |dice| {
            let v4 = dice.pick(&[prefix("10.99.0.0", 20), prefix("198.19.7.7", 32)]);
            (v4, dice.pick(&[prefix("fd99::", 64), prefix("fd99::", 112), prefix("fd99::7", 128)]))
        }),
        all: Vec::new(),
    };
    for number in 0..1 + dice.below(5) {
        add(dice, &mut services, number, accepts);
    }
    while services.all.is_empty() {
        add(dice, &mut services, 0, accepts);
    }
    services
}

fn add(
    dice: &mut Dice,
    services: &mut Services,
    number: usize,
    accepts: &mut dyn FnMut(&Services) -> bool,
) {
    let new = service(dice, number);
    let at = dice.below(services.all.len() + 1);
    services.all.insert(at, new);
    if !accepts(services) {
        services.all.remove(at);
    }
}

fn service(dice: &mut Dice, number: usize) -> Service {
    let mode = dice.pick(&[Mode::Nat, Mode::Nat, Mode::Ipip, Mode::Gue(6080), Mode::L2dsr]);
    let is_v6 = dice.one_in(2);
    let is_tunnel = matches!(mode, Mode::Ipip | Mode::Gue(_));
    let backends_v6 = is_v6 || is_tunnel && dice.one_in(3);
    let mut addresses = vec![prefix(dice, is_v6, mode == Mode::Nat)];
    if mode != Mode::Nat && dice.one_in(2) {
        let other = is_v6 ^ (is_tunnel && backends_v6 && dice.one_in(2));
        addresses.push(prefix(dice, other, false));
        addresses.dedup();
    }
    let mut protocols = dice.some(1, 2, |dice| dice.pick(&[TCP, TCP, UDP, UDP, SCTP]));
    protocols.sort_unstable();
    protocols.dedup();
    let ports = match dice.below(4) {
        0 => None,
        1 => Some(vec![(80, 82)]),
        2 => Some(vec![(53, 53), (443, 443)]),
        _ => {
            let port = dice.pick(&PORTS);
            Some(vec![(port, port)])
        }
    };
    let mut source = Vec::new();
    if dice.one_in(3) {
        for is_v6 in [false, true] {
            if addresses.iter().any(|prefix| prefix.address.is_ipv6() == is_v6) {
                let address = client(dice, is_v6);
                let lengths: &[u8] = if is_v6 { &[48, 64, 128] } else { &[24, 25, 32] };
                let wide = Prefix::new(address, dice.pick(lengths));
                source.push(Prefix::new(wide.ends().0, wide.length));
            }
        }
    }
    let tracking =
        dice.pick(&[Tracking::Changed, Tracking::Changed, Tracking::All, Tracking::None]);
    let hashes = [Hash::Connection, Hash::Source, Hash::SourceAndPort, Hash::DestinationPort];
    let hash = dice.pick(&hashes);
    let mut service = Service {
        name: format!("service-{number}"),
        addresses,
        ports,
        source,
        mode,
        hash,
        table: 251,
        tracking,
        affinity: (hash == Hash::Source && tracking != Tracking::None && dice.one_in(2))
            .then(|| dice.pick(&[1, 30, 600])),
        udp_timeout: dice.maybe(2, |dice| dice.pick(&[1, 20, 100])),
        passes_unserved: dice.one_in(2),
        panic: dice.pick(&[0, 0, 0, 50, 100]),
        mtu: dice.maybe(4, |dice| dice.pick(&[1328, 1400])),
        protocols,
        backends: Vec::new(),
    };
    for nth in 0..1 + dice.below(5) {
        service.backends.push(backend(dice, &service, number, nth, backends_v6));
    }
    service
}

fn backend(dice: &mut Dice, of: &Service, service: usize, nth: usize, is_v6: bool) -> Backend {
    let (s, n) = (service as u8, nth as u8 + 1);
    let address: IpAddr = match is_v6 {
        true => Ipv6Addr::new(0xfd00, service as u16, 0, 0, 0, 0, 0, n.into()).into(),
        false => Ipv4Addr::new(10, s, 0, n).into(),
    };
    let one_port = matches!(of.ports.as_deref(), Some([(first, last)]) if first == last);
    let may_have_port = of.mode == Mode::Nat && one_port && !of.protocols.contains(&SCTP);
    Backend {
        name: format!("backend-{nth}"),
        address,
        port: dice.maybe(2, |dice| dice.pick(&[80, 8000])).filter(|_| may_have_port),
        weight: dice.pick(&[1, 1, 1, 2, 5]),
        state: if dice.one_in(6) { dice.pick(&[State::Drain, State::Down]) } else { State::Up },
        next_hop: dice.maybe(2, |dice| dice.pick(&MACS)),
    }
}

/// Some things changed. It may be that they do not go together.
pub fn changed(dice: &mut Dice, services: &Services) -> Services {
    let mut new = services.clone();
    for _ in 0..1 + dice.below(3) {
        change(dice, &mut new);
    }
    new
}

fn change(dice: &mut Dice, services: &mut Services) {
    if dice.one_in(16) {
        services.seed = Some(dice.some(12, 32, Dice::byte));
    }
    if dice.one_in(8) {
        let number = dice.below(6);
        services.all.retain(|service| service.name != format!("service-{number}"));
        let at = dice.below(services.all.len() + 1);
        if services.all.is_empty() || dice.one_in(2) {
            services.all.insert(at, service(dice, number));
        }
        return;
    }
    let at = dice.below(services.all.len());
    let service = &mut services.all[at];
    let number: usize = service.name.strip_prefix("service-").unwrap().parse().unwrap();
    let is_v6 = service.backends[0].address.is_ipv6();
    let which = dice.below(service.backends.len());
    match dice.below(9) {
        0..2 => {
            let names = |nth: &usize| {
                !service.backends.iter().any(|it| it.name == format!("backend-{nth}"))
            };
            let nth = (0..).find(names).unwrap();
            let new = backend(dice, service, number, nth, is_v6);
            service.backends.insert(dice.below(which + 1), new);
        }
        2..4 if service.backends.len() > 1 => _ = service.backends.remove(which),
        4 => service.backends[which].weight = dice.pick(&[1, 2, 3, 7]),
        5 | 6 => {
            service.backends[which].state = dice.pick(&[State::Up, State::Drain, State::Down]);
        }
        7 => service.table = dice.pick(&[251, 251, 509]),
        8 => service.tracking = dice.pick(&[Tracking::Changed, Tracking::All]),
        _ => {}
    }
}

/// A frame that some service may take, and now and then one that none does.
pub fn frame(dice: &mut Dice, services: &Services) -> Vec<u8> {
    let service = &services.all[dice.below(services.all.len())];
    let protocol = match dice.below(24) {
        0 => dice.pick(&[TCP, UDP, SCTP]),
        1 => 1,
        _ => dice.pick(&service.protocols),
    };
    let named = match &service.ports {
        Some(ranges) if !dice.one_in(8) => {
            let (first, last) = dice.pick(ranges);
            first + dice.below(usize::from(last - first) + 1) as u16
        }
        _ => dice.pick(&PORTS),
    };
    let from_client = 1024 + dice.below(4) as u16;
    let (mut addresses, mut ports) = {
        let prefix = dice.pick(&service.addresses);
        let (first, last) = prefix.ends();
        let offset = dice.pick(&[0, 0, 1, 2, 3, 10, 11]);
        let to = with_bits(first, bits(first).0 + offset).min(last);
        ((client(dice, to.is_ipv6()), to), (from_client, named))
    };
    if dice.one_in(6) {
        // What a backend sends.
        let backend = dice.pick(&service.backends);
        addresses = (backend.address, client(dice, backend.address.is_ipv6()));
        ports = (backend.port.unwrap_or(named), from_client);
    }
    let mut frame = Vec::new();
    frame.extend(dice.pick(&MACS));
    frame.extend(dice.pick(&MACS));
    for _ in 0..dice.pick(&[0, 0, 0, 0, 1, 2]) {
        frame.extend([0x81, 0x00, 0x20, dice.byte()]);
    }
    let is_v6 = addresses.0.is_ipv6();
    match dice.below(40) {
        0 => frame.extend([0x88, 0x47, 0, 1, 1, 64]),
        _ => frame.extend(if is_v6 { [0x86, 0xdd] } else { [0x08, 0x00] }),
    }
    let transport = transport(dice, protocol, addresses, ports);
    match addresses {
        (IpAddr::V4(_), _) => ipv4(dice, &mut frame, protocol, addresses, &transport),
        (IpAddr::V6(_), _) => ipv6(dice, &mut frame, protocol, addresses, &transport),
    }
    if dice.one_in(3) && frame.len() < 60 {
        frame.resize(60, dice.byte());
    }
    frame
}

fn transport(
    dice: &mut Dice,
    protocol: u8,
    (source, destination): (IpAddr, IpAddr),
    (source_port, destination_port): (u16, u16),
) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(source_port.to_be_bytes());
    bytes.extend(destination_port.to_be_bytes());
    let payload = match dice.below(16) {
        0 => dice.some(1250, 1460, Dice::byte),
        _ => dice.some(0, 40, Dice::byte),
    };
    let field = match protocol {
        TCP => {
            bytes.extend(dice.word().to_be_bytes());
            let flags = dice.pick(&[0x02, 0x10, 0x10, 0x18, 0x11, 0x04, 0x12, 0xc2]);
            bytes.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
            16
        }
        UDP => {
            bytes.extend((8 + payload.len() as u16).to_be_bytes());
            bytes.extend([0, 0]);
            6
        }
        SCTP => {
            bytes.extend(dice.word().to_be_bytes());
            // INIT, DATA, SACK.
            bytes.push(dice.pick(&[1, 0, 3]));
            usize::MAX
        }
        // A request for an echo.
        _ => {
            bytes.splice(.., [8, 0, 0, 0, 0, 1, 0, 1]);
            usize::MAX
        }
    };
    bytes.extend(payload);
    if field != usize::MAX {
        let all = sum(&bytes) + sum(&octets(source)) + sum(&octets(destination));
        let all = all + bytes.len() as u64 + u64::from(protocol);
        let checksum = match (0xffff - all % 0xffff) % 0xffff {
            0 if protocol == UDP => 0xffff,
            checksum => checksum as u16,
        };
        let checksum = match dice.below(12) {
            0 if protocol == UDP => 0,
            0 => 0xffff,
            1 => dice.word() as u16,
            _ => checksum,
        };
        bytes[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
    }
    if dice.one_in(40) {
        // Cut short behind what is needed.
        let least = if protocol == TCP { 14 } else { 4 };
        bytes.truncate(least + dice.below(6));
    }
    bytes
}

fn ttl(dice: &mut Dice) -> u8 {
    dice.pick(&[64, 64, 64, 64, 64, 255, 2, 1, 0])
}

fn ipv4(
    dice: &mut Dice,
    frame: &mut Vec<u8>,
    protocol: u8,
    (source, destination): (IpAddr, IpAddr),
    transport: &[u8],
) {
    let options = if dice.one_in(8) { dice.below(4) * 4 } else { 0 };
    let fragment: u16 = match dice.below(20) {
        0 => 0x2000,
        1 => 0x2005,
        2 => 0x0005,
        3..10 => 0x4000,
        _ => 0,
    };
    let mut header = vec![0x45 + options as u8 / 4, dice.byte()];
    header.extend((20 + (options + transport.len()) as u16).to_be_bytes());
    header.extend((dice.word() as u16).to_be_bytes());
    header.extend(fragment.to_be_bytes());
    header.extend([ttl(dice), protocol, 0, 0]);
    header.extend(octets(source));
    header.extend(octets(destination));
    // No operation.
    header.extend(vec![1; options]);
    let checksum = match dice.below(16) {
        0 => dice.word() as u16,
        _ => ((0xffff - sum(&header) % 0xffff) % 0xffff) as u16,
    };
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    frame.extend(header);
    frame.extend(transport);
}

fn ipv6(
    dice: &mut Dice,
    frame: &mut Vec<u8>,
    protocol: u8,
    (source, destination): (IpAddr, IpAddr),
    transport: &[u8],
) {
    // Hop-by-hop options, a fragment header, destination options: each with the number of the next.
    let extensions: &[u8] = match dice.below(24) {
        0 => &[0],
        1 => &[44],
        2 => &[0, 44],
        3 => &[60],
        4 => &[0, 60],
        _ => &[],
    };
    let mut headers = Vec::new();
    for (nth, number) in extensions.iter().enumerate() {
        headers.push(extensions.get(nth + 1).copied().unwrap_or(protocol));
        match number {
            44 => {
                // The first of several, one that is whole, a later one.
                let place: u16 = dice.pick(&[1, 0, 8]);
                headers.push(0);
                headers.extend(place.to_be_bytes());
                headers.extend([0, 0, 0, 9]);
            }
            // Padding (RFC 8200, section 4.2).
            _ => headers.extend([0, 1, 4, 0, 0, 0, 0]),
        }
    }
    let class = dice.byte();
    frame.extend([0x60 | class >> 4, class << 4 | dice.byte() & 0xf, dice.byte(), dice.byte()]);
    frame.extend(((headers.len() + transport.len()) as u16).to_be_bytes());
    frame.extend([extensions.first().copied().unwrap_or(protocol), ttl(dice)]);
    frame.extend(octets(source));
    frame.extend(octets(destination));
    frame.extend(headers);
    frame.extend(transport);
}
