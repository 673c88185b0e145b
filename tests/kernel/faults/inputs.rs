//! Configurations and list files that are not what they should be, or change under the reader.

use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::shim::{self, Kind};
use super::state::{State, topology};
use crate::lab::Output;
use crate::lab::bench::{Bench, JUDGED};

const LIST: &str = "[policy]\ndefault = \"drop\"\n[[blocklist]]\nname = \"listed\"\nfiles = \
    [\"list.txt\"]\n";

/// A bench with a ruleset in force that has to stay.
fn attached() -> Bench {
    let bench = Bench::on(topology());
    let old = bench.write("old.toml", "[[blocklist]]\nname = \"old\"\nprefixes = [\"10.1.0.1\"]\n");
    bench.xdpctl(["attach", JUDGED, "-c", text(&old)]).success();
    bench.write("new.toml", LIST);
    bench
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn reload(bench: &Bench, file: &Path) -> Output {
    bench.xdpctl(["reload", JUDGED, "-c", text(file)])
}

/// Why something cannot be read, as the error says, and a function that puts it under a path.
type Unreadable = (&'static str, fn(&Path));

fn elsewhere(path: &Path, name: &str) -> PathBuf {
    path.with_file_name(name)
}

const UNREADABLE: [Unreadable; 12] = [
    ("it is a FIFO, not a regular file", |path| {
        mkfifo(path, Mode::S_IRWXU).expect("a FIFO");
    }),
    ("it is a FIFO, not a regular file", |path| {
        mkfifo(&elsewhere(path, "fifo"), Mode::S_IRWXU).expect("a FIFO");
        symlink("fifo", path).expect("a link");
    }),
    ("it is a socket, not a regular file", |path| {
        drop(UnixListener::bind(path).expect("a socket"));
    }),
    ("it is a directory, not a regular file", |path| fs::create_dir(path).expect("a directory")),
    ("it is a device, not a regular file", |path| symlink("/dev/zero", path).expect("a link")),
    ("it is a device, not a regular file", |path| symlink("/dev/full", path).expect("a link")),
    // Standard input, which is /dev/null here.
    ("it is a device, not a regular file", |path| {
        symlink("/proc/self/fd/0", path).expect("a link");
    }),
    ("No such file or directory", |path| symlink("nowhere", path).expect("a link")),
    ("Too many symbolic links encountered", |path| {
        symlink("loop", path).expect("a link");
        symlink(path, elsewhere(path, "loop")).expect("a link");
    }),
    ("Not a directory", |path| symlink("old.toml/list.txt", path).expect("a link")),
    ("it has 2147483648 bytes, 1073741824 are the most", |path| {
        File::create(path).expect("a file").set_len(2 << 30).expect("a sparse file");
    }),
    // A regular file by its type, but every read of it fails.
    ("I/O error", |path| symlink("/proc/self/mem", path).expect("a link")),
];

#[test]
fn only_regular_files_are_read() {
    let bench = attached();
    let before = State::of(&bench);
    let list = bench.directory().join("list.txt");
    let file = bench.directory().join("new.toml");
    let clear = |path: &Path| {
        for path in [path, &elsewhere(path, "fifo"), &elsewhere(path, "loop")] {
            if fs::remove_file(path).is_err() {
                let _ = fs::remove_dir(path);
            }
        }
    };
    for (why, make) in UNREADABLE {
        make(&list);
        let output = reload(&bench, &file);
        let directory = bench.directory().display();
        let said = format!(
            "error: {directory}/new.toml:5:10: blocklist \"listed\": the list file \
             \"{directory}/list.txt\" cannot be read: {why}\n    \
             files = [\"list.txt\"]\n             ^^^^^^^^^^\n  hint: "
        );
        assert!(output.expect_status(2).stderr.starts_with(&said), "{why}: {}", output.stderr);
        clear(&list);

        let other = bench.directory().join("other.toml");
        make(&other);
        let output = reload(&bench, &other);
        let said = format!(
            "error: {directory}/other.toml: the configuration cannot be read: {why}\n  hint: "
        );
        assert!(output.expect_status(2).stderr.starts_with(&said), "{why}: {}", output.stderr);
        clear(&other);
    }
    assert_eq!(State::of(&bench), before);
    // Links to regular files are followed, one after the other.
    fs::write(elsewhere(&list, "real.txt"), "10.1.0.0/16\n").expect("a list");
    symlink("real.txt", elsewhere(&list, "hop.txt")).expect("a link");
    symlink(elsewhere(&list, "hop.txt"), &list).expect("a link");
    symlink("new.toml", elsewhere(&file, "link.toml")).expect("a link");
    reload(&bench, &elsewhere(&file, "link.toml")).success();
    assert_eq!(State::of(&bench).judged[0], "drop blocklist listed");
}

/// Zeros are valid UTF-8, and a parser may take long to give up on them.
#[test]
fn a_configuration_of_zeros() {
    let bench = attached();
    let before = State::of(&bench);
    let path = bench.directory().join("zeros.toml");
    File::create(&path).expect("a file").set_len(256 << 20).expect("a sparse file");
    let output = reload(&bench, &path);
    let said = format!("error: {}:1:1: TOML has no character NUL, the byte 0x00", path.display());
    assert!(output.expect_status(2).stderr.starts_with(&said), "{}", output.stderr);
    assert_eq!(State::of(&bench), before);
}

#[test]
fn what_is_not_utf8_has_a_place() {
    let bench = attached();
    let before = State::of(&bench);
    let file = bench.directory().join("bad.toml");
    fs::write(&file, b"[policy]\n# caf\xc3\xa9 caf\xe9\n").expect("a file");
    let output = reload(&bench, &file);
    let said = format!("error: {}:2:11: the byte 0xe9 is not UTF-8 text\n", file.display());
    assert!(output.expect_status(2).stderr.starts_with(&said), "{}", output.stderr);

    let list = bench.directory().join("list.txt");
    fs::write(&list, b"10.1.0.1 # caf\xe9\n\n  10.1.\xff.2\n").expect("a list");
    let strict = bench.write("strict.toml", &format!("{LIST}strict = true\n"));
    let output = reload(&bench, &strict);
    let said = format!("error: {}:3:3: ", list.display());
    assert!(output.expect_status(2).stderr.starts_with(&said), "{}", output.stderr);
    assert!(output.stderr.contains("is not UTF-8 text"), "{}", output.stderr);
    assert_eq!(State::of(&bench), before);

    let output = reload(&bench, &bench.directory().join("new.toml"));
    let said = format!("warning: {}:3:3: ", list.display());
    assert!(output.success().stderr.starts_with(&said), "{}", output.stderr);
    assert_eq!(State::of(&bench).judged[0], "drop blocklist listed");
}

/// Runs a reload; `happens` is called just before each such call on the list.
fn reload_while(bench: &Bench, call: &str, happens: impl FnMut()) -> Output {
    let file = bench.directory().join("new.toml");
    let command = bench.lab().xdpctl_command("dut", ["reload", JUDGED, "-c", text(&file)]);
    let name = format!("{call} /tmp/DIR/list.txt");
    shim::run_with(command, Kind::Files, &name, happens).output
}

/// The number of entries in force.
#[track_caller]
fn entries(bench: &Bench) -> u64 {
    let status = bench.xdpctl(["status", JUDGED, "--json"]).statuses();
    status[0]["entries"]["ipv4"].as_u64().expect("a number")
}

#[test]
fn a_list_that_is_exchanged_under_the_reader() {
    let bench = attached();
    let before = State::of(&bench);
    let list = bench.directory().join("list.txt");
    let whole: String = (0..100).map(|last| format!("10.1.7.{last}\n")).collect();
    let fifo = elsewhere(&list, "fifo");

    // The list is replaced by a FIFO, on which an open would wait, after its type was checked.
    fs::write(&list, &whole).expect("a list");
    let output = reload_while(&bench, "open", || {
        mkfifo(&fifo, Mode::S_IRWXU).expect("a FIFO");
        fs::rename(&fifo, &list).expect("renamed");
    });
    let why = "cannot be read: it is a FIFO, not a regular file";
    assert!(output.expect_status(2).stderr.contains(why), "{}", output.stderr);

    // The list is removed.
    fs::remove_file(&list).expect("the FIFO");
    fs::write(&list, &whole).expect("a list");
    let output = reload_while(&bench, "open", || fs::remove_file(&list).expect("the list"));
    let why = "cannot be read: No such file or directory";
    assert!(output.expect_status(2).stderr.contains(why), "{}", output.stderr);
    assert_eq!(State::of(&bench), before);

    // Another list is renamed over it, as it should be done: the opened file is read to its end.
    fs::write(&list, &whole).expect("a list");
    let once = Cell::new(true);
    let output = reload_while(&bench, "read", || {
        if once.take() {
            fs::write(elsewhere(&list, "next"), "10.1.0.0/16\n").expect("another list");
            fs::rename(elsewhere(&list, "next"), &list).expect("renamed");
        }
    });
    output.success();
    assert_eq!(entries(&bench), 100);
}

#[test]
fn a_list_that_is_written_under_the_reader() {
    let bench = attached();
    let list = bench.directory().join("list.txt");
    let whole: String = (0..100).map(|last| format!("10.1.7.{last}\n")).collect();
    let append = |text: &str| {
        let mut file = OpenOptions::new().append(true).open(&list).expect("the list");
        file.write_all(text.as_bytes()).expect("written");
    };
    // The list is cut and written anew between two reads: it is read again, as it is then.
    fs::write(&list, &whole).expect("a list");
    let once = Cell::new(true);
    let output = reload_while(&bench, "read", || {
        if once.take() {
            fs::write(&list, "10.1.8.1\n10.1.8.2\n10.1.8.3\n").expect("a list");
        }
    });
    output.success();
    assert_eq!(entries(&bench), 3);
    // The list is made longer.
    let once = Cell::new(true);
    let output = reload_while(&bench, "read", || {
        if once.take() {
            append("10.1.9.1\n");
        }
    });
    output.success();
    assert_eq!(entries(&bench), 4);
    // Somebody writes to the list again and again.
    let before = State::of(&bench);
    let next = Cell::new(0);
    let output = reload_while(&bench, "read", || {
        next.set(next.get() + 1);
        append(&format!("10.1.10.{}\n", next.get()));
    });
    let why = [
        "cannot be read: it is being written\n",
        "\n  hint: whoever writes it should write another file, and rename that",
    ];
    let said = &output.expect_status(2).stderr;
    assert!(why.iter().all(|why| said.contains(why)), "{said}");
    assert_eq!(State::of(&bench), before);
}
