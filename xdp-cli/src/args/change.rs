//! Commands that put a program or a ruleset in force, or take it off.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};

use super::time::interval;

#[derive(Args, Debug)]
pub struct Attach {
    /// The interface
    #[arg(value_name = "IFACE")]
    pub interface: String,
    /// The configuration; `-` is standard input [default: /etc/xdpctl/IFACE.toml, else /etc/xdpctl/xdpctl.toml]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Where the program runs; `auto` is the best that can be had, any other is that or an error
    #[arg(long, value_enum, default_value_t = ModeArg::Auto)]
    pub mode: ModeArg,
    /// Where xdpctl is attached already, exchange the program for this version's, in the same link
    /// and without a gap, and read the configuration again; counters go on
    #[arg(long)]
    pub replace: bool,
    /// Also where the ruleset would cut off the connection that this command runs in
    #[arg(long)]
    pub force: bool,
    /// Take it off again unless it is confirmed within that time, such as 30s: by Enter in this
    /// terminal, or by `xdpctl confirm IFACE` from another. However this command ends, what is not
    /// confirmed ends with it
    #[arg(long, value_name = "TIME", value_parser = interval, conflicts_with = "replace")]
    pub confirm: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ModeArg {
    Auto,
    /// In the driver
    Native,
    /// On the NIC itself
    Offload,
    /// In the network stack: works with every driver, slower
    Generic,
}

#[derive(Args, Debug)]
pub struct Reload {
    /// The interface [default: every attached one of this network namespace]
    #[arg(value_name = "IFACE")]
    pub interface: Option<String>,
    /// Another configuration, this once; `-` is standard input [default: the one given at attach]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Also where the ruleset would cut off the connection that this command runs in
    #[arg(long)]
    pub force: bool,
    /// Say what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Have the ruleset before come back unless the new one is confirmed within that time, such as
    /// 30s: by Enter in this terminal, or by `xdpctl confirm IFACE` from another. The program in the
    /// kernel keeps the time: it goes back even if this command is killed
    #[arg(long, value_name = "TIME", value_parser = interval, conflicts_with = "dry_run")]
    pub confirm: Option<Duration>,
    /// Print a JSON object a line for each interface
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Bypass {
    /// The interface
    #[arg(value_name = "IFACE")]
    pub interface: String,
    /// Whether everything is to pass
    #[arg(value_enum, value_name = "STATE")]
    pub state: Switch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
}

#[derive(Args, Debug)]
pub struct Confirm {
    /// The interface
    #[arg(value_name = "IFACE")]
    pub interface: String,
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
