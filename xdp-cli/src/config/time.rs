//! Times in a configuration.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::report::{Report, quote};
use super::table::{Placed, TomlTable};

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// The value of a key that takes a time in this range.
pub(super) fn read(
    table: &mut TomlTable<'_>,
    key: &'static str,
    range: RangeInclusive<Duration>,
    report: &mut Report<'_>,
) -> Option<Placed<Duration>> {
    let [least, most] = [range.start(), range.end()].map(|it| text(*it));
    let hint = format!("write a time of {least} to {most}, such as \"90s\" or \"1h 30m\"");
    let text = table.string(key, &hint, report)?;
    match humantime::parse_duration(text.value) {
        Ok(time) if range.contains(&time) => Some(Placed { at: text.at, value: time }),
        read => {
            let what = match read {
                Ok(_) => "is out of range",
                Err(_) => "is not a time",
            };
            let shown = quote(text.value, 60);
            report.error(text.at, format!("{}: {key} {shown} {what}", table.title), hint);
            None
        }
    }
}

/// A time as it is written in a configuration.
pub(super) fn text(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}
