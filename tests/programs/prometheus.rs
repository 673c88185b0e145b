//! Prometheus' own promtool reads what `metrics` gives, and the alerts in contrib/.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::lab::bench::Bench;
use crate::lab::frame::udp4;
use crate::lab::{Background, Output};

/// Where scripts/setup unpacks it: the package would start a Prometheus.
fn promtool() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/programs/usr/bin/promtool");
    assert!(path.exists(), "{}: `scripts/setup --programs` unpacks it there", path.display());
    path
}

fn run(mut command: Command) -> Output {
    command.stdin(Stdio::null());
    Background::start(command).wait(Duration::from_secs(120)).expect("it ends")
}

fn check_metrics(text: &str) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("metrics");
    fs::write(&file, text).expect("written");
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" check metrics <\"$1\""]).arg(promtool()).arg(file);
    run(command)
}

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn promtool_finds_nothing_wrong_with_the_metrics() {
    let mut bench = Bench::new();
    let path = bench.directory().join("xdpctl.prom");
    let written = |bench: &Bench| {
        bench.xdpctl([Path::new("metrics"), Path::new("--textfile"), &path]).success();
        fs::read_to_string(&path).expect("UTF-8")
    };
    let nothing = check_metrics(&written(&bench));
    assert_eq!((nothing.success().stdout.as_str(), nothing.stderr.as_str()), ("", ""));

    bench.attach(
        "[[blocklist]]\nname = \"bad\"\nprefixes = [\"10.1.0.0/16\", \"2001:db8::/32\"]\n\
         [[rule]]\nname = \"mirror\"\nprotocol = \"icmp\"\naction = \"redirect\"\nto = \"out0\"\n",
    );
    bench.port("src0").send(&udp4("10.1.0.1", "192.0.2.1", 1, 1).build());
    bench.await_count(1);
    let text = written(&bench);
    assert!(text.contains("xdpctl_rule_lost_packets_total{"), "{text}");
    let checked = check_metrics(&text);
    assert_eq!((checked.success().stdout.as_str(), checked.stderr.as_str()), ("", ""));
    // It does look.
    let wrong =
        check_metrics(&text.replace("# TYPE xdpctl_packets_total counter", "# TYPE x nothing"));
    assert_ne!(wrong.status, 0, "{wrong:?}");
    let unnamed = check_metrics("a_total 1\n# TYPE b counter\nb 1\n");
    assert_ne!(unnamed.status, 0, "{unnamed:?}");
}

#[test]
#[ignore = "needs what scripts/setup --programs installs"]
fn promtool_reads_the_alerts() {
    let rules =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib/prometheus/xdpctl.rules.yml");
    let mut check = Command::new(promtool());
    check.args(["check", "rules"]).arg(&rules);
    let checked = run(check);
    assert!(checked.success().stdout.contains("SUCCESS: 8 rules found"), "{}", checked.stdout);

    // Each fires where it should, and not where all is well.
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("alerts.yml");
    fs::write(&file, ALERTS.replace("RULES", rules.to_str().expect("UTF-8"))).expect("written");
    let mut test = Command::new(promtool());
    test.args(["test", "rules"]).arg(file);
    let tested = run(test);
    assert!(tested.success().stdout.contains("SUCCESS"), "{}\n{}", tested.stdout, tested.stderr);
}

/// eth0 is well; bad0 has all that can be wrong; gone0 is detached after an hour.
const ALERTS: &str = r#"
rule_files: [RULES]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'up{job="x", instance="h"}', values: '1x200'}
      - {series: 'xdpctl_filtering{job="x", instance="h", interface="eth0"}', values: '1x200'}
      - {series: 'xdpctl_filtering{job="x", instance="h", interface="bad0"}', values: '0x200'}
      - {series: 'xdpctl_filtering{job="x", instance="h", interface="gone0"}', values: '1x60 _x140'}
      - {series: 'xdpctl_bypass{job="x", instance="h", interface="eth0"}', values: '0x200'}
      - {series: 'xdpctl_bypass{job="x", instance="h", interface="bad0"}', values: '1x200'}
      - {series: 'xdpctl_backend_up{job="x", instance="h", interface="eth0", service="web", backend="a"}', values: '0x200'}
      - {series: 'xdpctl_backend_up{job="x", instance="h", interface="eth0", service="web", backend="b"}', values: '1x200'}
      - {series: 'xdpctl_backend_up{job="x", instance="h", interface="bad0", service="web", backend="a"}', values: '0x200'}
      - {series: 'xdpctl_problems{job="x", instance="h", interface="eth0"}', values: '0x200'}
      - {series: 'xdpctl_problems{job="x", instance="h", interface="bad0"}', values: '2x200'}
      - {series: 'xdpctl_scrape_success{job="x", instance="h", interface="eth0"}', values: '1x200'}
      - {series: 'xdpctl_scrape_success{job="x", instance="h", interface="bad0"}', values: '0x200'}
      - {series: 'xdpctl_packets_total{job="x", instance="h", interface="eth0", verdict="aborted"}', values: '0x200'}
      - {series: 'xdpctl_packets_total{job="x", instance="h", interface="bad0", verdict="aborted"}', values: '0+60x200'}
    alert_rule_test:
      - eval_time: 100m
        alertname: XdpctlNotFiltering
        exp_alerts: [{exp_labels: {job: x, instance: h, interface: bad0, severity: critical}, exp_annotations: {summary: 'bad0 of h is not filtered', description: "xdpctl's program is not on the interface any more: somebody took it off by other means, or the interface is gone. `xdpctl status bad0` says which."}}]
      - eval_time: 100m
        alertname: XdpctlDetached
        exp_alerts: [{exp_labels: {job: x, instance: h, interface: gone0, severity: critical}, exp_annotations: {summary: 'gone0 of h was filtered an hour ago and is not now', description: '`xdpctl attach gone0` attaches it again.'}}]
      - eval_time: 100m
        alertname: XdpctlBypass
        exp_alerts: [{exp_labels: {job: x, instance: h, interface: bad0, severity: warning}, exp_annotations: {summary: 'everything passes on bad0 of h', description: 'Bypass is on. `xdpctl bypass bad0 off` has the ruleset judge again.'}}]
      - eval_time: 100m
        alertname: XdpctlServiceDown
        exp_alerts: [{exp_labels: {job: x, instance: h, interface: bad0, service: web, severity: critical}, exp_annotations: {summary: 'no backend of web is up on bad0 of h', description: '`xdpctl services bad0 web` says who found that, or said it, of each backend.'}}]
      - eval_time: 100m
        alertname: XdpctlProblems
        exp_alerts: [{exp_labels: {job: x, instance: h, interface: bad0, severity: warning}, exp_annotations: {summary: '2 problems of xdpctl on bad0 of h', description: '`xdpctl status bad0` names them, and what to do about each.'}}]
      - eval_time: 100m
        alertname: XdpctlUnreadable
        exp_alerts: [{exp_labels: {job: x, instance: h, interface: bad0, severity: warning}, exp_annotations: {summary: 'xdpctl cannot be read on bad0 of h', description: 'The log of `xdpctl metrics` says why, and so does `xdpctl status`.'}}]
      - eval_time: 100m
        alertname: XdpctlPacketsLost
        exp_alerts: [{exp_labels: {job: x, instance: h, interface: bad0, severity: warning}, exp_annotations: {summary: '1 packets a second are lost on bad0 of h', description: '`xdpctl stats bad0` says where, `xdpctl status` what is wrong with the interfaces that rules redirect to.'}}]
      - eval_time: 100m
        alertname: XdpctlListShrank
        exp_alerts: []
  - interval: 1m
    input_series:
      - {series: 'xdpctl_list_entries{job="x", instance="h", interface="eth0", kind="blocklist", name="whole", family="ipv4"}', values: '100x2500'}
      - {series: 'xdpctl_list_entries{job="x", instance="h", interface="eth0", kind="blocklist", name="short", family="ipv4"}', values: '100x1800 3x700'}
    alert_rule_test:
      - eval_time: 40h
        alertname: XdpctlListShrank
        exp_alerts: [{exp_labels: {job: x, instance: h, interface: eth0, kind: blocklist, name: short, severity: warning}, exp_annotations: {summary: 'blocklist short on eth0 of h has less than half the entries of yesterday', description: 'See whether its source failed. `max_shrink` in the configuration refuses such a list.'}}]
"#;
