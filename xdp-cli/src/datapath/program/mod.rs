//! The eBPF programs in the binary, and loading them: into the kernel, and onto a NIC.

pub mod clock;
pub mod error;
pub mod load;
pub mod nic;
mod object;
