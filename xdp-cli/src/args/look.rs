//! Commands that only look.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};

use super::time::interval;

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
    /// Show also what has counted nothing, as JSON always has
    #[arg(long)]
    pub all: bool,
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
pub struct Limits {
    /// The interface
    #[arg(value_name = "IFACE")]
    pub interface: String,
    /// Print one JSON array
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Show {
    /// The interface [default: every attached one of this network namespace]
    #[arg(value_name = "IFACE")]
    pub interface: Option<String>,
    /// Name list files in place of the prefixes that they gave
    #[arg(short, long)]
    pub terse: bool,
    /// Print a JSON array
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Check {
    /// The configuration; `-` is standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
}
