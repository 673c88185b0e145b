//! A key with its value, as TOML has it.

use std::fmt::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::Serialize;

use crate::notation::steers;
use crate::ruleset::Prefix;

/// The value of a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(untagged)]
pub enum Value {
    Boolean(bool),
    Number(u32),
    Text(String),
    /// None or at least two: a single value is written without an array.
    Several(Vec<Value>),
}

/// Writes the value as TOML.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => value.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => quoted(f, text),
            Self::Several(values) => {
                f.write_char('[')?;
                for (place, value) in values.iter().enumerate() {
                    f.write_str(if place > 0 { ", " } else { "" })?;
                    value.fmt(f)?;
                }
                f.write_char(']')
            }
        }
    }
}

impl Value {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A single value for one, else [`Value::Several`].
    pub(super) fn of(mut values: Vec<Self>) -> Self {
        match values.len() {
            1 => values.swap_remove(0),
            _ => Self::Several(values),
        }
    }
}

/// Writes a basic string (TOML 1.0.0, String). Names of interfaces may have almost anything in
/// them; characters that control a terminal are escaped, which means the same.
fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for character in text.chars() {
        match character {
            '"' | '\\' => write!(f, "\\{character}")?,
            // None of these characters is above U+FFFF.
            _ if steers(character) => write!(f, "\\u{:04X}", u32::from(character))?,
            _ => f.write_char(character)?,
        }
    }
    f.write_char('"')
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    pub key: &'static str,
    pub value: Value,
}

/// An IPv4 prefix as text; a single address is written without its length.
pub fn prefix_v4(prefix: Prefix<u32>) -> String {
    let address = Ipv4Addr::from_bits(prefix.address);
    if prefix.length == 32 { address.to_string() } else { format!("{address}/{}", prefix.length) }
}

/// An IPv6 prefix as text; a single address is written without its length.
pub fn prefix_v6(prefix: Prefix<u128>) -> String {
    let address = Ipv6Addr::from_bits(prefix.address);
    if prefix.length == 128 { address.to_string() } else { format!("{address}/{}", prefix.length) }
}
