//! Messages of which no name can be read, or is to be: no list has them.

use super::*;

const LISTED: &str = r#"
    [[domains]]
    name = "dropped"
    names = ["drop.example"]
"#;

/// Where UDP's length stands in an untagged frame, behind IPv4 without options and behind IPv6.
const LENGTH: [usize; 2] = [14 + 20 + 4, 14 + 40 + 4];

/// A message whose question is these bytes.
fn raw(question: &[u8]) -> Vec<u8> {
    empty().counts([1, 0, 0, 0]).trailing(question).build()
}

/// Payloads of UDP of each kind of question that cannot be read, with its kind.
pub fn unreadable_messages() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let name = wire("drop.example");
    let listed = query("drop.example", A).build();
    let behind = [0, 1, 0, 1];
    let label = |first: u8| raw(&[&[first], &name[1..], &behind].concat());
    let deep = [[1, b'a']; 128].concat();
    let mut messages = vec![
        ("a pointer", "label", raw(&[&[0xc0, HEADER as u8][..], &behind].concat())),
        ("a pointer behind a label", "label", {
            raw(&[&b"\x04drop\xc0\x0c"[..], &behind].concat())
        }),
        ("a pointer at the name's end", "label", {
            raw(&[&name[..name.len() - 1], &[0xc0, 4], &behind].concat())
        }),
        ("an extended label", "label", label(0x41)),
        ("a label of 64 bytes", "label", label(0x40)),
        ("a label of the type 10", "label", label(0x84)),
        ("a pointer's first byte", "label", label(0xff)),
        ("two questions", "questions", {
            query("drop.example", A).ask(&wire("example.org"), A, IN).build()
        }),
        ("two questions, one of them there", "questions", {
            query("drop.example", A).counts([2, 0, 0, 0]).build()
        }),
        ("65,535 questions", "questions", {
            query("drop.example", A).counts([0xffff, 0, 0, 0]).build()
        }),
        ("256 questions", "questions", query("drop.example", A).counts([256, 0, 0, 0]).build()),
        ("a name that goes on beyond 255 bytes", "length", {
            raw(&[&deep[..], &[0], &behind].concat())
        }),
        ("256 bytes of a name", "length", {
            let mut long = [[1, b'a']; 125].concat();
            long.extend(b"\x04aaaa");
            raw(&[&long[..], &[0], &behind].concat())
        }),
        ("labels of 63 bytes to the end", "length", { raw(&[[63; 64]; 8].concat()) }),
        ("a label that goes on beyond the message", "length", raw(b"\x3fdrop")),
        ("no end of the name", "length", raw(&name[..name.len() - 1])),
    ];
    // Cut at each byte of the message.
    for length in 0..listed.len() {
        messages.push(("cut short", "length", listed[..length].to_vec()));
    }
    messages
}

/// Not a match, and judgement goes on.
pub fn unreadable() -> Table {
    let mut rows = Vec::new();
    for family in FAMILIES {
        for (what, kind, message) in unreadable_messages() {
            let what = format!("{what} ({kind}, {} bytes), {family:?}", message.len());
            rows.push(pass(&what, to_port(family, message, DNS), "default"));
        }
    }
    rows.extend(lying_lengths().into_iter().map(|(what, frame)| pass(&what, frame, "default")));
    table(LISTED, rows)
}

/// Frames of both families whose UDP header has a length that cannot be, or that cuts the question.
/// Over IPv6, 0 stands for all that is there.
pub fn lying_lengths() -> Vec<(String, Frame)> {
    let message = query("drop.example", A).build();
    let whole = 8 + message.len() as u16;
    let lengths = [0, 1, 7, 8, 19, 20, whole - 5, whole - 1, whole + 1, whole + 256, u16::MAX];
    let lying = |family: Family, length: u16| {
        let frame = to_port(family, message.clone(), DNS);
        let frame = frame.patch(LENGTH[family as usize], &length.to_be_bytes());
        (format!("UDP's length is {length}, not {whole}, {family:?}"), frame)
    };
    let all = FAMILIES.into_iter().flat_map(|family| lengths.map(|length| (family, length)));
    let those = all.filter(|case| !matches!(case, (Family::V6, 0)));
    those.map(|(family, length)| lying(family, length)).collect()
}

/// Messages that ask for no name.
pub fn not_looked_into() -> Table {
    let listed = || query("drop.example", A);
    let mut rows = Vec::new();
    for family in FAMILIES {
        for (what, message) in [
            ("opcode STATUS", listed().opcode(STATUS)),
            ("opcode NOTIFY", listed().opcode(NOTIFY)),
            ("opcode UPDATE", listed().opcode(UPDATE)),
            ("opcode 1", listed().opcode(1)),
            ("opcode 15", listed().opcode(15)),
            ("no question", empty()),
            ("no question, though there is one", listed().counts([0, 0, 0, 0])),
            ("an answer to NOTIFY", listed().answered().opcode(NOTIFY)),
        ] {
            let frame = ask(family, &message);
            rows.push(pass(&format!("{what}, {family:?}"), frame, "default"));
        }
    }
    table(LISTED, rows)
}
