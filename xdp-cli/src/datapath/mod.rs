//! The one room that talks to the kernel.

pub mod advice;
pub mod bpf;
pub mod bpffs;
mod ethtool;
pub mod image_map;
pub mod interface;
pub mod lock;
mod mount_namespace;
mod netlink;
pub mod netns;
pub mod private_dir;
pub mod privilege;
pub mod program;
pub mod run_dir;
