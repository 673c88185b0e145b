//! The eBPF programs that this binary carries, and loading them.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use aya::maps::Map as AyaMap;
use aya::programs::{ProgramError, Xdp};
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};
use xdp_common::capture::slot;
use xdp_common::egress;
use xdp_common::maps::Map;
use xdp_common::packet::LinkType;
use xdp_common::stages::{self, Needs, filter_name};

use crate::datapath::program::error::{LoadError, chain};
use crate::datapath::program::object::{Object, OnMaps};
use crate::datapath::sys::bpf;
use crate::notation::{grouped, took};

/// Object files must be aligned like the structures in them.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

static FILTER: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/xdpctl.bpf")));
static PASS: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/pass.bpf")));
static CLOCK: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/clock.bpf")));
static CAPTURE: &Aligned<[u8]> =
    &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/capture.bpf")));
static EGRESS: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/egress.bpf")));

/// A program in the kernel, with its maps.
pub struct Loaded {
    ebpf: Ebpf,
    name: &'static str,
}

/// The type of links that the program of that name is for.
pub fn link_type_of(program: &str) -> Option<LinkType> {
    LinkType::ALL.into_iter().find(|link_type| filter_name(*link_type) == program)
}

/// Loads the packet filter with new maps, and what it goes on with for rulesets with these needs.
pub fn load_filter(link_type: LinkType, needs: Needs) -> Result<Loaded, LoadError> {
    load_filter_on(&[], Path::new(""), link_type, needs)
}

/// As above, on the `kept` maps, which are pinned in a directory, and on new maps for the rest.
pub fn load_filter_on(
    kept: &[Map],
    directory: &Path,
    link_type: LinkType,
    needs: Needs,
) -> Result<Loaded, LoadError> {
    let mut loader = EbpfLoader::new();
    for map in kept {
        loader.map_pin_path(map.name(), directory.join(map.name()));
    }
    let mut loaded = load(loader, &FILTER.0, filter_name(link_type))?;
    for (_, name) in needs.programs() {
        load_program(&mut loaded.ebpf, name)?;
    }
    let fill = || -> io::Result<()> {
        let map = loaded.map(Map::STAGES)?;
        fill_stage(&map, stages::FILTER, loaded.program()?)?;
        let mut programs = needs.programs();
        programs.try_for_each(|(place, name)| fill_stage(&map, place, loaded.program_named(name)?))
    };
    if !needs.is_empty() {
        fill().map_err(|error| not_filled(&error))?;
    }
    // Captures join the filter through these: nobody else may have them open, see `slot`.
    for (slot, _) in slot::ALL {
        drop(loaded.ebpf.take_map(slot));
    }
    Ok(loaded)
}

/// Loads the packet filter once more, on existing maps: all of the registry and the slots of
/// captures, by name.
pub fn load_filter_beside(
    link_type: LinkType,
    maps: &[(&str, BorrowedFd<'_>)],
) -> Result<OwnedFd, LoadError> {
    load_beside(&mut Object::parse(&FILTER.0)?.on_maps(maps)?, filter_name(link_type))
}

/// Loads what a filter that runs already goes on with for rulesets with these needs, on its maps, as
/// above. The map `STAGES` among them is filled, and has to stay open: see there.
pub fn load_stages_beside(
    maps: &[(&str, BorrowedFd<'_>)],
    filter: BorrowedFd<'_>,
    needs: Needs,
) -> Result<(), LoadError> {
    let stages = maps.iter().find(|(name, _)| *name == Map::STAGES.name());
    let (_, map) = stages.ok_or_else(|| LoadError::Other("no map for the stages".into()))?;
    let mut object = Object::parse(&FILTER.0)?.on_maps(maps)?;
    let mut programs = Vec::new();
    for (place, name) in needs.programs() {
        programs.push((place, load_beside(&mut object, name)?));
    }
    // Only now: where nothing had the map open or pinned before this command, the kernel may not have
    // emptied it yet when the command opened it. Verifying takes far longer than that.
    let fill = || -> io::Result<()> {
        fill_stage(map, stages::FILTER, filter)?;
        programs.iter().try_for_each(|(place, program)| fill_stage(map, *place, program.as_fd()))
    };
    fill().map_err(|error| not_filled(&error))
}

fn load_beside(object: &mut OnMaps, name: &str) -> Result<OwnedFd, LoadError> {
    let begun = Instant::now();
    let program = object.load(name)?;
    say_loaded(name, Ok(program.as_fd()), begun);
    Ok(program)
}

/// Writes a program that the filter goes on with.
fn fill_stage(map: impl AsFd, place: u32, program: BorrowedFd<'_>) -> io::Result<()> {
    bpf::update(map, place, &program.as_raw_fd().to_ne_bytes())
}

fn not_filled(error: &io::Error) -> LoadError {
    LoadError::Other(format!("the kernel refused to have the filter go on with a program: {error}"))
}

/// Loads the program that passes everything.
pub fn load_pass() -> Result<OwnedFd, LoadError> {
    load_alone(&PASS.0, "xdpctl_pass")
}

/// Loads the program that tells the time.
pub fn load_clock() -> Result<OwnedFd, LoadError> {
    load_alone(&CLOCK.0, "xdpctl_clock")
}

/// Loads a capture's program, of that name, on existing maps: those of the filter and of the
/// capture.
pub fn load_capture(name: &str, maps: &[(&str, BorrowedFd<'_>)]) -> Result<OwnedFd, LoadError> {
    Object::parse(&CAPTURE.0)?.on_maps(maps)?.load(name)
}

/// Loads the program for the egress of links of that type, on existing maps: those of the filter and its own.
pub fn load_egress(
    link_type: LinkType,
    maps: &[(&str, BorrowedFd<'_>)],
) -> Result<OwnedFd, LoadError> {
    load_beside(&mut Object::parse(&EGRESS.0)?.on_maps(maps)?, egress::program_name(link_type))
}

/// Loads a program that has no maps. Not by aya's loader, which begins with reading the type
/// information of the whole kernel: for a small program, that takes longer than all else.
fn load_alone(object: &'static [u8], name: &'static str) -> Result<OwnedFd, LoadError> {
    load_beside(&mut Object::parse(object)?.on_maps(&[])?, name)
}

fn load(
    mut loader: EbpfLoader<'_>,
    object: &'static [u8],
    name: &'static str,
) -> Result<Loaded, LoadError> {
    let other = |error: &dyn std::error::Error| LoadError::Other(chain(error));
    // The log is asked for only where somebody reads it: verifying with a log takes far longer.
    let level = if log::log_enabled!(log::Level::Debug) {
        VerifierLogLevel::DEBUG | VerifierLogLevel::STATS
    } else {
        VerifierLogLevel::DISABLE
    };
    let mut ebpf = loader.verifier_log_level(level).load(object).map_err(|error| other(&error))?;
    load_program(&mut ebpf, name)?;
    Ok(Loaded { ebpf, name })
}

/// Loads a program of an object whose maps are made.
fn load_program(ebpf: &mut Ebpf, name: &'static str) -> Result<(), LoadError> {
    let other = |error: &dyn std::error::Error| LoadError::Other(chain(error));
    let begun = Instant::now();
    let program: &mut Xdp = ebpf
        .program_mut(name)
        .ok_or_else(|| LoadError::Other(format!("no program {name} in the object")))?
        .try_into()
        .map_err(|error: ProgramError| other(&error))?;
    match program.load() {
        Ok(()) => {
            let loaded = program.fd().map(AsFd::as_fd).map_err(io::Error::other);
            say_loaded(name, loaded, begun);
            Ok(())
        }
        Err(ProgramError::LoadError { io_error, verifier_log }) => {
            log::debug!("verifier log of {name}:\n{verifier_log}");
            Err(LoadError::Verifier(io_error))
        }
        Err(error) => Err(other(&error)),
    }
}

/// Logs that a program was loaded. What it cost the verifier is asked only for that.
fn say_loaded(name: &str, program: io::Result<BorrowedFd<'_>>, begun: Instant) {
    let time = took(begun.elapsed());
    if !log::log_enabled!(log::Level::Info) {
        return;
    }
    let processed = match program.and_then(bpf::verified_instructions) {
        Ok(number) => format!("{} instructions processed", grouped(number.into())),
        Err(error) => format!("how many instructions were processed is not known: {error}"),
    };
    log::info!("loaded the program {name} into the kernel: {processed}, in {time}");
}

impl Loaded {
    /// The program's descriptor.
    pub fn program(&self) -> io::Result<BorrowedFd<'_>> {
        self.program_named(self.name)
    }

    /// One of the programs that the filter goes on with, by its name.
    pub fn program_named(&self, name: &str) -> io::Result<BorrowedFd<'_>> {
        let program: &Xdp = self
            .ebpf
            .program(name)
            .and_then(|program| program.try_into().ok())
            .ok_or_else(|| io::Error::other("the program is not there"))?;
        Ok(program.fd().map_err(io::Error::other)?.as_fd())
    }

    /// A descriptor of a map, of the caller's own.
    pub fn map(&self, map: Map) -> io::Result<OwnedFd> {
        let name = map.name();
        let missing = || io::Error::other(format!("no map {name} in the object"));
        let map = self.ebpf.map(name).ok_or_else(missing)?;
        let data = match map {
            AyaMap::Array(data)
            | AyaMap::ArrayOfMaps(data)
            | AyaMap::DevMap(data)
            | AyaMap::PerCpuArray(data)
            | AyaMap::ProgramArray(data) => data,
            _ => return Err(missing()),
        };
        data.fd().as_fd().try_clone_to_owned()
    }
}

#[cfg(test)]
mod tests {
    use aya_obj::Object;
    use xdp_common::capture;
    use xdp_common::maps::{MapDefinition, MapSignature};

    use super::*;

    fn definition(map: &aya_obj::Map) -> MapDefinition {
        let (key, value) = (map.key_size() as usize, map.value_size() as usize);
        MapDefinition {
            signature: MapSignature::new(map.map_type(), key, value),
            max_entries: map.max_entries(),
            flags: map.map_flags(),
        }
    }

    #[test]
    fn the_capture_has_its_own_maps_as_declared() {
        let object = Object::parse(&CAPTURE.0).unwrap();
        for (name, wanted) in capture::map::ALL {
            assert_eq!(definition(&object.maps[name]), wanted, "{name}");
        }
        for (_, program) in slot::ALL {
            assert!(object.programs.contains_key(program), "{program}");
        }
    }

    #[test]
    fn the_program_at_the_egress_has_its_own_map_as_declared() {
        let object = Object::parse(&EGRESS.0).unwrap();
        assert_eq!(definition(&object.maps[egress::SCRATCH]), egress::SCRATCH_DEFINITION);
        for link_type in LinkType::ALL {
            assert!(object.programs.contains_key(egress::program_name(link_type)));
        }
    }

    /// The program declares its maps with types of another crate, which cannot be made from the
    /// registry.
    #[test]
    fn the_object_has_the_maps_of_the_registry() {
        let object = Object::parse(&FILTER.0).unwrap();
        let slots = slot::ALL.map(|(slot, _)| slot);
        for slot in slots {
            assert_eq!(definition(&object.maps[slot]), slot::DEFINITION, "{slot}");
        }
        let mut names: Vec<&str> = Map::ALL.iter().map(|map| map.name()).chain(slots).collect();
        names.sort_unstable();
        let mut found: Vec<&str> = object.maps.keys().map(String::as_str).collect();
        found.sort_unstable();
        assert_eq!(found, names);
        for map in Map::ALL {
            let declared = &object.maps[map.name()];
            assert_eq!(definition(declared), map.definition(), "{}", map.name());
            let inner = declared.inner().as_ref().map(definition);
            // Inner maps of hashes and tries may have any number of entries.
            let sized = |inner: MapDefinition| MapDefinition { max_entries: 1, ..inner };
            let wanted = map.inner();
            assert_eq!(inner.map(sized), wanted.map(sized), "inner maps of {}", map.name());
        }
    }
}
