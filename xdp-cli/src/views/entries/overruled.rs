//! Says what keeps a run-time entry from acting, by the order of judgement. It is said as soon as
//! the entry is added, so that nobody has to wonder why an attacker still comes through.

use super::{Kind, Listed};
use crate::config::prefix::IpPrefix;
use crate::notation::{duration, grouped, plain};
use crate::ruleset::{List, in_order};

/// One sentence for each thing that keeps entries of that kind for these sorted prefixes from
/// acting: an allowlist that passes what is to be blocked, or another run-time entry. `against`
/// holds only such run-time entries ([`Listed`]).
pub fn sentences(
    kind: Kind,
    prefixes: &[IpPrefix],
    allowlists: &[List],
    against: &[Listed],
) -> Vec<String> {
    let it = |prefix: &IpPrefix| match prefixes {
        [_] => "it".to_owned(),
        _ => prefix.to_string(),
    };
    let mut said = Vec::new();
    if kind == Kind::Block {
        for list in allowlists {
            let listed = sorted(list);
            let name = &list.name;
            said.extend(prefixes.iter().filter_map(|prefix| by_list(prefix, &listed)).map(
                |(prefix, by)| match by {
                    By::Whole(entry) => {
                        format!("allowlist \"{name}\" {entry} lets {} in", it(&prefix))
                    }
                    By::Part(entry, 1) => {
                        format!("allowlist \"{name}\" {entry} lets part of {} in", it(&prefix))
                    }
                    By::Part(entry, all) => format!(
                        "allowlist \"{name}\" {entry}, and {} more of its entries, let part of {} in",
                        grouped(all - 1),
                        it(&prefix)
                    ),
                },
            ));
        }
    }
    said.extend(against.iter().filter_map(|entry| {
        let lengths = (0..=entry.prefix.length()).rev();
        let mut around = lengths.map(|length| entry.prefix.shortened(length));
        let prefix = around.find(|prefix| prefixes.binary_search(prefix).is_ok())?;
        let does = match entry.kind {
            Kind::Allow => "allows",
            Kind::Block => "blocks",
        };
        let what = match entry.prefix == prefix {
            true => it(&prefix),
            false => format!("a part of {}, {}", it(&prefix), entry.prefix),
        };
        let life = entry
            .expires_in_seconds
            .map_or_else(String::new, |left| format!(", for another {}", duration(left)));
        Some(format!("a run-time entry of {} {does} {what}{life}", plain(&entry.owner)))
    }));
    said
}

/// How much of a prefix an allowlist holds.
enum By {
    /// All of it; this is the longest entry that holds it.
    Whole(IpPrefix),
    /// Parts of it: the first entry inside it, and how many there are.
    Part(IpPrefix, u64),
}

fn by_list(prefix: &IpPrefix, listed: &[IpPrefix]) -> Option<(IpPrefix, By)> {
    let mut around = (0..=prefix.length()).rev().map(|length| prefix.shortened(length));
    if let Some(whole) = around.find(|it| listed.binary_search(it).is_ok()) {
        return Some((*prefix, By::Whole(whole)));
    }
    // In sorted order, the prefixes that a prefix holds come right behind it.
    let behind = &listed[listed.partition_point(|entry| entry < prefix)..];
    let inside = behind.partition_point(|entry| prefix.holds(entry));
    let first = behind.first().filter(|_| inside > 0)?;
    Some((*prefix, By::Part(*first, inside as u64)))
}

/// All prefixes of a list, sorted, each once.
fn sorted(list: &List) -> Vec<IpPrefix> {
    let v4 = in_order(&list.v4).into_iter().map(IpPrefix::V4);
    v4.chain(in_order(&list.v6).into_iter().map(IpPrefix::V6)).collect()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::config::load;
    use crate::config::prefix::parse;

    fn said(kind: Kind, prefixes: &[&str], against: &[Listed]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        let text = "[[allowlist]]\nname = \"management\"\n\
                    prefixes = [\"198.51.100.0/24\", \"198.51.100.16/28\", \"2001:db8:1::/48\"]\n\
                    [[allowlist]]\nname = \"office\"\nprefixes = [\"10.1.0.0/16\", \"10.3.0.0/16\"]\n";
        std::fs::write(&path, text).unwrap();
        let ruleset = load(&path).ruleset.unwrap();
        let mut prefixes: Vec<IpPrefix> =
            prefixes.iter().map(|text| parse(text).unwrap().prefix).collect();
        prefixes.sort_unstable();
        sentences(kind, &prefixes, &ruleset.allowlists, against)
    }

    fn entry(prefix: &str, kind: Kind, left: Option<u64>) -> Listed {
        Listed {
            prefix: parse(prefix).unwrap().prefix,
            kind,
            expires_in_seconds: left,
            note: None,
            owner: "admin".to_owned(),
            created: UNIX_EPOCH,
            packets: 0,
        }
    }

    #[test]
    fn allowlists_let_in_what_is_blocked() {
        let block = |prefixes: &[&str]| said(Kind::Block, prefixes, &[]);
        assert_eq!(
            block(&["198.51.100.17"]),
            ["allowlist \"management\" 198.51.100.16/28 lets it in"]
        );
        assert_eq!(
            block(&["198.51.100.32"]),
            ["allowlist \"management\" 198.51.100.0/24 lets it in"]
        );
        assert_eq!(block(&["10.1.0.0/16"]), ["allowlist \"office\" 10.1.0.0/16 lets it in"]);
        assert_eq!(
            block(&["10.0.0.0/15"]),
            ["allowlist \"office\" 10.1.0.0/16 lets part of it in"]
        );
        assert_eq!(
            block(&["10.0.0.0/8", "10.1.2.3", "2001:db8::/32", "192.0.2.1"]),
            [
                "allowlist \"management\" 2001:db8:1::/48 lets part of 2001:db8::/32 in",
                "allowlist \"office\" 10.1.0.0/16, and 1 more of its entries, let part of \
                 10.0.0.0/8 in",
                "allowlist \"office\" 10.1.0.0/16 lets 10.1.2.3/32 in",
            ]
        );
        assert_eq!(block(&["10.2.0.0/16", "198.51.101.0", "::1"]), Vec::<String>::new());
        // An allow comes before blocklists and blocks in the order of judgement.
        assert_eq!(said(Kind::Allow, &["198.51.100.17"], &[]), Vec::<String>::new());
    }

    #[test]
    fn other_entries_do_the_opposite() {
        let against =
            [entry("9.0.0.0/8", Kind::Allow, Some(90)), entry("9.1.0.0/16", Kind::Allow, None)];
        assert_eq!(
            said(Kind::Block, &["9.0.0.0/8"], &against),
            [
                "a run-time entry of admin allows it, for another 1m 30s",
                "a run-time entry of admin allows a part of it, 9.1.0.0/16",
            ]
        );
        assert_eq!(
            said(Kind::Allow, &["9.0.0.0/8", "::1"], &[entry("9.1.0.0/16", Kind::Block, None)]),
            ["a run-time entry of admin blocks a part of 9.0.0.0/8, 9.1.0.0/16"]
        );
    }
}
