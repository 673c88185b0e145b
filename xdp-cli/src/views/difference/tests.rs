//! Reloads, printed.

use super::*;
use crate::config::written::Value;
use crate::difference::{EntryChange, Fate, KeyChange, ListChange, Move, RuleChange};
use crate::image::metadata::Kind;
use crate::ruleset::EntryCount;

const MIB: u64 = 1 << 20;

fn reload(difference: Difference) -> Reload {
    Reload {
        interface: "eth0".into(),
        generation: 4,
        dry_run: false,
        difference,
        moved_places: Vec::new(),
        map_bytes: MapBytes { before: 6 * MIB, meanwhile: 8 * MIB, after: 7 * MIB },
    }
}

fn word(word: &str) -> Option<Value> {
    Some(Value::Text(word.to_owned()))
}

fn ports(ports: std::ops::Range<u32>) -> Option<Value> {
    Some(Value::Several(ports.map(Value::Number).collect()))
}

fn count(ipv4: u64, ipv6: u64) -> EntryCount {
    EntryCount { ipv4, ipv6, names: 0 }
}

fn all_kinds() -> Difference {
    let list = |name: &str, fate, before, after| ListChange {
        name: name.into(),
        kind: Kind::Blocklist,
        fate,
        before,
        after,
        entries: Some(EntryChange::default()),
        settings: Vec::new(),
        moved: None,
    };
    Difference {
        policy: vec![KeyChange { key: "default", before: word("pass"), after: word("drop") }],
        arp: vec![KeyChange { key: "allow", before: None, after: word("192.0.2.1") }],
        lists: vec![
            list("new", Fate::Added, count(0, 0), count(1, 0)),
            ListChange {
                entries: Some(EntryChange {
                    added: count(1200, 3),
                    removed: count(1, 0),
                    first_added: vec!["10.0.0.1".into(), "10.0.0.2".into()],
                    first_removed: vec!["192.0.2.0/24".into()],
                }),
                settings: vec![KeyChange {
                    key: "action",
                    before: word("drop"),
                    after: word("count"),
                }],
                moved: Some(Move { from: 1, to: 2 }),
                ..list("drop", Fate::Changed, count(5, 0), count(1204, 3))
            },
            list("old", Fate::Removed, count(7, 0), count(0, 0)),
        ],
        rules: vec![
            RuleChange { name: "web".into(), fate: Fate::Added, settings: Vec::new(), moved: None },
            RuleChange {
                name: "ssh".into(),
                fate: Fate::Changed,
                settings: vec![
                    KeyChange { key: "source", before: None, after: word("10.0.0.0/8") },
                    KeyChange {
                        key: "destination_port",
                        before: Some(Value::Number(22)),
                        after: ports(22..24),
                    },
                    KeyChange { key: "source_port", before: ports(1..40), after: ports(2..50) },
                    KeyChange { key: "vlan", before: ports(1..40), after: None },
                ],
                moved: Some(Move { from: 3, to: 1 }),
            },
            RuleChange {
                name: "old".into(),
                fate: Fate::Removed,
                settings: Vec::new(),
                moved: None,
            },
        ],
        service_settings: Vec::new(),
        services: Vec::new(),
        by_numbers: false,
    }
}

fn text(reload: &Reload) -> String {
    let mut out = Vec::new();
    text::write(&mut out, reload).unwrap();
    String::from_utf8(out).unwrap()
}

fn json(reload: &Reload) -> String {
    let mut out = Vec::new();
    json::write(&mut out, reload).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn every_change_has_a_line() {
    insta::assert_snapshot!(text(&reload(all_kinds())), @r#"
    reloaded eth0, generation 4
      policy default "pass" -> "drop"
      arp allow (not set) -> "192.0.2.1"
      blocklist new: added, with 1 entry
      blocklist drop: 1,203 entries added, 1 entry removed, 1,207 now; action "drop" -> "count"; moved from place 1 to 2
      blocklist old: removed, with 7 entries
      rule web: added
      rule ssh: source (not set) -> "10.0.0.0/8"; destination_port 22 -> [22, 23]; source_port: 10 added, 1 removed, 48 now; vlan (39 values) -> (not set); moved from place 3 to 1
      rule old: removed
      maps: 6.00 MiB before, 7.00 MiB after; 8.00 MiB while both rulesets are there
    "#);
    let asked = Reload { dry_run: true, ..reload(all_kinds()) };
    insta::assert_snapshot!(text(&asked), @r#"
    eth0: generation 4 stays in force; a reload would change this
      policy default "pass" -> "drop"
      arp allow (not set) -> "192.0.2.1"
      blocklist new: added, with 1 entry
      blocklist drop: 1,203 entries added, 1 entry removed, 1,207 now; action "drop" -> "count"; moved from place 1 to 2
        + 10.0.0.1, 10.0.0.2 and 1,201 more
        - 192.0.2.0/24
      blocklist old: removed, with 7 entries
      rule web: added
      rule ssh: source (not set) -> "10.0.0.0/8"; destination_port 22 -> [22, 23]; source_port: 10 added, 1 removed, 48 now; vlan (39 values) -> (not set); moved from place 3 to 1
      rule old: removed
      maps: 6.00 MiB before, 7.00 MiB after; 8.00 MiB while both rulesets are there
    "#);
}

/// What a reload says of services, from configurations.
#[test]
fn services_and_their_backends() {
    let difference = |before: &str, after: &str| {
        let [before, after] = [before, after].map(|text| {
            let text = format!("services.seed = \"DFTTgNYuodmggDl6\"\n{text}").into_bytes();
            let files = move |_: &std::path::Path| Ok(text.clone());
            let loaded = crate::config::load_with("x.toml".as_ref(), &files);
            loaded.ruleset.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics))
        });
        Difference::between(&before, &after)
    };
    let service = |name: &str, address: &str, keys: &str, backends: &str| {
        let backends = backends.split(' ').map(|backend| {
            let (address, keys) = backend.split_once(',').unwrap_or((backend, ""));
            let keys = keys.replace(',', "\n");
            format!("[[service.backend]]\naddress = \"10.0.0.{address}\"\n{keys}\n")
        });
        let backends: String = backends.collect();
        format!(
            "[[service]]\nname = \"{name}\"\naddress = \"192.0.2.{address}\"\nprotocol = \"tcp\"\n\
             mode = \"dsr\"\n{keys}\n{backends}"
        )
    };
    let web = service("web", "1", "", "1 2 3 4");
    let old = service("old", "2", "", "1 2");
    let changed = service(
        "web",
        "1",
        "hash = \"source\"",
        "3,weight=3,state=\"drain\" 1 4,next_hop=\"02:00:00:00:00:01\" 5 6",
    );
    let new = service("new", "3", "", "9");
    let change = difference(&(web.clone() + &old), &(changed + &new));
    let asked = Reload { dry_run: true, ..reload(change.clone()) };
    insta::assert_snapshot!(text(&asked));
    insta::assert_snapshot!(json(&reload(change.clone())));
    let moved = vec![MovedPlaces::new("web", 1_640, 16_381)];
    let moves = Reload { moved_places: moved, ..reload(change) };
    let line =
        "  service web: 1,640 of the 16,381 places of its table move to another backend (10.0 %)\n";
    assert!(text(&moves).contains(line), "{}", text(&moves));
    let keys = r#""moved_places":[{"service":"web","places":1640,"of":16381,"percent":10.01}]"#;
    assert!(json(&moves).contains(keys), "{}", json(&moves));
    // The order of backends is no difference, but that of services is one.
    let turned = service("web", "1", "", "4 3 2 1");
    assert_eq!(difference(&web, &turned), Difference::default());
    let settings = format!("[services]\nhistory = \"2h\"\n{web}");
    let change = difference(&web, &settings.replace("[services]\n", "services."));
    assert!(text(&reload(change)).contains("services history (not set) -> \"2h\""));
    // Another seed is a change, and stays a secret.
    let with = |seed: &str| {
        let text = format!("services.seed = \"{seed}\"\n{web}").into_bytes();
        let files = move |_: &std::path::Path| Ok(text.clone());
        crate::config::load_with("x.toml".as_ref(), &files).ruleset.unwrap()
    };
    let change = Difference::between(&with("DFTTgNYuodmggDl6"), &with("DFTTgNYuodmggDl7"));
    let told = text(&reload(change));
    assert!(told.contains("services seed") && !told.contains("DFTT"), "{told}");
}

#[test]
fn no_change_is_said() {
    insta::assert_snapshot!(text(&reload(Difference::default())), @"
    reloaded eth0, generation 4
      no change: the ruleset is the same
    ");
    let asked = Reload { dry_run: true, ..reload(Difference::default()) };
    insta::assert_snapshot!(text(&asked), @"
    eth0: generation 4 stays in force; a reload would change this
      no change: the ruleset is the same
    ");
    let by_numbers = Difference { by_numbers: true, ..Difference::default() };
    insta::assert_snapshot!(text(&reload(by_numbers)), @"
    reloaded eth0, generation 4
      the ruleset before is not kept any more: only names and numbers could be compared
    ");
}

#[test]
fn what_is_known_by_numbers_alone() {
    let mut difference = all_kinds();
    difference.by_numbers = true;
    difference.lists.iter_mut().for_each(|list| list.entries = None);
    difference.lists[1].settings.clear();
    difference.lists[1].moved = None;
    difference.rules.clear();
    insta::assert_snapshot!(text(&reload(difference)), @r#"
    reloaded eth0, generation 4
      policy default "pass" -> "drop"
      arp allow (not set) -> "192.0.2.1"
      blocklist new: added, with 1 entry
      blocklist drop: 5 entries before, 1,207 now
      blocklist old: removed, with 7 entries
      the ruleset before is not kept any more: only names and numbers could be compared
      maps: 6.00 MiB before, 7.00 MiB after; 8.00 MiB while both rulesets are there
    "#);
}

#[test]
fn as_json() {
    insta::assert_snapshot!(json(&reload(all_kinds())), @r#"{"interface":"eth0","generation":4,"dry_run":false,"changed":true,"compared":"all","policy":[{"key":"default","before":"pass","after":"drop"}],"arp":[{"key":"allow","before":null,"after":"192.0.2.1"}],"lists":[{"name":"new","kind":"blocklist","change":"added","before":{"ipv4":0,"ipv6":0},"after":{"ipv4":1,"ipv6":0},"added":{"ipv4":0,"ipv6":0},"removed":{"ipv4":0,"ipv6":0},"settings":[],"moved":null},{"name":"drop","kind":"blocklist","change":"changed","before":{"ipv4":5,"ipv6":0},"after":{"ipv4":1204,"ipv6":3},"added":{"ipv4":1200,"ipv6":3},"removed":{"ipv4":1,"ipv6":0},"settings":[{"key":"action","before":"drop","after":"count"}],"moved":{"from":1,"to":2}},{"name":"old","kind":"blocklist","change":"removed","before":{"ipv4":7,"ipv6":0},"after":{"ipv4":0,"ipv6":0},"added":{"ipv4":0,"ipv6":0},"removed":{"ipv4":0,"ipv6":0},"settings":[],"moved":null}],"rules":[{"name":"web","change":"added","settings":[],"moved":null},{"name":"ssh","change":"changed","settings":[{"key":"source","before":null,"after":"10.0.0.0/8"},{"key":"destination_port","before":22,"after":[22,23]},{"key":"source_port","before":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33,34,35,36,37,38,39],"after":[2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33,34,35,36,37,38,39,40,41,42,43,44,45,46,47,48,49]},{"key":"vlan","before":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33,34,35,36,37,38,39],"after":null}],"moved":{"from":3,"to":1}},{"name":"old","change":"removed","settings":[],"moved":null}],"service_settings":[],"services":[],"moved_places":[],"map_bytes":{"before":6291456,"meanwhile":8388608,"after":7340032}}"#);
    let by_numbers = Difference { by_numbers: true, ..Difference::default() };
    insta::assert_snapshot!(json(&Reload { dry_run: true, ..reload(by_numbers) }), @r#"{"interface":"eth0","generation":4,"dry_run":true,"changed":false,"compared":"numbers","policy":[],"arp":[],"lists":[],"rules":[],"service_settings":[],"services":[],"moved_places":[],"map_bytes":{"before":6291456,"meanwhile":8388608,"after":7340032}}"#);
}
