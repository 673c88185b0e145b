//! What replies do not know of on this host.

use crate::datapath::host::serving::forwards;
use crate::notation::plain;

/// That an interface forwards packets for others, and what to do about it; `None` if it does not.
/// Connections of others have no socket here, so what answers them is dropped.
pub fn forwarded(interface: &str) -> Option<(String, String)> {
    let families = [(false, "IPv4"), (true, "IPv6")];
    let forwarding =
        families.into_iter().filter(|(is_v6, _)| forwards(interface, *is_v6) == Some(true));
    let forwarding: Vec<&str> = forwarding.map(|(_, family)| family).collect();
    if forwarding.is_empty() {
        return None;
    }
    Some((
        format!(
            "{} forwards {}, and replies = \"pass\" knows this host's own sockets alone: what answers \
             containers, virtual machines or other hosts behind it is dropped unless a rule passes it",
            plain(interface),
            forwarding.join(" and ")
        ),
        "pass it by [[rule]]s, such as tcp_flags = \"ack\" to their addresses, or default = \"pass\" there"
            .to_owned(),
    ))
}
