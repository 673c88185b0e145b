//! Whether the host can do what its services ask for: what only attaching and reloading can say, and
//! `check` cannot.

use std::net::IpAddr;
use std::path::Path;
use std::{fs, io};

use crate::datapath::error::Error;
use crate::datapath::host::addresses::{self, Address};
use crate::datapath::host::advice::Note;
use crate::datapath::host::interface::Interface;
use crate::datapath::host::routes;
use crate::diagnostic::Diagnostic;
use crate::notation::word;
use crate::ruleset::Ruleset;
use crate::ruleset::service_keys::{AnyPrefix, PrefixSet};
use crate::ruleset::services::check::Through;
use crate::ruleset::services::{Backend, Mode, NextHop, Service};

/// What services need to know of the host.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// The interface that packets to services come in by.
    pub interface: String,
    pub mtu: u32,
    /// All addresses of the network namespace.
    pub addresses: Vec<Address>,
    /// Whether the kernel forwards what comes in by the interface, IPv4 and IPv6; `None` where it
    /// has no such setting.
    pub forwarding: [Option<bool>; 2],
}

impl Host {
    /// Asks the kernel about the caller's network namespace.
    pub fn of(interface: &Interface) -> io::Result<Self> {
        Ok(Self {
            interface: interface.name.clone(),
            mtu: interface.mtu,
            addresses: addresses::all()?,
            forwarding: [false, true].map(|is_v6| forwards(&interface.name, is_v6)),
        })
    }

    /// Whether it has an address of a family by which others reach it. While it has none, its network
    /// is not set up yet, as when the machine starts: then what is missing may be about to come.
    fn is_set_up(&self, is_v6: bool) -> bool {
        self.addresses.iter().any(|it| it.ip.is_ipv6() == is_v6 && !is_own(it.ip))
    }

    /// The networks of its interfaces.
    fn networks(&self) -> PrefixSet {
        let networks = self.addresses.iter().filter(|it| it.prefix_length > 0);
        networks.map(|it| AnyPrefix::host(it.ip).around(it.prefix_length)).collect()
    }
}

/// Whether it is an address by which nobody behind a router reaches the host.
pub fn is_own(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unicast_link_local(),
    }
}

/// Whether the kernel forwards what comes in by an interface; `None` where it has no such setting.
pub fn forwards(interface: &str, is_v6: bool) -> Option<bool> {
    let text = fs::read_to_string(format!("/proc/sys/{}", setting(interface, is_v6))).ok()?;
    Some(text.trim() != "0")
}

/// The path of that setting below /proc/sys, by which sysctl(8) knows it too.
pub fn setting(interface: &str, is_v6: bool) -> String {
    let family = if is_v6 { "ipv6" } else { "ipv4" };
    format!("net/{family}/conf/{interface}/forwarding")
}

/// The backends that the kernel is asked for the way to, each with its service.
pub fn routed(ruleset: &Ruleset) -> impl Iterator<Item = (&Service, &Backend)> {
    let usual = ruleset.service_settings.next_hop;
    let all = ruleset.services.iter().flat_map(|it| it.backends.iter().map(move |own| (it, own)));
    all.filter(move |(_, backend)| backend.next_hop.unwrap_or(usual) == NextHop::Route)
}

/// Why the services of a ruleset cannot work on this host.
pub fn refusal(ruleset: &Ruleset, host: &Host) -> Option<Error> {
    problems(ruleset, host).find(|problem| host.is_set_up(problem.is_v6)).map(|problem| {
        let Problem { place: (file, line, column), note: Note { message, hint }, .. } = problem;
        let file = ruleset.file_of(file).unwrap_or(Path::new("")).to_owned();
        Diagnostic { file, line, column, message, hint, excerpt: None }.into()
    })
}

/// What there is to know about services on this host.
pub fn notes(ruleset: &Ruleset, host: &Host) -> Vec<Note> {
    let coming = problems(ruleset, host).filter(|it| !host.is_set_up(it.is_v6));
    let mut notes: Vec<Note> = coming.map(|problem| problem.note).collect();
    notes.extend(no_room(ruleset, host));
    notes.extend(unchecked(ruleset, host));
    notes.extend(every_port(ruleset));
    notes
}

/// A nat service of every port: whatever its servers send through this box is taken for a reply.
fn every_port(ruleset: &Ruleset) -> Option<Note> {
    let takes_all = |it: &&Service| it.mode == Mode::Nat && it.ports.is_none();
    let service = ruleset.services.iter().find(takes_all)?;
    Some(Note {
        message: format!(
            "service \"{}\" has no port: connections that its servers open through this host fail, since they \
             are taken for replies to clients",
            service.name
        ),
        hint: Some("name the ports that clients use, as in port = [80, 443]".into()),
    })
}

/// What is told once of backends without a route, beside interfaces and whether packets are lost.
const NO_ROUTE: (u32, bool) = (0, true);

/// Backends without a route, and those that routes lead to by interfaces which take no redirected frames.
pub fn by_stack(ruleset: &Ruleset, own: &Interface, all: &[Interface]) -> io::Result<Vec<Note>> {
    let mut notes: Vec<Note> = Vec::new();
    let mut told = Vec::new();
    let backends: Vec<(&Service, &Backend)> = routed(ruleset).collect();
    let hops = routes::next_hops(backends.iter().map(|(_, it)| it.address))?;
    for ((service, backend), hop) in backends.into_iter().zip(hops) {
        let Some((ifindex, _)) = hop else {
            if !told.contains(&NO_ROUTE) {
                told.push(NO_ROUTE);
                notes.push(Note {
                    message: format!(
                        "service \"{}\", backend \"{}\": there is no route to {} now, so its packets are lost",
                        service.name, backend.name, backend.address
                    ),
                    hint: Some(
                        "where an interface is to come up or a route to come first, `xdpctl reload` afterwards".into(),
                    ),
                });
            }
            continue;
        };
        let by = all.iter().find(|it| it.index == ifindex && it.index != own.index);
        let Some(by) = by.filter(|it| !it.may_take_redirected()) else { continue };
        let is_lost = service.mode == Mode::L2dsr;
        if told.contains(&(ifindex, is_lost)) {
            continue;
        }
        told.push((ifindex, is_lost));
        let what = match is_lost {
            true => "its packets are dropped, and counted as no_route",
            false => "its packets go by way of the kernel's stack, which is slower",
        };
        notes.push(Note {
            message: format!(
                "service \"{}\", backend \"{}\": the route to {} leads to {}, which takes no redirected \
                 frames: {what}",
                service.name, backend.name, backend.address, by.name
            ),
            hint: Some(
                "attach to an interface on the backends' network itself, or write next_hop, a MAC \
                 address there"
                    .into(),
            ),
        });
    }
    Ok(notes)
}

/// That the servers of a nat service answer by another interface, on which no program is that gives their replies the
/// service's address. `attached` are the indexes of the interfaces that have one.
pub fn replies_elsewhere(
    ruleset: &Ruleset,
    own: &Interface,
    all: &[Interface],
    attached: &[u32],
) -> io::Result<Option<Note>> {
    let is_nat = |(service, _): &(&Service, &Backend)| service.mode == Mode::Nat;
    // One of each family and service: the others are mostly beside it.
    let mut asked: Vec<(&Service, &Backend)> = Vec::new();
    for pair in routed(ruleset).filter(is_nat) {
        let is_alike = |(service, backend): &(&Service, &Backend)| {
            service.name == pair.0.name && backend.address.is_ipv6() == pair.1.address.is_ipv6()
        };
        if asked.last().is_none_or(|last| !is_alike(last)) {
            asked.push(pair);
        }
    }
    let hops = routes::next_hops(asked.iter().map(|(_, it)| it.address))?;
    let note = |((service, backend), hop): ((&Service, &Backend), Option<(u32, IpAddr)>)| {
        let by = all.iter().find(|it| Some(it.index) == hop.map(|(ifindex, _)| ifindex))?;
        let is_judged = |index: &u32| frames_of(by, *index, all);
        if is_judged(&own.index) || attached.iter().any(is_judged) || by.name == "lo" {
            return None;
        }
        Some(Note {
            message: format!(
                "service \"{}\", backend \"{}\": its replies come in by {}, on which no xdpctl is attached, and do \
                 not get back to clients",
                service.name, backend.name, by.name
            ),
            hint: Some(format!(
                "attach the same file there too: `xdpctl attach {} -c FILE`",
                word(&by.name)
            )),
        })
    };
    Ok(asked.into_iter().zip(hops).find_map(note))
}

/// Whether what comes in by an interface is seen by a program on the one of that index: it is the same, carries it as a
/// VLAN, or is a port of it.
fn frames_of(by: &Interface, index: u32, all: &[Interface]) -> bool {
    let is_port = |it: &Interface| it.index == index && it.master == Some(by.index);
    by.index == index
        || by.link == Some(index) && by.link_netns.is_none() && by.kind.as_deref() != Some("veth")
        || all.iter().any(is_port)
}

/// An address that the host got since a ruleset was put in force, when it had those that are `known`, and a
/// service whose backends' answers to it are taken for replies to a client: one of nat with a fixed next hop,
/// where no route says that a packet is to this host.
pub fn unknown_address<'a>(
    ruleset: &'a Ruleset,
    known: &[IpAddr],
    now: &[Address],
) -> Option<(IpAddr, &'a Service)> {
    // Replies go on by what holds for all services, whatever their backends' own next hops are.
    let is_fixed = ruleset.service_settings.next_hop != NextHop::Route;
    let new = now.iter().map(|it| it.ip).filter(|ip| !known.contains(ip) && !is_own(*ip));
    let mut pairs = new.flat_map(|ip| ruleset.services.iter().map(move |service| (ip, service)));
    pairs.find(|(ip, service)| {
        let is_taken = |backend: &Backend| backend.address.is_ipv6() == ip.is_ipv6();
        is_fixed && service.mode == Mode::Nat && service.backends.iter().any(is_taken)
    })
}

/// Something that stands in the way.
struct Problem {
    /// The family that it is about.
    is_v6: bool,
    /// The file, the line and the column of what it is about; no column for the line as a whole.
    place: (u16, u32, u32),
    note: Note,
}

/// The kernel gives no answer about routes for an interface that does not forward
/// (BPF_FIB_LKUP_RET_FWD_DISABLED, `bpf_ipv4_fib_lookup` in net/core/filter.c).
fn without_forwarding(ruleset: &Ruleset, host: &Host, is_v6: bool) -> Option<Problem> {
    let unforwarded = |is_v6: bool| {
        let is_off = host.forwarding[usize::from(is_v6)] == Some(false);
        is_off.then(|| routed(ruleset).find(|(_, it)| it.address.is_ipv6() == is_v6)).flatten()
    };
    let (service, _) = unforwarded(is_v6)?;
    let (family, name) = (if is_v6 { "IPv6" } else { "IPv4" }, &host.interface);
    // Whoever sets one would be told of the other next.
    let off = [false, true].into_iter().filter(|is_v6| unforwarded(*is_v6).is_some());
    let settings: Vec<String> =
        off.map(|is_v6| word(&format!("{}=1", setting(name, is_v6)))).collect();
    let note = Note {
        message: format!(
            "service \"{}\" sends packets on by the kernel's routes, and {name} does not forward {family}",
            service.name
        ),
        hint: Some(format!("`sysctl -w {}`, or next_hop with a MAC address", settings.join(" "))),
    };
    let place = (service.file, service.line, service.column);
    Some(Problem { is_v6, place, note })
}

/// All that stands in the way.
fn problems(ruleset: &Ruleset, host: &Host) -> impl Iterator<Item = Problem> {
    let forwarding = [false, true].map(|is_v6| without_forwarding(ruleset, host, is_v6));
    forwarding.into_iter().chain([out_of_sight(ruleset, host)]).flatten()
}

/// A backend of l2dsr is reached by its MAC address, which only neighbours tell.
fn out_of_sight(ruleset: &Ruleset, host: &Host) -> Option<Problem> {
    let networks = host.networks();
    let mut of_l2dsr = routed(ruleset).filter(|(service, _)| service.mode == Mode::L2dsr);
    let is_seen = |address| networks.around(AnyPrefix::host(address)).next().is_some();
    let (service, backend) = of_l2dsr.find(|(_, it)| !is_seen(it.address))?;
    let note = Note {
        message: format!(
            "service \"{}\", backend \"{}\": {} is on no network of this host, so its MAC address \
             cannot be found",
            service.name, backend.name, backend.address
        ),
        hint: Some(
            "give its MAC address as next_hop; mode = \"dsr\" reaches backends behind routers"
                .into(),
        ),
    };
    Some(Problem { is_v6: backend.address.is_ipv6(), place: (backend.file, backend.line, 0), note })
}

/// What a tunnel takes of the packets that clients send. Who has said an MTU knows.
fn no_room(ruleset: &Ruleset, host: &Host) -> Option<Note> {
    let backends = |service: &Service| {
        let mode = service.mode;
        service.backends.iter().map(|it| mode.overhead(it.address.is_ipv6())).max().unwrap_or(0)
    };
    let unsaid = ruleset.services.iter().filter(|it| it.mtu.is_none());
    let (overhead, service) = unsaid.map(|it| (backends(it), it)).max_by_key(|it| it.0)?;
    // What clients send whose own link is an Ethernet.
    const USUAL: u32 = 1500;
    let most = host.mtu.saturating_sub(overhead.into());
    (overhead > 0 && most < USUAL).then(|| Note {
        message: format!(
            "service \"{}\" tunnels packets of up to {most} bytes: {} has an MTU of {}, and the outer \
             headers take {overhead}",
            service.name, host.interface, host.mtu
        ),
        hint: Some(format!(
            "give the way to the backends an MTU of {} or more, and name it in mtu; or have backends \
             announce smaller segments (`ip route … advmss {}`)",
            USUAL + u32::from(overhead),
            most.saturating_sub(40)
        )),
    })
}

/// Checks that go to a service's address, where that is this host's own.
fn unchecked(ruleset: &Ruleset, host: &Host) -> Option<Note> {
    let is_asked = |service: &&Service| {
        let through = service.check.as_ref().map(|check| check.through);
        through == Some(Through::Service) && service.mode != Mode::Nat
    };
    let is_own = |address: &IpAddr| host.addresses.iter().any(|it| it.ip == *address);
    let mut all = ruleset.services.iter().filter(is_asked);
    let (service, address) = all.find_map(|service| {
        let mut asked = service.backends.iter().filter_map(|it| service.address_for(it));
        Some((service, asked.find(is_own)?))
    })?;
    Some(Note {
        message: format!(
            "service \"{}\" is not checked through its address: {address} is an address of this host, so \
             packets to it do not leave",
            service.name
        ),
        hint: Some(
            "take it off this host and have clients' packets routed here, or write through = \"backend\""
                .into(),
        ),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::load_with;

    fn ruleset(service: &str, backend: &str) -> Ruleset {
        let text = format!(
            "[[service]]\nname = \"web\"\nprotocol = \"tcp\"\n{service}\n[[service.backend]]\n{backend}\n"
        );
        let loaded = load_with(Path::new("x.toml"), &|_: &Path| Ok(text.clone().into_bytes()));
        loaded.ruleset.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics.errors))
    }

    fn host(networks: &[(&str, u8)]) -> Host {
        let address = |(ip, prefix_length): &(&str, u8)| Address {
            ifindex: 2,
            ip: ip.parse().unwrap(),
            prefix_length: *prefix_length,
            is_dynamic: false,
        };
        Host {
            interface: "eth0".into(),
            mtu: 1500,
            addresses: networks.iter().map(address).collect(),
            forwarding: [Some(true); 2],
        }
    }

    const NET: (&str, u8) = ("10.0.0.254", 24);
    const L2DSR: &str = "address = \"192.0.2.10\"\nmode = \"l2dsr\"";
    const NAT: &str = "address = \"192.0.2.10\"\nmode = \"nat\"";
    const DSR: &str = "address = \"192.0.2.10\"\nmode = \"dsr\"";

    fn refused(ruleset: &Ruleset, host: &Host) -> Option<String> {
        refusal(ruleset, host).map(|error| format!("{} ({})", error.message, error.hint.unwrap()))
    }

    #[test]
    fn a_backend_of_l2dsr_is_a_neighbour() {
        let near = ruleset(L2DSR, "address = \"10.0.0.1\"");
        let far = ruleset(L2DSR, "address = \"10.0.1.1\"");
        let known = ruleset(L2DSR, "address = \"10.0.1.1\"\nnext_hop = \"02:00:00:00:00:01\"");
        assert_eq!(refused(&near, &host(&[NET])), None);
        assert_eq!(refused(&known, &host(&[NET])), None);
        let said = refused(&far, &host(&[NET])).unwrap();
        assert_eq!(
            said,
            "x.toml:6: service \"web\", backend \"10.0.1.1\": 10.0.1.1 is on no network of this host, so its MAC \
             address cannot be found (give its MAC address as next_hop; mode = \"dsr\" reaches backends \
             behind routers)"
        );
        // A tunnel leads beyond routers.
        assert_eq!(refused(&ruleset(DSR, "address = \"10.0.1.1\""), &host(&[NET])), None);
    }

    /// The unit attaches before the network is set up.
    #[test]
    fn what_is_missing_before_the_network_is_set_up_is_a_note() {
        let far = ruleset(L2DSR, "address = \"10.0.1.1\"");
        for networks in [&[][..], &[("127.0.0.1", 8)], &[("2001:db8::1", 64)]] {
            let host = Host { forwarding: [Some(false); 2], ..host(networks) };
            assert_eq!(refused(&far, &host), None, "{networks:?}");
            assert_eq!(notes(&far, &host).len(), 2, "{networks:?}");
        }
    }

    #[test]
    fn routes_need_forwarding_of_the_family_of_the_backends() {
        let off =
            |v4, v6| Host { forwarding: [Some(v4), Some(v6)], ..host(&[NET, ("2001:db8::1", 64)]) };
        let v4 = ruleset(NAT, "address = \"10.0.0.1\"");
        let said = refused(&v4, &off(false, true)).unwrap();
        assert_eq!(
            said,
            "x.toml:2:8: service \"web\" sends packets on by the kernel's routes, and eth0 does not forward IPv4 \
             (`sysctl -w net/ipv4/conf/eth0/forwarding=1`, or next_hop with a MAC address)"
        );
        assert_eq!(refused(&v4, &off(true, false)), None);
        // The outer packet counts.
        let v6 = ruleset(DSR, "address = \"2001:db8::2\"");
        assert!(refused(&v6, &off(true, false)).unwrap().contains("does not forward IPv6"));
        assert_eq!(refused(&v6, &off(false, true)), None);
        let both =
            ruleset(DSR, "address = \"10.0.0.1\"\n[[service.backend]]\naddress = \"2001:db8::2\"");
        let said = refused(&both, &off(false, false)).unwrap();
        assert!(
            said.contains("net/ipv4/conf/eth0/forwarding=1 net/ipv6/conf/eth0/forwarding=1`"),
            "{said}"
        );
        // Without an address of one family yet, the other is still told.
        let only_v6 = Host { forwarding: [Some(false); 2], ..host(&[("2001:db8::1", 64)]) };
        assert!(refused(&both, &only_v6).unwrap().contains("does not forward IPv6"));
        let fixed = ruleset(NAT, "address = \"10.0.0.1\"\nnext_hop = \"02:00:00:00:00:01\"");
        assert_eq!(refused(&fixed, &off(false, false)), None);
        // Where there is no IPv6, nothing says that it is off.
        let without = Host { forwarding: [Some(true), None], ..host(&[("2001:db8::1", 64)]) };
        assert_eq!(refused(&v6, &without), None);
    }

    #[test]
    fn nat_of_every_port_is_told() {
        let told = |service: &str| {
            let own = "address = \"10.0.0.1\"\nnext_hop = \"02:00:00:00:00:02\"";
            let notes = notes(&ruleset(service, own), &host(&[NET]));
            notes.iter().any(|note| note.message.contains("connections that its servers open"))
        };
        assert!(told(NAT));
        assert!(!told(&format!("{NAT}\nport = 80")) && !told(L2DSR));
    }

    #[test]
    fn an_address_that_came_later() {
        let known = [IpAddr::from([10, 0, 0, 254])];
        let found = |service: &str, next_hop: NextHop, now: &[(&str, u8)]| {
            let own = "address = \"10.0.0.1\"\nnext_hop = \"02:00:00:00:00:02\"";
            let mut ruleset = ruleset(service, own);
            ruleset.service_settings.next_hop = next_hop;
            let found = unknown_address(&ruleset, &known, &host(now).addresses);
            found.map(|(ip, service)| format!("{ip} {}", service.name))
        };
        let fixed = NextHop::Mac([2, 0, 0, 0, 0, 1]);
        let new = ("10.0.0.253", 24);
        assert_eq!(found(NAT, fixed, &[NET, new]).unwrap(), "10.0.0.253 web");
        assert_eq!(found(NAT, fixed, &[NET]), None);
        assert_eq!(found(NAT, fixed, &[NET, ("127.0.0.2", 8), ("2001:db8::1", 64)]), None);
        assert_eq!(found(NAT, NextHop::Route, &[NET, new]), None);
        assert_eq!(found(DSR, fixed, &[NET, new]), None);
    }

    #[test]
    fn a_check_through_an_address_of_the_host_is_a_note() {
        let said = |service: &str, own: &str| {
            let check = "[service.check]\ntype = \"tcp\"\nport = 80\nthrough = \"service\"";
            let ruleset = ruleset(&format!("{service}\n{check}"), "address = \"10.0.0.1\"");
            let notes = notes(&ruleset, &Host { mtu: 1600, ..host(&[NET, (own, 32)]) });
            notes.iter().map(Note::to_string).collect::<String>()
        };
        assert_eq!(
            said(DSR, "192.0.2.10"),
            "service \"web\" is not checked through its address: 192.0.2.10 is an address of this host, \
             so packets to it do not leave (take it off this host and have clients' packets routed here, \
             or write through = \"backend\")"
        );
        assert_eq!(said(DSR, "192.0.2.11"), "");
        assert_eq!(said(&format!("{NAT}\nport = 443"), "192.0.2.10"), "");
    }

    #[test]
    fn a_tunnel_takes_room() {
        let said = |ruleset: &Ruleset, mtu| {
            notes(ruleset, &Host { mtu, ..host(&[NET]) })
                .iter()
                .map(Note::to_string)
                .collect::<String>()
        };
        let tunnel = ruleset(DSR, "address = \"10.0.0.1\"");
        assert_eq!(
            said(&tunnel, 1500),
            "service \"web\" tunnels packets of up to 1480 bytes: eth0 has an MTU of 1500, and the \
             outer headers take 20 (give the way to the backends an MTU of 1520 or more, and name it \
             in mtu; or have backends announce smaller segments (`ip route … advmss 1440`))"
        );
        assert_eq!(said(&tunnel, 1520), "");
        let told = ruleset(&format!("{DSR}\nmtu = 1500"), "address = \"10.0.0.1\"");
        assert_eq!(said(&told, 1500), "");
        assert_eq!(
            said(&ruleset(&format!("{NAT}\nport = 443"), "address = \"10.0.0.1\""), 1500),
            ""
        );
    }
}
