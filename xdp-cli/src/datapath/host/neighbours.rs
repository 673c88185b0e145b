//! Neighbours that the kernel keeps fresh by itself: the next hops of services' packets.
//!
//! The program asks the kernel for the next hop of a packet, and gets an answer only while its link layer
//! address is known. A managed entry (NTF_EXT_MANAGED, Linux 5.16) is resolved anew before it goes stale, as
//! long as it is there, with no process to see to it.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use crate::datapath::sys::netlink::{
    Netlink, Request, attribute, octets, read_ip, read_u16, read_u32,
};

// include/uapi/linux/rtnetlink.h and include/uapi/linux/neighbour.h
const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;
const RTM_GETNEIGH: u16 = 30;
/// struct ndmsg: family, padding, the interface's index, state, flags, type.
const NDMSG_LEN: usize = 12;
const NDM_IFINDEX: usize = 4;
const NDM_STATE: usize = 8;
const NDM_FLAGS: usize = 10;
/// In these states, the address is known: reachable, stale, delay, probe, without ARP, permanent.
const NUD_VALID: u16 = 0x02 | 0x04 | 0x08 | 0x10 | NUD_NOARP | NUD_PERMANENT;
const NUD_NOARP: u16 = 0x40;
const NUD_PERMANENT: u16 = 0x80;
const NTF_USE: u8 = 1 << 0;
const NTF_EXT_LEARNED: u8 = 1 << 4;
const NTF_EXT_MANAGED: u32 = 1 << 0;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NDA_FLAGS_EXT: u16 = 15;

/// A neighbour: the interface's index, and its address there.
pub type Neighbour = (u32, IpAddr);

/// Has the kernel keep these neighbours fresh. Entries that somebody made permanent stay as they are.
///
/// # Errors
///
/// Where the kernel refuses one: those before it are kept fresh then.
pub fn manage(wanted: &[Neighbour]) -> io::Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    let mut netlink = Netlink::route()?;
    let fixed = fixed(&mut netlink)?;
    for neighbour in wanted.iter().filter(|it| !fixed.contains(it)) {
        let request = Request::change(RTM_NEWNEIGH, &header(neighbour), true)
            .attribute(NDA_DST, &octets(neighbour.1))
            .attribute(NDA_FLAGS_EXT, &NTF_EXT_MANAGED.to_ne_bytes());
        match netlink.ask(request) {
            // The interface is gone, or down: whatever is sent there is lost anyway.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENETDOWN)) => {}
            answer => drop(answer?),
        }
    }
    Ok(())
}

/// Those that the kernel does not keep fresh, nor somebody else for good. It forgets what it kept when the carrier of
/// the interface is lost, or when somebody flushes its table.
///
/// # Errors
///
/// Where the kernel cannot be asked.
pub fn unmanaged(wanted: &[Neighbour]) -> io::Result<Vec<Neighbour>> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let all = entries(&mut Netlink::route()?)?.into_iter();
    let kept = all.filter(|it| it.is_managed || it.state & (NUD_PERMANENT | NUD_NOARP) != 0);
    let kept: BTreeSet<Neighbour> = kept.map(|it| it.neighbour).collect();
    // On links that lead to one neighbour alone, the kernel has one entry for all of IPv4 (arp_constructor, net/ipv4/arp.c).
    let is_kept = |it: &Neighbour| {
        kept.contains(it) || kept.contains(&(it.0, IpAddr::V4(Ipv4Addr::UNSPECIFIED)))
    };
    Ok(wanted.iter().filter(|it| !is_kept(it)).copied().collect())
}

/// Takes away entries that [`manage`] made, as far as they still are what it made. The kernel makes new ones
/// when it needs them.
pub fn release(unwanted: &[Neighbour]) -> io::Result<()> {
    if unwanted.is_empty() {
        return Ok(());
    }
    let mut netlink = Netlink::route()?;
    let managed = managed(&mut netlink)?;
    for neighbour in unwanted.iter().filter(|it| managed.contains(it)) {
        let request = Request::change(RTM_DELNEIGH, &header(neighbour), false)
            .attribute(NDA_DST, &octets(neighbour.1));
        match netlink.ask(request) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => {}
            answer => drop(answer?),
        }
    }
    Ok(())
}

/// The MAC address of a neighbour; `None` while the kernel does not know it. Then it begins to ask for it.
///
/// # Errors
///
/// Where the kernel cannot be asked.
pub fn mac(neighbour: &Neighbour) -> io::Result<Option<[u8; 6]>> {
    let mut netlink = Netlink::route()?;
    let mut plain = header(neighbour);
    plain[NDM_FLAGS] = 0;
    let destination = octets(neighbour.1);
    let request = Request::one(RTM_GETNEIGH, &plain).attribute(NDA_DST, &destination);
    let messages = match netlink.ask(request) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Vec::new(),
        answer => answer?,
    };
    let known = messages.first().and_then(|it| it.split_at_checked(NDMSG_LEN));
    let known = known.filter(|(header, _)| {
        read_u16(&header[NDM_STATE..]).is_some_and(|state| state & NUD_VALID != 0)
    });
    if let Some(mac) = known.and_then(|(_, rest)| attribute(rest, NDA_LLADDR)?.try_into().ok()) {
        return Ok(Some(mac));
    }
    plain[NDM_FLAGS] = NTF_USE;
    let request = Request::change(RTM_NEWNEIGH, &plain, true).attribute(NDA_DST, &destination);
    netlink.ask(request)?;
    Ok(None)
}

fn header((ifindex, address): &Neighbour) -> [u8; NDMSG_LEN] {
    let mut header = [0; NDMSG_LEN];
    header[0] = if address.is_ipv6() { libc::AF_INET6 as u8 } else { libc::AF_INET as u8 };
    header[NDM_IFINDEX..NDM_STATE].copy_from_slice(&ifindex.to_ne_bytes());
    header[NDM_FLAGS] = NTF_EXT_LEARNED;
    header
}

/// An entry of the kernel's tables.
struct Entry {
    neighbour: Neighbour,
    state: u16,
    is_managed: bool,
}

fn entries(netlink: &mut Netlink) -> io::Result<Vec<Entry>> {
    let messages = netlink.ask(Request::all(RTM_GETNEIGH, &[0; NDMSG_LEN]))?;
    let read = |message: &Vec<u8>| {
        let (header, rest) = message.split_at_checked(NDMSG_LEN)?;
        let ext = attribute(rest, NDA_FLAGS_EXT).and_then(read_u32).unwrap_or(0);
        Some(Entry {
            neighbour: (read_u32(&header[NDM_IFINDEX..])?, read_ip(attribute(rest, NDA_DST)?)?),
            state: read_u16(&header[NDM_STATE..])?,
            is_managed: ext & NTF_EXT_MANAGED != 0 && header[NDM_FLAGS] & NTF_EXT_LEARNED != 0,
        })
    };
    Ok(messages.iter().filter_map(read).collect())
}

/// Entries that need no care: permanent ones, and those of links without addresses.
fn fixed(netlink: &mut Netlink) -> io::Result<BTreeSet<Neighbour>> {
    let all = entries(netlink)?.into_iter();
    let fixed = all.filter(|it| it.state & (NUD_PERMANENT | NUD_NOARP) != 0);
    Ok(fixed.map(|it| it.neighbour).collect())
}

fn managed(netlink: &mut Netlink) -> io::Result<BTreeSet<Neighbour>> {
    let all = entries(netlink)?.into_iter();
    Ok(all.filter(|it| it.is_managed).map(|it| it.neighbour).collect())
}
