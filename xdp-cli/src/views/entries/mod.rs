//! Shows the entries added at run time, as JSON and as lines. Does not know where they come from.

pub mod json;
pub mod overruled;
pub mod text;

use std::time::SystemTime;

use serde::{Deserialize, Serialize, Serializer};

use crate::config::prefix::IpPrefix;
use crate::notation::timestamp;

/// What an entry does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Block,
    Allow,
}

impl Kind {
    /// The word for it in JSON and in text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Allow => "allow",
        }
    }
}

/// One entry. The keys and their order are part of the contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed {
    #[serde(serialize_with = "shown")]
    pub prefix: IpPrefix,
    pub kind: Kind,
    /// Seconds left, rounded up; `None` if it does not expire.
    pub expires_in_seconds: Option<u64>,
    pub note: Option<String>,
    /// Who added it.
    pub owner: String,
    /// When it was added.
    #[serde(serialize_with = "written")]
    pub created: SystemTime,
    /// How many packets it has decided since then. If two owners have an entry for the same prefix
    /// that does the same, each packet counts for both.
    pub packets: u64,
}

fn written<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&timestamp(*time))
}

fn shown<S: Serializer>(prefix: &IpPrefix, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(prefix)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::config::prefix::parse;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 7)
    }

    fn listed() -> Vec<Listed> {
        let entry =
            |prefix: &str, kind, expires_in_seconds, note: Option<&str>, owner: &str| Listed {
                prefix: parse(prefix).unwrap().prefix,
                kind,
                expires_in_seconds,
                note: note.map(str::to_owned),
                owner: owner.to_owned(),
                created: at(1_769_860_800),
                packets: 12_345,
            };
        vec![
            entry("203.0.113.7", Kind::Block, Some(600), Some("ssh \\ \"5\" times"), "sshd"),
            entry("203.0.113.0/24", Kind::Allow, None, None, "cli"),
            entry("2001:db8:bad::/48", Kind::Block, Some(90_061), Some("a\u{1b}b"), "cli"),
        ]
    }

    #[test]
    fn as_json() {
        let mut out = Vec::new();
        json::write(&mut out, &listed()).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r#"[{"prefix":"203.0.113.7/32","kind":"block","expires_in_seconds":600,"note":"ssh \\ \"5\" times","owner":"sshd","created":"2026-01-31T12:00:00.007Z","packets":12345},{"prefix":"203.0.113.0/24","kind":"allow","expires_in_seconds":null,"note":null,"owner":"cli","created":"2026-01-31T12:00:00.007Z","packets":12345},{"prefix":"2001:db8:bad::/48","kind":"block","expires_in_seconds":90061,"note":"a\u001bb","owner":"cli","created":"2026-01-31T12:00:00.007Z","packets":12345}]"#);
        let mut out = Vec::new();
        json::write(&mut out, &[]).unwrap();
        assert_eq!(out, b"[]\n");
    }

    #[test]
    fn as_lines() {
        let mut out = Vec::new();
        text::write(&mut out, &listed(), at(1_769_860_800 + 3_605)).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r#"
        PREFIX             KIND   OWNER  PACKETS  AGE    EXPIRES IN     NOTE
        203.0.113.7/32     block  sshd    12,345  1h 5s  10m            ssh \ "5" times
        203.0.113.0/24     allow  cli     12,345  1h 5s  -              -
        2001:db8:bad::/48  block  cli     12,345  1h 5s  1day 1h 1m 1s  a\u{1b}b
        "#);
        let mut out = Vec::new();
        text::write(&mut out, &[], at(0)).unwrap();
        assert_eq!(out, b"no run-time entries\n");
    }
}
