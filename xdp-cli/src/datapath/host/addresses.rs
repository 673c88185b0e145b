//! IP addresses of the network namespace's interfaces.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use crate::datapath::sys::netlink::{Netlink, Request, attribute, read_ip, read_u32};

// include/uapi/linux/rtnetlink.h and if_addr.h
const RTM_GETADDR: u16 = 22;
/// struct ifaddrmsg: family, prefix length, flags, scope, and the interface's index.
const IFADDRMSG_LEN: usize = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
const IFA_F_PERMANENT: u32 = 0x80;

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    pub ifindex: u32,
    pub ip: IpAddr,
    pub prefix_length: u8,
    /// It ends unless DHCP or a router's advertisements renew it.
    pub is_dynamic: bool,
}

/// Every address of the caller's network namespace.
pub fn all() -> io::Result<Vec<Address>> {
    let request = Request::all(RTM_GETADDR, &[0; IFADDRMSG_LEN]);
    let messages = Netlink::route()?.ask(request)?;
    Ok(messages.iter().filter_map(|message| parse(message)).collect())
}

/// Those by which other hosts reach this one, each once: one may be on several interfaces.
pub fn for_others(all: &[Address]) -> Vec<IpAddr> {
    let ips = all.iter().map(|it| it.ip).filter(|ip| !ip.is_loopback());
    ips.collect::<BTreeSet<IpAddr>>().into_iter().collect()
}

fn parse(message: &[u8]) -> Option<Address> {
    let (header, rest) = message.split_at_checked(IFADDRMSG_LEN)?;
    // On a point-to-point link, IFA_ADDRESS is the peer's address.
    let own = attribute(rest, IFA_LOCAL).or_else(|| attribute(rest, IFA_ADDRESS))?;
    let flags = attribute(rest, IFA_FLAGS).and_then(read_u32).unwrap_or(header[2].into());
    Some(Address {
        ifindex: read_u32(&header[4..])?,
        ip: read_ip(own)?,
        prefix_length: header[1],
        is_dynamic: flags & IFA_F_PERMANENT == 0,
    })
}
