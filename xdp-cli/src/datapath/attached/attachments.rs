//! Everything that is attached in a network namespace, opened once.

use crate::datapath::attached::attachment::{Attachment, Found};
use crate::datapath::attached::key::{Key, PinDirectory};
use crate::datapath::error::{Error, Result};
use crate::datapath::host::carriers::Carriers;
use crate::datapath::host::interface::{self, Interface};
use crate::notation::word;

/// What was attached when this was opened, and the interfaces as they were then.
pub struct Attachments {
    all: Vec<Attachment>,
    leftovers: Vec<Key>,
    carriers: Carriers,
}

impl Attachments {
    /// Opens what is pinned in these directories.
    pub(super) fn open(directories: Vec<PinDirectory>) -> Result<Self> {
        let (opened, failed) = Self::open_each(directories)?;
        match failed.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(opened),
        }
    }

    /// As [`Self::open`], but one that cannot be opened does not hide the others. Returns those that
    /// can, and the errors of those that cannot.
    pub(super) fn open_each(
        mut directories: Vec<PinDirectory>,
    ) -> Result<(Self, Vec<(Key, Error)>)> {
        directories.sort_by_key(|directory| directory.key);
        let mut carriers = Carriers::ask()?;
        let (mut all, mut leftovers, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        for directory in &directories {
            match Attachment::open(directory, &mut carriers) {
                Ok(Found::Attached(attachment)) => all.push(*attachment),
                Ok(Found::Leftover) => leftovers.push(directory.key),
                Err(error) => failed.push((directory.key, error)),
            }
        }
        Ok((Self { all, leftovers, carriers }, failed))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Attachment> {
        self.all.iter()
    }

    /// All of them, to be kept.
    pub fn into_all(self) -> Vec<Attachment> {
        self.all
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Directories of pins without a link: what interrupted commands left.
    pub fn leftovers(&self) -> &[Key] {
        &self.leftovers
    }

    /// The interfaces of the network namespace, and what they carry.
    pub fn carriers(&self) -> &Carriers {
        &self.carriers
    }

    pub fn get(&self, key: Key) -> Option<&Attachment> {
        self.all.iter().find(|attachment| attachment.key() == key)
    }

    /// What is attached to the interface of that name: the name that it has now or, if no other
    /// interface has taken it, the one that it had when it was attached. What is left of an
    /// interface that is gone is still found where a new one has its name.
    pub fn find(&self, name: &str) -> Result<Option<&Attachment>> {
        Ok(self.position(name)?.map(|place| &self.all[place]))
    }

    /// As [`Self::find`], but nothing found is an error that names what is attached.
    pub fn require(&self, name: &str) -> Result<&Attachment> {
        Ok(&self.all[self.required(name)?])
    }

    /// As [`Self::require`], but an error where the interface is in another network namespace now.
    pub fn require_here(&self, name: &str) -> Result<&Attachment> {
        let attachment = self.require(name)?;
        match attachment.stranded().filter(|_| attachment.is_moved()) {
            Some(error) => Err(error),
            None => Ok(attachment),
        }
    }

    /// As [`Self::require`], and drops the other attachments.
    pub fn into_required(mut self, name: &str) -> Result<Attachment> {
        let place = self.required(name)?;
        Ok(self.all.swap_remove(place))
    }

    /// As [`Self::require_here`], and drops the other attachments.
    pub fn into_required_here(self, name: &str) -> Result<Attachment> {
        self.require_here(name)?;
        self.into_required(name)
    }

    fn required(&self, name: &str) -> Result<usize> {
        if let Some(place) = self.position(name)? {
            return Ok(place);
        }
        let here = self.all.iter().filter(|attachment| !attachment.is_moved());
        Err(not_attached(name, &here.map(Attachment::name).collect::<Vec<_>>()))
    }

    fn position(&self, name: &str) -> Result<Option<usize>> {
        let now = self.carriers.index_of(name)?;
        let (mut exact, mut former) = (None, None);
        for (place, attachment) in self.all.iter().enumerate() {
            let ifindex = attachment.ifindex();
            if now.is_some() && ifindex == now {
                exact = Some(place);
            } else if attachment.attached_as() == Some(name) && (now.is_none() || ifindex.is_none())
            {
                former = Some(place);
            }
        }
        Ok(exact.or(former))
    }

    /// The key for a new attachment to the interface with that index: the first whose directory
    /// holds no link that is on an interface, here or in another network namespace.
    pub fn free_key(&self, ifindex: u32) -> Key {
        let mut key = Key::first(ifindex);
        while self.get(key).is_some_and(Attachment::is_on_an_interface) {
            key = key.next();
        }
        key
    }
}

/// The error for an interface that nothing is attached to; it names those in `attached`.
pub fn not_attached(name: &str, attached: &[String]) -> Error {
    let as_word = word(name);
    let error = match Interface::by_name(name) {
        Err(error @ interface::Error::NotFound { .. }) => Error::from(error),
        _ => Error::new(format!("xdpctl is not attached to {name}")),
    };
    if attached.is_empty() {
        let hint = error.hint.clone();
        error.hint(hint.unwrap_or_else(|| format!("`xdpctl attach {as_word}` attaches it")))
    } else {
        error.hint(format!("it is attached to: {}", attached.join(", ")))
    }
}
