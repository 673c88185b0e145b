//! Programs: loading them on existing maps, and running them on one frame.

use std::ffi::CStr;
use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use libc::c_long;

use crate::datapath::sys::bpf::call::{bpf, bpf_fd, kernel_name, raw};

const PROG_LOAD: c_long = 5;
const PROG_TEST_RUN: c_long = 10;
const BTF_LOAD: c_long = 18;

/// BPF_PROG_TYPE_SCHED_CLS.
const TYPE_CLASSIFIER: u32 = 3;
/// BPF_PROG_TYPE_XDP.
const TYPE_XDP: u32 = 6;
/// BPF_XDP, an attach type.
pub(super) const ATTACH_XDP: u32 = 37;
/// BPF_F_XDP_HAS_FRAGS.
const HAS_FRAGS: u32 = 1 << 5;
/// Bytes of an instruction.
const INSTRUCTION: usize = 8;

/// What a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// XDP. `frags` says whether it takes frames in several buffers.
    Xdp { frags: bool },
    /// Traffic control's classifiers, for the egress of interfaces among others.
    Classifier,
}

/// A program that is ready to be loaded: its maps are descriptors already.
pub struct Code<'a> {
    pub name: &'a str,
    pub license: &'a CStr,
    /// Bytes of `struct bpf_insn`, one after the other.
    pub instructions: &'a [u8],
    pub kind: Kind,
    pub debug: Option<DebugInfo<'a>>,
}

/// Type information that the kernel needs for functions that it verifies one by one.
pub struct DebugInfo<'a> {
    pub btf: BorrowedFd<'a>,
    /// Records of `struct bpf_func_info`, each of that size.
    pub functions: &'a [u8],
    pub function_size: usize,
    /// Records of `struct bpf_line_info`, each of that size.
    pub lines: &'a [u8],
    pub line_size: usize,
}

// The kernel refuses attributes in which bytes are set that it does not know. Padding that the
// compiler adds at the end of a structure may hold anything, so these structures have a field for
// it.
const _: () = assert!(size_of::<LoadBtf>() == offset_of!(LoadBtf, padding) + 4);
const _: () = assert!(size_of::<LoadProgram>() == offset_of!(LoadProgram, padding) + 4);
const _: () = assert!(size_of::<TestRun>() == offset_of!(TestRun, padding) + 4);

#[repr(C)]
#[derive(Default)]
struct LoadBtf {
    btf: u64,
    log: u64,
    btf_size: u32,
    log_size: u32,
    log_level: u32,
    padding: u32,
}

/// Loads type information.
pub fn load_btf(btf: &[u8]) -> io::Result<OwnedFd> {
    let mut attributes =
        LoadBtf { btf: btf.as_ptr() as u64, btf_size: btf.len() as u32, ..LoadBtf::default() };
    // SAFETY: BPF_BTF_LOAD takes these; the bytes outlive the call, which only reads them.
    unsafe { bpf_fd(BTF_LOAD, &mut attributes) }
}

#[repr(C)]
#[derive(Default)]
struct LoadProgram {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    ifindex: u32,
    attach_type: u32,
    btf_fd: u32,
    function_size: u32,
    functions: u64,
    function_count: u32,
    line_size: u32,
    lines: u64,
    line_count: u32,
    padding: u32,
}

/// Loads a program.
pub fn load_program(program: &Code<'_>) -> io::Result<OwnedFd> {
    let (kind, attach_type, flags) = match program.kind {
        Kind::Xdp { frags: true } => (TYPE_XDP, ATTACH_XDP, HAS_FRAGS),
        Kind::Xdp { frags: false } => (TYPE_XDP, ATTACH_XDP, 0),
        Kind::Classifier => (TYPE_CLASSIFIER, 0, 0),
    };
    let mut attributes = LoadProgram {
        kind,
        instruction_count: (program.instructions.len() / INSTRUCTION) as u32,
        instructions: program.instructions.as_ptr() as u64,
        license: program.license.as_ptr() as u64,
        flags,
        name: kernel_name(program.name),
        attach_type,
        ..LoadProgram::default()
    };
    if let Some(debug) = &program.debug {
        let count = |bytes: &[u8], size: usize| bytes.len().checked_div(size).unwrap_or(0) as u32;
        attributes.btf_fd = raw(&debug.btf);
        attributes.function_size = debug.function_size as u32;
        attributes.functions = debug.functions.as_ptr() as u64;
        attributes.function_count = count(debug.functions, debug.function_size);
        attributes.line_size = debug.line_size as u32;
        attributes.lines = debug.lines.as_ptr() as u64;
        attributes.line_count = count(debug.lines, debug.line_size);
    }
    // SAFETY: BPF_PROG_LOAD takes these; all addresses outlive the call, have as many elements as
    // the counts beside them say, and are only read. Without a log level nothing is written.
    unsafe { bpf_fd(PROG_LOAD, &mut attributes) }
}

#[repr(C)]
#[derive(Default)]
struct TestRun {
    program_fd: u32,
    action: u32,
    size_in: u32,
    size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_size_in: u32,
    context_size_out: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    padding: u32,
}

/// struct xdp_md: where the frame begins and ends in the bytes that are given. The first `data`
/// bytes of these come before the frame.
#[repr(C)]
#[derive(Default)]
struct Context {
    data: u32,
    data_end: u32,
    data_meta: u32,
    ingress_ifindex: u32,
    rx_queue_index: u32,
    egress_ifindex: u32,
}

/// What a program did with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// What it returned, an `enum xdp_action`.
    pub action: u32,
    /// The frame's length afterwards, in bytes.
    pub length: usize,
}

/// Runs an XDP program on one frame, and writes the frame that comes of it into `out` (`ENOSPC`
/// where it does not fit). The program's maps are used and changed as by a frame that comes in.
///
/// `linear` is how many bytes of the frame lie in the first buffer; with `None` the kernel fills a
/// page. Frames below 14 bytes are `EINVAL`.
pub fn run_xdp(
    program: impl AsFd,
    frame: &[u8],
    linear: Option<usize>,
    out: &mut [u8],
) -> io::Result<Run> {
    let context = linear.map(|linear| Context { data_end: linear as u32, ..Context::default() });
    run(program, frame, context.as_ref(), out)
}

/// As above, for a frame that seems to come in by an interface of this network namespace, by its first
/// queue. `ENODEV` where there is none of that index.
pub fn run_xdp_from(
    program: impl AsFd,
    frame: &[u8],
    ifindex: u32,
    out: &mut [u8],
) -> io::Result<Run> {
    let context =
        Context { data_end: frame.len() as u32, ingress_ifindex: ifindex, ..Context::default() };
    run(program, frame, Some(&context), out)
}

/// The beginning of struct __sk_buff (include/uapi/linux/bpf.h), of which only the last field may be said.
#[repr(C)]
#[derive(Default)]
struct EgressContext {
    unsaid: [u32; 9],
    ingress_ifindex: u32,
}

/// Runs a program for the egress on one frame, as [`run_xdp`] does, that seems to have come in by an interface; 0 where
/// a socket of this host has sent it.
pub fn run_egress(
    program: impl AsFd,
    frame: &[u8],
    came_by: u32,
    out: &mut [u8],
) -> io::Result<Run> {
    let context = EgressContext { ingress_ifindex: came_by, ..EgressContext::default() };
    run(program, frame, Some(&context), out)
}

/// `context` is of the type that the program's kind has.
fn run<C>(
    program: impl AsFd,
    frame: &[u8],
    context: Option<&C>,
    out: &mut [u8],
) -> io::Result<Run> {
    let mut attributes = TestRun {
        program_fd: raw(&program),
        size_in: frame.len() as u32,
        size_out: out.len() as u32,
        data_in: frame.as_ptr() as u64,
        data_out: out.as_mut_ptr() as u64,
        repeat: 1,
        ..TestRun::default()
    };
    if let Some(context) = context {
        attributes.context_size_in = size_of::<C>() as u32;
        attributes.context_in = (&raw const *context) as u64;
    }
    // SAFETY: BPF_PROG_TEST_RUN takes these; it reads `size_in` bytes of the frame and the whole
    // context, and writes at most `size_out` bytes. All of it outlives the call.
    unsafe { bpf(PROG_TEST_RUN, &mut attributes) }?;
    Ok(Run { action: attributes.action, length: attributes.size_out as usize })
}
