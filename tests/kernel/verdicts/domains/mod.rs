//! What becomes of DNS messages under `[[domains]]`: which entry decides, by what is asked and where.

mod answers;
mod unreadable;

pub use answers::{
    answers_byte_for_byte, dropped_where_no_answer_fits, extensions, shortest_answers,
};
pub use unreadable::{lying_lengths, not_looked_into, unreadable, unreadable_messages};

use super::Table;
use crate::lab::bench::{Row, answer, drop, pass};
use crate::lab::dns::*;
use crate::lab::frame::*;
use crate::lab::{IN0, SRC0, Topology};

const CLIENT: &str = "198.51.100.7";
const SERVER: &str = "192.0.2.53";
const CLIENT_V6: &str = "2001:db8:1::7";
const SERVER_V6: &str = "2001:db8::53";
/// The client's port.
const PORT: u16 = 40000;
/// DNS, and DNS by multicast.
const DNS: u16 = 53;
const MDNS: u16 = 5353;

/// A list for each action.
const EVERY_ACTION: &str = r#"
    [[domains]]
    name = "exceptions"
    names = ["good.drop.example", "*.open.nx.example"]
    action = "pass"
    [[domains]]
    name = "dropped"
    names = ["drop.example", "*.below.example"]
    [[domains]]
    name = "denied"
    names = ["nx.example"]
    action = "nxdomain"
    [[domains]]
    name = "refused"
    names = ["refuse.example"]
    action = "refuse"
    [[domains]]
    name = "by-tcp"
    names = ["tcp.example"]
    action = "truncate"
"#;

#[derive(Clone, Copy, Debug)]
enum Family {
    V4,
    V6,
}

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// A message from the client, sent to that port of the server.
fn to_port(family: Family, message: impl Into<Vec<u8>>, port: u16) -> Frame {
    match family {
        Family::V4 => udp4(CLIENT, SERVER, PORT, port),
        Family::V6 => udp6(CLIENT_V6, SERVER_V6, PORT, port),
    }
    .payload(&message.into())
}

/// A query on its way to the server.
fn ask(family: Family, message: &Message) -> Frame {
    to_port(family, message.build(), DNS)
}

/// An answer of that server, on its way to the client.
fn reply(family: Family, message: &Message) -> Frame {
    match family {
        Family::V4 => udp4(SERVER, CLIENT, DNS, PORT),
        Family::V6 => udp6(SERVER_V6, CLIENT_V6, DNS, PORT),
    }
    .payload(&message.build())
}

/// What the client gets in the server's place.
fn back(family: Family, message: &Message) -> Frame {
    let frame = reply(family, message).source_mac(IN0).destination_mac(SRC0);
    match family {
        Family::V4 => frame.dont_fragment(),
        Family::V6 => frame.ecn(0),
    }
}

/// With both ends of the wire able to take what is sent back.
fn table(configuration: &str, rows: Vec<Row>) -> Table {
    Table::new(configuration, rows).forwards(Topology::standard())
}

/// Each action, for the name itself and for names below it, written as a client may write them.
pub fn domain_actions() -> Table {
    let mut rows = Vec::new();
    for family in FAMILIES {
        let in_family = |what: &str| format!("{what}, {family:?}");
        for name in ["drop.example", "DROP.Example", "www.drop.example", "a.b.c.drop.example."] {
            let query = query(name, A);
            rows.push(drop(&in_family(name), ask(family, &query), "domain").by("dropped"));
        }
        for name in ["x.below.example", "X.Y.BELOW.EXAMPLE"] {
            let query = query(name, AAAA);
            rows.push(drop(&in_family(name), ask(family, &query), "domain").by("dropped"));
        }
        for (name, list, rcode) in [
            ("nx.example", "denied", NXDOMAIN),
            ("wWw.Nx.eXample", "denied", NXDOMAIN),
            ("refuse.example", "refused", REFUSED),
            ("_25._tcp.mail.REFUSE.example", "refused", REFUSED),
        ] {
            let query = query(name, HTTPS);
            let answered = back(family, &query.refused_with(rcode));
            rows.push(answer(&in_family(name), ask(family, &query), list, answered));
        }
        for name in ["tcp.example", "www.tcp.example"] {
            let query = query(name, TXT);
            let answered = back(family, &query.truncated());
            rows.push(answer(&in_family(name), ask(family, &query), "by-tcp", answered));
        }
        for name in ["good.drop.example", "www.GOOD.drop.example", "x.open.nx.example"] {
            let query = query(name, A);
            rows.push(pass(&in_family(name), ask(family, &query), "default").by("exceptions"));
        }
        // `*.` leaves the name itself to the name above it.
        let open = query("open.nx.example", A);
        let answered = back(family, &open.refused_with(NXDOMAIN));
        rows.push(answer(&in_family("open.nx.example"), ask(family, &open), "denied", answered));
        for name in [
            "example",
            ".",
            "xdrop.example",
            "drop.example.org",
            "drop-example",
            "below.example",
            "dropexample",
            "drop.examples",
            "a-name-of-somebody-else.test",
        ] {
            rows.push(pass(&in_family(name), ask(family, &query(name, A)), "default"));
        }
        // One label that holds the bytes of two.
        let joined = empty().ask(b"\x0cdrop.example\0", A, IN);
        rows.push(pass(&in_family("a dot in a label"), ask(family, &joined), "default"));
        let joined = empty().ask(b"\x0cdrop\x07example\0", A, IN);
        rows.push(pass(&in_family("a length in a label"), ask(family, &joined), "default"));
        // Only letters have a case: `[` is `{` with another bit.
        let odd = empty().ask(b"\x04dro\x50\x07example\0", A, IN);
        rows.push(drop(&in_family("P"), ask(family, &odd), "domain").by("dropped"));
        let odd = empty().ask(b"\x04dro\x10\x07example\0", A, IN);
        rows.push(pass(&in_family("P without two bits"), ask(family, &odd), "default"));
        // The class is not looked at.
        let chaos = query("drop.example", TXT).class(CHAOS);
        rows.push(drop(&in_family("class CH"), ask(family, &chaos), "domain").by("dropped"));
    }
    let in_sessions: Vec<Row> = [Family::V4, Family::V6]
        .iter()
        .flat_map(|&family| {
            let nx = query("a.nx.example", A);
            let answered = back(family, &nx.refused_with(NXDOMAIN)).pppoe();
            let dropped = query("drop.example", A);
            let passed = query("example", A);
            [
                answer(
                    &format!("{family:?} in PPPoE"),
                    ask(family, &nx).pppoe(),
                    "denied",
                    answered,
                ),
                drop(&format!("{family:?} in PPPoE"), ask(family, &dropped).pppoe(), "domain")
                    .by("dropped"),
                pass(&format!("{family:?} in PPPoE"), ask(family, &passed).pppoe(), "default"),
            ]
        })
        .collect();
    rows.extend(in_sessions);
    table(EVERY_ACTION, rows).under_all_tags()
}

/// Answers, on the client's side of a resolver or on its other side, are dropped by every list but an
/// exception.
pub fn domain_replies() -> Table {
    let mut rows = Vec::new();
    for family in FAMILIES {
        for (name, list) in [
            ("drop.example", "dropped"),
            ("x.below.example", "dropped"),
            ("nx.example", "denied"),
            ("WWW.nx.example", "denied"),
            ("refuse.example", "refused"),
            ("tcp.example", "by-tcp"),
        ] {
            let message = query(name, A).answered();
            let what = format!("the answer for {name}, {family:?}");
            rows.push(drop(&what, reply(family, &message), "domain").by(list));
        }
        let truncated = query("tcp.example", A).truncated();
        rows.push(
            drop(&format!("without a record, {family:?}"), reply(family, &truncated), "domain")
                .by("by-tcp"),
        );
        let good = query("good.drop.example", A).answered();
        rows.push(
            pass(&format!("of an exception, {family:?}"), reply(family, &good), "default")
                .by("exceptions"),
        );
        let other = query("other.example", A).answered();
        rows.push(pass(&format!("of another, {family:?}"), reply(family, &other), "default"));
    }
    let from_port_53 = |message: &Message| udp4(CLIENT, SERVER, DNS, DNS).payload(&message.build());
    let denied = query("nx.example", A);
    rows.extend([
        drop("an answer to port 53", from_port_53(&denied.clone().answered()), "domain")
            .by("denied"),
        answer(
            "a query from port 53",
            from_port_53(&denied),
            "denied",
            udp4(SERVER, CLIENT, DNS, DNS)
                .source_mac(IN0)
                .destination_mac(SRC0)
                .dont_fragment()
                .payload(&denied.refused_with(NXDOMAIN).build()),
        ),
    ]);
    table(EVERY_ACTION, rows).under_all_tags()
}

/// Where DNS is looked for: port 53 on either side, and unicast queries to 5353.
pub fn domain_ports() -> Table {
    let listed = query("drop.example", A);
    let bytes = listed.build();
    let denied = query("nx.example", A);
    let mut rows = Vec::new();
    for family in FAMILIES {
        let in_family = |what: &str| format!("{what}, {family:?}");
        let to = |port| to_port(family, bytes.clone(), port);
        let by_tcp = match family {
            Family::V4 => tcp4(CLIENT, SERVER, PORT, DNS),
            Family::V6 => tcp6(CLIENT_V6, SERVER_V6, PORT, DNS),
        }
        .flags(ACK | PSH)
        .payload(&[&[0, bytes.len() as u8], &bytes[..]].concat());
        let answered = match family {
            Family::V4 => udp4(SERVER, CLIENT, MDNS, PORT).dont_fragment(),
            Family::V6 => udp6(SERVER_V6, CLIENT_V6, MDNS, PORT).ecn(0),
        };
        let answered = answered
            .source_mac(IN0)
            .destination_mac(SRC0)
            .payload(&denied.refused_with(NXDOMAIN).build());
        let from_mdns = |message: &Message| {
            match family {
                Family::V4 => udp4(SERVER, CLIENT, MDNS, PORT),
                Family::V6 => udp6(SERVER_V6, CLIENT_V6, MDNS, PORT),
            }
            .payload(&message.build())
        };
        let multicast = match family {
            Family::V4 => udp4(CLIENT, "224.0.0.251", MDNS, MDNS),
            Family::V6 => udp6("fe80::7", "ff02::fb", MDNS, MDNS),
        };
        rows.extend([
            drop(&in_family("port 53"), to(53), "domain").by("dropped"),
            pass(&in_family("port 54"), to(54), "default"),
            pass(&in_family("port 853"), to(853), "default"),
            pass(&in_family("53 in the other byte"), to(53 << 8), "default"),
            pass(&in_family("by TCP"), by_tcp, "default"),
            drop(&in_family("by multicast DNS's port"), to(MDNS), "domain").by("dropped"),
            answer(
                &in_family("answered on multicast DNS's port"),
                to_port(family, denied.build(), MDNS),
                "denied",
                answered,
            ),
            pass(
                &in_family("an answer from multicast DNS's port"),
                from_mdns(&listed.clone().answered()),
                "default",
            ),
            pass(&in_family("by multicast"), multicast.clone().payload(&bytes), "default"),
            pass(
                &in_family("an answer by multicast"),
                multicast.payload(&listed.clone().answered().build()),
                "default",
            ),
        ]);
    }
    table(EVERY_ACTION, rows).under_all_tags()
}

/// Question types, and which of several entries decides.
pub fn domain_entry_that_decides() -> Table {
    let configuration = r#"
        [[domains]]
        name = "any"
        names = ["."]
        qtype = ["ANY"]
        action = "refuse"
        [[domains]]
        name = "below-first"
        names = ["*.one.test"]
        action = "nxdomain"
        [[domains]]
        name = "itself-second"
        names = ["one.test"]
        [[domains]]
        name = "itself-first"
        names = ["two.test"]
        [[domains]]
        name = "below-second"
        names = ["*.two.test"]
        action = "nxdomain"
        [[domains]]
        name = "addresses-first"
        names = ["three.test", "www.four.test"]
        qtype = ["A", "AAAA"]
        [[domains]]
        name = "texts-second"
        names = ["three.test", "four.test"]
        qtype = ["TXT", "TYPE65", "NS"]
        action = "refuse"
        [[domains]]
        name = "rest-third"
        names = ["three.test"]
        action = "nxdomain"
        [[domains]]
        name = "deep"
        names = ["a.b.c.five.test"]
        action = "pass"
        [[domains]]
        name = "between"
        names = ["c.five.test"]
        action = "nxdomain"
        [[domains]]
        name = "high"
        names = ["five.test"]
        [[domains]]
        name = "same-first"
        names = ["six.test"]
        action = "pass"
        [[domains]]
        name = "same-second"
        names = ["six.test"]
    "#;
    let mut rows = Vec::new();
    for family in FAMILIES {
        for (name, kind, decides) in [
            ("example.org", ANY, Some(("any", Some(REFUSED)))),
            (".", ANY, Some(("any", Some(REFUSED)))),
            ("example.org", A, None),
            (".", NS, None),
            // Equally specific: the first in the file.
            ("x.one.test", A, Some(("below-first", Some(NXDOMAIN)))),
            ("one.test", A, Some(("itself-second", None))),
            ("x.two.test", A, Some(("itself-first", None))),
            ("two.test", A, Some(("itself-first", None))),
            // The most specific of those that take the type.
            ("three.test", AAAA, Some(("addresses-first", None))),
            ("three.test", TXT, Some(("texts-second", Some(REFUSED)))),
            ("three.test", HTTPS, Some(("texts-second", Some(REFUSED)))),
            ("three.test", SOA, Some(("rest-third", Some(NXDOMAIN)))),
            ("three.test", ANY, Some(("rest-third", Some(NXDOMAIN)))),
            ("www.four.test", A, Some(("addresses-first", None))),
            ("www.four.test", NS, Some(("texts-second", Some(REFUSED)))),
            ("www.four.test", SOA, None),
            ("www.four.test", ANY, Some(("any", Some(REFUSED)))),
            ("b.c.five.test", A, Some(("between", Some(NXDOMAIN)))),
            ("c.five.test", A, Some(("between", Some(NXDOMAIN)))),
            ("d.five.test", A, Some(("high", None))),
            ("five.test", A, Some(("high", None))),
        ] {
            let what = format!("{name} {kind}, {family:?}");
            let message = query(name, kind);
            let frame = ask(family, &message);
            rows.push(match decides {
                None => pass(&what, frame, "default"),
                Some((list, None)) => drop(&what, frame, "domain").by(list),
                Some((list, Some(rcode))) => {
                    answer(&what, frame, list, back(family, &message.refused_with(rcode)))
                }
            });
        }
        for (name, list) in [("x.a.b.c.five.test", "deep"), ("x.six.test", "same-first")] {
            let frame = ask(family, &query(name, A));
            rows.push(pass(&format!("{name}, {family:?}"), frame, "default").by(list));
        }
    }
    table(configuration, rows)
}

/// Exceptions to a list of every name; and what they let through is judged on.
pub fn domain_exceptions() -> Table {
    let configuration = r#"
        [policy]
        default = "drop"
        [[domains]]
        name = "only-these"
        names = ["example.org", "net"]
        action = "pass"
        [[domains]]
        name = "no-more"
        names = ["."]
        catch_all = true
        action = "nxdomain"
        [[rule]]
        name = "dns"
        protocol = "udp"
        destination_port = 53
        destination = ["192.0.2.53", "2001:db8::53"]
        action = "pass"
    "#;
    let mut rows = Vec::new();
    for family in FAMILIES {
        let in_family = |what: &str| format!("{what}, {family:?}");
        for name in ["example.org", "www.Example.org", "net", "a.b.net"] {
            let query = ask(family, &query(name, A));
            rows.push(pass(&in_family(name), query, "rule").by("only-these").by("dns"));
            let reply = reply(family, &self::query(name, A).answered());
            let what = in_family(&format!("the answer for {name}, by default"));
            rows.push(drop(&what, reply, "default").by("only-these"));
        }
        for name in [".", "org", "example.com", "example.org.uk"] {
            let message = query(name, A);
            let answered = back(family, &message.refused_with(NXDOMAIN));
            rows.push(answer(&in_family(name), ask(family, &message), "no-more", answered));
            let reply = reply(family, &message.answered());
            let what = in_family(&format!("the answer for {name}"));
            rows.push(drop(&what, reply, "domain").by("no-more"));
        }
        let notify = ask(family, &query("example.com", SOA).opcode(NOTIFY));
        rows.push(pass(&in_family("NOTIFY"), notify, "rule").by("dns"));
    }
    table(configuration, rows)
}

/// What comes before the names, and what comes behind.
pub fn domain_order() -> Table {
    let configuration = r#"
        [policy]
        default = "drop"
        fragments = "drop"
        [[allowlist]]
        name = "friends"
        prefixes = ["203.0.113.1"]
        [[blocklist]]
        name = "enemies"
        prefixes = ["203.0.113.2"]
        [[blocklist]]
        name = "watched"
        prefixes = ["203.0.113.3"]
        action = "count"
        [[domains]]
        name = "dropped"
        names = ["drop.example"]
        [[domains]]
        name = "denied"
        names = ["nx.example"]
        action = "nxdomain"
        [[rule]]
        name = "dns"
        protocol = "udp"
        destination_port = 53
        action = "pass"
    "#;
    let from =
        |source: &str, name: &str| udp4(source, SERVER, PORT, DNS).payload(&query(name, A).build());
    let nx = query("nx.example", A).refused_with(NXDOMAIN).build();
    let back_to = |client: &str| {
        udp4(SERVER, client, DNS, PORT)
            .source_mac(IN0)
            .destination_mac(SRC0)
            .dont_fragment()
            .payload(&nx)
    };
    let rows = vec![
        pass("a friend", from("203.0.113.1", "drop.example"), "allowlist").by("friends"),
        pass("a friend", from("203.0.113.1", "nx.example"), "allowlist").by("friends"),
        drop("an enemy", from("203.0.113.2", "nx.example"), "blocklist").by("enemies"),
        drop("an enemy, other names", from("203.0.113.2", "example"), "blocklist").by("enemies"),
        drop("a watched source", from("203.0.113.3", "drop.example"), "domain")
            .by("watched")
            .by("dropped"),
        answer(
            "a watched source, answered",
            from("203.0.113.3", "nx.example"),
            "denied",
            back_to("203.0.113.3"),
        )
        .by("watched"),
        pass("a watched source, other names", from("203.0.113.3", "example"), "rule")
            .by("watched")
            .by("dns"),
        drop("before the rules", from(CLIENT, "drop.example"), "domain").by("dropped"),
        answer("before the rules", from(CLIENT, "nx.example"), "denied", back_to(CLIENT)),
        pass("a rule", from(CLIENT, "example"), "rule").by("dns"),
        drop("malformed", from(CLIENT, "drop.example").ihl(4), "malformed"),
        answer(
            "a first fragment",
            from(CLIENT, "nx.example").fragment(0, true),
            "denied",
            back_to(CLIENT),
        ),
        drop("a first fragment", from(CLIENT, "drop.example").fragment(0, true), "domain")
            .by("dropped"),
        drop("a later fragment", from(CLIENT, "drop.example").fragment(8, false), "fragment"),
        drop("no rule", udp4(CLIENT, SERVER, PORT, 54), "default"),
    ];
    table(configuration, rows)
}

/// The deepest and the longest names that there are.
pub fn domain_longest_names() -> Table {
    // 127 labels of one byte are 254 bytes, and the root's is the 255th.
    let deepest = vec!["a"; 127].join(".");
    let parent = vec!["a"; 126].join(".");
    let longest = [vec!["b".repeat(63); 3].join("."), "b".repeat(61)].join(".");
    let configuration = format!(
        r#"
        [[domains]]
        name = "deepest"
        names = ["{deepest}"]
        [[domains]]
        name = "parent"
        names = ["{parent}"]
        action = "refuse"
        [[domains]]
        name = "longest"
        names = ["{longest}"]
        action = "nxdomain"
        [[domains]]
        name = "top"
        names = ["c"]
        action = "nxdomain"
    "#
    );
    let mut rows = Vec::new();
    for family in FAMILIES {
        let in_family = |what: &str| format!("{what}, {family:?}");
        let told = |what: &str, name: &str, list: &'static str, rcode: u16| {
            let message = query(name, A).edns(Edns::default());
            assert!(wire(name).len() <= 255, "{name}");
            let answered = back(family, &message.refused_with(rcode));
            answer(&in_family(what), ask(family, &message), list, answered)
        };
        let upper = query(&deepest.to_uppercase(), A);
        let deep_and_listed = [vec!["x"; 126], vec!["c"]].concat().join(".");
        let deep = [vec!["x"; 126], vec!["d"]].concat().join(".");
        rows.extend([
            drop(&in_family("127 labels"), ask(family, &query(&deepest, A)), "domain")
                .by("deepest"),
            drop(&in_family("in capitals"), ask(family, &upper), "domain").by("deepest"),
            told("126 labels", &parent, "parent", REFUSED),
            told("another below those", &format!("b.{parent}"), "parent", REFUSED),
            told("255 bytes", &longest, "longest", NXDOMAIN),
            told("255 bytes in capitals", &longest.to_uppercase(), "longest", NXDOMAIN),
            told("126 labels below", &deep_and_listed, "top", NXDOMAIN),
            pass(&in_family("127 labels, not listed"), ask(family, &query(&deep, A)), "default"),
        ]);
        // A label of the greatest length, with every byte that a label can have.
        for byte in 0..=u8::MAX {
            let name = [&[63][..], &[byte; 63], b"\x01c\0"].concat();
            let message = empty().ask(&name, A, IN);
            let answered = back(family, &message.refused_with(NXDOMAIN));
            let what = in_family(&format!("a label of bytes {byte}"));
            rows.push(answer(&what, ask(family, &message), "top", answered));
        }
    }
    table(&configuration, rows)
}
