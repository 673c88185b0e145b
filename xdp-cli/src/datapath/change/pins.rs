//! The pins of a program and its maps.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::datapath::attached::attachment::{Attachment, PROGRAM};
use crate::datapath::attached::namespace::{self};
use crate::datapath::error::{Context, Result};
use crate::datapath::maps::handles::Maps;
use crate::datapath::program::load::Loaded;
use crate::datapath::sys::bpf;

/// Pins the program and its maps.
pub fn pin_all(directory: &Path, loaded: &Loaded, maps: &Maps) -> Result<()> {
    let pin = || -> io::Result<()> {
        bpf::pin(loaded.program()?, &directory.join(PROGRAM))?;
        for (map, handle) in maps.iter() {
            bpf::pin(handle, &directory.join(map.name()))?;
        }
        Ok(())
    };
    pin().context("pin the program and its maps")
}

/// The pins that an attachment should have and that are gone, as paths in the machine's own mount
/// namespace.
///
/// # Errors
///
/// Where the directory cannot be looked into.
pub fn missing_pins(attachment: &Attachment) -> Result<Vec<PathBuf>> {
    // Another version made them: its pins are not ours to judge.
    let Ok((maps, _)) = attachment.readable() else { return Ok(Vec::new()) };
    let names = maps.iter().map(|(map, _)| map.name());
    let mut missing = Vec::new();
    for name in names.chain([PROGRAM]) {
        let shown = attachment.pins().shown.join(name);
        match fs::symlink_metadata(attachment.directory().join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(shown),
            Err(error) => return Err(error).context(format!("look at {}", shown.display())),
            Ok(_) => {}
        }
    }
    Ok(missing)
}

/// Pins again what the link leads to, where a person or an interrupted exchange left pins of
/// something else, or none.
pub fn repair_pins(attachment: &Attachment) -> Result<()> {
    let (maps, _) = match attachment.readable() {
        Ok(readable) => readable,
        // Another version made them: its pins are not ours to judge.
        Err(_) => return Ok(()),
    };
    let directory = attachment.directory();
    let same_map = |map: &OwnedFd, pinned: &OwnedFd| -> io::Result<bool> {
        Ok(bpf::map_info(map)?.id == bpf::map_info(pinned)?.id)
    };
    let repair =
        || -> io::Result<()> {
            let program = bpf::program_by_id(attachment.program_id())?;
            let id = attachment.program_id();
            repin(&directory.join(PROGRAM), &program, |pinned| {
                Ok(bpf::program_info(pinned)?.id == id)
            })?;
            for (map, handle) in maps.iter() {
                repin(&directory.join(map.name()), handle, |pinned| same_map(handle, pinned))?;
            }
            Ok(())
        };
    repair().context("put the pins right")
}

fn repin(
    path: &Path,
    object: impl AsFd,
    is_same: impl Fn(&OwnedFd) -> io::Result<bool>,
) -> io::Result<()> {
    if let Ok(pinned) = bpf::open_pin(path)
        && is_same(&pinned).unwrap_or(false)
    {
        return Ok(());
    }
    namespace::remove(path)?;
    bpf::pin(object, path)
}
