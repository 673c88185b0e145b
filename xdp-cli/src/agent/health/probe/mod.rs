//! One check of a backend: a protocol a file.

mod exec;
mod fault;
mod http;
mod icmp;
mod tcp;
mod through;
mod tls;
mod udp;

use std::time::{Duration, Instant};

use self::fault::Fault;
use super::plan::Target;
use crate::ruleset::services::check::Probe;
pub use through::Through;
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
pub async fn check(target: &Target, roots: &Roots, through: &Through) -> Outcome {
    let begun = Instant::now();
    let mark = match target.way.as_ref().map(|way| through.mark(way)).transpose() {
        Ok(mark) => mark,
        Err(why) => return Outcome { verdict: Verdict::Unknown(why), took: begun.elapsed() },
    };
    let made = tokio::time::timeout(target.check.timeout, make(target, roots, mark)).await;
    // Where its packets did not leave, that nobody answered says nothing more.
    let made = match (made, mark.and_then(|mark| through.fault(mark))) {
        (Err(_) | Ok(Err(_)), Some(fault)) => Ok(Err(fault)),
        (made, _) => made,
    };
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

/// `mark` is what the check's packets are to have.
async fn make(target: &Target, roots: &Roots, mark: Option<u32>) -> Result<(), Fault> {
    match &target.check.probe {
        Probe::Tcp { send, expect } => {
            tcp::check(target.place(), mark, send.as_deref(), expect.as_deref()).await
        }
        Probe::Udp { send, expect } => {
            udp::check(target.place(), mark, send.as_deref(), expect.as_deref()).await
        }
        Probe::Http(http) => http::check(target.place(), mark, http, roots).await,
        Probe::Icmp => icmp::check(target.place().ip(), mark).await,
        Probe::Exec { command } => exec::check(command, target, mark).await,
    }
}

#[cfg(test)]
mod tests;
