//! The command that tells what happens.

use clap::Args;

#[derive(Args, Debug)]
pub struct Monitor {
    /// Only what happens to this interface [default: to every one of this network namespace]
    #[arg(value_name = "IFACE")]
    pub interface: Option<String>,
    /// Print a JSON object a line for each event
    #[arg(long)]
    pub json: bool,
}
