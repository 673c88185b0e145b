//! Questions about frames and addresses.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

use crate::frames::dump;
use crate::notation::plain;

#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("what").args(["packet", "pcap", "source"]).required(true))]
pub struct Explain {
    #[command(flatten)]
    pub judge: Judge,
    /// With --config, what the frames begin with: `raw` is for interfaces without Ethernet headers
    /// (tun, ppp, wireguard, ipip)
    #[arg(
        long,
        value_enum,
        value_name = "TYPE",
        conflicts_with = "interface",
        default_value = "ethernet"
    )]
    pub link_type: LinkTypeArg,
    /// An Ethernet frame in hexadecimal, from its destination address on; where the interface's frames
    /// have no Ethernet header (tun, ppp, wireguard, ipip), a packet from its IP header on. Digits alone,
    /// or what `tcpdump -xx`, Wireshark's "Copy" and `hexdump -C` print; `-` reads it from standard input
    #[arg(long, value_name = "HEX", value_parser = packet)]
    pub packet: Option<PacketArg>,
    /// Every frame of a pcap or pcapng file, also one compressed by gzip; `-` is standard input. Its
    /// link type has to be the interface's: Ethernet, or RAW
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub pcap: Option<PathBuf>,
    #[command(flatten)]
    pub headers: Headers,
    /// Print a JSON object a line for each frame
    #[arg(long)]
    pub json: bool,
}

/// Who is asked: what is attached to an interface, or a configuration that need not be in force.
#[derive(Args, Debug)]
pub struct Judge {
    /// The interface
    #[arg(value_name = "IFACE", required_unless_present = "config")]
    pub interface: Option<String>,
    /// Ask this configuration, in place of what is attached to an interface: it is compiled and
    /// judged by the same code, without root and without a kernel, and without run-time entries
    #[arg(
        short, long, value_name = "FILE", value_hint = ValueHint::FilePath,
        conflicts_with = "interface"
    )]
    pub config: Option<PathBuf>,
}

/// What frames begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LinkTypeArg {
    Ethernet,
    /// The IP header
    Raw,
}

/// A frame by what its headers say.
#[derive(Args, Debug)]
#[command(next_help_heading = "A frame by its headers")]
pub struct Headers {
    /// Address that the packet comes from; with --destination
    #[arg(long, value_name = "ADDRESS", requires = "destination", value_parser = address)]
    pub source: Option<IpAddr>,
    /// Address that it goes to; with --source
    #[arg(long, value_name = "ADDRESS", requires = "source", value_parser = address)]
    pub destination: Option<IpAddr>,
    /// tcp, udp, sctp, icmp (IPv4), icmpv6 (IPv6) or a number [default: tcp]
    #[arg(long, value_name = "PROTOCOL", requires = "source", value_parser = protocol)]
    pub protocol: Option<ProtocolArg>,
    /// [default: 49152]
    #[arg(long, value_name = "PORT", requires = "source")]
    pub source_port: Option<u16>,
    /// [default: 80]
    #[arg(long, value_name = "PORT", requires = "source")]
    pub destination_port: Option<u16>,
    /// Flags that are set, with commas between: fin syn rst psh ack urg ece cwr [default: syn]
    #[arg(long, value_name = "FLAGS", requires = "source", value_parser = tcp_flags)]
    pub tcp_flags: Option<u8>,
    /// [default: that of an echo request]
    #[arg(long, value_name = "TYPE", requires = "source")]
    pub icmp_type: Option<u8>,
    /// Id of an 802.1Q tag [default: untagged]
    #[arg(
        long, value_name = "ID", requires = "source",
        value_parser = clap::value_parser!(u16).range(0..=4095)
    )]
    pub vlan: Option<u16>,
    /// [default: 02:00:00:00:00:01]
    #[arg(long, value_name = "MAC", requires = "source", value_parser = mac)]
    pub source_mac: Option<Mac>,
    /// [default: the interface's own; with --config 02:00:00:00:00:02]
    #[arg(long, value_name = "MAC", requires = "source", value_parser = mac)]
    pub destination_mac: Option<Mac>,
}

/// A protocol, by name or by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolArg {
    Icmp,
    Icmpv6,
    Number(u8),
}

/// A frame, or whatever it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PacketArg {
    Bytes(Vec<u8>),
    StandardInput,
}

/// A MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

#[derive(Args, Debug)]
#[command(allow_missing_positional = true)]
pub struct Lookup {
    #[command(flatten)]
    pub judge: Judge,
    /// An IPv4 or IPv6 address
    #[arg(value_name = "ADDRESS", required = true, value_parser = address)]
    pub address: IpAddr,
    /// Print a JSON array
    #[arg(long)]
    pub json: bool,
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| {
        "write one address, such as 203.0.113.7 or 2001:db8::1, without a length, a port, a zone or \
         brackets"
            .to_owned()
    })
}

fn packet(text: &str) -> Result<PacketArg, String> {
    if text == "-" {
        return Ok(PacketArg::StandardInput);
    }
    dump::parse(text).map(PacketArg::Bytes)
}

fn protocol(text: &str) -> Result<ProtocolArg, String> {
    Ok(match text {
        "tcp" => ProtocolArg::Number(6),
        "udp" => ProtocolArg::Number(17),
        "sctp" => ProtocolArg::Number(132),
        "icmp" => ProtocolArg::Icmp,
        "icmpv6" => ProtocolArg::Icmpv6,
        _ => ProtocolArg::Number(text.parse().map_err(|_| {
            "write tcp, udp, sctp, icmp, icmpv6 or a number from 0 to 255".to_owned()
        })?),
    })
}

/// RFC 9293, section 3.1: the byte from its low bit.
const FLAGS: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];

fn tcp_flags(text: &str) -> Result<u8, String> {
    let mut flags = 0;
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let Some(bit) = FLAGS.iter().position(|flag| *flag == name) else {
            let name = plain(name);
            return Err(format!("\"{name}\" is no flag: write some of {}", FLAGS.join(",")));
        };
        flags |= 1 << bit;
    }
    Ok(flags)
}

fn mac(text: &str) -> Result<Mac, String> {
    let wrong = || "write a MAC address such as 02:00:00:00:00:01".to_owned();
    let mut bytes = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut bytes {
        let digits = |part: &&str| part.len() == 2 && part.chars().all(|c| c.is_ascii_hexdigit());
        let part = parts.next().filter(digits).ok_or_else(wrong)?;
        *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
    }
    if parts.next().is_some() { Err(wrong()) } else { Ok(Mac(bytes)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_headers() {
        assert_eq!(tcp_flags("syn,ack"), Ok(0x12));
        assert_eq!(tcp_flags(""), Ok(0));
        assert!(tcp_flags("!syn").is_err());
        assert_eq!(protocol("udp"), Ok(ProtocolArg::Number(17)));
        assert_eq!(protocol("255"), Ok(ProtocolArg::Number(255)));
        assert!(protocol("256").is_err());
        assert_eq!(mac("02:00:00:00:00:fF"), Ok(Mac([2, 0, 0, 0, 0, 255])));
        for wrong in
            ["", "02:00:00:00:00", "02:00:00:00:00:01:02", "2:0:0:0:0:1", "+2:00:00:00:00:01"]
        {
            assert!(mac(wrong).is_err(), "{wrong}");
        }
    }
}
