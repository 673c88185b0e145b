//! Addresses that no host has.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::prefix::IpPrefix;
use crate::ruleset::Prefix;

/// Why an address, or one of a prefix, cannot be that of a service or of a backend.
pub(super) fn unfit(prefix: &IpPrefix) -> Option<&'static str> {
    let (first, last): (IpAddr, IpAddr) = match prefix {
        IpPrefix::V4(Prefix { address, length }) => {
            let behind = u32::MAX.checked_shr((*length).into()).unwrap_or(0);
            (Ipv4Addr::from_bits(*address).into(), Ipv4Addr::from_bits(address | behind).into())
        }
        IpPrefix::V6(Prefix { address, length }) => {
            let behind = u128::MAX.checked_shr((*length).into()).unwrap_or(0);
            (Ipv6Addr::from_bits(*address).into(), Ipv6Addr::from_bits(address | behind).into())
        }
    };
    let any = |is: fn(&IpAddr) -> bool| is(&first) || is(&last);
    let (host, within) = [
        (any(IpAddr::is_multicast), ["a multicast address", "a prefix of multicast addresses"]),
        (any(IpAddr::is_loopback), ["a loopback address", "a prefix of loopback addresses"]),
        (
            any(IpAddr::is_unspecified),
            ["the unspecified address", "a prefix with the unspecified address"],
        ),
        (
            last == IpAddr::V4(Ipv4Addr::BROADCAST),
            ["the broadcast address", "a prefix with the broadcast address"],
        ),
    ]
    .into_iter()
    .find_map(|(is, [host, within])| is.then_some((host, within)))?;
    Some(if prefix.is_host() { host } else { within })
}
