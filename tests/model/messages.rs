//! Random DNS messages over UDP: queries and answers as they should be, and everything that can be
//! wrong with them.

use super::config::Labels;
use super::dice::Dice;
use super::rulesets::{PORTS, QTYPES, labels};

/// A packet of UDP with a message, from the UDP header on. Most ask for what is listed, or for what is
/// near it.
pub fn udp(dice: &mut Dice, listed: &[Labels]) -> Vec<u8> {
    let mut message = message(dice, listed);
    let whole = 8 + message.len();
    if dice.one_in(20) {
        let keep = dice.below(message.len() + 1);
        message.truncate(keep);
    }
    let stated = match dice.below(24) {
        0 => dice.below(whole + 1),
        1 => whole + 1 + dice.below(8),
        2 => dice.pick(&[0, 7, 8, 19, 20, 65_535]),
        _ => whole,
    };
    let (source, destination) = ports(dice);
    let mut packet = Vec::with_capacity(whole);
    packet.extend(source.to_be_bytes());
    packet.extend(destination.to_be_bytes());
    packet.extend((stated as u16).to_be_bytes());
    // Nobody looks at the checksum.
    packet.extend((dice.word() as u16).to_be_bytes());
    packet.extend(message);
    packet
}

fn ports(dice: &mut Dice) -> (u16, u16) {
    let other = dice.pick(&PORTS);
    match dice.below(12) {
        0..5 => (other, 53),
        5..7 => (53, other),
        7 => (53, 53),
        8 => (5353, 5353),
        9 => (other, 5353),
        10 => (5353, dice.pick(&[53, 1024, 5353])),
        _ => (other, dice.pick(&[52, 5352, 5354, 853])),
    }
}

/// RFC 1035, section 4.1.
fn message(dice: &mut Dice, listed: &[Labels]) -> Vec<u8> {
    let mut message = (dice.word() as u16).to_be_bytes().to_vec();
    let qr = u8::from(dice.one_in(4)) << 7;
    let opcode = if dice.one_in(16) { dice.pick(&[1, 2, 4, 5, 6, 15]) } else { 0 };
    // AA, TC and RD; RA, Z, AD, CD and the code, which are to be answered by what is meant alone.
    message.push(qr | opcode << 3 | dice.byte() & 7);
    message.push(if dice.one_in(2) { dice.byte() } else { 0 });
    let questions = if dice.one_in(16) { dice.pick(&[0, 2, 3, 256, 65_535]) } else { 1 };
    let answers = if dice.one_in(8) { dice.pick(&[1, 2, 65_535]) } else { 0 };
    let authorities = if dice.one_in(12) { dice.pick(&[1, 256]) } else { 0 };
    let additional = dice.pick(&[0, 0, 0, 1, 1, 1, 1, 2, 256, 65_535]);
    for count in [questions, answers, authorities, additional] {
        message.extend(u16::to_be_bytes(count));
    }
    for _ in 0..questions.min(2) {
        question(dice, listed, &mut message);
    }
    for _ in 0..answers.min(2) + authorities.min(1) {
        record(dice, &mut message);
    }
    for nth in 0..additional.min(3) {
        // Before OPT, there may be another record.
        if nth == 0 && dice.one_in(6) {
            record(dice, &mut message)
        } else {
            opt(dice, &mut message)
        }
    }
    if dice.one_in(12) {
        message.extend(dice.some(0, 40, Dice::byte));
    }
    message
}

/// Section 4.1.2.
fn question(dice: &mut Dice, listed: &[Labels], message: &mut Vec<u8>) {
    let labels = asked(dice, listed);
    let mut name = Vec::new();
    for label in &labels {
        // Case is mixed as resolvers mix it.
        let mixed = label.iter().map(|byte| match dice.below(4) {
            0 => byte.to_ascii_uppercase(),
            _ => *byte,
        });
        let mixed: Vec<u8> = mixed.collect();
        name.push(mixed.len() as u8);
        name.extend(mixed);
    }
    name.push(0);
    if dice.one_in(12) {
        mangle(dice, &mut name);
    }
    message.extend(name);
    let qtype = if dice.one_in(8) { dice.word() as u16 } else { dice.pick(&QTYPES) };
    message.extend(qtype.to_be_bytes());
    // IN, CH, ANY, and Multicast DNS's wish for a unicast answer.
    message.extend(dice.pick(&[1, 1, 1, 1, 3, 255, 0x8001_u16]).to_be_bytes());
}

/// Makes something of a name that it must not be.
fn mangle(dice: &mut Dice, name: &mut Vec<u8>) {
    // Where a label begins.
    let mut starts = vec![0];
    while let Some(&start) = starts.last()
        && name[start] != 0
    {
        starts.push(start + 1 + usize::from(name[start]));
    }
    let start = dice.pick(&starts);
    match dice.below(8) {
        // A compression pointer, to the name itself or elsewhere, with or without its end.
        0 | 1 => {
            name.truncate(start);
            name.extend([0xc0, dice.pick(&[0, 12, 255])]);
        }
        2 => name[start] |= 0xc0,
        // Reserved label types (section 4.1.4; RFC 6891, section 5).
        3 => name[start] |= 0x40,
        4 => name[start] |= 0x80,
        5 => drop(name.pop()),
        6 => name[start] = dice.byte(),
        _ => name.truncate(start),
    }
}

/// The name of a question: a listed one, one below or beside it, or any.
fn asked(dice: &mut Dice, listed: &[Labels]) -> Labels {
    let mut name = match listed {
        [_, ..] if !dice.one_in(5) => dice.pick(listed),
        _ => labels(dice),
    };
    match dice.below(16) {
        0..5 => {}
        // Below it.
        5..9 => drop(name.splice(0..0, labels(dice))),
        // A parent of it.
        9 => drop(name.drain(..name.len().min(1))),
        // What ends alike, but not at the boundary of a label; or with a dot that is none.
        10 => {
            if let Some(first) = name.first_mut() {
                first.splice(0..0, dice.pick(&[&b"x"[..], b".", b"a.", b"\0"]).iter().copied());
                first.truncate(63);
            }
        }
        // Another byte: the neighbours of letters, and letters of other character sets, whose case is
        // none.
        11 => {
            let byte = dice.pick(b"@[`{\0\x01\x3f\xc0\xe0\xff.-_azAZ");
            if let Some(label) = name.first_mut()
                && !label.is_empty()
            {
                let at = dice.below(label.len());
                label[at] = byte;
            }
        }
        12 => {
            let (length, fill) = (1 + dice.below(63), dice.byte());
            name.insert(0, vec![fill; length]);
        }
        // As many labels as there can be, and one more.
        13 => {
            let most = dice.pick(&[126, 127, 127, 128]);
            while name.len() < most {
                name.insert(0, b"a".to_vec());
            }
        }
        // As many bytes as there can be, and around that.
        _ => lengthen(&mut name, dice.pick(&[253, 254, 255, 255, 256, 257, 300])),
    }
    name
}

/// Puts labels before a name until it takes that many bytes, with the root's label.
fn lengthen(name: &mut Labels, bytes: usize) {
    loop {
        let there = 1 + name.iter().map(|label| 1 + label.len()).sum::<usize>();
        match bytes.checked_sub(there) {
            None | Some(0) => return,
            // There is no label without a byte of its own: the first one gets that one.
            Some(1) => match name.first_mut() {
                Some(label) if label.len() < 63 => label.push(b'a'),
                _ => return,
            },
            Some(missing) => name.insert(0, vec![b'a'; (missing - 1).min(62)]),
        }
    }
}

/// Section 4.1.3: an address of a name that a pointer names.
fn record(dice: &mut Dice, message: &mut Vec<u8>) {
    message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
    message.extend(dice.some(4, 4, Dice::byte));
}

/// RFC 6891, section 6.1.2, with what is not OPT now and then.
fn opt(dice: &mut Dice, message: &mut Vec<u8>) {
    let mut options = Vec::new();
    for _ in 0..dice.below(3) {
        // A subnet, a cookie, padding.
        let data = dice.some(0, 24, Dice::byte);
        options.extend([0, dice.pick(&[8, 10, 12]), 0, data.len() as u8]);
        options.extend(data);
    }
    let length = match dice.below(12) {
        0 => dice.pick(&[0, 1, 255, 65_535]),
        _ => options.len() as u16,
    };
    message.push(if dice.one_in(20) { dice.pick(&[1, 0xc0]) } else { 0 });
    message.extend([0, if dice.one_in(20) { dice.pick(&[1, 40, 42, 250]) } else { 41 }]);
    message.extend(dice.pick(&[0, 512, 1232, 4096, 65_535_u16]).to_be_bytes());
    message.push(if dice.one_in(8) { dice.byte() } else { 0 });
    message.push(if dice.one_in(8) { dice.pick(&[1, 2, 255]) } else { 0 });
    message.extend([if dice.one_in(2) { 0x80 } else { dice.byte() }, dice.pick(&[0, 0, 1])]);
    message.extend(length.to_be_bytes());
    message.extend(options);
}
