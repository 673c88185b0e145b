//! Limits of nftables and iptables: of all packets, and of each source.

use super::nftables;
use super::xtables::{self, CHAIN};
use super::{InForce, timed};
use crate::Result;

/// More sources than any traffic has.
const SOURCES: u32 = 2_097_152;

/// A limit of all packets.
pub fn of_all() -> Result<InForce> {
    nftables::put_in_force(&nftables::table(
        "",
        "limit rate over 100/second burst 40000000 packets drop",
    ))
}

/// A limit of each source, in a set that packets add to.
pub fn of_each(limit: &str) -> Result<InForce> {
    let set = format!("set sources {{ type ipv4_addr; size {SOURCES}; flags dynamic; }}");
    let rule = format!("add @sources {{ ip saddr limit rate over {limit} }} drop");
    nftables::put_in_force(&nftables::table(&set, &rule))
}

/// The same by hashlimit.
pub fn hashlimit(restore: &'static str, limit: &str) -> Result<InForce> {
    let rule = format!(
        "-A {CHAIN} -m hashlimit {limit} --hashlimit-mode srcip --hashlimit-name xdpctl_bench \
         --hashlimit-htable-size 262144 --hashlimit-htable-max {SOURCES} -j DROP\n"
    );
    let load = timed(|| xtables::restore(restore, &rule))?;
    Ok(InForce::new(load, move || xtables::try_run_restore(restore)))
}
