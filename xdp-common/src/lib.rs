//! What xdpctl's eBPF program and its command line must agree on, declared once: verdicts and
//! reasons, counters, the layout of a ruleset's image, and the packet logic that reads it.
//!
//! Nothing here knows a kernel. The packet logic is generic over where a packet's bytes and an
//! image's lines come from ([`packet::PacketBytes`], [`image::Lines`]), so that the code that runs
//! in the kernel is the code that the tests on the host run. Everything that touches a packet or
//! a map value is `#[inline(always)]`: the verifier of Linux 6.1 follows packet pointers through
//! one function only.

#![cfg_attr(not(test), no_std)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod capacity;
pub mod capture;
pub mod egress;
pub mod filter;
pub mod image;
pub mod lookup;
pub mod maps;
pub mod nic;
pub mod packet;
pub mod stages;
pub mod stats;
pub mod verifier;
pub mod word;
