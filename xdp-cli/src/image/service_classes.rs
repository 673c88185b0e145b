//! Compiles the addresses by which services are reached: their keys, and the classes of those that are
//! prefixes (`xdp_common::lookup::services`).

use std::collections::{BTreeMap, BTreeSet};

use xdp_common::image::{Header, flag};
use xdp_common::lookup::services::{
    KEY_ANY_PORT, KEY_ECHO, KEY_FRAGMENT, KEY_IPV6, KEY_PROTOCOL_SHIFT, KEY_SET, Key,
};
use xdp_common::packet::transport;

use super::interval_tree::LineWriter;
use super::lpm::{self, TooLarge, Valued};
use crate::ruleset::Prefix;
use crate::ruleset::service_keys::{self, AnyPrefix, Destination, Destinations};
use crate::ruleset::services::{Echo, Service};

pub(super) fn key(address: [u64; 2], is_v6: bool, protocol: u8, rest: u64) -> Key {
    let family = if is_v6 { KEY_IPV6 } else { 0 };
    Key([
        address[0],
        address[1],
        KEY_SET | family | u64::from(protocol) << KEY_PROTOCOL_SHIFT | rest,
    ])
}

/// Every key of the services' addresses, with the services that are asked, in that order.
pub(super) fn destinations(
    services: &[Service],
    classes: &Classes,
) -> BTreeMap<[u64; 3], Vec<usize>> {
    let mut keys: BTreeMap<[u64; 3], Vec<usize>> = BTreeMap::new();
    for (Destination { prefix, protocol, port }, of) in &classes.asked {
        let bare = classes.key(*prefix, protocol.number());
        let mut put = |Key(key), index| {
            let of = keys.entry(key).or_default();
            if !of.contains(&index) {
                of.push(index);
            }
        };
        let icmp = if prefix.is_v6 { transport::ICMPV6 } else { transport::ICMP };
        let Key([high, low, rest]) = classes.key(*prefix, icmp);
        for &index in of {
            put(bare.for_fragments(), index);
            if services[index].echo == Echo::Reply {
                put(Key([high, low, rest | KEY_ECHO]), index);
            }
        }
        let Key([high, low, rest]) = bare;
        let rest = rest | port.map_or(KEY_ANY_PORT, u64::from);
        keys.insert([high, low, rest], of.clone());
    }
    for ([_, _, rest], of) in &mut keys {
        if rest & (KEY_FRAGMENT | KEY_ECHO) != 0 {
            of.sort_unstable();
        }
    }
    keys
}

/// Where services are, and the numbers that stand for those of their addresses that are prefixes.
pub(super) struct Classes {
    asked: Destinations,
    /// From 1.
    numbers: BTreeMap<AnyPrefix, u32>,
}

impl Classes {
    pub(super) fn new(services: &[Service]) -> Self {
        let asked = service_keys::asked(services, &service_keys::named(services));
        let prefixes = asked.keys().map(|it| it.prefix).filter(|prefix| !prefix.is_host());
        let prefixes: BTreeSet<AnyPrefix> = prefixes.collect();
        Self { numbers: prefixes.into_iter().zip(1..).collect(), asked }
    }

    /// The key of an address and a protocol, without what stands for the port.
    fn key(&self, prefix: AnyPrefix, protocol: u8) -> Key {
        let address = match prefix.is_v6 {
            true => [(prefix.address >> 64) as u64, prefix.address as u64],
            false => [prefix.address as u64, 0],
        };
        let key = key(address, prefix.is_v6, protocol, 0);
        self.numbers.get(&prefix).map_or(key, |&class| key.for_prefix(class))
    }

    /// Writes the tries that lead to the classes.
    pub(super) fn write(
        &self,
        header: &mut Header,
        lines: &mut LineWriter,
    ) -> Result<(), TooLarge> {
        if self.numbers.is_empty() {
            return Ok(());
        }
        header.flags |= flag::SERVICE_PREFIXES;
        // In the order of addresses and lengths, which is that of the keys.
        let of = |is_v6| self.numbers.iter().filter(move |(prefix, _)| prefix.is_v6 == is_v6);
        let v4 = of(false).map(|(&AnyPrefix { address, length, .. }, &value)| Valued {
            prefix: Prefix { address: address as u32, length },
            value,
        });
        let v6 = of(true).map(|(&AnyPrefix { address, length, .. }, &value)| Valued {
            prefix: Prefix { address, length },
            value,
        });
        let (v4, v6): (Vec<_>, Vec<_>) = (v4.collect(), v6.collect());
        ([header.service_prefixes_v4_root], [header.service_prefixes_v6_root]) =
            lpm::write(lines, [&v4], [&v6])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::path::Path;

    use xdp_common::image::{Lines, flag};
    use xdp_common::lookup::lpm;
    use xdp_common::lookup::services::{Front, find};
    use xdp_common::packet::Network;

    use super::*;
    use crate::config::load_with;
    use crate::image::Image;
    use crate::image::metadata::{Kind, Metadata};
    use crate::ruleset::services::Transport;

    /// Services with these keys, named a, b, c and so on.
    fn image(services: &[&str]) -> (Image, Metadata) {
        let mut text = String::new();
        for (name, keys) in ('a'..).zip(services) {
            text.push_str(&format!("[[service]]\nname = \"{name}\"\nmode = \"dsr\"\n{keys}\n"));
            text.push_str("[[service.backend]]\naddress = \"2001:db8:ffff::1\"\n");
        }
        let loaded = load_with(Path::new("x.toml"), &|_: &Path| Ok(text.clone().into_bytes()));
        let ruleset = loaded.ruleset.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics.errors));
        let metadata = Metadata::unbound(&ruleset);
        (Image::build(&ruleset, 1, &metadata).unwrap(), metadata)
    }

    /// The services that are asked about a packet, in that order: for its address first, then for the
    /// prefix around it.
    fn asked((image, metadata): &(Image, Metadata), packet: &str) -> String {
        let (protocol, packet) = packet.split_once(' ').unwrap();
        let (address, port) = packet.split_once(' ').unwrap();
        let address: IpAddr = address.parse().unwrap();
        let prefix = AnyPrefix::host(address);
        let protocol = match protocol {
            "tcp" => Transport::Tcp,
            _ => Transport::Udp,
        };
        let header = Header::of(image.block(0).unwrap());
        let (network, words) = match prefix.is_v6 {
            true => (Network::IPV6, [(prefix.address >> 64) as u64, prefix.address as u64]),
            false => (Network::IPV4, [prefix.address as u64, 0]),
        };
        let Key([high, low, rest]) = key(words, prefix.is_v6, protocol.number(), 0);
        let own = match port {
            "echo" => {
                let icmp = if prefix.is_v6 { transport::ICMPV6 } else { transport::ICMP };
                let Key([high, low, rest]) = key(words, prefix.is_v6, icmp, KEY_ECHO);
                Key([high, low, rest])
            }
            "fragment" => Key([high, low, rest]).for_fragments(),
            port => Key([high, low, rest | port.parse::<u64>().unwrap()]),
        };
        let mut keys = vec![own];
        if port != "fragment" && port != "echo" {
            keys.push(own.for_any_port());
        }
        if header.has(flag::SERVICE_PREFIXES) {
            let roots = [header.service_prefixes_v4_root, header.service_prefixes_v6_root];
            let class = lpm::find_of(image, roots, network, words).unwrap();
            if class != 0 {
                keys.extend(keys.clone().into_iter().map(|key| key.for_prefix(class)));
            }
        }
        let mut names = String::new();
        for key in keys {
            let mut at = find(image, header, key).unwrap();
            while at != 0 {
                let front = Front::of(image.line(at).unwrap());
                let of = |it: &&crate::image::metadata::Counted| {
                    it.kind == Kind::Service
                        && front.counter == xdp_common::stats::counter::CounterId::new(it.number).0
                };
                let name = &metadata.counted.iter().find(of).unwrap().name;
                if !names.contains(&**name) {
                    names.push_str(name);
                }
                if front.limited == 0 {
                    return names;
                }
                at = front.next;
            }
        }
        names
    }

    #[test]
    fn longer_prefixes_come_first_and_addresses_before_all() {
        let image = image(&[
            "address = \"192.0.0.0/16\"\nprotocol = \"tcp\"",
            "address = \"192.0.2.0/24\"\nprotocol = \"tcp\"\nport = 80\nsource = \"198.51.100.0/24\"",
            "address = [\"192.0.2.0/24\", \"192.0.2.10\"]\nprotocol = \"tcp\"\nport = [80, 443]",
            "address = \"192.0.2.10\"\nprotocol = \"tcp\"\nport = 25\nsource = \"198.51.100.0/24\"",
            "address = \"2001:db8:0:1::/64\"\nprotocol = [\"tcp\", \"udp\"]\nport = 53",
        ]);
        for (packet, expected) in [
            ("tcp 192.0.1.1 80", "a"),
            ("tcp 192.0.2.1 80", "bc"),
            ("tcp 192.0.2.1 443", "c"),
            ("tcp 192.0.2.1 25", "a"),
            ("tcp 192.0.2.10 80", "c"),
            ("tcp 192.0.2.10 25", "da"),
            ("tcp 192.1.0.0 80", ""),
            ("udp 192.0.2.1 80", ""),
            ("tcp 2001:db8:0:1::7 53", "e"),
            ("udp 2001:db8:0:1::7 53", "e"),
            ("udp 2001:db8:0:1::7 54", ""),
            ("udp 2001:db8:0:2::7 53", ""),
            // Fragments carry no port: one for any of its ports is one for the service.
            ("tcp 192.0.2.1 fragment", "a"),
            ("udp 2001:db8:0:1::7 fragment", "e"),
            ("udp 192.0.2.1 fragment", ""),
        ] {
            assert_eq!(asked(&image, packet), expected, "{packet}");
        }
    }

    /// A service for some clients leaves the others to a shorter prefix.
    #[test]
    fn clients_that_one_does_not_take_go_on_to_a_shorter_prefix() {
        let image = image(&[
            "address = \"192.0.0.0/16\"\nprotocol = \"tcp\"\nport = 80",
            "address = \"192.0.2.0/24\"\nprotocol = \"tcp\"\nsource = \"198.51.100.0/24\"",
        ]);
        assert_eq!(asked(&image, "tcp 192.0.2.1 80"), "ba");
        assert_eq!(asked(&image, "tcp 192.0.2.1 81"), "b");
        assert_eq!(asked(&image, "tcp 192.0.3.1 80"), "a");
    }

    /// The ports of a service do not matter, and those that do not say so answer none.
    #[test]
    fn echoes_are_for_services_that_say_so() {
        let image = image(&[
            "address = \"192.0.2.10\"\nprotocol = \"tcp\"\nport = 80",
            "address = \"192.0.2.10\"\nprotocol = \"tcp\"\nport = [81, 82]\necho = \"reply\"",
            "address = \"192.0.2.10\"\nprotocol = \"udp\"\necho = \"reply\"",
            "address = \"192.0.3.0/24\"\nprotocol = \"udp\"\necho = \"reply\"",
            "address = \"2001:db8::7\"\nprotocol = \"udp\"\nsource = \"2001:db8:1::/64\"\necho = \"reply\"",
        ]);
        assert_eq!(asked(&image, "icmp 192.0.2.10 echo"), "b");
        assert_eq!(asked(&image, "icmp 192.0.3.77 echo"), "d");
        assert_eq!(asked(&image, "icmp 192.0.2.11 echo"), "");
        assert_eq!(asked(&image, "icmp 2001:db8::7 echo"), "e");
    }

    /// No prefix, no trie.
    #[test]
    fn single_addresses_need_no_classes() {
        let image = image(&["address = \"192.0.2.10\"\nprotocol = \"tcp\""]);
        assert!(!Header::of(image.0.block(0).unwrap()).has(flag::SERVICE_PREFIXES));
        assert_eq!(asked(&image, "tcp 192.0.2.10 80"), "a");
    }
}
