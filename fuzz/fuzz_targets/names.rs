//! Lists of any domain names, compiled, and asked for each of them and for what is around it: against
//! a scan.
//!
//! The input is a row of names, each with a byte that says in which list it is, whether it stands for
//! what is below it alone, and how many labels of the name before it goes on with; then labels as they
//! stand in a message, up to a byte of zero.

#![no_main]

use libfuzzer_sys::fuzz_target;
use names_reference::{Listed, Name, compare_small};

#[path = "../../tests/lists/names_reference.rs"]
#[expect(dead_code, reason = "the tests ask for more of it")]
mod names_reference;

const LISTS: usize = 4;
/// Bytes of the longest name, without the root's label.
const LONGEST: usize = 254;

fuzz_target!(|input: &[u8]| {
    let mut lists = vec![Listed::default(); LISTS];
    lists[1].passes = true;
    lists[2].qtypes = Some(vec![1, 255]);
    let mut before = Name::new();
    let mut rest = input;
    while let Some((&how, mut bytes)) = rest.split_first() {
        let mut name = Name::new();
        while let Some((&length, behind)) = bytes.split_first() {
            let Some((label, behind)) = behind.split_at_checked(usize::from(length & 63)) else {
                bytes = &[];
                break;
            };
            bytes = behind;
            if label.is_empty() {
                break;
            }
            name.push(label.len() as u8);
            name.extend(label.to_ascii_lowercase());
        }
        rest = bytes;
        let mut parent = &before[..];
        for _ in 0..how >> 4 {
            let Some(next) =
                parent.first().and_then(|length| parent.get(1 + usize::from(*length)..))
            else {
                break;
            };
            parent = next;
        }
        name.extend(parent);
        if name.len() <= LONGEST {
            before.clone_from(&name);
            lists[usize::from(how) % LISTS].names.push((name, how >> 2 & 1 == 1));
        }
    }
    compare_small(&lists, &[1, 2]);
});
