//! Network namespaces that no longer exist, and those that only seem to be gone.

use std::time::Duration;

use crate::lab::bench::Bench;
use crate::lab::{Background, Output};

const TIMEOUT: Duration = Duration::from_secs(120);

/// What every script begins with. `add NAME` makes a network namespace with an attached interface,
/// `await NAME…` changes something in this one until that many are said to be removed, and
/// `kept` counts the network namespaces that xdpctl keeps something for.
const BEGINNING: &str = r#"
    set -eu
    mount -t bpf bpf /sys/fs/bpf
    mount -t tmpfs tmpfs /run
    xdpctl=$0 file=$1
    add() {
        ip netns add "$1"
        ip -n "$1" link add in0 type veth peer name far0
        nsenter --net=/run/netns/"$1" "$xdpctl" attach in0 -c "$file" > /run/out 2> /run/err
    }
    await() {
        : > /run/said
        while [ "$(grep -c '^note: removed' /run/said)" -lt "$1" ]; do
            "$xdpctl" reload 2>> /run/said > /run/out
            sleep 0.02
        done
        cat /run/said
    }
    kept() {
        echo "kept $(ls /sys/fs/bpf/xdpctl/v1 | wc -l) $(ls /run/xdpctl/v1 | wc -l)"
    }
    "$xdpctl" attach in0 -c "$file" > /run/out 2> /run/err
"#;

/// Runs a script as PID 1 of a small machine in `dut`, with mounts, processes, a `/run` and a bpffs of
/// its own: no other test's command sweeps there.
#[track_caller]
fn machine(bench: &Bench, script: &str) -> Output {
    let file = bench.write("in0.toml", "");
    let mut command = bench.lab().command("dut", "unshare");
    command.args(["--mount", "--pid", "--fork", "--mount-proc", "sh", "-c"]);
    command.args([&format!("{BEGINNING}{script}"), env!("CARGO_BIN_EXE_xdpctl")]).arg(file);
    let output = Background::start(command).wait(TIMEOUT).expect("it ends");
    output.success();
    output
}

/// The text without the number of bytes, which differs with each change of the maps.
fn without_memory(text: &str) -> String {
    let lines = text.lines().map(|line| match line.split_once("; ") {
        Some((before, memory)) if memory.ends_with(" MiB of maps)") => {
            format!("{before}; N MiB)\n")
        }
        _ => format!("{line}\n"),
    });
    lines.collect()
}

/// Once its maps stayed in memory, 35 MiB for each interface, and nobody could detach there any
/// more.
#[test]
fn a_deleted_namespace_is_swept_by_the_next_command() {
    let output = machine(
        &Bench::new(),
        r#"
        add gone
        add lives
        kept
        # Nothing is said where there is nothing.
        "$xdpctl" reload
        ip netns delete gone
        await 1
        kept
        nsenter --net=/run/netns/lives "$xdpctl" status | head -n 1
        nsenter --net=/run/netns/lives "$xdpctl" detach in0
        ip netns delete lives
        "$xdpctl" detach in0
        test -e /sys/fs/bpf/xdpctl -o -e /run/xdpctl || echo "nothing left"
        "#,
    );
    insta::assert_snapshot!(without_memory(&output.stdout), @"
    kept 3 3
    reloaded in0, generation 2
      no change: the ruleset is the same
    note: removed what was left of a network namespace that no longer exists (in0; N MiB)
    kept 2 2
    in0
    detached from in0
    detached from in0
    nothing left
    ");
    assert_eq!(output.stderr, "");
}

/// Where nothing else is attached, no command that changes something succeeds.
#[test]
fn a_deleted_namespace_is_swept_where_nothing_is_attached() {
    let output = machine(
        &Bench::new(),
        r#"
        "$xdpctl" detach in0
        for command in "status" "detach --all"; do
            add gone
            ip netns delete gone
            : > /run/said
            until grep -q '^note: removed' /run/said; do
                "$xdpctl" $command 2> /run/said > /run/out || true
                sleep 0.02
            done
            cat /run/said
            test -e /sys/fs/bpf/xdpctl -o -e /run/xdpctl || echo "nothing left"
        done
        "#,
    );
    insta::assert_snapshot!(without_memory(&output.stdout), @"
    detached from in0
    note: removed what was left of a network namespace that no longer exists (in0; N MiB)
    nothing left
    note: removed what was left of a network namespace that no longer exists (in0; N MiB)
    error: xdpctl is not attached to any interface of this network namespace
    nothing left
    ");
    assert_eq!(output.stderr, "");
}

/// Its interface is gone, then its name, then every process in it, but a descriptor still holds it.
#[test]
fn a_namespace_that_is_held_somewhere_is_left_alone() {
    let output = machine(
        &Bench::new(),
        r#"
        add held
        exec 9< /run/netns/held
        ip -n held link delete in0
        ip netns delete held
        "$xdpctl" reload > /run/out
        kept
        nsenter --net=/proc/self/fd/9 "$xdpctl" status | tail -n 1
        nsenter --net=/proc/self/fd/9 sh -c "exec 9<&-; exec sleep 1000" &
        until [ "$(readlink /proc/$!/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do
            sleep 0.01
        done
        exec 9<&-
        "$xdpctl" reload > /run/out
        kept
        kill $!
        await 1
        kept
        "#,
    );
    insta::assert_snapshot!(without_memory(&output.stdout), @"
    kept 2 2
    ! problem:      the interface is gone: `xdpctl detach in0` removes what is left of it
    kept 2 2
    note: removed what was left of a network namespace that no longer exists (in0; N MiB)
    kept 1 1
    ");
    assert_eq!(output.stderr, "");
}

/// The process that has the lock may be a sweep itself.
#[test]
fn a_namespace_that_is_locked_is_left_for_the_next_command() {
    let output = machine(
        &Bench::new(),
        r#"
        ls /sys/fs/bpf/xdpctl/v1 > /run/own
        add locked
        directory=/sys/fs/bpf/xdpctl/v1/$(ls /sys/fs/bpf/xdpctl/v1 | grep -vxFf /run/own)
        add gone
        # The lock is not for the process that it waits for, which would keep it.
        flock -o "$directory" sleep 1000 &
        while flock -n "$directory" true; do
            sleep 0.01
        done
        ip netns delete locked
        ip netns delete gone
        await 1
        test -e "$directory" && kept
        kill $!
        wait $! || true
        "$xdpctl" reload 2>&1 > /run/out
        kept
        "#,
    );
    insta::assert_snapshot!(without_memory(&output.stdout), @"
    note: removed what was left of a network namespace that no longer exists (in0; N MiB)
    kept 2 2
    note: removed what was left of a network namespace that no longer exists (in0; N MiB)
    kept 1 1
    ");
}
