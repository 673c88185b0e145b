//! Maps, programs and links as objects: pins, ids, and what they say of themselves.

use std::ffi::CString;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use aya_obj::generated::bpf_prog_info;
use libc::c_long;

use crate::datapath::sys::bpf::call::{bpf, bpf_fd, raw, text};

const OBJ_PIN: c_long = 6;
const OBJ_GET: c_long = 7;
const PROG_GET_FD_BY_ID: c_long = 13;
const MAP_GET_FD_BY_ID: c_long = 14;
const OBJ_GET_INFO_BY_FD: c_long = 15;
const LINK_GET_FD_BY_ID: c_long = 30;

#[repr(C)]
#[derive(Default)]
struct Object {
    pathname: u64,
    fd: u32,
    file_flags: u32,
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from)
}

/// Pins a map, a program or a link.
pub fn pin(object: impl AsFd, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let mut attributes =
        Object { pathname: path.as_ptr() as u64, fd: raw(&object), ..Object::default() };
    // SAFETY: BPF_OBJ_PIN takes these; the path is terminated and outlives the call.
    unsafe { bpf(OBJ_PIN, &mut attributes) }.map(drop)
}

/// Opens what is pinned at `path`.
pub fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut attributes = Object { pathname: path.as_ptr() as u64, ..Object::default() };
    // SAFETY: as in `pin`.
    unsafe { bpf_fd(OBJ_GET, &mut attributes) }
}

#[repr(C)]
#[derive(Default)]
struct Id {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

/// Opens a map by its id.
pub fn map_by_id(id: u32) -> io::Result<OwnedFd> {
    // SAFETY: BPF_MAP_GET_FD_BY_ID takes these, which hold no addresses.
    unsafe { bpf_fd(MAP_GET_FD_BY_ID, &mut Id { id, ..Id::default() }) }
}

/// Opens a program by its id.
pub fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    // SAFETY: as in `map_by_id`.
    unsafe { bpf_fd(PROG_GET_FD_BY_ID, &mut Id { id, ..Id::default() }) }
}

/// Opens a link by its id.
pub fn link_by_id(id: u32) -> io::Result<OwnedFd> {
    // SAFETY: as in `map_by_id`.
    unsafe { bpf_fd(LINK_GET_FD_BY_ID, &mut Id { id, ..Id::default() }) }
}

#[repr(C)]
struct Info {
    fd: u32,
    length: u32,
    info: u64,
}

/// Fills `info`, the beginning of the kernel's structure for the object's kind.
///
/// # Safety
///
/// `T` must be a prefix of that structure, made of integers, and addresses in it must be null or
/// have the room that the counts beside them say.
pub(super) unsafe fn object_info<T>(object: impl AsFd, info: &mut T) -> io::Result<()> {
    let mut attributes =
        Info { fd: raw(&object), length: size_of::<T>() as u32, info: (info as *mut T) as u64 };
    // SAFETY: BPF_OBJ_GET_INFO_BY_FD writes at most `length` bytes to `info`, a structure of
    // integers by the caller's word.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attributes) }.map(drop)
}

/// Checks that a descriptor is of that kind of object, by what the kernel says in /proc.
/// Information about another kind would be misread without an error: all begin with numbers.
pub(super) fn require(object: impl AsFd, kind: &str) -> io::Result<()> {
    let path = format!("/proc/self/fd/{}", object.as_fd().as_raw_fd());
    // `anon_inode:bpf-map`; for links, kernels differ between `bpf-link` and `bpf_link`.
    let name = std::fs::read_link(path)?;
    let found = name.to_string_lossy().replace('_', "-");
    if found.ends_with(&format!(":bpf-{kind}")) {
        return Ok(());
    }
    let message = format!("it is no {kind}");
    Err(io::Error::new(io::ErrorKind::InvalidData, message))
}

/// struct bpf_prog_info up to the map ids and the name.
#[repr(C)]
#[derive(Default)]
struct ProgramInfo {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    jited_length: u32,
    xlated_length: u32,
    jited: u64,
    xlated: u64,
    load_time: u64,
    uid: u32,
    map_count: u32,
    map_ids: u64,
    name: [u8; 16],
}

/// What a program says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub id: u32,
    pub name: String,
    /// The kernel's hash of its instructions: programs with the same tag have the same
    /// instructions.
    pub tag: [u8; 8],
    pub map_ids: Vec<u32>,
}

/// Reads a program's information.
pub fn program_info(program: impl AsFd) -> io::Result<Program> {
    require(&program, "prog")?;
    let mut ids = vec![0u32; 64];
    let mut info = ProgramInfo {
        map_count: ids.len() as u32,
        map_ids: ids.as_mut_ptr() as u64,
        ..ProgramInfo::default()
    };
    // SAFETY: a prefix of struct bpf_prog_info; `ids` has room for `map_count` ids, the other
    // addresses are null with lengths of zero.
    unsafe { object_info(program, &mut info) }?;
    ids.truncate(info.map_count as usize);
    Ok(Program { id: info.id, name: text(&info.name), tag: info.tag, map_ids: ids })
}

/// How often a program has run, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runs {
    pub count: u64,
    pub nanoseconds: u64,
}

/// How often a program has run, and for how long, as far as the kernel measured it: while the sysctl
/// kernel.bpf_stats_enabled is on, or a process holds BPF_ENABLE_STATS. Zeroes where it never did.
pub fn program_runs(program: impl AsFd) -> io::Result<Runs> {
    let info = whole_info(program)?;
    Ok(Runs { count: info.run_cnt, nanoseconds: info.run_time_ns })
}

/// How many instructions the verifier processed before it accepted a program. It counts an
/// instruction each time it reaches it in another state, so these are far more than the program
/// has.
pub fn verified_instructions(program: impl AsFd) -> io::Result<u32> {
    Ok(whole_info(program)?.verified_insns)
}

fn whole_info(program: impl AsFd) -> io::Result<bpf_prog_info> {
    require(&program, "prog")?;
    // SAFETY: a structure of integers, for which all zeroes are valid.
    let mut info: bpf_prog_info = unsafe { mem::zeroed() };
    // SAFETY: struct bpf_prog_info itself; all addresses are null with counts of zero.
    unsafe { object_info(program, &mut info) }?;
    Ok(info)
}
