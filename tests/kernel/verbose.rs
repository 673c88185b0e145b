//! `-v`: each step of a command as a sentence.

use crate::lab::bench::{Bench, JUDGED};

/// What is said on stderr, with `N` for times and for numbers that depend on the machine, and without
/// the lines of other messages.
fn steps(bench: &Bench, args: &[&str]) -> String {
    let args = [&["-v"], args].concat();
    let output = bench.xdpctl(&args);
    let said = output.success().stderr.replace(&bench.directory().display().to_string(), "DIR");
    let namespace = bench.lab().namespace("dut");
    let said = said
        .replace(&format!("/{}/", namespace.cookie), "/COOKIE/")
        .replace(&namespace.name, "NAME");
    let mut steps = String::new();
    for line in said.lines().filter(|line| !line.starts_with("note: ")) {
        assert!(!line.starts_with('['), "a line of a library or of ours for ourselves: {line}");
        let line = match line.split_once(": ") {
            Some((before, _))
                if before == "wrote to the journal" || before == "wrote to syslog" =>
            {
                "(the journal)"
            }
            Some(("nothing was written to the journal or to syslog", _)) => "(the journal)",
            _ => line,
        };
        steps.push_str(&timeless(line));
        steps.push('\n');
    }
    steps
}

/// Without times, sizes, and how many instructions were processed.
fn timeless(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let shown = words.iter().enumerate().map(|(nth, word)| {
        let next = words.get(nth + 1).map_or("", |next| next.trim_end_matches(','));
        let is_unit = ["ms", "s", "KiB", "MiB", "instructions"].contains(&next);
        if is_unit && word.starts_with(|first: char| first.is_ascii_digit()) { "N" } else { word }
    });
    shown.map(|word| if word == "s" { "ms" } else { word }).collect::<Vec<_>>().join(" ")
}

#[test]
fn each_step_is_a_sentence() {
    let bench = Bench::new();
    bench.write("list.txt", "10.0.0.1\n10.0.0.2\n");
    let file = bench.write("in0.toml", "[[blocklist]]\nname = \"bad\"\nfiles = [\"list.txt\"]\n");
    let file = file.to_str().expect("UTF-8");
    let attach = steps(&bench, &["attach", JUDGED, "-c", file, "--mode", "native"]);
    let ifindex = bench.lab().ifindex("dut", JUDGED).to_string();
    let pins = |said: String| said.replace(&format!("/COOKIE/{ifindex}"), "/COOKIE/IFINDEX");
    insta::assert_snapshot!(pins(attach), @"
    read DIR/in0.toml and 1 more file (2 entries, 0 rules) in N ms
    compiled the ruleset for in0: an image of N KiB in N ms
    locked this network namespace for other commands after N ms
    loaded the program xdpctl into the kernel: N instructions processed, in N ms
    pinned the program and its maps under /sys/fs/bpf/xdpctl/v1/COOKIE/IFINDEX
    wrote the image to maps and made it the program's ruleset, generation 1, in N ms
    kept the ruleset under /run/xdpctl/v1/COOKIE/IFINDEX
    attached the program to in0 in native mode in N ms
    pinned the link as /sys/fs/bpf/xdpctl/v1/COOKIE/IFINDEX/link
    unlocked it after N ms
    (the journal)
    ");
    let reload = steps(&bench, &["reload", JUDGED]);
    insta::assert_snapshot!(pins(reload), @"
    read DIR/in0.toml and 1 more file (2 entries, 0 rules) in N ms
    compared it with generation 1, which is in force on in0, in N ms
    compiled the ruleset for in0: an image of N KiB in N ms
    locked this network namespace for other commands after N ms
    kept the ruleset under /run/xdpctl/v1/COOKIE/IFINDEX
    wrote the image to maps and made it the program's ruleset, generation 2, in N ms
    unlocked it after N ms
    (the journal)
    ");
    let block = steps(&bench, &["block", JUDGED, "10.0.0.3", "10.0.0.4"]);
    insta::assert_snapshot!(pins(block), @"
    locked this network namespace for other commands after N ms
    put 2 run-time records into the kernel's tables in N ms
    loaded the program xdpctl_clock into the kernel: N instructions processed, in N ms
    unlocked it after N ms
    (the journal)
    ");
    let check = steps(&bench, &["check", file]);
    insta::assert_snapshot!(check, @"
    read DIR/in0.toml and the files that it names in N ms
    compiled the ruleset: an image of N KiB in N ms
    ");
    let explain = steps(&bench, &["explain", JUDGED, "--packet", "00"]);
    insta::assert_snapshot!(explain, @"
    loaded the program xdpctl into the kernel: N instructions processed, in N ms
    ");
    let detach = steps(&bench, &["detach", JUDGED]);
    insta::assert_snapshot!(pins(detach), @"
    locked this network namespace for other commands after N ms
    took the program off in0
    removed the pins under /sys/fs/bpf/xdpctl/v1/COOKIE/IFINDEX and the state of in0
    unlocked it after N ms
    (the journal)
    ");
    // Without it, nothing of that is said.
    let output = bench.xdpctl(["attach", JUDGED, "-c", file, "--mode", "native"]);
    assert_eq!(output.success().stderr, "");
}

/// Twice, there are details too, and still nothing of libraries.
#[test]
fn twice_it_says_more() {
    let bench = Bench::new();
    let file = bench.write("in0.toml", "");
    let file = file.to_str().expect("UTF-8");
    let said = bench.xdpctl(["-vv", "attach", JUDGED, "-c", file]).success().stderr.clone();
    assert!(said.contains("\npinned the program and its maps under /sys/fs/bpf/"), "{said}");
    assert!(said.contains("[DEBUG xdpctl::config::file] reading "), "{said}");
    let of_others = |line: &&str| line.starts_with('[') && !line.contains(" xdpctl::");
    assert_eq!(said.lines().find(of_others), None);
}
