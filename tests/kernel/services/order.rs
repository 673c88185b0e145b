//! Services among lists, rules, run-time entries, the default and bypass.

use super::{Counted, MARK, counted, expect, expect_none, send, service};
use crate::lab::balancer::*;
use crate::lab::frame::*;

const FRIEND: &str = "10.1.0.3";
const BY_RULE: &str = "10.1.0.4";
const OUT_BY_RULE: &str = "10.1.0.5";
const BAD: &str = "10.1.0.6";
const BANNED: &str = "10.1.0.7";
const ALLOWED: &str = "10.1.0.8";
const WATCHED: &str = "10.1.0.9";

const LISTS: &str = r#"
    [policy]
    default = "drop"
    [[allowlist]]
    name = "friends"
    prefixes = ["10.1.0.3"]
    [[blocklist]]
    name = "bad"
    prefixes = ["10.1.0.6", "10.1.0.8"]
    [[blocklist]]
    name = "watched"
    prefixes = ["10.1.0.9"]
    action = "count"
    [[rule]]
    name = "in"
    source = "10.1.0.4"
    action = "pass"
    [[rule]]
    name = "out"
    source = "10.1.0.5"
    action = "drop"
    [[rule]]
    name = "back"
    destination_port = 82
    action = "bounce"
    set_source_mac = "02:00:00:00:09:02"
    set_destination_mac = "02:00:00:00:09:01"
"#;

/// Sends what a client of that address asks the service for.
#[track_caller]
fn ask(lab: &Balancer, client: &crate::lab::Port, from: &str, expected: &Counted<'_>) {
    println!("from {from}");
    let frame = udp4(from, NAT, 999, 80).payload(MARK).ttl(9);
    send(lab, client, &from_client(frame), expected);
}

/// What arrives at the backend then.
fn asked(from: &str) -> Frame {
    let frame = udp4(from, "10.2.0.11", 999, 80).payload(MARK).ttl(8);
    frame.source_mac(IN_MAC).destination_mac(B1_MAC)
}

#[test]
fn what_may_in_is_served_and_what_is_dropped_is_not() {
    let mut lab = Balancer::new(Shape::Stick);
    lab.meet();
    let nat = |port| format!("mode = \"nat\"\nprotocol = \"udp\"\nport = {port}");
    let services = [
        service("web", NAT, &nat(80), &[("10.2.0.11", "")]),
        service("down", NAT, &nat(81), &[("10.2.0.12", "state = \"down\"")]),
        service("bounced", NAT, &nat(82), &[("10.2.0.12", "")]),
        service(
            "passing",
            NAT,
            &format!("{}\nno_backend = \"pass\"", nat(83)),
            &[("10.2.0.12", "state = \"down\"")],
        ),
    ];
    lab.attach(&[LISTS, &services.concat()].concat());
    let (client, backend) = (lab.port("client"), lab.port("b1"));
    // Nor does the client tell anybody that nothing listens there: a service would hear of it.
    let _hears = lab.client("10.1.0.2:999");
    let (others, stack) = (lab.port("b2"), lab.lab().port("dut", IN));
    let bind = || std::net::UdpSocket::bind("10.2.0.11:80").expect("a socket");
    let _listens = lab.lab().namespace("b1").enter(bind);
    lab.xdpctl(["block", IN, BANNED]).success();
    lab.xdpctl(["allow", IN, ALLOWED]).success();

    for (from, rules) in [
        (CLIENT, &["web"][..]),
        (FRIEND, &["friends", "web"]),
        (BY_RULE, &["in", "web"]),
        (ALLOWED, &["web"]),
        (WATCHED, &["watched", "web"]),
    ] {
        ask(&lab, &client, from, &counted("tx", "service", rules));
        expect(&backend, &asked(from));
    }
    ask(&lab, &client, BANNED, &counted("drop", "banned", &[]));
    ask(&lab, &client, BAD, &counted("drop", "blocklist", &["bad"]));
    ask(&lab, &client, OUT_BY_RULE, &counted("drop", "rule", &["out"]));
    let to = |port| from_client(udp4(CLIENT, NAT, 999, port)).payload(MARK).ttl(9);
    send(&lab, &client, &to(81), &counted("drop", "service", &["down"]));
    send(&lab, &client, &to(82), &counted("tx", "rule", &["back"]));
    send(&lab, &client, &to(84), &counted("drop", "default", &[]));
    let ping = from_client(icmp4(CLIENT, NAT, 8)).payload(MARK);
    send(&lab, &client, &ping, &counted("drop", "default", &[]));
    expect(&client, &to(82).source_mac(IN_MAC).destination_mac(CLIENT_MAC));
    expect_none(&stack);
    send(&lab, &client, &to(83), &counted("pass", "service", &["passing"]));
    expect(&stack, &to(83));
    // Replies come through the default too, and rules judge them as the backend sent them.
    let reply = |from: &str| {
        let frame = udp4(from, CLIENT, 80, 999).payload(MARK);
        frame.source_mac(B1_MAC).destination_mac(IN_MAC).ttl(9)
    };
    send(&lab, &backend, &reply("10.2.0.11"), &counted("tx", "service", &["web"]));
    let replied = reply(NAT).source_mac(IN_MAC).destination_mac(CLIENT_MAC).ttl(8);
    expect(&client, &replied);
    expect_none(&backend);

    // The filter is off, and the services are not.
    lab.xdpctl(["bypass", IN, "on"]).success();
    for from in [BANNED, BAD, OUT_BY_RULE] {
        ask(&lab, &client, from, &counted("tx", "service", &["web"]));
        expect(&backend, &asked(from));
    }
    send(&lab, &client, &to(84), &counted("pass", "bypass", &[]));
    expect(&stack, &to(84));
    lab.xdpctl(["bypass", IN, "off"]).success();
    ask(&lab, &client, BANNED, &counted("drop", "banned", &[]));

    // Another ruleset takes the service away, and what was served is judged like anything else.
    lab.attach(&[LISTS, &services[1]].concat());
    ask(&lab, &client, CLIENT, &counted("drop", "default", &[]));
    ask(&lab, &client, FRIEND, &counted("pass", "allowlist", &["friends"]));
    lab.attach(&[LISTS, &services[0]].concat());
    ask(&lab, &client, CLIENT, &counted("tx", "service", &["web"]));
    expect(&backend, &asked(CLIENT));
    for port in [&client, &backend, &others] {
        expect_none(port);
    }
}
