//! Reads the conditions that are numbers and ranges of numbers: lengths, TTLs and code points.

use toml::de::DeValue;

use super::super::report::{Report, quote};
use super::super::table::{Placed, TomlTable, did_you_mean};
use super::super::value::integer;
use super::field::values;
use crate::ruleset::MAX_DSCP;

/// What the values of a key are.
pub(super) struct Numbers {
    /// What is wrong with a number beyond the highest.
    limit: &'static str,
    hint: &'static str,
}

pub(super) const LENGTH: Numbers = Numbers {
    limit: "a length is 0 to 65535 bytes",
    hint: "write bytes such as 1500, a range such as \"1000-1500\", or a list of them",
};

pub(super) const TTL: Numbers = Numbers {
    limit: "a TTL is 0 to 255",
    hint: "write a TTL such as 64, a range such as \"0-4\", or a list of them",
};

/// Reads one number, one range, or a list of these.
pub(super) fn ranges<T: Copy + PartialOrd + TryFrom<i128>>(
    table: &mut TomlTable<'_>,
    key: &'static str,
    numbers: &Numbers,
    report: &mut Report<'_>,
) -> Option<Placed<Vec<(T, T)>>> {
    let Placed { at, value: values } = values(table, key, report)?;
    let mut ranges = Vec::with_capacity(values.len());
    for value in values {
        let read = match value.value {
            DeValue::Integer(number) => integer(number)
                .and_then(|number| T::try_from(number).ok())
                .map(|number| (number, number))
                .ok_or_else(|| {
                    (format!("{key} {} is out of range", value.raw(report)), numbers.limit)
                }),
            DeValue::String(text) => range(text, numbers)
                .map_err(|hint| (format!("{key} cannot be {}", quote(text, 60)), hint)),
            _ => {
                let expected = "an integer, a string or an array of them";
                table.wrong_type(key, expected, &value, numbers.hint, report);
                continue;
            }
        };
        match read {
            Ok(range) => ranges.push(range),
            Err((message, hint)) => {
                report.error(value.at, format!("{}: {message}", table.title), hint);
            }
        }
    }
    Some(Placed { at, value: ranges })
}

/// Reads `64` or `0-4`. The error is a hint.
fn range<T: Copy + PartialOrd + TryFrom<i128>>(
    text: &str,
    numbers: &Numbers,
) -> Result<(T, T), &'static str> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(numbers.hint);
        }
        let number = text.parse().ok().and_then(|number: i128| T::try_from(number).ok());
        number.ok_or(numbers.limit)
    };
    match (number(first)?, number(last)?) {
        (first, last) if first <= last => Ok((first, last)),
        _ => Err("write the lower number first"),
    }
}

/// Code points by name (IANA, Differentiated Services Field Codepoints). "be" is iptables' name for
/// code point 0.
const DSCP: [(&str, u8); 24] = [
    ("cs0", 0),
    ("be", 0),
    ("le", 1),
    ("cs1", 8),
    ("af11", 10),
    ("af12", 12),
    ("af13", 14),
    ("cs2", 16),
    ("af21", 18),
    ("af22", 20),
    ("af23", 22),
    ("cs3", 24),
    ("af31", 26),
    ("af32", 28),
    ("af33", 30),
    ("cs4", 32),
    ("af41", 34),
    ("af42", 36),
    ("af43", 38),
    ("cs5", 40),
    ("va", 44),
    ("ef", 46),
    ("cs6", 48),
    ("cs7", 56),
];
const DSCP_HINT: &str = "a number of 0 to 63, or a name such as \"ef\", \"af41\" or \"cs5\"";

const CODE_POINT: Numbers = Numbers {
    limit: "a code point is 0 to 63",
    hint: "write a number of 0 to 63, a range such as \"8-14\", or a name such as \"ef\"",
};

/// A code point as a number.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
struct CodePoint(u8);

impl TryFrom<i128> for CodePoint {
    type Error = ();

    fn try_from(number: i128) -> Result<Self, ()> {
        u8::try_from(number).ok().filter(|point| *point <= MAX_DSCP).map(Self).ok_or(())
    }
}

/// Reads one code point, given by number or by name. The error is a hint.
pub fn code_point(text: &str) -> Result<u8, String> {
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        let number = text.parse().ok().filter(|point| *point <= MAX_DSCP);
        return number.ok_or_else(|| CODE_POINT.limit.to_owned());
    }
    match DSCP.iter().find(|(name, _)| *name == text) {
        Some((_, point)) => Ok(*point),
        None => Err(did_you_mean(text, DSCP.iter().map(|(name, _)| *name), DSCP_HINT)),
    }
}

/// Reads code points, given by number, by name or as ranges of numbers.
pub(super) fn dscp(
    table: &mut TomlTable<'_>,
    key: &'static str,
    report: &mut Report<'_>,
) -> Option<Placed<Vec<u8>>> {
    let Placed { at, value: values } = values(table, key, report)?;
    let mut points = Vec::with_capacity(values.len());
    for value in values {
        let (message, hint) = match value.value {
            DeValue::Integer(number) => {
                match integer(number).and_then(|number| CodePoint::try_from(number).ok()) {
                    Some(CodePoint(point)) => {
                        points.push(point);
                        continue;
                    }
                    None => {
                        let raw = value.raw(report);
                        (format!("{key} {raw} is out of range"), format!("write {DSCP_HINT}"))
                    }
                }
            }
            DeValue::String(text) => {
                if let Some((_, point)) = DSCP.iter().find(|(name, _)| name == text) {
                    points.push(*point);
                    continue;
                }
                let hint = if text.parse::<u8>().is_ok() {
                    "write the number without quotes".into()
                } else if text.starts_with(|c: char| c.is_ascii_digit()) {
                    match range(text, &CODE_POINT) {
                        Ok((CodePoint(first), CodePoint(last))) => {
                            points.extend(first..=last);
                            continue;
                        }
                        Err(hint) => hint.into(),
                    }
                } else {
                    did_you_mean(text, DSCP.iter().map(|(name, _)| *name), DSCP_HINT)
                };
                (format!("{key} cannot be {}", quote(text, 60)), hint)
            }
            _ => {
                let expected = "an integer, a string or an array of them";
                let hint = format!("write {DSCP_HINT}");
                table.wrong_type(key, expected, &value, &hint, report);
                continue;
            }
        };
        report.error(value.at, format!("{}: {message}", table.title), hint);
    }
    Some(Placed { at, value: points })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_points_by_number_and_by_name() {
        let points = ["63", "ef", "cs0"].map(code_point);
        assert_eq!(points, [Ok(63), Ok(46), Ok(0)]);
        for (wrong, why) in [
            ("64", "a code point is 0 to 63"),
            ("8-14", "a code point is 0 to 63"),
            ("+1", "write a number of 0 to 63"),
            ("", "write a number of 0 to 63"),
            ("af4", "did you mean \"af41\"?"),
        ] {
            let said = code_point(wrong).unwrap_err();
            assert!(said.starts_with(why), "{wrong}: {said}");
        }
    }

    #[test]
    fn ranges_of_numbers() {
        assert_eq!(range("0", &TTL), Ok((0u8, 0)));
        assert_eq!(range("0-255", &TTL), Ok((0u8, 255)));
        assert_eq!(range("20-65535", &LENGTH), Ok((20u16, 65535)));
        assert_eq!(range::<u8>("256", &TTL), Err(TTL.limit));
        assert_eq!(range::<u8>("1-256", &TTL), Err(TTL.limit));
        assert_eq!(
            range::<u16>("99999999999999999999999999999999999999999", &LENGTH),
            Err(LENGTH.limit)
        );
        assert_eq!(range::<u8>("4-1", &TTL), Err("write the lower number first"));
        for text in ["", "-", "1-", "-1", "+1", "1 - 2", "1-2-3", "1:2", "<5", "x"] {
            assert_eq!(range::<u8>(text, &TTL), Err(TTL.hint), "{text}");
        }
    }
}
