//! Types of DNS questions, by name and number (IANA, Resource Record (RR) TYPEs).

use toml::de::DeValue;

use super::spelling::closest;
use super::value::{Value, integer};

/// The types that have a name, in the order of their numbers.
const TYPES: &[(&str, u16)] = &[
    ("A", 1),
    ("NS", 2),
    ("MD", 3),
    ("MF", 4),
    ("CNAME", 5),
    ("SOA", 6),
    ("MB", 7),
    ("MG", 8),
    ("MR", 9),
    ("NULL", 10),
    ("WKS", 11),
    ("PTR", 12),
    ("HINFO", 13),
    ("MINFO", 14),
    ("MX", 15),
    ("TXT", 16),
    ("RP", 17),
    ("AFSDB", 18),
    ("X25", 19),
    ("ISDN", 20),
    ("RT", 21),
    ("NSAP", 22),
    ("NSAP-PTR", 23),
    ("SIG", 24),
    ("KEY", 25),
    ("PX", 26),
    ("GPOS", 27),
    ("AAAA", 28),
    ("LOC", 29),
    ("NXT", 30),
    ("EID", 31),
    ("NIMLOC", 32),
    ("SRV", 33),
    ("ATMA", 34),
    ("NAPTR", 35),
    ("KX", 36),
    ("CERT", 37),
    ("A6", 38),
    ("DNAME", 39),
    ("SINK", 40),
    ("OPT", 41),
    ("APL", 42),
    ("DS", 43),
    ("SSHFP", 44),
    ("IPSECKEY", 45),
    ("RRSIG", 46),
    ("NSEC", 47),
    ("DNSKEY", 48),
    ("DHCID", 49),
    ("NSEC3", 50),
    ("NSEC3PARAM", 51),
    ("TLSA", 52),
    ("SMIMEA", 53),
    ("HIP", 55),
    ("NINFO", 56),
    ("RKEY", 57),
    ("TALINK", 58),
    ("CDS", 59),
    ("CDNSKEY", 60),
    ("OPENPGPKEY", 61),
    ("CSYNC", 62),
    ("ZONEMD", 63),
    ("SVCB", 64),
    ("HTTPS", 65),
    ("DSYNC", 66),
    ("SPF", 99),
    ("UINFO", 100),
    ("UID", 101),
    ("GID", 102),
    ("UNSPEC", 103),
    ("NID", 104),
    ("L32", 105),
    ("L64", 106),
    ("LP", 107),
    ("EUI48", 108),
    ("EUI64", 109),
    ("NXNAME", 128),
    ("TKEY", 249),
    ("TSIG", 250),
    ("IXFR", 251),
    ("AXFR", 252),
    ("MAILB", 253),
    ("MAILA", 254),
    ("ANY", 255),
    ("URI", 256),
    ("CAA", 257),
    ("AVC", 258),
    ("DOA", 259),
    ("AMTRELAY", 260),
    ("TA", 32768),
    ("DLV", 32769),
];

/// The type of IPv4 addresses.
pub(crate) const A: u16 = 1;

/// What names are known besides: `TYPE123` (RFC 3597, section 5).
const UNNAMED: &str = "TYPE";

/// The number of the type of that name, in whatever case.
pub(super) fn named(text: &[u8]) -> Option<u16> {
    let is_it = |(name, _): &&(&str, u16)| name.as_bytes().eq_ignore_ascii_case(text);
    TYPES.iter().find(is_it).map(|(_, number)| *number)
}

/// The number of a type that is written as its name, in whatever case, as `TYPE` with a number, or
/// as a number. The error is a hint.
pub(crate) fn parse(text: &str) -> Result<u16, String> {
    if let Some(number) = named(text.as_bytes()) {
        return Ok(number);
    }
    let prefix = text.get(..UNNAMED.len()).filter(|it| it.eq_ignore_ascii_case(UNNAMED));
    let digits = prefix.map_or(text, |_| &text[UNNAMED.len()..]);
    // The number parser alone would accept a sign.
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return digits.parse().map_err(|_| "65535 is the highest type".to_owned());
    }
    let hint = "write a type such as \"A\", \"ANY\" or \"HTTPS\", or its number as \"TYPE65\"";
    Err(match closest(text, TYPES.iter().map(|(name, _)| *name)) {
        Some(meant) => format!("did you mean {meant:?}? Otherwise {hint}"),
        None => hint.to_owned(),
    })
}

/// The type that a value of a configuration stands for, or a hint; `None` if it is neither a text nor
/// an integer.
pub(super) fn read(value: &Value<'_>) -> Option<Result<u16, String>> {
    match value.value {
        DeValue::String(text) => Some(parse(text)),
        DeValue::Integer(number) => {
            let number = integer(number).and_then(|number| u16::try_from(number).ok());
            Some(number.ok_or_else(|| "a type is 0 to 65535".to_owned()))
        }
        _ => None,
    }
}

/// A type as it is written in a configuration.
pub fn text(number: u16) -> String {
    match TYPES.binary_search_by_key(&number, |(_, number)| *number) {
        Ok(at) => TYPES[at].0.to_owned(),
        Err(_) => format!("{UNNAMED}{number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_by_name_and_number() {
        for (text, number) in [
            ("A", 1),
            ("aaaa", 28),
            ("Any", 255),
            ("HTTPS", 65),
            ("TYPE65", 65),
            ("type0", 0),
            ("65535", 65535),
            ("NSAP-PTR", 23),
        ] {
            assert_eq!(parse(text), Ok(number), "{text}");
        }
        let hints = ["ANYY", "CNMAE", "", "TYPE", "TYPE65536", "+1", "TYPE-1", "*"];
        let hints: Vec<String> =
            hints.iter().map(|text| format!("{text}: {}", parse(text).unwrap_err())).collect();
        insta::assert_snapshot!(hints.join("\n"), @r#"
        ANYY: did you mean "ANY"? Otherwise write a type such as "A", "ANY" or "HTTPS", or its number as "TYPE65"
        CNMAE: did you mean "CNAME"? Otherwise write a type such as "A", "ANY" or "HTTPS", or its number as "TYPE65"
        : write a type such as "A", "ANY" or "HTTPS", or its number as "TYPE65"
        TYPE: write a type such as "A", "ANY" or "HTTPS", or its number as "TYPE65"
        TYPE65536: 65535 is the highest type
        +1: write a type such as "A", "ANY" or "HTTPS", or its number as "TYPE65"
        TYPE-1: write a type such as "A", "ANY" or "HTTPS", or its number as "TYPE65"
        *: write a type such as "A", "ANY" or "HTTPS", or its number as "TYPE65"
        "#);
    }

    #[test]
    fn what_is_written_reads_back() {
        assert!(TYPES.is_sorted_by_key(|(_, number)| *number));
        for number in 0..=u16::MAX {
            assert_eq!(parse(&text(number)), Ok(number));
        }
        assert_eq!((text(1), text(54), text(255)), ("A".into(), "TYPE54".into(), "ANY".into()));
    }
}
