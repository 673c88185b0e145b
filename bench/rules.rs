//! Sets of rules, and flows that they match.

use std::fmt::Write as _;

use crate::prefixes::{Family, Prefix};
use crate::random::Random;
use crate::traffic::Flow;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
/// TCP's flags byte with SYN alone.
const SYN: u8 = 0x02;

type Range = (u16, u16);

/// One `[[rule]]`. It does not name the fields that are `None`.
#[derive(Clone, Debug, Default)]
struct Rule {
    protocol: Option<u8>,
    source: Option<Prefix>,
    destination: Option<Prefix>,
    source_port: Option<Range>,
    destination_port: Option<Range>,
    icmp_type: Option<u8>,
    /// `syn,!ack`
    opens: bool,
    passes: bool,
}

impl Rule {
    fn write(&self, number: usize, text: &mut String) {
        let mut line = |key: &str, value: &dyn std::fmt::Display| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{key} = {value}");
        };
        line("[[rule]]\nname", &format_args!("\"rule-{number}\""));
        if let Some(protocol) = self.protocol {
            match protocol {
                ICMP => line("protocol", &"\"icmp\""),
                ICMPV6 => line("protocol", &"\"icmpv6\""),
                number => line("protocol", &number),
            }
        }
        for (key, prefix) in [("source", self.source), ("destination", self.destination)] {
            if let Some(prefix) = prefix {
                line(key, &format_args!("\"{prefix}\""));
            }
        }
        let ports =
            [("source_port", self.source_port), ("destination_port", self.destination_port)];
        for (key, range) in ports {
            if let Some((low, high)) = range {
                line(key, &format_args!("\"{low}-{high}\""));
            }
        }
        if let Some(icmp_type) = self.icmp_type {
            line("icmp_type", &icmp_type);
        }
        if self.opens {
            line("tcp_flags", &"\"syn,!ack\"");
        }
        line("action", &if self.passes { "\"pass\"" } else { "\"drop\"" });
    }

    /// As iptables-restore takes it; for IPv4.
    fn write_iptables(&self, chain: &str, text: &mut String) {
        // Writing to a string cannot fail.
        let mut word = |word: std::fmt::Arguments<'_>| {
            let _ = text.write_fmt(word);
        };
        word(format_args!("-A {chain}"));
        if let Some(protocol) = self.protocol {
            word(format_args!(" -p {protocol}"));
        }
        for (option, prefix) in [("-s", self.source), ("-d", self.destination)] {
            if let Some(prefix) = prefix {
                word(format_args!(" {option} {prefix}"));
            }
        }
        for (option, range) in [("--sport", self.source_port), ("--dport", self.destination_port)] {
            if let Some((low, high)) = range {
                word(format_args!(" {option} {low}:{high}"));
            }
        }
        if let Some(icmp_type) = self.icmp_type {
            word(format_args!(" --icmp-type {icmp_type}"));
        }
        if self.opens {
            word(format_args!(" --tcp-flags SYN,ACK SYN"));
        }
        word(format_args!(" -j {}\n", if self.passes { "ACCEPT" } else { "DROP" }));
    }

    /// A flow that it matches, with anything in the fields that it does not name.
    fn flow(&self, family: Family, random: &mut Random) -> Flow {
        let mut address = |prefix: Option<Prefix>| match prefix {
            Some(prefix) => prefix.member(random),
            None => family.random_address(random),
        };
        let [source, destination] = [address(self.source), address(self.destination)];
        let mut port = |range: Option<Range>| {
            let (low, high) = range.unwrap_or((1024, u16::MAX));
            random.port(low, high)
        };
        let mut ports = [port(self.source_port), port(self.destination_port)];
        if let Some(icmp_type) = self.icmp_type {
            ports[0] = u16::from(icmp_type) << 8;
        }
        Flow { source, destination, ports, protocol: self.protocol.unwrap_or(UDP), tcp_flags: SYN }
    }
}

/// Rules of one family.
pub struct Rules {
    family: Family,
    rules: Vec<Rule>,
}

impl Rules {
    /// Rules as people write them: services, networks, ranges, whole conversations; around 40
    /// sites, so that many overlap. All of them drop.
    pub fn mixed(family: Family, count: usize, seed: u64) -> Self {
        let random = &mut Random::new(seed);
        // A site, and how much longer its networks are.
        let (site_length, step) = if family == Family::V4 { (12, 4) } else { (32, 16) };
        let sites: Vec<Prefix> = (0..40)
            .map(|_| Prefix::around(family, family.random_address(random), site_length))
            .collect();
        let network = |random: &mut Random| {
            let length = site_length + step * random.between(0, 5) as u8;
            Some(Prefix::around(family, random.pick(&sites).member(random), length))
        };
        let services = [22, 25, 53, 80, 123, 443, 445, 853, 3306, 3389, 5060, 6379, 8080, 8443];
        let service = |random: &mut Random| {
            let port = *random.pick(&services);
            Some((port, port))
        };
        let range = |random: &mut Random| {
            let low = random.port(1024, 60_000);
            Some((low, low + random.port(0, 5_000)))
        };
        let rules = (0..count).map(|number| {
            let mut rule = Rule::default();
            match number % 8 {
                0 => {
                    rule.protocol = Some(TCP);
                    rule.destination = network(random);
                    rule.destination_port = service(random);
                }
                1 => {
                    rule.protocol = Some(UDP);
                    rule.destination = network(random);
                    rule.source_port = service(random);
                }
                2 => rule.source = network(random),
                3 => {
                    rule.source = network(random);
                    rule.destination = network(random);
                }
                4 => {
                    rule.protocol = Some(TCP);
                    rule.opens = true;
                    rule.destination = network(random);
                    rule.destination_port = range(random);
                }
                5 => {
                    rule.protocol = Some(if family == Family::V4 { ICMP } else { ICMPV6 });
                    rule.icmp_type = Some(if family == Family::V4 { 8 } else { 128 });
                    rule.source = network(random);
                }
                6 => {
                    rule.protocol = Some(UDP);
                    rule.source = network(random);
                    rule.destination = network(random);
                    rule.source_port = range(random);
                    rule.destination_port = range(random);
                }
                _ => {
                    rule.protocol = Some(if random.percent(50) { TCP } else { UDP });
                    rule.destination = network(random);
                }
            }
            rule
        });
        Self { family, rules: rules.collect() }
    }

    /// One rule, that drops DNS.
    pub fn one() -> Self {
        let rule =
            Rule { protocol: Some(UDP), destination_port: Some((53, 53)), ..Rule::default() };
        Self { family: Family::V4, rules: vec![rule] }
    }

    /// IPv4 rules that overlap as much as rules can: in each field, most accept most packets, and
    /// each but the last fails in one field, every field in turn. All but the last pass.
    pub fn adversarial(count: usize, seed: u64) -> Self {
        let random = &mut Random::new(seed);
        let v4 = Family::V4;
        let prefix = |address: u32, length| Prefix::around(v4, address.into(), length);
        let (sources, destinations) = (prefix(0x0a00_0000, 8), prefix(0xac10_0000, 12));
        let elsewhere = prefix(0xc0a8_0000, 16);
        let part = |of: Prefix, random: &mut Random| {
            let length = random.between(of.length.into(), u64::from(of.length) + 3) as u8;
            Some(Prefix::around(v4, of.member(random), length))
        };
        let mut rules: Vec<Rule> = (0..count - 1)
            .map(|number| {
                let mut rule = Rule {
                    protocol: Some(UDP),
                    source: part(sources, random),
                    destination: part(destinations, random),
                    source_port: Some((random.port(1_000, 12_000), random.port(18_000, 30_000))),
                    destination_port: Some((random.port(1, 22_000), random.port(28_000, 39_000))),
                    passes: true,
                    ..Rule::default()
                };
                let low = random.port(40_000, 60_000);
                match number % 4 {
                    0 => rule.source = part(elsewhere, random),
                    1 => rule.destination = part(elsewhere, random),
                    2 => rule.source_port = Some((low, low + random.port(0, 5_000))),
                    _ => rule.destination_port = Some((low, low + random.port(0, 5_000))),
                }
                rule
            })
            .collect();
        rules.push(Rule {
            protocol: Some(UDP),
            source: Some(sources),
            destination: Some(destinations),
            source_port: Some((12_000, 18_000)),
            destination_port: Some((22_000, 28_000)),
            ..Rule::default()
        });
        Self { family: v4, rules }
    }

    /// The tables of the configuration.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (number, rule) in self.rules.iter().enumerate() {
            rule.write(number, &mut text);
        }
        text
    }

    /// The lines of iptables-restore.
    pub fn iptables(&self, chain: &str) -> String {
        let mut text = String::new();
        for rule in &self.rules {
            rule.write_iptables(chain, &mut text);
        }
        text
    }

    /// Flows that rules match, each rule with the same probability.
    pub fn flows(&self, count: usize, seed: u64) -> Vec<Flow> {
        let random = &mut Random::new(seed);
        (0..count).map(|_| random.pick(&self.rules).flow(self.family, random)).collect()
    }

    /// Flows that the last rule matches.
    pub fn flows_of_last(&self, count: usize, seed: u64) -> Vec<Flow> {
        let random = &mut Random::new(seed);
        let last = self.rules.last().expect("no set of rules is empty");
        (0..count).map(|_| last.flow(self.family, random)).collect()
    }
}
