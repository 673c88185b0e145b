//! Routes of the network namespace: which interface a packet leaves by, and who is behind it.

use std::io;
use std::net::IpAddr;

use crate::datapath::sys::netlink::{
    Netlink, Request, attribute, attributes, octets, read_ip, read_u16, read_u32,
};

// include/uapi/linux/rtnetlink.h
const RTM_GETROUTE: u16 = 26;
/// struct rtmsg: family, lengths of destination and source, TOS, table, protocol, scope, type, flags.
const RTMSG_LEN: usize = 12;
const RTM_TYPE: usize = 7;
const RTN_UNICAST: u8 = 1;
const RTN_LOCAL: u8 = 2;
const RTA_DST: u16 = 1;
const RTA_SRC: u16 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PREFSRC: u16 = 7;
const RTA_MULTIPATH: u16 = 9;
const RTA_MARK: u16 = 16;
const RTA_VIA: u16 = 18;
/// struct rtnexthop: length, flags, hops, and the interface's index; then attributes.
const NEXT_HOP_LEN: usize = 8;

/// One next hop of a default route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultRoute {
    pub is_v6: bool,
    pub ifindex: u32,
    /// `None` where packets go to the link without a gateway, as on a tunnel.
    pub gateway: Option<IpAddr>,
}

fn header(of: IpAddr) -> [u8; RTMSG_LEN] {
    let mut header = [0; RTMSG_LEN];
    header[0] = family(of.is_ipv6());
    header
}

const fn family(is_v6: bool) -> u8 {
    if is_v6 { libc::AF_INET6 as u8 } else { libc::AF_INET as u8 }
}

/// Index of the interface that a packet to `destination` leaves by. The packet is taken to come
/// from `source`, if that is an address of the host. `None` where there is no route.
pub fn interface_to(destination: IpAddr, source: Option<IpAddr>) -> io::Result<Option<u32>> {
    let mut header = header(destination);
    header[1] = if destination.is_ipv6() { 128 } else { 32 };
    let mut request = |source: Option<IpAddr>| {
        header[2] = if source.is_some() { header[1] } else { 0 };
        let request = Request::one(RTM_GETROUTE, &header).attribute(RTA_DST, &octets(destination));
        match source {
            Some(source) => request.attribute(RTA_SRC, &octets(source)),
            None => request,
        }
    };
    let mut netlink = Netlink::route()?;
    let answer = match netlink.ask(request(source)) {
        // The source is no address of this host.
        Err(error) if source.is_some() && error.raw_os_error() == Some(libc::EINVAL) => {
            netlink.ask(request(None))
        }
        answer => answer,
    };
    let messages = match answer {
        Ok(messages) => messages,
        Err(error) if is_no_route(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let rest = messages.first().and_then(|message| message.get(RTMSG_LEN..));
    Ok(rest.and_then(|rest| attribute(rest, RTA_OIF)).and_then(read_u32))
}

/// The interface and the next hop of packets to each of these addresses; `None` where there is no route.
/// Without a gateway, the address itself is the next hop.
pub fn next_hops(
    destinations: impl IntoIterator<Item = IpAddr>,
) -> io::Result<Vec<Option<(u32, IpAddr)>>> {
    let mut netlink = Netlink::route()?;
    let mut ask = |destination: IpAddr| -> io::Result<Option<(u32, IpAddr)>> {
        let mut header = header(destination);
        header[1] = if destination.is_ipv6() { 128 } else { 32 };
        let request = Request::one(RTM_GETROUTE, &header).attribute(RTA_DST, &octets(destination));
        let messages = match netlink.ask(request) {
            Err(error) if is_no_route(&error) => return Ok(None),
            answer => answer?,
        };
        let Some((header, rest)) = messages.first().and_then(|it| it.split_at_checked(RTMSG_LEN))
        else {
            return Ok(None);
        };
        if header[RTM_TYPE] != RTN_UNICAST {
            return Ok(None);
        }
        let ifindex = attribute(rest, RTA_OIF).and_then(read_u32);
        Ok(ifindex.map(|ifindex| (ifindex, gateway(rest).unwrap_or(destination))))
    };
    destinations.into_iter().map(&mut ask).collect()
}

/// Where the host's own packets to an address go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Nowhere: it is an address of this host.
    Here,
    /// Out of that interface, from that address unless they have one.
    By { ifindex: u32, source: Option<IpAddr> },
}

/// The way of packets that have this mark; `None` where there is no route.
///
/// # Errors
///
/// Where the kernel cannot be asked.
pub fn way(destination: IpAddr, mark: u32) -> io::Result<Option<Way>> {
    let mut header = header(destination);
    header[1] = if destination.is_ipv6() { 128 } else { 32 };
    let request = Request::one(RTM_GETROUTE, &header)
        .attribute(RTA_DST, &octets(destination))
        .attribute(RTA_MARK, &mark.to_ne_bytes());
    let messages = match Netlink::route()?.ask(request) {
        Err(error) if is_no_route(&error) => return Ok(None),
        answer => answer?,
    };
    let Some((header, rest)) = messages.first().and_then(|it| it.split_at_checked(RTMSG_LEN))
    else {
        return Ok(None);
    };
    if header[RTM_TYPE] == RTN_LOCAL {
        return Ok(Some(Way::Here));
    }
    let ifindex = attribute(rest, RTA_OIF).and_then(read_u32);
    let source = attribute(rest, RTA_PREFSRC).and_then(read_ip);
    Ok(ifindex.map(|ifindex| Way::By { ifindex, source }))
}

/// Whether there is no route, or one of type unreachable, prohibit or blackhole.
fn is_no_route(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL)
    )
}

/// Every next hop of every default route.
pub fn defaults() -> io::Result<Vec<DefaultRoute>> {
    let mut netlink = Netlink::route()?;
    let mut all = Vec::new();
    for is_v6 in [false, true] {
        let mut header = [0; RTMSG_LEN];
        header[0] = family(is_v6);
        for message in netlink.ask(Request::all(RTM_GETROUTE, &header))? {
            all.extend(ways(&message, is_v6));
        }
    }
    Ok(all)
}

/// The next hops of a route, if it is a default route that leads somewhere.
fn ways(message: &[u8], is_v6: bool) -> Vec<DefaultRoute> {
    let Some((header, rest)) = message.split_at_checked(RTMSG_LEN) else { return Vec::new() };
    let is_default = header[1] == 0 && header[RTM_TYPE] == RTN_UNICAST;
    if header[0] != family(is_v6) || !is_default {
        return Vec::new();
    }
    let way =
        |ifindex, attributes: &[u8]| DefaultRoute { is_v6, ifindex, gateway: gateway(attributes) };
    let single = attribute(rest, RTA_OIF).and_then(read_u32).map(|ifindex| way(ifindex, rest));
    let mut hops = attributes(rest).find(|(kind, _)| *kind == RTA_MULTIPATH).map(|(_, hops)| hops);
    let mut all: Vec<DefaultRoute> = single.into_iter().collect();
    while let Some(hop) = hops {
        let Some(length) = read_u16(hop).map(usize::from).filter(|it| *it >= NEXT_HOP_LEN) else {
            break;
        };
        let Some(whole) = hop.get(..length) else { break };
        all.extend(read_u32(&whole[4..]).map(|ifindex| way(ifindex, &whole[NEXT_HOP_LEN..])));
        hops = hop.get(length.next_multiple_of(4)..);
    }
    all
}

fn gateway(attributes: &[u8]) -> Option<IpAddr> {
    attribute(attributes, RTA_GATEWAY).and_then(read_ip).or_else(|| {
        // A gateway of another family than the route: the family's number, then the address.
        attribute(attributes, RTA_VIA).and_then(|via| read_ip(via.get(2..)?))
    })
}
