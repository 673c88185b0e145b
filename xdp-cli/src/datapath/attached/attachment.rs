//! An interface with the program on it: opened from its pins, read, given another ruleset, and
//! taken off.
//!
//! The pinned link is the truth. It holds the program, and the program holds its maps, so they are
//! found through it; they are pinned too, for people and for other tools. A directory of pins
//! without a link is what an interrupted command left.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use xdp_common::capacity::COUNTERS_PER_PAGE;
use xdp_common::packet::LinkType;

use crate::datapath::attached::in_force::{InForce, Reading, Trial, read_in_force, read_trial};
use crate::datapath::attached::key::{Key, PinDirectory};
use crate::datapath::attached::nic::Nic;
use crate::datapath::attached::pending::{self, Pending};
use crate::datapath::error::{Context, Error, Result};
use crate::datapath::host::carriers::Carriers;
use crate::datapath::host::interface::{Interface, Mode};
use crate::datapath::maps::counters::{read_matrix, read_rule_counters, read_unreadable};
use crate::datapath::maps::handles::{Maps, memory};
use crate::datapath::maps::{counters, dynamic, image, limits, sent, states};
use crate::datapath::program::load::link_type_of;
use crate::datapath::sys::{bpf, private_dir};
use crate::notation::{duration, word};

/// The link's pin: while it is there, the interface is attached.
pub const LINK: &str = "link";
/// The program's pin.
pub const PROGRAM: &str = "program";

/// What a directory of pins holds.
pub enum Found {
    Attached(Box<Attachment>),
    /// No link: nothing is attached.
    Leftover,
}

/// Where the link's interface is, seen from the caller's network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// In this network namespace, under that name, and it carries the link's program.
    Here { name: String, mode: Mode },
    /// In another network namespace, where it is still filtered. The index in the link counts
    /// there.
    Moved,
    /// In this network namespace, with that index, but the link is on no interface: somebody took
    /// the program off by other means.
    Left(u32),
    /// The interface does not exist any more.
    Gone,
}

/// What holds the program on its interface.
enum Link {
    Pinned(OwnedFd),
    /// The command that waits for its confirmation. The link is not held open here: it has to end
    /// with that command.
    Pending(Pending),
}

/// An attached interface.
pub struct Attachment {
    pins: PinDirectory,
    link: Link,
    info: bpf::InterfaceLink,
    place: Place,
    maps: Option<Maps>,
    /// In offload mode, with maps of its own.
    nic: Option<Nic>,
    /// `None` where another version's layout keeps it from being read.
    in_force: Option<InForce>,
    /// A ruleset that has to be confirmed.
    trial: Option<Trial>,
}

impl Attachment {
    /// Opens what is pinned in a directory. `carriers` is read again from the kernel where it does
    /// not know the link's program.
    pub fn open(pins: &PinDirectory, carriers: &mut Carriers) -> Result<Found> {
        let pin = pins.path.join(LINK);
        let Some((pending, link)) = open_link(pins)? else { return Ok(Found::Leftover) };
        let what = format!("use {}", pin.display());
        // Somebody may have pinned something else under that name by hand: it is not trusted.
        let mut info = match bpf::link_info(&link) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(Error::new(format!("cannot {what}: {error}")).hint(format!(
                    "xdpctl did not put it there: see who did, and remove it (`rm {}`)",
                    pin.display()
                )));
            }
            other => other.context(&what)?,
        };
        // Another command may exchange the program between the question for its id and any other,
        // and then the id leads nowhere.
        let (nic, maps, on) = loop {
            if info.ifindex != 0 && carriers.carries(info.ifindex, info.program_id).is_none() {
                // The program may have come since the list was read.
                *carriers = Carriers::ask()?;
            }
            let on = carriers
                .carries(info.ifindex, info.program_id)
                .map(|(interface, mode)| Place::Here { name: interface.name.clone(), mode });
            let opened = open_maps(&pins.path, info.program_id);
            if on.is_none() || opened.is_err() {
                let now = bpf::link_info(&link).context(&what)?;
                if now != info {
                    info = now;
                    continue;
                }
            }
            let (nic, maps) = opened?;
            break (nic, maps, on);
        };
        // A detach removes the pin first. If the pin is gone, a detach is under way, and nobody
        // took the program off by other means.
        if info.ifindex == 0
            && let Err(error) = fs::symlink_metadata(&pin)
        {
            return match error.kind() {
                io::ErrorKind::NotFound => Ok(Found::Leftover),
                _ => Err(error).context("look at the pinned link"),
            };
        }
        let in_force = match (&nic, &maps) {
            (Some(nic), _) => nic.in_force(),
            (None, Some(maps)) => read_in_force(maps)?,
            (None, None) => None,
        };
        let trial = match &maps {
            Some(maps) if in_force.is_some() => read_trial(maps)?,
            _ => None,
        };
        let place = match on {
            Some(here) => here,
            None if info.ifindex != 0 => Place::Moved,
            None => match (carriers.by_index(pins.key.ifindex()), &in_force) {
                (Some(there), Some(in_force)) if there.name == in_force.metadata.interface => {
                    Place::Left(there.index)
                }
                _ => Place::Gone,
            },
        };
        let pins = pins.clone();
        let link = pending.map_or(Link::Pinned(link), Link::Pending);
        Ok(Found::Attached(Box::new(Self { pins, link, info, place, maps, nic, in_force, trial })))
    }

    /// The name of its directories of pins and of state.
    pub fn key(&self) -> Key {
        self.pins.key
    }

    /// The interface's index; `None` where it is gone or in another network namespace.
    pub fn ifindex(&self) -> Option<u32> {
        matches!(self.place, Place::Here { .. }).then_some(self.info.ifindex)
    }

    /// The mode that the program runs in; `None` where no interface of this network namespace
    /// carries it.
    pub fn mode(&self) -> Option<Mode> {
        match self.place {
            Place::Here { mode, .. } => Some(mode),
            _ => None,
        }
    }

    /// Whether the link is on an interface, in whichever network namespace that is.
    pub fn is_on_an_interface(&self) -> bool {
        self.info.ifindex != 0
    }

    /// Whether the interface was moved to another network namespace.
    pub fn is_moved(&self) -> bool {
        self.place == Place::Moved
    }

    /// Whether neither the link nor the ruleset in force has changed since `before` was opened.
    pub fn is_as(&self, before: &Self) -> bool {
        self.info == before.info
            && self.place == before.place
            && self.in_force == before.in_force
            && self.trial.is_some() == before.trial.is_some()
    }

    /// The interface as it is now; `None` where it is gone or in another network namespace.
    pub fn interface(&self) -> Option<Interface> {
        Interface::by_index(self.ifindex()?).ok()
    }

    /// Why commands on it cannot do anything: its link is on no interface any more, or on one in
    /// another network namespace.
    pub fn stranded(&self) -> Option<Error> {
        let name = self.name();
        let as_word = word(&name);
        match self.place {
            Place::Here { .. } => None,
            Place::Moved => Some(
                Error::new(format!(
                    "{name} is not attached here; what is pinned under index {} belongs to an \
                     interface that was moved to another network namespace, where it is filtered \
                     still",
                    self.key().ifindex()
                ))
                .hint(format!(
                    "move it back; or take the program off it: `rm {}`",
                    self.pins.shown.join(LINK).display()
                )),
            ),
            Place::Left(_) => Some(
                Error::new(format!("xdpctl's program is not on {name} any more"))
                    .hint(format!("`xdpctl detach {as_word}`, then attach")),
            ),
            Place::Gone => Some(
                Error::new(format!("{name} is gone"))
                    .hint(format!("`xdpctl detach {as_word}` removes what is left of it")),
            ),
        }
    }

    /// The index of the interface that the program was on, if the interface is still there but the
    /// link is on none: then somebody took the program off by other means.
    pub fn left(&self) -> Option<u32> {
        match self.place {
            Place::Left(index) => Some(index),
            _ => None,
        }
    }

    /// The interface's name when it was attached.
    pub fn attached_as(&self) -> Option<&str> {
        self.in_force.as_ref().map(|in_force| in_force.metadata.interface.as_str())
    }

    /// The interface's name when this was opened, or the last known one.
    pub fn name(&self) -> String {
        match (&self.place, self.attached_as()) {
            (Place::Here { name, .. }, _) => name.clone(),
            (_, Some(name)) => name.to_owned(),
            (_, None) => format!("interface index {}", self.key().ifindex()),
        }
    }

    pub fn pins(&self) -> &PinDirectory {
        &self.pins
    }

    pub fn directory(&self) -> &Path {
        &self.pins.path
    }

    pub fn program_id(&self) -> u32 {
        self.info.program_id
    }

    /// What the frames that the attached program reads begin with. The program is asked for it and
    /// not the interface, whose type could have changed since.
    pub fn link_type(&self) -> Result<LinkType> {
        let info = bpf::program_by_id(self.info.program_id).and_then(bpf::program_info);
        let name = info.context("look at the attached program")?.name;
        // The programs of all other versions are for Ethernet.
        Ok(link_type_of(&name).unwrap_or(LinkType::Ethernet))
    }

    /// The link. One that is not confirmed yet may be gone by now, which is an error. Do not hold
    /// it for long: it is to end with the command that waits for the confirmation, and would
    /// outlive it.
    pub fn link(&self) -> Result<OwnedFd> {
        let opened = match &self.link {
            Link::Pinned(link) => link.try_clone(),
            Link::Pending(pending) => bpf::link_by_id(pending.link_id),
        };
        opened.context("open the link")
    }

    /// The kernel's id of the link.
    pub fn link_id(&self) -> u32 {
        self.info.id
    }

    /// The note of an attachment that waits to be confirmed; `None` where it does not.
    pub fn pending(&self) -> Option<&Pending> {
        match &self.link {
            Link::Pinned(_) => None,
            Link::Pending(pending) => Some(pending),
        }
    }

    /// The ruleset that `reload --confirm` put in force and nobody has confirmed yet, if there is
    /// one: [`Self::in_force`] is that ruleset or, where its time is over, the one before it.
    pub fn trial(&self) -> Option<&Trial> {
        self.trial.as_ref()
    }

    /// The error for what has to wait until the ruleset on trial is confirmed, or its time is over.
    pub fn on_trial(&self) -> Option<Error> {
        let left = self.trial.as_ref()?.left?;
        let name = self.name();
        let as_word = word(&name);
        Some(
            Error::new(format!(
                "the ruleset in force on {name} waits to be confirmed: until then, it is not \
                 exchanged for another one"
            ))
            .hint(format!(
                "`xdpctl confirm {as_word}` keeps it; else the ruleset before it comes back in {}",
                duration(left.as_millis().div_ceil(1000) as u64)
            )),
        )
    }

    /// The ruleset in force, if this version can read it.
    pub fn in_force(&self) -> Option<&InForce> {
        self.in_force.as_ref()
    }

    /// The ruleset that is in force now: it may have changed since this was opened.
    pub fn in_force_now(&self) -> Result<InForce> {
        let in_force = match &self.nic {
            Some(nic) => nic.in_force_now()?,
            None => read_in_force(self.readable()?.0)?,
        };
        in_force.ok_or_else(|| self.unreadable())
    }

    /// The maps and the ruleset in force, or an error that says why this version cannot read them,
    /// or that the command is not possible in offload mode.
    pub fn readable(&self) -> Result<(&Maps, &InForce)> {
        match (&self.maps, &self.in_force) {
            (Some(maps), Some(in_force)) => Ok((maps, in_force)),
            (_, Some(_)) if self.nic.is_some() => Err(self.on_nic()),
            _ => Err(self.unreadable()),
        }
    }

    /// What is on the NIC, in offload mode.
    pub fn nic(&self) -> Option<&Nic> {
        self.nic.as_ref()
    }

    /// The error for what cannot be done in offload mode.
    fn on_nic(&self) -> Error {
        let name = self.name();
        let as_word = word(&name);
        Error::new(format!(
            "{name} is attached in offload mode, and its NIC cannot do that: it has a ruleset and \
             counters, and nothing more"
        ))
        .hint(format!(
            "native mode can: `xdpctl detach {as_word}`, then `xdpctl attach {as_word} --mode native`"
        ))
    }

    /// The error that says why this version cannot read the attachment.
    pub fn unreadable(&self) -> Error {
        let name = self.name();
        let as_word = word(&name);
        let told = Error::new(format!(
            "the program on {name} was attached by another version of xdpctl, whose maps this one \
             does not know"
        ));
        if self.nic.is_some() {
            return told.hint(format!("`xdpctl detach {as_word}` takes it off"));
        }
        told.hint(format!(
            "`xdpctl attach --replace {as_word}` puts this version's program in its place without a \
             gap; `xdpctl detach {as_word}` takes it off"
        ))
    }

    /// Whether there are counters to read: a NIC's disappear with its interface, and those of an
    /// interface in another network namespace belong there.
    pub fn has_counters(&self) -> bool {
        match self.place {
            Place::Here { .. } | Place::Left(_) => true,
            Place::Moved => false,
            Place::Gone => self.nic.is_none(),
        }
    }

    /// All counters, all of the same ruleset: they are read again if it changed meanwhile.
    pub fn read(&self) -> Result<Reading> {
        if let Some(error) = self.stranded().filter(|_| !self.has_counters()) {
            return Err(error);
        }
        if let Some(nic) = &self.nic {
            return nic.read()?.ok_or_else(|| self.unreadable());
        }
        let (maps, _) = self.readable()?;
        for _ in 0..100 {
            let Some(in_force) = read_in_force(maps)? else { break };
            let matrix = read_matrix(maps).context("read the counters")?;
            let counted = read_rule_counters(maps, &in_force.metadata)
                .context("read the counters of lists and rules")?;
            let unreadable = read_unreadable(maps).context("read the counters of DNS messages")?;
            let after = image::Current::of(&maps.ruleset).id();
            let after = after.context("look at the ruleset in force")?;
            if after == Some(in_force.map_id) {
                return Ok(Reading { in_force, matrix, counted, unreadable });
            }
        }
        Err(self.unreadable())
    }

    /// How often the attached program has run, and for how long; `None` where the kernel has not
    /// measured it.
    pub fn runs(&self) -> Result<Option<bpf::Runs>> {
        let runs = bpf::program_by_id(self.info.program_id).and_then(bpf::program_runs);
        let runs = runs.context("look at the attached program")?;
        Ok((runs.count > 0).then_some(runs))
    }

    /// Bytes of kernel memory that the maps take.
    pub fn map_bytes(&self) -> Result<u64> {
        let Some(maps) = &self.maps else {
            return Ok(self.nic.as_ref().map_or(0, Nic::map_bytes));
        };
        let sum = || -> io::Result<u64> {
            let mut ids = image::ids(&maps.ruleset)?;
            let numbers = self.in_force.iter().flat_map(|it| it.metadata.counters());
            let last = numbers.max().unwrap_or(0) / COUNTERS_PER_PAGE;
            let pages = counters::pages(&maps.rule_counters, last)?;
            ids.extend(pages.into_iter().map(|(_, id)| id));
            let mut sum = 0;
            for (_, map) in maps.iter() {
                sum += memory(map)?;
            }
            let beside = [
                dynamic::inner_maps(maps)?,
                states::inner_maps(maps)?,
                limits::inner_maps(maps)?,
                sent::inner_maps(maps)?,
            ];
            for map in beside.iter().flatten() {
                sum += memory(map)?;
            }
            for id in ids {
                sum += match bpf::map_by_id(id) {
                    // Another command has just released it.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
                    map => memory(&map?)?,
                };
            }
            Ok(sum)
        };
        sum().context("tell how much memory the maps take")
    }
}

/// The link of an attachment: the pinned one, or one that waits to be confirmed.
fn open_link(pins: &PinDirectory) -> Result<Option<(Option<Pending>, OwnedFd)>> {
    let pin = pins.path.join(LINK);
    // A second time, for a link that is confirmed between the two looks.
    for _ in 0..2 {
        match fs::symlink_metadata(&pin) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context("look at the pinned link"),
            Ok(metadata) => {
                private_dir::judge_file(&pin, &metadata)?;
                match bpf::open_pin(&pin) {
                    Ok(link) => return Ok(Some((None, link))),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error).context("open the pinned link"),
                }
            }
        }
        let Some(state) = &pins.state else { return Ok(None) };
        if let Some((pending, link)) = pending::open(state, &pins.path.join(PROGRAM))? {
            return Ok(Some((Some(pending), link)));
        }
    }
    Ok(None)
}

/// The maps of the attached program: a NIC's, or those in the kernel, if this version knows them.
fn open_maps(directory: &Path, program_id: u32) -> Result<(Option<Nic>, Option<Maps>)> {
    if let Some(nic) = Nic::open(directory, program_id)? {
        return Ok((Some(nic), None));
    }
    Ok((None, Maps::of_program(program_id).context("open the attached program's maps")?))
}
