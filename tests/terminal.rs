//! What the command prints of arguments and files, run as a user runs it: nothing in them steers a
//! terminal or writes lines of its own. Needs no root.

use std::ffi::OsStr;
use std::fs;
use std::process::{Command, Stdio};

use xdpctl::notation::{plain, steers};

/// Pieces of text that steer: a cleared screen, a title, a line drawn over, C1's own beginning of a
/// sequence, DEL, and text that is shown from right to left.
const STEERING: [&str; 7] =
    ["\u{1b}[2J", "\u{1b}]2x\u{7}", "\r", "\u{9b}2J", "\u{7f}", "\u{202e}", "\u{2067}\u{61c}"];

struct Ran {
    status: i32,
    stdout: String,
    stderr: String,
}

fn xdpctl<S: AsRef<OsStr>>(arguments: &[S]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_xdpctl"))
        .args(arguments)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("UTF-8"));
    Ran { status: output.status.code().expect("no signal ended it"), stdout, stderr }
}

/// Runs a command that fails. Nothing that it prints steers, and the escaped `text` is in it.
#[track_caller]
fn fails_harmlessly<S: AsRef<OsStr>>(arguments: &[S], status: i32, text: &str) -> Ran {
    let ran = xdpctl(arguments);
    let told = format!("{}{}", ran.stdout, ran.stderr);
    assert_eq!(ran.status, status, "{told:?}");
    assert!(!told.chars().any(|c| steers(c) && c != '\n'), "{told:?}");
    assert!(told.contains(&plain(text)), "{:?} in {told:?}", plain(text));
    ran
}

/// The argument went through the reader of list files, and its second line was blocked too.
#[test]
fn an_argument_with_a_line_feed_is_one_mistake() {
    for command in ["block", "allow", "unblock"] {
        for argument in ["192.0.2.1\n0.0.0.0/0", "192.0.2.1\n"] {
            let ran = xdpctl(&[command, "no-such-if", argument]);
            assert_eq!(ran.status, 2, "{command}: {}", ran.stderr);
            assert_eq!(
                ran.stderr,
                format!(
                    "error: \"{}\" has a line feed: an argument is one prefix\n  hint: give each \
                     prefix as an argument of its own, or write them to standard input, one a \
                     line, and give `-`\n",
                    plain(argument)
                )
            );
        }
    }
}

#[test]
fn arguments_are_escaped() {
    for steering in STEERING {
        let wrong = format!("x{steering}y");
        let flag = format!("--{wrong}");
        for arguments in [
            &[wrong.as_str()][..],
            &["status", &flag],
            &["stats", "--interval", &wrong],
            &["attach", "no-such-if", "--mode", &wrong],
            &["block", "no-such-if", &wrong],
            &["unblock", "no-such-if", &wrong],
            &["check", &wrong],
        ] {
            fails_harmlessly(arguments, 2, &wrong);
        }
        fails_harmlessly(&["attach", &wrong], 1, &wrong);
    }
}

#[test]
fn notes_that_steer_are_refused() {
    for command in ["block", "allow"] {
        for steering in STEERING.into_iter().chain(["\n"]) {
            let note = format!("scanner{steering}");
            let arguments = [command, "no-such-if", "192.0.2.1", "--note", &note];
            let ran = fails_harmlessly(&arguments, 2, &note);
            assert!(ran.stderr.contains("would steer the terminal"), "{}", ran.stderr);
        }
    }
}

/// A line feed in a path or an argument must not let it write a line that looks like one of ours.
#[test]
fn no_text_writes_lines_of_its_own() {
    for argument in ["x\nerror: y", "x\n  hint: y"] {
        for arguments in [["check", argument], ["attach", argument]] {
            let told = xdpctl(&arguments).stderr;
            assert!(told.contains(&plain(argument)), "{told}");
            assert!(!told.lines().any(|line| line.ends_with("y: y")), "{told}");
            assert!(told.lines().count() <= 2, "{told}");
        }
    }
}

#[test]
fn files_and_their_names_are_escaped() {
    let folder = tempfile::tempdir().expect("a folder");
    // A carriage return is a blank in list files.
    for steering in STEERING.into_iter().filter(|text| *text != "\r") {
        let list = format!("l{steering}ist");
        fs::write(folder.path().join(&list), format!("192.0.2.1\nno{steering}ne\n"))
            .expect("a list");
        let escaped: String =
            steering.chars().map(|c| format!("\\U{:08x}", u32::from(c))).collect();
        let path = folder.path().join(format!("c{steering}.toml"));
        // As escapes of TOML, whose text holds no control characters.
        let text = format!(
            "[policy]\ndefault = \"{escaped}\"\n\"k{escaped}\" = 1\n[[blocklist]]\n\
             name = \"n{escaped}\"\nfiles = [\"l{escaped}ist\", \"m{escaped}issing\"]\n\
             [[rule]]\nname = \"r\"\naction = \"drop\"\nsource = \"i{escaped}p\"\n"
        );
        fs::write(&path, &text).expect("a configuration");
        let path = path.to_str().expect("UTF-8");
        let ran = fails_harmlessly(&["check", path], 2, &format!("c{steering}.toml"));
        for word in ["k#", "n#", "l#ist", "m#issing", "i#p", "no#ne"] {
            let shown = plain(&word.replace('#', steering));
            assert!(ran.stderr.contains(&shown), "{shown:?} in {}", ran.stderr);
        }

        let ran = xdpctl(&["check", "--json", path]);
        assert_eq!(ran.status, 2);
        let line = ran.stdout.strip_suffix('\n').expect("a line");
        assert!(!line.chars().any(steers), "{line:?}");
        let answer: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(answer["errors"][0]["file"], path);

        // What is no TOML is shown too, up to where a word ends.
        fs::write(path, format!("k = x{steering}y\n")).expect("a configuration");
        let first: String = steering.chars().take(1).collect();
        fails_harmlessly(&["check", path], 2, &format!("\"x{first}"));
    }
}

/// Logged text may have lines, but none that begins as those of the log do.
#[test]
fn log_lines_are_escaped() {
    for steering in STEERING.into_iter().chain(["\n[ERROR xdpctl] "]) {
        let path = format!("x{steering}y");
        let ran = fails_harmlessly(&["-vv", "check", &path], 2, &path);
        let first = path.lines().next().expect("a line");
        let logged = format!("[DEBUG xdpctl::config::file] reading {}", plain(first));
        assert!(ran.stderr.starts_with(&logged), "{}", ran.stderr);
        assert!(!ran.stderr.contains("\n[ERROR"), "{}", ran.stderr);
    }
}

#[test]
fn paths_in_answers_are_escaped() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x\u{9b}2J\u{202e}\n.toml");
    fs::write(&path, "").expect("a configuration");
    let path = path.to_str().expect("UTF-8");
    let ran = xdpctl(&["check", path]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let told = format!("{}{}", ran.stdout, ran.stderr);
    assert!(!told.chars().any(|c| steers(c) && c != '\n'), "{told:?}");
    assert!(ran.stdout.starts_with(&plain(path)), "{}", ran.stdout);
}
