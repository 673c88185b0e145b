//! What the eBPF programs in the binary are made of: nothing that Linux 6.1 does not have.
//!
//! The instruction set is v3 (`-mcpu=v3` for LLVM), as RFC 9669 numbers it; what came with v4 is
//! refused by kernels before 6.6. No kfunc is called: those are no stable interface. Neither root
//! nor a kernel is needed.

use std::fmt;
use std::fs;
use std::path::Path;

use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionKind};

/// The last helper of Linux 6.1, bpf_user_ringbuf_drain (include/uapi/linux/bpf.h).
const LAST_HELPER: i32 = 209;

/// `struct bpf_insn`.
#[derive(Clone, Copy, Debug)]
struct Instruction {
    opcode: u8,
    source: u8,
    offset: i16,
    immediate: i32,
}

impl Instruction {
    fn read(bytes: &[u8; 8]) -> Self {
        let [opcode, registers, offset @ .., a, b, c, d] = *bytes;
        Self {
            opcode,
            source: registers >> 4,
            offset: i16::from_le_bytes(offset),
            immediate: i32::from_le_bytes([a, b, c, d]),
        }
    }

    /// Whether Linux 6.1 has it and LLVM's v3 makes it. What is not known is not.
    fn is_v3(self) -> bool {
        let Self { opcode, source, offset, immediate } = self;
        // Size and mode of a load or store; operation of all else, without the bit that says
        // whether the second operand is a register.
        let (mode, operation) = (opcode & 0xe0, opcode & 0xf0);
        match opcode & 0x07 {
            // LD: only the 64-bit immediate. The legacy loads of packets are for sockets.
            0x00 => opcode == 0x18,
            // LDX: MEM. Sign extension (MEMSX) is v4.
            0x01 => mode == 0x60,
            // ST: the kernel has had it always, LLVM makes it from v4 on.
            0x02 => false,
            // STX: MEM, and atomics of 4 and 8 bytes: add, or, and, xor, each with and without
            // fetching, exchange, and compare and exchange. Acquire and release came later.
            0x03 => match mode {
                0x60 => true,
                0xc0 => {
                    let size = opcode & 0x18;
                    let atomic = matches!(immediate, 0xe1 | 0xf1)
                        || matches!(immediate & !1, 0x00 | 0x40 | 0x50 | 0xa0);
                    matches!(size, 0x00 | 0x18) && atomic
                }
                _ => false,
            },
            // ALU and ALU64: signed division and moves with sign extension have an offset, in v4.
            // END of 64-bit class swaps whatever the host's order, in v4.
            class @ (0x04 | 0x07) => match operation {
                0x00..=0xc0 => offset == 0,
                0xd0 => class == 0x04 && offset == 0,
                _ => false,
            },
            // JMP. A call's source says what is called: 0 a helper, 1 a function of the program's
            // own, 2 a kfunc.
            0x05 => match opcode {
                0x05 => true,
                0x85 => match source {
                    0 => (1..=LAST_HELPER).contains(&immediate),
                    1 => true,
                    _ => false,
                },
                0x95 => true,
                _ => is_condition(operation),
            },
            // JMP32. A jump without a condition is v4.
            _ => is_condition(operation),
        }
    }
}

/// All that compare, without may_goto.
fn is_condition(operation: u8) -> bool {
    matches!(operation, 0x10..=0x70 | 0xa0..=0xd0)
}

impl fmt::Display for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { opcode, source, offset, immediate } = self;
        write!(
            f,
            "opcode {opcode:#04x}, source {source}, offset {offset}, immediate {immediate:#x}"
        )
    }
}

/// The instructions of a section, with the places where they stand. A 64-bit immediate takes two
/// places, and is one.
fn instructions(code: &[u8]) -> Vec<(usize, Instruction)> {
    let (words, rest) = code.as_chunks::<8>();
    assert!(rest.is_empty(), "{} bytes are left over", rest.len());
    let mut found = Vec::new();
    let mut words = words.iter().enumerate();
    while let Some((place, word)) = words.next() {
        let instruction = Instruction::read(word);
        found.push((place, instruction));
        if instruction.opcode == 0x18 {
            let (_, second) = words.next().expect("the other half of an immediate");
            assert_eq!(second[..4], [0; 4], "the other half of an immediate, at {place}");
        }
    }
    found
}

/// What is wrong with an object, and how many instructions it has.
fn judge(bytes: &[u8]) -> (Vec<String>, usize) {
    let file = object::File::parse(bytes).expect("an ELF file");
    let (mut wrong, mut count) = (Vec::new(), 0);
    for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
        let name = section.name().expect("a name");
        for (place, instruction) in instructions(section.data().expect("its bytes")) {
            count += 1;
            if !instruction.is_v3() {
                wrong.push(format!("section {name}, instruction {place}: {instruction}"));
            }
        }
    }
    // What is defined elsewhere would be found in the kernel: kfuncs and variables.
    for symbol in file.symbols().filter(|symbol| symbol.is_undefined()) {
        let name = symbol.name().expect("a name");
        if !name.is_empty() {
            wrong.push(format!("the symbol {name} is the kernel's"));
        }
    }
    (wrong, count)
}

#[test]
fn every_program_is_of_the_instruction_set_v3_and_calls_no_kfunc() {
    let mut names = Vec::new();
    for entry in fs::read_dir(Path::new(env!("OUT_DIR"))).expect("where build.rs writes") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "bpf") {
            continue;
        }
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let (wrong, count) = judge(&fs::read(&path).expect("an object"));
        assert!(wrong.is_empty(), "{name}: {wrong:#?}");
        println!("{name}: {count} instructions");
        assert!(count > 0, "{name} has no program");
        names.push(name);
    }
    for expected in ["xdpctl", "pass"] {
        assert!(names.iter().any(|name| name == expected), "{expected} is not in {names:?}");
    }
}

/// What would be missed if the judgement were too kind.
#[test]
fn later_instructions_are_seen() {
    let of = |opcode, source, offset, immediate| Instruction { opcode, source, offset, immediate };
    for (what, instruction) in [
        ("load with sign extension", of(0x81, 1, 0, 0)),
        ("store of an immediate", of(0x7a, 0, 0, 1)),
        ("unconditional byte swap", of(0xd7, 0, 0, 64)),
        ("signed division", of(0x3f, 1, 1, 0)),
        ("signed remainder", of(0x94, 0, 1, 3)),
        ("move with sign extension", of(0xbf, 1, 32, 0)),
        ("long jump", of(0x06, 0, 0, 100_000)),
        ("may_goto", of(0xe5, 0, 1, 0)),
        ("load that acquires", of(0xdb, 1, 0, 0x100)),
        ("store that releases", of(0xdb, 1, 0, 0x110)),
        ("call of a kfunc", of(0x85, 2, 0, 1234)),
        ("call of a later helper", of(0x85, 0, 0, 211)),
    ] {
        assert!(!instruction.is_v3(), "{what}: {instruction}");
    }
    for (what, instruction) in [
        ("load", of(0x79, 1, 8, 0)),
        ("byte swap to big endian", of(0xdc, 0, 0, 16)),
        ("comparison of halves", of(0x16, 0, 5, 0)),
        ("atomic exchange", of(0xdb, 1, 0, 0xe1)),
        ("call of a function", of(0x85, 1, 0, -1)),
    ] {
        assert!(instruction.is_v3(), "{what}: {instruction}");
    }
}
