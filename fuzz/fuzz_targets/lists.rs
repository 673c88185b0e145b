//! Lists of any prefixes, compiled, and asked at the edges of each: against a scan.
//!
//! The input is a row of prefixes, each with a byte for what kind of list it is in, one for the
//! length, and the address: 6 bytes for IPv4, 18 for IPv6.

#![no_main]

use libfuzzer_sys::fuzz_target;
use reference::{Compiled, entry, list, prefix};
use xdpctl::ruleset::{ListAction, Ruleset, Side};

#[path = "../../tests/lists/reference.rs"]
mod reference;

const LISTS: usize = 8;
/// The bit of a prefix's first byte that says IPv6.
const IS_V6: u8 = 0x80;

fuzz_target!(|input: &[u8]| {
    let side = |number| [Side::Source, Side::Destination, Side::Either][number % 3];
    let action = |number| [ListAction::Drop, ListAction::Count][number / 3 % 2];
    let mut lists: Vec<_> =
        (0..LISTS).map(|number| list(number, side(number), action(number))).collect();
    let mut rest = input;
    while let Some((&[kind, length], bytes)) = rest.split_first_chunk() {
        let list = &mut lists[usize::from(kind) % LISTS];
        if kind & IS_V6 == 0 {
            let Some((address, after)) = bytes.split_first_chunk() else { break };
            list.v4.push(entry(prefix(u32::from_be_bytes(*address), length % 33)));
            rest = after;
        } else {
            let Some((address, after)) = bytes.split_first_chunk() else { break };
            list.v6.push(entry(prefix(u128::from_be_bytes(*address), length % 129)));
            rest = after;
        }
    }
    let allowlists =
        lists.drain(..2).map(|list| xdpctl::ruleset::List { side: Side::Source, ..list });
    let ruleset =
        Ruleset { allowlists: allowlists.collect(), blocklists: lists, ..Ruleset::default() };
    Compiled::new(&ruleset).compare_edges();
});
