//! Shows what the program would do with a frame. Does not know where the answer comes from.

pub mod entries;
pub mod flow;
pub mod json;
pub mod names;
pub mod replied;
pub mod text;

use serde::Serialize;

use crate::config::prefix::IpPrefix;
use flow::Flow;
use replied::Replied;

/// The answer for one frame. Up to `to`, the keys and their order are part of the contract.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// The number of the frame in its capture, from 1; left out if it is not from a capture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame: Option<u64>,
    pub verdict: &'static str,
    pub reason: &'static str,
    /// The list, the rule or the service that decided.
    pub rule: Option<String>,
    /// The entry of that list, or the run-time entry, that decided.
    pub entry: Option<String>,
    /// Where a redirect or a service sends the frame.
    pub to: Option<String>,
    /// File and line of that entry, of the rule or of the service.
    pub file: Option<String>,
    pub line: Option<u32>,
    /// The service that takes it; its keys are left out if none does.
    #[serde(flatten)]
    pub taken: Option<Taken>,
    /// What let it in, so that its service took it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admitted: Option<Admitted>,
    /// The rules with limits that were asked, in their order; left out if none was.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Limited>,
    /// Whether it answers what the host has open; left out where that was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<Replied>,
    /// The list that only counted the frame, and left the verdict to others.
    pub counted: Option<Counted>,
    /// The list of names that let the message go on, and left the verdict to others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excepted: Option<Counted>,
    /// Why the question of the DNS message could not be read: `label`, `questions` or `length`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<&'static str>,
    /// The frame as it is sent on, in hexadecimal, if that is changed.
    pub output: Option<String>,
    /// The interface that the rule would redirect to, if that is missing.
    pub missing: Option<String>,
    /// What is wrong with a malformed frame, worded to follow "the frame".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<&'static str>,
    /// How many bytes of the frame the capture holds, if that is not all. They contain all headers;
    /// the rest was taken to be zeros.
    pub captured: Option<usize>,
    /// Seconds left of the run-time entry that decided; `None` if it does not expire.
    pub expires_in_seconds: Option<u64>,
    pub note: Option<String>,
    /// Who put the run-time entry that decided, where that was a rule: `rule:NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What the rule that decided blocks with the frame's source, and for how long; left out if it blocks nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocks: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_seconds: Option<u64>,
    /// What becomes of a SYN, where a rule decides that answers those: `answered`, `not_needed`, `no_listener`,
    /// `odd` or `unknown_address`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syn_cookie: Option<&'static str>,
    #[serde(flatten)]
    pub flow: Flow,
}

/// What a rule with a limit says of a frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limited {
    pub rule: String,
    /// Whether the frame is over, so that the rule decides.
    pub over: bool,
    pub rate: String,
    pub per: String,
    /// What the frame's key has left of the burst before it, in packets or bytes.
    pub left: u64,
    pub burst: u64,
    pub unit: &'static str,
}

/// What a service does with a frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Taken {
    pub service: String,
    /// The backend that it goes to or comes from; `None` if no backend takes it.
    pub backend: Option<String>,
    /// How the backend was chosen: `hash`, `entry`, `before` or `substitute`; `reply` of a frame that the
    /// backend sent.
    pub by: Option<&'static str>,
    /// Why the frame does not get there: `no_backend`, `too_big`, `no_route`, `fragment` or `ttl`; or
    /// `slow` if it is the kernel's stack that sends it on.
    pub lost: Option<&'static str>,
}

/// What lets a frame in, and leaves it to a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Admitted {
    /// `allowed`, `allowlist` or `rule`.
    pub reason: &'static str,
    pub rule: Option<String>,
    pub entry: Option<String>,
    pub file: Option<String>,
    pub line: Option<u32>,
}

/// A frame of a capture that cannot be judged. The keys are part of the contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unjudged {
    /// The number of the frame, from 1.
    pub frame: u64,
    /// Why it cannot be judged.
    pub error: String,
}

/// A list that only counts, with the entry that holds the address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Counted {
    pub rule: String,
    pub entry: Option<String>,
    pub file: Option<String>,
    pub line: Option<u32>,
}

/// An entry, and its place in a configuration or a list file.
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
