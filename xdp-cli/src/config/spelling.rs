//! Finds the word that a mistyped or foreign one was meant to be.

/// The candidate that a mistyped word is closest to, if it is close at all.
pub(crate) fn closest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    // The distance takes quadratic time, and a long word is hardly a mistyped key.
    if word.len() > 64 {
        return None;
    }
    let mut word = plain(word);
    let candidates: Vec<&str> = candidates.into_iter().collect();
    let meant = SYNONYMS.iter().filter(|(other, _)| *other == word).map(|(_, meant)| *meant);
    let meant = meant.into_iter().find_map(|it| candidates.iter().find(|known| **known == it));
    if let Some(meant) = meant {
        return Some(meant);
    }
    for (short, long) in SHORT {
        if let Some(rest) = word.strip_prefix(short) {
            word = format!("{long}{rest}");
        }
    }
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= allowed(candidate.len()))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The form in which words are compared: in lower case, and joined by `_` even where `-` was
/// written.
fn plain(word: &str) -> String {
    word.to_lowercase().replace('-', "_")
}

/// What nftables, iptables, ipset and others call something, and what it is called here. If a word
/// has several meanings, the first one that may stand in its place is suggested.
const SYNONYMS: [(&str, &str); 93] = [
    // Keys of rules.
    ("proto", "protocol"),
    ("l4proto", "protocol"),
    ("ip_protocol", "protocol"),
    ("nexthdr", "protocol"),
    ("saddr", "source"),
    ("src_addr", "source"),
    ("src_ip", "source"),
    ("source_ip", "source"),
    ("source_address", "source"),
    ("sources", "source"),
    ("from", "source"),
    ("daddr", "destination"),
    ("dst_addr", "destination"),
    ("dst_ip", "destination"),
    ("dest", "destination"),
    ("dest_ip", "destination"),
    ("destination_ip", "destination"),
    ("destination_address", "destination"),
    ("destinations", "destination"),
    ("sports", "source_port"),
    ("source_ports", "source_port"),
    ("port", "destination_port"),
    ("ports", "destination_port"),
    ("dports", "destination_port"),
    ("dest_port", "destination_port"),
    ("destination_ports", "destination_port"),
    ("type", "icmp_type"),
    ("icmptype", "icmp_type"),
    ("icmpv6_type", "icmp_type"),
    ("flags", "tcp_flags"),
    ("tos", "dscp"),
    ("vid", "vlan"),
    ("vlan_id", "vlan"),
    ("len", "length"),
    ("size", "length"),
    ("pktlen", "length"),
    ("packet_length", "length"),
    ("total_length", "length"),
    ("hoplimit", "ttl"),
    ("hop_limit", "ttl"),
    ("hl", "ttl"),
    ("frag", "fragment"),
    ("frag_off", "fragment"),
    ("is_fragment", "fragment"),
    ("smac", "source_mac"),
    ("mac_source", "source_mac"),
    ("dmac", "destination_mac"),
    ("jump", "action"),
    ("target", "action"),
    ("verdict", "action"),
    ("policy", "action"),
    ("then", "action"),
    ("oif", "to"),
    ("oifname", "to"),
    ("out_interface", "to"),
    ("device", "to"),
    ("dev", "to"),
    ("interface", "to"),
    // Keys of lists and policies.
    ("addresses", "prefixes"),
    ("elements", "prefixes"),
    ("entries", "prefixes"),
    ("ips", "prefixes"),
    ("networks", "prefixes"),
    ("file", "files"),
    ("lists", "files"),
    ("path", "files"),
    ("paths", "files"),
    ("direction", "match"),
    ("side", "match"),
    ("min", "min_entries"),
    ("minimum", "min_entries"),
    ("domains", "names"),
    ("hosts", "names"),
    ("type", "qtype"),
    ("types", "qtype"),
    // Tables.
    ("whitelist", "allowlist"),
    ("blacklist", "blocklist"),
    ("denylist", "blocklist"),
    ("passlist", "allowlist"),
    ("defines", "define"),
    ("variables", "define"),
    ("includes", "include"),
    // Values.
    ("accept", "pass"),
    ("allow", "pass"),
    ("permit", "pass"),
    ("deny", "drop"),
    ("reject", "refuse"),
    ("reject", "drop"),
    ("block", "drop"),
    ("discard", "drop"),
    ("log", "count"),
    ("forward", "redirect"),
    ("both", "either"),
];

/// Abbreviations at the start of other tools' words, and what they are here.
const SHORT: [(&str, &str); 8] = [
    ("src", "source"),
    ("dst", "destination"),
    ("sport", "source_port"),
    ("dport", "destination_port"),
    ("not_src", "not_source"),
    ("not_dst", "not_destination"),
    ("not_sport", "not_source_port"),
    ("not_dport", "not_destination_port"),
];

/// How many mistakes a word of this length may have. In a short word, two wrong letters make
/// another word.
fn allowed(length: usize) -> usize {
    match length {
        0..=2 => 0,
        3..=5 => 1,
        _ => 2,
    }
}

/// The number of insertions, deletions, replacements and swaps of neighbours that turn one word
/// into the other.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            if i == 0 || j == 0 {
                rows[i][j] = i + j;
                continue;
            }
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

/// `"a"`, `"a" or "b"`, `"a", "b" or "c"`.
pub(super) fn alternatives<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("{word:?}")).collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_slips_are_seen_through() {
        for (word, meant) in [
            ("dorp", Some("drop")),
            ("Drop", Some("drop")),
            ("dropp", Some("drop")),
            ("cuont", Some("count")),
            ("source-port", Some("source_port")),
            ("sorce_prt", Some("source_port")),
            ("src_port", Some("source_port")),
            ("sport", Some("source_port")),
            ("reject", Some("drop")),
            ("dest-port", None),
            ("", None),
        ] {
            assert_eq!(closest(word, ["drop", "count", "source_port"]), meant, "{word}");
        }
    }

    #[test]
    fn words_of_other_tools_are_known() {
        let rule =
            ["protocol", "source", "destination", "destination_port", "action", "to", "name"];
        for (word, meant) in [
            ("proto", "protocol"),
            ("saddr", "source"),
            ("daddr", "destination"),
            ("dport", "destination_port"),
            ("dest_port", "destination_port"),
            ("DEST-PORT", "destination_port"),
            ("jump", "action"),
            ("oifname", "to"),
        ] {
            assert_eq!(closest(word, rule), Some(meant), "{word}");
        }
        assert_eq!(closest("accept", ["pass", "drop"]), Some("pass"));
        // Only words that may stand there are suggested.
        assert_eq!(closest("saddr", ["prefixes", "files"]), None);
        assert_eq!(closest("echo-requets", ["echo-reply", "echo-request"]), Some("echo-request"));
    }

    #[test]
    fn no_word_means_itself_or_the_same_twice() {
        let mut seen = std::collections::HashSet::new();
        for (word, meant) in SYNONYMS {
            assert!(word != meant && word == plain(word) && seen.insert((word, meant)), "{word}");
        }
    }

    #[test]
    fn alternatives_read_as_a_sentence() {
        assert_eq!(alternatives(["a"]), r#""a""#);
        assert_eq!(alternatives(["a", "b", "c"]), r#""a", "b" or "c""#);
    }
}
