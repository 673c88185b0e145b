//! Whether the kernel makes SYN cookies, and takes them back: net.ipv4.tcp_syncookies
//! (Documentation/networking/ip-sysctl.rst), of the caller's network namespace and of both families.

use std::{fs, io};

use crate::datapath::error::{Context, Error, Result};
use crate::notation::plain;
use crate::ruleset::{RuleAction, Ruleset};

const PATH: &str = "/proc/sys/net/ipv4/tcp_syncookies";

/// The error that a rule answers with cookies and the kernel makes none.
///
/// # Errors
///
/// That one, or where the setting cannot be read.
pub fn require(ruleset: &Ruleset) -> Result<()> {
    let mut rules = ruleset.rules.iter();
    let Some(rule) = rules.find(|rule| matches!(rule.action, RuleAction::SynCookie)) else {
        return Ok(());
    };
    match refusal(&rule.name)? {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// What keeps the kernel from making cookies for a rule; `None` where it does.
///
/// # Errors
///
/// Where the setting cannot be read.
pub fn refusal(rule: &str) -> Result<Option<Error>> {
    let rule = plain(rule);
    match fs::read_to_string(PATH) {
        Ok(text) if text.trim() != "0" => Ok(None),
        Ok(_) => Ok(Some(
            Error::new(format!(
                "rule \"{rule}\" answers with SYN cookies, which net.ipv4.tcp_syncookies = 0 switches off"
            ))
            .hint("`sysctl -w net.ipv4.tcp_syncookies=1` switches them on"),
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Some(
            Error::new(format!(
                "rule \"{rule}\" answers with SYN cookies, which this kernel cannot make: it was built \
                 without CONFIG_SYN_COOKIES"
            ))
            .hint("drop what is over, or let the kernel's own limits act: leave the rule out"),
        )),
        Err(error) => Err(error).context(format_args!("read {PATH}")),
    }
}
