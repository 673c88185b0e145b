//! The frame in which a service sends a packet on, made anew from its fields. Every checksum is added up
//! over all that it covers, and is as wrong as it was before.

use std::net::IpAddr;

use super::config::{Mac, Prefix};
use super::packet::{Packet, Payload, read};
use super::service_config::{Mode, Services, TCP, UDP};
use super::services::Work;

/// What becomes of a frame that a service takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leaves {
    Back(Vec<u8>),
    /// To the host's own stack.
    Up,
    /// Dropped, with what the service counts it as, if anything.
    Lost(&'static str),
}

const TTL: usize = 64;

/// `mtu` is the interface's; 0 where it is not known.
pub fn leaves(services: &Services, work: Work, mtu: u16, frame: &[u8]) -> Leaves {
    let Payload::Ip(packet) = read(frame).expect("it was read before").payload else {
        unreachable!("a service takes IP packets")
    };
    let mut mac = services.next_hop;
    let sent = match work {
        Work::Fragment { .. } => return Leaves::Lost("fragment"),
        Work::Unserved { service } => {
            return match services.all[service].passes_unserved {
                true => Leaves::Up,
                false => Leaves::Lost("no_backend"),
            };
        }
        Work::Return { service, backend } => {
            let service = &services.all[service];
            let family = packet.source.is_ipv4();
            let mut own = service.addresses.iter().map(|prefix| prefix.address);
            let address = own.find(|it| it.is_ipv4() == family).expect("one of its family");
            let port = service.backends[backend].port;
            let port = port.and(service.ports.as_ref()).map(|ranges| ranges[0].0);
            translated(frame, &packet, Side::Source, address, port)
        }
        Work::Forward { service, backend, number, .. } => {
            let service = &services.all[service];
            let backend = &service.backends[backend];
            mac = backend.next_hop.unwrap_or(mac);
            let length = packet.parts.end - packet.parts.l3;
            let outer = if backend.address.is_ipv4() { 20 } else { 40 };
            let length = length
                + match service.mode {
                    Mode::Nat | Mode::L2dsr => 0,
                    Mode::Ipip => outer,
                    Mode::Gue(_) => outer + 8,
                };
            let most = usize::from(service.mtu.unwrap_or(mtu));
            if service.mode != Mode::L2dsr && most != 0 && length > most {
                return Leaves::Lost("too_big");
            }
            let flow = (number >> 32) as u32;
            match service.mode {
                Mode::Nat => {
                    translated(frame, &packet, Side::Destination, backend.address, backend.port)
                }
                Mode::Ipip => Ok(put_into(frame, &packet, services, backend.address, flow, None)),
                Mode::Gue(port) => {
                    Ok(put_into(frame, &packet, services, backend.address, flow, Some(port)))
                }
                Mode::L2dsr => Ok(frame.to_vec()),
            }
        }
    };
    match sent {
        Ok(mut sent) => {
            let own: Mac = frame[..6].try_into().unwrap();
            sent[..6].copy_from_slice(&mac);
            sent[6..12].copy_from_slice(&own);
            Leaves::Back(sent)
        }
        Err(lost) => Leaves::Lost(lost),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
}

/// With another address, and another port if one is given.
fn translated(
    frame: &[u8],
    packet: &Packet,
    side: Side,
    to: IpAddr,
    port: Option<u16>,
) -> Result<Vec<u8>, &'static str> {
    let (l3, l4) = (packet.parts.l3, packet.parts.l4);
    let second = usize::from(side == Side::Destination);
    let (ttl, address) = match to {
        IpAddr::V4(_) => (l3 + 8, l3 + 12 + 4 * second),
        IpAddr::V6(_) => (l3 + 7, l3 + 8 + 16 * second),
    };
    if frame[ttl] <= 1 {
        return Err("ttl");
    }
    let mut new = frame.to_vec();
    new[ttl] -= 1;
    let octets = octets(to);
    new[address..address + octets.len()].copy_from_slice(&octets);
    if to.is_ipv4() {
        let end = l3 + usize::from(frame[l3] % 16) * 4;
        correct(&mut new, frame, (l3, end), l3 + 10, (0, 0));
    }
    if let Some(port) = port {
        new[l4 + 2 * second..][..2].copy_from_slice(&port.to_be_bytes());
    }
    let (size, field) = match packet.protocol {
        Some(TCP) => (18, l4 + 16),
        Some(UDP) => (8, l4 + 6),
        _ => return Ok(new),
    };
    if frame.len() < l4 + size {
        // Its header is cut short.
        return Err("");
    }
    let is_udp = packet.protocol == Some(UDP);
    if is_udp && frame[field..field + 2] == [0, 0] {
        return Ok(new);
    }
    // Length and protocol stay the same.
    let addresses = if to.is_ipv4() { l3 + 12..l3 + 20 } else { l3 + 8..l3 + 40 };
    let pseudo = (sum(&frame[addresses.clone()]), sum(&new[addresses]));
    let end = packet.parts.end.max(field + 2);
    correct(&mut new, frame, (l4, end), field, pseudo);
    if is_udp && new[field..field + 2] == [0, 0] {
        new[field..field + 2].copy_from_slice(&[0xff; 2]);
    }
    Ok(new)
}

/// Writes the checksum at `field`, which covers a part of the frame and what adds up to the second of
/// `others`. It is as wrong as the one before was, over that part of `old` and the first of `others`.
fn correct(
    new: &mut [u8],
    old: &[u8],
    (from, to): (usize, usize),
    field: usize,
    others: (u64, u64),
) {
    let error = sum(&old[from..to]) + others.0;
    new[field..field + 2].copy_from_slice(&[0, 0]);
    let without = sum(&new[from..to]) + others.1;
    let checksum = (error % 0xffff + 0xffff - without % 0xffff) % 0xffff;
    new[field..field + 2].copy_from_slice(&(checksum as u16).to_be_bytes());
}

/// The sum of 16-bit words (RFC 1071), not folded.
pub fn sum(bytes: &[u8]) -> u64 {
    let word = |pair: &[u8]| u64::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u64::from);
    bytes.chunks(2).map(word).sum()
}

pub fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// In another packet, IP in IP or with `port` in GUE.
fn put_into(
    frame: &[u8],
    packet: &Packet,
    services: &Services,
    to: IpAddr,
    flow: u32,
    port: Option<u16>,
) -> Vec<u8> {
    let (l3, l4, end) = (packet.parts.l3, packet.parts.l4, packet.parts.end);
    let inner = &frame[l3..end];
    let inner_is_v4 = inner[0] >> 4 == 4;
    let class = if inner_is_v4 { inner[1] } else { inner[0] << 4 | inner[1] >> 4 };
    let default = || {
        let v4 = Prefix::new([172, 16, 0, 0].into(), 16);
        (v4, Prefix::new("100::".parse().unwrap(), 64))
    };
    let (source_v4, source_v6) = services.tunnel_source.unwrap_or_else(default);
    let udp_length = if port.is_some() { inner.len() + 8 } else { 0 };
    let carried = inner.len().max(udp_length);
    let protocol = match (port, inner_is_v4) {
        (Some(_), _) => 17,
        (None, true) => 4,
        (None, false) => 41,
    };
    let mut outer = Vec::new();
    let source;
    match to {
        IpAddr::V4(_) => {
            let (IpAddr::V4(first), IpAddr::V4(last)) = source_v4.ends() else { unreachable!() };
            source =
                IpAddr::V4((first.to_bits() | flow & (first.to_bits() ^ last.to_bits())).into());
            outer.extend([0x45, class]);
            outer.extend((20 + carried as u16).to_be_bytes());
            outer.extend([0, 0, 0, 0, TTL as u8, protocol, 0, 0]);
            outer.extend(octets(source));
            outer.extend(octets(to));
            let checksum = 0xffff - sum(&outer) % 0xffff;
            outer[10..12].copy_from_slice(&(checksum as u16 % 0xffff).to_be_bytes());
        }
        IpAddr::V6(_) => {
            let (IpAddr::V6(first), IpAddr::V6(last)) = source_v6.ends() else { unreachable!() };
            let twice = u128::from(flow) << 32 | u128::from(flow);
            source =
                IpAddr::V6((first.to_bits() | twice & (first.to_bits() ^ last.to_bits())).into());
            outer.extend((6 << 28 | u32::from(class) << 20 | flow >> 12).to_be_bytes());
            outer.extend((carried as u16).to_be_bytes());
            outer.extend([protocol, TTL as u8]);
            outer.extend(octets(source));
            outer.extend(octets(to));
        }
    }
    if let Some(port) = port {
        let mut udp = Vec::new();
        udp.extend((0xc000 | (flow >> 16) as u16).to_be_bytes());
        udp.extend(port.to_be_bytes());
        udp.extend((udp_length as u16).to_be_bytes());
        udp.extend([0, 0]);
        // Over IPv6, the outer checksum covers the inner packet, and is as wrong as those in that are. It is
        // there only where the inner one has a checksum over all of it.
        let has_extensions = !inner_is_v4 && l4 - l3 != 40;
        let has_sum = match packet.protocol {
            Some(TCP) => true,
            Some(UDP) => frame[..end].get(l4 + 4..l4 + 8).is_some_and(|rest| {
                rest[..2] == ((end - l4) as u16).to_be_bytes() && rest[2..] != [0, 0]
            }),
            _ => false,
        };
        if to.is_ipv6() && has_sum && !has_extensions {
            let carried = packet.protocol.map_or(0, u64::from);
            let pseudo = |from: IpAddr, to: IpAddr, length: usize, protocol: u64| {
                sum(&octets(from)) + sum(&octets(to)) + length as u64 + protocol
            };
            let mut error =
                sum(&frame[l4..end]) + pseudo(packet.source, packet.destination, end - l4, carried);
            if inner_is_v4 {
                error += sum(&frame[l3..l4]);
            }
            let all = sum(&udp) + sum(inner) + pseudo(source, to, udp_length, UDP.into());
            let checksum = (error % 0xffff + 0xffff - all % 0xffff) % 0xffff;
            let checksum = if checksum == 0 { 0xffff } else { checksum as u16 };
            udp[6..8].copy_from_slice(&checksum.to_be_bytes());
        }
        outer.extend(udp);
    }
    let ether_type = if to.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] };
    [&frame[..l3 - 2], &ether_type, &outer, &frame[l3..]].concat()
}
