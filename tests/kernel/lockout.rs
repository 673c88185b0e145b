//! A ruleset that would cut off whoever types the command is refused. One that would cut off the
//! host gets a warning.

use std::ffi::OsStr;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::lab::bench::{Bench, JUDGED};
use crate::lab::{Background, IN0, Output, SRC0};

/// No SSH from anywhere.
const CLOSED: &str = "[[rule]]\nname = \"no-ssh\"\nprotocol = \"tcp\"\ndestination_port = 22\n\
                      action = \"drop\"\n";
/// A session, as seen by the device under test.
const SESSION: &str = "10.0.0.1 50000 10.0.0.2 22";

/// With addresses: `in0` is 10.0.0.2, and 10.0.0.1 is at its other end.
fn addressed() -> Bench {
    let bench = Bench::new();
    let lab = bench.lab();
    lab.ip("dut", ["address", "add", "10.0.0.2/24", "dev", JUDGED]);
    lab.ip("src", ["address", "add", "10.0.0.1/24", "dev", "src0"]);
    // The lab's links have no ARP.
    lab.ip("dut", ["neighbour", "add", "10.0.0.1", "lladdr", &SRC0.to_string(), "dev", JUDGED]);
    lab.ip("src", ["neighbour", "add", "10.0.0.2", "lladdr", &IN0.to_string(), "dev", "src0"]);
    bench
}

fn run(command: Command) -> Output {
    Background::start(command).wait(Duration::from_secs(300)).expect("it ends")
}

/// Runs xdpctl in a session.
fn within<S: AsRef<OsStr>>(
    bench: &Bench,
    session: &str,
    args: impl IntoIterator<Item = S>,
) -> Output {
    let mut command = bench.lab().xdpctl_command("dut", args);
    command.env("SSH_CONNECTION", session);
    run(command)
}

fn written(bench: &Bench, name: &str, text: &str) -> String {
    bench.write(name, text).to_str().expect("UTF-8").to_owned()
}

#[track_caller]
fn refused(output: &Output, by: &str) {
    output.expect_status(1);
    for part in [by, "10.0.0.1", "the connection that this command runs in", "--force"] {
        assert!(output.stderr.contains(part), "{part}: {}", output.stderr);
    }
}

#[track_caller]
fn nothing_attached(bench: &Bench) {
    assert_eq!(bench.xdpctl(["status", "--json"]).json(), Value::Array(Vec::new()));
    assert!(bench.lab().kept("dut").is_empty(), "{:?}", bench.lab().kept("dut"));
}

#[test]
fn a_ruleset_that_cuts_the_session_off_is_not_attached() {
    let bench = addressed();
    let file = written(&bench, "closed.toml", CLOSED);
    let attach = ["attach", JUDGED, "-c", &file];
    let output = within(&bench, SESSION, attach);
    refused(&output, "rule \"no-ssh\" (");
    assert!(output.stderr.contains("by SSH_CONNECTION"), "{}", output.stderr);
    nothing_attached(&bench);
    // Nor by the default; and without a word where it is meant.
    let all = written(&bench, "all.toml", "[policy]\ndefault = \"drop\"\n");
    refused(&within(&bench, SESSION, ["attach", JUDGED, "-c", &all]), "policy.default = \"drop\"");
    nothing_attached(&bench);
    let output = within(&bench, SESSION, ["attach", JUDGED, "-c", &file, "--force"]);
    assert!(
        output.success().stderr.contains("warning: on in0, rule \"no-ssh\""),
        "{}",
        output.stderr
    );
    // It is in force already, but the same again is still refused, by `--replace` too.
    for again in [&["reload"][..], &["reload", JUDGED], &["attach", JUDGED, "--replace"]] {
        refused(&within(&bench, SESSION, again), "rule \"no-ssh\" (");
        let forced = [again, &["--force"]].concat();
        within(&bench, SESSION, forced).success();
    }
}

/// The session itself is a socket, and passes. The last packet of a new one's handshake is none yet.
#[test]
fn a_ruleset_that_lets_no_handshake_end_is_not_attached() {
    let bench = addressed();
    let ssh = |flags: &str| {
        let text = format!(
            "[policy]\ndefault = \"drop\"\nreplies = \"pass\"\n[[rule]]\nname = \"ssh\"\nprotocol = \"tcp\"\n\
             destination_port = 22\n{flags}action = \"pass\"\n"
        );
        written(&bench, "ssh.toml", &text)
    };
    let file = ssh("tcp_flags = \"syn,!ack\"\n");
    let output = within(&bench, SESSION, ["attach", JUDGED, "-c", &file]);
    output.expect_status(1);
    assert!(output.stderr.contains("policy.default = \"drop\""), "{}", output.stderr);
    nothing_attached(&bench);
    within(&bench, SESSION, ["attach", JUDGED, "-c", &ssh("")]).success();
}

#[test]
fn other_sessions_and_none_are_no_reason() {
    let bench = addressed();
    bench.lab().ip("dut", ["address", "add", "10.1.0.2/24", "dev", "out0"]);
    let file = written(&bench, "closed.toml", CLOSED);
    let allowing = format!("{CLOSED}[[allowlist]]\nname = \"me\"\nprefixes = [\"10.0.0.1\"]\n");
    let allowing = written(&bench, "allowing.toml", &allowing);
    for (session, file) in [
        // By another interface, to another port, from the host itself, and let in by a list.
        ("10.1.0.1 50000 10.1.0.2 22", &file),
        ("10.0.0.1 50000 10.0.0.2 23", &file),
        ("10.0.0.2 50000 10.0.0.2 22", &file),
        ("203.0.113.1 50000 203.0.113.2 22", &file),
        ("UNKNOWN", &file),
        (SESSION, &allowing),
    ] {
        let output = within(&bench, session, ["attach", JUDGED, "-c", file]);
        assert!(!output.success().stderr.contains("10.0.0.1"), "{session}: {}", output.stderr);
        bench.xdpctl(["detach", JUDGED]).success();
    }
    // A session from elsewhere is refused once the way back to it goes by this interface.
    bench.lab().ip("dut", ["route", "add", "203.0.113.0/24", "via", "10.0.0.1"]);
    let output = within(&bench, "203.0.113.1 50000 10.0.0.2 22", ["attach", JUDGED, "-c", &file]);
    output.expect_status(1);
    assert!(output.stderr.contains("from 203.0.113.1:50000 to 10.0.0.2:22"), "{}", output.stderr);
    bench.xdpctl(["attach", JUDGED, "-c", &file]).success();
}

#[test]
fn a_reload_that_cuts_the_session_off_changes_nothing() {
    let mut bench = addressed();
    bench.attach("");
    let generation = |bench: &Bench| bench.sample().generation;
    let before = generation(&bench);
    let closed = written(&bench, "closed.toml", CLOSED);
    refused(&within(&bench, SESSION, ["reload", JUDGED, "-c", &closed]), "rule \"no-ssh\" (");
    assert_eq!(generation(&bench), before);
    // Run-time entries are in force beside it: they let in, and they keep out.
    bench.xdpctl(["allow", JUDGED, "10.0.0.0/24"]).success();
    within(&bench, SESSION, ["reload", JUDGED, "-c", &closed]).success();
    bench.xdpctl(["block", JUDGED, "10.0.0.1"]).success();
    refused(&within(&bench, SESSION, ["reload"]), "the run-time entry 10.0.0.1/32 drops");
    assert_eq!(generation(&bench), before + 1);
}

/// Whoever blocks a whole network may sit in it.
#[test]
fn a_block_of_the_session_is_refused() {
    let mut bench = addressed();
    bench.attach("");
    let none =
        || assert_eq!(bench.xdpctl(["bans", JUDGED, "--json"]).json(), serde_json::json!([]));
    for args in [
        &["block", JUDGED, "10.0.0.1"][..],
        &["block", JUDGED, "192.0.2.1", "10.0.0.0/8", "10.0.0.0/24"],
        &["block", "10.0.0.0-10.0.0.9", "--all-interfaces"],
        &["block", JUDGED, "0.0.0.0/0", "--catch-all"],
    ] {
        let output = within(&bench, SESSION, args);
        refused(&output, "error: on in0, a block of ");
        assert!(output.stderr.contains("by SSH_CONNECTION"), "{}", output.stderr);
        none();
    }
    // The prefix that decides is named, and what would let the session in.
    let output = within(&bench, SESSION, ["block", JUDGED, "10.0.0.0/8", "10.0.0.0/24"]);
    assert!(output.stderr.contains("a block of 10.0.0.0/24 would cut off"), "{}", output.stderr);
    assert!(output.stderr.contains("`xdpctl allow in0 10.0.0.1`"), "{}", output.stderr);

    // Others, and what lets nobody out, are blocked without a word.
    for (session, prefix) in
        [(SESSION, "10.0.0.3"), ("10.1.0.1 50000 10.1.0.2 22", "10.1.0.1"), ("UNKNOWN", "10.0.0.1")]
    {
        let output = within(&bench, session, ["block", JUDGED, prefix]);
        assert_eq!(output.success().stderr, "", "{session}");
        bench.xdpctl(["unblock", JUDGED, prefix]).success();
    }
    within(&bench, SESSION, ["allow", JUDGED, "10.0.0.1"]).success();
    // Another owner's allow lets it in, one's own is replaced by the block.
    let again = ["block", JUDGED, "10.0.0.1"];
    refused(&within(&bench, SESSION, again), "a block of 10.0.0.1/32");
    within(&bench, SESSION, ["block", JUDGED, "10.0.0.0/24"]).success();
    let other = within(&bench, SESSION, ["block", JUDGED, "10.0.0.1", "--owner", "sshd"]);
    assert!(other.success().stderr.contains("a run-time entry of cli allows it"), "{other:?}");
    bench.xdpctl(["bans", JUDGED, "--flush"]).success();

    let output = within(&bench, SESSION, ["block", JUDGED, "10.0.0.1", "--force"]);
    let warned = "warning: on in0, a block of 10.0.0.1/32 would cut off the connection";
    assert!(output.success().stderr.starts_with(warned), "{}", output.stderr);
    bench.xdpctl(["bans", JUDGED, "--flush"]).success();

    bench.attach("[[allowlist]]\nname = \"me\"\nprefixes = [\"10.0.0.0/24\"]\n");
    let output = within(&bench, SESSION, ["block", JUDGED, "10.0.0.1"]);
    assert!(output.success().stderr.starts_with("warning: allowlist \"me\""), "{output:?}");
}

/// What `block --persist` left is put in force by the next attach, whose command runs in the session.
#[test]
fn a_persisted_block_of_the_session_is_not_put_back() {
    let mut bench = addressed();
    bench.attach("");
    let namespace = format!("netns-{}", bench.lab().namespace("dut").name);
    let file = written(&bench, "open.toml", "");
    bench.xdpctl(["block", JUDGED, "10.0.0.1", "--persist"]).success();
    bench.xdpctl(["detach", JUDGED]).success();
    let attach = ["attach", JUDGED, "-c", &file];
    let output = within(&bench, SESSION, attach);
    refused(&output, "the run-time entry 10.0.0.1/32 drops");
    assert!(output.stderr.contains("`block --persist` put it"), "{}", output.stderr);
    assert!(output.stderr.contains("&& xdpctl unblock in0 10.0.0.1/32`"), "{}", output.stderr);
    nothing_attached(&bench);
    // Another session, and one that an allowlist lets in, are no reason.
    within(&bench, "10.0.0.3 50000 10.0.0.2 22", attach).success();
    bench.xdpctl(["detach", JUDGED]).success();
    let list = "[[allowlist]]\nname = \"me\"\nprefixes = [\"10.0.0.1\"]\n";
    let listed = written(&bench, "listed.toml", list);
    within(&bench, SESSION, ["attach", JUDGED, "-c", &listed]).success();
    bench.xdpctl(["detach", JUDGED]).success();
    let output = within(&bench, SESSION, ["attach", JUDGED, "-c", &file, "--force"]);
    assert!(output.success().stderr.contains("warning: on in0, the run-time entry"), "{output:?}");
    bench.xdpctl(["unblock", JUDGED, "10.0.0.1"]).success();
    bench.xdpctl(["detach", JUDGED]).success();
    within(&bench, SESSION, attach).success();
    let _ = std::fs::remove_dir_all(std::path::Path::new("/var/lib/xdpctl/v1").join(namespace));
}

/// Whoever removes the `allow` that lets the session in sits outside.
#[test]
fn an_allow_that_lets_the_session_in_is_not_removed() {
    let mut bench = addressed();
    bench.attach(CLOSED);
    let entries = || bench.xdpctl(["bans", JUDGED, "--json"]).json().as_array().map(Vec::len);
    bench.xdpctl(["allow", JUDGED, "10.0.0.1"]).success();
    for args in [
        &["unblock", JUDGED, "10.0.0.1"][..],
        &["unblock", "10.0.0.1", "--all-interfaces", "--owner", "cli"],
        &["bans", JUDGED, "--flush"],
        &["bans", "--all-interfaces", "--flush"],
    ] {
        let output = within(&bench, SESSION, args);
        refused(
            &output,
            "without the run-time entry 10.0.0.1/32, which allows it, rule \"no-ssh\"",
        );
        assert_eq!(entries(), Some(1));
    }
    // Another owner's, another session, and one that another entry lets in still.
    bench.xdpctl(["allow", JUDGED, "10.0.0.1", "--owner", "sshd"]).success();
    within(&bench, SESSION, ["unblock", JUDGED, "10.0.0.1", "--owner", "sshd"]).success();
    bench.xdpctl(["allow", JUDGED, "10.0.0.0/24"]).success();
    within(&bench, SESSION, ["unblock", JUDGED, "10.0.0.1"]).success();
    let output = within(&bench, SESSION, ["unblock", JUDGED, "10.0.0.0/24", "--force"]);
    assert!(
        output.success().stderr.contains("warning: on in0, without the run-time"),
        "{output:?}"
    );
    assert_eq!(entries(), Some(0));
    // Where the rules let it in, nothing is lost, unless a block shows that the entry hid.
    bench.attach("");
    bench.xdpctl(["allow", JUDGED, "10.0.0.1"]).success();
    within(&bench, SESSION, ["unblock", JUDGED, "10.0.0.1"]).success();
    bench.xdpctl(["block", JUDGED, "10.0.0.0/24"]).success();
    bench.xdpctl(["allow", JUDGED, "10.0.0.1"]).success();
    let output = within(&bench, SESSION, ["unblock", JUDGED, "10.0.0.1"]);
    refused(&output, "the run-time entry 10.0.0.0/24 drops");
}

/// As it is after sudo(8).
#[test]
fn a_stripped_environment_is_found_above() {
    let bench = addressed();
    let file = written(&bench, "closed.toml", CLOSED);
    let mut shell = bench.lab().command("dut", "sh");
    shell.env("SSH_CONNECTION", SESSION);
    // `exit` makes it not the last command, which a shell may run in its own place.
    shell.args(["-c", "env -u SSH_CONNECTION \"$0\" \"$@\"; exit $?"]);
    shell.args([env!("CARGO_BIN_EXE_xdpctl"), "attach", JUDGED, "-c", &file]);
    let output = run(shell);
    refused(&output, "rule \"no-ssh\" (");
    assert!(output.stderr.contains("by SSH_CONNECTION of process "), "{}", output.stderr);
    nothing_attached(&bench);
}

/// A shell under that name, with a connection of its own.
fn sshd(bench: &Bench) -> PathBuf {
    let path = bench.directory().join("sshd");
    std::fs::copy("/bin/bash", &path).expect("bash, of which a copy is sshd");
    path
}

#[test]
fn the_socket_of_sshd_is_found_where_no_environment_says_so() {
    let bench = addressed();
    let listener = bench.lab().namespace("src").enter(|| TcpListener::bind("10.0.0.1:2222"));
    let _listener = listener.expect("a listener");
    let back = "[[rule]]\nname = \"no-way-back\"\nprotocol = \"tcp\"\nsource_port = 2222\n\
                action = \"drop\"\n";
    let file = written(&bench, "back.toml", back);
    let mut shell = bench.lab().command("dut", sshd(&bench));
    shell.env_remove("SSH_CONNECTION");
    shell.args(["-c", "exec 3<>/dev/tcp/10.0.0.1/2222; (\"$0\" \"$@\"; exit $?); exit $?"]);
    shell.args([env!("CARGO_BIN_EXE_xdpctl"), "attach", JUDGED, "-c", &file]);
    let output = run(shell);
    refused(&output, "rule \"no-way-back\" (");
    let by = "by the socket of sshd, process ";
    assert!(output.stderr.contains(by), "{}", output.stderr);
    assert!(output.stderr.contains("from 10.0.0.1:2222 to 10.0.0.2:"), "{}", output.stderr);
    nothing_attached(&bench);
}

const DROPPING: &str = "[policy]\ndefault = \"drop\"\n[arp]\naction = \"drop\"\n";
/// What the warnings say to add.
const OPEN: &str = r#"
allow = ["10.0.0.1"]
[[rule]]
name = "answers"
protocol = "tcp"
tcp_flags = "ack"
action = "pass"
[[rule]]
name = "neighbours"
protocol = "icmpv6"
icmp_type = [133, 134, 135, 136]
action = "pass"
[[rule]]
name = "dhcp"
protocol = "udp"
source_port = 67
destination_port = 68
action = "pass"
"#;

#[test]
fn what_the_host_would_lose_is_warned_of() {
    let bench = Bench::new();
    let lab = bench.lab();
    let file = written(&bench, "in0.toml", DROPPING);
    let warnings = |text: &str| -> Vec<String> {
        let warning = |line: &&str| line.starts_with("warning: ");
        text.lines().filter(warning).map(str::to_owned).collect()
    };
    let check = || bench.xdpctl(["check", &file]);
    // An interface without an address has nothing to lose.
    assert_eq!(warnings(&check().success().stderr), [] as [String; 0]);

    lab.ip(
        "dut",
        [
            "address",
            "add",
            "10.0.0.2/24",
            "dev",
            JUDGED,
            "valid_lft",
            "900",
            "preferred_lft",
            "900",
        ],
    );
    lab.ip("dut", ["route", "add", "default", "via", "10.0.0.1"]);
    let ipv6 = "/proc/sys/net/ipv6/conf/in0/disable_ipv6";
    let enabled = lab.namespace("dut").enter(|| std::fs::write(ipv6, "0"));
    enabled.expect("IPv6 is switched on");
    lab.ip("dut", ["address", "add", "2001:db8::2/64", "dev", JUDGED, "nodad"]);
    let parts = [
        "in0 holds the default route, and the default drops what answers",
        "neighbour discovery (ICMPv6 type 135) out: in0 has IPv6",
        "[arp] drops what the gateway 10.0.0.1 says of itself",
        "keeps DHCP out: in0 has 10.0.0.2 for a while only",
    ];
    let told = |text: &str, before: &str| {
        let found = warnings(text);
        assert_eq!(found.len(), parts.len(), "{found:#?}");
        for (line, part) in found.iter().zip(parts) {
            assert!(
                line.starts_with(&format!("warning: {before}")) && line.contains(part),
                "{line}"
            );
        }
    };
    told(&check().success().stderr, &format!("{file}: "));
    let json = bench.xdpctl(["check", &file, "--json"]).success().json();
    let listed = json["warnings"].as_array().expect("an array").clone();
    assert_eq!(listed.len(), parts.len(), "{json}");
    assert!(listed.iter().all(|it| it["hint"].is_string() && it["line"] == 0), "{json}");
    let attached = bench.xdpctl(["attach", JUDGED, "-c", &file]);
    told(&attached.success().stderr, "");
    // Who puts another ruleset in its place is told the same.
    told(&bench.xdpctl(["reload", JUDGED, "--dry-run"]).success().stderr, "");
    told(&bench.xdpctl(["reload", JUDGED]).success().stderr, "");
    told(&bench.xdpctl(["attach", "--replace", JUDGED]).success().stderr, "");
    bench.xdpctl(["detach", JUDGED]).success();

    let file = written(&bench, "in0.toml", &format!("{DROPPING}{OPEN}"));
    assert_eq!(check().success().stderr, "");
    let attached = bench.xdpctl(["attach", JUDGED, "-c", &file]);
    assert_eq!(warnings(&attached.success().stderr), [] as [String; 0]);
    let reloaded = bench.xdpctl(["reload", JUDGED]);
    assert_eq!(warnings(&reloaded.success().stderr), [] as [String; 0]);
}

/// Checks are the host's own connections: a default that drops what answers them takes every backend out.
#[test]
fn checks_whose_answers_would_be_dropped_are_warned_of() {
    let bench = Bench::new();
    let service = "[services]\nnext_hop = \"02:00:00:00:00:01\"\n[[service]]\nname = \"web\"\n\
                   address = \"192.0.2.10\"\nprotocol = \"tcp\"\nport = 80\nmode = \"dsr\"\n\
                   check = { type = \"tcp\" }\n[[service.backend]]\naddress = \"10.0.0.9\"\n";
    let attach = |policy: &str| {
        let file = written(&bench, "in0.toml", &format!("[policy]\n{policy}\n{service}"));
        let told = bench.xdpctl(["attach", JUDGED, "-c", &file]).success().stderr.clone();
        bench.xdpctl(["detach", JUDGED]).success();
        told
    };
    let dropped = "drops what 10.0.0.9:80 answers to checks from 10.0.0.2";
    // The backend is reached by no interface, or by another.
    assert!(!attach("default = \"drop\"").contains("to checks from"));
    bench.lab().ip("dut", ["address", "add", "10.0.0.2/24", "dev", JUDGED]);
    let told = attach("default = \"drop\"");
    assert!(told.contains(dropped) && told.contains("replies = \"pass\""), "{told}");
    for policy in ["default = \"drop\"\nreplies = \"pass\"", "default = \"pass\""] {
        let told = attach(policy);
        assert!(!told.contains("to checks from"), "{told}");
    }
    bench.lab().ip("dut", ["link", "set", "lo", "up"]);
    bench.lab().ip("dut", ["route", "add", "10.0.0.9/32", "dev", "lo"]);
    let told = attach("default = \"drop\"");
    assert!(!told.contains("to checks from"), "{told}");
}

/// Named after no interface: what makes no difference to which it is for.
#[test]
fn a_file_that_lets_ipv6_in_without_neighbours_is_warned_of() {
    let bench = Bench::new();
    let office = "[policy]\ndefault = \"drop\"\n[[allowlist]]\nname = \"office\"\n\
                  prefixes = [\"2001:db8::/32\"]\n";
    let file = written(&bench, "any.toml", office);
    let output = bench.xdpctl(["check", &file]);
    assert!(output.success().stderr.contains("neighbour discovery"), "{}", output.stderr);
    assert!(output.stderr.contains("icmp_type = [133, 134, 135, 136]"), "{}", output.stderr);
    let file = written(&bench, "any.toml", &office.replace("2001:db8::/32", "192.0.2.0/24"));
    assert_eq!(bench.xdpctl(["check", &file]).success().stderr, "");
}
