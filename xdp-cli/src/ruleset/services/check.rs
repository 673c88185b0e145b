//! `[service.check]`: how `xdpctl health` finds out whether the backends of a service are up.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A `[service.check]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Check {
    pub probe: Probe,
    // Rulesets that were kept before there was this have none.
    #[serde(default)]
    pub through: Through,
    /// `None` takes the backend's own port, or else the service's first.
    pub port: Option<u16>,
    /// From the beginning of one check of a backend to that of the next.
    pub interval: Duration,
    /// A check that takes longer has failed; at most the interval.
    pub timeout: Duration,
    /// So many failures in a row take a backend out; at least 1.
    pub fall: u8,
    /// So many successes in a row put it in; at least 1.
    pub rise: u8,
    pub if_unwatched: IfUnwatched,
}

/// What a check does.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Probe {
    /// Connects, sends `send`, and waits for an answer with `expect` in it.
    Tcp {
        send: Option<String>,
        expect: Option<String>,
    },
    /// Sends `send`, and waits for an answer with `expect` in it. Without `expect`, any answer will
    /// do, and so will none at all: only an ICMP error is a failure.
    Udp {
        send: Option<String>,
        expect: Option<String>,
    },
    Http(Http),
    /// An echo request, to be answered.
    Icmp,
    /// A program with its arguments, to end with status 0.
    Exec {
        command: Vec<String>,
    },
}

/// A request for a page.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Http {
    /// `None` without TLS.
    pub tls: Option<Tls>,
    /// Whom the request is for; `None` for the backend's address.
    pub host: Option<String>,
    /// Begins with `/`.
    pub path: String,
    /// Inclusive ranges of status codes, sorted, none of which touch.
    pub status: Vec<(u16, u16)>,
    /// What the answer must contain.
    pub body: Option<String>,
}

/// How a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tls {
    /// Whether the certificate must be one that this host trusts, for the name that is asked for.
    pub verify: bool,
}

impl Probe {
    /// As the configuration has it, `type`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Tcp { .. } => "tcp",
            Self::Udp { .. } => "udp",
            Self::Http(Http { tls: None, .. }) => "http",
            Self::Http(Http { tls: Some(_), .. }) => "https",
            Self::Icmp => "icmp",
            Self::Exec { .. } => "exec",
        }
    }
}

/// Where a backend is asked, and which way its packets go there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Through {
    /// At its own address, by the kernel's routes.
    #[default]
    Backend,
    /// At the service's address, the way that the service's packets go.
    Service,
}

impl Through {
    pub const ALL: [Self; 2] = [Self::Backend, Self::Service];

    /// As it is written in a configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Backend => "backend",
            Self::Service => "service",
        }
    }
}

/// What becomes of a backend that was found down, once nobody checks it any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum IfUnwatched {
    /// It stays down.
    #[default]
    Keep,
    /// It is up again after a while.
    Up,
}

impl IfUnwatched {
    /// As it is written in a configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Up => "up",
        }
    }
}

impl Check {
    pub const INTERVAL: Duration = Duration::from_secs(2);
    pub const TIMEOUT: Duration = Duration::from_secs(1);
    pub const FALL: u8 = 3;
    pub const RISE: u8 = 2;
    /// Status codes that mean success.
    pub const STATUS: (u16, u16) = (200, 299);

    /// How long a backend stays down after the last check that found it so: `None` for ever. It is
    /// long enough for the daemon to be started again, and to find the same once more.
    pub fn deadline(&self) -> Option<Duration> {
        match self.if_unwatched {
            IfUnwatched::Keep => None,
            IfUnwatched::Up => {
                let intervals = self.interval.saturating_mul(u32::from(self.fall) + 3);
                Some(intervals.saturating_add(self.timeout))
            }
        }
    }
}
