//! What `top` takes.

use std::time::Duration;

use clap::Args;

use super::time::interval;

#[derive(Args, Debug)]
pub struct Top {
    /// The interface
    #[arg(value_name = "IFACE")]
    pub interface: String,
    /// Time between two pictures, such as 250ms, 2s or 10s; a longer one for a slow line
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    pub interval: Duration,
}
