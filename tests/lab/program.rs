//! The shortest XDP program there is.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use xdpctl::datapath::sys::bpf;

use super::Lab;

const PROG_LOAD: libc::c_long = 5;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;
/// include/uapi/linux/if_link.h
const XDP_FLAGS_DRV_MODE: u32 = 4;

/// union bpf_attr for BPF_PROG_LOAD, up to the attach type.
#[repr(C)]
#[derive(Default)]
struct Load {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log: [u64; 2],
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    ifindex: u32,
    attach_type: u32,
}

/// A program that passes everything and holds these maps.
pub fn pass_with(maps: &[OwnedFd]) -> OwnedFd {
    let mut instructions = Vec::new();
    for map in maps {
        // r1 = map: two instructions, BPF_PSEUDO_MAP_FD as the source register.
        instructions.extend([0x1118 | (map.as_raw_fd() as u64) << 32, 0]);
    }
    // r0 = XDP_PASS; exit
    instructions.extend([0x0000_0002_0000_00b7, 0x95]);
    let mut load = Load {
        program_type: PROG_TYPE_XDP,
        instruction_count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        attach_type: ATTACH_XDP,
        ..Load::default()
    };
    // SAFETY: BPF_PROG_LOAD takes these; instructions and license outlive the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw mut load, size_of::<Load>()) };
    assert!(fd >= 0, "{}", io::Error::last_os_error());
    // SAFETY: the kernel has just given this descriptor to nobody else.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

impl Lab {
    /// Puts a program that passes everything on an interface, for as long as the value lives.
    #[track_caller]
    pub fn pass_program(&self, role: &str, interface: &str) -> OwnedFd {
        let ifindex = self.ifindex(role, interface);
        let attach = || bpf::create_xdp_link(pass_with(&[]), ifindex, XDP_FLAGS_DRV_MODE);
        let link = self.namespace(role).enter(attach);
        link.unwrap_or_else(|error| panic!("a program on {interface} in {role}: {error}"))
    }
}
