//! The frame that a query becomes when it is answered in its place; and which SYNs are.

use std::net::IpAddr;

use super::config::DomainAction;
use super::dns::Message;
use super::domains::is_unicast;
use super::packet::{Frame, Packet, Payload};

/// Whether a SYN can become its SYN-ACK in its place.
pub fn can_be_syn_ack(bytes: &[u8], frame: &Frame) -> bool {
    is_plain_syn(frame) && has_tcp_header(bytes, frame)
}

/// Whether TCP's header is whole, wherever the packet ends by IP's own word.
pub fn has_tcp_header(bytes: &[u8], frame: &Frame) -> bool {
    let Payload::Ip(packet) = &frame.payload else { return false };
    packet.parts.payload.is_some_and(|payload| payload <= bytes.len())
}

/// Whether it is a SYN of one host to another, no fragment, without options of IP or extension headers, neither in PPPoE
/// nor under MPLS.
pub fn is_plain_syn(frame: &Frame) -> bool {
    let Payload::Ip(packet) = &frame.payload else { return false };
    let parts = &packet.parts;
    let plain = if packet.source.is_ipv4() { 20 } else { 40 };
    let names_another_host = match packet.source {
        // "This host on this network", and loopback (RFC 6890, section 2.2).
        IpAddr::V4(address) => !matches!(address.octets()[0], 0 | 127),
        IpAddr::V6(address) => !address.is_unspecified() && !address.is_loopback(),
    };
    // Neither FIN nor RST nor ACK.
    let is_syn = packet.tcp_flags.is_some_and(|flags| flags & 0x17 == 0x02);
    is_syn
        && !packet.first_fragment
        && !packet.later_fragment
        && parts.l4 - parts.l3 == plain
        && parts.session_length.is_none()
        && !parts.under_labels
        && is_unicast(packet.source)
        && is_unicast(packet.destination)
        && frame.destination_mac.is_none_or(|mac| mac[0] & 1 == 0)
        && names_another_host
        && packet.source != packet.destination
}

/// `None` where a query is dropped instead: by the action, or because its headers have what no answer
/// is made for.
pub fn answer(
    bytes: &[u8],
    frame: &Frame,
    packet: &Packet,
    message: &Message,
    action: DomainAction,
) -> Option<Vec<u8>> {
    let reply = reply(message, action)?;
    let parts = &packet.parts;
    let plain = if packet.source.is_ipv4() { 20 } else { 40 };
    let of_single_hosts = is_unicast(packet.source)
        && is_unicast(packet.destination)
        && frame.destination_mac.is_none_or(|mac| mac[0] & 1 == 0);
    if parts.l4 - parts.l3 != plain || parts.under_labels || !of_single_hosts {
        return None;
    }
    let (source_port, destination_port) = packet.ports?;
    let mut udp = Vec::new();
    udp.extend(destination_port.to_be_bytes());
    udp.extend(source_port.to_be_bytes());
    udp.extend((8 + reply.len() as u16).to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(reply);
    let ip = match (packet.destination, packet.source) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let addresses = [from.octets(), to.octets()].concat();
            complete(&mut udp, &addresses);
            let [upper, lower] = (20 + udp.len() as u16).to_be_bytes();
            let mut header = vec![0x45, packet.dscp << 2, upper, lower, 0, 0, 0x40, 0, 64, 17];
            header.extend([0, 0]);
            header.extend(addresses);
            let sum = checksum(&header).to_be_bytes();
            header[10..12].copy_from_slice(&sum);
            header
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let addresses = [from.octets(), to.octets()].concat();
            complete(&mut udp, &addresses);
            let [upper, lower] = (udp.len() as u16).to_be_bytes();
            let mut header = vec![0x60 | packet.dscp >> 2, packet.dscp << 6, 0, 0];
            header.extend([upper, lower, 17, 64]);
            header.extend(addresses);
            header
        }
        _ => unreachable!("a packet has addresses of one family"),
    };
    let mut answer = bytes[..parts.l3].to_vec();
    if let (Some(destination), Some(source)) = (frame.destination_mac, frame.source_mac) {
        answer[..6].copy_from_slice(&source);
        answer[6..12].copy_from_slice(&destination);
    }
    if let Some(at) = parts.session_length {
        // PPP's protocol, unless it is compressed into one byte: then there is no answer.
        if parts.l3 - at != 4 {
            return None;
        }
        let length = (2 + ip.len() + udp.len()) as u16;
        answer[at..at + 2].copy_from_slice(&length.to_be_bytes());
    }
    answer.extend(ip);
    answer.extend(udp);
    // No shorter than a frame of Ethernet may be, if it was not before; what pads it is what was there.
    let shortest = bytes.len().min(60);
    if answer.len() < shortest {
        answer.extend(&bytes[answer.len()..shortest]);
    }
    Some(answer)
}

/// The message: RFC 1035, section 4.1.1; RFC 4035, section 3.2.2 (CD); RFC 6891, sections 6.1.1 to
/// 6.1.4.
fn reply(message: &Message, action: DomainAction) -> Option<Vec<u8>> {
    let (mut truncated, mut code) = match action {
        DomainAction::Nxdomain => (false, 3),
        DomainAction::Refuse => (false, 5),
        DomainAction::Truncate => (true, 0),
        DomainAction::Drop | DomainAction::Pass => return None,
    };
    let version_and_flags = options(message);
    if version_and_flags.is_some_and(|(version, _)| version != 0) {
        // BADVERS is 16: 1 in the record, and 0 in the header.
        (truncated, code) = (false, 0);
    }
    let header = &message.header;
    let recursion_desired = header[2] & 1;
    let checking_disabled = header[3] & 0x10;
    let mut reply = header[..2].to_vec();
    reply.push(0x80 | u8::from(truncated) << 1 | recursion_desired);
    reply.push(0x80 | checking_disabled | code);
    reply.extend([0, 1, 0, 0, 0, 0, 0, u8::from(version_and_flags.is_some())]);
    reply.extend(&message.question);
    if let Some((version, dnssec_ok)) = version_and_flags {
        reply.extend([0, 0, 41]);
        reply.extend(1232_u16.to_be_bytes());
        reply.extend([u8::from(version != 0), 0, u8::from(dnssec_ok) << 7, 0]);
        reply.extend([0, 0]);
    }
    Some(reply)
}

/// Version and DO of the OPT record, if it is the record that follows the question.
fn options(message: &Message) -> Option<(u8, bool)> {
    let [answers, authorities, additional] = message.records_counted();
    let record = message.records.get(..11)?;
    (answers == 0 && authorities == 0 && additional > 0 && record[..3] == [0, 0, 41])
        .then(|| (record[6], record[7] >> 7 == 1))
}

/// Writes UDP's checksum, over the pseudo header too (RFC 768; RFC 8200, section 8.1).
fn complete(udp: &mut [u8], addresses: &[u8]) {
    let mut covered = addresses.to_vec();
    // The length and the protocol, in as many bytes as either pseudo header sums to the same.
    covered.extend((udp.len() as u32).to_be_bytes());
    covered.extend([0, 0, 0, 17]);
    covered.extend(&*udp);
    let sum = match checksum(&covered) {
        0 => 0xffff,
        sum => sum,
    };
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
}

/// RFC 1071, section 1.
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        if sum > 0xffff {
            sum -= 0xffff;
        }
    }
    !(sum as u16)
}
