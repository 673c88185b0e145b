//! The units in contrib/systemd under a systemd that runs: process 1 of a small machine, with mounts,
//! processes and control groups of its own, in the network namespace of the device under test.
//!
//! What a unit may write to is decided by how systemd puts its settings together, which no reading of
//! the unit tells: `ProtectKernelTunables=yes` once made /sys/fs/bpf read-only beside a `ReadWritePaths=`
//! that names it, and no interface was attached at boot.

use std::path::Path;
use std::time::Duration;

use crate::lab::Background;
use crate::lab::bench::Bench;

/// Makes the machine's root from this one's, of which it changes nothing, and starts systemd in a control
/// group of its own. Then says what the machine said.
const MACHINE: &str = r#"
    set -eu
    export xdpctl=$0 units=$1 place=$2 run=$3
    mount --make-rprivate /
    mount -t tmpfs tmpfs "$place"
    mkdir "$place/groups" "$place/upper" "$place/work" "$place/root"
    mount -t cgroup2 cgroup2 "$place/groups"
    group=$place/groups$(sed -n s/^0:://p /proc/self/cgroup)
    own=$(mktemp -d "$group/booted-XXXXXX")
    echo $$ > "$own/cgroup.procs"
    timeout --signal KILL 100 \
        unshare --cgroup --mount --pid --ipc --uts --fork --kill-child sh -ec "$4" 2>&1 || true
    echo $$ > "$group/cgroup.procs"
    for _ in $(seq 200); do
        ! find "$own" -depth -type d -exec rmdir {} + 2> /dev/null || break
        sleep 0.05
    done
    cat "$place/upper/said"
"#;

/// Process 1 until it becomes systemd. There is no udev, so no unit may wait for a device.
const BOOT: &str = r#"
    root=$place/root
    mount -t overlay overlay -o "lowerdir=/,upperdir=$place/upper,workdir=$place/work" "$root"
    mount -t proc proc "$root/proc"
    mount -t sysfs sysfs "$root/sys"
    mount -t bpf bpf "$root/sys/fs/bpf"
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
    mount --rbind /dev "$root/dev"
    for folder in run tmp var/lib; do mount -t tmpfs -o mode=755 tmpfs "$root/$folder"; done
    etc=$root/etc/systemd/system
    rm -rf "$etc" "$root/etc/xdpctl"
    mkdir -p "$etc" "$root/etc/xdpctl"
    for unit in xdpctl@.service xdpctl-metrics.service; do
        sed '/^BindsTo=/d; /^After=sys-sub/d; s,^\[Service\],&\nStandardOutput=append:/said\nStandardError=append:/said,' \
            "$units/$unit" > "$etc/$unit"
    done
    printf '[Unit]\nDefaultDependencies=no\nWants=run.service\n' > "$etc/run.target"
    printf '[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nExecStart=/bin/bash /run-this\n' \
        > "$etc/run.service"
    printf '[[blocklist]]\nname = "bad"\nfiles = ["bad.txt"]\n' > "$root/etc/xdpctl/in0.toml"
    echo 203.0.113.0/24 > "$root/etc/xdpctl/bad.txt"
    printf %s "$run" > "$root/run-this"
    cp "$xdpctl" "$root/usr/local/sbin/xdpctl"
    : > "$root/said"
    echo 0123456789abcdef0123456789abcdef > "$root/etc/machine-id"
    cd "$root"
    mkdir -p before
    pivot_root . before
    exec env -i container=test PATH=/usr/sbin:/usr/bin /lib/systemd/systemd --system \
        --unit=run.target --log-target=null --show-status=no
"#;

/// What is done on the machine. What was blocked with `--persist` is put back by the unit, which may look
/// at little of process 1.
const RUN: &str = r#"
    exec >> /said 2>&1
    export PATH=/usr/local/sbin:/usr/sbin:/usr/bin
    told() {
        echo "$1: $?, $(xdpctl status in0 --json | grep -o '"generation":[0-9]*,')"
    }
    systemctl start xdpctl@in0.service; told start
    xdpctl block in0 198.51.100.7 --persist
    systemctl reload xdpctl@in0.service; told reload
    systemctl restart xdpctl@in0.service; told restart
    systemctl stop xdpctl@in0.service; told stop
    xdpctl detach in0
    systemctl start xdpctl@in0.service; told "start after a detach"
    systemctl start xdpctl-metrics.service
    for _ in $(seq 300); do
        ! exec 3<> /dev/tcp/127.0.0.1/9920 || break
        sleep 0.1
    done 2> /dev/null
    printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3
    grep 'xdpctl_filtering{\|xdpctl_scrape_success{' <&3
    xdpctl bans in0 --flush
    xdpctl detach in0
    systemctl --force --force poweroff
"#;

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn the_units_do_their_work_under_systemd() {
    let bench = Bench::new();
    bench.lab().ip("dut", ["link", "set", "lo", "up"]);
    let place = bench.directory().join("machine");
    std::fs::create_dir(&place).expect("a folder");
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib/systemd");
    let mut command = bench.lab().command("dut", "unshare");
    command.args(["--mount", "sh", "-c", MACHINE, env!("CARGO_BIN_EXE_xdpctl")]);
    command.arg(units).arg(place).args([RUN, BOOT]);
    let output = Background::start(command).wait(Duration::from_secs(180)).expect("it ends");
    insta::assert_snapshot!(output.success().stdout, @r#"
    attached to in0 in native mode, generation 1
    start: 0, "generation":1,
    blocked 198.51.100.7/32 on in0
    reloaded in0, generation 2
      no change: the ruleset is the same
    reload: 0, "generation":2,
    replaced the program on in0 in native mode, generation 3
    restart: 0, "generation":3,
    stop: 0, "generation":3,
    detached from in0
    note: put back 1 run-time entry
    attached to in0 in native mode, generation 1
    start after a detach: 0, "generation":1,
    serving metrics on http://127.0.0.1:9920/metrics until Ctrl-C
    xdpctl_filtering{interface="in0"} 1
    xdpctl_scrape_success{interface="in0"} 1
    removed 1 run-time entry on in0
    detached from in0
    Powering off.
    "#);
}
