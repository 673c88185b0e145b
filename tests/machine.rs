//! Whole-program tests on the drivers of real NICs. They run inside a machine that QEMU
//! emulates, with NICs that are cabled in pairs: `scripts/kernels` starts it, and takes them
//! although they are ignored elsewhere. Without such NICs they fail.

mod lab;

#[path = "machine/counters.rs"]
mod counters;
#[path = "machine/jumbo.rs"]
mod jumbo;
#[path = "machine/kernel.rs"]
mod kernel;
#[path = "machine/links.rs"]
mod links;
#[path = "machine/redirects.rs"]
mod redirects;
#[path = "machine/services.rs"]
mod services;
#[path = "machine/verdicts.rs"]
mod verdicts;
#[path = "machine/vmxnet3.rs"]
mod vmxnet3;
