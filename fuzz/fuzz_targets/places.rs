//! What is true of everything that is said of a text.

/// The line is one of the text's, and the column one of the line's or the next one behind it. 0 is
/// the whole.
pub fn check(text: &[u8], line: u32, column: u32) {
    if line == 0 {
        assert_eq!(column, 0, "a column without a line");
        return;
    }
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut lines = text.split(|byte| *byte == b'\n');
    let line = lines.nth(line as usize - 1).expect("a line of the text");
    let columns = String::from_utf8_lossy(line).chars().count() + 1;
    assert!(column as usize <= columns, "column {column} of {columns}");
}

/// Nothing in it would steer a terminal.
pub fn check_harmless(message: &str) {
    assert!(!message.chars().any(xdpctl::notation::steers), "{message:?}");
}
