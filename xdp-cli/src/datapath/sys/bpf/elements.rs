//! Elements of maps with keys of any size, many in one call.

use std::io;
use std::os::fd::AsFd;

use crate::datapath::sys::bpf::call::{bpf, raw};
use crate::datapath::sys::bpf::maps::{
    Batch, Element, MAP_LOOKUP_BATCH, MAP_LOOKUP_ELEM, MAP_UPDATE_BATCH, map_info,
};
use libc::c_long;

const MAP_DELETE_BATCH: c_long = 27;

/// Keys or values of one size, one behind the other, to be written to a map whose keys or values
/// have that size, or read from it.
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

    /// Adds one element, which has to have the size.
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

/// Writes elements in as few calls as possible. Each replaces one with the same key. Keys and
/// values have the map's sizes. Where it fails, some of the elements may have been written.
pub fn update_elements(map: impl AsFd, keys: &Elements, values: &Elements) -> io::Result<()> {
    /// Tries without progress, 1 ms apart. The kernel allocates elements without waiting, from a
    /// store that it fills again a moment later.
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
        // How many were written before the one that failed; unchanged where none was tried.
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

/// Removes elements in as few calls as possible, and returns the positions in `keys` of those that
/// were not there.
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

/// Reads all elements of a hash or a trie. Of those that another command puts or removes meanwhile,
/// each may be among them or not; of a trie, an element may be among them twice.
pub fn all_elements(
    map: impl AsFd,
    key_size: usize,
    value_size: usize,
) -> io::Result<(Elements, Elements)> {
    /// Elements for each call. A bucket of a hash is read as a whole or not at all, and fits.
    const COUNT: usize = 1 << 14;
    /// Tries without progress. The kernel gives up (EINTR) on a trie whose next keys were removed
    /// before it could read their values.
    const PATIENCE: u32 = 100;
    let most = map_info(&map)?.max_entries as usize;
    let (mut keys, mut values) = (Elements::new(key_size), Elements::new(value_size));
    // Where the kernel goes on: at the number of a hash's bucket, or a key of a trie.
    let mut position = [0u64; 32];
    assert!(key_size <= size_of_val(&position));
    let (mut some_keys, mut some_values) = (vec![0; COUNT * key_size], vec![0; COUNT * value_size]);
    let (mut begun, mut tried) = (false, 0);
    // At most as many as the map holds, or changes could make this endless.
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
            // What it read before counts.
            Err(error) if error.raw_os_error() == Some(libc::EINTR) && tried < PATIENCE => {
                // The kernel writes how many these were, fewer than it was asked for; where it did
                // not come to that, there are none.
                if attributes.count as usize == COUNT {
                    attributes.count = 0;
                }
                false
            }
            Err(error) => return Err(error),
        };
        let count = (attributes.count as usize).min(COUNT);
        tried = if count == 0 { tried + 1 } else { 0 };
        keys.bytes.extend_from_slice(&some_keys[..count * key_size]);
        values.bytes.extend_from_slice(&some_values[..count * value_size]);
        if end {
            break;
        }
        begun |= count > 0;
    }
    Ok((keys, values))
}
