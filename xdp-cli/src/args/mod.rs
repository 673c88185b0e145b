//! The command line: the commands here, what each of them takes in the files beside.

mod capture;
mod change;
mod entries;
mod health;
mod judge;
mod look;
mod manual;
mod metrics;
mod monitor;
mod services;
mod time;
mod top;

pub use capture::Capture;
pub use change::{Attach, Bypass, Confirm, Detach, ModeArg, Reload, Switch};
pub use entries::{Bans, Block, Prefixes, Put, Unblock};
pub use health::Health;
pub use judge::{
    Explain, FragmentArg, Headers, Judge, LinkTypeArg, LookedUp, Lookup, Mac, NO_BYTES, Named,
    PacketArg, ProtocolArg,
};
pub use look::{Check, Limits, Show, Stats, Status};
pub use manual::{ManPage, Manual};
pub use metrics::{Listen, Metrics};
pub use monitor::Monitor;
pub use services::{Backend, BackendState, Services};
pub use top::Top;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

/// Packet filter and redirector on XDP. Rulesets are TOML files; `xdpctl reload` exchanges a
/// ruleset between two packets, without touching the program.
#[derive(Debug, Parser)]
#[command(name = "xdpctl", version, max_term_width = 100)]
pub struct Cli {
    /// Say each step on standard error; twice, with details and the verifier's log
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Refuses arguments that contradict the value of another one, which clap cannot be told of.
    ///
    /// # Errors
    ///
    /// The first of them, as clap says others.
    pub fn without_contradictions(self) -> Result<Self, clap::Error> {
        let Command::Backend(args) = &self.command else { return Ok(self) };
        let Some(told) = args.contradiction() else { return Ok(self) };
        let mut all = Self::command();
        all.build();
        let command = all.find_subcommand_mut("backend").expect("the command that was given");
        Err(command.error(ErrorKind::ArgumentConflict, told))
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Put the program with a ruleset on an interface
    ///
    /// Checks the configuration, loads the program, fills its maps, attaches and pins. Nothing
    /// stays running: the data plane lives on in the kernel until it is detached.
    Attach(Attach),
    /// Read configurations again and put them in force
    ///
    /// Checks all of them first, then exchanges each ruleset in one step, and says what is different
    /// from the ruleset before. Whatever fails leaves the rulesets that were in force.
    Reload(Reload),
    /// Keep what `attach --confirm` or `reload --confirm` put in force, before its time is over
    Confirm(Confirm),
    /// Let everything pass, whatever the ruleset says, until it is switched off
    ///
    /// The emergency switch: it acts from the next packet on, before everything else, and on malformed
    /// frames too. It stays on over reloads; `status` and `stats` show it.
    Bypass(Bypass),
    /// Take the program off and remove every pin
    Detach(Detach),
    /// Show counters with rates until Ctrl-C
    Stats(Stats),
    /// Show counters, rates and the busiest sources on the whole screen, until `q`
    ///
    /// Verdicts with their rates, lists and rules by rate, and the sources that send most, which are
    /// found in a sample of the frames. `b` blocks the selected source for 10 minutes; `?` shows all
    /// keys. It needs a terminal; `stats` needs none.
    Top(Top),
    /// Tell what happens, until Ctrl-C
    ///
    /// Attach, reload with what it changed, detach, confirm, bypass; run-time entries set, removed and
    /// ended; interfaces up, down, renamed, moved or gone, and those that rules redirect to. Each with who did it,
    /// where a command did. What happened before is in the journal (`journalctl -t xdpctl`).
    Monitor(Monitor),
    /// Show what is attached, and what is wrong
    ///
    /// The exit status is 1 where something is wrong.
    Status(Status),
    /// Show services and their backends: states, shares, packets, and what was lost
    Services(Services),
    /// Show rules with limits: what was under and over, and who is over most
    ///
    /// The sources, destinations or networks that were over within the last ten minutes, up to ten of each rule, with at
    /// least how many of their packets were.
    Limits(Limits),
    /// Say whether a backend of a service gets packets, at once and without a reload
    ///
    /// It holds over reloads, whatever the configuration and checks of health say, until it is said again
    /// or its time is over; no process has to be there for that. `drain` keeps the connections that the backend has.
    Backend(Backend),
    /// Show the ruleset in force, as a configuration that loads again
    ///
    /// It is what was loaded: what list files gave is written out as it was then, whatever they hold
    /// now. Prefixes and values of rules stand in order, each once; defaults are written out.
    Show(Show),
    /// Say whether a configuration would load; needs no root and no kernel
    Check(Check),
    /// Drop what comes from an address or a prefix, at once and without a reload
    ///
    /// The entry holds until it is removed or its time is over, whatever the ruleset says but for
    /// its allowlists, and over reloads. The longest entry that holds a source decides; for one prefix,
    /// each owner has an entry, and of these an allow comes before a block while it lives.
    Block(Block),
    /// Let pass what comes from an address or a prefix, whatever the ruleset says
    ///
    /// An entry as that of `block`, and asked before allowlists, blocklists and rules.
    Allow(Put),
    /// Remove entries of `block` and `allow`
    ///
    /// Of each prefix given, the run-time entries that have exactly this prefix, whether they block or
    /// allow, of one owner or of all. Entries of longer and shorter prefixes stay, and so does what the configuration lists.
    /// Where a prefix has no entry, nothing is removed at all, and the status is 1; with
    /// --all-interfaces, an entry on one of them is enough.
    Unblock(Unblock),
    /// Show the entries of `block` and `allow`
    Bans(Bans),
    /// Say what the attached program would do to a frame, and what decides it
    ///
    /// The program itself is asked, loaded once more on the maps in force with counters of its own:
    /// no live counter moves. With --config, a configuration is asked that need not be in force. The
    /// frame is given in hexadecimal, comes from a capture, or is built from its addresses and ports.
    ///
    /// Where a service takes the frame, its backend is chosen as for one that came in by the interface, and
    /// nothing is remembered of it. With --config, no connection, no check and no command is known, and
    /// routes are not either: a frame that goes by them is taken to be redirected, and keeps its MAC addresses.
    Explain(Box<Explain>),
    /// Show every list and run-time entry that holds an address or a name, the deciding one first
    Lookup(Lookup),
    /// Give Prometheus what `stats` and `status` know, of every attached interface
    ///
    /// Interfaces that are attached and detached meanwhile come and go. Names of rules and lists are
    /// among the labels, addresses are not. It takes no lock: other commands never wait for it.
    Metrics(Metrics),
    /// Check the backends of services, until Ctrl-C
    ///
    /// As `[service.check]` of each service says. A backend that fails so many times in a row gets no new
    /// connections, until it has succeeded so many times in a row. A reload is noticed within a second.
    /// When this ends, what was found last stays, or ends by itself where `if_unwatched = "up"`. Checks
    /// with `through = "service"` take a tun device and routing rules, as long as this runs.
    Health(Health),
    /// Show frames as they come in, with verdict, reason, rule and entry, until Ctrl-C
    ///
    /// The frames are those that the attached program judges, as it got them: before MAC addresses are
    /// rewritten, and those too that it drops. Of services, they are those that leave. A line a frame, or pcapng with comments. Where they are
    /// not read fast enough, frames are lost to the capture and counted; what becomes of them stays the
    /// same. Two captures can run on an interface at a time.
    Capture(Capture),
    /// Print a shell's completion script
    Completions { shell: Shell },
    /// Print a manual page (roff)
    Man(Manual),
}

impl Command {
    /// Whether what is printed is to be JSON, errors too. `check` prints its own.
    pub fn is_json(&self) -> bool {
        match self {
            Self::Reload(args) => args.json,
            Self::Stats(args) => args.json,
            Self::Status(args) => args.json,
            Self::Show(args) => args.json,
            Self::Bans(args) => args.json,
            Self::Explain(args) => args.json,
            Self::Lookup(args) => args.json,
            Self::Monitor(args) => args.json,
            Self::Services(args) => args.json,
            Self::Limits(args) => args.json,
            Self::Attach(_)
            | Self::Backend(_)
            | Self::Bypass(_)
            | Self::Confirm(_)
            | Self::Detach(_)
            | Self::Check(_)
            | Self::Capture(_)
            | Self::Block(_)
            | Self::Allow(_)
            | Self::Unblock(_)
            | Self::Metrics(_)
            | Self::Health(_)
            | Self::Top(_)
            | Self::Completions { .. }
            | Self::Man(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
