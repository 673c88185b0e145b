pub mod bpf;
pub mod image_map;
pub mod program;
//! The one room that talks to the kernel.

pub mod advice;
pub mod bpffs;
mod ethtool;
pub mod interface;
pub mod lock;
mod mount_namespace;
mod netlink;
pub mod netns;
pub mod private_dir;
pub mod privilege;
pub mod run_dir;
