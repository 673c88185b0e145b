//! curl at nginx beside a flood of SYNs with forged sources, which one thread sends as fast as it can: with a rule
//! that answers SYNs, and without.
//!
//! ```text
//! src (192.0.2.9) src0 ── in0 dut (192.0.2.1)
//! ```

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::lab::frame::{SYN, tcp4};
use crate::lab::patience::{EVENT, patient};
use crate::lab::{Background, IN0, Lab, Output, SRC0, Sample, Topology, end};

const HOST: &str = "192.0.2.1";
const PEER: &str = "192.0.2.9";
/// Fills the queue of a listener: nginx asks for one of 511.
const FILLED: u64 = 5_000;
/// How many forged sources there are.
const FORGED: u32 = 65_536;
/// How many curls run at a time.
const AT_ONCE: usize = 50;
/// For how many seconds a curl tries to connect: its host sends SYNs after 0, 1, 3 and 7.
const CONNECT: u64 = 10;

const RULE: &str = r#"
    [[rule]]
    name             = "flood"
    destination_port = 80
    over             = "100/s"
    action           = "syncookie"
"#;

/// What goes to the forged sources is of no interest to the host that forges.
const AWAY: &str = r#"
    [[rule]]
    name        = "forged"
    destination = "10.9.0.0/16"
    action      = "drop"
"#;

/// A server, and a client who is under the same roof as whoever forges.
struct Hosts {
    // Before the lab, whose namespace it is in.
    server: Background,
    lab: Lab,
    folder: TempDir,
}

/// What became of some curls beside a flood.
struct Outcome {
    curls: usize,
    /// Until each was connected, in seconds, the shortest first: of those that got the page.
    connected: Vec<f64>,
    forged: usize,
    lasted: Duration,
    answered: u64,
}

impl Hosts {
    /// With that setting of net.ipv4.tcp_syncookies, and everything else as it comes.
    fn new(syncookies: &str, configuration: &str) -> Self {
        let lab = Topology::empty()
            .link(end("src", "src0", SRC0), end("dut", "in0", IN0))
            .of_hosts()
            .build();
        for (role, interface, address) in [("src", "src0", PEER), ("dut", "in0", HOST)] {
            lab.ip(role, ["link", "set", "lo", "up"]);
            lab.ip(role, ["address", "add", &format!("{address}/24"), "dev", interface]);
        }
        // A forged source without a route is dropped before the kernel queues it.
        lab.ip("dut", ["route", "add", "default", "via", PEER]);
        lab.namespace("dut").set("ipv4/tcp_syncookies", syncookies);
        let folder = tempfile::tempdir().expect("a folder");
        let at = folder.path().to_str().expect("UTF-8");
        let file = |name: &str, text: &str| {
            let path = format!("{at}/{name}");
            fs::write(&path, text).expect("written");
            path
        };
        // A veth sends back only to an end that takes it.
        for (role, interface, ruleset) in [("dut", "in0", configuration), ("src", "src0", AWAY)] {
            let ruleset = file(&format!("{interface}.toml"), ruleset);
            lab.xdpctl(role, ["attach", interface, "-c", &ruleset, "--mode", "native"]).success();
        }
        let nginx = file(
            "nginx.conf",
            &format!(
                "daemon off; user root; worker_processes 1; pid {at}/pid; error_log stderr;
                 events {{ worker_connections 1024; }}
                 http {{
                     access_log off; client_body_temp_path {at}; proxy_temp_path {at};
                     fastcgi_temp_path {at}; uwsgi_temp_path {at}; scgi_temp_path {at};
                     server {{ listen {HOST}:80; location / {{ return 200 \"here\\n\"; }} }}
                 }}"
            ),
        );
        let mut command = lab.command("dut", "nginx");
        command.args(["-e", "stderr", "-c", &nginx]);
        let mut hosts = Self { server: Background::start(command), lab, folder };
        hosts.await_page();
        hosts
    }

    fn await_page(&mut self) {
        let deadline = Instant::now() + patient(EVENT);
        while !self.curls(1, 1).stdout.starts_with("200 ") {
            let server = &mut self.server;
            assert!(server.is_running(), "{}{}", server.stdout(), server.stderr());
            assert!(Instant::now() < deadline, "nginx does not answer");
        }
    }

    /// So many curls, each a process with a connection of its own: a line for each, its status and when it was
    /// connected.
    fn curls(&self, count: usize, at_once: usize) -> Output {
        let connect = patient(Duration::from_secs(CONNECT)).as_secs();
        let script = format!(
            "seq -f 'http://{HOST}/?%g' {count} | xargs -n 1 -P {at_once} curl -s -o /dev/null \
             --retry 0 --connect-timeout {connect} --max-time {} \
             -w '%{{http_code}} %{{time_connect}}\\n'",
            3 * connect
        );
        let mut command = self.lab.command("src", "sh");
        command.args(["-c", &script]).current_dir(self.folder.path());
        // Its status tells whether all were answered.
        Background::start(command).wait(5 * EVENT).expect("they end")
    }

    fn sample(&self) -> Sample {
        Sample::read(&self.lab, "dut", "in0")
    }

    /// Floods for as long as so many curls run.
    fn flooded(&self, curls: usize) -> Outcome {
        let forged = (0..FORGED).map(|nth| {
            let [_, _, a, b] = nth.to_be_bytes();
            let port = 1_024 + (nth.wrapping_mul(0x9e37_79b1) >> 17) as u16;
            tcp4(&format!("10.9.{a}.{b}"), HOST, port, 80).flags(SYN).build()
        });
        let forged: Vec<Vec<u8>> = forged.collect();
        let (port, is_over) = (self.lab.port("src", "src0"), Arc::new(AtomicBool::new(false)));
        let begun = Instant::now();
        let flood = std::thread::spawn({
            let is_over = Arc::clone(&is_over);
            move || {
                let until_over = forged.iter().cycle().take_while(|_| !is_over.load(Relaxed));
                // What the queue of the sending end does not take is no part of the flood.
                until_over.filter(|frame| port.try_send(frame)).count()
            }
        });
        let deadline = Instant::now() + patient(EVENT);
        while self.sample().total().packets < FILLED {
            assert!(Instant::now() < deadline, "the flood does not come in");
        }
        let output = self.curls(curls, AT_ONCE);
        is_over.store(true, Relaxed);
        let forged = flood.join().expect("the flood");
        let lasted = begun.elapsed();
        let lines: Vec<&str> = output.stdout.lines().collect();
        assert_eq!(lines.len(), curls, "{}\n{}", output.stdout, output.stderr);
        let got = lines.iter().filter_map(|line| line.strip_prefix("200 "));
        let mut connected: Vec<f64> = got.map(|time| time.parse().expect("a time")).collect();
        connected.sort_by(f64::total_cmp);
        let answered = self.sample().verdicts["tx"].packets;
        Outcome { curls, connected, forged, lasted, answered }
    }
}

impl Outcome {
    fn tell(&self, how: &str) {
        let Self { curls, connected, forged, lasted, answered } = self;
        let seconds = lasted.as_secs_f64();
        let times = [connected.get(connected.len() / 2), connected.last()];
        let times: Vec<String> =
            times.into_iter().flatten().map(|time| format!("{:.1} ms", 1_000.0 * time)).collect();
        println!(
            "{how}: {} of {curls} curls got the page, connected after {times:?} (median, longest); \
             {forged} forged SYNs in {seconds:.1} s, {:.0}/s; {answered} answered by the rule",
            connected.len(),
            *forged as f64 / seconds,
        );
    }
}

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn curl_beside_a_syn_flood() {
    // These wait in vain: so few that all do so at once.
    let without = Hosts::new("0", "").flooded(AT_ONCE);
    without.tell("no rule, tcp_syncookies = 0");
    assert!(without.connected.len() < AT_ONCE / 2, "the flood does no harm");
    let by_the_kernel = Hosts::new("1", "").flooded(300);
    by_the_kernel.tell("no rule, tcp_syncookies = 1");
    let with = Hosts::new("1", RULE).flooded(300);
    with.tell("the rule, tcp_syncookies = 1");
    assert!(with.connected.len() >= 297, "fewer than 99 %");
    // So the rule has done it, and not the kernel.
    assert!(with.answered as usize > with.forged / 10, "{} cookies", with.answered);
}
