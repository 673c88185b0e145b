//! ICMP types by the names of nftables (`nft describe icmp type`, `icmpv6 type`) and of iptables
//! (`iptables -p icmp -h`, `ip6tables -p icmpv6 -h`).

use toml::de::DeValue;

use super::super::report::{Report, quote};
use super::super::spelling::{alternatives, closest};
use super::super::table::{Placed, TomlTable};
use super::super::value::integer;
use super::field::values;
use crate::ruleset::Protocol;

/// IANA, ICMP Type Numbers. If a type has several names, that of nftables comes first.
const V4: [(&str, u8); 18] = [
    ("echo-reply", 0),
    ("pong", 0),
    ("destination-unreachable", 3),
    ("source-quench", 4),
    ("redirect", 5),
    ("echo-request", 8),
    ("ping", 8),
    ("router-advertisement", 9),
    ("router-solicitation", 10),
    ("time-exceeded", 11),
    ("ttl-exceeded", 11),
    ("parameter-problem", 12),
    ("timestamp-request", 13),
    ("timestamp-reply", 14),
    ("info-request", 15),
    ("info-reply", 16),
    ("address-mask-request", 17),
    ("address-mask-reply", 18),
];

/// IANA, ICMPv6 "type" Numbers.
const V6: [(&str, u8); 32] = [
    ("destination-unreachable", 1),
    ("packet-too-big", 2),
    ("time-exceeded", 3),
    ("ttl-exceeded", 3),
    ("parameter-problem", 4),
    ("echo-request", 128),
    ("ping", 128),
    ("echo-reply", 129),
    ("pong", 129),
    ("mld-listener-query", 130),
    ("mld-listener-report", 131),
    ("mld-listener-done", 132),
    ("mld-listener-reduction", 132),
    ("nd-router-solicit", 133),
    ("router-solicitation", 133),
    ("nd-router-advert", 134),
    ("router-advertisement", 134),
    ("nd-neighbor-solicit", 135),
    ("neighbor-solicitation", 135),
    ("neighbour-solicitation", 135),
    ("nd-neighbor-advert", 136),
    ("neighbor-advertisement", 136),
    ("neighbour-advertisement", 136),
    ("nd-redirect", 137),
    ("redirect", 137),
    ("router-renumbering", 138),
    ("ind-neighbor-solicit", 141),
    ("ind-neighbor-advert", 142),
    ("mld2-listener-report", 143),
    ("certification-path-solicitation", 148),
    ("certification-path-advertisement", 149),
    ("multicast-router-advertisement", 151),
];

/// Names by which iptables means a type and a code together, and the type.
const WITH_CODE: [(&str, &str); 22] = [
    ("network-unreachable", "destination-unreachable"),
    ("host-unreachable", "destination-unreachable"),
    ("protocol-unreachable", "destination-unreachable"),
    ("port-unreachable", "destination-unreachable"),
    ("fragmentation-needed", "destination-unreachable"),
    ("source-route-failed", "destination-unreachable"),
    ("network-unknown", "destination-unreachable"),
    ("host-unknown", "destination-unreachable"),
    ("network-prohibited", "destination-unreachable"),
    ("host-prohibited", "destination-unreachable"),
    ("communication-prohibited", "destination-unreachable"),
    ("no-route", "destination-unreachable"),
    ("address-unreachable", "destination-unreachable"),
    ("beyond-scope", "destination-unreachable"),
    ("network-redirect", "redirect"),
    ("host-redirect", "redirect"),
    ("ttl-zero-during-transit", "time-exceeded"),
    ("ttl-zero-during-reassembly", "time-exceeded"),
    ("ip-header-bad", "parameter-problem"),
    ("bad-header", "parameter-problem"),
    ("unknown-header-type", "parameter-problem"),
    ("unknown-option", "parameter-problem"),
];

const NUMBER_HINT: &str = "an ICMP type is 0 to 255";

/// Reads types, given by number or by name. What a name means depends on the protocol.
pub(super) fn types(
    table: &mut TomlTable<'_>,
    key: &'static str,
    protocol: Option<Protocol>,
    report: &mut Report<'_>,
) -> Option<Placed<Vec<u8>>> {
    let values = values(table, key, report)?;
    let mut types = Vec::with_capacity(values.value.len());
    for value in values.value {
        let (message, hint) = match value.value {
            DeValue::Integer(number) => {
                match integer(number).and_then(|number| u8::try_from(number).ok()) {
                    Some(number) => {
                        types.push(number);
                        continue;
                    }
                    None => (format!("{} is out of range", value.raw(report)), NUMBER_HINT.into()),
                }
            }
            DeValue::String(name) => match by_name(name, protocol) {
                Ok(number) => {
                    types.extend(number);
                    continue;
                }
                Err(hint) => (format!("cannot be {}", quote(name, 60)), hint),
            },
            _ => {
                let expected = "an integer, a string or an array of them";
                let hint = "write a type such as 8 or \"echo-request\", or a list of them";
                table.wrong_type(key, expected, &value, hint, report);
                continue;
            }
        };
        report.error(value.at, format!("{}: {key} {message}", table.title), hint);
    }
    Some(Placed { at: values.at, value: types })
}

/// The type of that name. `None` if the protocol, which decides what the name means, is missing or
/// is neither ICMP nor ICMPv6: that is a mistake of its own. The error is a hint.
pub(crate) fn by_name(name: &str, protocol: Option<Protocol>) -> Result<Option<u8>, String> {
    let (names, others, other) = match protocol {
        Some(Protocol::Icmp) => (V4.as_slice(), V6.as_slice(), "icmpv6"),
        Some(Protocol::Icmpv6) => (V6.as_slice(), V4.as_slice(), "icmp"),
        Some(Protocol::Number(_)) | None => return Ok(None),
    };
    let of = |names: &[(&str, u8)]| names.iter().find(|it| it.0 == name).map(|it| it.1);
    if let Some(number) = of(names) {
        return Ok(Some(number));
    }
    if name.parse::<u8>().is_ok() {
        return Err("write the number without quotes".into());
    }
    if of(others).is_some() {
        return Err(format!("that is a type of {other:?}"));
    }
    if let Some((_, of)) = WITH_CODE.iter().find(|(with_code, _)| *with_code == name) {
        return Err(format!("that is one code of a type, and codes are not matched: write {of:?}"));
    }
    if let Some(meant) = closest(name, names.iter().map(|it| it.0)) {
        return Err(format!("did you mean {meant:?}?"));
    }
    // Keeps the first name of each type.
    let mut first: Vec<(&str, u8)> = names.to_vec();
    first.dedup_by_key(|it| it.1);
    let first = alternatives(first.iter().map(|it| it.0));
    Err(format!("write a number of 0 to 255, or {first}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_what_their_protocol_says() {
        let v4 = |name| by_name(name, Some(Protocol::Icmp));
        let v6 = |name| by_name(name, Some(Protocol::Icmpv6));
        assert_eq!((v4("echo-request"), v6("echo-request")), (Ok(Some(8)), Ok(Some(128))));
        assert_eq!((v4("redirect"), v6("nd-redirect")), (Ok(Some(5)), Ok(Some(137))));
        assert_eq!(by_name("anything", None), Ok(None));
        let hints = [
            v4("nd-neighbor-solicit"),
            v6("address-mask-reply"),
            v4("8"),
            v4("port-unreachable"),
            v4("echo-requets"),
            v4("nonsense"),
        ];
        let hints: Vec<_> = hints.into_iter().map(Result::unwrap_err).collect();
        insta::assert_snapshot!(hints.join("\n"), @r#"
        that is a type of "icmpv6"
        that is a type of "icmp"
        write the number without quotes
        that is one code of a type, and codes are not matched: write "destination-unreachable"
        did you mean "echo-request"?
        write a number of 0 to 255, or "echo-reply", "destination-unreachable", "source-quench", "redirect", "echo-request", "router-advertisement", "router-solicitation", "time-exceeded", "parameter-problem", "timestamp-request", "timestamp-reply", "info-request", "info-reply", "address-mask-request" or "address-mask-reply"
        "#);
    }

    #[test]
    fn no_name_stands_twice() {
        for names in [V4.as_slice(), V6.as_slice()] {
            let mut sorted: Vec<_> = names.iter().map(|it| it.0).collect();
            sorted.sort_unstable();
            assert!(sorted.windows(2).all(|pair| pair[0] != pair[1]));
            assert!(names.windows(2).all(|pair| pair[0].1 <= pair[1].1), "in order");
        }
    }
}
