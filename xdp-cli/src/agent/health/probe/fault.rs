//! Why a check does not succeed.

use std::io;

use crate::notation::{plain, shortened};

/// Most bytes of an answer that are looked at.
pub(super) const LARGEST: usize = 64 << 10;
/// Most characters of what an answer says that are shown.
const SHOWN: usize = 120;

/// Why a check did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Failed(String),
    Unknown(String),
}

impl Fault {
    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    pub(super) fn unknown(message: impl Into<String>) -> Self {
        Self::Unknown(message.into())
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        let message = said(&error);
        match error.raw_os_error() {
            // No descriptors, ports or memory, or a rule of this host's own against what it sends.
            Some(
                libc::EMFILE
                | libc::ENFILE
                | libc::ENOMEM
                | libc::ENOBUFS
                | libc::EAGAIN
                | libc::EADDRNOTAVAIL
                | libc::EPERM
                | libc::EACCES,
            ) => Self::Unknown(message),
            _ => Self::Failed(message),
        }
    }
}

/// An error without its number: `connection refused`.
pub(super) fn said(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_lowercase().to_string());
    first.unwrap_or_default() + characters.as_str()
}

/// Something from outside, as a message shows it.
pub(super) fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    shortened(&plain(text.lines().next().unwrap_or_default().trim()), SHOWN)
}

/// Whether an answer has that in it.
pub(super) fn holds(answer: &[u8], expected: &str) -> bool {
    answer.windows(expected.len().max(1)).any(|window| window == expected.as_bytes())
}
