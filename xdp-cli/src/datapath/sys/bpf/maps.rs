//! Maps, and their elements by number.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use libc::c_long;

use crate::datapath::sys::bpf::call::{bpf, bpf_fd, kernel_name, raw, text};
use crate::datapath::sys::bpf::objects::{object_info, require};
use xdp_common::maps::{MapSignature, kind};

const MAP_CREATE: c_long = 0;
pub(super) const MAP_LOOKUP_ELEM: c_long = 1;
const MAP_UPDATE_ELEM: c_long = 2;
const MAP_DELETE_ELEM: c_long = 3;
pub(super) const MAP_LOOKUP_BATCH: c_long = 24;
pub(super) const MAP_UPDATE_BATCH: c_long = 26;

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
    create(CreateMap {
        map_type: kind,
        key_size: key_size as u32,
        value_size: value_size as u32,
        max_entries,
        map_flags: flags,
        name: kernel_name(name),
        ..CreateMap::default()
    })
}

/// Creates an array of maps that are made like `inner`.
pub fn create_map_of_maps(max_entries: u32, inner: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    create(CreateMap {
        map_type: kind::ARRAY_OF_MAPS,
        key_size: 4,
        value_size: 4,
        max_entries,
        inner_map_fd: raw(&inner),
        name: kernel_name(name),
        ..CreateMap::default()
    })
}

fn create(mut attributes: CreateMap) -> io::Result<OwnedFd> {
    // SAFETY: BPF_MAP_CREATE takes these attributes, which hold no addresses.
    unsafe { bpf_fd(MAP_CREATE, &mut attributes) }
}

#[repr(C)]
pub(super) struct Element {
    pub(super) map_fd: u32,
    pub(super) padding: u32,
    pub(super) key: u64,
    pub(super) value: u64,
    pub(super) flags: u64,
}

/// Reads an element into `value`, whose length must be the size of the map's values, which is what
/// the kernel writes. `None` where there is no such element. For per-CPU maps there is
/// [`PerCpuValues`](super::PerCpuValues).
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

/// Writes an element. `value` must have the same length as for [`lookup`].
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

/// Removes an element. One that is not there is no error.
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
pub(super) struct Batch {
    pub(super) in_batch: u64,
    pub(super) out_batch: u64,
    pub(super) keys: u64,
    pub(super) values: u64,
    pub(super) count: u32,
    pub(super) map_fd: u32,
    pub(super) elem_flags: u64,
    pub(super) flags: u64,
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

/// Reads all `count` elements of an array in one call into `values`, which has room for them, each
/// as long as for [`lookup`].
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
    pub signature: MapSignature,
    pub max_entries: u32,
    pub name: String,
}

/// Reads a map's information.
pub fn map_info(map: impl AsFd) -> io::Result<Map> {
    require(&map, "map")?;
    let mut info = RawMapInfo::default();
    // SAFETY: a prefix of struct bpf_map_info without addresses.
    unsafe { object_info(map, &mut info) }?;
    Ok(Map {
        id: info.id,
        signature: MapSignature {
            kind: info.kind,
            key_size: info.key_size,
            value_size: info.value_size,
        },
        max_entries: info.max_entries,
        name: text(&info.name),
    })
}
