//! The product's limits without a kernel: its judgement, compiled for this host, by a clock that tests turn.

use std::cell::RefCell;

use xdp_common::filter::effect::{Effect, Stage};
use xdp_common::filter::limits::{self, AskLimits, Beside, Cells, Judged};
use xdp_common::filter::order::{self, AskNames, Scratch};
use xdp_common::image::{Header, LINE_WORDS, Lines};
use xdp_common::packet::{LinkType, Packet};
use xdp_common::stats::counter::CounterId;
use xdp_common::word::Word;
use xdpctl::image::Image;
use xdpctl::image::metadata::Metadata;
use xdpctl::judgement::{RunTimeEntries, answer};
use xdpctl::ruleset::Ruleset;

/// Of the program's lines, which a hash chooses from: fewer than it has. No history has many keys.
const LINES: usize = 4_096;
const HEAVY: usize = 16;

/// What a limit said of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub rule: String,
    pub is_over: bool,
}

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub verdict: &'static str,
    pub reason: &'static str,
    /// The rule that decided.
    pub rule: Option<String>,
    pub said: Vec<Said>,
    /// How many counters of what is under have counted it.
    pub counted_under: usize,
}

pub struct Product {
    in_force: Option<(Image, Metadata)>,
    memory: Memory,
    scratch: Box<Scratch>,
}

/// What lies beside images.
struct Memory {
    /// Nanoseconds, and by how many the coarse clock is behind.
    now: u64,
    behind: u64,
    secret: u64,
    cells: Vec<Cells>,
    heavy: Vec<Cells>,
    is_question: bool,
    under: RefCell<Vec<CounterId>>,
}

impl Product {
    pub fn new(secret: u64) -> Self {
        let lines = |count| (0..count).map(|_| [const { Word::new(0) }; LINE_WORDS]).collect();
        let memory = Memory {
            now: 0,
            behind: 0,
            secret,
            cells: lines(LINES),
            heavy: lines(HEAVY),
            is_question: false,
            under: RefCell::default(),
        };
        Self { in_force: None, memory, scratch: Box::new(Scratch::LEFT_BEHIND) }
    }

    pub fn reload(&mut self, ruleset: &Ruleset) {
        let metadata = Metadata::unbound(ruleset);
        let generation =
            self.in_force.as_ref().map_or(1, |(image, _)| image.header().generation + 1);
        let image = Image::build(ruleset, generation, &metadata).expect("an image");
        self.in_force = Some((image, metadata));
    }

    /// Judges a frame at a time, by a coarse clock that is so far behind. A question changes nothing.
    pub fn judge(&mut self, frame: &[u8], now: u64, behind: u64, is_question: bool) -> Outcome {
        let Self { in_force, memory, scratch } = self;
        let (image, metadata) = in_force.as_ref().expect("a ruleset is in force");
        (memory.now, memory.behind, memory.is_question) = (now, behind, is_question);
        memory.under.borrow_mut().clear();
        scratch.read(LinkType::Ethernet, frame);
        let entries = RunTimeEntries::default();
        order::judge(image, &entries, &mut Asking(memory), image.header(), scratch);
        let named = |counter: CounterId| {
            let mut all = metadata.counted.iter();
            all.find(|it| CounterId::new(it.number) == counter).map(|it| it.name.clone())
        };
        let asked = answer::limits(&scratch.effect, &scratch.limiting);
        let said = asked.iter().map(|it| Said {
            rule: named(it.rule).expect("a rule has a counter"),
            is_over: it.is_over != 0,
        });
        let (verdict, reason) = scratch.effect.decision.parts().expect("a decision");
        Outcome {
            verdict: verdict.as_str(),
            reason: reason.as_str(),
            rule: named(scratch.effect.rule),
            said: said.collect(),
            counted_under: memory.under.borrow().len(),
        }
    }
}

struct Asking<'a>(&'a Memory);

impl AskNames for Asking<'_> {
    fn judge<L: Lines>(&mut self, _: &L, _: &Header, _: &Packet, _: &mut Effect) -> Stage {
        unreachable!("no list of names is in force")
    }
}

impl AskLimits for Asking<'_> {
    fn go_on<L: Lines>(
        &mut self,
        lines: &L,
        header: &Header,
        packet: &Packet,
        judged: Judged<'_>,
    ) -> Stage {
        let Judged { length, generation, classes, limiting, effect } = judged;
        loop {
            let judged = Judged {
                length,
                generation: &mut *generation,
                classes: &mut *classes,
                limiting: &mut *limiting,
                effect: &mut *effect,
            };
            if !limits::judge(lines, self, header, packet, judged)? {
                return Stage::Continue(());
            }
        }
    }
}

impl Beside for Asking<'_> {
    fn cells(&self, number: u32) -> Option<&Cells> {
        Some(&self.0.cells[number as usize % LINES])
    }

    fn heavy(&self, number: u32) -> Option<&Cells> {
        Some(&self.0.heavy[number as usize % HEAVY])
    }

    fn secret(&self) -> u64 {
        self.0.secret
    }

    fn now(&self, precise: bool) -> u64 {
        if precise { self.0.now } else { self.0.now - self.0.behind }
    }

    fn writes(&self) -> bool {
        !self.0.is_question
    }

    fn count(&mut self, counter: CounterId) {
        self.0.under.borrow_mut().push(counter);
    }
}
