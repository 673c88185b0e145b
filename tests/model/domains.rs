//! What lists of domain names say of a packet.

use std::net::IpAddr;

use super::config::{Config, Domains, ListedName};
use super::dns::{self, Message, Reading};
use super::packet::Packet;

/// What they say.
pub enum Said<'c> {
    /// There is no list, no DNS message, no question, or none that is listed.
    Nothing,
    Unreadable(&'static str),
    Listed(Listed<'c>),
}

/// The entry that decides, and the message that it decides about.
pub struct Listed<'c> {
    pub list: &'c Domains,
    pub name: &'c ListedName,
    /// Line of the list's own file; `None` where the entry stands in the configuration.
    pub line: Option<usize>,
    pub message: Message,
}

pub fn ask<'c>(config: &'c Config, frame: &[u8], packet: &Packet) -> Said<'c> {
    let Some(queries_only) = is_looked_into(packet).filter(|_| !config.domains.is_empty()) else {
        return Said::Nothing;
    };
    let udp = &frame[packet.parts.l4..packet.parts.end];
    let message = match dns::read(udp, packet.source.is_ipv6(), packet.goes_on, queries_only) {
        Reading::AsksNothing => return Said::Nothing,
        Reading::Unreadable(why) => return Said::Unreadable(why),
        Reading::Asks(message) => message,
    };
    match deciding(config, &message) {
        None => Said::Nothing,
        Some((list, name, line)) => Said::Listed(Listed { list, name, line, message }),
    }
}

/// "DNS over UDP to or from port 53, and to or from port 5353 where it is a unicast query": whether
/// only a query would be of interest; `None` of other packets.
pub fn is_looked_into(packet: &Packet) -> Option<bool> {
    let (source, destination) = packet.ports.filter(|_| packet.protocol == Some(17))?;
    let has_port = |port| source == port || destination == port;
    if has_port(53) {
        return Some(false);
    }
    (has_port(5353) && is_unicast(packet.destination)).then_some(true)
}

/// Neither a group's address nor the limited broadcast's, nor a reserved one (RFC 1112, section 4).
pub fn is_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[0] < 224,
        IpAddr::V6(address) => address.octets()[0] != 0xff,
    }
}

/// "The most specific entry deciding, then the list that comes first"; in a list, the entry that does.
fn deciding<'c>(
    config: &'c Config,
    message: &Message,
) -> Option<(&'c Domains, &'c ListedName, Option<usize>)> {
    let mut best: Option<(&Domains, &ListedName, Option<usize>)> = None;
    for list in &config.domains {
        if !list.qtypes.is_empty() && !list.qtypes.contains(&message.qtype) {
            continue;
        }
        let written = list.names.iter().map(|name| (name, None));
        let filed = list.filed.iter().zip(1..).map(|(name, line)| (name, Some(line)));
        for (name, line) in written.chain(filed) {
            if holds(name, &message.labels)
                && best.is_none_or(|(_, best, _)| name.labels.len() > best.labels.len())
            {
                best = Some((list, name, line));
            }
        }
    }
    best
}

/// "A name stands for itself and all below it; `*.` only for those below", without regard to case,
/// which only the letters of ASCII have (RFC 4343).
fn holds(listed: &ListedName, asked: &[Vec<u8>]) -> bool {
    let Some(above) = asked.len().checked_sub(listed.labels.len()) else { return false };
    let same = |(one, other): (&Vec<u8>, &Vec<u8>)| one.eq_ignore_ascii_case(other);
    asked[above..].iter().zip(&listed.labels).all(same) && !(listed.below_only && above == 0)
}
