//! Names of lists, domains and rules: each may be used once.

use std::collections::HashMap;

use xdp_common::capacity::MAX_NAME;

use super::name::fault;
use super::report::{Report, quote};
use super::table::TomlTable;

/// Reads the name of each table and checks that no other table of any kind has it. From then on
/// messages call the table by its name.
///
/// Tables are taken in the order of the text, so that the second of two that share a name is the
/// mistake.
pub(super) fn take(mut tables: Vec<&mut TomlTable<'_>>, report: &mut Report<'_>) {
    tables.sort_by_key(|table| table.at);
    let mut first_uses: HashMap<&str, (usize, String)> = HashMap::new();
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
        let shown = quote(name.value, MAX_NAME);
        if let Some(why) = fault(name.value) {
            report.error(name.at, format!("{kind}: {shown} cannot be a name"), why);
        } else if let Some((first, other)) = first_uses.get(name.value) {
            let line = report.line_seen_from(*first, name.at);
            report.error(
                name.at,
                format!("{kind}: the name {shown} is taken by the {other} in {line}"),
                "a name is unique over all lists and rules",
            );
        } else {
            first_uses.insert(name.value, (name.at, kind));
        }
        table.title = format!("{} {shown}", table.title);
        table.name = Some(name);
    }
}
