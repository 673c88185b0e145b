//! A configuration as text: in TOML, and the list files beside it.

use std::fmt::{self, Write};

use super::config::{
    Action, Config, Domains, Fragment, Limit, List, ListedName, Mac, Over, Prefix, Protocol, Rate,
    ReplyUdp, Rule, Target, Verdict, Vlan,
};

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

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
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
