//! Limits where no kernel is asked: nothing has been used up, and nobody is over but by a packet that is larger than a
//! burst.

use xdp_common::filter::effect::Stage;
use xdp_common::filter::limits::{self, AskLimits, Beside, Cells, Judged};
use xdp_common::image::{Header, LINE_WORDS, Lines};
use xdp_common::packet::Packet;
use xdp_common::stats::counter::CounterId;
use xdp_common::word::Word;

use super::dns::Names;

/// A line of cells that nobody has written.
static EMPTY: Cells = [const { Word::new(0) }; LINE_WORDS];

struct Untouched;

impl Beside for Untouched {
    fn cells(&self, _: u32) -> Option<&Cells> {
        Some(&EMPTY)
    }

    fn heavy(&self, _: u32) -> Option<&Cells> {
        None
    }

    fn secret(&self) -> u64 {
        0
    }

    fn now(&self, _: bool) -> u64 {
        0
    }

    fn writes(&self) -> bool {
        false
    }

    fn count(&mut self, _: CounterId) {}
}

impl AskLimits for Names<'_> {
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
            if !limits::judge(lines, &mut Untouched, header, packet, judged)? {
                return Stage::Continue(());
            }
        }
    }
}
