//! The entries added at run time as they are shown, as JSON and as lines. Where they come from is
//! not known here.

pub mod json;
pub mod text;

use serde::{Serialize, Serializer};

use crate::config::prefix::IpPrefix;

/// What an entry does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Block,
    Allow,
}

impl Kind {
    /// As it stands in JSON and in print.
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
    /// Rounded up; `None` where it does not end.
    pub expires_in_seconds: Option<u64>,
    pub note: Option<String>,
}

fn shown<S: Serializer>(prefix: &IpPrefix, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::prefix::parse;

    fn listed() -> Vec<Listed> {
        let entry = |prefix: &str, kind, expires_in_seconds, note: Option<&str>| Listed {
            prefix: parse(prefix).unwrap().prefix,
            kind,
            expires_in_seconds,
            note: note.map(str::to_owned),
        };
        vec![
            entry("203.0.113.7", Kind::Block, Some(600), Some("ssh \\ \"5\" times")),
            entry("203.0.113.0/24", Kind::Allow, None, None),
            entry("2001:db8:bad::/48", Kind::Block, Some(90_061), Some("a\u{1b}b")),
        ]
    }

    #[test]
    fn as_json() {
        let mut out = Vec::new();
        json::write(&mut out, &listed()).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r#"[{"prefix":"203.0.113.7/32","kind":"block","expires_in_seconds":600,"note":"ssh \\ \"5\" times"},{"prefix":"203.0.113.0/24","kind":"allow","expires_in_seconds":null,"note":null},{"prefix":"2001:db8:bad::/48","kind":"block","expires_in_seconds":90061,"note":"a\u001bb"}]"#);
        let mut out = Vec::new();
        json::write(&mut out, &[]).unwrap();
        assert_eq!(out, b"[]\n");
    }

    #[test]
    fn as_lines() {
        let mut out = Vec::new();
        text::write(&mut out, &listed()).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r#"
        PREFIX             KIND   EXPIRES IN     NOTE
        203.0.113.7/32     block  10m            ssh \ "5" times
        203.0.113.0/24     allow  -              -
        2001:db8:bad::/48  block  1day 1h 1m 1s  a\u{1b}b
        "#);
        let mut out = Vec::new();
        text::write(&mut out, &[]).unwrap();
        assert_eq!(out, b"no run-time entries\n");
    }
}
