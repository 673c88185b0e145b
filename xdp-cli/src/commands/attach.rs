//! `xdpctl attach`.

use std::io::ErrorKind::NotFound;
use std::path::{Path, PathBuf};

use xdp_common::packet::LinkType;

use super::{Failure, Session, configuration};
use crate::args::{Attach, ModeArg};
use crate::datapath::attached::attachment::Attachment;
use crate::datapath::attached::namespace::{Locked, Namespace, not_attached};
use crate::datapath::change::attach::Wanted;
use crate::datapath::change::configured::Configured;
use crate::datapath::change::outcome::{Attached, Deferred};
use crate::datapath::change::redirect_targets::Outcome;
use crate::datapath::change::{self, detach, replace};
use crate::datapath::error::Error;
use crate::datapath::host::advice::{self, Plan};
use crate::datapath::host::interface::{Interface, Mode};
use crate::notation::plain;
use crate::ruleset::{Rule, RuleAction, Ruleset, Vlan};

/// Where configurations are looked for.
const ETC: &str = "/etc/xdpctl";

/// Attaches, or exchanges what is attached.
pub fn run(args: &Attach, session: &mut Session<'_>) -> Result<(), Failure> {
    // An interface that is not there is told before anything that was named after it.
    Interface::by_name(&args.interface).map_err(Error::from)?;
    // Then the configuration: its mistakes are told without root too.
    let mut given = args.config.clone();
    let mut loaded = match (&given, args.replace) {
        // What is attached knows its file, but it can be asked only under the lock.
        (None, true) => None,
        _ => {
            let path = match given.take() {
                Some(path) => path,
                None => default_configuration(&args.interface, session)?,
            };
            Some(configuration::load(&path, session)?)
        }
    };
    let namespace = Namespace::lock()?;
    detach::tidy(&namespace)?;
    let interface = Interface::by_name(&args.interface).map_err(Error::from)?;
    let name = &interface.name;

    let attached = if args.replace {
        let attachment = namespace
            .attachment(name)?
            .filter(|attachment| attachment.ifindex() == Some(interface.index))
            .ok_or_else(|| not_attached(name, &[]))?;
        let mode = present_mode(&interface, &attachment)?;
        refuse_other_mode(args.mode, mode, name)?;
        let loaded = match loaded.take() {
            Some(loaded) => loaded,
            None => {
                let file = match attachment.in_force() {
                    Some(in_force) => in_force.metadata.config.clone(),
                    None => default_configuration(name, session)?,
                };
                configuration::load(&file, session)?
            }
        };
        say_advice(&interface, &loaded.ruleset, Some(mode), session);
        let configured = loaded.configured();
        replace::replace(&namespace, &attachment, &interface, &configured, mode)?
    } else {
        let loaded = loaded.take().ok_or_else(|| Error::new("no configuration was read"))?;
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
        say_advice(&interface, &loaded.ruleset, mode, session);
        let configured: Configured<'_> = loaded.configured();
        change::attach::attach(&namespace, &interface, &configured, wanted)?
    };
    say_result(&namespace, &interface, &attached, args.replace, session)
}

/// The file that is read where none is named.
fn default_configuration(interface: &str, session: &mut Session<'_>) -> Result<PathBuf, Failure> {
    // A name with a slash in it must not lead elsewhere; no interface has one.
    let own = Path::new(ETC).join(format!("{}.toml", interface.replace('/', "_")));
    let common = Path::new(ETC).join("xdpctl.toml");
    // Anything but its absence is for the reader to tell.
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

/// The mode that the attached program runs in.
fn present_mode(interface: &Interface, attachment: &Attachment) -> Result<Mode, Error> {
    interface
        .xdp
        .iter()
        .find(|xdp| xdp.program_id == attachment.program_id())
        .map(|xdp| xdp.mode)
        .ok_or_else(|| {
            Error::new(format!("xdpctl's program is not on {} any more", interface.name))
                .hint(format!("`xdpctl detach {}`, then attach", interface.name))
        })
}

fn refuse_other_mode(asked: ModeArg, present: Mode, name: &str) -> Result<(), Error> {
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
        .hint(format!("`xdpctl detach {name}`, then attach in the other mode")))
}

fn say_advice(
    interface: &Interface,
    ruleset: &Ruleset,
    mode: Option<Mode>,
    session: &mut Session<'_>,
) {
    if let Ok(link_type) = interface.link_type() {
        say_never_matching(&interface.name, link_type, ruleset, session);
    }
    let others = Interface::all().unwrap_or_default();
    let plan = Plan {
        mode,
        vlan_rules: ruleset.rules.iter().any(|rule| rule.matches.vlan.is_some()),
        redirects: ruleset.rules.iter().any(|rule| {
            matches!(rule.action, RuleAction::Redirect { .. } | RuleAction::Bounce { .. })
        }),
    };
    for note in advice::attach(interface, &others, plan) {
        session.reporter.note(&note.message, note.hint.as_deref());
    }
}

fn say_result(
    namespace: &Locked,
    interface: &Interface,
    attached: &Attached,
    replaced: bool,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    if namespace.is_transient() {
        session.reporter.note(
            "pins are on the machine's own /sys/fs/bpf, not on the one seen here, which ends with \
             this shell",
            None,
        );
    }
    say_redirects(interface, attached.mode, &attached.redirects, session);
    for (mode, why) in &attached.instead_of {
        session.reporter.note(&format!("not in {mode} mode: {why}"), None);
    }
    say_deferred(&interface.name, &attached.deferred, session);
    let Attached { mode, generation, .. } = attached;
    let name = plain(&interface.name);
    let verb = if replaced { "replaced the program on" } else { "attached to" };
    session.print(format_args!("{verb} {name} in {mode} mode, generation {generation}\n"))
}

/// Rules that name what the frames of a link without Ethernet headers have not.
pub fn say_never_matching(
    name: &str,
    link_type: LinkType,
    ruleset: &Ruleset,
    session: &mut Session<'_>,
) {
    if link_type == LinkType::Ethernet {
        return;
    }
    let names_ethernet = |rule: &&Rule| {
        let matches = &rule.matches;
        matches.source_mac.is_some()
            || matches.destination_mac.is_some()
            || matches!(matches.vlan, Some(Vlan::Ids(_)))
    };
    let never: Vec<String> = ruleset
        .rules
        .iter()
        .filter(names_ethernet)
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

/// What is left to do for a later command.
pub fn say_deferred(name: &str, deferred: &Deferred, session: &mut Session<'_>) {
    for error in &deferred.0 {
        session.reporter.warning(
            &format!("{name}: the ruleset is in force, but xdpctl {}", error.message),
            Some("the next `xdpctl reload` sees to it"),
        );
    }
}

/// What there is to know about the interfaces that are redirected to.
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
        // What the driver needs is told already where it was seen to, or could not be.
        let told = outcome.pass_program.is_some() || outcome.problem().is_some();
        let notes = if told {
            advice::redirect_target(interface, &outcome.target)
        } else {
            advice::redirect(interface, mode, &outcome.target)
        };
        for note in notes {
            session.reporter.note(&note.message, note.hint.as_deref());
        }
    }
}
