//! Status of constructed interfaces, printed.

use std::time::{Duration, UNIX_EPOCH};

use super::*;

fn well() -> Status {
    Status {
        interface: "eth0".into(),
        ifindex: 2,
        mode: Mode::Native,
        link: Link::Up,
        generation: 3,
        config: "/etc/xdpctl/eth0.toml".into(),
        loaded_at: UNIX_EPOCH + Duration::from_millis(1_769_860_800_250),
        uptime_seconds: 93_784,
        program_id: 42,
        entries: EntryCounts {
            ipv4: 1_204,
            ipv6: 1,
            domains: 0,
            rules: 1,
            bans: 2,
            services: 0,
            backends: 0,
        },
        map_bytes: 12 << 20,
        bypass: false,
        problems: Vec::new(),
        attached_as: None,
        loaded_from: None,
        redirects: Vec::new(),
        replies: None,
    }
}

fn unwell() -> Status {
    Status {
        interface: "wan\u{1b}[2J".into(),
        mode: Mode::Generic,
        link: Link::Gone,
        uptime_seconds: 0,
        map_bytes: u64::MAX,
        bypass: true,
        problems: vec!["eth9 is missing".into(), "another program is attached".into()],
        attached_as: Some("eth7".into()),
        loaded_from: Some("/root/trial.toml".into()),
        replies: Some(Replies {
            by: "sockets",
            sent: None,
            udp_ports: vec![(32_768, 39_999), (40_001, 60_999)],
        }),
        redirects: vec![
            Redirect {
                to: "eth1".into(),
                ifindex: Some(3),
                rules: vec!["to-ids".into(), "mirror".into()],
                pass_program: true,
            },
            Redirect {
                to: "eth9".into(),
                ifindex: None,
                rules: vec!["to-none".into()],
                pass_program: false,
            },
        ],
        ..well()
    }
}

fn text(all: &[Status], colours: bool) -> String {
    let mut out = Vec::new();
    text::write(&mut out, all, colours).unwrap();
    String::from_utf8(out).unwrap()
}

fn json(all: &[Status]) -> String {
    let mut out = Vec::new();
    json::write(&mut out, all).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn as_lines() {
    insta::assert_snapshot!(text(&[well(), unwell()], false));
}

#[test]
fn only_what_is_wrong_is_red() {
    let red = red_lines(&text(&[unwell()], true));
    insta::assert_snapshot!(red, @r"
    \u{1b}[1m\u{1b}[31m! link:         gone\u{1b}[0m
    \u{1b}[1m\u{1b}[31m! redirect:     eth9 (missing): to-none\u{1b}[0m
    \u{1b}[1m\u{1b}[31m! bypass:       on, everything passes\u{1b}[0m
    \u{1b}[1m\u{1b}[31m! problem:      eth9 is missing\u{1b}[0m
    \u{1b}[1m\u{1b}[31m! problem:      another program is attached\u{1b}[0m
    ");
    assert!(red_lines(&text(&[well()], true)).is_empty());
}

fn red_lines(text: &str) -> String {
    let red = |line: &&str| line.contains("\u{1b}[31m");
    text.lines().filter(red).map(|line| line.escape_debug().to_string() + "\n").collect()
}

#[test]
fn as_json() {
    insta::assert_snapshot!(json(&[well()]), @r#"[{"interface":"eth0","ifindex":2,"mode":"native","link":"up","generation":3,"config":"/etc/xdpctl/eth0.toml","loaded_at":"2026-01-31T12:00:00.250Z","uptime_seconds":93784,"program_id":42,"entries":{"ipv4":1204,"ipv6":1,"domains":0,"rules":1,"bans":2,"services":0,"backends":0},"map_bytes":12582912,"bypass":false,"problems":[],"redirects":[]}]"#);
    insta::assert_snapshot!(json(&[unwell()]), @r#"[{"interface":"wan\u001b[2J","ifindex":2,"mode":"generic","link":"gone","generation":3,"config":"/etc/xdpctl/eth0.toml","loaded_at":"2026-01-31T12:00:00.250Z","uptime_seconds":0,"program_id":42,"entries":{"ipv4":1204,"ipv6":1,"domains":0,"rules":1,"bans":2,"services":0,"backends":0},"map_bytes":18446744073709551615,"bypass":true,"problems":["eth9 is missing","another program is attached"],"attached_as":"eth7","loaded_from":"/root/trial.toml","redirects":[{"to":"eth1","ifindex":3,"rules":["to-ids","mirror"],"pass_program":true},{"to":"eth9","ifindex":null,"rules":["to-none"],"pass_program":false}],"replies":{"by":"sockets","sent":null,"udp_ports":[[32768,39999],[40001,60999]]}}]"#);
}

#[test]
fn nothing_attached() {
    assert_eq!(text(&[], false), "no interface is attached\n");
    assert_eq!(json(&[]), "[]\n");
}
