//! By which addresses, protocols and ports services are reached, and in which order they are asked.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Prefixes;
use super::services::{Service, Transport};

/// A prefix of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AnyPrefix {
    pub is_v6: bool,
    /// An IPv4 address in the lowest 32 bits. No bit is set behind the length.
    pub address: u128,
    pub length: u8,
}

impl AnyPrefix {
    /// The prefix that holds one address alone.
    pub fn host(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => {
                Self { is_v6: false, address: address.to_bits().into(), length: 32 }
            }
            IpAddr::V6(address) => Self { is_v6: true, address: address.to_bits(), length: 128 },
        }
    }

    /// Those of a list, IPv4 first.
    pub fn all(prefixes: &Prefixes) -> impl Iterator<Item = Self> {
        let v4 = prefixes.v4.iter().map(|prefix| Self {
            is_v6: false,
            address: prefix.address.into(),
            length: prefix.length,
        });
        v4.chain(prefixes.v6.iter().map(|prefix| Self {
            is_v6: true,
            address: prefix.address,
            length: prefix.length,
        }))
    }

    /// Whether it is a single address.
    pub const fn is_host(self) -> bool {
        self.length == self.bits()
    }

    const fn bits(self) -> u8 {
        if self.is_v6 { 128 } else { 32 }
    }

    /// The one around it of that length, which is at most its own.
    pub fn around(self, length: u8) -> Self {
        let behind = u32::from(self.bits() - length);
        let mask = u128::MAX.checked_shl(behind).unwrap_or(0);
        Self { address: self.address & mask, length, ..self }
    }
}

/// As it is written in a configuration.
impl fmt::Display for AnyPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_v6 {
            // An IPv4 address has no more bits.
            false => Ipv4Addr::from_bits(self.address as u32).fmt(f)?,
            true => Ipv6Addr::from_bits(self.address).fmt(f)?,
        }
        if self.is_host() { Ok(()) } else { write!(f, "/{}", self.length) }
    }
}

/// A set of prefixes, which is asked for those around another.
#[derive(Debug, Default)]
pub struct PrefixSet {
    prefixes: HashSet<AnyPrefix>,
    lengths: BTreeSet<u8>,
}

impl PrefixSet {
    pub fn insert(&mut self, prefix: AnyPrefix) {
        self.prefixes.insert(prefix);
        self.lengths.insert(prefix.length);
    }

    /// Its prefixes that hold this one, which may be among them, the longest first.
    pub fn around(&self, prefix: AnyPrefix) -> impl Iterator<Item = AnyPrefix> {
        let lengths = self.lengths.iter().rev().filter(move |length| **length <= prefix.length);
        lengths
            .map(move |length| prefix.around(*length))
            .filter(|prefix| self.prefixes.contains(prefix))
    }
}

impl FromIterator<AnyPrefix> for PrefixSet {
    fn from_iter<I: IntoIterator<Item = AnyPrefix>>(prefixes: I) -> Self {
        let mut set = Self::default();
        prefixes.into_iter().for_each(|prefix| set.insert(prefix));
        set
    }
}

/// Where packets to services go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination {
    pub prefix: AnyPrefix,
    pub protocol: Transport,
    /// `None` is every port that no other destination names.
    pub port: Option<u16>,
}

/// For each destination the indexes of services, in the order in which they are asked.
pub type Destinations = BTreeMap<Destination, Vec<usize>>;

/// How many destinations a service names.
pub fn number(service: &Service) -> usize {
    let ports = service.ports.as_deref().map_or(1, number_of_ports);
    let addresses = service.addresses.v4.len() + service.addresses.v6.len();
    addresses.saturating_mul(service.protocols.len()).saturating_mul(ports)
}

/// How many ports there are in ranges that do not overlap.
pub fn number_of_ports(ranges: &[(u16, u16)]) -> usize {
    ranges.iter().map(|(first, last)| usize::from(last - first) + 1).sum()
}

/// Every destination that services name, with those that name it, in file order.
pub fn named(services: &[Service]) -> Destinations {
    let mut named = Destinations::new();
    for (index, service) in services.iter().enumerate() {
        for prefix in AnyPrefix::all(&service.addresses) {
            for &protocol in &service.protocols {
                let mut add = |port| {
                    let of = named.entry(Destination { prefix, protocol, port }).or_default();
                    if of.last() != Some(&index) {
                        of.push(index);
                    }
                };
                match &service.ports {
                    None => add(None),
                    Some(ranges) => ranges
                        .iter()
                        .flat_map(|&(first, last)| first..=last)
                        .for_each(|port| add(Some(port))),
                }
            }
        }
    }
    named
}

/// The services that are asked about packets to each destination, from what [`named`] found: those
/// for the port, and behind them those for every port; then those of the prefixes around it, the longest
/// first. None stands behind a service that takes all clients.
pub fn asked(services: &[Service], named: &Destinations) -> Destinations {
    let all: BTreeSet<AnyPrefix> = named.keys().map(|destination| destination.prefix).collect();
    let set: PrefixSet = all.iter().copied().filter(|prefix| !prefix.is_host()).collect();
    let mut asked = Destinations::new();
    for prefix in all {
        let around: Vec<AnyPrefix> = match prefix.is_host() {
            true => std::iter::once(prefix).chain(set.around(prefix)).collect(),
            false => set.around(prefix).collect(),
        };
        let mut wanted = BTreeSet::new();
        for &outer in &around {
            wanted.extend(of_prefix(named, outer).map(|it| Destination { prefix, ..*it.0 }));
        }
        for destination in wanted {
            let mut of: Vec<usize> = Vec::new();
            for &outer in &around {
                let own = Destination { prefix: outer, ..destination };
                let every = Destination { port: None, ..own };
                for it in [own, every].iter().filter_map(|it| named.get(it)).flatten() {
                    if !of.contains(it) {
                        of.push(*it);
                    }
                }
            }
            if let Some(last) = of.iter().position(|&index| services[index].source.is_none()) {
                of.truncate(last + 1);
            }
            asked.insert(destination, of);
        }
    }
    asked
}

/// What is named of one prefix.
fn of_prefix(
    named: &Destinations,
    prefix: AnyPrefix,
) -> impl Iterator<Item = (&Destination, &Vec<usize>)> {
    let first = Destination { prefix, protocol: Transport::Tcp, port: None };
    let last = Destination { prefix, protocol: Transport::Sctp, port: Some(u16::MAX) };
    named.range(first..=last)
}
