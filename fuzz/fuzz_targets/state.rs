//! What commands read back, left by another version or by a hostile hand: images with their
//! metadata, kept rulesets, notes, entries of run time. Nothing panics, nothing takes memory out of
//! proportion, and what is accepted can be used.
//!
//! The input's first byte says what the rest is.

#![no_main]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::io;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use xdp_common::capacity::MAX_COUNTERS;
use xdp_common::filter::dynamic::{
    Deciding, DynamicEntries, Entry, EntryTable, EntryTables, FILTER_BITS, Place, Value,
    deciding_v4, deciding_v6,
};
use xdp_common::filter::order::{Scratch, judge};
use xdp_common::image::{Header, LAYOUT, LINE_WORDS, Lines, MAGIC, SPAN_WORDS};
use xdp_common::packet::{LinkType, Network};
use xdpctl::config::file::FileError;
use xdpctl::config::load_with;
use xdpctl::config::prefix::{IpPrefix, masked_v4, masked_v6};
use xdpctl::datapath::attached::in_force::InForce;
use xdpctl::datapath::attached::kept_ruleset;
use xdpctl::datapath::maps::dynamic::{filter, notes, records, table};
use xdpctl::image::metadata::Metadata;
use xdpctl::image::{Image, counters};
use xdpctl::judgement::dns::Names;
use xdpctl::ruleset::Ruleset;

/// Ends the process where somebody wants more than any input here is a reason for.
struct Bounded;

const MOST: usize = 64 << 20;

// SAFETY: the system's allocator, but for sizes that end the process.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > MOST {
            std::process::abort();
        }
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Bounded = Bounded;

fuzz_target!(|input: &[u8]| {
    let Some((what, rest)) = input.split_first() else { return };
    match what % 7 {
        0 => image_of_any_bytes(rest),
        1 => image_with_lies(rest),
        2 => metadata(rest),
        3 => kept_ruleset(rest),
        4 => entry(rest),
        5 => drop(notes::decode(rest)),
        _ => record(rest),
    }
});

/// What an image is made of, with zeros at its end.
struct Words(Vec<u64>);

impl Words {
    fn of(bytes: &[u8]) -> Self {
        let word = |bytes: &[u8]| {
            let mut whole = [0; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            u64::from_le_bytes(whole)
        };
        let mut words: Vec<u64> = bytes.chunks(8).map(word).collect();
        words.resize(words.len().next_multiple_of(LINE_WORDS) + SPAN_WORDS, 0);
        Self(words)
    }

    fn header(&self) -> Option<&Header> {
        Some(Header::of(self.block(0)?))
    }
}

impl Lines for Words {
    fn words(&self, line: u32) -> Option<&[u64]> {
        self.0.get(line as usize * LINE_WORDS..)
    }
}

/// A frame, its length before it, and then the image.
fn image_of_any_bytes(input: &[u8]) {
    let Some((length, rest)) = input.split_first() else { return };
    let (frame, image) = rest.split_at(rest.len().min((*length).into()));
    use_image(&Words::of(image), frame);
}

fn use_image(image: &impl Lines, frame: &[u8]) {
    if let Some(in_force) = InForce::of(1, image) {
        use_metadata(&in_force);
    }
    let Some(block) = image.block(0) else { return };
    for link_type in LinkType::ALL {
        let mut scratch = Scratch::LEFT_BEHIND;
        scratch.read(link_type, frame);
        judge(image, &Hostile::default(), &mut Names::new(frame), Header::of(block), &mut scratch);
        assert!(scratch.effect.decision.parts().is_some());
    }
}

/// What a reload does with the metadata in force.
fn use_metadata(in_force: &InForce) {
    assert!(in_force.generation.checked_add(1).is_some());
    RULESET.with(|ruleset| {
        let next = counters::assign(ruleset, &in_force.metadata.counted, &in_force.metadata.backends);
        assert!(next.fresh.iter().all(|&number| number < MAX_COUNTERS));
        let numbers = next.counted.iter().flat_map(|it| [Some(it.number), it.lost]).flatten();
        assert!(numbers.into_iter().all(|number| number < MAX_COUNTERS));
    });
}

/// Lines behind the image that the input fills.
const FREE_LINES: usize = 32;

/// A real image with the end of what the input may write, to be made a lie.
struct Whole {
    words: Words,
    free: u32,
}

impl Whole {
    fn new(ruleset: &Ruleset) -> Self {
        let image = Image::build(ruleset, 1, &Metadata::unbound(ruleset)).expect("a small ruleset");
        let mut words = image.blocks().as_flattened().to_vec();
        let free = (words.len() / LINE_WORDS) as u32;
        words.resize(words.len() + FREE_LINES * LINE_WORDS + SPAN_WORDS, 0);
        Self { words: Words(words), free }
    }
}

thread_local! {
    static RULESET: Ruleset = {
        let text = include_bytes!("../seeds/config/everything").split(|byte| *byte == 0);
        let parts: Vec<&[u8]> = text.collect();
        let read_file = |path: &Path| {
            if path == Path::new("/c") {
                return Ok(parts[0].to_vec());
            }
            let number = path.to_str().and_then(|path| path.strip_prefix('/')?.parse::<usize>().ok());
            let part = number.and_then(|number| parts.get(number + 1));
            part.map(|part| part.to_vec()).ok_or(FileError::Io(io::ErrorKind::NotFound.into()))
        };
        let loaded = load_with(Path::new("/c"), &read_file);
        loaded.ruleset.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics))
    };
    static WHOLE: RefCell<Whole> = RefCell::new(RULESET.with(Whole::new));
}

/// A frame, its length before it; how many lies follow, and these: a place, how its value is
/// meant, and the value. The rest is what stands in the free lines.
fn image_with_lies(input: &[u8]) {
    WHOLE.with_borrow_mut(|whole| {
        let Some((length, rest)) = input.split_first() else { return };
        let (frame, rest) = rest.split_at(rest.len().min((*length).into()));
        let Some((count, mut rest)) = rest.split_first() else { return };
        let free = whole.free;
        let roots = whole.words.header().map_or([0; 4], |header| {
            [
                header.list_v4_root,
                header.list_v6_root,
                header.rule_source_v4_root,
                header.rule_source_v6_root,
            ]
        });
        let mut before = Vec::new();
        for _ in 0..count % 32 {
            let Some((&[place, meant, a, b, c, d], after)) = rest.split_first_chunk() else {
                break;
            };
            rest = after;
            let value = u32::from_le_bytes([a, b, c, d]);
            let value = match meant % 3 {
                0 => value,
                // A line that is free, with the kind of a slot.
                1 => value & 7 << 29 | (free + value % FREE_LINES as u32),
                // A record in one, with how many there are.
                _ => value & 0x1f << 27 | (free * 4 + value % (4 * FREE_LINES as u32)),
            };
            // A half of the header, or the slot of an address that frames have.
            let half = match place {
                0..100 => usize::from(place),
                100.. => {
                    let root = roots[usize::from(place) % roots.len()] as usize;
                    let top = [0x0a00, 0xc000, 0x2001, 0xfe80][usize::from(place) / 4 % 4];
                    root * 2 * LINE_WORDS + top
                }
            };
            let word = &mut whole.words.0[half / 2];
            before.push((half / 2, *word));
            let shift = half % 2 * 32;
            *word = *word & !(0xffff_ffff << shift) | u64::from(value) << shift;
        }
        let written = Words::of(&rest[..rest.len().min(FREE_LINES * LINE_WORDS * 8)]).0;
        let written = &written[..written.len() - SPAN_WORDS];
        let start = free as usize * LINE_WORDS;
        whole.words.0[start..start + written.len()].copy_from_slice(written);
        use_image(&whole.words, frame);
        whole.words.0[start..start + written.len()].fill(0);
        for (at, word) in before.into_iter().rev() {
            whole.words.0[at] = word;
        }
    });
}

/// An image of nothing but metadata.
fn metadata(bytes: &[u8]) {
    let mut header = *Header::of(&[0; 64]);
    header.magic = MAGIC;
    header.layout = LAYOUT;
    header.generation = 7;
    header.metadata = 1;
    header.metadata_bytes = bytes.len() as u32;
    header.blocks = 1 + bytes.len().div_ceil(512) as u32;
    let mut words = Words(header.to_block().to_vec());
    words.0.extend(Words::of(bytes).0);
    if let Some(in_force) = InForce::of(1, &words) {
        use_metadata(&in_force);
    }
}

fn kept_ruleset(bytes: &[u8]) {
    drop(kept_ruleset::decode(bytes));
    // No checksum keeps a hostile hand out, and the fuzzer would seldom guess one.
    let Some(body) = bytes.get(8..) else { return };
    let Ok(kept) = kept_ruleset::decode_body(body) else { return };
    let ruleset = kept.ruleset;
    let lists = ruleset.allowlists.iter().chain(&ruleset.blocklists);
    for file in lists.flat_map(|list| list.v4.iter().map(|it| it.file)) {
        assert!(usize::from(file) < ruleset.files.len());
    }
    let _ = Image::build(&ruleset, 1, &Metadata::unbound(&ruleset));
}

/// A table's number, a key, a value, and more values for the judgement.
fn entry(input: &[u8]) {
    let Some((&number, rest)) = input.split_first() else { return };
    let table = EntryTable::ALL[usize::from(number) % 4];
    let size = [4, 8, 16, 20][table as usize];
    let (key, values) = rest.split_at(rest.len().min(size));
    let found = table::element(table, key, values.get(..size_of::<Value>()).unwrap_or_default());
    if let Some((prefix, entry)) = found {
        let masked = match prefix {
            IpPrefix::V4(prefix) => IpPrefix::V4(masked_v4(prefix.address, prefix.length).0),
            IpPrefix::V6(prefix) => IpPrefix::V6(masked_v6(prefix.address, prefix.length).0),
        };
        assert_eq!(masked, prefix);
        assert_eq!(Entry::of(&entry.to_value()), entry);
        let multipliers = [0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f];
        let mut weight = 0;
        filter::bits(multipliers, &prefix, |bits| {
            assert!(bits.start < bits.end && bits.end <= 1 << FILTER_BITS);
            weight += u64::from(bits.end - bits.start);
        });
        assert!(weight <= filter::weight(&prefix).max(1));
    }
    let hostile = Hostile::new(values);
    let mut address = [0; 16];
    address[..key.len().min(16)].copy_from_slice(&key[..key.len().min(16)]);
    let address = u128::from_le_bytes(address);
    hostile.deciding(Network::IPV4, [address as u32 as u64, 0]);
    hostile.deciding(Network::IPV6, [(address >> 64) as u64, address as u64]);
}

/// A key, and a value.
fn record(input: &[u8]) {
    let (key, value) = input.split_at(input.len().min(24));
    if let Some((prefix, _, record)) = records::element(key, value) {
        let entry = records::combined(&prefix, [&record], |_| 1).expect("its owner wants it");
        assert_eq!(record.deadline, entry.allowed_until.max(entry.blocked_until));
    }
}

/// EntryTables that hold anything under every key.
#[derive(Default)]
struct Hostile {
    flags: u32,
    values: Vec<Cell<Value>>,
}

impl Hostile {
    fn new(bytes: &[u8]) -> Self {
        let (values, rest) = bytes.as_chunks::<{ size_of::<Value>() }>();
        let word = |bytes: &[u8]| bytes.try_into().map_or(0, u32::from_le_bytes);
        let value = |bytes: &[u8; size_of::<Value>()]| {
            std::array::from_fn(|at| word(&bytes[4 * at..4 * at + 4]))
        };
        let flags = rest.first_chunk().map_or(u32::MAX, |flags| u32::from_le_bytes(*flags));
        Self { flags, values: values.iter().map(value).map(Cell::new).collect() }
    }

    fn value(&self, length: u32) -> Option<HostilePlace<'_>> {
        self.values.get(length as usize % self.values.len().max(1)).map(HostilePlace)
    }
}

impl DynamicEntries for Hostile {
    fn deciding(&self, network: Network, source: [u64; 2]) -> Deciding {
        if network == Network::IPV4 {
            deciding_v4(self, source[0] as u32)
        } else {
            deciding_v6(self, source)
        }
    }
}

#[derive(Clone, Copy)]
struct HostilePlace<'t>(&'t Cell<Value>);

impl Place for HostilePlace<'_> {
    fn read(self) -> Value {
        self.0.get()
    }

    fn write_skip(self, half: u16) {
        let mut value = self.0.get();
        value[4] = value[4] & 0xffff | u32::from(half) << 16;
        self.0.set(value);
    }
}

impl EntryTables for Hostile {
    type Place<'a> = HostilePlace<'a>;

    fn epoch(&self) -> u32 {
        self.flags & 0xff
    }

    fn flags(&self) -> u32 {
        self.flags
    }

    fn multipliers(&self) -> [u64; 2] {
        [u64::from(self.flags); 2]
    }

    fn is_set(&self, _: EntryTable, bit: u32) -> bool {
        assert!(bit < 1 << FILTER_BITS);
        true
    }

    fn host_v4(&self, _: u32) -> Option<HostilePlace<'_>> {
        self.value(32)
    }

    fn host_v6(&self, _: [u64; 2]) -> Option<HostilePlace<'_>> {
        self.value(128)
    }

    fn prefix_v4(&self, length: u32, _: u32) -> Option<HostilePlace<'_>> {
        self.value(length)
    }

    fn prefix_v6(&self, length: u32, _: [u64; 2]) -> Option<HostilePlace<'_>> {
        self.value(length)
    }

    fn now(&self) -> u64 {
        1 << 40
    }
}
