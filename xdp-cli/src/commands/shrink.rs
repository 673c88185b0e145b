//! `max_shrink`: whether lists of a configuration have lost more entries than they may, compared
//! with those in force.

use std::path::Path;

use crate::diagnostic::{Diagnostic, Excerpt};
use crate::image::metadata::{Kind, Metadata};
use crate::notation::{counted, grouped};
use crate::ruleset::{EntryCount, Guards, Ruleset};

/// A diagnostic for each list that has lost too much. A list that is not in force by the same name
/// and kind has lost nothing. `excerpts` are the text around each list's place, in the order of
/// [`listed`].
pub fn refusals(ruleset: &Ruleset, excerpts: &[Excerpt], in_force: &Metadata) -> Vec<Diagnostic> {
    let refusal = |(list, excerpt): (Listed<'_>, Option<&Excerpt>)| {
        let (title, most) = (list.kind.as_str(), list.guards.max_shrink?);
        let before = in_force.list_entries(list.kind, list.name)?.total();
        let now = (list.entries)().total();
        let lost = u128::from(before.saturating_sub(now));
        (lost * 100 > u128::from(before) * u128::from(most)).then(|| Diagnostic {
            file: ruleset.file_of(list.place.0).unwrap_or(Path::new("")).to_owned(),
            line: list.place.1,
            column: list.place.2,
            message: format!(
                "{title} \"{}\": {}, where {} in force, and max_shrink is {most}%",
                list.name,
                counted(now, "entry"),
                match before {
                    1 => "1 is".to_owned(),
                    before => grouped(before) + " are",
                }
            ),
            hint: Some(
                "see whether its files are whole; if that is meant, raise max_shrink".into(),
            ),
            excerpt: excerpt.cloned(),
        })
    };
    let excerpts = excerpts.iter().map(Some).chain(std::iter::repeat(None));
    listed(ruleset).zip(excerpts).filter_map(refusal).collect()
}

/// A list of either kind of entries.
struct Listed<'r> {
    kind: Kind,
    name: &'r str,
    guards: &'r Guards,
    /// File, line and column.
    place: (u16, u32, u32),
    /// Counts the entries, which takes long.
    entries: Box<dyn Fn() -> EntryCount + 'r>,
}

fn listed(ruleset: &Ruleset) -> impl Iterator<Item = Listed<'_>> {
    let allowlists = ruleset.allowlists.iter().map(|list| (Kind::Allowlist, list));
    let blocklists = ruleset.blocklists.iter().map(|list| (Kind::Blocklist, list));
    let of_prefixes = allowlists.chain(blocklists).map(|(kind, list)| Listed {
        kind,
        name: &list.name,
        guards: &list.guards,
        place: (list.file, list.line, list.column),
        entries: Box::new(|| list.entries()),
    });
    of_prefixes.chain(ruleset.domains.iter().map(|list| Listed {
        kind: Kind::Domains,
        name: &list.name,
        guards: &list.guards,
        place: (list.file, list.line, list.column),
        entries: Box::new(|| list.entries()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Loaded, load_with};

    /// A list of that kind with so many addresses.
    fn ruleset(kind: &str, number: usize, keys: &str) -> Ruleset {
        loaded(kind, number, keys).ruleset.unwrap()
    }

    fn loaded(kind: &str, number: usize, keys: &str) -> Loaded {
        let prefixes: String = (0..number).map(|last| format!("\"10.0.0.{last}\",")).collect();
        let text = format!(
            "[[{kind}]]\nname = \"x\"\nallow_empty = true\nprefixes = [{prefixes}]\n{keys}\n"
        );
        let read_file = |_: &Path| Ok(text.clone().into_bytes());
        let loaded = load_with(Path::new("x.toml"), &read_file);
        assert!(loaded.ruleset.is_some(), "{:?}", loaded.diagnostics);
        loaded
    }

    #[test]
    fn a_list_may_lose_as_much_as_it_says() {
        let in_force = Metadata::unbound(&ruleset("blocklist", 100, ""));
        let said = |kind, number, keys| {
            let found = refusals(&ruleset(kind, number, keys), &[], &in_force);
            found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        let half = "max_shrink = \"50%\"";
        for number in [50, 99, 200] {
            assert_eq!(said("blocklist", number, half), "");
        }
        insta::assert_snapshot!(said("blocklist", 49, half), @r#"x.toml:2:8: blocklist "x": 49 entries, where 100 are in force, and max_shrink is 50% (see whether its files are whole; if that is meant, raise max_shrink)"#);
        insta::assert_snapshot!(said("blocklist", 99, "max_shrink = \"0%\""), @r#"x.toml:2:8: blocklist "x": 99 entries, where 100 are in force, and max_shrink is 0% (see whether its files are whole; if that is meant, raise max_shrink)"#);
        insta::assert_snapshot!(said("blocklist", 1, half), @r#"x.toml:2:8: blocklist "x": 1 entry, where 100 are in force, and max_shrink is 50% (see whether its files are whole; if that is meant, raise max_shrink)"#);
        assert_eq!(said("blocklist", 0, "max_shrink = \"100%\""), "");
        assert_eq!(said("blocklist", 0, ""), "");
        // A list of another kind is another list.
        assert_eq!(said("allowlist", 1, half), "");
    }

    #[test]
    fn a_list_that_was_empty_loses_nothing() {
        let in_force = Metadata::unbound(&ruleset("blocklist", 0, ""));
        assert_eq!(refusals(&ruleset("blocklist", 0, "max_shrink = \"0%\""), &[], &in_force), []);
    }

    #[test]
    fn the_text_around_is_that_of_the_list() {
        let text = |number: usize| {
            let names = (0..number).map(|it| format!("\"{it}.example\",")).collect::<String>();
            let addresses = (0..number).map(|it| format!("\"10.0.0.{it}\",")).collect::<String>();
            let list = |kind: &str, name: &str, entries: &str| {
                format!("[[{kind}]]\nname = \"{name}\"\n{entries}\nmax_shrink = \"0%\"\n")
            };
            [
                list("domains", "c", &format!("names = [{names}]")),
                list("blocklist", "b", &format!("prefixes = [{addresses}]")),
                list("allowlist", "a", &format!("prefixes = [{addresses}]")),
            ]
            .concat()
        };
        let loaded =
            |number| load_with(Path::new("x.toml"), &|_: &Path| Ok(text(number).into_bytes()));
        let in_force = Metadata::unbound(&loaded(9).ruleset.unwrap());
        let now = loaded(8);
        let found = refusals(&now.ruleset.unwrap(), &now.excerpts, &in_force);
        let shown = found.iter().map(|it| {
            let Excerpt { text, start, .. } = it.excerpt.as_ref().unwrap();
            (it.line, text.as_str(), *start)
        });
        let expected = [(10, "name = \"a\"", 7), (6, "name = \"b\"", 7), (2, "name = \"c\"", 7)];
        assert_eq!(shown.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn names_are_guarded_too() {
        let names = |number: usize| {
            let names: String = (0..number).map(|it| format!("\"{it}.example\",")).collect();
            let text =
                format!("[[domains]]\nname = \"x\"\nnames = [{names}]\nmax_shrink = \"50%\"\n");
            let read_file = |_: &Path| Ok(text.clone().into_bytes());
            load_with(Path::new("x.toml"), &read_file).ruleset.unwrap()
        };
        let in_force = Metadata::unbound(&names(100));
        assert_eq!(refusals(&names(50), &[], &in_force), []);
        let said = refusals(&names(49), &[], &in_force)[0].to_string();
        insta::assert_snapshot!(said, @r#"x.toml:2:8: domains "x": 49 entries, where 100 are in force, and max_shrink is 50% (see whether its files are whole; if that is meant, raise max_shrink)"#);
    }
}
