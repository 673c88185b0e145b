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
        (
            any(is_this_network),
            ["in 0.0.0.0/8, which no host has", "in 0.0.0.0/8, which no host has"],
        ),
        (
            any(is_reserved),
            ["in 240.0.0.0/4, which is reserved", "in 240.0.0.0/4, which is reserved"],
        ),
        (any(is_link_local), ["a link-local address", "a prefix of link-local addresses"]),
        (any(is_mapped), ["an IPv4-mapped address", "a prefix of IPv4-mapped addresses"]),
    ]
    .into_iter()
    .find_map(|(is, [host, within])| is.then_some((host, within)))?;
    Some(if prefix.is_host() { host } else { within })
}

/// RFC 1122, section 3.2.1.3.
fn is_this_network(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if address.octets()[0] == 0)
}

/// RFC 1112, section 4.
fn is_reserved(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if address.octets()[0] >= 240)
}

/// Those of IPv6, which mean nothing without an interface (RFC 4291, section 2.5.6).
fn is_link_local(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// RFC 4291, section 2.5.5.2: no packet carries them.
fn is_mapped(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some())
}
