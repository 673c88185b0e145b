//! Services of a configuration as plain values, and their text.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::config::{Mac, Prefix};
use super::config_text::{array, line, mac, ports, quoted};

/// `[services]` and every `[[service]]`. `None` is left out of the text.
#[derive(Clone, Debug, Default)]
pub struct Services {
    pub seed: Option<Vec<u8>>,
    /// Seconds.
    pub history: Option<u64>,
    pub next_hop: Mac,
    /// One prefix of each family.
    pub tunnel_source: Option<(Prefix, Prefix)>,
    pub all: Vec<Service>,
}

#[derive(Clone, Debug)]
pub struct Service {
    pub name: String,
    pub addresses: Vec<Prefix>,
    pub protocols: Vec<u8>,
    pub ports: Option<Vec<(u16, u16)>>,
    /// Empty takes all clients.
    pub source: Vec<Prefix>,
    pub mode: Mode,
    pub hash: Hash,
    pub table: u32,
    pub tracking: Tracking,
    /// Seconds.
    pub affinity: Option<u64>,
    pub udp_timeout: Option<u64>,
    pub passes_unserved: bool,
    /// Percent.
    pub panic: u8,
    pub mtu: Option<u16>,
    pub backends: Vec<Backend>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    pub name: String,
    pub address: IpAddr,
    pub port: Option<u16>,
    pub weight: u16,
    pub state: State,
    /// Of its own; else that of all.
    pub next_hop: Option<Mac>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Nat,
    Ipip,
    Gue(u16),
    L2dsr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    Connection,
    Source,
    SourceAndPort,
    DestinationPort,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracking {
    Changed,
    All,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Up,
    Drain,
    Down,
}

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const SCTP: u8 = 132;

impl Services {
    pub fn write(&self, text: &mut String) {
        if self.all.is_empty() {
            return;
        }
        text.push_str("[services]\n");
        let mut add = |key: &str, value: Option<String>| {
            *text += &value.map_or_else(String::new, |value| line(key, value));
        };
        add("seed", self.seed.as_deref().map(|seed| quoted(base64(seed))));
        add("history", self.history.map(seconds));
        // The fewest.
        add("connections", Some("65536".to_owned()));
        add("next_hop", Some(mac(&self.next_hop)));
        let sources = self.tunnel_source.map(|(v4, v6)| array([quoted(v4), quoted(v6)]));
        add("tunnel_source", sources);
        for service in &self.all {
            service.write(text);
        }
    }
}

impl Service {
    fn write(&self, text: &mut String) {
        text.push_str("[[service]]\n");
        let mut add = |key: &str, value: Option<String>| {
            *text += &value.map_or_else(String::new, |value| line(key, value));
        };
        add("name", Some(quoted(&self.name)));
        add("address", Some(array(self.addresses.iter().map(quoted))));
        let protocol = |number: &u8| match *number {
            TCP => quoted("tcp"),
            UDP => quoted("udp"),
            _ => quoted("sctp"),
        };
        add("protocol", Some(array(self.protocols.iter().map(protocol))));
        add("port", self.ports.as_ref().map(|ranges| array(ranges.iter().map(ports))));
        let source = (!self.source.is_empty()).then(|| array(self.source.iter().map(quoted)));
        add("source", source);
        let (mode, encapsulation, port) = match self.mode {
            Mode::Nat => ("nat", None, None),
            Mode::Ipip => ("dsr", None, None),
            Mode::Gue(port) => ("dsr", Some(quoted("gue")), Some(port.to_string())),
            Mode::L2dsr => ("l2dsr", None, None),
        };
        add("mode", Some(quoted(mode)));
        add("encapsulation", encapsulation);
        add("gue_port", port);
        let hash = match self.hash {
            Hash::Connection => "connection",
            Hash::Source => "source",
            Hash::SourceAndPort => "source-and-port",
            Hash::DestinationPort => "destination-port",
        };
        add("hash", Some(quoted(hash)));
        add("table", Some(self.table.to_string()));
        add("tracking", Some(quoted(format!("{:?}", self.tracking).to_lowercase())));
        add("affinity", self.affinity.map(seconds));
        add("udp_timeout", self.udp_timeout.map(seconds));
        // What is answered in a backend's place is not this model's.
        add("too_big", Some(quoted("drop")));
        add("no_backend", self.passes_unserved.then(|| quoted("pass")));
        add("panic", (self.panic > 0).then(|| self.panic.to_string()));
        add("mtu", self.mtu.map(|mtu| mtu.to_string()));
        for backend in &self.backends {
            text.push_str("[[service.backend]]\n");
            let mut add = |key: &str, value: String| *text += &line(key, value);
            add("name", quoted(&backend.name));
            add("address", quoted(backend.address));
            if let Some(port) = backend.port {
                add("port", port.to_string());
            }
            add("weight", backend.weight.to_string());
            add("state", quoted(format!("{:?}", backend.state).to_lowercase()));
            if let Some(next_hop) = &backend.next_hop {
                add("next_hop", mac(next_hop));
            }
        }
    }
}

fn seconds(seconds: u64) -> String {
    quoted(format!("{seconds}s"))
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bits = String::new();
    for byte in bytes {
        let _ = write!(bits, "{byte:08b}");
    }
    bits.push_str(&"0".repeat((6 - bits.len() % 6) % 6));
    let digit = |at: usize| usize::from_str_radix(&bits[at..at + 6], 2).expect("six bits");
    let mut text: String =
        (0..bits.len()).step_by(6).map(|at| char::from(DIGITS[digit(at)])).collect();
    text.push_str(&"=".repeat((4 - text.len() % 4) % 4));
    text
}
