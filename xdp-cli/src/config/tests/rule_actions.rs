//! Actions of rules that say more than what becomes of the packet.

use std::time::Duration;

use super::Setup;
use crate::config::written;
use crate::ruleset::{Protocol, Rule, RuleAction, TcpFlags};

fn rule(keys: &str) -> (Rule, String) {
    let setup = Setup::new(&[]);
    let text = format!("[[rule]]\nname = \"r\"\n{keys}\n");
    let loaded = setup.load(&text);
    let said = setup.said(&text);
    let ruleset = loaded.ruleset.unwrap_or_else(|| panic!("{said}"));
    (ruleset.rules[0].clone(), said)
}

/// What is shown of a rule loads again, as the same.
#[track_caller]
fn assert_written(read: &Rule) {
    let settings = written::rule(read);
    let shown: String = settings.iter().map(|it| format!("{} = {}\n", it.key, it.value)).collect();
    let (again, _) = rule(&shown);
    assert_eq!((&again.matches, &again.action), (&read.matches, &read.action), "{shown}");
}

#[test]
fn a_rule_that_blocks() {
    for (life, seconds) in [("1s", 1), ("10m", 600), ("1h 30m", 5_400), ("1year", 31_557_600)] {
        let keys =
            format!("over = \"9/s\"\nper = \"source\"\naction = \"block\"\nfor = \"{life}\"");
        let (read, said) = rule(&keys);
        assert_eq!(read.action, RuleAction::Block { life: Duration::from_secs(seconds) });
        assert_eq!(said, "");
        assert_written(&read);
    }
}

/// It matches nothing else than the first packets of TCP's connections, whatever else it says.
#[test]
fn a_rule_that_answers_syns() {
    for (keys, mask, value) in [
        ("", 0x12, 0x02),
        ("protocol = \"tcp\"\ntcp_flags = \"syn\"", 0x12, 0x02),
        ("over = \"9/s\"\ntcp_flags = \"!ack,!ece\"", 0x52, 0x02),
    ] {
        let (read, said) = rule(&format!("{keys}\naction = \"syncookie\""));
        assert_eq!((read.action.clone(), said.as_str()), (RuleAction::SynCookie, ""));
        assert_eq!(read.matches.protocol, Some(Protocol::Number(6)));
        assert_eq!(read.matches.tcp_flags, Some(TcpFlags { mask, value }));
        assert_written(&read);
    }
}

#[test]
fn what_is_refused_and_what_is_dangerous() {
    let setup = Setup::new(&[]);
    let mut all = String::new();
    for keys in [
        "action = \"block\"",
        "action = \"block\"\nfor = 600",
        "action = \"block\"\nfor = \"0s\"",
        "action = \"block\"\nfor = \"367days\"",
        "action = \"block\"\nfor = \"a while\"",
        "action = \"drop\"\nfor = \"10m\"",
        "action = \"block\"\nfor = \"10m\"\nto = \"eth1\"",
        "action = \"block\"\nfor = \"10m\"\nset_source_mac = \"02:00:00:00:00:01\"",
        "action = \"block\"\nfor = \"10m\"",
        "action = \"block\"\nfor = \"10m\"\nover = \"9/s\"",
        "action = \"block\"\nfor = \"10m\"\nover = \"9/s\"\nper = \"destination\"",
        "action = \"syncookie\"\nprotocol = \"udp\"",
        "action = \"syncookie\"\ntcp_flags = \"ack\"",
        "action = \"syncookie\"\ntcp_flags = \"!syn\"",
        "action = \"syncookie\"\nfor = \"10m\"",
        "action = \"syncookie\"\nset_source_mac = \"02:00:00:00:00:01\"",
    ] {
        let said = setup.said(format!("[[rule]]\nname = \"r\"\n{keys}\n"));
        assert!(!said.is_empty(), "{keys}");
        all.push_str(&format!("## {keys}\n{said}\n"));
    }
    insta::assert_snapshot!("rule_actions", all);
}
