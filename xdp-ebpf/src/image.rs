//! The image in force, in the kernel's maps.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use xdp_common::image::{
    BEFORE, Block, EXTENT_LINES, Extent, Header, LINE_WORDS, Line, Lines, Span,
};
use xdp_common::verifier::black_box;

use crate::maps::RULESET;

/// The image of the ruleset in force: looked up once a packet.
pub struct Image {
    /// The first extent, with the header and, in all but large rulesets, everything else.
    first: &'static Extent,
}

impl Image {
    /// The image that is to be judged by: the one before, if this one was not confirmed in time.
    #[inline(always)]
    pub fn in_force() -> Option<Self> {
        let image = Self { first: RULESET.get(0)?.get(0)? };
        let deadline = image.header().deadline();
        if deadline != 0 && is_over(deadline) {
            return Some(Self { first: RULESET.get(BEFORE)?.get(0)? });
        }
        Some(image)
    }

    /// The header: block 0.
    #[inline(always)]
    pub fn header(&self) -> &'static Header {
        // SAFETY: an extent begins with a block, and has its alignment.
        Header::of(unsafe { &*self.first.as_ptr().cast::<Block>() })
    }
}

#[inline(always)]
fn is_over(deadline: u64) -> bool {
    // SAFETY: the helper takes nothing.
    unsafe { bpf_ktime_get_ns() >= deadline }
}

impl Lines for Image {
    #[inline(always)]
    fn far(&self, line: u32) -> Option<&Line> {
        let slot = self.header().more_extents.wrapping_add((line / EXTENT_LINES).wrapping_sub(1));
        let extent = RULESET.get(slot)?.get(0)?;
        let inside = black_box(u64::from(line)) as usize & (EXTENT_LINES as usize - 1);
        // SAFETY: `inside` is a line of the extent before its slack.
        Some(unsafe { &*extent.as_ptr().add(inside * LINE_WORDS).cast::<Line>() })
    }

    #[inline(always)]
    fn near(&self, line: u32) -> Option<&Span> {
        let inside = black_box(u64::from(line)) as usize & (EXTENT_LINES as usize - 1);
        // SAFETY: `inside` is a line of the first extent before its slack, which is long enough for
        // a span.
        Some(unsafe { &*self.first.as_ptr().add(inside * LINE_WORDS).cast::<Span>() })
    }

    #[inline(always)]
    fn extent(&self, line: u32) -> Option<&[u64]> {
        let slot = self.header().more_extents.wrapping_add((line / EXTENT_LINES).wrapping_sub(1));
        Some(RULESET.get(slot)?.get(0)?)
    }

    #[inline(always)]
    fn words(&self, line: u32) -> Option<&[u64]> {
        self.span(line).map(|span| span.as_slice())
    }

    #[inline(always)]
    fn span(&self, line: u32) -> Option<&Span> {
        let mut extent = self.first;
        if line >= EXTENT_LINES {
            let slot = self.header().more_extents.wrapping_add(line / EXTENT_LINES - 1);
            extent = RULESET.get(slot)?.get(0)?;
        }
        let inside = black_box(u64::from(line)) as usize & (EXTENT_LINES as usize - 1);
        // SAFETY: `inside` is a line of the extent before its slack, and the slack is long enough
        // that a span beginning on any such line ends in the extent.
        Some(unsafe { &*extent.as_ptr().add(inside * LINE_WORDS).cast::<Span>() })
    }
}
