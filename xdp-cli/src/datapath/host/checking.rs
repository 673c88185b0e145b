//! Whether a process here checks the backends of services. It is a member of a group of NETLINK_USERSOCK
//! (netlink(7)) as long as it runs, and the kernel lists the members of each group (/proc/net/netlink,
//! net/netlink/af_netlink.c). So nothing lies in a file that could outlive it, it is found in its network
//! namespace alone, and nobody without the right to administer that can pretend to be one.

use std::{fs, io};

use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_USERSOCK;

use crate::datapath::host::advice::Note;
use crate::ruleset::Ruleset;

/// Another group than that of events.
const GROUP: u32 = 28;
/// Of the caller's network namespace.
const MEMBERS: &str = "/proc/thread-self/net/netlink";

/// That this process checks backends, as long as it is kept.
pub struct Announced {
    _socket: Socket,
}

/// Lets others know that this process checks backends.
///
/// # Errors
///
/// Where the kernel refuses it: it takes the right to administer the network namespace.
pub fn announce() -> io::Result<Announced> {
    let mut socket = Socket::new(NETLINK_USERSOCK)?;
    socket.bind_auto()?;
    socket.add_membership(GROUP)?;
    Ok(Announced { _socket: socket })
}

/// That a ruleset asks for checks which nobody makes now. What cannot be found out is not told.
pub fn note(ruleset: &Ruleset) -> Option<Note> {
    let mut checked = ruleset.services.iter().filter(|service| service.check.is_some());
    let first = checked.next()?;
    let members = fs::read_to_string(MEMBERS).ok()?;
    if has_member(&members) {
        return None;
    }
    let others = match checked.count() {
        0 => String::new(),
        1 => " and of another service".to_owned(),
        others => format!(" and of {others} other services"),
    };
    Some(Note {
        message: format!(
            "no `xdpctl health` runs here, so nobody checks the backends of service \"{}\"{others}: one that \
             fails still gets packets",
            first.name
        ),
        hint: Some(
            "`systemctl enable --now xdpctl-health` has them checked, and so does `xdpctl health`"
                .into(),
        ),
    })
}

/// Whether the list of all sockets has one in the group. Its columns: the socket, the protocol's number, the
/// port, the first 32 groups as bits.
fn has_member(members: &str) -> bool {
    members.lines().any(|line| {
        let mut columns = line.split_ascii_whitespace().skip(1);
        let protocol = columns.next().and_then(|it| it.parse().ok());
        let groups = columns.nth(1).and_then(|it| u32::from_str_radix(it, 16).ok());
        protocol == Some(NETLINK_USERSOCK) && groups.is_some_and(|it| it & (1 << (GROUP - 1)) != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_of_the_group_is_found_among_others() {
        let head = "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n";
        let line = |protocol: u8, groups: &str| {
            format!(
                "{head}00000000e7be0a0d {protocol:<3} 4242       {groups} 0        0        0     2        0        4\n"
            )
        };
        assert!(has_member(&line(2, "08000000")));
        assert!(has_member(&line(2, "0c000000")));
        // Events alone, another protocol, nothing.
        assert!(!has_member(&line(2, "04000000")));
        assert!(!has_member(&line(0, "08000000")));
        assert!(!has_member(head));
    }
}
