//! The key of an attachment: the name of its directories, of pins and of state.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The index that the interface had when it was attached, and a number where several attachments
/// had that index: `7`, then `7-2`, `7-3` and so on.
///
/// The kernel gives an index to another interface once it is free in a network namespace, for
/// example after its interface was moved to another one. The moved interface stays filtered, and
/// its pins keep their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    ifindex: u32,
    nth: u32,
}

impl Key {
    /// The key of the first attachment to an interface of that index.
    pub const fn first(ifindex: u32) -> Self {
        Self { ifindex, nth: 1 }
    }

    /// The next key of the same index.
    pub const fn next(self) -> Self {
        Self { nth: self.nth.saturating_add(1), ..self }
    }

    /// The interface's index when it was attached.
    pub const fn ifindex(self) -> u32 {
        self.ifindex
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.nth {
            1 => write!(f, "{}", self.ifindex),
            nth => write!(f, "{}-{nth}", self.ifindex),
        }
    }
}

/// A directory of pins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinDirectory {
    pub key: Key,
    pub path: PathBuf,
    /// The path as it is in the machine's own mount namespace, for messages.
    pub shown: PathBuf,
    /// Where the attachment's state lies, if there is any.
    pub state: Option<PathBuf>,
}

/// The name is not that of a key.
#[derive(Debug, PartialEq, Eq)]
pub struct NotAKey;

impl FromStr for Key {
    type Err = NotAKey;

    fn from_str(name: &str) -> Result<Self, NotAKey> {
        let (ifindex, nth) = name.split_once('-').unwrap_or((name, "1"));
        let number = |text: &str| text.parse::<u32>().map_err(|_| NotAKey);
        let key = Self { ifindex: number(ifindex)?, nth: number(nth)? };
        // Only one spelling is taken (not `07` for `7`), or two directories would have the same
        // key.
        if key.to_string() == name { Ok(key) } else { Err(NotAKey) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let first = Key::first(7);
        for (key, name) in [(first, "7"), (first.next(), "7-2"), (first.next().next(), "7-3")] {
            assert_eq!(key.to_string(), name);
            assert_eq!(name.parse(), Ok(key));
        }
        for name in ["", "-", "7-", "-2", "7-1", "07", "+7", "7-02", "7-2-2", "pass", "4294967296"]
        {
            assert_eq!(name.parse::<Key>(), Err(NotAKey), "{name}");
        }
    }
}
