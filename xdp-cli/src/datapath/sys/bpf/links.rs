//! Links: a program on an interface, for as long as the link is held or pinned.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use libc::c_long;

use crate::datapath::sys::bpf::call::{bpf, bpf_fd, raw};
use crate::datapath::sys::bpf::objects::{object_info, require};
use crate::datapath::sys::bpf::programs::ATTACH_XDP;

const LINK_CREATE: c_long = 28;
const LINK_UPDATE: c_long = 29;
const LINK_DETACH: c_long = 34;

/// BPF_LINK_TYPE_XDP and BPF_LINK_TYPE_TCX.
const LINK_TYPE_XDP: u32 = 6;
const LINK_TYPE_TCX: u32 = 11;
/// BPF_TCX_EGRESS, an attach type.
const TCX_EGRESS: u32 = 47;
/// BPF_F_BEFORE: before all others that are there.
const BEFORE: u32 = 1 << 3;

/// struct bpf_link_info, its part for XDP, with which that for TCX begins too.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program_id: u32,
    padding: u32,
    ifindex: u32,
    padding_after: u32,
}

/// What a link of a program on an interface says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceLink {
    pub id: u32,
    pub program_id: u32,
    /// 0 where the interface is gone or the link was detached.
    pub ifindex: u32,
}

/// Reads an XDP link's information; another kind of object is `InvalidData`.
pub fn link_info(link: impl AsFd) -> io::Result<InterfaceLink> {
    info(link, LINK_TYPE_XDP)
}

/// Reads the information of a link at the egress of an interface; another kind of object is `InvalidData`.
pub fn egress_link_info(link: impl AsFd) -> io::Result<InterfaceLink> {
    info(link, LINK_TYPE_TCX)
}

fn info(link: impl AsFd, kind: u32) -> io::Result<InterfaceLink> {
    require(&link, "link")?;
    let mut info = LinkInfo::default();
    // SAFETY: a prefix of struct bpf_link_info, which has no address in the parts of both kinds.
    unsafe { object_info(link, &mut info) }?;
    if info.kind != kind {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a link of another kind"));
    }
    Ok(InterfaceLink { id: info.id, program_id: info.program_id, ifindex: info.ifindex })
}

#[repr(C)]
#[derive(Default)]
struct CreateLink {
    program_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// Attaches a program to an interface by a link that lives as long as its descriptor or its pin.
///
/// aya's own call is not used: on EINVAL it goes on by netlink, whose attachment nothing holds.
pub fn create_xdp_link(program: impl AsFd, ifindex: u32, flags: u32) -> io::Result<OwnedFd> {
    let mut attributes = CreateLink {
        program_fd: raw(&program),
        target_ifindex: ifindex,
        attach_type: ATTACH_XDP,
        flags,
    };
    // SAFETY: BPF_LINK_CREATE takes these, which hold no addresses.
    unsafe { bpf_fd(LINK_CREATE, &mut attributes) }
}

/// Puts a program at the egress of an interface by a link (TCX), before all others that are there. `InvalidInput`
/// where the kernel has no such links.
pub fn create_egress_link(program: impl AsFd, ifindex: u32) -> io::Result<OwnedFd> {
    let mut attributes = CreateLink {
        program_fd: raw(&program),
        target_ifindex: ifindex,
        attach_type: TCX_EGRESS,
        flags: BEFORE,
    };
    // SAFETY: BPF_LINK_CREATE takes these, which hold no addresses.
    unsafe { bpf_fd(LINK_CREATE, &mut attributes) }
}

#[repr(C)]
#[derive(Default)]
struct UpdateLink {
    link_fd: u32,
    new_program_fd: u32,
    flags: u32,
    old_program_fd: u32,
}

/// Replaces a link's program in one step.
pub fn update_link(link: impl AsFd, program: impl AsFd) -> io::Result<()> {
    let mut attributes =
        UpdateLink { link_fd: raw(&link), new_program_fd: raw(&program), ..UpdateLink::default() };
    // SAFETY: BPF_LINK_UPDATE takes these, which hold no addresses.
    unsafe { bpf(LINK_UPDATE, &mut attributes) }.map(drop)
}

/// Takes a link's program off its interface at once, whoever else holds the link.
pub fn detach_link(link: impl AsFd) -> io::Result<()> {
    let mut link_fd = raw(&link);
    // SAFETY: BPF_LINK_DETACH takes a descriptor alone.
    unsafe { bpf(LINK_DETACH, &mut link_fd) }.map(drop)
}
