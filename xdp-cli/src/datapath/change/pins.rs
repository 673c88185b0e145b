//! The pins of a program and its maps, and what the filter goes on with, which a pin keeps there.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use xdp_common::maps::Map;
use xdp_common::stages::{self, Needs};

use crate::datapath::attached::attachment::{Attachment, PROGRAM};
use crate::datapath::attached::capture;
use crate::datapath::change::refusal::not_loaded;
use crate::datapath::error::{Context, Error, Result};
use crate::datapath::maps::handles::Maps;
use crate::datapath::program::load::{self, Loaded};
use crate::datapath::sys::{bpf, private_dir};

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

/// A second pin of the map `STAGES` of a program that is about to run, while the first is still that
/// of the program before. The kernel empties the map when no pin and no process has it any more: so
/// the program goes on whole if this process is killed between.
const NEXT_STAGES: &str = "STAGES_NEXT";

/// Pins the map `STAGES` of the next program besides.
pub fn pin_next_stages(directory: &Path, maps: &Maps) -> Result<()> {
    let path = directory.join(NEXT_STAGES);
    let pin = || -> io::Result<()> {
        private_dir::remove(&path)?;
        bpf::pin(maps.get(Map::STAGES), &path)
    };
    pin().context("pin the programs that the filter goes on with")
}

/// Removes that pin, where it can: the program before goes on.
pub fn forget_next_stages(directory: &Path) {
    if let Err(error) = private_dir::remove(&directory.join(NEXT_STAGES)) {
        log::info!("a pin of the program that was not put in force stays behind: {error}");
    }
}

/// Puts the pins right where an exchange was cut off and left that pin.
pub fn finish_exchange(attachment: &Attachment) -> Result<()> {
    if fs::symlink_metadata(attachment.directory().join(NEXT_STAGES)).is_err() {
        return Ok(());
    }
    repair_pins(attachment)
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
    let repair =
        || -> io::Result<()> {
            let program = bpf::program_by_id(attachment.program_id())?;
            let id = attachment.program_id();
            repin(&directory.join(PROGRAM), &program, |pinned| {
                Ok(bpf::program_info(pinned)?.id == id)
            })?;
            for (map, handle) in maps.iter() {
                repin_map(directory, map, handle)?;
            }
            private_dir::remove(&directory.join(NEXT_STAGES))
        };
    repair().context("put the pins right")?;
    // The kernel has emptied the map of these if somebody removed its pin.
    fill_stages(attachment, maps, missing_stages(maps, needs_now(attachment))?)
}

/// Makes sure that the filter finds what it has to go on with for a ruleset that is about to be put
/// in force: loads the programs where they are not there yet, or the kernel may be about to remove
/// them, because nothing had them pinned.
pub fn provide_stages(attachment: &Attachment, maps: &Maps, needs: Needs) -> Result<()> {
    if needs.is_empty() {
        return Ok(());
    }
    let was_pinned = repin_map(attachment.directory(), Map::STAGES, &maps.stages)
        .context("pin the programs that the filter goes on with")?;
    let missing = if was_pinned { missing_stages(maps, needs)? } else { needs };
    fill_stages(attachment, maps, missing)
}

/// What the filter has to go on with for the ruleset in force, and for the one that comes back if
/// that one is not confirmed.
fn needs_now(attachment: &Attachment) -> Needs {
    let before = attachment.trial().and_then(|trial| trial.before.as_ref());
    let rulesets = attachment.in_force().into_iter().chain(before);
    rulesets.fold(Needs::NONE, |needs, ruleset| needs.and(ruleset.needs))
}

/// Of what is needed, the groups of programs that the filter does not find.
fn missing_stages(maps: &Maps, needs: Needs) -> Result<Needs> {
    let mut missing = Needs::NONE;
    for group in needs.groups() {
        let places = group.programs().iter().map(|(place, _)| *place);
        for place in places.chain([stages::FILTER]) {
            let found = bpf::lookup(&maps.stages, place, &mut [0; 4]);
            if found.context("look at the programs that the filter goes on with")?.is_none() {
                missing = missing.and(group.alone());
            }
        }
    }
    Ok(missing)
}

/// Loads groups of programs that the attached filter goes on with, and writes them to its map, which
/// has to be pinned.
fn fill_stages(attachment: &Attachment, maps: &Maps, groups: Needs) -> Result<()> {
    if groups.is_empty() {
        return Ok(());
    }
    let what = format!("load the programs that the filter on {} goes on with", attachment.name());
    let filter = bpf::program_by_id(attachment.program_id()).context(&what)?;
    // The others name the slots of captures too, and share those with the filter.
    let slots = capture::places(attachment.program_id()).context(&what)?;
    let given = maps.iter().map(|(map, handle)| (map.name(), handle.as_fd()));
    let slots = slots.iter().map(|(name, handle)| (*name, handle.as_fd()));
    let given: Vec<_> = given.chain(slots).collect();
    load::load_stages_beside(&given, filter.as_fd(), groups).map_err(|error| {
        let error = not_loaded(error);
        Error { message: format!("cannot {what}: {}", error.message), ..error }
    })
}

/// Pins a map where something else is pinned in its place, or nothing. Says whether it was there.
fn repin_map(directory: &Path, map: Map, handle: &OwnedFd) -> io::Result<bool> {
    repin(&directory.join(map.name()), handle, |pinned| {
        Ok(bpf::map_info(handle)?.id == bpf::map_info(pinned)?.id)
    })
}

fn repin(
    path: &Path,
    object: impl AsFd,
    is_same: impl Fn(&OwnedFd) -> io::Result<bool>,
) -> io::Result<bool> {
    if let Ok(pinned) = bpf::open_pin(path)
        && is_same(&pinned).unwrap_or(false)
    {
        return Ok(true);
    }
    private_dir::remove(path)?;
    bpf::pin(object, path)?;
    Ok(false)
}
