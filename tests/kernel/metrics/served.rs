//! `xdpctl metrics` as a process, and its answers taken apart.

use std::collections::BTreeMap;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};

use nix::sys::signal::Signal;

use crate::lab::bench::Bench;
use crate::lab::patience::{EVENT, patient};
use crate::lab::{Background, Count, Sample};

/// `xdpctl metrics`, listening on TCP.
pub struct Served {
    pub server: Background,
    pub address: SocketAddr,
}

impl Served {
    pub fn start(bench: &Bench) -> Self {
        bench.lab().ip("dut", ["link", "set", "lo", "up"]);
        let server = bench.lab().spawn_xdpctl("dut", ["metrics", "--listen", "127.0.0.1:0"]);
        let line = server.lines(1, EVENT).remove(0);
        let address = line
            .strip_prefix("serving metrics on http://")
            .and_then(|rest| rest.strip_suffix("/metrics until Ctrl-C"))
            .unwrap_or_else(|| panic!("{line}"));
        Self { server, address: address.parse().expect("an address") }
    }

    pub fn connect(&self, bench: &Bench) -> TcpStream {
        let stream = bench.lab().namespace("dut").enter(|| TcpStream::connect(self.address));
        let stream = stream.expect("a connection");
        stream.set_read_timeout(Some(patient(EVENT))).expect("a limit");
        stream.set_write_timeout(Some(patient(EVENT))).expect("a limit");
        stream
    }

    pub fn ask(&self, bench: &Bench, request: &str) -> Answer {
        let mut stream = self.connect(bench);
        stream.write_all(request.as_bytes()).expect("taken");
        Answer::read(&mut stream)
    }

    pub fn get(&self, bench: &Bench, accept: &str) -> Scraped {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n");
        Scraped::of(&self.ask(bench, &request))
    }

    /// Ends it as Ctrl-C does; returns what it said on stderr.
    #[track_caller]
    pub fn end(mut self, signal: Signal) -> String {
        self.server.signal(signal);
        self.server.wait(EVENT).expect("it ends").success().stderr.clone()
    }
}

/// An answer of HTTP.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Answer {
    #[track_caller]
    pub fn read(stream: &mut impl Read) -> Self {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("an answer to its end");
        let text = String::from_utf8(bytes).expect("UTF-8");
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 "));
        let status = status.and_then(|line| line[..3].parse().ok()).expect("a status");
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").expect("a header");
            (name.to_lowercase(), value.to_owned())
        };
        Self { status, headers: lines.map(header).collect(), body: body.to_owned() }
    }
}

/// Samples by name and labels.
#[derive(Debug, PartialEq)]
pub struct Scraped(pub BTreeMap<String, f64>);

impl Scraped {
    #[track_caller]
    pub fn of(answer: &Answer) -> Self {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.headers["content-length"], answer.body.len().to_string());
        Self::parse(&answer.body)
    }

    #[track_caller]
    pub fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'), "{text}");
        let mut samples = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let value = value.parse().expect("a number");
            assert!(samples.insert(series.to_owned(), value).is_none(), "twice: {series}");
        }
        Self(samples)
    }

    #[track_caller]
    pub fn value(&self, series: &str) -> f64 {
        *self.0.get(series).unwrap_or_else(|| panic!("no {series} in {:#?}", self.0.keys()))
    }

    pub fn has(&self, series: &str) -> bool {
        self.0.contains_key(series)
    }

    /// The sum of all samples that begin like that.
    pub fn sum(&self, beginning: &str) -> f64 {
        self.0.iter().filter(|(series, _)| series.starts_with(beginning)).map(|(_, v)| v).sum()
    }

    /// Without what is of this process, or of this moment.
    pub fn lasting(mut self) -> Self {
        self.0.retain(|series, _| !series.starts_with("xdpctl_scrape_errors"));
        self
    }

    /// Everything that `stats --json` says of an interface.
    #[track_caller]
    pub fn assert_is(&self, sample: &Sample) {
        let interface = &sample.interface;
        let mut counters = 0;
        let mut same = |name: &str, labels: String, count: Count| {
            for (half, expected) in [("packets", count.packets), ("bytes", count.bytes)] {
                let series =
                    format!("xdpctl_{name}{half}_total{{interface=\"{interface}\",{labels}}}");
                assert_eq!(self.value(&series), expected as f64, "{series}");
                counters += 1;
            }
        };
        for (verdict, count) in &sample.verdicts {
            same("", format!("verdict=\"{verdict}\""), *count);
        }
        for (reason, count) in &sample.reasons {
            same("reason_", format!("reason=\"{reason}\""), *count);
        }
        for rule in &sample.rules {
            let labels =
                format!("name=\"{}\",kind=\"{}\",action=\"{}\"", rule.name, rule.kind, rule.action);
            same("rule_", labels, rule.count);
            if rule.action == "redirect" {
                same("rule_lost_", format!("name=\"{}\"", rule.name), rule.lost);
            }
        }
        let of_this = format!("interface=\"{interface}\"");
        let there = self.0.keys().filter(|key| {
            ["xdpctl_packets_", "xdpctl_bytes_", "xdpctl_reason_", "xdpctl_rule_"]
                .iter()
                .any(|beginning| key.starts_with(beginning))
                && key.contains(&of_this)
        });
        assert_eq!(there.count(), counters, "{:#?}", self.0);
        let generation = format!("xdpctl_ruleset_generation{{{of_this}}}");
        assert_eq!(self.value(&generation), sample.generation as f64);
    }
}
