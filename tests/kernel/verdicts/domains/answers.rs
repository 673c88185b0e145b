//! Answers in the server's place, byte for byte, and where none is given.

use super::*;
use crate::lab::MacAddr;

/// Where IPv4's header begins in an untagged frame, and UDP's behind one without options.
const IPV4: usize = 14;
const UDP: usize = IPV4 + 20;

const DENIED: &str = r#"
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

/// Names of every length modulo 8, so that checksums begin and end in every place.
fn names() -> impl Iterator<Item = String> {
    (1..=17).map(|length| format!("{}.nx.example", "x".repeat(length)))
}

/// Flags, ids, ports, padding and lengths.
pub fn answers_byte_for_byte() -> Table {
    let mut rows = Vec::new();
    for family in FAMILIES {
        let told = |what: &str, message: &Message| {
            let answered = back(family, &message.refused_with(NXDOMAIN));
            answer(&format!("{what}, {family:?}"), ask(family, message), "denied", answered)
        };
        let base = || query("Www.NX.example", A);
        for name in names() {
            rows.push(told(&name, &query(&name, A)));
            rows.push(told(&format!("{name} by EDNS"), &query(&name, A).edns(Edns::default())));
        }
        // RD and CD come back; RA and QR are ours; AA, TC, Z, AD and the response code are not the
        // client's to set.
        for flags in [0, RD, CD, RD | CD, AA, TC, RA, Z, AD, AD | CD | RD, 0x000f, 0x07ff] {
            rows.push(told(&format!("flags {flags:04x}"), &base().flags(flags)));
        }
        for id in [0, 1, 0x00ff, 0xff00, 0xffff] {
            rows.push(told(&format!("id {id:04x}"), &base().id(id)));
        }
        for kind in [0, A, NS, SOA, TXT, AAAA, HTTPS, ANY, 0xffff] {
            rows.push(told(&format!("type {kind}"), &query("nx.example", kind)));
        }
        rows.push(told("class CH", &base().class(CHAOS)));
        rows.push(told("bytes behind the question", &base().trailing(&[7; 300])));
        let opaque = record(&wire("nx.example"), A, IN, 60, &[192, 0, 2, 1]);
        rows.push(told("a record that answers", &base().answer(opaque.clone())));
        rows.push(told("a record of authority", &base().authority(opaque.clone())));
        rows.push(told("an additional record", &base().additional(opaque)));
        for (name, list, rcode) in
            [("refuse.example", "refused", REFUSED), ("nx.example", "denied", NXDOMAIN)]
        {
            let message = query(name, A).edns(Edns::default().dnssec_ok());
            let answered = back(family, &message.refused_with(rcode));
            let what = format!("DO for {name}, {family:?}");
            rows.push(answer(&what, ask(family, &message), list, answered));
        }
        let message = query("tcp.example", TXT).edns(Edns::default());
        let answered = back(family, &message.truncated());
        let what = format!("TC by EDNS, {family:?}");
        rows.push(answer(&what, ask(family, &message), "by-tcp", answered));
    }
    let message = query("nx.example", A);
    let frame = || ask(Family::V4, &message);
    let answered = back(Family::V4, &message.refused_with(NXDOMAIN));
    let by = |what: &str, frame: Frame| answer(what, frame, "denied", answered.clone());
    rows.extend([
        by("a TTL of 1", frame().ttl(1)),
        answer("a code point", frame().dscp(46), "denied", answered.clone().dscp(46)),
        by("no checksum", frame().patch(UDP + 6, &[0, 0])),
        by("a wrong checksum", frame().patch(UDP + 6, &[0x12, 0x34])),
        by("padding behind the packet", frame().pad(40)),
        by("an IPv4 identification", frame().patch(IPV4 + 4, &[0xab, 0xcd])),
        by("DF", frame().dont_fragment()),
    ]);
    let v6 = ask(Family::V6, &message).dscp(46);
    let answered = back(Family::V6, &message.refused_with(NXDOMAIN)).dscp(46);
    rows.push(answer("a code point, IPv6", v6, "denied", answered));
    rows.extend(FAMILIES.map(checksum_of_zero));
    table(DENIED, rows).under_all_tags()
}

/// Zero stands for no checksum, so a sum that is zero is sent as all ones (RFC 768).
fn checksum_of_zero(family: Family) -> Row {
    let checksum = match family {
        Family::V4 => UDP + 6,
        Family::V6 => IPV4 + 40 + 6,
    };
    let told = |id| back(family, &query("nx.example", A).id(id).refused_with(NXDOMAIN));
    let is_zero = |&id: &u16| {
        let frame = told(id).build();
        [[0, 0], [0xff, 0xff]].contains(&[frame[checksum], frame[checksum + 1]])
    };
    let id = (0..=u16::MAX).find(is_zero).expect("an id for every sum");
    let asked = ask(family, &query("nx.example", A).id(id));
    let answered = told(id).patch(checksum, &[0xff, 0xff]);
    answer(&format!("a checksum of zero, {family:?}"), asked, "denied", answered)
}

/// A query for the root is the only one that is shorter than Ethernet's shortest frame: its answer is
/// as long, and no shorter frame than what came.
pub fn shortest_answers() -> Table {
    let configuration = r#"
        [[domains]]
        name = "denied"
        names = ["."]
        catch_all = true
        action = "nxdomain"
    "#;
    let message = query(".", NS);
    let frame = || ask(Family::V4, &message);
    let answered = back(Family::V4, &message.refused_with(NXDOMAIN));
    assert_eq!(frame().build().len(), 59);
    let mut rows = vec![
        answer("as it is", frame(), "denied", answered.clone()),
        answer("padded", frame().pad(1), "denied", answered.clone().pad(1)),
        answer("padded to more", frame().pad(200), "denied", answered.pad(1)),
    ];
    let message = query(".", NS).edns(Edns::default().option(10, &[7; 8]));
    for family in FAMILIES {
        let answered = back(family, &message.refused_with(NXDOMAIN));
        rows.push(answer(&format!("{family:?}"), ask(family, &message), "denied", answered));
    }
    table(configuration, rows)
}

/// EDNS, RFC 6891: an OPT is answered by one of ours, which repeats DO and nothing else.
pub fn extensions() -> Table {
    let mut rows = Vec::new();
    let cookie = [0x5a; 8];
    let base = || query("nx.example", AAAA);
    let opt = |edns: Edns| base().edns(edns);
    for family in FAMILIES {
        for (what, message) in [
            ("a plain OPT", opt(Edns::default())),
            ("DO", opt(Edns::default().dnssec_ok())),
            ("flags that nobody has defined", opt(Edns { reserved: 0x7fff, ..Edns::default() })),
            ("a small payload size", opt(Edns { payload_size: 0, ..Edns::default() })),
            ("an extended response code", opt(Edns { extended_rcode: 255, ..Edns::default() })),
            ("a cookie", opt(Edns::default().option(10, &cookie))),
            ("padding", opt(Edns::default().option(12, &[0; 64]))),
            ("a cookie, DO and padding", {
                opt(Edns::default().dnssec_ok().option(10, &cookie).option(12, &[0; 200]))
            }),
            ("version 1", opt(Edns::default().version(1))),
            ("version 255 with DO", opt(Edns::default().version(255).dnssec_ok())),
            ("an OPT behind another record", {
                opt(Edns::default()).additional(record(&[0], TXT, IN, 0, b"\x01x"))
            }),
            ("an OPT behind an answer", {
                opt(Edns::default()).answer(record(&[0], TXT, IN, 0, b"\x01x"))
            }),
        ] {
            let answered = back(family, &message.refused_with(NXDOMAIN));
            let what = format!("{what}, {family:?}");
            rows.push(answer(&what, ask(family, &message), "denied", answered));
        }
        // What an OPT cut short is answered like: a query without.
        let whole = opt(Edns::default());
        let cut = |bytes: usize| {
            let message = whole.build();
            to_port(family, message[..message.len() - bytes].to_vec(), DNS)
        };
        let plain = back(family, &base().refused_with(NXDOMAIN));
        for bytes in [1, 2, 5, 10, 11] {
            let what = format!("an OPT without its last {bytes} bytes, {family:?}");
            rows.push(answer(&what, cut(bytes), "denied", plain.clone()));
        }
    }
    table(DENIED, rows)
}

/// Where no answer can be given in place, what would have been answered is dropped.
pub fn dropped_where_no_answer_fits() -> Table {
    let message = query("nx.example", A);
    let bytes = message.build();
    let v4 = || ask(Family::V4, &message);
    let v6 = || ask(Family::V6, &message);
    let to = |destination: &str| udp4(CLIENT, destination, PORT, DNS).payload(&bytes);
    let to_v6 = |destination: &str| udp6(CLIENT_V6, destination, PORT, DNS).payload(&bytes);
    let mut rows = Vec::new();
    for (what, frame) in [
        ("IPv4 options", v4().options(&[1; 4])),
        ("all of them", v4().options(&[1; 40])),
        ("hop-by-hop options", v6().extension(Extension::HopByHop)),
        ("destination options", v6().extension(Extension::DestinationOptions)),
        ("a first fragment of IPv6", v6().fragment(0, true)),
        ("labels", v4().mpls(&[16])),
        ("labels, IPv6", v6().mpls(&[16, 17])),
        ("PPP's protocol in one byte", v4().pppoe_protocol(&[0x21])),
        ("PPP's protocol in one byte, IPv6", v6().pppoe_protocol(&[0x57])),
        ("labels in a session", v6().pppoe().mpls(&[16, 17])),
        ("multicast", to("224.0.0.1")),
        ("multicast", to("239.255.255.255")),
        ("to all", to("255.255.255.255")),
        ("multicast, IPv6", to_v6("ff02::1")),
        ("multicast, IPv6", to_v6("ff05::1:3")),
        ("to the group of all links", v4().destination_mac(MacAddr::broadcast())),
        ("to a group of links", v6().destination_mac(MacAddr(0x33, 0x33, 0, 0, 0, 1))),
        ("from a group", udp4("224.0.0.5", SERVER, PORT, DNS).payload(&bytes)),
        ("from all", udp4("255.255.255.255", SERVER, PORT, DNS).payload(&bytes)),
        ("from a group, IPv6", udp6("ff02::1", SERVER_V6, PORT, DNS).payload(&bytes)),
    ] {
        rows.push(drop(what, frame, "domain").by("denied"));
    }
    // In a session, the length is that of the answer.
    for family in FAMILIES {
        let message = query("nx.example", A).edns(Edns::default().option(12, &[0; 300]));
        let answered = back(family, &message.refused_with(NXDOMAIN)).pppoe();
        let frame = ask(family, &message).pppoe();
        rows.push(answer(&format!("in a session, {family:?}"), frame, "denied", answered));
    }
    let mut table = table(DENIED, rows).under_all_tags();
    // Whatever PPPoE's length is, of which the lower byte stands before that of the protocol.
    for more in 0..=u8::MAX {
        let message = message.clone().trailing(&vec![0; more.into()]);
        for (family, protocol) in [(Family::V4, 0x21), (Family::V6, 0x57)] {
            let frame = ask(family, &message).pppoe_protocol(&[protocol]);
            let what = format!("in one byte, {more} bytes more, {family:?}");
            table.rows.push(drop(&what, frame, "domain").by("denied"));
        }
    }
    table
}
