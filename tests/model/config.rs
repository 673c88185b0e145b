//! A configuration as plain values, and its text.

use std::fmt::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::service_config::Services;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    Drop,
}

/// `None` is left out of the text.
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub default: Option<Verdict>,
    pub malformed: Option<Verdict>,
    pub fragments: Option<Verdict>,
    pub arp: Option<Verdict>,
    pub arp_allow: Vec<Ipv4Addr>,
    pub allowlists: Vec<List>,
    pub blocklists: Vec<List>,
    pub domains: Vec<Domains>,
    pub rules: Vec<Rule>,
    /// Run-time entries, which are not in the text, in the order in which they were put.
    pub entries: Vec<RuntimeEntry>,
    pub services: Services,
    /// What answers the host.
    pub replies: Option<Verdict>,
    /// Which UDP sockets have asked.
    pub replies_udp: Option<ReplyUdp>,
    /// The host's sockets, which are not in the text.
    pub sockets: Vec<Socket>,
    /// What the interface has sent, which is not in the text either; `None` if nobody notes that.
    pub sent: Option<Vec<Sent>>,
}

/// Which UDP sockets have asked: those that are connected, and some others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyUdp {
    Sent,
    Ephemeral,
    Connected,
}

/// A flow that went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    pub protocol: u8,
    /// An echo has its identifier for a port, and 0 at the other end; without ports, both are 0.
    pub own: SocketAddr,
    pub peer: SocketAddr,
}

/// A socket of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// TCP, or else UDP.
    pub tcp: bool,
    /// Of an unspecified address: any.
    pub own: SocketAddr,
    /// `None` if it listens (TCP), or is not connected (UDP).
    pub peer: Option<SocketAddr>,
}

/// What `xdpctl allow` or `xdpctl block` left.
#[derive(Clone, Copy, Debug)]
pub struct RuntimeEntry {
    /// An owner's last entry for a prefix replaces those before.
    pub owner: u8,
    pub prefix: Prefix,
    pub allow: bool,
    /// Whether it has not ended yet.
    pub live: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Source,
    Destination,
    Either,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListAction {
    Drop,
    Count,
}

#[derive(Clone, Debug, Default)]
pub struct List {
    pub name: String,
    pub prefixes: Vec<Prefix>,
    /// First and last, of one family; they stand in a list file.
    pub ranges: Vec<(IpAddr, IpAddr)>,
    /// For blocklists.
    pub side: Option<Side>,
    /// For blocklists.
    pub action: Option<ListAction>,
}

/// A list of domain names.
#[derive(Clone, Debug, Default)]
pub struct Domains {
    pub name: String,
    pub names: Vec<ListedName>,
    /// They stand in a list file, one a line.
    pub filed: Vec<ListedName>,
    /// Empty is left out of the text, and means all.
    pub qtypes: Vec<u16>,
    pub action: Option<DomainAction>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainAction {
    Drop,
    Nxdomain,
    Refuse,
    Truncate,
    Pass,
}

/// A domain name's labels, the leftmost first, without the root's.
pub type Labels = Vec<Vec<u8>>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedName {
    pub labels: Labels,
    /// Stands for the names below it alone: `*.example.org`.
    pub below_only: bool,
}

/// Bits beyond the length may be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    pub address: IpAddr,
    pub length: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
    Icmp,
    Icmpv6,
    Number(u8),
}

#[derive(Clone, Debug)]
pub enum Vlan {
    Untagged,
    Ids(Vec<u16>),
}

#[derive(Clone, Debug)]
pub enum Action {
    Pass,
    Drop,
    Bounce,
    Redirect(Target),
    /// For so many seconds.
    Block(u32),
    SynCookie,
}

/// Where to redirect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Name(String),
    Index(u32),
}

pub type Mac = [u8; 6];

/// Empty and `None` are left out of the text, and match everything.
#[derive(Clone, Debug)]
pub struct Rule {
    pub name: String,
    pub protocol: Option<Protocol>,
    pub source: Vec<Prefix>,
    pub destination: Vec<Prefix>,
    pub source_port: Vec<(u16, u16)>,
    pub destination_port: Vec<(u16, u16)>,
    pub icmp_type: Vec<u8>,
    /// Names of flags, and whether each has to be set.
    pub tcp_flags: Vec<(&'static str, bool)>,
    pub dscp: Vec<u8>,
    pub vlan: Option<Vlan>,
    pub source_mac: Vec<Mac>,
    pub destination_mac: Vec<Mac>,
    /// Bytes of the IP packet.
    pub length: Vec<(u16, u16)>,
    /// IPv4's time to live, IPv6's hop limit.
    pub ttl: Vec<(u8, u8)>,
    pub fragment: Option<Fragment>,
    pub not: Not,
    pub limit: Option<Limit>,
    pub action: Action,
    pub set_source_mac: Option<Mac>,
    pub set_destination_mac: Option<Mac>,
}

/// The keys that begin with `not_`: values that a packet has others of.
#[derive(Clone, Debug, Default)]
pub struct Not {
    pub protocol: Vec<Protocol>,
    pub source: Vec<Prefix>,
    pub destination: Vec<Prefix>,
    pub source_port: Vec<(u16, u16)>,
    pub destination_port: Vec<(u16, u16)>,
    pub icmp_type: Vec<u8>,
    pub tcp_flags: Vec<(&'static str, bool)>,
    pub dscp: Vec<u8>,
    pub vlan: Option<Vlan>,
    pub source_mac: Vec<Mac>,
    pub destination_mac: Vec<Mac>,
    pub length: Vec<(u16, u16)>,
    pub ttl: Vec<(u8, u8)>,
    pub fragment: Option<Fragment>,
}

/// Values of `fragment`: `false`, `true`, `"first"` and `"later"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    No,
    Yes,
    First,
    Later,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub over: Over,
    pub per: Per,
    /// Bits of an address of IPv4 and of IPv6.
    pub lengths: Option<(u8, u8)>,
}

/// A limit that every packet is over, or none: so that no clock is needed. Or a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    Always,
    Never,
    Rate(Rate),
}

/// So many packets, or bits, in so many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub amount: u64,
    pub of_bits: bool,
    pub seconds: u64,
    /// Packets, or bytes.
    pub burst: u64,
}

impl Rate {
    fn text(&self) -> String {
        let time = match self.seconds {
            1 => "s",
            60 => "m",
            3_600 => "h",
            _ => "d",
        };
        let unit = if self.of_bits { "bit" } else { "" };
        format!("{}{unit}/{time}", self.amount)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Per {
    Rule,
    Source,
    Destination,
}

impl Rule {
    /// A rule without conditions.
    pub fn new(name: impl Into<String>, action: Action) -> Self {
        Self {
            name: name.into(),
            protocol: None,
            source: Vec::new(),
            destination: Vec::new(),
            source_port: Vec::new(),
            destination_port: Vec::new(),
            icmp_type: Vec::new(),
            tcp_flags: Vec::new(),
            dscp: Vec::new(),
            vlan: None,
            source_mac: Vec::new(),
            destination_mac: Vec::new(),
            length: Vec::new(),
            ttl: Vec::new(),
            fragment: None,
            not: Not::default(),
            limit: None,
            action,
            set_source_mac: None,
            set_destination_mac: None,
        }
    }
}

/// The bits of an address, and how many there are.
pub fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

/// The address of the same family with these bits.
pub fn with_bits(family: IpAddr, bits: u128) -> IpAddr {
    match family {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(bits as u32)),
        IpAddr::V6(_) => IpAddr::V6(bits.into()),
    }
}

impl Prefix {
    pub fn new(address: IpAddr, length: u8) -> Self {
        Self { address, length }
    }

    /// First and last address.
    pub fn ends(&self) -> (IpAddr, IpAddr) {
        let (own, width) = bits(self.address);
        let hosts = width - self.length;
        let below = if hosts == 128 { u128::MAX } else { (1 << hosts) - 1 };
        (with_bits(self.address, own & !below), with_bits(self.address, own | below))
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        let (first, last) = self.ends();
        first.is_ipv4() == address.is_ipv4() && first <= address && address <= last
    }
}

/// As in a configuration.
impl fmt::Display for ListedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = |label: &Vec<u8>| -> String { label.iter().map(written).collect() };
        let labels: Vec<String> = self.labels.iter().map(label).collect();
        let name = labels.join(".");
        match (self.below_only, name.is_empty()) {
            (true, _) => write!(f, "*.{name}"),
            (false, true) => f.write_str("."),
            (false, false) => f.write_str(&name),
        }
    }
}

/// RFC 1035, section 5.1.
fn written(byte: &u8) -> String {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(*byte).to_string(),
        b'!'..=b'~' => format!("\\{}", char::from(*byte)),
        _ => format!("\\{byte:03}"),
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl Config {
    /// The text, and the list files beside it by name.
    pub fn to_toml(&self) -> (String, Vec<(String, String)>) {
        let mut text = String::new();
        let mut files = Vec::new();
        let policy = [
            ("default", self.default),
            ("malformed", self.malformed),
            ("fragments", self.fragments),
        ];
        text.push_str("[policy]\n");
        for (key, verdict) in policy {
            text += &verdict.map_or_else(String::new, |verdict| line(key, quoted(verdict.word())));
        }
        let replies = self.replies.map(|verdict| match verdict {
            Verdict::Pass => "pass",
            Verdict::Drop => "judge",
        });
        text += &replies.map_or_else(String::new, |word| line("replies", quoted(word)));
        let udp = |udp| match udp {
            ReplyUdp::Sent => "sent",
            ReplyUdp::Ephemeral => "ephemeral",
            ReplyUdp::Connected => "connected",
        };
        text += &self
            .replies_udp
            .map_or_else(String::new, |which| line("replies_udp", quoted(udp(which))));
        text.push_str("[arp]\n");
        text +=
            &self.arp.map_or_else(String::new, |verdict| line("action", quoted(verdict.word())));
        if !self.arp_allow.is_empty() {
            text += &line("allow", array(self.arp_allow.iter().map(quoted)));
        }
        for list in &self.allowlists {
            text.push_str("[[allowlist]]\n");
            list.write(&mut text, &mut files);
        }
        for list in &self.blocklists {
            text.push_str("[[blocklist]]\n");
            list.write(&mut text, &mut files);
        }
        for list in &self.domains {
            text.push_str("[[domains]]\n");
            list.write(&mut text, &mut files);
        }
        for rule in &self.rules {
            rule.write(&mut text);
        }
        self.services.write(&mut text);
        (text, files)
    }
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Drop => "drop",
        }
    }
}

impl List {
    fn write(&self, text: &mut String, files: &mut Vec<(String, String)>) {
        *text += &line("name", quoted(&self.name));
        if !self.prefixes.is_empty() {
            *text += &line("prefixes", array(self.prefixes.iter().map(quoted)));
        }
        if !self.ranges.is_empty() {
            let file = format!("{}.txt", self.name);
            *text += &line("files", array([quoted(&file)]));
            let ranges = self.ranges.iter().map(|(first, last)| format!("{first}-{last}\n"));
            files.push((file, ranges.collect()));
        }
        if let Some(side) = self.side {
            *text += &line("match", quoted(format!("{side:?}").to_lowercase()));
        }
        if let Some(action) = self.action {
            *text += &line("action", quoted(format!("{action:?}").to_lowercase()));
        }
        // Dice may well throw all there is.
        *text += &line("catch_all", "true");
    }
}

impl Domains {
    fn write(&self, text: &mut String, files: &mut Vec<(String, String)>) {
        *text += &line("name", quoted(&self.name));
        if !self.names.is_empty() {
            *text += &line("names", array(self.names.iter().map(literal)));
        }
        if !self.filed.is_empty() {
            let file = format!("{}.txt", self.name);
            *text += &line("files", array([quoted(&file)]));
            files.push((file, self.filed.iter().map(|name| format!("{name}\n")).collect()));
        }
        if !self.qtypes.is_empty() {
            *text += &line("qtype", array(self.qtypes.iter().map(|qtype| quoted(named(*qtype)))));
        }
        if let Some(action) = self.action {
            *text += &line("action", quoted(format!("{action:?}").to_lowercase()));
        }
        *text += &line("catch_all", "true");
    }
}

/// The name of a question type (RFC 1035, section 3.2.2), or its number (RFC 3597, section 5).
fn named(qtype: u16) -> String {
    match qtype {
        1 => "A".into(),
        2 => "NS".into(),
        16 => "TXT".into(),
        28 => "AAAA".into(),
        255 => "ANY".into(),
        number => format!("TYPE{number}"),
    }
}

impl Rule {
    fn write(&self, text: &mut String) {
        text.push_str("[[rule]]\n");
        let mut key = |key: &str, values: Vec<String>| match values.as_slice() {
            [] => {}
            // A single value is written without brackets, as people do.
            [value] => *text += &line(key, value),
            values => *text += &line(key, array(values)),
        };
        key("name", vec![quoted(&self.name)]);
        let protocol = |protocol: &Protocol| match protocol {
            Protocol::Number(number) => number.to_string(),
            named => quoted(format!("{named:?}").to_lowercase()),
        };
        // Some by their names.
        let named = |point: &u8| match point {
            0 => quoted("cs0"),
            46 => quoted("ef"),
            number => number.to_string(),
        };
        let Self { not, .. } = self;
        key("protocol", self.protocol.iter().map(protocol).collect());
        key("not_protocol", not.protocol.iter().map(protocol).collect());
        key("source", self.source.iter().map(quoted).collect());
        key("not_source", not.source.iter().map(quoted).collect());
        key("destination", self.destination.iter().map(quoted).collect());
        key("not_destination", not.destination.iter().map(quoted).collect());
        key("source_port", self.source_port.iter().map(ports).collect());
        key("not_source_port", not.source_port.iter().map(ports).collect());
        key("destination_port", self.destination_port.iter().map(ports).collect());
        key("not_destination_port", not.destination_port.iter().map(ports).collect());
        key("icmp_type", self.icmp_type.iter().map(u8::to_string).collect());
        key("not_icmp_type", not.icmp_type.iter().map(u8::to_string).collect());
        key("tcp_flags", flags(&self.tcp_flags));
        key("not_tcp_flags", flags(&not.tcp_flags));
        key("dscp", self.dscp.iter().map(named).collect());
        key("not_dscp", not.dscp.iter().map(named).collect());
        key("vlan", vlan(self.vlan.as_ref()));
        key("not_vlan", vlan(not.vlan.as_ref()));
        key("source_mac", self.source_mac.iter().map(mac).collect());
        key("not_source_mac", not.source_mac.iter().map(mac).collect());
        key("destination_mac", self.destination_mac.iter().map(mac).collect());
        key("not_destination_mac", not.destination_mac.iter().map(mac).collect());
        key("length", self.length.iter().map(ports).collect());
        key("not_length", not.length.iter().map(ports).collect());
        key("ttl", self.ttl.iter().map(ports).collect());
        key("not_ttl", not.ttl.iter().map(ports).collect());
        key("fragment", self.fragment.iter().map(fragment).collect());
        key("not_fragment", not.fragment.iter().map(fragment).collect());
        if let Some(Limit { over, per, lengths }) = self.limit {
            let (over, burst) = match over {
                // Every frame has more than a byte.
                Over::Always => ("8bit/s".to_owned(), Some(quoted("1B"))),
                Over::Never => ("900000000/s".to_owned(), None),
                Over::Rate(rate) if rate.of_bits => {
                    (rate.text(), Some(quoted(format!("{}B", rate.burst))))
                }
                Over::Rate(rate) => (rate.text(), Some(rate.burst.to_string())),
            };
            key("over", vec![quoted(over)]);
            key("burst", burst.into_iter().collect());
            let lengths = lengths.map_or_else(String::new, |(v4, v6)| format!("/{v4},{v6}"));
            key("per", vec![quoted(format!("{per:?}").to_lowercase() + &lengths)]);
        }
        let mut life = None;
        let (action, to) = match &self.action {
            Action::Pass => ("pass", None),
            Action::Drop => ("drop", None),
            Action::Bounce => ("bounce", None),
            Action::Redirect(Target::Name(name)) => ("redirect", Some(quoted(name))),
            Action::Redirect(Target::Index(index)) => ("redirect", Some(index.to_string())),
            Action::Block(seconds) => {
                life = Some(quoted(format!("{seconds}s")));
                ("block", None)
            }
            Action::SynCookie => ("syncookie", None),
        };
        key("action", vec![quoted(action)]);
        key("for", life.into_iter().collect());
        key("to", to.into_iter().collect());
        key("set_source_mac", self.set_source_mac.iter().map(mac).collect());
        key("set_destination_mac", self.set_destination_mac.iter().map(mac).collect());
    }
}

pub fn line(key: &str, value: impl fmt::Display) -> String {
    format!("{key} = {value}\n")
}

pub fn quoted(value: impl fmt::Display) -> String {
    format!("\"{value}\"")
}

/// As [`quoted`], where a backslash stands for itself and there is no quotation mark.
fn literal(value: impl fmt::Display) -> String {
    format!("'{value}'")
}

pub fn array<S: fmt::Display>(values: impl IntoIterator<Item = S>) -> String {
    let mut text = String::from("[");
    for value in values {
        let _ = write!(text, "{value}, ");
    }
    text + "]"
}

fn flags(flags: &[(&str, bool)]) -> Vec<String> {
    if flags.is_empty() {
        return Vec::new();
    }
    let flags = flags.iter().map(|(name, set)| format!("{}{name}", if *set { "" } else { "!" }));
    vec![quoted(flags.collect::<Vec<_>>().join(","))]
}

fn vlan(vlan: Option<&Vlan>) -> Vec<String> {
    match vlan {
        None => Vec::new(),
        Some(Vlan::Untagged) => vec![quoted("none")],
        Some(Vlan::Ids(ids)) => ids.iter().map(u16::to_string).collect(),
    }
}

fn fragment(fragment: &Fragment) -> String {
    match fragment {
        Fragment::No => "false".into(),
        Fragment::Yes => "true".into(),
        Fragment::First => quoted("first"),
        Fragment::Later => quoted("later"),
    }
}

pub fn ports<T: fmt::Display + PartialEq>((first, last): &(T, T)) -> String {
    if first == last { first.to_string() } else { quoted(format!("{first}-{last}")) }
}

pub fn mac(mac: &Mac) -> String {
    quoted(mac.map(|byte| format!("{byte:02x}")).join(":"))
}
