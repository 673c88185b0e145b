//! One check of a backend: a protocol a file.

mod exec;
mod fault;
mod http;
mod icmp;
mod tcp;
mod tls;
mod udp;

use std::time::{Duration, Instant};

use self::fault::Fault;
use super::plan::Target;
use crate::ruleset::services::check::Probe;
pub use tls::Roots;

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub verdict: Verdict,
    pub took: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Ok,
    Failed(String),
    /// It could not be made, for a reason that lies with this host and not with the backend. It
    /// says nothing of the backend, so it does not count.
    Unknown(String),
}

/// Checks a backend, once. It takes no longer than the check's timeout.
pub async fn check(target: &Target, roots: &Roots) -> Outcome {
    let begun = Instant::now();
    let made = tokio::time::timeout(target.check.timeout, make(target, roots)).await;
    let verdict = match made {
        Ok(Ok(())) => Verdict::Ok,
        Ok(Err(Fault::Failed(message))) => Verdict::Failed(message),
        Ok(Err(Fault::Unknown(message))) => Verdict::Unknown(message),
        Err(_) if udp::may_be_silent(&target.check.probe) => Verdict::Ok,
        Err(_) => {
            let after = humantime::format_duration(target.check.timeout);
            Verdict::Failed(format!("no answer within {after}"))
        }
    };
    Outcome { verdict, took: begun.elapsed() }
}

async fn make(target: &Target, roots: &Roots) -> Result<(), Fault> {
    match &target.check.probe {
        Probe::Tcp { send, expect } => {
            tcp::check(target.place(), send.as_deref(), expect.as_deref()).await
        }
        Probe::Udp { send, expect } => {
            udp::check(target.place(), send.as_deref(), expect.as_deref()).await
        }
        Probe::Http(http) => http::check(target.place(), http, roots).await,
        Probe::Icmp => icmp::check(target.address).await,
        Probe::Exec { command } => exec::check(command, target).await,
    }
}

#[cfg(test)]
mod tests;
