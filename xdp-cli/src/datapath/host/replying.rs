//! What replies do not know of on this host.

use crate::datapath::error::Error;
use crate::datapath::host::serving::forwards;
use crate::notation::plain;

/// Says what follows where it cannot be noted what an interface sends.
pub fn by_sockets_alone(interface: &str, error: Error) -> Error {
    let families = [(false, "IPv4"), (true, "IPv6")];
    let forwarding =
        families.into_iter().filter(|(is_v6, _)| forwards(interface, *is_v6) == Some(true));
    let forwarding: Vec<&str> = forwarding.map(|(_, family)| family).collect();
    let name = plain(interface);
    let dropped = match forwarding.is_empty() {
        true => String::new(),
        false => format!(
            ", and {name} forwards {}: what answers containers, virtual machines or other hosts behind it \
             is dropped unless a rule passes it",
            forwarding.join(" and ")
        ),
    };
    let message =
        format!("{}; so replies pass by this host's own sockets alone{dropped}", error.message);
    Error { message, ..error }
}
