//! The object, instruction by instruction: it has only those that a NIC's compiler takes. Without
//! such a NIC no kernel would say so.

use aya_obj::generated::BPF_PSEUDO_MAP_FD;

use crate::datapath::program::nic::*;

// Instruction classes and modes, Documentation/bpf/standardization/instruction-set.rst.
const CLASS: u8 = 0x07;
const LD: u8 = 0x00;
const ST: u8 = 0x02;
const STX: u8 = 0x03;
const JMP: u8 = 0x05;
const MODE: u8 = 0xe0;
const ATOMIC: u8 = 0xc0;
const LD_IMM64: u8 = 0x18;
const CALL: u8 = 0x85;
/// `map_lookup_elem`.
const LOOKUP: i32 = 1;
/// An addition that returns nothing.
const ADD: i32 = 0;

/// The program's instructions, with descriptors in them that are not those of maps.
fn instructions() -> Vec<bpf_insn> {
    let mut object = object().unwrap();
    let declared = object.maps.clone();
    let maps = declared.iter().map(|(name, map)| (name.as_str(), 0, map));
    object.relocate_maps(maps, &HashSet::default()).unwrap();
    let key = object.programs[PROGRAM].function_key();
    object.functions[&key].instructions.clone()
}

#[test]
fn there_are_these_maps_and_no_others() {
    let object = object().unwrap();
    let mut found: Vec<_> = object.maps.iter().collect();
    found.sort_by_key(|(name, _)| MAPS.into_iter().position(|known| known == **name));
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, MAPS);
    for (name, map) in found {
        assert!([ARRAY, HASH].contains(&map.map_type()), "{name}");
        assert_eq!(map.map_flags(), 0, "{name}");
    }
}

#[test]
fn nothing_is_called_but_lookups_and_each_has_its_map() {
    let instructions = instructions();
    let calls = instructions.iter().filter(|instruction| instruction.code == CALL);
    let mut lookups = 0;
    for call in calls {
        assert_eq!((call.src_reg(), call.imm), (0, LOOKUP));
        lookups += 1;
    }
    // If the compiler joined two calls into one, there would be more names of maps than calls.
    let named = instructions.iter().filter(|instruction| {
        instruction.code == LD_IMM64 && u32::from(instruction.src_reg()) == BPF_PSEUDO_MAP_FD
    });
    assert!(lookups >= 2 + 4, "{lookups}");
    assert_eq!(named.count(), lookups);
}

#[test]
fn values_are_added_to_and_numbers_are_stored_from_registers() {
    let mut added = std::collections::BTreeSet::new();
    for instruction in instructions() {
        match instruction.code & CLASS {
            ST => panic!("stores a number of its own"),
            STX if instruction.code & MODE == ATOMIC => {
                assert_eq!(instruction.imm, ADD);
                added.insert(instruction.off);
            }
            _ => {}
        }
    }
    // Each addition is to a counter whose offset stands in the instruction.
    let words = 2 * xdp_common::nic::COUNTERS as i16;
    assert_eq!(added, (0..words).map(|word| 8 * word).collect());
}

/// Netronome's compiler does not know newer instructions.
#[test]
fn no_instruction_is_newer_than_the_third_set() {
    for instruction in instructions() {
        let class = instruction.code & CLASS;
        if class == LD {
            assert!([LD_IMM64, 0].contains(&instruction.code), "{:#x}", instruction.code);
        }
        if class == JMP {
            // 0x8d would be a call through a register.
            assert_ne!(instruction.code, 0x8d);
        }
        // Loads that extend the sign.
        assert!(class != 0x01 || instruction.code & MODE != 0x80);
    }
}
