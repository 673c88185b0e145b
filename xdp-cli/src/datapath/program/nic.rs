//! The program for a NIC, and its maps. They are made on the NIC by calls of bpf(2), because aya
//! cannot make maps and programs there. aya-obj reads the object and puts the maps into the
//! instructions.
//!
//! With 0 for the NIC, everything is made in the kernel, which tests use.

use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use aya_obj::Object;
use aya_obj::generated::bpf_insn;
use libc::c_long;

use xdp_common::maps::kind::{ARRAY, HASH};

use crate::datapath::program::error::chain;
use crate::datapath::sys::bpf::{bpf_fd, kernel_name};

/// Object files must be aligned like the structures in them.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/nic.bpf")));
const PROGRAM: &str = "xdpctl_offload";

/// The names of the maps, in the program's source and of their pins.
pub const SELECTOR: &str = "SELECTOR";
pub const COUNTERS: &str = "COUNTERS";
/// The one of the first bank, then the one of the second.
pub const V4: [&str; 2] = ["FIRST_V4", "SECOND_V4"];
pub const V6: [&str; 2] = ["FIRST_V6", "SECOND_V6"];
/// All of them.
pub const MAPS: [&str; 6] = [SELECTOR, COUNTERS, V4[0], V4[1], V6[0], V6[1]];

/// A NIC is asked for hashes of at least this many entries. Where it has no room for them, it is
/// asked for half, and so on.
const ENTRIES: usize = 1 << 16;

const MAP_CREATE: c_long = 0;
const PROG_LOAD: c_long = 5;
/// BPF_PROG_TYPE_XDP.
const XDP: u32 = 6;
/// Bytes for the verifier's log.
const LOG_BYTES: usize = 1 << 20;

/// Why a NIC has no program.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("the NIC does not take the map {name}: {error}")]
    Map { name: &'static str, error: io::Error },
    /// `log` is the verifier's, in which the driver may say why.
    #[error("the NIC does not take the program: {error}{}", said(.log))]
    Program { error: io::Error, log: String },
    #[error("the program for the NIC cannot be read: {0}")]
    Object(String),
}

/// The last line that a driver wrote to the verifier's log: these lines begin with its name in
/// brackets.
fn said(log: &str) -> String {
    let line = log.lines().rev().find(|line| line.starts_with('['));
    line.map_or_else(String::new, |line| format!(" ({})", line.trim()))
}

/// A NIC's maps.
pub struct NicMaps {
    pub selector: OwnedFd,
    pub counters: OwnedFd,
    /// By bank.
    pub v4: [OwnedFd; 2],
    pub v6: [OwnedFd; 2],
}

impl NicMaps {
    /// Takes maps in the order of [`MAPS`].
    pub fn of(maps: [OwnedFd; MAPS.len()]) -> Self {
        let [selector, counters, first_v4, second_v4, first_v6, second_v6] = maps;
        Self { selector, counters, v4: [first_v4, second_v4], v6: [first_v6, second_v6] }
    }

    /// All maps, in the order of [`MAPS`].
    pub fn all(&self) -> [&OwnedFd; MAPS.len()] {
        let Self { selector, counters, v4: [first_v4, second_v4], v6: [first_v6, second_v6] } =
            self;
        [selector, counters, first_v4, second_v4, first_v6, second_v6]
    }
}

/// A program that is loaded on a NIC, but sees no packets yet.
pub struct Loaded {
    pub program: OwnedFd,
    pub maps: NicMaps,
    /// How many entries each hash has room for.
    pub capacity: usize,
}

fn object() -> Result<Object, LoadError> {
    Object::parse(&OBJECT.0).map_err(|error| LoadError::Object(chain(&error)))
}

/// Loads the program on the NIC of the interface with that index, or in the kernel where it is 0.
/// Its hashes have room for the entries that are needed and more, or for as many as the NIC has
/// room for.
pub fn load(nic: u32, needed: usize) -> Result<Loaded, LoadError> {
    let mut object = object()?;
    let mut capacity = needed.next_power_of_two().max(ENTRIES);
    let maps = loop {
        match create_maps(&object, nic, capacity) {
            Err(LoadError::Map { error, .. })
                if error.raw_os_error() == Some(libc::ENOMEM) && capacity > 1 =>
            {
                capacity /= 2;
            }
            other => break other?,
        }
    };
    let maps = NicMaps::of(maps);
    let program = load_program(&mut object, nic, &maps)?;
    Ok(Loaded { program, maps, capacity })
}

/// Whether maps can be made on the NIC of the interface with that index. Before Linux 6.3 there is
/// no other way to ask whether it runs programs.
pub fn takes_maps(nic: u32) -> bool {
    create_map(&CreateMap { map_type: ARRAY, key_size: 4, value_size: 8, ..one(nic) }, "probe")
        .is_ok()
}

fn create_maps(
    object: &Object,
    nic: u32,
    capacity: usize,
) -> Result<[OwnedFd; MAPS.len()], LoadError> {
    let mut made = Vec::with_capacity(MAPS.len());
    for name in MAPS {
        let map = declared(object, name)?;
        let entries = if map.map_type() == HASH { capacity as u32 } else { map.max_entries() };
        let attributes = CreateMap {
            map_type: map.map_type(),
            key_size: map.key_size(),
            value_size: map.value_size(),
            max_entries: entries,
            ..one(nic)
        };
        made.push(create_map(&attributes, name).map_err(|error| LoadError::Map { name, error })?);
    }
    made.try_into().map_err(|_| LoadError::Object("a map is missing".to_owned()))
}

fn declared<'o>(object: &'o Object, name: &str) -> Result<&'o aya_obj::Map, LoadError> {
    object.maps.get(name).ok_or_else(|| LoadError::Object(format!("it has no map {name}")))
}

/// BPF_MAP_CREATE, as far as `map_ifindex`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CreateMap {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    name: [u8; 16],
    ifindex: u32,
}

/// What all maps have in common.
fn one(nic: u32) -> CreateMap {
    CreateMap { max_entries: 1, ifindex: nic, ..CreateMap::default() }
}

fn create_map(attributes: &CreateMap, name: &str) -> io::Result<OwnedFd> {
    let mut attributes = CreateMap { name: kernel_name(name), ..*attributes };
    // SAFETY: BPF_MAP_CREATE takes these attributes, which hold no addresses.
    unsafe { bpf_fd(MAP_CREATE, &mut attributes) }
}

/// BPF_PROG_LOAD, as far as `expected_attach_type`. Without BTF, which no NIC's compiler reads.
#[repr(C)]
#[derive(Default)]
struct LoadProgram {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    ifindex: u32,
    expected_attach_type: u32,
}

fn load_program(object: &mut Object, nic: u32, maps: &NicMaps) -> Result<OwnedFd, LoadError> {
    let instructions = relocate(object, maps)?;
    match load_instructions(&instructions, &object.license, nic, &mut []) {
        Ok(program) => Ok(program),
        Err(error) => {
            // A second try, with a log: verifying with one takes far longer.
            let mut log = vec![0; LOG_BYTES];
            let _ = load_instructions(&instructions, &object.license, nic, &mut log);
            let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
            let log = String::from_utf8_lossy(&log[..end]).into_owned();
            log::debug!("verifier log of {PROGRAM}:\n{log}");
            Err(LoadError::Program { error, log })
        }
    }
}

/// The program's instructions, with its maps in them.
fn relocate(object: &mut Object, maps: &NicMaps) -> Result<Vec<bpf_insn>, LoadError> {
    let declared: HashMap<&str, aya_obj::Map> = MAPS
        .into_iter()
        .map(|name| Ok((name, declared(object, name)?.clone())))
        .collect::<Result<_, LoadError>>()?;
    let fds = MAPS.into_iter().zip(maps.all());
    let named = fds.filter_map(|(name, fd)| Some((name, fd.as_raw_fd(), declared.get(name)?)));
    object
        .relocate_maps(named, &HashSet::default())
        .map_err(|error| LoadError::Object(chain(&error)))?;
    let program = object.programs.get(PROGRAM).map(aya_obj::Program::function_key);
    let function = program.and_then(|key| object.functions.get(&key));
    let missing = || LoadError::Object(format!("it has no program {PROGRAM}"));
    Ok(function.ok_or_else(missing)?.instructions.clone())
}

fn load_instructions(
    instructions: &[bpf_insn],
    license: &CStr,
    nic: u32,
    log: &mut [u8],
) -> io::Result<OwnedFd> {
    let mut attributes = LoadProgram {
        program_type: XDP,
        instruction_count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
        name: kernel_name(PROGRAM),
        ifindex: nic,
        ..LoadProgram::default()
    };
    if !log.is_empty() {
        attributes.log_level = 1;
        attributes.log_size = log.len() as u32;
        attributes.log = log.as_mut_ptr() as u64;
    }
    // SAFETY: BPF_PROG_LOAD takes these; the instructions, the terminated license and the log,
    // which has room for `log_size` bytes, outlive the call.
    unsafe { bpf_fd(PROG_LOAD, &mut attributes) }
}

#[cfg(test)]
mod tests;
