//! bpf(2), as far as aya does not reach: links with the interface that they are on, maps filled
//! through memory or in one call, and per-CPU values.
//!
//! The attribute blocks are those of include/uapi/linux/bpf.h, `union bpf_attr`, one structure
//! for each command that is used here.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use libc::c_long;

use super::shape::Shape;

const MAP_CREATE: c_long = 0;
const MAP_LOOKUP_ELEM: c_long = 1;
const MAP_UPDATE_ELEM: c_long = 2;
const MAP_DELETE_ELEM: c_long = 3;
const OBJ_PIN: c_long = 6;
const OBJ_GET: c_long = 7;
const PROG_GET_FD_BY_ID: c_long = 13;
const MAP_GET_FD_BY_ID: c_long = 14;
const OBJ_GET_INFO_BY_FD: c_long = 15;
const MAP_LOOKUP_BATCH: c_long = 24;
const MAP_UPDATE_BATCH: c_long = 26;
const MAP_DELETE_BATCH: c_long = 27;
const LINK_CREATE: c_long = 28;
const LINK_UPDATE: c_long = 29;
const LINK_DETACH: c_long = 34;

/// BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_LPM_TRIE,
/// BPF_MAP_TYPE_ARRAY_OF_MAPS, BPF_MAP_TYPE_DEVMAP.
pub const HASH: u32 = 1;
pub const ARRAY: u32 = 2;
pub const PERCPU_ARRAY: u32 = 6;
pub const LPM_TRIE: u32 = 11;
pub const ARRAY_OF_MAPS: u32 = 12;
pub const DEVMAP: u32 = 14;
/// BPF_XDP, an attach type.
const ATTACH_XDP: u32 = 37;
/// BPF_LINK_TYPE_XDP.
const LINK_TYPE_XDP: u32 = 6;

/// Calls bpf(2) with one command's attributes.
///
/// # Safety
///
/// `attributes` must be the kernel's structure for `command`, and the addresses in it must stay
/// valid, and writable where the command writes, during the call.
unsafe fn bpf<T>(command: c_long, attributes: &mut T) -> io::Result<c_long> {
    let attributes: *mut T = attributes;
    // SAFETY: the caller answers for what the attributes hold; the kernel reads no more than the
    // size given and takes what is shorter than its own structure for zero-filled.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// As [`bpf`], for commands that return a descriptor.
///
/// # Safety
///
/// As [`bpf`].
unsafe fn bpf_fd<T>(command: c_long, attributes: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: the caller's.
    let fd = unsafe { bpf(command, attributes) }?;
    // SAFETY: the command returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Borrows: a descriptor that was given away would be closed before the call.
fn raw(fd: &impl AsFd) -> u32 {
    fd.as_fd().as_raw_fd() as u32
}

#[repr(C)]
#[derive(Default)]
struct CreateMap {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    name: [u8; 16],
}

/// Creates a map with `u32` keys.
pub fn create_map(
    kind: u32,
    value_size: usize,
    max_entries: u32,
    flags: u32,
    name: &str,
) -> io::Result<OwnedFd> {
    create_keyed_map(kind, 4, value_size, max_entries, flags, name)
}

/// Creates a map with keys of that size.
pub fn create_keyed_map(
    kind: u32,
    key_size: usize,
    value_size: usize,
    max_entries: u32,
    flags: u32,
    name: &str,
) -> io::Result<OwnedFd> {
    let mut attributes = CreateMap {
        map_type: kind,
        key_size: key_size as u32,
        value_size: value_size as u32,
        max_entries,
        map_flags: flags,
        ..CreateMap::default()
    };
    // The kernel takes 15 bytes and a terminating zero.
    for (place, byte) in attributes.name.iter_mut().take(15).zip(name.bytes()) {
        *place = byte;
    }
    // SAFETY: BPF_MAP_CREATE takes these attributes, which hold no addresses.
    unsafe { bpf_fd(MAP_CREATE, &mut attributes) }
}

#[repr(C)]
struct Element {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Reads an element into `value`, whose length must be what the kernel writes: the value's size,
/// for per-CPU maps once for each possible CPU, each rounded up to eight bytes. `None` where there
/// is none.
pub fn lookup(map: impl AsFd, key: u32, value: &mut [u8]) -> io::Result<Option<()>> {
    let mut attributes = Element {
        map_fd: raw(&map),
        padding: 0,
        key: (&raw const key) as u64,
        value: value.as_mut_ptr() as u64,
        flags: 0,
    };
    // SAFETY: BPF_MAP_LOOKUP_ELEM takes these; key and value outlive the call, and the caller
    // gives the value the length that the map's values have.
    match unsafe { bpf(MAP_LOOKUP_ELEM, &mut attributes) } {
        Ok(_) => Ok(Some(())),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes an element. The same is true of the length as for [`lookup`].
pub fn update(map: impl AsFd, key: u32, value: &[u8]) -> io::Result<()> {
    let mut attributes = Element {
        map_fd: raw(&map),
        padding: 0,
        key: (&raw const key) as u64,
        value: value.as_ptr() as u64,
        flags: 0,
    };
    // SAFETY: as in `lookup`, and the kernel only reads the value.
    unsafe { bpf(MAP_UPDATE_ELEM, &mut attributes) }.map(drop)
}

/// Removes an element; that it was not there is no error.
pub fn delete(map: impl AsFd, key: u32) -> io::Result<()> {
    let mut attributes =
        Element { map_fd: raw(&map), padding: 0, key: (&raw const key) as u64, value: 0, flags: 0 };
    // SAFETY: BPF_MAP_DELETE_ELEM takes these; the key outlives the call.
    match unsafe { bpf(MAP_DELETE_ELEM, &mut attributes) } {
        Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
        _ => Ok(()),
    }
}

#[repr(C)]
#[derive(Default)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Writes elements in one call, so that a map of maps waits for its readers once.
pub fn update_batch(map: impl AsFd, keys: &[u32], values: &[u32]) -> io::Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    assert_eq!(keys.len(), values.len());
    let mut attributes = Batch {
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count: keys.len() as u32,
        map_fd: raw(&map),
        ..Batch::default()
    };
    // SAFETY: BPF_MAP_UPDATE_BATCH takes these; both arrays have `count` elements of the sizes of
    // a map of maps and outlive the call.
    unsafe { bpf(MAP_UPDATE_BATCH, &mut attributes) }.map(drop)
}

/// Reads all `count` elements of an array in one call; `values` has room for them, each as
/// [`lookup`] would give it.
pub fn lookup_batch(map: impl AsFd, count: u32, values: &mut [u8]) -> io::Result<()> {
    let mut keys = vec![0u32; count as usize];
    let mut position = 0u32;
    let mut attributes = Batch {
        out_batch: (&raw mut position) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count,
        map_fd: raw(&map),
        ..Batch::default()
    };
    // SAFETY: BPF_MAP_LOOKUP_BATCH takes these; all addresses outlive the call and have room for
    // `count` elements. That the end was reached is told as ENOENT.
    let result = unsafe { bpf(MAP_LOOKUP_BATCH, &mut attributes) };
    match result {
        Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
        _ if attributes.count != count => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// Keys or values of one size, one behind the other: what is written to a map of that key or value
/// size, or read from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elements {
    size: usize,
    bytes: Vec<u8>,
}

impl Elements {
    pub fn new(size: usize) -> Self {
        assert!(size > 0);
        Self { size, bytes: Vec::new() }
    }

    /// Adds one, which has to be of the size.
    pub fn push(&mut self, element: &[u8]) {
        assert_eq!(element.len(), self.size);
        self.bytes.extend_from_slice(element);
    }

    pub fn len(&self) -> usize {
        self.bytes.len() / self.size
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn iter(&self) -> std::slice::ChunksExact<'_, u8> {
        self.bytes.chunks_exact(self.size)
    }

    /// The address of an element, for the kernel.
    fn address(&self, first: usize) -> u64 {
        self.bytes[first * self.size..].as_ptr() as u64
    }
}

/// Reads one element by a key of any size into a value, both of the map's sizes.
pub fn lookup_keyed(map: impl AsFd, key: &[u8], value: &mut [u8]) -> io::Result<Option<()>> {
    let mut attributes = Element {
        map_fd: raw(&map),
        padding: 0,
        key: key.as_ptr() as u64,
        value: value.as_mut_ptr() as u64,
        flags: 0,
    };
    // SAFETY: as in `lookup`, and the caller gives the key the length that the map's keys have.
    match unsafe { bpf(MAP_LOOKUP_ELEM, &mut attributes) } {
        Ok(_) => Ok(Some(())),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes elements in as few calls as can be, each in the place of one with the same key. Keys and
/// values are of the map's sizes. Where it fails, some of the elements may have been written.
pub fn update_elements(map: impl AsFd, keys: &Elements, values: &Elements) -> io::Result<()> {
    /// The kernel allocates without waiting, from a store that is filled again a moment later.
    const PATIENCE: u32 = 100;
    assert_eq!(keys.len(), values.len());
    let (mut done, mut tried) = (0, 0);
    while done < keys.len() {
        let mut attributes = Batch {
            keys: keys.address(done),
            values: values.address(done),
            count: (keys.len() - done) as u32,
            map_fd: raw(&map),
            ..Batch::default()
        };
        // SAFETY: BPF_MAP_UPDATE_BATCH takes these; keys and values have `count` elements of the
        // map's sizes, by the caller's word, and outlive the call.
        let result = unsafe { bpf(MAP_UPDATE_BATCH, &mut attributes) };
        let Err(error) = result else { break };
        // How many were written before the one that failed; left alone where none was tried.
        let written = attributes.count as usize;
        if error.raw_os_error() != Some(libc::ENOMEM) || written >= keys.len() - done {
            return Err(error);
        }
        tried = if written > 0 { 0 } else { tried + 1 };
        done += written;
        if tried > PATIENCE {
            return Err(error);
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    Ok(())
}

/// Removes elements in as few calls as can be, and returns the places of those that were not there.
pub fn delete_elements(map: impl AsFd, keys: &Elements) -> io::Result<Vec<usize>> {
    let mut missing = Vec::new();
    let mut done = 0;
    while done < keys.len() {
        let mut attributes = Batch {
            keys: keys.address(done),
            count: (keys.len() - done) as u32,
            map_fd: raw(&map),
            ..Batch::default()
        };
        // SAFETY: BPF_MAP_DELETE_BATCH takes these; there are `count` keys of the map's size, by
        // the caller's word, which outlive the call.
        match unsafe { bpf(MAP_DELETE_BATCH, &mut attributes) } {
            Ok(_) => break,
            Err(error)
                if error.raw_os_error() == Some(libc::ENOENT)
                    && (attributes.count as usize) < keys.len() - done =>
            {
                done += attributes.count as usize;
                missing.push(done);
                done += 1;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(missing)
}

/// Reads all elements of a hash or a trie that nobody else is changing.
pub fn all_elements(
    map: impl AsFd,
    key_size: usize,
    value_size: usize,
) -> io::Result<(Elements, Elements)> {
    /// A bucket of a hash is read whole or not at all.
    const COUNT: usize = 1 << 14;
    let most = map_info(&map)?.max_entries as usize;
    let (mut keys, mut values) = (Elements::new(key_size), Elements::new(value_size));
    // A bucket's number, or a trie's key.
    let mut position = [0u64; 32];
    assert!(key_size <= size_of_val(&position));
    let (mut some_keys, mut some_values) = (vec![0; COUNT * key_size], vec![0; COUNT * value_size]);
    let mut begun = false;
    // No more than can be there, should somebody change it all the same.
    while keys.len() <= most {
        let mut attributes = Batch {
            in_batch: if begun { position.as_ptr() as u64 } else { 0 },
            out_batch: position.as_mut_ptr() as u64,
            keys: some_keys.as_mut_ptr() as u64,
            values: some_values.as_mut_ptr() as u64,
            count: COUNT as u32,
            map_fd: raw(&map),
            ..Batch::default()
        };
        // SAFETY: BPF_MAP_LOOKUP_BATCH takes these; all addresses outlive the call, with room for
        // `count` elements of the map's sizes and for a position, which is as long as a key or four
        // bytes. That the end was reached is told as ENOENT.
        let result = unsafe { bpf(MAP_LOOKUP_BATCH, &mut attributes) };
        let end = match result {
            Ok(_) => false,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            Err(error) => return Err(error),
        };
        let count = (attributes.count as usize).min(COUNT);
        keys.bytes.extend_from_slice(&some_keys[..count * key_size]);
        values.bytes.extend_from_slice(&some_values[..count * value_size]);
        if end {
            break;
        }
        begun = true;
    }
    Ok((keys, values))
}

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
unsafe fn object_info<T>(object: impl AsFd, info: &mut T) -> io::Result<()> {
    let mut attributes =
        Info { fd: raw(&object), length: size_of::<T>() as u32, info: (info as *mut T) as u64 };
    // SAFETY: BPF_OBJ_GET_INFO_BY_FD writes at most `length` bytes to `info`, a structure of
    // integers by the caller's word.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attributes) }.map(drop)
}

/// struct bpf_link_info, its part for XDP.
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

/// What an XDP link says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpLink {
    pub program_id: u32,
    /// 0 where the interface is gone or the link was detached.
    pub ifindex: u32,
}

/// Reads an XDP link's information; another kind of object is `InvalidData`.
pub fn link_info(link: impl AsFd) -> io::Result<XdpLink> {
    let mut info = LinkInfo::default();
    // SAFETY: a prefix of struct bpf_link_info, which has no address in the XDP part.
    unsafe { object_info(link, &mut info) }?;
    if info.kind != LINK_TYPE_XDP {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not an XDP link"));
    }
    Ok(XdpLink { program_id: info.program_id, ifindex: info.ifindex })
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
    pub map_ids: Vec<u32>,
}

/// Reads a program's information.
pub fn program_info(program: impl AsFd) -> io::Result<Program> {
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
    Ok(Program { id: info.id, name: text(&info.name), map_ids: ids })
}

/// struct bpf_map_info up to the name.
#[repr(C)]
#[derive(Default)]
struct RawMapInfo {
    kind: u32,
    id: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    name: [u8; 16],
}

/// What a map says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    pub id: u32,
    pub shape: Shape,
    pub max_entries: u32,
    pub name: String,
}

/// Reads a map's information.
pub fn map_info(map: impl AsFd) -> io::Result<Map> {
    let mut info = RawMapInfo::default();
    // SAFETY: a prefix of struct bpf_map_info without addresses.
    unsafe { object_info(map, &mut info) }?;
    Ok(Map {
        id: info.id,
        shape: Shape { kind: info.kind, key_size: info.key_size, value_size: info.value_size },
        max_entries: info.max_entries,
        name: text(&info.name),
    })
}

fn text(name: &[u8; 16]) -> String {
    String::from_utf8_lossy(name.split(|&byte| byte == 0).next().unwrap_or_default()).into_owned()
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

#[repr(C)]
#[derive(Default)]
struct UpdateLink {
    link_fd: u32,
    new_program_fd: u32,
    flags: u32,
    old_program_fd: u32,
}

/// Exchanges a link's program in one step.
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
