//! Names of lists, domains and rules.

use std::collections::HashMap;

use super::report::{Report, quote};
use super::table::TomlTable;

/// Most characters of a name.
const MAX_LENGTH: usize = 64;

/// Takes the name of each table, all kinds together, and from then on calls the table by it.
///
/// The tables come in the order of the text, so that of two that share a name the second is the
/// mistake.
pub(super) fn take(mut tables: Vec<&mut TomlTable<'_>>, report: &mut Report<'_>) {
    tables.sort_by_key(|table| table.at);
    let mut first_uses: HashMap<&str, (u32, String)> = HashMap::new();
    for table in tables {
        if !table.has("name") {
            report.missing(
                table.at,
                format!("this {} has no name", table.title),
                "add a line such as name = \"office\"",
            );
        }
        let Some(name) = table.string("name", "write a name in quotes", report) else {
            continue;
        };
        let kind = table.title.clone();
        let shown = quote(name.value, MAX_LENGTH);
        if let Some(why) = fault(name.value) {
            report.error(name.at, format!("{kind}: {shown} cannot be a name"), why);
        } else if let Some((line, other)) = first_uses.get(name.value) {
            report.error(
                name.at,
                format!("{kind}: the name {shown} is taken by the {other} in line {line}"),
                "a name is unique over all lists and rules",
            );
        } else {
            first_uses.insert(name.value, (report.source().line(name.at), kind));
        }
        table.title = format!("{} {shown}", table.title);
        table.name = Some(name);
    }
}

fn fault(name: &str) -> Option<&'static str> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() {
        Some("a name has at least one character")
    } else if !name.bytes().all(allowed) {
        Some("a name is made of the letters A to Z and a to z, digits, \".\", \"_\" and \"-\"")
    } else if name.len() > MAX_LENGTH {
        Some("a name has at most 64 characters")
    } else {
        None
    }
}
