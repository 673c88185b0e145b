//! A ruleset on trial, as the command that waits for its confirmation sees it. `change::trial` settles
//! it.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::{fs, io};

use crate::datapath::attached::attachment::{Attachment, LINK};
use crate::datapath::attached::key::Key;
use crate::datapath::error::{Context, Result};
use crate::datapath::maps::handles::Maps;
use crate::datapath::maps::image::{Current, Standing};

/// What is on trial, for whoever waits until it is settled.
pub struct Tried {
    pub key: Key,
    /// The interface's name.
    pub name: String,
    /// The generations of the ruleset on trial, and of the one before.
    pub generation: u64,
    pub before: u64,
    pub link_id: u32,
    /// The image before, and where to see which one is in force.
    pub image_before: u32,
    ruleset: OwnedFd,
    /// The link's pin, which a detach removes.
    pin: PathBuf,
}

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Now {
    Waiting,
    Confirmed,
    /// The ruleset before is in force again, or none.
    Over,
}

impl Tried {
    /// For a ruleset that is about to be put in force. No question is left for afterwards.
    pub fn prepare(attachment: &Attachment, maps: &Maps, generation: u64) -> Result<Self> {
        let in_force = attachment.in_force().ok_or_else(|| attachment.unreadable())?;
        Ok(Self {
            key: attachment.key(),
            name: attachment.name(),
            generation,
            before: in_force.generation,
            link_id: attachment.link_id(),
            image_before: in_force.map_id,
            pin: attachment.directory().join(LINK),
            ruleset: maps.ruleset.try_clone().context("keep a handle of the ruleset")?,
        })
    }

    /// Looks at what is in force. Where that cannot be told, it still waits.
    pub fn now(&self) -> Now {
        match Current::of(&self.ruleset).look() {
            Ok(Some((id, Standing::Settled))) if id != self.image_before => Now::Confirmed,
            Ok(Some((id, _))) if id == self.image_before => Now::Over,
            _ if self.is_detached() => Now::Over,
            _ => Now::Waiting,
        }
    }

    fn is_detached(&self) -> bool {
        fs::symlink_metadata(&self.pin).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }
}
