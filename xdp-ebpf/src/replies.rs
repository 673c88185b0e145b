//! The program that asks the kernel whether a packet, which the default would drop, answers what this
//! host has open: see `xdp_common::filter::replies`. The sockets are those of the interface's network
//! namespace.

use core::mem::size_of;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{
    bpf_sock, bpf_sock_tuple, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 as TupleV4,
    bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 as TupleV6, xdp_action,
};
use aya_ebpf::helpers::generated::{
    bpf_ktime_get_coarse_ns, bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp,
};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use xdp_common::capacity::{LINES_PER_SENT_SLOT, SENT_SLOTS};
use xdp_common::filter::order::Scratch;
use xdp_common::filter::pace::Bucket;
use xdp_common::filter::replies::{self, ECHOES, Sockets};
use xdp_common::filter::sent::{self, Memory};
use xdp_common::image::{LINE_WORDS, Line};
use xdp_common::packet::{Network, Packet};
use xdp_common::stats::per_cpu::PerCpu;
use xdp_common::verifier::{black_box, launder};

use crate::capture;
use crate::exit::{exit, this_cpu};
use crate::frame::Linear;
use crate::maps::{SENT, SWITCHES};
use crate::next_hop::{Way, words};
use crate::stages::{broken, same_image};

/// BPF_F_CURRENT_NETNS (include/uapi/linux/bpf.h): the network namespace of the interface.
pub const OF_THE_INTERFACE: u64 = u64::MAX;

/// Passes a packet that is a reply. Others go the way that was decided before: they are dropped.
#[xdp(frags)]
#[inline(always)]
pub fn xdpctl_replies(ctx: XdpContext) -> u32 {
    let Some(cpu) = this_cpu() else { return xdp_action::XDP_ABORTED };
    let Some(image) = same_image(&ctx, &cpu.scratch) else { return broken(cpu) };
    let PerCpu { scratch, echoes, .. } = launder(cpu);
    let Scratch { packet, serving, reply, effect, question, zero, .. } = scratch;
    let frame = Linear::new(&ctx, *zero);
    let mut sockets = InForce { ctx: &ctx, echoes, is_question: *question != 0 };
    let header = image.header();
    if replies::judge(&mut sockets, header, &frame, packet, &mut serving.about, reply) {
        effect.decision = replies::PASS;
    }
    let action = exit(launder(cpu));
    capture::show(&ctx);
    action
}

/// The kernel's sockets.
struct InForce<'a> {
    ctx: &'a XdpContext,
    echoes: &'a mut Bucket,
    is_question: bool,
}

/// Looks a socket up by one of the kernel's helpers for that, and returns its state.
macro_rules! state_by {
    ($helper:ident, $ctx:expr, $packet:expr) => {{
        let packet = $packet;
        // SAFETY: zeros are a tuple.
        let mut tuple: bpf_sock_tuple = unsafe { core::mem::zeroed() };
        let length = tuple_of(packet, &mut tuple);
        let ctx = $ctx.as_ptr();
        // SAFETY: the tuple has as many bytes, and the context is the kernel's own.
        let socket = unsafe { $helper(ctx, &raw mut tuple, length, OF_THE_INTERFACE, 0) };
        release_after(socket)
    }};
}

impl Sockets for InForce<'_> {
    #[inline(always)]
    fn tcp(&mut self, packet: &Packet) -> u32 {
        state_by!(bpf_skc_lookup_tcp, self.ctx, packet)
    }

    #[inline(always)]
    fn udp(&mut self, packet: &Packet) -> u32 {
        state_by!(bpf_sk_lookup_udp, self.ctx, packet)
    }

    #[inline(always)]
    fn is_here(&mut self, packet: &Packet) -> bool {
        let way = Way::of(packet, 0);
        // What this host does not forward, and is not for it, the kernel's stack drops. At a port of a bridge, that is
        // not so: what the bridge hands on to others is judged as if it were this host's.
        way.ends_here(self.ctx)
    }

    #[inline(always)]
    fn echo(&mut self) -> bool {
        // Questions are about what happens to one packet.
        // SAFETY: a helper without arguments.
        self.is_question || self.echoes.take(unsafe { bpf_ktime_get_coarse_ns() }, ECHOES)
    }

    #[inline(always)]
    fn sent(&mut self, answer: &Packet, ports: u32) -> u32 {
        sent::ask(&mut Sent, answer, ports)
    }
}

/// What the interface has sent. Nothing is written here.
struct Sent;

impl Memory for Sent {
    #[inline(always)]
    fn line(&mut self, number: u32) -> Option<&mut Line> {
        let memory = SENT.get(number / LINES_PER_SENT_SLOT % SENT_SLOTS)?.get(0)?;
        let place = black_box(u64::from(number)) as usize & (LINES_PER_SENT_SLOT as usize - 1);
        // SAFETY: masked to the map's lines. Other CPUs write there, by whole words, and any bits are a line.
        Some(unsafe { &mut *memory.as_ptr().cast_mut().add(place * LINE_WORDS).cast::<Line>() })
    }

    #[inline(always)]
    fn secrets(&self) -> [u64; 2] {
        SWITCHES.get(0).map_or([0; 2], |switches| switches.multipliers)
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        // SAFETY: a helper without arguments.
        unsafe { bpf_ktime_get_coarse_ns() }
    }
}

/// The ends of a packet, as the socket's own side sees them, and how long the tuple is.
#[inline(always)]
pub fn tuple_of(packet: &Packet, tuple: &mut bpf_sock_tuple) -> u32 {
    let ports = [packet.source_port, packet.destination_port].map(|port| (port as u16).to_be());
    if packet.network == Network::IPV6 {
        tuple.__bindgen_anon_1.ipv6 = TupleV6 {
            saddr: words(packet.source),
            daddr: words(packet.destination),
            sport: ports[0],
            dport: ports[1],
        };
        size_of::<TupleV6>() as u32
    } else {
        tuple.__bindgen_anon_1.ipv4 = TupleV4 {
            saddr: (packet.source[0] as u32).to_be(),
            daddr: (packet.destination[0] as u32).to_be(),
            sport: ports[0],
            dport: ports[1],
        };
        size_of::<TupleV4>() as u32
    }
}

/// The state of a socket that was looked up, which is given back; 0 of none.
#[inline(always)]
fn release_after(socket: *mut bpf_sock) -> u32 {
    if socket.is_null() {
        return 0;
    }
    // SAFETY: the helper returned a socket, which stays until it is released.
    let state = unsafe { core::ptr::read_volatile(&raw const (*socket).state) };
    // SAFETY: as above, and it is not used afterwards.
    unsafe { bpf_sk_release(socket.cast()) };
    state
}
