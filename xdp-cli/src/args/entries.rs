//! Entries added at run time.

use std::time::Duration;

use clap::Args;
use xdp_common::capacity::{MAX_NOTE, MAX_OWNER_ARGUMENT};

use super::time::interval;
use crate::notation::{plain, steers};

/// How prefixes are given.
#[derive(Args, Debug)]
pub struct Prefixes {
    /// Addresses, prefixes and ranges, such as 203.0.113.7, 2001:db8:bad::/48 or
    /// 203.0.113.8-203.0.113.21; or `-`: read them from standard input, one a line, as in list
    /// files
    #[arg(value_name = "PREFIX", required_unless_present = "all_interfaces")]
    pub prefixes: Vec<String>,
    /// On every attached interface of this network namespace; omit IFACE
    #[arg(long)]
    pub all_interfaces: bool,
    /// Cut IPv6 prefixes that are longer to this length: who has one address of a /64 mostly has all
    /// of them
    #[arg(long, value_name = "LEN", value_parser = clap::value_parser!(u8).range(..=128))]
    pub aggregate: Option<u8>,
}

#[derive(Args, Debug)]
pub struct Put {
    /// The interface
    #[arg(value_name = "IFACE")]
    pub interface: String,
    #[command(flatten)]
    pub prefixes: Prefixes,
    /// How long the entry lives, such as 90s, 10m or `1h 30m` [default: until it is removed]
    #[arg(long = "for", value_name = "TIME", value_parser = interval, allow_hyphen_values = true)]
    pub life: Option<Duration>,
    /// A remark that `xdpctl bans` shows
    #[arg(long, value_name = "TEXT", value_parser = note, allow_hyphen_values = true)]
    pub note: Option<String>,
    /// Who puts it. Each owner has entries of its own: the last command of one replaces its entry for the
    /// prefix, and of several the one that ends last counts
    #[arg(long, value_name = "NAME", default_value = "cli", value_parser = owner)]
    pub owner: String,
    /// Keep it over a restart, in /var/lib/xdpctl: the next attach to an interface of that name puts
    /// it back
    #[arg(long)]
    pub persist: bool,
    /// Take prefixes that hold every source too: 0.0.0.0/0, ::/0, or several that do so together
    #[arg(long)]
    pub catch_all: bool,
}

#[derive(Args, Debug)]
pub struct Block {
    #[command(flatten)]
    pub put: Put,
    /// Also where that would cut off the connection that this command runs in
    #[arg(long)]
    pub force: bool,
}

#[derive(Args, Debug)]
pub struct Unblock {
    /// The interface
    #[arg(value_name = "IFACE")]
    pub interface: String,
    #[command(flatten)]
    pub prefixes: Prefixes,
    /// Remove that owner's entries alone [default: those of all owners]
    #[arg(long, value_name = "NAME", value_parser = owner)]
    pub owner: Option<String>,
    /// Pass over prefixes that have no entry: no error, and the others are removed
    #[arg(long)]
    pub if_present: bool,
    /// Also where that would cut off the connection that this command runs in
    #[arg(long)]
    pub force: bool,
}

#[derive(Args, Debug)]
pub struct Bans {
    /// The interface
    #[arg(value_name = "IFACE", required_unless_present = "all_interfaces")]
    pub interface: Option<String>,
    /// Those of every attached interface of this network namespace; omit IFACE
    #[arg(long, conflicts_with = "interface")]
    pub all_interfaces: bool,
    /// Show that owner's entries alone [default: those of all owners]
    #[arg(long, value_name = "NAME", value_parser = owner)]
    pub owner: Option<String>,
    /// Remove them, and say how many there were; with --json, print them
    #[arg(long)]
    pub flush: bool,
    /// With --flush, also where that would cut off the connection that this command runs in
    #[arg(long, requires = "flush")]
    pub force: bool,
    /// Print a JSON array
    #[arg(long)]
    pub json: bool,
}

/// An owner's name: as those of lists and rules, and `rule:NAME`.
fn owner(text: &str) -> Result<String, String> {
    let fits = |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '_' | '-' | ':');
    if let Some(character) = text.chars().find(|character| !fits(*character)) {
        return Err(format!(
            "'{}' cannot be in it: a name is made of letters, digits, '.', '_', '-' and ':'",
            plain(&character.to_string())
        ));
    }
    match text.len() {
        1..=MAX_OWNER_ARGUMENT => Ok(text.to_owned()),
        length => Err(format!("it has {length} characters: a name has 1 to {MAX_OWNER_ARGUMENT}")),
    }
}

/// A note that fits on a line.
pub(super) fn note(text: &str) -> Result<String, String> {
    let length = text.chars().count();
    if length > MAX_NOTE {
        return Err(format!("it has {length} characters, {MAX_NOTE} are the most"));
    }
    if text.trim().is_empty() {
        return Err("it is empty; omit `--note` for an entry without one".to_owned());
    }
    if let Some(character) = text.chars().find(|character| steers(*character)) {
        let what = if character.is_control() {
            "a control character"
        } else {
            "a character that changes the direction of text or breaks a line"
        };
        return Err(format!(
            "{what}, {} at place {}, would steer the terminal that shows the note; leave it out",
            character.escape_default(),
            text.chars().take_while(|other| *other != character).count() + 1
        ));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners() {
        for name in ["cli", "rule:ssh.v6_2-x", &"x".repeat(72)] {
            assert_eq!(owner(name), Ok(name.to_owned()));
        }
        for (name, told) in [
            ("", "it has 0 characters: a name has 1 to 72"),
            (&*"x".repeat(73), "it has 73 characters: a name has 1 to 72"),
            ("a b", "' ' cannot be in it"),
            ("a\u{1b}", "'\\u{1b}' cannot be in it"),
            ("é", "'é' cannot be in it"),
        ] {
            assert!(owner(name).unwrap_err().starts_with(told), "{name:?}");
        }
    }

    #[test]
    fn notes() {
        assert_eq!(note("ssh, 5 times"), Ok("ssh, 5 times".to_owned()));
        assert!(note(&"é".repeat(200)).is_ok());
        assert_eq!(note(&"é".repeat(201)).unwrap_err(), "it has 201 characters, 200 are the most");
        assert!(note(" ").unwrap_err().contains("empty"));
        assert_eq!(
            note("a\nb").unwrap_err(),
            "a control character, \\n at place 2, would steer the terminal that shows the note; \
             leave it out"
        );
        assert!(note("\u{9b}2J").unwrap_err().contains("\\u{9b} at place 1,"));
        let turned = note("ab\u{202e}c").unwrap_err();
        assert!(turned.starts_with("a character that changes the direction of text"), "{turned}");
        assert!(turned.contains("\\u{202e} at place 3,"), "{turned}");
    }
}
