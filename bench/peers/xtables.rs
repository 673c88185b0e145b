//! iptables in the table raw, alone and with ipset. Policies belong to a namespace, which ends
//! with the benchmark.

use std::fmt::Write as _;

use super::{InForce, run, timed, try_run};
use crate::Result;
use crate::prefixes::Prefixes;
use crate::rules::Rules;

/// The two that there are, each with the program that replaces a table: of its own, and over
/// nf_tables.
pub const KINDS: [(&str, &str); 2] =
    [(LEGACY, "iptables-legacy-restore"), ("iptables-nft", "iptables-nft-restore")];
const LEGACY: &str = "iptables-legacy";

const SET: &str = "xdpctl_bench";
pub const CHAIN: &str = "PREROUTING";

/// One set that a rule asks for.
pub fn put_set_in_force(prefixes: &Prefixes) -> Result<InForce> {
    let mut script = format!("create {SET} hash:net family inet hashsize 262144 maxelem 1048576\n");
    for prefix in prefixes.iter() {
        // Writing to a string cannot fail.
        let _ = writeln!(script, "add {SET} {prefix}");
    }
    let load = timed(|| {
        run("ipset", &["restore"], &script)?;
        restore(KINDS[0].1, &format!("-A {CHAIN} -m set --match-set {SET} src -j DROP\n"))
    });
    let in_force = |load| {
        InForce::new(load, || {
            try_run_restore(KINDS[0].1);
            try_run("ipset", &["destroy", SET]);
        })
    };
    // What was half done is taken off, too.
    match load {
        Ok(load) => Ok(in_force(load)),
        Err(error) => {
            drop(in_force(std::time::Duration::ZERO));
            Err(error)
        }
    }
}

/// Rules, one after the other.
pub fn put_rules_in_force(program: &'static str, rules: &Rules) -> Result<InForce> {
    let lines = rules.iptables(CHAIN);
    let load = timed(|| restore(program, &lines))?;
    // The table stays, empty and passing, until its namespace ends.
    Ok(InForce::new(load, move || try_run_restore(program)))
}

/// Replaces the table.
pub fn restore(program: &str, lines: &str) -> Result<()> {
    let policy = if lines.is_empty() { "ACCEPT" } else { "DROP" };
    run(program, &[], &format!("*raw\n:{CHAIN} {policy} [0:0]\n{lines}COMMIT\n"))
}

/// Empties it.
pub fn try_run_restore(program: &str) {
    // There is nothing else to be done about it, and the namespace ends soon.
    let _ = restore(program, "");
}
