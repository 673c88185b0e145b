//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use xdp_common::capacity::MAX_OWNER_NAME;

use crate::frames::dump;
use crate::notation::{plain, steers};

/// Packet filter and redirector on XDP. Rulesets are TOML files; `xdpctl reload` exchanges a
/// ruleset between two packets, without touching the program.
#[derive(Debug, Parser)]
#[command(name = "xdpctl", version, max_term_width = 100)]
pub struct Cli {
    /// Say more on standard error; twice, everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Put the program with a ruleset on an interface
    ///
    /// Checks the configuration, loads the program, fills its maps, attaches and pins. Nothing
    /// stays running: the data plane lives on in the kernel until it is detached.
    Attach(Attach),
    /// Read configurations again and put them in force
    ///
    /// Checks all of them first, then exchanges each ruleset in one step, and says what is different
    /// from the ruleset before. Whatever fails leaves the rulesets that were in force.
    Reload(Reload),
    /// Keep what `attach --confirm` put in force, before its time is over
    Confirm(Confirm),
    /// Let everything pass, whatever the ruleset says, until it is switched off
    ///
    /// The emergency switch: it acts from the next packet on, before everything else, and on malformed
    /// frames too. It stays on over reloads; `status` and `stats` show it.
    Bypass(Bypass),
    /// Take the program off and remove every pin
    Detach(Detach),
    /// Show counters with rates until Ctrl-C
    Stats(Stats),
    /// Show what is attached, and what is wrong
    Status(Status),
    /// Show the ruleset in force, as a configuration that loads again
    ///
    /// It is what was loaded: what list files gave is written out as it was then, whatever they hold
    /// now. Prefixes and values of rules stand in order, each once; defaults are written out.
    Show(Show),
    /// Say whether a configuration would load; needs no root and no kernel
    Check(Check),
    /// Drop what comes from an address or a prefix, at once and without a reload
    ///
    /// The entry holds until it is removed or its time is over, whatever the ruleset says but for
    /// its allowlists, and over reloads. The longest entry that holds a source decides; for one prefix,
    /// each owner has an entry, and of these an allow comes before a block while it lives.
    Block(Put),
    /// Let pass what comes from an address or a prefix, whatever the ruleset says
    ///
    /// An entry as that of `block`, and asked before allowlists, blocklists and rules.
    Allow(Put),
    /// Remove entries of `block` and `allow`
    ///
    /// Of each prefix given, the run-time entries that have exactly this prefix, whether they block or
    /// allow, of one owner or of all. Entries of longer and shorter prefixes stay, and so does what the configuration lists.
    /// Where a prefix has no entry, nothing is removed at all, and the status is 1.
    Unblock(Unblock),
    /// Show the entries of `block` and `allow`
    Bans(Bans),
    /// Say what the attached program would do to a frame, and what decides it
    ///
    /// The program itself is asked, loaded once more on the maps in force with counters of its own:
    /// no live counter moves. With --config, a configuration is asked that need not be in force. The
    /// frame is given in hexadecimal, comes from a capture, or is built from its addresses and ports.
    Explain(Box<Explain>),
    /// Show every list and run-time entry that holds an address, the deciding one first
    Lookup(Lookup),
    /// Print a shell's completion script
    Completions { shell: Shell },
    /// Print the manual page (roff)
    Man,
}

impl Command {
    /// Whether what is printed is to be JSON, errors too. `check` prints its own.
    pub fn is_json(&self) -> bool {
        match self {
            Self::Reload(args) => args.json,
            Self::Stats(args) => args.json,
            Self::Status(args) => args.json,
            Self::Show(args) => args.json,
            Self::Bans(args) => args.json,
            // Of a capture, each line is a frame's.
            Self::Explain(args) => args.json && args.pcap.is_none(),
            Self::Lookup(args) => args.json,
            Self::Attach(_)
            | Self::Bypass(_)
            | Self::Confirm(_)
            | Self::Detach(_)
            | Self::Check(_)
            | Self::Block(_)
            | Self::Allow(_)
            | Self::Unblock(_)
            | Self::Completions { .. }
            | Self::Man => false,
        }
    }
}

#[derive(Args, Debug)]
pub struct Attach {
    /// The interface
    #[arg(value_name = "IFACE")]
    pub interface: String,
    /// The configuration [default: /etc/xdpctl/IFACE.toml, else /etc/xdpctl/xdpctl.toml]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Where the program runs; `auto` is the best that can be had, any other is that or an error
    #[arg(long, value_enum, default_value_t = ModeArg::Auto)]
    pub mode: ModeArg,
    /// Exchange the program of an attached interface for this version's, in the same link and
    /// without a gap; counters go on
    #[arg(long)]
    pub replace: bool,
    /// Also where the ruleset would cut off the connection that this command runs in
    #[arg(long)]
    pub force: bool,
    /// Take it off again unless it is confirmed within that time, such as 30s: by Enter in this
    /// terminal, or by `xdpctl confirm IFACE` from another. However this command ends, what is not
    /// confirmed ends with it
    #[arg(long, value_name = "TIME", value_parser = interval, conflicts_with = "replace")]
    pub confirm: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ModeArg {
    Auto,
    /// In the driver
    Native,
    /// On the NIC itself
    Offload,
    /// In the network stack: works with every driver, slower
    Generic,
}

#[derive(Args, Debug)]
pub struct Reload {
    /// The interface [default: every attached one of this network namespace]
    #[arg(value_name = "IFACE")]
    pub interface: Option<String>,
    /// Another configuration, this once [default: the one given at attach]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Also where the ruleset would cut off the connection that this command runs in
    #[arg(long)]
    pub force: bool,
    /// Say what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print a JSON object a line for each interface
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Bypass {
    /// The interface
    #[arg(value_name = "IFACE")]
    pub interface: String,
    /// Whether everything is to pass
    #[arg(value_enum, value_name = "STATE")]
    pub state: Switch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
}

#[derive(Args, Debug)]
pub struct Confirm {
    /// The interface
    #[arg(value_name = "IFACE")]
    pub interface: String,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct Detach {
    /// The interface
    #[arg(value_name = "IFACE")]
    pub interface: Option<String>,
    /// Every attached interface of this network namespace
    #[arg(long)]
    pub all: bool,
}

#[derive(Args, Debug)]
pub struct Stats {
    /// The interface [default: every attached one of this network namespace]
    #[arg(value_name = "IFACE")]
    pub interface: Option<String>,
    /// Time between two samples, such as 250ms, 10s or `1h 30m`
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    pub interval: Duration,
    /// End after that many samples
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Print one sample
    #[arg(long, conflicts_with = "count")]
    pub once: bool,
    /// Print a JSON object a line for each sample
    #[arg(long)]
    pub json: bool,
    /// Show also what has counted nothing, as JSON always has
    #[arg(long)]
    pub all: bool,
}

#[derive(Args, Debug)]
pub struct Status {
    /// The interface [default: every attached one of this network namespace]
    #[arg(value_name = "IFACE")]
    pub interface: Option<String>,
    /// Print a JSON array
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Show {
    /// The interface [default: every attached one of this network namespace]
    #[arg(value_name = "IFACE")]
    pub interface: Option<String>,
    /// Name list files in place of the prefixes that they gave
    #[arg(short, long)]
    pub terse: bool,
    /// Print a JSON array
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Check {
    /// The configuration; `-` is standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
}

/// How prefixes are given.
#[derive(Args, Debug)]
pub struct Prefixes {
    /// Addresses, prefixes and ranges, such as 203.0.113.7, 2001:db8:bad::/48 or
    /// 203.0.113.8-203.0.113.21; or `-`: read them from standard input, one a line, as in list
    /// files
    #[arg(value_name = "PREFIX", required_unless_present = "all_interfaces")]
    pub prefixes: Vec<String>,
    /// On every attached interface of this network namespace; omit IFACE
    #[arg(long)]
    pub all_interfaces: bool,
    /// Cut IPv6 prefixes that are longer to this length: who has one address of a /64 mostly has all
    /// of them
    #[arg(long, value_name = "LEN", value_parser = clap::value_parser!(u8).range(..=128))]
    pub aggregate: Option<u8>,
}

#[derive(Args, Debug)]
pub struct Put {
    /// The interface
    #[arg(value_name = "IFACE")]
    pub interface: String,
    #[command(flatten)]
    pub prefixes: Prefixes,
    /// How long the entry lives, such as 90s, 10m or `1h 30m` [default: until it is removed]
    #[arg(long = "for", value_name = "TIME", value_parser = interval, allow_hyphen_values = true)]
    pub life: Option<Duration>,
    /// A remark that `xdpctl bans` shows
    #[arg(long, value_name = "TEXT", value_parser = note, allow_hyphen_values = true)]
    pub note: Option<String>,
    /// Who puts it. Each owner has entries of its own: the last command of one replaces its entry for the
    /// prefix, and of several the one that ends last counts
    #[arg(long, value_name = "NAME", default_value = "cli", value_parser = owner)]
    pub owner: String,
    /// Keep it over a restart: the next attach to an interface of that name puts it back, in
    /// /var/lib/xdpctl until then
    #[arg(long)]
    pub persist: bool,
    /// Take 0.0.0.0/0 and ::/0 too, which hold every source there is
    #[arg(long)]
    pub catch_all: bool,
}

#[derive(Args, Debug)]
pub struct Unblock {
    /// The interface
    #[arg(value_name = "IFACE")]
    pub interface: String,
    #[command(flatten)]
    pub prefixes: Prefixes,
    /// Remove that owner's entries alone [default: those of all owners]
    #[arg(long, value_name = "NAME", value_parser = owner)]
    pub owner: Option<String>,
}

#[derive(Args, Debug)]
pub struct Bans {
    /// The interface
    #[arg(value_name = "IFACE")]
    pub interface: String,
    /// Show that owner's entries alone [default: those of all owners]
    #[arg(long, value_name = "NAME", value_parser = owner)]
    pub owner: Option<String>,
    /// Remove them, and say how many there were
    #[arg(long)]
    pub flush: bool,
    /// Print a JSON array
    #[arg(long)]
    pub json: bool,
}

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

/// Longest name of an owner, in characters.
const OWNER: usize = 72;

const _: () = assert!(OWNER <= MAX_OWNER_NAME);

/// An owner's name: as those of lists and rules, and `rule:NAME`.
fn owner(text: &str) -> Result<String, String> {
    let fits = |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '_' | '-' | ':');
    if let Some(character) = text.chars().find(|character| !fits(*character)) {
        return Err(format!(
            "'{}' cannot be in it: a name is made of letters, digits, '.', '_', '-' and ':'",
            plain(&character.to_string())
        ));
    }
    match text.len() {
        1..=OWNER => Ok(text.to_owned()),
        length => Err(format!("it has {length} characters: a name has 1 to {OWNER}")),
    }
}

/// Longest note, in characters.
const NOTE: usize = 200;

/// A note that fits on a line.
fn note(text: &str) -> Result<String, String> {
    let length = text.chars().count();
    if length > NOTE {
        return Err(format!("it has {length} characters, {NOTE} are the most"));
    }
    if text.trim().is_empty() {
        return Err("it is empty; omit `--note` for an entry without one".to_owned());
    }
    if let Some(character) = text.chars().find(|character| steers(*character)) {
        let what = if character.is_control() {
            "a control character"
        } else {
            "a character that changes the direction of text or breaks a line"
        };
        return Err(format!(
            "{what}, {} at place {}, would steer the terminal that shows the note; leave it out",
            character.escape_default(),
            text.chars().take_while(|other| *other != character).count() + 1
        ));
    }
    Ok(text.to_owned())
}

/// A duration that is not nothing.
fn interval(text: &str) -> Result<Duration, String> {
    let duration: Duration = humantime::parse_duration(text).map_err(|error| {
        let error = plain(&error.to_string());
        format!("{error}; a time is written as 250ms, 10s or \"1h 30m\"")
    })?;
    if duration.is_zero() {
        return Err("it must be longer than nothing".to_owned());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn intervals() {
        assert_eq!(interval("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(interval("1h 30m"), Ok(Duration::from_secs(5400)));
        assert!(interval("0s").is_err());
        assert!(interval("10").is_err());
    }

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

    #[test]
    fn owners() {
        for name in ["cli", "rule:ssh.v6_2-x", &"x".repeat(72)] {
            assert_eq!(owner(name), Ok(name.to_owned()));
        }
        for (name, told) in [
            ("", "it has 0 characters: a name has 1 to 72"),
            (&*"x".repeat(73), "it has 73 characters: a name has 1 to 72"),
            ("a b", "' ' cannot be in it"),
            ("a\u{1b}", "'\\u{1b}' cannot be in it"),
            ("é", "'é' cannot be in it"),
        ] {
            assert!(owner(name).unwrap_err().starts_with(told), "{name:?}");
        }
    }

    #[test]
    fn notes() {
        assert_eq!(note("ssh, 5 times"), Ok("ssh, 5 times".to_owned()));
        assert!(note(&"é".repeat(200)).is_ok());
        assert_eq!(note(&"é".repeat(201)).unwrap_err(), "it has 201 characters, 200 are the most");
        assert!(note(" ").unwrap_err().contains("empty"));
        assert_eq!(
            note("a\nb").unwrap_err(),
            "a control character, \\n at place 2, would steer the terminal that shows the note; \
             leave it out"
        );
        assert!(note("\u{9b}2J").unwrap_err().contains("\\u{9b} at place 1,"));
        let turned = note("ab\u{202e}c").unwrap_err();
        assert!(turned.starts_with("a character that changes the direction of text"), "{turned}");
        assert!(turned.contains("\\u{202e} at place 3,"), "{turned}");
    }
}
