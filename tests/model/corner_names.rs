//! Single cases of domain names, as in `corner.rs`. The answers are written down byte by byte.

use super::config::{
    Action, Config, DomainAction, Domains, List, ListedName, Prefix, Protocol, Rule,
};
use super::corner::expect;
use super::judge::judge;
use super::product::Product;

const DEFAULT: (&str, &str, &str) = ("pass", "default", "");

/// A list of names as they are written.
fn list(name: &str, action: DomainAction, names: &[&str]) -> Domains {
    let listed = |written: &&str| {
        let (below_only, name) = match written.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, *written),
        };
        ListedName { labels: labels(name), below_only }
    };
    Domains {
        name: name.to_owned(),
        names: names.iter().map(listed).collect(),
        action: Some(action),
        ..Domains::default()
    }
}

fn labels(name: &str) -> Vec<Vec<u8>> {
    name.split('.').filter(|label| !label.is_empty()).map(|label| label.into()).collect()
}

fn lists(domains: impl Into<Vec<Domains>>) -> Config {
    Config { domains: domains.into(), ..Config::default() }
}

fn dropping(names: &[&str]) -> Config {
    lists([list("bad", DomainAction::Drop, names)])
}

const A: u16 = 1;
const AAAA: u16 = 28;
const ANY: u16 = 255;

/// Two bytes of flags, and the numbers of questions and of additional records.
const QUERY: [u8; 4] = [0x01, 0x10, 1, 0];
const ANSWER: [u8; 4] = [0x81, 0x80, 1, 0];
const WITH_OPT: [u8; 4] = [0x01, 0x10, 1, 1];

/// A message with a question, and what follows that.
fn message(
    [upper, lower, questions, additional]: [u8; 4],
    question: &[u8],
    rest: &[u8],
) -> Vec<u8> {
    let header = [0x12, 0x34, upper, lower, 0, questions, 0, 0, 0, 0, 0, additional];
    [&header[..], question, rest].concat()
}

fn question(name: &str, qtype: u16) -> Vec<u8> {
    let mut question = Vec::new();
    for label in labels(name) {
        question.push(label.len() as u8);
        question.extend(label);
    }
    question.push(0);
    question.extend(qtype.to_be_bytes());
    question.extend([0, 1]);
    question
}

/// The bytes of `aa:00…` from `bb:00…`, and an EtherType.
fn ethernet(ether_type: [u8; 2], packet: &[u8]) -> Vec<u8> {
    let macs = [[0xaa, 0, 0, 0, 0, 1], [0xbb, 0, 0, 0, 0, 2]].concat();
    [&macs[..], &ether_type, packet].concat()
}

fn udp(source: u16, destination: u16, message: &[u8]) -> Vec<u8> {
    let mut packet = source.to_be_bytes().to_vec();
    packet.extend(destination.to_be_bytes());
    packet.extend((8 + message.len() as u16).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(message);
    packet
}

/// From 10.0.0.1 to `destination`, DSCP 46 and ECN 1.
fn ipv4(destination: [u8; 4], udp: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0xb9];
    packet.extend((20 + udp.len() as u16).to_be_bytes());
    packet.extend([7, 7, 0, 0, 200, 17, 0, 0, 10, 0, 0, 1]);
    packet.extend(destination);
    packet.extend(udp);
    packet
}

const SERVER: [u8; 4] = [192, 0, 2, 53];

/// From 2001:db8::1 to 2001:db8::53, DSCP 46, ECN 1, with a flow label.
fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x6b, 0x91, 7, 7];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 200]);
    packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x53]);
    packet.extend(payload);
    packet
}

/// A query of `name` by that port of IPv4.
fn to_port(port: u16, name: &str, qtype: u16) -> Vec<u8> {
    let message = message(QUERY, &question(name, qtype), &[]);
    ethernet([8, 0], &ipv4(SERVER, &udp(40_000, port, &message)))
}

fn query(name: &str) -> Vec<u8> {
    to_port(53, name, A)
}

#[test]
fn which_names_an_entry_stands_for() {
    let by = ("drop", "domain", "bad");
    let config = dropping(&["example.org", "*.ads.example"]);
    let cases = [
        ("a name stands for itself", "example.org", by),
        ("and all below it", "a.b.example.org", by),
        ("without regard to case", "eXAMple.oRG", by),
        ("at label boundaries", "badexample.org", DEFAULT),
        ("at label boundaries", "org", DEFAULT),
        ("at label boundaries", "example.org.net", DEFAULT),
        ("\"*.\" only for those below", "ads.example", DEFAULT),
        ("\"*.\" only for those below", "x.ads.example", by),
    ];
    for (sentence, name, expected) in cases {
        expect(sentence, &config, &query(name), expected);
    }
    let mut dotted = query("xexample.org");
    // The first label of eight bytes: a dot in it is no boundary.
    dotted[55] = b'.';
    expect("at label boundaries", &config, &dotted, DEFAULT);

    let every = dropping(&["."]);
    for name in ["", "org", "a.b.c.d.e.f"] {
        expect("\".\" stands for every name", &every, &query(name), by);
    }
}

#[test]
fn which_list_of_names_decides() {
    let pass = DomainAction::Pass;
    let mut config = lists([
        list("wide", DomainAction::Drop, &["org"]),
        list("exception", pass, &["good.org"]),
        list("narrow", DomainAction::Drop, &["bad.good.org"]),
    ]);
    let by = |name| ("drop", "domain", name);
    expect("the most specific entry deciding", &config, &query("bad.good.org"), by("narrow"));
    expect("the most specific entry deciding", &config, &query("x.org"), by("wide"));
    let passed = ("pass", "default", "exception");
    expect("an exception: judgement goes on", &config, &query("x.good.org"), passed);
    config.rules.push(Rule::new("all", Action::Drop));
    let dropped = ("drop", "rule", "exception+all");
    expect("an exception: judgement goes on", &config, &query("x.good.org"), dropped);

    let config = lists([
        list("first", DomainAction::Drop, &["*.example.org"]),
        list("second", DomainAction::Drop, &["example.org"]),
    ]);
    expect("the list that comes first", &config, &query("x.example.org"), by("first"));
    expect("the list that comes first", &config, &query("example.org"), by("second"));

    let mut narrowed = list("types", DomainAction::Drop, &["www.example.org"]);
    narrowed.qtypes = vec![ANY, AAAA];
    let config = lists([narrowed, list("all", DomainAction::Drop, &["example.org"])]);
    let asks = |qtype| to_port(53, "www.example.org", qtype);
    expect("only these question types", &config, &asks(ANY), by("types"));
    expect("only these question types", &config, &asks(AAAA), by("types"));
    expect("the most specific that looks at it", &config, &asks(A), by("all"));
}

#[test]
fn where_names_come_in_the_order() {
    let mut config = dropping(&["example.org"]);
    config.rules.push(Rule::new("all", Action::Pass));
    let frame = query("example.org");
    expect("domains; rules", &config, &frame, ("drop", "domain", "bad"));
    let prefixes = vec![Prefix::new([10, 0, 0, 1].into(), 32)];
    let addresses = List { name: "addresses".into(), prefixes, ..List::default() };
    config.blocklists.push(addresses.clone());
    expect("blocklists; domains", &config, &frame, ("drop", "blocklist", "addresses"));
    config.blocklists[0].action = Some(super::config::ListAction::Count);
    let both = ("drop", "domain", "addresses+bad");
    expect("counted, and judgement goes on", &config, &frame, both);
    config.allowlists.push(addresses);
    config.blocklists.clear();
    config.allowlists[0].name = "allowed".into();
    expect("allowlists; domains", &config, &frame, ("pass", "allowlist", "allowed"));
}

#[test]
fn what_is_looked_into() {
    let config = dropping(&["example.org"]);
    let by = ("drop", "domain", "bad");
    let name = question("example.org", A);
    let frame = |kind, source, destination, to| {
        ethernet([8, 0], &ipv4(to, &udp(source, destination, &message(kind, &name, &[]))))
    };
    expect("queries by their question", &config, &frame(QUERY, 40_000, 53, SERVER), by);
    expect("answers by theirs", &config, &frame(ANSWER, 53, 40_000, SERVER), by);
    expect("on either side", &config, &frame(QUERY, 53, 53, SERVER), by);
    expect("from port 5353, a query", &config, &frame(QUERY, 5353, 40_000, SERVER), by);
    expect("to port 5353, a query", &config, &frame(QUERY, 40_000, 5353, SERVER), by);
    expect("where it is a query", &config, &frame(ANSWER, 5353, 40_000, SERVER), DEFAULT);
    let group = [224, 0, 0, 251];
    expect("where it is unicast", &config, &frame(QUERY, 5353, 5353, group), DEFAULT);
    expect("to or from port 53", &config, &frame(QUERY, 40_000, 53, group), by);
    expect("other ports", &config, &frame(QUERY, 40_000, 853, SERVER), DEFAULT);

    let mut other = frame(QUERY, 40_000, 53, SERVER);
    // Status (RFC 1035), notify (RFC 1996), update (RFC 2136).
    for opcode in [2, 4, 5] {
        other[44] = opcode << 3;
        expect("only standard queries", &config, &other, DEFAULT);
    }
    let mut tcp = frame(QUERY, 40_000, 53, SERVER);
    (tcp[23], tcp[46]) = (6, 0x50);
    expect("TCP port 53 is not looked into", &config, &tcp, DEFAULT);

    let mut rule = Rule::new("dns", Action::Drop);
    (rule.protocol, rule.destination_port) = (Some(Protocol::Udp), vec![(53, 53)]);
    let ruled = Config { rules: vec![rule], ..config };
    expect("rules see the rest", &ruled, &query("other.org"), ("drop", "rule", "dns"));
}

/// What both say of why a question cannot be read, after comparing verdict and reason.
fn unreadable(sentence: &str, config: &Config, frame: &[u8], expected: Option<&str>) {
    expect(sentence, config, frame, DEFAULT);
    let product = Product::load(config).unwrap_or_else(|error| panic!("{sentence}: {error}"));
    for (who, opinion) in [("model", judge(config, frame)), ("product", product.judge(frame))] {
        assert_eq!(opinion.unreadable, expected, "{who}: {sentence}");
    }
}

#[test]
fn questions_that_cannot_be_read() {
    let config = dropping(&["."]);
    let with = |message: &[u8]| ethernet([8, 0], &ipv4(SERVER, &udp(40_000, 53, message)));
    let asks = |question: &[u8]| with(&message(QUERY, question, &[]));
    let pointer = asks(&[3, b'w', b'w', b'w', 0xc0, 12, 0, 1, 0, 1]);
    unreadable("a compression pointer", &config, &pointer, Some("label"));
    for kind in [0x40, 0x80, 0x41, 0xbf] {
        unreadable("another type", &config, &asks(&[kind, 0, 0, 1, 0, 1]), Some("label"));
    }
    let org = question("org", A);
    let two = with(&message([1, 0, 2, 0], &org, &org));
    unreadable("more than one question", &config, &two, Some("questions"));
    let none = with(&message([1, 0, 0, 0], &[], &[]));
    unreadable("no question is no match, and can be read", &config, &none, None);
    for cut in 0..org.len() {
        unreadable("a cut length", &config, &asks(&org[..cut]), Some("length"));
    }
    for cut in 0..12 {
        unreadable("a cut header", &config, &with(&[0; 12][..cut]), Some("length"));
    }
    for (at, byte) in [(39, 7), (39, 200), (38, 1)] {
        let mut lying = asks(&org);
        lying[at] = byte;
        unreadable("a lying length", &config, &lying, Some("length"));
    }

    let long = |last: usize| {
        let labels = [vec![b'a'; 63], vec![b'b'; 63], vec![b'c'; 63], vec![b'd'; last]];
        let labels = labels.map(|label| String::from_utf8(label).unwrap());
        asks(&question(&labels.join("."), A))
    };
    let dropped = ("drop", "domain", "bad");
    expect("up to 255 bytes", &config, &long(61), dropped);
    unreadable("up to 255 bytes", &config, &long(62), Some("length"));
    unreadable("up to 255 bytes", &config, &long(63), Some("length"));
    let labels = |number: usize| asks(&question(&vec!["a"; number].join("."), A));
    expect("up to 127 labels", &config, &labels(127), dropped);
    unreadable("up to 127 labels", &config, &labels(128), Some("length"));
    // 254 bytes of labels, and no room for two more of a pointer.
    let mut past = asks(&question(&vec!["a"; 127].join("."), A));
    past[54 + 254] = 0xc0;
    unreadable("the first fault counts", &config, &past, Some("label"));
    let mut past = labels(128);
    past[54 + 256] = 0xc0;
    unreadable("the first fault counts", &config, &past, Some("length"));

    let mut first = asks(&org);
    (first[20], first[38]) = (0x20, 5);
    expect("a first fragment has the question", &config, &first, dropped);
    unreadable("without a list, nothing is read", &Config::default(), &pointer, None);
}

/// The frame that both make of a query for `example.org`: this one, in hexadecimal digits, behind
/// the MAC addresses; or none, and it is dropped.
fn answered(sentence: &str, action: DomainAction, frame: &[u8], expected: Option<&str>) {
    let config = lists([list("answered", action, &["example.org"])]);
    let verdict = if expected.is_some() { "tx" } else { "drop" };
    expect(sentence, &config, frame, (verdict, "domain", "answered"));
    let product = Product::load(&config).unwrap();
    for (who, opinion) in [("model", judge(&config, frame)), ("product", product.judge(frame))] {
        let Some(expected) = expected else {
            assert_eq!(opinion.answer, None, "{who}: {sentence}");
            continue;
        };
        let answer = opinion.answer.expect("an answer");
        let hex: String = answer.iter().map(|byte| format!("{byte:02x}")).collect();
        let macs = "bb0000000002aa0000000001";
        assert_eq!(hex, format!("{macs}{expected}"), "{who}: {sentence}");
    }
}

const NXDOMAIN: &str = "45b800390000400040116dc6c00002350a00000100359c400025771d\
    123481930001000000000000076558614d504c45036f724700001c0001";
const TRUNCATED: &str = "45b800390000400040116dc6c00002350a00000100359c4000257520\
    123483900001000000000000076558614d504c45036f724700001c0001";
const ADDRESSES: &str = "20010db800000000000000000000005320010db8000000000000000000000001";

#[test]
fn how_queries_are_answered() {
    let asked = question("eXaMPLE.orG", AAAA);
    let (nxdomain, truncate) = (DomainAction::Nxdomain, DomainAction::Truncate);
    let v4 = |kind, rest: &[u8]| ipv4(SERVER, &udp(40_000, 53, &message(kind, &asked, rest)));
    let plain = v4(QUERY, &[]);
    let on_v4 = format!("0800{NXDOMAIN}");
    answered("in place", nxdomain, &ethernet([8, 0], &plain), Some(&on_v4));
    let flagged = v4([0x07, 0x7f, 1, 0], &[]);
    answered("RD and CD are copied", nxdomain, &ethernet([8, 0], &flagged), Some(&on_v4));
    let tc = format!("0800{TRUNCATED}");
    answered("TC set", truncate, &ethernet([8, 0], &plain), Some(&tc));
    answered("TC set", DomainAction::Drop, &ethernet([8, 0], &plain), None);
    let behind = v4(QUERY, &[1, 2, 3, 4, 5]);
    answered("nothing else follows", nxdomain, &ethernet([8, 0], &behind), Some(&on_v4));

    // DO, a cookie and padding.
    let opt = [0, 0, 41, 16, 0, 0, 0, 0x80, 0x7f, 0, 16];
    let options = [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 12, 0, 0];
    let opt = [&opt[..], &options].concat();
    let v6 = |opt: &[u8]| ipv6(17, &udp(40_000, 53, &message(WITH_OPT, &asked, opt)));
    let refused = format!(
        "86dd6b80000000301140{ADDRESSES}00359c400030627b123481950001000000000001\
         076558614d504c45036f724700001c000100002904d0000080000000"
    );
    let refuse = DomainAction::Refuse;
    answered(
        "EDNS answered by RFC 6891",
        refuse,
        &ethernet([0x86, 0xdd], &v6(&opt)),
        Some(&refused),
    );
    let mut other = opt.clone();
    other[6] = 1;
    let badvers = format!(
        "86dd6b80000000301140{ADDRESSES}00359c4000306180123481900001000000000001\
         076558614d504c45036f724700001c000100002904d0010080000000"
    );
    for action in [nxdomain, refuse, truncate] {
        let frame = ethernet([0x86, 0xdd], &v6(&other));
        answered("another version of EDNS", action, &frame, Some(&badvers));
    }
    for not in [&opt[..10], &[&[1], &opt[1..]].concat(), &[&[0, 0, 42], &opt[3..]].concat()] {
        let without = v4(WITH_OPT, not);
        answered("no OPT record", nxdomain, &ethernet([8, 0], &without), Some(&on_v4));
    }

    let tagged = [&[0, 100, 8, 0][..], &plain].concat();
    let on_tag = format!("810000640800{NXDOMAIN}");
    answered("tagged", nxdomain, &ethernet([0x81, 0], &tagged), Some(&on_tag));
    let session = format!("886411000007003b0021{NXDOMAIN}");
    // Lengths of every parity, and one whose lower byte is 0.
    for more in [0, 1, 2, 5, 6, 197, 199] {
        let frame = in_session(&[0, 0x21], &v4(QUERY, &[0; 199][..more]));
        answered("in PPPoE", nxdomain, &frame, Some(&session));
    }
}

/// An IP packet in a PPPoE session, with PPP's protocol.
fn in_session(protocol: &[u8], packet: &[u8]) -> Vec<u8> {
    let [upper, lower] = ((protocol.len() + packet.len()) as u16).to_be_bytes();
    ethernet([0x88, 0x64], &[&[0x11, 0, 0, 7, upper, lower], protocol, packet].concat())
}

#[test]
fn where_a_query_is_dropped_instead() {
    let asked = question("example.org", AAAA);
    let refuse = DomainAction::Refuse;
    let packet = udp(40_000, 53, &message(QUERY, &asked, &[]));
    let answer = udp(53, 40_000, &message(ANSWER, &asked, &[]));
    let answer = ethernet([8, 0], &ipv4(SERVER, &answer));
    answered("an answer that matches is dropped", refuse, &answer, None);
    for group in [[224, 0, 0, 1], [239, 255, 255, 255], [240, 0, 0, 1], [255; 4]] {
        let frame = ethernet([8, 0], &ipv4(group, &packet));
        answered("to a unicast destination address", refuse, &frame, None);
    }
    let mut group = ethernet([0x86, 0xdd], &ipv6(17, &packet));
    group[38] = 0xff;
    answered("to a unicast destination address", refuse, &group, None);
    let mut options = ipv4(SERVER, &[&[1; 4], &packet[..]].concat());
    options[0] = 0x46;
    answered("without IPv4 options", refuse, &ethernet([8, 0], &options), None);
    let behind = ipv6(60, &[&[17, 0, 1, 4, 0, 0, 0, 0], &packet[..]].concat());
    answered("without extension headers", refuse, &ethernet([0x86, 0xdd], &behind), None);
    // Labels whose last byte looks like a protocol of PPP, too.
    for label in [[0, 1, 1, 64], [0, 1, 1, 0x21], [0, 0, 0x21, 0x57]] {
        let labelled = [&label[..], &ipv4(SERVER, &packet)].concat();
        answered("without MPLS labels", refuse, &ethernet([0x88, 0x47], &labelled), None);
    }
    let carried = [&[0, 1, 1, 64][..], &ipv4(SERVER, &packet)].concat();
    answered("without MPLS labels", refuse, &in_session(&[2, 0x81], &carried), None);
    // Lengths of either parity, and one whose lower byte is 0.
    for more in [0, 1, 198, 199] {
        let longer = message(QUERY, &asked, &[0; 199][..more]);
        let packet = ipv4(SERVER, &udp(40_000, 53, &longer));
        let frame = in_session(&[0x21], &packet);
        answered("with a whole protocol field of PPP", refuse, &frame, None);
    }

    let mut from_group = ethernet([8, 0], &ipv4(SERVER, &packet));
    from_group[26] = 224;
    answered("from a unicast address", refuse, &from_group, None);
    let mut to_group = ethernet([8, 0], &ipv4(SERVER, &packet));
    to_group[0] |= 1;
    answered("to a unicast MAC address", refuse, &to_group, None);
}
