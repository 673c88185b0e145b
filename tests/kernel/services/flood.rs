//! Clients beside a flood of forged packets that begin connections.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::service;
use crate::lab::balancer::*;
use crate::lab::frame::*;
use crate::lab::patience::{EVENT, patient};
use crate::lab::server::Connection;

const TO: &str = "192.0.2.1:80";
/// Genuine connections in all, and how many are opened at a time.
const GENUINE: usize = 1_000;
const AT_A_TIME: usize = 8;
/// Those that were open before.
const BEFORE: usize = 100;
/// Forged packets for each of them: on a busy machine, clients wait for the flood.
const FOR_EACH: usize = 20;
/// Forged packets that are different from each other.
const FORGED: u32 = 16_384;
const BURST: usize = 64;
const PAUSE: Duration = Duration::from_micros(200);
/// After so many it stops, in case the test goes wrong.
const BURSTS: usize = 200_000;

/// SYNs of nobody, from a network that the router has no route to.
fn forged() -> impl Iterator<Item = Vec<u8>> {
    (0..FORGED).map(|number| {
        let source = format!("198.18.{}.{}", number / 251 % 256, number % 251);
        let port = 1_024 + (number * 7_919 % 60_000) as u16;
        from_client(tcp4(&source, NAT, port, 80).flags(SYN)).build()
    })
}

fn web(weight: u32) -> String {
    let rest = "mode = \"nat\"\nprotocol = \"tcp\"\nport = 80";
    let second = format!("weight = {weight}");
    service("web", NAT, rest, &[("10.2.0.11", ""), ("10.2.0.12", &second)])
}

/// With places that have just changed, which is where a flood writes entries.
#[test]
fn all_clients_are_answered_beside_a_flood() {
    let mut lab = Balancer::new(Shape::Arms);
    lab.meet();
    let _servers = lab.serve_tcp("{4}:80");
    lab.attach(&web(1));
    let mut before: Vec<Connection> = (0..BEFORE).map(|_| lab.connect(TO)).collect();
    let counted = |lab: &Balancer| lab.sample(IN).rule("web").count.packets;
    let packets = counted(&lab);
    let port = lab.port("client");
    let forged: Vec<_> = forged().collect();
    let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    // In bursts, between which the wire's queue, of 256 frames, has room for clients' too.
    let flood = || {
        for burst in forged.chunks(BURST).cycle().take(BURSTS) {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let taken = burst.iter().filter(|frame| port.try_send(frame)).count();
            sent.fetch_add(taken, Ordering::Relaxed);
            thread::sleep(PAUSE);
        }
    };
    let (begun, answered) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let one_client = || {
        loop {
            let number = begun.fetch_add(1, Ordering::Relaxed) + 1;
            if number > GENUINE {
                return;
            }
            let deadline = Instant::now() + patient(EVENT);
            while sent.load(Ordering::Relaxed) <= number * FOR_EACH && Instant::now() < deadline {
                thread::sleep(PAUSE);
            }
            let namespace = lab.lab().namespace("client");
            let connection = Connection::try_open(namespace, None, TO, EVENT);
            if connection.is_ok_and(|mut connection| connection.answers()) {
                answered.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    lab.write(&web(3));
    thread::scope(|scope| {
        let flood = scope.spawn(flood);
        lab.xdpctl(["reload"]).success();
        let clients: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(one_client)).collect();
        let ends = clients.into_iter().map(|client| client.join()).all(|end| end.is_ok());
        stop.store(true, Ordering::Relaxed);
        flood.join().expect("the flood");
        assert!(ends);
    });
    assert_eq!(answered.into_inner(), GENUINE);
    for connection in &mut before {
        assert!(connection.answers(), "{:?}", connection.greeting);
    }
    // The flood came through to the service, and was most of what did.
    let sent = sent.into_inner() as u64;
    assert!(sent > (FOR_EACH * GENUINE) as u64, "{sent} forged");
    let deadline = Instant::now() + patient(EVENT);
    while counted(&lab) - packets < sent {
        assert!(Instant::now() < deadline, "{} of {sent} counted", counted(&lab) - packets);
        thread::sleep(Duration::from_millis(10));
    }
}
