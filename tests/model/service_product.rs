//! The product's services without a kernel: its judgement, its choice of a backend and its rewriting,
//! compiled for this host, on images that it built one after the other.

use std::collections::{BTreeMap, HashSet};

use xdp_common::filter::fast_path::{self, Forwarded};
use xdp_common::filter::order::{self, Scratch, onward};
use xdp_common::filter::serve;
use xdp_common::filter::services::{self, Work};
use xdp_common::filter::tracking::{
    self, AGE_BITS, Beside, Choice, FIRST_MOMENT, IDS, MOMENT_SHIFT, SECOND_MOMENT, Said,
};
use xdp_common::image::{LINE_WORDS, Line, Lines};
use xdp_common::lookup::services::{Backend, Front, Lost, Mode, Origin};
use xdp_common::packet::LinkType;
use xdp_common::packet::rewrite::{FrameMut, Side, translate};
use xdp_common::packet::tunnel::Grow;
use xdp_common::stats::counter::CounterId;
use xdpctl::datapath::maps::states::{self, summary};
use xdpctl::image::metadata::Metadata;
use xdpctl::image::services::{Before, backends, changed, fronts, spare_word};
use xdpctl::image::{Image, counters};
use xdpctl::judgement::{RunTimeEntries, dns};
use xdpctl::ruleset::Ruleset;

use super::leaving::Leaves;
use super::service_config::State;
use super::services::{By, Ids, Say, Who};

/// The interface's.
pub const MTU: u16 = 1500;

/// What became of a frame that a service took.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    pub service: String,
    pub backend: Option<String>,
    pub is_new: bool,
    pub by: Option<By>,
    pub leaves: Leaves,
}

#[derive(Default)]
pub struct Product {
    in_force: Option<(Image, Metadata)>,
    memory: Memory,
}

/// What lies beside images.
#[derive(Default)]
struct Memory {
    /// Nanoseconds, and by how many the packets' clock is behind.
    now: u64,
    behind: u64,
    words: BTreeMap<u32, u64>,
    connections: Vec<Line>,
}

/// The ids of what metadata name.
pub fn ids(metadata: &Metadata) -> Ids {
    let id = |number: u32| CounterId::new(number).0;
    let of = metadata.services();
    let of = of.map(|(service, backends)| {
        (id(service.number), backends.iter().map(|it| id(it.number)).collect())
    });
    let (services, backends) = of.unzip();
    Ids { services, backends }
}

impl Product {
    pub fn step(&mut self, time: u64) {
        self.memory.now += time;
    }

    /// Packets have a coarse clock, which is up to a tick behind that of commands.
    pub fn fall_behind(&mut self, time: u64) {
        self.memory.behind = time;
    }

    fn moment(&self) -> u64 {
        self.memory.now >> MOMENT_SHIFT
    }

    fn image(&self) -> &Image {
        &self.in_force.as_ref().expect("a ruleset is in force").0
    }

    fn metadata(&self) -> &Metadata {
        &self.in_force.as_ref().expect("a ruleset is in force").1
    }

    /// What `datapath::change::kernel` does, as far as it is about services.
    pub fn reload(&mut self, ruleset: &Ruleset) -> Ids {
        let before = self.in_force.as_ref();
        let tables = before.map(|(image, _)| Before::of(image, self.moment() as u32));
        let tables = tables.unwrap_or_default();
        let assigned = counters::assign(
            ruleset,
            before.map_or(&[], |(_, metadata)| &metadata.counted),
            before.map_or(&[], |(_, metadata)| &metadata.backends),
        );
        let metadata = Metadata {
            counted: assigned.counted,
            backends: assigned.backends,
            mtu: MTU,
            ..Metadata::unbound(ruleset)
        };
        let generation = before.map_or(1, |(image, _)| image.header().generation + 1);
        let image = Image::build_after(ruleset, generation, &metadata, &tables).unwrap();
        let fresh: HashSet<u32> = assigned.fresh.iter().map(|it| CounterId::new(*it).0).collect();
        self.memory.words.retain(|id, _| !fresh.contains(id));
        let connections = &mut self.memory.connections;
        connections.resize(image.header().connection_lines as usize, [0; LINE_WORDS]);
        for word in connections.iter_mut().flatten() {
            if fresh.contains(&((*word >> AGE_BITS & IDS) as u32)) {
                *word = 0;
            }
        }
        let changed = changed(&image, &tables);
        self.in_force = Some((image, metadata));
        for id in ids(self.metadata()).services {
            self.settle(id, changed.contains(&id));
        }
        ids(self.metadata())
    }

    pub fn say(&mut self, service: u32, backend: u32, who: Who, say: Say) {
        let (by, what, until) = match who {
            Who::Command => (states::By::Command, 0, FIRST_MOMENT),
            Who::Check => (states::By::Check, 2, SECOND_MOMENT),
        };
        let now = self.moment();
        let (said, ends) = match say {
            None => (Said::Nothing, None),
            Some((State::Up, ends)) => (Said::Up, ends),
            Some((State::Drain, ends)) => (Said::Drain, ends),
            Some((State::Down, ends)) => (Said::Down, ends),
        };
        let word = self.memory.words.entry(backend).or_default();
        let has_changed = states::differs(*word, by, said, now);
        *word &= !(3 << what | tracking::MOMENTS << until);
        *word |= (said as u64) << what | ends.unwrap_or(0) << until;
        self.settle(service, has_changed);
    }

    fn settle(&mut self, service: u32, has_changed: bool) {
        let front =
            fronts(self.image()).into_iter().find(|front| front.counter == service).unwrap();
        let backends = backends(self.image(), &front);
        let words: Vec<u64> = backends.iter().map(|it| self.memory.state(it.counter)).collect();
        let old = self.memory.state(service);
        let (word, up) = summary(&front, &backends, &words, (old, has_changed), self.moment());
        self.memory.words.insert(service, word);
        self.memory.words.insert(front.spares, spare_word(&up));
    }

    /// What the filter and the programs behind it do with a frame (`xdp-ebpf/src/services.rs` and
    /// `serve.rs`). `None` where no service takes it.
    pub fn serve(&mut self, frame: &[u8]) -> Option<Outcome> {
        let Self { in_force, memory } = self;
        let (image, metadata) = in_force.as_ref().expect("a ruleset is in force");
        let header = image.header();
        let mut scratch = Scratch::LEFT_BEHIND;
        scratch.read(LinkType::Ethernet, frame);
        let mut names = dns::Names::new(frame);
        order::judge(image, &RunTimeEntries::default(), &mut names, header, &mut scratch);
        if scratch.onward & onward::SERVICES == 0 {
            return None;
        }
        let fast = fast(image, memory, &scratch);
        let Scratch { packet, serving, onward: asked, .. } = &mut scratch;
        serve::find(image, header, frame, packet, *asked, serving).unwrap();
        let mut by = None;
        if serving.work == Work::Forward as u32 {
            serve::choose(image, memory, header, frame, packet, serving).unwrap();
            use tracking::By as Chosen;
            let all = [Chosen::Hash, Chosen::Entry, Chosen::Before, Chosen::Substitute];
            by = all.into_iter().find(|by| *by as u32 == serving.by);
        }
        if let Some(fast) = fast {
            assert_eq!(fast, Fast::of(image, serving), "the longer way leads elsewhere");
        }
        if serving.work == Work::None as u32 {
            return None;
        }
        let [service, backend, _] = services::counters(image, serving).unwrap();
        let (counted, of) =
            metadata.services().find(|(it, _)| CounterId::new(it.number) == service).unwrap();
        let backend = (backend != CounterId::NONE).then(|| {
            of.iter().find(|it| CounterId::new(it.number) == backend).unwrap().name.clone()
        });
        let forwards = serving.work == Work::Forward as u32;
        Some(Outcome {
            service: counted.name.clone(),
            backend,
            is_new: forwards && serving.is_new != 0,
            by: by.filter(|_| forwards).map(|by| match by {
                tracking::By::Hash => By::Hash,
                tracking::By::Entry => By::Entry,
                tracking::By::Before => By::Before,
                tracking::By::Substitute => By::Substitute,
            }),
            leaves: self.leaves(&scratch, frame),
        })
    }

    fn leaves(&self, scratch: &Scratch, frame: &[u8]) -> Leaves {
        let (image, Scratch { packet, serving, .. }) = (self.image(), scratch);
        let line = |line| image.line(line).unwrap();
        let lost = |why: Lost| Leaves::Lost(why.as_str());
        let mut sent = Growing(frame.to_vec());
        let mac = if serving.work == Work::Fragment as u32 {
            return lost(Lost::Fragment);
        } else if serving.work == Work::Unserved as u32 {
            let passes = Front::of(line(serving.front)).pass_unserved != 0;
            return if passes { Leaves::Up } else { lost(Lost::NoBackend) };
        } else if serving.work == Work::Return as u32 {
            let origin = Origin::of(line(serving.origin));
            match translate(&mut sent, packet, &origin.rewritten(Side::Source)) {
                None => return Leaves::Lost(""),
                Some(false) => return lost(Lost::TimeToLive),
                Some(true) => origin.mac,
            }
        } else {
            let front = Front::of(line(serving.front));
            let backend = Backend::of(line(serving.backend));
            let length = packet.parts.end - packet.parts.l3;
            if front.mode != Mode::L2dsr as u8
                && length + serve::overhead(front, backend) > front.mtu.into()
            {
                return lost(Lost::TooBig);
            }
            match serve::rewrite(&mut sent, image.header(), packet, front, backend, serving.flow) {
                None => return Leaves::Lost(""),
                Some(false) => return lost(Lost::TimeToLive),
                Some(true) => {}
            }
            backend.mac
        };
        let Growing(mut sent) = sent;
        sent[..6].copy_from_slice(&mac);
        sent[6..12].copy_from_slice(&frame[..6]);
        Leaves::Back(sent)
    }
}

/// Where the fast path leads: by which lines, of a service and its backend or of the origin of a reply, and of a
/// packet to a backend its flow and whether it begins a connection.
#[derive(Debug, PartialEq, Eq)]
struct Fast(Line, Option<(Line, u64, u32)>);

impl Fast {
    /// Where the longer way leads.
    fn of(image: &Image, serving: &services::Serving) -> Self {
        let line = |line| *image.line(line).unwrap();
        if serving.work == Work::Return as u32 {
            return Self(line(serving.origin), None);
        }
        assert_eq!((serving.work, serving.by), (Work::Forward as u32, tracking::By::Hash as u32));
        let forwarded = (line(serving.backend), serving.flow, serving.is_new);
        Self(line(serving.front), Some(forwarded))
    }
}

/// What `xdp-ebpf/src/fast_path.rs` finds; `None` where the longer way is gone.
fn fast(image: &Image, memory: &Memory, scratch: &Scratch) -> Option<Fast> {
    let (header, packet) = (image.header(), &scratch.packet);
    if !fast_path::is_usual(packet) {
        return None;
    }
    let line = fast_path::service(image, header, packet, scratch.onward)?;
    if line == 0 {
        let origin = fast_path::give_back(image, header, packet)?;
        return Some(Fast(origin.to_line(), None));
    }
    let mut choice = Choice::LEFT_BEHIND;
    let Forwarded { front, backend, flow, is_new } =
        fast_path::forward(image, memory, header, packet, line, &mut choice)?;
    Some(Fast(front.to_line(), Some((backend.to_line(), flow, is_new))))
}

impl Beside for Memory {
    fn state(&self, id: u32) -> u64 {
        self.words.get(&id).copied().unwrap_or(0)
    }

    fn connections(&mut self, number: u32) -> Option<&mut Line> {
        let mask = self.connections.len().checked_sub(1)?;
        self.connections.get_mut(number as usize & mask)
    }

    fn secret(&self) -> u64 {
        0x1234_5678_9abc_def1
    }

    fn now(&self) -> u64 {
        self.now - self.behind
    }

    fn writes(&self) -> bool {
        true
    }
}

/// A frame with room before it.
struct Growing(Vec<u8>);

impl FrameMut for Growing {
    type WindowMut<'a, const N: usize> = &'a mut [u8; N];

    fn window_mut<const N: usize>(&mut self, offset: u32) -> Option<&mut [u8; N]> {
        self.0.window_mut(offset)
    }
}

impl Grow for Growing {
    fn grow(&mut self, bytes: u32) -> bool {
        // What stands there is anything.
        self.0.splice(..0, vec![0xa5; bytes as usize]);
        true
    }
}
