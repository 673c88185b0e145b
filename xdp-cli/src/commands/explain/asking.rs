//! The program's answer, with the names and the entries that belong to it.

use xdp_common::image::ActionKind;
use xdp_common::packet::{self, LinkType, Malformed, NO_SENDER, Network, Packet};
use xdp_common::stats::counter::CounterId;
use xdp_common::stats::verdict::{Reason, Verdict};

use crate::commands::{Failure, Session};
use crate::config::prefix::{IpPrefix, masked_v4, masked_v6};
use crate::datapath::attached::attachment::Attachment;
use crate::datapath::attached::in_force::InForce;
use crate::datapath::attached::namespace::Namespace;
use crate::datapath::attached::question::{Answer, Explainer};
use crate::datapath::error::Error;
use crate::datapath::host::interface::Interface;
use crate::datapath::maps::dynamic;
use crate::datapath::maps::handles::Maps;
use crate::image::metadata::{Kind, Redirect};
use crate::notation::plain;
use crate::ruleset::RedirectTarget;
use crate::views::entries::Kind as EntryKind;
use crate::views::explain::entries::{Address, ListedEntries};
use crate::views::explain::{Counted, Explained, Place, hex};

/// The program, and what is known of the ruleset that it judges by.
pub(super) struct Asking<'a> {
    namespace: &'a Namespace,
    attachment: &'a Attachment,
    maps: &'a Maps,
    explainer: Explainer<'a>,
    link_type: LinkType,
    known: Known,
}

/// A ruleset in force, with its entries where they are still known.
struct Known {
    in_force: InForce,
    entries: Option<ListedEntries>,
}

impl<'a> Asking<'a> {
    pub(super) fn begin(
        namespace: &'a Namespace,
        attachment: &'a Attachment,
        link_type: LinkType,
        session: &mut Session<'_>,
    ) -> Result<Self, Failure> {
        let (maps, _) = attachment.readable()?;
        let explainer = Explainer::beside(maps, link_type)?;
        if !explainer.is_like(attachment.program_id())? {
            session.reporter.warning(
                &format!(
                    "the program on {} was attached by another version of xdpctl: the answer is \
                     what this version's would do",
                    plain(&attachment.name())
                ),
                Some("`xdpctl attach --replace IFACE` puts this version's in its place"),
            );
        }
        let known = Self::know(namespace, attachment, session)?;
        Ok(Self { namespace, attachment, maps, explainer, link_type, known })
    }

    fn know(
        namespace: &Namespace,
        attachment: &Attachment,
        session: &mut Session<'_>,
    ) -> Result<Known, Failure> {
        let in_force = attachment.in_force_now()?;
        let kept = match namespace.kept_ruleset(attachment.key(), &in_force) {
            Ok(Some(kept)) => Some(kept),
            Ok(None) => {
                session.reporter.warning(
                    "the ruleset in force is not kept any more: its entries cannot be named",
                    Some("`xdpctl reload` keeps it again"),
                );
                None
            }
            Err(error) => {
                session.reporter.warning(
                    &format!("{}; entries cannot be named", error.message),
                    error.hint.as_deref(),
                );
                None
            }
        };
        Ok(Known { in_force, entries: kept.map(|kept| ListedEntries::of(kept.ruleset)) })
    }

    pub(super) fn ask(
        &mut self,
        frame: &[u8],
        session: &mut Session<'_>,
    ) -> Result<Explained, Failure> {
        for _ in 0..100 {
            let answer = self.explainer.ask(frame)?;
            if answer.image == self.known.in_force.map_id {
                let cause = match answer.reason {
                    Reason::Malformed => self.cause(frame),
                    _ => None,
                };
                return Ok(Explained { cause, ..self.explained(&answer)? });
            }
            // A reload came: the names and entries are those of the ruleset that judged.
            self.known = Self::know(self.namespace, self.attachment, session)?;
        }
        Err(Error::new("the ruleset changes too fast to ask about it").into())
    }

    /// What is wrong with a frame, by the code that the program reads frames with.
    fn cause(&self, frame: &[u8]) -> Option<&'static str> {
        let read = packet::parse(self.link_type, frame, &mut Packet::LEFT_BEHIND.clone());
        read.err().map(Malformed::as_str)
    }

    fn explained(&mut self, answer: &Answer) -> Result<Explained, Error> {
        let mut explained = Explained {
            verdict: answer.verdict.as_str(),
            reason: answer.reason.as_str(),
            output: answer.changed.as_deref().map(hex),
            ..Explained::default()
        };
        let addresses = answer.packet.as_ref().and_then(addresses);
        match answer.reason {
            Reason::Allowlist | Reason::Blocklist => {
                if let Some((kind, name)) = self.known.named(answer.list) {
                    explained.rule = Some(name.clone());
                    explained.place(self.known.entry(kind, &name, addresses));
                }
            }
            Reason::Rule => {
                let action = answer.action.unwrap_or_default();
                if let Some((_, name)) = self.known.named(CounterId(action.counter)) {
                    let entries = self.known.entries.as_ref();
                    if let Some((file, line)) = entries.and_then(|entries| entries.rule(&name)) {
                        (explained.file, explained.line) = (Some(file), Some(line));
                    }
                    explained.rule = Some(name);
                }
                if action.kind == ActionKind::Redirect as u8 {
                    let mut redirects = self.known.in_force.metadata.redirects.iter();
                    let found = redirects.find(|redirect| redirect.slot == action.slot);
                    let name = found.map(name_of);
                    // A redirect that cannot be made is a drop.
                    if answer.verdict == Verdict::Redirect {
                        explained.to = name;
                    } else {
                        explained.missing = name;
                    }
                }
            }
            Reason::Allowed | Reason::Banned => {
                if let Some((source, _)) = addresses {
                    let kind = match answer.reason {
                        Reason::Allowed => EntryKind::Allow,
                        _ => EntryKind::Block,
                    };
                    // One that was put since the frame was judged did not decide it.
                    let decides = dynamic::deciding(self.maps, full(source))?;
                    let decides = decides.filter(|(_, found)| *found == kind);
                    explained.entry = decides.map(|(prefix, _)| prefix.to_string());
                }
            }
            Reason::Arp => {
                let sender = answer.packet.map_or(NO_SENDER, |packet| packet.source[0]);
                let entries = self.known.entries.as_ref();
                if let Ok(sender) = u32::try_from(sender)
                    && entries.is_some_and(|entries| entries.lets_through(sender))
                {
                    explained.entry = Some(full(Address::V4(sender)).to_string());
                }
            }
            Reason::Malformed
            | Reason::Domain
            | Reason::Fragment
            | Reason::Default
            | Reason::Bypass => {}
        }
        if !matches!(answer.reason, Reason::Allowlist | Reason::Blocklist)
            && let Some((kind, rule)) = self.known.named(answer.list)
        {
            let place = self.known.entry(kind, &rule, addresses);
            let (file, line) =
                (place.as_ref().map(|p| p.file.clone()), place.as_ref().map(|p| p.line));
            let entry = place.map(|place| place.prefix.to_string());
            explained.counted = Some(Counted { rule, entry, file, line });
        }
        Ok(explained)
    }
}

/// The interface's name, also where the configuration has its index.
fn name_of(redirect: &Redirect) -> String {
    let named = match &redirect.to {
        RedirectTarget::Name(name) => Some(name.clone()),
        RedirectTarget::Index(index) => {
            Interface::by_index(*index).ok().map(|interface| interface.name)
        }
    };
    named.unwrap_or_else(|| redirect.to.to_string())
}

impl Explained {
    fn place(&mut self, place: Option<Place>) {
        if let Some(Place { prefix, file, line }) = place {
            self.entry = Some(prefix.to_string());
            (self.file, self.line) = (Some(file), Some(line));
        }
    }
}

impl Known {
    /// The list or rule that a counter is of.
    fn named(&self, counter: CounterId) -> Option<(Kind, String)> {
        let counted = &self.in_force.metadata.counted;
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

/// Source and destination of an IP packet.
fn addresses(packet: &Packet) -> Option<(Address, Address)> {
    let address = |[first, second]: [u64; 2]| match packet.network {
        Network::IPV4 => Some(Address::V4(first as u32)),
        Network::IPV6 => Some(Address::V6(u128::from(first) << 64 | u128::from(second))),
        _ => None,
    };
    Some((address(packet.source)?, address(packet.destination)?))
}

/// The prefix that holds an address alone.
pub(in crate::commands) fn full(address: Address) -> IpPrefix {
    match address {
        Address::V4(address) => IpPrefix::V4(masked_v4(address, 32).0),
        Address::V6(address) => IpPrefix::V6(masked_v6(address, 128).0),
    }
}
