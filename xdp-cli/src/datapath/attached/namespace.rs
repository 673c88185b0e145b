//! The caller's network namespace: what is attached in it, and the one command that may change it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::sources::Source;
use crate::datapath::attached::attachment::Attachment;
use crate::datapath::attached::attachments::Attachments;
use crate::datapath::attached::egress;
use crate::datapath::attached::in_force::InForce;
use crate::datapath::attached::kept_ruleset::{self, Snapshot};
use crate::datapath::attached::key::{Key, PinDirectory};
use crate::datapath::error::{Context, Error, Result};
use crate::datapath::host::bpffs::PinRoot;
use crate::datapath::host::lock::Lock;
use crate::datapath::host::run_dir::RunDir;
use crate::datapath::host::waiting::{Patience, Say};
use crate::datapath::host::{loopback, netns};
use crate::datapath::maps::dynamic::Store;
use crate::datapath::sys::{private_dir, privilege};

/// Name of the directory of pass programs, beside those of interfaces.
pub const PASS: &str = "pass";

/// A network namespace, for commands that only look.
pub struct Namespace {
    cookie: u64,
    pins: PinRoot,
}

/// A network namespace that nobody else changes while this exists.
pub struct Locked {
    // Before `namespace`, to be dropped first: the lock's directory may be reached through what the
    // namespace holds open. `None` once it was released.
    lock: Option<Lock>,
    namespace: Namespace,
    run: RunDir,
}

/// Checks privileges and kernel before anything else, so that a lack of either gets its own
/// message.
fn require() -> Result<()> {
    privilege::require_kernel()?;
    privilege::require()?;
    Ok(())
}

impl Namespace {
    /// For commands that only look. `None` where nothing was ever attached.
    pub fn look() -> Result<Option<Self>> {
        require()?;
        let cookie = netns::cookie()?;
        Ok(PinRoot::existing()?.map(|pins| Self { cookie, pins }))
    }

    /// For commands that change something: waits until no other command holds the lock, up to
    /// [`Patience::COMMAND`]. Where that takes a while, `say` is told which command holds it.
    pub fn lock(say: &mut Say<'_>) -> Result<Locked> {
        require()?;
        let cookie = netns::cookie()?;
        let pins = PinRoot::open()?;
        let lock = Some(pins.lock(cookie, Patience::COMMAND, say)?);
        let run = RunDir::create(cookie)?;
        Ok(Locked { lock, namespace: Self { cookie, pins }, run })
    }

    /// As [`Self::lock`], without waiting; `None` where another command has the lock, or nothing was
    /// ever attached.
    pub fn try_lock() -> Result<Option<Locked>> {
        require()?;
        let cookie = netns::cookie()?;
        let Some(pins) = PinRoot::existing()? else { return Ok(None) };
        let Some(lock) = pins.try_lock(cookie)? else { return Ok(None) };
        let run = RunDir::create(cookie)?;
        Ok(Some(Locked { lock: Some(lock), namespace: Self { cookie, pins }, run }))
    }

    /// Whether pins go to the machine's bpffs, which is not the one that the caller sees.
    pub fn is_transient(&self) -> bool {
        self.pins.transient()
    }

    /// A path as it is in the machine's own mount namespace, for messages.
    pub fn shown(&self, path: &Path) -> PathBuf {
        self.pins.shown(path)
    }

    /// Everything that is attached, by key.
    pub fn attachments(&self) -> Result<Attachments> {
        Attachments::open(self.directories()?)
    }

    /// Everything that is attached and can be opened, and why the rest cannot.
    pub fn attachments_each(&self) -> Result<(Attachments, Vec<(Key, Error)>)> {
        Attachments::open_each(self.directories()?)
    }

    /// Directories of interfaces.
    fn directories(&self) -> Result<Vec<PinDirectory>> {
        let Some(base) = self.pins.existing_dir(self.cookie, &[])? else {
            return Ok(Vec::new());
        };
        let found =
            keys(&base).context(format_args!("read {}", self.pins.shown(&base).display()))?;
        // Each of them has to be root's alone, or it is refused.
        let run = if found.is_empty() { None } else { RunDir::existing(self.cookie)? };
        let mut directories = Vec::new();
        for key in found {
            let path = self.pins.existing_dir(self.cookie, &[&key.to_string()])?;
            directories.extend(path.map(|path| {
                let shown = self.pins.shown(&path);
                let state = run.as_ref().map(|run| run.path().join(key.to_string()));
                PinDirectory { key, path, shown, state }
            }));
        }
        Ok(directories)
    }

    /// The ruleset in force on an attachment as it was kept beside it; `None` where that was lost.
    pub fn kept_ruleset(&self, key: Key, in_force: &InForce) -> Result<Option<Snapshot>> {
        let Some(run) = RunDir::existing(self.cookie)? else { return Ok(None) };
        let directory = run.path().join(key.to_string());
        kept_ruleset::read(&directory, in_force.generation, in_force.metadata.loaded_at)
    }

    /// The files that the ruleset in force on an attachment was read from; `None` where that was lost.
    pub fn sources(&self, key: Key, in_force: &InForce) -> Result<Option<Vec<Source>>> {
        let Some(run) = RunDir::existing(self.cookie)? else { return Ok(None) };
        let directory = run.path().join(key.to_string());
        kept_ruleset::read_sources(&directory, in_force.generation, in_force.metadata.loaded_at)
    }

    /// Where the notes of an attachment's run-time entries lie, if anywhere.
    pub fn notes_directory(&self, key: Key) -> Result<Option<PathBuf>> {
        let run = RunDir::existing(self.cookie)?;
        Ok(run.map(|run| run.path().join(key.to_string())))
    }

    /// The directory of pass programs, if there is one.
    pub fn pass_directory(&self) -> Result<Option<PathBuf>> {
        Ok(self.pins.existing_dir(self.cookie, &[PASS])?)
    }
}

impl std::ops::Deref for Locked {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        &self.namespace
    }
}

impl Locked {
    /// Removes what a command that was killed left behind: pins without a link, which hold
    /// nothing on any interface, and state without pins.
    pub fn clean_up(&self, attached: &Attachments) -> Result<()> {
        let run = self.run.path();
        let kept = keys(run).context(format_args!("read {}", run.display()))?;
        let has_pins =
            |key: &Key| attached.get(*key).is_some() || attached.leftovers().contains(key);
        let without_pins = kept.into_iter().filter(|key| !has_pins(key));
        for key in attached.leftovers().iter().copied().chain(without_pins) {
            log::info!("removing what an interrupted command left for interface {key}");
            self.forget(key)?;
        }
        Ok(())
    }

    /// The directory for the pins of an attachment, made if it is not there.
    pub fn create_directory(&self, key: Key) -> Result<PathBuf> {
        self.pin_loopback()?;
        Ok(self.pins.create_dir(self.cookie, &[&key.to_string()])?)
    }

    /// The directory of pass programs, made if it is not there.
    pub fn create_pass_directory(&self) -> Result<PathBuf> {
        self.pin_loopback()?;
        Ok(self.pins.create_dir(self.cookie, &[PASS])?)
    }

    /// Pins the loopback interface, before anything else is pinned: by it, commands in other
    /// network namespaces know when this one is gone.
    fn pin_loopback(&self) -> Result<()> {
        let directory = self.pins.create_dir(self.cookie, &[])?;
        if loopback::is_pinned(&directory) {
            return Ok(());
        }
        // Nothing is pinned there yet, or somebody put something else there or emptied it.
        let pinned = private_dir::remove(&directory.join(loopback::PIN))
            .and_then(|()| loopback::pin(&directory));
        pinned.context("pin a map that holds the loopback interface")
    }

    /// The run-time entries of an attachment, to be changed.
    pub fn entries<'m>(&self, attachment: &'m Attachment) -> Result<Store<'m>> {
        let (maps, _) = attachment.readable()?;
        Store::open(maps, self.state_directory(attachment.key()))
    }

    /// Where the state of an attachment lies.
    pub fn state_directory(&self, key: Key) -> PathBuf {
        self.run.path().join(key.to_string())
    }

    /// Removes the pins and the state of an attachment. The link's pin goes first: without it the
    /// rest is leftovers, which the next command removes.
    pub fn forget(&self, key: Key) -> Result<()> {
        let name = key.to_string();
        let directory = self.pins.existing_dir(self.cookie, &[&name])?;
        if let Some(directory) = &directory {
            let shown = self.pins.shown(directory);
            let link = private_dir::remove(&directory.join(super::attachment::LINK));
            link.context(format_args!("remove a pin in {}", shown.display()))?;
        }
        let taken = egress::take_off(directory.as_deref(), key.ifindex());
        taken.context("take the program off the egress")?;
        if let Some(directory) = directory {
            remove_pins(&directory, &self.pins.shown(&directory))?;
            self.pins.remove_dir(self.cookie, &[&name])?;
        }
        private_dir::remove(&self.state_directory(key))
            .context(format_args!("remove the state of interface {key}"))
    }

    /// Removes the directory of pass programs if it is empty.
    pub fn forget_pass_directory(&self) -> Result<()> {
        Ok(self.pins.remove_dir(self.cookie, &[PASS])?)
    }

    /// Removes the directories that are empty, the lock's own last, and ends the lock.
    pub fn finish(mut self) -> Result<()> {
        self.remove_empty()?;
        match self.lock.take() {
            Some(lock) => Ok(self.namespace.pins.release(lock)?),
            None => Ok(()),
        }
    }

    /// Removes what belongs to the namespace as a whole, if nothing else is there.
    fn remove_empty(&self) -> Result<()> {
        self.run.remove_if_empty()?;
        let Some(directory) = self.pins.existing_dir(self.cookie, &[])? else { return Ok(()) };
        let what = format!("read {}", self.pins.shown(&directory).display());
        for entry in fs::read_dir(&directory).context(&what)? {
            if entry.context(&what)?.file_name() != loopback::PIN {
                return Ok(());
            }
        }
        private_dir::remove(&directory.join(loopback::PIN))
            .context("remove the loopback interface's pin")
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        if self.lock.is_some() {
            // Best effort, after a command that failed: the next command does it otherwise.
            let _ = self.remove_empty();
        }
    }
}

/// The keys among the names in a directory; none where another command has just removed it.
fn keys(directory: &Path) -> io::Result<Vec<Key>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut keys = Vec::new();
    for entry in entries {
        // A listing that fails half way is an error: what it leaves out would be taken for gone.
        let entry = match entry {
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            other => other?,
        };
        keys.extend(entry.file_name().to_str().and_then(|name| name.parse::<Key>().ok()));
    }
    Ok(keys)
}

fn remove_pins(directory: &Path, shown: &Path) -> Result<()> {
    let what = format!("remove a pin in {}", shown.display());
    let read = || format!("read {}", shown.display());
    for entry in fs::read_dir(directory).context(read())? {
        private_dir::remove(&entry.context(read())?.path()).context(&what)?;
    }
    Ok(())
}
