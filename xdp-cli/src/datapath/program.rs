//! The eBPF programs that this binary carries, and loading them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use aya::maps::Map;
use aya::programs::{ProgramError, Xdp};
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};

use super::object::Object;

/// Object files must be aligned like the structures in them.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

static FILTER: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/xdpctl.bpf")));
static PASS: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/pass.bpf")));

/// The names of the program's maps, as they stand in its source and are pinned.
pub const RULESET: &str = "RULESET";
pub const REDIRECTS: &str = "REDIRECTS";
pub const COUNTERS: &str = "COUNTERS";
pub const RULE_COUNTERS: &str = "RULE_COUNTERS";
/// Those of the entries added at run time: the switches, the filters, and the tables by their
/// numbers.
pub const SWITCHES: &str = "SWITCHES";
pub const BAN_FILTERS: &str = "BAN_FILTERS";
pub const BAN_TABLES: [&str; 4] =
    ["BAN_HOSTS_V4", "BAN_PREFIXES_V4", "BAN_HOSTS_V6", "BAN_PREFIXES_V6"];
/// All of them.
pub const MAPS: [&str; 10] = [
    RULESET,
    REDIRECTS,
    COUNTERS,
    RULE_COUNTERS,
    SWITCHES,
    BAN_FILTERS,
    BAN_TABLES[0],
    BAN_TABLES[1],
    BAN_TABLES[2],
    BAN_TABLES[3],
];

/// Why a program could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The verifier's log is in the debug log, not in the message.
    #[error("the kernel's verifier refused the program ({0})")]
    Verifier(io::Error),
    #[error("the program or its maps cannot be loaded: {0}")]
    Other(String),
}

/// A program in the kernel, with its maps.
pub struct Loaded {
    ebpf: Ebpf,
    name: &'static str,
}

/// Loads the packet filter with new maps.
pub fn load_filter() -> Result<Loaded, LoadError> {
    load_filter_on(None)
}

/// Loads the packet filter on the counters and the entries of run time that are pinned in a
/// directory, and with new maps for the rest; without one, with new maps alone.
pub fn load_filter_on(kept: Option<&Path>) -> Result<Loaded, LoadError> {
    let mut loader = EbpfLoader::new();
    if let Some(directory) = kept {
        for name in MAPS.into_iter().filter(|name| ![RULESET, REDIRECTS].contains(name)) {
            loader.map_pin_path(name, directory.join(name));
        }
    }
    load(loader, &FILTER.0, "xdpctl")
}

/// Loads the packet filter once more, on maps that are there already: all of [`MAPS`], by name.
pub fn load_filter_beside(maps: &[(&str, BorrowedFd<'_>)]) -> Result<OwnedFd, LoadError> {
    Object::parse(&FILTER.0)?.load_xdp("xdpctl", maps)
}

/// Loads the program that passes everything.
pub fn load_pass() -> Result<Loaded, LoadError> {
    load(EbpfLoader::new(), &PASS.0, "xdpctl_pass")
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
    let program: &mut Xdp = ebpf
        .program_mut(name)
        .ok_or_else(|| LoadError::Other(format!("no program {name} in the object")))?
        .try_into()
        .map_err(|error: ProgramError| other(&error))?;
    match program.load() {
        Ok(()) => Ok(Loaded { ebpf, name }),
        Err(ProgramError::LoadError { io_error, verifier_log }) => {
            log::debug!("verifier log of {name}:\n{verifier_log}");
            Err(LoadError::Verifier(io_error))
        }
        Err(error) => Err(other(&error)),
    }
}

/// An error with its causes, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

impl Loaded {
    /// The program's descriptor.
    pub fn program(&self) -> io::Result<BorrowedFd<'_>> {
        let program: &Xdp = self
            .ebpf
            .program(self.name)
            .and_then(|program| program.try_into().ok())
            .ok_or_else(|| io::Error::other("the program is not there"))?;
        Ok(program.fd().map_err(io::Error::other)?.as_fd())
    }

    /// A map's descriptor, for itself.
    pub fn map(&self, name: &str) -> io::Result<OwnedFd> {
        let missing = || io::Error::other(format!("no map {name} in the object"));
        let map = self.ebpf.map(name).ok_or_else(missing)?;
        let data = match map {
            Map::Array(data)
            | Map::ArrayOfMaps(data)
            | Map::DevMap(data)
            | Map::PerCpuArray(data) => data,
            _ => return Err(missing()),
        };
        data.fd().as_fd().try_clone_to_owned()
    }
}
