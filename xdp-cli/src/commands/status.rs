//! `xdpctl status`.

use std::cell::LazyCell;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use xdp_common::lookup::services::State;

use super::{Failure, Session};
use crate::agent::health::report;
use crate::args;
use crate::config::asked::Asked;
use crate::config::file::Disk;
use crate::config::sources::Since;
use crate::datapath::attached::attachment::Attachment;
use crate::datapath::attached::attachments::not_attached;
use crate::datapath::attached::egress::{self, By};
use crate::datapath::attached::in_force::Trial;
use crate::datapath::attached::namespace::Namespace;
use crate::datapath::attached::services;
use crate::datapath::change::redirect_targets::{self, Outcome};
use crate::datapath::change::{kernel, next_hops, pins};
use crate::datapath::error::Error;
use crate::datapath::host::carriers::Carriers;
use crate::datapath::host::interface::{Interface, Mode};
use crate::datapath::host::neighbours::Neighbour;
use crate::datapath::host::{addresses, assigned_ports, routes, serving, syn_cookies};
use crate::datapath::maps::dynamic::caught;
use crate::datapath::maps::{dynamic, sent};
use crate::image::metadata::{Counted, Kind, Metadata};
use crate::notation::{counted, duration, millis, plain, word};
use crate::ruleset::{RuleAction, Ruleset};
use crate::views::status::{EntryCounts, Link, Redirect, Replies, Status, json, text};

/// Shows what is attached. Returns exit status 1 if something is wrong. It is no error if nothing
/// is attached.
pub fn run(args: &args::Status, session: &mut Session<'_>) -> Result<u8, Failure> {
    let all = gather(args.interface.as_deref())?;
    let written = if args.json {
        json::write(session.out, &all)
    } else {
        text::write(session.out, &all, session.colours)
    };
    written.map_err(Failure::from_output)?;
    Ok(u8::from(all.iter().any(|status| !status.problems.is_empty())))
}

fn gather(interface: Option<&str>) -> Result<Vec<Status>, Error> {
    let Some(namespace) = Namespace::look()? else {
        return match interface {
            Some(name) => Err(not_attached(name, &[])),
            None => Ok(Vec::new()),
        };
    };
    let attached = namespace.attachments()?;
    let chosen: Vec<&Attachment> = match interface {
        Some(name) => vec![attached.require(name)?],
        None => attached.iter().collect(),
    };
    let outcomes = redirect_targets::inspect(&namespace, chosen.iter().copied())?;
    let carriers = attached.carriers();
    let mut asked = Asked::default();
    let view = |attachment| of(&namespace, attachment, carriers, &outcomes, &mut asked);
    Ok(chosen.into_iter().map(view).collect())
}

/// The status of one attachment. `asked` is what it found out about files, for the next one.
pub(super) fn of(
    namespace: &Namespace,
    attachment: &Attachment,
    carriers: &Carriers,
    outcomes: &[Outcome],
    asked: &mut Asked,
) -> Status {
    let mut status = view(attachment, carriers, outcomes);
    // Read once, and only if something needs it: it may be long. That it is not kept any more is told elsewhere.
    let kept = LazyCell::new(|| {
        let in_force = attachment.in_force()?;
        namespace.kept_ruleset(attachment.key(), in_force).ok().flatten()
    });
    let ruleset = || kept.as_ref().map(|kept| &kept.ruleset);
    status.problems.extend(of_services(attachment));
    status.problems.extend(of_new_routes(attachment, &ruleset));
    status.problems.extend(not_checked(namespace, attachment, &ruleset));
    status.problems.extend(of_new_addresses(attachment, &ruleset));
    status.problems.extend(of_replies(attachment));
    status.problems.extend(not_caught(attachment));
    status.problems.extend(without_cookies(attachment));
    status.problems.extend(of_unanswered_addresses(attachment, &ruleset));
    status.problems.extend(since_loaded(namespace, attachment, asked));
    status.problems.extend(missing_pins(attachment));
    status
}

/// That the kernel makes no cookies any more for a rule that answers with them.
fn without_cookies(attachment: &Attachment) -> Option<String> {
    let rule = answers_syns(&attachment.in_force()?.metadata)?;
    match syn_cookies::refusal(&rule.name) {
        Ok(refusal) => refusal.map(with_hint),
        Err(error) => Some(with_hint(error)),
    }
}

/// The rule that answers with SYN cookies, if there is one.
fn answers_syns(metadata: &Metadata) -> Option<&Counted> {
    metadata.counted.iter().find(|it| it.kind == Kind::Rule && it.action == "syncookie")
}

/// Addresses of this host that rules that answer SYNs do not know of.
fn of_unanswered_addresses<'a>(
    attachment: &Attachment,
    ruleset: &dyn Fn() -> Option<&'a Ruleset>,
) -> Option<String> {
    let in_force = attachment.in_force()?;
    answers_syns(&in_force.metadata)?;
    let known = &in_force.metadata.own;
    let now = addresses::all().ok()?;
    let new = now.iter().map(|it| it.ip);
    let new: Vec<_> = new.filter(|ip| !known.contains(ip) && !serving::is_own(*ip)).collect();
    if new.is_empty() {
        return None;
    }
    let rules = ruleset()?.rules.iter().filter(|it| it.action == RuleAction::SynCookie);
    let mut pairs = rules.flat_map(|rule| new.iter().map(move |address| (rule, address)));
    let (rule, address) = pairs.find(|(rule, address)| rule.matches.admits(**address))?;
    Some(format!(
        "this host has got {address} since the ruleset was loaded: SYNs to it that rule \"{}\" decides about go \
         to the kernel without a SYN cookie; `xdpctl reload {}` takes it over",
        plain(&rule.name),
        word(&attachment.name())
    ))
}

/// That rules that block sources had no place for some, a short while ago.
fn not_caught(attachment: &Attachment) -> Option<String> {
    let (maps, _) = attachment.readable().ok()?;
    match caught::lately_lost(maps) {
        Ok(lost) => lost,
        Err(error) => Some(with_hint(error)),
    }
}

/// How many changed files are named; the rest are counted.
const NAMED: usize = 10;

/// What has happened to the files that the ruleset in force was read from.
fn since_loaded(namespace: &Namespace, attachment: &Attachment, asked: &mut Asked) -> Vec<String> {
    let Some(in_force) = attachment.in_force() else { return Vec::new() };
    let name = plain(&attachment.name());
    let as_word = word(&name);
    let sources = match namespace.sources(attachment.key(), in_force) {
        Ok(Some(sources)) => sources,
        // Another command may be at it: what it takes away or replaces needs nothing kept.
        Ok(None) if !is_still_so(namespace, attachment) => return Vec::new(),
        Ok(None) => {
            return vec![format!(
                "the ruleset in force is not kept under /run/xdpctl any more, so `explain`, `lookup` \
                 and `show` know less: `xdpctl reload {as_word}` keeps it again"
            )];
        }
        Err(error) => return vec![with_hint(error)],
    };
    let changes = sources.iter().filter_map(|source| {
        let path = source.path.display();
        match asked.since(source, &Disk) {
            Since::Same => None,
            Since::Changed => Some(format!(
                "{path} changed since it was loaded: `xdpctl reload {as_word}` puts it in force, \
                 `--dry-run` says what that changes"
            )),
            Since::Unreadable(error) => Some(format!(
                "{path} cannot be read any more: {error}; what was loaded from it stays in force, and \
                 the next reload fails"
            )),
            Since::Unanswered => Some(format!(
                "{path} does not answer, as a file on a server that is gone: what was loaded from it \
                 stays in force, and the next reload waits for it"
            )),
        }
    });
    let mut changes: Vec<String> = changes.collect();
    let more = changes.len().saturating_sub(NAMED);
    changes.truncate(NAMED);
    if more > 0 {
        changes
            .push(format!("{} more changed since they were loaded", counted(more as u64, "file")));
    }
    changes
}

/// What keeps services from sending packets on.
fn of_services(attachment: &Attachment) -> Vec<String> {
    let Some(in_force) = attachment.in_force().filter(|it| !it.metadata.backends.is_empty()) else {
        return Vec::new();
    };
    let name = attachment.name();
    let mut problems = Vec::new();
    // Only the kernel's routes need forwarding, and only where they are asked.
    for is_v6 in [false, true] {
        let hops = &in_force.metadata.next_hops;
        if hops.iter().any(|hop| hop.address.is_ipv6() == is_v6)
            && serving::forwards(&name, is_v6) == Some(false)
        {
            problems.push(format!(
                "{} does not forward {} any more: what services send on by the kernel's routes is \
                 dropped; `sysctl -w {}` switches it on",
                plain(&name),
                if is_v6 { "IPv6" } else { "IPv4" },
                word(&format!("{}=1", serving::setting(&name, is_v6)))
            ));
        }
    }
    match next_hops::unmanaged(attachment) {
        Ok(forgotten) => problems.extend(not_kept(&name, &forgotten)),
        Err(error) => problems.push(format!("cannot ask the kernel for its neighbours: {error}")),
    }
    let services = match services::read(attachment) {
        Ok((_, services)) => services,
        Err(error) => {
            problems.push(with_hint(error));
            return problems;
        }
    };
    for service in services {
        let as_words = format!("xdpctl services {} {}", word(&name), word(&service.name));
        if !service.backends.iter().any(|it| it.state == State::Up) {
            problems.push(format!(
                "service \"{}\": none of {} is up; `{as_words}` says why of each",
                plain(&service.name),
                counted(service.backends.len() as u64, "backend")
            ));
        } else if service.panics {
            problems.push(format!(
                "service \"{}\": so few of its backends are up that checks are disregarded, as `panic` \
                 of the configuration says; `{as_words}` shows what they found",
                plain(&service.name)
            ));
        }
    }
    problems
}

/// How many backends' routes are asked for: a ruleset may have many, and metrics ask often.
const ROUTES: usize = 256;

/// That the routes to backends are others than when the ruleset was loaded, as when that was before the network was there.
fn of_new_routes<'a>(
    attachment: &Attachment,
    ruleset: &dyn Fn() -> Option<&'a Ruleset>,
) -> Option<String> {
    let in_force = attachment.in_force().filter(|it| !it.metadata.backends.is_empty())?;
    let known = &in_force.metadata.next_hops;
    let routed: Vec<_> = serving::routed(ruleset()?).take(ROUTES).collect();
    let now = routes::next_hops(routed.iter().map(|(_, backend)| backend.address)).ok()?;
    let is_new = |&(ifindex, address): &Neighbour| {
        !known.iter().any(|it| it.ifindex == ifindex && it.address == address)
    };
    let mut new =
        routed.iter().zip(now).filter_map(|(of, hop)| hop.filter(is_new).map(|hop| (of, hop)));
    let ((service, backend), (_, hop)) = new.next()?;
    Some(format!(
        "service \"{}\", backend \"{}\": since the ruleset was loaded there is another route to it, with next hop {hop}, \
         which nothing keeps fresh: its packets take the slower way by the kernel's stack, and with l2dsr they are lost; \
         `xdpctl reload {}` takes the route over",
        plain(&service.name),
        plain(&backend.name),
        word(&attachment.name())
    ))
}

/// That the kernel has forgotten next hops.
fn not_kept(name: &str, forgotten: &[Neighbour]) -> Option<String> {
    let (ifindex, address) = forgotten.first()?;
    let all = Interface::all().unwrap_or_default();
    let by = all.iter().find(|it| it.index == *ifindex);
    let by = by.map_or("an interface that is gone".to_owned(), |it| plain(&it.name));
    let more = match forgotten.len() - 1 {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!(
        "the kernel does not keep the next hop {address} on {by}{more} fresh, as when a cable was out: what l2dsr sends \
         there is lost until its MAC address is known again, and the rest takes the slower way until then; `xdpctl \
         reload {}` has it kept again once {by} is up, and so does `xdpctl health` while it runs",
        word(name)
    ))
}

/// That nobody checks the backends of services, though the configuration says how.
fn not_checked<'a>(
    namespace: &Namespace,
    attachment: &Attachment,
    ruleset: &dyn Fn() -> Option<&'a Ruleset>,
) -> Option<String> {
    let in_force = attachment.in_force().filter(|it| it.metadata.is_checked)?;
    let directory = namespace.notes_directory(attachment.key()).ok().flatten();
    let report = directory.and_then(|directory| report::read(&directory).ok().flatten());
    let (loaded, now) = (in_force.metadata.loaded_at, millis(SystemTime::now()));
    let unchecked = report::unchecked(ruleset()?, report.as_ref(), loaded, now);
    let longest = unchecked.iter().max_by_key(|it| it.age)?;
    let named = unchecked.iter().take(NAMED).map(|it| format!("\"{}\"", plain(&it.service)));
    let mut services = named.collect::<Vec<_>>().join(", ");
    if let more @ 1.. = unchecked.len().saturating_sub(NAMED) {
        services.push_str(&format!(" and {more} more"));
    }
    let age = duration(longest.age.as_secs());
    let when = match longest.was_checked {
        true => format!("for {age}"),
        false => format!("since the ruleset was loaded, {age} ago"),
    };
    if let Some(why) = &longest.why {
        return Some(format!(
            "the checks of the backends of {services} could not be made {when}: {}",
            plain(why)
        ));
    }
    Some(format!(
        "nobody has checked the backends of {} {services} {when}, so one that fails still gets packets: \
         `systemctl enable --now xdpctl-health` has them checked, and so does `xdpctl health`",
        if unchecked.len() == 1 { "service" } else { "services" }
    ))
}

/// Addresses of this host that services do not know of.
fn of_new_addresses<'a>(
    attachment: &Attachment,
    ruleset: &dyn Fn() -> Option<&'a Ruleset>,
) -> Option<String> {
    let in_force = attachment.in_force().filter(|it| !it.metadata.backends.is_empty())?;
    let known = &in_force.metadata.own;
    let now = addresses::all().ok()?;
    if addresses::for_others(&now).iter().all(|address| known.contains(address)) {
        return None;
    }
    let (address, service) = serving::unknown_address(ruleset()?, known, &now)?;
    Some(format!(
        "this host has got {address} since the ruleset was loaded: what backends of service \"{}\" answer \
         there is taken for replies to clients, so checks from it fail; `xdpctl reload {}` takes it over",
        plain(&service.name),
        word(&attachment.name())
    ))
}

/// What keeps replies from passing as the ruleset says.
fn of_replies(attachment: &Attachment) -> Option<String> {
    let in_force = attachment.in_force()?;
    let name = attachment.name();
    if let (Ok((maps, _)), true) = (attachment.readable(), in_force.metadata.passes_replies)
        && attachment.ifindex().is_some()
        && sent::is_there(maps).unwrap_or(false)
    {
        if noted(attachment).is_none() {
            return Some(format!(
                "the program at the egress of {} is gone, so that what answers connections that are \
                 forwarded, pings, and UDP sockets that are not connected is dropped: `xdpctl reload {}` \
                 puts it back",
                plain(&name),
                word(&name)
            ));
        }
        if !in_force.metadata.replies_by_port {
            return None;
        }
    }
    let known = &in_force.metadata.reply_ports;
    let changed = !known.is_empty() && assigned_ports::ranges().is_ok_and(|now| now != *known);
    changed.then(|| {
        format!(
            "the ports that the kernel assigns have changed since the ruleset was loaded: what answers \
             UDP sockets is taken by the old ones; `xdpctl reload {}` takes the new ones",
            word(&name)
        )
    })
}

/// Pins that somebody removed. The link leads to all that they led to, so that nothing else is wrong.
fn missing_pins(attachment: &Attachment) -> Option<String> {
    let missing = match pins::missing_pins(attachment) {
        Ok(missing) if missing.is_empty() => return None,
        // A command that exchanges or removes them may be at it: then it has the lock.
        Ok(_) => still_missing(attachment),
        Err(error) => return Some(with_hint(error)),
    };
    let (first, rest) = missing.split_first()?;
    let more = match rest.len() as u64 {
        0 => String::new(),
        number => format!(", and {number} more"),
    };
    Some(format!(
        "{} is gone{more}: other tools do not find what was pinned there; `xdpctl reload {}` pins it \
         again",
        first.display(),
        word(&attachment.name())
    ))
}

/// The pins that are missing while no other command changes anything; none where one does.
fn still_missing(attachment: &Attachment) -> Vec<PathBuf> {
    let look = || -> Result<Option<Vec<PathBuf>>, Error> {
        let Some(namespace) = Namespace::try_lock()? else { return Ok(None) };
        let attached = namespace.attachments()?;
        attached.get(attachment.key()).map(pins::missing_pins).transpose()
    };
    look().ok().flatten().unwrap_or_default()
}

/// Whether, looked at once more, the same ruleset is in force on the same link and still not kept.
fn is_still_so(namespace: &Namespace, attachment: &Attachment) -> bool {
    let Ok(attached) = namespace.attachments() else { return false };
    let Some(now) = attached.get(attachment.key()).filter(|now| now.is_as(attachment)) else {
        return false;
    };
    let sources = now.in_force().map(|in_force| namespace.sources(now.key(), in_force));
    matches!(sources, Some(Ok(None)))
}

fn view(attachment: &Attachment, carriers: &Carriers, outcomes: &[Outcome]) -> Status {
    // If the link is on no interface any more, the one that it was on may still be there.
    let index = attachment.ifindex().or_else(|| attachment.left());
    let interface = index.and_then(|index| carriers.by_index(index));
    let link = match interface {
        Some(interface) if interface.up => Link::Up,
        Some(_) => Link::Down,
        None => Link::Gone,
    };
    let mut problems = Vec::new();
    let name = attachment.name();
    let as_word = word(&name);
    match (interface, link) {
        (None, _) if attachment.is_moved() => problems.extend(attachment.stranded().map(with_hint)),
        (None, _) => problems.push(format!(
            "the interface is gone: `xdpctl detach {as_word}` removes what is left of it"
        )),
        (Some(interface), Link::Down) if !interface.admin_up => {
            problems
                .push(format!("the interface is down: `ip link set {} up`", word(&interface.name)));
        }
        (Some(_), Link::Down) => problems.push("the interface has no carrier".to_owned()),
        (Some(_), _) if attachment.left().is_some() => problems.push(format!(
            "xdpctl's program is not on the interface: `xdpctl detach {as_word}`, then attach"
        )),
        (Some(_), _) => {}
    }
    if let Some(pending) = attachment.pending() {
        let left = pending.until.saturating_sub(kernel::now()).div_ceil(1000);
        problems.push(format!(
            "not confirmed: it is taken off in {} unless `xdpctl confirm {as_word}` keeps it",
            duration(left)
        ));
    }
    if let Some(Trial { left: Some(left), before }) = attachment.trial() {
        let back = before.as_ref().map_or_else(
            || "the ruleset before".to_owned(),
            |before| format!("generation {}", before.generation),
        );
        problems.push(format!(
            "the ruleset is not confirmed: {back} comes back in {} unless `xdpctl confirm {as_word}` keeps it",
            duration(left.as_millis().div_ceil(1000) as u64)
        ));
    }
    let ifindex = attachment.ifindex().unwrap_or(attachment.key().ifindex());
    let map_bytes = attachment.map_bytes().unwrap_or_else(|error| {
        problems.push(error.message);
        0
    });
    let Some(in_force) = attachment.in_force() else {
        problems.push(with_hint(attachment.unreadable()));
        return Status {
            interface: name,
            ifindex,
            mode: attachment.mode().unwrap_or(Mode::Native),
            link,
            generation: 0,
            config: "".into(),
            loaded_at: UNIX_EPOCH,
            uptime_seconds: 0,
            program_id: attachment.program_id(),
            entries: EntryCounts::default(),
            map_bytes,
            bypass: false,
            problems,
            attached_as: None,
            loaded_from: None,
            redirects: Vec::new(),
            replies: None,
        };
    };
    let metadata = &in_force.metadata;
    let mut redirects = Vec::new();
    for redirect in &metadata.redirects {
        let present = redirect.ifindex.filter(|index| carriers.by_index(*index).is_some());
        if present.is_none() {
            problems.push(format!(
                "{} is not there: what rule \"{}\" sends there is dropped; `xdpctl reload {as_word}` \
                 picks it up when it is back",
                redirect.to,
                redirect.rules.join("\", \"")
            ));
        }
        if let Some(target) = present.and_then(|index| carriers.by_index(index))
            && !target.up
        {
            problems.push(format!("{} is down: what is redirected to it is dropped", target.name));
        }
        // Only native mode needs anything of a target. In other modes, what was found there is for
        // another interface.
        let outcome = outcomes.iter().find(|outcome| {
            metadata.mode == Mode::Native && Some(outcome.target.index) == redirect.ifindex
        });
        problems.extend(outcome.and_then(Outcome::problem));
        redirects.push(Redirect {
            to: redirect.to.to_string(),
            ifindex: present,
            rules: redirect.rules.clone(),
            pass_program: outcome.is_some_and(|outcome| outcome.pass_program.is_some()),
        });
    }
    let bans = match attachment.nic() {
        // A NIC has no run-time entries.
        Some(_) => Ok(0),
        None => attachment.readable().and_then(|(maps, _)| dynamic::count(maps)),
    };
    let bans = bans.unwrap_or_else(|error| {
        problems.push(error.message);
        0
    });
    let bypass = attachment.nic().is_none()
        && attachment.readable().and_then(|(maps, _)| dynamic::bypass::is_on(maps)).unwrap_or_else(
            |error| {
                problems.push(error.message);
                false
            },
        );
    if bypass {
        problems.push(format!(
            "bypass is on, and everything passes: `xdpctl bypass {as_word} off` has the ruleset judge again"
        ));
    }
    let listed = metadata.entries();
    let since_attach = kernel::now().saturating_sub(metadata.attached_at);
    Status {
        attached_as: (metadata.interface != name).then(|| metadata.interface.clone()),
        interface: name,
        ifindex,
        mode: metadata.mode,
        link,
        generation: in_force.generation,
        config: metadata.config.clone(),
        loaded_at: UNIX_EPOCH + Duration::from_millis(metadata.loaded_at),
        uptime_seconds: since_attach / 1000,
        program_id: attachment.program_id(),
        entries: EntryCounts {
            ipv4: listed.ipv4,
            ipv6: listed.ipv6,
            domains: listed.names,
            rules: u64::from(in_force.rules),
            bans,
            services: metadata.backends.len() as u64,
            backends: metadata.backends.iter().map(|it| it.len() as u64).sum(),
        },
        map_bytes,
        bypass,
        problems,
        loaded_from: (metadata.loaded_from != metadata.config)
            .then(|| metadata.loaded_from.clone()),
        redirects,
        replies: metadata.passes_replies.then(|| {
            let sent = noted(attachment);
            let by_port = metadata.replies_by_port || sent.is_none();
            let udp_ports = if by_port { metadata.reply_ports.clone() } else { Vec::new() };
            Replies { by: "sockets", sent: sent.map(By::as_str), udp_ports }
        }),
    }
}

/// How it is noted what the interface sends; `None` if it is not.
fn noted(attachment: &Attachment) -> Option<By> {
    let (maps, _) = attachment.readable().ok()?;
    if !sent::is_there(maps).unwrap_or(false) {
        return None;
    }
    if attachment.pending().is_some() {
        // The command that waits holds it, by a link or as here.
        let standing = egress::standing(attachment.directory(), attachment.ifindex()?, maps);
        return Some(standing.ok().flatten().unwrap_or(By::Tcx));
    }
    egress::standing(attachment.directory(), attachment.ifindex()?, maps).ok().flatten()
}

/// The text of a problem, with the hint what to do about it.
fn with_hint(error: Error) -> String {
    match error.hint {
        Some(hint) => format!("{}: {hint}", error.message),
        None => error.message,
    }
}
