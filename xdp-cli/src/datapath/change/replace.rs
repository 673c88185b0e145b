//! Exchanging the attached program for this version's.

use std::path::Path;

use xdp_common::maps::{Map, OnReplace};

use crate::datapath::attached;
use crate::datapath::attached::attachment::{Attachment, Found};
use crate::datapath::attached::attachments::Attachments;
use crate::datapath::attached::kept_ruleset;
use crate::datapath::attached::namespace::Locked;
use crate::datapath::change::configured::{Configured, keep};
use crate::datapath::change::egress;
use crate::datapath::change::kernel::{self, BuildContext, PreparedKernel};
use crate::datapath::change::next_hops;
use crate::datapath::change::outcome::{Attached, Deferred};
use crate::datapath::change::pins::{forget_next_stages, pin_next_stages, repair_pins};
use crate::datapath::change::redirect_targets::{self};
use crate::datapath::change::refusal::not_loaded;
use crate::datapath::error::{Context, Error, Result};
use crate::datapath::host::carriers::Carriers;
use crate::datapath::host::interface::{Interface, Mode};
use crate::datapath::host::replying;
use crate::datapath::maps::handles::Maps;
use crate::datapath::program::error::LoadError;
use crate::datapath::program::load::{self, Loaded};
use crate::datapath::sys::bpf;
use crate::image::services::Before;
use crate::notation::word;

/// Compiles a ruleset for what is attached, in the mode in which it is. Changes nothing, and needs no
/// lock.
pub fn prepare(
    attachment: &Attachment,
    interface: &Interface,
    configured: &Configured<'_>,
    mode: Mode,
) -> Result<PreparedKernel> {
    if mode == Mode::Offload {
        let name = &interface.name;
        let as_word = word(name);
        return Err(Error::new(format!(
            "the program on {name} is on its NIC, where it cannot be exchanged with its maps"
        ))
        .hint(format!("`xdpctl detach {as_word}`, then attach")));
    }
    let link_type = interface.link_type()?;
    if let Some(error) = attachment.on_trial() {
        return Err(error);
    }
    let before = attachment.in_force();
    let attached_at = before.map_or_else(kernel::now, |before| before.metadata.attached_at);
    let tables = match (before, attachment.readable()) {
        (Some(before), Ok((maps, _))) => kernel::tables_in_force(maps, before)?,
        _ => Before::default(),
    };
    let context = BuildContext {
        interface: &interface.name,
        mode,
        link_type,
        config: configured.path,
        loaded_from: configured.path,
        attached_at,
        before,
        tables,
    };
    kernel::prepare(configured.ruleset, &context)
}

/// Puts this version's program, with a ruleset, in the place of the one that is attached, in the
/// same link: no packet goes by without a program. Counters are kept where they have this version's
/// layout, entries added at run time where their maps have it; [`Attached::lost`] says what is not
/// kept. `None` where something has changed since it was prepared: `before` is the attachment as it
/// was then.
pub fn replace(
    namespace: &Locked,
    attached: &Attachments,
    before: &Attachment,
    configured: &Configured<'_>,
    prepared: &PreparedKernel,
) -> Result<Option<Attached>> {
    let unchanged = attached.get(before.key()).filter(|attachment| attachment.is_as(before));
    let Some(attachment) = unchanged else { return Ok(None) };
    if !prepared.is_current(configured.ruleset, attachment.in_force())? {
        return Ok(None);
    }
    let mode = prepared.metadata.mode;
    let others = attached.iter().filter(|other| other.key() != attachment.key());
    let targets = if mode == Mode::Native { kernel::targets(prepared) } else { Vec::new() };
    let after = [redirect_targets::targets(others), targets].concat();
    let until_then = [redirect_targets::targets([attachment]), after.clone()].concat();
    repair_pins(attachment)?;
    let (loaded, lost) = load_on(attachment, prepared).map_err(not_loaded)?;
    let maps = Maps::of_loaded(&loaded).context("find the program's maps")?;
    if mode == Mode::Native {
        redirect_targets::reconcile(namespace, &until_then)?;
    }
    keep(namespace, attachment.key(), configured, prepared)?;
    kernel::activate(&maps, prepared, None)?;
    kernel::release(&maps)?;
    let program = loaded.program().context("open the loaded program")?;
    pin_next_stages(attachment.directory(), &maps)?;
    let exchanged = attachment
        .link()
        .and_then(|link| bpf::update_link(link, program).context("exchange the program"));
    if exchanged.is_err() {
        forget_next_stages(attachment.directory());
    }
    exchanged?;
    log::info!("exchanged the program in the link of {}", attachment.name());
    // From here on the new program runs. Pins of the old one's maps are replaced here or, if this
    // is cut off, by the next command.
    let mut deferred = Deferred::default();
    deferred.note(exchange_at_egress(attachment, prepared, &maps));
    let mut carriers = Carriers::default();
    if let Some(found) = deferred.note(Attachment::open(attachment.pins(), &mut carriers)) {
        deferred.note(match found {
            Found::Attached(attachment) => repair_pins(&attachment),
            Found::Leftover => Err(Error::new("the link's pin is gone")),
        });
    }
    kept_ruleset::keep_only(&namespace.state_directory(attachment.key()), prepared.generation);
    let settled = deferred.note(redirect_targets::reconcile(namespace, &after));
    let others = attached.iter().filter(|other| other.key() != attachment.key());
    let now = std::iter::once(&prepared.metadata);
    if let Err(error) = next_hops::release_replaced(std::iter::once(attachment), others, now) {
        log::warn!("cannot leave next hops of services to the kernel again: {error}");
    }
    let redirects = kernel::of_targets(prepared, settled.unwrap_or_default());
    let generation = prepared.generation;
    Ok(Some(Attached {
        held: None,
        mode,
        instead_of: Vec::new(),
        generation,
        redirects,
        lost,
        restored: Ok(0),
        deferred,
    }))
}

/// Has this version's program note what the interface sends, where the ruleset wants that.
fn exchange_at_egress(
    attachment: &Attachment,
    prepared: &PreparedKernel,
    maps: &Maps,
) -> Result<()> {
    let Some(ifindex) = attachment.ifindex() else { return Ok(()) };
    let directory = attachment.directory();
    if !egress::is_needed(prepared.needs()) {
        return egress::release(directory, ifindex, maps);
    }
    attached::egress::put(directory, ifindex, prepared.link_type, maps)
        .and_then(|_| egress::room(maps))
        .map_err(|error| replying::by_sockets_alone(&attachment.name(), error))
}

/// Loads the program on the maps that stay, and says in sentences what does not stay.
fn load_on(
    attachment: &Attachment,
    prepared: &PreparedKernel,
) -> std::result::Result<(Loaded, Vec<&'static str>), LoadError> {
    let directory = attachment.directory();
    let (link_type, needs) = (prepared.link_type, prepared.needs());
    let those = |stay: fn(OnReplace) -> bool| -> Vec<Map> {
        Map::ALL.into_iter().filter(|map| stay(map.on_replace())).collect()
    };
    if attachment.in_force().is_some() {
        let all = those(|replaced| replaced != OnReplace::Anew);
        return Ok((load::load_filter_on(&all, directory, link_type, needs)?, Vec::new()));
    }
    let mut lost = vec!["the counters begin anew: the program before counted in another layout"];
    let entries = those(|replaced| replaced == OnReplace::KeptAlways);
    if entries.iter().all(|map| is_pinned(directory, *map)) {
        // A map of maps does not say what its inner maps look like, but the verifier refuses other
        // ones.
        match load::load_filter_on(&entries, directory, link_type, needs) {
            Ok(loaded) => return Ok((loaded, lost)),
            Err(error) => log::info!("not on the run-time entries that are there: {error}"),
        }
    }
    lost.push("run-time entries are not kept: the program before has them in another layout");
    Ok((load::load_filter(link_type, needs)?, lost))
}

/// Whether the pin of that map holds one that this version can use.
fn is_pinned(directory: &Path, map: Map) -> bool {
    let info = bpf::open_pin(&directory.join(map.name())).and_then(bpf::map_info);
    info.is_ok_and(|info| map.definition().signature.takes(info.signature))
}
