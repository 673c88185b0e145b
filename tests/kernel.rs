//! Whole-program tests against the real kernel, in network namespaces. They need root.

#[allow(dead_code, reason = "made for the model's tests, which use all of it")]
#[path = "model/dice.rs"]
mod dice;
mod lab;

#[path = "kernel/bypass.rs"]
mod bypass;
#[path = "kernel/capture/mod.rs"]
mod capture;
#[path = "kernel/caught.rs"]
mod caught;
#[path = "kernel/changes.rs"]
mod changes;
#[path = "kernel/configured.rs"]
mod configured;
#[path = "kernel/confirm.rs"]
mod confirm;
#[path = "kernel/deadlines.rs"]
mod deadlines;
#[path = "kernel/domains.rs"]
mod domains;
#[path = "kernel/explain/mod.rs"]
mod explain;
#[path = "kernel/faults/mod.rs"]
mod faults;
#[path = "kernel/files.rs"]
mod files;
#[path = "kernel/foreign.rs"]
mod foreign;
#[path = "kernel/forwarded.rs"]
mod forwarded;
#[path = "kernel/generic.rs"]
mod generic;
#[path = "kernel/gone.rs"]
mod gone;
#[path = "kernel/health.rs"]
mod health;
#[path = "kernel/journal.rs"]
mod journal;
#[path = "kernel/killed.rs"]
mod killed;
#[path = "kernel/limits.rs"]
mod limits;
#[path = "kernel/lockout.rs"]
mod lockout;
#[path = "kernel/metrics/mod.rs"]
mod metrics;
#[path = "kernel/monitor.rs"]
mod monitor;
#[path = "kernel/mounts.rs"]
mod mounts;
#[path = "kernel/moved.rs"]
mod moved;
#[path = "kernel/namespaces.rs"]
mod namespaces;
#[path = "kernel/notes.rs"]
mod notes;
#[path = "kernel/owners.rs"]
mod owners;
#[path = "kernel/persisted.rs"]
mod persisted;
#[path = "kernel/raw_links.rs"]
mod raw_links;
#[path = "kernel/readme.rs"]
mod readme;
#[path = "kernel/redirects.rs"]
mod redirects;
#[path = "kernel/refusals.rs"]
mod refusals;
#[path = "kernel/replace.rs"]
mod replace;
#[path = "kernel/replies.rs"]
mod replies;
#[path = "kernel/replies_flood.rs"]
mod replies_flood;
#[path = "kernel/runtime.rs"]
mod runtime;
#[path = "kernel/selftest.rs"]
mod selftest;
#[path = "kernel/served.rs"]
mod served;
#[path = "kernel/services/mod.rs"]
mod services;
#[path = "kernel/services_icmp/mod.rs"]
mod services_icmp;
#[path = "kernel/stages.rs"]
mod stages;
#[path = "kernel/statistics.rs"]
mod statistics;
#[path = "kernel/swap.rs"]
mod swap;
#[path = "kernel/syn_cookie.rs"]
mod syn_cookie;
#[path = "kernel/together.rs"]
mod together;
#[path = "kernel/trial.rs"]
mod trial;
#[path = "kernel/unread.rs"]
mod unread;
#[path = "kernel/unread_output.rs"]
mod unread_output;
#[path = "kernel/verbose.rs"]
mod verbose;
#[path = "kernel/verdicts/mod.rs"]
mod verdicts;
#[path = "kernel/verifier.rs"]
mod verifier;
