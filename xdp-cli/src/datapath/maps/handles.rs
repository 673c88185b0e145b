//! Handles of the program's maps, made from the registry, `xdp_common::maps`.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use xdp_common::filter::dynamic::EntryTable;
use xdp_common::maps::{Map, MapDefinition, MapSignature, kind};

use crate::datapath::program::load::Loaded;
use crate::datapath::sys::bpf;

macro_rules! handles {
    ($($(#[$doc:meta])* $name:ident $handle:ident {
        declared: $declared:ty,
        created: $created:expr,
        inner: $inner:expr,
        replace: $replace:ident,
        explain: $explain:ident,
    })*) => {
        /// The maps of one program.
        pub struct Maps {
            $($(#[$doc])* pub $handle: OwnedFd,)*
        }

        impl Maps {
            /// Takes each map from `find`; `None` where one is missing.
            fn gather(
                mut find: impl FnMut(Map) -> io::Result<Option<OwnedFd>>,
            ) -> io::Result<Option<Self>> {
                Ok(Some(Self {
                    $($handle: match find(Map::$name)? {
                        Some(map) => map,
                        None => return Ok(None),
                    },)*
                }))
            }

            /// The handle of a map.
            pub fn get(&self, map: Map) -> &OwnedFd {
                match map {
                    $(Map::$name => &self.$handle,)*
                }
            }
        }
    };
}

xdp_common::for_each_map!(handles);

impl Maps {
    /// The maps of a program in the kernel, found by their names; `None` where some are missing or
    /// have other signatures, as another version's may.
    pub fn of_program(id: u32) -> io::Result<Option<Self>> {
        let info = bpf::program_info(bpf::program_by_id(id)?)?;
        let mut found = [const { None }; Map::ALL.len()];
        for id in info.map_ids {
            let map = bpf::map_by_id(id)?;
            let info = bpf::map_info(&map)?;
            let is = |wanted: &Map| {
                info.name == wanted.kernel_name()
                    && wanted.definition().signature.takes(info.signature)
            };
            if let Some(wanted) = Map::ALL.into_iter().find(is) {
                found[wanted as usize] = Some(map);
            }
        }
        Self::gather(|map| Ok(found[map as usize].take()))
    }

    /// The maps of a program that was just loaded.
    pub fn of_loaded(loaded: &Loaded) -> io::Result<Self> {
        Self::gather(|map| loaded.map(map).map(Some))?
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// All of them, in the order of the registry.
    pub fn iter(&self) -> impl Iterator<Item = (Map, &OwnedFd)> {
        Map::ALL.into_iter().map(|map| (map, self.get(map)))
    }

    /// The map of maps that a table of run-time entries stands in.
    pub fn table(&self, table: EntryTable) -> &OwnedFd {
        match table {
            EntryTable::HostsV4 => &self.ban_hosts_v4,
            EntryTable::PrefixesV4 => &self.ban_prefixes_v4,
            EntryTable::HostsV6 => &self.ban_hosts_v6,
            EntryTable::PrefixesV6 => &self.ban_prefixes_v6,
        }
    }
}

/// Creates a map as the registry has it.
pub fn create(definition: MapDefinition, name: &str) -> io::Result<OwnedFd> {
    let MapDefinition { signature, max_entries, flags } = definition;
    let MapSignature { kind, key_size, value_size } = signature;
    bpf::create_keyed_map(kind, key_size as usize, value_size as usize, max_entries, flags, name)
}

/// Creates an empty map like one of the program's.
pub fn create_like(map: Map, name: &str) -> io::Result<OwnedFd> {
    let definition = map.definition();
    match map.inner() {
        Some(inner) if definition.signature.kind == kind::ARRAY_OF_MAPS => {
            // The kernel takes the kind of the inner maps from an example.
            let inner = create(inner, name)?;
            bpf::create_map_of_maps(definition.max_entries, inner.as_fd(), name)
        }
        _ => create(definition, name),
    }
}

/// Opens an inner map by its id; one of another signature, as another version's may have, is
/// `InvalidData`.
pub fn open(id: u32, definition: MapDefinition) -> io::Result<OwnedFd> {
    let map = bpf::map_by_id(id)?;
    if bpf::map_info(&map)?.signature != definition.signature {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a map of another version's shape"));
    }
    Ok(map)
}

/// Bytes of memory that a map takes, as the kernel says: `memlock` in proc_pid_fdinfo(5).
pub fn memory(map: &OwnedFd) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", map.as_raw_fd()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("memlock:"));
    Ok(line.and_then(|line| line.trim().parse().ok()).unwrap_or(0))
}
