//! Which names lists, rules and definitions may have.

use xdp_common::capacity::MAX_NAME;

/// Why a text cannot be a name, as a hint; `None` if it can.
pub(super) fn fault(name: &str) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() {
        Some("a name has at least one character".to_owned())
    } else if !name.bytes().all(allowed) {
        let made_of = "the letters A to Z and a to z, digits, \".\", \"_\" and \"-\"";
        Some(format!("a name is made of {made_of}"))
    } else if name.len() > MAX_NAME {
        Some(format!("a name has at most {MAX_NAME} characters"))
    } else {
        None
    }
}
