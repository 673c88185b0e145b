//! The real program in the kernel: given a configuration as a reload gives it one, run on a frame,
//! and asked what it counted.

use std::collections::BTreeMap;
use std::fmt;
use std::mem::offset_of;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::sched::sched_getcpu;
use tempfile::TempDir;
use xdp_common::image::flag;
use xdp_common::lookup::services::Lost;
use xdp_common::packet::LinkType;
use xdp_common::packet::dns::Unreadable;
use xdp_common::packet::ordinary;
use xdp_common::stages::Needs;
use xdp_common::stats::counter::CounterId;
use xdp_common::stats::per_cpu::PerCpu;
use xdp_common::stats::verdict::{Reason, Verdict};
use xdpctl::config::prefix::{IpPrefix, masked_v4, masked_v6};
use xdpctl::datapath::attached::egress;
use xdpctl::datapath::attached::in_force::InForce;
use xdpctl::datapath::attached::question::{Asked, Explainer};
use xdpctl::datapath::change::kernel::{self, BuildContext};
use xdpctl::datapath::maps::dynamic::{self, Order, Store};
use xdpctl::datapath::maps::handles::Maps;
use xdpctl::datapath::maps::image;
use xdpctl::datapath::maps::sent;
use xdpctl::datapath::maps::states::{By, States, Word};
use xdpctl::datapath::program::load::{self, Loaded};
use xdpctl::datapath::sys::bpf::{self, PerCpuValues, Run};
use xdpctl::image::Image;
use xdpctl::image::metadata::{Counted, Metadata, Mode};
use xdpctl::image::services::Before;
use xdpctl::judgement::answer::Answer;
use xdpctl::judgement::names::{RunTime, addresses, full};
use xdpctl::judgement::sockets::Sockets;
use xdpctl::judgement::{self, RunTimeEntries};
use xdpctl::views::entries::Kind;

use crate::bench;
use crate::config::{Config, Prefix, RuntimeEntry};
use crate::counters::{Count, Counters};
use crate::judge::{Opinion, judge};
use crate::{loading, packet};

/// Frames below are refused by the kernel (ETH_HLEN), and no driver's first buffer holds less: what
/// is passed on is read there, and MAC addresses are rewritten there.
pub const SHORTEST: usize = 14;

pub struct Filter {
    link_type: LinkType,
    loaded: Loaded,
    maps: &'static Maps,
    explainer: Explainer<'static>,
    explained: usize,
    in_force: Option<InForce>,
    /// The image in force, for the judgement in user space.
    image: Option<Image>,
    counters: Counters,
    /// Where notes of run-time entries would lie.
    state: TempDir,
    entries: Vec<IpPrefix>,
    /// The host's, of the configuration in force.
    sockets: Sockets,
    out: Vec<u8>,
}

/// A frame, and how much of it is to lie in the first buffer.
#[derive(Clone, Copy)]
pub struct Given<'f> {
    pub frame: &'f [u8],
    pub first: Option<usize>,
}

/// What can be seen of what became of a frame.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    action: u32,
    cells: Vec<(&'static str, &'static str, Count)>,
    /// DNS messages whose question could not be read, by why.
    unreadable: Vec<(&'static str, Count)>,
    /// Kind and name, sorted; of what a redirect lost, the kind is `lost`.
    counted: Vec<(String, String, Count)>,
    frame: Bytes,
}

/// A frame that is shown as far as anybody reads it.
#[derive(PartialEq, Eq)]
struct Bytes(Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(40)];
        shown.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, "… of {} bytes", self.0.len())
    }
}

impl Filter {
    /// Loads the program for links with Ethernet headers, with no ruleset.
    pub fn load() -> Self {
        Self::load_for(LinkType::Ethernet)
    }

    /// The same for links of that type.
    pub fn load_for(link_type: LinkType) -> Self {
        let loaded =
            load::load_filter(link_type, Needs::ALL).unwrap_or_else(|error| panic!("{error}"));
        // A test has few of these: they stay until it ends.
        let maps = Maps::of_loaded(&loaded).expect("the program's maps");
        let maps: &Maps = Box::leak(Box::new(maps));
        let explainer =
            Explainer::beside(maps, link_type).unwrap_or_else(|error| panic!("{error}"));
        Self {
            link_type,
            loaded,
            maps,
            explainer,
            explained: 0,
            in_force: None,
            image: None,
            counters: Counters::new(),
            state: TempDir::new().unwrap(),
            entries: Vec::new(),
            sockets: Sockets::default(),
            out: Vec::new(),
        }
    }

    /// Has it judge each frame as if it were the only one, so that none is one too many.
    pub fn remember_nothing(&self) {
        let mut values = PerCpuValues::zeroed(size_of::<PerCpu>(), 1).expect("processors");
        values.set_word(offset_of!(PerCpu, scratch.question), 1);
        values.update(&self.maps.counters, 0).expect("written");
    }

    /// Whether the way of ordinary packets (`xdp-ebpf/src/ordinary.rs`) is open to a frame of that length, as far as
    /// the ruleset and the first buffer say.
    pub fn is_ordinary(&self, first: &[u8], length: usize) -> bool {
        let image = self.image.as_ref();
        let is_short = image.is_some_and(|image| image.header().has(flag::ORDINARY));
        let headers = first.first_chunk::<{ ordinary::BYTES }>();
        let nothing_added = self.link_type == LinkType::Ethernet && self.entries.is_empty();
        is_short
            && nothing_added
            && headers.is_some_and(|it| ordinary::read(it, length as u32).is_some())
    }

    /// What lies in the scratch of this thread's CPU behind an IPv4 packet's source: the longer way leaves there what
    /// an IPv6 packet before had, and that of ordinary packets writes 0.
    pub fn behind_the_source(&self) -> u64 {
        let mut values = PerCpuValues::zeroed(size_of::<PerCpu>(), 1).expect("processors");
        values.lookup(&self.maps.counters, 0).expect("read").expect("one value");
        let cpu = sched_getcpu().expect("a CPU");
        let at = offset_of!(PerCpu, scratch.packet.source) + size_of::<u64>();
        let share = values.shares().nth(cpu).expect("that CPU's");
        u64::from_ne_bytes(*share[at..].first_chunk().expect("a word"))
    }

    /// The program at the egress of such a link, which notes what goes out for this filter.
    pub fn load_egress(&self, link_type: LinkType) -> OwnedFd {
        egress::load(link_type, self.maps).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Forgets what went out. From now on, that is noted, or not.
    pub fn begin_to_note(&self, is_noted: bool) {
        sent::release(self.maps).unwrap();
        if is_noted {
            sent::provide(self.maps).unwrap();
        }
    }

    /// Puts a configuration in force, in the place of the one before. `Err` is the product's word
    /// why it does not.
    pub fn put(&mut self, config: &Config) -> Result<(), String> {
        let ruleset = loading::ruleset(config)?;
        self.sockets = loading::sockets(config);
        let context = BuildContext {
            interface: "lo",
            mode: Mode::Native,
            link_type: self.link_type,
            config: Path::new("/model.toml"),
            loaded_from: Path::new("/model.toml"),
            attached_at: 0,
            before: self.in_force.as_ref(),
            tables: match &self.in_force {
                Some(in_force) => kernel::tables_in_force(self.maps, in_force)
                    .map_err(|error| error.to_string())?,
                None => Before::default(),
            },
        };
        let prepared = kernel::prepare(&ruleset, &context).map_err(|error| error.to_string())?;
        let before = self.named_counts();
        kernel::activate(self.maps, &prepared, None).map_err(|error| error.to_string())?;
        kernel::drop_unused_counters(self.maps, &prepared.metadata).unwrap();
        self.in_force = Some(InForce {
            map_id: image::slot_id(&self.maps.ruleset, 0).unwrap().expect("an image"),
            generation: prepared.generation,
            rules: ruleset.rules.len() as u32,
            needs: prepared.needs(),
            metadata: prepared.metadata,
        });
        self.image = Some(prepared.image);
        self.put_entries(&config.entries);
        self.counters.open(self.maps);
        // "A rule keeps its counters as long as its name and kind stay", and a new one begins at 0.
        for (name, count) in self.named_counts() {
            let expected = before.get(&name).copied().unwrap_or_default();
            if count != expected {
                return Err(format!("{name:?} had {expected:?} before the swap, now {count:?}"));
            }
        }
        Ok(())
    }

    /// The entries of run time, in their order: of two of one owner for one prefix, the later stays.
    fn put_entries(&mut self, entries: &[RuntimeEntry]) {
        let mut store = Store::on(self.maps, self.state.path().to_owned()).unwrap();
        if !self.entries.is_empty() {
            store.remove(&self.entries, None).unwrap();
        }
        self.entries = entries.iter().map(|entry| masked(entry.prefix)).collect();
        let mut from = 0;
        while from < entries.len() {
            let RuntimeEntry { owner, allow, live, .. } = entries[from];
            let alike = |entry: &&RuntimeEntry| {
                (entry.owner, entry.allow, entry.live) == (owner, allow, live)
            };
            let to = from + entries[from..].iter().take_while(alike).count();
            let kind = if allow { Kind::Allow } else { Kind::Block };
            let life = match live {
                false => Some(Duration::from_nanos(1)),
                true => (from % 2 == 0).then_some(Duration::from_secs(100_000)),
            };
            let order = Order {
                owner: format!("owner-{owner}"),
                kind,
                life,
                note: None,
                created: SystemTime::now(),
            };
            store.put(&self.entries[from..to], &order).unwrap();
            from = to;
        }
    }

    /// The counters of lists and rules by kind and name, as they were when read last.
    fn named_counts(&self) -> BTreeMap<(String, String), Count> {
        let by_number = self.counters.by_number();
        let count = |number| by_number.get(&number).copied().unwrap_or_default();
        self.counted().iter().map(|it| (named(it), count(it.number))).collect()
    }

    fn counted(&self) -> &[Counted] {
        self.metadata().map_or(&[], |metadata| &metadata.counted)
    }

    /// Of the ruleset in force.
    pub fn metadata(&self) -> Option<&Metadata> {
        self.in_force.as_ref().map(|in_force| &in_force.metadata)
    }

    /// What a command or a check says of a backend, by its id and that of its service.
    pub fn say(&self, service: u32, backend: u32, by: By, word: Word) {
        let image = self.image.as_ref().expect("a ruleset is in force");
        States::open(self.maps).unwrap().say(image, service, backend, by, word).unwrap();
    }

    /// Whether this kernel lets a caller say how much of a frame lies in the first buffer: from 6.18
    /// on, and where that was taken over. Before, less than the frame has is refused.
    pub fn ends_can_be_told(&mut self) -> bool {
        let given = Given { frame: &[0; 64], first: Some(SHORTEST) };
        let told = self.run(given).is_ok();
        self.counters.open(self.maps);
        told
    }

    /// Runs the program on a frame.
    pub fn run(&mut self, given: Given<'_>) -> std::io::Result<Run> {
        // With room to see it grow.
        let room = given.frame.len() + 64;
        self.out.resize(self.out.len().max(room), 0);
        let program = self.loaded.program()?;
        bpf::run_xdp(program, given.frame, given.first, &mut self.out[..room])
    }

    /// What the program makes of a frame, whatever it counts.
    pub fn made_of(&mut self, frame: &[u8]) -> Vec<u8> {
        let run = self.run(Given { frame, first: None }).unwrap();
        self.counters.open(self.maps);
        self.out[..run.length].to_vec()
    }

    fn see(&mut self, given: Given<'_>) -> Seen {
        let run = self.run(given).unwrap_or_else(|error| {
            panic!("test run of {} bytes, {:?}: {error}", given.frame.len(), given.first)
        });
        let moved = self.counters.moved(self.maps);
        let name = |number| {
            for it in self.counted() {
                if it.number == number {
                    return named(it);
                }
                if it.limit.is_some_and(|limit| limit.under == number) {
                    return ("under".to_owned(), it.name.clone());
                }
                if it.lost == Some(number) {
                    return ("lost".to_owned(), it.name.clone());
                }
            }
            let nothing = || ("nothing".to_owned(), format!("number {number}"));
            self.metadata().and_then(|it| named_of_service(it, number)).unwrap_or_else(nothing)
        };
        let counted = moved.numbers.iter().map(|(number, by)| {
            let (kind, name) = name(*number);
            (kind, name, *by)
        });
        let mut counted: Vec<_> = counted.collect();
        counted.sort();
        Seen {
            action: run.action,
            cells: moved.cells,
            unreadable: moved.unreadable,
            counted,
            frame: Bytes(self.out[..run.length].to_vec()),
        }
    }

    /// What the program makes of a frame, as an opinion: the one cell that moved, and what counted
    /// it.
    pub fn opinion(&mut self, frame: &[u8]) -> Opinion {
        let mut opinion = Opinion::of("");
        if frame.len() < SHORTEST {
            let asked = self.explainer.ask(frame).unwrap_or_else(|error| panic!("{error}"));
            let answer = asked.answer;
            opinion.verdict = answer.verdict.as_str();
            opinion.reason = answer.reason.as_str();
            return opinion;
        }
        let seen = self.see(Given { frame, first: None });
        let once = (1, frame.len() as u64);
        let [(verdict, reason, count)] = seen.cells[..] else { panic!("{seen:?}") };
        assert_eq!(count, once);
        opinion.verdict = verdict;
        opinion.reason = reason;
        for (why, count) in seen.unreadable {
            assert_eq!(count, once);
            assert_eq!(opinion.unreadable.replace(why), None);
        }
        if (verdict, reason) == ("tx", "domain") {
            opinion.answer = Some(seen.frame.0);
        }
        // Sorted by kind: a list before a rule.
        for (kind, name, count) in seen.counted {
            assert_eq!(count, once);
            if kind == "under" {
                opinion.under.push(name);
                continue;
            }
            let kinds = ["allowlist", "blocklist", "domains", "rule"];
            let kind = kinds.into_iter().find(|known| *known == kind).expect("a kind");
            opinion.counted.push((kind, name));
        }
        opinion
    }

    /// How many maps the image in force consists of.
    pub fn extents(&self) -> usize {
        image::ids(&self.maps.ruleset).unwrap().len()
    }

    /// What the model and the program make of a frame, if they differ.
    pub fn differs(&mut self, config: &Config, given: Given<'_>) -> Option<String> {
        self.compare(&judge(config, given.frame), given)
    }

    /// The same with an opinion that is there already.
    pub fn compare(&mut self, opinion: &Opinion, given: Given<'_>) -> Option<String> {
        let expected = expected(opinion, given, self.link_type);
        let seen = self.see(given);
        (seen != expected).then(|| {
            let first = given.first.map(|first| format!("\nin the first buffer: {first} bytes"));
            format!(
                "model    {opinion:?}\nexpected {expected:?}\nseen     {seen:?}{}",
                first.unwrap_or_default()
            )
        })
    }

    /// What the model says of a frame and what the program says if it is asked (`xdpctl explain`),
    /// and what the same code says in user space (`explain --config`), if they differ. That nothing was
    /// counted shows with the next frame that is run.
    pub fn explained_differs(&mut self, opinion: &Opinion, frame: &[u8]) -> Option<String> {
        let (mut answer, image) = match self.explainer.ask(frame) {
            Ok(Asked { answer, image }) => (answer, image),
            Err(error) => return Some(format!("explain {} bytes: {error}", frame.len())),
        };
        self.explained += 1;
        let mut here = self.judged_here(&answer, frame);
        // In user space nothing has been used up of a limit, and what a packet costs is rounded at random.
        for asked in answer.limits.iter_mut().chain(&mut here.limits) {
            (asked.ahead, asked.cost) = (0, 0);
        }
        if here != answer {
            return Some(format!("user space {here:?}\nkernel     {answer:?}"));
        }
        let in_force = self.in_force.as_ref().expect("a ruleset is in force");
        let mut counted = Vec::new();
        let rule = answer.action.as_ref().map(|it| CounterId(it.counter));
        let ids = [Some(answer.list), Some(answer.domain), rule];
        for id in ids.into_iter().flatten().filter(|id| *id != CounterId::NONE) {
            let found = in_force.metadata.counted.iter().find(|it| CounterId::new(it.number) == id);
            let name = found.map(|it| (it.kind.as_str(), it.name.clone()));
            counted.push(name.unwrap_or(("nothing", format!("{id:?}"))));
        }
        let sent = answer.action.as_ref().filter(|_| answer.verdict == Verdict::Redirect);
        let to = sent.map(|action| self.target(action.slot));
        let asked = (
            answer.verdict.as_str(),
            answer.reason.as_str(),
            counted,
            answer.unreadable.map(Unreadable::as_str),
            to,
            Bytes(answer.changed.unwrap_or_else(|| frame.to_vec())),
            image,
        );
        let to = opinion.sent.as_ref().and_then(|sent| sent.to.as_ref()).map(bench::index_of);
        let model = (
            opinion.verdict,
            opinion.reason,
            opinion.counted.clone(),
            opinion.unreadable,
            to,
            Bytes(output(opinion, frame)),
            in_force.map_id,
        );
        // The entry: here `opinion.entry` is held against the one that `explain` names.
        (asked != model).then(|| format!("model   {model:?}\nexplain {asked:?}"))
    }

    /// The judgement in user space, by the image and the run-time entries in force. What was read of
    /// the frame is the kernel's, where both have read it: fields that a packet lacks are anything.
    fn judged_here(&self, kernel: &Answer, frame: &[u8]) -> Answer {
        let mut entries = RunTimeEntries::default();
        if let Some((source, _)) = kernel.packet.as_ref().and_then(addresses)
            && let Some((prefix, kind)) = dynamic::deciding(self.maps, full(source)).unwrap()
        {
            entries.insert(
                source,
                RunTime { prefix, kind, expires_in_seconds: None, note: None, owner: None },
            );
        }
        let image = self.image.as_ref().expect("a ruleset is in force");
        let judged = judgement::judge_beside(image, &entries, &self.sockets, self.link_type, frame);
        let packet = judged.packet.and(kernel.packet).or(judged.packet);
        // Which counter an entry has is the kernel's to say; that the one that decided has one is not.
        let by_entry = matches!(judged.reason, Reason::Allowed | Reason::Banned);
        assert_eq!(kernel.entry != 0, by_entry, "{kernel:?}");
        Answer { packet, entry: kernel.entry, ..judged }
    }

    /// How many frames were explained.
    pub fn explained(&self) -> usize {
        self.explained
    }

    /// The index of the interface that a slot of the redirect map holds.
    fn target(&self, slot: u32) -> u32 {
        let mut value = [0; 8];
        bpf::lookup(&self.maps.redirects, slot, &mut value).unwrap();
        u32::from_ne_bytes(value[..4].try_into().unwrap())
    }
}

/// What a counter of a service is called that is not the service's own: why packets were lost, with the
/// service's name, or `backend`, with both names.
fn named_of_service(metadata: &Metadata, number: u32) -> Option<(String, String)> {
    metadata.services().find_map(|(service, backends)| {
        let lost = (service.number + 1..).zip(Lost::ALL).find(|(it, _)| *it == number);
        let lost = lost.map(|(_, lost)| (lost.as_str().to_owned(), service.name.clone()));
        let backend = backends.iter().find(|it| it.number == number);
        let backend = backend.map(|it| format!("{}/{}", service.name, it.name));
        lost.or(backend.map(|name| ("backend".to_owned(), name)))
    })
}

fn named(counted: &Counted) -> (String, String) {
    (counted.kind.as_str().to_owned(), counted.name.clone())
}

/// What an opinion comes to.
fn expected(opinion: &Opinion, given: Given<'_>, link_type: LinkType) -> Seen {
    // enum xdp_action, include/uapi/linux/bpf.h.
    let action = match opinion.verdict {
        "drop" => 1,
        "pass" => 2,
        "tx" => 3,
        "redirect" => 4,
        other => panic!("{other}"),
    };
    let once = (1, counted_length(given, link_type));
    let mut counted: Vec<_> = opinion
        .counted
        .iter()
        .map(|(kind, name)| ((*kind).to_owned(), name.clone(), once))
        .collect();
    counted.extend(opinion.under.iter().map(|name| ("under".to_owned(), name.clone(), once)));
    counted.sort();
    let cells = vec![(opinion.verdict, opinion.reason, once)];
    let unreadable = opinion.unreadable.map(|why| (why, once)).into_iter().collect();
    let mut frame = output(opinion, given.frame);
    if opinion.answer.is_some() && opinion.reason != "service" {
        // What lies behind that which is taken for the whole frame stays behind it.
        let untold = given.frame.len() - once.1 as usize;
        let length = given.frame.len().min(frame.len() + untold);
        // None where the answer is longer than what it answers.
        frame.extend(given.frame.get(frame.len()..length).unwrap_or_default());
    }
    Seen { action, cells, unreadable, counted, frame: Bytes(frame) }
}

/// The bytes that are counted: the whole frame, but that a first buffer of up to 128 bytes with a
/// whole packet in it is taken to be all (ARCHITECTURE.md, "A packet's way").
fn counted_length(given: Given<'_>, link_type: LinkType) -> u64 {
    let all = given.frame.len();
    let read = match link_type {
        LinkType::Ethernet => packet::read,
        LinkType::Raw => packet::read_raw,
    };
    match given.first {
        Some(first @ ..=128) if first < all && read(&given.frame[..first]).is_some() => {
            first as u64
        }
        _ => all as u64,
    }
}

/// The frame as it goes on.
fn output(opinion: &Opinion, frame: &[u8]) -> Vec<u8> {
    if let Some(answer) = &opinion.answer {
        return answer.clone();
    }
    let mut frame = frame.to_vec();
    if let Some(sent) = &opinion.sent {
        if let Some(mac) = sent.destination_mac {
            frame[0..6].copy_from_slice(&mac);
        }
        if let Some(mac) = sent.source_mac {
            frame[6..12].copy_from_slice(&mac);
        }
    }
    frame
}

fn masked(prefix: Prefix) -> IpPrefix {
    match prefix.address {
        std::net::IpAddr::V4(address) => {
            IpPrefix::V4(masked_v4(address.to_bits(), prefix.length).0)
        }
        std::net::IpAddr::V6(address) => {
            IpPrefix::V6(masked_v6(address.to_bits(), prefix.length).0)
        }
    }
}
