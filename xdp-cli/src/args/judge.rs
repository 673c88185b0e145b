//! Questions about frames and addresses.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum, ValueHint};

use crate::config::domain_name::{NameBuffer, NameError};
use crate::config::file::Disk;
use crate::config::names::Names;
use crate::config::qtype;
use crate::config::rule::{field, number};
use crate::frames::dns::Question;
use crate::frames::dump;
use crate::notation::plain;
use crate::ruleset::TCP_FLAGS;

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
    /// Print a JSON object a line for each frame
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub headers: Headers,
}

/// Who is asked: what is attached to an interface, or a configuration that need not be in force.
#[derive(Args, Debug)]
pub struct Judge {
    /// The interface
    #[arg(value_name = "IFACE", required_unless_present = "config")]
    pub interface: Option<String>,
    /// Ask this configuration, in place of what is attached to an interface: it is compiled and
    /// judged by the same code, without root and without a kernel, and without run-time entries; `-`
    /// is standard input
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
    /// A name, such as tcp, udp, sctp, icmp (IPv4), icmpv6 (IPv6) or gre, or a number [default: tcp]
    #[arg(long, value_name = "PROTOCOL", requires = "source", value_parser = protocol)]
    pub protocol: Option<ProtocolArg>,
    /// A number, or a name such as https [default: 49152]
    #[arg(long, value_name = "PORT", requires = "source", value_parser = port)]
    pub source_port: Option<Named<u16>>,
    /// A number, or a name such as https [default: 80]
    #[arg(long, value_name = "PORT", requires = "source", value_parser = port)]
    pub destination_port: Option<Named<u16>>,
    /// Name that a DNS message asks for, and perhaps the type: example.org, or example.org:AAAA [default
    /// type: A]. With it, the protocol is udp and the destination's port 53, unless others are given; from
    /// port 53, it is an answer
    #[arg(long, value_name = "NAME[:TYPE]", requires = "source", value_parser = question)]
    pub question: Option<Question>,
    /// Flags that are set, with commas between: fin syn rst psh ack urg ece cwr [default: syn]
    #[arg(long, value_name = "FLAGS", requires = "source", value_parser = tcp_flags)]
    pub tcp_flags: Option<u8>,
    /// A number, or a name such as echo-reply [default: that of an echo request]
    #[arg(long, value_name = "TYPE", requires = "source", value_parser = icmp_type)]
    pub icmp_type: Option<Named<u8>>,
    /// IPv4's time to live, IPv6's hop limit [default: 64]
    #[arg(long, value_name = "NUMBER", requires = "source")]
    pub ttl: Option<u8>,
    /// Differentiated services code point: a number of 0 to 63, or a name such as ef or af41 [default: 0]
    #[arg(long, value_name = "DSCP", requires = "source", value_parser = number::code_point)]
    pub dscp: Option<u8>,
    /// Bytes of the packet with its IP header [default: what its headers take]
    #[arg(long, value_name = "BYTES", requires = "source")]
    pub length: Option<u16>,
    /// Makes it a fragment: the first has ports, flags or a type, a later one has not
    #[arg(long, value_name = "WHICH", requires = "source", value_enum)]
    pub fragment: Option<FragmentArg>,
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

/// Which part of a packet it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FragmentArg {
    First,
    Later,
}

/// A protocol, by name or by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolArg {
    Icmp,
    Icmpv6,
    Number(u8),
}

/// A number, or a name that means one. Which one depends on the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named<T> {
    Number(T),
    Name(String),
}

impl<T: FromStr> Named<T> {
    /// The error says which numbers there are.
    fn of(text: &str, numbers: &str) -> Result<Self, String> {
        // The number parser alone would accept a sign.
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Self::Name(text.to_owned()));
        }
        text.parse().map(Self::Number).map_err(|_| numbers.to_owned())
    }
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
    /// An IPv4 or IPv6 address, or a name of the Domain Name System
    #[arg(value_name = "ADDRESS|NAME", required = true, value_parser = looked_up)]
    pub what: LookedUp,
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

/// What `lookup` looks up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookedUp {
    Address(IpAddr),
    /// A name in the form that it has in a message, without the root's label.
    Name(Vec<u8>),
}

fn looked_up(text: &str) -> Result<LookedUp, String> {
    if let Ok(address) = text.parse() {
        return Ok(LookedUp::Address(address));
    }
    let mut buffer = NameBuffer::default();
    let read = buffer.read(text.as_bytes());
    // Who leaves out a number, or has one too many, means an address.
    let last = buffer.name().labels().last().unwrap_or_default();
    match read {
        Ok(()) if buffer.below_only() => {
            Err("write the name that is asked for, such as www.example.org".to_owned())
        }
        Ok(()) if last.is_empty() || !last.iter().all(u8::is_ascii_digit) => {
            Ok(LookedUp::Name(buffer.name().wire().to_vec()))
        }
        Err(
            error @ (NameError::LongLabel
            | NameError::LongName
            | NameError::EmptyLabel
            | NameError::Url
            | NameError::Idn
            | NameError::Star
            | NameError::Escape),
        ) => Err(format!("it {}", error.message())),
        _ => Err("write a name, such as example.org, or one address, such as 203.0.113.7 or \
                  2001:db8::1, without a length, a port, a zone or brackets"
            .to_owned()),
    }
}

/// A name and a type, divided by the last colon that is not a part of the name.
fn question(text: &str) -> Result<Question, String> {
    let (name, qtype) = match text.rsplit_once(':').filter(|(name, _)| !name.ends_with('\\')) {
        Some((name, qtype)) => (name, qtype::parse(qtype)?),
        None => (text, qtype::A),
    };
    let mut buffer = NameBuffer::default();
    match buffer.read(name.as_bytes()) {
        Ok(()) if buffer.below_only() => {
            Err("write the name that is asked for, such as www.example.org".to_owned())
        }
        Ok(()) => Ok(Question { name: buffer.name().wire().to_vec(), qtype }),
        Err(error) => Err(format!("\"{}\" {}", plain(name), error.message())),
    }
}

/// What is wrong with a frame of no bytes: what was to print one has failed, and that is no verdict.
pub const NO_BYTES: &str = "there are no bytes in it";

fn packet(text: &str) -> Result<PacketArg, String> {
    if text == "-" {
        return Ok(PacketArg::StandardInput);
    }
    match dump::parse(text)? {
        frame if frame.is_empty() => Err(NO_BYTES.to_owned()),
        frame => Ok(PacketArg::Bytes(frame)),
    }
}

fn protocol(text: &str) -> Result<ProtocolArg, String> {
    let name = match Named::of(text, "a protocol is a name or a number from 0 to 255")? {
        Named::Number(number) => return Ok(ProtocolArg::Number(number)),
        Named::Name(name) => name,
    };
    Names::new(&Disk).protocol(&name).map(|number| match number {
        1 => ProtocolArg::Icmp,
        58 => ProtocolArg::Icmpv6,
        number => ProtocolArg::Number(number),
    })
}

fn port(text: &str) -> Result<Named<u16>, String> {
    Named::of(text, "a port is 0 to 65535")
}

fn icmp_type(text: &str) -> Result<Named<u8>, String> {
    Named::of(text, "an ICMP type is 0 to 255")
}

fn tcp_flags(text: &str) -> Result<u8, String> {
    let mut flags = 0;
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let Some(bit) = TCP_FLAGS.iter().position(|flag| *flag == name) else {
            let name = plain(name);
            return Err(format!("\"{name}\" is no flag: write some of {}", TCP_FLAGS.join(",")));
        };
        flags |= 1 << bit;
    }
    Ok(flags)
}

fn mac(text: &str) -> Result<Mac, String> {
    field::parse_mac(text)
        .map(Mac)
        .ok_or_else(|| "write a MAC address such as 02:00:00:00:00:01".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_have_a_name_and_a_type() {
        let of = |name: &[u8], qtype| Ok(Question { name: name.to_vec(), qtype });
        assert_eq!(question("A.example."), of(b"\x01a\x07example", 1));
        assert_eq!(question("a.example:aaaa"), of(b"\x01a\x07example", 28));
        assert_eq!(question(".:TYPE65535"), of(b"", 65_535));
        assert_eq!(question(r"a\:b:ANY"), of(b"\x03a:b", 255));
        assert_eq!(question(r"a\:b"), of(b"\x03a:b", 1));
        for text in ["", ":A", "a:", "a:NOPE", "*.a", "a..b", "a b", "192.0.2.1", "a:b:A"] {
            assert!(question(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_and_names_are_looked_up() {
        let name = |wire: &[u8]| Ok(LookedUp::Name(wire.to_vec()));
        assert_eq!(looked_up("WWW.example."), name(b"\x03www\x07example"));
        assert_eq!(looked_up("."), name(b""));
        assert_eq!(looked_up("bücher"), name(b"\x0dxn--bcher-kva"));
        assert_eq!(looked_up("dead"), name(b"\x04dead"));
        assert_eq!(looked_up("::1"), Ok(LookedUp::Address("::1".parse().unwrap())));
        for (wrong, why) in [
            ("10.0.0", "write a name, such as example.org, or one address"),
            ("10.0.0.1.2", "write a name"),
            ("10.0.0.0/8", "write a name"),
            ("203.0.113.7:53", "write a name"),
            ("fe80::1%eth0", "write a name"),
            ("", "write a name"),
            ("*.example.org", "write the name that is asked for"),
            ("a..b", "it is no name: there is nothing between two dots"),
            ("https://example.org", "it is a URL, not a name"),
        ] {
            let said = looked_up(wrong).unwrap_err();
            assert!(said.starts_with(why), "{wrong}: {said}");
        }
    }

    #[test]
    fn words_of_headers() {
        assert_eq!(tcp_flags("syn,ack"), Ok(0x12));
        assert_eq!(tcp_flags(""), Ok(0));
        assert!(tcp_flags("!syn").is_err());
        assert_eq!(protocol("udp"), Ok(ProtocolArg::Number(17)));
        assert_eq!(protocol("255"), Ok(ProtocolArg::Number(255)));
        assert_eq!(protocol("gre"), Ok(ProtocolArg::Number(47)));
        assert_eq!(protocol("ipv6-icmp"), Ok(ProtocolArg::Icmpv6));
        assert!(protocol("tpc").unwrap_err().starts_with("did you mean \"tcp\"?"));
        assert!(protocol("256").is_err());
        assert_eq!(port("443"), Ok(Named::Number(443)));
        assert_eq!(port("https"), Ok(Named::Name("https".to_owned())));
        assert_eq!(port("65536").unwrap_err(), "a port is 0 to 65535");
        assert!(icmp_type("256").is_err());
        assert_eq!(mac("02:00:00:00:00:fF"), Ok(Mac([2, 0, 0, 0, 0, 255])));
        for wrong in
            ["", "02:00:00:00:00", "02:00:00:00:00:01:02", "2:0:0:0:0:1", "+2:00:00:00:00:01"]
        {
            assert!(mac(wrong).is_err(), "{wrong}");
        }
    }
}
