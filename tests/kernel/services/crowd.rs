//! Many connections over many reloads, and the death of every process of ours.

use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::service;
use crate::lab::Background;
use crate::lab::balancer::{BACKENDS, Balancer, IN, NAT, Shape};
use crate::lab::patience::{EVENT, patient};
use crate::lab::server::{Connection, Server};

const TO: &str = "192.0.2.1:80";
const CONNECTIONS: usize = 500;
const RELOADS: usize = 100;
/// Descriptors of both ends of all of them, and of what else the tests of this process have open.
const DESCRIPTORS: u64 = 4_096;
/// One address more at each host, where backends come and go.
const PASSING: [&str; 2] = ["10.2.0.21", "10.2.0.22"];
/// What the second of them is called.
const AT_SECOND: &str = "at-10.2.0.22";

/// What is said of both backends that stay, and of those that come and go, where they are there.
type Step = ([&'static str; 2], [Option<&'static str>; 2]);

/// What files say, one after the other, over and over.
const STEPS: [Step; 10] = [
    (["", ""], [None, None]),
    (["", ""], [Some(""), None]),
    (["weight = 7", ""], [Some("weight = 5"), None]),
    (["", ""], [Some("state = \"drain\""), Some("weight = 3")]),
    (["", "weight = 3"], [None, Some("")]),
    (["", "weight = 9"], [Some(""), Some("")]),
    (["state = \"drain\"", ""], [Some(""), Some("weight = 2")]),
    (["weight = 2", "state = \"drain\""], [Some("weight = 9"), Some("")]),
    (["", ""], [Some("state = \"drain\""), Some("state = \"drain\"")]),
    (["", "weight = 2"], [None, None]),
];

fn text((staying, passing): &Step) -> String {
    let mut backends = Vec::new();
    for (role, rest) in BACKENDS.iter().zip(staying) {
        backends.push((role.replace('b', "10.2.0.1"), format!("name = \"{role}\"\n{rest}")));
    }
    for (address, rest) in PASSING.iter().zip(passing) {
        if let Some(rest) = rest {
            backends.push(((*address).to_owned(), format!("name = \"at-{address}\"\n{rest}")));
        }
    }
    let backends: Vec<(&str, &str)> =
        backends.iter().map(|(address, rest)| (&**address, &**rest)).collect();
    let rest = "mode = \"nat\"\nprotocol = \"tcp\"\nport = 80\n[service.check]\ntype = \"tcp\"\n\
                interval = \"50ms\"\ntimeout = \"50ms\"\nfall = 1\nrise = 1";
    service("web", NAT, rest, &backends)
}

#[track_caller]
fn assert_all_live(connections: &mut [Connection], when: &str) {
    let asked: Vec<bool> = connections.iter_mut().map(Connection::ask).collect();
    for (connection, asked) in connections.iter_mut().zip(asked) {
        assert!(asked && connection.is_answered(), "{when}, lost: {:?}", connection.greeting);
    }
}

/// Whether checks find a backend up, where they say anything of it.
fn found(lab: &Balancer, name: &str) -> Option<bool> {
    let shown: Value = lab.xdpctl(["services", IN, "--json"]).json();
    let backends = shown[0]["backends"].as_array().expect("backends");
    let backend = backends.iter().find(|backend| backend["name"] == name)?;
    (backend["by"] == "health").then(|| backend["state"] == "up")
}

#[track_caller]
fn await_found(lab: &Balancer, name: &str, is_up: bool) {
    let deadline = Instant::now() + patient(EVENT);
    while found(lab, name) != Some(is_up) {
        assert!(Instant::now() < deadline, "checks never find {name} up: {is_up}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A server at an address of [`PASSING`].
#[track_caller]
fn serve(lab: &Balancer, at: usize) -> Server {
    Server::tcp(lab.lab().namespace(BACKENDS[at]), &format!("{}:80", PASSING[at]))
}

/// Starts a reload, and kills it so long after.
#[track_caller]
fn killed_reload(lab: &Balancer, text: &str, after: Duration) {
    lab.write(text);
    let mut reload = lab.lab().spawn_xdpctl("dut", ["reload"]);
    std::thread::sleep(after);
    reload.signal(Signal::SIGKILL);
    reload.wait(EVENT).expect("it ends");
}

fn kill(mut process: Background) {
    assert!(process.is_running(), "{}{}", process.stdout(), process.stderr());
    process.signal(Signal::SIGKILL);
    process.wait(EVENT).expect("it ends");
}

/// Backends come, drain, go, get other weights; one is found down and up again; a reload is killed
/// here and there, and so is everything of ours that runs.
#[test]
fn five_hundred_connections_outlive_a_hundred_reloads() {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    if soft < DESCRIPTORS {
        setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS.min(hard), hard).expect("more descriptors");
    }
    let mut lab = Balancer::new(Shape::Stick);
    lab.meet();
    for (role, address) in BACKENDS.into_iter().zip(PASSING) {
        lab.lab().ip(role, ["address", "add", &format!("{address}/24"), "dev", "wire"]);
    }
    let _servers = lab.serve_tcp("{4}:80");
    let _first = serve(&lab, 0);
    let mut second = Some(serve(&lab, 1));
    lab.attach(&text(&STEPS[0]));
    // Not even a check that a busy machine lets fail takes these out.
    for role in BACKENDS {
        lab.xdpctl(["backend", IN, "web", role, "up"]).success();
    }
    let start = |lab: &Balancer, arguments: &[&str]| lab.lab().spawn_xdpctl("dut", arguments);
    let mut health = start(&lab, &["health"]);
    let others = [start(&lab, &["monitor"]), start(&lab, &["stats", IN, "--interval", "1s"])];
    let mut live: Vec<Connection> = (0..CONNECTIONS).map(|_| lab.connect(TO)).collect();
    for role in BACKENDS {
        let of = live.iter().filter(|it| it.greeting.server == role).count();
        assert!(of > CONNECTIONS / 4, "{role}: {of}");
    }

    for number in 0..RELOADS {
        let step = &STEPS[number % STEPS.len()];
        if number % 9 == 4 {
            killed_reload(&lab, &text(step), Duration::from_millis(number as u64));
            assert_all_live(&mut live, &format!("after reload {number} was killed"));
        }
        lab.attach(&text(step));
        assert_all_live(&mut live, &format!("after reload {number}"));
        // New ones, too, stay where they are while their backend does. Nobody has checked yet one that
        // is there again.
        let all_answer = second.is_some() || step.1[1].is_none();
        for _ in 0..if all_answer { 2 } else { 0 } {
            let connection = lab.connect(TO);
            let address = connection.greeting.local.ip().to_string();
            if !PASSING.contains(&&*address) {
                live.push(connection);
            }
        }
        match number {
            // Both that come and go are there.
            25 => {
                await_found(&lab, AT_SECOND, true);
                second = None;
                await_found(&lab, AT_SECOND, false);
                kill(std::mem::replace(&mut health, start(&lab, &["health"])));
            }
            45 => {
                assert!(second.is_none());
                second = Some(serve(&lab, 1));
                await_found(&lab, AT_SECOND, true);
            }
            33 | 66 => lab.replace(),
            _ => {}
        }
    }
    assert!(live.len() > CONNECTIONS + RELOADS / 2, "{}", live.len());
    others.into_iter().for_each(kill);
    kill(health);
    assert_all_live(&mut live, "without a process of ours");
}
