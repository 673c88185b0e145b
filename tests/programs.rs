//! xdpctl beside the programs that it has to get on with, as Debian has them. `scripts/setup
//! --programs` installs those; `.ci/run` takes these tests although they are ignored elsewhere:
//! `scripts/test --test programs -- --ignored`. They need root.

mod lab;

#[path = "programs/booted.rs"]
mod booted;
#[path = "programs/capture.rs"]
mod capture;
#[path = "programs/completions.rs"]
mod completions;
#[path = "programs/containers.rs"]
mod containers;
#[path = "programs/crowdsec/mod.rs"]
mod crowdsec;
#[path = "programs/docker/mod.rs"]
mod docker;
#[path = "programs/domains/mod.rs"]
mod domains;
#[path = "programs/fail2ban.rs"]
mod fail2ban;
#[path = "programs/host.rs"]
mod host;
#[path = "programs/manual.rs"]
mod manual;
#[path = "programs/package.rs"]
mod package;
#[path = "programs/prometheus.rs"]
mod prometheus;
#[path = "programs/services.rs"]
mod services;
#[path = "programs/syn_flood.rs"]
mod syn_flood;
#[path = "programs/systemd.rs"]
mod systemd;
#[path = "programs/top.rs"]
mod top;
