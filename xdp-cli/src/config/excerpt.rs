//! Cuts out the part of a line that a diagnostic shows.

use crate::diagnostic::Excerpt;
use crate::notation::plain;

/// How many characters are shown before the start of a mistake, and how many after it.
const AROUND: usize = 60;

/// What stands around the byte `at` of a line.
pub(super) fn excerpt(line: &str, at: usize) -> Excerpt {
    let (before, rest) = line.split_at(at.min(line.len()));
    // A carriage return too.
    let rest = rest.trim_end();
    let from = before.char_indices().rev().nth(AROUND - 1).map_or(0, |(from, _)| from);
    let to = rest.char_indices().nth(AROUND).map_or(rest.len(), |(to, _)| to);
    let mut text = String::from(if from > 0 { "…" } else { "" });
    text.push_str(&shown(before[from..].trim_start()));
    let start = text.chars().count();
    let marked = shown(&rest[..word(rest).min(to)]);
    text.push_str(&shown(&rest[..to]));
    let end = if to < rest.len() { "…" } else { "" };
    text.push_str(end);
    Excerpt { text, start, length: marked.chars().count().max(1) }
}

/// The text as it is shown. A tab would shift it against the marks below, so it becomes a blank.
fn shown(text: &str) -> String {
    plain(&text.replace('\t', " "))
}

/// The length in bytes of the string, header or word at the start of the text.
fn word(text: &str) -> usize {
    let mut characters = text.char_indices();
    match characters.next() {
        Some((_, quote @ ('"' | '\''))) => {
            let mut is_escaped = false;
            for (at, character) in characters {
                if character == quote && !is_escaped {
                    return at + 1;
                }
                is_escaped = quote == '"' && character == '\\' && !is_escaped;
            }
            text.trim_end().len()
        }
        Some((_, '[')) => {
            let end = text.find(']').map_or(1, |end| end + 1);
            end + usize::from(text[end..].starts_with(']'))
        }
        _ => {
            let apart =
                |c: char| c.is_whitespace() || matches!(c, ',' | '=' | '[' | ']' | '{' | '}' | '#');
            text.find(apart).unwrap_or(text.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An excerpt with marks below it.
    fn drawn(line: &str, mistake: &str) -> String {
        let Excerpt { text, start, length } = excerpt(line, line.find(mistake).unwrap());
        format!("|{text}|\n|{}{}", " ".repeat(start), "^".repeat(length))
    }

    #[test]
    fn the_mistake_is_marked() {
        let drawn: Vec<_> = [
            drawn("default = \"dorp\"", "\"dorp\""),
            drawn("\t\tports = [1, 99999, \"a \\\" b\"] # x", "99999"),
            drawn("  ports = [1, \"a \\\" b\", 3] # x", "\"a"),
            drawn("[[ruel]] # x\r", "[[ruel]]"),
            drawn("x = \"open", "\"open"),
            drawn("é = ö\u{1b}[2J, 5", "ö"),
            drawn("a = ", " "),
            drawn(&format!("a = [{}5, {}]", "1, ".repeat(50), "2, ".repeat(50)), "5,"),
            drawn(&format!("a = \"{}\"", "x".repeat(200)), "\"xx"),
        ]
        .into();
        insta::assert_snapshot!(drawn.join("\n"));
    }

    #[test]
    fn the_end_of_a_line_is_a_place() {
        assert_eq!(excerpt("ab", 2), Excerpt { text: "ab".into(), start: 2, length: 1 });
        assert_eq!(excerpt("", 0), Excerpt { text: String::new(), start: 0, length: 1 });
    }

    proptest::proptest! {
        #[test]
        fn whatever_a_line_holds(line in "\\PC{0,200}", at: proptest::sample::Index) {
            let places: Vec<usize> = line.char_indices().map(|(at, _)| at).chain([line.len()]).collect();
            let Excerpt { text, start, .. } = excerpt(&line, *at.get(&places));
            proptest::prop_assert!(start <= text.chars().count() + 1);
            proptest::prop_assert!(!text.chars().any(crate::notation::steers));
        }
    }
}
