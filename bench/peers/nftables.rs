//! nftables, at the ingress hook of netdev.

use std::fmt::Write as _;

use super::{InForce, run, timed, try_run};
use crate::Result;
use crate::lab::GUEST;
use crate::prefixes::Prefixes;

const TABLE: &str = "xdpctl_bench";

/// Puts a script in force, in the namespace that the thread is in.
pub fn put_in_force(script: &str) -> Result<InForce> {
    let load = timed(|| run("nft", &["-f", "-"], script))?;
    Ok(InForce::new(load, || try_run("nft", &["delete", "table", "netdev", TABLE])))
}

pub fn policy_alone() -> String {
    table("", "")
}

pub fn hash_set(addresses: &Prefixes) -> String {
    with_set("", addresses)
}

pub fn interval_set(prefixes: &Prefixes) -> String {
    with_set("flags interval; auto-merge;", prefixes)
}

fn with_set(flags: &str, prefixes: &Prefixes) -> String {
    let mut elements = String::new();
    for prefix in prefixes.iter() {
        // An element of a set without intervals is an address; writing to a string cannot fail.
        let text = prefix.to_string();
        let _ = write!(elements, "{},", text.strip_suffix("/32").unwrap_or(&text));
    }
    let set = format!("set listed {{ type ipv4_addr; {flags} elements = {{ {elements} }} }}");
    table(&set, "ip saddr @listed drop")
}

/// A table with a set and a rule, which drops all else.
pub fn table(set: &str, rule: &str) -> String {
    format!(
        "table netdev {TABLE} {{\n{set}\nchain ingress {{\n\
         type filter hook ingress device \"{GUEST}\" priority 0; policy drop;\n{rule}\n}}\n}}\n"
    )
}
