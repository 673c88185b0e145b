//! Asking the attached program what it would do with a frame.
//!
//! The same program is loaded once more, on the same maps but with counters of its own. So it
//! judges by the ruleset and the run-time entries that are in force at that moment, and the
//! interface's counters do not move. What it decided is read from where it counts: the one cell of
//! its matrix that went up, and what it left in its scratch.

use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use xdp_common::capacity::MAX_EXPLAINED_FRAME;
use xdp_common::capture::slot;
use xdp_common::filter::order::Scratch;
use xdp_common::filter::services::Told;
use xdp_common::filter::syn_cookie::Outcome;
use xdp_common::image::{Header, Lines as _};
use xdp_common::maps::{InExplain, Map};
use xdp_common::packet::LinkType;
use xdp_common::packet::dns::Unreadable;
use xdp_common::packet::tunnel;
use xdp_common::stages::{Group, Needs};
use xdp_common::stats::counter::{Counter, Matrix};
use xdp_common::stats::per_cpu::PerCpu;
use xdp_common::stats::verdict::Reason;

use crate::datapath::error::{Context, Error, Result};
use crate::datapath::maps::counters::inner_id;
use crate::datapath::maps::handles::{self, Maps};
use crate::datapath::maps::image;
use crate::datapath::program::error::LoadError;
use crate::datapath::program::load;
use crate::datapath::sys::bpf::{self, PerCpuValues};
use crate::judgement::answer::{self, Answer, Served};

/// ETH_HLEN, in bytes: the kernel runs no program on a shorter frame, and no driver hands one over.
const SHORTEST: usize = 14;
/// Stands for every shorter frame, and is malformed like those: nothing follows its EtherType or,
/// where packets begin with IP, its IP version is 0.
const STAND_IN: [u8; SHORTEST] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x08, 0x00];

/// What the program made of a frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub answer: Answer,
    /// Id of the first map of the image by which it was judged.
    pub image: u32,
}

/// The program with counters of its own.
pub struct Explainer<'m> {
    maps: &'m Maps,
    link_type: LinkType,
    /// The interface that frames seem to come in by; `None` for the loopback interface.
    ifindex: Option<u32>,
    /// Id of the image in force when it was last asked, and for which needs the programs are loaded that
    /// the filter goes on with. The kernel takes as long to verify them as the filter.
    image: Option<u32>,
    loaded: Needs,
    program: OwnedFd,
    counters: OwnedFd,
    /// The kernel empties it when nobody has it open any more.
    stages: OwnedFd,
    /// What the counters were before the last frame, and after it, for all CPUs.
    before: PerCpuValues,
    after: PerCpuValues,
    frame: Vec<u8>,
}

impl<'m> Explainer<'m> {
    /// Loads the program for links of that type, beside the attached one, which has these maps.
    pub fn beside(shared: &'m Maps, link_type: LinkType) -> Result<Self> {
        let (image, needs) = needs_in_force(shared)?;
        // Maps that the program writes are made for this one; those that it only reads are the ones
        // in force.
        let mut own = Vec::new();
        for map in Map::ALL.into_iter().filter(|map| map.in_explain() == InExplain::Own) {
            let made = handles::create_like(map, "xdpctl_explain");
            own.push((map, made.context("make maps for the question")?));
        }
        // No capture looks at the question.
        let slot = handles::create(slot::DEFINITION, "xdpctl_explain");
        let slot = slot.context("make maps for the question")?;
        let given = shared.iter().map(|(map, handle)| {
            let own = own.iter().find(|(own, _)| *own == map).map(|(_, handle)| handle);
            (map.name(), own.unwrap_or(handle).as_fd())
        });
        let given: Vec<(&str, BorrowedFd<'_>)> =
            given.chain(slot::ALL.map(|(name, _)| (name, slot.as_fd()))).collect();
        let program = load::load_filter_beside(link_type, &given).map_err(not_loaded)?;
        if !needs.is_empty() {
            load::load_stages_beside(&given, program.as_fd(), needs).map_err(not_loaded)?;
        }
        let counted = PerCpuValues::zeroed(size_of::<PerCpu>(), 1);
        let mut counted = counted.context("count the processors")?;
        counted.set_word(offset_of!(PerCpu, scratch.question), 1);
        let mut take = |wanted: Map| {
            let place = own.iter().position(|(map, _)| *map == wanted);
            let found = place.map(|place| own.swap_remove(place).1);
            found.ok_or_else(|| Error::new(format!("{} is not the question's own", wanted.name())))
        };
        let (counters, stages) = (take(Map::COUNTERS)?, take(Map::STAGES)?);
        counted.update(&counters, 0).context("say that it is a question")?;
        Ok(Self {
            maps: shared,
            link_type,
            ifindex: None,
            image,
            loaded: needs,
            program,
            counters,
            stages,
            before: counted.clone(),
            after: counted,
            frame: vec![0; MAX_EXPLAINED_FRAME + tunnel::LONGEST as usize + 1],
        })
    }

    /// Lets frames come in by an interface of this network namespace. Where services send them, and which
    /// sockets get them, depends on it.
    pub fn coming_by(self, ifindex: Option<u32>) -> Self {
        Self { ifindex, ..self }
    }

    /// Whether it has the same instructions as the program with that id, and goes on with the same
    /// ones.
    pub fn is_like(&self, id: u32) -> Result<bool> {
        let compare = || -> io::Result<bool> {
            let tag = |id| io::Result::Ok(bpf::program_info(bpf::program_by_id(id)?)?.tag);
            for (place, _) in self.loaded.programs() {
                let ids = [&self.stages, &self.maps.stages].map(|map| inner_id(map, place));
                let [own, other] = ids;
                // One that either lacks is no difference of the programs.
                if let (Some(own), Some(other)) = (own?, other?)
                    && tag(own)? != tag(other)?
                {
                    return Ok(false);
                }
            }
            Ok(bpf::program_info(&self.program)?.tag == tag(id)?)
        };
        compare().context("compare the programs")
    }

    /// Runs the program on a frame of up to [`MAX_EXPLAINED_FRAME`] bytes.
    pub fn ask(&mut self, frame: &[u8]) -> Result<Asked> {
        let what = "run the program on the frame";
        let mut current = image::Current::of(&self.maps.ruleset);
        // After a reload in between nobody could tell which ruleset judged the frame.
        for _ in 0..100 {
            let image = current.id().context(what)?;
            if self.loaded != Needs::ALL && image != self.image {
                let (image, needs) = needs_in_force(self.maps)?;
                self.image = image;
                if !self.loaded.cover(needs) {
                    *self = Self::beside(self.maps, self.link_type)?.coming_by(self.ifindex);
                    continue;
                }
            }
            let answer = self.run(frame).context(what)?;
            if let Some(image) = image
                && current.id().context(what)? == Some(image)
            {
                return Ok(Asked { answer, image });
            }
        }
        Err(Error::new("the ruleset changes too fast to ask about it"))
    }

    fn run(&mut self, frame: &[u8]) -> io::Result<Answer> {
        let given = if frame.len() < SHORTEST { &STAND_IN[..] } else { frame };
        let is_asked_by = |group: Group| self.loaded.cover(group.alone());
        let of_interface = [Group::Services, Group::Replies, Group::SynCookie];
        let by_interface = of_interface.into_iter().any(is_asked_by);
        let ifindex = self.ifindex.filter(|_| by_interface);
        let run = match ifindex {
            Some(ifindex) => bpf::run_xdp_from(&self.program, given, ifindex, &mut self.frame)?,
            None => bpf::run_xdp(&self.program, given, None, &mut self.frame)?,
        };
        let left = self.frame.get(..run.length).unwrap_or_default();
        let changed = (left != given).then(|| left.to_vec());
        self.after.lookup(&self.counters, 0)?.ok_or(io::Error::from(io::ErrorKind::NotFound))?;
        let decoded = self.decode();
        std::mem::swap(&mut self.before, &mut self.after);
        let (cell, scratch) =
            decoded.ok_or_else(|| io::Error::other("the program counted nothing"))?;
        let (verdict, reason) =
            Matrix::of_cell(cell).ok_or_else(|| io::Error::other("no such verdict"))?;
        Ok(Answer {
            verdict,
            reason,
            list: scratch.effect.list,
            domain: scratch.effect.domain,
            unreadable: Unreadable::of(scratch.effect.unreadable),
            entry: scratch.effect.entry,
            action: (reason == Reason::Rule).then_some(scratch.effect.action),
            rule: scratch.effect.rule,
            limits: answer::limits(&scratch.effect, &scratch.limiting),
            served: Served::of(verdict, reason, Told::of(&scratch.serving)),
            reply: answer::reply(reason, &scratch),
            syn_cookie: Outcome::of(&scratch.effect),
            packet: (scratch.malformed == 0).then_some(scratch.packet),
            changed,
        })
    }

    /// The cell that went up, and the scratch of the CPU on which it did.
    fn decode(&self) -> Option<(usize, Scratch)> {
        const CELL: usize = size_of::<Counter>();
        let matrix = offset_of!(PerCpu, matrix)..offset_of!(PerCpu, matrix) + size_of::<Matrix>();
        for (before, after) in self.before.shares().zip(self.after.shares()) {
            let (before, cells) = (&before[matrix.clone()], &after[matrix.clone()]);
            if before == cells {
                continue;
            }
            let mut pairs = before.chunks_exact(CELL).zip(cells.chunks_exact(CELL));
            let cell = pairs.position(|(before, after)| before != after)?;
            return Some((cell, scratch(after)));
        }
        None
    }
}

/// The id of the image in force, and what that needs beside the filter.
fn needs_in_force(maps: &Maps) -> Result<(Option<u32>, Needs)> {
    let image = image::Mapped::in_force(&maps.ruleset).context("read the ruleset in force")?;
    let Some(image) = image else { return Ok((None, Needs::NONE)) };
    let flags = image.block(0).map_or(0, |block| Header::of(block).flags);
    Ok((Some(image.id), Needs::of(flags)))
}

/// The scratch in a CPU's share.
fn scratch(share: &[u8]) -> Scratch {
    assert_eq!(share.len(), size_of::<PerCpu>());
    // SAFETY: the share has the length of the structure, which is made of integers and of
    // transparent wrappers of integers: any bytes are a valid value.
    let cpu: PerCpu = unsafe { share.as_ptr().cast::<PerCpu>().read_unaligned() };
    cpu.scratch
}

fn not_loaded(error: LoadError) -> Error {
    Error::new(format!("cannot load the program to ask it: {error}"))
}
