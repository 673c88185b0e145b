//! Where a packet of a service goes next: to a fixed address, or by the kernel's routes and neighbours.
//! It is found before the packet is changed, so that one that does not fit can be told of as it came.

use core::mem::offset_of;

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{bpf_fib_lookup, xdp_action};
use aya_ebpf::helpers::generated::{bpf_fib_lookup as fib_lookup, bpf_redirect};
use aya_ebpf::programs::XdpContext;
use xdp_common::filter::services::{Found, NextHop};
use xdp_common::image::Header;
use xdp_common::packet::rewrite::{FrameMut, WindowMut};
use xdp_common::packet::{NO_MACS, Network, Packet};
use xdp_common::verifier::black_box;

/// Back out of the interface that the frame came in by, to `mac` and from the address that it was sent to.
/// A frame without addresses goes to the stack.
#[inline(always)]
pub fn fixed(ctx: &XdpContext, packet: &Packet, mac: &[u8; 6], hop: &mut NextHop) {
    let found = if packet.macs == NO_MACS { Found::Stack } else { Found::Back };
    hop.found = found as u32;
    hop.interface = came_by(ctx);
    let [a, b, c, d, e, f] = *mac;
    let source = packet.destination_mac();
    hop.macs[0] =
        u64::from_be_bytes([a, b, c, d, e, f, (source >> 40) as u8, (source >> 32) as u8]);
    hop.macs[1] = source & 0xffff_ffff;
}

// Answers of the helper (enum in include/uapi/linux/bpf.h).
const SUCCESS: i64 = 0;
const NOT_FORWARDED: i64 = 4;
const FORWARDING_DISABLED: i64 = 5;
const NO_NEIGHBOUR: i64 = 7;
const FRAGMENTATION_NEEDED: i64 = 8;

/// What the kernel is asked about.
pub struct Way {
    pub is_v6: bool,
    pub source: [u64; 2],
    pub destination: [u64; 2],
    pub protocol: u8,
    /// Bytes of the packet as it is to leave.
    pub length: u32,
}

impl Way {
    /// Where a packet is addressed to, and from where; `length` bytes leave.
    #[inline(always)]
    pub fn of(packet: &Packet, length: u32) -> Self {
        Self {
            is_v6: packet.network == Network::IPV6,
            source: packet.source,
            destination: packet.destination,
            protocol: packet.protocol as u8,
            length,
        }
    }

    /// Whether a packet that goes this way is not forwarded: it ends at this host, which need not have the address.
    /// Where nothing is forwarded, the kernel says so before it looks at its routes, and of every address.
    #[inline(always)]
    pub fn ends_here(&self, ctx: &XdpContext) -> bool {
        // SAFETY: zeros are a query.
        let mut query: bpf_fib_lookup = unsafe { core::mem::zeroed() };
        let answer = self.look_up(ctx, &mut query);
        answer == NOT_FORWARDED || answer == FORWARDING_DISABLED
    }

    /// Asks the kernel, with an empty query, and returns what the helper answers.
    #[inline(always)]
    fn look_up(&self, ctx: &XdpContext, query: &mut bpf_fib_lookup) -> i64 {
        query.ifindex = came_by(ctx);
        query.l4_protocol = self.protocol;
        let length = if self.length > 0xffff { 0xffff } else { self.length };
        query.__bindgen_anon_1.tot_len = length as u16;
        if self.is_v6 {
            query.family = 10;
            query.__bindgen_anon_3.ipv6_src = words(self.source);
            query.__bindgen_anon_4.ipv6_dst = words(self.destination);
        } else {
            query.family = 2;
            query.__bindgen_anon_3.ipv4_src = (self.source[0] as u32).to_be();
            query.__bindgen_anon_4.ipv4_dst = (self.destination[0] as u32).to_be();
        }
        let size = size_of::<bpf_fib_lookup>() as i32;
        // SAFETY: the query is as long as is said.
        unsafe { fib_lookup(ctx.as_ptr(), query, size, 0) }
    }

    /// Asks the kernel. What it cannot say at once its stack finds out for itself.
    #[inline(always)]
    pub fn ask(&self, ctx: &XdpContext, header: &Header, packet: &Packet, hop: &mut NextHop) {
        const { assert!(size_of::<bpf_fib_lookup>() == size_of::<[u64; 8]>()) };
        let NextHop { found, interface, macs, mtu, query, .. } = hop;
        // The query lies in the scratch, because the programs' stack is small.
        for word in query.iter_mut() {
            *word = black_box(0);
        }
        // SAFETY: it is as long as a query and aligned no less, and zeros are one.
        let query = unsafe { &mut *(&raw mut *query).cast::<bpf_fib_lookup>() };
        let came_by = came_by(ctx);
        let answer = self.look_up(ctx, query);
        // The two addresses lie side by side at the answer's end, the source first.
        const { assert!(offset_of!(bpf_fib_lookup, dmac) == offset_of!(bpf_fib_lookup, smac) + 6) };
        let words = (&raw const query.smac).cast::<u32>();
        // SAFETY: twelve bytes, and their place is a multiple of four.
        let [a, b, c] = [0, 1, 2].map(|at| u32::from_be(unsafe { words.add(at).read_volatile() }));
        macs[0] = u64::from(b << 16 | c >> 16) << 32 | u64::from(c << 16 | a >> 16);
        macs[1] = (a << 16 | b >> 16).into();
        let to = query.ifindex;
        *interface = to;
        // SAFETY: any bits are a number.
        *mtu = unsafe { query.__bindgen_anon_1.mtu_result }.into();
        *found = if answer == FRAGMENTATION_NEEDED {
            Found::TooBig
        } else if answer == NOT_FORWARDED {
            Found::Here
        } else if answer == NO_NEIGHBOUR || packet.macs == NO_MACS {
            Found::Stack
        } else if answer != SUCCESS {
            Found::Nothing
        } else if to == came_by {
            Found::Back
        } else if packet.parts.l3 != 14 || !header.may_redirect_to(to) {
            // Tags mean something on this side alone. And what redirected frames are lost at, as VLAN
            // interfaces and bridges, or what was not there at the last reload, the stack may know a way to.
            Found::Stack
        } else {
            Found::On
        } as u32;
    }
}

/// Sends a frame there, which has been rewritten. Which way it really goes; `None` where it cannot be
/// reached.
#[inline(always)]
pub fn leave<F: FrameMut>(frame: &mut F, hop: &NextHop) -> Option<Found> {
    if hop.found == Found::Stack as u32 || hop.found == Found::Here as u32 {
        return Some(Found::Stack);
    }
    let mut addresses = frame.window_mut::<12>(0)?;
    addresses.put_u64(0, hop.macs[0]);
    addresses.put_u32(8, hop.macs[1] as u32);
    if hop.found == Found::Back as u32 {
        return Some(Found::Back);
    }
    // SAFETY: takes numbers.
    match unsafe { bpf_redirect(hop.interface, 0) } as u32 {
        xdp_action::XDP_REDIRECT => Some(Found::On),
        _ => Some(Found::Nothing),
    }
}

/// The interface that the frame came in by.
#[inline(always)]
pub fn came_by(ctx: &XdpContext) -> u32 {
    // SAFETY: the context is the one that the kernel called the program with.
    unsafe { (*ctx.ctx).ingress_ifindex }
}

/// An address as the kernel's structures have it.
#[inline(always)]
pub fn words([high, low]: [u64; 2]) -> [u32; 4] {
    [(high >> 32) as u32, high as u32, (low >> 32) as u32, low as u32].map(u32::to_be)
}
