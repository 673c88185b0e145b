//! The machine that a command runs on: its interfaces, where pins and state go, the lock, and who is
//! told of what happens.

pub mod actor;
pub mod addresses;
pub mod advice;
pub mod assigned_ports;
pub mod bpffs;
pub mod carriers;
pub mod check_route;
pub mod checking;
pub mod clsact;
pub mod events;
pub mod interface;
pub mod journal;
pub mod link_type;
pub mod links;
pub mod lock;
pub mod loopback;
mod mount_namespace;
pub mod neighbours;
pub mod netns;
pub mod replying;
pub mod reverse_path;
pub mod routes;
pub mod run_dir;
pub mod serving;
pub mod ssh;
pub mod syn_cookies;
pub mod waiting;
