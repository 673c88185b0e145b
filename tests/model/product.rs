//! The product's opinion: from TOML text through the loader and the compiler to the judgement of
//! a frame's bytes, everything but the kernel.

use std::net::{Ipv4Addr, Ipv6Addr};

use xdp_common::counter::CounterId;
use xdp_common::image;
use xdp_common::judge::{Desk, judge};
use xdp_common::packet::{Network, Packet};
use xdp_common::verdict::{Reason, Verdict};
use xdpctl::image::Image;
use xdpctl::image::metadata::{Counted, Metadata, Redirect};
use xdpctl::ruleset::{self, Ruleset, Target};

use super::bans::InMemory;
use super::config::{self, Config, Prefix};
use super::judge::{self, Entry, Opinion, Sent};
use super::loading;

pub struct Product {
    ruleset: Ruleset,
    image: Image,
    counted: Vec<Counted>,
    redirects: Vec<Redirect>,
    entries: InMemory,
}

impl Product {
    /// `Err` says why the product refuses the configuration.
    pub fn load(config: &Config) -> Result<Self, String> {
        let ruleset = loading::ruleset(config)?;
        let mut metadata = Metadata::unbound(&ruleset);
        for redirect in &mut metadata.redirects {
            // Not 0, and not in step with anything else.
            redirect.slot = 100 - redirect.slot;
        }
        let image = Image::build(&ruleset, 1, &metadata).map_err(|error| error.to_string())?;
        Ok(Self {
            ruleset,
            image,
            counted: metadata.counted,
            redirects: metadata.redirects,
            entries: InMemory::of(config),
        })
    }

    pub fn judge(&self, frame: &[u8]) -> Opinion {
        let mut desk = Desk::LEFT_BEHIND;
        desk.read(frame);
        let judged = judge(&self.image, &self.entries, self.image.header(), &mut desk);
        let mut opinion = Opinion {
            verdict: judged.verdict.as_str(),
            reason: judged.reason.as_str(),
            counted: Vec::new(),
            sent: None,
            entry: None,
        };
        let list = self.named(judged.list);
        if let (Reason::Allowlist | Reason::Blocklist, Some((kind, name))) = (judged.reason, &list)
        {
            opinion.entry = Some(self.entry(kind, name, &desk.packet));
        }
        opinion.counted.extend(list);
        if let Some(action) = judged.action {
            opinion.sent = self.sent(judged.verdict, action);
            opinion.counted.extend(self.named(CounterId(action.counter)));
        }
        opinion
    }

    /// The entry of the list that decided, as it stands in the ruleset that the loader made.
    fn entry(&self, kind: &str, name: &str, packet: &Packet) -> Entry {
        let lists = match kind {
            "allowlist" => &self.ruleset.allowlists,
            _ => &self.ruleset.blocklists,
        };
        let list = lists.iter().find(|list| list.name == name).expect("the list has that name");
        let sides: &[_] = match list.side {
            ruleset::Side::Source => &[packet.source],
            ruleset::Side::Destination => &[packet.destination],
            ruleset::Side::Either => &[packet.source, packet.destination],
        };
        let mut best: Option<Entry> = None;
        let mut consider = |prefix: Prefix, file, line| {
            if best.is_none_or(|best| prefix.length > best.prefix.length) {
                best = Some(Entry { prefix, line: (file != 0).then_some(line as usize) });
            }
        };
        for side in sides {
            if packet.network == Network::IPV4 {
                let address = Ipv4Addr::from_bits(side[0] as u32).into();
                for entry in &list.v4 {
                    let own = Ipv4Addr::from_bits(entry.prefix.address).into();
                    let prefix = Prefix::new(own, entry.prefix.length);
                    if prefix.contains(address) {
                        consider(prefix, entry.file, entry.line);
                    }
                }
            } else {
                let address = Ipv6Addr::from_bits(u128::from(side[0]) << 64 | u128::from(side[1]));
                for entry in &list.v6 {
                    let own = Ipv6Addr::from_bits(entry.prefix.address).into();
                    let prefix = Prefix::new(own, entry.prefix.length);
                    if prefix.contains(address.into()) {
                        consider(prefix, entry.file, entry.line);
                    }
                }
            }
        }
        best.expect("some entry of it holds one of the addresses")
    }

    /// What the model and this say of a frame, if they differ.
    pub fn differs(&self, config: &Config, frame: &[u8]) -> Option<String> {
        let (mut model, product) = (judge::judge(config, frame), self.judge(frame));
        if matches!(model.reason, "allowed" | "banned") {
            // Of entries of run time, the judgement says no more than what they say.
            model.entry = None;
        }
        (model != product).then(|| format!("model   {model:?}\nproduct {product:?}"))
    }

    fn sent(&self, verdict: Verdict, action: &image::Action) -> Option<Sent> {
        let to = match verdict {
            Verdict::Tx => None,
            Verdict::Redirect => {
                let redirect = self.redirects.iter().find(|redirect| redirect.slot == action.slot);
                Some(match &redirect.expect("a slot belongs to a target").to {
                    Target::Name(name) => config::Target::Name(name.clone()),
                    Target::Index(index) => config::Target::Index(*index),
                })
            }
            _ => return None,
        };
        Some(Sent {
            to,
            source_mac: (action.set_source_mac != 0).then_some(action.source_mac),
            destination_mac: (action.set_destination_mac != 0).then_some(action.destination_mac),
        })
    }

    fn named(&self, counter: CounterId) -> Option<(&'static str, String)> {
        if counter == CounterId::NONE {
            return None;
        }
        let counted = self.counted.iter().find(|it| CounterId::new(it.number) == counter);
        let counted = counted.expect("a counter belongs to a list or a rule");
        Some((counted.kind.as_str(), counted.name.clone()))
    }
}

/// The same of a configuration that has yet to be loaded.
pub fn differs(config: &Config, frame: &[u8]) -> Option<String> {
    Product::load(config).ok()?.differs(config, frame)
}
