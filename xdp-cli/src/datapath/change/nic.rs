//! Offload mode: the part of the filter that a NIC can run by itself.
//!
//! It is attached as in the other modes: a pinned link is the truth, pinned last and removed first
//! (see `attach` and `detach`). What differs is behind the link: another program
//! (xdp-ebpf/src/offload.rs) with maps on the NIC, of which two banks take turns, as two images do
//! elsewhere.
//!
//! A reload fills the bank that is not in force, then writes the selector. A command that is killed
//! in between leaves a bank that the program does not look at, and the next reload fills it anew.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use xdp_common::packet::LinkType;

use crate::datapath::attached::nic::{
    self as nic, Count, Kept, Nic, capacity, clear, counters, create_state, fill, keep, of_list,
    select,
};
use crate::datapath::program::nic::{self as load, LoadError, Loaded, MAPS, NicMaps};

use crate::datapath::attached::attachment::{Attachment, LINK, PROGRAM};
use crate::datapath::attached::in_force::InForce;
use crate::datapath::attached::kept_ruleset;
use crate::datapath::attached::key::Key;
use crate::datapath::attached::namespace::Locked;
use crate::datapath::change::configured::{Configured, keep_ruleset};
use crate::datapath::change::kernel::{self, BuildContext};
use crate::datapath::change::outcome::{Attached, Deferred, Reloaded};
use crate::datapath::error::{Context, Error, Result};
use crate::datapath::host::interface::{Interface, Mode, xdp_feature};
use crate::datapath::sys::bpf;
use crate::image::counters::{self as numbers, Assignment};
use crate::image::domains::Seed;
use crate::image::metadata::Metadata;
use crate::image::nic::{self as tables, NicTables, Unfit};
use crate::image::services::Before;
use crate::notation::{counted, grouped, word};
use crate::ruleset::Ruleset;

/// XDP_FLAGS_HW_MODE, include/uapi/linux/if_link.h.
const HW_MODE: u32 = 1 << 3;

/// Longer than any packet is on its way through a NIC. A NIC does not say when the last packet that
/// saw the old bank is through, and the next reload writes to that bank.
const IN_FLIGHT: Duration = Duration::from_millis(10);

/// A ruleset for a NIC.
pub struct PreparedNic {
    tables: NicTables,
    metadata: Metadata,
    generation: u64,
    fresh: Vec<u32>,
}

/// Whether the interface's NIC runs programs; the error says why it does not.
pub fn offered(interface: &Interface) -> std::result::Result<(), String> {
    if interface.link_type().map_err(|error| error.message)? != LinkType::Ethernet {
        return Err("its frames have no Ethernet headers, which the NIC's program reads".to_owned());
    }
    if is_able(interface) { Ok(()) } else { Err("the device does not offer it".to_owned()) }
}

/// Whether the device can run programs at all.
pub fn is_able(interface: &Interface) -> bool {
    interface
        .has_xdp_feature(xdp_feature::HW_OFFLOAD)
        .unwrap_or_else(|| load::takes_maps(interface.index))
}

/// Attaches the program with a ruleset to an interface's NIC.
pub fn attach(
    namespace: &Locked,
    key: Key,
    interface: &Interface,
    configured: &Configured<'_>,
) -> Result<Attached> {
    let context = BuildContext {
        interface: &interface.name,
        mode: Mode::Offload,
        link_type: LinkType::Ethernet,
        config: configured.path,
        loaded_from: configured.path,
        attached_at: kernel::now(),
        before: None,
        tables: Before::default(),
    };
    let native = "native mode takes them: `--mode native`, or omit `--mode`";
    offered(interface).map_err(|why| Error::new(why).hint("`--mode native`, or omit `--mode`"))?;
    let prepared = compile(configured.ruleset, &context)
        .map_err(|unfit| Error::new(unfit.to_string()).hint(native))?;

    // What stands there is of an interface that is gone, or nothing.
    namespace.forget(key)?;
    let attach = || -> Result<Attached> {
        let loaded = load::load(interface.index, prepared.tables.largest()).map_err(not_loaded)?;
        has_room(&prepared.tables, loaded.capacity).map_err(|error| error.hint(native))?;
        let state = create_state().context("make a map for what is known of the NIC")?;
        let directory = namespace.create_directory(key)?;
        pin_all(&directory, &loaded, &state)?;
        // Before the program counts: a device may hand out memory that it has used before.
        clear(&loaded.maps).context("clear the NIC's counters")?;
        let begun = vec![Count::default(); prepared.metadata.counted.len()];
        activate(namespace, key, configured, &loaded.maps, &state, &prepared, begun)?;
        // The link comes last: until it is pinned it ends with this process, and once it is pinned
        // everything that it needs is there.
        let link =
            bpf::create_xdp_link(&loaded.program, interface.index, HW_MODE).map_err(|error| {
                Error::new(format!("the device does not take the program into service: {error}"))
                    .hint("`dmesg` may say why; or `--mode native`, or omit `--mode`")
            })?;
        bpf::pin(&link, &directory.join(LINK)).context("pin the link")?;
        Ok(Attached {
            held: None,
            mode: Mode::Offload,
            instead_of: Vec::new(),
            generation: prepared.generation,
            redirects: Vec::new(),
            lost: Vec::new(),
            restored: Ok(0),
            deferred: Deferred::default(),
        })
    };
    let result = attach();
    if result.is_err() {
        // Best effort: the next command would clean up as well.
        let _ = namespace.forget(key);
    }
    result
}

/// Compiles another ruleset for a NIC. Changes nothing.
pub fn prepare(
    attachment: &Attachment,
    nic: &Nic,
    ruleset: &Ruleset,
    context: &BuildContext<'_>,
) -> Result<PreparedNic> {
    let name = attachment.name();
    let as_word = word(&name);
    let refused = |error: Error| {
        Error::new(format!("cannot reload {name} in offload mode: {}", error.message)).hint(format!(
            "native mode takes it: `xdpctl detach {as_word}`, then `xdpctl attach {as_word} --mode native`"
        ))
    };
    let prepared =
        compile(ruleset, context).map_err(|unfit| refused(Error::new(unfit.to_string())))?;
    let (maps, _) = nic.readable().ok_or_else(|| attachment.unreadable())?;
    let capacity = capacity(maps).context("look at the NIC's maps")?;
    has_room(&prepared.tables, capacity).map_err(refused)?;
    Ok(prepared)
}

/// Puts another ruleset in force. `prepared` was made of it, and nothing has changed since.
pub fn reload(
    namespace: &Locked,
    attachment: &Attachment,
    nic: &Nic,
    configured: &Configured<'_>,
    prepared: &PreparedNic,
) -> Result<Reloaded> {
    let (maps, before) = nic.readable().ok_or_else(|| attachment.unreadable())?;
    let key = attachment.key();
    let begun = begun(maps, before, prepared)?;
    activate(namespace, key, configured, maps, nic.state(), prepared, begun)?;
    std::thread::sleep(IN_FLIGHT);
    kept_ruleset::keep_only(&namespace.state_directory(key), prepared.generation);
    Ok(Reloaded {
        tried: None,
        generation: prepared.generation,
        redirects: Vec::new(),
        deferred: Deferred::default(),
    })
}

fn compile(
    ruleset: &Ruleset,
    context: &BuildContext<'_>,
) -> std::result::Result<PreparedNic, Unfit> {
    // First: a ruleset that does not fit may have more lists than there are counters.
    tables::fits(ruleset)?;
    let before = context.before.map_or(&[][..], |before| &before.metadata.counted);
    let Assignment { counted, fresh, .. } = numbers::assign(ruleset, before, &[]);
    let tables = tables::compile(ruleset, &counted)?;
    let metadata = Metadata {
        interface: context.interface.to_owned(),
        mode: Mode::Offload,
        config: context.config.to_owned(),
        loaded_from: context.loaded_from.to_owned(),
        attached_at: context.attached_at,
        loaded_at: kernel::now(),
        counted,
        redirects: Vec::new(),
        vlan_rules: false,
        mtu: 0,
        own: Vec::new(),
        next_hops: Vec::new(),
        takers: Vec::new(),
        connection_lines: 0,
        reply_ports: Vec::new(),
        passes_replies: false,
        replies_by_port: false,
        is_checked: false,
        backends: Vec::new(),
        seed: Seed::default(),
    };
    let generation = context.before.map_or(1, |before: &InForce| before.generation + 1);
    Ok(PreparedNic { tables, metadata, generation, fresh })
}

fn has_room(tables: &NicTables, capacity: usize) -> Result<()> {
    let (needed, most) = (tables.largest(), capacity);
    if needed <= most {
        return Ok(());
    }
    Err(Error::new(format!(
        "the NIC has room for {} of a family, and the ruleset has {}",
        counted(most as u64, "address"),
        grouped(needed as u64)
    )))
}

/// What each counter stood at when it was assigned to its list, for nobody but the program writes
/// counters, and so nobody can zero one. Those that are assigned now belong to no list of the
/// ruleset in force, so they stand still while they are read.
fn begun(maps: &NicMaps, before: &Kept, prepared: &PreparedNic) -> Result<Vec<Count>> {
    let now = counters(maps).context("read the NIC's counters")?;
    let of_number = |number| {
        let counted = before.metadata.counted.iter().zip(&before.begun);
        counted.into_iter().find(|(counted, _)| counted.number == number).map(|(_, begun)| *begun)
    };
    let counted = prepared.metadata.counted.iter().map(|counted| {
        let kept = of_number(counted.number).filter(|_| !prepared.fresh.contains(&counted.number));
        kept.unwrap_or_else(|| of_list(&now, counted.number))
    });
    Ok(counted.collect())
}

fn activate(
    namespace: &Locked,
    key: Key,
    configured: &Configured<'_>,
    maps: &NicMaps,
    state: &OwnedFd,
    prepared: &PreparedNic,
    begun: Vec<Count>,
) -> Result<()> {
    let PreparedNic { tables, metadata, generation, .. } = prepared;
    fill(maps, *generation, tables).context("write the NIC's maps")?;
    let loaded_at = metadata.loaded_at;
    keep_ruleset(namespace, key, configured, loaded_at, *generation)?;
    let kept = Kept { generation: *generation, metadata: metadata.clone(), begun };
    keep(state, &kept).context("write down what the NIC has")?;
    select(maps, *generation, tables).context("put the ruleset in force")
}

/// Pins the program, its maps, and what is known of them.
fn pin_all(directory: &std::path::Path, loaded: &Loaded, state: &OwnedFd) -> Result<()> {
    let objects = MAPS.into_iter().zip(loaded.maps.all());
    let objects = objects.chain([(PROGRAM, &loaded.program), (nic::STATE, state)]);
    let mut pins =
        objects.map(|(name, object)| -> (PathBuf, &OwnedFd) { (directory.join(name), object) });
    pins.try_for_each(|(path, object)| bpf::pin(object, &path))
        .context("pin the program and its maps")
}

fn not_loaded(error: LoadError) -> Error {
    let told = Error::new(error.to_string());
    match error {
        LoadError::Program { .. } => told.hint(
            "`xdpctl -vv attach …` shows the verifier's log; or `--mode native`, or omit `--mode`",
        ),
        _ => told.hint("`--mode native`, or omit `--mode`"),
    }
}
