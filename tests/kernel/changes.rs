//! What a reload reports, and what `reload --dry-run` does.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::lab::bench::{Bench, JUDGED};

const BEFORE: &str = r#"
    [[blocklist]]
    name = "drop"
    prefixes = ["203.0.113.7"]
    files = ["drop.list"]
    [[rule]]
    name = "web"
    protocol = "tcp"
    destination_port = 80
    action = "drop"
    [[rule]]
    name = "dns"
    protocol = "udp"
    destination_port = 53
    action = "pass"
"#;
const AFTER: &str = r#"
    [policy]
    default = "drop"
    [[blocklist]]
    name = "drop"
    prefixes = ["203.0.113.7"]
    files = ["drop.list"]
    [[rule]]
    name = "dns"
    protocol = "udp"
    destination_port = 53
    action = "pass"
    [[rule]]
    name = "web"
    protocol = "tcp"
    destination_port = [80, 443]
    action = "drop"
    [[rule]]
    name = "new"
    vlan = 7
    action = "drop"
"#;

fn attached() -> Bench {
    let mut bench = Bench::new();
    bench.write("drop.list", "10.0.0.1\n10.0.0.2\n2001:db8::/32\n");
    bench.attach(BEFORE);
    bench
}

/// All files that are kept, and when they were written.
fn kept(bench: &Bench) -> Vec<(PathBuf, String)> {
    let kept = bench.lab().kept("dut").into_iter().map(|path| {
        let metadata = fs::symlink_metadata(&path).expect("a file that was listed");
        (path, format!("{:?} {}", metadata.modified().ok(), metadata.len()))
    });
    kept.collect()
}

/// The text without the line of what the maps take, which depends on the kernel.
fn without_maps(text: &str) -> String {
    text.lines()
        .filter(|line| !line.starts_with("  maps: "))
        .map(|line| format!("{line}\n"))
        .collect()
}

#[test]
fn a_dry_run_says_what_a_reload_does_and_does_nothing() {
    let bench = attached();
    bench.write("in0.toml", AFTER);
    bench.write("drop.list", "10.0.0.2\n10.0.0.3\n10.0.0.4\n10.0.0.4\n2001:db8::/32\n");
    let before = kept(&bench);
    assert!(before.len() > 10, "{before:?}");
    let asked = bench.xdpctl(["reload", JUDGED, "--dry-run"]);
    insta::assert_snapshot!(without_maps(&asked.success().stdout), @r#"
    in0: generation 1 stays in force; a reload would change this
      policy default "pass" -> "drop"
      blocklist drop: 2 entries added, 1 entry removed, 5 now
        + 10.0.0.3, 10.0.0.4
        - 10.0.0.1
      rule dns: moved from place 2 to 1
      rule web: destination_port 80 -> [80, 443]
      rule new: added
    "#);
    let object = bench.xdpctl(["reload", "--dry-run", "--json"]).success().json();
    assert_eq!(kept(&bench), before);
    assert_eq!(bench.sample().generation, 1);
    assert_eq!((&object["generation"], &object["dry_run"]), (&json!(1), &json!(true)));
    assert_eq!(object["lists"][0]["added"], json!({"ipv4": 2, "ipv6": 0}));
    assert_eq!(object["lists"][0]["removed"], json!({"ipv4": 1, "ipv6": 0}));
    assert_eq!(object["rules"][1]["settings"][0]["after"], json!([80, 443]));

    let done = bench.xdpctl(["reload", JUDGED, "--json"]).success().json();
    assert_eq!((&done["generation"], &done["dry_run"]), (&json!(2), &json!(false)));
    for key in ["changed", "compared", "policy", "arp", "lists", "rules", "map_bytes"] {
        assert_eq!(done[key], object[key], "{key}");
    }
    // And then there is nothing left to change.
    let asked = bench.xdpctl(["reload", "--dry-run"]);
    insta::assert_snapshot!(asked.success().stdout, @"
    in0: generation 2 stays in force; a reload would change this
      no change: the ruleset is the same
    ");
}

/// The memory that a dry run announces is what the maps take afterwards: for small rulesets, for
/// one that takes more extents and pages of counters, and back.
#[test]
fn what_it_costs_is_what_the_maps_take() {
    let bench = attached();
    let addresses: String = (0..200_000u32)
        .map(|n| format!("{}.{}.{}.7\n", 11 + (n >> 16), n >> 8 & 255, n & 255))
        .collect();
    bench.write("large.list", &addresses);
    let mut large = BEFORE.replace("drop.list", "large.list");
    for number in 0..600 {
        large.push_str(&format!(
            "[[rule]]\nname = \"r{number}\"\nprotocol = {}\naction = \"pass\"\n",
            number % 250
        ));
    }
    let map_bytes =
        || -> Value { bench.xdpctl(["status", "--json"]).statuses()[0]["map_bytes"].clone() };
    let mut sizes = Vec::new();
    for text in [&large, BEFORE, &large, AFTER] {
        bench.write("in0.toml", text);
        let before = map_bytes();
        let asked = bench.xdpctl(["reload", "--dry-run", "--json"]).success().json();
        assert_eq!(asked["map_bytes"]["before"], before);
        let done = bench.xdpctl(["reload", "--json"]).success().json();
        assert_eq!(done["map_bytes"], asked["map_bytes"]);
        assert_eq!(asked["map_bytes"]["after"], map_bytes());
        assert!(asked["map_bytes"]["meanwhile"].as_u64() > before.as_u64(), "{asked}");
        sizes.push(map_bytes().as_u64());
    }
    assert!(sizes[0] > sizes[1], "{sizes:?}");
    assert_eq!(sizes[0], sizes[2]);
}

/// The same of what rulesets need beside their image: limits, blocked sources, what services remember, and what
/// was sent.
#[test]
fn what_it_costs_counts_what_lies_beside_the_image() {
    const LIMITS: &str = "[[rule]]\nname = \"r\"\nover = \"5/s\"\naction = \"drop\"\n";
    const BLOCKS: &str = "[[rule]]\nname = \"b\"\nprotocol = \"udp\"\nover = \"5/s\"\n\
        action = \"block\"\nfor = \"10m\"\n";
    const REPLIES: &str = "[policy]\ndefault = \"drop\"\nreplies = \"pass\"\n";
    let services = |connections: u32| {
        format!(
            "[services]\nseed = \"DFTTgNYuodmggDl6\"\nconnections = {connections}\n\
             [[service]]\nname = \"web\"\naddress = \"192.0.2.10\"\nprotocol = \"tcp\"\nport = 80\n\
             mode = \"l2dsr\"\n[[service.backend]]\naddress = \"10.0.0.9\"\n\
             next_hop = \"02:00:00:00:00:01\"\n"
        )
    };
    let bench = attached();
    let [few, many] = [services(131_072), services(1_048_576)];
    let both = format!("{LIMITS}{BLOCKS}");
    let status = || bench.xdpctl(["status", "--json"]).statuses()[0]["map_bytes"].clone();
    let mut sizes = Vec::new();
    for text in ["", LIMITS, &both, BLOCKS, "", &few, &many, &few, REPLIES, ""] {
        bench.write("in0.toml", text);
        let before = status();
        let asked = bench.xdpctl(["reload", "--dry-run", "--json"]).success().json();
        assert_eq!(asked["map_bytes"]["before"], before, "{text}");
        let done = bench.xdpctl(["reload", "--json"]).success().json();
        assert_eq!(done["map_bytes"], asked["map_bytes"], "{text}");
        let after = status();
        assert_eq!(asked["map_bytes"]["after"], after, "{text}");
        let most = before.as_u64().max(after.as_u64());
        assert!(asked["map_bytes"]["meanwhile"].as_u64() >= most, "{text}: {asked}");
        sizes.push(after.as_u64());
    }
    let [empty, limits, both, blocks, gone, few, many, few_again, replies, end] = sizes[..] else {
        panic!("{sizes:?}")
    };
    assert!(empty < limits && limits < both && blocks == both, "{sizes:?}");
    assert!(few < many && few == few_again && empty < replies, "{sizes:?}");
    assert_eq!([gone, end], [empty; 2], "{sizes:?}");
}

#[test]
fn each_interface_is_told_of() {
    let bench = attached();
    let other = bench.write("out0.toml", "");
    bench.xdpctl(["attach", "out0", "-c", other.to_str().expect("UTF-8")]).success();
    bench.write("out0.toml", "[arp]\naction = 'drop'\n");
    let both = bench.xdpctl(["reload"]);
    insta::assert_snapshot!(without_maps(&both.success().stdout), @r#"
    reloaded in0, generation 2
      no change: the ruleset is the same
    reloaded out0, generation 2
      arp action "pass" -> "drop"
    "#);
    let lines = bench.xdpctl(["reload", "--dry-run", "--json"]).success().stdout.clone();
    let objects: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(objects.iter().map(|object| &object["changed"]).collect::<Vec<_>>(), [false, false]);
}

/// Whoever cleans up /run removes the kept ruleset, but not the names and the numbers, which are in
/// the kernel.
#[test]
fn without_the_kept_ruleset_numbers_are_told() {
    let bench = attached();
    let removed = kept(&bench).into_iter().filter(|(path, _)| path.ends_with("ruleset-1"));
    assert_eq!(removed.map(|(path, _)| fs::remove_file(path).expect("removed")).count(), 1);
    bench.write("in0.toml", AFTER);
    bench.write("drop.list", "10.0.0.2\n10.0.0.3\n10.0.0.4\n");
    let said = bench.xdpctl(["reload", "--dry-run"]);
    insta::assert_snapshot!(without_maps(&said.success().stdout), @"
    in0: generation 1 stays in force; a reload would change this
      blocklist drop: 4 entries before, 4 now
      rule dns: moved from place 2 to 1
      rule new: added
      the ruleset before is not kept any more: only names and numbers could be compared
    ");
    bench.xdpctl(["reload"]).success();
    let again = bench.xdpctl(["reload"]);
    assert!(again.success().stdout.contains("no change: the ruleset is the same"), "{again:?}");
}

/// A damaged kept ruleset is reported, and does not stop the reload that writes it anew.
#[test]
fn a_damaged_kept_ruleset_stops_no_reload() {
    let bench = attached();
    let damaged = kept(&bench).into_iter().find(|(path, _)| path.ends_with("ruleset-1"));
    let path = damaged.expect("a kept ruleset").0;
    let mut bytes = fs::read(&path).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).expect("written");
    let said = bench.xdpctl(["reload"]);
    assert!(said.success().stderr.contains("it is damaged"), "{}", said.stderr);
    let again = bench.xdpctl(["reload"]);
    assert_eq!(again.success().stderr, "");
}

#[test]
fn a_dry_run_finds_what_a_reload_would_find() {
    let bench = attached();
    let before = kept(&bench);
    bench.write("in0.toml", "[policy]\ndefault = 'dorp'\n");
    let wrong = bench.xdpctl(["reload", "--dry-run"]);
    assert!(wrong.expect_status(2).stderr.contains("in0.toml:2:11"), "{}", wrong.stderr);
    bench.write("in0.toml", "[[rule]]\nname = 'r'\naction = 'redirect'\nto = 'nowhere0'\n");
    let missing = bench.xdpctl(["reload", "--dry-run"]);
    assert!(missing.expect_status(1).stderr.contains("nowhere0"), "{}", missing.stderr);
    let nobody = bench.xdpctl(["reload", "out0", "--dry-run"]);
    nobody.expect_status(1);
    assert_eq!(kept(&bench), before);
}

/// The exit status of `status`, and the problems that it reports.
fn problems(bench: &Bench) -> (i32, Vec<String>) {
    let said = bench.xdpctl(["status", "--json"]);
    let problems = said.json()[0]["problems"].clone();
    let text = bench.xdpctl(["status", JUDGED]);
    assert_eq!(text.status, said.status, "as text and as JSON");
    for problem in problems.as_array().expect("an array") {
        assert!(text.stdout.contains(problem.as_str().expect("a string")), "{}", text.stdout);
    }
    (said.status, serde_json::from_value(problems).expect("strings"))
}

#[test]
fn status_tells_what_changed_since_it_was_loaded() {
    let bench = attached();
    let directory = bench.directory().display().to_string();
    let (configuration, list) = (format!("{directory}/in0.toml"), format!("{directory}/drop.list"));
    assert_eq!(problems(&bench), (0, Vec::new()));
    // Touched, and written anew with the same text.
    let text = fs::read_to_string(&list).expect("a list");
    bench.write("other", &text);
    fs::rename(bench.directory().join("other"), &list).expect("renamed");
    assert_eq!(problems(&bench), (0, Vec::new()));

    bench.write("drop.list", &text.replace("10.0.0.1", "10.0.0.9"));
    let changed = |file: &str| {
        format!(
            "{file} changed since it was loaded: `xdpctl reload in0` puts it in force, `--dry-run` says \
             what that changes"
        )
    };
    assert_eq!(problems(&bench), (1, vec![changed(&list)]));
    bench.xdpctl(["reload"]).success();
    assert_eq!(problems(&bench), (0, Vec::new()));

    bench.write("in0.toml", AFTER);
    assert_eq!(problems(&bench), (1, vec![changed(&configuration)]));
    fs::remove_file(&list).expect("removed");
    let (status, all) = problems(&bench);
    assert_eq!((status, &all[..1]), (1, &[changed(&configuration)][..]));
    assert_eq!(all.len(), 2);
    assert!(
        all[1].starts_with(&format!("{list} cannot be read any more: No such file")),
        "{}",
        all[1]
    );

    // A file that was given once is the one that is in force.
    let other = bench.write("once.toml", "");
    bench.xdpctl(["reload", JUDGED, "-c", other.to_str().expect("UTF-8")]).success();
    assert_eq!(problems(&bench), (0, Vec::new()));
}

#[test]
fn status_tells_that_the_ruleset_is_not_kept() {
    let bench = attached();
    let (path, _) =
        kept(&bench).into_iter().find(|(path, _)| path.ends_with("ruleset-1")).expect("kept");
    // With this version's mark.
    let mark = fs::read(&path).expect("kept")[..8].to_vec();
    fs::write(&path, [&mark[..], b"nonsense"].concat()).expect("written");
    let (status, all) = problems(&bench);
    assert_eq!((status, all.len()), (1, 1), "{all:?}");
    assert!(
        all[0].ends_with("it is damaged (its checksum is another): `xdpctl reload` writes it anew"),
        "{all:?}"
    );
    fs::remove_file(&path).expect("removed");
    let (status, all) = problems(&bench);
    assert_eq!((status, all.len()), (1, 1), "{all:?}");
    assert!(all[0].contains("is not kept under /run/xdpctl any more"), "{all:?}");
    bench.xdpctl(["reload"]).success();
    assert_eq!(problems(&bench), (0, Vec::new()));
}

/// A shown ruleset without its comments, which say where it is in force and where it came from.
fn shown(bench: &Bench, interface: &str) -> String {
    let said = bench.xdpctl(["show", interface]);
    assert_eq!(said.stderr, "");
    said.success()
        .stdout
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| format!("{line}\n"))
        .collect()
}

#[test]
fn what_is_shown_is_in_force_and_loads_again() {
    let bench = attached();
    // The files may be removed: what is in force is still shown.
    fs::remove_file(bench.directory().join("drop.list")).expect("removed");
    let said = bench.xdpctl(["show"]).success().stdout.clone();
    assert!(said.contains("# 3 IPv4 and 1 IPv6 prefixes: 1 from /"), "{said}");
    assert!(
        said.contains("/drop.list\nprefixes = [\n    \"10.0.0.1\",\n    \"10.0.0.2\",\n"),
        "{said}"
    );
    let file = bench.write("shown.toml", &said);
    let file = file.to_str().expect("UTF-8");
    assert_eq!(bench.xdpctl(["check", file]).success().stderr, "");
    bench.xdpctl(["attach", "out0", "-c", file, "--mode", "native"]).success();
    assert_eq!(shown(&bench, "out0"), shown(&bench, JUDGED));
    let again =
        bench.xdpctl(["reload", JUDGED, "-c", file, "--dry-run", "--json"]).success().json();
    assert_eq!(again["changed"], false, "{again}");

    // And both rulesets judge alike.
    for [source, destination, protocol, port] in [
        ["10.0.0.2", "192.0.2.1", "udp", "53"],
        ["2001:db8::9", "2001:db8:1::1", "tcp", "1"],
        ["203.0.113.7", "192.0.2.1", "tcp", "1"],
        ["192.0.2.9", "192.0.2.1", "tcp", "80"],
        ["192.0.2.9", "192.0.2.1", "udp", "53"],
        ["192.0.2.9", "192.0.2.1", "udp", "54"],
    ] {
        let explained = |interface| {
            let args = [
                "explain",
                interface,
                "--source",
                source,
                "--destination",
                destination,
                "--protocol",
                protocol,
                "--destination-port",
                port,
                "--json",
            ];
            let object = bench.xdpctl(args).success().json();
            ["verdict", "reason", "rule", "entry"].map(|key| object[key].clone())
        };
        assert_eq!(explained(JUDGED), explained("out0"), "{source} {port}");
    }

    let objects = bench.xdpctl(["show", "--json"]).success().json();
    let names: Vec<_> =
        objects.as_array().expect("an array").iter().map(|it| &it["interface"]).collect();
    assert_eq!(names, [JUDGED, "out0"]);
    assert_eq!(objects[0]["blocklists"][0]["entries"], json!({"ipv4": 3, "ipv6": 1}));
    let terse = bench.xdpctl(["show", JUDGED, "--terse"]).success().stdout.clone();
    assert!(terse.contains("drop.list\"]\n") && !terse.contains("\"10.0.0.1\""), "{terse}");
}

#[test]
fn what_is_not_kept_cannot_be_shown() {
    let bench = attached();
    let (path, _) =
        kept(&bench).into_iter().find(|(path, _)| path.ends_with("ruleset-1")).expect("kept");
    fs::remove_file(&path).expect("removed");
    let said = bench.xdpctl(["show"]);
    assert!(
        said.expect_status(1).stderr.contains("hint: `xdpctl reload in0` keeps it again"),
        "{}",
        said.stderr
    );
    let nobody = bench.xdpctl(["show", "out0"]);
    assert!(nobody.expect_status(1).stderr.contains("not attached to out0"), "{}", nobody.stderr);
}
