//! `[services]`: what holds for all services.

use xdp_common::capacity::{MAX_CONNECTIONS, MIN_CONNECTIONS};

use super::super::report::{Report, quote};
use super::super::rule::field;
use super::super::table::{Placed, TomlTable};
use super::super::time::{self, DAY, MINUTE};
use super::unfit::unfit;
use super::{ServiceRead, is_empty, words};
use crate::config::list::warn_of_host_bits;
use crate::config::prefix::{self, IpPrefix};
use crate::ruleset::services::{NextHop, Settings, Tracking};

/// The places of keys whose effect depends on services.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Places {
    pub(super) seed: Option<usize>,
    pub(super) connections: Option<usize>,
    pub(super) history: Option<usize>,
}

/// Seeds that this project's documentation and examples have.
pub(super) const PUBLISHED: [&str; 3] =
    ["DFTTgNYuodmggDl6", "sW9rC4vPq1xN7bYd", "lq2ZzA0T6m3WkYcB"];

pub(super) fn read(mut table: TomlTable<'_>, report: &mut Report<'_>) -> (Settings, Places) {
    let place = |table: &mut TomlTable<'_>, key| table.value(key).map(|value| value.at);
    let places = Places {
        seed: place(&mut table, "seed"),
        connections: place(&mut table, "connections"),
        history: place(&mut table, "history"),
    };
    let mut settings = Settings { seed: seed(&mut table, report), ..Settings::default() };
    if let Some(tracking) = table.word("tracking", &words(Tracking::ALL, Tracking::as_str), report)
    {
        settings.tracking = tracking;
    }
    if let Some(connections) = connections(&mut table, report) {
        settings.connections = connections;
    }
    if let Some(history) = time::read(&mut table, "history", MINUTE..=DAY, report) {
        settings.history = history.value;
    }
    if let Some(next_hop) = next_hop(&mut table, report) {
        settings.next_hop = next_hop;
    }
    let hint = "write prefixes, such as [\"172.16.0.0/16\", \"100::/64\"]";
    let mut seen = [false; 2];
    is_empty(&mut table, "tunnel_source", "packets inside others have no source", report);
    for text in table.strings("tunnel_source", hint, report) {
        let Ok(parsed) = prefix::parse(text.value) else {
            let message = format!("{}: {} is not a prefix", table.title, quote(text.value, 60));
            report.error(text.at, message, hint);
            continue;
        };
        let family = match parsed.prefix {
            prefix if unfit(&prefix).is_some() => {
                let what = unfit(&prefix).unwrap_or_default();
                let message = format!("{}: {prefix} is {what}", table.title);
                report.error(text.at, message, hint);
                continue;
            }
            IpPrefix::V4(prefix) => {
                settings.tunnel_source_v4 = prefix;
                0
            }
            IpPrefix::V6(prefix) if prefix.length < 64 => {
                let message = format!("{}: {} is shorter than /64", table.title, parsed.prefix);
                report.error(text.at, message, "the flow fills the lower half of an address");
                continue;
            }
            IpPrefix::V6(prefix) => {
                settings.tunnel_source_v6 = prefix;
                1
            }
        };
        if std::mem::replace(&mut seen[family], true) {
            let message = format!("{}: a second prefix of one family", table.title);
            report.error(text.at, message, "name one prefix of each family");
        }
        if parsed.host_bits {
            warn_of_host_bits(&table.title, text, parsed.prefix, report);
        }
    }
    table.finish(report);
    (settings, places)
}

/// Reports what comes to nothing, or to little, with these services.
pub(super) fn beside(
    settings: &Settings,
    places: Places,
    services: &[ServiceRead],
    report: &mut Report<'_>,
) {
    if let (Some(at), Some(seed)) = (places.seed, &settings.seed)
        && PUBLISHED.iter().any(|published| base64(published).as_ref() == Some(seed))
    {
        report.warning(
            at,
            "services with the seed of an example: anybody can compute which backend a flow goes to"
                .into(),
            "write one of your own: `openssl rand -base64 12` makes one; boxes that share an address \
             need the same one",
        );
    }
    if services.is_empty() || services.iter().any(|it| it.service.tracking != Tracking::None) {
        return;
    }
    for (key, at) in [("connections", places.connections), ("history", places.history)] {
        if let Some(at) = at {
            report.warning(
                at,
                format!("services: {key} has no effect, for no service tracks connections"),
                "leave it out, or write another tracking than \"none\"",
            );
        }
    }
}

/// How many connections the table of them holds.
fn connections(table: &mut TomlTable<'_>, report: &mut Report<'_>) -> Option<u32> {
    const HINT: &str = "write a power of two, 65536 to 67108864; each takes 8 bytes";
    let at = table.value("connections")?.at;
    let number = table.number("connections", MAX_CONNECTIONS, HINT, report)?;
    if number < MIN_CONNECTIONS || !number.is_power_of_two() {
        let what = match number.is_power_of_two() {
            true => "is out of range",
            false => "is not a power of two",
        };
        report.error(at, format!("{}: connections {number} {what}", table.title), HINT);
        return None;
    }
    Some(number)
}

/// Where packets go on to.
pub(super) fn next_hop(table: &mut TomlTable<'_>, report: &mut Report<'_>) -> Option<NextHop> {
    const HINT: &str = "write \"route\", or a MAC address such as \"02:00:00:00:00:01\"";
    let text = table.string("next_hop", HINT, report)?;
    if text.value == "route" {
        return Some(NextHop::Route);
    }
    let Some(mac) = field::parse_mac(text.value) else {
        let message = format!("{}: next_hop cannot be {}", table.title, quote(text.value, 60));
        report.error(text.at, message, HINT);
        return None;
    };
    if mac[0] & 1 != 0 || mac == [0; 6] {
        let message = format!("{}: next_hop {} is no host's", table.title, quote(text.value, 60));
        report.error(text.at, message, "write the MAC address of one router or host");
        return None;
    }
    Some(NextHop::Mac(mac))
}

fn seed(table: &mut TomlTable<'_>, report: &mut Report<'_>) -> Option<Vec<u8>> {
    const HINT: &str = "write 12 to 32 bytes in base64: `openssl rand -base64 12` makes one";
    let text: Placed<&str> = table.string("seed", HINT, report)?;
    match base64(text.value) {
        Some(bytes) if (12..=32).contains(&bytes.len()) => Some(bytes),
        read => {
            let what = match read {
                Some(bytes) => format!("has {} bytes", bytes.len()),
                None => "is not base64".to_owned(),
            };
            report.error(text.at, format!("{}: seed {what}", table.title), HINT);
            None
        }
    }
}

/// Bytes of base64 (RFC 4648, section 4), with padding or without.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if text.len() - digits.len() > 2 || digits.len() % 4 == 1 {
        return None;
    }
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vectors of RFC 4648, section 10.
    #[test]
    fn base64_as_the_rfc_has_it() {
        for (text, bytes) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9vYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
            ("Zm8", "fo"),
        ] {
            assert_eq!(base64(text).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
        for text in ["Z", "Zm9v!", "Z===", "Zm 9v"] {
            assert_eq!(base64(text), None, "{text}");
        }
    }
}
