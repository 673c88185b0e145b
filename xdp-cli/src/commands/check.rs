//! `xdpctl check`: whether a configuration would load, without root and without a kernel.

use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use super::lockout;
use crate::config;
use crate::config::file::{STDIN, means_stdin};
use crate::diagnostic::Diagnostic;
use crate::image::metadata::Metadata;
use crate::image::{BuildError, Image};
use crate::notation::{counted, grouped, json_line, memory, plain, took};
use crate::report::Reporter;
use crate::ruleset::domains::DomainList;
use crate::ruleset::{EntryCount, List, Ruleset};

#[derive(Serialize)]
struct Answer<'a> {
    ok: bool,
    errors: &'a [Diagnostic],
    warnings: &'a [Diagnostic],
}

/// Checks a configuration with its list files. Says on `out` that it is good, or with `json` all
/// that was found, and on `err` what is wrong. Returns the exit status.
pub fn run(file: &Path, json: bool, out: &mut dyn Write, err: &mut Reporter<'_>) -> u8 {
    let begun = Instant::now();
    let mut loaded = config::load(file);
    let file = if means_stdin(file) { Path::new(STDIN) } else { file };
    log::info!("read {} and the files that it names in {}", file.display(), took(begun.elapsed()));
    if let Some(ruleset) = &loaded.ruleset {
        let of_the_whole = |message, hint| {
            let file = file.to_owned();
            Diagnostic { file, line: 0, column: 0, message, hint, excerpt: None }
        };
        match compiled(ruleset) {
            Ok((image, metadata)) => {
                let taken = lockout::warnings_of_file(file, ruleset, &image, &metadata);
                loaded
                    .diagnostics
                    .warnings
                    .extend(taken.into_iter().map(|it| of_the_whole(it.message, Some(it.hint))));
            }
            Err(error) => loaded.diagnostics.errors.push(error.told(ruleset, file)),
        }
    }
    let found = &loaded.diagnostics;
    let status = if found.is_ok() { 0 } else { 2 };
    let written = if json {
        write_json(
            out,
            &Answer { ok: found.is_ok(), errors: &found.errors, warnings: &found.warnings },
        )
    } else {
        err.diagnostics(found);
        match &loaded.ruleset {
            Some(ruleset) if found.is_ok() => write_summary(out, file, ruleset),
            _ => Ok(()),
        }
    };
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            err.error(&format!("the answer cannot be written: {error}"), None);
            1
        }
        _ => status,
    }
}

/// Compiles the ruleset, to find out whether it fits into an image. That does not depend on where
/// redirects go.
fn compiled(ruleset: &Ruleset) -> Result<(Image, Metadata), BuildError> {
    let metadata = Metadata::unbound(ruleset);
    let begun = Instant::now();
    let image = Image::build(ruleset, 1, &metadata)?;
    let size = memory(size_of_val(image.blocks()) as u64);
    log::info!("compiled the ruleset: an image of {size} in {}", took(begun.elapsed()));
    Ok((image, metadata))
}

fn write_json(out: &mut dyn Write, answer: &Answer<'_>) -> io::Result<()> {
    out.write_all(&json_line(answer)?)
}

fn write_summary(out: &mut dyn Write, file: &Path, ruleset: &Ruleset) -> io::Result<()> {
    let lists = || ruleset.allowlists.iter().chain(&ruleset.blocklists);
    let entries = lists().map(List::entries).fold(EntryCount::default(), EntryCount::plus);
    let domains = ruleset.domains.iter().map(DomainList::entries);
    let names = match domains.fold(EntryCount::default(), EntryCount::plus).names {
        0 => String::new(),
        names => format!(" and {}", counted(names, "name")),
    };
    let backends = ruleset.services.iter().map(|service| service.backends.len()).sum::<usize>();
    let services = match ruleset.services.len() {
        0 => String::new(),
        services => {
            let [services, backends] = [services, backends].map(|it| it as u64);
            format!(", {} with {}", counted(services, "service"), counted(backends, "backend"))
        }
    };
    writeln!(
        out,
        "{}: ok: {} with {} IPv4 and {} IPv6 prefixes{names}, {}{services}",
        plain(&file.to_string_lossy()),
        counted((lists().count() + ruleset.domains.len()) as u64, "list"),
        grouped(entries.ipv4),
        grouped(entries.ipv6),
        counted(ruleset.rules.len() as u64, "rule"),
    )
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    /// Exit status, stdout and stderr of a check, with `DIR` in place of the folder.
    fn check(text: &str, json: bool) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.toml");
        fs::write(folder.path().join("list"), "192.0.2.1\nnonsense\n2001:db8::/32\n").unwrap();
        fs::write(&file, text).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let status = run(&file, json, &mut out, &mut Reporter::new(&mut err, false));
        let [out, err] = [out, err].map(|text| String::from_utf8(text).unwrap());
        let said = format!("status {status}\n--- stdout\n{out}--- stderr\n{err}");
        said.replace(&folder.path().display().to_string(), "DIR")
    }

    const GOOD: &str = "[[blocklist]]\nname = \"a\"\nprefixes = [\"10.0.0.0/30\"]\n\
        files = [\"list\"]\n[[allowlist]]\nname = \"b\"\nprefixes = [\"10.1.2.3/8\"]\n\
        [[rule]]\nname = \"r\"\naction = \"redirect\"\nto = \"no-such-if\"\n";
    const BAD: &str = "[policy]\ndefault = \"dorp\"\n[[rule]]\nname = \"r\"\n";

    #[test]
    fn good() {
        insta::assert_snapshot!(check(GOOD, false), @r#"
        status 0
        --- stdout
        DIR/x.toml: ok: 2 lists with 3 IPv4 and 1 IPv6 prefixes, 1 rule
        --- stderr
        warning: DIR/x.toml:7:13: allowlist "b": "10.1.2.3/8" has bits set beyond its length
            prefixes = ["10.1.2.3/8"]
                        ^^^^^^^^^^^^
          hint: taken as 10.0.0.0/8
        warning: DIR/list:2:1: "nonsense" is not an address, a prefix or a range
          hint: an entry looks like 203.0.113.7, 203.0.113.0/24, 203.0.113.1-203.0.113.9 or 2001:db8::/32
        "#);
    }

    #[test]
    fn good_as_json() {
        insta::assert_snapshot!(check(GOOD, true), @r#"
        status 0
        --- stdout
        {"ok":true,"errors":[],"warnings":[{"file":"DIR/x.toml","line":7,"column":13,"message":"allowlist \"b\": \"10.1.2.3/8\" has bits set beyond its length","hint":"taken as 10.0.0.0/8"},{"file":"DIR/list","line":2,"column":1,"message":"\"nonsense\" is not an address, a prefix or a range","hint":"an entry looks like 203.0.113.7, 203.0.113.0/24, 203.0.113.1-203.0.113.9 or 2001:db8::/32"}]}
        --- stderr
        "#);
    }

    #[test]
    fn bad() {
        insta::assert_snapshot!(check(BAD, false), @r#"
        status 2
        --- stdout
        --- stderr
        error: DIR/x.toml:2:11: [policy]: default cannot be "dorp"
            default = "dorp"
                      ^^^^^^
          hint: did you mean "drop"? It may be "pass" or "drop"
        error: DIR/x.toml:4:8: rule "r": action is missing
            name = "r"
                   ^^^
          hint: write "pass", "drop", "redirect", "bounce", "block" or "syncookie"
        "#);
    }

    #[test]
    fn bad_as_json() {
        insta::assert_snapshot!(check(BAD, true), @r#"
        status 2
        --- stdout
        {"ok":false,"errors":[{"file":"DIR/x.toml","line":2,"column":11,"message":"[policy]: default cannot be \"dorp\"","hint":"did you mean \"drop\"? It may be \"pass\" or \"drop\""},{"file":"DIR/x.toml","line":4,"column":8,"message":"rule \"r\": action is missing","hint":"write \"pass\", \"drop\", \"redirect\", \"bounce\", \"block\" or \"syncookie\""}],"warnings":[]}
        --- stderr
        "#);
    }

    #[test]
    fn empty() {
        insta::assert_snapshot!(check("", false), @"
        status 0
        --- stdout
        DIR/x.toml: ok: 0 lists with 0 IPv4 and 0 IPv6 prefixes, 0 rules
        --- stderr
        ");
    }

    #[test]
    fn rules_that_no_image_has_room_for() {
        // Every source port matches a different combination of these rules.
        let mut text = String::new();
        for bit in 0..16 {
            let step = 1u32 << bit;
            let ports = (0..1u32 << (15 - bit)).map(|n| (2 * n + 1) * step);
            let ports: Vec<_> =
                ports.map(|port| format!("\"{port}-{}\"", port + step - 1)).collect();
            let ports = ports.join(",");
            let rule = format!("name = \"r{bit}\"\nsource_port = [{ports}]\naction = \"drop\"\n");
            text.push_str(&format!("[[rule]]\n{rule}"));
        }
        assert!(check(&text, false).starts_with("status 0"));
        text.push_str("[[rule]]\nname = \"more\"\ndestination_port = 1\naction = \"drop\"\n");
        insta::assert_snapshot!(check(&text, false), @"
        status 2
        --- stdout
        --- stderr
        error: DIR/x.toml: the rules divide addresses and ports into more than 65536 classes
          hint: give fewer of them prefixes or port ranges that overlap in different ways
        ");
    }

    #[test]
    fn a_packet_is_asked_so_many_limits() {
        // Those of one port share no packet with the others, wherever they stand.
        let mut text = String::new();
        let mut rule = |name: &str, port: u16| {
            let keys = "protocol = \"tcp\"\naction = \"drop\"\nover = \"5/s\"";
            text.push_str(&format!(
                "[[rule]]\nname = \"{name}\"\ndestination_port = {port}\n{keys}\n"
            ));
            text.clone()
        };
        for nth in 0..16 {
            rule(&format!("web{nth}"), 80);
            rule(&format!("mail{nth}"), 25);
        }
        assert!(check(&rule("ssh", 22), false).starts_with("status 0"));
        rule("one-more", 25);
        insta::assert_snapshot!(check(&rule("and-another", 25), false), @r#"
        status 2
        --- stdout
        --- stderr
        error: DIR/x.toml:200: rule "one-more": over = "5/s" is one too many: more than 16 rules with `over` may match one packet
          hint: give such rules conditions by which a packet matches few of them, or leave some out
        "#);
    }

    #[test]
    fn a_file_that_is_not_there_is_a_wrong_configuration() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let file = Path::new("/nonexistent/x.toml");
        assert_eq!(run(file, false, &mut out, &mut Reporter::new(&mut err, false)), 2);
        assert!(out.is_empty());
        assert!(String::from_utf8(err).unwrap().starts_with("error: /nonexistent/x.toml: "));
    }

    #[test]
    fn a_path_need_not_be_utf8() {
        let file = Path::new(OsStr::from_bytes(b"/nonexistent/\xff.toml"));
        let mut out = Vec::new();
        assert_eq!(run(file, true, &mut out, &mut Reporter::new(&mut Vec::new(), false)), 2);
        let answer: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(answer["errors"][0]["file"], "/nonexistent/\u{fffd}.toml");
    }

    #[test]
    fn a_full_disk_is_told_and_a_closed_pipe_is_not() {
        struct Failing(io::ErrorKind);
        impl Write for Failing {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for (kind, expected) in [(io::ErrorKind::BrokenPipe, 2), (io::ErrorKind::StorageFull, 1)] {
            let mut err = Vec::new();
            let mut reporter = Reporter::new(&mut err, false);
            let status = run(Path::new("/nonexistent"), true, &mut Failing(kind), &mut reporter);
            assert_eq!(status, expected, "{kind:?}");
            assert_eq!(err.is_empty(), expected == 2, "{kind:?}");
        }
    }
}
