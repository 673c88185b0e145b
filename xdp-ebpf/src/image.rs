//! The image in force, in the kernel's maps.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use xdp_common::image::{
    BEFORE, Block, EXTENT_LINES, Extent, Header, LINE_WORDS, Line, Lines, Span,
};
use xdp_common::verifier::black_box;

use crate::maps::RULESET;

/// The image of the ruleset in force: looked up once a packet.
#[derive(Clone, Copy)]
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

/// An image that is read so that the verifier goes on with one state, whichever extent a line is in:
/// for programs that look up many lines one after the other, as the rules do.
pub struct Merged(pub Image);

impl Lines for Merged {
    #[inline(always)]
    fn far(&self, line: u32) -> Option<&Line> {
        self.0.far(line)
    }

    #[inline(always)]
    fn near(&self, line: u32) -> Option<&Span> {
        self.0.near(line)
    }

    #[inline(always)]
    fn extent(&self, line: u32) -> Option<&[u64]> {
        self.0.extent(line)
    }

    #[inline(always)]
    fn words(&self, line: u32) -> Option<&[u64]> {
        self.span(line).map(|span| span.as_slice())
    }

    #[inline(always)]
    fn span(&self, line: u32) -> Option<&Span> {
        let (extent, inside) = if line >= EXTENT_LINES {
            let slot = self.0.header().more_extents.wrapping_add(line / EXTENT_LINES - 1);
            (RULESET.get(slot)?.get(0)?, inside(line))
        } else {
            (self.0.first, inside(line))
        };
        // SAFETY: `inside` is a line of the extent before its slack, and the slack is long enough
        // that a span beginning on any such line ends in the extent.
        Some(unsafe { &*extent.as_ptr().add(inside * LINE_WORDS).cast::<Span>() })
    }
}

/// The number of a line in its extent.
///
/// Behind the mask, it has the same range in whichever extent, so that both ways are one to the
/// verifier, unless LLVM puts the mask off until they have met: hence the second `black_box`.
#[inline(always)]
fn inside(line: u32) -> usize {
    black_box(black_box(u64::from(line)) & u64::from(EXTENT_LINES - 1)) as usize
}
