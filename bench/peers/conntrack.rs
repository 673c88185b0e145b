//! nftables with the kernel's tracking of connections: what answers one passes, all else is dropped.

use super::{InForce, run, timed, try_run};
use crate::Result;
use crate::lab::GUEST;
use crate::sockets::Sockets;

const TABLE: &str = "xdpctl_bench";

/// Puts it in force, with sockets of which each has asked, in the namespace that the thread is in. What passes is
/// dropped right behind, by another chain.
pub fn put_in_force() -> Result<InForce> {
    let script = format!(
        "table ip {TABLE} {{\nchain judge {{\n\
         type filter hook prerouting priority 0; policy drop;\nct state established accept\n}}\n\
         chain behind {{\ntype filter hook prerouting priority 100; policy drop;\n}}\n}}\n"
    );
    let load = timed(|| run("nft", &["-f", "-"], &script))?;
    // The generator writes no checksums of TCP; no time of the measurement is to go into finding that out.
    std::fs::write("/proc/sys/net/netfilter/nf_conntrack_checksum", "0")?;
    let sockets = Sockets::open(GUEST)?;
    sockets.send()?;
    Ok(InForce::new(load, move || {
        drop(sockets);
        try_run("nft", &["delete", "table", "ip", TABLE]);
        try_run("ip", &["route", "flush", "dev", GUEST]);
        try_run("ip", &["addr", "flush", "dev", GUEST]);
    }))
}
