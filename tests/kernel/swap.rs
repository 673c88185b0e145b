//! A packet is judged by the old ruleset or by the new one: never by a mixture, never by none.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use xdp_common::maps::Map;
use xdpctl::datapath::maps::image;
use xdpctl::datapath::sys::bpf;

use crate::lab::bench::{Bench, JUDGED};
use crate::lab::frame::*;
use crate::lab::patience::{EVENT, patient};
use crate::lab::{Lab, MacAddr, Port, Sample, Topology, Traffic};

const RELOADS: usize = 200;

/// Both rulesets drop every source of [`blocked`] by one blocklist. All else is different, so that
/// parts of both would give another verdict or count under another name.
const BY_LIST_A: &str = r#"
    [policy]
    default = "pass"
    malformed = "pass"
    [[allowlist]]
    name = "not-these"
    prefixes = ["10.200.0.0/16", "2001:db8:200::/48"]
    [[blocklist]]
    name = "tried"
    prefixes = ["10.0.0.0/8"]
    action = "count"
    [[blocklist]]
    name = "a"
    prefixes = ["10.1.0.0/24", "10.2.0.0/16", "2001:db8:1::/64", "2001:db8:2::/48"]
    [[rule]]
    name = "web"
    protocol = "tcp"
    destination_port = [80, 443]
    action = "pass"
"#;

fn by_list_b() -> String {
    let mut text = r#"
        [policy]
        default = "drop"
        fragments = "drop"
        [[blocklist]]
        name = "b"
        prefixes = [
            "10.1.0.1", "10.1.0.2", "10.1.0.3", "10.2.0.1",
            "2001:db8:1::1", "2001:db8:1::2", "2001:db8:2::1",
        ]
    "#
    .to_owned();
    // Another number of rules and of classes, so that tables lie elsewhere.
    for number in 0..70 {
        text.push_str(&format!(
            "[[rule]]\nname = \"r{number}\"\nsource = \"10.{number}.0.0/16\"\n\
             destination_port = {}\naction = \"{}\"\n",
            number * 100 + 1,
            if number % 2 == 0 { "pass" } else { "bounce" }
        ));
    }
    text
}

fn blocked() -> Vec<Frame> {
    let mut frames = Vec::new();
    for source in ["10.1.0.1", "10.1.0.2", "10.1.0.3", "10.2.0.1"] {
        frames.push(udp4(source, "192.0.2.1", 1024, 101));
        frames.push(tcp4(source, "192.0.2.1", 1024, 80).vlan(7));
        frames.push(icmp4(source, "192.0.2.1", 8));
    }
    for source in ["2001:db8:1::1", "2001:db8:1::2", "2001:db8:2::1"] {
        frames.push(udp6(source, "2001:db8::1", 1024, 201));
        frames.push(tcp6(source, "2001:db8::1", 1024, 443).qinq(1, 2));
    }
    frames
}

/// Reloads one configuration after the other, while `traffic` goes on.
#[track_caller]
pub fn alternate(bench: &Bench, [a, b]: [&str; 2], reloads: usize) {
    let [a, b] = [bench.write("a.toml", a), bench.write("b.toml", b)];
    for turn in 0..reloads {
        let path = if turn % 2 == 0 { &b } else { &a };
        bench.xdpctl(["reload", JUDGED, "-c", path.to_str().expect("UTF-8")]).success();
    }
}

/// Reads the counters when all that was sent was counted or dropped on the way in.
#[track_caller]
pub fn settled(bench: &Bench, sent: u64, before: &Sample) -> (Sample, u64) {
    let deadline = Instant::now() + patient(EVENT);
    loop {
        let sample = bench.sample();
        let lost = bench.lab().dropped_at("src", "src0");
        if sample.total().packets - before.total().packets + lost >= sent {
            return (sample, sent - lost);
        }
        assert!(
            Instant::now() < deadline,
            "of {sent} packets sent, not all were counted, and {lost} lost: {sample:#?}"
        );
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn two_hundred_reloads_misjudge_no_packet() {
    let mut bench = Bench::new();
    bench.attach(BY_LIST_A);
    let before = bench.sample();
    let traffic = Traffic::start(bench.lab().port("src", "src0"), blocked());
    alternate(&bench, [BY_LIST_A, &by_list_b()], RELOADS);
    // Both rulesets must have judged packets, or this shows nothing.
    traffic.wait_for(1);
    let sent = traffic.stop();

    let (after, seen) = settled(&bench, sent, &before);
    println!("{sent} packets sent, {seen} judged, in {RELOADS} reloads");
    assert_eq!(after.generation, 1 + RELOADS as u64);
    assert_eq!(after.verdicts["pass"].packets, 0, "{after:#?}");
    assert_eq!(after.verdicts["drop"].packets, seen, "{after:#?}");
    assert_eq!(after.reasons["blocklist"].packets, seen, "{after:#?}");
    assert_eq!(after.total().packets, seen);
    assert!(seen > 10_000, "too few packets to show anything: {seen}");
    let arrived = bench.port(JUDGED).recv_all(Duration::from_millis(20));
    assert!(arrived.is_empty(), "{} packets went by", arrived.len());
}

/// A ruleset that drops [`blocked`] by a list that takes several extents.
fn many_extents(bench: &Bench, name: &str, policy: &str) -> String {
    let mut list: String = (0..40_000u32)
        .map(|number| number.wrapping_mul(0x9e37_79b1))
        .filter(|address| address >> 24 != 10)
        .map(|address| format!("{}\n", std::net::Ipv4Addr::from_bits(address)))
        .collect();
    list += "10.1.0.0/24\n10.2.0.1\n2001:db8:1::/64\n2001:db8:2::1\n";
    let file = bench.write(&format!("{name}.txt"), &list);
    format!(
        "[policy]\ndefault = \"{policy}\"\n[[blocklist]]\nname = \"{name}\"\nfiles = [{file:?}]\n"
    )
}

/// The ids of the maps that hold images.
fn image_maps(bench: &Bench) -> Vec<u32> {
    let lab = bench.lab();
    let pins = lab.pins("dut", lab.ifindex("dut", JUDGED));
    let outer = bpf::open_pin(&pins.join(Map::RULESET.name())).expect("the ruleset's pin");
    image::ids(&outer).expect("the maps in its slots")
}

/// What a reload leaves as it is takes no memory twice, and no time to be written.
#[test]
fn extents_that_stay_are_the_same_maps() {
    let mut bench = Bench::new();
    let text = many_extents(&bench, "a", "pass");
    bench.attach(&text);
    let port = bench.port("src0");
    let (listed, other) =
        (udp4("10.1.0.1", "192.0.2.1", 1, 1), udp4("10.9.0.1", "192.0.2.1", 1, 1));
    let mut before = image_maps(&bench);
    assert!(before.len() > 3, "{before:?}");
    for (turn, policy) in ["drop", "pass", "drop"].into_iter().enumerate() {
        let changed = text.replace("default = \"pass\"", &format!("default = \"{policy}\""));
        alternate(&bench, [&changed; 2], 1);
        let after = image_maps(&bench);
        let same = after.iter().filter(|id| before.contains(id)).count();
        // All but the first, which has the header, and the last, which says where the ruleset is from; and
        // nothing is left of the image before.
        assert_eq!([same, after.len()], [before.len() - 2, before.len()], "{before:?} {after:?}");
        before = after;
        for frame in [&listed, &other] {
            port.send(&frame.build());
        }
        let sample = bench.await_count(2 * (turn as u64 + 1));
        assert_eq!(sample.reasons["blocklist"].packets, turn as u64 + 1);
    }
    // The last word of the list is another one.
    let file = bench.directory().join("a.txt");
    let list = std::fs::read_to_string(&file).expect("the list");
    std::fs::write(&file, list.replace("10.1.0.0/24\n", "")).expect("the list is written");
    bench.xdpctl(["reload", JUDGED]).success();
    assert_ne!(image_maps(&bench), before);
    port.send(&listed.build());
    assert_eq!(bench.await_count(7).reasons["blocklist"].packets, 3);
}

/// The further extents are found through the first, and are released when it is replaced.
#[test]
fn rulesets_of_many_extents_are_exchanged_whole_and_given_back() {
    const TURNS: usize = 40;
    let mut bench = Bench::new();
    bench.attach(BY_LIST_A);
    let map_bytes = |bench: &Bench| {
        let status = bench.xdpctl(["status", JUDGED, "--json"]).statuses();
        status[0]["map_bytes"].as_u64().expect("a number")
    };
    let small = map_bytes(&bench);
    let (a, b) = (many_extents(&bench, "a", "pass"), many_extents(&bench, "b", "drop"));
    let before = bench.sample();
    let traffic = Traffic::start(bench.lab().port("src", "src0"), blocked());
    alternate(&bench, [&a, &b], TURNS);
    traffic.wait_for(1);
    let sent = traffic.stop();
    let (after, seen) = settled(&bench, sent, &before);
    println!("{seen} packets judged in {TURNS} reloads");
    assert_eq!(after.verdicts["drop"].packets, seen, "{after:#?}");
    assert_eq!(after.reasons["blocklist"].packets, seen, "{after:#?}");

    const EXTENT: u64 = 1 << 20;
    let large = map_bytes(&bench);
    assert!(large >= small + 2 * EXTENT, "{small} and {large} bytes");
    // The other half of the slots.
    alternate(&bench, [&b, &b], 1);
    assert_eq!(map_bytes(&bench), large);
    alternate(&bench, [BY_LIST_A, BY_LIST_A], 1);
    assert_eq!(map_bytes(&bench), small);
}

/// Counters of both lists at once: each packet is in one of them.
#[test]
fn each_packet_counts_for_one_of_the_rulesets() {
    // Both names in both rulesets, with nothing in the other's list, so that both are shown.
    let a = format!("{BY_LIST_A}\n[[blocklist]]\nname = \"b\"\nprefixes = [\"192.0.2.200\"]");
    let b = format!("{}\n[[blocklist]]\nname = \"a\"\nprefixes = [\"192.0.2.200\"]", by_list_b());
    let mut bench = Bench::new();
    bench.attach(&a);
    let before = bench.sample();
    let traffic = Traffic::start(bench.lab().port("src", "src0"), blocked());
    alternate(&bench, [&a, &b], RELOADS);
    let sent = traffic.stop();

    let (after, seen) = settled(&bench, sent, &before);
    let [by_a, by_b] = ["a", "b"].map(|name| after.rule(name).count.packets);
    println!("{seen} packets judged: {by_a} by a, {by_b} by b");
    assert_eq!(by_a + by_b, seen, "{after:#?}");
    assert!(by_a > 0 && by_b > 0, "{after:#?}");
    assert_eq!(after.verdicts["drop"].packets, seen, "{after:#?}");
    assert_eq!(after.reasons["blocklist"].packets, seen, "{after:#?}");
}

const MARK_A: MacAddr = MacAddr(0x02, 0xaa, 0, 0, 0, 1);
const MARK_B: MacAddr = MacAddr(0x02, 0xbb, 0, 0, 0, 2);

fn redirecting(rule: &str, to: &str, mark: MacAddr, other: &str) -> String {
    // The target is the first slot of one and the second of the other.
    let first = if to == "out1" { "out0" } else { "out1" };
    format!(
        r#"
        [[rule]]
        name = "unused"
        destination_port = 9999
        action = "redirect"
        to = "{first}"
        [[rule]]
        name = "{rule}"
        destination_port = 7
        action = "redirect"
        to = "{to}"
        set_destination_mac = "{mark}"
        [[rule]]
        name = "{other}"
        destination_port = 9998
        action = "drop"
        "#
    )
}

/// What arrives on one output until told to stop: how many, and those that should not be.
fn listen(port: &Port, expected: &[u8], stop: &AtomicBool) -> (u64, Vec<Vec<u8>>) {
    let (mut count, mut wrong) = (0, Vec::new());
    loop {
        match port.recv(Duration::from_millis(20)) {
            Some(frame) if frame == expected => count += 1,
            Some(frame) => wrong.push(frame),
            None if stop.load(Ordering::Relaxed) => return (count, wrong),
            None => {}
        }
    }
}

#[test]
fn a_redirected_packet_takes_all_of_one_ruleset() {
    let a = redirecting("to-out0", "out0", MARK_A, "to-out1");
    let b = redirecting("to-out1", "out1", MARK_B, "to-out0");
    // The rule of the other's name drops in this one, so the counters stay apart by action too.
    let mut bench = Bench::on(Topology::two_outputs());
    bench.open_gates();
    bench.attach(&a);
    let frame = udp4("10.9.0.1", "192.0.2.1", 7, 7);
    let marked = |mark| frame.clone().destination_mac(mark).build();
    let (marked_a, marked_b) = (marked(MARK_A), marked(MARK_B));
    let lab: &Lab = bench.lab();
    let (dst0, dst1) = (lab.port("dst", "dst0"), lab.port("dst", "dst1"));
    let stop = AtomicBool::new(false);
    let before = bench.sample();
    let ((at0, wrong0), (at1, wrong1), after, seen) = thread::scope(|scope| {
        let out0 = scope.spawn(|| listen(&dst0, &marked_a, &stop));
        let out1 = scope.spawn(|| listen(&dst1, &marked_b, &stop));
        let reloaded = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let traffic = Traffic::start(lab.port("src", "src0"), [frame.clone()]);
            alternate(&bench, [&a, &b], RELOADS);
            let sent = traffic.stop();
            settled(&bench, sent, &before)
        }));
        // The listeners have to end whatever happened, or the scope would wait forever.
        stop.store(true, Ordering::Relaxed);
        let (after, seen) = reloaded.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (out0.join().expect("listener"), out1.join().expect("listener"), after, seen)
    });
    println!("{seen} packets redirected, {at0} seen at dst0 and {at1} at dst1");
    assert!(wrong0.is_empty(), "of the other ruleset at dst0: {:x?}", &wrong0[0]);
    assert!(wrong1.is_empty(), "of the other ruleset at dst1: {:x?}", &wrong1[0]);
    assert!(at0 > 0 && at1 > 0, "dst0 saw {at0}, dst1 saw {at1}");
    assert_eq!(after.verdicts["redirect"].packets, seen, "{after:#?}");
    assert_eq!(after.reasons["rule"].packets, seen, "{after:#?}");
    let counted = ["to-out0", "to-out1"].map(|name| after.rule(name).count.packets);
    assert_eq!(counted.iter().sum::<u64>(), seen, "{after:#?}");
    assert!(after.rules.iter().all(|rule| rule.lost.packets == 0), "{after:#?}");
}

/// A configuration of one rule after the other, each for the port of the same place.
fn rules(names: &[&str]) -> String {
    let rule = |(place, name): (usize, &&str)| {
        format!(
            "[[rule]]\nname = \"{name}\"\ndestination_port = {}\naction = \"drop\"\n",
            place + 1
        )
    };
    names.iter().enumerate().map(rule).collect()
}

#[test]
fn counters_belong_to_a_name_and_a_kind() {
    let mut bench = Bench::new();
    bench.attach(&rules(&["one", "two", "three"]));
    let send = |bench: &Bench, port: u16, count: usize| {
        let seen = bench.sample().total().packets;
        let frame = udp4("10.0.0.1", "192.0.2.1", 1024, port).build();
        bench.port("src0").send_many(std::iter::repeat_n(&frame, count));
        bench.await_count(seen + count as u64)
    };
    let counts = |sample: &Sample| -> Vec<(String, u64)> {
        sample.rules.iter().map(|rule| (rule.name.clone(), rule.count.packets)).collect()
    };
    let expect = |bench: &Bench, expected: &[(&str, u64)], total: u64| {
        let sample = bench.sample();
        let expected: Vec<_> = expected.iter().map(|(n, c)| ((*n).to_owned(), *c)).collect();
        assert_eq!(counts(&sample), expected);
        assert_eq!(sample.total().packets, total);
    };
    send(&bench, 1, 1);
    send(&bench, 2, 2);
    send(&bench, 3, 3);
    expect(&bench, &[("one", 1), ("two", 2), ("three", 3)], 6);

    // Another order, and other ports with it: the name is what counts.
    bench.attach(&rules(&["three", "one", "two"]));
    expect(&bench, &[("three", 3), ("one", 1), ("two", 2)], 6);
    send(&bench, 1, 1);
    expect(&bench, &[("three", 4), ("one", 1), ("two", 2)], 7);

    // Another name for the rule is another counter.
    bench.attach(&rules(&["three", "uno", "two"]));
    expect(&bench, &[("three", 4), ("uno", 0), ("two", 2)], 7);
    send(&bench, 2, 5);
    expect(&bench, &[("three", 4), ("uno", 5), ("two", 2)], 12);

    // A rule that was away begins anew, whatever number it or its neighbours get.
    bench.attach(&rules(&["two"]));
    expect(&bench, &[("two", 2)], 12);
    bench.attach(&rules(&["three", "two", "one", "uno"]));
    expect(&bench, &[("three", 0), ("two", 2), ("one", 0), ("uno", 0)], 12);

    // The same name as another kind is another rule.
    bench.attach("[[blocklist]]\nname = \"two\"\nprefixes = [\"10.0.0.1\"]");
    expect(&bench, &[("two", 0)], 12);
    send(&bench, 9, 1);
    expect(&bench, &[("two", 1)], 13);
    // Another action is not.
    bench.attach("[[blocklist]]\nname = \"two\"\nprefixes = [\"10.0.0.1\"]\naction = \"count\"");
    send(&bench, 9, 1);
    expect(&bench, &[("two", 2)], 14);
}
