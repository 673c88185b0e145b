//! Reads a frame written in hexadecimal, in one of two forms:
//!
//! - digits in pairs, with blanks, colons, commas, `0x` or `\x` between them: Wireshark's "Copy as
//!   Hex Stream", "as Escaped String" and "as C Array"
//! - lines that begin with an offset: `tcpdump -xx` and `-XX`, Wireshark's "Copy as Hex Dump" and
//!   "as Hex + ASCII Dump", `tshark -x`, `xxd`, `hexdump -C`. Text beside the bytes is ignored.

use xdp_common::capacity::MAX_EXPLAINED_FRAME;

use crate::notation::plain;

/// Bytes on a line that begins with an offset. All of these tools print as many.
const LINE: usize = 16;
/// On a line with fewer bytes than [`LINE`], at least as many blanks stand between the bytes and
/// the same as text.
const GAP: usize = 3;

/// Reads one frame.
///
/// # Errors
///
/// Says what is wrong with the text, for people.
pub fn parse(text: &str) -> Result<Vec<u8>, String> {
    if is_hexdump(text) {
        let told = "it seems to be of hexdump or od, which leave open what their columns are: print \
                    it with `hexdump -C`, or with xxd";
        return Err(told.to_owned());
    }
    let lines: Vec<Line<'_>> = text.lines().map(Line::of).collect();
    let has_offsets = lines.iter().any(|line| matches!(line, Line::Offset(0, _)));
    let bytes = if has_offsets { of_lines(&lines)? } else { of_digits(text)? };
    if bytes.len() > MAX_EXPLAINED_FRAME {
        return Err(format!("it has {} bytes, {MAX_EXPLAINED_FRAME} are the most", bytes.len()));
    }
    Ok(bytes)
}

/// Whether it is of `hexdump` or `od` with other options than those of [`parse`]. One blank sets their
/// offsets off, so that they would be read as bytes, and the bytes may be in pairs that are turned
/// around. They begin with an offset of zeros, and end with one that has nothing behind it.
fn is_hexdump(text: &str) -> bool {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let (Some(first), Some(last)) = (lines.next(), lines.next_back()) else { return false };
    let Some((offset, rest)) = first.split_once(' ') else { return false };
    matches!(offset.len(), 6 | 7)
        && offset.bytes().all(|digit| digit == b'0')
        && !rest.starts_with(' ')
        && last.len() == offset.len()
        && last.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// A line of a dump.
enum Line<'t> {
    /// An offset, and what follows it.
    Offset(usize, &'t str),
    Other,
}

impl<'t> Line<'t> {
    /// An offset has four digits or more, and a colon, two blanks or a tab after it; otherwise the
    /// digits are bytes. The last line of `hexdump` is an offset and nothing else.
    fn of(line: &'t str) -> Self {
        let text = line.trim_start();
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let end = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
        let (offset, rest) = digits.split_at(end);
        let is_set_off = rest.starts_with(": ") || rest.starts_with("  ") || rest.starts_with('\t');
        if !(4..=8).contains(&offset.len()) || !is_set_off {
            return Self::Other;
        }
        match usize::from_str_radix(offset, 16) {
            Ok(offset) => Self::Offset(offset, rest.strip_prefix(':').unwrap_or(rest)),
            Err(_) => Self::Other,
        }
    }
}

fn of_lines(lines: &[Line<'_>]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for (number, line) in (1..).zip(lines) {
        match *line {
            Line::Offset(0, _) if !bytes.is_empty() => {
                return Err(format!("a second frame begins in line {number}: give one"));
            }
            Line::Offset(offset, _) if offset != bytes.len() => {
                return Err(format!(
                    "line {number} begins at offset {offset:#06x}, and {} bytes stand before it: a \
                     line is missing, or cut short",
                    bytes.len()
                ));
            }
            Line::Offset(_, rest) => bytes.extend(of_line(rest)),
            // A headline, a blank line, or the last line of `hexdump`.
            Line::Other => {}
        }
    }
    Ok(bytes)
}

/// The bytes after an offset.
fn of_line(mut rest: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let text = rest.trim_start();
        let gap = rest.len() - text.len();
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        let (group, after) = text.split_at(end);
        let Some(group) = pairs(group) else { return bytes };
        if bytes.len() >= LINE || (gap >= GAP && !bytes.is_empty()) {
            return bytes;
        }
        bytes.extend(group);
        rest = after;
    }
}

/// The bytes of one group of digits, such as `02` or `0200`.
fn pairs(group: &str) -> Option<Vec<u8>> {
    if group.is_empty() || !group.len().is_multiple_of(2) || !group.is_ascii() {
        return None;
    }
    let pair = |at| group.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    (0..group.len()).step_by(2).map(pair).collect()
}

/// Reads digits in pairs, and ignores what people put between them.
fn of_digits(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let mut half = None;
    let mut place = 0;
    let text = without_comments(text);
    let mut rest = inside_braces(&text);
    while let Some(character) = rest.chars().next() {
        place += 1;
        let after = &rest[character.len_utf8()..];
        // Between bytes, these are C's prefixes.
        let c_prefix = ["0x", "0X", "\\x"].into_iter().find(|it| rest.starts_with(it));
        if let (None, Some(_)) = (half, c_prefix) {
            place += 1;
            rest = &rest[2..];
            continue;
        }
        rest = after;
        if character.is_ascii_whitespace() || matches!(character, ':' | '-' | ',' | '"' | '\\') {
            continue;
        }
        let Some(digit) = character.to_digit(16) else {
            let shown = plain(&character.to_string());
            return Err(format!("'{shown}', character {place}, is no digit"));
        };
        match half.take() {
            Some(upper) => bytes.push((upper << 4 | digit) as u8),
            None => half = Some(digit),
        }
    }
    if half.is_some() {
        return Err("it has an odd number of digits: a byte is two".to_owned());
    }
    Ok(bytes)
}

/// Removes comments: Wireshark writes the bytes as text into those of its C arrays.
fn without_comments(text: &str) -> String {
    let mut parts = text.split("/*");
    let before = parts.next().unwrap_or_default();
    let after = parts.map(|part| part.split_once("*/").map_or("", |(_, after)| after));
    std::iter::once(before).chain(after).collect()
}

/// The inside of a C array; all of the text if it is none.
fn inside_braces(text: &str) -> &str {
    let inside = text.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    inside.map_or(text, |(inside, _)| inside)
}

/// Whether a frame is an IP packet without an Ethernet header, as `tcpdump -x` prints it: it begins
/// like an IP header, whose length is that of the frame.
pub fn lacks_ethernet(frame: &[u8]) -> bool {
    let length = |at: usize| match frame.get(at..at + 2) {
        Some(&[high, low]) => usize::from(u16::from_be_bytes([high, low])),
        _ => usize::MAX,
    };
    match frame.first() {
        Some(0x45..=0x4f) => length(2) == frame.len(),
        Some(0x60..=0x6f) => length(4).checked_add(40) == Some(frame.len()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: [u8; 42] = [
        0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1, 0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1, 0x02, 0,
        0, 0, 0, 1, 0xc0, 0, 2, 0x61, 0, 0, 0, 0, 0, 0, 0xc0, 0x61, 0x62, 0x63,
    ];

    #[test]
    fn digits_alone() {
        assert_eq!(parse("0x02aB ff:00-7f\n"), Ok(vec![2, 0xab, 0xff, 0, 0x7f]));
        assert_eq!(parse(""), Ok(vec![]));
        assert_eq!(parse("020"), Err("it has an odd number of digits: a byte is two".to_owned()));
        assert_eq!(parse("02 0g"), Err("'g', character 5, is no digit".to_owned()));
        assert!(parse(&"00".repeat(65_535)).is_ok());
        assert!(parse(&"00".repeat(65_536)).is_err());
        // Zero bytes in groups of four digits are not an offset.
        assert_eq!(parse("0000 0000 0000 0002"), Ok(vec![0, 0, 0, 0, 0, 0, 0, 2]));
        assert_eq!(parse("00000000"), Ok(vec![0; 4]));
    }

    /// With one blank behind their offsets, which would be read as bytes.
    #[test]
    fn other_columns_are_refused() {
        let hexdump = "0000000 0002 0000 0200 0002 0000 0100 0608 0100\n0000010 0008\n0000012\n";
        let od =
            "0000000 02 00 00 00 00 02 02 00 00 00 00 01 08 06 00 01\n0000020 08 00\n0000022\n";
        let od_in_hex =
            "000000 02 00 00 00 00 02 02 00 00 00 00 01 08 06 00 01\n000010 08 00\n000012\n";
        for dump in [hexdump, od, od_in_hex] {
            let refused = parse(dump).expect_err("no form that is read");
            assert!(refused.contains("hexdump -C"), "{refused}");
        }
        // A frame that begins so is none of them.
        assert!(parse("000000 000000 020000 000001 0806\n0001 0800").is_ok());
    }

    /// As copied from Wireshark 4 and from a terminal, byte for byte.
    #[test]
    fn what_tools_print() {
        let tcpdump = "12:00:00.000001 ARP, Request who-has 192.97.98.99 tell 192.0.2.97, length 28\n\
                       \t0x0000:  0200 0000 0002 0200 0000 0001 0806 0001\n\
                       \t0x0010:  0800 0604 0001 0200 0000 0001 c000 0261\n\
                       \t0x0020:  0000 0000 0000 c061 6263\n";
        let with_text = "\t0x0000:  0200 0000 0002 0200 0000 0001 0806 0001  ................\n\
                         \t0x0010:  0800 0604 0001 0200 0000 0001 c000 0261  ...............a\n\
                         \t0x0020:  0000 0000 0000 c061 6263                 .......abc\n";
        let hex_dump = "0000   02 00 00 00 00 02 02 00 00 00 00 01 08 06 00 01\n\
                        0010   08 00 06 04 00 01 02 00 00 00 00 01 c0 00 02 61\n\
                        0020   00 00 00 00 00 00 c0 61 62 63\n";
        // The text beside the bytes of the last line looks like bytes.
        let hex_and_ascii = "0000   02 00 00 00 00 02 02 00 00 00 00 01 08 06 00 01   ................\r\n\
             0010   08 00 06 04 00 01 02 00 00 00 00 01 c0 00 02 61   ab cd ef ab cd a\r\n\
             0020   00 00 00 00 00 00 c0 61 62 63                     abcd abc\r\n";
        let xxd = "00000000: 0200 0000 0002 0200 0000 0001 0806 0001  ................\n\
                   00000010: 0800 0604 0001 0200 0000 0001 c000 0261  ...............a\n\
                   00000020: 0000 0000 0000 c061 6263                 .......abc\n";
        let hexdump = "00000000  02 00 00 00 00 02 02 00  00 00 00 01 08 06 00 01  |................|\n\
                       00000010  08 00 06 04 00 01 02 00  00 00 00 01 c0 00 02 61  |...............a|\n\
                       00000020  00 00 00 00 00 00 c0 61  62 63                    |.......abc|\n\
                       0000002a\n";
        let stream = "0200000000020200000000010806000108000604000102000000\
                      0001c0000261000000000000c0616263";
        let escaped = "\"\\x02\\x00\\x00\\x00\\x00\\x02\\x02\\x00\\x00\\x00\\x00\\x01\\x08\\x06\\x00\\x01\" \\\n\
                       \"\\x08\\x00\\x06\\x04\\x00\\x01\\x02\\x00\\x00\\x00\\x00\\x01\\xc0\\x00\\x02\\x61\" \\\n\
                       \"\\x00\\x00\\x00\\x00\\x00\\x00\\xc0\\x61\\x62\\x63\"";
        let array = "/* Frame (42 bytes) */\nstatic const unsigned char pkt1[42] = {\n\
                     0x02, 0x00, 0x00, 0x00, 0x00, 0x02, 0x02, 0x00, /* ........ */\n\
                     0x00, 0x00, 0x00, 0x01, 0x08, 0x06, 0x00, 0x01, /* ........ */\n\
                     0x08, 0x00, 0x06, 0x04, 0x00, 0x01, 0x02, 0x00, /* ........ */\n\
                     0x00, 0x00, 0x00, 0x01, 0xc0, 0x00, 0x02, 0x61, /* .......a */\n\
                     0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xc0, 0x61, /* }......a */\n\
                     0x62, 0x63                                      /* bc */\n};\n";
        for text in
            [tcpdump, with_text, hex_dump, hex_and_ascii, xxd, hexdump, stream, escaped, array]
        {
            assert_eq!(parse(text).as_deref(), Ok(&FRAME[..]), "{text}");
        }
    }

    #[test]
    fn what_is_not_one_whole_frame() {
        let line = "\t0x0000:  0200 0000 0002 0200 0000 0001 0806 0001\n";
        assert_eq!(
            parse(&line.repeat(2)).unwrap_err(),
            "a second frame begins in line 2: give one"
        );
        let gap = format!("{line}\t0x0020:  0000\n");
        let told = parse(&gap).unwrap_err();
        assert!(told.starts_with("line 2 begins at offset 0x0020, and 16 bytes stand"), "{told}");
        // Output of `tcpdump` without the packet in hexadecimal.
        assert!(parse("12:00:00.1 IP 192.0.2.1 > 192.0.2.2: ICMP echo").is_err());
    }

    #[test]
    fn a_packet_without_its_ethernet_header_is_known() {
        let mut packet = vec![0; 28];
        (packet[0], packet[3]) = (0x45, 28);
        assert!(lacks_ethernet(&packet));
        assert!(!lacks_ethernet(&packet[..27]));
        let mut packet = vec![0; 48];
        (packet[0], packet[5]) = (0x60, 8);
        assert!(lacks_ethernet(&packet));
        assert!(!lacks_ethernet(&FRAME) && !lacks_ethernet(&[]) && !lacks_ethernet(&[0x60]));
    }
}
