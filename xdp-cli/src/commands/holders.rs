//! Which attached interfaces a command on run-time entries is about.

use super::Session;
use crate::datapath::attached::attachment::Attachment;
use crate::datapath::attached::attachments::Attachments;
use crate::datapath::error::{Error, Result};
use crate::notation::plain;

/// The interfaces that are meant.
pub struct Holders<'a> {
    pub attachments: Vec<&'a Attachment>,
    /// Names of those that were left out: on their NICs, there are no run-time entries.
    pub left_out: Vec<String>,
}

/// The one of that name, or with `all` every one that can have entries. A name given beside that has to
/// be one of them.
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

/// Tells which interfaces were left out.
pub fn tell_left_out(left_out: &[String], session: &mut Session<'_>) {
    for name in left_out {
        let told =
            format!("{} was left out: in offload mode there are no run-time entries", plain(name));
        session.reporter.warning(&told, None);
    }
}
