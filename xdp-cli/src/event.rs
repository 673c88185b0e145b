//! What happens on an interface, as plain data: what commands write to the journal, tell a running
//! `xdpctl monitor`, and what that prints.
//!
//! Serialized, an event is what `xdpctl monitor --json` prints. Commands tell monitors in the same
//! form, so an event cannot lose anything on the way.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::config::prefix::IpPrefix;
use crate::notation::shortened;
use crate::views::entries::Kind;

/// What the names of owners begin with whose entries the program itself puts: rules with
/// `action = "block"`.
pub const RULES: &str = "rule:";
/// How many of a command's prefixes an event names.
pub const NAMED: usize = 10;
/// How many lines of a reload's difference an event has, and how long each may be, in characters.
const LINES: usize = 40;
const LINE: usize = 400;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    #[serde(with = "time")]
    pub time: SystemTime,
    /// The interface's name then; `None` where it is about no interface of this network namespace.
    pub interface: Option<String>,
    pub ifindex: Option<u32>,
    #[serde(flatten)]
    pub what: What,
    /// Who did it; `None` where nobody did, or a command did not say so.
    pub by: Option<Actor>,
    /// The network namespace: `host`, `netns-NAME`, or its cookie.
    pub namespace: Option<String>,
}

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The user who logged in: not root where it was done by sudo.
    pub user: String,
    /// That user's number, where it is known.
    pub uid: Option<u32>,
    pub pid: u32,
    /// The command's name, such as `xdpctl reload`.
    pub command: String,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum What {
    /// The program was put on an interface, or exchanged.
    Attach {
        mode: String,
        generation: u64,
        config: String,
        /// The program was exchanged for another version's; the interface had one before.
        replaced: bool,
        /// It ends unless it is confirmed within that time.
        confirm_seconds: Option<u64>,
        /// Run-time entries that outlive a restart and were put back.
        restored: u64,
    },
    /// Another ruleset came into force.
    Reload {
        generation: u64,
        config: String,
        /// What is different, a line each.
        changes: Changes,
        /// The ruleset before comes back unless it is confirmed within that time.
        confirm_seconds: Option<u64>,
    },
    Detach {
        /// It was taken off an interface of another network namespace.
        moved: bool,
    },
    /// What waited to be confirmed stays.
    Confirm {
        /// Of the ruleset that waited; `None` where the attachment did.
        generation: Option<u64>,
    },
    /// What waited to be confirmed ended.
    Rollback {
        why: Unconfirmed,
        /// Of the ruleset that is in force again; `None` where nothing is attached any more.
        generation: Option<u64>,
    },
    /// Run-time entries were set by one command.
    Set {
        kind: Kind,
        owner: String,
        for_seconds: Option<u64>,
        note: Option<String>,
        /// How many there are, and the first of them.
        count: u64,
        prefixes: Vec<String>,
    },
    /// Run-time entries were removed by one command.
    Unset {
        /// `None` for those of all owners.
        owner: Option<String>,
        count: u64,
        prefixes: Vec<String>,
    },
    /// A run-time entry's time was over.
    Ended {
        kind: Kind,
        owner: String,
        prefix: String,
        note: Option<String>,
    },
    Bypass {
        on: bool,
    },
    /// A command said whether a backend of a service gets packets.
    Backend {
        service: String,
        backend: String,
        /// `up`, `drain`, `down`, or `auto`: as the configuration and checks say.
        state: String,
        for_seconds: Option<u64>,
        note: Option<String>,
    },
    /// What a deleted network namespace left was removed.
    Sweep {
        interfaces: Vec<String>,
        map_bytes: u64,
    },
    /// Checks found that a service's backend is up or down now.
    Health {
        service: String,
        backend: String,
        up: bool,
        /// Why it is down.
        why: Option<String>,
        /// So many checks found the same, one after the other.
        in_a_row: u32,
    },
    /// The interface itself changed.
    Link {
        link: Link,
        /// The name before, where it was renamed.
        from: Option<String>,
    },
    /// An interface that rules redirect to changed.
    Target {
        to: String,
        target: Target,
        rules: Vec<String>,
    },
}

/// A reload's difference.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Changes(pub Vec<String>);

impl Changes {
    /// The first lines, and how many more there are: an event has to fit into a datagram.
    pub fn of(lines: &[String]) -> Self {
        let mut shown: Vec<String> =
            lines.iter().take(LINES).map(|line| shortened(line, LINE)).collect();
        let more = lines.len().saturating_sub(LINES);
        if more > 0 {
            shown.push(format!("{more} more"));
        }
        Self(shown)
    }
}

/// Why an attachment that waited was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unconfirmed {
    /// Its time was over.
    Timeout,
    /// The command that waited was stopped, or its terminal is gone.
    Stopped,
    /// The command that waited was killed.
    Killed,
}

/// What became of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Link {
    Up,
    Down,
    Gone,
    /// To another network namespace.
    Moved,
    Renamed,
    /// The program was taken off by other means than xdpctl.
    Stripped,
}

/// What became of a redirect target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    Up,
    Down,
    Gone,
    /// An interface of its name is there again, which the ruleset in force does not know yet.
    Back,
}

impl What {
    /// Run-time entries that were set.
    pub fn set(
        kind: Kind,
        owner: &str,
        for_seconds: Option<u64>,
        note: Option<&str>,
        prefixes: &[IpPrefix],
    ) -> Self {
        let (count, prefixes) = named(prefixes);
        let (owner, note) = (owner.to_owned(), note.map(str::to_owned));
        Self::Set { kind, owner, for_seconds, note, count, prefixes }
    }

    /// Run-time entries that were removed.
    pub fn unset(owner: Option<&str>, prefixes: &[IpPrefix]) -> Self {
        let (count, prefixes) = named(prefixes);
        Self::Unset { owner: owner.map(str::to_owned), count, prefixes }
    }

    /// Its name, as in JSON.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Attach { .. } => "attach",
            Self::Reload { .. } => "reload",
            Self::Detach { .. } => "detach",
            Self::Confirm { .. } => "confirm",
            Self::Rollback { .. } => "rollback",
            Self::Set { .. } => "set",
            Self::Unset { .. } => "unset",
            Self::Ended { .. } => "ended",
            Self::Bypass { .. } => "bypass",
            Self::Backend { .. } => "backend",
            Self::Sweep { .. } => "sweep",
            Self::Health { .. } => "health",
            Self::Link { .. } => "link",
            Self::Target { .. } => "target",
        }
    }

    /// Whether a command does that, so that it is known who did it if the command said so.
    pub const fn is_done(&self) -> bool {
        match self {
            Self::Ended { .. } | Self::Link { .. } | Self::Target { .. } => false,
            // Where no command says so, the kernel took it off, or the program went back by itself.
            Self::Rollback { .. } => false,
            _ => true,
        }
    }
}

/// How many prefixes there are, and the first of them.
fn named(prefixes: &[IpPrefix]) -> (u64, Vec<String>) {
    (prefixes.len() as u64, prefixes.iter().take(NAMED).map(ToString::to_string).collect())
}

/// Times as RFC 3339 has them, in milliseconds.
mod time {
    use std::time::SystemTime;

    use serde::{Deserialize as _, Deserializer, Serializer, de};

    use crate::notation::timestamp;

    pub fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&timestamp(*time))
    }

    pub fn deserialize<'d, D: Deserializer<'d>>(deserializer: D) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_rfc3339(&text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::config::prefix::parse;
    use crate::notation::json_line;

    #[test]
    fn what_is_told_is_what_was_written() {
        let prefixes = ["10.0.0.1", "2001:db8::/32"].map(|text| parse(text).unwrap().prefix);
        let event = Event {
            time: UNIX_EPOCH + Duration::from_millis(1_769_860_800_007),
            interface: Some("eth0".into()),
            ifindex: Some(2),
            what: What::set(Kind::Block, "sshd", Some(600), Some("a\u{1b}b"), &prefixes),
            by: Some(Actor {
                user: "alice".into(),
                uid: Some(1000),
                pid: 77,
                command: "xdpctl block".into(),
            }),
            namespace: Some("host".into()),
        };
        let line = String::from_utf8(json_line(&event).unwrap()).unwrap();
        insta::assert_snapshot!(line, @r#"{"time":"2026-01-31T12:00:00.007Z","interface":"eth0","ifindex":2,"event":"set","kind":"block","owner":"sshd","for_seconds":600,"note":"a\u001bb","count":2,"prefixes":["10.0.0.1/32","2001:db8::/32"],"by":{"user":"alice","uid":1000,"pid":77,"command":"xdpctl block"},"namespace":"host"}"#);
        assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event);
        let empty = Event { what: What::Confirm { generation: None }, ..event };
        let line = json_line(&empty).unwrap();
        assert_eq!(serde_json::from_slice::<Event>(&line).unwrap(), empty);
    }

    #[test]
    fn an_event_is_bounded() {
        let lines: Vec<String> =
            (0..1000).map(|nth| format!("{nth}{}", "é".repeat(1000))).collect();
        let Changes(shown) = Changes::of(&lines);
        assert_eq!((shown.len(), shown[40].as_str()), (41, "960 more"));
        assert!(shown.iter().all(|line| line.chars().count() <= 400));
        let prefix = parse("10.0.0.1").unwrap().prefix;
        let What::Unset { count, prefixes, .. } = What::unset(None, &[prefix; 1000]) else {
            panic!("another kind")
        };
        assert_eq!((count, prefixes.len()), (1000, 10));
    }
}
