//! What commands read back.

use xdp_common::capacity::MAX_COUNTERS;
use xdp_common::filter::dynamic::{EntryTable, FILTER_BITS, Value};
use xdp_common::image::{Block, Header, LAYOUT, LINE_WORDS, Lines, MAGIC};
use xdpctl::config::prefix::IpPrefix;
use xdpctl::datapath::attached::in_force::InForce;
use xdpctl::datapath::attached::kept_ruleset::{self, Borrowed};
use xdpctl::datapath::maps::dynamic::{filter, table};
use xdpctl::image::metadata::{Counted, Kind, Metadata};
use xdpctl::ruleset::{
    Entry, Guards, List, ListAction, Matches, Prefix, Rule, RuleAction, Ruleset, Side,
};

/// An image of a header and metadata.
struct Image(Vec<Block>);

impl Image {
    fn new(metadata: &Metadata, change: impl FnOnce(&mut Header)) -> Self {
        let bytes = postcard::to_stdvec(metadata).unwrap();
        let blocks = bytes.len().div_ceil(size_of::<Block>());
        let mut header = *Header::of(&[0; 64]);
        (header.magic, header.layout, header.generation) = (MAGIC, LAYOUT, 7);
        (header.blocks, header.metadata) = (1 + blocks as u32, 1);
        header.metadata_bytes = bytes.len() as u32;
        change(&mut header);
        // And what is read behind the end.
        let mut words = header.to_block().to_vec();
        words.extend(bytes.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_ne_bytes(word)
        }));
        words.resize((1 + blocks + 3) * 64, 0);
        Self(words.as_chunks().0.to_vec())
    }
}

impl Lines for Image {
    fn words(&self, line: u32) -> Option<&[u64]> {
        self.0.as_flattened().get(line as usize * LINE_WORDS..)
    }
}

fn metadata(number: u32) -> Metadata {
    let counted = Counted {
        name: "r".into(),
        kind: Kind::Rule,
        action: "drop".into(),
        entries: None,
        number,
        lost: None,
        limit: None,
        life: None,
    };
    Metadata { counted: vec![counted], ..Metadata::unbound(&Ruleset::default()) }
}

/// The number of a counter was believed, and `stats` asked for as many counters as it said: 64 GiB.
#[test]
fn a_counter_that_cannot_be() {
    let read = |number| InForce::of(1, &Image::new(&metadata(number), |_| {}));
    assert_eq!(read(MAX_COUNTERS - 1).unwrap().metadata, metadata(MAX_COUNTERS - 1));
    assert_eq!(read(MAX_COUNTERS), None);
    assert_eq!(read(u32::MAX), None);
}

/// After the last generation came one with the number 0, in the half of the slots that was in use.
#[test]
fn a_generation_after_which_there_is_none() {
    let read = |generation| {
        InForce::of(1, &Image::new(&metadata(0), |header| header.generation = generation))
    };
    assert_eq!(read(u64::MAX - 1).unwrap().generation, u64::MAX - 1);
    assert_eq!(read(u64::MAX), None);
    assert_eq!(read(0), None);
}

/// Metadata could begin behind the image's last block, where block numbers come round to its first.
#[test]
fn metadata_that_are_not_in_the_image() {
    let read = |metadata_at, blocks| {
        InForce::of(
            1,
            &Image::new(&metadata(0), |header| {
                (header.metadata, header.blocks) = (metadata_at, blocks);
            }),
        )
    };
    assert!(read(1, 2).is_some());
    assert_eq!(read(1, 1), None);
    assert_eq!(read((1 << 29) + 1, 2), None);
    assert_eq!(read(u32::MAX, u32::MAX), None);
}

fn kept(ruleset: &Ruleset) -> Result<bool, String> {
    let mut bytes = Vec::new();
    let kept = Borrowed { loaded_at: 1, text: "", sources: &[], ruleset };
    kept_ruleset::encode(&kept, &mut bytes).unwrap();
    match kept_ruleset::decode(&bytes) {
        Ok(Some(snapshot)) => Ok(snapshot.ruleset == *ruleset),
        Ok(None) => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}

/// A kept ruleset was believed as if the loader had made it: prefixes longer than addresses, and
/// origins in files that there are not, which whoever looks them up counts on.
#[test]
fn a_ruleset_that_no_configuration_comes_to() {
    let with = |length, file| {
        let entry = Entry { prefix: Prefix { address: 0x0a00_0000, length }, file, line: 1 };
        let list = List {
            name: "l".into(),
            file: 0,
            line: 1,
            column: 1,
            side: Side::Source,
            action: ListAction::Drop,
            strict: false,
            guards: Guards::default(),
            v4: vec![entry],
            v6: Vec::new(),
        };
        Ruleset { blocklists: vec![list], files: vec!["c".into()], ..Ruleset::default() }
    };
    let refused = Err("no configuration comes to such a ruleset".to_owned());
    assert_eq!(kept(&with(8, 0)), Ok(true));
    assert_eq!(kept(&with(33, 0)), refused);
    assert_eq!(kept(&with(255, 0)), refused);
    // Bits beyond the length.
    assert_eq!(kept(&with(4, 0)), refused);
    assert_eq!(kept(&with(8, 1)), refused);
    let ports = |range| {
        let matches = Matches { source_port: Some(vec![range]), ..Matches::default() };
        let (limit, action) = (None, RuleAction::Drop);
        let rule = Rule { name: "r".into(), file: 0, line: 1, matches, limit, action };
        Ruleset { rules: vec![rule], files: vec!["c".into()], ..Ruleset::default() }
    };
    assert_eq!(kept(&ports((1, 2))), Ok(true));
    assert_eq!(kept(&ports((2, 1))), refused);
}

/// A key that somebody wrote with bits beyond its length was taken as it was, and the places of its
/// bits in the filter were sums beyond 64 bits.
#[test]
fn an_entry_with_bits_beyond_its_length() {
    let mut key = 29u32.to_ne_bytes().to_vec();
    key.extend([0xff; 16]);
    let (prefix, _) =
        table::element(EntryTable::PrefixesV6, &key, &[0; size_of::<Value>()]).unwrap();
    let IpPrefix::V6(found) = prefix else { panic!("{prefix}") };
    assert_eq!(found, Prefix { address: u128::MAX << 99, length: 29 });
    filter::bits([1, 1], &prefix, |bits| assert!(bits.end <= 1 << FILTER_BITS));
}
