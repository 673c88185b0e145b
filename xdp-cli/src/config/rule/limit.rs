//! The limit of a rule: `over`, `burst` and `per`.

use toml::de::DeValue;
use xdp_common::filter::limits::{MAX_WINDOW, UNIT_SHIFT};

use super::super::report::{Report, quote};
use super::super::table::{Placed, TomlTable};
use super::super::value::integer;
use crate::ruleset::limits::{
    FULL_FRAME, Lengths, Limit, Per, Quantity, Rate, Time, default_burst,
};

const OVER_HINT: &str = "write packets in a time, such as \"100/s\", \"20/m\" or \"5/h\", or bits or bytes, \
                         such as \"10Mbit/s\" or \"2MB/s\"";
const PER_HINT: &str = "write \"source\", \"destination\" or \"rule\"; behind an address, how many bits of it: \
                        \"source/24\", and of IPv6 behind a comma: \"source/24,48\"";
/// The most that a rate may be: 10^12 bits, or 10^9 packets, a second.
const MAX_BITS: u64 = 1_000_000_000_000;
const MAX_PACKETS: u64 = 1_000_000_000;
/// The most bytes that a burst may be.
const MAX_BURST_BYTES: u64 = 1_000_000_000_000;
/// How long a burst may take to come back, in seconds: whole days.
const MAX_SECONDS: u64 = (MAX_WINDOW << UNIT_SHIFT) / 1_000_000_000 / 86_400 * 86_400;

/// Reads the limit of a rule. `None` if it has none, or one with a mistake, which has been reported.
pub(super) fn read(table: &mut TomlTable<'_>, report: &mut Report<'_>) -> Option<Limit> {
    let over = table.string("over", OVER_HINT, report);
    let rate = over.and_then(|text| read_rate(table, text, report));
    let per = read_per(table, report);
    let burst = table.value("burst").map(|value| value.at);
    if !table.has("over") {
        for (key, at) in [("burst", burst), ("per", table.value("per").map(|value| value.at))] {
            if let Some(at) = at {
                report.error(
                    at,
                    format!("{}: {key} without over", table.title),
                    format!("say how much is too much, as over = \"100/s\", or leave {key} out"),
                );
            }
        }
        return None;
    }
    // A burst is read beside a wrong rate too, so that its own mistakes are told at once.
    let written = burst.map(|_| read_burst(table, rate.map(|rate| rate.of), report));
    let rate = rate?;
    let burst = match written {
        Some(burst) => burst?,
        None => Placed { at: over?.at, value: default_burst(rate) },
    };
    refuse_slow(table, rate, burst, written.is_none(), report)?;
    Some(Limit { rate, burst: burst.value, per: per? })
}

/// The number at the beginning of a text, and what follows it. One that is too large is the largest there is, which is
/// too much for everything.
fn number(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    (digits > 0).then(|| (number.parse().unwrap_or(u64::MAX), rest.trim_start()))
}

/// Whether a text begins with a number like `1.5` or `.5`.
fn has_fraction(text: &str) -> bool {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    rest.strip_prefix('.').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// What a unit of bits or bytes is in bits. A `b` by itself is said by some of bits and by others of bytes.
fn bits(unit: &str) -> Option<u64> {
    let (prefix, unit) = if let Some(prefix) = unit.strip_suffix('B') {
        (prefix, 8)
    } else {
        let at = unit.len().checked_sub(3)?;
        let (prefix, bit) = (unit.get(..at)?, unit.get(at..)?);
        if !bit.eq_ignore_ascii_case("bit") {
            return None;
        }
        (prefix, 1)
    };
    let times: u64 = match prefix {
        "" => 1,
        "k" | "K" => 1_000,
        "M" | "m" => 1_000_000,
        "G" | "g" => 1_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => return None,
    };
    Some(times * unit)
}

fn read_rate(table: &TomlTable<'_>, text: Placed<&str>, report: &mut Report<'_>) -> Option<Rate> {
    let mut refuse = |what: &str, hint: &str| {
        let message = format!("{}: over {} {what}", table.title, quote(text.value, 60));
        report.error(text.at, message, hint);
        None
    };
    let Some((amount, time)) = text.value.trim().split_once('/') else {
        return refuse("is not a rate", OVER_HINT);
    };
    let time = match time.trim() {
        "s" | "sec" | "second" => Time::Second,
        "m" | "min" | "minute" => Time::Minute,
        "h" | "hour" => Time::Hour,
        "d" | "day" => Time::Day,
        _ => return refuse("is not in a time", "write /s, /m, /h or /d behind the amount"),
    };
    if has_fraction(amount.trim()) {
        let hint = "write a whole number: 1500kbit/s for 1.5Mbit/s, 90/m for 1.5/s";
        return refuse("has a fraction", hint);
    }
    let Some((amount, unit)) = number(amount.trim()) else {
        return refuse("is not a rate", OVER_HINT);
    };
    let (of, times, most) = match unit {
        "" | "packets" | "packet" => (Quantity::Packets, 1, MAX_PACKETS),
        unit => match bits(unit) {
            Some(bits) => (Quantity::Bits, bits, MAX_BITS),
            None => {
                let hint = "the units are bit, kbit, Mbit and Gbit, and B, kB, MB, GB, KiB, MiB and GiB; \
                            packets have none";
                return refuse("has an unknown unit", hint);
            }
        },
    };
    let whole = amount.checked_mul(times).filter(|all| *all <= most * time.seconds());
    match whole {
        Some(0) => refuse(
            "is nothing at all",
            "a rule that is to match every packet has no over: leave it out",
        ),
        Some(amount) => Some(Rate { amount, of, time }),
        None => refuse("is too much", "the most are 1000Gbit/s and 1000000000/s"),
    }
}

/// Reads a burst. `of` is what the rate counts; where that could not be read, only what is wrong with every rate is.
fn read_burst(
    table: &mut TomlTable<'_>,
    of: Option<Quantity>,
    report: &mut Report<'_>,
) -> Option<Placed<u64>> {
    const OF_PACKETS: &str = "write how many packets may come at once, such as 20: at least 1";
    const OF_BYTES: &str = "write how many bytes may come at once, such as \"64KB\": at least 1";
    let value = table.value("burst")?;
    let at = value.at;
    let (of, read) = match (of, value.value) {
        (None | Some(Quantity::Packets), DeValue::Integer(number)) => {
            // One that is too long to be read is as wrong as the longest that can be.
            let most = if number.as_str().starts_with('-') { i128::MIN } else { i128::MAX };
            (Quantity::Packets, Some(integer(number).unwrap_or(most)))
        }
        (None | Some(Quantity::Bits), DeValue::String(text)) => {
            let text = text.trim();
            if has_fraction(text) {
                let message =
                    format!("{}: burst {} has a fraction", table.title, value.raw(report));
                report.error(at, message, "write a whole number: \"1500KB\" for \"1.5MB\"");
                return None;
            }
            let bytes = number(text).and_then(|(number, unit)| {
                let bits = bits(unit).filter(|_| unit.ends_with('B'))?;
                Some(i128::from(number) * i128::from(bits / 8))
            });
            (Quantity::Bits, bytes)
        }
        (of, _) => {
            let (expected, hint) = match of {
                Some(Quantity::Packets) => {
                    ("an integer where over is in packets", OF_PACKETS.to_owned())
                }
                Some(Quantity::Bits) => {
                    ("a string with a unit where over is in bits or bytes", OF_BYTES.to_owned())
                }
                None => (
                    "an integer, or a string with a unit where over is in bits or bytes",
                    "write how many packets may come at once, such as 20, or bytes, such as \"64KB\""
                        .to_owned(),
                ),
            };
            table.wrong_type("burst", expected, &value, hint, report);
            return None;
        }
    };
    let (most, hint, hint_of_most) = match of {
        Quantity::Packets => (u32::MAX.into(), OF_PACKETS, format!("the most is {}", u32::MAX)),
        Quantity::Bits => (MAX_BURST_BYTES, OF_BYTES, "the most is 1000GB".to_owned()),
    };
    let burst = match read {
        Some(number) if number > i128::from(most) => {
            let message = format!("{}: burst {} is too much", table.title, value.raw(report));
            report.error(at, message, hint_of_most);
            return None;
        }
        read => read.and_then(|number| u64::try_from(number).ok()).filter(|number| *number > 0),
    };
    let Some(burst) = burst else {
        let message = format!("{}: burst cannot be {}", table.title, value.raw(report));
        report.error(at, message, hint);
        return None;
    };
    if of == Quantity::Bits && burst < FULL_FRAME {
        report.warning(
            at,
            format!(
                "{}: a burst of {burst} bytes is less than a full frame, which is always over",
                table.title
            ),
            format!("a full Ethernet frame has {FULL_FRAME} bytes"),
        );
    }
    Some(Placed { at, value: burst })
}

/// Refuses a limit whose burst would take too long to come back.
fn refuse_slow(
    table: &TomlTable<'_>,
    rate: Rate,
    burst: Placed<u64>,
    is_default: bool,
    report: &mut Report<'_>,
) -> Option<()> {
    let of_one = match rate.of {
        Quantity::Packets => 1_u128,
        Quantity::Bits => 8,
    };
    let seconds = u128::from(burst.value) * of_one * u128::from(rate.time.seconds())
        / u128::from(rate.amount);
    if seconds <= u128::from(MAX_SECONDS) {
        return Some(());
    }
    let days = MAX_SECONDS / 86_400;
    let shown = match (is_default, rate.of) {
        (false, _) => format!("a burst of {}", burst.value),
        (true, Quantity::Packets) => format!("the default burst, {} packets,", burst.value),
        (true, Quantity::Bits) => format!("the default burst, {} bytes,", burst.value),
    };
    report.error(
        burst.at,
        format!("{}: at {rate}, {shown} takes more than {days} days to come back", table.title),
        "write a higher rate or a smaller burst",
    );
    None
}

fn read_per(table: &mut TomlTable<'_>, report: &mut Report<'_>) -> Option<Per> {
    let Some(value) = table.value("per") else { return Some(Per::Rule) };
    let text = Placed { at: value.at, value: table.string("per", PER_HINT, report)?.value };
    let (key, lengths) = match text.value.split_once('/') {
        Some((key, lengths)) => (key.trim(), Some(lengths)),
        None => (text.value.trim(), None),
    };
    let per: fn(Lengths) -> Per = match (key, lengths) {
        ("rule", None) => return Some(Per::Rule),
        ("source", _) => Per::Source,
        ("destination", _) => Per::Destination,
        _ => {
            let message = format!("{}: per cannot be {}", table.title, quote(text.value, 60));
            report.error(text.at, message, PER_HINT);
            return None;
        }
    };
    let Some(lengths) = lengths else { return Some(per(Lengths::default())) };
    let lengths = read_lengths(lengths);
    if lengths.is_none() {
        let message = format!("{}: per cannot be {}", table.title, quote(text.value, 60));
        let hint =
            "of IPv4 1 to 32 bits are a key, of IPv6 1 to 128: \"source/24\", \"source/24,48\"";
        report.error(text.at, message, hint);
    }
    lengths.map(per)
}

/// Reads `24`, `48`, `24,48` and `24,/48`. A length that IPv4 cannot have is that of IPv6.
fn read_lengths(text: &str) -> Option<Lengths> {
    let usual = Lengths::default();
    let length = |text: &str, most: u8| {
        let text = text.trim();
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u8>().ok().filter(|length| digits && (1..=most).contains(length))
    };
    let Some((v4, v6)) = text.split_once(',') else {
        return match length(text, 128)? {
            v4 @ ..=32 => Some(Lengths { v4, ..usual }),
            v6 => Some(Lengths { v6, ..usual }),
        };
    };
    let v6 = v6.trim();
    Some(Lengths { v4: length(v4, 32)?, v6: length(v6.strip_prefix('/').unwrap_or(v6), 128)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_keys() {
        let read = |text| read_lengths(text).map(|lengths| (lengths.v4, lengths.v6));
        assert_eq!(read("24"), Some((24, 64)));
        assert_eq!(read("48"), Some((32, 48)));
        assert_eq!(read("24,48"), Some((24, 48)));
        assert_eq!(read("24, /48"), Some((24, 48)));
        for wrong in ["", "0", "129", "33,48", "24,129", "24,0", "+24", "24,", ",48", "24,48,3"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn units_of_bits_and_bytes() {
        for (unit, expected) in [
            ("bit", 1),
            ("kbit", 1_000),
            ("Mbit", 1_000_000),
            ("mbit", 1_000_000),
            ("Gbit", 1_000_000_000),
            ("Kibit", 1 << 10),
            ("B", 8),
            ("KB", 8_000),
            ("MiB", 8 << 20),
        ] {
            assert_eq!(bits(unit), Some(expected), "{unit}");
        }
        for unit in ["", "b", "Mb", "mb", "xbit", "Tbit", "bits", "é", "ébit"] {
            assert_eq!(bits(unit), None, "{unit}");
        }
    }
}
