//! The kernel's reverse path filter, which drops packets that come in where no route leads back (RFC 3704;
//! `rp_filter` in Documentation/networking/ip-sysctl.rst in Linux).

use std::fs;
use std::io;
use std::net::IpAddr;

use crate::datapath::host::interface::Interface;
use crate::datapath::host::routes::{self, Way};

/// The setting by which packets from an address are dropped that come in by an interface; `None` where they
/// are not.
///
/// # Errors
///
/// Where the kernel cannot be asked.
pub fn refused(source: IpAddr, ifindex: u32) -> io::Result<Option<String>> {
    let interface = Interface::by_index(ifindex).map_err(io::Error::other)?;
    // The stricter of the two counts: 1 wants the same interface, 2 any.
    let setting = |name: &str| {
        let setting = format!("net/ipv4/conf/{name}/rp_filter");
        let value = fs::read_to_string(format!("/proc/sys/{setting}"));
        (value.ok().and_then(|text| text.trim().parse::<u8>().ok()).unwrap_or(0), setting)
    };
    let (value, setting) = [setting("all"), setting(&interface.name)]
        .into_iter()
        .max_by_key(|(value, _)| *value)
        .unwrap_or_default();
    let back = match routes::way(source, 0)? {
        Some(Way::By { ifindex, .. }) => Some(ifindex),
        // The kernel is told of it otherwise: it takes nothing from its own addresses.
        Some(Way::Here) => return Ok(None),
        None => None,
    };
    let is_refused = match value {
        0 => false,
        1 => back != Some(ifindex),
        _ => back.is_none(),
    };
    Ok(is_refused.then_some(setting))
}
