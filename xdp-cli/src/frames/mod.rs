//! Frames in user space: read from captures or hexadecimal text, or built from a description.

pub mod build;
pub mod cut;
pub mod dns;
pub mod dump;
pub mod pcap;
