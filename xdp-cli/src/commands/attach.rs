//! `xdpctl attach`.

use std::io::ErrorKind::NotFound;
use std::path::{Path, PathBuf};
use std::time::Instant;

use xdp_common::packet::LinkType;

use super::configuration::{self, Loaded};
use super::confirm::Limit;
use super::lockout::{self, Coming};
use super::{Failure, Session, bypass, confirm, told};
use crate::args::{Attach, ModeArg};
use crate::datapath::attached::attachment::Attachment;
use crate::datapath::attached::attachments::not_attached;
use crate::datapath::attached::namespace::Namespace;
use crate::datapath::attached::persisted::Persisted;
use crate::datapath::change::attach::Wanted;
use crate::datapath::change::outcome::Attached;
use crate::datapath::change::redirect_targets::Outcome;
use crate::datapath::change::{self, detach, replace};
use crate::datapath::error::Error;
use crate::datapath::host::advice::sending::{self, SentBack};
use crate::datapath::host::advice::{self, Note, Plan};
use crate::datapath::host::checking;
use crate::datapath::host::interface::{Interface, Mode};
use crate::datapath::host::serving::{self, Host};
use crate::event::What;
use crate::judgement::reach::role::Warning;
use crate::notation::{counted, plain, word};
use crate::ruleset::{RuleAction, Ruleset, services};

/// The directory in which configurations are looked for.
const ETC: &str = "/etc/xdpctl";

/// Attaches the program, or with `--replace` exchanges the one that is attached.
pub fn run(args: &Attach, session: &mut Session<'_>) -> Result<(), Failure> {
    // A missing interface is reported before a missing file that is named after it.
    let interface = Interface::by_name(&args.interface).map_err(Error::from)?;
    // As `ip route replace`: where there is nothing to replace, it is new.
    if args.replace && is_attached(&interface)? {
        return replace(args, session);
    }
    // Then the configuration: its mistakes are reported even without root.
    let path = match &args.config {
        Some(path) => path.clone(),
        None => default_configuration(&args.interface, session)?,
    };
    let loaded = configuration::load(&path, session)?;
    let wanted = match args.mode {
        ModeArg::Auto => Wanted::Auto,
        ModeArg::Native => Wanted::Exactly(Mode::Native),
        ModeArg::Offload => Wanted::Exactly(Mode::Offload),
        ModeArg::Generic => Wanted::Exactly(Mode::Generic),
    };
    let mode = match wanted {
        Wanted::Auto => None,
        Wanted::Exactly(mode) => Some(mode),
    };
    let mut notes = advice_for(&interface, &loaded.ruleset, mode);
    let mut taken = Vec::new();
    let stop = args.confirm.map(|_| confirm::listen()).transpose()?;
    let done = under_lock(args, &interface, &loaded, wanted, &mut taken, session);
    tell(&done, &loaded, args, false);
    session.reporter.diagnostics(&loaded.warnings);
    say_taken(&taken, session);
    say_what_never_matches_on(&interface, &loaded.ruleset, session);
    if let Ok(done) = &done
        && done.interface.index != interface.index
    {
        notes = advice_for(&done.interface, &loaded.ruleset, mode);
    }
    say_notes(&notes, session);
    let mut done = done?;
    let held = done.attached.held.take();
    say_result(&done, &loaded.ruleset, false, session);
    match (held, args.confirm, stop) {
        // If the terminal is gone, the wait takes it off again.
        (Some(held), Some(life), Some(stop)) => {
            let limit = Limit { life, stop: &stop, since: Instant::now() };
            confirm::wait(&done.interface.name, held, &limit, session)
        }
        _ => Ok(()),
    }
}

/// Whether the interface carries xdpctl's program.
fn is_attached(interface: &Interface) -> Result<bool, Error> {
    let Some(namespace) = Namespace::look()? else { return Ok(false) };
    let attached = namespace.attachments()?;
    let mut here = attached.iter().filter(|attachment| attachment.mode().is_some());
    Ok(here.any(|attachment| attachment.ifindex() == Some(interface.index)))
}

/// Tells what was done, if it was.
fn tell(done: &Result<Done, Error>, loaded: &Loaded, args: &Attach, replaced: bool) {
    let Ok(Done { interface, attached, .. }) = done else { return };
    let what = What::Attach {
        mode: attached.mode.to_string(),
        generation: attached.generation,
        config: loaded.configured().path.display().to_string(),
        replaced,
        confirm_seconds: args.confirm.map(told::seconds),
        restored: attached.restored.as_ref().map_or(0, |number| *number),
    };
    told::tell([told::Done::on(&interface.name, Some(interface.index), what)]);
}

/// What was done, and where.
struct Done {
    interface: Interface,
    attached: Attached,
    /// Whether pins are in a mount namespace in which the caller does not see them.
    is_transient: bool,
}

fn under_lock(
    args: &Attach,
    interface: &Interface,
    loaded: &Loaded,
    wanted: Wanted,
    taken: &mut Vec<Warning>,
    session: &mut Session<'_>,
) -> Result<Done, Error> {
    // Without privileges, report that, and not that nothing can be compiled.
    Namespace::look()?;
    let configured = loaded.configured();
    let prepared = change::attach::prepare(interface, &configured, wanted)?;
    let of_kernel;
    let (image, metadata) = match &prepared {
        Some(prepared) => (&prepared.image, &prepared.metadata),
        None => {
            of_kernel = lockout::image_of(&loaded.ruleset)?;
            (&of_kernel.0, &of_kernel.1)
        }
    };
    let ruleset = &loaded.ruleset;
    // A NIC gets no run-time entries. A file that cannot be read puts none back, which is told later.
    let kept = prepared.as_ref().and_then(|_| Persisted::read(&interface.name).ok());
    let persisted = kept.as_ref();
    let coming = Coming { interface, ruleset, image, metadata, maps: None, persisted };
    *taken = lockout::warnings(&coming);
    refuse_lockout(&coming, args.force, session)?;
    session.locked(|namespace| {
        let attached = detach::tidy(&namespace)?;
        // What the interface carries may have changed while others had the lock.
        let interface = Interface::by_name(&args.interface)?;
        let attached = change::attach::attach(
            &namespace,
            &attached,
            &interface,
            &configured,
            wanted,
            prepared,
            args.confirm.map(|life| change::kernel::now() + life.as_millis() as u64),
        )?;
        Ok(Done { interface, attached, is_transient: namespace.is_transient() })
    })
}

/// Refuses a ruleset that would cut off the connection that this command runs in, unless an option
/// says that this is meant.
pub fn refuse_lockout(
    coming: &Coming<'_>,
    force: bool,
    session: &mut Session<'_>,
) -> Result<(), Error> {
    match lockout::cut_off(coming) {
        Some(error) if force => {
            session.reporter.warning(&error.message, None);
            Ok(())
        }
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Warns of what a ruleset takes away from its interface.
pub fn say_taken(taken: &[Warning], session: &mut Session<'_>) {
    for Warning { message, hint } in taken {
        session.reporter.warning(message, Some(hint));
    }
}

/// Replaces the attached program by that of this version.
fn replace(args: &Attach, session: &mut Session<'_>) -> Result<(), Failure> {
    let mut given = match &args.config {
        Some(path) => Some(configuration::load(path, session)?),
        None => None,
    };
    for _ in 0..super::ATTEMPTS {
        let interface = Interface::by_name(&args.interface).map_err(Error::from)?;
        let name = &interface.name;
        let namespace = Namespace::look()?.ok_or_else(|| not_attached(name, &[]))?;
        let before = namespace.attachments()?;
        let here = |attachment: &&Attachment| attachment.ifindex() == Some(interface.index);
        let before = before.find(name)?.filter(here);
        let (before, mode) = before
            .and_then(|attachment| Some((attachment, attachment.mode()?)))
            .ok_or_else(|| not_attached(name, &[]))?;
        refuse_other_mode(args.mode, mode, name)?;
        if before.pending().is_some() {
            return Err(Error::new(format!(
                "what is attached to {} waits to be confirmed: its program cannot be exchanged yet",
                plain(name)
            ))
            .hint(format!("`xdpctl confirm {}` keeps it, then try again", word(name)))
            .into());
        }
        let loaded = match (given.take(), before.in_force()) {
            (Some(loaded), _) => loaded,
            (None, in_force) => {
                let path = match (&args.config, in_force) {
                    (Some(path), _) => path.clone(),
                    (None, Some(in_force)) => {
                        let given = configuration::given_at_attach(name, &in_force.metadata);
                        configuration::or_told(given, session)?.to_owned()
                    }
                    (None, None) => default_configuration(name, session)?,
                };
                configuration::load(&path, session)?
            }
        };
        if let Some(in_force) = before.in_force() {
            configuration::refuse_shrunk(&loaded, &in_force.metadata, session)?;
        }
        let notes = advice_for(&interface, &loaded.ruleset, Some(mode));
        let mut taken = Vec::new();
        let done = exchange(before, &interface, &loaded, mode, args.force, &mut taken, session);
        let done = match done.transpose() {
            None => continue,
            Some(done) => done,
        };
        tell(&done, &loaded, args, true);
        session.reporter.diagnostics(&loaded.warnings);
        say_taken(&taken, session);
        say_what_never_matches_on(&interface, &loaded.ruleset, session);
        say_notes(&notes, session);
        // The maps that are kept have the switch, so those before say how it stands.
        bypass::warn(before, session);
        say_result(&done?, &loaded.ruleset, true, session);
        return Ok(());
    }
    Err(super::outpaced().into())
}

/// Compiles and exchanges; `None` if another command changed something in between.
fn exchange(
    before: &Attachment,
    interface: &Interface,
    loaded: &Loaded,
    mode: Mode,
    force: bool,
    taken: &mut Vec<Warning>,
    session: &mut Session<'_>,
) -> Result<Option<Done>, Error> {
    let configured = loaded.configured();
    let prepared = replace::prepare(before, interface, &configured, mode)?;
    let coming = Coming {
        interface,
        ruleset: &loaded.ruleset,
        image: &prepared.image,
        metadata: &prepared.metadata,
        maps: before.readable().ok().map(|(maps, _)| maps),
        persisted: None,
    };
    *taken = lockout::warnings(&coming);
    refuse_lockout(&coming, force, session)?;
    session.locked(|namespace| {
        let attached = detach::tidy(&namespace)?;
        let attached = replace::replace(&namespace, &attached, before, &configured, &prepared)?;
        let is_transient = namespace.is_transient();
        Ok(attached.map(|attached| Done { interface: interface.clone(), attached, is_transient }))
    })
}

/// The configuration file that is read if none is named.
fn default_configuration(interface: &str, session: &mut Session<'_>) -> Result<PathBuf, Failure> {
    // A name with a slash in it must not lead elsewhere; no interface has one.
    let own = Path::new(ETC).join(format!("{}.toml", interface.replace('/', "_")));
    let common = Path::new(ETC).join("xdpctl.toml");
    // If a file is there but unreadable, reading it reports that.
    let missing = |path: &Path| path.symlink_metadata().is_err_and(|e| e.kind() == NotFound);
    match (missing(&own), missing(&common)) {
        (false, _) => Ok(own),
        (true, false) => Ok(common),
        (true, true) => {
            session.reporter.error(
                &format!(
                    "no configuration for {interface}: there is neither {} nor {}",
                    own.display(),
                    common.display()
                ),
                Some("write one of them, or name a file with `-c FILE`"),
            );
            Err(Failure::Configuration)
        }
    }
}

fn refuse_other_mode(asked: ModeArg, present: Mode, name: &str) -> Result<(), Error> {
    let as_word = word(name);
    let same = match asked {
        ModeArg::Auto => true,
        ModeArg::Native => present == Mode::Native,
        ModeArg::Offload => present == Mode::Offload,
        ModeArg::Generic => present == Mode::Generic,
    };
    if same {
        return Ok(());
    }
    Err(Error::new(format!("{name} is attached in {present} mode, which a link keeps for life"))
        .hint(format!("`xdpctl detach {as_word}`, then attach in the other mode")))
}

fn advice_for(interface: &Interface, ruleset: &Ruleset, mode: Option<Mode>) -> Vec<Note> {
    let others = Interface::all().unwrap_or_default();
    let plan = Plan {
        mode,
        vlan_rules: ruleset.rules.iter().any(|rule| rule.matches.names_vlan()),
        redirects: ruleset.rules.iter().any(|rule| {
            matches!(
                rule.action,
                RuleAction::Redirect { .. } | RuleAction::Bounce { .. } | RuleAction::SynCookie
            )
        }),
    };
    let mut notes = advice::attach(interface, &others, plan);
    if !ruleset.services.is_empty()
        && let Ok(host) = Host::of(interface)
    {
        notes.extend(serving::notes(ruleset, &host));
        notes.extend(checking::note(ruleset));
        // Only for what is told, as below.
        let attached = attached_interfaces().unwrap_or_default();
        let replies = serving::replies_elsewhere(ruleset, interface, &others, &attached);
        notes.extend(replies.ok().flatten());
        if mode != Some(Mode::Generic) {
            // Only for what is told.
            notes.extend(serving::by_stack(ruleset, interface, &others).unwrap_or_default());
        }
    }
    notes
}

/// The interfaces that have xdpctl's program.
fn attached_interfaces() -> Option<Vec<u32>> {
    let (attachments, _) = Namespace::look().ok()??.attachments_each().ok()?;
    Some(attachments.iter().filter_map(|it| it.ifindex()).collect())
}

pub fn say_notes(notes: &[Note], session: &mut Session<'_>) {
    for note in notes {
        session.reporter.note(&note.message, note.hint.as_deref());
    }
}

fn say_result(done: &Done, ruleset: &Ruleset, replaced: bool, session: &mut Session<'_>) {
    let Done { interface, attached, is_transient } = done;
    if *is_transient {
        session.reporter.note(
            "pins are on the machine's own /sys/fs/bpf, not on the one seen here, which ends with \
             this shell",
            None,
        );
    }
    say_redirects(interface, attached.mode, &attached.redirects, session);
    say_sent_back(interface, attached.mode, ruleset, session);
    for (mode, why) in &attached.instead_of {
        session.reporter.note(&format!("not in {mode} mode: {why}"), None);
    }
    for lost in &attached.lost {
        session.reporter.warning(&format!("{}: {lost}", interface.name), None);
    }
    match &attached.restored {
        Ok(0) => {}
        Ok(number) => {
            let told = format!("put back {}", counted(*number, "run-time entry"));
            session.reporter.note(&told, None);
        }
        Err(error) => session.reporter.warning(
            &format!("not all run-time entries were put back: {}", error.message),
            error.hint.as_deref(),
        ),
    }
    super::say_deferred(&interface.name, &attached.deferred, session);
    let Attached { mode, generation, .. } = attached;
    let name = plain(&interface.name);
    let verb = if replaced { "replaced the program on" } else { "attached to" };
    session.print_done(format_args!("{verb} {name} in {mode} mode, generation {generation}\n"));
}

fn say_what_never_matches_on(interface: &Interface, ruleset: &Ruleset, session: &mut Session<'_>) {
    // If the link type is unknown, attaching fails and says so.
    if let Ok(link_type) = interface.link_type() {
        say_never_matching(&interface.name, link_type, ruleset, session);
    }
}

/// Warns of rules that name MAC addresses or VLAN ids on a link without Ethernet headers.
pub fn say_never_matching(
    name: &str,
    link_type: LinkType,
    ruleset: &Ruleset,
    session: &mut Session<'_>,
) {
    if link_type == LinkType::Ethernet {
        return;
    }
    let never: Vec<String> = ruleset
        .rules
        .iter()
        .filter(|rule| rule.matches.asks_ethernet())
        .map(|rule| format!("\"{}\"", rule.name))
        .collect();
    if !never.is_empty() {
        session.reporter.warning(
            &format!(
                "packets of {} have neither MAC addresses nor VLAN tags: what names one never \
                 matches: {}",
                plain(name),
                never.join(", ")
            ),
            None,
        );
    }
}

/// Warns of a ruleset that sends frames back out of an interface which loses them.
pub fn say_sent_back(
    interface: &Interface,
    mode: Mode,
    ruleset: &Ruleset,
    session: &mut Session<'_>,
) {
    let bounces = ruleset
        .rules
        .iter()
        .any(|it| matches!(it.action, RuleAction::Bounce { .. } | RuleAction::SynCookie));
    let answers = ruleset.domains.iter().any(|list| list.action.answers());
    let serves = services::send_back(&ruleset.service_settings, &ruleset.services);
    if !bounces && !answers && !serves {
        return;
    }
    let others = Interface::all().unwrap_or_default();
    match sending::sent_back(interface, mode, &others) {
        Some(SentBack::Lost(note)) => {
            session.reporter.warning(&note.message, note.hint.as_deref());
        }
        Some(SentBack::Unknown(note)) => session.reporter.note(&note.message, note.hint.as_deref()),
        None => {}
    }
}

/// Reports what there is to know about the interfaces that rules redirect to.
pub fn say_redirects(
    interface: &Interface,
    mode: Mode,
    outcomes: &[Outcome],
    session: &mut Session<'_>,
) {
    for outcome in outcomes {
        if let Some(carrier) = &outcome.pass_program {
            session.reporter.note(
                &format!(
                    "{carrier} carries a pass program, so that {} takes redirected frames",
                    outcome.target.name
                ),
                None,
            );
        }
        if let Some(problem) = outcome.problem() {
            session.reporter.warning(&problem, None);
        }
        // If a pass program was attached, or could not be, what the driver needs is said already.
        let told = outcome.pass_program.is_some() || outcome.problem().is_some();
        let notes = if told {
            sending::redirect_target(interface, &outcome.target)
        } else {
            sending::redirect(interface, mode, &outcome.target)
        };
        say_notes(&notes, session);
    }
}
