//! Frames as the attached program gets them, and what becomes of each.
//!
//! While a [`Capture`] is hooked, the attached program goes on with another one, which puts what it
//! finds into a ring buffer (`xdp-ebpf/src/bin/capture.rs`). Nothing of it is pinned: the kernel
//! takes that program away when this process ends, however it ends (`xdp_common::capture::slot`).
//! Where the ring buffer is full, frames are lost to the capture and counted, and nothing else
//! happens to them.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::time::{ClockId, clock_gettime};
use xdp_common::capture::{Counts, Record, Settings, map, slot};
use xdp_common::filter::syn_cookie::Outcome;
use xdp_common::packet::dns::Unreadable;
use xdp_common::packet::{LinkType, NO_MACS};

use crate::datapath::attached::attachment::Attachment;
use crate::datapath::error::{Context, Error, Result};
use crate::datapath::maps::handles::{self, Maps};
use crate::datapath::maps::ring::Ring;
use crate::datapath::program::load;
use crate::datapath::sys::bpf::{self, PerCpuValues};
use crate::judgement::answer::{Answer, Served};
use crate::notation::plain;
use xdp_common::stats::verdict::{Reason, Verdict};

/// How long is waited for the kernel to empty a slot that nobody has open any more.
const SOON: Duration = Duration::from_secs(1);
/// Between two looks.
const MOMENT: Duration = Duration::from_millis(1);
/// How long a worker that has begun may take for the rest, on a machine that is busy.
const MOMENTS: Duration = Duration::from_millis(10);

/// Frames of one attachment on their way to this process.
pub struct Capture {
    maps: Vec<(&'static str, OwnedFd)>,
    ring: Ring,
    place: Option<Place>,
}

/// Where a capture has joined the filter.
struct Place {
    /// The filter's map that the program is in. The kernel empties it when it is closed.
    slot: OwnedFd,
    program: OwnedFd,
    program_id: u32,
}

/// Whether a capture is hooked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hooked {
    There,
    /// The program has no places for captures: another version's.
    NoPlace,
    /// Both places are taken.
    Full,
}

/// A captured frame, without its bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Captured {
    /// When the filter was done with it.
    pub time: SystemTime,
    /// Length of the frame with all its buffers, in bytes.
    pub length: u32,
    /// The receive queue that it came in by.
    pub queue: u32,
    /// The generation in force then. If a reload came since the frame was judged, it was judged by
    /// the one before.
    pub generation: u64,
    pub answer: Answer,
}

impl Capture {
    /// Makes the maps. No frame is captured before [`Capture::hook`].
    ///
    /// # Errors
    ///
    /// Where the kernel refuses something.
    pub fn new(settings: &Settings) -> Result<Self> {
        let what = "make the maps of the capture";
        let mut maps = Vec::new();
        for (name, definition) in map::ALL {
            maps.push((name, handles::create(definition, "xdpctl_capture").context(what)?));
        }
        let ring = find(&maps, map::RING)?.try_clone().and_then(Ring::open).context(what)?;
        let capture = Self { maps, ring, place: None };
        capture.set(settings)?;
        Ok(capture)
    }

    /// Exchanges the settings, for frames from now on.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses it.
    pub fn set(&self, settings: &Settings) -> Result<()> {
        let Settings { snaplen, sample, verdicts, reasons, counter } = *settings;
        let words = [snaplen, sample, verdicts, reasons, counter.0];
        let bytes = words.map(u32::to_ne_bytes).concat();
        let updated = bpf::update(find(&self.maps, map::SETTINGS)?, 0, &bytes);
        updated.context("say which frames to capture")
    }

    /// Has the attached program go on with the capture's. No other capture may be hooked at the same
    /// time: call it with the namespace locked.
    ///
    /// # Errors
    ///
    /// Where the attached program is on a NIC or another version's, has two captures already, or the
    /// kernel refuses it.
    pub fn hook(&mut self, attachment: &Attachment) -> Result<()> {
        let (filter, _) = attachment.readable()?;
        match self.hook_to(filter, attachment.program_id())? {
            Hooked::There => Ok(()),
            Hooked::NoPlace => Err(attachment.unreadable()),
            Hooked::Full => {
                let name = plain(&attachment.name());
                Err(Error::new(format!("two captures run on {name} already"))
                    .hint("end one of them (Ctrl-C): there is room for two"))
            }
        }
    }

    /// Whether the attached program has a place for another capture now. [`Capture::hook`] may
    /// find another one there first.
    ///
    /// # Errors
    ///
    /// Where the kernel does not say it.
    pub fn has_room(attachment: &Attachment) -> Result<bool> {
        let look = || -> io::Result<bool> {
            for slot in slots(attachment.program_id())?.into_iter().flatten() {
                if occupant(&slot.map)?.is_none() {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        look().context("look for the capture's place in the attached program")
    }

    /// As [`Capture::hook`], to the filter with these maps and that program's id.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses it.
    pub fn hook_to(&mut self, filter: &Maps, program_id: u32) -> Result<Hooked> {
        self.unhook();
        let what = "look for the capture's place in the attached program";
        let slots = slots(program_id).context(what)?;
        let Some(mut slots) = slots else { return Ok(Hooked::NoPlace) };
        let Some(place) = free(&slots).context(what)? else { return Ok(Hooked::Full) };
        let shared = filter.iter().map(|(map, handle)| (map.name(), handle.as_fd()));
        let own = self.maps.iter().map(|(name, handle)| (*name, handle.as_fd()));
        let those = slot::ALL.iter().zip(&slots).map(|((name, _), slot)| (*name, slot.map.as_fd()));
        let maps: Vec<(&str, BorrowedFd<'_>)> = shared.chain(own).chain(those).collect();
        let (_, name) = slot::ALL[place];
        let program = load::load_capture(name, &maps)
            .map_err(|error| Error::new(format!("cannot load the capture's program: {error}")))?;
        drop(maps);
        let what = "have the attached program go on with the capture's";
        let slot = settled(slots.swap_remove(place), &program).context(what)?;
        let program_id = bpf::program_info(&program).context(what)?.id;
        let place = Place { slot, program, program_id };
        place.put_to_stay().context(what)?;
        self.place = Some(place);
        Ok(Hooked::There)
    }

    /// Has the attached program go on with the capture's again, where the kernel took it away (see
    /// [`settled`]). To be called now and then.
    ///
    /// # Errors
    ///
    /// Where another capture has its place, or the kernel refuses it.
    pub fn stay(&self) -> Result<()> {
        let Some(place) = &self.place else { return Ok(()) };
        let what = "have the attached program go on with the capture's";
        match occupant(&place.slot).context(what)? {
            None => place.put().context(what),
            Some(program) if program == place.program_id => Ok(()),
            Some(_) => Err(Error::new("another capture took the place of this one".to_owned())
                .hint("start it again")),
        }
    }

    /// Takes the program away. What was captured can still be read.
    pub fn unhook(&mut self) {
        let Some(place) = self.place.take() else { return };
        if occupant(&place.slot).is_ok_and(|program| program == Some(place.program_id)) {
            // The kernel does it too, soon after the slot is closed.
            let _ = bpf::delete(&place.slot, 0);
        }
    }

    /// The oldest frame that was captured and not taken yet; its bytes replace those in `data`.
    /// They are as the frame came in, but for a DNS query that was answered: that is its answer.
    pub fn next(&mut self, link_type: LinkType, data: &mut Vec<u8>) -> Option<Captured> {
        loop {
            let read = self.ring.take(|bytes| {
                let record = record(bytes)?;
                let rest = bytes.get(size_of::<Record>()..)?;
                data.clear();
                data.extend_from_slice(rest.get(..record.captured as usize)?);
                let is_answered = record.effect.is_answered();
                if record.malformed == 0 && link_type == LinkType::Ethernet && !is_answered {
                    restore(&record, data);
                }
                Some(captured(&record))
            });
            match read {
                // Nothing but the capture's own program can have put something else there.
                Some(None) => {}
                Some(found) => return found,
                None => return None,
            }
        }
    }

    /// Waits until there is a frame, nobody reads `output` any more, or the time is over. Returns
    /// whether nobody reads it.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses to wait.
    pub fn wait(&self, output: BorrowedFd<'_>, most: Duration) -> Result<bool> {
        let mut fds = [
            PollFd::new(self.ring.as_fd(), PollFlags::POLLIN),
            PollFd::new(output, PollFlags::empty()),
        ];
        let most = PollTimeout::try_from(most).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, most) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(false),
            Err(error) => return Err(io::Error::from(error)).context("wait for frames"),
        }
        let [_, output] = fds;
        let closed = PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL;
        Ok(output.revents().is_some_and(|seen| seen.intersects(closed)))
    }

    /// What all CPUs have counted since the capture began.
    ///
    /// # Errors
    ///
    /// Where the kernel does not give it.
    pub fn counts(&self) -> Result<Counts> {
        let read = || -> io::Result<Counts> {
            let mut values = PerCpuValues::zeroed(size_of::<Counts>(), 1)?;
            let map = find(&self.maps, map::COUNTS).map_err(io::Error::other)?;
            values.lookup(map, 0)?.ok_or(io::ErrorKind::NotFound)?;
            let mut sum = Counts::default();
            for share in values.shares() {
                let (words, _) = share.as_chunks::<8>();
                let word = |place: usize| words.get(place).map_or(0, |it| u64::from_ne_bytes(*it));
                sum.seen += word(0);
                sum.matched += word(1);
                sum.lost += word(2);
            }
            Ok(sum)
        };
        read().context("read the capture's counters")
    }
}

/// One of the filter's maps through which captures join it.
struct Slot {
    id: u32,
    map: OwnedFd,
}

/// The maps through which captures join a program, by their names; none where it has none.
///
/// # Errors
///
/// Where the kernel does not say it.
pub fn places(program: u32) -> io::Result<Vec<(&'static str, OwnedFd)>> {
    let slots = slots(program)?.unwrap_or_default();
    Ok(slot::ALL.iter().zip(slots).map(|((name, _), slot)| (*name, slot.map)).collect())
}

/// The maps through which captures join a program, by their places in [`slot::ALL`]; `None` where it
/// has none, as an earlier version's.
fn slots(program: u32) -> io::Result<Option<Vec<Slot>>> {
    let info = bpf::program_info(bpf::program_by_id(program)?)?;
    let mut found = [const { None }; slot::ALL.len()];
    for id in info.map_ids {
        let map = bpf::map_by_id(id)?;
        let info = bpf::map_info(&map)?;
        let is = |(name, _): &(&str, &str)| {
            info.name == *name && info.signature == slot::DEFINITION.signature
        };
        if let Some(place) = slot::ALL.iter().position(is) {
            found[place] = Some(Slot { id, map });
        }
    }
    Ok(found.into_iter().collect())
}

/// The place of a slot without a program. One that a killed capture has left is emptied soon.
fn free(slots: &[Slot]) -> io::Result<Option<usize>> {
    let deadline = Instant::now() + SOON;
    loop {
        for (place, slot) in slots.iter().enumerate() {
            if occupant(&slot.map)?.is_none() {
                return Ok(Some(place));
            }
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(MOMENT);
    }
}

/// The id of the program in a slot.
fn occupant(slot: &OwnedFd) -> io::Result<Option<u32>> {
    let mut id = [0; 4];
    Ok(bpf::lookup(slot, 0, &mut id)?.map(|()| u32::from_ne_bytes(id)))
}

/// Opens a slot anew so that it keeps what is put there from now on.
///
/// The kernel empties it in a moment of leisure, by a worker, after nobody has had it open any more: and
/// each command that looks at the attachment opens and closes it. What is put there meanwhile would be
/// lost. So the program is put there to be emptied: once it is gone, the worker is done, and as long
/// as the slot is open, it has no more to do. Since the slot has been open while the program was loaded,
/// the worker has long done what others had left to it.
///
/// Where the slot is not emptied, another process has it open, such as one that looks at all maps
/// of the system. As long as both have it open, the kernel does not empty it either. Or the worker
/// has not come to it yet: then [`Place::put_to_stay`] or [`Capture::stay`] mends that.
fn settled(slot: Slot, program: &OwnedFd) -> io::Result<OwnedFd> {
    let Slot { id, map } = slot;
    bpf::update(map, 0, &program.as_raw_fd().to_ne_bytes())?;
    let deadline = Instant::now() + SOON;
    loop {
        let slot = bpf::map_by_id(id)?;
        let soon = Instant::now() + SOON / 4;
        while Instant::now() < soon {
            if occupant(&slot)?.is_none() {
                return Ok(slot);
            }
            thread::sleep(MOMENT);
        }
        if Instant::now() >= deadline {
            return Ok(slot);
        }
        // Another command may have had it open when it was closed here. It is closed once more.
    }
}

impl Place {
    fn put(&self) -> io::Result<()> {
        bpf::update(&self.slot, 0, &self.program.as_raw_fd().to_ne_bytes())
    }

    /// Puts it there until it is still there a little later: a worker that had begun before
    /// [`settled`] may come to the slot after it.
    fn put_to_stay(&self) -> io::Result<()> {
        let deadline = Instant::now() + SOON;
        loop {
            self.put()?;
            thread::sleep(MOMENTS);
            if occupant(&self.slot)?.is_some() || Instant::now() >= deadline {
                return Ok(());
            }
        }
    }
}

/// Writes the MAC addresses back that the filter read, since it may have written others. A frame that a
/// service took stays as it is: more of it was changed than that.
fn restore(record: &Record, data: &mut [u8]) {
    let [first, second] = record.packet.macs;
    if record.packet.macs != NO_MACS
        && record.effect.decision.reason() != Reason::Service as u32
        && let Some(addresses) = data.first_chunk_mut::<12>()
    {
        addresses[..8].copy_from_slice(&first.to_be_bytes());
        addresses[8..].copy_from_slice(&(second as u32).to_be_bytes());
    }
}

/// The program that an attachment's link has now; `None` where the link is on no interface any more.
///
/// # Errors
///
/// Where the kernel does not say it.
pub fn program_now(attachment: &Attachment) -> Result<Option<u32>> {
    // The link is not held: it has to end when whoever attached it wants that.
    let link = match bpf::link_by_id(attachment.link_id()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.context("look at the link")?,
    };
    let info = bpf::link_info(link).context("look at the link")?;
    Ok((info.ifindex != 0).then_some(info.program_id))
}

fn find<'m>(maps: &'m [(&'static str, OwnedFd)], name: &str) -> Result<&'m OwnedFd> {
    let found = maps.iter().find(|(known, _)| *known == name).map(|(_, map)| map);
    found.ok_or_else(|| Error::new(format!("the capture has no map {name}")))
}

fn record(bytes: &[u8]) -> Option<Record> {
    if bytes.len() < size_of::<Record>() {
        return None;
    }
    // SAFETY: there are as many bytes as the structure has, which is made of integers and of
    // transparent wrappers of integers: any bytes are a valid value.
    Some(unsafe { bytes.as_ptr().cast::<Record>().read_unaligned() })
}

fn captured(record: &Record) -> Captured {
    let effect = &record.effect;
    let broken = (Verdict::Aborted, Reason::Default);
    let (verdict, reason) = effect.decision.parts().unwrap_or(broken);
    Captured {
        time: wall_clock(record.time),
        length: record.length,
        queue: record.queue,
        generation: record.generation,
        answer: Answer {
            verdict,
            reason,
            list: effect.list,
            domain: effect.domain,
            unreadable: Unreadable::of(effect.unreadable),
            entry: effect.entry,
            action: (reason == Reason::Rule).then_some(effect.action),
            rule: effect.rule,
            // A record of a capture leaves them out.
            limits: Vec::new(),
            reply: None,
            syn_cookie: Outcome::of(effect),
            served: Served::of(verdict, reason, record.told),
            packet: (record.malformed == 0).then_some(record.packet),
            changed: None,
        },
    }
}

/// The wall clock's time, of nanoseconds of CLOCK_TAI. These two are the same in all time
/// namespaces, and are whole seconds apart.
fn wall_clock(tai: u64) -> SystemTime {
    let now = |clock| clock_gettime(clock).map_or(Duration::ZERO, Duration::from);
    let (wall, atomic) = (now(ClockId::CLOCK_REALTIME), now(ClockId::CLOCK_TAI));
    // Rounded: both clocks are read one after the other.
    let ahead = (atomic.saturating_sub(wall) + Duration::from_millis(500)).as_secs();
    UNIX_EPOCH + Duration::from_nanos(tai).saturating_sub(Duration::from_secs(ahead))
}
