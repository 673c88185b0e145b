//! An interface with the program on it: opened from its pins, read, given another ruleset, and
//! taken off.
//!
//! The pinned link is the truth. It holds the program, and the program holds its maps, so they are
//! found through it; that they are pinned too is for people and for other tools. A directory of
//! pins without a link is what an interrupted command left.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use xdp_common::capacity::COUNTER_PAGES;
use xdp_common::packet::LinkType;

use crate::datapath::attached::in_force::{InForce, Reading, read_in_force};
use crate::datapath::attached::nic::Nic;
use crate::datapath::error::{Context, Error, Result};
use crate::datapath::host::interface::Interface;
use crate::datapath::maps::counters::{inner_id, read_matrix, read_rule_counters};
use crate::datapath::maps::handles::{Maps, memory};
use crate::datapath::maps::{dynamic, image};
use crate::datapath::program::load::link_type_of;
use crate::datapath::sys::{bpf, private_dir};

/// The link's pin: while it is there, the interface is attached.
pub const LINK: &str = "link";
/// The program's pin.
pub const PROGRAM: &str = "program";

/// What stands in a directory of pins.
pub enum Found {
    Attached(Box<Attachment>),
    /// No link: nothing is attached.
    Leftover,
}

/// An attached interface.
pub struct Attachment {
    directory: PathBuf,
    link: OwnedFd,
    info: bpf::XdpLink,
    maps: Option<Maps>,
    /// In offload mode, with maps of its own.
    nic: Option<Nic>,
    /// `None` where another version's layout keeps it from being read.
    in_force: Option<InForce>,
}

impl Attachment {
    /// Opens what is pinned in `directory`.
    pub fn open(directory: &Path) -> Result<Found> {
        let pin = directory.join(LINK);
        match fs::symlink_metadata(&pin) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Leftover),
            Err(error) => return Err(error).context("look at the pinned link"),
            Ok(metadata) => private_dir::judge_file(&pin, &metadata)?,
        }
        let link = match bpf::open_pin(&pin) {
            Ok(link) => link,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Leftover),
            Err(error) => return Err(error).context("open the pinned link"),
        };
        let what = format!("use {}", pin.display());
        // Something else may be pinned under that name, by hand: nothing to be trusted.
        let mut info = match bpf::link_info(&link) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(Error::new(format!("cannot {what}: {error}")).hint(format!(
                    "xdpctl did not put it there: see who did, and remove it (`rm {}`)",
                    pin.display()
                )));
            }
            other => other.context(&what)?,
        };
        if let Some(nic) = Nic::open(directory, info.program_id)? {
            let (directory, in_force) = (directory.to_owned(), nic.in_force());
            let attached = Self { directory, link, info, maps: None, nic: Some(nic), in_force };
            return Ok(Found::Attached(Box::new(attached)));
        }
        // The program may be exchanged, and gone, between asking for its id and opening it.
        let maps = loop {
            match Maps::of_program(info.program_id) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let now = bpf::link_info(&link).context(&what)?;
                    if now == info {
                        return Err(error).context("open the attached program's maps");
                    }
                    info = now;
                }
                other => break other.context("open the attached program's maps")?,
            }
        };
        let in_force = match &maps {
            Some(maps) => read_in_force(maps)?,
            None => None,
        };
        let directory = directory.to_owned();
        Ok(Found::Attached(Box::new(Self { directory, link, info, maps, nic: None, in_force })))
    }

    /// The number that the directory of its pins is named by: the interface's index when it was
    /// attached.
    pub fn key(&self) -> u32 {
        self.directory.file_name().and_then(|name| name.to_str()?.parse().ok()).unwrap_or(0)
    }

    /// The interface's index now; `None` where it is gone.
    pub fn ifindex(&self) -> Option<u32> {
        (self.info.ifindex != 0).then_some(self.info.ifindex)
    }

    /// The interface as it is now; `None` where it is gone.
    pub fn interface(&self) -> Option<Interface> {
        Interface::by_index(self.ifindex()?).ok()
    }

    /// Why it judges nothing: its link is on no interface any more.
    pub fn stranded(&self) -> Option<Error> {
        if self.info.ifindex != 0 {
            return None;
        }
        let name = self.name();
        Some(if self.left().is_some() {
            Error::new(format!("xdpctl's program is not on {name} any more"))
                .hint(format!("`xdpctl detach {name}`, then attach"))
        } else {
            Error::new(format!("{name} is gone"))
                .hint(format!("`xdpctl detach {name}` removes what is left of it"))
        })
    }

    /// The interface that the program was on, if that is still there but the link is on none: then
    /// somebody took it off by other means.
    pub fn left(&self) -> Option<Interface> {
        if self.info.ifindex != 0 {
            return None;
        }
        let there = Interface::by_index(self.key()).ok()?;
        (self.attached_as() == Some(there.name.as_str())).then_some(there)
    }

    /// The interface's name when it was attached.
    pub fn attached_as(&self) -> Option<&str> {
        self.in_force.as_ref().map(|in_force| in_force.metadata.interface.as_str())
    }

    /// The interface's name now, or the last that is known.
    pub fn name(&self) -> String {
        match (self.interface(), self.attached_as()) {
            (Some(interface), _) => interface.name,
            (None, Some(name)) => name.to_owned(),
            (None, None) => format!("interface index {}", self.key()),
        }
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn program_id(&self) -> u32 {
        self.info.program_id
    }

    /// What the frames begin with that the attached program reads. It is the program that counts: of
    /// the interface, that could have changed since.
    pub fn link_type(&self) -> Result<LinkType> {
        let info = bpf::program_by_id(self.info.program_id).and_then(bpf::program_info);
        let name = info.context("look at the attached program")?.name;
        // Every other version's are for Ethernet.
        Ok(link_type_of(&name).unwrap_or(LinkType::Ethernet))
    }

    pub fn link(&self) -> &OwnedFd {
        &self.link
    }

    /// The ruleset in force, if this version can read it.
    pub fn in_force(&self) -> Option<&InForce> {
        self.in_force.as_ref()
    }

    /// The ruleset that is in force now, which may be another than when this was opened.
    pub fn in_force_now(&self) -> Result<InForce> {
        let in_force = match &self.nic {
            Some(nic) => nic.in_force_now()?,
            None => read_in_force(self.readable()?.0)?,
        };
        in_force.ok_or_else(|| self.unreadable())
    }

    /// The maps and the ruleset in force, or an error that says why this version cannot read them,
    /// or why what they are wanted for cannot be done.
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

    /// Why something cannot be done in offload mode.
    fn on_nic(&self) -> Error {
        let name = self.name();
        Error::new(format!(
            "{name} is attached in offload mode, and its NIC cannot do that: it has a ruleset and \
             counters, and nothing more"
        ))
        .hint(format!(
            "native mode can: `xdpctl detach {name}`, then `xdpctl attach {name} --mode native`"
        ))
    }

    /// Why this version cannot read it.
    pub fn unreadable(&self) -> Error {
        let name = self.name();
        let told = Error::new(format!(
            "the program on {name} was attached by another version of xdpctl, whose maps this one \
             does not know"
        ));
        if self.nic.is_some() {
            return told.hint(format!("`xdpctl detach {name}` takes it off"));
        }
        told.hint(format!(
            "`xdpctl attach --replace {name}` puts this version's program in its place without a \
             gap; `xdpctl detach {name}` takes it off"
        ))
    }

    /// Whether there is anything to read: a NIC's counters go with its interface.
    pub fn has_counters(&self) -> bool {
        self.nic.is_none() || self.ifindex().is_some() || self.left().is_some()
    }

    /// All counters, at one ruleset: read again if the ruleset changed meanwhile.
    pub fn read(&self) -> Result<Reading> {
        if let Some(nic) = &self.nic {
            return match self.stranded() {
                Some(error) if !self.has_counters() => Err(error),
                _ => nic.read()?.ok_or_else(|| self.unreadable()),
            };
        }
        let (maps, _) = self.readable()?;
        for _ in 0..100 {
            let Some(in_force) = read_in_force(maps)? else { break };
            let matrix = read_matrix(maps).context("read the counters")?;
            let counters = read_rule_counters(maps, &in_force.metadata)
                .context("read the counters of lists and rules")?;
            let after = image::slot_id(&maps.ruleset, 0).context("look at the ruleset in force")?;
            if after == Some(in_force.map_id) {
                return Ok(Reading { in_force, matrix, counted: counters });
            }
        }
        Err(self.unreadable())
    }

    /// Bytes of kernel memory that the maps take.
    pub fn map_bytes(&self) -> Result<u64> {
        let Some(maps) = &self.maps else {
            return Ok(self.nic.as_ref().map_or(0, Nic::map_bytes));
        };
        let sum = || -> io::Result<u64> {
            let mut ids = image::ids(&maps.ruleset)?;
            for page in 0..COUNTER_PAGES {
                ids.extend(inner_id(&maps.rule_counters, page)?);
            }
            let mut sum = 0;
            for (_, map) in maps.iter() {
                sum += memory(map)?;
            }
            for map in dynamic::inner_maps(maps)? {
                sum += memory(&map)?;
            }
            for id in ids {
                sum += match bpf::map_by_id(id) {
                    // Given back in this moment.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
                    map => memory(&map?)?,
                };
            }
            Ok(sum)
        };
        sum().context("tell how much memory the maps take")
    }
}
