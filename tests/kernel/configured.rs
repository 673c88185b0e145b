//! Where rulesets come from, and what is checked of them beside those in force.

use std::io::Write as _;
use std::process::Stdio;

use crate::lab::bench::{Bench, JUDGED};

/// Status and output, without the folder.
fn told(bench: &Bench, args: &[&str]) -> String {
    let output = bench.xdpctl(args);
    let text = format!("status {}\n{}{}", output.status, output.stdout, output.stderr);
    text.replace(bench.directory().to_str().expect("UTF-8"), "DIR")
}

/// That many addresses, one a line.
fn addresses(number: usize) -> String {
    (0..number).map(|last| format!("10.0.0.{last}\n")).collect()
}

#[test]
fn a_list_that_shrank_too_much_keeps_the_ruleset_in_force() {
    let mut bench = Bench::new();
    bench.write("list.txt", &addresses(100));
    bench.attach(
        "[[blocklist]]\nname = \"feed\"\nfiles = [\"list.txt\"]\nmax_shrink = \"50%\"\n\
         min_entries = 10\n",
    );
    let in_force = || {
        let status = bench.xdpctl(["status", JUDGED, "--json"]).statuses();
        (status[0]["generation"].clone(), status[0]["entries"]["ipv4"].clone())
    };
    let (generation, _) = in_force();
    for (number, said) in [
        (
            49,
            "error: DIR/in0.toml:2:8: blocklist \"feed\": 49 entries, where 100 are in force, and \
             max_shrink is 50%\n    name = \"feed\"\n           ^^^^^^\n",
        ),
        (9, "error: DIR/in0.toml:2:8: blocklist \"feed\": 9 entries, and min_entries is 10"),
        (
            0,
            "error: DIR/in0.toml:3:10: blocklist \"feed\": the list file \"DIR/list.txt\" holds no",
        ),
    ] {
        bench.write("list.txt", &addresses(number));
        let replace = ["attach", JUDGED, "--replace"];
        for args in [&["reload"][..], &["reload", JUDGED], &replace] {
            let told = told(&bench, args);
            assert!(told.starts_with(&format!("status 2\n{said}")), "{args:?}: {told}");
        }
        assert_eq!(in_force(), (generation.clone(), 100.into()));
    }
    bench.write("list.txt", &addresses(50));
    bench.xdpctl(["reload", JUDGED]).success();
    assert_eq!(in_force().1, 50);
}

/// To attach without a file, as with standard input, but for reloads too.
#[test]
fn the_null_device_is_read_again() {
    let bench = Bench::new();
    bench.xdpctl(["attach", JUDGED, "-c", "/dev/null"]).success();
    bench.xdpctl(["reload", JUDGED]).success();
    let status = bench.xdpctl(["status", JUDGED, "--json"]).statuses();
    assert_eq!((&status[0]["generation"], &status[0]["config"]), (&2.into(), &"/dev/null".into()));
    assert_eq!(bench.sample().rules.len(), 0);
}

/// Status and output of a command with a configuration on its standard input.
fn given(bench: &Bench, args: &[&str], text: &str) -> (Option<i32>, String) {
    let mut command = bench.lab().xdpctl_command("dut", args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.current_dir(bench.directory());
    let mut child = command.spawn().expect("it starts");
    // A pipe has room for this much.
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it is read");
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).expect("UTF-8"))
}

#[test]
fn a_configuration_from_standard_input() {
    let bench = Bench::new();
    bench.write("list.txt", "192.0.2.1\n192.0.2.2\n");
    let text = "[[blocklist]]\nname = \"feed\"\nfiles = [\"list.txt\"]\n";

    let checked =
        (Some(0), "<stdin>: ok: 1 list with 2 IPv4 and 0 IPv6 prefixes, 0 rules\n".into());
    assert_eq!(given(&bench, &["check", "-"], text), checked);
    assert_eq!(given(&bench, &["check", "/dev/stdin"], text), checked);
    let (status, said) = given(&bench, &["attach", JUDGED, "-c", "-"], "[policy]\ndefault = 1\n");
    assert_eq!(
        (status, said.starts_with("error: <stdin>:2:11: [policy]")),
        (Some(2), true),
        "{said}"
    );

    let (status, said) = given(&bench, &["attach", JUDGED, "-c", "-", "--mode", "native"], text);
    assert_eq!(status, Some(0), "{said}");
    let status = bench.xdpctl(["status", JUDGED, "--json"]).statuses();
    assert_eq!(
        (&status[0]["config"], &status[0]["entries"]["ipv4"]),
        (&"<stdin>".into(), &2.into())
    );

    // It is gone, and no ruleset is an empty one: that would let everything through.
    for args in [&["reload"][..], &["reload", JUDGED], &["attach", JUDGED, "--replace"]] {
        let told = told(&bench, args);
        assert_eq!(
            told,
            "status 2\nerror: <stdin>: in0 was given its configuration on standard input at attach, \
             which cannot be read again\n  hint: name a file with `-c FILE`, or give it on standard \
             input and say `-c -`\n"
        );
    }
    // A file given to a reload is in force then, but the next reload does not read it by itself.
    bench.write("empty.toml", "");
    let empty = bench.directory().join("empty.toml");
    let empty = empty.to_str().expect("UTF-8");
    bench.xdpctl(["reload", JUDGED, "-c", empty]).success();
    let told = told(&bench, &["reload", JUDGED]);
    let hint = "\n  hint: the ruleset in force is that of DIR/empty.toml: `xdpctl reload in0 -c \
                DIR/empty.toml` reads it again; `xdpctl attach --replace in0 -c DIR/empty.toml` makes \
                it the file that reloads read\n";
    assert!(told.ends_with(hint), "{told}");
    bench.xdpctl(["attach", "--replace", JUDGED, "-c", empty]).success();
    bench.xdpctl(["reload", JUDGED]).success();
    // Standard input is read once, for all interfaces.
    bench.xdpctl(["attach", "out0", "-c", empty, "--mode", "native"]).success();
    let (status, said) = given(&bench, &["reload", "-c", "/dev/stdin"], text);
    assert_eq!(status, Some(0), "{said}");
    let status = bench.xdpctl(["status", "--json"]).statuses();
    for interface in 0..2 {
        assert_eq!(status[interface]["entries"]["ipv4"], 2, "{status}");
    }
}

#[test]
fn errors_of_commands_that_print_json() {
    let bench = Bench::new();
    for args in [&["bans", "nope0", "--json"][..], &["status", "nope0", "--json"]] {
        let output = bench.xdpctl(args);
        let answer = output.expect_status(1).json();
        assert_eq!(answer["ok"], false, "{args:?}: {answer}");
        let message = answer["errors"][0]["message"].as_str().expect("a message");
        assert!(output.stderr.starts_with(&format!("error: {message}\n")), "{args:?}: {answer}");
    }
    // Mistakes in the command line too.
    for args in [
        &["bans", "--json"][..],
        &["status", "in0", "out0", "--json"],
        &["show", "--jsno", "--json"],
    ] {
        let output = bench.xdpctl(args);
        let answer = output.expect_status(2).json();
        assert_eq!(answer["ok"], false, "{args:?}: {answer}");
        let message = answer["errors"][0]["message"].as_str().expect("a message");
        let first = message.split(':').next().expect("a word");
        assert!(output.stderr.starts_with(&format!("error: {first}")), "{args:?}: {output:?}");
        assert!(answer["errors"][0]["hint"].is_string(), "{args:?}: {answer}");
    }
    assert_eq!(bench.xdpctl(["bans"]).expect_status(2).stdout, "");
    assert!(bench.xdpctl(["bans", "--json", "--help"]).success().stdout.contains("Usage: "));
    // Without the flag, nothing is printed.
    assert_eq!(bench.xdpctl(["status", "nope0"]).expect_status(1).stdout, "");
    // Errors in a configuration have their places.
    let file = bench.write("bad.toml", "[policy]\ndefault = 1\n");
    let file = file.to_str().expect("UTF-8");
    let output = bench.xdpctl(["lookup", "--config", file, "192.0.2.1", "--json"]);
    let error = &output.expect_status(2).json()["errors"][0];
    assert_eq!((&error["line"], &error["column"]), (&2.into(), &11.into()), "{error}");
}
