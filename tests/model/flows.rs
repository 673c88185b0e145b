//! What an interface has sent, from docs/host.md, "What the interface has sent": a flow for each packet that begins one.
//! Nothing ends here: the shortest time that a flow is remembered is longer than a history.

use std::net::{IpAddr, SocketAddr};

use super::config::Sent;
use super::domains::is_unicast;
use super::packet::{self, Frame, Packet, Payload};

#[derive(Default)]
pub struct Flows(Vec<Sent>);

impl Flows {
    pub fn all(&self) -> &[Sent] {
        &self.0
    }

    /// An Ethernet frame goes out, sent by a socket of this host, or forwarded. Whether it is noted, or was before.
    pub fn goes_out(&mut self, bytes: &[u8], by_socket: bool) -> bool {
        let Some(frame) = packet::read(bytes) else { return false };
        let Payload::Ip(packet) = &frame.payload else { return false };
        if packet.later_fragment || !is_unicast(packet.destination) {
            return false;
        }
        let Some((own, peer)) = ends(bytes, &frame, packet) else { return false };
        let Some(protocol) = packet.protocol else { return false };
        let flow = Sent { protocol, own, peer };
        let is_known = self.0.contains(&flow);
        if !is_known && begins(packet, by_socket) {
            self.0.push(flow);
            return true;
        }
        is_known
    }
}

/// The ports that a flow has, or what it has in their place; `None` of ICMP that asks nothing.
fn ends(bytes: &[u8], frame: &Frame, packet: &Packet) -> Option<(SocketAddr, SocketAddr)> {
    let [icmp, request] = if packet.source.is_ipv4() { [1, 8] } else { [58, 128] };
    let (own, peer) = if packet.protocol == Some(icmp) {
        // "To one host", and as from one.
        let is_to_one =
            is_unicast(packet.source) && frame.destination_mac.is_none_or(|mac| mac[0] & 1 == 0);
        if packet.icmp_type != Some(request) || !is_to_one {
            return None;
        }
        let at = packet.parts.l4 + 4;
        let id = bytes.get(at..at + 2)?;
        (u16::from_be_bytes([id[0], id[1]]), 0)
    } else {
        packet.ports.unwrap_or((0, 0))
    };
    let end = |address: IpAddr, port| SocketAddr::new(address, port);
    Some((end(packet.source, own), end(packet.destination, peer)))
}

/// Whether a packet begins a flow that nothing is known of. Of TCP, these are SYNs, and ACKs that no socket of this host
/// has sent; neither what both sides close with nor SYN-ACKs.
fn begins(packet: &Packet, by_socket: bool) -> bool {
    let Some(flags) = packet.tcp_flags else { return true };
    let has = |flag: u8| flags & flag != 0;
    let (fin, syn, rst, ack) = (has(0x01), has(0x02), has(0x04), has(0x10));
    !fin && !rst && syn != ack && (syn || !by_socket)
}
