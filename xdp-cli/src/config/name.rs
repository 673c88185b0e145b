//! Which names lists, rules and definitions may have.

/// Most characters of a name.
pub(super) const MAX_LENGTH: usize = 64;

/// Why a text cannot be a name, as a hint; `None` if it can.
pub(super) fn fault(name: &str) -> Option<&'static str> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() {
        Some("a name has at least one character")
    } else if !name.bytes().all(allowed) {
        Some("a name is made of the letters A to Z and a to z, digits, \".\", \"_\" and \"-\"")
    } else if name.len() > MAX_LENGTH {
        Some("a name has at most 64 characters")
    } else {
        None
    }
}
