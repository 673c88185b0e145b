//! Programs at the egress of interfaces by traffic control's qdisc clsact (tc-bpf(8)): where the kernel has no links
//! for them (TCX), which came with Linux 6.6.
//!
//! Nothing holds a filter but the interface: it stays until somebody deletes it.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

use crate::datapath::sys::netlink::{Netlink, Request, attribute, read_string, read_u32};

// include/uapi/linux/rtnetlink.h
const NEW_QDISC: u16 = 36;
const DELETE_QDISC: u16 = 37;
const GET_QDISC: u16 = 38;
const NEW_FILTER: u16 = 44;
const DELETE_FILTER: u16 = 45;
const GET_FILTER: u16 = 46;
const KIND: u16 = 1;
const OPTIONS: u16 = 2;
// include/uapi/linux/pkt_cls.h
const BPF_FD: u16 = 6;
const BPF_NAME: u16 = 7;
const BPF_FLAGS: u16 = 8;
const BPF_ID: u16 = 11;
const BPF_DIRECT_ACTION: u32 = 1;
// include/uapi/linux/pkt_sched.h
const CLSACT: u32 = 0xffff_fff1;
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;
const CLSACT_HANDLE: u32 = 0xffff_0000;
/// ETH_P_ALL, in network order.
const ALL: u32 = 0x0003_u16.to_be() as u32;
/// The highest priority, where struct tcmsg has it.
const FIRST: u32 = 1 << 16;

/// struct tcmsg.
const HEADER: usize = 20;

fn header(ifindex: u32, handle: u32, parent: u32, info: u32) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    let words = [ifindex, handle, parent, info].map(u32::to_ne_bytes);
    header[4..].copy_from_slice(words.as_flattened());
    header
}

/// A filter at the egress of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    handle: u32,
    /// Priority and protocol.
    info: u32,
    pub name: String,
    /// The kernel's id of its program.
    pub program_id: u32,
}

/// Whether an interface has the qdisc. An interface that is not there has none.
pub fn is_there(ifindex: u32) -> io::Result<bool> {
    let request = Request::all(GET_QDISC, &header(ifindex, 0, 0, 0));
    let answers = Netlink::route()?.ask(request)?;
    let is_it = |answer: &Vec<u8>| {
        read_u32(answer.get(4..).unwrap_or_default()) == Some(ifindex)
            && answer.get(HEADER..).and_then(|it| attribute(it, KIND)).map(read_string).as_deref()
                == Some("clsact")
    };
    Ok(answers.iter().any(is_it))
}

/// Adds the qdisc; `AlreadyExists` where it is there.
pub fn add(ifindex: u32) -> io::Result<()> {
    let request = Request::create(NEW_QDISC, &header(ifindex, CLSACT_HANDLE, CLSACT, 0), true);
    Netlink::route()?.ask(request.attribute(KIND, b"clsact\0")).map(drop)
}

/// Removes the qdisc, if nobody has a filter there.
pub fn remove_if_empty(ifindex: u32) -> io::Result<()> {
    if !is_there(ifindex)?
        || !dump(ifindex, INGRESS)?.is_empty()
        || !dump(ifindex, EGRESS)?.is_empty()
    {
        return Ok(());
    }
    let request = Request::change(DELETE_QDISC, &header(ifindex, CLSACT_HANDLE, CLSACT, 0), false);
    absent_is_done(Netlink::route()?.ask(request).map(drop))
}

/// Puts a program at the egress, before the filters that are there. The qdisc has to be there.
pub fn put(ifindex: u32, program: impl AsFd, name: &str) -> io::Result<()> {
    let name = format!("{name}\0");
    let options = [
        (BPF_FD, &program.as_fd().as_raw_fd().to_ne_bytes()[..]),
        (BPF_NAME, name.as_bytes()),
        (BPF_FLAGS, &BPF_DIRECT_ACTION.to_ne_bytes()),
    ];
    let mut nested = Vec::new();
    for (kind, value) in options {
        nested.extend(((4 + value.len()) as u16).to_ne_bytes());
        nested.extend(kind.to_ne_bytes());
        nested.extend(value);
        nested.resize(nested.len().next_multiple_of(4), 0);
    }
    // Of the highest priority, a new one comes first.
    let request = Request::create(NEW_FILTER, &header(ifindex, 0, EGRESS, FIRST | ALL), false)
        .attribute(KIND, b"bpf\0")
        .attribute(OPTIONS, &nested);
    Netlink::route()?.ask(request).map(drop)
}

/// The programs at the egress of an interface; none where it is not there.
pub fn filters(ifindex: u32) -> io::Result<Vec<Filter>> {
    Ok(dump(ifindex, EGRESS)?.iter().filter_map(|answer| filter(answer)).collect())
}

fn filter(answer: &[u8]) -> Option<Filter> {
    let number = |at: usize| read_u32(answer.get(at..)?);
    let options = attribute(answer.get(HEADER..)?, OPTIONS)?;
    Some(Filter {
        handle: number(8)?,
        info: number(16)?,
        name: attribute(options, BPF_NAME).map(read_string).unwrap_or_default(),
        program_id: attribute(options, BPF_ID).and_then(read_u32)?,
    })
}

fn dump(ifindex: u32, parent: u32) -> io::Result<Vec<Vec<u8>>> {
    let request = Request::all(GET_FILTER, &header(ifindex, 0, parent, 0));
    match Netlink::route()?.ask(request) {
        // Without the qdisc, or the interface, there are none.
        Err(error) if is_absent(&error) => Ok(Vec::new()),
        other => other,
    }
}

/// Deletes a filter, if it is there.
pub fn delete(ifindex: u32, filter: &Filter) -> io::Result<()> {
    let header = header(ifindex, filter.handle, EGRESS, filter.info);
    let request = Request::change(DELETE_FILTER, &header, false).attribute(KIND, b"bpf\0");
    absent_is_done(Netlink::route()?.ask(request).map(drop))
}

fn absent_is_done(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if is_absent(&error) => Ok(()),
        other => other,
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::ENODEV | libc::EINVAL | libc::EOPNOTSUPP)
    )
}
