//! The configurations in `configs/`: each loads without a word, and the three to start from do to
//! packets what they say. Judged on the host, by the code that runs in the kernel.

mod lab;

use std::fs;
use std::path::{Path, PathBuf};

use lab::dns::{A, AAAA, ANY, Edns, NS, TXT, query};
use lab::frame::{
    ACK, Frame, RST, SYN, arp_request, ethernet, icmp4, icmp6, other4, tcp4, tcp6, udp4, udp6,
};
use xdp_common::filter::dynamic::NoEntries;
use xdp_common::filter::replies::state;
use xdp_common::packet::LinkType;
use xdp_common::stats::counter::CounterId;
use xdp_common::stats::verdict::Verdict;
use xdpctl::config;
use xdpctl::image::Image;
use xdpctl::image::metadata::Metadata;
use xdpctl::judgement::judge_beside;
use xdpctl::judgement::sockets::{Socket, Sockets};

fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let mut found: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a folder can be read to its end").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    found.sort();
    found
}

#[test]
fn each_loads_without_errors_or_warnings() {
    for path in examples() {
        let mut loaded = config::load(&path);
        // Whoever copies one with services is told to write a seed of their own.
        loaded.diagnostics.warnings.retain(|it| !it.message.contains("the seed of an example"));
        assert!(
            loaded.diagnostics.errors.is_empty() && loaded.diagnostics.warnings.is_empty(),
            "{}: {:#?}",
            path.display(),
            loaded.diagnostics
        );
        assert!(loaded.ruleset.is_some(), "{} gave no ruleset", path.display());
    }
}

#[test]
fn the_three_to_start_from_are_there() {
    let names: Vec<_> =
        examples().iter().filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect();
    for name in ["edge", "host", "lab"] {
        assert!(names.iter().any(|found| found == name), "configs/{name}.toml is not in {names:?}");
    }
}

/// A list file that no example names is not checked by anything.
#[test]
fn every_list_file_is_named_by_one() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let texts: String = examples()
        .iter()
        .map(|path| fs::read_to_string(path).expect("an example is text"))
        .collect();
    for entry in fs::read_dir(folder.join("lists")).expect("configs/lists is there") {
        let name = entry.expect("a folder can be read to its end").file_name();
        let named = format!("lists/{}", name.to_string_lossy());
        assert!(texts.contains(&named), "no example names {named}");
    }
}

/// A compiled example.
struct Example {
    image: Image,
    metadata: Metadata,
    sockets: Sockets,
}

impl Example {
    fn load(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs").join(name);
        let ruleset = config::load(&path).ruleset.expect("it loads, see above");
        let metadata = Metadata::unbound(&ruleset);
        let image = Image::build(&ruleset, 1, &metadata).expect("it fits");
        Self { image, metadata, sockets: Sockets::default() }
    }

    /// The verdict, and the name of the rule or list that it is counted to; else the reason.
    fn judged(&self, frame: &Frame) -> (Verdict, &str) {
        let bytes = frame.build();
        let (image, sockets) = (&self.image, &self.sockets);
        let judged = judge_beside(image, &NoEntries, sockets, LinkType::Ethernet, &bytes);
        let list = if judged.domain == CounterId::NONE { judged.list } else { judged.domain };
        let counter = judged.action.map_or(list, |action| CounterId(action.counter));
        let named = self.metadata.counted.iter().find(|c| CounterId::new(c.number) == counter);
        (judged.verdict, named.map_or(judged.reason.as_str(), |c| c.name.as_str()))
    }

    #[track_caller]
    fn check(&self, rows: &[(&str, Frame, Verdict, &str)]) {
        for (what, frame, verdict, by) in rows {
            assert_eq!(self.judged(frame), (*verdict, *by), "{what}");
        }
    }
}

#[test]
fn the_host_keeps_its_services_its_answers_and_its_neighbours() {
    use Verdict::{Drop, Pass};
    const ME: &str = "192.0.2.80";
    const ME6: &str = "2001:db8:5::80";
    const ELSE: &str = "192.0.2.200";
    const ELSE6: &str = "2001:db8:9::1";
    let own = |port| format!("{ME}:{port}").parse().expect("an address");
    let https = format!("{ELSE}:443").parse().expect("an address");
    let sockets = vec![
        Socket { is_tcp: true, own: own(40_000), peer: Some(https), state: state::SYN_SENT },
        Socket { is_tcp: false, own: own(45_000), peer: None, state: state::CLOSE },
        Socket { is_tcp: false, own: own(3_000), peer: None, state: state::CLOSE },
    ];
    let asking = Sockets { are_known: true, sockets, sent: None };
    Example { sockets: asking, ..Example::load("host.toml") }.check(&[
        ("management", tcp4("198.51.100.17", ME, 40000, 22).flags(SYN), Pass, "management"),
        (
            "management, IPv6",
            tcp6("2001:db8:100::7", ME6, 40000, 22).flags(SYN),
            Pass,
            "management",
        ),
        // Whoever tries it is not cut off.
        ("SSH from elsewhere", tcp4(ELSE, ME, 40000, 22).flags(SYN), Pass, "ssh"),
        ("SSH from elsewhere, IPv6", tcp6(ELSE6, ME6, 40000, 22).flags(SYN), Pass, "ssh"),
        ("in a session", tcp4(ELSE, ME, 40000, 22).flags(ACK), Pass, "ssh"),
        ("a tunnel", udp4(ELSE, ME, 40000, 4500), Pass, "tunnels"),
        ("web", tcp4(ELSE, ME, 40000, 443).flags(SYN), Pass, "web"),
        ("HTTP/3", udp6(ELSE6, ME6, 40000, 443), Pass, "http3"),
        ("a port that is not served", tcp4(ELSE, ME, 40000, 3306).flags(SYN), Drop, "default"),
        ("an answer to a connection", tcp4(ELSE, ME, 443, 40000).flags(SYN | ACK), Pass, "reply"),
        ("a refusal of one", tcp4(ELSE, ME, 443, 40000).flags(RST | ACK), Pass, "reply"),
        ("an answer to nothing", tcp4(ELSE, ME, 443, 40001).flags(SYN | ACK), Drop, "default"),
        ("an answer of DNS", udp4(ELSE, ME, 53, 45000), Pass, "reply"),
        ("a service at another port", udp4(ELSE, ME, 53, 3000), Drop, "default"),
        ("a second part of it", udp4(ELSE, ME, 53, 45000).fragment(185, false), Drop, "default"),
        ("an answer of NTP", udp4(ELSE, ME, 123, 123), Pass, "ntp-answers"),
        ("a question of NTP", udp4(ELSE, ME, 40000, 123), Drop, "default"),
        ("DHCP", udp4("192.0.2.1", "255.255.255.255", 67, 68), Pass, "dhcp"),
        ("DHCPv6", udp6("fe80::1", "fe80::2", 547, 546), Pass, "dhcpv6"),
        ("ping", icmp4(ELSE, ME, 8), Pass, "icmp"),
        ("ping, IPv6", icmp6(ELSE6, ME6, 128), Pass, "icmpv6"),
        ("an answer to a ping", icmp4(ELSE, ME, 0), Pass, "reply"),
        ("too big, about nothing", icmp6(ELSE6, ME6, 2), Drop, "default"),
        ("what is joined", other4("192.0.2.1", "224.0.0.1", 2), Pass, "igmp"),
        ("a tunnel of IPsec", other4(ELSE, ME, 50), Pass, "tunnels-esp"),
        ("a neighbour asks", icmp6("fe80::1", "ff02::1:ff00:80", 135), Pass, "icmpv6-neighbours"),
        ("an address is probed", icmp6("::", "ff02::1:ff00:80", 135), Pass, "icmpv6-neighbours"),
        ("a router tells", icmp6("fe80::1", "ff02::1", 134), Pass, "icmpv6-neighbours"),
        ("ARP", arp_request("192.0.2.1", ME), Pass, "arp"),
        ("listed", tcp4("203.0.113.7", ME, 40000, 443).flags(SYN), Drop, "firehol"),
        ("listed, IPv6", tcp6("2001:db8:bad::1", ME6, 40000, 443).flags(SYN), Drop, "firehol"),
        ("listed as text", udp4("203.0.113.40", ME, 40000, 443), Drop, "spamhaus"),
        ("listed as JSON", udp4("203.0.113.100", ME, 40000, 443), Drop, "spamhaus"),
        ("impossible", udp4("127.0.0.1", ME, 53, 45000), Drop, "bogons"),
        ("on trial", udp4("203.0.113.1", ME, 53, 45000), Pass, "on-trial"),
    ]);
}

#[test]
fn the_edge_counts_its_lists_and_hands_over_what_it_names() {
    use Verdict::{Drop, Pass, Redirect};
    const ELSE: &str = "192.0.2.200";
    const ELSE6: &str = "2001:db8:9::1";
    Example::load("edge.toml").check(&[
        ("upstream", udp4("192.0.2.1", "203.0.113.66", 1, 2), Pass, "upstream"),
        ("a list on trial", udp4("198.51.100.130", "203.0.113.1", 9, 9), Pass, "spamhaus"),
        ("quarantine", tcp4(ELSE, "203.0.113.66", 4000, 80), Drop, "quarantine"),
        ("quarantine, IPv6", tcp6(ELSE6, "2001:db8:c0de::66", 4000, 80), Drop, "quarantine"),
        ("a neighbour asks", icmp6("fe80::1", "ff02::1:ff00:53", 135), Pass, "icmpv6-neighbours"),
        ("reflection", udp4(ELSE, "203.0.113.9", 11211, 4000), Drop, "reflection"),
        ("DNS", udp4(ELSE, "203.0.113.53", 4000, 53), Redirect, "dns-inside"),
        ("DNS, IPv6", udp6(ELSE6, "2001:db8:c0de::53", 4000, 53), Redirect, "dns-inside"),
        ("web", tcp4(ELSE, "203.0.113.80", 4000, 443).flags(SYN), Redirect, "web-inside"),
        ("management", tcp4(ELSE, "192.0.2.10", 4000, 22).flags(SYN), Drop, "management"),
        ("the rest", tcp4(ELSE, "203.0.113.10", 4000, 25).flags(SYN), Pass, "default"),
        ("ARP", arp_request("192.0.2.1", "192.0.2.10"), Pass, "arp"),
    ]);
}

#[test]
fn the_lab_moves_only_what_it_names() {
    use Verdict::{Drop, Pass, Tx};
    const GENERATOR: lab::MacAddr = lab::MacAddr(2, 0, 0, 0, 0, 9);
    let generated = || udp4("192.0.2.20", "192.0.2.30", 1, 9001).source_mac(GENERATOR);
    Example::load("lab.toml").check(&[
        ("a known sender", arp_request("192.0.2.11", "192.0.2.1"), Pass, "arp"),
        ("another", arp_request("192.0.2.12", "192.0.2.1"), Drop, "arp"),
        ("console", tcp4("192.0.2.10", "192.0.2.1", 1, 2), Pass, "console"),
        ("storage", udp4("192.0.2.11", "192.0.2.1", 1, 2).vlan(300), Drop, "storage-vlan"),
        ("storage, not IP", ethernet(0x88a2, &[0; 46]).vlan(300), Drop, "storage-vlan"),
        ("generated", generated().vlan(100), Tx, "reflector"),
        ("generated, untagged", generated(), Drop, "default"),
        ("a neighbour asks", icmp6("::", "ff02::1:ff00:1", 135), Pass, "neighbours"),
        ("ping", icmp4("192.0.2.11", "192.0.2.1", 8), Pass, "ping"),
        ("ping, IPv6", icmp6("fe80::11", "fe80::1", 128), Pass, "ping6"),
        ("SSH", tcp4("192.0.2.11", "192.0.2.1", 4000, 22).flags(SYN), Pass, "bench"),
        (
            "SSH, tagged",
            tcp4("192.0.2.11", "192.0.2.1", 4000, 22).flags(SYN).vlan(100),
            Drop,
            "default",
        ),
        ("an answer", tcp4("192.0.2.11", "192.0.2.1", 22, 4000).flags(SYN | ACK), Pass, "answers"),
        ("a stray", udp4("198.51.100.1", "192.0.2.1", 1, 2), Drop, "strays"),
        ("anything else", udp4("192.0.2.11", "192.0.2.1", 1, 2), Drop, "default"),
    ]);
}

#[test]
fn the_resolver_answers_what_is_listed_and_resolves_the_rest() {
    use Verdict::{Drop, Pass, Tx};
    const ME: &str = "192.0.2.1";
    const ME6: &str = "2001:db8::1";
    const CLIENT: &str = "198.51.100.7";
    let asked = |name: &str, kind: u16| {
        udp4(CLIENT, ME, 40000, 53).payload(&query(name, kind).edns(Edns::default()).build())
    };
    let asked_v6 =
        |name: &str| udp6("2001:db8:9::1", ME6, 40000, 53).payload(&query(name, A).build());
    let told = |server: &str, name: &str| {
        udp4(server, ME, 53, 40000).payload(&query(name, A).answered().build())
    };
    Example::load("resolver.toml").check(&[
        ("a name", asked("www.example.org", A), Pass, "default"),
        ("the root", asked(".", NS), Pass, "default"),
        ("malware", asked("malware.example", A), Tx, "malware"),
        ("below it", asked("a.b.Malware.example", AAAA), Tx, "malware"),
        ("malware, IPv6", asked_v6("login.phishing.example"), Tx, "malware"),
        ("of a zone", asked("botnet.example", TXT), Tx, "malware"),
        ("an advertisement", asked("ads.example", A), Tx, "ads"),
        ("an exception", asked("safe.ads.example", A), Pass, "exceptions"),
        ("below an exception", asked("www.safe.ads.example", A), Pass, "exceptions"),
        ("onion", asked("xyz.onion", A), Tx, "special"),
        ("flooded", asked("x7f3.victim.example", A), Tx, "flooded"),
        ("ANY", asked("www.example.org", ANY), Tx, "any"),
        ("ANY of the root", asked(".", ANY), Tx, "any"),
        ("ANY of an advertisement", asked("ads.example", ANY), Tx, "ads"),
        ("the host's own name", asked("localhost", A), Pass, "default"),
        ("an answer", told("203.0.113.5", "www.example.org"), Pass, "default"),
        ("an answer for malware", told("203.0.113.5", "malware.example"), Drop, "malware"),
        ("the same by an upstream", told("192.0.2.53", "malware.example"), Pass, "upstream"),
        ("by TCP", tcp4(CLIENT, ME, 40000, 53).flags(SYN), Pass, "default"),
        ("by TLS", tcp4(CLIENT, ME, 40000, 853).flags(SYN), Pass, "default"),
        ("SSH", tcp4(CLIENT, ME, 40000, 22).flags(SYN), Pass, "default"),
        ("reflection", udp4("203.0.113.5", ME, 1900, 4000), Drop, "reflection"),
        (
            "a later fragment",
            told("203.0.113.5", "a.example").fragment(185, false),
            Pass,
            "default",
        ),
        ("a neighbour asks", icmp6("fe80::1", "ff02::1:ff00:1", 135), Pass, "default"),
        ("ARP", arp_request(CLIENT, ME), Pass, "arp"),
    ]);
}
