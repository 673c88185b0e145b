//! The manual pages, as Debian's mandoc and man read them.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::lab::Background;
use crate::lab::patience::EVENT;

const PAGES: [(&str, &str); 2] = [("xdpctl", "xdpctl.8"), ("xdpctl.toml", "xdpctl.toml.5")];

/// Runs a program on a page, and returns both of its outputs.
fn read_by(program: &str, args: &[&str], page: &Path) -> (String, String) {
    let mut command = Command::new(program);
    command.args(args).arg(page).env("LC_ALL", "C.UTF-8").env("MANWIDTH", "80");
    let mut started = Background::start(command);
    let output = started.wait(EVENT).unwrap_or_else(|| panic!("{program} does not end"));
    (output.stdout, output.stderr)
}

/// The pages as files.
fn written(folder: &Path) -> Vec<std::path::PathBuf> {
    let write = |(page, file): (&str, &str)| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xdpctl"));
        command.args(["man", page]);
        let output = Background::start(command).wait(EVENT).expect("it ends");
        let path = folder.join(file);
        fs::write(&path, &output.success().stdout).expect("written");
        path
    };
    PAGES.into_iter().map(write).collect()
}

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn the_pages_are_read_without_a_warning() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    for page in written(folder.path()) {
        let (found, said) = read_by("mandoc", &["-T", "lint", "-W", "style"], &page);
        // Pages of programs that are not installed are referred to all the same.
        let wrong: Vec<&str> =
            found.lines().filter(|line| !line.contains("referenced manual not found")).collect();
        assert!(wrong.is_empty() && said.is_empty(), "{wrong:#?} {said}");
        let (text, said) = read_by("man", &["--warnings", "-l", "--pager=cat"], &page);
        assert_eq!(said, "", "{}", page.display());
        assert!(text.contains("SEE ALSO"), "{text}");
    }
}

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn the_pages_say_what_is_looked_for() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let pages = written(folder.path());
    for (page, sentences) in [
        (
            &pages[0],
            &[
                "xdpctl - packet filter and redirector on XDP",
                "--aggregate <LEN>",
                "EXIT STATUS",
                "xdpctl attach eth0 --confirm 30s",
                "/etc/xdpctl/IFACE.toml",
            ][..],
        ),
        (
            &pages[1],
            &[
                "xdpctl.toml - rulesets of the packet filter xdpctl",
                "set_source_mac, set_destination_mac",
                "max_shrink  = \"50%\"",
                "tcp_flags = \"syn,!ack\"",
            ],
        ),
    ] {
        let (text, _) = read_by("man", &["-l", "--pager=cat", "--no-hyphenation"], page);
        for sentence in sentences {
            assert!(text.contains(sentence), "{sentence:?} is not in\n{text}");
        }
    }
}
