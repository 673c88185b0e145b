//! The one room that talks to the kernel.

pub mod advice;
pub mod attachment;
pub mod bans;
pub mod bpf;
pub mod bpffs;
pub mod error;
mod ethtool;
pub mod explain;
pub mod image_map;
pub mod interface;
pub mod lifecycle;
pub mod lock;
pub mod maps;
mod mount_namespace;
pub mod namespace;
mod netlink;
pub mod netns;
pub mod object;
pub mod offload;
pub mod pass;
pub mod private_dir;
pub mod privilege;
pub mod program;
pub mod run_dir;
pub mod snapshot;
pub mod swap;
