use super::*;
use crate::limited;
use crate::ruleset::limits::{Lengths, Limit, Rate, Time};

fn limited() -> Vec<Limited> {
    let counter = |packets| Counter { packets, bytes: packets * 60 };
    let rate = |amount, of| Rate { amount, of, time: Time::Second };
    let per = Per::Source(Lengths { v4: 24, v6: 48 });
    let flood = Limit { rate: rate(100, Quantity::Packets), burst: 200, per };
    let heavy = |key, packets, seconds_ago| limited::Heavy { key, packets, seconds_ago };
    let heaviest =
        vec![heavy(Key::V6(0x2001_0db8 << 96), 7, 61), heavy(Key::V4(0xcb00_7100), 12_345, 0)];
    let bulk = Limit { rate: rate(10_000_000, Quantity::Bits), burst: 64_000, per: Per::Rule };
    let rule = |name: &str, limit, [under, over]: [u64; 2], heaviest| {
        let (under, over) = (counter(under), counter(over));
        Limited::new(&InKernel { name: name.to_owned(), limit, under, over, heaviest })
    };
    let own = vec![heavy(Key::V4(0), 5, 0)];
    vec![rule("flood", flood, [9_000, 12_400], heaviest), rule("bulk", bulk, [0, 0], own)]
}

#[test]
fn as_json() {
    let mut out = Vec::new();
    json::write(&mut out, &limited()).unwrap();
    let expected = concat!(
        r#"[{"name":"flood","rate":"100/s","per":"source/24,48","burst":200,"#,
        r#""under":{"packets":9000,"bytes":540000},"over":{"packets":12400,"bytes":744000},"#,
        r#""heaviest":[{"key":"203.0.113.0/24","packets":12345,"seconds_ago":0},"#,
        r#"{"key":"2001:db8::/48","packets":7,"seconds_ago":61}]},"#,
        r#"{"name":"bulk","rate":"10Mbit/s","per":"rule","burst":"64kB","#,
        r#""under":{"packets":0,"bytes":0},"over":{"packets":0,"bytes":0},"heaviest":[]}]"#,
        "\n"
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn as_text() {
    let mut out = Vec::new();
    text::write(&mut out, &limited()).unwrap();
    let expected = "\
flood: over 100/s per source/24,48, burst 200
  under 9,000 packets of 527 KiB, over 12,400 packets of 727 KiB (57.9%)
    203.0.113.0/24  12,345 packets over, now
    2001:db8::/48   7 packets over, 1m 1s ago
bulk: over 10Mbit/s, burst 64kB
  under 0 packets of 0 B, over 0 packets of 0 B
";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    let mut out = Vec::new();
    text::write(&mut out, &[]).unwrap();
    assert_eq!(out, b"no limits\n");
}
