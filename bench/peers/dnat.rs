//! nftables as a load balancer: destination NAT to a hundred backends, chosen by a hash, with the connections
//! that the kernel tracks for it.

use std::fmt::Write as _;

use super::{InForce, run, timed, try_run};
use crate::Result;
use crate::lab::{GUEST, ip};
use crate::services::{BACKEND_NETWORK, BACKENDS, PORT, address_of, backend_of};

const TABLE: &str = "xdpctl_bench";
const ROUTER: &str = "10.254.0.2";

/// Puts it in force, in the namespace that the thread is in.
pub fn put_in_force() -> Result<InForce> {
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
    ip(&["addr", "replace", "10.254.0.1/24", "dev", GUEST])?;
    let mac = "02:00:00:00:00:09";
    ip(&["neigh", "replace", ROUTER, "lladdr", mac, "dev", GUEST, "nud", "permanent"])?;
    // Behind it are the clients too.
    for to in [BACKEND_NETWORK, "default"] {
        ip(&["route", "replace", to, "via", ROUTER, "dev", GUEST])?;
    }
    let mut backends = String::new();
    for backend in 0..BACKENDS {
        let address = std::net::Ipv4Addr::from(backend_of(0, backend));
        // Writing to a string cannot fail.
        let _ = write!(backends, "{backend} : {address},");
    }
    let service = std::net::Ipv4Addr::from(address_of(0));
    let script = format!(
        "table ip {TABLE} {{\nchain prerouting {{\n\
         type nat hook prerouting priority -100; policy accept;\n\
         ip daddr {service} tcp dport {PORT} dnat to jhash ip saddr . tcp sport mod {BACKENDS} \
         map {{ {backends} }}\n}}\n}}\n"
    );
    let load = timed(|| run("nft", &["-f", "-"], &script))?;
    Ok(InForce::new(load, || {
        try_run("nft", &["delete", "table", "ip", TABLE]);
        try_run("ip", &["route", "flush", "dev", GUEST]);
        try_run("ip", &["addr", "flush", "dev", GUEST]);
    }))
}
