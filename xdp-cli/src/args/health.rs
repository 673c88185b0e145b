//! The command that checks the backends of services.

use clap::Args;

#[derive(Args, Debug)]
pub struct Health {
    /// Only the services of this interface [default: those of every one of this network namespace]
    #[arg(value_name = "IFACE")]
    pub interface: Option<String>,
    /// Check each backend until it is known whether it is up, say so, print what was found, and
    /// end: with status 1 where a service has no backend that is up
    #[arg(long)]
    pub once: bool,
}
