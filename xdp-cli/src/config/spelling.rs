//! What someone may have meant.

/// The candidate that a mistyped word is closest to, if it is close at all.
pub(super) fn closest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    // A long word may come from anywhere, and the distance takes time by the square.
    if word.len() > 64 {
        return None;
    }
    let mut word = word.to_lowercase().replace('-', "_");
    for (short, long) in SHORT {
        if let Some(rest) = word.strip_prefix(short) {
            word = format!("{long}{rest}");
        }
    }
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= allowed(candidate.len()))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Beginnings that other tools write, and what they are here.
const SHORT: [(&str, &str); 4] = [
    ("src", "source"),
    ("dst", "destination"),
    ("sport", "source_port"),
    ("dport", "destination_port"),
];

/// In a short word, two wrong letters make another word.
fn allowed(length: usize) -> usize {
    match length {
        0..=2 => 0,
        3..=5 => 1,
        _ => 2,
    }
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one into the other.
fn distance(a: &str, b: &str) -> usize {
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
            ("reject", None),
            ("", None),
        ] {
            assert_eq!(closest(word, ["drop", "count", "source_port"]), meant, "{word}");
        }
    }

    #[test]
    fn alternatives_read_as_a_sentence() {
        assert_eq!(alternatives(["a"]), r#""a""#);
        assert_eq!(alternatives(["a", "b", "c"]), r#""a", "b" or "c""#);
    }
}
