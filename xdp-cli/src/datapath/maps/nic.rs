//! A NIC's maps, read and written one element a call, because they take no batches.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;

use libc::c_long;

use crate::datapath::sys::bpf::{self, bpf, raw};

const MAP_UPDATE_ELEM: c_long = 2;
const MAP_DELETE_ELEM: c_long = 3;
const MAP_GET_NEXT_KEY: c_long = 4;

/// The attributes of the commands on elements.
#[repr(C)]
struct Element {
    map_fd: u32,
    padding: u32,
    key: u64,
    value_or_next_key: u64,
    flags: u64,
}

impl Element {
    fn new(map: &OwnedFd, key: Option<&[u8]>, value_or_next_key: u64) -> Self {
        let key = key.map_or(0, |key| key.as_ptr() as u64);
        Self { map_fd: raw(map), padding: 0, key, value_or_next_key, flags: 0 }
    }
}

/// Makes a hash hold what is wanted and nothing else. Where this fails, it may hold a part of both.
pub fn fill<const N: usize>(map: &OwnedFd, wanted: &BTreeMap<[u8; N], u64>) -> io::Result<()> {
    assert_eq!(bpf::map_info(map)?.signature.value_size as usize, size_of::<u64>());
    // Removals come first, to make room.
    for key in keys::<N>(map)? {
        if !wanted.contains_key(&key) {
            delete(map, &key)?;
        }
    }
    wanted.iter().try_for_each(|(key, value)| update(map, key, &value.to_ne_bytes()))
}

/// All keys of a map that nobody else is changing.
pub fn keys<const N: usize>(map: &OwnedFd) -> io::Result<Vec<[u8; N]>> {
    let most = bpf::map_info(map)?.max_entries as usize;
    let mut keys: Vec<[u8; N]> = Vec::new();
    // At most as many as the map holds, in case somebody changes it nevertheless.
    while keys.len() < most {
        let mut next = [0; N];
        let last = keys.last().map(<[u8; N]>::as_slice);
        let mut attributes = Element::new(map, last, next.as_mut_ptr() as u64);
        // SAFETY: BPF_MAP_GET_NEXT_KEY takes these; both keys have the map's size, by the
        // caller's word, and outlive the call.
        match unsafe { bpf(MAP_GET_NEXT_KEY, &mut attributes) } {
            Ok(_) => keys.push(next),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(keys)
}

fn update(map: &OwnedFd, key: &[u8], value: &[u8]) -> io::Result<()> {
    let mut attributes = Element::new(map, Some(key), value.as_ptr() as u64);
    // SAFETY: BPF_MAP_UPDATE_ELEM takes these; key and value have the map's sizes, by the
    // caller's word, and outlive the call.
    unsafe { bpf(MAP_UPDATE_ELEM, &mut attributes) }.map(drop)
}

/// Removes an element. One that is not there is no error.
fn delete(map: &OwnedFd, key: &[u8]) -> io::Result<()> {
    let mut attributes = Element::new(map, Some(key), 0);
    // SAFETY: BPF_MAP_DELETE_ELEM takes these; the key has the map's size, by the caller's word,
    // and outlives the call.
    match unsafe { bpf(MAP_DELETE_ELEM, &mut attributes) } {
        Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
        _ => Ok(()),
    }
}
