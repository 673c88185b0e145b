//! The one room that talks to the kernel.

mod ethtool;
pub mod interface;
mod netlink;
pub mod netns;
pub mod privilege;
