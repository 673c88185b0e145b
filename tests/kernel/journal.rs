//! The journal: what commands did, with fields, and never in the commands' way.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use crate::lab::bench::{Bench, JUDGED};
use crate::lab::patience::{EVENT, patient};
use crate::lab::{Background, Output};

/// Mounts of its own with a `/run` of its own, in which `$journal` is the journal's directory.
const JOURNAL: &str = "
    mount -t tmpfs tmpfs /run
    mkdir -p /run/systemd/journal
    mount --bind \"$journal\" /run/systemd/journal";
/// No journal, and `$journal/socket` as syslog's.
const SYSLOG: &str = "
    mount -t tmpfs tmpfs /run
    mount -t tmpfs tmpfs /dev
    : > /dev/log
    mount --bind \"$journal/socket\" /dev/log";
/// Neither.
const NEITHER: &str = "
    mount -t tmpfs tmpfs /run
    mount -t tmpfs tmpfs /dev";

/// A socket in the place of the journal's, which the test reads.
struct Journal {
    socket: UnixDatagram,
    directory: PathBuf,
}

impl Journal {
    fn new(bench: &Bench) -> Self {
        let directory = bench.directory().join("journal");
        std::fs::create_dir(&directory).expect("a directory");
        let socket = UnixDatagram::bind(directory.join("socket")).expect("a socket");
        socket.set_read_timeout(Some(patient(EVENT))).expect("a limit");
        Self { socket, directory }
    }

    /// Runs a script of commands, in which `x` is xdpctl, in mounts of its own.
    #[track_caller]
    fn run(&self, bench: &Bench, mounts: &str, script: &str) -> Output {
        let mut command = bench.lab().command("dut", "unshare");
        let line = format!("{mounts}\n    x() {{ \"$0\" \"$@\"; }}\n{script}");
        command.args(["--mount", "sh", "-ec", &line, env!("CARGO_BIN_EXE_xdpctl")]);
        command.env("journal", &self.directory).env("dir", bench.directory());
        command.env("SUDO_USER", "alice").env("SUDO_UID", "1000");
        let output = Background::start(command).wait(EVENT).expect("it ends");
        output.success();
        output
    }

    fn message(&self) -> Vec<u8> {
        let mut bytes = vec![0; 1 << 20];
        let length = self.socket.recv(&mut bytes).expect("a message");
        bytes.truncate(length);
        bytes
    }

    /// The fields of the next message.
    fn fields(&self) -> Vec<(String, String)> {
        let message = String::from_utf8(self.message()).expect("UTF-8");
        let field = |line: &str| {
            let (name, value) = line.split_once('=').expect("a value on one line");
            (name.to_owned(), value.to_owned())
        };
        message.lines().map(field).collect()
    }

    #[track_caller]
    fn assert_empty(&self) {
        self.socket.set_nonblocking(true).expect("non-blocking");
        let error = self.socket.recv(&mut [0; 16]).expect_err("no more messages");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        self.socket.set_nonblocking(false).expect("blocking");
    }
}

fn of<'f>(fields: &'f [(String, String)], name: &str) -> Vec<&'f str> {
    fields.iter().filter(|(of, _)| of == name).map(|(_, value)| value.as_str()).collect()
}

#[test]
fn what_commands_did_is_in_the_journal() {
    let bench = Bench::new();
    let journal = Journal::new(&bench);
    bench.write("one.toml", "");
    bench.write("two.toml", "[policy]\ndefault = \"drop\"\n");
    journal.run(
        &bench,
        JOURNAL,
        "
        x attach in0 -c $dir/one.toml --mode native
        x reload in0 -c $dir/two.toml
        x block in0 10.0.0.1 10.0.0.2 --for 10m --owner sshd --note 'a \"note\"'
        x unblock in0 10.0.0.1
        x bans in0 --flush > $dir/out
        x bypass in0 on
        x status in0 > $dir/out || true
        x detach in0",
    );
    let events: Vec<Vec<(String, String)>> = (0..7).map(|_| journal.fields()).collect();
    journal.assert_empty();
    let kinds: Vec<&str> = events.iter().map(|fields| of(fields, "XDPCTL_EVENT")[0]).collect();
    assert_eq!(kinds, ["attach", "reload", "set", "unset", "unset", "bypass", "detach"]);
    for fields in &events {
        assert_eq!(of(fields, "SYSLOG_IDENTIFIER"), ["xdpctl"]);
        assert_eq!(of(fields, "XDPCTL_INTERFACE"), [JUDGED]);
        assert_eq!(of(fields, "XDPCTL_USER"), ["alice"]);
        assert_eq!(of(fields, "XDPCTL_UID"), ["1000"]);
        assert_eq!(of(fields, "MESSAGE_ID")[0].len(), 32);
        let message = of(fields, "MESSAGE")[0];
        assert!(message.starts_with("in0: ") && message.contains(", by alice ("), "{message}");
    }
    let [attach, reload, block, _, _, bypass, _] = &events[..] else { panic!("{events:#?}") };
    assert_eq!(of(attach, "XDPCTL_GENERATION"), ["1"]);
    assert_eq!(of(attach, "XDPCTL_MODE"), ["native"]);
    assert_eq!(of(attach, "XDPCTL_COMMAND"), ["xdpctl attach"]);
    assert_eq!(of(attach, "PRIORITY"), ["5"]);
    assert_eq!(of(reload, "XDPCTL_GENERATION"), ["2"]);
    assert_eq!(of(reload, "XDPCTL_CHANGE"), ["policy default \"pass\" -> \"drop\""]);
    assert_eq!(of(block, "XDPCTL_PREFIX"), ["10.0.0.1/32", "10.0.0.2/32"]);
    assert_eq!(of(block, "XDPCTL_OWNER"), ["sshd"]);
    assert_eq!(of(block, "XDPCTL_NOTE"), ["a \"note\""]);
    assert_eq!(of(block, "XDPCTL_FOR_SECONDS"), ["600"]);
    assert_eq!(of(block, "PRIORITY"), ["6"]);
    assert_eq!(of(bypass, "PRIORITY"), ["4"]);
}

/// What was tried and not done is no event, and neither is what was only looked at.
#[test]
fn what_was_not_done_is_not_in_the_journal() {
    let bench = Bench::new();
    let journal = Journal::new(&bench);
    bench.write("in0.toml", "");
    journal.run(
        &bench,
        JOURNAL,
        "
        x detach in0 2> $dir/err && exit 3
        x attach in0 -c $dir/in0.toml
        x attach in0 -c $dir/in0.toml 2> $dir/err && exit 3
        x reload --dry-run
        x reload -c /nonexistent 2> $dir/err && exit 3
        x unblock in0 10.0.0.1 2> $dir/err && exit 3
        x stats in0 --once > $dir/out
        x show in0 > $dir/out
        x detach in0",
    );
    let kinds: Vec<String> =
        (0..2).map(|_| of(&journal.fields(), "XDPCTL_EVENT")[0].to_owned()).collect();
    assert_eq!(kinds, ["attach", "detach"]);
    journal.assert_empty();
}

#[test]
fn without_a_journal_syslog_has_it() {
    let bench = Bench::new();
    let journal = Journal::new(&bench);
    bench.write("in0.toml", "");
    let script = "x attach in0 -c $dir/in0.toml\n x detach in0";
    journal.run(&bench, SYSLOG, script);
    for what in ["in0: attached in native mode, generation 1, from ", "in0: detached, by alice ("] {
        let message = String::from_utf8(journal.message()).expect("UTF-8");
        assert!(message.starts_with("<29>"), "{message}");
        assert!(message.contains(&format!("]: {what}")), "{message}");
        assert!(message.contains(" xdpctl["), "{message}");
    }
    journal.assert_empty();
    journal.run(&bench, NEITHER, script);
    journal.assert_empty();
}

/// A journal that does not read keeps no command waiting.
#[test]
fn nobody_waits_for_the_journal() {
    let bench = Bench::new();
    let journal = Journal::new(&bench);
    bench.write("in0.toml", "");
    let sender = UnixDatagram::unbound().expect("a socket");
    sender.set_nonblocking(true).expect("non-blocking");
    let path = journal.directory.join("socket");
    let mut full = 0;
    while sender.send_to(b"MESSAGE=full\n", &path).is_ok() {
        full += 1;
    }
    let script = "
        x attach in0 -c $dir/in0.toml
        x block in0 10.0.0.1
        x detach in0";
    journal.run(&bench, JOURNAL, script);
    journal.socket.set_read_timeout(Some(Duration::from_millis(1))).expect("a limit");
    for _ in 0..full {
        assert_eq!(journal.message(), b"MESSAGE=full\n");
    }
    journal.assert_empty();
    bench.lab().assert_nothing_kept("dut");
}
