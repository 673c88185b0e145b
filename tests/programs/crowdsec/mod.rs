//! Debian's CrowdSec with the bouncer of contrib/crowdsec: what the local API decides is what xdpctl
//! enforces, after restarts, after many decisions, and after one of the two was away.

mod installation;

use std::collections::BTreeSet;
use std::env;
use std::fmt::Write as _;
use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use self::installation::{Crowdsec, MANY};
use super::systemd::assert_allowed;
use crate::lab::Background;
use crate::lab::bench::{JUDGED, Row, drop, pass};
use crate::lab::frame::*;
use crate::lab::patience::EVENT;
use xdpctl::notation::grouped;

/// If this environment variable is set, there are so many decisions.
const DECISIONS: &str = "XDPCTL_TEST_DECISIONS";

fn from(source: &str) -> Frame {
    match source.contains(':') {
        true => udp6(source, "2001:db8:ffff::1", 40_000, 22),
        false => udp4(source, "192.0.2.1", 40_000, 22),
    }
}

fn dropped(source: &str) -> Row {
    drop(source, from(source), "banned")
}

fn passed(source: &str) -> Row {
    pass(source, from(source), "default")
}

const HOUR: u64 = 3600;

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn what_is_decided_is_kept_out_until_it_is_lifted() {
    let crowdsec = Crowdsec::started();
    let bench = &crowdsec.bench;
    bench.run(&[passed("203.0.113.7"), passed("2001:db8::7"), passed("198.51.100.9")]);

    crowdsec.ban("203.0.113.7", "4h");
    crowdsec.await_enforced(&["203.0.113.7/32"]);
    crowdsec.ban("2001:db8::7", "1h");
    crowdsec.cscli(&["decisions", "add", "--range", "198.51.100.0/24", "--duration", "4h"]);
    // Neither of these is for packets.
    crowdsec.cscli(&["decisions", "add", "--scope", "country", "--value", "XX"]);
    crowdsec.cscli(&["decisions", "add", "--ip", "203.0.113.9", "--type", "captcha"]);
    // Nor is this one anything that could be told from no filter at all.
    crowdsec.cscli(&["decisions", "add", "--range", "0.0.0.0/0", "--duration", "1h"]);
    let all = ["198.51.100.0/24", "2001:db8::7/128", "203.0.113.7/32"];
    crowdsec.await_enforced(&all);
    bench.run(&[
        dropped("203.0.113.7"),
        dropped("2001:db8::7"),
        dropped("198.51.100.9"),
        passed("203.0.113.8"),
        passed("203.0.113.9"),
        passed("2001:db8::8"),
    ]);
    let life = crowdsec.life("203.0.113.7/32").expect("it ends");
    assert!((3 * HOUR..=4 * HOUR + 60).contains(&life), "{life}");
    crowdsec.await_said("1 decision left out; the first: 0.0.0.0/0 is every address", 1);

    crowdsec.cscli(&["decisions", "delete", "--ip", "203.0.113.7"]);
    crowdsec.await_enforced(&all[..2]);
    crowdsec.cscli(&["decisions", "delete", "--range", "198.51.100.0/24"]);
    crowdsec.await_enforced(&all[1..2]);
    bench.run(&[passed("203.0.113.7"), passed("198.51.100.9"), dropped("2001:db8::7")]);
}

/// The API tells by itself only the longest of them, and nothing of the shorter when that is lifted.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn of_two_decisions_on_an_address_the_later_end_counts() {
    let crowdsec = Crowdsec::started();
    let prefix = "203.0.113.7/32";
    let lives = |from: u64, to: u64| {
        let is_so = move |this: &Crowdsec| {
            this.life(prefix).is_some_and(|life| (from * HOUR..=to * HOUR).contains(&life))
        };
        crowdsec.await_that(&format!("it lives {from} to {to} hours"), is_so);
    };
    crowdsec.ban("203.0.113.7", "2h");
    lives(1, 3);
    crowdsec.ban("203.0.113.7", "8h");
    lives(7, 9);
    crowdsec.ban("203.0.113.7", "30m");
    crowdsec.ban("203.0.113.8", "30m");
    crowdsec.await_enforced(&[prefix, "203.0.113.8/32"]);
    lives(7, 9);

    // The second of its database.
    crowdsec.cscli(&["decisions", "delete", "--id", "2"]);
    lives(1, 3);
    crowdsec.bench.run(&[dropped("203.0.113.7")]);
}

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn a_decision_that_is_over_is_over_for_packets() {
    let crowdsec = Crowdsec::started();
    crowdsec.ban("203.0.113.7", "1h");
    crowdsec.ban("203.0.113.8", "4s");
    crowdsec.await_that("it was there", |this| this.said().contains("put, 0 removed"));
    crowdsec.await_enforced(&["203.0.113.7/32"]);
    crowdsec.bench.run(&[passed("203.0.113.8"), dropped("203.0.113.7")]);
}

/// A stop of the bouncer leaves what is in force; what was decided meanwhile is in force after its
/// start.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn the_bouncer_starts_again() {
    let mut crowdsec = Crowdsec::started();
    crowdsec.bench.xdpctl(["block", JUDGED, "198.51.100.1"]).success();
    for address in ["203.0.113.7", "203.0.113.8"] {
        crowdsec.ban(address, "4h");
    }
    crowdsec.await_enforced(&["203.0.113.7/32", "203.0.113.8/32"]);
    let said = crowdsec.stop_bouncer().stderr;
    assert!(said.ends_with("ends; the entries stay, each until its decision is over\n"), "{said}");
    crowdsec.bench.run(&[dropped("203.0.113.7"), dropped("203.0.113.8")]);

    crowdsec.cscli(&["decisions", "delete", "--ip", "203.0.113.7"]);
    crowdsec.ban("203.0.113.9", "4h");
    assert_eq!(crowdsec.enforced().len(), 2);
    crowdsec.start_bouncer();
    crowdsec.await_enforced(&["203.0.113.8/32", "203.0.113.9/32"]);
    // What is another owner's is none of its business.
    crowdsec.bench.run(&[passed("203.0.113.7"), dropped("203.0.113.9"), dropped("198.51.100.1")]);

    // A kill leaves it too.
    crowdsec.bouncer.as_ref().expect("it runs").signal(Signal::SIGKILL);
    crowdsec.bouncer = None;
    crowdsec.bench.run(&[dropped("203.0.113.9")]);
    crowdsec.start_bouncer();
    crowdsec.ban("203.0.113.10", "4h");
    crowdsec.await_enforced(&["203.0.113.10/32", "203.0.113.8/32", "203.0.113.9/32"]);
}

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn the_api_goes_and_comes_back() {
    let mut crowdsec = Crowdsec::started();
    for address in ["203.0.113.7", "203.0.113.8"] {
        crowdsec.ban(address, "4h");
    }
    crowdsec.await_enforced(&["203.0.113.7/32", "203.0.113.8/32"]);
    crowdsec.stop_api();
    crowdsec.await_said("gives no answer", 1);
    crowdsec.bench.run(&[dropped("203.0.113.7"), dropped("203.0.113.8")]);

    // Decided where the bouncer does not see it: lifted, and gone out of the database too.
    crowdsec.write_api_configuration("other.yaml", 8081);
    let credentials = crowdsec.path("etc/credentials.yaml");
    let usual = fs::read_to_string(&credentials).expect("credentials");
    fs::write(&credentials, usual.replace("8080", "8081")).expect("written");
    crowdsec.start_api("other.yaml");
    crowdsec.cscli_by("other.yaml", &["alerts", "delete", "--ip", "203.0.113.7"]);
    let add = ["decisions", "add", "--ip", "203.0.113.9", "--duration", "4h"];
    crowdsec.cscli_by("other.yaml", &add);
    crowdsec.stop_api();
    assert_eq!(crowdsec.enforced().len(), 2);

    fs::write(&credentials, usual).expect("written");
    crowdsec.start_api("config.yaml");
    crowdsec.await_enforced(&["203.0.113.8/32", "203.0.113.9/32"]);
    crowdsec.bench.run(&[passed("203.0.113.7"), dropped("203.0.113.8"), dropped("203.0.113.9")]);
    // Told once, however often it was asked.
    let said = crowdsec.said();
    assert_eq!(said.matches("gives no answer").count(), 1, "{said}");
    assert_eq!(said.matches("answers again").count(), 1, "{said}");
}

/// Where the API is away from the start, nothing is known, and nothing is changed.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn without_an_api_nothing_changes() {
    let mut crowdsec = Crowdsec::new();
    crowdsec.bench.attach("");
    crowdsec.bench.xdpctl(["block", JUDGED, "203.0.113.7", "--owner", "crowdsec"]).success();
    crowdsec.start_bouncer();
    crowdsec.await_said("gives no answer", 1);
    crowdsec.await_said("what is in force stays as it is", 1);
    crowdsec.await_enforced(&["203.0.113.7/32"]);
    crowdsec.start_api("config.yaml");
    crowdsec.await_enforced(&[]);
}

/// What somebody else did to its entries, and what an interface lost.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn what_differs_is_mended() {
    let mut crowdsec = Crowdsec::new();
    crowdsec.write_configuration("reconcile = \"2s\"");
    crowdsec.bench.attach("");
    crowdsec.start_api("config.yaml");
    crowdsec.start_bouncer();
    let all = ["203.0.113.7/32", "203.0.113.8/32"];
    for address in ["203.0.113.7", "203.0.113.8"] {
        crowdsec.ban(address, "4h");
    }
    crowdsec.await_enforced(&all);
    let owned = |args: &[&str]| {
        crowdsec.bench.xdpctl([args, &["--owner", "crowdsec"]].concat()).success();
    };
    owned(&["unblock", JUDGED, "203.0.113.7"]);
    crowdsec.await_enforced(&all);
    owned(&["block", JUDGED, "203.0.113.9", "--for", "1h"]);
    crowdsec.await_enforced(&all);
    // Other ends, and the opposite.
    let is_right = |this: &Crowdsec| {
        this.life(all[0]).is_some_and(|life| (3 * HOUR..=4 * HOUR + 60).contains(&life))
    };
    owned(&["block", JUDGED, "203.0.113.7", "--for", "1m"]);
    crowdsec.await_that("its end is right", is_right);
    owned(&["block", JUDGED, "203.0.113.7"]);
    crowdsec.await_that("it has an end", is_right);
    owned(&["allow", JUDGED, "203.0.113.7"]);
    crowdsec.await_enforced(&all);
    crowdsec.bench.run(&[dropped("203.0.113.7"), dropped("203.0.113.8"), passed("203.0.113.9")]);

    // Gone and attached anew.
    crowdsec.bench.xdpctl(["detach", JUDGED]).success();
    crowdsec.await_said("xdpctl is not attached to any interface", 1);
    let configuration = crowdsec.bench.write("in0.toml", "");
    let configuration = configuration.to_str().expect("UTF-8");
    crowdsec.bench.xdpctl(["attach", JUDGED, "-c", configuration, "--mode", "native"]).success();
    crowdsec.await_enforced(&all);
}

/// What xdpctl refuses, here because it would cut off the SSH connection that the bouncer was started
/// in, leaves the others in force.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn what_is_refused_keeps_nothing_else_out() {
    let mut crowdsec = Crowdsec::new();
    crowdsec.bench.attach("");
    crowdsec.bench.lab().ip("dut", ["address", "add", "192.0.2.1/24", "dev", JUDGED]);
    crowdsec.start_api("config.yaml");
    let mut lines = String::from("duration,scope,value\n");
    for nth in 1..=50 {
        let _ = writeln!(lines, "4h,ip,203.0.113.{nth}");
    }
    let path = crowdsec.path("decisions.csv");
    fs::write(&path, lines).expect("written");
    crowdsec.cscli(&["decisions", "import", "-i", path.to_str().expect("UTF-8")]);
    let mut command = crowdsec.bouncer_command();
    command.env("SSH_CONNECTION", "203.0.113.7 40000 192.0.2.1 22");
    crowdsec.bouncer = Some(Background::start(command));
    crowdsec.await_said("in0: 1 decision not put in force: on in0, a block of 203.0.113.7", 1);
    let but_one = (1..=50).filter(|nth| *nth != 7).map(|nth| format!("203.0.113.{nth}/32"));
    assert_eq!(crowdsec.enforced(), but_one.collect());
    crowdsec.bench.run(&[dropped("203.0.113.8"), passed("203.0.113.7")]);
    crowdsec.cscli(&["decisions", "delete", "--ip", "203.0.113.8"]);
    crowdsec.await_that("it is lifted", |this| this.enforced().len() == 48);
}

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn a_wrong_key_or_configuration_ends_it() {
    let mut crowdsec = Crowdsec::started();
    crowdsec.ban("203.0.113.7", "4h");
    crowdsec.await_enforced(&["203.0.113.7/32"]);

    // While it runs: the key is taken from it.
    crowdsec.cscli(&["bouncers", "delete", "xdpctl"]);
    let mut bouncer = crowdsec.bouncer.take().expect("it runs");
    let ended = bouncer.wait(EVENT).expect("it ends");
    let said = &ended.expect_status(2).stderr;
    assert!(said.contains("error: the API refuses the key: `cscli bouncers list`"), "{said}");
    crowdsec.bench.run(&[dropped("203.0.113.7")]);

    let refused = |configuration: &str| {
        crowdsec.write_configuration(configuration);
        let mut bouncer = Background::start(crowdsec.bouncer_command());
        let ended = bouncer.wait(EVENT).expect("it ends");
        ended.expect_status(2);
        ended.stderr
    };
    let said = refused("api_key = \"wrong\"");
    assert!(said.contains("error: the API refuses the key"), "{said}");
    let said = refused("api_url = \"tcp://x\"\npol = \"1s\"\nipv6_aggregate = 129\ntypes = []");
    for mistake in [
        "api_url cannot be 'tcp://x': an address such as",
        "there is no key 'pol': those that there are are api_url, ",
        "ipv6_aggregate cannot be 129: the length of a prefix, 1 to 128",
        "types cannot be []: a list such as",
    ] {
        assert!(said.contains(mistake), "{mistake} in {said}");
    }
    assert!(refused("x").contains("bouncer.toml: "));
    crowdsec.bench.run(&[dropped("203.0.113.7")]);
}

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn a_hangup_has_the_configuration_read_again() {
    let mut crowdsec = Crowdsec::new();
    crowdsec.write_configuration("interfaces = [\"in0\"]");
    crowdsec.bench.attach("");
    crowdsec.start_api("config.yaml");
    crowdsec.start_bouncer();
    crowdsec.ban("2001:db8::7", "4h");
    crowdsec.ban("2001:db8::8", "2h");
    let single = ["2001:db8::7/128", "2001:db8::8/128"];
    crowdsec.await_enforced(&single);

    let hang_up = |configuration: &str| {
        crowdsec.write_configuration(configuration);
        crowdsec.bouncer.as_ref().expect("it runs").signal(Signal::SIGHUP);
    };
    hang_up("interfaces = [\"in0\"]\nipv6_aggregate = 64");
    crowdsec.await_enforced(&["2001:db8::/64"]);
    let life = crowdsec.life("2001:db8::/64").expect("it ends");
    assert!(life > 3 * HOUR, "the longer one: {life}");
    crowdsec.bench.run(&[dropped("2001:db8::1234")]);
    // A mistake changes nothing.
    hang_up("interfaces = 7");
    crowdsec.await_said("what was read before stays in force", 1);
    crowdsec.await_enforced(&["2001:db8::/64"]);
    hang_up("");
    crowdsec.await_enforced(&single);
    // Another interface alone.
    hang_up("interfaces = [\"out0\"]");
    crowdsec.await_enforced(&[]);
    crowdsec.await_said("out0: xdpctl is not attached to it", 1);
    hang_up("");
    crowdsec.await_enforced(&single);
}

/// Those that end at about the same time are put by one command, and each command looks at all the
/// entries that are there. Of 100,000 decisions with as many ends, that takes minutes with a binary
/// that is not optimized, so it is for a run by hand: `XDPCTL_TEST_DECISIONS=100000`.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn many_decisions() {
    let many: u32 = match env::var(DECISIONS) {
        Ok(number) => number.parse().unwrap_or_else(|error| panic!("{DECISIONS}: {error}")),
        Err(_) => 10_000,
    };
    assert!((1_000..=100_000).contains(&many), "{DECISIONS} is to be 1000 to 100000");
    let mut crowdsec = Crowdsec::started();
    // From four hours on, up to eight for 100,000, and hardly two alike.
    let life = |nth: u32| 14_400 + nth / 7;
    let mut lines = String::from("duration,scope,value\n");
    let mut expected = BTreeSet::new();
    for nth in 0..many {
        let life = life(nth);
        if nth % 10 == 0 {
            let _ = writeln!(lines, "{life}s,ip,2001:db8:{:x}:{:x}::1", nth >> 8, nth & 0xff);
            let address: std::net::Ipv6Addr =
                format!("2001:db8:{:x}:{:x}::1", nth >> 8, nth & 0xff).parse().expect("an address");
            expected.insert(format!("{address}/128"));
        } else {
            let address = std::net::Ipv4Addr::from(0x0b00_0000 + nth * 7);
            let _ = writeln!(lines, "{life}s,ip,{address}");
            expected.insert(format!("{address}/32"));
        }
    }
    let path = crowdsec.path("decisions.csv");
    fs::write(&path, lines).expect("written");
    crowdsec.cscli(&["decisions", "import", "-i", path.to_str().expect("UTF-8")]);
    let all = format!("{} in force\n", grouped(many.into()));
    crowdsec.await_long("all are in force", MANY, |this| this.said().contains(&all));
    assert!(crowdsec.enforced() == expected, "not those that were decided");
    let one = std::net::Ipv4Addr::from(0x0b00_0000 + 7 * 321).to_string();
    crowdsec.bench.run(&[dropped(&one), passed("203.0.113.7")]);
    // No entry ends before its decision, or much later.
    let left = crowdsec.life(&format!("{one}/32")).expect("it ends");
    let longest = u64::from(life(321));
    assert!((longest - 1800..=longest + longest / 10).contains(&left), "{left} of {longest}");

    // After a restart, nothing is to be done but for what changed meanwhile.
    crowdsec.stop_bouncer();
    let prefix = format!("{one}/32");
    crowdsec.cscli(&["decisions", "delete", "--ip", &one]);
    crowdsec.bench.xdpctl(["unblock", JUDGED, "2001:db8:0:a::1"]).success();
    crowdsec.start_bouncer();
    let rest = grouped(u64::from(many) - 1);
    let told = format!("compared with all decisions: 1 put, 1 removed, {rest} in force\n");
    crowdsec.await_long("it has compared", MANY, |this| this.said().contains(&told));
    expected.remove(&prefix);
    assert!(crowdsec.enforced() == expected, "not those that were decided");
}

/// What its unit does not let it do, it need not do.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn it_does_nothing_that_its_unit_forbids() {
    let mut crowdsec = Crowdsec::new();
    crowdsec.bench.attach("");
    crowdsec.start_api("config.yaml");
    crowdsec.ban("203.0.113.7", "4h");
    crowdsec.ban("203.0.113.8", "4h");
    let trace = crowdsec.path("trace");
    let bouncer = crowdsec.bouncer_command();
    let mut traced = crowdsec.bench.lab().command("dut", "strace");
    traced.args(["-f", "-qq", "-o"]).arg(&trace).arg(bouncer.get_program());
    traced.args(bouncer.get_args());
    traced.envs(bouncer.get_envs().filter_map(|(name, value)| Some((name, value?))));
    crowdsec.bouncer = Some(Background::start(traced));
    crowdsec.await_enforced(&["203.0.113.7/32", "203.0.113.8/32"]);
    crowdsec.cscli(&["decisions", "delete", "--ip", "203.0.113.7"]);
    crowdsec.await_enforced(&["203.0.113.8/32"]);
    // strace blocks signals and passes none on; each line of its begins with a process id.
    let so_far = fs::read_to_string(&trace).expect("a trace");
    let process = so_far.split_whitespace().next().and_then(|word| word.parse().ok());
    kill(Pid::from_raw(process.expect("a process id")), Signal::SIGTERM).expect("a signal");
    let mut bouncer = crowdsec.bouncer.take().expect("it runs");
    bouncer.wait(EVENT).expect("it ends").success();
    let trace = fs::read_to_string(&trace).expect("a trace");
    assert_allowed("xdpctl-crowdsec-bouncer.service", "xdpctl-crowdsec-bouncer", &trace);
}
