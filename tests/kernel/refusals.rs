//! Refusals: each has its message and its status, and changes nothing.

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
use xdpctl::datapath::program::load;
use xdpctl::datapath::sys::bpf;

use crate::lab::bench::{Bench, JUDGED};
use crate::lab::patience::EVENT;
use crate::lab::{Background, IN0, Output, SRC0, Topology, end};

/// XDP_FLAGS_SKB_MODE and XDP_FLAGS_DRV_MODE, include/uapi/linux/if_link.h.
const GENERIC: u32 = 1 << 1;
const NATIVE: u32 = 1 << 2;

/// Status and output, without what differs between runs.
fn told(bench: &Bench, output: &Output) -> String {
    let text = format!("status {}\n{}{}", output.status, output.stdout, output.stderr);
    let text = text.replace(bench.directory().to_str().expect("UTF-8"), "DIR");
    // A program's id.
    let Some((before, after)) = text.split_once("(id ") else { return text };
    format!("{before}(id N{}", after.trim_start_matches(|digit: char| digit.is_ascii_digit()))
}

#[track_caller]
fn run(bench: &Bench, args: &[&str]) -> String {
    told(bench, &bench.xdpctl(args))
}

/// A configuration, and the words that attach `interface` with it.
fn write(bench: &Bench, text: &str) -> String {
    bench.write("in0.toml", text).to_str().expect("UTF-8").to_owned()
}

/// Another tool's program on an interface. The test has to detach the link and not only close it: a
/// child of another test may hold a copy of the descriptor for a moment.
fn another_program(bench: &Bench, interface: &str, mode: u32) -> OwnedFd {
    let program = load::load_pass().expect("a program");
    let index = bench.lab().ifindex("dut", interface);
    let namespace = bench.lab().namespace("dut");
    namespace.enter(|| bpf::create_xdp_link(&program, index, mode).expect("a link"))
}

#[track_caller]
fn assert_untouched(bench: &Bench) {
    assert_eq!(bench.lab().programs("dut", JUDGED), []);
    bench.xdpctl(["detach", "--all"]).expect_status(1);
    bench.lab().assert_nothing_kept("dut");
}

/// Commands that hints name can be pasted into a shell, whatever the interface is called.
#[test]
fn hints_with_a_name_that_a_shell_would_read() {
    const NAME: &str = "it's$HOME;x";
    const QUOTED: &str = r"'it'\''s$HOME;x'";
    let topology = Topology::empty().link(end("src", "src0", SRC0), end("dut", NAME, IN0));
    let bench = Bench::on(topology);
    let file = write(&bench, "");
    let hints = |args: &[&str]| {
        let output = bench.xdpctl(args);
        let said = output.stdout + &output.stderr;
        let commands = said.split("`xdpctl ").skip(1);
        let mut named = commands.filter(|command| command.contains("HOME")).peekable();
        assert!(named.peek().is_some(), "{args:?}: {said}");
        assert!(named.all(|command| command.contains(QUOTED)), "{args:?}: {said}");
    };
    hints(&["reload", NAME]);
    bench.xdpctl(["attach", NAME, "-c", &file]).success();
    hints(&["attach", NAME, "-c", &file]);
    hints(&["unblock", NAME, "192.0.2.1"]);
    hints(&["bypass", NAME, "on"]);
    let status = bench.xdpctl(["status", NAME, "--json"]);
    status.expect_status(1);
    assert!(status.stdout.contains(&QUOTED.replace('\\', "\\\\")), "{}", status.stdout);
    bench.xdpctl(["detach", NAME]).success();
}

#[test]
fn attached_already() {
    let mut bench = Bench::new();
    bench.attach("");
    let file = write(&bench, "[policy]\ndefault = \"drop\"");
    let programs = bench.lab().programs("dut", JUDGED);
    for mode in ["auto", "native", "generic"] {
        insta::allow_duplicates! {
            insta::assert_snapshot!(run(&bench, &["attach", JUDGED, "-c", &file, "--mode", mode]), @"
                status 1
                error: xdpctl is attached to in0 already
                  hint: `xdpctl reload in0` puts a changed configuration in force; `xdpctl attach --replace in0` exchanges the program too
            ");
        }
    }
    assert_eq!(bench.lab().programs("dut", JUDGED), programs);
    assert_eq!(bench.sample().generation, 1);
}

#[test]
fn another_program_is_there() {
    let bench = Bench::new();
    let file = write(&bench, "");
    let theirs = another_program(&bench, JUDGED, NATIVE);
    insta::assert_snapshot!(run(&bench, &["attach", JUDGED, "-c", &file]), @r#"
        status 1
        error: in0 carries another XDP program: "xdpctl_pass" (id N, native mode)
          hint: whoever put it there should take it off; `ip link set dev in0 xdp off` does where it was attached without a link (`bpftool net`, `bpftool link` show it)
    "#);
    insta::assert_snapshot!(
        run(&bench, &["attach", JUDGED, "-c", &file, "--mode", "generic"]), @r#"
        status 1
        error: in0 carries another XDP program: "xdpctl_pass" (id N, native mode)
          hint: whoever put it there should take it off; `ip link set dev in0 xdp off` does where it was attached without a link (`bpftool net`, `bpftool link` show it)
    "#
    );
    assert_eq!(bench.lab().programs("dut", JUDGED).len(), 1);
    bpf::detach_link(theirs).expect("detached");
    let theirs = another_program(&bench, JUDGED, GENERIC);
    insta::assert_snapshot!(run(&bench, &["attach", JUDGED, "-c", &file]), @r#"
        status 1
        error: in0 carries another XDP program: "xdpctl_pass" (id N, generic mode)
          hint: whoever put it there should take it off; `ip link set dev in0 xdp off` does where it was attached without a link (`bpftool net`, `bpftool link` show it)
    "#);
    assert_eq!(bench.lab().programs("dut", JUDGED).len(), 1);
    bpf::detach_link(theirs).expect("detached");
    assert_untouched(&bench);
}

#[test]
fn no_such_interface() {
    let bench = Bench::new();
    let file = write(&bench, "");
    insta::assert_snapshot!(run(&bench, &["attach", "in1", "-c", &file]), @"
        status 1
        error: no interface `in1` in this network namespace
          hint: did you mean `in0`?
    ");
    insta::assert_snapshot!(run(&bench, &["attach", "wireless", "-c", &file]), @"
        status 1
        error: no interface `wireless` in this network namespace
          hint: there are: lo, in0, out0
    ");
    insta::assert_snapshot!(run(&bench, &["detach", "in1"]), @"
        status 1
        error: no interface `in1` in this network namespace
          hint: did you mean `in0`?
    ");
    insta::assert_snapshot!(run(&bench, &["status", "in1"]), @"
        status 1
        error: no interface `in1` in this network namespace
          hint: did you mean `in0`?
    ");
    insta::assert_snapshot!(run(&bench, &["stats", "in1"]), @"
        status 1
        error: no interface `in1` in this network namespace
          hint: did you mean `in0`?
    ");
    insta::assert_snapshot!(run(&bench, &["reload", "in1"]), @"
        status 1
        error: no interface `in1` in this network namespace
          hint: did you mean `in0`?
    ");
    assert_untouched(&bench);
}

#[test]
fn wrong_configurations() {
    let bench = Bench::new();
    let missing = bench.directory().join("missing.toml");
    let missing = missing.to_str().expect("UTF-8");
    insta::assert_snapshot!(run(&bench, &["attach", JUDGED, "-c", missing]), @"
        status 2
        error: DIR/missing.toml: the configuration cannot be read: No such file or directory
          hint: create the file, or correct the path
    ");
    let file = write(
        &bench,
        "[policy]\ndefault = \"allow\"\n[[blocklist]]\nname = \"bad\"\nprefixes = [\"10.0.0.0/33\"]\n\
         files = [\"missing.txt\"]\n",
    );
    insta::assert_snapshot!(run(&bench, &["attach", JUDGED, "-c", &file]), @r#"
        status 2
        error: DIR/in0.toml:2:11: [policy]: default cannot be "allow"
            default = "allow"
                      ^^^^^^^
          hint: did you mean "pass"? It may be "pass" or "drop"
        error: DIR/in0.toml:5:13: blocklist "bad": "10.0.0.0/33" is not a prefix
            prefixes = ["10.0.0.0/33"]
                        ^^^^^^^^^^^^^
          hint: the length of an IPv4 prefix is 0 to 32
        error: DIR/in0.toml:6:10: blocklist "bad": the list file "DIR/missing.txt" cannot be read: No such file or directory
            files = ["missing.txt"]
                     ^^^^^^^^^^^^^
          hint: create the file, or correct the path
    "#);
    assert_untouched(&bench);
}

/// A wrong configuration on reload leaves the ruleset that is in force.
#[test]
fn wrong_configurations_on_reload() {
    let mut bench = Bench::new();
    bench.attach("[[blocklist]]\nname = \"kept\"\nprefixes = [\"10.0.0.1\"]");
    let before = bench.sample();
    write(&bench, "[[blocklist]]\nname = \"kept\"\nprefixes = [\"10.0.0.1.2\"]");
    insta::assert_snapshot!(run(&bench, &["reload"]), @r#"
        status 2
        error: DIR/in0.toml:3:13: blocklist "kept": "10.0.0.1.2" is not a prefix
            prefixes = ["10.0.0.1.2"]
                        ^^^^^^^^^^^^
          hint: write an address, or an address and a length, such as 203.0.113.0/24 or 2001:db8::/32
    "#);
    std::fs::remove_file(bench.directory().join("in0.toml")).expect("the file");
    insta::assert_snapshot!(run(&bench, &["reload", JUDGED]), @"
        status 2
        error: DIR/in0.toml: the configuration cannot be read: No such file or directory
          hint: create the file, or correct the path
    ");
    assert_eq!(bench.sample().generation, before.generation);
    assert_eq!(bench.sample().rules, before.rules);
}

#[test]
fn redirect_targets_that_are_missing() {
    let mut bench = Bench::new();
    let rule = "[[rule]]\nname = \"first\"\naction = \"redirect\"\nto = \"out7\"\n";
    let file = write(&bench, rule);
    insta::assert_snapshot!(run(&bench, &["attach", JUDGED, "-c", &file]), @r#"
        status 1
        note: VLAN tags that the peer's host adds may not reach the program: tagged frames are redirected or bounced without their tag
          hint: `ethtool -K PEER txvlan off` at the other end of in0
        error: DIR/in0.toml:4:6: rule "first" redirects to out7, which is not there: no interface `out7` in this network namespace
          hint: did you mean `out0`?
    "#);
    let by_index = write(&bench, &rule.replace("\"out7\"", "4711"));
    insta::assert_snapshot!(run(&bench, &["attach", JUDGED, "-c", &by_index]), @r#"
        status 1
        note: VLAN tags that the peer's host adds may not reach the program: tagged frames are redirected or bounced without their tag
          hint: `ethtool -K PEER txvlan off` at the other end of in0
        error: DIR/in0.toml:4:6: rule "first" redirects to interface index 4711, which is not there: no interface with index 4711 in this network namespace
          hint: `ip link` lists the interfaces with their indexes
    "#);
    assert_untouched(&bench);

    bench.attach("[[blocklist]]\nname = \"kept\"\nprefixes = [\"10.0.0.1\"]");
    let before = bench.sample();
    write(&bench, rule);
    insta::assert_snapshot!(run(&bench, &["reload"]), @r#"
        status 1
        error: DIR/in0.toml:4:6: rule "first" redirects to out7, which is not there: no interface `out7` in this network namespace
          hint: did you mean `out0`?
    "#);
    // All of them are told, each once, by the first rule that names it.
    let target = |name: &str, to: &str| {
        format!(
            "[[rule]]\nname = \"{name}\"\nprotocol = \"{name}\"\naction = \"redirect\"\nto = {to}\n"
        )
    };
    let included = bench.directory().join("more.toml");
    std::fs::write(included, target("udp", "4711")).expect("a file");
    let several = format!(
        "include = [\"more.toml\"]\n{}{}{}",
        target("tcp", "\"out7\""),
        target("icmp", "\"out0\""),
        target("sctp", "\"out7\"")
    );
    let file = write(&bench, &several);
    let told = run(&bench, &["reload"]);
    insta::assert_snapshot!(told, @r#"
        status 1
        error: DIR/more.toml:5:6: rule "udp" redirects to interface index 4711, which is not there: no interface with index 4711 in this network namespace
          hint: `ip link` lists the interfaces with their indexes
        error: DIR/in0.toml:6:6: rule "tcp" redirects to out7, which is not there: no interface `out7` in this network namespace
          hint: did you mean `out0`?
    "#);
    assert_eq!(run(&bench, &["reload", "--dry-run"]), told);
    // With a note before.
    let replaced = run(&bench, &["attach", JUDGED, "--replace", "-c", &file]);
    assert!(replaced.ends_with(told.trim_start_matches("status 1\n")), "{replaced}");
    let json = bench.xdpctl(["reload", "--json"]);
    assert_eq!(json.json()["errors"].as_array().map(Vec::len), Some(2), "{json:?}");
    assert_eq!(bench.sample().generation, before.generation);
    assert_eq!(bench.sample().rules, before.rules);
}

/// The text of `--help` and `--version` is output like any other.
#[test]
fn help_that_cannot_be_written() {
    for args in [&["help"][..], &["--version"], &["attach", "--help"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("/dev/full");
        let mut command = Command::new(env!("CARGO_BIN_EXE_xdpctl"));
        let output = command.args(args).stdout(full).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        let told = "error: cannot write the output: No space left on device (os error 28)\n";
        assert_eq!(said, told, "{args:?}");
    }
}

/// Runs `program`, a copy of xdpctl where every user may read it, as a user without rights.
fn as_nobody(bench: &Bench, program: &Path, args: &[&str]) -> Output {
    let mut command = bench.lab().command("dut", program);
    command.args(args);
    // SAFETY: between fork and exec only system calls are made, and nothing is allocated. It comes
    // after the one that changes the network namespace, which takes root.
    unsafe {
        command.pre_exec(|| {
            setgroups(&[])?;
            setgid(Gid::from_raw(65534))?;
            setuid(Uid::from_raw(65534))?;
            Ok(())
        });
    }
    Background::start(command).wait(EVENT).expect("it ends")
}

#[test]
fn without_rights() {
    let mut bench = Bench::new();
    // A user must be able to reach the program and the files, and may not be able to look into a
    // home directory with the sources.
    let directory = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .expect("a temporary directory");
    let program = directory.path().join("xdpctl");
    std::fs::copy(env!("CARGO_BIN_EXE_xdpctl"), &program).expect("a copy");
    let file = directory.path().join("in0.toml");
    std::fs::write(&file, "").expect("a file");
    let file = file.to_str().expect("UTF-8");
    let as_nobody = |bench: &Bench, args: &[&str]| as_nobody(bench, &program, args);
    insta::assert_snapshot!(told(&bench, &as_nobody(&bench, &["attach", JUDGED, "-c", file])), @"
        status 1
        error: not permitted: this process lacks CAP_BPF or CAP_SYS_ADMIN (to load the program and its maps) and CAP_NET_ADMIN (to attach to an interface) and CAP_SYS_ADMIN (to open maps by id and to mount a bpffs)
          hint: run it as root: `sudo xdpctl ...`
    ");
    bench.attach("");
    for args in [
        &["attach", JUDGED, "-c", file][..],
        &["reload"],
        &["detach", "--all"],
        &["stats", "--once"],
        &["status"],
        &["metrics", "--listen", "127.0.0.1:0"],
        &["metrics", "--textfile", "/tmp/never-written.prom"],
    ] {
        let output = as_nobody(&bench, args);
        let lacks = "error: not permitted: this process lacks CAP_BPF or CAP_SYS_ADMIN";
        assert!(output.expect_status(1).stderr.starts_with(lacks), "{output:?}");
        assert!(output.stderr.contains("sudo"), "{output:?}");
        assert_eq!(output.stdout, "");
    }
    let checked = as_nobody(&bench, &["check", file]);
    checked.success();
    assert_eq!(bench.lab().programs("dut", JUDGED).len(), 1);
}

#[test]
fn modes_that_cannot_be_had() {
    let bench = Bench::new();
    let file = write(&bench, "");
    insta::assert_snapshot!(
        run(&bench, &["attach", JUDGED, "-c", &file, "--mode", "offload"]), @"
        status 1
        note: in0 has no offload mode: veth says that the device runs no programs
          hint: `--mode native`
        error: cannot attach to in0 in offload mode: the device does not offer it
          hint: `--mode native`, or omit `--mode`
    "
    );
    bench.lab().ip("dut", ["link", "add", "bridge0", "type", "bridge"]);
    insta::assert_snapshot!(
        run(&bench, &["attach", "bridge0", "-c", &file, "--mode", "native"]), @"
        status 1
        note: bridge0 is switched off
          hint: `ip link set bridge0 up`
        note: bridge0 is a bridge, which has generic mode only; the program sees what the bridge hands to this host, and nothing of what it forwards between its ports
          hint: attach to the ports
        note: bridge0 has no native mode: bridge says that it cannot do XDP
          hint: `--mode generic`
        error: cannot attach to bridge0 in native mode: its driver (bridge) has no native XDP, or not in this configuration
          hint: `xdpctl attach bridge0 --mode generic` works with every driver, slower
    "
    );
    bench.xdpctl(["detach", "--all"]).expect_status(1);
    bench.lab().assert_nothing_kept("dut");
    insta::assert_snapshot!(run(&bench, &["attach", "bridge0", "-c", &file]), @"
        status 0
        attached to bridge0 in generic mode, generation 1
        note: bridge0 is switched off
          hint: `ip link set bridge0 up`
        note: bridge0 is a bridge, which has generic mode only; the program sees what the bridge hands to this host, and nothing of what it forwards between its ports
          hint: attach to the ports
        note: not in native mode: its driver (bridge) has no native XDP, or not in this configuration
    ");
    bench.xdpctl(["detach", "bridge0"]).success();
    assert_untouched(&bench);
}

/// A veth wants a receive queue for each of its peer's transmit queues.
#[test]
fn too_few_queues() {
    let bench = Bench::new();
    let file = write(&bench, "");
    let pair = "link add narrow0 numrxqueues 1 type veth peer name wide0 numtxqueues 4";
    bench.lab().ip("dut", pair.split(' '));
    for name in ["narrow0", "wide0"] {
        bench.lab().ip("dut", ["link", "set", name, "up"]);
    }
    let mut channels = bench.lab().command("dut", "ethtool");
    assert!(channels.args(["-L", "wide0", "tx", "4"]).status().expect("ethtool").success());
    insta::assert_snapshot!(
        run(&bench, &["attach", "narrow0", "-c", &file, "--mode", "native"]), @"
        status 1
        note: narrow0 may refuse native mode: a veth needs at least as many receive queues as its peer has transmit queues
          hint: `ethtool -L narrow0 rx N`, or `--mode generic`
        error: cannot attach to narrow0 in native mode: a veth needs a receive queue for each transmit queue of its peer
          hint: `ethtool -L narrow0 rx N`, or `ethtool -L PEER tx N`; or `xdpctl attach narrow0 --mode generic` works with every driver, slower
    "
    );
    insta::assert_snapshot!(run(&bench, &["attach", "narrow0", "-c", &file]), @"
        status 0
        attached to narrow0 in generic mode, generation 1
        note: not in native mode: a veth needs a receive queue for each transmit queue of its peer
    ");
    bench.xdpctl(["detach", "narrow0"]).success();
    assert_untouched(&bench);
}

#[test]
fn nothing_to_take_off() {
    let mut bench = Bench::new();
    insta::assert_snapshot!(run(&bench, &["detach", JUDGED]), @"
        status 1
        error: xdpctl is not attached to in0
    ");
    insta::assert_snapshot!(run(&bench, &["detach", "in7"]), @"
        status 1
        error: no interface `in7` in this network namespace
          hint: did you mean `in0`?
    ");
    insta::assert_snapshot!(run(&bench, &["detach", "--all"]), @"
        status 1
        error: xdpctl is not attached to any interface of this network namespace
    ");
    insta::assert_snapshot!(run(&bench, &["reload"]), @"
        status 1
        error: xdpctl is not attached to any interface of this network namespace
          hint: `xdpctl attach IFACE` attaches it
    ");
    insta::assert_snapshot!(run(&bench, &["stats"]), @"
        status 1
        error: xdpctl is not attached to any interface of this network namespace
          hint: `xdpctl attach IFACE` attaches it
    ");
    insta::assert_snapshot!(run(&bench, &["status"]), @"
        status 0
        no interface is attached
    ");
    insta::assert_snapshot!(run(&bench, &["status", "--json"]), @"
        status 0
        []
    ");
    bench.attach("");
    insta::assert_snapshot!(run(&bench, &["detach", "out0"]), @"
        status 1
        error: xdpctl is not attached to out0
          hint: it is attached to: in0
    ");
}

#[test]
fn wrong_usage() {
    let bench = Bench::new();
    for args in [
        &[][..],
        &["attach"],
        &["attach", JUDGED, "out0"],
        &["attach", JUDGED, "--mode", "fast"],
        &["attach", JUDGED, "-c"],
        &["reload", "--replace"],
        &["detach"],
        &["detach", JUDGED, "--all"],
        &["stats", "--interval", "10"],
        &["stats", "--interval", "0s"],
        &["stats", "--count", "0"],
        &["stats", "--once", "--count", "2"],
        &["status", "--yaml"],
        &["check"],
        &["completions", "cobol"],
        &["unheard-of"],
    ] {
        let output = bench.xdpctl(args);
        assert_eq!(output.expect_status(2).stdout, "", "{args:?}");
        assert!(output.stderr.contains("Usage:") || output.stderr.contains("help"), "{output:?}");
    }
    insta::assert_snapshot!(run(&bench, &["attach", JUDGED, "--mode", "fast"]), @"
        status 2
        error: invalid value 'fast' for '--mode <MODE>'
          [possible values: auto, native, offload, generic]

        For more information, try '--help'.
    ");
    insta::assert_snapshot!(run(&bench, &["detach"]), @"
        status 2
        error: the following required arguments were not provided:
          <IFACE|--all>

        Usage: xdpctl detach <IFACE|--all>

        For more information, try '--help'.
    ");
    bench.lab().assert_nothing_kept("dut");
}
