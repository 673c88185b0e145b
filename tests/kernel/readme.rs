//! What README.md has people type, typed.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;

use crate::lab::dns::{A, query};
use crate::lab::patience::EVENT;
use crate::lab::{Background, IN0, Lab, Output, SRC0, Topology, end};

/// The lines of the section's blocks of commands, in order. `heading` has its `#`s.
fn commands(heading: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = std::fs::read_to_string(path).expect("README.md");
    let (_, rest) = readme.split_once(&format!("\n{heading}\n")).expect("that section");
    let section = rest.split("\n## ").next().and_then(|rest| rest.split("\n### ").next());
    let section = section.unwrap_or_default();
    let blocks = section.split("```").skip(1).step_by(2);
    blocks.flat_map(str::lines).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// A lab with `eth0`, and addresses: 10.0.0.2 is filtered, 10.0.0.1 is where the reader sits.
fn host() -> Lab {
    let topology = Topology::empty().link(end("src", "src0", SRC0), end("dut", "eth0", IN0));
    let lab = topology.build();
    lab.ip("dut", ["address", "add", "10.0.0.2/24", "dev", "eth0"]);
    lab.ip("src", ["address", "add", "10.0.0.1/24", "dev", "src0"]);
    // The lab's links have no ARP.
    lab.ip("dut", ["neighbour", "add", "10.0.0.1", "lladdr", &SRC0.to_string(), "dev", "eth0"]);
    lab.ip("src", ["neighbour", "add", "10.0.0.2", "lladdr", &IN0.to_string(), "dev", "src0"]);
    lab
}

/// Types lines into a shell of the host, whose /etc is its own.
fn typed(lab: &Lab, etc: &Path, lines: &[String], session: &str) -> Output {
    let xdpctl = Path::new(env!("CARGO_BIN_EXE_xdpctl")).parent().expect("a folder");
    let path = format!("{}:{}", xdpctl.display(), std::env::var("PATH").unwrap_or_default());
    let mut shell = lab.command("dut", "unshare");
    shell.args(["--mount", "sh", "-exc"]);
    shell.arg(format!("mount --bind {} /etc\n{}", etc.display(), lines.join("\n")));
    shell.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    shell.env("PATH", path).env("SSH_CONNECTION", session);
    Background::start(shell).wait(Duration::from_secs(300)).expect("it ends")
}

/// The session stays, and another one can be opened.
#[test]
fn the_first_ruleset_does_not_cut_the_reader_off() {
    const PATIENCE: Duration = Duration::from_secs(60);

    let lab = host();
    let sshd = lab.namespace("dut").enter(|| TcpListener::bind("10.0.0.2:22")).expect("port 22");
    let open = || {
        let there = lab.namespace("src").enter(|| {
            let to = "10.0.0.2:22".parse().expect("an address");
            TcpStream::connect_timeout(&to, PATIENCE)
        });
        let there = there.expect("a session can be opened");
        (there, sshd.accept().expect("a session").0)
    };
    let alive = |(there, here): &mut (TcpStream, TcpStream)| {
        there.write_all(b"whoami\n").expect("typed");
        here.set_read_timeout(Some(PATIENCE)).expect("a limit");
        here.read_exact(&mut [0; 7]).expect("what was typed comes");
    };
    let mut before = open();
    let port = before.0.local_addr().expect("an address").port();
    let session = format!("10.0.0.1 {port} 10.0.0.2 22");

    let lines = commands("## Use it on an interface");
    let attach = lines.iter().position(|line| line == "xdpctl attach eth0").expect("it is typed");
    let detach = lines.iter().position(|line| line == "xdpctl detach eth0").expect("it is typed");
    assert!(lines[..attach].iter().any(|line| line.starts_with("cp ")), "{lines:?}");
    // Building and installing are not for here, and what redraws until Ctrl-C has to end.
    let elsewhere = ["cargo ", "install ", "scripts/", "apt "];
    let here = |line: &&String| !elsewhere.iter().any(|start| line.starts_with(start));
    let ending = |line: &String| line.replace("xdpctl stats eth0", "xdpctl stats eth0 --once");
    let typed_first: Vec<String> = lines[..detach].iter().filter(here).map(ending).collect();
    let etc = tempfile::tempdir().expect("a folder");
    let output = typed(&lab, etc.path(), &typed_first, &session);
    output.success();
    assert!(output.stdout.contains("attached to eth0 in native mode"), "{}", output.stdout);
    assert!(!output.stderr.contains("warning:"), "{}", output.stderr);
    alive(&mut before);
    alive(&mut open());
    typed(&lab, etc.path(), &lines[detach..=detach], &session).success();
}

/// Every name that is not listed is resolved as before, and the session stays.
#[test]
fn blocking_names_does_as_it_says() {
    let lab = host();
    // A veth hands on what is sent back only to a peer that is ready for it; network cards do.
    let mut ready = lab.command("src", "ethtool");
    assert!(ready.args(["-K", "src0", "gro", "on"]).status().expect("ethtool").success());
    let lines = commands("### Blocking names");
    let detach = lines.iter().position(|line| line == "xdpctl detach eth0").expect("it is typed");
    let etc = tempfile::tempdir().expect("a folder");
    let session = "10.0.0.1 40000 10.0.0.2 22";
    let output = typed(&lab, etc.path(), &lines[..detach], session);
    output.success();
    assert!(output.stdout.contains("attached to eth0"), "{}", output.stdout);
    assert!(!output.stderr.contains("warning:"), "{}", output.stderr);
    let said = |line: &str| assert!(output.stdout.contains(line), "{line:?}: {}", output.stdout);
    said("malware.example");
    said("names-hosts-sample.txt");

    let server = lab.namespace("dut").enter(|| UdpSocket::bind("10.0.0.2:53")).expect("port 53");
    let client = lab.namespace("src").enter(|| UdpSocket::bind("10.0.0.1:0")).expect("a port");
    for socket in [&server, &client] {
        socket.set_read_timeout(Some(EVENT)).expect("a limit");
    }
    let mut buffer = [0; 512];
    let listed = query("www.malware.example", A);
    client.send_to(&listed.build(), "10.0.0.2:53").expect("sent");
    let other = query("www.example.org", A).build();
    client.send_to(&other, "10.0.0.2:53").expect("sent");
    // Only the second comes through.
    let length = server.recv(&mut buffer).expect("a query");
    assert_eq!(buffer[..length], other);
    let stats = lab.xdpctl("dut", ["stats", "eth0", "--once", "--json"]).success().json();
    assert_eq!(stats["reasons"]["domain"]["packets"], 1, "{stats}");
    assert_eq!(stats["verdicts"]["tx"]["packets"], 1, "{stats}");
    typed(&lab, etc.path(), &lines[detach..=detach], session).success();
}
