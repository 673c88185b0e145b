//! The program at the egress of an attached interface, which notes what goes out
//! (`xdp_common::filter::sent`): putting it there, and taking it off.
//!
//! Where the kernel has links for that (TCX, Linux 6.6), the link is pinned beside the filter's, and lives as long.
//! Elsewhere it is a filter of traffic control, which nothing holds but the interface. Then its program is
//! pinned in that place, and the filter is known by its program. So wherever a command is cut off, the pin says what the
//! next one has to take off.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use xdp_common::egress::{SCRATCH, SCRATCH_DEFINITION};
use xdp_common::maps::Map;
use xdp_common::packet::LinkType;

use crate::datapath::error::{Context, Error, Result};
use crate::datapath::host::clsact::{self, Filter};
use crate::datapath::maps::handles::{self, Maps};
use crate::datapath::program::load::load_egress;
use crate::datapath::sys::{bpf, private_dir};

/// The pin of the link or, where there are no links, of the program.
pub const PIN: &str = "egress";
/// A directory beside it: the qdisc that the filter is in was made for it.
const OWN_QDISC: &str = "egress_qdisc";
/// The name of the filter, and of one in a qdisc that was made for it: by that, what has lost its pins is known too.
const FILTER: &str = "xdpctl_egress";
const FILTER_IN_OWN: &str = "xdpctl_egress in a qdisc of its own";

/// How the program is at the egress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// By a link.
    Tcx,
    /// By a filter of the qdisc clsact.
    Clsact,
}

impl By {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

/// What is pinned.
enum Pinned {
    Link(OwnedFd, bpf::InterfaceLink),
    Program(u32),
}

fn pinned(directory: &Path) -> io::Result<Option<Pinned>> {
    let object = match bpf::open_pin(&directory.join(PIN)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    match bpf::egress_link_info(&object) {
        Ok(info) => Ok(Some(Pinned::Link(object, info))),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            match bpf::program_info(&object) {
                Ok(info) => Ok(Some(Pinned::Program(info.id))),
                // Somebody put something else there by hand.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
                Err(error) => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

/// Whether something was put at the egress, or was about to be, as far as the pins say.
pub fn is_noted(directory: &Path) -> bool {
    [PIN, OWN_QDISC].iter().any(|name| fs::symlink_metadata(directory.join(name)).is_ok())
}

/// How the program that writes to these maps is at the egress of an interface; `None` where it is not.
pub fn standing(directory: &Path, ifindex: u32, maps: &Maps) -> io::Result<Option<By>> {
    let (by, program) = match pinned(directory)? {
        None => return Ok(None),
        Some(Pinned::Link(_, info)) if info.ifindex == ifindex => (By::Tcx, info.program_id),
        Some(Pinned::Link(..)) => return Ok(None),
        Some(Pinned::Program(id)) => {
            if !clsact::filters(ifindex)?.iter().any(|filter| filter.program_id == id) {
                return Ok(None);
            }
            (By::Clsact, id)
        }
    };
    let writes = bpf::program_by_id(program).and_then(bpf::program_info)?.map_ids;
    let sent = bpf::map_info(&maps.sent)?.id;
    Ok(writes.contains(&sent).then_some(by))
}

/// Puts this version's program at the egress of an interface, or exchanges the one that is there.
pub fn put(directory: &Path, ifindex: u32, link_type: LinkType, maps: &Maps) -> Result<By> {
    let what = "put a program at the egress";
    let program = load(link_type, maps)?;
    let before = pinned(directory).context(what)?;
    if let Some(Pinned::Link(link, info)) = &before
        && info.ifindex == ifindex
    {
        bpf::update_link(link, &program).context("exchange the program at the egress")?;
        log::info!("exchanged the program at the egress");
        return Ok(By::Tcx);
    }
    match bpf::create_egress_link(&program, ifindex) {
        Ok(link) => {
            let pin = || {
                private_dir::remove(&directory.join(PIN))?;
                bpf::pin(&link, &directory.join(PIN))
            };
            pin().context("pin the link at the egress")?;
            log::info!("put the program at the egress by a link");
            Ok(By::Tcx)
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            let what =
                "put a program at the egress by traffic control (modules sch_ingress and cls_bpf)";
            let result = put_filter(directory, ifindex, &program).context(what);
            if result.is_err() && before.is_none() {
                // Best effort: the next command would do it as well.
                let _ = take_off(Some(directory), ifindex);
            }
            result?;
            log::info!("put the program at the egress by a filter of the qdisc clsact");
            Ok(By::Clsact)
        }
        Err(error) => Err(error).context(what),
    }
}

/// Holds this version's program at the egress, by a link that is pinned nowhere and ends with the caller; `None` where
/// the kernel has no such links, and it was [`put`] there.
pub fn hold(
    directory: &Path,
    ifindex: u32,
    link_type: LinkType,
    maps: &Maps,
) -> Result<Option<OwnedFd>> {
    match bpf::create_egress_link(load(link_type, maps)?, ifindex) {
        Ok(link) => Ok(Some(link)),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            put(directory, ifindex, link_type, maps).map(|_| None)
        }
        Err(error) => Err(error).context("put a program at the egress"),
    }
}

/// Loads the program for the egress of links of that type, which writes to these maps.
pub fn load(link_type: LinkType, maps: &Maps) -> Result<OwnedFd> {
    let scratch = handles::create(SCRATCH_DEFINITION, "xdpctl_egress");
    let scratch = scratch.context("make a map for the program at the egress")?;
    let given = maps.iter().map(|(map, handle): (Map, &OwnedFd)| (map.name(), handle.as_fd()));
    let given: Vec<_> = given.chain([(SCRATCH, scratch.as_fd())]).collect();
    load_egress(link_type, &given)
        .map_err(|error| Error::new(format!("cannot load the program for the egress: {error}")))
}

/// In this order: what is there is noted before it is there.
fn put_filter(directory: &Path, ifindex: u32, program: &OwnedFd) -> io::Result<()> {
    if !clsact::is_there(ifindex)? {
        fs::create_dir_all(directory.join(OWN_QDISC))?;
        match clsact::add(ifindex) {
            // Somebody else has just made it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                private_dir::remove(&directory.join(OWN_QDISC))?;
            }
            other => other?,
        }
    }
    let is_own = fs::symlink_metadata(directory.join(OWN_QDISC)).is_ok();
    // Those of before go last: there is always one.
    let before: Vec<Filter> = clsact::filters(ifindex)?.into_iter().filter(is_ours).collect();
    private_dir::remove(&directory.join(PIN))?;
    bpf::pin(program, &directory.join(PIN))?;
    clsact::put(ifindex, program, if is_own { FILTER_IN_OWN } else { FILTER })?;
    before.iter().try_for_each(|filter| clsact::delete(ifindex, filter))
}

fn is_ours(filter: &Filter) -> bool {
    filter.name == FILTER || filter.name == FILTER_IN_OWN
}

/// Takes the program off the egress of an interface, and removes its pin. What is not there is no error. `directory` has
/// the pins, if there still are any.
pub fn take_off(directory: Option<&Path>, ifindex: u32) -> io::Result<()> {
    let pinned = directory.map(pinned).transpose()?.flatten();
    let mut is_own = directory.is_some_and(|it| fs::symlink_metadata(it.join(OWN_QDISC)).is_ok());
    match pinned {
        Some(Pinned::Link(_, info)) if info.ifindex == 0 => {}
        Some(Pinned::Link(link, _)) => bpf::detach_link(&link)?,
        Some(Pinned::Program(_)) | None => {
            let is_it = |filter: &Filter| match pinned {
                // Another interface may have the index now, where this one was moved.
                Some(Pinned::Program(id)) => filter.program_id == id,
                _ => is_ours(filter),
            };
            for filter in clsact::filters(ifindex)?.into_iter().filter(is_it) {
                clsact::delete(ifindex, &filter)?;
                is_own |= filter.name == FILTER_IN_OWN;
            }
        }
    }
    if is_own {
        clsact::remove_if_empty(ifindex)?;
    }
    let Some(directory) = directory else { return Ok(()) };
    private_dir::remove(&directory.join(OWN_QDISC))?;
    private_dir::remove(&directory.join(PIN))
}
