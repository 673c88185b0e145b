//! Services as the commands see them that look: `explain`, `capture`, `metrics`.

use std::fs;

use pnet_base::MacAddr;
use serde_json::{Value, json};

use crate::explain::{explain_frames, lines, without_the_kernel};
use crate::lab::bench::{Bench, JUDGED};
use crate::lab::frame::*;
use crate::lab::patience::{EVENT, patient};
use crate::lab::{IN0, Output, SRC0};

const ROUTER: MacAddr = MacAddr(0x02, 0, 0, 0, 9, 9);

const SERVICES: &str = r#"
    [services]
    next_hop = "02:00:00:00:09:09"
    [[allowlist]]
    name = "office"
    prefixes = ["198.51.100.0/24"]
    [[rule]]
    name = "dns-in"
    protocol = "udp"
    destination_port = 53
    action = "pass"
    [[service]]
    name = "web"
    address = "192.0.2.10"
    protocol = "tcp"
    port = 80
    mode = "nat"
    echo = "reply"
    no_backend = "reject"
    [[service.backend]]
    name = "b1"
    address = "10.9.0.1"
    port = 8080
    [[service]]
    name = "dns"
    address = "192.0.2.11"
    protocol = "udp"
    port = 53
    mode = "dsr"
    [[service.backend]]
    name = "d1"
    address = "10.9.0.2"
"#;

fn attached() -> Bench {
    let mut bench = Bench::new();
    bench.attach(SERVICES);
    bench
}

fn request(source: &str) -> Frame {
    let frame = tcp4(source, "192.0.2.10", 5555, 80).flags(SYN).ttl(64);
    frame.source_mac(SRC0).destination_mac(IN0)
}

/// What is told of a frame, but for the frame that leaves.
fn told(answer: &Value) -> Value {
    let keys = ["verdict", "reason", "rule", "entry", "to", "service", "backend", "by", "lost"];
    keys.iter().map(|key| answer[key].clone()).collect()
}

fn hex(frame: Frame) -> String {
    frame.build().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Runs `backend` on the web service's only one.
#[track_caller]
fn say(bench: &Bench, state: &str) -> Output {
    let output = bench.xdpctl(["backend", JUDGED, "web", "b1", state]);
    output.success();
    output
}

#[test]
fn explain_says_where_a_service_sends_a_frame() {
    let bench = attached();
    let query = udp4("203.0.113.7", "192.0.2.11", 4000, 53).source_mac(SRC0).destination_mac(IN0);
    let reply = tcp4("10.9.0.1", "203.0.113.7", 8080, 5555).ttl(64);
    let other = tcp4("203.0.113.7", "192.0.2.10", 5555, 81);
    let frames = [
        request("203.0.113.7").build(),
        request("198.51.100.7").build(),
        query.clone().build(),
        reply.source_mac(ROUTER).destination_mac(IN0).build(),
        request("203.0.113.7").ttl(1).build(),
        request("203.0.113.7").fragment(0, true).build(),
        other.build(),
        icmp4("203.0.113.7", "192.0.2.10", 8).source_mac(SRC0).destination_mac(IN0).build(),
    ];
    let answers = explain_frames(&bench, &frames);
    let web = |by: &str, lost: Value| {
        let (verdict, to) =
            if lost.is_null() { ("tx", json!("in0")) } else { ("drop", json!(null)) };
        json!([verdict, "service", "web", null, to, "web", "b1", by, lost])
    };
    assert_eq!(told(&answers[0]), web("hash", json!(null)));
    let rewritten = |source: &str| {
        let frame = tcp4(source, "10.9.0.1", 5555, 8080).flags(SYN).ttl(63);
        hex(frame.source_mac(IN0).destination_mac(ROUTER))
    };
    assert_eq!(answers[0]["output"], rewritten("203.0.113.7"));
    assert!(answers[0]["file"].as_str().is_some_and(|file| file.ends_with("in0.toml")));
    assert_eq!(answers[0]["line"], 13);
    assert!(answers[0].get("admitted").is_none());
    // What let it in is told beside.
    assert_eq!(told(&answers[1]), web("hash", json!(null)));
    assert_eq!(answers[1]["output"], rewritten("198.51.100.7"));
    let by = |answer: &Value| {
        let by = &answer["admitted"];
        json!([by["reason"], by["rule"], by["entry"], by["line"]])
    };
    assert_eq!(by(&answers[1]), json!(["allowlist", "office", "198.51.100.0/24", 6]));
    assert!(answers[1]["counted"].is_null());
    let dns = json!(["tx", "service", "dns", null, "in0", "dns", "d1", "hash", null]);
    assert_eq!(told(&answers[2]), dns);
    assert_eq!(by(&answers[2]), json!(["rule", "dns-in", null, 8]));
    let (outer, inner) = (answers[2]["output"].as_str().unwrap(), hex(query));
    assert_eq!(outer.len(), inner.len() + 2 * 20);
    assert!(outer.ends_with(&inner[2 * 14..]), "{outer} {inner}");
    assert_eq!(told(&answers[3]), web("reply", json!(null)));
    let reply = tcp4("192.0.2.10", "203.0.113.7", 80, 5555).ttl(63);
    assert_eq!(answers[3]["output"], hex(reply.source_mac(IN0).destination_mac(ROUTER)));
    assert_eq!(told(&answers[4]), web("hash", json!("ttl")));
    assert!(answers[4]["output"].is_null());
    let fragment = json!(["drop", "service", "web", null, null, "web", null, null, "fragment"]);
    assert_eq!(told(&answers[5]), fragment);
    assert_eq!(
        told(&answers[6]),
        json!(["pass", "default", null, null, null, null, null, null, null])
    );
    assert!(answers[6].get("service").is_none());

    let echo = json!(["tx", "service", "web", null, "in0", "web", null, null, null]);
    assert_eq!(told(&answers[7]), echo);
    let reply = icmp4("192.0.2.10", "203.0.113.7", 0).source_mac(IN0).destination_mac(SRC0);
    assert_eq!(answers[7]["output"], hex(reply));

    // The configuration says the same without the kernel, but for the interface's name.
    let captured = bench.directory().join("asked.pcap");
    let rest = ["--json", "--pcap", captured.to_str().unwrap()];
    let output = without_the_kernel("explain", &bench.directory().join("in0.toml"), rest);
    let here = lines(&output.success().stdout);
    for (number, (mut kernel, here)) in answers.iter().cloned().zip(&here).enumerate() {
        kernel["to"] = json!(null);
        assert_eq!(&kernel, here, "frame {}", number + 1);
    }
    assert_eq!(here.len(), answers.len());

    // A run-time entry lets in too; and without a backend, nothing is sent.
    bench.xdpctl(["allow", JUDGED, "203.0.113.0/24"]).success();
    say(&bench, "down");
    let [down] = explain_frames(&bench, &[request("203.0.113.7").build()]);
    let lost = json!(["tx", "service", "web", null, "in0", "web", null, null, "no_backend"]);
    assert_eq!(told(&down), lost);
    assert_eq!(by(&down), json!(["allowed", null, "203.0.113.0/24", null]));
    let args = ["explain", JUDGED, "--packet", &hex(request("203.0.113.7"))];
    let text = bench.xdpctl(args).stdout;
    let lost = ": no backend is up, and its sender is told; let in by allowed";
    assert!(text.contains(lost), "{text}");
    say(&bench, "auto");
    let args = ["explain", JUDGED, "--packet", &hex(request("203.0.113.7"))];
    let text = bench.xdpctl(args).stdout;
    assert!(text.starts_with("tx to in0: service \"web\" ("), "{text}");
    assert!(
        text.contains(", backend \"b1\" by the table; let in by allowed 203.0.113.0/24\n"),
        "{text}"
    );
    // Nothing of all that was counted.
    assert_eq!(bench.sample().rule("web").count.packets, 0);
}

/// A bench whose backends are reached by routes.
fn routed() -> Bench {
    let mut bench = Bench::new();
    for words in [
        "addr add 203.0.113.1/24 dev in0",
        "addr add 10.9.0.254/24 dev out0",
        "neigh add 10.9.0.1 dev out0 lladdr 02:00:00:00:09:09 nud permanent",
    ] {
        bench.lab().ip("dut", words.split(' ')).success();
    }
    for name in ["ip_forward", "conf/in0/forwarding", "conf/out0/forwarding"] {
        forward(&bench, name, "1");
    }
    bench.attach(&SERVICES.replace("\"02:00:00:00:09:09\"", "\"route\""));
    bench
}

fn forward(bench: &Bench, name: &str, value: &str) {
    let path = format!("/proc/sys/net/ipv4/{name}");
    bench.lab().namespace("dut").enter(|| fs::write(&path, value).expect("a setting"));
}

/// A backend on another link is reached by the kernel's routes.
#[test]
fn explain_follows_the_routes() {
    let bench = routed();
    bench.lab().ip("dut", ["route", "add", "unreachable", "10.9.0.2"]).success();
    let query = udp4("203.0.113.7", "192.0.2.11", 4000, 53);
    let [web, dns] = explain_frames(&bench, &[request("203.0.113.7").build(), query.build()]);
    let to_web = |to| json!(["redirect", "service", "web", null, to, "web", "b1", "hash", null]);
    assert_eq!(told(&web), to_web(json!("out0")));
    // Without the kernel, nobody knows the way.
    let frame = hex(request("203.0.113.7"));
    let file = bench.directory().join("in0.toml");
    let output = without_the_kernel("explain", &file, ["--json", "--packet", &frame]);
    assert_eq!(told(&lines(&output.success().stdout)[0]), to_web(json!(null)));
    let to_dns = json!(["drop", "service", "dns", null, null, "dns", "d1", "hash", "no_route"]);
    assert_eq!(told(&dns), to_dns);
}

#[test]
fn captures_show_services() {
    let bench = attached();
    let begin = |rest: &[&str]| {
        let args = ["capture", JUDGED, "--count", "1"].iter().chain(rest);
        let capture = bench.lab().spawn_xdpctl("dut", args);
        crate::capture::begun(capture)
    };
    let mut capture = begin(&["--rule", "web"]);
    let port = bench.port("src0");
    port.send(&udp4("203.0.113.7", "192.0.2.11", 4000, 53).build());
    port.send(&request("203.0.113.7").build());
    let output = capture.wait(patient(EVENT)).expect("it ends");
    output.success();
    let told = " 203.0.113.7:5555 > 192.0.2.10:80 tcp, 64 bytes: tx to in0: service web -> b1\n";
    assert!(output.stdout.ends_with(told), "{}", output.stdout);
    assert_eq!(output.stdout.lines().count(), 1);
}

#[test]
fn metrics_have_families_for_services() {
    let bench = attached();
    let port = bench.port("src0");
    port.send(&request("203.0.113.7").build());
    port.send(&request("203.0.113.7").ttl(1).build());
    port.send(&udp4("203.0.113.7", "192.0.2.11", 4000, 53).build());
    bench.await_count(3);
    say(&bench, "down");
    port.send(&request("203.0.113.7").build());
    bench.await_count(4);
    let file = bench.directory().join("x.prom");
    bench.xdpctl(["metrics", "--textfile", file.to_str().unwrap()]).success();
    let text = fs::read_to_string(&file).unwrap();
    let service = |name: &str| format!("{{interface=\"in0\",service=\"{name}\"}}");
    for (family, labels, value) in [
        ("xdpctl_service_packets_total", service("web"), 3),
        ("xdpctl_service_packets_total", service("dns"), 1),
        ("xdpctl_service_new_connections_total", service("web"), 2),
        ("xdpctl_service_changed_places", service("web"), 0),
        ("xdpctl_service_backends", service("dns"), 1),
        (
            "xdpctl_service_lost_packets_total",
            "{interface=\"in0\",service=\"web\",reason=\"ttl\"}".to_owned(),
            1,
        ),
        (
            "xdpctl_service_lost_packets_total",
            "{interface=\"in0\",service=\"web\",reason=\"no_backend\"}".to_owned(),
            1,
        ),
        (
            "xdpctl_backend_packets_total",
            "{interface=\"in0\",service=\"web\",backend=\"b1\"}".to_owned(),
            2,
        ),
        ("xdpctl_backend_up", "{interface=\"in0\",service=\"web\",backend=\"b1\"}".to_owned(), 0),
        ("xdpctl_backend_up", "{interface=\"in0\",service=\"dns\",backend=\"d1\"}".to_owned(), 1),
    ] {
        let line = format!("{family}{labels} {value}");
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

/// What a reload moves is said before it, and of it.
#[test]
fn a_reload_says_how_many_places_move() {
    let mut bench = attached();
    let more = format!(
        "{SERVICES}    [[service.backend]]\n    name = \"d2\"\n    address = \"10.9.0.3\"\n"
    );
    let path = bench.write("more.toml", &more);
    let args = ["reload", JUDGED, "-c", path.to_str().unwrap(), "--dry-run"];
    let told = bench.xdpctl(args.iter().chain(&["--json"])).success().json();
    let [dns] = &told["moved_places"].as_array().unwrap()[..] else { panic!("{told}") };
    let (places, of) = (dns["places"].as_u64().unwrap(), dns["of"].as_u64().unwrap());
    assert_eq!(dns["service"], "dns");
    // One of two backends, with the same weight.
    assert!(places.abs_diff(of / 2) <= 1, "{dns}");
    let text = bench.xdpctl(args);
    let line = "of its table move to another backend (50.0 %)\n";
    assert!(text.success().stdout.contains(line), "{}", text.stdout);
    bench.attach(&more);
    let services = bench.xdpctl(["services", JUDGED, "dns", "--json"]).success().json();
    assert_eq!(services[0]["changed_places"], places);
    // The same once more moves nothing.
    let told = bench.xdpctl(args.iter().chain(&["--json"])).success().json();
    assert_eq!(told["moved_places"], json!([]));
}

#[test]
fn status_tells_what_keeps_services_from_serving() {
    let mut bench = routed();
    let status = |bench: &Bench| bench.xdpctl(["status", JUDGED, "--json"]).json()[0].clone();
    let well = status(&bench);
    assert_eq!(
        (&well["entries"]["services"], &well["entries"]["backends"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(well["problems"], json!([]));
    say(&bench, "down");
    forward(&bench, "conf/in0/forwarding", "0");
    let unwell = status(&bench);
    assert_eq!(
        unwell["problems"],
        json!([
            "in0 does not forward IPv4 any more: what services send on by the kernel's routes is \
             dropped; `sysctl -w net/ipv4/conf/in0/forwarding=1` switches it on",
            "service \"web\": none of 1 backend is up; `xdpctl services in0 web` says why of each",
        ])
    );
    // With a fixed next hop, no route is asked for.
    bench.attach(SERVICES);
    say(&bench, "up");
    assert_eq!(status(&bench)["problems"], json!([]));
    // Then nobody says either that a packet is to an address that the host got later.
    bench.lab().ip("dut", ["addr", "add", "203.0.113.2/24", "dev", "in0"]).success();
    assert_eq!(
        status(&bench)["problems"],
        json!([
            "this host has got 203.0.113.2 since the ruleset was loaded: what backends of service \
                \"web\" answer there is taken for replies to clients, so checks from it fail; `xdpctl \
                reload in0` takes it over"
        ])
    );
    bench.attach(SERVICES);
    assert_eq!(status(&bench)["problems"], json!([]));
}
