//! The files that xdpctl keeps are root's alone, and those that others could have written are not
//! trusted.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, chown};

use crate::lab::bench::{Bench, JUDGED};

fn write(bench: &Bench, text: &str) -> String {
    bench.write("in0.toml", text).to_str().expect("UTF-8").to_owned()
}

#[test]
fn pins_and_state_are_roots_alone() {
    let mut bench = Bench::new();
    bench.attach("[[blocklist]]\nname = \"bad\"\nprefixes = [\"10.0.0.1\"]");
    bench.attach("");
    let lab = bench.lab();
    let kept = lab.kept("dut");
    let above = ["/sys/fs/bpf/xdpctl", "/sys/fs/bpf/xdpctl/v1", "/run/xdpctl", "/run/xdpctl/v1"];
    let mut files = 0;
    for path in kept.iter().cloned().chain(above.map(PathBuf::from)) {
        let metadata = fs::symlink_metadata(&path).expect("metadata");
        let mode = metadata.mode() & 0o7777;
        let expected = if metadata.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(format!("{mode:o}"), format!("{expected:o}"), "{}", path.display());
        assert_eq!((metadata.uid(), metadata.gid()), (0, 0), "{}", path.display());
        files += usize::from(!metadata.is_dir());
    }
    // Twenty-three pins and that of the loopback interface, and the ruleset in force.
    assert_eq!(files, 25, "{kept:#?}");
}

#[test]
fn the_callers_umask_does_not_matter() {
    let bench = Bench::new();
    let file = write(&bench, "");
    for umask in ["0000", "0777"] {
        let mut command = bench.lab().command("dut", "sh");
        let line = format!("umask {umask}; exec \"$0\" attach {JUDGED} -c \"$1\"");
        command.args(["-c", &line, env!("CARGO_BIN_EXE_xdpctl"), &file]);
        assert!(command.output().expect("runs").status.success(), "umask {umask}");
        for path in bench.lab().kept("dut") {
            let metadata = fs::symlink_metadata(&path).expect("metadata");
            assert_eq!(metadata.mode() & 0o077, 0, "umask {umask}: {}", path.display());
        }
        bench.xdpctl(["reload"]).success();
        bench.xdpctl(["status"]).success();
        bench.xdpctl(["detach", JUDGED]).success();
        bench.lab().assert_nothing_kept("dut");
    }
}

/// Every command refuses the directory, which the test has spoiled, and says why.
#[track_caller]
fn refused(bench: &Bench, directory: &Path, why: &str) {
    let file = write(bench, "");
    for args in [&["attach", JUDGED, "-c", file.as_str()][..], &["reload"], &["detach", "--all"]] {
        let output = bench.xdpctl(args);
        let said = format!("error: {} {why}", directory.display());
        assert!(output.expect_status(1).stderr.starts_with(&said), "{args:?}: {}", output.stderr);
        assert!(output.stderr.contains("is not trusted\n  hint: "), "{args:?}: {}", output.stderr);
    }
    assert_eq!(bench.lab().programs("dut", JUDGED), []);
}

#[test]
fn what_others_can_write_to_is_not_trusted() {
    let bench = Bench::new();
    let [pins, state] = bench.lab().namespace("dut").xdpctl_directories();
    // The directory is made by attaching elsewhere: an empty parent may be removed together with
    // another test's namespace meanwhile.
    let file = write(&bench, "");
    bench.xdpctl(["attach", "out0", "-c", &file]).success();
    for directory in [&state, &pins] {
        fs::set_permissions(directory, Permissions::from_mode(0o777)).expect("chmod");
        refused(&bench, directory, "is open to others (mode 0777)");
        fs::set_permissions(directory, Permissions::from_mode(0o700)).expect("chmod");

        chown(directory, Some(Uid::from_raw(65534)), None).expect("chown");
        refused(&bench, directory, "belongs to user 65534, not to root,");
        chown(directory, Some(Uid::from_raw(0)), None).expect("chown");
    }
    // Nothing was lost, and all is well again.
    bench.xdpctl(["status", "out0"]).success();
    bench.xdpctl(["reload", "out0"]).success();
    bench.xdpctl(["detach", "out0"]).success();
    bench.lab().assert_nothing_kept("dut");
}

#[test]
fn links_are_not_followed() {
    let bench = Bench::new();
    let file = write(&bench, "");
    bench.xdpctl(["attach", "out0", "-c", &file]).success();
    // Through a symbolic link, xdpctl would lock and write wherever the link leads.
    for directory in bench.lab().namespace("dut").xdpctl_directories() {
        let moved = directory.with_file_name(format!("moved-{}", std::process::id()));
        fs::rename(&directory, &moved).expect("moved");
        symlink(&moved, &directory).expect("a link");
        let output = bench.xdpctl(["reload", "out0"]);
        let said = format!("error: {} is not a directory\n", directory.display());
        assert!(output.expect_status(1).stderr.starts_with(&said), "{}", output.stderr);
        fs::remove_file(&directory).expect("the link");
        fs::rename(&moved, &directory).expect("moved back");
    }
    bench.xdpctl(["reload", "out0"]).success();
    bench.xdpctl(["detach", "out0"]).success();
    bench.lab().assert_nothing_kept("dut");
}
