//! Turns the numbers of an answer into the names, entries and places in files that people know.

use xdp_common::filter::limits::Answer as Asked;
use xdp_common::filter::syn_cookie::Outcome;
use xdp_common::filter::tracking::By;
use xdp_common::image::ActionKind;
use xdp_common::lookup::services::Lost;
use xdp_common::packet::{self, LinkType, Malformed, NO_SENDER, Network, Packet};
use xdp_common::stats::counter::CounterId;
use xdp_common::stats::verdict::{Reason, Verdict};

use super::answer::Answer;
use super::dns;
use crate::config::prefix::{IpPrefix, masked_v4, masked_v6};
use crate::image::caught;
use crate::image::limits;
use crate::image::metadata::{Kind, Metadata, Redirect};
use crate::ruleset::RedirectTarget;
use crate::ruleset::domains::DomainName;
use crate::ruleset::limits::Quantity;
use crate::views::entries::Kind as EntryKind;
use crate::views::explain::entries::{Address, ListedEntries};
use crate::views::explain::flow::Flow;
use crate::views::explain::names::NamePlace;
use crate::views::explain::replied::Replied;
use crate::views::explain::{Admitted, Counted, Explained, Limited, Place, Taken, hex};

/// A run-time entry that decides about a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunTime {
    pub prefix: IpPrefix,
    pub kind: EntryKind,
    /// `None` if it does not expire.
    pub expires_in_seconds: Option<u64>,
    pub note: Option<String>,
    /// Who put it, where that is a rule: `rule:NAME`.
    pub owner: Option<String>,
}

/// What is known about a ruleset beside its image.
pub struct Names {
    metadata: Metadata,
    /// `None` if the kept ruleset is lost, so that only the image and its metadata are known.
    entries: Option<ListedEntries>,
    /// The name of the interface with this index; `None` if that cannot be asked.
    interface_name: fn(u32) -> Option<String>,
}

impl Names {
    pub fn new(
        metadata: Metadata,
        entries: Option<ListedEntries>,
        interface_name: fn(u32) -> Option<String>,
    ) -> Self {
        Self { metadata, entries, interface_name }
    }

    /// Whether the ruleset has lists of domain names, so that a verdict may depend on a question.
    pub fn ask_about_questions(&self) -> bool {
        self.metadata.counted.iter().any(|counted| counted.kind == Kind::Domains)
    }

    /// Names what decided a frame. `entry` is the run-time entry that decides about its source, if
    /// one does.
    pub fn explained(
        &mut self,
        answer: &Answer,
        entry: Option<&RunTime>,
        link_type: LinkType,
        frame: &[u8],
    ) -> Explained {
        let mut explained = Explained {
            verdict: answer.verdict.as_str(),
            reason: answer.reason.as_str(),
            output: answer.changed.as_deref().map(hex),
            flow: answer.packet.as_ref().map(Flow::of).unwrap_or_default(),
            reply: answer.packet.as_ref().and_then(|packet| Replied::of(packet, &answer.reply?)),
            ..Explained::default()
        };
        let addresses = answer.packet.as_ref().and_then(addresses);
        match answer.reason {
            Reason::Allowlist | Reason::Blocklist => {
                if let Some((kind, name)) = self.named(answer.list) {
                    explained.rule = Some(name.clone());
                    explained.place(self.entry(kind, &name, addresses));
                }
            }
            Reason::Rule => self.name_rule(answer, &mut explained),
            // An entry of the other kind was added after the frame was judged, and did not decide.
            Reason::Allowed => explained.entry_of(entry, EntryKind::Allow),
            Reason::Banned => explained.entry_of(entry, EntryKind::Block),
            Reason::Arp => {
                let sender = answer.packet.map_or(NO_SENDER, |packet| packet.source[0]);
                let entries = self.entries.as_ref();
                if let Ok(sender) = u32::try_from(sender)
                    && entries.is_some_and(|entries| entries.lets_through(sender))
                {
                    explained.entry = Some(full(Address::V4(sender)).to_string());
                }
            }
            Reason::Malformed => explained.cause = cause(link_type, frame),
            Reason::Domain => {
                if let Some((_, name)) = self.named(answer.domain) {
                    if let Some(place) = self.name_entry(&name, answer, frame) {
                        explained.entry = Some(place.entry);
                        (explained.file, explained.line) = (Some(place.file), Some(place.line));
                    }
                    explained.rule = Some(name);
                }
            }
            Reason::Fragment | Reason::Default | Reason::Bypass | Reason::Reply => {}
            Reason::Service => self.name_service(answer, entry, &mut explained),
        }
        if !matches!(answer.reason, Reason::Allowlist | Reason::Blocklist)
            && let Some((kind, rule)) = self.named(answer.list)
        {
            let place = self.entry(kind, &rule, addresses);
            let (file, line) =
                (place.as_ref().map(|p| p.file.clone()), place.as_ref().map(|p| p.line));
            let entry = place.map(|place| place.prefix.to_string());
            if kind == Kind::Allowlist {
                let (reason, rule) = (Reason::Allowlist.as_str(), Some(rule));
                explained.admitted = Some(Admitted { reason, rule, entry, file, line });
            } else {
                explained.counted = Some(Counted { rule, entry, file, line });
            }
        }
        // A list of names that let it go on.
        if answer.reason != Reason::Domain
            && let Some((_, rule)) = self.named(answer.domain)
        {
            let place = self.name_entry(&rule, answer, frame);
            let (file, line) =
                (place.as_ref().map(|p| p.file.clone()), place.as_ref().map(|p| p.line));
            let entry = place.map(|place| place.entry);
            explained.excepted = Some(Counted { rule, entry, file, line });
        }
        explained.limits = answer.limits.iter().filter_map(|asked| self.limit(asked)).collect();
        if let Some(unreadable) = answer.unreadable {
            explained.unreadable = Some(unreadable.as_str());
        }
        explained
    }

    /// The entry of a list of names that decides about what the frame asks for.
    fn name_entry(&mut self, list: &str, answer: &Answer, frame: &[u8]) -> Option<NamePlace> {
        let is_answered = answer.verdict == Verdict::Tx && answer.reason == Reason::Domain;
        let (name, qtype) = dns::question(answer.packet.as_ref()?, frame, is_answered)?;
        self.entries.as_mut()?.deciding_name(list, DomainName::of_wire(&name), qtype)
    }

    fn name_rule(&self, answer: &Answer, explained: &mut Explained) {
        let action = answer.action.unwrap_or_default();
        if let Some((_, name)) = self.named(CounterId(action.counter)) {
            let entries = self.entries.as_ref();
            if let Some((file, line)) = entries.and_then(|entries| entries.rule(&name)) {
                (explained.file, explained.line) = (Some(file), Some(line));
            }
            explained.rule = Some(name);
        }
        explained.syn_cookie = answer.syn_cookie.map(Outcome::as_str);
        let mut counted = self.metadata.counted.iter();
        let rule = counted.find(|it| CounterId::new(it.number).0 == action.counter);
        if let (Some(life), Some(packet)) = (rule.and_then(|it| it.life), &answer.packet)
            && let Some(prefix) = caught::prefix_of(packet)
        {
            explained.blocks = Some(prefix.to_string());
            explained.for_seconds = Some(life.as_secs());
        }
        if action.kind == ActionKind::Redirect as u8 {
            let mut redirects = self.metadata.redirects.iter();
            let found = redirects.find(|redirect| redirect.slot == action.slot);
            let name = found.map(|redirect| self.name_of(redirect));
            // A redirect that cannot be made is a drop.
            if answer.verdict == Verdict::Redirect {
                explained.to = name;
            } else {
                explained.missing = name;
            }
        }
    }

    fn name_service(&self, answer: &Answer, entry: Option<&RunTime>, explained: &mut Explained) {
        let Some(served) = answer.served else { return };
        let services = || self.metadata.services();
        let found = services().find(|(it, _)| CounterId::new(it.number) == served.service);
        let Some((service, backends)) = found else { return };
        let name = service.name.clone();
        if let Some((file, line)) = self.entries.as_ref().and_then(|it| it.service(&name)) {
            (explained.file, explained.line) = (Some(file), Some(line));
        }
        let backend = backends.iter().find(|it| CounterId::new(it.number) == served.backend);
        let is_reply = backend.is_some() && served.by.is_none();
        explained.taken = Some(Taken {
            service: name.clone(),
            backend: backend.map(|it| it.name.clone()),
            by: if is_reply { Some("reply") } else { served.by.map(By::as_str) },
            lost: served.lost.map(Lost::as_str),
        });
        explained.rule = Some(name);
        explained.to = served
            .to
            .map(|index| (self.interface_name)(index).unwrap_or_else(|| index.to_string()));
        if let Some((_, name)) = self.named(answer.rule) {
            let (file, line) = self.entries.as_ref().and_then(|it| it.rule(&name)).unzip();
            let (reason, rule) = (Reason::Rule.as_str(), Some(name));
            explained.admitted = Some(Admitted { reason, rule, entry: None, file, line });
        } else if let Some(entry) =
            entry.filter(|it| answer.entry != 0 && it.kind == EntryKind::Allow)
        {
            let (reason, entry) = (Reason::Allowed.as_str(), Some(entry.prefix.to_string()));
            explained.admitted =
                Some(Admitted { reason, rule: None, entry, file: None, line: None });
        }
    }

    /// What a rule with a limit said.
    fn limit(&self, asked: &Asked) -> Option<Limited> {
        let mut counted = self.metadata.counted.iter();
        let rule = counted.find(|it| CounterId::new(it.number) == asked.rule)?;
        let limit = rule.limit?.limit;
        let window = u128::from(limits::line(&rule.name, &limit, 0).window).max(1);
        let left = window.saturating_sub(asked.ahead.into()) * u128::from(limit.burst) / window;
        Some(Limited {
            rule: rule.name.clone(),
            over: asked.is_over != 0,
            rate: limit.rate.to_string(),
            per: limit.per.to_string(),
            left: u64::try_from(left).unwrap_or(u64::MAX),
            burst: limit.burst,
            unit: match limit.rate.of {
                Quantity::Packets => "packets",
                Quantity::Bits => "bytes",
            },
        })
    }

    /// The name of the interface, looked up if the configuration has its index.
    fn name_of(&self, redirect: &Redirect) -> String {
        let named = match &redirect.to {
            RedirectTarget::Name(name) => Some(name.clone()),
            RedirectTarget::Index(index) => (self.interface_name)(*index),
        };
        named.unwrap_or_else(|| redirect.to.to_string())
    }

    /// The list or rule that a counter belongs to.
    fn named(&self, counter: CounterId) -> Option<(Kind, String)> {
        let counted = &self.metadata.counted;
        let found = counted.iter().find(|it| CounterId::new(it.number) == counter)?;
        Some((found.kind, found.name.clone()))
    }

    fn entry(
        &mut self,
        kind: Kind,
        name: &str,
        addresses: Option<(Address, Address)>,
    ) -> Option<Place> {
        let (source, destination) = addresses?;
        self.entries.as_mut()?.deciding(kind, name, source, destination)
    }
}

/// What is wrong with a frame, according to the code that the program reads frames with.
fn cause(link_type: LinkType, frame: &[u8]) -> Option<&'static str> {
    let read = packet::parse(link_type, frame, &mut Packet::LEFT_BEHIND.clone());
    read.err().map(Malformed::as_str)
}

impl Explained {
    fn place(&mut self, place: Option<Place>) {
        if let Some(Place { prefix, file, line }) = place {
            self.entry = Some(prefix.to_string());
            (self.file, self.line) = (Some(file), Some(line));
        }
    }

    fn entry_of(&mut self, entry: Option<&RunTime>, kind: EntryKind) {
        if let Some(entry) = entry.filter(|entry| entry.kind == kind) {
            self.entry = Some(entry.prefix.to_string());
            self.expires_in_seconds = entry.expires_in_seconds;
            self.note.clone_from(&entry.note);
            self.owner.clone_from(&entry.owner);
        }
    }
}

/// An address from a packet; `None` if the packet is not IP.
pub(super) fn address(network: Network, [first, second]: [u64; 2]) -> Option<Address> {
    match network {
        Network::IPV4 => Some(Address::V4(first as u32)),
        Network::IPV6 => Some(Address::V6(u128::from(first) << 64 | u128::from(second))),
        _ => None,
    }
}

/// Source and destination of an IP packet.
pub fn addresses(packet: &Packet) -> Option<(Address, Address)> {
    let address = |words| address(packet.network, words);
    Some((address(packet.source)?, address(packet.destination)?))
}

/// The prefix that holds just this address.
pub fn full(address: Address) -> IpPrefix {
    match address {
        Address::V4(address) => IpPrefix::V4(masked_v4(address, 32).0),
        Address::V6(address) => IpPrefix::V6(masked_v6(address, 128).0),
    }
}
