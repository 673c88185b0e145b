//! Services and their backends.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::entries::note;
use super::time::interval;

#[derive(Args, Debug)]
pub struct Services {
    /// The interface
    #[arg(value_name = "IFACE")]
    pub interface: String,
    /// The service [default: all of them]
    #[arg(value_name = "NAME", conflicts_with = "up")]
    pub name: Option<String>,
    /// Print one JSON array
    #[arg(long)]
    pub json: bool,
    /// Say whether some backend of this service is up: the exit status is 1 where none is
    #[arg(long, value_name = "NAME")]
    pub up: Option<String>,
    /// Show them again and again, until Ctrl-C
    #[arg(long, conflicts_with = "up")]
    pub watch: bool,
    /// Time between two looks, such as 250ms, 10s or `1h 30m`
    #[arg(
        long,
        value_name = "TIME",
        default_value = "1s",
        value_parser = interval,
        requires = "watch"
    )]
    pub interval: Duration,
    /// End after that many looks
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u64).range(1..),
        requires = "watch"
    )]
    pub count: Option<u64>,
}

#[derive(Args, Debug)]
pub struct Backend {
    /// The interface
    #[arg(value_name = "IFACE")]
    pub interface: String,
    /// The service
    #[arg(value_name = "SERVICE")]
    pub service: String,
    /// The backend, by its name in that service
    #[arg(value_name = "BACKEND")]
    pub backend: String,
    /// What holds from now on, whatever the configuration and checks say
    #[arg(value_name = "STATE")]
    pub state: BackendState,
    /// How long it holds, such as 90s, 10m or `1h 30m` [default: until it is said again]
    #[arg(long = "for", value_name = "TIME", value_parser = interval, allow_hyphen_values = true)]
    pub life: Option<Duration>,
    /// A remark that `xdpctl services` shows
    #[arg(long, value_name = "TEXT", value_parser = note, allow_hyphen_values = true)]
    pub note: Option<String>,
}

impl Backend {
    /// What is said together and means nothing.
    pub(super) fn contradiction(&self) -> Option<&'static str> {
        (self.state == BackendState::Auto && self.life.is_some()).then_some(
            "the argument '--for <TIME>' cannot be used with the state 'auto', which holds until something else is \
             said",
        )
    }
}

/// What a command says of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BackendState {
    /// It gets packets
    Up,
    /// It keeps the connections that it has, and gets no new ones
    Drain,
    /// It gets no packets
    Down,
    /// As the configuration and checks say
    Auto,
}

impl BackendState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Drain => "drain",
            Self::Down => "down",
            Self::Auto => "auto",
        }
    }
}
