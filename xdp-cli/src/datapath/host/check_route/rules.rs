//! The rules and the routes that lead marked packets to a device.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use crate::datapath::sys::netlink::{Netlink, Request, attribute, octets, read_u32};

// include/uapi/linux/rtnetlink.h and include/uapi/linux/fib_rules.h
const RTM_NEWROUTE: u16 = 24;
const RTM_NEWRULE: u16 = 32;
const RTM_DELRULE: u16 = 33;
const RTM_GETRULE: u16 = 34;
/// struct rtmsg: family, lengths of destination and source, TOS, table, protocol, scope, type, flags.
const RTMSG_LEN: usize = 12;
const RTM_PROTOCOL: usize = 5;
const RTM_SCOPE: usize = 6;
const RTM_TYPE: usize = 7;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_PREFSRC: u16 = 7;
const RTA_TABLE: u16 = 15;
/// struct fib_rule_hdr: family, lengths of destination and source, TOS, table, two reserved, action, flags.
const RULE_LEN: usize = 12;
const RULE_TABLE: usize = 4;
const RULE_ACTION: usize = 7;
const FR_ACT_TO_TBL: u8 = 1;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FRA_PROTOCOL: u16 = 21;

/// Who made a route or a rule: no other program's number (/etc/iproute2/rt_protos).
const PROTOCOL: u8 = 120;
const PRIORITY: u32 = 7860;
const TABLES: u32 = 78_600;
const MARKS: u32 = 0x7860_0000;
/// What tells the marks of places apart, and those of all places from others.
const OF_PLACE: u32 = 0xffff_0000;
const OF_ALL: u32 = 0xfff0_0000;
const FAMILIES: [u8; 2] = [libc::AF_INET as u8, libc::AF_INET6 as u8];

pub(super) const fn first_mark(place: u32) -> u32 {
    MARKS | place << 16
}

/// What matters of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    table: u32,
    mark: u32,
    mask: u32,
    protocol: u8,
}

impl Rule {
    const fn of(place: u32) -> Self {
        let mark = first_mark(place);
        Self { table: TABLES + place, mark, mask: OF_PLACE, protocol: PROTOCOL }
    }

    /// Why nobody can have that place beside it.
    fn conflict(&self, place: u32) -> Option<String> {
        let own = Self::of(place);
        if *self == own {
            return None;
        }
        if self.table == own.table {
            return Some(format!("a rule of another program leads to table {}", own.table));
        }
        // Rules about single bits match marks of all kinds. What comes of these is asked for each check.
        let is_about_ours = self.mask & OF_ALL == OF_ALL;
        let overlaps = (self.mark ^ own.mark) & self.mask & OF_PLACE == 0;
        (is_about_ours && overlaps).then(|| {
            format!("a rule of another program has fwmark {:#x}/{:#x}", self.mark, self.mask)
        })
    }
}

/// Puts the rules of a place where they are missing; or says why not.
pub(super) fn put(place: u32) -> io::Result<Option<String>> {
    let mut netlink = Netlink::route()?;
    let all: Vec<Vec<Rule>> =
        FAMILIES.iter().map(|family| rules(&mut netlink, *family)).collect::<io::Result<_>>()?;
    if let Some(conflict) = all.iter().flatten().find_map(|rule| rule.conflict(place)) {
        return Ok(Some(conflict));
    }
    for (family, rules) in FAMILIES.into_iter().zip(all) {
        if rules.contains(&Rule::of(place)) {
            continue;
        }
        match netlink.ask(request(RTM_NEWRULE, family, place, true)) {
            // Without IPv6, there is no service that needs it.
            Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {}
            answer => drop(answer?),
        }
    }
    Ok(None)
}

/// Removes the rules of a place, as often as they are there.
pub(super) fn remove(place: u32) -> io::Result<()> {
    let mut netlink = Netlink::route()?;
    for family in FAMILIES {
        for rule in rules(&mut netlink, family)? {
            if rule != Rule::of(place) {
                continue;
            }
            match netlink.ask(request(RTM_DELRULE, family, place, false)) {
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                answer => drop(answer?),
            }
        }
    }
    Ok(())
}

/// The places that have rules.
pub(super) fn places(count: u32) -> io::Result<BTreeSet<u32>> {
    let mut netlink = Netlink::route()?;
    let mut places = BTreeSet::new();
    for family in FAMILIES {
        let rules = rules(&mut netlink, family)?;
        places.extend((0..count).filter(|place| rules.contains(&Rule::of(*place))));
    }
    Ok(places)
}

/// Puts a route into a place's table.
pub(super) fn put_route(
    place: u32,
    ifindex: u32,
    to: IpAddr,
    source: Option<IpAddr>,
) -> io::Result<()> {
    let to = octets(to);
    let mut header = [0; RTMSG_LEN];
    header[0] = FAMILIES[usize::from(to.len() == 16)];
    header[1] = to.len() as u8 * 8;
    header[RTM_PROTOCOL] = PROTOCOL;
    header[RTM_SCOPE] = RT_SCOPE_LINK;
    header[RTM_TYPE] = RTN_UNICAST;
    let mut request = Request::change(RTM_NEWROUTE, &header, true)
        .attribute(RTA_TABLE, &(TABLES + place).to_ne_bytes())
        .attribute(RTA_DST, &to)
        .attribute(RTA_OIF, &ifindex.to_ne_bytes());
    if let Some(source) = source {
        request = request.attribute(RTA_PREFSRC, &octets(source));
    }
    Netlink::route()?.ask(request).map(drop)
}

fn request(message: u16, family: u8, place: u32, put: bool) -> Request {
    let mut header = [0; RULE_LEN];
    header[0] = family;
    header[RULE_ACTION] = FR_ACT_TO_TBL;
    let Rule { table, mark, mask, protocol } = Rule::of(place);
    Request::change(message, &header, put)
        .attribute(FRA_PRIORITY, &PRIORITY.to_ne_bytes())
        .attribute(FRA_FWMARK, &mark.to_ne_bytes())
        .attribute(FRA_FWMASK, &mask.to_ne_bytes())
        .attribute(FRA_TABLE, &table.to_ne_bytes())
        .attribute(FRA_PROTOCOL, &[protocol])
}

fn rules(netlink: &mut Netlink, family: u8) -> io::Result<Vec<Rule>> {
    let mut header = [0; RULE_LEN];
    header[0] = family;
    let messages = match netlink.ask(Request::all(RTM_GETRULE, &header)) {
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => Vec::new(),
        answer => answer?,
    };
    // A kernel without a family tells the rules of those that it has.
    let messages = messages.iter().filter(|it| it.first() == Some(&family));
    Ok(messages.filter_map(|message| parse(message)).collect())
}

fn parse(message: &[u8]) -> Option<Rule> {
    let (header, rest) = message.split_at_checked(RULE_LEN)?;
    let word = |kind| attribute(rest, kind).and_then(read_u32);
    Some(Rule {
        table: word(FRA_TABLE).unwrap_or(header[RULE_TABLE].into()),
        mark: word(FRA_FWMARK).unwrap_or(0),
        mask: word(FRA_FWMASK).unwrap_or(0),
        protocol: attribute(rest, FRA_PROTOCOL).and_then(|it| it.first().copied()).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_the_way_of_a_place() {
        let rule = |table, mark, mask| Rule { table, mark, mask, protocol: 3 };
        let says = |rule: Rule, place| rule.conflict(place);
        assert_eq!(says(Rule::of(3), 3), None);
        assert_eq!(says(Rule::of(3), 4), None);
        assert_eq!(
            says(rule(78_603, 0, 0), 3).unwrap(),
            "a rule of another program leads to table 78603"
        );
        assert_eq!(
            says(rule(7, 0x7863_0001, u32::MAX), 3).unwrap(),
            "a rule of another program has fwmark 0x78630001/0xffffffff"
        );
        assert_eq!(says(rule(7, 0x7863_0001, u32::MAX), 4), None);
        assert!(says(rule(7, 0x7860_0000, OF_ALL), 15).is_some());
        // Those of others, of single bits and of none.
        assert_eq!(says(rule(254, 0, 0), 0), None);
        assert_eq!(says(rule(7, 0x4000, 0x4000), 0), None);
        assert_eq!(says(rule(52, 0x8_0000, 0xff_0000), 8), None);
    }
}
