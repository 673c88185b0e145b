//! Checks through a service: their packets are addressed to the service, and this sends each of them to
//! the backend that is checked, the way that the program would send it.

mod outer;

use std::collections::{BTreeSet, HashMap};
use std::io::{self, PipeReader, PipeWriter};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};

use super::fault::{Fault, said};
use crate::agent::health::plan::{By, Fixed, Way};
use crate::datapath::error::{Error, Result};
use crate::datapath::host::check_route::{self, CheckRoute, Leads, MARKS, Sender};
use crate::datapath::host::{neighbours, reverse_path, routes};

/// The ways to all backends that are checked through their service. It has nothing on the host as long as
/// there are none.
#[derive(Default)]
pub struct Through(Mutex<State>);

#[derive(Default)]
struct State {
    carrier: Option<Carrier>,
    /// Why there is none.
    why_not: Option<String>,
    /// What processes left that were killed has been looked for.
    is_tidy: bool,
}

/// A thread that sends on what the kernel hands over.
struct Carrier {
    shared: Arc<Shared>,
    /// The thread ends with this.
    stop: Option<PipeWriter>,
    thread: Option<thread::JoinHandle<()>>,
}

struct Shared {
    route: CheckRoute,
    sender: Sender,
    ways: Mutex<Ways>,
}

#[derive(Default)]
struct Ways {
    marks: HashMap<Way, u32>,
    by_mark: HashMap<u32, Marked>,
}

struct Marked {
    way: Way,
    /// Why a packet of the check that runs did not leave.
    fault: Option<Fault>,
}

impl Through {
    /// Takes over which ways there are now. Returns what is wrong.
    pub fn plan(&self, ways: &BTreeSet<Way>) -> Vec<Error> {
        let mut state = lock(&self.0);
        let mut problems = Vec::new();
        if !std::mem::replace(&mut state.is_tidy, true) {
            problems.extend(check_route::clean_up().err());
        }
        if ways.is_empty() {
            (state.carrier, state.why_not) = (None, None);
            return problems;
        }
        let has_ended =
            |carrier: &Carrier| carrier.thread.as_ref().is_none_or(thread::JoinHandle::is_finished);
        if state.carrier.as_ref().is_some_and(has_ended) {
            state.carrier = None;
        }
        if state.carrier.is_none() {
            match Carrier::start() {
                Ok(carrier) => (state.carrier, state.why_not) = (Some(carrier), None),
                Err(error) => {
                    state.why_not = Some(error.message.clone());
                    let message = format!("nothing is checked through services: {}", error.message);
                    problems.push(Error { message, ..error });
                }
            }
        }
        if let Some(carrier) = &state.carrier {
            problems.extend(carrier.shared.plan(ways));
        }
        problems
    }

    /// The mark of the packets of a check that begins. An error says why it cannot be made.
    pub(super) fn mark(&self, way: &Way) -> std::result::Result<u32, String> {
        let shared = {
            let state = lock(&self.0);
            match &state.carrier {
                Some(carrier) => Arc::clone(&carrier.shared),
                None => {
                    let why = "there is no way through the service";
                    return Err(state.why_not.clone().unwrap_or_else(|| why.to_owned()));
                }
            }
        };
        shared.begin(way)
    }

    /// Why packets with that mark did not leave since then, if some did not.
    pub(super) fn fault(&self, mark: u32) -> Option<Fault> {
        let state = lock(&self.0);
        let ways = lock(&state.carrier.as_ref()?.shared.ways);
        ways.by_mark.get(&mark)?.fault.clone()
    }
}

/// Gives a socket's packets a mark, before it is connected.
pub(super) fn set_mark(socket: &impl AsFd, mark: Option<u32>) -> std::result::Result<(), Fault> {
    let Some(mark) = mark else { return Ok(()) };
    setsockopt(socket, sockopt::Mark, &mark).map_err(|errno| {
        let error = io::Error::from(errno);
        Fault::unknown(format!("its packets cannot be marked: {}", said(&error)))
    })
}

impl Carrier {
    fn start() -> Result<Self> {
        let (sender, route) = (Sender::open()?, CheckRoute::take()?);
        let shared = Arc::new(Shared { route, sender, ways: Mutex::default() });
        let cannot = |error: io::Error| {
            Error::new(format!("cannot start to send on packets of checks: {error}"))
        };
        let (stopped, stop) = io::pipe().map_err(cannot)?;
        let all = Arc::clone(&shared);
        let thread = thread::Builder::new().name("through".to_owned());
        let thread = thread.spawn(move || all.carry(&stopped)).map_err(cannot)?;
        Ok(Self { shared, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn plan(&self, wanted: &BTreeSet<Way>) -> Vec<Error> {
        let mut problems = Vec::new();
        let mut ways = lock(&self.ways);
        let Ways { marks, by_mark } = &mut *ways;
        marks.retain(|way, _| wanted.contains(way));
        by_mark.retain(|_, marked| wanted.contains(&marked.way));
        let mut free = (0..=u16::MAX).map(|number| self.route.mark(number));
        for way in wanted {
            if marks.contains_key(way) {
                continue;
            }
            let Some(mark) = free.find(|mark| !by_mark.contains_key(mark)) else {
                let text = format!(
                    "only {MARKS} of {} backends are checked through their services: there are no \
                     more marks",
                    wanted.len()
                );
                problems.push(Error::new(text));
                break;
            };
            marks.insert(way.clone(), mark);
            by_mark.insert(mark, Marked { way: way.clone(), fault: None });
        }
        drop(ways);
        let mut led = BTreeSet::new();
        for way in wanted {
            if led.insert(way.to)
                && let Err(error) = self.lead(way)
            {
                problems.push(Error::new(format!(
                    "{} cannot be checked through its service: no route to {}: {error}",
                    way.to,
                    self.route.name()
                )));
            }
        }
        problems.extend(answers_that_are_dropped(wanted));
        problems
    }

    /// Has packets to a service's address handed over. They come from the address that the backend is
    /// asked from otherwise, so that its answers come in where others of it do.
    fn lead(&self, way: &Way) -> io::Result<()> {
        let towards = if way.to.is_ipv4() == way.backend.is_ipv4() { way.backend } else { way.to };
        let source = match routes::way(towards, 0)? {
            Some(routes::Way::By { source, .. }) => source,
            _ => None,
        };
        self.route.lead(way.to, source)
    }

    fn begin(&self, way: &Way) -> std::result::Result<u32, String> {
        let mark = {
            let mut ways = lock(&self.ways);
            let mark = ways.marks.get(way).copied();
            let mark = mark.ok_or_else(|| "it has no mark for its packets".to_owned())?;
            if let Some(marked) = ways.by_mark.get_mut(&mark) {
                marked.fault = None;
            }
            mark
        };
        let to = way.to;
        let mut leads = self.route.leads(to, mark);
        if matches!(leads, Ok(Leads::Elsewhere)) {
            // The kernel takes a route away with the address that it says to send from.
            let _ = self.lead(way);
            leads = self.route.leads(to, mark);
        }
        match leads {
            Ok(Leads::There) => Ok(mark),
            Ok(Leads::Here) => Err(format!(
                "{to} is an address of this host, so packets to it do not leave: take it off this \
                 host and have clients' packets routed here, or write through = \"backend\""
            )),
            Ok(Leads::Elsewhere) => Err(format!(
                "packets to {to} with mark {mark:#x} do not go to {}: another rule comes first, see \
                 `ip rule`",
                self.route.name()
            )),
            Err(error) => Err(format!("the way of packets to {to} is not known: {}", said(&error))),
        }
    }

    /// Sends on what is handed over, until nobody holds the other end.
    fn carry(&self, stopped: &PipeReader) {
        let mut buffer = [0; 2048];
        loop {
            let [packets, device] = self.route.readable();
            let wait = |it| PollFd::new(it, PollFlags::POLLIN);
            let mut waited = [wait(packets), wait(device), wait(stopped.as_fd())];
            let polled = poll(&mut waited, PollTimeout::NONE);
            if polled.is_ok() && waited[2].any() == Some(true) {
                return;
            }
            // Somebody has deleted the device.
            let broken = PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL;
            if waited[1].revents().is_some_and(|events| events.intersects(broken)) {
                return;
            }
            // An error is told with the next packet that is not answered.
            while let Ok(Some(handed)) = self.route.receive(&mut buffer) {
                if let Some(packet) = buffer.get(..handed.length) {
                    self.send_on(handed.mark, packet);
                }
            }
        }
    }

    fn send_on(&self, mark: u32, packet: &[u8]) {
        let way = lock(&self.ways).by_mark.get(&mark).map(|marked| marked.way.clone());
        // The kernel asks each link for IPv6 routers; nobody marked that.
        let Some(way) = way.filter(|way| destination(packet) == Some(way.to)) else { return };
        if let Err(fault) = self.send(&way, packet)
            && let Some(marked) = lock(&self.ways).by_mark.get_mut(&mark)
        {
            marked.fault = Some(fault);
        }
    }

    fn send(&self, way: &Way, packet: &[u8]) -> std::result::Result<(), Fault> {
        match (&way.by, way.next_hop) {
            (By::Tunnel { port, source_v4, source_v6 }, next_hop) => {
                let sources = (*source_v4, *source_v6);
                let outer =
                    outer::around(packet, way.backend, *port, sources).ok_or_else(|| {
                        Fault::unknown("a packet of it cannot be put into another one")
                    })?;
                match next_hop {
                    None => self.sender.by_route(way.backend, &outer)?,
                    Some(Fixed { ifindex, mac }) => self.sender.by_link(ifindex, mac, &outer)?,
                }
            }
            (By::Ethernet, Some(Fixed { ifindex, mac })) => {
                self.sender.by_link(ifindex, mac, packet)?;
            }
            (By::Ethernet, None) => {
                let hop = routes::next_hops([way.backend])?.first().copied().flatten();
                let hop = hop.ok_or_else(|| Fault::failed("no route leads to it"))?;
                let mac = neighbours::mac(&hop)?.ok_or_else(|| {
                    Fault::failed(format!("the MAC address of {} is not known", hop.1))
                })?;
                self.sender.by_link(hop.0, mac, packet)?;
            }
        }
        Ok(())
    }
}

/// Where an IP packet goes.
fn destination(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => packet.get(16..20)?.first_chunk::<4>().map(|octets| IpAddr::from(*octets)),
        6 => packet.get(24..40)?.first_chunk::<16>().map(|octets| IpAddr::from(*octets)),
        _ => None,
    }
}

/// Services' addresses that this host takes no packets from where the answers come in (RFC 3704).
fn answers_that_are_dropped(ways: &BTreeSet<Way>) -> Vec<Error> {
    let mut problems = Vec::new();
    let mut told = BTreeSet::new();
    for way in ways.iter().filter(|way| way.to.is_ipv4() && way.backend.is_ipv4()) {
        let Ok(Some(routes::Way::By { ifindex, .. })) = routes::way(way.backend, 0) else {
            continue;
        };
        let dropped =
            told.insert((way.to, ifindex)).then(|| reverse_path::refused(way.to, ifindex));
        let Some(Ok(Some(setting))) = dropped else { continue };
        problems.push(
            Error::new(format!(
                "checks through {} are not answered: {setting} drops what comes from there, for no \
                 route back leads that way",
                way.to
            ))
            .hint(format!("`sysctl -w {setting}=2` where there is a default route, or 0")),
        );
    }
    problems
}

/// What a thread that panicked had locked is as good as before: nothing is left half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
