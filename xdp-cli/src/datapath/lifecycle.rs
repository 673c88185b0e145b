//! Attaching, exchanging and detaching: each step in the order that leaves, wherever it is cut
//! off, either what was or what was asked for.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use super::attachment::{Attachment, Found, LINK, PROGRAM};
use super::bans::Store;
use super::error::{Error, Result, Trying};
use super::interface::{AttachedXdp, Interface, Mode};
use super::maps::Maps;
use super::namespace::{self, Locked};
use super::pass::Outcome;
use super::program::{self, LoadError, Loaded};
use super::snapshot;
use super::swap::{self, Occasion, Prepared};
use super::{bpf, offload, pass};
use crate::ruleset::Ruleset;

/// XDP_FLAGS_*, include/uapi/linux/if_link.h.
const SKB_MODE: u32 = 1 << 1;
const DRV_MODE: u32 = 1 << 2;

/// The mode that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The best that can be had.
    Auto,
    Exactly(Mode),
}

/// A configuration that was read, and what it came to.
pub struct Configured<'a> {
    /// Absolute.
    pub path: &'a Path,
    pub text: &'a str,
    pub ruleset: &'a Ruleset,
}

/// What attaching came to.
pub struct Attached {
    pub mode: Mode,
    /// Better modes, and why they could not be had.
    pub instead_of: Vec<(Mode, String)>,
    pub generation: u64,
    pub redirects: Vec<Outcome>,
    pub undone: Undone,
}

/// What a reload came to.
pub struct Reloaded {
    pub generation: u64,
    pub redirects: Vec<Outcome>,
    pub undone: Undone,
}

/// What could not be done after the ruleset was in force. Nothing of it has to do with how packets
/// are judged, it cannot be taken back, and the next reload does it: so it is no failure.
#[derive(Debug, Default)]
pub struct Undone(pub Vec<Error>);

impl Undone {
    /// Keeps the error, if it is one.
    fn note<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.0.push(error)).ok()
    }
}

/// Removes what an interrupted command left. Each command that changes something begins with it.
pub fn tidy(namespace: &Locked) -> Result<()> {
    namespace.clean_up()?;
    pass::settle(namespace, &[]).map(drop)
}

/// Attaches the program with a ruleset to an interface.
pub fn attach(
    namespace: &Locked,
    interface: &Interface,
    configured: &Configured<'_>,
    wanted: Wanted,
) -> Result<Attached> {
    let name = &interface.name;
    if namespace.attachment(name)?.is_some_and(|a| a.ifindex() == Some(interface.index)) {
        return Err(Error::new(format!("xdpctl is attached to {name} already")).hint(format!(
            "`xdpctl reload {name}` puts a changed configuration in force; `xdpctl attach \
             --replace {name}` exchanges the program too"
        )));
    }
    refuse_others(namespace, interface)?;
    let modes = match in_offload(namespace, interface, configured, wanted)? {
        Offload::Attached(attached) => return Ok(attached),
        Offload::Not(instead_of) => modes(wanted, instead_of),
    };

    // Compiled before anything is touched: a ruleset that does not fit fails here. The mode in the
    // metadata is known only once the kernel took it, so the image may be compiled again.
    let compile = |mode| {
        swap::prepare(
            configured.ruleset,
            &Occasion {
                interface: name,
                mode,
                config: configured.path,
                loaded_from: configured.path,
                attached_at: swap::now(),
                before: None,
            },
        )
    };
    let mut prepared = compile(modes.candidates[0])?;

    // What stands there under this index is of an interface that is gone, or nothing.
    namespace.forget(interface.index)?;
    let loaded = program::load_filter().map_err(not_loaded)?;
    let maps = Maps::of_loaded(&loaded).trying("find the program's maps")?;
    let directory = namespace.create_directory(interface.index)?;
    let attach = || -> Result<Attached> {
        pin_all(&directory, &loaded, &maps)?;
        let mut instead_of = modes.instead_of;
        let mut settled = None;
        let candidates = modes.candidates.len();
        for (nth, mode) in modes.candidates.into_iter().enumerate() {
            if prepared.metadata.mode != mode {
                prepared = compile(mode)?;
            }
            swap::put_in_force(&maps, &prepared)?.give_back(&maps)?;
            if mode == Mode::Native && settled.is_none() {
                let coming = targets(&prepared);
                settled = Some(pass::settle_around(namespace, &coming, Some(interface.index))?);
            }
            keep(namespace, interface.index, configured, &prepared)?;
            pass::make_room(namespace, interface.index)?;
            // The link is the last thing: until it is pinned it ends with this process, and from
            // then on everything that it needs is there.
            let program = loaded.program().trying("open the loaded program")?;
            match bpf::create_xdp_link(program, interface.index, flags(mode)) {
                Ok(link) => {
                    bpf::pin(&link, &directory.join(LINK)).trying("pin the link")?;
                    if mode != Mode::Native && settled.take().is_some() {
                        // What was put on its targets was for native mode.
                        pass::settle(namespace, &[])?;
                    }
                    return Ok(Attached {
                        mode,
                        instead_of,
                        generation: prepared.generation,
                        redirects: of_targets(&prepared, settled.unwrap_or_default()),
                        undone: Undone::default(),
                    });
                }
                Err(error) => {
                    let Error { message: why, hint } = refusal(interface, mode, &error);
                    if nth + 1 == candidates {
                        let message = format!("cannot attach to {name} in {mode} mode: {why}");
                        return Err(Error { message, hint });
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
        let _ = namespace.forget(interface.index);
        let _ = pass::settle(namespace, &[]);
    }
    result
}

/// Puts another ruleset in force on an attached interface. `prepared` was made for it under the
/// same lock. Entries added at run time stay as they are, but for those that have ended.
pub fn reload(
    namespace: &Locked,
    attachment: &Attachment,
    configured: &Configured<'_>,
    prepared: &Prepared,
) -> Result<Reloaded> {
    let (maps, before) = attachment.readable()?;
    let coming = if before.metadata.mode == Mode::Native { targets(prepared) } else { Vec::new() };
    if !coming.is_empty() {
        pass::settle(namespace, &coming)?;
    }
    keep(namespace, attachment.key(), configured, prepared)?;
    let exchanged = swap::put_in_force(maps, prepared)?;
    let mut undone = Undone::default();
    undone.note(exchanged.give_back(maps));
    snapshot::keep_only(&namespace.state_directory(attachment.key()), prepared.generation);
    undone.note(
        swap::drop_unused_counters(maps, &prepared.metadata)
            .trying("give back counters that are not used any more"),
    );
    undone.note(repair_pins(attachment));
    undone.note(Store::open(namespace, attachment));
    let settled = undone.note(pass::settle(namespace, &[])).unwrap_or_default();
    let redirects = of_targets(prepared, settled);
    Ok(Reloaded { generation: prepared.generation, redirects, undone })
}

/// Puts this version's program, with a ruleset, in the place of the one that is attached, in the
/// same link: no packet goes by without a program. Counters and entries added at run time are kept
/// where their layout is this version's.
pub fn replace(
    namespace: &Locked,
    attachment: &Attachment,
    interface: &Interface,
    configured: &Configured<'_>,
    mode: Mode,
) -> Result<Attached> {
    if mode == Mode::Offload {
        let name = &interface.name;
        return Err(Error::new(format!(
            "the program on {name} is on its card, where it cannot be exchanged with its maps"
        ))
        .hint(format!("`xdpctl detach {name}`, then attach")));
    }
    let before = attachment.in_force();
    let attached_at = before.map_or_else(swap::now, |before| before.metadata.attached_at);
    let occasion = Occasion {
        interface: &interface.name,
        mode,
        config: configured.path,
        loaded_from: configured.path,
        attached_at,
        before,
    };
    let prepared = swap::prepare(configured.ruleset, &occasion)?;
    repair_pins(attachment)?;
    let kept = before.is_some().then(|| attachment.directory());
    let loaded = program::load_filter_on(kept).map_err(not_loaded)?;
    let maps = Maps::of_loaded(&loaded).trying("find the program's maps")?;
    if mode == Mode::Native {
        pass::settle(namespace, &targets(&prepared))?;
    }
    keep(namespace, attachment.key(), configured, &prepared)?;
    swap::put_in_force(&maps, &prepared)?.give_back(&maps)?;
    let program = loaded.program().trying("open the loaded program")?;
    bpf::update_link(attachment.link(), program).trying("exchange the program")?;
    // From here on the new program runs. Pins that still name the old one's maps are put right
    // here or, if this is cut off, by the next command.
    let mut undone = Undone::default();
    if let Some(found) = undone.note(Attachment::open(attachment.directory())) {
        undone.note(match found {
            Found::Attached(attachment) => repair_pins(&attachment),
            Found::Leftover => Err(Error::new("the link's pin is gone")),
        });
    }
    snapshot::keep_only(&namespace.state_directory(attachment.key()), prepared.generation);
    let settled = undone.note(pass::settle(namespace, &[])).unwrap_or_default();
    let redirects = of_targets(&prepared, settled);
    let generation = prepared.generation;
    Ok(Attached { mode, instead_of: Vec::new(), generation, redirects, undone })
}

/// Takes the program off and removes everything that belongs to it.
pub fn detach(namespace: &Locked, attachment: &Attachment) -> Result<()> {
    // The link's pin first: the link is held by this process alone then, and ends with it wherever
    // it is cut off. A link that is pinned and on no interface would look as if that were gone.
    namespace::remove(&attachment.directory().join(LINK)).trying("remove the link's pin")?;
    // At once, and not when the last descriptor of the link is closed: another process may hold
    // one. An interface that is gone has nothing to detach.
    if attachment.ifindex().is_some()
        && let Err(error) = bpf::detach_link(attachment.link())
    {
        // It judges packets until this process ends: with its pin, it goes on.
        let again = bpf::pin(attachment.link(), &attachment.directory().join(LINK));
        again.trying("detach the program, nor put its pin back")?;
        return Err(error).trying("detach the program");
    }
    let rest = namespace.forget(attachment.key()).and_then(|()| pass::settle(namespace, &[]));
    rest.map(drop).map_err(|error| {
        let name = attachment.name();
        let message = format!("detached from {name}, but {}", error.message);
        Error { message, ..error }.hint("the next xdpctl command removes what is left")
    })
}

fn targets(prepared: &Prepared) -> Vec<u32> {
    prepared.metadata.redirects.iter().filter_map(|redirect| redirect.ifindex).collect()
}

/// What became of a ruleset's own targets: other interfaces' rulesets have theirs.
fn of_targets(prepared: &Prepared, mut outcomes: Vec<Outcome>) -> Vec<Outcome> {
    let targets = targets(prepared);
    outcomes.retain(|outcome| targets.contains(&outcome.target.index));
    outcomes
}

fn keep(
    namespace: &Locked,
    key: u32,
    configured: &Configured<'_>,
    prepared: &Prepared,
) -> Result<()> {
    keep_ruleset(namespace, key, configured, prepared.metadata.loaded_at, prepared.generation)
}

/// Keeps a ruleset that is about to be put in force beside the pins.
pub(super) fn keep_ruleset(
    namespace: &Locked,
    key: u32,
    configured: &Configured<'_>,
    loaded_at: u64,
    generation: u64,
) -> Result<()> {
    let Configured { text, ruleset, .. } = *configured;
    let snapshot = snapshot::Borrowed { loaded_at, text, ruleset };
    snapshot::write(&namespace.state_directory(key), generation, &snapshot)
}

/// Pins the program and its maps.
fn pin_all(directory: &Path, loaded: &Loaded, maps: &Maps) -> Result<()> {
    let pin = || -> io::Result<()> {
        bpf::pin(loaded.program()?, &directory.join(PROGRAM))?;
        for (map, handle) in maps.iter() {
            bpf::pin(handle, &directory.join(map.name()))?;
        }
        Ok(())
    };
    pin().trying("pin the program and its maps")
}

/// Makes the pins of the program and its maps what the link says, where a person or an interrupted
/// exchange left them otherwise.
pub fn repair_pins(attachment: &Attachment) -> Result<()> {
    let (maps, _) = match attachment.readable() {
        Ok(readable) => readable,
        // Another version's: its pins are not ours to judge.
        Err(_) => return Ok(()),
    };
    let directory = attachment.directory();
    let same_map = |map: &OwnedFd, pinned: &OwnedFd| -> io::Result<bool> {
        Ok(bpf::map_info(map)?.id == bpf::map_info(pinned)?.id)
    };
    let repair =
        || -> io::Result<()> {
            let program = bpf::program_by_id(attachment.program_id())?;
            let id = attachment.program_id();
            repin(&directory.join(PROGRAM), &program, |pinned| {
                Ok(bpf::program_info(pinned)?.id == id)
            })?;
            for (map, handle) in maps.iter() {
                repin(&directory.join(map.name()), handle, |pinned| same_map(handle, pinned))?;
            }
            Ok(())
        };
    repair().trying("put the pins right")
}

fn repin(
    path: &Path,
    object: impl AsFd,
    is_same: impl Fn(&OwnedFd) -> io::Result<bool>,
) -> io::Result<()> {
    if let Ok(pinned) = bpf::open_pin(path)
        && is_same(&pinned).unwrap_or(false)
    {
        return Ok(());
    }
    namespace::remove(path)?;
    bpf::pin(object, path)
}

/// Another program's place is not ours to take.
fn refuse_others(namespace: &Locked, interface: &Interface) -> Result<()> {
    for xdp in &interface.xdp {
        if pass::is_ours(namespace, interface.index, xdp.program_id)? {
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
            "whoever put it there should take it off; `ip link set dev {name} xdp off` does where \
             it was attached without a link (`bpftool net`, `bpftool link` show it)"
        )));
    }
    Ok(())
}

/// Modes to try, in order, and those that are not worth trying.
struct Modes {
    candidates: Vec<Mode>,
    instead_of: Vec<(Mode, String)>,
}

fn modes(wanted: Wanted, instead_of: Vec<(Mode, String)>) -> Modes {
    let candidates = match wanted {
        Wanted::Exactly(mode) => vec![mode],
        Wanted::Auto => vec![Mode::Native, Mode::Generic],
    };
    Modes { candidates, instead_of }
}

/// What came of offload mode.
enum Offload {
    Attached(Attached),
    /// Why not, where it was tried.
    Not(Vec<(Mode, String)>),
}

/// Attaches in offload mode where that is asked for, or can be had.
fn in_offload(
    namespace: &Locked,
    interface: &Interface,
    configured: &Configured<'_>,
    wanted: Wanted,
) -> Result<Offload> {
    if !matches!(wanted, Wanted::Auto | Wanted::Exactly(Mode::Offload)) {
        return Ok(Offload::Not(Vec::new()));
    }
    match (offload::attach(namespace, interface, configured), wanted) {
        (Ok(attached), _) => Ok(Offload::Attached(attached)),
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
        // Offload mode is attached in a way of its own.
        Mode::Native | Mode::Offload => DRV_MODE,
    }
}

/// Why the kernel did not attach, as far as its errno and the interface tell (net/core/dev.c,
/// dev_xdp_attach and dev_xdp_install, and the drivers' ndo_bpf).
fn refusal(interface: &Interface, mode: Mode, error: &io::Error) -> Error {
    let name = &interface.name;
    let told = |why: String| Error::new(why);
    let generic = format!("`xdpctl attach {name} --mode generic` works with every driver, slower");
    if mode == Mode::Native && interface.lro {
        return told("large receive offload is on, and merges frames before XDP sees them".into())
            .hint(format!("`ethtool -K {name} lro off`"));
    }
    match error.raw_os_error() {
        Some(libc::EOPNOTSUPP) if mode == Mode::Native => {
            let driver = match &interface.driver {
                Some(driver) => format!("its driver ({driver})"),
                None => "its driver".to_owned(),
            };
            told(format!("{driver} has no native XDP, or not in this configuration")).hint(generic)
        }
        Some(libc::ERANGE | libc::EINVAL | libc::EFBIG | libc::EMSGSIZE)
            if mode == Mode::Native && interface.mtu > 1500 =>
        {
            told(format!("its MTU of {} is too large for the driver's XDP", interface.mtu))
                .hint(format!("`ip link set {name} mtu 1500`; or {generic}"))
        }
        Some(libc::EBUSY | libc::EEXIST) => {
            told("another XDP program was put there in this moment".into())
                .hint("`ip -details link` shows it")
        }
        Some(libc::EINVAL) => told(
            "the driver does not take an XDP program in the interface's present configuration"
                .into(),
        )
        .hint(format!("`dmesg` may say why (queues, rings, features); or {generic}")),
        Some(libc::ENOSPC) if interface.kind.as_deref() == Some("veth") => {
            told("a veth needs a receive queue for each transmit queue of its peer".into())
                .hint(format!("`ethtool -L {name} rx N`, or `ethtool -L PEER tx N`; or {generic}"))
        }
        Some(libc::ENOMEM | libc::ENOSPC) => told(format!(
            "the driver has not enough queues or memory for it ({error})"
        ))
        .hint(format!("fewer queues leave room for XDP's (`ethtool -L {name}`); or {generic}")),
        Some(libc::EPERM) => told("not permitted".into()).hint("run as root: `sudo xdpctl …`"),
        Some(libc::ENODEV) => told("the interface is gone".into()),
        _ => told(error.to_string()),
    }
}

fn not_loaded(error: LoadError) -> Error {
    let told = Error::new(error.to_string());
    match error {
        LoadError::Verifier(_) => told.hint(
            "that should not happen: please report it with the kernel's version and the output of \
             `xdpctl -v attach …`, which has the verifier's log",
        ),
        LoadError::Other(_) => told.hint("`xdpctl -v attach …` says more"),
    }
}
