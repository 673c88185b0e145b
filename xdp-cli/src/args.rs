//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;

/// Packet filter and redirector on XDP. Rulesets are TOML files; `xdpctl reload` exchanges a
/// ruleset between two packets, without touching the program.
#[derive(Debug, Parser)]
#[command(name = "xdpctl", version, disable_help_subcommand = true, max_term_width = 100)]
pub struct Cli {
    /// Say more on standard error; twice, everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    #[command(subcommand)]
    pub command: Command,
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
    /// Checks all of them first, then exchanges each ruleset in one step. Whatever fails leaves
    /// the rulesets that were in force.
    Reload(Reload),
    /// Take the program off and remove every pin
    Detach(Detach),
    /// Show counters with rates until Ctrl-C
    Stats(Stats),
    /// Show what is attached, and what is wrong
    Status(Status),
    /// Say whether a configuration would load; needs no root and no kernel
    Check(Check),
    /// Drop what comes from an address or a prefix, at once and without a reload
    ///
    /// The entry holds until it is removed or its time is over, whatever the ruleset says but for
    /// its allowlists, and over reloads. The longest entry that holds a source decides; the last
    /// command for a prefix replaces the one before.
    Block(Put),
    /// Let pass what comes from an address or a prefix, whatever the ruleset says
    ///
    /// An entry as that of `block`, and asked before allowlists, blocklists and rules.
    Allow(Put),
    /// Remove entries of `block` and `allow`
    ///
    /// Those of exactly the prefixes given. Where one has none, the others are removed all the
    /// same, and the status is 1.
    Unblock(Unblock),
    /// Show the entries of `block` and `allow`
    Bans(Bans),
    /// Print a shell's completion script
    Completions { shell: Shell },
    /// Print the manual page (roff)
    Man,
}

#[derive(Args, Debug)]
pub struct Attach {
    /// The interface
    #[arg(value_name = "IFACE")]
    pub interface: String,
    /// The configuration [default: /etc/xdpctl/IFACE.toml, else /etc/xdpctl/xdpctl.toml]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Where the program runs; `auto` is the best that can be had, any other is that or an error
    #[arg(long, value_enum, default_value_t = ModeArg::Auto)]
    pub mode: ModeArg,
    /// Exchange the program of an attached interface for this version's, in the same link and
    /// without a gap; counters go on
    #[arg(long)]
    pub replace: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ModeArg {
    Auto,
    /// In the driver
    Native,
    /// On the network card itself
    Offload,
    /// In the network stack: works with every driver, slower
    Generic,
}

#[derive(Args, Debug)]
pub struct Reload {
    /// The interface [default: every attached one of this network namespace]
    #[arg(value_name = "IFACE")]
    pub interface: Option<String>,
    /// Another configuration, this once [default: the one given at attach]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct Detach {
    /// The interface
    #[arg(value_name = "IFACE")]
    pub interface: Option<String>,
    /// Every attached interface of this network namespace
    #[arg(long)]
    pub all: bool,
}

#[derive(Args, Debug)]
pub struct Stats {
    /// The interface [default: every attached one of this network namespace]
    #[arg(value_name = "IFACE")]
    pub interface: Option<String>,
    /// Time between two samples, such as 250ms, 10s or `1h 30m`
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    pub interval: Duration,
    /// End after that many samples
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Print one sample
    #[arg(long, conflicts_with = "count")]
    pub once: bool,
    /// Print a JSON object a line for each sample
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Status {
    /// The interface [default: every attached one of this network namespace]
    #[arg(value_name = "IFACE")]
    pub interface: Option<String>,
    /// Print a JSON array
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Check {
    /// The configuration
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
}

/// How prefixes are given.
#[derive(Args, Debug)]
pub struct Prefixes {
    /// Addresses, prefixes and ranges, such as 203.0.113.7, 2001:db8:bad::/48 or
    /// 203.0.113.8-203.0.113.21; or `-`: read them from standard input, one a line, as in list
    /// files
    #[arg(value_name = "PREFIX", required = true)]
    pub prefixes: Vec<String>,
}

#[derive(Args, Debug)]
pub struct Put {
    /// The interface
    #[arg(value_name = "IFACE")]
    pub interface: String,
    #[command(flatten)]
    pub prefixes: Prefixes,
    /// How long the entry lives, such as 90s, 10m or `1h 30m` [default: until it is removed]
    #[arg(long = "for", value_name = "TIME", value_parser = interval, allow_hyphen_values = true)]
    pub life: Option<Duration>,
    /// A remark that `xdpctl bans` shows
    #[arg(long, value_name = "TEXT", value_parser = note, allow_hyphen_values = true)]
    pub note: Option<String>,
}

#[derive(Args, Debug)]
pub struct Unblock {
    /// The interface
    #[arg(value_name = "IFACE")]
    pub interface: String,
    #[command(flatten)]
    pub prefixes: Prefixes,
}

#[derive(Args, Debug)]
pub struct Bans {
    /// The interface
    #[arg(value_name = "IFACE")]
    pub interface: String,
    /// Print a JSON array
    #[arg(long)]
    pub json: bool,
}

/// Longest note, in characters.
const NOTE: usize = 200;

/// A note that fits on a line.
fn note(text: &str) -> Result<String, String> {
    let length = text.chars().count();
    if length > NOTE {
        return Err(format!("it has {length} characters, {NOTE} are the most"));
    }
    if text.trim().is_empty() {
        return Err("it is empty; leave `--note` away for an entry without one".to_owned());
    }
    if let Some(control) = text.chars().find(|character| character.is_control()) {
        return Err(format!("a control character ({control:?}) has no place in a note"));
    }
    Ok(text.to_owned())
}

/// A duration that is not nothing.
fn interval(text: &str) -> Result<Duration, String> {
    let duration: Duration = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; a time is written as 250ms, 10s or \"1h 30m\""))?;
    if duration.is_zero() {
        return Err("it must be longer than nothing".to_owned());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn intervals() {
        assert_eq!(interval("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(interval("1h 30m"), Ok(Duration::from_secs(5400)));
        assert!(interval("0s").is_err());
        assert!(interval("10").is_err());
    }

    #[test]
    fn notes() {
        assert_eq!(note("ssh, 5 times"), Ok("ssh, 5 times".to_owned()));
        assert!(note(&"é".repeat(200)).is_ok());
        assert_eq!(note(&"é".repeat(201)).unwrap_err(), "it has 201 characters, 200 are the most");
        assert!(note(" ").unwrap_err().contains("empty"));
        assert!(note("a\nb").unwrap_err().contains("control character"));
    }
}
