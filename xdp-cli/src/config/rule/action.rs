//! What a rule does: its action, and the keys that belong to certain actions only.

use std::time::Duration;

use toml::de::DeValue;

use super::super::report::{Report, quote};
use super::super::table::{Placed, TomlTable};
use super::super::time::{self, SECOND};
use super::super::value::integer;
use super::field::{MAC_HINT, mac};
use crate::ruleset::limits::{Limit, Per};
use crate::ruleset::{RedirectTarget, Rewrite, RuleAction};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Pass,
    Drop,
    Redirect,
    Bounce,
    Block,
    SynCookie,
}

const ACTIONS: [(&str, Action); 6] = [
    ("pass", Action::Pass),
    ("drop", Action::Drop),
    ("redirect", Action::Redirect),
    ("bounce", Action::Bounce),
    ("block", Action::Block),
    ("syncookie", Action::SynCookie),
];

/// The longest life of an entry that a rule makes, a year: it is there to end by itself.
const LONGEST_LIFE: Duration = Duration::from_secs(31_557_600);

/// Reads what a rule does. `limit` is the rule's, if it has one.
pub(super) fn read(
    table: &mut TomlTable<'_>,
    limit: Option<&Limit>,
    report: &mut Report<'_>,
) -> Option<RuleAction> {
    let action_at = table.value("action").map(|value| value.at);
    let action = table.word("action", &ACTIONS, report);
    let to_at = table.value("to").map(|value| value.at);
    let to = target(table, report);
    let life_at = table.value("for").map(|value| value.at);
    let life = time::read(table, "for", SECOND..=LONGEST_LIFE, report);
    let (source_mac, source_at) = rewrite(table, "set_source_mac", report);
    let (destination_mac, destination_at) = rewrite(table, "set_destination_mac", report);
    if !table.has("action") {
        report.missing(
            table.place(),
            format!("{}: action is missing", table.title),
            "write \"pass\", \"drop\", \"redirect\", \"bounce\", \"block\" or \"syncookie\"",
        );
    }
    let action = action?;

    if let Some(at) = to_at
        && action != Action::Redirect
    {
        report.error(
            at,
            format!("{}: to without action = \"redirect\"", table.title),
            "leave to out, or redirect",
        );
    }
    if let Some(at) = life_at
        && action != Action::Block
    {
        report.error(
            at,
            format!("{}: for without action = \"block\"", table.title),
            "leave for out, or block the sources of what the rule matches",
        );
    }
    if !matches!(action, Action::Redirect | Action::Bounce) {
        let rewrites = [("set_source_mac", source_at), ("set_destination_mac", destination_at)];
        for (key, at) in rewrites {
            if let Some(at) = at {
                report.error(
                    at,
                    format!("{}: {key} without \"redirect\" or \"bounce\"", table.title),
                    "only what goes out by a rule can be rewritten",
                );
            }
        }
    }

    let rewrite = Rewrite { source_mac, destination_mac };
    match action {
        Action::Pass => Some(RuleAction::Pass),
        Action::Drop => Some(RuleAction::Drop),
        Action::Bounce => Some(RuleAction::Bounce { rewrite }),
        Action::SynCookie => Some(RuleAction::SynCookie),
        Action::Block => {
            let at = action_at.unwrap_or(table.at);
            if !table.has("for") {
                report.missing(
                    at,
                    format!("{}: action = \"block\" without for", table.title),
                    "say how long the source is blocked: for = \"10m\"",
                );
            }
            warn_of_innocents(table, at, limit, report);
            Some(RuleAction::Block { life: life?.value })
        }
        Action::Redirect => {
            if !table.has("to") {
                report.missing(
                    action_at.unwrap_or(table.at),
                    format!("{}: action = \"redirect\" without to", table.title),
                    "name the interface to redirect to: to = \"eth1\"",
                );
            }
            let (line, column) = report.place(to_at?);
            Some(RuleAction::Redirect { to: to?, rewrite, line, column })
        }
    }
}

/// Warns where a rule blocks sources that may have done nothing.
fn warn_of_innocents(
    table: &TomlTable<'_>,
    at: usize,
    limit: Option<&Limit>,
    report: &mut Report<'_>,
) {
    if !table.has("over") {
        report.warning(
            at,
            format!(
                "{}: without over, a single packet blocks its source, and who forges sources chooses \
                 who is blocked",
                table.title
            ),
            "block what is over a rate of each source, as over = \"100/s\" and per = \"source\", or \
             put whom it must never block into an [[allowlist]]",
        );
    } else if let Some(Limit { per: per @ (Per::Rule | Per::Destination(_)), .. }) = limit {
        let shared = if *per == Per::Rule { "the rule" } else { "a destination" };
        report.warning(
            at,
            format!(
                "{}: all sources share the limit of {shared}, so where it is over, each that sends is \
                 blocked, whoever used it up",
                table.title
            ),
            "write per = \"source\"",
        );
    }
}

/// A MAC address to write, and its place, which is known even if the address is wrong.
fn rewrite(
    table: &mut TomlTable<'_>,
    key: &'static str,
    report: &mut Report<'_>,
) -> (Option<[u8; 6]>, Option<usize>) {
    let at = table.value(key).map(|value| value.at);
    let text = table.string(key, MAC_HINT, report);
    (text.and_then(|text| mac(table, text, report)), at)
}

fn target(table: &mut TomlTable<'_>, report: &mut Report<'_>) -> Option<RedirectTarget> {
    let value = table.value("to")?;
    match value.value {
        DeValue::String(name) => {
            let name = Placed { at: value.at, value: &**name };
            match interface_name_fault(name.value) {
                None => return Some(RedirectTarget::Name(name.value.to_owned())),
                Some(hint) => report.error(
                    name.at,
                    format!(
                        "{}: {} cannot be the name of an interface",
                        table.title,
                        quote(name.value, 60)
                    ),
                    hint,
                ),
            }
        }
        DeValue::Integer(number) => {
            // The kernel keeps an ifindex in a signed 32-bit number.
            match integer(number).and_then(|number| i32::try_from(number).ok()) {
                Some(index) if index > 0 => {
                    return Some(RedirectTarget::Index(index.unsigned_abs()));
                }
                _ => {
                    let raw = value.raw(report);
                    let message = format!("{}: to {raw} is out of range", table.title);
                    report.error(value.at, message, "an ifindex is 1 to 2147483647");
                }
            }
        }
        _ => {
            let hint = "write an interface's name, or its ifindex as a number";
            table.wrong_type("to", "a string or an integer", &value, hint, report);
        }
    }
    None
}

/// Why the kernel would not give an interface this name (`dev_valid_name`); `None` if it would.
fn interface_name_fault(name: &str) -> Option<&'static str> {
    let kept_out = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':');
    if name.is_empty() || name.len() > 15 {
        Some("an interface's name has 1 to 15 bytes")
    } else if name == "." || name == ".." || name.contains(kept_out) {
        Some("an interface's name holds no blank, \"/\" or \":\", and is not \".\" or \"..\"")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_are_those_of_the_kernel() {
        for name in ["eth0", "enp3s0.100", "a", "123456789012345", "br-lan", "5", "..."] {
            assert_eq!(interface_name_fault(name), None, "{name}");
        }
        for name in ["", ".", "..", "a/b", "a b", "a\n", "a:1", "1234567890123456", "a\0"] {
            assert!(interface_name_fault(name).is_some(), "{name}");
        }
    }
}
