//! Whole-program tests on the drivers of real network cards. They run inside a machine that QEMU
//! emulates, with cards that are cabled in pairs: `scripts/kernels` starts it, and takes them
//! although they are ignored elsewhere. Without such cards they fail.

mod lab;

#[path = "machine/counters.rs"]
mod counters;
#[path = "machine/jumbo.rs"]
mod jumbo;
#[path = "machine/kernel.rs"]
mod kernel;
#[path = "machine/redirects.rs"]
mod redirects;
#[path = "machine/verdicts.rs"]
mod verdicts;
#[path = "machine/vmxnet3.rs"]
mod vmxnet3;
