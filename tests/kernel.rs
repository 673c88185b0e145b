//! Whole-program tests against the real kernel, in network namespaces. They need root.

mod lab;

#[path = "kernel/selftest.rs"]
mod selftest;
#[path = "kernel/verdicts/mod.rs"]
mod verdicts;
