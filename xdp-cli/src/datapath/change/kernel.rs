//! A ruleset for the program in the kernel: prepared, then activated.
//!
//! Everything that the new image needs is made first, where the image in force does not look:
//! redirect slots in the other half of their map, counters that the image in force does not use,
//! and all extents of the new image but the first. Then one write exchanges the first extent, and
//! with it the whole ruleset between two packets. The write returns after a grace period, when no
//! packet is judged by the old image any more, and what that one held is released. A command that
//! is killed in between leaves the old ruleset or the new one in force, and nothing that the next
//! command would have to undo.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use xdp_common::capacity::{COUNTERS_PER_PAGE, MAX_COUNTERS, MAX_REDIRECTS};
use xdp_common::image::{TARGETS, flag};
use xdp_common::packet::LinkType;
use xdp_common::stages::Needs;
use xdp_common::stats::counter::{Counter, CounterId};

use crate::datapath::attached::in_force::InForce;
use crate::datapath::change::next_hops;
use crate::datapath::change::redirect_targets::Outcome;
use crate::datapath::error::{Context, Error, Result};
use crate::datapath::host::interface::{self, Interface};
use crate::datapath::host::serving::{self, Host};
use crate::datapath::host::syn_cookies;
use crate::datapath::host::{addresses, assigned_ports, routes};
use crate::datapath::maps::counters::pages as counter_pages;
use crate::datapath::maps::dynamic::caught;
use crate::datapath::maps::handles::{self, Maps};
use crate::datapath::maps::image;
use crate::datapath::maps::limits;
use crate::datapath::maps::states::{self, Beside};
use crate::datapath::sys::bpf::{self, PerCpuValues};
use crate::diagnostic::Diagnostic;
use crate::image::Image;
use crate::image::counters::{self, Assignment};
use crate::image::domains::Seed;
use crate::image::metadata::{Metadata, Mode, NextHop, Redirect};
use crate::image::services::{self, Before, Moved};
use crate::notation::{memory, millis, took};
use crate::ruleset::{RedirectTarget, Rewrite, Rule, RuleAction, Ruleset};
use xdp_common::maps::COUNTER_PAGE;

/// What a ruleset is compiled for.
pub struct BuildContext<'a> {
    pub interface: &'a str,
    pub mode: Mode,
    /// What the frames that the program reads begin with.
    pub link_type: LinkType,
    /// The file that the next reload reads, and the file that this ruleset was read from.
    pub config: &'a Path,
    pub loaded_from: &'a Path,
    /// Milliseconds since 1970.
    pub attached_at: u64,
    /// The ruleset in force that it replaces; `None` at attach.
    pub before: Option<&'a InForce>,
    /// The tables of its services.
    pub tables: Before,
}

/// The tables of the services in force.
pub fn tables_in_force(maps: &Maps, in_force: &InForce) -> Result<Before> {
    if in_force.metadata.backends.is_empty() {
        return Ok(Before::default());
    }
    let read = || {
        let now = u32::try_from(states::now()?).unwrap_or(u32::MAX);
        let image = image::Mapped::in_force(&maps.ruleset)?;
        io::Result::Ok(image.map(|image| Before::of(&image, now)).unwrap_or_default())
    };
    read().context("read the services in force")
}

/// A ruleset with everything that the kernel is to be told.
pub struct PreparedKernel {
    pub image: Image,
    pub metadata: Metadata,
    pub generation: u64,
    /// What the frames that its program reads begin with.
    pub link_type: LinkType,
    fresh: Vec<u32>,
    /// What services need beside the image; `None` where there are none.
    pub services: Option<Beside>,
    /// The services whose tables move places to other backends, and how many.
    pub moved: Vec<(String, Moved)>,
    /// Redirect targets that the ruleset before had and that are missing now.
    pub missing: Vec<Redirect>,
}

/// Milliseconds since 1970.
pub fn now() -> u64 {
    millis(SystemTime::now())
}

/// Compiles a ruleset for an interface. Changes nothing.
pub fn prepare(ruleset: &Ruleset, context: &BuildContext<'_>) -> Result<PreparedKernel> {
    let begun = Instant::now();
    let generation = context.before.map_or(1, |before| before.generation + 1);
    let before = context.before.map(|before| &before.metadata);
    refuse_rewrites(ruleset, context)?;
    syn_cookies::require(ruleset)?;
    let link = Link { interface: context.interface, link_type: context.link_type };
    let (redirects, missing) = resolve(ruleset, &link, context.loaded_from, generation, before)?;
    let Assignment { counted, backends, fresh } = counters::assign(
        ruleset,
        before.map_or(&[], |metadata| &metadata.counted),
        before.map_or(&[], |metadata| &metadata.backends),
    );
    let (mtu, own, next_hops, takers) = match ruleset.services.is_empty() {
        true if ruleset.answers_syns() => {
            let interface = Interface::by_name(context.interface)?;
            let addresses = addresses::all().context("ask for this host's addresses")?;
            let mtu = interface.mtu.try_into().unwrap_or(u16::MAX);
            (mtu, addresses::for_others(&addresses), Vec::new(), Vec::new())
        }
        true => (0, Vec::new(), Vec::new(), Vec::new()),
        false => {
            let interface = Interface::by_name(context.interface)?;
            let host = Host::of(&interface).context("ask for this host's addresses")?;
            if let Some(error) = serving::refusal(ruleset, &host) {
                return Err(error);
            }
            let next_hops =
                next_hops_of(ruleset, &interface).context("ask for routes to backends")?;
            let own = addresses::for_others(&host.addresses);
            let takers = takers(&next_hops, context.mode)?;
            (interface.mtu.try_into().unwrap_or(u16::MAX), own, next_hops, takers)
        }
    };
    if fresh.iter().any(|&number| number >= MAX_COUNTERS) {
        let told = format!(
            "the ruleset needs more counters than there are: lists, rules, services and backends of \
             it and of the ruleset in force have {MAX_COUNTERS} together"
        );
        return Err(Error::new(told).hint(
            "what keeps its name keeps its counter: reload in two steps, or use fewer backends",
        ));
    }
    let metadata = Metadata {
        interface: context.interface.to_owned(),
        mode: context.mode,
        config: context.config.to_owned(),
        loaded_from: context.loaded_from.to_owned(),
        attached_at: context.attached_at,
        loaded_at: now(),
        counted,
        redirects,
        vlan_rules: ruleset.rules.iter().any(|rule| rule.matches.names_vlan()),
        mtu,
        backends,
        own,
        next_hops,
        takers,
        connection_lines: services::connection_lines(ruleset),
        reply_ports: match ruleset.policy.asks_by_port() {
            true => assigned_ports::ranges().context("read the ports that the kernel assigns")?,
            false => Vec::new(),
        },
        passes_replies: ruleset.policy.asks_replies(),
        replies_by_port: ruleset.policy.always_asks_by_port(),
        is_checked: ruleset.services.iter().any(|service| service.check.is_some()),
        seed: Seed::random(),
    };
    let image = Image::build_after(ruleset, generation, &metadata, &context.tables)
        .map_err(|error| error.told(ruleset, context.loaded_from))?;
    log::info!(
        "compiled the ruleset for {}: an image of {} in {}",
        context.interface,
        memory(size_of_val(image.blocks()) as u64),
        took(begun.elapsed())
    );
    let services = beside(&image, &metadata, &fresh, &context.tables);
    let moved = moved(&image, &metadata, &context.tables);
    let link_type = context.link_type;
    Ok(PreparedKernel { image, metadata, generation, link_type, fresh, services, moved, missing })
}

/// Where packets to services' backends are sent on to, by the kernel's routes: each next hop once. A
/// backend without a route is left out: packets to it are lost, and counted.
fn next_hops_of(ruleset: &Ruleset, interface: &Interface) -> io::Result<Vec<NextHop>> {
    let backends: BTreeSet<IpAddr> = serving::routed(ruleset).map(|(_, it)| it.address).collect();
    let hops = routes::next_hops(backends)?.into_iter().flatten();
    let hops: BTreeSet<NextHop> = hops
        .map(|(ifindex, address)| NextHop {
            ifindex,
            is_other: ifindex != interface.index,
            address,
        })
        .collect();
    Ok(hops.into_iter().collect())
}

/// The interfaces that services may redirect frames to: next hops first, then those that carry a program
/// already, for replies leave by them. There is room for so many.
fn takers(next_hops: &[NextHop], mode: Mode) -> Result<Vec<u32>> {
    let all = Interface::all()?;
    let mut able: Vec<&Interface> =
        all.iter().filter(|it| mode == Mode::Generic || it.may_take_redirected()).collect();
    let is_next = |it: &Interface| next_hops.iter().any(|hop| hop.ifindex == it.index);
    able.sort_by_key(|it| (!is_next(it), it.xdp.is_empty(), it.index));
    Ok(able.iter().map(|it| it.index).take(TARGETS).collect())
}

/// What services need beside the image.
fn beside(image: &Image, metadata: &Metadata, fresh: &[u32], before: &Before) -> Option<Beside> {
    if metadata.backends.is_empty() {
        return None;
    }
    let last = metadata.counters().max()?;
    Some(Beside {
        last: CounterId::new(last).0,
        lines: image.header().connection_lines,
        fresh: fresh.iter().map(|&number| CounterId::new(number).0).collect(),
        changed: services::changed(image, before),
    })
}

/// How many places of the tables of services move that were there before: of those of which any does.
fn moved(image: &Image, metadata: &Metadata, before: &Before) -> Vec<(String, Moved)> {
    let moved = services::moved(image, before);
    let named = metadata.services().filter_map(|(service, _)| {
        let moved = *moved.get(&CounterId::new(service.number).0)?;
        (moved.places > 0).then(|| (service.name.clone(), moved))
    });
    named.collect()
}

impl PreparedKernel {
    /// What the filter has to go on with for it.
    pub fn needs(&self) -> Needs {
        Needs::of(self.image.header().flags)
    }

    /// Whether the interfaces that the ruleset redirects to are still those that it was compiled
    /// with.
    pub fn is_current(&self, ruleset: &Ruleset, before: Option<&InForce>) -> Result<bool> {
        let before = before.map(|before| &before.metadata);
        let Metadata { interface, loaded_from, .. } = &self.metadata;
        let link = Link { interface, link_type: self.link_type };
        let (redirects, _) = resolve(ruleset, &link, loaded_from, self.generation, before)?;
        Ok(redirects == self.metadata.redirects)
    }
}

/// The interface whose packets are redirected.
struct Link<'a> {
    interface: &'a str,
    link_type: LinkType,
}

/// Finds the interfaces that rules redirect to, and gives each a slot in the half of the map that
/// the generation before does not use. A missing target is an error, unless the ruleset before had
/// it too: then the interface went away, and what is redirected to it is dropped and counted.
/// Everything that is wrong is told, each target once.
fn resolve(
    ruleset: &Ruleset,
    from: &Link<'_>,
    config: &Path,
    generation: u64,
    before: Option<&Metadata>,
) -> Result<(Vec<Redirect>, Vec<Redirect>)> {
    let mut redirects: Vec<Redirect> = Vec::new();
    let (mut missing, mut wrong) = (Vec::new(), Vec::new());
    let first_slot = (generation % 2) as u32 * MAX_REDIRECTS;
    for rule in &ruleset.rules {
        let RuleAction::Redirect { to, line, column, .. } = &rule.action else { continue };
        if let Some(known) = redirects.iter_mut().find(|redirect| redirect.to == *to) {
            known.rules.push(rule.name.clone());
            continue;
        }
        let found = match to {
            RedirectTarget::Name(name) => Interface::by_name(name),
            RedirectTarget::Index(index) => Interface::by_index(*index),
        };
        let mut refuse = |why: String, hint: String| {
            wrong.push(Error::from(Diagnostic {
                file: ruleset.file_of(rule.file).unwrap_or(config).to_owned(),
                line: *line,
                column: *column,
                message: format!("rule \"{}\" redirects to {to}{why}", rule.name),
                hint: Some(hint),
                excerpt: None,
            }));
        };
        let ifindex = match found {
            Ok(target) => {
                if let Err(why) = same_headers(from, &target) {
                    let hint = "redirect to an interface of the same kind, or drop or pass instead";
                    refuse(format!(": {why}"), hint.to_owned());
                }
                Some(target.index)
            }
            Err(error @ interface::Error::Kernel { .. }) => return Err(error.into()),
            Err(error) => {
                let known = before.is_some_and(|b| b.redirects.iter().any(|r| r.to == *to));
                if !known {
                    let hint = error.hint().unwrap_or_else(|| {
                        "create the interface first, or change the rule's `to`".to_owned()
                    });
                    refuse(format!(", which is not there: {error}"), hint);
                }
                None
            }
        };
        let slot = first_slot + redirects.len() as u32;
        let rules = vec![rule.name.clone()];
        redirects.push(Redirect { slot, to: to.clone(), ifindex, rules });
    }
    Error::unless_none(wrong)?;
    missing.extend(redirects.iter().filter(|redirect| redirect.ifindex.is_none()).cloned());
    Ok((redirects, missing))
}

/// Refuses a target with another kind of link layer header: frames go out as they came in.
fn same_headers(link: &Link<'_>, target: &Interface) -> std::result::Result<(), String> {
    let (from, name) = (link.interface, &target.name);
    match (link.link_type, target.link_type().map_err(|error| error.message)?) {
        (LinkType::Ethernet, LinkType::Ethernet) | (LinkType::Raw, LinkType::Raw) => Ok(()),
        (LinkType::Ethernet, LinkType::Raw) => Err(format!(
            "frames of {from} have Ethernet headers, and {name} takes none: it would send them as IP"
        )),
        (LinkType::Raw, LinkType::Ethernet) => Err(format!(
            "packets of {from} have no Ethernet header, which {name} needs to send them"
        )),
    }
}

/// Refuses rules that rewrite MAC addresses where frames have no Ethernet header.
fn refuse_rewrites(ruleset: &Ruleset, context: &BuildContext<'_>) -> Result<()> {
    if context.link_type == LinkType::Ethernet {
        return Ok(());
    }
    let rewrites = |rule: &&Rule| match &rule.action {
        RuleAction::Redirect { rewrite, .. } | RuleAction::Bounce { rewrite } => {
            *rewrite != Rewrite::default()
        }
        _ => false,
    };
    let refused = ruleset.rules.iter().filter(rewrites).map(|rule| {
        Error::from(Diagnostic {
            file: ruleset.file_of(rule.file).unwrap_or(context.loaded_from).to_owned(),
            line: rule.line,
            column: 0,
            message: format!(
                "rule \"{}\" rewrites MAC addresses, and packets of {} have none",
                rule.name, context.interface
            ),
            hint: Some("omit set_source_mac and set_destination_mac there".to_owned()),
            excerpt: None,
        })
    });
    Error::unless_none(refused.collect())
}

/// Releases what the ruleset before held. What fails here is done by the next reload.
pub fn release(maps: &Maps) -> Result<()> {
    image::release(&maps.ruleset).context("release what the ruleset before held")
}

/// Puts a prepared ruleset in force in these maps, or fails with the one before still in force. With
/// `life`, that one comes back after so long, unless the new one is confirmed. What the ruleset
/// before held stays, see [`release`].
pub fn activate(maps: &Maps, prepared: &PreparedKernel, life: Option<Duration>) -> Result<()> {
    let begun = Instant::now();
    fill_redirects(&maps.redirects, prepared).context("write the redirect targets")?;
    provide_counters(&maps.rule_counters, prepared).context("provide counters for the ruleset")?;
    next_hops::manage(&prepared.metadata)
        .context("have the kernel keep the next hops of services fresh")?;
    if let Some(needs) = &prepared.services {
        states::provide(maps, &prepared.image, needs, life.is_some())
            .context("provide what services remember beside the ruleset")?;
    }
    if prepared.image.header().has(flag::LIMITS) {
        limits::provide(maps).context("provide what limits remember beside the ruleset")?;
    }
    if prepared.image.header().has(flag::CATCHES) {
        caught::provide(maps).context("provide room for the sources that rules block")?;
    }
    let blocks = prepared.image.blocks();
    let extents = image::create(&maps.ruleset, blocks).context(format_args!(
        "create maps of {} KiB for the ruleset",
        size_of_val(blocks) / 1024
    ))?;
    if let Some(life) = life {
        image::limit(&maps.ruleset, &extents, life)
            .context("have the ruleset before come back later")?;
    }
    let more = prepared.image.header().more_extents;
    image::activate(&maps.ruleset, &extents, more).context("put the ruleset in force")?;
    // A check of health may have written a service's word by the image before in between.
    if prepared.services.is_some()
        && life.is_none()
        && let Err(error) = states::settle(maps, &prepared.image)
    {
        log::warn!("cannot write the states of services once more: {error}");
    }
    log::info!(
        "wrote the image to maps and made it the program's ruleset, generation {}, in {}",
        prepared.generation,
        took(begun.elapsed())
    );
    Ok(())
}

/// Writes each target as a struct bpf_devmap_val: its interface index, and no program to run on it.
fn fill_redirects(map: &OwnedFd, prepared: &PreparedKernel) -> io::Result<()> {
    let first_slot = (prepared.generation % 2) as u32 * MAX_REDIRECTS;
    for slot in first_slot..first_slot + MAX_REDIRECTS {
        let redirect = prepared.metadata.redirects.iter().find(|r| r.slot == slot);
        match redirect.and_then(|redirect| redirect.ifindex) {
            Some(ifindex) => {
                let value = u64::from(ifindex).to_le_bytes();
                bpf::update(map, slot, &value)?;
            }
            None => bpf::delete(map, slot)?,
        }
    }
    Ok(())
}

/// Empties the slots of redirect targets that the ruleset of a generation had, or was to have.
pub fn empty_redirects(map: &OwnedFd, generation: u64) -> io::Result<()> {
    let first_slot = (generation % 2) as u32 * MAX_REDIRECTS;
    (first_slot..first_slot + MAX_REDIRECTS).try_for_each(|slot| bpf::delete(map, slot))
}

/// The pages of counters that a ruleset uses.
pub fn used_pages(metadata: &Metadata) -> BTreeSet<u32> {
    metadata.counters().map(|number| number / COUNTERS_PER_PAGE).collect()
}

/// Adds pages of counters that are missing, and zeroes the counters that the image before did not
/// use.
fn provide_counters(outer: &OwnedFd, prepared: &PreparedKernel) -> io::Result<()> {
    let used = used_pages(&prepared.metadata);
    let mut new_pages = Vec::new();
    let mut open_pages: Vec<(u32, OwnedFd)> = Vec::new();
    for page in used {
        let mut id = [0; 4];
        if bpf::lookup(outer, page, &mut id)?.is_some() {
            open_pages.push((page, handles::open(u32::from_ne_bytes(id), COUNTER_PAGE)?));
        } else {
            let map = handles::create(COUNTER_PAGE, "xdpctl_counters")?;
            new_pages.push((page, map));
        }
    }
    // New pages are zero already.
    let zero = PerCpuValues::zeroed(size_of::<Counter>(), 1)?;
    for &number in &prepared.fresh {
        let page = number / COUNTERS_PER_PAGE;
        if let Some((_, map)) = open_pages.iter().find(|(open, _)| *open == page) {
            zero.update(map, number % COUNTERS_PER_PAGE)?;
        }
    }
    let keys: Vec<u32> = new_pages.iter().map(|(page, _)| *page).collect();
    let maps: Vec<u32> = new_pages.iter().map(|(_, map)| map.as_raw_fd() as u32).collect();
    bpf::update_batch(outer, &keys, &maps)
}

/// Writes the states of the services in force anew, where a ruleset on trial had written its own.
pub fn settle_services(maps: &Maps) -> Result<()> {
    let settle = || match image::Mapped::in_force(&maps.ruleset)? {
        Some(image) => states::settle(maps, &image),
        None => Ok(()),
    };
    settle().context("write the states of services that the ruleset before had")
}

/// Releases pages of counters that the ruleset in force does not use, and what its services do not use.
pub fn drop_unused_counters(maps: &Maps, metadata: &Metadata) -> io::Result<()> {
    if !metadata.counted.iter().any(|counted| counted.limit.is_some()) {
        limits::release(maps)?;
    }
    if !metadata.counted.iter().any(|counted| counted.life.is_some()) {
        caught::release(maps)?;
    }
    let has_services = !metadata.backends.is_empty();
    states::release(maps, has_services, metadata.connection_lines)?;
    let used = used_pages(metadata);
    let last = used.last().copied().unwrap_or(0);
    for (page, _) in counter_pages(&maps.rule_counters, last)? {
        if !used.contains(&page) {
            bpf::delete(&maps.rule_counters, page)?;
        }
    }
    Ok(())
}

pub fn targets(prepared: &PreparedKernel) -> Vec<u32> {
    prepared.metadata.targets().collect()
}

/// Those of the outcomes that belong to the targets of this ruleset, and not only to those of other
/// interfaces' rulesets.
pub fn of_targets(prepared: &PreparedKernel, mut outcomes: Vec<Outcome>) -> Vec<Outcome> {
    let targets = targets(prepared);
    outcomes.retain(|outcome| targets.contains(&outcome.target.index));
    outcomes
}
