//! Services: what is refused, what is warned of, and what comes of the rest.

use std::time::Duration;

use super::Setup;
use crate::ruleset::services::{
    Echo, NextHop, NoBackend, Service, Settings, State, TooBig, Tracking, UDP_TIMEOUT,
};

/// A whole configuration with a seed, so that nothing is said of that.
fn seeded(services: &str) -> String {
    format!("services.seed = \"b3duIHNlZWQgb2YgdGVzdHM=\"\n{services}")
}

/// A service for one address, with a backend, and these keys. What it should have and these have not
/// is put before them.
fn service(name: &str, keys: &str) -> String {
    let mut text = format!("[[service]]\nname = \"{name}\"\n");
    let of_service = keys.split("[[service.backend]]").next().unwrap_or_default();
    let usual = [
        ("address", "address = \"192.0.2.10\""),
        ("protocol", "protocol = \"tcp\""),
        ("port", "port = 80"),
        ("mode", "mode = \"dsr\""),
    ];
    let has = |key: &str| {
        of_service.lines().any(|line| line.split_once(" =").is_some_and(|(own, _)| own == key))
    };
    for (_, line) in usual.iter().filter(|(key, _)| !has(key)) {
        text.push_str(&format!("{line}\n"));
    }
    for line in keys.lines().filter(|line| !line.is_empty() && *line != "port = none") {
        text.push_str(&format!("{line}\n"));
    }
    if !keys.contains("[[service.backend]]") {
        text.push_str("[[service.backend]]\naddress = \"10.0.0.1\"\n");
    }
    text
}

/// A backend with these keys.
fn backend(keys: &str) -> String {
    format!("[[service.backend]]\n{keys}\n")
}

/// What is said of each service, with its text where that is short.
fn said(cases: &[(&str, String)]) -> String {
    let setup = Setup::new(&[]);
    let mut all = String::new();
    for (title, text) in cases {
        let said = setup.said(seeded(text));
        assert!(!said.is_empty(), "nothing is said: {title}\n{text}");
        let shown = if text.lines().count() < 40 { text.trim_end() } else { "(long)" };
        all.push_str(&format!("## {title}\n{shown}\n{said}\n"));
    }
    all
}

/// Services with one mistake each.
fn refused(cases: &[(&str, &str)]) -> String {
    let cases: Vec<(&str, String)> =
        cases.iter().map(|(title, keys)| (*title, service("web", keys))).collect();
    let said = said(&cases);
    assert_eq!(said.matches("error: ").count(), cases.len(), "{said}");
    assert_eq!(said.matches("warning: ").count(), 0, "{said}");
    said
}

#[test]
fn settings() {
    let cases = [
        ("tracking", "tracking = \"some\""),
        ("connections", "connections = 100000"),
        ("connections too few", "connections = 32768"),
        ("connections too many", "connections = 134217728"),
        ("connections as text", "connections = \"1M\""),
        ("history", "history = \"30s\""),
        ("history is no time", "history = \"long\""),
        ("seed too short", "seed = \"Zm9v\""),
        ("seed is no base64", "seed = \"Zm9v!\""),
        ("no source", "tunnel_source = []"),
        ("two sources of a family", "tunnel_source = [\"172.16.0.0/16\", \"10.0.0.0/16\"]"),
        ("source is no prefix", "tunnel_source = [\"x\"]"),
        ("source is too short", "tunnel_source = [\"2001:db8::/32\"]"),
        ("source is multicast", "tunnel_source = [\"224.0.0.0/16\"]"),
        ("next hop", "next_hop = \"eth0\""),
        ("next hop is multicast", "next_hop = \"01:00:00:00:00:01\""),
        ("unknown key", "trackng = \"all\""),
    ];
    let setup = Setup::new(&[]);
    let mut all = String::new();
    for (title, keys) in cases {
        let said = setup.said(format!("[services]\n{keys}\n"));
        assert_eq!(said.matches("error: ").count(), 1, "{title}\n{said}");
        all.push_str(&format!("## {title}\n{keys}\n{said}\n"));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn keys() {
    insta::assert_snapshot!(refused(&[
        ("address is no prefix", "address = \"example.org\""),
        ("prefix too short", "address = \"198.18.0.0/15\""),
        ("IPv6 prefix too short", "address = \"2001:db8::/63\""),
        ("prefix with nat", "mode = \"nat\"\naddress = \"192.0.2.0/24\""),
        ("prefix of multicast", "address = \"224.0.0.0/16\""),
        ("prefix with broadcast", "address = \"255.255.0.0/16\""),
        ("multicast", "address = \"224.0.0.1\""),
        ("loopback", "address = \"127.0.0.1\""),
        ("unspecified", "address = \"::\""),
        ("broadcast", "address = \"255.255.255.255\""),
        ("IPv6 of one link", "address = \"fe80::10\""),
        ("IPv4 inside IPv6", "address = \"::ffff:192.0.2.10\""),
        ("in this network", "address = \"0.1.2.3\""),
        ("reserved", "address = \"240.0.0.1\""),
        ("no address", "address = []"),
        ("no protocol", "protocol = []"),
        ("no port", "port = []"),
        ("no client", "source = []"),
        ("mode of IPVS", "mode = \"dr\""),
        ("mode of a tunnel", "mode = \"tunnel\""),
        ("mode of keepalived", "mode = \"MASQ\""),
        ("encapsulation as mode", "mode = \"gue\""),
        ("address twice", "address = [\"192.0.2.1\", \"192.0.2.1\"]"),
        ("protocol", "protocol = \"icmp\""),
        ("quic", "protocol = \"quic\""),
        ("port", "port = 65536"),
        ("files is no array", "files = \"lists/web.backends\""),
        ("mode", "mode = \"fullnat\""),
        ("encapsulation", "encapsulation = \"vxlan\""),
        ("encapsulation without dsr", "mode = \"l2dsr\"\nencapsulation = \"ipip\""),
        ("gue_port without gue", "gue_port = 6080"),
        ("gue_port 0", "encapsulation = \"gue\"\ngue_port = 0"),
        ("hash", "hash = \"random\""),
        ("affinity without hash", "affinity = \"3h\""),
        ("affinity too long", "hash = \"source\"\naffinity = \"25h\""),
        (
            "affinity, and nothing is tracked",
            "hash = \"source\"\naffinity = \"3h\"\ntracking = \"none\""
        ),
        ("tracking", "tracking = true"),
        ("udp_timeout", "protocol = \"udp\"\nudp_timeout = \"0s\""),
        ("fragments are not tracked", "fragments = \"track\""),
        ("fragments", "fragments = \"pass\""),
        ("too_big", "too_big = \"pass\""),
        ("mtu", "mtu = 576"),
        ("no_backend", "no_backend = \"refuse\""),
        ("echo", "echo = \"drop\""),
        ("panic", "panic = 101"),
        ("table", "table = 1000"),
        ("table is no number", "table = \"large\""),
        ("unknown key", "no_backends = \"drop\""),
    ]));
}

#[test]
fn backends() {
    let of = |keys: &[&str]| keys.iter().map(|keys| backend(keys)).collect::<String>();
    let with = |keys: &str, backends: &[&str]| format!("{keys}\n{}", of(backends));
    let cases: Vec<(&str, String)> = vec![
        ("no address", of(&["name = \"a\""])),
        ("address is a prefix", of(&["address = \"10.0.0.0/24\""])),
        ("multicast", of(&["address = \"224.0.0.1\""])),
        ("name", of(&["address = \"10.0.0.1\"\nname = \"a b\""])),
        (
            "name twice",
            of(&["address = \"10.0.0.1\"\nname = \"a\"", "address = \"10.0.0.2\"\nname = \"a\""]),
        ),
        (
            "backend twice",
            of(&["address = \"10.0.0.1\"\nname = \"a\"", "address = \"10.0.0.1\"\nname = \"b\""]),
        ),
        ("weight", of(&["address = \"10.0.0.1\"\nweight = 0"])),
        ("weight too large", of(&["address = \"10.0.0.1\"\nweight = 65536"])),
        ("state", of(&["address = \"10.0.0.1\"\nstate = \"draining\""])),
        ("server_id", of(&["address = \"10.0.0.1\"\nserver_id = 1022"])),
        ("of one link", with("address = \"2001:db8::10\"", &["address = \"fe80::1\""])),
        ("in this network", of(&["address = \"0.0.0.1\""])),
        ("reserved", of(&["address = \"250.0.0.1\""])),
        ("port with dsr", of(&["address = \"10.0.0.1\"\nport = 8080"])),
        ("port with l2dsr", with("mode = \"l2dsr\"", &["address = \"10.0.0.1\"\nport = 8080"])),
        ("port 0", with("mode = \"nat\"", &["address = \"10.0.0.1\"\nport = 0"])),
        (
            "port with sctp",
            with("mode = \"nat\"\nprotocol = \"sctp\"", &["address = \"10.0.0.1\"\nport = 8080"]),
        ),
        (
            "port and several ports",
            with("mode = \"nat\"\nport = [80, 443]", &["address = \"10.0.0.1\"\nport = 8080"]),
        ),
        (
            "port and every port",
            with("mode = \"nat\"\nport = none", &["address = \"10.0.0.1\"\nport = 8080"]),
        ),
        ("IPv6 in IPv4", with("address = \"2001:db8::10\"", &["address = \"10.0.0.1\""])),
        (
            "families in nat",
            with("mode = \"nat\"\naddress = \"2001:db8::10\"", &["address = \"10.0.0.1\""]),
        ),
        (
            "families in l2dsr",
            with(
                "mode = \"l2dsr\"\naddress = [\"192.0.2.1\", \"2001:db8::10\"]",
                &["address = \"10.0.0.1\""],
            ),
        ),
        (
            "two addresses in nat",
            with(
                "mode = \"nat\"\naddress = [\"192.0.2.1\", \"192.0.2.2\"]",
                &["address = \"10.0.0.1\""],
            ),
        ),
        ("own address", of(&["address = \"192.0.2.10\""])),
        (
            "families of source",
            with(
                "address = \"2001:db8::10\"\nsource = \"198.51.100.0/24\"",
                &["address = \"2001:db8::1\""],
            ),
        ),
        (
            "room in a tunnel",
            with(
                "address = \"2001:db8::10\"\nencapsulation = \"gue\"\nmtu = 1300",
                &["address = \"2001:db8:1::1\""],
            ),
        ),
        (
            "weights",
            with(
                "table = 251",
                &["address = \"10.0.0.1\"\nweight = 1", "address = \"10.0.0.2\"\nweight = 300"],
            ),
        ),
        (
            "weights beyond every table",
            of(&[
                "address = \"10.0.0.1\"\nweight = 1",
                "address = \"10.0.0.2\"\nweight = 65535",
                "address = \"10.0.0.3\"\nweight = 65535",
                "address = \"10.0.0.4\"\nweight = 65535",
            ]),
        ),
    ];
    let cases: Vec<(&str, &str)> = cases.iter().map(|(title, keys)| (*title, &**keys)).collect();
    let none = Setup::new(&[]).said(seeded(
        "[[service]]\nname = \"web\"\naddress = \"192.0.2.10\"\nprotocol = \"tcp\"\nmode = \"dsr\"\n",
    ));
    insta::assert_snapshot!(format!("{}## no backend\n{none}", refused(&cases)));
}

/// Two services that want the same packets, or the same replies.
#[test]
fn collisions() {
    let two = |first: &str, second: &str| {
        let mut text = service("a", first);
        // Its own backend, since nat has one service for each.
        let second = match second.contains("[[service.backend]]") {
            true => second.to_owned(),
            false => format!("{second}\n{}", backend("address = \"10.0.0.2\"")),
        };
        text.push_str(&service("b", &second));
        text
    };
    let nat = |keys: &str, backends: &str| format!("mode = \"nat\"\n{keys}\n{}", backend(backends));
    let other = "address = \"192.0.2.20\"";
    let cases = [
        ("the same", two("", "")),
        ("a port of several", two("port = [80, 443]", "port = \"400-500\"")),
        ("every port", two("port = none", "port = none")),
        ("a protocol of several", two("protocol = [\"tcp\", \"udp\"]", "protocol = \"udp\"")),
        (
            "the same prefix",
            two("address = \"192.0.2.0/24\"", "address = [\"192.0.2.0/24\", \"192.0.2.10\"]"),
        ),
        ("behind all clients", two("", "source = \"198.51.100.0/24\"")),
        ("the same clients", two("source = \"198.51.100.0/24\"", "source = \"198.51.100.0/24\"")),
        (
            "clients of others",
            two("source = \"198.51.0.0/16\"", "source = [\"198.51.100.0/24\", \"198.51.7.7\"]"),
        ),
        (
            "some clients of another",
            two("source = \"198.51.0.0/16\"", "source = [\"198.51.100.0/24\", \"203.0.113.0/24\"]"),
        ),
        (
            "a backend at another's address",
            two("", &format!("{other}\n{}", backend("address = \"192.0.2.10\""))),
        ),
        ("replies", two("mode = \"nat\"", &nat(other, "address = \"10.0.0.1\""))),
        (
            "replies of a port",
            two("mode = \"nat\"\nport = 8080", &nat(other, "address = \"10.0.0.1\"\nport = 8080")),
        ),
        (
            "replies of every port",
            two("mode = \"nat\"\nport = none", &nat(other, "address = \"10.0.0.1\"\nport = 8080")),
        ),
        (
            "replies of a range",
            two(
                "mode = \"nat\"\nport = \"8000-8099\"",
                &nat(other, "address = \"10.0.0.1\"\nport = 8080"),
            ),
        ),
        (
            "replies of one service",
            service(
                "a",
                &format!(
                    "mode = \"nat\"\n{}{}",
                    backend("address = \"10.0.0.1\"\nname = \"x\""),
                    backend("address = \"10.0.0.1\"\nport = 80")
                ),
            ),
        ),
        (
            "nine for one destination",
            (0..9)
                .map(|n| service(&format!("s{n}"), &format!("source = \"198.51.{n}.0/24\"")))
                .collect(),
        ),
        ("too many destinations", service("a", "port = \"1-65535\"")),
        ("too many replies", {
            let backends = (0..17).map(|n| backend(&format!("address = \"10.0.0.{n}\"")));
            let backends: String = backends.collect();
            service("a", &format!("mode = \"nat\"\nport = \"1-16000\"\n{backends}"))
        }),
    ];
    insta::assert_snapshot!(said(&cases));
}

/// What shares something, and is told apart all the same.
#[test]
fn no_collisions() {
    let nat = "mode = \"nat\"";
    let cases = [
        [service("a", ""), service("b", "port = 443")],
        [service("a", ""), service("b", "port = none")],
        [service("a", "port = \"0-65535\""), service("b", "")],
        [service("a", ""), service("b", "protocol = \"udp\"")],
        [service("a", "source = \"198.51.100.0/24\""), service("b", "")],
        [service("a", "source = \"198.51.100.0/24\""), service("b", "source = \"198.51.0.0/16\"")],
        [service("a", "address = \"192.0.2.0/24\""), service("b", "")],
        [service("a", "address = \"192.0.0.0/16\""), service("b", "address = \"192.0.2.0/24\"")],
        [service("a", nat), service("b", "address = \"192.0.2.20\"")],
        [service("a", nat), service("b", &format!("{nat}\nport = 443"))],
        [
            service("a", &format!("{nat}\n{}", backend("address = \"10.0.0.1\"\nport = 8080"))),
            service("b", &format!("{nat}\nport = 8081")),
        ],
        [
            service("a", nat),
            service("b", &format!("{nat}\naddress = \"192.0.2.20\"\nprotocol = \"udp\"")),
        ],
        [
            service(
                "a",
                &format!(
                    "{nat}\nprotocol = \"sctp\"\n{}",
                    backend("address = \"10.0.0.1\"\nport = 80")
                ),
            ),
            service("b", nat),
        ],
    ];
    let setup = Setup::new(&[]);
    for services in cases {
        let text = services.concat();
        assert_eq!(setup.said(seeded(&text)), "", "{text}");
    }
}

#[test]
fn warnings() {
    let setup = Setup::new(&[]);
    let seedless = service("web", "");
    let passed = format!("policy.fragments = \"pass\"\n{}", seeded(&service("web", "")));
    let (seedless, passed) = (setup.said(seedless), setup.said(passed));
    let many: String = (0..3).map(|n| backend(&format!("address = \"10.0.0.{n}\""))).collect();
    let nat =
        format!("mode = \"nat\"\nsource = \"10.0.0.0/8\"\n{}", backend("address = \"10.0.0.1\""));
    let state = |state: &str| backend(&format!("address = \"10.0.0.1\"\nstate = \"{state}\""));
    let rest = said(&[
        ("few places", service("web", &format!("table = 251\n{many}"))),
        ("client's side", service("web", &nat)),
        ("none is up", service("web", &state("down"))),
        (
            "drain",
            service(
                "web",
                &format!(
                    "tracking = \"none\"\n{}{}",
                    state("drain"),
                    backend("address = \"10.0.0.2\"")
                ),
            ),
        ),
        ("udp_timeout of tcp", service("web", "udp_timeout = \"10s\"")),
        ("panic without a check", service("web", "panic = 50")),
        ("mtu of l2dsr", service("web", "mode = \"l2dsr\"\nmtu = 1500")),
        (
            "too_big of l2dsr",
            service(
                "web",
                "mode = \"l2dsr\"\ntoo_big = \"drop\"\n[[service.backend]]\naddress = \"10.0.0.1\"\n\
                 next_hop = \"02:00:00:00:00:01\"",
            ),
        ),
        (
            "udp_timeout of nothing",
            service("web", "protocol = \"udp\"\ntracking = \"none\"\nudp_timeout = \"10s\""),
        ),
    ]);
    assert!(!rest.contains("error: "), "{rest}");
    let settings =
        "seed = \"lq2ZzA0T6m3WkYcB\"\ntracking = \"none\"\nconnections = 65536\nhistory = \"2h\"";
    let settings = setup.said(format!("[services]\n{settings}\n{}", service("web", "")));
    insta::assert_snapshot!(format!(
        "## no seed\n{seedless}\n## fragments\n{passed}\n## settings\n{settings}\n{rest}"
    ));
}

#[test]
fn more_than_fits_is_refused() {
    let said = |text: String| Setup::new(&[]).said(seeded(&text)).replace("DIR/x.toml", "x");
    let services: String = (0..4097u32)
        .map(|n| {
            let address = std::net::Ipv4Addr::from_bits(0xc612_0000 + n);
            service(&format!("s{n}"), &format!("address = \"{address}\""))
        })
        .collect();
    let said_of_services = said(services);
    assert!(said_of_services.contains("4097 services, 4096 are the most"), "{said_of_services}");
    assert_eq!(said_of_services.matches("error: ").count(), 1, "{said_of_services}");
    let backends: String = (0..65_536u32)
        .map(|n| {
            backend(&format!("address = \"{}\"", std::net::Ipv4Addr::from_bits(0x0a00_0000 + n)))
        })
        .collect();
    let said_of_backends = said(service("web", &backends));
    let most = "65536 backends, 65535 are the most";
    assert!(said_of_backends.contains(most), "{said_of_backends}");
}

/// Every key, and what is chosen for those that are left out.
#[test]
fn every_key_is_read() {
    let text = "\
        [services]\n\
        seed = \"b3duIHNlZWQgb2YgdGVzdHM=\"\n\
        tracking = \"all\"\n\
        connections = 65536\n\
        history = \"90m\"\n\
        [[service]]\n\
        name = \"web\"\n\
        address = \"192.0.2.10\"\n\
        protocol = \"udp\"\n\
        port = \"0-65535\"\n\
        mode = \"dsr\"\n\
        hash = \"source\"\n\
        affinity = \"3h\"\n\
        udp_timeout = \"1m 30s\"\n\
        fragments = \"drop\"\n\
        too_big = \"drop\"\n\
        no_backend = \"reject\"\n\
        echo = \"reply\"\n\
        panic = 50\n\
        [service.check]\n\
        type = \"icmp\"\n\
        [[service.backend]]\n\
        address = \"10.0.0.1\"\n\
        [[service.backend]]\n\
        address = \"10.0.0.2\"\n\
        state = \"drain\"\n\
        weight = 3\n\
        next_hop = \"02:00:00:00:00:01\"\n\
        [[service]]\n\
        name = \"dns\"\n\
        address = \"192.0.2.11\"\n\
        protocol = \"tcp\"\n\
        tracking = \"none\"\n\
        mode = \"dsr\"\n\
        [[service.backend]]\n\
        address = \"10.0.0.1\"\n";
    let ruleset = super::ruleset(text);
    let Settings { tracking, connections, history, .. } = &ruleset.service_settings;
    let settings = (*tracking, *connections, *history);
    assert_eq!(settings, (Tracking::All, 65_536, Duration::from_secs(5400)));
    let [web, dns] = &ruleset.services[..] else { panic!("two services") };
    let Service { ports, tracking, affinity, udp_timeout, too_big, .. } = web;
    assert_eq!((ports, *tracking), (&None, Tracking::All));
    assert_eq!(*affinity, Some(Duration::from_secs(10_800)));
    assert_eq!((*udp_timeout, *too_big), (Duration::from_secs(90), TooBig::Drop));
    assert_eq!((web.no_backend, web.echo, web.panic), (NoBackend::Reject, Echo::Reply, 50));
    let drained = &web.backends[1];
    assert_eq!((drained.state, drained.weight), (State::Drain, 3));
    assert_eq!(drained.next_hop, Some(NextHop::Mac([2, 0, 0, 0, 0, 1])));
    assert_eq!((dns.tracking, dns.affinity, dns.udp_timeout), (Tracking::None, None, UDP_TIMEOUT));
    assert_eq!((dns.no_backend, dns.echo, dns.panic), (NoBackend::Drop, Echo::Pass, 0));
    assert_eq!((dns.too_big, dns.table), (TooBig::Icmp, 4093));
}

/// What is left of a prefix without its host bits is another than the one that is written.
#[test]
fn host_bits_of_a_tunnels_source_are_warned_of() {
    let source = "services.tunnel_source = [\"10.0.0.1/8\", \"2001:db8::1/64\"]\n";
    let said = Setup::new(&[]).said(source);
    assert_eq!(said.matches("warning: ").count(), 2, "{said}");
    assert_eq!(said.matches("error: ").count(), 0, "{said}");
    for (written, taken) in [("10.0.0.1/8", "10.0.0.0/8"), ("2001:db8::1/64", "2001:db8::/64")] {
        let expected = format!("{written:?} has bits set beyond its length (taken as {taken})\n");
        assert!(said.contains(&expected), "{said}");
    }
}

/// Where a weight is too small, the one in the hint is accepted, and the one below it is not.
#[test]
fn the_weight_that_a_hint_names_is_enough() {
    let setup = Setup::new(&[]);
    let said = |table: u32, weights: &[u32]| {
        let backends = weights.iter().enumerate().map(|(number, weight)| {
            backend(&format!("address = \"10.0.0.{number}\"\nweight = {weight}"))
        });
        let backends: String = backends.collect();
        setup.said(seeded(&service("web", &format!("table = {table}\n{backends}"))))
    };
    for (table, weights) in [
        (251, &[1, 300][..]),
        (251, &[1, 500]),
        (251, &[1, 502]),
        (251, &[3, 65_535]),
        (251, &[1, 1, 1, 600]),
        (251, &[1, 2, 3, 600, 600]),
        (131_071, &[1, 65_535, 65_535, 65_535]),
    ] {
        let refused = said(table, weights);
        let (_, hint) = refused.split_once(" a weight of ").expect("a hint");
        let least = hint.split_once(' ').and_then(|(least, _)| least.parse::<u32>().ok());
        let raised =
            |least: u32| -> Vec<u32> { weights.iter().map(|weight| *weight.max(&least)).collect() };
        let least = least.expect("a weight");
        let after = said(table, &raised(least));
        assert!(!after.contains("error: "), "{table} {weights:?}: {refused}{after}");
        let below = said(table, &raised(least - 1));
        assert!(below.contains("is less than one of"), "{table} {weights:?}: {refused}{below}");
    }
}

/// What cannot be read of one address hides nothing of the others.
#[test]
fn all_mistakes_in_addresses_are_told() {
    let addresses =
        "address = [\"x\", 5, \"224.0.0.1\", \"10.0.0.0/8\", \"192.0.2.1\", \"192.0.2.1\"]";
    let said = Setup::new(&[]).said(seeded(&service("web", addresses)));
    assert_eq!(said.matches("error: ").count(), 5, "{said}");
    for expected in
        ["\"x\" is not a prefix", "such as \"192.0.2.10\"", "224.0.0.1 is", "short", "twice"]
    {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

/// The hint on a value that is no array of tables is what makes it one, and no other mistake is told.
#[test]
fn a_backend_without_its_brackets() {
    let rest = "[[service]]\nname = \"web\"\naddress = \"192.0.2.10\"\nprotocol = \"tcp\"\nmode = \"nat\"\n";
    for backend in
        ["[service.backend]\naddress = \"10.0.0.1\"\n", "backend = 1\n", "backend = [1]\n"]
    {
        let said = Setup::new(&[]).said(seeded(&format!("{rest}{backend}")));
        assert_eq!(said.matches("error: ").count(), 1, "{said}");
        assert!(said.contains("(write [[service.backend]], and its keys below)"), "{said}");
    }
    let said = Setup::new(&[]).said(seeded(&format!("{rest}backend = []\n")));
    assert!(said.contains("neither backends nor files"), "{said}");
}

/// A weight that needs a larger table gets one.
#[test]
fn the_table_grows_with_the_weights() {
    let backends = backend("address = \"10.0.0.1\"\nweight = 1")
        + &backend("address = \"10.0.0.2\"\nweight = 10000");
    let ruleset = super::ruleset(&seeded(&service("web", &backends)));
    assert_eq!(ruleset.services[0].table, 16_381);
}

/// A service without tables of backends.
const OF_FILES: &str = "services.seed = \"b3duIHNlZWQgb2YgdGVzdHM=\"\n[[service]]\nname = \"web\"\n\
    address = \"192.0.2.10\"\nprotocol = \"tcp\"\nport = 80\nmode = \"nat\"\n\
    files = [\"lists/web.backends\"]\n";

#[test]
fn backends_come_from_files() {
    let packed = {
        use std::io::Write as _;
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packer.write_all(b"10.0.0.9 name=nine\n").unwrap();
        packer.finish().unwrap()
    };
    let setup = Setup::new(&[
        ("lists/web.backends", b"# the web\r\n10.0.0.1 8080 weight=2\r\n10.0.0.2 state=drain\r\n"),
        ("lists/packed", &packed),
    ]);
    std::os::unix::fs::symlink("web.backends", setup.path().join("lists/link")).unwrap();
    let text = OF_FILES.replace(".backends\"]", ".backends\", \"lists/packed\"]")
        + &backend("address = \"10.0.0.3\"");
    // Another service with the same file, by another name.
    let text = text
        + &OF_FILES[OF_FILES.find('[').unwrap()..]
            .replace("\"web\"", "\"other\"")
            .replace("\"nat\"", "\"dsr\"")
            .replace("192.0.2.10", "192.0.2.20")
            .replace("lists/web.backends", "lists/packed");
    assert_eq!(setup.said(&text), "");
    let ruleset = setup.load(&text).ruleset.unwrap();
    let shown = |service: &Service| -> Vec<String> {
        let one = |it: &crate::ruleset::services::Backend| {
            format!("{} {} {} {}:{}", it.name, it.weight, it.state.as_str(), it.file, it.line)
        };
        service.backends.iter().map(one).collect()
    };
    let [web, other] = &ruleset.services[..] else { panic!("two services") };
    let expected =
        ["10.0.0.3 1 up 0:9", "10.0.0.1:8080 2 up 1:2", "10.0.0.2 1 drain 1:3", "nine 1 up 2:1"];
    assert_eq!(shown(web), expected);
    assert_eq!(shown(other), ["nine 1 up 2:1"]);
    let files: Vec<_> =
        ["x.toml", "lists/web.backends", "lists/packed"].map(|name| setup.path().join(name)).into();
    assert_eq!((ruleset.files, ruleset.configurations), (files, 1));
    // A link is the file that it leads to.
    let twice = text.replacen("\"lists/packed\"", "\"lists/link\"", 1);
    let said = setup.said(twice);
    assert!(said.contains("the file \"lists/link\" is named twice"), "{said}");
}

#[test]
fn files_of_backends_with_mistakes() {
    let many: String = (0..65_536u32)
        .map(|n| format!("{}\n", std::net::Ipv4Addr::from_bits(0x0a00_0000 + n)))
        .collect();
    let unreadable = "x\n".repeat(30);
    let cases: [(&str, &str, &[u8]); 9] = [
        ("missing", "", b""),
        ("empty", "web.backends", b"# none\n"),
        ("no text of lines", "web.backends", b"<html>"),
        ("lines", "web.backends", b"10.0.0.1\n10.0.0.2 http\n10.0.0.3 weight=x\n"),
        ("many lines", "web.backends", unreadable.as_bytes()),
        ("unfit", "web.backends", b"127.0.0.1\n"),
        ("twice", "web.backends", b"10.0.0.1\n10.0.0.1 weight=2 name=b\n"),
        ("a family", "web.backends", b"10.0.0.1\n  2001:db8::1 name=six\n"),
        ("too many", "web.backends", many.as_bytes()),
    ];
    let mut all = String::new();
    for (title, name, content) in cases {
        let path = format!("lists/{name}");
        let setup = match name {
            "" => Setup::new(&[]),
            _ => Setup::new(&[(&path, content)]),
        };
        let said = setup.said(OF_FILES);
        assert!(said.contains("error: "), "{title}: {said}");
        all.push_str(&format!("## {title}\n{said}\n"));
    }
    // Beside one in the configuration.
    let setup = Setup::new(&[("lists/web.backends", b"10.0.0.1 name=a\n")]);
    let own = backend("address = \"10.0.0.2\"\nname = \"a\"");
    all.push_str(&format!("## name taken\n{}\n", setup.said(OF_FILES.to_owned() + &own)));
    let twice = OF_FILES.replace("s\"]", "s\", \"\"]");
    all.push_str(&format!("## no path\n{}\n", setup.said(twice)));
    insta::assert_snapshot!(all);
}

/// All frames would go to that one address, whichever backend is chosen.
#[test]
fn one_address_for_all_backends_of_l2dsr() {
    let setup = Setup::new(&[]);
    let web = |rest: &str| {
        let next_hop = "services.next_hop = \"02:00:00:00:00:01\"\n";
        let backend = backend(&format!("address = \"192.0.2.11\"\n{rest}"));
        let service = service("web", &format!("mode = \"l2dsr\"\n{backend}"));
        setup.said(format!("{next_hop}{}", seeded(&service)))
    };
    let said = web("");
    assert!(said.contains("mode = \"l2dsr\" with the MAC address of [services]"), "{said}");
    assert_eq!(web("next_hop = \"02:00:00:00:00:02\""), "");
    assert_eq!(web("next_hop = \"route\""), "");
}
