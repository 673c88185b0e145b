//! Writes numbers, rates, sizes, times and text from outside, for people and for JSON.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};
use serde_json::ser::Formatter;

/// 9999-12-31T23:59:59Z, the last second that RFC 3339 can write, in seconds since 1970.
pub const LAST_SECOND: u64 = 253_402_300_799;

/// A number with its thousands separated: `1,204`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things: `0 rules`, `1 rule`, `1,204 entries`.
pub fn counted(number: u64, thing: &str) -> String {
    format!("{} {}", grouped(number), plural(number, thing))
}

/// The word for so many things: `rule` for one, else `rules`.
pub fn plural(number: u64, thing: &str) -> String {
    match (number, thing.strip_suffix('y')) {
        (1, _) => thing.to_owned(),
        (_, Some(stem)) => format!("{stem}ies"),
        (_, None) if thing.ends_with(['s', 'x']) => format!("{thing}es"),
        (_, None) => format!("{thing}s"),
    }
}

/// Three digits and an SI prefix, without a space: `0`, `0.30`, `999`, `1.23M`.
pub fn si(value: f64) -> String {
    scaled(value, 1000.0, ["", "k", "M", "G", "T", "P", "E"])
}

/// A size of memory: `512 B`, `12.0 KiB`.
pub fn memory(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    scaled(bytes as f64, 1024.0, ["", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"])
}

/// A number with three digits and a prefix. It has more digits if there is no prefix left, or if a
/// binary prefix needs a fourth.
fn scaled(value: f64, step: f64, prefixes: [&str; 7]) -> String {
    let last = prefixes.len() - 1;
    let (mut value, mut prefix) = (value.max(0.0), 0);
    // Half a unit below the step, since rounding would reach the step.
    while value >= step - 0.5 && prefix < last {
        value /= step;
        prefix += 1;
    }
    let decimals = match value {
        0.0 => 0,
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}{}", prefixes[prefix])
}

/// A share in percent, such as `90.0%`; `-` if `whole` is 0.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    let share = part as f64 / whole as f64 * 100.0;
    // Do not round a small share to nothing, or a large one to all.
    match share {
        _ if part == 0 => "0.0%".to_owned(),
        share if share < 0.1 => "<0.1%".to_owned(),
        share if part < whole && share > 99.9 => ">99.9%".to_owned(),
        share => format!("{share:.1}%"),
    }
}

/// A time in the format of RFC 3339, with milliseconds, in UTC. Times out of its range are written
/// as the nearest one in it.
pub fn timestamp(time: SystemTime) -> String {
    let last = UNIX_EPOCH + Duration::from_secs(LAST_SECOND);
    humantime::format_rfc3339_millis(time.clamp(UNIX_EPOCH, last)).to_string()
}

/// Milliseconds since 1970-01-01 UTC, as files and rulesets in force hold a time; 0 for a time before.
pub fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A duration in whole seconds: `1h 30m`.
pub fn duration(seconds: u64) -> String {
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

/// How long something took: `0.4 ms`, `210 ms`, `1.3 s`.
pub fn took(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1e3;
    match millis {
        ..9.95 => format!("{millis:.1} ms"),
        ..999.5 => format!("{millis:.0} ms"),
        _ => format!("{:.1} s", millis / 1e3),
    }
}

/// Whether a character controls a terminal instead of being shown: control characters (C0, DEL and
/// C1), which line feeds and escape sequences are made of; the formatting characters for the
/// direction of text (Unicode UAX #9, section 2), by which `drop` can be shown as `pord`; and
/// Unicode's own separators of lines and paragraphs.
pub fn steers(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// Text from outside, such as an argument, a path, an interface's name or a note, on one line, with
/// characters that control a terminal escaped. All such text goes through here before it is
/// printed.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        if steers(character) {
            plain.extend(character.escape_default());
        } else {
            plain.push(character);
        }
    }
    plain
}

/// A name or a path as a shell takes it for one word, in quotes where that is necessary; and
/// [`plain`].
pub fn word(text: &str) -> String {
    let text = plain(text);
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "._-/:@%+,=".contains(it);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Like [`plain`], for text that may have several lines, such as a verifier's log. All lines but
/// the first are indented, so that none looks like one of ours.
pub fn plain_lines(text: &str) -> String {
    text.trim_end().split('\n').map(plain).collect::<Vec<_>>().join("\n    ")
}

/// A value as JSON on one line, to be written in one piece, so that a reader never sees half a line
/// of a command that is killed. All characters that control a terminal are escaped; JSON itself
/// demands that only for C0.
pub fn json_line(value: &(impl Serialize + ?Sized)) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut line, PlainJson))?;
    line.push(b'\n');
    Ok(line)
}

/// Formats JSON without blanks, and escapes in its strings what controls a terminal.
struct PlainJson;

impl Formatter for PlainJson {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, character)) = rest.char_indices().find(|(_, c)| steers(*c)) {
            // Each of these characters is one UTF-16 unit, so one escape is enough (RFC 8259,
            // section 7).
            write!(writer, "{}\\u{:04x}", &rest[..at], u32::from(character))?;
            rest = &rest[at + character.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

/// A text cut to at most `width` characters; `…` stands for the rest.
pub fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let Some(kept) = width.checked_sub(1) else {
        return String::new();
    };
    text.chars().take(kept).chain(['…']).collect()
}

/// Serializes a path that need not be UTF-8: other bytes become U+FFFD.
pub fn lossy_path<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands() {
        let texts = [0, 7, 999, 1_000, 123_456, u64::MAX].map(grouped);
        assert_eq!(texts, ["0", "7", "999", "1,000", "123,456", "18,446,744,073,709,551,615"]);
        assert_eq!([0, 1, 2].map(|n| counted(n, "rule")), ["0 rules", "1 rule", "2 rules"]);
        assert_eq!(
            [1, 2].map(|n| counted(n, "run-time entry")),
            ["1 run-time entry", "2 run-time entries"]
        );
        assert_eq!([1, 2].map(|n| counted(n, "prefix")), ["1 prefix", "2 prefixes"]);
    }

    #[test]
    fn prefixes() {
        let values =
            [0.0, 0.4, 9.0, 99.94, 999.4, 999.5, 1234.0, 9_994.0, 9_996.0, 999_499.0, 999_600.0];
        let texts = [
            "0", "0.40", "9.00", "99.9", "999", "1.00k", "1.23k", "9.99k", "10.0k", "999k", "1.00M",
        ];
        assert_eq!(values.map(si), texts);
        assert_eq!(si(u64::MAX as f64 * 8.0), "148E");
        assert_eq!(si(-5.0), "0");
        assert_eq!(si(f64::NAN), "0");
        assert_eq!([0, 1023, 1024, 1 << 20].map(memory), ["0 B", "1023 B", "1.00 KiB", "1.00 MiB"]);
        assert_eq!(memory(u64::MAX), "16.0 EiB");
    }

    #[test]
    fn shares_never_claim_nothing_or_all() {
        assert_eq!(percent(0, 0), "-");
        assert_eq!(percent(0, 9), "0.0%");
        assert_eq!(percent(1, 1_000_000), "<0.1%");
        assert_eq!(percent(999_999, 1_000_000), ">99.9%");
        assert_eq!(percent(9, 9), "100.0%");
        assert_eq!(percent(u64::MAX / 3, u64::MAX), "33.3%");
    }

    #[test]
    fn times_that_cannot_be_written() {
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(timestamp(before), "1970-01-01T00:00:00.000Z");
        let after = UNIX_EPOCH + Duration::from_secs(u64::MAX / 4);
        assert_eq!(timestamp(after), "9999-12-31T23:59:59.000Z");
        assert_eq!(duration(5400), "1h 30m");
        let took = [0, 49, 9_940, 9_960, 210_400, 999_400, 999_600, 61_000_000]
            .map(|micros| took(Duration::from_micros(micros)));
        let texts = ["0.0 ms", "0.0 ms", "9.9 ms", "10 ms", "210 ms", "999 ms", "1.0 s", "61.0 s"];
        assert_eq!(took, texts);
        assert_eq!(duration(0), "0s");
    }

    #[test]
    fn foreign_text_is_harmless_and_short() {
        assert_eq!(plain("a\u{1b}[2J\nb"), "a\\u{1b}[2J\\nb");
        assert_eq!(plain_lines("a\u{7}\nerror: b\n"), "a\\u{7}\n    error: b");
        assert_eq!(shortened("éééé", 4), "éééé");
        assert_eq!(shortened("ééééé", 4), "ééé…");
        assert_eq!(shortened("é", 0), "");
    }

    #[test]
    fn words_for_a_shell() {
        let words = ["eth0", "br-lan.7", "/etc/x.toml", "a;b", "a b", "it's", "$x", ""].map(word);
        let expected =
            ["eth0", "br-lan.7", "/etc/x.toml", "'a;b'", "'a b'", "'it'\\''s'", "'$x'", "''"];
        assert_eq!(words, expected);
    }

    /// All of C0 and C1, DEL, and what changes the direction of text or breaks a line.
    fn steering() -> Vec<char> {
        let ranges = [0..=0x1f, 0x7f..=0x9f, 0x200e..=0x200f, 0x2028..=0x202e, 0x2066..=0x2069];
        ranges.into_iter().flatten().chain([0x61c]).filter_map(char::from_u32).collect()
    }

    #[test]
    fn nothing_that_steers_is_left() {
        let steering = steering();
        assert_eq!(steering.len(), 32 + 33 + 2 + 7 + 4 + 1);
        for character in steering {
            assert!(steers(character), "{character:?}");
            let shown = plain(&format!("a{character}b"));
            assert!(shown.starts_with("a\\") && shown.ends_with('b'), "{shown}");
            assert!(!shown.chars().any(steers), "{shown:?}");
        }
        // Ordinary text in any script stays as it is.
        let text = "é \u{5e9}\u{5dc}\u{5d5}\u{5dd} \u{4f60}\u{597d} \\ \"";
        assert_eq!(plain(text), text);
    }

    #[test]
    fn json_steers_no_terminal_and_means_the_same() {
        for character in steering() {
            let text = format!("a{character}\"{character}{character}é");
            let line = String::from_utf8(json_line(&[&text]).unwrap()).unwrap();
            let json = line.strip_suffix('\n').unwrap();
            assert!(!json.chars().any(steers), "{json:?}");
            assert_eq!(serde_json::from_str::<[String; 1]>(json).unwrap(), [text]);
        }
        assert_eq!(json_line(&["a\u{9b}\u{202e}b"]).unwrap(), b"[\"a\\u009b\\u202eb\"]\n");
    }
}
