//! Sockets of the host, what its interface has sent, and which packets answer either.

use std::net::{IpAddr, SocketAddr};

use super::config::{Config, ReplyUdp, Sent, Socket, Verdict};
use super::dice::Dice;
use super::packet::Packet;

/// Ports that the kernel assigns unless it is told otherwise.
const ASSIGNED: std::ops::RangeInclusive<u16> = 32_768..=60_999;

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;

/// A packet as far as a socket takes it: where it comes from, and where it goes.
struct Answer {
    protocol: u8,
    from: SocketAddr,
    to: SocketAddr,
}

/// Whether a packet that the default drops answers what the host has open.
pub fn is_answer(config: &Config, bytes: &[u8], packet: &Packet) -> bool {
    if config.replies != Some(Verdict::Pass) || packet.later_fragment {
        return false;
    }
    let is_icmp = packet.protocol == Some(if packet.source.is_ipv4() { 1 } else { 58 });
    if let (true, Some(kind)) = (is_icmp, packet.icmp_type) {
        return match (packet.source, kind) {
            (IpAddr::V4(_), 0) | (IpAddr::V6(_), 129) => {
                // One that is cut short has identifier 0.
                let at = packet.parts.l4 + 4;
                let id = bytes.get(at..at + 2).map_or(0, |id| u16::from_be_bytes([id[0], id[1]]));
                is_echo_out(config, packet.destination, packet.source, id)
            }
            (IpAddr::V4(_), 3 | 4 | 11 | 12) | (IpAddr::V6(_), 1..=4) => {
                quotes(config, bytes, packet).unwrap_or(false)
            }
            _ => false,
        };
    }
    let Some((from, to)) = packet.ports else {
        // No socket can be asked about it.
        let Some(protocol) = packet.protocol.filter(|_| !is_icmp) else { return false };
        let [own, peer] = [packet.destination, packet.source].map(|it| SocketAddr::new(it, 0));
        return is_sent(config, Sent { protocol, own, peer }).unwrap_or(false);
    };
    // SYN without ACK opens something.
    if packet.tcp_flags.is_some_and(|flags| flags & 0x12 == 0x02) {
        return false;
    }
    let Some(protocol) = packet.protocol else { return false };
    let from = SocketAddr::new(packet.source, from);
    let to = SocketAddr::new(packet.destination, to);
    is_asked(config, packet, &Answer { protocol, from, to })
}

/// Whether the interface has sent that; `None` if nobody knows.
fn is_sent(config: &Config, sent: Sent) -> Option<bool> {
    Some(config.sent.as_ref()?.contains(&sent))
}

/// Whether a request for an echo is out. Where nobody knows, it is taken to be.
fn is_echo_out(config: &Config, own: IpAddr, peer: IpAddr, id: u16) -> bool {
    let protocol = if own.is_ipv4() { 1 } else { 58 };
    let (own, peer) = (SocketAddr::new(own, id), SocketAddr::new(peer, 0));
    is_sent(config, Sent { protocol, own, peer }).unwrap_or(true)
}

/// Whether the socket that gets the answer has asked. The packet is the answer, or is about it.
fn is_asked(config: &Config, packet: &Packet, answer: &Answer) -> bool {
    let gets = |socket: &&Socket| {
        let own = socket.own;
        let any = own.ip().is_unspecified() && own.is_ipv4() == answer.to.is_ipv4();
        socket.tcp == (answer.protocol == TCP)
            && own.port() == answer.to.port()
            && (any || own.ip() == answer.to.ip())
    };
    let Answer { protocol, from: peer, to: own } = *answer;
    let sent = is_sent(config, Sent { protocol, own, peer });
    if sent == Some(true) {
        return true;
    }
    if protocol != TCP && protocol != UDP {
        return false;
    }
    let mut candidates = config.sockets.iter().filter(gets);
    if candidates.clone().any(|socket| socket.peer == Some(answer.from)) {
        return true;
    }
    let for_several = match packet.destination {
        IpAddr::V4(address) => address.octets()[0] >= 224,
        IpAddr::V6(address) => address.octets()[0] == 0xff,
    };
    let by_port = match config.replies_udp {
        None | Some(ReplyUdp::Sent) => sent.is_none(),
        Some(ReplyUdp::Ephemeral) => true,
        Some(ReplyUdp::Connected) => false,
    };
    protocol == UDP
        && candidates.any(|socket| socket.peer.is_none())
        && by_port
        && ASSIGNED.contains(&answer.to.port())
        && !for_several
}

/// Whether an ICMP error is about what a socket of the host, or a ping, has sent. `None` if it quotes too
/// little to say so.
fn quotes(config: &Config, bytes: &[u8], packet: &Packet) -> Option<bool> {
    let quoted = bytes.get(packet.parts.l4 + 8..packet.parts.end)?;
    let number = |at: usize| Some(u16::from_be_bytes([*quoted.get(at)?, *quoted.get(at + 1)?]));
    let mut protocol;
    let mut l4;
    let [sender, target]: [IpAddr; 2];
    if packet.source.is_ipv4() {
        let first = *quoted.get(19).map(|_| &quoted[0])?;
        if first >> 4 != 4 || first & 0xf < 5 || number(6)? & 0x1fff != 0 {
            return None;
        }
        protocol = quoted[9];
        l4 = usize::from(first & 0xf) * 4;
        let address = |at: usize| -> [u8; 4] { quoted[at..at + 4].try_into().unwrap() };
        [sender, target] = [address(12).into(), address(16).into()];
    } else {
        if quoted.get(39).map(|_| quoted[0] >> 4)? != 6 {
            return None;
        }
        protocol = quoted[6];
        l4 = 40;
        let address = |at: usize| -> [u8; 16] { quoted[at..at + 16].try_into().unwrap() };
        [sender, target] = [address(8).into(), address(24).into()];
        // Hop-by-hop options, destination options, fragment header: two of them.
        for _ in 0..2 {
            if ![0, 60, 44].contains(&protocol) {
                break;
            }
            quoted.get(l4..l4 + 8)?;
            let units = if protocol == 44 { 0 } else { usize::from(quoted[l4 + 1]) };
            if protocol == 44 && number(l4 + 2)? >> 3 != 0 {
                return None;
            }
            protocol = quoted[l4];
            l4 += 8 * (units + 1);
        }
    }
    quoted.get(l4..l4 + 8)?;
    if sender != packet.destination {
        return Some(false);
    }
    let [request, icmp] = if packet.source.is_ipv4() { [8, 1] } else { [128, 58] };
    if protocol == icmp {
        let id = number(l4 + 4)?;
        return Some(quoted[l4] == request && is_echo_out(config, sender, target, id));
    }
    if ![TCP, UDP, SCTP].contains(&protocol) {
        return Some(false);
    }
    let from = SocketAddr::new(target, number(l4 + 2)?);
    let to = SocketAddr::new(sender, number(l4)?);
    Some(is_asked(config, packet, &Answer { protocol, from, to }))
}

/// Sockets for a host of 10.0.0.1, 10.0.0.2 and 2001:db8::1. All of them can be had at the same time.
pub fn some(dice: &mut Dice) -> Vec<Socket> {
    all().into_iter().filter(|_| !dice.one_in(4)).collect()
}

/// All of them.
pub fn all() -> Vec<Socket> {
    ALL.iter().map(|(tcp, own, peer)| socket(*tcp, own, peer)).collect()
}

const ALL: [(bool, &str, &str); 12] = [
    (true, "10.0.0.1:53", ""),
    (true, "10.0.0.2:49152", "10.0.0.1:53"),
    (true, "10.0.0.1:53", "10.0.0.2:49152"),
    (true, "[2001:db8::1]:54", ""),
    (true, "[2001:db8::1]:49152", "[2001:db8::1]:54"),
    (true, "[2001:db8::1]:54", "[2001:db8::1]:49152"),
    (false, "10.0.0.1:1024", "10.0.0.2:53"),
    (false, "10.0.0.2:49152", "10.0.0.1:1"),
    (false, "0.0.0.0:49153", ""),
    (false, "10.0.0.1:53", ""),
    (false, "[2001:db8::1]:255", "[2001:db8::1]:53"),
    (false, "[2001:db8::1]:49152", ""),
];

fn socket(tcp: bool, own: &str, peer: &str) -> Socket {
    let peer = (!peer.is_empty()).then(|| peer.parse().expect("an address"));
    Socket { tcp, own: own.parse().expect("an address"), peer }
}

/// Flows that such sockets, pings and others may have sent.
pub fn sent(dice: &mut Dice) -> Vec<Sent> {
    let mut all = Vec::new();
    for socket in some(dice) {
        let (own, peer) = ends(dice, socket);
        let protocol = dice.pick(&[if socket.tcp { TCP } else { UDP }, UDP, SCTP]);
        all.push(Sent { protocol, own, peer });
        let echo = if own.is_ipv4() { 1 } else { 58 };
        let (own, peer) = (own.ip(), SocketAddr::new(peer.ip(), 0));
        all.push(Sent { protocol: echo, own: SocketAddr::new(own, 7), peer });
        all.push(Sent { protocol: 47, own: SocketAddr::new(own, 0), peer });
    }
    all.retain(|_| !dice.one_in(3));
    all
}

/// Where a socket sends from and to.
fn ends(dice: &mut Dice, socket: Socket) -> (SocketAddr, SocketAddr) {
    let mut own = socket.own;
    if own.ip().is_unspecified() {
        own.set_ip(
            dice.pick(&[[10, 0, 0, 1], [10, 0, 0, 2], [10, 0, 0, 255], [224, 0, 0, 1]]).into(),
        );
    }
    let other = if own.is_ipv4() { "10.0.0.1:1" } else { "[2001:db8::2]:1" };
    (own, socket.peer.unwrap_or_else(|| other.parse().expect("an address")))
}

/// A frame that answers a socket, or what may have been sent, or nearly does.
pub fn frame(dice: &mut Dice, sockets: &[Socket]) -> Vec<u8> {
    let socket = dice.pick(sockets);
    let (mut own, mut peer) = ends(dice, socket);
    match dice.below(8) {
        0 => own.set_port(own.port() ^ 1),
        1 => peer.set_port(peer.port() ^ 1),
        2 => peer.set_ip(if own.is_ipv4() {
            [10, 0, 0, dice.pick(&[0, 1, 2])].into()
        } else {
            "2001:db8::2".parse().expect("an address")
        }),
        _ => {}
    }
    let tcp = socket.tcp != dice.one_in(10);
    let flags = dice.pick(&[0x02, 0x12, 0x10, 0x10, 0x18, 0x11, 0x04, 0x14, 0, 0x22]);
    let packet = if dice.one_in(3) {
        let quoted = match dice.below(8) {
            0 => echo(dice, own.ip(), peer.ip()),
            1 => ip(if tcp { 17 } else { 132 }, own.ip(), peer.ip(), &segment(false, own, peer, 0)),
            _ => ip(if tcp { 6 } else { 17 }, own.ip(), peer.ip(), &segment(tcp, own, peer, flags)),
        };
        // As much as is needed, and more or less.
        let needed = if own.is_ipv4() { 28 } else { 48 };
        let length = dice.pick(&[needed, needed, needed + 12, 200, needed - 1, 19]);
        error(dice, own.ip(), &quoted[..length.min(quoted.len())])
    } else {
        match dice.below(8) {
            0 => {
                let (icmp, reply) = if own.is_ipv4() { (1, 0) } else { (58, 129) };
                let echo = [reply, 0, 0, 0, 0, dice.pick(&[7, 7, 7, 8]), 0, 1];
                let length = if dice.one_in(8) { 5 } else { 8 };
                ip(icmp, peer.ip(), own.ip(), &echo[..length])
            }
            1 => ip(132, peer.ip(), own.ip(), &segment(false, peer, own, 0)),
            2 => ip(dice.pick(&[47, 47, 50]), peer.ip(), own.ip(), &[0; 8]),
            _ => {
                let segment = segment(tcp, peer, own, flags);
                ip(if tcp { 6 } else { 17 }, peer.ip(), own.ip(), &segment)
            }
        }
    };
    let ether_type = if own.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] };
    [&[2; 12][..], &ether_type, &packet].concat()
}

/// An IP packet.
pub fn ip(protocol: u8, source: IpAddr, destination: IpAddr, payload: &[u8]) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let length = (20 + payload.len() as u16).to_be_bytes();
            let head = [0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, protocol, 0, 0];
            [&head[..], &source.octets(), &destination.octets(), payload].concat()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let length = (payload.len() as u16).to_be_bytes();
            let head = [0x60, 0, 0, 0, length[0], length[1], protocol, 64];
            [&head[..], &source.octets(), &destination.octets(), payload].concat()
        }
        _ => panic!("{source} and {destination} are of two families"),
    }
}

/// A segment of TCP, or a datagram of UDP.
pub fn segment(tcp: bool, from: SocketAddr, to: SocketAddr, flags: u8) -> Vec<u8> {
    let ports = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    let rest: &[u8] =
        if tcp { &[0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 1, 0, 0, 0, 0, 0] } else { &[0, 8, 0, 0] };
    [&ports, rest].concat()
}

fn echo(dice: &mut Dice, from: IpAddr, to: IpAddr) -> Vec<u8> {
    let (icmp, kinds) = if from.is_ipv4() { (1, [8, 8, 0]) } else { (58, [128, 128, 129]) };
    ip(icmp, from, to, &[dice.pick(&kinds), 0, 0, 0, 0, 7, 0, 1])
}

/// An ICMP error about a packet.
pub fn error(dice: &mut Dice, to: IpAddr, quoted: &[u8]) -> Vec<u8> {
    let (icmp, kinds, router): (_, _, IpAddr) = if to.is_ipv4() {
        (1, [3, 3, 4, 5, 11, 12], [203, 0, 113, 9].into())
    } else {
        (58, [1, 2, 3, 4, 5, 1], "2001:db8:9::9".parse().expect("an address"))
    };
    // Now and then to another host than the one that is quoted.
    let to = match to {
        IpAddr::V4(_) if dice.one_in(12) => [10, 0, 0, 9].into(),
        to => to,
    };
    ip(icmp, router, to, &[&[dice.pick(&kinds), 0, 0, 0, 0, 0, 0, 0][..], quoted].concat())
}
