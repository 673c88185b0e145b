//! Somebody changed pins or run-time state by hand: what is in force stays, the next reload repairs
//! them, and detaching removes everything.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, chown, mkfifo};
use xdpctl::datapath::sys::bpf;

use super::shim::{self, Kind, Refusal};
use super::state::{State, topology};
use crate::lab::bench::{Bench, JUDGED};
use crate::lab::facts::pinned;

const NOBODY: u32 = 65534;

/// `in0` and `out0` attached, with entries and a note.
struct Stand {
    bench: Bench,
    pins: PathBuf,
    state: PathBuf,
    file: String,
}

impl Stand {
    fn new() -> Self {
        let bench = Bench::on(topology());
        let file = bench.write(
            "in0.toml",
            "[[blocklist]]\nname = \"old\"\nprefixes = \
             [\"10.1.0.0/16\"]\n[[rule]]\nname = \"on\"\ndestination_port = 7\naction = \
             \"redirect\"\nto = \"out0\"\n",
        );
        let file = file.to_str().expect("UTF-8").to_owned();
        let index = bench.lab().ifindex("dut", JUDGED);
        let pins = bench.lab().pins("dut", index);
        let [_, state] = bench.lab().namespace("dut").xdpctl_directories();
        let stand = Self { pins, state: state.join(index.to_string()), file, bench };
        stand.attach();
        stand
    }

    fn attach(&self) {
        self.bench.xdpctl(["attach", JUDGED, "-c", &self.file]).success();
        self.bench.xdpctl(["block", JUDGED, "10.9.0.1", "--note", "scanner"]).success();
    }

    /// Every command ends with 0, or with 1 and an error or a problem in `status`, and leaves in
    /// force what was. `hand` says in failures what was changed.
    #[track_caller]
    fn asked(&self, hand: &str) {
        let before = State::of(&self.bench);
        for args in [
            &["status"][..],
            &["stats", "--once"],
            &["bans", JUDGED],
            &["block", JUDGED, "10.9.0.1"],
            &["attach", JUDGED, "-c", &self.file],
        ] {
            let output = self.bench.xdpctl(args);
            let told = output.stderr.contains("error: ") || output.stdout.contains("! problem:");
            let said = output.status == 0 || output.status == 1 && told;
            assert!(said, "{hand}: {output:?}");
            assert_eq!(State::of(&self.bench), before, "{hand}: {args:?}");
        }
    }

    /// A reload repairs the pins: they are those of `whole` again.
    #[track_caller]
    fn repaired(&self, hand: &str, whole: &BTreeMap<String, u64>) {
        let output = self.bench.xdpctl(["reload", JUDGED]);
        assert_eq!((output.status, output.stderr.contains("warning")), (0, false), "{output:?}");
        assert_eq!(&pinned(&self.pins), whole, "{hand}");
    }

    #[track_caller]
    fn detached(&self, hand: &str) {
        let output = self.bench.xdpctl(["detach", "--all"]);
        assert_eq!(output.status, 0, "{hand}: {output:?}");
        self.bench.lab().assert_nothing_kept("dut");
        for interface in [JUDGED, "far0", "out0"] {
            assert_eq!(self.bench.lab().programs("dut", interface), [], "{hand}: {interface}");
        }
    }
}

/// A change by hand: its name, and a function that does it to a pin in a directory of pins.
type Hand = (&'static str, fn(&Path, &str));

const HANDS: [Hand; 5] = [
    ("another map", |pins, name| {
        let other = if name == "SWITCHES" { "COUNTERS" } else { "SWITCHES" };
        exchange(pins, name, other);
    }),
    ("the program, or a map in its place", |pins, name| {
        exchange(pins, name, if name == "program" { "RULESET" } else { "program" });
    }),
    ("the link", |pins, name| exchange(pins, name, "link")),
    ("a directory", |pins, name| {
        fs::remove_file(pins.join(name)).expect("a pin");
        fs::create_dir(pins.join(name)).expect("a directory");
    }),
    ("a directory with a pin", |pins, name| {
        fs::remove_file(pins.join(name)).expect("a pin");
        fs::create_dir(pins.join(name)).expect("a directory");
        let map =
            bpf::open_pin(&pins.join(if name == "COUNTERS" { "RULESET" } else { "COUNTERS" }));
        bpf::pin(map.expect("a pin"), &pins.join(name).join("pin")).expect("pinned");
    }),
];

/// Replaces the pin `name` by a second pin of what is pinned under `by`.
fn exchange(pins: &Path, name: &str, by: &str) {
    let object = bpf::open_pin(&pins.join(by)).expect("a pin");
    fs::remove_file(pins.join(name)).expect("a pin");
    bpf::pin(object, &pins.join(name)).expect("pinned");
}

#[test]
fn something_else_in_the_place_of_a_pin() {
    let stand = Stand::new();
    for (what, hand) in HANDS {
        let whole = pinned(&stand.pins);
        for name in whole.keys().filter(|name| *name != "link") {
            hand(&stand.pins, name);
            let told = format!("{what} in the place of {name}");
            // Commands open three of them at most.
            if ["RULESET", "SWITCHES", "program"].contains(&name.as_str()) {
                stand.asked(&told);
            }
            stand.repaired(&told, &whole);
        }
        // `--replace` finds maps by their pins.
        hand(&stand.pins, "BAN_FILTERS");
        let before = State::of(&stand.bench).judged;
        stand.bench.xdpctl(["attach", "--replace", JUDGED]).success();
        assert_eq!(State::of(&stand.bench).judged, before, "{what}");
        // Detaching removes what is left like that too.
        hand(&stand.pins, "COUNTERS");
        stand.detached(what);
        stand.attach();
    }
    // A link with a second pin would outlive its own pin if it were not detached.
    exchange(&stand.pins, "COUNTERS", "link");
    stand.detached("a second link");
}

/// Without its pin, a link ends when the last process closes it.
#[test]
fn the_links_pin_removed_by_hand() {
    let stand = Stand::new();
    fs::remove_file(stand.pins.join("link")).expect("a pin");
    stand.bench.lab().await_no_program("dut", JUDGED);
    stand.bench.xdpctl(["reload", JUDGED]).expect_status(1);
    stand.attach();
    stand.detached("attached again");
}

/// Something else is not taken for a link, and the message says what to do.
#[test]
fn something_else_in_the_place_of_the_link() {
    let stand = Stand::new();
    // A second attachment, so that commands look at more than one directory.
    stand.bench.xdpctl(["attach", "out0", "-c", &stand.file]).success();
    let link = stand.pins.join("link");
    for (what, hand) in HANDS.into_iter().filter(|(what, _)| *what != "the link") {
        hand(&stand.pins, "link");
        stand.bench.lab().await_no_program("dut", JUDGED);
        for args in [&["status"][..], &["reload"], &["attach", JUDGED, "-c", &stand.file]] {
            let output = stand.bench.xdpctl(args);
            let error = output.expect_status(1).stderr.clone();
            assert!(error.contains(&link.display().to_string()), "{what}: {args:?}: {error}");
            assert!(error.contains("hint: xdpctl did not"), "{what}: {args:?}: {error}");
        }
        if fs::remove_file(&link).is_err() {
            fs::remove_dir_all(&link).expect("the directory");
        }
        stand.attach();
    }
    // Another interface's link: what commands say of it is true, and nothing breaks.
    let out0 = stand.bench.lab().ifindex("dut", "out0");
    let other = bpf::open_pin(&stand.bench.lab().pins("dut", out0).join("link")).expect("a pin");
    fs::remove_file(&link).expect("a pin");
    bpf::pin(other, &link).expect("pinned");
    stand.bench.lab().await_no_program("dut", JUDGED);
    stand.bench.xdpctl(["status"]).expect_status(1);
    stand.bench.xdpctl(["stats", "--once"]).success();
    stand.detached("another interface's link");
}

#[test]
fn what_others_own_or_can_write_is_not_trusted() {
    let stand = Stand::new();
    let before = State::of(&stand.bench);
    let link = stand.pins.join("link");
    // files.rs tests the directories above, which belong to the whole namespace.
    for path in [&stand.pins, &link] {
        let mode = fs::metadata(path).expect("metadata").permissions();
        for spoilt in [0o722, 0o702, 0o777] {
            fs::set_permissions(path, Permissions::from_mode(spoilt)).expect("chmod");
            refused(&stand, path, &format!("is open to others (mode {spoilt:04o})"));
        }
        fs::set_permissions(path, mode).expect("chmod");
        chown(path, Some(Uid::from_raw(NOBODY)), Some(Gid::from_raw(NOBODY))).expect("chown");
        refused(&stand, path, &format!("belongs to user {NOBODY}, not to root,"));
        chown(path, Some(Uid::from_raw(0)), Some(Gid::from_raw(0))).expect("chown");
    }
    // The same with the directory of pass programs.
    let pass = stand.pins.with_file_name("pass");
    chown(&pass, Some(Uid::from_raw(NOBODY)), None).expect("chown");
    for args in [&["reload"][..], &["status"], &["detach", JUDGED]] {
        let output = stand.bench.xdpctl(args);
        let said = format!("error: {} belongs to user {NOBODY}, not to root,", pass.display());
        assert!(output.expect_status(1).stderr.starts_with(&said), "{args:?}: {}", output.stderr);
    }
    chown(&pass, Some(Uid::from_raw(0)), None).expect("chown");
    assert_eq!(State::of(&stand.bench), before);
    stand.detached("all is well again");
}

#[track_caller]
fn refused(stand: &Stand, path: &Path, why: &str) {
    for args in [
        &["reload"][..],
        &["status"],
        &["stats", "--once"],
        &["block", JUDGED, "10.1.0.1"],
        &["detach", JUDGED],
    ] {
        let output = stand.bench.xdpctl(args);
        let said = format!("error: {} {why} and is not trusted\n  hint: ", path.display());
        assert!(output.expect_status(1).stderr.starts_with(&said), "{args:?}: {}", output.stderr);
    }
}

#[test]
fn something_else_in_the_place_of_the_state() {
    let stand = Stand::new();
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    let away = || {
        if fs::remove_dir_all(&stand.state).is_err() {
            fs::remove_file(&stand.state).expect("what was there");
        }
    };
    let own = |path: &Path| chown(path, Some(Uid::from_raw(NOBODY)), None).expect("chown");
    let hands: [(&str, &dyn Fn()); 5] = [
        ("is not a directory", &|| fs::write(&stand.state, "").expect("a file")),
        ("is not a directory", &|| symlink(elsewhere.path(), &stand.state).expect("a link")),
        ("is not a directory", &|| mkfifo(&stand.state, Mode::S_IRWXU).expect("a FIFO")),
        ("belongs to user 65534, not to root, and is not trusted", &|| {
            fs::create_dir(&stand.state).expect("a directory");
            own(&stand.state);
        }),
        ("is open to others (mode 0777) and is not trusted", &|| {
            fs::create_dir(&stand.state).expect("a directory");
            fs::set_permissions(&stand.state, Permissions::from_mode(0o777)).expect("chmod");
        }),
    ];
    for (why, hand) in hands {
        away();
        hand();
        stand.asked(why);
        let before = State::of(&stand.bench);
        for args in [&["reload"][..], &["block", JUDGED, "10.1.0.1", "--note", "other"]] {
            let output = stand.bench.xdpctl(args);
            let said = format!("error: {} {why}\n  hint: ", stand.state.display());
            assert!(
                output.expect_status(1).stderr.starts_with(&said),
                "{args:?} {}",
                output.stderr
            );
            assert_eq!(State::of(&stand.bench), before, "{why}");
        }
        assert_eq!(fs::read_dir(elsewhere.path()).expect("a directory").count(), 0);
        stand.detached(why);
        stand.attach();
    }
    // With no state at all, only the notes are lost.
    away();
    stand.asked("no state");
    stand.bench.xdpctl(["reload"]).success();
    stand.detached("no state");
}

/// Puts something else under the path of a file.
type StateHand<'a> = (&'a str, &'a dyn Fn(&Path));

#[test]
fn something_else_in_the_place_of_a_file_of_state() {
    let stand = Stand::new();
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    let target = elsewhere.path().join("target");
    let hands: [StateHand<'_>; 6] = [
        ("a link", &|path| symlink(&target, path).expect("a link")),
        ("a FIFO", &|path| {
            mkfifo(path, Mode::S_IRWXU).expect("a FIFO");
        }),
        ("another version's", &|path| fs::write(path, b"xdpnote\x02\0").expect("a file")),
        ("garbage", &|path| fs::write(path, [0xff; 5000]).expect("a file")),
        ("another user's", &|path| {
            fs::write(path, b"xdpnote\x01\0").expect("a file");
            chown(path, Some(Uid::from_raw(NOBODY)), None).expect("chown");
        }),
        ("open to others", &|path| {
            fs::write(path, b"xdpnote\x01\0").expect("a file");
            fs::set_permissions(path, Permissions::from_mode(0o666)).expect("chmod");
        }),
    ];
    for (what, hand) in hands {
        let generation = State::of(&stand.bench).generation;
        // Of the generation in force, and of the next, which the reload writes.
        for name in
            ["notes", &format!("ruleset-{generation}"), &format!("ruleset-{}", generation + 1)]
        {
            let _ = fs::remove_file(stand.state.join(name));
            hand(&stand.state.join(name));
        }
        stand.asked(what);
        let bans = stand.bench.xdpctl(["bans", JUDGED]);
        assert!(bans.success().stdout.contains("10.9.0.1/32"), "{what}: {bans:?}");
        let trusted = ["another version's", "garbage"].contains(&what);
        let warned = bans.stderr.contains("warning: the entries are told without their notes: ");
        assert_eq!(warned, !trusted, "{what}: {bans:?}");
        assert!(!bans.stdout.contains("scanner"), "{what}: {bans:?}");
        stand.bench.xdpctl(["reload", JUDGED]).success();
        assert!(!target.exists());
        let _ = fs::remove_file(stand.state.join("notes"));
        stand.bench.xdpctl(["block", JUDGED, "10.9.0.1", "--note", "scanner"]).success();
        let bans = stand.bench.xdpctl(["bans", JUDGED]);
        assert!(bans.success().stdout.contains("scanner"), "{what}: {bans:?}");
    }
    stand.detached("all is well again");
}

/// Nothing else is wrong then: once `status` was quiet.
#[test]
fn a_pin_that_somebody_removed_is_a_problem() {
    let stand = Stand::new();
    let whole = pinned(&stand.pins);
    fs::remove_file(stand.pins.join("COUNTERS")).expect("a pin");
    let output = stand.bench.xdpctl(["status", JUDGED]);
    let told = format!(
        "{} is gone: other tools do not find what was pinned there; `xdpctl reload in0` pins it again",
        stand.pins.join("COUNTERS").display()
    );
    assert!(output.expect_status(1).stdout.contains(&told), "{}", output.stdout);
    fs::remove_file(stand.pins.join("program")).expect("a pin");
    let status = stand.bench.xdpctl(["status", "--json"]);
    let problem = status.expect_status(1).json()[0]["problems"][0].to_string();
    assert!(problem.contains("/COUNTERS is gone, and 1 more: "), "{problem}");
    stand.repaired("two pins", &whole);
    assert_eq!(stand.bench.xdpctl(["status"]).status, 0);
    stand.detached("all is well again");
}

/// That map tells commands in other network namespaces when this one is gone.
#[test]
fn something_else_in_the_place_of_the_loopback_interface() {
    let stand = Stand::new();
    let pin = stand.pins.with_file_name("loopback");
    let empty_file = stand.bench.write("empty.toml", "");
    let empty_file = empty_file.to_str().expect("UTF-8");
    let held = || {
        let map = bpf::open_pin(&pin).expect("a pin");
        let mut ifindex = [0; 4];
        bpf::lookup(map, 0, &mut ifindex).expect("a map").map(|()| u32::from_ne_bytes(ifindex))
    };
    assert_eq!(held(), Some(1));
    let before = State::of(&stand.bench);
    let empty = || {
        let map = bpf::open_pin(&pin).expect("a pin");
        bpf::delete(map, 0).expect("emptied");
        assert_eq!(held(), None);
    };
    let hands: [(&str, &dyn Fn()); 4] = [
        ("an empty map", &empty),
        ("nothing", &|| fs::remove_file(&pin).expect("the pin")),
        ("a directory", &|| {
            fs::remove_file(&pin).expect("the pin");
            fs::create_dir(&pin).expect("a directory");
        }),
        ("another map", &|| {
            fs::remove_file(&pin).expect("the pin");
            let other = bpf::open_pin(&stand.pins.join("COUNTERS")).expect("a pin");
            bpf::pin(other, &pin).expect("pinned");
        }),
    ];
    for (what, hand) in hands {
        hand();
        // The links are on interfaces, so nothing is swept, whatever the map says.
        let lab = stand.bench.lab();
        lab.xdpctl("src", ["attach", "src0", "-c", empty_file]).success();
        let said = lab.xdpctl("src", ["detach", "src0"]);
        assert!(!said.success().stderr.contains("no longer exists"), "{what}: {said:?}");
        stand.asked(what);
        // The next command that pins something puts it right.
        stand.bench.xdpctl(["attach", "out0", "-c", empty_file]).success();
        assert_eq!(held(), Some(1), "{what}");
        stand.bench.xdpctl(["detach", "out0"]).success();
        assert_eq!(State::of(&stand.bench), before, "{what}");
    }
    stand.detached("all is well again");
}

/// Pins and state of a version with another layout stand beside ours.
#[test]
fn another_versions_directories_are_left_alone() {
    let stand = Stand::new();
    let cookie = stand.bench.lab().namespace("dut").cookie.to_string();
    let others =
        ["/sys/fs/bpf/xdpctl/v2", "/run/xdpctl/v2"].map(|base| Path::new(base).join(&cookie));
    for other in &others {
        fs::create_dir_all(other.join("2")).expect("a directory");
    }
    let map = bpf::open_pin(&stand.pins.join("COUNTERS")).expect("a pin");
    bpf::pin(map, &others[0].join("2/link")).expect("pinned");
    fs::write(others[1].join("2/ruleset-9"), "of another version").expect("a file");
    stand.asked("another version's directories");
    stand.bench.xdpctl(["reload", JUDGED]).success();
    stand.detached("another version's directories");
    assert!(others[0].join("2/link").exists() && others[1].join("2/ruleset-9").exists());
    for other in &others {
        fs::remove_dir_all(other).expect("removed");
        // This fails while another test has its own there.
        let _ = fs::remove_dir(other.parent().expect("a parent"));
    }
}

/// Once a directory listing that failed half way was taken for a whole one, and what it left out
/// for gone: the next command took the program off.
#[test]
fn a_list_of_pins_that_breaks_off_takes_nothing_off() {
    let stand = Stand::new();
    let before = State::of(&stand.bench);
    for args in [&["reload"][..], &["block", JUDGED, "10.1.0.1"], &["detach", "--all"]] {
        let command = stand.bench.lab().xdpctl_command("dut", args);
        let ran =
            shim::run_refusing(command, Kind::Files, "list /sys/fs/bpf/xdpctl/v1/N", libc::EIO);
        assert!(ran.output.expect_status(1).stderr.contains("Input/output error"), "{ran:?}");
        assert_eq!(State::of(&stand.bench), before, "{args:?}");
    }
}

/// The pin is removed first, so that no link is pinned and on no interface. A link that cannot be
/// detached gets its pin back.
#[test]
fn a_program_that_cannot_be_detached_stays() {
    let stand = Stand::new();
    let before = State::of(&stand.bench);
    let command = stand.bench.lab().xdpctl_command("dut", ["detach", JUDGED]);
    let ran = shim::run_refusing(command, Kind::Bpf, "LINK_DETACH", libc::EPERM);
    let said = "error: cannot detach the program: Operation not permitted";
    assert!(ran.output.expect_status(1).stderr.starts_with(said), "{ran:?}");
    assert_eq!(State::of(&stand.bench), before);
    stand.detached("the next time");
}

/// Status 1 would mean that the old ruleset is in force.
#[test]
fn what_fails_after_the_ruleset_is_in_force_is_a_warning() {
    let stand = Stand::new();
    let generation = State::of(&stand.bench).generation;
    let command = stand.bench.lab().xdpctl_command("dut", ["reload", JUDGED]);
    // A missing pin is made only after that.
    fs::remove_file(stand.pins.join("COUNTERS")).expect("a pin");
    let pin = "OBJ_PIN /sys/fs/bpf/xdpctl/v1/N/N/COUNTERS";
    let ran = shim::run_refusing(command, Kind::Bpf, pin, libc::ENOSPC);
    let said = "warning: in0: the ruleset is in force, but xdpctl cannot put the pins right: No \
                space left on device (os error 28)\n  hint: the next `xdpctl reload` sees to it\n";
    assert!(ran.output.success().stderr.contains(said), "{ran:?}");
    assert_eq!(State::of(&stand.bench).generation, generation + 1);
    stand.bench.xdpctl(["reload", JUDGED]).success();
    assert!(stand.pins.join("COUNTERS").exists());
}

/// Once a pass program whose link could not be read was taken for one of an interface that is gone.
#[test]
fn a_pass_program_that_cannot_be_asked_stays() {
    let stand = Stand::new();
    let before = State::of(&stand.bench);
    assert!(before.programs.iter().any(|(name, _)| name == "far0"), "{before:?}");
    let command = || stand.bench.lab().xdpctl_command("dut", ["unblock", JUDGED, "10.7.0.1"]);
    let calls = shim::run(command(), None).calls;
    // Only calls before the sweep, which looks for what deleted network namespaces left.
    let swept = |call: &&shim::Call| call.name == "OBJ_GET /sys/fs/bpf/xdpctl/v1/N/loopback";
    let calls = calls.iter().take_while(|call| !swept(call));
    let calls = calls.filter(|call| call.kind == Kind::Bpf).enumerate();
    let asked = calls.filter(|(_, call)| call.name == "OBJ_GET_INFO_BY_FD");
    for (nth, _) in asked {
        let refusal = Refusal { kind: Kind::Bpf, nth, errno: libc::EIO };
        let ran = shim::run(command(), Some(refusal));
        assert!(ran.refused.is_some(), "{nth}");
        ran.output.expect_status(1);
        assert_eq!(State::of(&stand.bench), before, "{nth}");
    }
}
