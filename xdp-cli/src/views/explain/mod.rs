//! What the program would do with a frame, as it is shown. Where the answer comes from is not known
//! here.

pub mod entries;
pub mod flow;
pub mod json;
pub mod text;

use serde::Serialize;

use crate::config::prefix::IpPrefix;
use flow::Flow;

/// The answer for one frame. The keys and their order are part of the contract up to `to`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// Its number in a capture, from 1; left out for a frame that is in none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame: Option<u64>,
    pub verdict: &'static str,
    pub reason: &'static str,
    /// The list or the rule that decided.
    pub rule: Option<String>,
    /// The entry of it that decided, or the run-time entry.
    pub entry: Option<String>,
    /// Where a redirect sends the frame.
    pub to: Option<String>,
    /// Where that entry, or the rule, stands.
    pub file: Option<String>,
    pub line: Option<u32>,
    /// The list that counts the frame and leaves it to others to judge.
    pub counted: Option<Counted>,
    /// The frame as it goes on, in hexadecimal, where it is changed.
    pub output: Option<String>,
    /// Where the rule would redirect to, if that interface were there.
    pub missing: Option<String>,
    /// What is wrong with a malformed frame: what follows "the frame".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<&'static str>,
    /// How many bytes of the frame the capture holds, where that is not all: its headers, the rest
    /// was taken to be zeros.
    pub captured: Option<usize>,
    /// Of a run-time entry that decided: `None` where it does not end.
    pub expires_in_seconds: Option<u64>,
    pub note: Option<String>,
    #[serde(flatten)]
    pub flow: Flow,
}

/// A frame of a capture that cannot be judged. The keys are part of the contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unjudged {
    /// Its number, from 1.
    pub frame: u64,
    /// Why not.
    pub error: String,
}

/// A list that only counts, with the entry that does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Counted {
    pub rule: String,
    pub entry: Option<String>,
    pub file: Option<String>,
    pub line: Option<u32>,
}

/// An entry of a configuration or a list file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub prefix: IpPrefix,
    pub file: String,
    pub line: u32,
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        for digit in [byte >> 4, byte & 0xf] {
            text.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
    }
    text
}
