//! Rules that answer SYNs, in the kernel, on a host that has a few addresses and listeners: what becomes of random frames
//! under random rulesets, and each byte of the answers. The cookie in them is the kernel's.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener};

use crate::answer::{has_tcp_header, is_plain_syn};
use crate::bench::{self, ip};
use crate::config::Config;
use crate::dice::{Dice, seed, setting};
use crate::disagreement::tell;
use crate::filter::{Filter, Given, SHORTEST};
use crate::frames::{self, Edges};
use crate::judge::{Opinion, judge};
use crate::packet::{self, Frame, Packet, Payload};
use crate::syn_ack::syn_ack;
use crate::syn_rulesets::{config, syn};

const FRAMES_PER_CONFIG: usize = 200;
/// Of the pairs that are asked for, one in so many.
const SHARE: usize = 32;
/// Of `lo`.
const MTU: u16 = 1_500;
const OWN: [&str; 3] = ["10.0.0.1", "10.0.0.2", "2001:db8::1"];
/// Two of them are bound to no address, and the last takes both families.
const LISTENERS: [&str; 4] = ["0.0.0.0:1024", "10.0.0.1:53", "[2001:db8::1]:53", "[::]:255"];

/// What many SYNs are for, the last of each family without a listener.
const ASKED: [&str; 8] = [
    "10.0.0.1:1024",
    "10.0.0.1:53",
    "10.0.0.2:255",
    "10.0.0.2:53",
    "[2001:db8::1]:53",
    "[2001:db8::1]:255",
    "[2001:db8::1]:53",
    "[2001:db8::1]:1024",
];

/// The host, for as long as this value lives.
struct Host {
    own: Vec<IpAddr>,
    listeners: Vec<TcpListener>,
}

impl Host {
    fn begin() -> Self {
        ip(&["link", "set", "lo", "mtu", &MTU.to_string(), "up"]);
        let own: Vec<IpAddr> = OWN.iter().map(|it| it.parse().expect("an address")).collect();
        for address in OWN {
            if address.contains(':') {
                ip(&["address", "add", &format!("{address}/128"), "dev", "lo", "nodad"]);
            } else {
                ip(&["address", "add", &format!("{address}/32"), "dev", "lo"]);
            }
        }
        // Of this thread's network namespace. A cookie is made for each SYN, however full a queue is.
        fs::write("/proc/sys/net/ipv4/tcp_syncookies", "2").expect("written");
        let listeners = LISTENERS.iter().map(|it| TcpListener::bind(it).expect("a listener"));
        Self { own, listeners: listeners.collect() }
    }

    fn listens(&self, to: SocketAddr) -> bool {
        self.listeners.iter().any(|listener| {
            let at = listener.local_addr().expect("an address");
            let takes =
                at.ip() == to.ip() || at.ip().is_unspecified() && (at.is_ipv6() || to.is_ipv4());
            takes && at.port() == to.port()
        })
    }

    /// What becomes of a SYN that a rule answers. Nothing is forwarded here.
    fn outcome(&self, bytes: &[u8], frame: &Frame, of: &Packet) -> &'static str {
        let (_, port) = of.ports.expect("a SYN has ports");
        if !is_plain_syn(frame) {
            "odd"
        } else if !self.own.contains(&of.destination) {
            "unknown_address"
        } else if !has_tcp_header(bytes, frame) {
            "odd"
        } else if !self.listens(SocketAddr::new(of.destination, port)) {
            "no_listener"
        } else {
            "answered"
        }
    }

    /// What the model says, and what becomes of a SYN, if a rule answers it.
    fn judge(
        &self,
        filter: &mut Filter,
        config: &Config,
        bytes: &[u8],
    ) -> (Opinion, Option<&'static str>) {
        let mut opinion = judge(config, bytes);
        if opinion.syn_cookie.is_none() {
            return (opinion, None);
        }
        let frame = packet::read(bytes).expect("well formed");
        let Payload::Ip(of) = &frame.payload else { panic!("{frame:?}") };
        let outcome = self.outcome(bytes, &frame, of);
        opinion.verdict = match outcome {
            "answered" => "tx",
            "unknown_address" => "pass",
            _ => "drop",
        };
        if outcome == "answered" {
            let made = filter.made_of(bytes);
            let at = of.parts.l4 + 4;
            let cookie = made.get(at..at + 4).map_or([0; 4], |it| it.try_into().expect("four"));
            opinion.answer = Some(syn_ack(bytes, &frame, of, u32::from_be_bytes(cookie), MTU));
        }
        (opinion, Some(outcome))
    }

    fn differs(&self, filter: &mut Filter, config: &Config, bytes: &[u8]) -> Option<String> {
        let mut compare = || {
            let (opinion, _) = self.judge(filter, config, bytes);
            filter.compare(&opinion, Given { frame: bytes, first: None })
        };
        // The kernel has another cookie each minute.
        compare().and_then(|_| compare())
    }
}

#[test]
fn model_and_program_answer_syns_alike() {
    let pairs = setting("XDPCTL_MODEL_PAIRS").unwrap_or(300_000) as usize / SHARE;
    let seed = seed();
    bench::within(|| {
        let host = Host::begin();
        let asked = ASKED.map(|it| it.parse().expect("an address and a port"));
        let mut dice = Dice::new(seed);
        let mut filter = Filter::load();
        filter.remember_nothing();
        let mut met: BTreeMap<&str, usize> = BTreeMap::new();
        for _ in 0..pairs.div_ceil(FRAMES_PER_CONFIG) {
            let config = config(&mut dice);
            filter.put(&config).unwrap_or_else(|error| panic!("{error}\n{}", config.to_toml().0));
            let edges = Edges::of(&config);
            for _ in 0..FRAMES_PER_CONFIG {
                let any = dice.one_in(4);
                let bytes =
                    if any { frames::frame(&mut dice, &edges) } else { syn(&mut dice, &asked) };
                if bytes.len() < SHORTEST {
                    continue;
                }
                if host.differs(&mut filter, &config, &bytes).is_some() {
                    tell(&config, &bytes, &mut |config, bytes| {
                        if bytes.len() < SHORTEST {
                            return None;
                        }
                        filter.put(config).ok()?;
                        host.differs(&mut filter, config, bytes)
                    });
                }
                let (_, outcome) = host.judge(&mut filter, &config, &bytes);
                *met.entry(outcome.unwrap_or("of no such rule")).or_default() += 1;
            }
        }
        println!("{pairs} pairs: {met:?}");
        if pairs < 5_000 {
            return;
        }
        // A run has to meet all of these, or it has compared little.
        for what in ["answered", "no_listener", "odd", "unknown_address"] {
            let times = met.get(what).copied().unwrap_or(0);
            assert!(times * 200 > pairs, "{what} only {times} times");
        }
    });
}
