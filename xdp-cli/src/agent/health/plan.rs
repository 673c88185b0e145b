//! What there is to check.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::ruleset::services::check::{Check, Through};
use crate::ruleset::services::{Backend, Mode, NextHop, Service, Settings, State};
use crate::ruleset::{Prefix, Ruleset};

/// A backend of a service, and how to check it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    pub service: String,
    pub backend: String,
    /// The backend's own.
    pub address: IpAddr,
    /// 0 where the check has none.
    pub port: u16,
    /// Where packets to the service's address go, instead of those to the backend's own.
    pub way: Option<Way>,
    pub check: Arc<Check>,
}

impl Target {
    /// Where the check's packets are addressed to.
    pub fn place(&self) -> SocketAddr {
        let address = self.way.as_ref().map_or(self.address, |way| way.to);
        SocketAddr::new(address, self.port)
    }
}

/// How packets to a service's address get to one of its backends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Way {
    /// The service's address.
    pub to: IpAddr,
    pub backend: IpAddr,
    pub by: By,
    /// `None` by the kernel's routes.
    pub next_hop: Option<Fixed>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum By {
    /// Inside another packet: IP in IP, or with a port Generic UDP Encapsulation.
    Tunnel { port: u16, source_v4: Prefix<u32>, source_v6: Prefix<u128> },
    /// As it is, to the backend's MAC address.
    Ethernet,
}

/// A fixed next hop: an interface, and an address behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fixed {
    pub ifindex: u32,
    pub mac: [u8; 6],
}

impl Way {
    /// That of a service's packets to a backend, where they come in by that interface. `None` where they
    /// get the backend's own address.
    fn of(settings: &Settings, service: &Service, backend: &Backend, ifindex: u32) -> Option<Self> {
        let tunnel = |port| By::Tunnel {
            port,
            source_v4: settings.tunnel_source_v4,
            source_v6: settings.tunnel_source_v6,
        };
        let by = match service.mode {
            Mode::Nat => return None,
            Mode::Ipip => tunnel(0),
            Mode::Gue { port } => tunnel(port),
            Mode::L2dsr => By::Ethernet,
        };
        let next_hop = match backend.next_hop.unwrap_or(settings.next_hop) {
            NextHop::Route => None,
            NextHop::Mac(mac) => Some(Fixed { ifindex, mac }),
        };
        Some(Self { to: service.address_for(backend)?, backend: backend.address, by, next_hop })
    }
}

/// What a ruleset has checked, and what it has not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    pub checked: Vec<Target>,
    /// Services and backends that nobody checks.
    pub unchecked: Vec<(String, String)>,
}

impl Targets {
    /// Those of a ruleset that is in force on that interface.
    pub fn of(ruleset: &Ruleset, ifindex: u32) -> Self {
        let mut targets = Self::default();
        for service in &ruleset.services {
            let check = service.check.clone().map(Arc::new);
            for backend in &service.backends {
                // One that the configuration takes out gets nothing, whatever a check finds.
                match &check {
                    Some(check) if backend.state != State::Down => {
                        let (address, port) = service.checked_at(check, backend);
                        let way = match check.through {
                            Through::Backend => None,
                            Through::Service => {
                                Way::of(&ruleset.service_settings, service, backend, ifindex)
                            }
                        };
                        targets.checked.push(Target {
                            service: service.name.clone(),
                            backend: backend.name.clone(),
                            address,
                            port,
                            way,
                            check: Arc::clone(check),
                        });
                    }
                    _ => targets.unchecked.push((service.name.clone(), backend.name.clone())),
                }
            }
        }
        targets
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::load_with;

    const MAC: &str = "next_hop = \"02:00:00:00:00:07\"";

    /// The only target of a service with these keys and this backend.
    fn target(keys: &str, backend: &str) -> Target {
        let text = format!(
            "[[service]]\nname = \"web\"\nprotocol = \"tcp\"\nport = 443\n{keys}\n\
             [service.check]\ntype = \"tcp\"\nthrough = \"service\"\n\
             [[service.backend]]\nname = \"b1\"\n{backend}\n"
        );
        let loaded = load_with(Path::new("x.toml"), &|_: &Path| Ok(text.clone().into_bytes()));
        let ruleset = loaded.ruleset.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics.errors));
        Targets::of(&ruleset, 7).checked.remove(0)
    }

    fn asked(target: &Target) -> String {
        target.place().to_string()
    }

    /// A nat service's packets have the backend's address and port, so that is where they are sent.
    #[test]
    fn nat_is_the_backends_own_address() {
        let nat = target(
            "address = \"192.0.2.10\"\nmode = \"nat\"",
            "address = \"10.0.0.1\"\nport = 8080",
        );
        assert_eq!((nat.way.as_ref(), asked(&nat).as_str()), (None, "10.0.0.1:8080"));
    }

    #[test]
    fn the_other_modes_go_to_the_services_address() {
        let dsr = target("address = \"192.0.2.10\"\nmode = \"dsr\"", "address = \"10.0.0.1\"");
        assert_eq!(asked(&dsr), "192.0.2.10:443");
        assert_eq!(dsr.address, IpAddr::from([10, 0, 0, 1]));
        let way = dsr.way.unwrap();
        assert_eq!(way.backend, dsr.address);
        assert!(matches!(way.by, By::Tunnel { port: 0, .. }), "{way:?}");
        assert_eq!(way.next_hop, None);
        let gue =
            "address = \"192.0.2.10\"\nmode = \"dsr\"\nencapsulation = \"gue\"\ngue_port = 6080";
        let gue = target(gue, "address = \"2001:db8::1\"");
        assert_eq!(asked(&gue), "192.0.2.10:443");
        assert!(matches!(gue.way.unwrap().by, By::Tunnel { port: 6080, .. }));
        let l2dsr = "address = \"192.0.2.10\"\nmode = \"l2dsr\"";
        let l2dsr = target(l2dsr, &format!("address = \"10.0.0.1\"\n{MAC}"));
        let way = l2dsr.way.unwrap();
        assert_eq!(way.by, By::Ethernet);
        assert_eq!(way.next_hop, Some(Fixed { ifindex: 7, mac: [2, 0, 0, 0, 0, 7] }));
    }

    #[test]
    fn which_address_of_several() {
        let of = |addresses: &str, backend: &str| {
            let keys = format!("address = {addresses}\nmode = \"dsr\"");
            target(&keys, &format!("address = \"{backend}\"")).place().ip().to_string()
        };
        let both = "[\"192.0.2.10\", \"2001:db8:d::10\"]";
        assert_eq!(of(both, "2001:db8::1"), "2001:db8:d::10");
        assert_eq!(of("[\"192.0.2.12\", \"192.0.2.20\"]", "10.0.0.1"), "192.0.2.12");
        assert_eq!(of("\"192.0.2.0/24\"", "10.0.0.1"), "192.0.2.1");
        assert_eq!(of("\"192.0.2.8/31\"", "10.0.0.1"), "192.0.2.8");
        assert_eq!(of("\"2001:db8:d::/64\"", "2001:db8::1"), "2001:db8:d::1");
    }
}
