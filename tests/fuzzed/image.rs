//! Images that lie, looked at in user space, where sums are checked: in the kernel they wrap.

use xdp_common::filter::dynamic::NoEntries;
use xdp_common::filter::order::{Scratch, judge};
use xdp_common::image::{Header, LINE_WORDS, Lines, SPAN_WORDS, flag};
use xdp_common::lookup::interval_tree::{Descriptor, Level, MAX_DEPTH, find_32, find_64};
use xdp_common::lookup::lpm::{self, RECORD_NODE, RECORDS};
use xdp_common::packet::LinkType;
use xdp_common::stats::verdict::{Reason, Verdict};
use xdpctl::judgement::dns::Names;

/// Words from line 0 on.
struct Words(Vec<u64>);

impl Lines for Words {
    fn words(&self, line: u32) -> Option<&[u64]> {
        self.0.get(line as usize * LINE_WORDS..)
    }
}

/// A root on line 1 with one slot, and a line of four records that it leads to.
fn records(rest: u64) -> (Words, u32) {
    let records = 1 + lpm::ROOT_LINES as usize;
    let mut words = vec![0; (records + 1) * LINE_WORDS + SPAN_WORDS];
    words[LINE_WORDS] = u64::from(RECORDS | (4 * records as u32));
    words[records * LINE_WORDS + 1] = rest;
    (Words(words), 1)
}

/// The length of a record has seven bits and is at most 96; with more, the number of bits to
/// compare was a difference below 0.
#[test]
fn a_record_longer_than_an_address() {
    let (words, root) = records(127 << lpm::LENGTH_SHIFT | 7);
    // Whatever it is taken for.
    assert!(lpm::find(&words, root, [0, 0]).is_some());
}

/// A record of no bits in front of a node had the address shifted by 64 bits, which is no shift.
#[test]
fn a_node_behind_a_record_of_nothing() {
    let (words, root) = records(RECORD_NODE | 1);
    assert!(lpm::find(&words, root, [0, 0]).is_some());
}

/// The number of a child, in a level that begins far behind its end, was a sum beyond 32 bits.
#[test]
fn a_tree_whose_levels_begin_behind_their_ends() {
    // Times the children of a node, both come to the last number of 32 bits.
    let distances = [u32::MAX / 17, 0xc71c_71c7];
    for distance in distances {
        let level = Level { first: 1u32.wrapping_sub(distance), last: 1 };
        let levels = [level; MAX_DEPTH];
        let descriptor = Descriptor { depth: MAX_DEPTH as u32, levels, reserved: 0 };
        let mut words = vec![0; 2 * LINE_WORDS + SPAN_WORDS];
        words[LINE_WORDS..2 * LINE_WORDS].copy_from_slice(&descriptor.to_line());
        let words = Words(words);
        assert!(find_32(&words, 1, u32::MAX).is_some());
        assert!(find_64(&words, 1, u64::MAX).is_some());
    }
}

/// Nothing but the number of steps ends the way through a node whose slots all lead to itself.
#[test]
fn a_node_that_leads_to_itself() {
    let (mut words, root) = records(0);
    let node = 1 + lpm::ROOT_LINES as usize;
    let slot = lpm::NODE | node as u32;
    words.0[LINE_WORDS] = slot.into();
    words.0.resize(node * LINE_WORDS, 0);
    words.0.extend([u64::MAX; 4]);
    // One slot for all bytes.
    words.0.extend([1, 0, 0, 0]);
    words.0.push(u64::from(slot) << 32 | 0x0101_0100);
    words.0.resize((node + 1) * LINE_WORDS + SPAN_WORDS, 0);
    assert_eq!(lpm::find(&words, root, [0, 0]), Some(slot));
    assert_eq!(lpm::find(&words, root, [0x0000_ffff_0000_0000, 0]), Some(slot));
}

/// A header that promises more words of rules than a vector can have is followed no further than
/// that, and one whose places are all beyond the image is the program's failure.
#[test]
fn a_header_of_vectors_without_end() {
    let frame = [0; 60];
    let judged = |change: fn(&mut Header)| {
        let mut header = *Header::of(&[0; 64]);
        header.flags = flag::RULES;
        change(&mut header);
        let mut words = header.to_block().to_vec();
        words.resize(64 + SPAN_WORDS, 0);
        let mut scratch = Scratch::LEFT_BEHIND;
        scratch.read(LinkType::Ethernet, &frame[..]);
        let words = Words(words);
        judge(&words, &NoEntries, &mut Names::new(&frame), &header, &mut scratch);
        scratch.effect.decision.parts()
    };
    let endless = judged(|header| {
        (header.vectors, header.vector_words, header.vector_shift) = (1, u32::MAX, u32::MAX);
    });
    assert_eq!(endless, Some((Verdict::Pass, Reason::Default)));
    let nowhere = judged(|header| header.vectors = 1 << 20);
    assert_eq!(nowhere, Some((Verdict::Aborted, Reason::Default)));
}
