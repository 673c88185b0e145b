//! Services with the servers and clients that people run, and the same lab with IPVS.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::lab::balancer::{BACKENDS, Balancer, DSR, DSR6, IN, NAT, NAT6, Shape};
use crate::lab::patience::{EVENT, patient};
use crate::lab::server::{Connection, Server};
use crate::lab::tunnel::Tunnels;
use crate::lab::{Background, Output};

/// Bytes of the file that nginx serves, and that iperf3 sends.
const BULK: usize = 16 << 20;
const GUE: u16 = 6080;

/// A service with both backends, of the address's family unless `v6` says otherwise.
fn service(name: &str, address: &str, rest: &str, backend: &str, v6: bool) -> String {
    let host = if v6 { "2001:db8:2::1" } else { "10.2.0.1" };
    let mut text = format!("[[service]]\nname = \"{name}\"\naddress = \"{address}\"\n{rest}\n");
    for number in [1, 2] {
        text += &format!(
            "[[service.backend]]\nname = \"b{number}\"\naddress = \"{host}{number}\"\n{backend}\n"
        );
    }
    text
}

#[track_caller]
fn run(command: Command) -> Output {
    let output = Background::start(command).wait(EVENT).expect("it ends");
    output.success();
    output
}

#[track_caller]
fn run_at_client(lab: &Balancer, program: &str, args: &[&str]) -> Output {
    let mut command = lab.lab().command("client", program);
    command.args(args);
    run(command)
}

/// A program at each backend, with its name put in place of `NAME`, and its addresses of `{4}` and `{6}`.
#[track_caller]
fn at_each(lab: &Balancer, program: &str, args: &[&str]) -> Vec<Background> {
    let one = |role: &&'static str| {
        let mut command = lab.lab().command(role, program);
        command.args(args.iter().map(|arg| at(lab, role, arg)));
        Background::start(command)
    };
    BACKENDS.iter().map(one).collect()
}

fn at(lab: &Balancer, role: &str, text: &str) -> String {
    let text = text.replace("{4}", &lab.address(role)).replace("{6}", &lab.address6(role));
    text.replace("NAME", role)
}

/// Waits until something listens on that TCP port of each backend.
#[track_caller]
fn await_listening(lab: &Balancer, servers: &mut [Background], port: u16) {
    let deadline = Instant::now() + patient(EVENT);
    for (role, server) in BACKENDS.iter().zip(servers) {
        loop {
            let mut ss = lab.lab().command(role, "ss");
            ss.args(["-Hltn", &format!("sport = :{port}")]);
            if !run(ss).stdout.is_empty() {
                break;
            }
            assert!(server.is_running(), "in {role}: {}{}", server.stdout(), server.stderr());
            assert!(Instant::now() < deadline, "nothing listens on port {port} in {role}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn nginx_and_curl_through_nat() {
    let mut lab = Balancer::new(Shape::Arms);
    let nat = "mode = \"nat\"\nprotocol = \"tcp\"\nport = 80";
    lab.attach(
        &[
            service("web", NAT, nat, "port = 8080", false),
            service("web6", NAT6, nat, "port = 8080", true),
        ]
        .concat(),
    );
    let directory = lab.directory().to_str().expect("UTF-8").to_owned();
    let contents: Vec<u8> =
        (0..BULK as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8).collect();
    fs::write(Path::new(&directory).join("file"), &contents).expect("a file");
    let configuration = format!(
        "daemon off; user root; worker_processes 1; pid {directory}/NAME.pid; error_log stderr;
         events {{ worker_connections 64; }}
         http {{
             access_log off; client_body_temp_path {directory}; proxy_temp_path {directory};
             fastcgi_temp_path {directory}; uwsgi_temp_path {directory}; scgi_temp_path {directory};
             server {{
                 listen {{4}}:8080; listen [{{6}}]:8080; root {directory};
                 location / {{ add_header Backend NAME; }}
                 location /who {{ return 200 \"NAME $remote_addr\\n\"; }}
             }}
         }}"
    );
    for role in BACKENDS {
        let path = format!("{directory}/{role}.conf");
        fs::write(path, at(&lab, role, &configuration)).expect("a file");
    }
    let file = format!("{directory}/NAME.conf");
    let mut servers = at_each(&lab, "nginx", &["-e", "stderr", "-c", &file]);
    await_listening(&lab, &mut servers, 8080);

    for (host, client) in [(NAT.to_owned(), "10.1.0.2"), (format!("[{NAT6}]"), "2001:db8:1::2")] {
        // A connection for each.
        let url = format!("http://{host}/who?[1-32]");
        let args = ["-sS", "--fail", "--max-time", "60", "-H", "Connection: close", &url];
        let who = run_at_client(&lab, "curl", &args).stdout;
        let lines: BTreeSet<&str> = who.lines().collect();
        let expected = BACKENDS.map(|role| format!("{role} {client}"));
        assert_eq!(lines, expected.iter().map(String::as_str).collect(), "{host}");
        let got = format!("{directory}/got");
        let url = format!("http://{host}/file");
        run_at_client(&lab, "curl", &["-sS", "--fail", "--max-time", "60", "-o", &got, &url]);
        assert!(fs::read(&got).expect("a file") == contents, "{host}: what curl got");
    }
    assert_eq!(lab.sample(IN).verdicts["drop"].packets, 0);
}

/// A page that is checked through the service: it says 500, hangs, and is gone; and the process that checks is
/// killed and started again.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn nginx_is_checked_through_dsr() {
    let mut lab = Balancer::new(Shape::Stick);
    let check = "[service.check]\ntype = \"http\"\nthrough = \"service\"\npath = \"/health\"\n\
                 body = \"well\"\ninterval = \"200ms\"\ntimeout = \"200ms\"\nfall = 2\nrise = 2";
    let dsr = format!("mode = \"dsr\"\nprotocol = \"tcp\"\nport = 80\n{check}");
    lab.attach(&service("web", DSR, &dsr, "", false));
    let _tunnels = BACKENDS.map(|role| Tunnels::open(lab.lab(), role, GUE));
    let directory = lab.directory().to_str().expect("UTF-8").to_owned();
    // One process, which can be stopped.
    let configuration = format!(
        "daemon off; master_process off; user root; pid {directory}/NAME.pid; error_log stderr;
         events {{ worker_connections 64; }}
         http {{
             access_log off; client_body_temp_path {directory}; proxy_temp_path {directory};
             fastcgi_temp_path {directory}; uwsgi_temp_path {directory}; scgi_temp_path {directory};
             server {{
                 listen {DSR}:80;
                 location /who {{ return 200 \"NAME\\n\"; }}
                 location /health {{
                     if (-f {directory}/NAME.sick) {{ return 500; }}
                     return 200 \"well\\n\";
                 }}
             }}
         }}"
    );
    for role in BACKENDS {
        let path = format!("{directory}/{role}.conf");
        fs::write(path, at(&lab, role, &configuration)).expect("a file");
    }
    let file = format!("{directory}/NAME.conf");
    let mut servers = at_each(&lab, "nginx", &["-e", "stderr", "-c", &file]);
    await_listening(&lab, &mut servers, 80);
    let start = || lab.lab().spawn_xdpctl("dut", ["health"]);
    // Whom a connection for each of these comes to. All are answered.
    let who = || {
        let url = format!("http://{DSR}/who?[1-32]");
        let args = ["-sS", "--fail", "--max-time", "60", "-H", "Connection: close", &url];
        let lines: BTreeSet<String> =
            run_at_client(&lab, "curl", &args).stdout.lines().map(str::to_owned).collect();
        lines.into_iter().collect::<Vec<_>>().join(" ")
    };
    let state = |backend: usize| {
        let services = lab.xdpctl(["services", IN, "web", "--json"]).success().json();
        let backend = &services[0]["backends"][backend];
        format!("{} by {}", backend["state"], backend["by"]).replace('"', "")
    };
    let until = |backend: usize, expected: &str| {
        let deadline = Instant::now() + patient(EVENT);
        while state(backend) != expected {
            assert!(
                Instant::now() < deadline,
                "b{}: {}, not {expected}",
                backend + 1,
                state(backend)
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let daemon = start();
    until(0, "up by health");
    until(1, "up by health");
    assert_eq!(who(), "b1 b2");

    let sick = Path::new(&directory).join("b1.sick");
    fs::write(&sick, "").expect("a file");
    until(0, "down by health");
    assert_eq!(who(), "b2");
    fs::remove_file(&sick).expect("that file");
    until(0, "up by health");
    assert_eq!(who(), "b1 b2");

    servers[0].signal(Signal::SIGSTOP);
    until(0, "down by health");
    assert_eq!(who(), "b2");
    for said in ["b1 is down: status 500", "b1 is up", "b1 is down: no answer within 200ms"] {
        assert!(daemon.stderr().contains(said), "not: {said}\n{}", daemon.stderr());
    }
    // What it found stays when it is killed, and the next one goes on with that.
    daemon.signal(Signal::SIGKILL);
    assert_eq!(who(), "b2");
    let daemon = start();
    servers[0].signal(Signal::SIGCONT);
    until(0, "up by health");
    assert_eq!(who(), "b1 b2");
    assert!(!daemon.stderr().contains("is down"), "{}", daemon.stderr());

    servers[1].signal(Signal::SIGKILL);
    until(1, "down by health");
    assert_eq!(who(), "b1");
    assert!(daemon.stderr().contains("b2 is down: connection refused"), "{}", daemon.stderr());
}

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn iperf3_both_ways() {
    let mut lab = Balancer::new(Shape::Stick);
    lab.meet();
    // Its connections belong together: all of a client go to one backend.
    let ports = "protocol = [\"tcp\", \"udp\"]\nport = 5201\nhash = \"source\"";
    let nat = format!("{ports}\nmode = \"nat\"");
    let dsr = format!("{ports}\nmode = \"dsr\"");
    let l2dsr = format!("{ports}\nmode = \"l2dsr\"");
    let ways = [
        ("nat", NAT, service("nat", NAT, &nat, "", false)),
        ("nat, IPv6", NAT6, service("nat6", NAT6, &nat, "", true)),
        ("dsr", DSR, service("dsr", DSR, &dsr, "", false)),
        ("dsr, IPv6", DSR6, service("dsr6", DSR6, &dsr, "", true)),
        ("dsr, IPv4 in IPv6", DSR, service("dsr46", DSR, &dsr, "", true)),
        ("l2dsr", DSR, service("l2dsr", DSR, &l2dsr, "", false)),
    ];
    let mut servers = at_each(&lab, "iperf3", &["-s"]);
    await_listening(&lab, &mut servers, 5201);
    let _tunnels = BACKENDS.map(|role| Tunnels::open(lab.lab(), role, GUE));
    let bytes = BULK.to_string();
    for (way, to, configuration) in ways {
        lab.attach(&configuration);
        for direction in ["--client", "--reverse --client"] {
            let mut args: Vec<&str> = direction.split(' ').collect();
            args.extend([to, "--bytes", &bytes, "--json"]);
            let said = measured(&lab, &args);
            assert_eq!(said["error"], Value::Null, "{way}");
            let end = &said["end"];
            let count = |of: &str| end[of]["bytes"].as_u64().expect("a number");
            assert!(count("sum_sent") >= BULK as u64, "{way}: {end}");
            // What is under way when the sender has handed over all is not waited for.
            assert!(count("sum_received") > 0, "{way}: {end}");
        }
    }
}

/// What iperf3 has measured. Its server opens its socket anew behind each client, and resets what came meanwhile.
fn measured(lab: &Balancer, args: &[&str]) -> Value {
    let deadline = Instant::now() + patient(EVENT);
    loop {
        let said: Value = run_at_client(lab, "iperf3", args).json();
        let refused = said["error"].as_str().is_some_and(|it| it.contains("unable to connect"));
        if !refused || Instant::now() >= deadline {
            return said;
        }
    }
}

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn dig_and_unbound_through_dsr() {
    let mut lab = Balancer::new(Shape::Stick);
    let rest = "protocol = [\"tcp\", \"udp\"]\nport = 53\nmode = \"dsr\"";
    let gue = format!("{rest}\nencapsulation = \"gue\"\ngue_port = {GUE}");
    lab.attach(
        &[service("dns", DSR, rest, "", false), service("dns6", DSR6, &gue, "", true)].concat(),
    );
    let _tunnels = BACKENDS.map(|role| Tunnels::open(lab.lab(), role, GUE));
    let directory = lab.directory().to_str().expect("UTF-8").to_owned();
    // An answer of its own, and one that is as long as a datagram without EDNS may not be.
    let long: String =
        (0..20).map(|line| format!("local-data: 'long.test. TXT \"{line:050}\"'\n")).collect();
    for role in BACKENDS {
        let configuration = format!(
            "server:\nusername: \"\"\nchroot: \"\"\ndo-daemonize: no\nuse-syslog: no\npidfile: \"\"\n\
             interface: {DSR}\ninterface: {DSR6}\naccess-control: 0.0.0.0/0 allow\n\
             access-control: ::/0 allow\nlocal-zone: test. static\n\
             local-data: 'who.test. TXT \"{role}\"'\n{long}"
        );
        fs::write(format!("{directory}/{role}.conf"), configuration).expect("a file");
    }
    let file = format!("{directory}/NAME.conf");
    let mut servers = at_each(&lab, "unbound", &["-d", "-c", &file]);
    await_listening(&lab, &mut servers, 53);
    for server in [DSR, DSR6] {
        for by in ["+notcp", "+tcp"] {
            let at = format!("@{server}");
            // Each name is asked for from a port of its own.
            let query = ["who.test", "TXT", by];
            let args: Vec<&str> = std::iter::once(&*at)
                .chain(["+short", "+time=2", "+tries=5"])
                .chain(std::iter::repeat_n(query, 32).flatten())
                .collect();
            let said = run_at_client(&lab, "dig", &args).stdout;
            let count = said.lines().fold(BTreeMap::new(), |mut count, line| {
                *count.entry(line.to_owned()).or_insert(0) += 1;
                count
            });
            let names: Vec<&str> = count.keys().map(String::as_str).collect();
            assert_eq!(names, ["\"b1\"", "\"b2\""], "{server} {by}");
            assert_eq!(count.values().sum::<u32>(), 32, "{server} {by}: {count:?}");
        }
        // Cut off by UDP, and whole by TCP.
        let args = [&format!("@{server}"), "long.test", "TXT", "+short", "+noedns", "+time=2"];
        assert_eq!(run_at_client(&lab, "dig", &args).stdout.lines().count(), 20, "{server}");
    }
    let sample = lab.sample(IN);
    assert!(sample.rule("dns").count.packets >= 32 + 32 * 3, "{sample:#?}");
    assert!(sample.rule("dns6").count.packets >= 32 + 32 * 3, "{sample:#?}");
}

/// What IPVS does with a packet, its scheduler mh being Maglev's too.
const IPVS: [(&str, &str, &str); 3] =
    [("-m", "nat", NAT), ("-g", "l2dsr", DSR), ("-i", "dsr", DSR)];

/// The yardstick: the same hosts, servers and clients, with IPVS in the place of xdpctl first. scripts/kernels
/// runs it in kernels that have IPVS.
#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn as_with_ipvs() {
    let mut lab = Balancer::new(Shape::Stick);
    let ipvsadm = |lab: &Balancer, args: &[&str]| {
        let mut command = lab.command("ipvsadm");
        command.args(args);
        Background::start(command).wait(EVENT).expect("it ends")
    };
    let there = ipvsadm(&lab, &["-L", "-n"]);
    if there.status != 0 {
        println!("this kernel has no IPVS, so there is no yardstick: {}", there.stderr);
        return;
    }
    lab.meet();
    let _tunnels = BACKENDS.map(|role| Tunnels::open(lab.lab(), role, GUE));
    let _servers: Vec<Vec<Server>> =
        vec![lab.serve_tcp("{4}:80"), lab.serve_tcp(&format!("{DSR}:80"))];
    for (flag, mode, address) in IPVS {
        let to = format!("{address}:80");
        // IPVS takes what comes to an address of the host; xdpctl needs none.
        lab.lab().ip("dut", ["address", "add", &format!("{address}/32"), "dev", "lo"]);
        ipvsadm(&lab, &["-A", "-t", &to, "-s", "mh", "-b", "mh-port"]).success();
        for role in BACKENDS {
            ipvsadm(&lab, &["-a", "-t", &to, "-r", &lab.address(role), flag]).success();
        }
        let with_ipvs = serves(&lab, &to);
        ipvsadm(&lab, &["-C"]).success();
        lab.lab().ip("dut", ["address", "delete", &format!("{address}/32"), "dev", "lo"]);
        let rest = format!("protocol = \"tcp\"\nport = 80\nmode = \"{mode}\"");
        lab.attach(&service("web", address, &rest, "", false));
        let with_xdpctl = serves(&lab, &to);
        println!("{mode}: {with_ipvs:?} with IPVS, {with_xdpctl:?} with xdpctl");
        lab.attach("");
    }
}

/// How long it takes to have connections with both backends and to send 4 MiB there and back.
#[track_caller]
fn serves(lab: &Balancer, to: &str) -> Duration {
    let begun = Instant::now();
    let connections: Vec<Connection> = (0..32).map(|_| lab.connect(to)).collect();
    for role in BACKENDS {
        let of = connections.iter().filter(|it| it.greeting.server == role).count();
        assert!((4..=28).contains(&of), "{to}: {of} of 32 connections to {role}");
    }
    let clients: BTreeSet<String> =
        connections.iter().map(|it| it.greeting.client.ip().to_string()).collect();
    assert_eq!(clients, BTreeSet::from(["10.1.0.2".to_owned()]));
    for connection in connections.into_iter().take(4) {
        connection.exchange(1 << 20, 11);
    }
    begun.elapsed()
}
