//! Calls of the operating system: bpf(2), netlink, ethtool, privileges, files that are root's.

pub mod bpf;
pub mod ethtool;
pub mod netlink;
pub mod private_dir;
pub mod privilege;
