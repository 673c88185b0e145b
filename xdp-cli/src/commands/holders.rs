//! Chooses the attached interfaces that a command on run-time entries is about.

use super::Session;
use crate::config::prefix::IpPrefix;
use crate::datapath::attached::attachment::Attachment;
use crate::datapath::attached::attachments::Attachments;
use crate::datapath::attached::persisted::Persisted;
use crate::datapath::error::{Error, Result};
use crate::notation::plain;

/// The chosen interfaces.
pub struct Holders<'a> {
    pub attachments: Vec<&'a Attachment>,
    /// Names of interfaces that were left out, since their NICs run the program and hold no
    /// run-time entries.
    pub left_out: Vec<String>,
}

/// The interface of that name, or with `all` every one that can have entries. A name given together
/// with `all` has to be one of them.
pub fn chosen<'a>(attached: &'a Attachments, name: Option<&str>, all: bool) -> Result<Holders<'a>> {
    let named = name.map(|name| attached.require_here(name)).transpose()?;
    if let (Some(one), false) = (named, all) {
        return Ok(Holders { attachments: vec![one], left_out: Vec::new() });
    }
    let here = || attached.iter().filter(|attachment| attachment.stranded().is_none());
    let (on_nics, attachments): (Vec<_>, Vec<_>) =
        here().partition(|attachment| attachment.nic().is_some());
    let left_out: Vec<String> = on_nics.into_iter().map(Attachment::name).collect();
    match attachments.is_empty() {
        false => Ok(Holders { attachments, left_out }),
        true if left_out.is_empty() => Err(super::nothing_attached()),
        true => Err(Error::new(format!(
            "there are no run-time entries in offload mode, in which {} is attached",
            plain(&left_out.join(", "))
        ))),
    }
}

/// An error on one interface. Where all were meant, its message names the interface.
pub fn on(name: &str, all: bool, error: Error) -> Error {
    match all {
        true => Error { message: format!("{}: {}", plain(name), error.message), ..error },
        false => error,
    }
}

/// The files with the entries that outlive a restart, for the interfaces that a command is about.
#[derive(Default)]
pub struct Files {
    all: Vec<Persisted>,
    /// The files that were written, with their content before.
    before: Vec<Persisted>,
}

impl Files {
    /// Reads the file of an interface.
    pub fn add(&mut self, interface: &str) -> Result<()> {
        self.all.push(Persisted::read(interface)?);
        Ok(())
    }

    /// Changes each file, and writes it if `change` returns `true`. Writes all of them or none.
    pub fn change(&mut self, change: impl Fn(&mut Persisted) -> Result<bool>) -> Result<()> {
        for kept in &mut self.all {
            let before = kept.clone();
            let written = match change(kept) {
                Ok(true) => kept.write(),
                other => other.map(|_| ()),
            };
            if let Err(error) = written {
                self.take_back();
                return Err(error);
            }
            if *kept != before {
                self.before.push(before);
            }
        }
        Ok(())
    }

    /// Writes back what was there before. Errors are only logged: there is nothing else to do.
    pub fn take_back(&mut self) {
        for before in self.before.drain(..) {
            if let Err(error) = before.write() {
                log::warn!("{error}");
            }
        }
    }
}

/// Makes sure that entries of one owner, or of all, do not outlive a restart on these interfaces.
/// If this cannot be written to disk they are to be removed all the same, so the error is only
/// returned.
pub fn forget(names: &[String], prefixes: &[IpPrefix], owner: Option<&str>) -> Option<Error> {
    forget_by(names, |kept| kept.remove(prefixes, owner))
}

/// The same for all entries of one owner, or of all.
pub fn forget_all(name: String, owner: Option<&str>) -> Option<Error> {
    forget_by(&[name], |kept| kept.clear(owner))
}

fn forget_by(names: &[String], forget: impl Fn(&mut Persisted) -> bool) -> Option<Error> {
    let mut files = Files::default();
    let added = names.iter().try_for_each(|name| files.add(name));
    added.and_then(|()| files.change(|kept| Ok(forget(kept)))).err()
}

/// Warns that the next attach puts back entries that are no longer meant, and why.
pub fn tell_would_return(error: Option<Error>, session: &mut Session<'_>) {
    if let Some(error) = error {
        let told = format!("the next attach may put back what was there before: {}", error.message);
        session.reporter.warning(&told, error.hint.as_deref());
    }
}

/// Reports which interfaces were left out.
pub fn tell_left_out(left_out: &[String], session: &mut Session<'_>) {
    for name in left_out {
        let told =
            format!("{} was left out: in offload mode there are no run-time entries", plain(name));
        session.reporter.warning(&told, None);
    }
}
