//! Events, printed.

use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::config::prefix::parse;
use crate::event::{Actor, Changes, Event, Link, Target, Unconfirmed, What};
use crate::views::entries::Kind;

fn event(what: What) -> Event {
    Event {
        time: UNIX_EPOCH + Duration::from_millis(1_769_860_800_250),
        interface: Some("eth0".into()),
        ifindex: Some(2),
        what,
        by: Some(Actor {
            user: "alice".into(),
            uid: Some(1000),
            pid: 77,
            command: "xdpctl reload".into(),
        }),
        namespace: Some("host".into()),
    }
}

/// One of each kind, and what it looks like in several forms.
fn all() -> Vec<What> {
    let prefixes =
        |texts: &[&str]| texts.iter().map(|text| parse(text).unwrap().prefix).collect::<Vec<_>>();
    let config = || "/etc/xdpctl/eth0.toml".to_owned();
    let attach = |replaced, confirm_seconds, restored| What::Attach {
        mode: "native".into(),
        generation: 1,
        config: config(),
        replaced,
        confirm_seconds,
        restored,
    };
    let lines = |count: usize| {
        let lines: Vec<String> = (1..=count).map(|nth| format!("rule r{nth}: added")).collect();
        Changes::of(&lines)
    };
    let reload = |count| What::Reload {
        generation: 2,
        config: config(),
        changes: lines(count),
        confirm_seconds: (count == 1).then_some(30),
    };
    let four = prefixes(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "2001:db8::/32"]);
    let one = &four[..1];
    let link = |link| What::Link { link, from: None };
    let target =
        |target| What::Target { to: "out0".into(), target, rules: vec!["a".into(), "b".into()] };
    vec![
        attach(false, None, 0),
        attach(false, Some(30), 1),
        attach(true, None, 1204),
        reload(0),
        reload(1),
        reload(5),
        What::Detach { moved: false },
        What::Detach { moved: true },
        What::Confirm { generation: None },
        What::Confirm { generation: Some(2) },
        What::Rollback { why: Unconfirmed::Timeout, generation: None },
        What::Rollback { why: Unconfirmed::Stopped, generation: Some(1) },
        What::set(Kind::Block, "sshd", Some(600), Some("5 \"times\""), one),
        What::set(Kind::Allow, "cli", None, None, &four),
        What::unset(None, one),
        What::unset(Some("sshd"), &four),
        What::Ended {
            kind: Kind::Block,
            owner: "sshd".into(),
            prefix: "10.0.0.1/32".into(),
            note: None,
        },
        What::Bypass { on: true },
        What::Bypass { on: false },
        link(Link::Up),
        link(Link::Down),
        link(Link::Gone),
        link(Link::Moved),
        link(Link::Stripped),
        What::Link { link: Link::Renamed, from: Some("wan0".into()) },
        target(Target::Up),
        target(Target::Down),
        target(Target::Gone),
        target(Target::Back),
    ]
}

fn lines(events: &[Event]) -> String {
    let mut out = Vec::new();
    events.iter().for_each(|event| text::write(&mut out, event).unwrap());
    String::from_utf8(out).unwrap()
}

#[test]
fn every_event_is_a_line() {
    let events: Vec<Event> = all()
        .into_iter()
        .map(|what| match what.is_done() {
            true => event(what),
            false => Event { by: None, ..event(what) },
        })
        .collect();
    let text = lines(&events).replace("2026-01-31T12:00:00.250Z ", "");
    insta::assert_snapshot!(text, @r#"
    eth0: attached in native mode, generation 1, from /etc/xdpctl/eth0.toml, by alice (xdpctl reload, process 77)
    eth0: attached in native mode, generation 1, from /etc/xdpctl/eth0.toml, 1 run-time entry put back, to be confirmed within 30s, by alice (xdpctl reload, process 77)
    eth0: program replaced in native mode, generation 1, from /etc/xdpctl/eth0.toml, 1,204 run-time entries put back, by alice (xdpctl reload, process 77)
    eth0: reloaded from /etc/xdpctl/eth0.toml, generation 2, by alice (xdpctl reload, process 77)
    eth0: reloaded from /etc/xdpctl/eth0.toml, generation 2, to be confirmed within 30s [rule r1: added], by alice (xdpctl reload, process 77)
    eth0: reloaded from /etc/xdpctl/eth0.toml, generation 2 [rule r1: added | rule r2: added | rule r3: added | rule r4: added | 1 more change], by alice (xdpctl reload, process 77)
    eth0: detached, by alice (xdpctl reload, process 77)
    eth0: detached, in another network namespace, by alice (xdpctl reload, process 77)
    eth0: confirmed, it stays attached, by alice (xdpctl reload, process 77)
    eth0: confirmed, generation 2 stays in force, by alice (xdpctl reload, process 77)
    eth0: not confirmed in time, detached again
    eth0: stopped before it was confirmed, generation 1 is in force again
    eth0: blocked 10.0.0.1/32 for 10m (owner sshd, note "5 "times""), by alice (xdpctl reload, process 77)
    eth0: allowed 4 prefixes, 10.0.0.1/32, 10.0.0.2/32, 10.0.0.3/32 and 1 more (owner cli), by alice (xdpctl reload, process 77)
    eth0: unblocked 10.0.0.1/32, by alice (xdpctl reload, process 77)
    eth0: unblocked 4 prefixes, 10.0.0.1/32, 10.0.0.2/32, 10.0.0.3/32 and 1 more (owner sshd), by alice (xdpctl reload, process 77)
    eth0: block of 10.0.0.1/32 ended (owner sshd)
    eth0: bypass on, everything passes, by alice (xdpctl reload, process 77)
    eth0: bypass off, the ruleset judges again, by alice (xdpctl reload, process 77)
    eth0: link up
    eth0: link down
    eth0: the interface is gone
    eth0: the interface was moved to another network namespace, and is filtered still
    eth0: the program was taken off by other means than xdpctl: nothing is filtered
    eth0: renamed, it was wan0
    eth0: redirect target out0 is up again
    eth0: redirect target out0 is down: what rule "a", "b" sends there is dropped
    eth0: redirect target out0 is gone: what rule "a", "b" sends there is dropped
    eth0: redirect target out0 is back: a reload has rule "a", "b" send there again
    "#);
    let first = lines(&events[..1]);
    assert!(first.starts_with("2026-01-31T12:00:00.250Z eth0: attached in native mode"), "{first}");
}

#[test]
fn who_did_not_say_so_is_not_made_up() {
    let unsaid = |what| Event { by: None, ..event(what) };
    let events = [
        unsaid(What::Bypass { on: true }),
        unsaid(What::Rollback { why: Unconfirmed::Killed, generation: None }),
        Event {
            interface: None,
            ifindex: None,
            ..event(What::Sweep {
                interfaces: vec!["in0".into(), "in1".into()],
                map_bytes: 3 << 20,
            })
        },
    ];
    insta::assert_snapshot!(lines(&events), @"
    2026-01-31T12:00:00.250Z eth0: bypass on, everything passes, by a command that did not say so
    2026-01-31T12:00:00.250Z eth0: killed before it was confirmed, detached again
    2026-01-31T12:00:00.250Z removed what was left of a network namespace that no longer exists (in0, in1; 3.00 MiB of maps), by alice (xdpctl reload, process 77)
    ");
}

#[test]
fn nothing_that_steers_a_terminal_is_left() {
    let steering = "a\u{1b}[2J\n\u{202e}b";
    let what = What::Set {
        kind: Kind::Block,
        owner: steering.into(),
        for_seconds: None,
        note: Some(steering.into()),
        count: 1,
        prefixes: vec![steering.into()],
    };
    let by = Some(Actor { user: steering.into(), uid: None, pid: 1, command: steering.into() });
    let told = lines(&[Event { interface: Some(steering.into()), by, ..event(what) }]);
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(!told.trim_end().chars().any(crate::notation::steers), "{told:?}");
}

#[test]
fn every_event_is_an_object() {
    for what in all() {
        let event = event(what);
        let mut out = Vec::new();
        json::write(&mut out, &event).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["event"], event.what.name(), "{value}");
        assert_eq!(serde_json::from_slice::<Event>(&out).unwrap(), event);
    }
    let link = Event { by: None, ..event(What::Link { link: Link::Down, from: None }) };
    let mut out = Vec::new();
    json::write(&mut out, &link).unwrap();
    insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r#"{"time":"2026-01-31T12:00:00.250Z","interface":"eth0","ifindex":2,"event":"link","link":"down","from":null,"by":null,"namespace":"host"}"#);
}

#[test]
fn the_journal_has_fields() {
    let prefixes = ["10.0.0.1", "10.0.0.2"].map(|text| parse(text).unwrap().prefix);
    let set = event(What::set(Kind::Block, "sshd", Some(600), Some("5 times"), &prefixes));
    let shown = |event: &Event| {
        let fields = journal::fields(event).into_iter();
        fields.map(|(name, value)| format!("{name}={value}\n")).collect::<String>()
    };
    insta::assert_snapshot!(shown(&set), @r#"
    MESSAGE=eth0: blocked 2 prefixes, 10.0.0.1/32, 10.0.0.2/32 for 10m (owner sshd, note "5 times"), by alice (xdpctl reload, process 77)
    MESSAGE_ID=424c0c7d7c10443c851e0904826bcbc4
    PRIORITY=6
    SYSLOG_IDENTIFIER=xdpctl
    XDPCTL_EVENT=set
    XDPCTL_INTERFACE=eth0
    XDPCTL_IFINDEX=2
    XDPCTL_NAMESPACE=host
    XDPCTL_USER=alice
    XDPCTL_UID=1000
    XDPCTL_COMMAND=xdpctl reload
    XDPCTL_KIND=block
    XDPCTL_OWNER=sshd
    XDPCTL_FOR_SECONDS=600
    XDPCTL_NOTE=5 times
    XDPCTL_COUNT=2
    XDPCTL_PREFIX=10.0.0.1/32
    XDPCTL_PREFIX=10.0.0.2/32
    "#);
    let changes = Changes::of(&["rule a: added".to_owned(), "rule b: removed".to_owned()]);
    let reload =
        What::Reload { generation: 7, config: "/a.toml".into(), changes, confirm_seconds: None };
    let elsewhere = Event { namespace: Some("netns-blue".into()), ..event(reload) };
    insta::assert_snapshot!(shown(&elsewhere), @"
    MESSAGE=eth0: reloaded from /a.toml, generation 7 [rule a: added | rule b: removed], by alice (xdpctl reload, process 77), in network namespace netns-blue
    MESSAGE_ID=18268ac196d54ea989f648dbf00b0341
    PRIORITY=5
    SYSLOG_IDENTIFIER=xdpctl
    XDPCTL_EVENT=reload
    XDPCTL_INTERFACE=eth0
    XDPCTL_IFINDEX=2
    XDPCTL_NAMESPACE=netns-blue
    XDPCTL_USER=alice
    XDPCTL_UID=1000
    XDPCTL_COMMAND=xdpctl reload
    XDPCTL_GENERATION=7
    XDPCTL_CONFIG=/a.toml
    XDPCTL_CHANGE=rule a: added
    XDPCTL_CHANGE=rule b: removed
    ");
}

#[test]
fn kinds_have_numbers_of_their_own() {
    let id = |what: What| {
        let fields = journal::fields(&event(what));
        let mut ids = fields.into_iter().filter(|(name, _)| *name == "MESSAGE_ID");
        ids.next().unwrap().1
    };
    let mut kinds: Vec<(&str, String)> =
        all().into_iter().map(|what| (what.name(), id(what))).collect();
    kinds.sort();
    kinds.dedup();
    let mut ids: Vec<&String> = kinds.iter().map(|(_, id)| id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), kinds.len(), "{kinds:?}");
    assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|it| it.is_ascii_hexdigit())));
}
