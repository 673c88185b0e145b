//! What there is to check.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::ruleset::Ruleset;
use crate::ruleset::services::State;
use crate::ruleset::services::check::Check;

/// A backend of a service, and how to check it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    pub service: String,
    pub backend: String,
    pub address: IpAddr,
    /// 0 where the check has none.
    pub port: u16,
    pub check: Arc<Check>,
}

impl Target {
    pub fn place(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}

/// What a ruleset has checked, and what it has not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    pub checked: Vec<Target>,
    /// Services and backends that nobody checks.
    pub unchecked: Vec<(String, String)>,
}

impl Targets {
    pub fn of(ruleset: &Ruleset) -> Self {
        let mut targets = Self::default();
        for service in &ruleset.services {
            let check = service.check.clone().map(Arc::new);
            for backend in &service.backends {
                // One that the configuration takes out gets nothing, whatever a check finds.
                match &check {
                    Some(check) if backend.state != State::Down => {
                        let (address, port) = service.checked_at(check, backend);
                        targets.checked.push(Target {
                            service: service.name.clone(),
                            backend: backend.name.clone(),
                            address,
                            port,
                            check: Arc::clone(check),
                        });
                    }
                    _ => targets.unchecked.push((service.name.clone(), backend.name.clone())),
                }
            }
        }
        targets
    }
}
