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
}
