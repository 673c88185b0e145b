//! The product's opinion: from TOML text through the loader and the compiler to the judgement of
//! a frame's bytes, everything but the kernel.

use std::cell::RefCell;
use std::net::{Ipv4Addr, Ipv6Addr};

use xdp_common::filter::syn_cookie::Outcome;
use xdp_common::image::{self, ActionKind};
use xdp_common::packet::dns::{Message, Unreadable};
use xdp_common::packet::{LinkType, Packet};
use xdp_common::stats::counter::CounterId;
use xdp_common::stats::verdict::{Reason, Verdict};
use xdpctl::config::prefix::IpPrefix;
use xdpctl::image::Image;
use xdpctl::image::metadata::{Counted, Kind, Metadata, Redirect};
use xdpctl::judgement;
use xdpctl::judgement::names::addresses;
use xdpctl::judgement::sockets::Sockets;
use xdpctl::ruleset::RedirectTarget;
use xdpctl::ruleset::domains::DomainName;
use xdpctl::views::explain::entries::ListedEntries;

use super::bans::{self, InMemory};
use super::config::{self, Config, Prefix};
use super::judge::{self, DomainEntry, Entry, Opinion, Sent};
use super::loading;

pub struct Product {
    /// The lists' entries, each list sorted when it is first asked.
    places: RefCell<ListedEntries>,
    image: Image,
    counted: Vec<Counted>,
    redirects: Vec<Redirect>,
    entries: InMemory,
    sockets: Sockets,
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
            places: RefCell::new(ListedEntries::of(ruleset)),
            image,
            counted: metadata.counted,
            redirects: metadata.redirects,
            entries: InMemory::of(config),
            sockets: loading::sockets(config),
        })
    }

    /// Judges an Ethernet frame.
    pub fn judge(&self, frame: &[u8]) -> Opinion {
        self.judge_on(LinkType::Ethernet, frame)
    }

    pub fn judge_on(&self, link_type: LinkType, frame: &[u8]) -> Opinion {
        let judged =
            judgement::judge_beside(&self.image, &self.entries, &self.sockets, link_type, frame);
        let mut opinion = Opinion::of(judged.verdict.as_str());
        opinion.reason = judged.reason.as_str();
        // A run-time entry counts the packets that it decided, and no others.
        let entry = match judged.reason {
            Reason::Allowed => bans::ALLOWED,
            Reason::Banned => bans::BLOCKED,
            _ => 0,
        };
        assert_eq!(judged.entry, entry, "{judged:?}");
        let list = self.named(judged.list);
        if let (Reason::Allowlist | Reason::Blocklist, Some((kind, name))) = (judged.reason, &list)
        {
            let packet = judged.packet.as_ref().expect("lists hold packets that can be read");
            opinion.entry = Some(self.entry(kind, name, packet));
        }
        opinion.counted.extend(list);
        opinion.unreadable = judged.unreadable.map(Unreadable::as_str);
        if let Some((kind, name)) = self.named(judged.domain) {
            opinion.domain = Some(self.name_entry(&name, frame, judged.packet.as_ref()));
            opinion.counted.push((kind, name));
        }
        if (judged.verdict, judged.reason) == (Verdict::Tx, Reason::Domain) {
            opinion.answer.clone_from(&judged.changed);
        }
        if let Some(action) = &judged.action {
            opinion.sent = self.sent(judged.verdict, action);
            opinion.counted.extend(self.named(CounterId(action.counter)));
        }
        opinion.syn_cookie = judged.syn_cookie.map(Outcome::as_str);
        let under = judged.limits.iter().filter(|limit| limit.is_over == 0);
        opinion.under = under.filter_map(|it| Some(self.named(it.rule)?.1)).collect();
        opinion
    }

    /// The entry of the list that decided, as `explain` finds it.
    fn entry(&self, kind: &str, name: &str, packet: &Packet) -> Entry {
        let kind = if kind == "allowlist" { Kind::Allowlist } else { Kind::Blocklist };
        let (source, destination) = addresses(packet).expect("lists hold IP packets");
        let place = self.places.borrow_mut().deciding(kind, name, source, destination);
        let place = place.expect("some entry of it holds one of the addresses");
        let prefix = match place.prefix {
            IpPrefix::V4(own) => Prefix::new(Ipv4Addr::from_bits(own.address).into(), own.length),
            IpPrefix::V6(own) => Prefix::new(Ipv6Addr::from_bits(own.address).into(), own.length),
        };
        let in_list_file = !place.file.ends_with(".toml");
        Entry { prefix, line: in_list_file.then_some(place.line as usize) }
    }

    /// The name that decided, as `explain` finds it: by the question, which is read once more.
    fn name_entry(&self, list: &str, frame: &[u8], packet: Option<&Packet>) -> DomainEntry {
        let packet = packet.expect("messages lie in packets that can be read");
        let mut message = Message::LEFT_BEHIND;
        let wanted = Message::wanted(packet) as usize;
        message.bytes[..wanted].copy_from_slice(&frame[packet.parts.l4 as usize..][..wanted]);
        // However much UDP claims: the judgement has looked at that.
        (message.length, message.is_first_fragment) = (wanted as u32, 1);
        message.read_question(packet).expect("a question");
        let (name, qtype) = (DomainName::of_wire(message.name()), message.qtype() as u16);
        let place = self.places.borrow_mut().deciding_name(list, name, qtype);
        let place = place.expect("some name of it decided");
        let in_list_file = !place.file.ends_with(".toml");
        DomainEntry { name: place.entry, line: in_list_file.then_some(place.line as usize) }
    }

    /// What the model and this say of an Ethernet frame, if they differ.
    pub fn differs(&self, config: &Config, frame: &[u8]) -> Option<String> {
        told(judge::judge(config, frame), self.judge(frame))
    }

    /// As [`Self::differs`], for a packet of a link without a link layer header.
    pub fn differs_raw(&self, config: &Config, packet: &[u8]) -> Option<String> {
        told(judge::judge_raw(config, packet), self.judge_on(LinkType::Raw, packet))
    }

    fn sent(&self, verdict: Verdict, action: &image::Action) -> Option<Sent> {
        let to = match verdict {
            Verdict::Tx if action.kind == ActionKind::SynCookie as u8 => return None,
            Verdict::Tx => None,
            Verdict::Redirect => {
                let redirect = self.redirects.iter().find(|redirect| redirect.slot == action.slot);
                Some(match &redirect.expect("a slot belongs to a target").to {
                    RedirectTarget::Name(name) => config::Target::Name(name.clone()),
                    RedirectTarget::Index(index) => config::Target::Index(*index),
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

/// As [`Product::differs`], and loads the configuration first; `None` where it is refused.
pub fn differs(config: &Config, frame: &[u8]) -> Option<String> {
    Product::load(config).ok()?.differs(config, frame)
}

/// The same of a packet on a link without a link layer header.
pub fn differs_raw(config: &Config, packet: &[u8]) -> Option<String> {
    Product::load(config).ok()?.differs_raw(config, packet)
}

fn told(mut model: Opinion, product: Opinion) -> Option<String> {
    if matches!(model.reason, "allowed" | "banned") {
        // Of entries of run time, the judgement says no more than what they say.
        model.entry = None;
    }
    (model != product).then(|| format!("model   {model:?}\nproduct {product:?}"))
}
