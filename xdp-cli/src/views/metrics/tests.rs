//! A scrape with constructed counters, written in both formats; and what contrib/ reads of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use xdp_common::lookup::services::State as BackendState;
use xdp_common::stats::counter::{CELLS, Counter, Matrix};
use xdp_common::stats::verdict::{Reason, Verdict};

use super::*;
use crate::served::{BackendInKernel, SaidBy};
use crate::views::stats::CountedSample;

fn counter(packets: u64) -> Counter {
    Counter { packets, bytes: packets * 100 }
}

fn counted(name: &str, kind: Kind, action: &str, packets: u64) -> CountedSample {
    let lost = (action == "redirect").then(|| counter(1));
    CountedSample {
        name: name.to_owned(),
        kind,
        action: action.to_owned(),
        counter: counter(packets),
        lost,
        under: (name == "limited").then(|| counter(2)),
    }
}

/// An interface of which everything is known, with the kernel measuring its program.
fn everything() -> Interface {
    let mut matrix = Matrix { cells: [Counter::default(); CELLS] };
    matrix.cells[Matrix::cell(Verdict::Pass, Reason::Default)] = counter(9);
    matrix.cells[Matrix::cell(Verdict::Drop, Reason::Blocklist)] = counter(u64::MAX / 100);
    let counters = Sample {
        interface: "eth0".into(),
        ifindex: 2,
        gone: false,
        bypass: false,
        mode: Mode::Native,
        generation: 3,
        time: UNIX_EPOCH,
        matrix,
        unreadable: Default::default(),
        counted: vec![
            counted("bad", Kind::Blocklist, "drop", 7),
            counted("mirror", Kind::Rule, "redirect", 2),
        ],
        redirects: Vec::new(),
    };
    let ruleset = InForce {
        generation: 3,
        attached_at: UNIX_EPOCH + Duration::from_millis(1_769_860_800_250),
        loaded_at: UNIX_EPOCH + Duration::from_secs(1_769_860_900),
        entries: EntryCounts {
            ipv4: 4,
            ipv6: 1,
            domains: 0,
            rules: 1,
            bans: 2,
            services: 0,
            backends: 0,
        },
        lists: vec![List {
            name: "bad".into(),
            kind: Kind::Blocklist,
            entries: EntryCount { ipv4: 4, ipv6: 1, names: 0 },
        }],
    };
    let state = State {
        mode: Mode::Native,
        link: Link::Up,
        is_on: true,
        bypass: false,
        problems: 0,
        map_bytes: 6 << 20,
        ruleset: Some(ruleset),
        runs: Some(Runs { count: 12, seconds: 0.25 }),
    };
    Interface {
        name: "eth0".into(),
        is_readable: true,
        state: Some(state),
        counters: Some(counters),
        services: vec![service()],
    }
}

/// A service with a backend that is up and one that drains.
fn service() -> InKernel {
    let backend = |name: &str, state, packets| BackendInKernel {
        name: name.to_owned(),
        counter: counter(packets),
        state,
        by: SaidBy::File,
        left: None,
        check: None,
        places: 125,
        connections: packets / 10,
    };
    InKernel {
        name: "web".to_owned(),
        mode: "nat".to_owned(),
        counter: counter(70),
        losses: std::array::from_fn(|at| counter(at as u64)),
        places: 251,
        changed_places: 4,
        panics: false,
        watches: true,
        backends: vec![backend("b1", BackendState::Up, 50), backend("b2", BackendState::Drain, 20)],
    }
}

fn scrape() -> Scrape {
    let unreadable = Interface {
        name: "eth1".into(),
        is_readable: false,
        state: None,
        counters: None,
        services: Vec::new(),
    };
    Scrape { interfaces: vec![everything(), unreadable], errors: Some(1) }
}

/// The lines that are about the names that have that beginning.
fn about(text: &str, name: &str) -> String {
    text.lines().filter(|line| line.contains(name)).map(|line| format!("{line}\n")).collect()
}

#[test]
fn both_formats_have_the_same_samples() {
    let prometheus = write(scrape(), Format::Prometheus).unwrap();
    let open = write(scrape(), Format::OpenMetrics).unwrap();
    let samples = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    };
    assert_eq!(samples(&prometheus), samples(&open));
    assert!(open.ends_with("\n# EOF\n"));
    assert!(!prometheus.contains("EOF"));
    insta::assert_snapshot!(about(&open, "xdpctl_packets"), @r#"
    # HELP xdpctl_packets Packets that the program saw since it was attached, by what became of them.
    # TYPE xdpctl_packets counter
    xdpctl_packets_total{interface="eth0",verdict="pass"} 9
    xdpctl_packets_total{interface="eth0",verdict="drop"} 184467440737095516
    xdpctl_packets_total{interface="eth0",verdict="tx"} 0
    xdpctl_packets_total{interface="eth0",verdict="redirect"} 0
    xdpctl_packets_total{interface="eth0",verdict="aborted"} 0
    "#);
    insta::assert_snapshot!(about(&prometheus, "xdpctl_packets"), @r#"
    # HELP xdpctl_packets_total Packets that the program saw since it was attached, by what became of them.
    # TYPE xdpctl_packets_total counter
    xdpctl_packets_total{interface="eth0",verdict="pass"} 9
    xdpctl_packets_total{interface="eth0",verdict="drop"} 184467440737095516
    xdpctl_packets_total{interface="eth0",verdict="tx"} 0
    xdpctl_packets_total{interface="eth0",verdict="redirect"} 0
    xdpctl_packets_total{interface="eth0",verdict="aborted"} 0
    "#);
}

#[test]
fn every_sample() {
    let text = write(scrape(), Format::Prometheus).unwrap();
    // Which reasons there are, and which version this is, says something else.
    let elsewhere = ["#", "xdpctl_reason_", "xdpctl_build_info"];
    let told = |line: &&str| !elsewhere.iter().any(|beginning| line.starts_with(beginning));
    let samples: Vec<&str> = text.lines().filter(told).collect();
    insta::assert_snapshot!(samples.join("\n"));
}

/// A time series for each set of labels: two alike, and Prometheus takes none of the scrape.
#[test]
fn no_sample_is_there_twice() {
    let text = write(scrape(), Format::OpenMetrics).unwrap();
    let mut seen = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        assert!(seen.insert(series), "{series}");
    }
}

#[test]
fn names_in_labels_are_escaped() {
    let mut named = everything();
    named.name = "a\"b\\c".into();
    let text = write(Scrape { interfaces: vec![named], errors: None }, Format::Prometheus).unwrap();
    assert!(text.contains(r#"xdpctl_bypass{interface="a\"b\\c"} 0"#), "{text}");
    assert!(!text.contains("xdpctl_scrape_errors"), "{text}");
}

#[test]
fn without_an_interface_there_is_still_something() {
    for format in [Format::Prometheus, Format::OpenMetrics] {
        let text = write(Scrape { interfaces: Vec::new(), errors: Some(0) }, format).unwrap();
        assert!(text.contains("xdpctl_scrape_errors_total 0\n"), "{text}");
        assert!(text.contains("xdpctl_build_info{version="), "{text}");
        assert!(!text.contains("xdpctl_packets"), "{text}");
    }
}

/// The words that begin with `xdpctl_` in a file of contrib/.
fn words(path: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib").join(path);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let words =
        text.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'));
    words.filter(|word| word.starts_with("xdpctl_")).map(str::to_owned).collect()
}

#[test]
fn dashboard_and_alerts_read_what_there_is() {
    let text = write(scrape(), Format::Prometheus).unwrap();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let there: BTreeSet<&str> = samples.filter_map(|line| line.split(['{', ' ']).next()).collect();
    for file in ["grafana/xdpctl.json", "prometheus/xdpctl.rules.yml"] {
        let words = words(file);
        assert!(words.len() >= 4, "{file}: {words:?}");
        let unknown: Vec<&String> =
            words.iter().filter(|word| !there.contains(word.as_str())).collect();
        assert_eq!(unknown, Vec::<&String>::new(), "{file}");
    }
}

#[test]
fn the_dashboard_is_whole() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib/grafana/xdpctl.json");
    let dashboard: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{title}");
        for target in targets {
            let expr = target["expr"].as_str().unwrap();
            assert!(expr.contains("$interface"), "{title}: {expr}");
        }
        // Within 24 columns.
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24 && at("h") > 0, "{title}");
    }
}
