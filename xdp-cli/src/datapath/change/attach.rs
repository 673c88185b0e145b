//! Attaching. Its steps are ordered so that, wherever it is cut off, either nothing is attached, as
//! before, or everything that was asked for is.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Instant;

use xdp_common::packet::LinkType;

use crate::datapath::attached;
use crate::datapath::attached::attachment::LINK;
use crate::datapath::attached::attachments::Attachments;
use crate::datapath::attached::key::Key;
use crate::datapath::attached::namespace::Locked;
use crate::datapath::attached::pending::{self, Held, Pending};
use crate::datapath::attached::persisted::Persisted;
use crate::datapath::change::configured::{Configured, keep};
use crate::datapath::change::egress;
use crate::datapath::change::kernel::{self, BuildContext, PreparedKernel};
use crate::datapath::change::nic;
use crate::datapath::change::outcome::{Attached, Deferred};
use crate::datapath::change::pins::pin_all;
use crate::datapath::change::redirect_targets::{self};
use crate::datapath::change::refusal::{not_loaded, refusal};
use crate::datapath::error::{Context, Error, Result};
use crate::datapath::host::interface::{AttachedXdp, Interface, Mode};
use crate::datapath::host::replying;
use crate::datapath::maps::dynamic::Store;
use crate::datapath::maps::handles::Maps;
use crate::datapath::program::load;
use crate::datapath::sys::bpf;
use crate::image::services::Before;
use crate::notation::{took, word};

/// XDP_FLAGS_*, include/uapi/linux/if_link.h.
const SKB_MODE: u32 = 1 << 1;
const DRV_MODE: u32 = 1 << 2;

/// The mode that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The best one that the interface takes.
    Auto,
    Exactly(Mode),
}

/// Compiles a ruleset for an interface that is about to be attached, in the mode that is tried
/// first of those in the kernel; `None` where only offload mode is. Changes nothing, and needs no
/// lock.
pub fn prepare(
    interface: &Interface,
    configured: &Configured<'_>,
    wanted: Wanted,
) -> Result<Option<PreparedKernel>> {
    match modes(wanted, interface, interface.link_type()?, Vec::new())?.candidates.first() {
        None | Some(Mode::Offload) => Ok(None),
        Some(&mode) => compile(interface, configured, mode).map(Some),
    }
}

fn compile(
    interface: &Interface,
    configured: &Configured<'_>,
    mode: Mode,
) -> Result<PreparedKernel> {
    kernel::prepare(
        configured.ruleset,
        &BuildContext {
            interface: &interface.name,
            mode,
            link_type: interface.link_type()?,
            config: configured.path,
            loaded_from: configured.path,
            attached_at: kernel::now(),
            before: None,
            tables: Before::default(),
        },
    )
}

/// Attaches the program with a ruleset to an interface. `prepared` is what [`prepare`] made of that
/// ruleset for it. With `until`, in milliseconds since 1970, the attachment has to be confirmed
/// before that time, and ends when [`Attached::held`] is dropped.
pub fn attach(
    namespace: &Locked,
    attached: &Attachments,
    interface: &Interface,
    configured: &Configured<'_>,
    wanted: Wanted,
    prepared: Option<PreparedKernel>,
    until: Option<u64>,
) -> Result<Attached> {
    let name = &interface.name;
    let as_word = word(name);
    if attached.iter().any(|attachment| attachment.ifindex() == Some(interface.index)) {
        return Err(Error::new(format!("xdpctl is attached to {name} already")).hint(format!(
            "`xdpctl reload {as_word}` puts a changed configuration in force; `xdpctl attach \
             --replace {as_word}` exchanges the program too"
        )));
    }
    refuse_others(namespace, interface)?;
    let key = attached.free_key(interface.index);
    let link_type = interface.link_type()?;
    let modes = match in_offload(namespace, key, interface, configured, wanted, until.is_some())? {
        Offload::Attached(attached) => return Ok(*attached),
        Offload::Not(instead_of) => modes(wanted, interface, link_type, instead_of)?,
    };

    // Which mode to write into the metadata is known only once the kernel has taken it, so the
    // image may have to be compiled again.
    let mut prepared = match prepared {
        Some(prepared)
            if prepared.metadata.interface == *name
                && prepared.is_current(configured.ruleset, None)? =>
        {
            prepared
        }
        _ => compile(interface, configured, modes.candidates[0])?,
    };
    let standing = redirect_targets::targets(attached.iter());

    // What stands there is of an interface that is gone, or nothing.
    namespace.forget(key)?;
    let loaded = load::load_filter(link_type, prepared.needs()).map_err(not_loaded)?;
    let maps = Maps::of_loaded(&loaded).context("find the program's maps")?;
    let directory = namespace.create_directory(key)?;
    // Before the program sees a packet. An entry that cannot be put back is no reason to leave the
    // interface without a filter.
    let restored = restore(&maps, namespace.state_directory(key), name);
    let attach = || -> Result<Attached> {
        let mut deferred = Deferred::default();
        pin_all(&directory, &loaded, &maps)?;
        // Before the filter goes by it. Without it, replies are known by sockets alone.
        let mut at_egress = None;
        if egress::is_needed(prepared.needs()) {
            let index = interface.index;
            let put = match until {
                None => egress::provide(&directory, name, index, link_type, &maps),
                Some(_) => attached::egress::hold(&directory, index, link_type, &maps)
                    .and_then(|held| {
                        at_egress = held;
                        egress::room(&maps)
                    })
                    .map_err(|error| replying::by_sockets_alone(name, error)),
            };
            deferred.note(put);
        }
        let shown = namespace.shown(&directory);
        log::info!("pinned the program and its maps under {}", shown.display());
        let mut instead_of = modes.instead_of;
        let mut settled = None;
        let candidates = modes.candidates.len();
        for (nth, mode) in modes.candidates.into_iter().enumerate() {
            if prepared.metadata.mode != mode {
                prepared = compile(interface, configured, mode)?;
            }
            kernel::activate(&maps, &prepared, None)?;
            kernel::release(&maps)?;
            if mode == Mode::Native && settled.is_none() {
                let wanted = [standing.clone(), kernel::targets(&prepared)].concat();
                settled = Some(redirect_targets::reconcile_around(
                    namespace,
                    &wanted,
                    Some(interface.index),
                )?);
            }
            keep(namespace, key, configured, &prepared)?;
            redirect_targets::detach_pass_program(namespace, interface.index)?;
            // The link comes last: until it is pinned it ends with this process, and once it is
            // pinned everything that it needs is there.
            let program = loaded.program().context("open the loaded program")?;
            let begun = Instant::now();
            match bpf::create_xdp_link(program, interface.index, flags(mode)) {
                Ok(link) => {
                    let time = took(begun.elapsed());
                    log::info!("attached the program to {name} in {mode} mode in {time}");
                    let held = match until {
                        Some(until) => Some(hold(namespace, key, link, at_egress.take(), until)?),
                        None => {
                            bpf::pin(&link, &directory.join(LINK)).context("pin the link")?;
                            log::info!("pinned the link as {}", shown.join(LINK).display());
                            None
                        }
                    };
                    if mode != Mode::Native && settled.take().is_some() {
                        // The pass programs on its targets were for native mode.
                        redirect_targets::reconcile(namespace, &standing)?;
                    }
                    return Ok(Attached {
                        held,
                        mode,
                        instead_of,
                        generation: prepared.generation,
                        redirects: kernel::of_targets(&prepared, settled.unwrap_or_default()),
                        lost: Vec::new(),
                        restored: restored.clone(),
                        deferred,
                    });
                }
                Err(error) => {
                    let Error { message: why, hint, others } = refusal(interface, mode, &error);
                    if nth + 1 == candidates {
                        let message = format!("cannot attach to {name} in {mode} mode: {why}");
                        return Err(Error { message, hint, others });
                    }
                    instead_of.push((mode, why));
                }
            }
        }
        Err(Error::new(format!("there is no mode in which to attach to {name}")))
    };
    let result = attach();
    if result.is_err() {
        // Best effort: the next command would clean up as well.
        let _ = namespace.forget(key);
        let _ = redirect_targets::reconcile(namespace, &standing);
    }
    result
}

/// Puts back the run-time entries that outlive a restart.
fn restore(maps: &Maps, state: PathBuf, interface: &str) -> Result<u64> {
    let kept = Persisted::read(interface)?;
    if kept.is_empty() {
        return Ok(0);
    }
    let restored = kept.restore(&mut Store::on(maps, state)?)?;
    // Writes the file again, without the entries that have ended meanwhile.
    kept.write()?;
    Ok(restored)
}

/// Leaves the link without a pin, and notes its id, by which other commands find it.
fn hold(
    namespace: &Locked,
    key: Key,
    link: OwnedFd,
    egress: Option<OwnedFd>,
    until: u64,
) -> Result<Held> {
    let link_id = bpf::link_info(&link).context("look at the link")?.id;
    let state = namespace.state_directory(key);
    pending::write(&state, &Pending { link_id, until })?;
    Ok(Held { key, link_id, state, link, egress })
}

/// Refuses an interface that carries another program: its place is not ours to take.
fn refuse_others(namespace: &Locked, interface: &Interface) -> Result<()> {
    for xdp in &interface.xdp {
        if redirect_targets::is_ours(namespace, interface.index, xdp.program_id)? {
            continue;
        }
        let name = &interface.name;
        let AttachedXdp { mode, program_id } = xdp;
        let program = bpf::program_by_id(*program_id)
            .and_then(bpf::program_info)
            .map_or_else(|_| "a program".to_owned(), |info| format!("\"{}\"", info.name));
        return Err(Error::new(format!(
            "{name} carries another XDP program: {program} (id {program_id}, {mode} mode)"
        ))
        .hint(format!(
            "whoever put it there should take it off; `ip link set dev {} xdp off` does where it \
             was attached without a link (`bpftool net`, `bpftool link` show it)",
            word(name)
        )));
    }
    Ok(())
}

/// Modes to try, in order, and those that are not worth trying, with the reason.
struct Modes {
    candidates: Vec<Mode>,
    instead_of: Vec<(Mode, String)>,
}

fn modes(
    wanted: Wanted,
    interface: &Interface,
    link_type: LinkType,
    mut instead_of: Vec<(Mode, String)>,
) -> Result<Modes> {
    let name = &interface.name;
    let as_word = word(name);
    // What a driver hands over in native mode is not known.
    let why = "its packets have no link layer header, and only generic mode is known to hand them \
               over from IP on";
    let candidates = match (link_type, wanted) {
        (LinkType::Raw, Wanted::Exactly(Mode::Native)) => {
            return Err(Error::new(format!("cannot attach to {name} in native mode: {why}"))
                .hint(format!("`xdpctl attach {as_word} --mode generic`")));
        }
        (LinkType::Raw, Wanted::Auto) => {
            instead_of.push((Mode::Native, why.to_owned()));
            vec![Mode::Generic]
        }
        (_, Wanted::Exactly(mode)) => vec![mode],
        (LinkType::Ethernet, Wanted::Auto) => vec![Mode::Native, Mode::Generic],
    };
    Ok(Modes { candidates, instead_of })
}

/// What came of offload mode.
enum Offload {
    Attached(Box<Attached>),
    /// Why not, where it was tried.
    Not(Vec<(Mode, String)>),
}

/// Attaches in offload mode where that is asked for, or can be had.
fn in_offload(
    namespace: &Locked,
    key: Key,
    interface: &Interface,
    configured: &Configured<'_>,
    wanted: Wanted,
    to_confirm: bool,
) -> Result<Offload> {
    if !matches!(wanted, Wanted::Auto | Wanted::Exactly(Mode::Offload)) {
        return Ok(Offload::Not(Vec::new()));
    }
    if to_confirm && wanted == Wanted::Exactly(Mode::Offload) {
        let name = &interface.name;
        let told = format!("what is on the NIC of {name} cannot wait to be confirmed");
        return Err(Error::new(told).hint("omit `--confirm`, or `--mode native`"));
    }
    if to_confirm {
        return Ok(Offload::Not(Vec::new()));
    }
    match (nic::attach(namespace, key, interface, configured), wanted) {
        (Ok(attached), _) => Ok(Offload::Attached(Box::new(attached))),
        // Of what hardly any device can, it is no news that this one cannot.
        (Err(_), Wanted::Auto) if !nic::is_able(interface) => Ok(Offload::Not(Vec::new())),
        (Err(error), Wanted::Auto) => Ok(Offload::Not(vec![(Mode::Offload, error.message)])),
        (Err(error), Wanted::Exactly(_)) => {
            let name = &interface.name;
            let message = format!("cannot attach to {name} in offload mode: {}", error.message);
            Err(Error { message, ..error })
        }
    }
}

fn flags(mode: Mode) -> u32 {
    match mode {
        Mode::Generic => SKB_MODE,
        // Offload mode does not come here: `nic::attach` has its own flag.
        Mode::Native | Mode::Offload => DRV_MODE,
    }
}
