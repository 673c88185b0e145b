//! Resolvers that ask the server for others.

use super::*;

/// A port that no test's client uses.
const PORT: u16 = 5300;

/// What a forwarder's client gets for a name.
#[derive(Debug)]
enum Gets {
    Address,
    Status(&'static str),
    /// Nothing, or that the forwarder has failed.
    NoAddress,
}
use Gets::{Address, NoAddress, Status};

/// Asks the forwarder for each name, twice: what it keeps in mind is no other answer.
#[track_caller]
fn check(served: &Served, forwarder: &[&str], expected: &[(&str, Gets)]) {
    served.await_answer(forwarder, "the forwarder");
    for (name, gets) in expected {
        for _ in 0..2 {
            let output = served.dig(&[forwarder, &[name]].concat());
            let has_address = output.stdout.contains(ADDRESS);
            match gets {
                Address => assert!(has_address, "{name}: {output:?}"),
                Status(wanted) => {
                    assert_eq!(status(&output), *wanted, "{name}: {output:?}");
                    assert!(!has_address, "{name}: {output:?}");
                }
                NoAddress => {
                    let failed = output.status == 9 || status(&output) == "SERVFAIL";
                    assert!(failed && !has_address, "{name}: {output:?}");
                }
            }
        }
    }
}

fn start_forwarder(
    served: &Served,
    port: u16,
    name: &str,
    server: &str,
    by_tcp: bool,
) -> Background {
    let options = format!("interface: 127.0.0.1\nport: {port}\n{server}\n");
    let tcp = if by_tcp { "forward-tcp-upstream: yes\n" } else { "" };
    let forward = format!("forward-zone:\nname: \".\"\nforward-addr: {SERVER}\n{tcp}");
    let configuration = unbound_configuration(served.folder.path(), name, &options, &forward);
    start_unbound(&served.bench, "src", &configuration)
}

/// One that asks by TCP, and so knows every name.
pub fn start_plain(served: &Served, port: u16) -> Background {
    let forwarder = start_forwarder(served, port, "plain.conf", "", true);
    served.await_answer(&["@127.0.0.1", "-p", &port.to_string()], "the forwarder");
    forwarder
}

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn unbound_as_a_forwarder_gets_what_each_action_says() {
    let served = Served::new();
    // As it is; with letters in random case (0x20), to which the answer has to keep; and with DO.
    for (number, server) in
        ["", "use-caps-for-id: yes", "qname-minimisation: yes"].iter().enumerate()
    {
        let port = PORT + number as u16;
        let name = format!("forwarder-{number}.conf");
        let _forwarder = start_forwarder(&served, port, &name, server, false);
        check(
            &served,
            &["@127.0.0.1", "-p", &port.to_string()],
            &[
                ("www.plain.example", Address),
                ("good.nx.example", Address),
                ("www.nx.example", Status("NXDOMAIN")),
                ("www.refuse.example", Status("SERVFAIL")),
                ("www.tcp.example", Address),
                ("www.drop.example", NoAddress),
            ],
        );
    }
}

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn dnsmasq_gets_what_each_action_says() {
    let served = Served::new();
    let port = PORT.to_string();
    let upstream = format!("--server={SERVER}");
    let port_option = format!("--port={port}");
    let args = [
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--user=root",
        "--pid-file",
        "--listen-address=127.0.0.1",
        "--bind-interfaces",
        &port_option,
        &upstream,
    ];
    let _forwarder = Background::start(served.command("dnsmasq", &args));
    check(
        &served,
        &["@127.0.0.1", "-p", &port],
        &[
            ("www.plain.example", Address),
            ("www.nx.example", Status("NXDOMAIN")),
            ("www.refuse.example", Status("REFUSED")),
            ("www.tcp.example", Address),
            ("www.drop.example", NoAddress),
        ],
    );
}

/// Where scripts/setup unpacks it: the package would make itself the machine's resolver.
fn resolved() -> String {
    let path = "../target/programs/lib/systemd/systemd-resolved";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    assert!(path.exists(), "{}: `scripts/setup --programs` unpacks it there", path.display());
    path.to_str().expect("UTF-8").to_owned()
}

/// Starts systemd-resolved with a /run/systemd of its own, no bus, and a user of its name.
fn start_resolved(served: &Served) -> Background {
    let folder = served.folder.path();
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    };
    fs::create_dir_all(folder.join("run/resolved.conf.d")).expect("a directory");
    let options = "FallbackDNS=\nDomains=~.\nDNSSEC=no\nLLMNR=no\nMulticastDNS=no\n";
    write("run/resolved.conf.d/lab.conf", &format!("[Resolve]\nDNS={SERVER}\n{options}"));
    let users = fs::read_to_string("/etc/passwd").expect("the machine's users");
    let others = users.lines().filter(|line| !line.starts_with("systemd-resolve:"));
    let own = "systemd-resolve:x:0:0::/:/usr/sbin/nologin";
    write("passwd", &others.chain([own, ""]).collect::<Vec<_>>().join("\n"));
    let script = "mkdir -p /run/systemd /run/dbus && mount --bind \"$0/run\" /run/systemd &&\n\
         mount --bind \"$0\" /run/dbus && mount --bind \"$0/passwd\" /etc/passwd &&\n\
         mkdir -p /run/systemd/resolve && exec \"$1\"";
    let folder = folder.to_str().expect("UTF-8");
    let program = resolved();
    let args = ["--mount", "--", "sh", "-c", script, folder, &program];
    let mut command = served.command("unshare", &args);
    command.env("SYSTEMD_LOG_TARGET", "console");
    Background::start(command)
}

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn systemd_resolved_gets_what_each_action_says() {
    let served = Served::new();
    let _resolved = start_resolved(&served);
    check(
        &served,
        &["@127.0.0.53"],
        &[
            ("www.plain.example", Address),
            ("good.nx.example", Address),
            ("www.nx.example", Status("NXDOMAIN")),
            ("www.refuse.example", Status("REFUSED")),
            ("www.tcp.example", Address),
            ("www.drop.example", NoAddress),
        ],
    );
}
