//! Pass programs on redirect targets.
//!
//! Most drivers take redirected frames only while the receiving side carries an XDP program, or
//! have transmit queues for them only then (ndo_xdp_xmit in i40e, ixgbe, ice, mlx5 and virtio_net;
//! for veth it is the peer that must carry one). Where a target needs one and has none, a program
//! that passes everything is put there for as long as a ruleset in force redirects to it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use crate::datapath::attached::attachment::Attachment;
use crate::datapath::attached::namespace::{Locked, Namespace};
use crate::datapath::error::{Context, Error, Result};
use crate::datapath::host::carriers::Carriers;
use crate::datapath::host::interface::{Interface, Mode, xdp_feature};
use crate::datapath::program::load;
use crate::datapath::sys::{bpf, private_dir};
use crate::image::metadata::Metadata;

/// XDP_FLAGS_DRV_MODE, include/uapi/linux/if_link.h.
const NATIVE: u32 = 1 << 2;

/// Whether an interface takes frames that are redirected to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reachability {
    /// It takes them: its driver says so, or it carries a program.
    Open,
    /// It takes them once the interface with this index, itself or a veth's peer, carries a
    /// program.
    NeedsProgram(u32),
    /// It is a veth whose peer is in another network namespace, where no program can be put from
    /// here.
    PeerElsewhere,
}

/// What a target needs to take redirected frames. `ours` are the interfaces that carry a pass
/// program of ours: such an interface takes frames now, but perhaps only because of that program.
fn reachability(
    target: &Interface,
    all: &[Interface],
    ours: &BTreeMap<u32, OwnedFd>,
) -> Reachability {
    let is_veth = target.kind.as_deref() == Some("veth");
    let carrier = match (is_veth, target.link, target.link_netns) {
        (true, Some(peer), None) => Some(peer),
        (true, _, _) => None,
        (false, _, _) => Some(target.index),
    };
    if let Some(index) = carrier {
        if ours.contains_key(&index) {
            return Reachability::NeedsProgram(index);
        }
        let carries = |interface: &Interface| {
            interface.index == index && interface.xdp.iter().any(|xdp| xdp.mode != Mode::Generic)
        };
        if all.iter().any(carries) {
            return Reachability::Open;
        }
    }
    match (target.has_xdp_feature(xdp_feature::NDO_XMIT), carrier) {
        (Some(true), _) => Reachability::Open,
        (_, Some(index)) => Reachability::NeedsProgram(index),
        (_, None) => Reachability::PeerElsewhere,
    }
}

/// What became of one redirect target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub target: Interface,
    pub reachability: Reachability,
    /// The interface that carries a pass program of ours for it.
    pub pass_program: Option<String>,
    /// Why a program that is needed could not be put there.
    pub refused: Option<String>,
}

impl Outcome {
    /// What the administrator should know, if anything.
    pub fn problem(&self) -> Option<String> {
        let name = &self.target.name;
        match (&self.reachability, &self.refused, &self.pass_program) {
            (Reachability::PeerElsewhere, _, _) => Some(format!(
                "what is redirected to {name} is lost unless its peer, which is in another network \
                 namespace, carries an XDP program (`xdpctl attach` there) or has `ethtool -K PEER \
                 gro on`"
            )),
            (Reachability::NeedsProgram(_), Some(why), _) => Some(format!(
                "what is redirected to {name} may be lost: its driver wants an XDP program at the \
                 receiving end, and none could be put there ({why})"
            )),
            // As loopback. Another command would try in vain.
            (Reachability::NeedsProgram(carrier), None, None)
                if *carrier == self.target.index
                    && self.target.has_xdp_feature(xdp_feature::BASIC) == Some(false) =>
            {
                Some(format!(
                    "what is redirected to {name} may be lost: its driver does not say that it \
                     takes redirected frames, and it can carry no XDP program"
                ))
            }
            (Reachability::NeedsProgram(_), None, None) => Some(format!(
                "what is redirected to {name} may be lost: its driver wants an XDP program at the \
                 receiving end, and there is none (`xdpctl reload` puts one there)"
            )),
            _ => None,
        }
    }
}

/// The pass programs that are there, by the interface that they were put on.
fn present(directory: Option<&Path>) -> io::Result<BTreeMap<u32, OwnedFd>> {
    let mut present = BTreeMap::new();
    let Some(directory) = directory else { return Ok(present) };
    // While a command only looks, another one may remove them.
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let entries = match fs::read_dir(directory) {
        Err(error) if gone(&error) => return Ok(present),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        let index = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(index) = index else { continue };
        match bpf::open_pin(&entry.path()) {
            Err(error) if gone(&error) => {}
            link => {
                present.insert(index, link?);
            }
        }
    }
    if present.is_empty() {
        return Ok(present);
    }
    // An interface that is gone, or in another network namespace, leaves its link behind, and
    // another interface may have its index now. A pin that is no link was made by hand.
    let carriers = Carriers::ask().map_err(io::Error::other)?;
    let mut stale = Vec::new();
    for (index, link) in &present {
        let is_on = match bpf::link_info(link) {
            Ok(info) => {
                info.ifindex == *index && carriers.carries(*index, info.program_id).is_some()
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => false,
            Err(error) => return Err(error),
        };
        if !is_on {
            stale.push(*index);
        }
    }
    for index in stale {
        present.remove(&index);
    }
    Ok(present)
}

/// The interfaces that these rulesets in force redirect to, and those that may come back.
pub fn targets<'a>(attachments: impl IntoIterator<Item = &'a Attachment>) -> Vec<u32> {
    let mut targets: Vec<u32> = attachments
        .into_iter()
        // In generic mode the stack sends them, and needs no program on the target.
        .flat_map(|attachment| {
            let before = attachment.trial().and_then(|trial| trial.before.as_ref());
            [attachment.in_force(), before].into_iter().flatten()
        })
        .map(|in_force| &in_force.metadata)
        .filter(|metadata| metadata.mode == Mode::Native)
        .flat_map(Metadata::targets)
        .collect();
    targets.sort_unstable();
    targets.dedup();
    targets
}

/// Whether the targets of these attachments take redirected frames. Changes nothing.
pub fn inspect<'a>(
    namespace: &Namespace,
    attachments: impl IntoIterator<Item = &'a Attachment>,
) -> Result<Vec<Outcome>> {
    let targets = targets(attachments);
    if targets.is_empty() {
        return Ok(Vec::new());
    }
    let all = Interface::all()?;
    let directory = namespace.pass_directory()?;
    let present = present(directory.as_deref()).context("look at the pass programs")?;
    let found = targets.into_iter().filter_map(|index| {
        let target = all.iter().find(|interface| interface.index == index)?.clone();
        let reachability = reachability(&target, &all, &present);
        let carrier = match reachability {
            Reachability::NeedsProgram(carrier) => {
                present.contains_key(&carrier).then_some(carrier)
            }
            _ => None,
        };
        let pass_program = carrier.map(|carrier| name_of(&all, carrier));
        Some(Outcome { target, reachability, pass_program, refused: None })
    });
    Ok(found.collect())
}

/// Puts pass programs where the `wanted` interfaces need them, and removes those that none of them
/// needs. `wanted` are all interfaces that a ruleset in force redirects to, or one that is about to
/// be.
pub fn reconcile(namespace: &Locked, wanted: &[u32]) -> Result<Vec<Outcome>> {
    reconcile_around(namespace, wanted, None)
}

/// As [`reconcile`], where one interface is about to get the filter itself, which serves as well as
/// a pass program. A pass program that it carries stays until [`detach_pass_program`] removes it.
pub fn reconcile_around(
    namespace: &Locked,
    wanted: &[u32],
    filtered: Option<u32>,
) -> Result<Vec<Outcome>> {
    let directory = namespace.pass_directory()?;
    let mut present = present(directory.as_deref()).context("look at the pass programs")?;
    let mut wanted = wanted.to_vec();
    wanted.sort_unstable();
    wanted.dedup();
    if wanted.is_empty() && directory.is_none() {
        return Ok(Vec::new());
    }

    let all = Interface::all()?;
    let mut needed = Vec::new();
    let mut outcomes = Vec::new();
    let mut program = None;
    for index in wanted {
        let Some(target) = all.iter().find(|interface| interface.index == index) else { continue };
        let reachability = reachability(target, &all, &present);
        let mut outcome =
            Outcome { target: target.clone(), reachability, pass_program: None, refused: None };
        if let Reachability::NeedsProgram(carrier) = outcome.reachability {
            needed.push(carrier);
            if filtered == Some(carrier) {
                outcome.reachability = Reachability::Open;
                outcomes.push(outcome);
                continue;
            }
            let put = match present.entry(carrier) {
                Entry::Occupied(_) => Ok(()),
                Entry::Vacant(place) => {
                    let program = match &mut program {
                        Some(program) => program,
                        none => none.insert(load::load_pass().map_err(|error| {
                            Error::new(format!("cannot load the pass program: {error}"))
                        })?),
                    };
                    let directory = namespace.create_pass_directory()?;
                    // Only the interface's own refusal is reported as such; other errors end the
                    // command.
                    match bpf::create_xdp_link(program, carrier, NATIVE) {
                        Ok(link) => {
                            pin(&link, &directory.join(carrier.to_string()))
                                .context("pin the pass program")?;
                            place.insert(link);
                            Ok(())
                        }
                        Err(error) => Err(error),
                    }
                }
            };
            match put {
                Ok(()) => outcome.pass_program = Some(name_of(&all, carrier)),
                Err(error) => outcome.refused = Some(error.to_string()),
            }
        }
        outcomes.push(outcome);
    }
    if let Some(directory) = namespace.pass_directory()? {
        take_unneeded(&directory, &needed, &present).context("take pass programs away")?;
        namespace.forget_pass_directory()?;
    }
    Ok(outcomes)
}

/// Removes our pass program from an interface that is about to get the filter itself.
pub fn detach_pass_program(namespace: &Locked, ifindex: u32) -> Result<()> {
    let Some(directory) = namespace.pass_directory()? else { return Ok(()) };
    let present = present(Some(&directory)).context("look at the pass programs")?;
    if let Some(link) = present.get(&ifindex) {
        let take = || {
            bpf::detach_link(link)?;
            fs::remove_file(directory.join(ifindex.to_string()))
        };
        take().context("take the pass program off the interface")?;
    }
    namespace.forget_pass_directory()
}

/// Whether the program with that id, which the interface carries, is one of our pass programs.
pub fn is_ours(namespace: &Namespace, ifindex: u32, program_id: u32) -> Result<bool> {
    let directory = namespace.pass_directory()?;
    let present = present(directory.as_deref()).context("look at the pass programs")?;
    Ok(present
        .get(&ifindex)
        .is_some_and(|link| bpf::link_info(link).is_ok_and(|info| info.program_id == program_id)))
}

fn pin(link: &OwnedFd, path: &Path) -> io::Result<()> {
    // A pin of an interface that is gone may stand there.
    private_dir::remove(path)?;
    bpf::pin(link, path)
}

fn take_unneeded(
    directory: &Path,
    needed: &[u32],
    present: &BTreeMap<u32, OwnedFd>,
) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let index = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        if index.is_some_and(|index| needed.contains(&index)) {
            continue;
        }
        if let Some(link) = index.and_then(|index| present.get(&index)) {
            bpf::detach_link(link)?;
        }
        private_dir::remove(&entry.path())?;
    }
    Ok(())
}

fn name_of(all: &[Interface], index: u32) -> String {
    all.iter()
        .find(|interface| interface.index == index)
        .map_or_else(|| format!("interface index {index}"), |interface| interface.name.clone())
}
