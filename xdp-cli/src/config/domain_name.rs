//! Reads names of the Domain Name System from text (RFC 1035, section 5.1) into the form that they
//! have in a message.
//!
//! Labels are divided by dots; a dot at the end changes nothing, and one alone is the root. `*.` at
//! the front leaves the names below. Letters, digits, `-` and `_` stand for themselves; any other
//! byte is written as `\` and the byte, or as `\` and its number in three digits. A name that is
//! not ASCII is turned into its ASCII form first (UTS 46).

use std::net::IpAddr;

use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};

use super::prefix;
use crate::ruleset::domains::{DomainName, LONGEST_LABEL, LONGEST_NAME};

/// Room for a name of any length, into which names are read one after the other.
pub struct NameBuffer {
    wire: [u8; LONGEST_NAME],
    length: usize,
    below_only: bool,
}

/// Why a text is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    Empty,
    /// Two dots with nothing between, or a dot at the front.
    EmptyLabel,
    LongLabel,
    LongName,
    /// A byte that is written with `\`, if it is meant.
    Byte(u8),
    Star,
    Escape,
    /// Letters that no name can have, or text that is not UTF-8.
    Idn,
    Address,
    Url,
}

impl NameError {
    /// What is wrong, worded to follow the text.
    pub fn message(self) -> String {
        match self {
            Self::Empty => "is no name: it is empty".into(),
            Self::EmptyLabel => "is no name: there is nothing between two dots".into(),
            Self::LongLabel => {
                format!("is no name: a label has more than {LONGEST_LABEL} bytes")
            }
            // With the root's label.
            Self::LongName => format!("is no name: it has more than {} bytes", LONGEST_NAME + 1),
            Self::Byte(b' ' | b'\t') => "is no name: there is a blank in it".into(),
            Self::Byte(byte) if byte.is_ascii_graphic() => {
                format!("is no name: there is a \"{}\" in it", char::from(byte).escape_default())
            }
            Self::Byte(byte) => format!("is no name: there is a byte {byte} in it"),
            Self::Star => "is no name: a \"*\" stands only in front, as in *.example.org".into(),
            Self::Escape => "is no name: what follows a \"\\\" is no byte".into(),
            Self::Idn => "is no name: it has no ASCII form (UTS 46)".into(),
            Self::Address => "is an address, not a name".into(),
            Self::Url => "is a URL, not a name".into(),
        }
    }

    /// What to write instead.
    pub fn hint(self) -> String {
        match self {
            Self::Empty => {
                "a name looks like example.org or *.example.org; \".\" is the root".into()
            }
            Self::EmptyLabel => {
                "write example.org, which stands for all names below it too, or *.example.org"
                    .into()
            }
            Self::LongLabel | Self::LongName => {
                format!(
                    "a label has 1 to {LONGEST_LABEL} bytes, a name at most {}",
                    LONGEST_NAME + 1
                )
            }
            Self::Byte(byte) if byte.is_ascii_graphic() => format!(
                "a name looks like example.org; where that byte is meant, write \\{}",
                char::from(byte)
            ),
            Self::Byte(byte) => {
                format!(
                    "a name looks like example.org; where that byte is meant, write \\{byte:03}"
                )
            }
            Self::Star => "a name stands for all names below it anyway".into(),
            Self::Escape => {
                "write \\. for a byte itself, or \\046 for its number, 000 to 255".into()
            }
            Self::Idn => "write the name as it is registered, such as xn--bcher-kva.example".into(),
            Self::Address => {
                "addresses belong into the prefixes of an allowlist or blocklist".into()
            }
            Self::Url => "write the host's name alone, such as example.org".into(),
        }
    }
}

/// What a byte of a name stands for where it is not escaped: a letter in lower case, a digit, `-`
/// or `_`; 0 for all others.
const PLAIN: [u8; 256] = {
    let mut plain = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let it = byte as u8;
        if it.is_ascii_alphanumeric() || it == b'-' || it == b'_' {
            plain[byte] = it.to_ascii_lowercase();
        }
        byte += 1;
    }
    plain
};

impl Default for NameBuffer {
    fn default() -> Self {
        Self { wire: [0; LONGEST_NAME], length: 0, below_only: false }
    }
}

impl NameBuffer {
    /// The name that was read last.
    pub fn name(&self) -> DomainName<'_> {
        DomainName::of_wire(&self.wire[..self.length])
    }

    /// Whether `*.` stood in front of it.
    pub fn below_only(&self) -> bool {
        self.below_only
    }

    /// Puts another name in the place of the one that was read. Returns whether it could have been
    /// read as well.
    pub fn replace(&mut self, wire: &[u8]) -> bool {
        let fits = wire.len() <= LONGEST_NAME && !is_quad(DomainName::of_wire(wire));
        if fits {
            self.wire[..wire.len()].copy_from_slice(wire);
            self.length = wire.len();
        }
        fits
    }

    /// Reads a name. Where it fails, there is no name to ask for.
    pub fn read(&mut self, text: &[u8]) -> Result<(), NameError> {
        self.read_name(text).map_err(|error| better(error, text))
    }

    fn read_name(&mut self, text: &[u8]) -> Result<(), NameError> {
        let rest = text.strip_prefix(b"*.");
        self.below_only = rest.is_some();
        let name = rest.unwrap_or(text);
        self.length = 0;
        match (name, self.below_only) {
            (b".", false) | (b"", true) => return Ok(()),
            (b"", false) => return Err(NameError::Empty),
            _ => {}
        }
        if !name.is_ascii() {
            // The deny list is empty: which ASCII bytes may stand in a name is decided below, of
            // those that come out too.
            let idna = Uts46::new();
            let ascii =
                idna.to_ascii(name, AsciiDenyList::EMPTY, Hyphens::Allow, DnsLength::Ignore);
            return self.read_ascii(ascii.map_err(|_| NameError::Idn)?.as_bytes());
        }
        self.read_ascii(name)?;
        match is_quad(self.name()) {
            true => Err(NameError::Address),
            false => Ok(()),
        }
    }

    fn read_ascii(&mut self, text: &[u8]) -> Result<(), NameError> {
        // Where the length of the label being read goes, and how many of its bytes are there.
        let (mut label, mut length) = (0, 0);
        let mut rest = text;
        while let Some((&byte, behind)) = rest.split_first() {
            rest = behind;
            let mut meant = PLAIN[usize::from(byte)];
            if meant == 0 {
                match byte {
                    b'.' => {
                        if length == 0 {
                            return Err(NameError::EmptyLabel);
                        }
                        self.end_label(label, length)?;
                        (label, length) = (label + 1 + length, 0);
                        continue;
                    }
                    b'\\' => (meant, rest) = escaped(rest)?,
                    b'*' => return Err(NameError::Star),
                    _ => return Err(NameError::Byte(byte)),
                }
            }
            length += 1;
            *self.wire.get_mut(label + length).ok_or(NameError::LongName)? = meant;
        }
        if length > 0 {
            self.end_label(label, length)?;
            label += 1 + length;
        }
        self.length = label;
        Ok(())
    }

    fn end_label(&mut self, at: usize, length: usize) -> Result<(), NameError> {
        if length > LONGEST_LABEL {
            return Err(NameError::LongLabel);
        }
        self.wire[at] = length as u8;
        Ok(())
    }
}

/// The byte behind a `\`, in lower case, and what follows it.
fn escaped(rest: &[u8]) -> Result<(u8, &[u8]), NameError> {
    let (byte, rest) = match rest {
        [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..] => {
            let number = [a, b, c].iter().fold(0, |sum, digit| 10 * sum + u32::from(*digit - b'0'));
            (u8::try_from(number).map_err(|_| NameError::Escape)?, rest)
        }
        [b'0'..=b'9', ..] | [] => return Err(NameError::Escape),
        [byte, rest @ ..] => (*byte, rest),
    };
    Ok((byte.to_ascii_lowercase(), rest))
}

/// What the text is, if that says more than the byte that is wrong in it.
#[cold]
fn better(error: NameError, text: &[u8]) -> NameError {
    if text.windows(3).any(|it| it == b"://") {
        return NameError::Url;
    }
    if is_address(text) { NameError::Address } else { error }
}

/// Whether a name looks like an IPv4 address. As a name in a list it would be a mistake.
fn is_quad(name: DomainName<'_>) -> bool {
    let number = |label: &[u8]| label.len() <= 3 && label.iter().all(u8::is_ascii_digit);
    name.wire().last().is_some_and(u8::is_ascii_digit)
        && name.labels().all(number)
        && name.labels().count() == 4
}

/// Whether the text is an address or a prefix.
pub fn is_address(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    text.parse::<IpAddr>().is_ok() || prefix::parse(text).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ruleset::domains::ListedName;

    /// How a name is read, as text and as the bytes of a message.
    fn read(text: &str) -> Result<(String, Vec<u8>), NameError> {
        let mut buffer = NameBuffer::default();
        buffer.read(text.as_bytes())?;
        let (name, below_only) = (buffer.name(), buffer.below_only());
        let listed = ListedName { name, below_only, file: 0, line: 0 };
        Ok((listed.to_string(), name.wire().to_vec()))
    }

    #[test]
    fn names_of_all_kinds() {
        for (text, shown, wire) in [
            ("example.org", "example.org", &b"\x07example\x03org"[..]),
            ("ExAmPle.ORG.", "example.org", b"\x07example\x03org"),
            ("*.example.org", "*.example.org", b"\x07example\x03org"),
            ("_dmarc.a-b.example", "_dmarc.a-b.example", b"\x06_dmarc\x03a-b\x07example"),
            (".", ".", b""),
            ("*.", "*.", b""),
            ("bücher.example", "xn--bcher-kva.example", b"\x0dxn--bcher-kva\x07example"),
            ("*.BÜCHER.example.", "*.xn--bcher-kva.example", b"\x0dxn--bcher-kva\x07example"),
            (
                "_x.例え。テスト",
                "_x.xn--r8jz45g.xn--zckzah",
                b"\x02_x\x0bxn--r8jz45g\x0axn--zckzah",
            ),
            (r"a\.b.c", r"a\.b.c", b"\x03a.b\x01c"),
            (r"\065\200.\\.x", r"a\200.\\.x", b"\x02a\xc8\x01\\\x01x"),
            (
                r"0\/25.2.0.192.in-addr.arpa",
                r"0\/25.2.0.192.in-addr.arpa",
                b"\x040/25\x012\x010\x03192\x07in-addr\x04arpa",
            ),
            (r"\*.x", r"\*.x", b"\x01*\x01x"),
            ("1.2.3", "1.2.3", b"\x011\x012\x013"),
            ("org", "org", b"\x03org"),
        ] {
            assert_eq!(read(text), Ok((shown.to_owned(), wire.to_vec())), "{text}");
        }
    }

    #[test]
    fn lengths_are_those_of_a_message() {
        let label = "a".repeat(63);
        assert!(read(&label).is_ok());
        assert_eq!(read(&format!("{label}a.org")), Err(NameError::LongLabel));
        // Four labels of 64 bytes with their lengths, less two: 254, and the root's.
        let longest = [&label[..], &label, &label, &label[..61]].join(".");
        assert_eq!(read(&longest).unwrap().1.len(), LONGEST_NAME);
        assert!(read(&format!("*.{longest}.")).is_ok());
        assert_eq!(read(&format!("{longest}a")), Err(NameError::LongName));
        assert_eq!(read(&[&label[..]; 5].join(".")), Err(NameError::LongName));
        // As many labels as a name can have.
        let deepest = vec!["a"; 127].join(".");
        assert_eq!(read(&deepest).unwrap().1.len(), LONGEST_NAME);
        assert_eq!(read(&format!("a.{deepest}")), Err(NameError::LongName));
    }

    #[test]
    fn what_is_no_name() {
        for (text, error) in [
            ("", NameError::Empty),
            ("..", NameError::EmptyLabel),
            ("*..", NameError::EmptyLabel),
            (".example.org", NameError::EmptyLabel),
            ("a..b", NameError::EmptyLabel),
            ("a b", NameError::Byte(b' ')),
            ("a/b", NameError::Byte(b'/')),
            ("a\u{1b}", NameError::Byte(27)),
            ("a.*.b", NameError::Star),
            ("*", NameError::Star),
            (r"a\", NameError::Escape),
            (r"a\25", NameError::Escape),
            (r"a\256", NameError::Escape),
            ("a\u{ad}\u{200d}.b", NameError::Idn),
            ("\u{fffd}.example", NameError::Idn),
            ("ü/x", NameError::Byte(b'/')),
            ("192.0.2.1", NameError::Address),
            ("192.0.2.1.", NameError::Address),
            (r"192.0.2.\049", NameError::Address),
            ("2001:db8::1", NameError::Address),
            ("192.0.2.0/24", NameError::Address),
            ("https://example.org/x", NameError::Url),
        ] {
            assert_eq!(read(text), Err(error), "{text}");
        }
        // What is not UTF-8 is refused, and stops nothing.
        assert_eq!(NameBuffer::default().read(b"a\xff.b"), Err(NameError::Idn));
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(
            labels in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..8),
            below_only: bool,
        ) {
            let wire: Vec<u8> = labels.iter().flat_map(|label| {
                let lower = label.to_ascii_lowercase();
                [vec![label.len() as u8], lower].concat()
            }).collect();
            let name = DomainName::of_wire(&wire);
            let text = ListedName { name, below_only, file: 0, line: 0 }.to_string();
            let mut buffer = NameBuffer::default();
            let read = buffer.read(text.as_bytes());
            // No configuration has such a name.
            if is_quad(name) {
                return Ok(());
            }
            prop_assert_eq!(read, Ok(()), "{}", text);
            prop_assert_eq!((buffer.name(), buffer.below_only()), (name, below_only), "{}", text);
        }

        #[test]
        fn any_bytes_can_be_read(bytes: Vec<u8>) {
            let _ = NameBuffer::default().read(&bytes);
        }
    }
}
