//! xdp-filter of xdp-tools, in the driver: at most 10,000 addresses.
//!
//! It pins its maps in the machine's bpffs, so it is not touched where it is in use. It takes one
//! address a command, which is what its load time says.

use std::path::Path;

use super::{InForce, run, timed, try_run};
use crate::Result;
use crate::lab::GUEST;
use crate::prefixes::{Family, Prefixes};

const PINS: &str = "/sys/fs/bpf/xdp-filter";

/// Loads it, with the policy that drops: "deny" what is not listed, "allow" what is not.
pub fn put_in_force(policy: &str, addresses: &Prefixes) -> Result<InForce> {
    if Path::new(PINS).exists() {
        return Err(format!("{PINS} is there: xdp-filter is in use on this machine").into());
    }
    let load = timed(|| {
        run("xdp-filter", &["load", "--mode", "native", "--policy", policy, GUEST], "")?;
        for prefix in addresses.iter() {
            run("xdp-filter", &["ip", "--mode", "src", &Family::V4.text(prefix.address)], "")?;
        }
        Ok(())
    });
    let take_off = || try_run("xdp-filter", &["unload", GUEST]);
    match load {
        Ok(load) => Ok(InForce::new(load, take_off)),
        Err(error) => {
            take_off();
            Err(error)
        }
    }
}
