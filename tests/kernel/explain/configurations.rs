//! `--config`: asking a configuration that is in force nowhere.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{explain_frame, hex_digits, lines, told, without_the_kernel};
use crate::lab::bench::Bench;
use crate::lab::capture::{Order, pcap_with};
use crate::lab::frame::*;

const CONFIGURATION: &str = r#"
[policy]
default = "drop"
[[allowlist]]
name = "office"
prefixes = ["198.51.100.0/24"]
[[blocklist]]
name = "bad"
files = ["bad.txt"]
[[blocklist]]
name = "trial"
action = "count"
prefixes = ["203.0.0.0/8"]
[[rule]]
name = "out"
destination_port = 7
action = "redirect"
to = "no-such-if"
set_destination_mac = "02:00:00:00:00:07"
"#;

#[test]
fn a_configuration_in_force_nowhere_is_asked() {
    let bench = Bench::new();
    let file = bench.write("any.toml", CONFIGURATION);
    bench.write("bad.txt", "# comment\n203.0.113.0/24\n");
    let ask = |args: &[&str]| {
        let args = [args, &["--json"]].concat();
        let [answer] = lines(&without_the_kernel("explain", &file, args).success().stdout)
            .try_into()
            .expect("one answer");
        answer
    };
    let from = |source| ask(&["--source", source, "--destination", "192.0.2.1"]);
    assert_eq!(
        told(&from("198.51.100.7")),
        json!(["pass", "allowlist", "office", "198.51.100.0/24"])
    );
    let blocked = from("203.0.113.7");
    assert_eq!(told(&blocked), json!(["drop", "blocklist", "bad", "203.0.113.0/24"]));
    assert!(blocked["file"].as_str().is_some_and(|file| file.ends_with("/bad.txt")));
    assert_eq!(blocked["line"], 2);
    let counted = from("203.1.1.1");
    assert_eq!(told(&counted), json!(["drop", "default", null, null]));
    assert_eq!(counted["counted"]["rule"], "trial");
    // A target that does not exist is no error: the file cannot know whether it will be there.
    let frame = udp4("192.0.2.9", "192.0.2.1", 9, 7).build();
    let sent = ask(&["--packet", &hex_digits(&frame)]);
    assert_eq!(told(&sent), json!(["redirect", "rule", "out", null]));
    assert_eq!((&sent["to"], &sent["missing"]), (&json!("no-such-if"), &Value::Null));
    let mut changed = frame;
    changed[..6].copy_from_slice(&[2, 0, 0, 0, 0, 7]);
    assert_eq!(sent["output"], hex_digits(&changed));

    let lookup = |address: &str| -> Value {
        without_the_kernel("lookup", &file, [address, "--json"]).success().json()
    };
    let held = lookup("203.0.113.7");
    let names: Vec<&Value> = held.as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["bad", "trial"]);
    assert_eq!(lookup("1.2.3.4"), json!([]));
}

/// Every list that holds a name or a parent of it, the most specific entry first.
#[test]
fn names_of_lists() {
    let bench = Bench::new();
    bench.write("hosts", "0.0.0.0 localhost\n0.0.0.0 www.example.org\n");
    let file = bench.write(
        "names.toml",
        "[[domains]]\nname = \"any\"\nnames = [\".\"]\nqtype = [\"ANY\", \"TXT\"]\n\
         [[domains]]\nname = \"org\"\nnames = [\"org\", \"*.example.org\"]\naction = \"refuse\"\n\
         [[domains]]\nname = \"trackers\"\nfiles = [\"hosts\"]\naction = \"nxdomain\"\n",
    );
    let lookup =
        |name: &str, rest: &[&str]| without_the_kernel("lookup", &file, [&[name], rest].concat());
    let held: Value = lookup("WWW.example.org.", &["--json"]).success().json();
    let held = held.as_array().unwrap();
    let told: Vec<Value> = held
        .iter()
        .map(|it| json!([it["kind"], it["name"], it["entry"], it["action"], it["line"]]))
        .collect();
    assert_eq!(
        told,
        [
            json!(["domains", "trackers", "www.example.org", "nxdomain", 2]),
            json!(["domains", "org", "*.example.org", "refuse", 7]),
            json!(["domains", "org", "org", "refuse", 7]),
            json!(["domains", "any", ".", "drop", 3]),
        ]
    );
    assert_eq!(held[3]["qtype"], json!(["TXT", "ANY"]));
    assert_eq!(held[0].get("qtype"), None);
    assert!(held[0]["file"].as_str().unwrap().ends_with("/hosts"));
    let text = lookup("a.example.org", &[]).success().stdout.clone();
    assert!(text.contains("*.example.org  refuse  question"), "{text}");
    assert!(text.contains("TXT,ANY"), "{text}");
    let said = lookup("10.0.0", &[]);
    assert!(said.stderr.contains("write a name, such as example.org"), "{}", said.stderr);
}

/// A frame that is built asks for a name, in a query or in an answer.
#[test]
fn questions_of_built_frames() {
    let bench = Bench::new();
    let file = bench.write(
        "names.toml",
        "[[domains]]\nname = \"ads\"\nnames = [\"ads.example\"]\naction = \"nxdomain\"\n\
         [[domains]]\nname = \"any\"\nnames = [\".\"]\nqtype = [\"ANY\"]\n",
    );
    let ask = |rest: &str| {
        let rest: Vec<&str> = rest.split(' ').collect();
        without_the_kernel("explain", &file, [&BETWEEN[..], &rest, &["--json"]].concat())
    };
    let nothing = json!(["pass", "default", null, null]);
    let ads = |verdict: &str| json!([verdict, "domain", "ads", "ads.example"]);
    for (rest, expected) in [
        ("--question www.ADS.example", ads("tx")),
        ("--question ads.example:AAAA --vlan 7", ads("tx")),
        ("--question ads.example --source-port 53", ads("drop")),
        ("--question ads.example --source-port 53 --destination-port 53", ads("tx")),
        ("--question ads.example --protocol udp --destination-port mdns", ads("tx")),
        ("--question other.example", nothing.clone()),
        ("--question other.example:ANY", json!(["drop", "domain", "any", "."])),
        ("--question ads.example --destination-port 5300", nothing.clone()),
    ] {
        let output = ask(rest);
        let answer = lines(&output.success().stdout).swap_remove(0);
        assert_eq!(told(&answer), expected, "{rest}");
        assert_eq!(answer.get("unreadable"), None, "{rest}");
        let in_vain = "lists of names look at UDP to and from port 53 alone";
        assert_eq!(output.stderr.contains(in_vain), rest.ends_with("5300"), "{rest}");
    }
    let v6 =
        ["--source", "2001:db8::7", "--destination", "2001:db8::1", "--question", "ads.example"];
    let output = without_the_kernel("explain", &file, v6);
    let said = "tx: domain \"ads\" ads.example";
    assert!(output.success().stdout.starts_with(said), "{output:?}");

    // Without a question, it is said that no list of names was asked.
    let without = "--protocol udp --destination-port 53";
    let note = "note: the packet has no question, so that no list of names was asked";
    assert!(ask(without).success().stderr.contains(note));
    assert!(!ask("--protocol udp --destination-port 80").success().stderr.contains("note: "));
    let plain = bench.write("plain.toml", "");
    let rest: Vec<&str> = without.split(' ').collect();
    let output = without_the_kernel("explain", &plain, [&BETWEEN[..], &rest].concat());
    assert_eq!(output.success().stderr, "");

    for (rest, said) in [
        ("--question a.example --protocol tcp", "that protocol carries no question"),
        ("--question a..example", "\"a..example\" is no name: there is nothing between two dots"),
        ("--question a.example:AAA", "did you mean \"AAAA\"?"),
        ("--question *.example", "write the name that is asked for"),
    ] {
        let output = ask(rest);
        assert!(
            output.expect_status(2).stdout.contains(said) || output.stderr.contains(said),
            "{output:?}"
        );
    }
}

const BETWEEN: [&str; 4] = ["--source", "198.51.100.7", "--destination", "192.0.2.53"];

/// The names that a configuration takes too.
#[test]
fn ports_protocols_and_types_by_name() {
    let bench = Bench::new();
    let rule = |name: &str, keys: &str| {
        format!("[[rule]]\nname = \"{name}\"\n{keys}\naction = \"drop\"\n")
    };
    let file = bench.write(
        "named.toml",
        &[
            rule("dns", "protocol = \"udp\"\nsource_port = \"ntp\"\ndestination_port = \"domain\""),
            rule("web", "protocol = \"tcp\"\ndestination_port = 443"),
            rule("gre", "protocol = \"gre\""),
            rule("pong", "protocol = \"icmp\"\nicmp_type = 0"),
            rule("solicit", "protocol = \"icmpv6\"\nicmp_type = 135"),
        ]
        .concat(),
    );
    let ask = |addresses: [&str; 2], rest: &str| {
        let [source, destination] = addresses;
        let named = ["--source", source, "--destination", destination];
        let rest: Vec<&str> = rest.split(' ').collect();
        without_the_kernel("explain", &file, [&named, &rest[..]].concat())
    };
    let (v4, v6) = (["192.0.2.9", "192.0.2.1"], ["2001:db8::9", "2001:db8::1"]);
    for (addresses, rest, decided) in [
        (v4, "--protocol udp --source-port ntp --destination-port domain", "dns"),
        (v6, "--destination-port https", "web"),
        (v4, "--protocol gre", "gre"),
        (v4, "--protocol icmp --icmp-type echo-reply", "pong"),
        (v6, "--protocol ipv6-icmp --icmp-type nd-neighbor-solicit", "solicit"),
    ] {
        let output = ask(addresses, rest);
        let said = format!("drop: rule \"{decided}\"");
        assert!(output.success().stdout.starts_with(&said), "{rest}: {output:?}");
    }
    for (rest, told) in [
        ("--destination-port htps", "--destination-port cannot be \"htps\"\n  hint: did you mean "),
        (
            "--protocol icmp --icmp-type nd-redirect",
            "--icmp-type cannot be \"nd-redirect\"\n  hint: that is a type of \"icmpv6\"",
        ),
        (
            "--protocol tpc",
            "invalid value 'tpc' for '--protocol <PROTOCOL>': did you mean \"tcp\"?",
        ),
        ("--source-port 65536", "a port is 0 to 65535"),
    ] {
        let output = ask(v4, rest);
        assert!(output.expect_status(2).stderr.contains(told), "{rest}: {output:?}");
    }
}

/// Nobody can be asked which sockets are open, and what an interface has sent.
#[test]
fn replies_are_not_known_without_an_interface() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("replies.toml");
    let text = "[policy]\ndefault = \"drop\"\nreplies = \"pass\"\n";
    std::fs::write(&file, text).expect("written");
    let addresses = ["--source", "192.0.2.9", "--destination", "192.0.2.1", "--protocol"];
    for rest in [
        &["tcp", "--source-port", "443", "--destination-port", "40000", "--tcp-flags", "ack"][..],
        &["udp", "--source-port", "53", "--destination-port", "40000"],
        &["gre"],
        &["icmp", "--icmp-type", "echo-reply"],
    ] {
        let output = without_the_kernel("explain", &file, [&addresses, rest].concat());
        let said = "drop: default: no reply: none that is known: which sockets are open, and what was sent,";
        assert!(output.success().stdout.starts_with(said), "{rest:?}: {output:?}");
    }
}

/// Packets of interfaces without Ethernet headers.
#[test]
fn frames_that_begin_with_ip_are_asked_with_a_link_type() {
    let bench = Bench::new();
    let file = bench.write("any.toml", CONFIGURATION);
    bench.write("bad.txt", "203.0.113.0/24\n");
    let packet = udp4("203.0.113.7", "192.0.2.1", 9, 7).build().split_off(14);
    let capture = pcap_with(Order::Little, 0xa1b2_c3d4, 101, &[&packet[..]]);
    let capture = {
        let path = bench.directory().join("raw.pcap");
        std::fs::write(&path, capture).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let raw = ["--link-type", "raw", "--json"];
    for args in [
        vec!["--packet", &hex_digits(&packet)],
        vec!["--pcap", &capture],
        vec!["--source", "203.0.113.7", "--destination", "192.0.2.1"],
    ] {
        let output = without_the_kernel("explain", &file, [&args[..], &raw].concat());
        let answer = lines(&output.success().stdout).swap_remove(0);
        assert_eq!(told(&answer), json!(["drop", "blocklist", "bad", "203.0.113.0/24"]));
    }
    let output = without_the_kernel("explain", &file, ["--pcap", &capture]);
    output.expect_status(2);
    assert!(output.stderr.contains("its link type is RAW, not Ethernet"), "{}", output.stderr);
    assert!(output.stderr.contains("`--link-type raw`"), "{}", output.stderr);
    // An attached interface has a link type, so the option is refused.
    bench.xdpctl(["explain", "in0", "--link-type", "raw", "--packet", "00"]).expect_status(2);
}

#[test]
fn what_is_wrong_with_the_configuration_is_the_answer() {
    let bench = Bench::new();
    let file = bench.write("wrong.toml", "[policy]\ndefault = \"dorp\"\n");
    for (command, args) in [("explain", &["--packet", "00"][..]), ("lookup", &["192.0.2.1"])] {
        let output = without_the_kernel(command, &file, args.iter().copied());
        output.expect_status(2);
        assert!(output.stderr.contains("wrong.toml:2:11: [policy]: default cannot be \"dorp\""));
        assert_eq!(output.stdout, "");
        let path = file.to_str().unwrap();
        // Either an interface or a configuration has to be named.
        for wrong in [&["in0", "--config", path][..], &[]] {
            bench.xdpctl([&[command], wrong, args].concat()).expect_status(2);
        }
    }
}

/// `--config` uses the list file as it is now, and `explain IFACE` the list that is in force.
#[test]
fn the_file_is_asked_and_not_what_is_in_force() {
    let mut bench = Bench::new();
    bench.write("bad.txt", "203.0.113.0/24\n");
    bench.attach(&CONFIGURATION.replace("no-such-if", "out0"));
    let file = bench.directory().join("in0.toml");
    bench.write("bad.txt", "192.0.2.0/24\n");
    let frame = udp4("192.0.2.9", "192.0.2.1", 9, 9).build();
    assert_eq!(told(&explain_frame(&bench, frame.clone())), json!(["drop", "default", null, null]));
    let output = without_the_kernel("explain", &file, ["--json", "--packet", &hex_digits(&frame)]);
    let answer = &lines(&output.success().stdout)[0];
    assert_eq!(told(answer), json!(["drop", "blocklist", "bad", "192.0.2.0/24"]));
}

/// Whether `explain --config FILE --packet -` succeeded, with its standard output and error.
fn typed(file: &Path, text: &[u8]) -> (bool, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xdpctl"));
    command.args(["explain", "--packet", "-", "--config"]).arg(file);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    // An input that is refused early is not read to its end.
    let _ = input.write_all(text);
    drop(input);
    let output = child.wait_with_output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    (output.status.success(), out, err)
}

#[test]
fn what_tcpdump_prints_can_be_pasted() {
    let bench = Bench::new();
    let file = bench.write("any.toml", CONFIGURATION);
    bench.write("bad.txt", "203.0.113.0/24\n");
    let frame = udp4("203.0.113.7", "192.0.2.1", 9, 7).build();
    let mut pasted = "12:00:00.1 IP 203.0.113.7.9 > 192.0.2.1.7: UDP, length 0\n".to_owned();
    for (number, line) in frame.chunks(16).enumerate() {
        let groups: Vec<String> = line.chunks(2).map(hex_digits).collect();
        pasted += &format!("\t0x{:04x}:  {}\n", number * 16, groups.join(" "));
    }
    let (done, out, err) = typed(&file, pasted.as_bytes());
    assert!(done && out.starts_with("drop: blocklist \"bad\" 203.0.113.0/24 ("), "{out}{err}");
    assert_eq!(err, "");
    // As an argument too.
    let output = without_the_kernel("explain", &file, ["--packet", &pasted]);
    assert_eq!(output.success().stdout, out);

    let (done, out, err) = typed(&file, b"nonsense");
    assert!(!done && out.is_empty(), "{out}");
    assert!(err.contains("the frame on standard input: 'n', character 1, is no digit"), "{err}");
    let (done, out, err) = typed(&file, b"\n");
    assert!(!done && out.is_empty() && err.contains("there are no bytes in it"), "{out}{err}");
    let (done, _, err) = typed(&file, &[0xff; 10]);
    assert!(!done && err.contains("it is not text"), "{err}");
    let (done, _, err) = typed(&file, &vec![b' '; (1 << 20) + 1]);
    assert!(!done && err.contains("it is longer than 1048576 bytes of text"), "{err}");

    // `tcpdump -x` omits the Ethernet header.
    let end = 14 + usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    let output = without_the_kernel("explain", &file, ["--packet", &hex_digits(&frame[14..end])]);
    assert!(output.success().stderr.contains("without its Ethernet header"), "{}", output.stderr);
}
