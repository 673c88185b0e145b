//! The program for a NIC: the part of the filter that a device can run by itself.
//!
//! It keeps to what Netronome's compiler takes (drivers/net/ethernet/netronome/nfp/bpf/ in Linux):
//! hashes and arrays without flags; keys on the stack; each place in the program that looks
//! something up names one map; map values are read, or added to at a fixed place, and never
//! written; no function but lookups is called; no data of its own. `xdp_common::nic` has what it
//! shares with the command line. It takes no frames in several buffers, because no NIC has them.

#![no_std]
#![no_main]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

#[path = "../frame/checked.rs"]
mod checked;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::{Array, HashMap};
use aya_ebpf::programs::XdpContext;
use checked::Checked;
use xdp_common::nic::{
    COUNTERS as COUNT, LIST_COUNTERS, OUTCOMES, Selector, counter_of, flag, outcome,
};
use xdp_common::packet::{LinkType, NO_SENDER, Network, Packet, PacketBytes, Transport, parse};
use xdp_common::stats::counter::Counter;
use xdp_common::stats::verdict::{Reason, Verdict};
use xdp_common::verifier::black_box;

/// Lets the kernel's GPL-only helpers be called, and says under which terms.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// The ruleset in force. Written by the command line, read by the program once a packet.
#[map]
static SELECTOR: Array<Selector> = Array::with_max_entries(1, 0);

/// All counters. Added to by the program, read by the command line.
#[map]
static COUNTERS: Array<[Counter; COUNT]> = Array::with_max_entries(1, 0);

/// What lists and ARP's policy say of addresses, in two banks. Read by the program, and written by
/// the command line in the bank that is not in force. The command line makes them, with room for as
/// many entries as the NIC takes.
#[map]
static FIRST_V4: HashMap<u32, u64> = HashMap::with_max_entries(1, 0);
#[map]
static SECOND_V4: HashMap<u32, u64> = HashMap::with_max_entries(1, 0);
#[map]
static FIRST_V6: HashMap<[u64; 2], u64> = HashMap::with_max_entries(1, 0);
#[map]
static SECOND_V6: HashMap<[u64; 2], u64> = HashMap::with_max_entries(1, 0);

#[xdp]
pub fn xdpctl_offload(ctx: XdpContext) -> u32 {
    let (Some(selector), Some(counters)) = (SELECTOR.get(0), COUNTERS.get_ptr_mut(0)) else {
        return xdp_action::XDP_ABORTED;
    };
    let counters = counters.cast::<Counter>();
    // SAFETY: a reference is valid to read from. It is read once, because the command line may
    // change it while the packet is judged.
    let flags = unsafe { core::ptr::read_volatile(&selector.flags) };
    let frame = Frame::new(&ctx, selector.zero);
    let bytes = u64::from(frame.length());
    let (outcome, list) = judge(&frame, flags);
    count(counters, outcome, bytes);
    if list != 0 {
        count_list(counters, counter_of(list), bytes);
    }
    if DROPS >> outcome & 1 != 0 { xdp_action::XDP_DROP } else { xdp_action::XDP_PASS }
}

const MALFORMED: [u32; 2] = of_policy(Reason::Malformed);
const ARP: [u32; 2] = of_policy(Reason::Arp);
const DEFAULT: [u32; 2] = of_policy(Reason::Default);
const ALLOWLIST: u32 = outcome(Verdict::Pass, Reason::Allowlist) as u32;
const BLOCKLIST: u32 = outcome(Verdict::Drop, Reason::Blocklist) as u32;
const FRAGMENT: u32 = outcome(Verdict::Drop, Reason::Fragment) as u32;

/// The two outcomes of a policy: passed, dropped.
const fn of_policy(reason: Reason) -> [u32; 2] {
    [outcome(Verdict::Pass, reason) as u32, outcome(Verdict::Drop, reason) as u32]
}

/// A bit for each outcome, set for those that drop.
const DROPS: u32 = {
    let (mut bits, mut at) = (0, 0);
    while at < OUTCOMES.len() {
        if matches!(OUTCOMES[at].0, Verdict::Drop) {
            bits |= 1 << at;
        }
        at += 1;
    }
    bits
};

/// The outcome, and the list to count the packet to (0 for none). The order is that of
/// `xdp_common::filter::order`, without the stages that a NIC does not have.
#[inline(always)]
fn judge(frame: &Frame, flags: u32) -> (u32, u8) {
    let has = |flag| flags & flag != 0;
    let policy = |[pass, drop]: [u32; 2], flag| if has(flag) { drop } else { pass };
    let mut packet = Packet::LEFT_BEHIND;
    if parse(LinkType::Ethernet, frame, &mut packet).is_err() {
        return (policy(MALFORMED, flag::MALFORMED_DROP), 0);
    }
    if packet.network == Network::ARP {
        let sender = packet.source[0];
        if has(flag::ARP_DROP) && sender != NO_SENDER && said(v4(flags, sender), 5) != 0 {
            return (ARP[0], 0);
        }
        return (policy(ARP, flag::ARP_DROP), 0);
    }
    let default = policy(DEFAULT, flag::DEFAULT_DROP);
    if !packet.network.is_ip() {
        return (default, 0);
    }
    let find = |address: [u64; 2]| {
        if packet.network == Network::IPV4 { v4(flags, address[0]) } else { v6(flags, address) }
    };
    let (mut drop, mut count) = (0, 0);
    if has(flag::SOURCE_LISTS) {
        let value = find(packet.source);
        if said(value, 0) != 0 {
            return (ALLOWLIST, said(value, 0));
        }
        (drop, count) = (said(value, 1), said(value, 2));
    }
    if has(flag::FRAGMENTS_DROP) && packet.transport == Transport::FRAGMENT {
        return (FRAGMENT, 0);
    }
    if has(flag::DESTINATION_LISTS) {
        let value = find(packet.destination);
        drop = higher(drop, said(value, 3));
        count = higher(count, said(value, 4));
    }
    if drop != 0 {
        return (BLOCKLIST, drop);
    }
    (default, count)
}

/// One byte of an address's value.
#[inline(always)]
const fn said(value: u64, byte: u32) -> u8 {
    (value >> (8 * byte)) as u8
}

#[inline(always)]
const fn higher(source: u8, destination: u8) -> u8 {
    if destination > source { destination } else { source }
}

/// The value of an address; 0 where there is none.
#[inline(always)]
fn v4(flags: u32, address: u64) -> u64 {
    let key = address as u32;
    if flags & flag::SECOND_BANK == 0 {
        value::<1>(FIRST_V4.get_ptr(key))
    } else {
        value::<2>(SECOND_V4.get_ptr(key))
    }
}

#[inline(always)]
fn v6(flags: u32, address: [u64; 2]) -> u64 {
    if flags & flag::SECOND_BANK == 0 {
        value::<3>(FIRST_V6.get_ptr(address))
    } else {
        value::<4>(SECOND_V6.get_ptr(address))
    }
}

/// The value that a lookup found. `MAP` is a number that differs for each map and makes the code
/// differ: else the compiler would join two lookups of the same key into one call, with the map
/// chosen before it, which the NIC does not take.
#[inline(always)]
fn value<const MAP: usize>(found: Option<*const u64>) -> u64 {
    let Some(found) = found else { return 0 };
    let mut found = found as usize;
    // SAFETY: moves a register to itself, `MAP` times, and touches nothing else.
    unsafe {
        core::arch::asm!(
            ".rept {map}",
            "{0} = {0}",
            ".endr",
            inout(reg) found,
            map = const MAP,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    // SAFETY: it is the same pointer, and the kernel found a value there.
    unsafe { *(found as *const u64) }
}

/// Counts a packet to its outcome; each outcome has its own instructions, with a fixed place.
#[inline(always)]
fn count(counters: *mut Counter, outcome: u32, bytes: u64) {
    macro_rules! one_of {
        ($($at:literal)*) => {
            match outcome {
                $($at => add::<$at>(counters, bytes),)*
                _ => {}
            }
        };
    }
    const { assert!(OUTCOMES.len() == 9) };
    one_of!(0 1 2 3 4 5 6 7 8);
}

/// Counts a packet to a list.
#[inline(always)]
fn count_list(counters: *mut Counter, counter: u8, bytes: u64) {
    macro_rules! one_of {
        ($($at:literal)*) => {
            match counter {
                $($at => add::<{ OUTCOMES.len() + $at }>(counters, bytes),)*
                _ => {}
            }
        };
    }
    const { assert!(LIST_COUNTERS == 16) };
    one_of!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
}

/// Adds to one counter, atomically: a NIC has many cores and no counters of their own.
#[inline(always)]
fn add<const AT: usize>(counters: *mut Counter, bytes: u64) {
    const { assert!(AT < COUNT) };
    // SAFETY: both words are inside the map's value. In assembly, so that the place stands in the
    // instruction: the compiler would compute it, and a NIC takes only a constant one.
    unsafe {
        core::arch::asm!(
            "lock *(u64 *)({counters} + {packets}) += {one}",
            "lock *(u64 *)({counters} + {octets}) += {bytes}",
            counters = in(reg) counters,
            one = in(reg) 1_u64,
            bytes = in(reg) bytes,
            packets = const AT * size_of::<Counter>(),
            octets = const AT * size_of::<Counter>() + 8,
            options(nostack, preserves_flags),
        );
    }
}

/// A frame, in one buffer.
struct Frame {
    data: usize,
    data_end: usize,
    zero: u32,
}

/// Headers beyond this offset, in bytes, are not looked for, as in the filter: the verifier wants a
/// bound.
const FARTHEST: u64 = 0x7fff;

impl Frame {
    #[inline(always)]
    fn new(ctx: &XdpContext, zero: u32) -> Self {
        Self { data: ctx.data(), data_end: ctx.data_end(), zero }
    }
}

impl PacketBytes for Frame {
    type Window<const N: usize> = Checked<N>;

    #[inline(always)]
    fn length(&self) -> u32 {
        (self.data_end - self.data) as u32
    }

    #[inline(always)]
    fn window<const N: usize>(&self, offset: u32) -> Option<Checked<N>> {
        // As in the filter, see `Linear` in frame/linear.rs.
        let offset = black_box(u64::from(offset));
        if offset > FARTHEST {
            return None;
        }
        let start = black_box((self.data + offset as usize) as u64) as usize;
        if start + N > self.data_end {
            return None;
        }
        Some(Checked { start })
    }

    #[inline(always)]
    fn widen(&self, number: u32) -> u32 {
        number.wrapping_add(self.zero)
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
