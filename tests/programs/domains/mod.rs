//! `[[domains]]` in front of a real server, unbound, and what the programs that ask it make of each
//! action: dig, kdig, glibc, and unbound, dnsmasq and systemd-resolved, which ask for others.

mod clients;
mod forwarders;

use std::fs;
use std::net::Ipv6Addr;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::lab::bench::{Bench, JUDGED};
use crate::lab::patience::{EVENT, patient};
use crate::lab::{Background, Output};

/// The server, and the client's side.
const SERVER: &str = "192.0.2.53";
const SERVER_V6: &str = "2001:db8::53";
const CLIENT: &str = "192.0.2.10";
const CLIENT_V6: &str = "2001:db8::10";

/// Names that the server knows, each with this address and a text.
const NAMES: [&str; 6] = [
    "www.plain.example",
    "www.drop.example",
    "www.nx.example",
    "good.nx.example",
    "www.refuse.example",
    "www.tcp.example",
];
const ADDRESS: &str = "192.0.2.80";
const ADDRESS_V6: &str = "2001:db8::80";

const LISTS: &str = r#"
    [[domains]]
    name = "exceptions"
    names = ["good.nx.example"]
    action = "pass"
    [[domains]]
    name = "any"
    names = ["."]
    qtype = ["ANY"]
    action = "refuse"
    [[domains]]
    name = "dropped"
    names = ["drop.example"]
    [[domains]]
    name = "denied"
    names = ["nx.example"]
    action = "nxdomain"
    [[domains]]
    name = "refused"
    names = ["refuse.example"]
    action = "refuse"
    [[domains]]
    name = "by-tcp"
    names = ["tcp.example"]
    action = "truncate"
"#;

/// A server in the namespace of the device under test, which answers through the judged interface.
struct Served {
    // Before the folder, from which it reads.
    _server: Background,
    folder: TempDir,
    bench: Bench,
}

impl Served {
    /// The server, with nothing that it knows kept from anyone, and every program of the tests told
    /// its address.
    #[track_caller]
    fn new() -> Self {
        let bench = Bench::new();
        for (role, interface, addresses) in
            [("src", "src0", [CLIENT, CLIENT_V6]), ("dut", JUDGED, [SERVER, SERVER_V6])]
        {
            bench.lab().namespace(role).enter(|| {
                let path = format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
                fs::write(&path, "0").unwrap_or_else(|error| panic!("{path}: {error}"));
            });
            bench.lab().ip(role, ["link", "set", "lo", "up"]);
            bench.lab().ip(role, ["link", "set", interface, "arp", "on"]);
            for address in addresses {
                let length = if address.parse::<Ipv6Addr>().is_ok() { 64 } else { 24 };
                let with_length = format!("{address}/{length}");
                let add = ["address", "add", &with_length, "dev", interface];
                // Used at once, without asking whether somebody else has it.
                let nodad: &[&str] = if length == 64 { &["nodad"] } else { &[] };
                bench.lab().ip(role, [&add[..], nodad].concat());
            }
        }
        let folder = tempfile::tempdir().expect("a temporary directory");
        let mut zone = "local-zone: \".\" static\n\
             local-data: \". SOA ns.example. admin.example. 1 3600 600 86400 60\"\n"
            .to_owned();
        for name in NAMES {
            zone += &format!(
                "local-data: \"{name}. A {ADDRESS}\"\nlocal-data: \"{name}. AAAA {ADDRESS_V6}\"\n\
                 local-data: '{name}. TXT \"a text\"'\n"
            );
        }
        let listen = format!("interface: {SERVER}\ninterface: {SERVER_V6}\n{zone}");
        let config = unbound_configuration(folder.path(), "server.conf", &listen, "");
        let server = start_unbound(&bench, "dut", &config);
        let mut served = Self { _server: server, folder, bench };
        served.bench.open_gates();
        served.bench.attach("");
        served.await_answer(&["@192.0.2.53"], "the server");
        // Nothing of what follows is the server's doing.
        for name in NAMES {
            for server in ["@192.0.2.53", "@2001:db8::53"] {
                assert_eq!(served.dig(&[server, "+short", name]).stdout, "192.0.2.80\n", "{name}");
            }
        }
        served.bench.attach(LISTS);
        served
    }

    /// A command on the client's side.
    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = self.bench.lab().command("src", program);
        command.args(args);
        command
    }

    #[track_caller]
    fn run(&self, program: &str, args: &[&str]) -> Output {
        let mut running = Background::start(self.command(program, args));
        running.wait(EVENT).unwrap_or_else(|| panic!("{program} {args:?} does not end"))
    }

    /// One question by dig, which waits for two seconds and asks once.
    #[track_caller]
    fn dig(&self, args: &[&str]) -> Output {
        self.run("dig", &[&["+time=2", "+tries=1"], args].concat())
    }

    /// Waits until what is asked by these arguments knows a name.
    #[track_caller]
    fn await_answer(&self, args: &[&str], whom: &str) {
        let deadline = Instant::now() + patient(EVENT);
        while self.dig(&[args, &["+short", NAMES[0]]].concat()).stdout != "192.0.2.80\n" {
            assert!(Instant::now() < deadline, "{whom} does not answer");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Packets that a list has counted.
    #[track_caller]
    fn counted(&self, list: &str) -> u64 {
        self.bench.sample().rule(list).count.packets
    }
}

/// An unbound that keeps to a folder and asks nobody, with these lines in its server clause and these
/// behind it.
fn unbound_configuration(folder: &Path, name: &str, server: &str, rest: &str) -> String {
    let text = format!(
        "server:\n\
         do-daemonize: no\nusername: \"\"\nchroot: \"\"\ndirectory: \"{}\"\npidfile: \"\"\n\
         use-syslog: no\nlogfile: \"\"\naccess-control: 0.0.0.0/0 allow\n\
         access-control: ::/0 allow\nmodule-config: \"iterator\"\ndo-not-query-localhost: no\n\
         {server}\n{rest}\nremote-control:\ncontrol-enable: no\n",
        folder.display()
    );
    let path = folder.join(name);
    fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path.to_str().expect("UTF-8").to_owned()
}

fn start_unbound(bench: &Bench, role: &str, configuration: &str) -> Background {
    let mut command = bench.lab().command(role, "unbound");
    command.args(["-d", "-c", configuration]);
    Background::start(command)
}

/// The response code in what dig has written.
#[track_caller]
fn status(output: &Output) -> String {
    let after = |mark: &str| {
        let (_, rest) = output.stdout.split_once(mark)?;
        Some(rest.split([',', ';']).next()?.to_owned())
    };
    after("status: ").unwrap_or_else(|| panic!("no status in {output:?}"))
}

/// The flags in what dig or kdig has written.
#[track_caller]
fn flags(output: &Output) -> Vec<String> {
    let line = output.stdout.lines().find_map(|line| {
        line.to_lowercase().split_once("flags: ").map(|(_, rest)| rest.to_owned())
    });
    let line = line.unwrap_or_else(|| panic!("no flags in {output:?}"));
    line.split(';').next().into_iter().flat_map(str::split_whitespace).map(str::to_owned).collect()
}
