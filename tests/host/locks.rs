//! One command at a time has a lock, whatever becomes of the directory that it is of.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use xdpctl::datapath::attached::namespace::Namespace;
use xdpctl::datapath::host::lock::Lock;
use xdpctl::datapath::host::netns;
use xdpctl::datapath::host::waiting::Patience;

use super::{Netns, mount_tmpfs, require_root, unshare_mounts};

/// Longer than any test takes.
const PATIENT: Patience =
    Patience { silent: Duration::from_secs(600), most: Duration::from_secs(600) };

#[test]
fn a_lock_outlives_the_removal_of_its_directory() {
    require_root();
    let base = tempfile::tempdir().unwrap();
    let names = ["xdpctl", "v1", "7"];
    let directory = base.path().join("xdpctl/v1/7");
    let acquire = || Lock::acquire(base.path(), &names, PATIENT, &mut |_| {}).unwrap();
    let is_free = || Lock::try_acquire(base.path(), &names).unwrap().is_some();
    assert!(!is_free(), "there is nothing to lock");
    let first = acquire();
    assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o7777, 0o700);
    assert!(!is_free());
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| sender.send(acquire()).unwrap());
        assert!(receiver.recv_timeout(Duration::from_millis(200)).is_err());
        // With the directory, so that the second has to make it anew.
        first.release().unwrap();
        let second = receiver.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(directory.exists());
        assert!(!is_free());
        fs::write(directory.join("state"), "").unwrap();
        second.release().unwrap();
        assert!(directory.exists(), "the directory was in use");
    });
    assert!(is_free());
    fs::remove_file(directory.join("state")).unwrap();
    drop(acquire());
    assert!(!base.path().join("xdpctl").exists());
}

/// Eight at a time, each of which finds the directory that the one before it is about to remove.
#[test]
fn one_at_a_time_has_a_lock_whose_directory_comes_and_goes() {
    require_root();
    let base = tempfile::tempdir().unwrap();
    let inside = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let names = ["xdpctl", "7"];
                    let lock = Lock::acquire(base.path(), &names, PATIENT, &mut |_| {}).unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    thread::yield_now();
                    assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1);
                    drop(lock);
                }
            });
        }
    });
    assert!(!base.path().join("xdpctl").exists());
}

/// As two containers that are given the machine's bpffs: the lock lay under `/run`, and they did not
/// meet.
#[test]
fn commands_with_different_run_directories_wait_for_each_other() {
    let netns = Netns::new();
    let enter = || {
        let file = File::open(format!("/run/netns/{}", netns.name)).unwrap();
        setns(file, CloneFlags::CLONE_NEWNET).unwrap();
        unshare_mounts();
        mount_tmpfs(Path::new("/run"));
        assert!(!Path::new("/run/netns").exists());
        Namespace::lock(&mut |_| {}).unwrap_or_else(|error| panic!("{error}"))
    };
    let (locked, first) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let (sender, second) = mpsc::channel();
    // What lets go of the first is the scope's own, so that a test that fails does not wait for it.
    thread::scope(move |scope| {
        scope.spawn(move || {
            let lock = enter();
            locked.send(()).unwrap();
            // Until the test says so, or fails.
            let _ = released.recv();
            drop(lock);
        });
        first.recv_timeout(Duration::from_secs(60)).unwrap();
        scope.spawn(move || {
            drop(enter());
            sender.send(()).unwrap();
        });
        assert!(second.recv_timeout(Duration::from_millis(500)).is_err(), "both have the lock");
        release.send(()).unwrap();
        second.recv_timeout(Duration::from_secs(60)).unwrap();
    });
    let cookie = netns.inside(|| netns::cookie().unwrap());
    assert!(!Path::new(&format!("/sys/fs/bpf/xdpctl/v1/{cookie}")).exists());
}
