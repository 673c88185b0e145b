//! Reads the conditions of a rule, each by itself.

use toml::de::DeValue;

use super::super::define::Expanded;
use super::super::list::read_prefixes;
use super::super::names::Names;
use super::super::prefix::IpPrefix;
use super::super::report::{Report, quote};
use super::super::spelling::closest;
use super::super::table::{Placed, TomlTable, did_you_mean};
use super::super::value::{Value, integer};
use crate::ruleset::{Fragment, Protocol, TCP_FLAGS, TcpFlags, Vlan};

const PROTOCOL_HINT: &str =
    "write \"tcp\", \"udp\", \"sctp\", \"icmp\", \"icmpv6\", another name or a number of 0 to 255";

/// Protocol numbers of ICMP and ICMPv6.
pub(super) const ICMP: u8 = 1;
pub(super) const ICMPV6: u8 = 58;

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const SCTP: u8 = 132;

/// Protocol numbers that are extension headers in IPv6, but ordinary protocols in IPv4: hop-by-hop,
/// routing, fragment, AH, destination options, mobility, HIP and shim6.
pub(super) const EXTENSION_HEADERS: [u8; 8] = [0, 43, 44, 51, 60, 135, 139, 140];

/// Reads the one protocol of a rule.
pub(super) fn protocol(
    table: &mut TomlTable<'_>,
    names: &Names<'_>,
    report: &mut Report<'_>,
) -> Option<Placed<Vec<Protocol>>> {
    let value = table.value("protocol")?;
    let expected = "a string or an integer";
    let protocol = one_protocol(table, "protocol", expected, &value, names, report)?;
    Some(Placed { at: value.at, value: vec![protocol] })
}

/// Reads one protocol or a list of them.
pub(super) fn protocols(
    table: &mut TomlTable<'_>,
    key: &'static str,
    names: &Names<'_>,
    report: &mut Report<'_>,
) -> Option<Placed<Vec<Protocol>>> {
    let Placed { at, value: values } = values(table, key, report)?;
    let expected = "a string, an integer or an array of them";
    let read = |value: &Value<'_>| one_protocol(table, key, expected, value, names, report);
    Some(Placed { at, value: values.iter().filter_map(read).collect() })
}

fn one_protocol(
    table: &TomlTable<'_>,
    key: &str,
    expected: &str,
    value: &Value<'_>,
    names: &Names<'_>,
    report: &mut Report<'_>,
) -> Option<Protocol> {
    let (message, hint) = match value.value {
        DeValue::String(text) => {
            let hint = match names.protocol(text) {
                Ok(ICMP) => return Some(Protocol::Icmp),
                Ok(ICMPV6) => return Some(Protocol::Icmpv6),
                Ok(number) => return Some(Protocol::Number(number)),
                Err(_) if text.parse::<u8>().is_ok() => "write the number without quotes".into(),
                Err(hint) => hint,
            };
            (format!("{key} cannot be {}", quote(text, 60)), hint)
        }
        DeValue::Integer(number) => match integer(number).map(u8::try_from) {
            Some(Ok(number)) => return Some(Protocol::Number(number)),
            _ => (
                format!("{key} {} is out of range", value.raw(report)),
                "a protocol number is 0 to 255".into(),
            ),
        },
        _ => {
            table.wrong_type(key, expected, value, PROTOCOL_HINT, report);
            return None;
        }
    };
    report.error(value.at, format!("{}: {message}", table.title), hint);
    None
}

/// The values of a key that takes one value or a list. An empty list is reported.
pub(in super::super) fn values<'t>(
    table: &mut TomlTable<'t>,
    key: &'static str,
    report: &mut Report<'_>,
) -> Option<Placed<Vec<Value<'t>>>> {
    let value = table.value(key)?;
    let values = value.one_or_more();
    if values.is_empty() {
        let message = if key.starts_with("not_") {
            format!("{}: {key} is empty: it excludes nothing", table.title)
        } else {
            format!("{}: {key} is empty: the rule can never match", table.title)
        };
        let hint = format!("name at least one, or leave {key} out to match everything");
        report.missing(value.at, message, hint);
        return None;
    }
    Some(Placed { at: value.at, value: values })
}

/// Like [`values`], with each name of `[define]` replaced by what it stands for. Also returns the
/// place of the key's value.
fn values_and_names<'t>(
    table: &mut TomlTable<'t>,
    key: &'static str,
    report: &mut Report<'_>,
) -> Option<(usize, Expanded<'t>)> {
    let Placed { at, value: values } = values(table, key, report)?;
    Some((at, table.expand(values, report)))
}

/// Reads prefixes. `None` if the key is missing, and also if any value is wrong, since it is not
/// known then which families the rule means.
pub(in super::super) fn prefixes(
    table: &mut TomlTable<'_>,
    key: &'static str,
    report: &mut Report<'_>,
) -> Option<Vec<Placed<IpPrefix>>> {
    let hint = "write a prefix such as \"10.0.0.0/8\", or a list of them";
    let (prefixes, is_whole) = readable_prefixes(table, key, hint, report)?;
    is_whole.then_some(prefixes)
}

/// Reads those prefixes that can be read, and whether that is all of them. `None` if the key is missing. `hint` says
/// what to write in place of a value of the wrong type.
pub(in super::super) fn readable_prefixes(
    table: &mut TomlTable<'_>,
    key: &'static str,
    hint: &str,
    report: &mut Report<'_>,
) -> Option<(Vec<Placed<IpPrefix>>, bool)> {
    let (_, Expanded { values, is_partial }) = values_and_names(table, key, report)?;
    let mut is_whole = !is_partial;
    let mut prefixes = Vec::with_capacity(values.len());
    for value in values {
        let at = value.at;
        let DeValue::String(text) = value.value else {
            table.wrong_type(key, "a string or an array of strings", &value, hint, report);
            is_whole = false;
            continue;
        };
        match read_prefixes(&table.title, Placed { at, value: text }, report) {
            Some(read) => prefixes.extend(read.iter().map(|&value| Placed { at, value })),
            None => is_whole = false,
        }
    }
    Some((prefixes, is_whole))
}

pub(in super::super) fn ports(
    table: &mut TomlTable<'_>,
    key: &'static str,
    protocol: Option<Protocol>,
    names: &Names<'_>,
    report: &mut Report<'_>,
) -> Option<Placed<Vec<(u16, u16)>>> {
    // The name in /etc/services of a protocol that has ports.
    let of = match protocol {
        Some(Protocol::Number(6)) => Some("tcp"),
        Some(Protocol::Number(17)) => Some("udp"),
        Some(Protocol::Number(132)) => Some("sctp"),
        _ => None,
    };
    let (at, Expanded { values, .. }) = values_and_names(table, key, report)?;
    let mut ports = Vec::with_capacity(values.len());
    for value in values {
        let read = match value.value {
            DeValue::Integer(number) => integer(number)
                .and_then(|number| u16::try_from(number).ok())
                .map(|port| (port, port))
                .ok_or_else(|| {
                    (format!("{key} {} is out of range", value.raw(report)), PORT_HINT.into())
                }),
            DeValue::String(text) => port_range(text)
                .unwrap_or_else(|| names.port(text, of).map(|port| (port, port)))
                .map_err(|hint| (format!("{key} cannot be {}", quote(text, 60)), hint)),
            _ => {
                let expected = "an integer, a string or an array of them";
                let hint = "write a port such as 53, a range such as \"1024-65535\", \
                            or a list of them";
                table.wrong_type(key, expected, &value, hint, report);
                continue;
            }
        };
        match read {
            Ok(range) => ports.push(range),
            Err((message, hint)) => {
                report.error(value.at, format!("{}: {message}", table.title), hint);
            }
        }
    }
    Some(Placed { at, value: ports })
}

const PORT_HINT: &str = "a port is 0 to 65535";

/// Reads `53` or `1024-65535`; `None` if it is neither, but perhaps a name. The error is a hint.
fn port_range(text: &str) -> Option<Result<(u16, u16), String>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(first) || !digits(last) {
        let is_number = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | ':' | ' ');
        return text
            .chars()
            .all(is_number)
            .then(|| Err("write a port such as 53, or a range such as \"1024-65535\"".to_owned()));
    }
    Some(match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if first <= last => Ok((first, last)),
        (Ok(_), Ok(_)) => Err("write the lower port first".into()),
        _ => Err(PORT_HINT.into()),
    })
}

/// Reads one number or a list of numbers, each of which must fit `T`.
fn integers<T: TryFrom<i128>>(
    table: &mut TomlTable<'_>,
    key: &'static str,
    expected: &str,
    hint: &str,
    report: &mut Report<'_>,
) -> Option<Placed<Vec<T>>> {
    let values = values(table, key, report)?;
    let mut numbers = Vec::with_capacity(values.value.len());
    for value in values.value {
        let DeValue::Integer(number) = value.value else {
            table.wrong_type(key, expected, &value, hint, report);
            continue;
        };
        match integer(number).and_then(|number| T::try_from(number).ok()) {
            Some(number) => numbers.push(number),
            None => {
                let raw = value.raw(report);
                let message = format!("{}: {key} {raw} is out of range", table.title);
                report.error(value.at, message, hint);
            }
        }
    }
    Some(Placed { at: values.at, value: numbers })
}

pub(super) fn tcp_flags(
    table: &mut TomlTable<'_>,
    key: &'static str,
    report: &mut Report<'_>,
) -> Option<Placed<TcpFlags>> {
    let example = "write flags with commas between, such as \"syn,!ack\"";
    let text = table.string(key, example, report)?;
    let mut flags = TcpFlags { mask: 0, value: 0 };
    for part in text.value.split(',').map(str::trim) {
        let (name, set) = match part.strip_prefix('!') {
            Some(name) => (name, false),
            None => (part, true),
        };
        let Some(bit) = TCP_FLAGS.iter().position(|flag| *flag == name) else {
            let hint = match closest(name, TCP_FLAGS) {
                Some(meant) => format!("did you mean {meant:?}?"),
                None if part.is_empty() => example.into(),
                None => format!("the flags are {}", TCP_FLAGS.join(", ")),
            };
            let message = format!(
                "{}: {} in {key} = {} is not a flag",
                table.title,
                quote(name, 60),
                quote(text.value, 60)
            );
            report.error(text.at, message, hint);
            return None;
        };
        let (bit, before) = (1 << bit, flags);
        flags.mask |= bit;
        flags.value |= if set { bit } else { 0 };
        if before.mask & bit != 0 && (before.value & bit != 0) != set {
            let outcome = if key == "tcp_flags" { "can never match" } else { "excludes nothing" };
            let message = format!("{}: {key} = {} {outcome}", table.title, quote(text.value, 60));
            report.error(text.at, message, format!("{name:?} cannot be both set and not set"));
            return None;
        }
    }
    Some(Placed { at: text.at, value: flags })
}

/// Highest VLAN id: 12 bits (IEEE 802.1Q).
const MAX_VLAN: u16 = 4095;

pub(super) fn vlan(
    table: &mut TomlTable<'_>,
    key: &'static str,
    report: &mut Report<'_>,
) -> Option<Placed<Vlan>> {
    let hint = "write an id of 0 to 4095, a list of ids, or \"none\" for untagged frames";
    let value = table.value(key)?;
    let at = value.at;
    if let DeValue::String(text) = value.value {
        if text == "none" {
            return Some(Placed { at, value: Vlan::Untagged });
        }
        let hint = if text.parse::<u16>().is_ok() { "write the id without quotes" } else { hint };
        let message = format!("{}: {key} cannot be {}", table.title, quote(text, 60));
        report.error(value.at, message, hint);
        return None;
    }
    let expected = "an integer, an array of integers or \"none\"";
    let ids: Placed<Vec<VlanId>> = integers(table, key, expected, hint, report)?;
    Some(Placed { at, value: Vlan::Ids(ids.value.into_iter().map(|VlanId(id)| id).collect()) })
}

struct VlanId(u16);

impl TryFrom<i128> for VlanId {
    type Error = ();

    fn try_from(number: i128) -> Result<Self, ()> {
        u16::try_from(number).ok().filter(|id| *id <= MAX_VLAN).map(Self).ok_or(())
    }
}

/// Reads whether a packet is a fragment, and which.
pub(super) fn fragment(
    table: &mut TomlTable<'_>,
    key: &'static str,
    report: &mut Report<'_>,
) -> Option<Placed<Fragment>> {
    const HINT: &str = "write true, false, \"first\" or \"later\"";
    let value = table.value(key)?;
    let at = value.at;
    let fragment = match value.value {
        DeValue::Boolean(true) => Fragment::Any,
        DeValue::Boolean(false) => Fragment::None,
        DeValue::String(text) if text == "first" => Fragment::First,
        DeValue::String(text) if text == "later" => Fragment::Later,
        DeValue::String(text) => {
            let hint = if matches!(&**text, "true" | "false") {
                format!("write {text} without quotes")
            } else {
                did_you_mean(text, ["first", "later"], "true, false, \"first\" or \"later\"")
            };
            let message = format!("{}: {key} cannot be {}", table.title, quote(text, 60));
            report.error(at, message, hint);
            return None;
        }
        _ => {
            table.wrong_type(key, "a boolean or a string", &value, HINT, report);
            return None;
        }
    };
    Some(Placed { at, value: fragment })
}

pub(super) fn macs(
    table: &mut TomlTable<'_>,
    key: &'static str,
    report: &mut Report<'_>,
) -> Option<Placed<Vec<[u8; 6]>>> {
    let Placed { at, value: values } = values(table, key, report)?;
    let mut addresses = Vec::with_capacity(values.len());
    for value in values {
        match value.value {
            DeValue::String(text) => {
                addresses.extend(mac(table, Placed { at: value.at, value: text }, report));
            }
            _ => {
                let expected = "a string or an array of strings";
                table.wrong_type(key, expected, &value, MAC_HINT, report);
            }
        }
    }
    Some(Placed { at, value: addresses })
}

pub(super) const MAC_HINT: &str = "write a MAC address such as \"02:00:00:00:00:01\"";

/// Reads a MAC address, whose bytes are separated by `:` or by `-`.
pub(super) fn mac(
    table: &TomlTable<'_>,
    text: Placed<&str>,
    report: &mut Report<'_>,
) -> Option<[u8; 6]> {
    let address = parse_mac(text.value);
    if address.is_none() {
        let message = format!("{}: {} is not a MAC address", table.title, quote(text.value, 60));
        report.error(text.at, message, MAC_HINT);
    }
    address
}

pub(crate) fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let separator = if text.contains('-') { '-' } else { ':' };
    let mut parts = text.split(separator);
    let mut address = [0; 6];
    for byte in &mut address {
        let part = parts.next()?;
        // The number parser alone would accept a sign.
        if part.len() != 2 || !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_addresses() {
        let address = Some([0x02, 0, 0, 0xab, 0xcd, 0xef]);
        assert_eq!(parse_mac("02:00:00:ab:cd:ef"), address);
        assert_eq!(parse_mac("02-00-00-AB-CD-Ef"), address);
        for text in [
            "",
            "02:00:00:ab:cd",
            "02:00:00:ab:cd:ef:00",
            "02:00-00:ab:cd:ef",
            "2:0:0:ab:cd:ef",
            "02:00:00:ab:cd:+f",
            "0200.00ab.cdef",
            "02:00:00:ab:cd:eg",
        ] {
            assert_eq!(parse_mac(text), None, "{text}");
        }
    }

    #[test]
    fn port_ranges() {
        assert_eq!(port_range("0"), Some(Ok((0, 0))));
        assert_eq!(port_range("0-65535"), Some(Ok((0, 65535))));
        assert_eq!(port_range("7-7"), Some(Ok((7, 7))));
        for text in ["", "-", "1-", "-1", "2-1", "65536", "1-65536", "+1", "1 - 2", "1-2-3", "1:2"]
        {
            assert!(matches!(port_range(text), Some(Err(_))), "{text}");
        }
        for text in ["http", "ftp-data", "9pfs"] {
            assert_eq!(port_range(text), None);
        }
    }
}
