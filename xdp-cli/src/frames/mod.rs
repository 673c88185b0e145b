//! Frames in user space: read from captures, and built from what is said of them.

pub mod build;
pub mod cut;
pub mod dump;
pub mod pcap;
