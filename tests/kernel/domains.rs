//! `[[domains]]` beside what a packet meets: counters, reloads, run-time entries, `explain` and
//! `lookup`. What becomes of each message is in the tables of verdicts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::explain::{explain_frame, explain_frames, told};
use crate::lab::bench::{Bench, JUDGED};
use crate::lab::dns::*;
use crate::lab::frame::*;
use crate::lab::{Count, IN0, Port, SRC0, Traffic};
use crate::swap::{alternate, settled};
use crate::verdicts::domains::{lying_lengths, unreadable_messages};

const CLIENT: &str = "198.51.100.7";
const SERVER: &str = "192.0.2.53";

fn ask(message: &Message) -> Frame {
    udp4(CLIENT, SERVER, 40000, 53).payload(&message.build())
}

fn back(message: &Message) -> Vec<u8> {
    let frame = udp4(SERVER, CLIENT, 53, 40000).source_mac(IN0).destination_mac(SRC0);
    frame.dont_fragment().payload(&message.build()).build()
}

/// Sends frames, and waits until all are counted.
#[track_caller]
fn send(bench: &Bench, frames: &[Vec<u8>]) {
    let before = bench.sample().total().packets;
    bench.port("src0").send_many(frames);
    let counted = bench.await_count(before + frames.len() as u64).total().packets;
    assert_eq!(counted, before + frames.len() as u64);
}

/// The object of `stats --json`.
#[track_caller]
fn stats(bench: &Bench) -> Value {
    bench.xdpctl(["stats", JUDGED, "--once", "--json"]).success().json()
}

/// How many messages could not be read, by kind.
#[track_caller]
fn unreadable(bench: &Bench) -> [(&'static str, Count); 3] {
    let stats = stats(bench);
    let names = stats["names"].as_object().unwrap_or_else(|| panic!("no names in {stats}"));
    assert_eq!(names.len(), 3, "{stats}");
    ["label", "questions", "length"].map(|kind| {
        let number = |what: &str| {
            let number = names[kind][what].as_u64();
            number.unwrap_or_else(|| panic!("no {what} of {kind} in {stats}"))
        };
        (kind, Count { packets: number("packets"), bytes: number("bytes") })
    })
}

const DROPPING: &str = r#"
    [[domains]]
    name = "dropped"
    names = ["drop.example"]
"#;

/// What cannot be read is counted by its kind, whatever becomes of it, and only where a ruleset has
/// names.
#[test]
fn what_cannot_be_read_is_counted_by_kind() {
    let mut bench = Bench::new();
    bench.attach("");
    let mut expected = [
        ("label", Count::default()),
        ("questions", Count::default()),
        ("length", Count::default()),
    ];
    let frames: Vec<(&str, Vec<u8>)> = unreadable_messages()
        .into_iter()
        .flat_map(|(_, kind, message)| {
            let v4 = udp4(CLIENT, SERVER, 40000, 53).payload(&message).build();
            // Answers count like queries.
            let v6 = udp6("2001:db8::53", "2001:db8::7", 53, 40000).payload(&message);
            [(kind, v4), (kind, v6.vlan(7).build())]
        })
        .chain(lying_lengths().into_iter().map(|(_, frame)| ("length", frame.build())))
        .collect();
    let bytes: Vec<Vec<u8>> = frames.iter().map(|(_, frame)| frame.clone()).collect();
    // Without names, nothing is read.
    send(&bench, &bytes);
    assert_eq!(unreadable(&bench), expected);

    bench.attach(DROPPING);
    assert_eq!(unreadable(&bench), expected);
    send(&bench, &bytes);
    for (kind, frame) in &frames {
        let (_, count) = expected.iter_mut().find(|(name, _)| name == kind).expect("a kind");
        count.packets += 1;
        count.bytes += frame.len() as u64;
    }
    assert!(expected.iter().all(|(_, count)| count.packets > 0), "{expected:?}");
    assert_eq!(unreadable(&bench), expected);
    assert_eq!(bench.sample().rule("dropped").count.packets, 0);
    assert_eq!(bench.sample().reasons["malformed"].packets, 0);

    // They go on over a reload; what is allowed or blocked before is not read.
    bench.attach(&format!(
        "{DROPPING}\n[[allowlist]]\nname = \"all\"\nprefixes = [\"198.51.100.0/24\"]"
    ));
    let [_, questions, _] = expected;
    let double = query("drop.example", A).ask(&wire("drop.example"), A, IN);
    send(&bench, &[ask(&double).build()]);
    assert_eq!(unreadable(&bench)[1], questions);
    // What is read is not counted here.
    bench.attach(DROPPING);
    send(&bench, &[ask(&query("drop.example", A)).build(), ask(&query("example", A)).build()]);
    send(&bench, &[ask(&query("drop.example", A).opcode(NOTIFY)).build(), ask(&empty()).build()]);
    assert_eq!(unreadable(&bench), expected);
}

#[test]
fn counters_belong_to_lists() {
    let list = |name: &str, action: &str, names: &str| {
        format!("[[domains]]\nname = \"{name}\"\naction = \"{action}\"\nnames = [{names}]\n")
    };
    let mut bench = Bench::new();
    bench.attach(
        &[
            list("passed", "pass", "\"a.example\""),
            list("dropped", "drop", "\"b.example\""),
            list("denied", "nxdomain", "\"c.example\""),
            list("refused", "refuse", "\"d.example\""),
            list("by-tcp", "truncate", "\"e.example\""),
            list("unused", "drop", "\"f.example\""),
        ]
        .concat(),
    );
    let of = |label: &str, times: usize| {
        vec![ask(&query(&format!("www.{label}.example"), A)).build(); times]
    };
    let frames = [("a", 1), ("b", 2), ("c", 3), ("d", 4), ("e", 5), ("other", 6)];
    let frames: Vec<Vec<u8>> = frames.iter().flat_map(|&(label, times)| of(label, times)).collect();
    send(&bench, &frames);
    let bytes = frames[0].len() as u64;
    let stats = stats(&bench);
    let row = |name: &str, action: &str, packets: u64| {
        json!({"name": name, "kind": "domains", "action": action, "packets": packets,
               "bytes": packets * bytes})
    };
    assert_eq!(
        stats["rules"],
        json!([
            row("passed", "pass", 1),
            row("dropped", "drop", 2),
            row("denied", "nxdomain", 3),
            row("refused", "refuse", 4),
            row("by-tcp", "truncate", 5),
            row("unused", "drop", 0),
        ])
    );
    let count = |group: &str, name: &str| stats[group][name]["packets"].as_u64();
    assert_eq!(count("reasons", "domain"), Some(2 + 3 + 4 + 5));
    assert_eq!(count("verdicts", "tx"), Some(3 + 4 + 5));
    assert_eq!(count("verdicts", "drop"), Some(2));
    // Sizes as they came, not as they are answered; names that are not listed, and an exception.
    let others = frames.last().expect("a frame").len() as u64;
    assert_eq!(stats["verdicts"]["pass"], json!({"packets": 7, "bytes": bytes + 6 * others}));

    // The name and the kind keep the counter.
    bench.attach(
        &[list("refused", "drop", "\"g.example\""), list("passed", "pass", "\"h\"")].concat(),
    );
    let counts: Vec<u64> = bench.sample().rules.iter().map(|rule| rule.count.packets).collect();
    assert_eq!(counts, [4, 1]);
    // In text, each list is a line.
    let text = bench.xdpctl(["stats", JUDGED, "--once"]).success().stdout.clone();
    let line = text.lines().find(|line| line.starts_with("domains") && line.contains("refused"));
    let columns: Vec<&str> =
        line.unwrap_or_else(|| panic!("no line in {text}")).split_whitespace().collect();
    assert_eq!(columns[..4], ["domains", "refused", "drop", "4"], "{text}");
    // Each name counts once a list.
    bench.attach(
        &[
            list("one", "drop", "\"a.example\", \"A.example\", \"a.example.\", \"*.a.example\""),
            list("two", "drop", "\"a.example\", \"b.example\""),
        ]
        .concat(),
    );
    let status = bench.xdpctl(["status", JUDGED, "--json"]).statuses();
    assert_eq!(status[0]["entries"]["domains"], 4, "{status}");
}

#[test]
fn run_time_entries_come_before_names() {
    let mut bench = Bench::new();
    bench.attach(DROPPING);
    let frame = || ask(&query("drop.example", A));
    let from = |bench: &Bench| told(&explain_frame(bench, frame()));
    assert_eq!(from(&bench), json!(["drop", "domain", "dropped", "drop.example"]));
    bench.xdpctl(["allow", JUDGED, CLIENT]).success();
    assert_eq!(from(&bench), json!(["pass", "allowed", null, "198.51.100.7/32"]));
    bench.xdpctl(["unblock", JUDGED, CLIENT]).success();
    bench.xdpctl(["block", JUDGED, CLIENT]).success();
    assert_eq!(from(&bench), json!(["drop", "banned", null, "198.51.100.7/32"]));
    send(&bench, &[frame().build()]);
    let sample = bench.sample();
    assert_eq!((sample.reasons["banned"].packets, sample.reasons["domain"].packets), (1, 0));
    bench.xdpctl(["unblock", JUDGED, CLIENT]).success();
    // And the emergency switch before all.
    bench.xdpctl(["bypass", JUDGED, "on"]).success();
    send(&bench, &[frame().build()]);
    assert_eq!(bench.sample().reasons["bypass"].packets, 1);
    bench.xdpctl(["bypass", JUDGED, "off"]).success();
    send(&bench, &[frame().build()]);
    assert_eq!(bench.sample().reasons["domain"].packets, 1);
}

const EXPLAINED: &str = r#"[[domains]]
name = "exceptions"
names = ["good.ads.example"]
action = "pass"

[[domains]]
name = "malware"
names = [
    "drop.example",
    "*.ads.example",
]
files = ["hosts.txt"]
action = "nxdomain"

[[domains]]
name = "any"
names = ["."]
qtype = ["ANY"]
action = "refuse"
"#;

/// List, entry, file without its folder, and line.
fn place(answer: &Value, list: &str) -> Value {
    let file = answer["file"].as_str().and_then(|file| file.rsplit('/').next());
    json!([answer[list], answer["entry"], file, answer["line"]])
}

#[test]
fn explain_and_lookup_say_the_entry_and_where_it_stands() {
    let mut bench = Bench::new();
    bench.write("hosts.txt", "# hosts\n127.0.0.1 localhost\n0.0.0.0 bad.example Worse.example\n");
    bench.attach(EXPLAINED);
    let decided = [
        ("drop.example", A, "tx", json!(["malware", "drop.example", "in0.toml", 9])),
        ("WWW.Drop.example", A, "tx", json!(["malware", "drop.example", "in0.toml", 9])),
        ("x.ads.example", A, "tx", json!(["malware", "*.ads.example", "in0.toml", 10])),
        ("worse.example", A, "tx", json!(["malware", "worse.example", "hosts.txt", 3])),
        ("a.bad.example", ANY, "tx", json!(["malware", "bad.example", "hosts.txt", 3])),
        ("else.example", ANY, "tx", json!(["any", ".", "in0.toml", 17])),
    ];
    let frames = decided.each_ref().map(|(name, kind, ..)| ask(&query(name, *kind)).build());
    let answers = explain_frames(&bench, &frames);
    for ((name, kind, verdict, expected), answer) in decided.into_iter().zip(answers) {
        assert_eq!(place(&answer, "rule"), expected, "{name} {kind}: {answer}");
        assert_eq!(answer["verdict"], verdict, "{name} {kind}: {answer}");
        assert_eq!(answer["reason"], "domain", "{name} {kind}: {answer}");
    }
    let others = [
        query("drop.example", A).answered(),
        query("else.example", A),
        query("good.ads.example", A),
    ];
    let [answered, unlisted, answer] =
        explain_frames(&bench, &others.map(|message| ask(&message).build()));
    assert_eq!(told(&answered), json!(["drop", "domain", "malware", "drop.example"]));
    assert_eq!(told(&unlisted), json!(["pass", "default", null, null]));
    // An exception is named beside what decides.
    assert_eq!(told(&answer), json!(["pass", "default", null, null]));
    let excepted = place(&answer["excepted"], "rule");
    assert_eq!(excepted, json!(["exceptions", "good.ads.example", "in0.toml", 3]), "{answer}");

    let lookup = |name: &str| -> Vec<Value> {
        let listed = bench.xdpctl(["lookup", JUDGED, name, "--json"]).success().json();
        listed.as_array().expect("an array").clone()
    };
    for (name, expected) in [
        (
            "x.good.ads.example",
            vec![
                json!(["exceptions", "good.ads.example", "in0.toml", 3]),
                json!(["malware", "*.ads.example", "in0.toml", 10]),
                json!(["any", ".", "in0.toml", 17]),
            ],
        ),
        ("ads.example.", vec![json!(["any", ".", "in0.toml", 17])]),
        (
            "A.Worse.example",
            vec![
                json!(["malware", "worse.example", "hosts.txt", 3]),
                json!(["any", ".", "in0.toml", 17]),
            ],
        ),
    ] {
        let found: Vec<Value> = lookup(name).iter().map(|entry| place(entry, "name")).collect();
        assert_eq!(found, expected, "{name}: {:?}", lookup(name));
        assert!(lookup(name).iter().all(|entry| entry["kind"] == "domains"), "{name}");
    }
    // The live counters did not move.
    assert_eq!(bench.sample().total().packets, 0);
}

/// Rulesets in which each of both names has another list, another action and another place, so that
/// parts of both would give an answer that neither gives.
fn named(turn: usize) -> String {
    let lists = [
        ("one", "nxdomain", "\"one.example\""),
        ("two", "refuse", "\"two.example\""),
        ("two", "truncate", "\"one.example\""),
        ("one", "drop", "\"*.example\""),
    ];
    let mut text = String::new();
    for (name, action, names) in &lists[turn * 2..][..2] {
        text +=
            &format!("[[domains]]\nname = \"{name}\"\naction = \"{action}\"\nnames = [{names}]\n");
    }
    if turn == 1 {
        // Elsewhere in the image, and in other buckets.
        let more: Vec<String> = (0..2_000).map(|number| format!("\"n{number}.test\"")).collect();
        text += &format!(
            "[[domains]]\nname = \"more\"\naction = \"pass\"\nnames = [{}]\n",
            more.join(",")
        );
    }
    text
}

/// What arrives until told to stop: how many of each that is expected, and the others.
fn listen(port: &Port, expected: &[Vec<u8>], stop: &AtomicBool) -> (Vec<u64>, Vec<Vec<u8>>) {
    let (mut counts, mut wrong) = (vec![0; expected.len()], Vec::new());
    loop {
        match port.recv(Duration::from_millis(20)) {
            Some(frame) => match expected.iter().position(|one| *one == frame) {
                Some(place) => counts[place] += 1,
                None => wrong.push(frame),
            },
            None if stop.load(Ordering::Relaxed) => return (counts, wrong),
            None => {}
        }
    }
}

#[test]
fn no_query_is_judged_by_parts_of_two_rulesets() {
    const RELOADS: usize = 100;
    let [a, b] = [named(0), named(1)];
    let mut bench = Bench::new();
    bench.open_gates();
    bench.attach(&a);
    let (one, two) = (query("www.one.example", A), query("two.example", A));
    let expected = [
        back(&one.refused_with(NXDOMAIN)),
        back(&one.truncated()),
        back(&two.refused_with(REFUSED)),
    ];
    let lab = bench.lab();
    let client = lab.port("src", "src0");
    let stop = AtomicBool::new(false);
    let before = bench.sample();
    let ((answers, wrong), after, seen) = thread::scope(|scope| {
        let listener = scope.spawn(|| listen(&client, &expected, &stop));
        let reloaded = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let traffic = Traffic::start(lab.port("src", "src0"), [ask(&one), ask(&two)]);
            alternate(&bench, [&a, &b], RELOADS);
            let sent = traffic.stop();
            settled(&bench, sent, &before)
        }));
        // The listener has to end whatever happened, or the scope would wait forever.
        stop.store(true, Ordering::Relaxed);
        let (after, seen) = reloaded.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (listener.join().expect("listener"), after, seen)
    });
    println!("{seen} queries in {RELOADS} reloads: answered {answers:?}");
    assert!(wrong.is_empty(), "an answer of neither ruleset: {:x?}", wrong[0]);
    assert!(answers.iter().all(|&count| count > 0), "{answers:?}");
    assert_eq!(after.reasons["domain"].packets, seen, "{after:#?}");
    let [tx, dropped] = ["tx", "drop"].map(|verdict| after.verdicts[verdict].packets);
    assert_eq!(tx + dropped, seen, "{after:#?}");
    assert!(dropped > 0, "{after:#?}");
    // No list that one of the rulesets lacks has the other's packets.
    let counted = ["one", "two"].map(|name| after.rule(name).count.packets);
    assert_eq!(counted.iter().sum::<u64>(), seen, "{after:#?}");
    assert!(bench.port(JUDGED).recv(Duration::from_millis(20)).is_none(), "a query went by");
}
