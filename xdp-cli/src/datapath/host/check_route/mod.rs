//! How a check's packets to a service's address get to one of its backends: the kernel hands them over
//! instead of sending them, and whoever checks sends them on as the program would.
//!
//! The check's sockets have a mark, a number for each backend. A rule looks up what has such a mark in a
//! table of its own, where the services' addresses lead to a tun device. So the kernel makes TCP's segments
//! and takes the answers, which come in like any other packet; only the way there is another one.
//!
//! Numbers and names, for the process that takes place N, 0 to 15 (several may check at a time):
//!
//! - `xdpctl-checksN`, the device. The kernel removes it when the process ends, however that happens, and
//!   with it the table's routes.
//! - Marks 0x78600000 to 0x7860ffff, and so on to 0x786fffff for place 15, with mask 0xffff0000.
//! - Table 78600 + N, and the rules of IPv4 and IPv6 that lead there, of priority 7860 and protocol 120. A
//!   process that is killed leaves these. They match nothing but those marks, and their table is empty.
//!   Whoever takes the place next removes them; so does [`clean_up`].

mod device;
mod rules;
mod send;

use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use self::device::Device;
pub use self::device::Handed;
pub use self::send::Sender;
use crate::datapath::error::{Context as _, Error, Result};
use crate::datapath::host::routes::{self, Way};

/// How many processes may have one at a time.
const PLACES: u32 = 16;
/// How many marks each has.
pub const MARKS: u32 = 1 << 16;

/// A place that is taken. It is given back when this is dropped.
pub struct CheckRoute {
    place: u32,
    device: Device,
}

/// Where a check's packets go, before the first is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leads {
    /// To the device.
    There,
    /// Nowhere: the service's address is this host's.
    Here,
    /// Somewhere else, or nowhere.
    Elsewhere,
}

impl CheckRoute {
    /// Takes the first place that nobody else uses.
    ///
    /// # Errors
    ///
    /// Where there is none, or the kernel refuses a device or a rule.
    pub fn take() -> Result<Self> {
        let mut why = None;
        for place in 0..PLACES {
            let Some(device) = Device::take(&name(place))? else { continue };
            match rules::put(place) {
                Ok(None) => {
                    // From here on, dropping it removes the rules.
                    let taken = Self { place, device };
                    taken.device.bring_up()?;
                    return Ok(taken);
                }
                Ok(Some(conflict)) => why = Some(conflict),
                Err(error) => {
                    let _ = rules::remove(place);
                    return Err(error).context("add a rule for the packets of checks");
                }
            }
        }
        let hint = "checks through services use marks 0x78600000 to 0x786fffff, tables 78600 to 78615, and \
                    the devices xdpctl-checks0 to xdpctl-checks15: take these out of other use";
        let why = why.unwrap_or_else(|| format!("{PLACES} other processes check already"));
        Err(Error::new(why).hint(hint))
    }

    /// The mark of a number under [`MARKS`].
    pub fn mark(&self, number: u16) -> u32 {
        rules::first_mark(self.place) | u32::from(number)
    }

    /// Has packets with a mark and to that address handed over. They come from `source` unless they have
    /// an address already.
    ///
    /// # Errors
    ///
    /// Where the kernel takes no such route.
    pub fn lead(&self, to: IpAddr, source: Option<IpAddr>) -> io::Result<()> {
        if to.is_ipv6() {
            self.device.enable_v6();
        }
        rules::put_route(self.place, self.device.ifindex, to, source)
    }

    /// Where packets with that mark to that address go. Where somebody took away the rule, it is put back.
    ///
    /// # Errors
    ///
    /// Where the kernel cannot be asked.
    pub fn leads(&self, to: IpAddr, mark: u32) -> io::Result<Leads> {
        let leads = || {
            Ok::<_, io::Error>(match routes::way(to, mark)? {
                Some(Way::Here) => Leads::Here,
                Some(Way::By { ifindex, .. }) if ifindex == self.device.ifindex => Leads::There,
                _ => Leads::Elsewhere,
            })
        };
        match leads()? {
            Leads::Elsewhere => {
                rules::put(self.place)?;
                leads()
            }
            leads => Ok(leads),
        }
    }

    /// The next packet that is handed over, cut to the buffer; `None` where there is none yet.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses to read.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Handed>> {
        self.device.receive(buffer)
    }

    /// What is readable as soon as there is a packet: each of them has to be waited for.
    pub fn readable(&self) -> [BorrowedFd<'_>; 2] {
        self.device.readable()
    }

    /// By what name others see it.
    pub fn name(&self) -> String {
        name(self.place)
    }
}

impl Drop for CheckRoute {
    fn drop(&mut self) {
        // While the device is there, nobody else takes the place.
        if let Err(error) = rules::remove(self.place) {
            log::warn!("cannot remove the rules that lead to {}: {error}", self.name());
        }
    }
}

/// Removes what processes left that were killed. Nothing is removed that one still uses.
///
/// # Errors
///
/// Where the kernel refuses it.
pub fn clean_up() -> Result<()> {
    let what = "remove what a killed `xdpctl health` left";
    for place in rules::places(PLACES).context(what)? {
        if let Some(_device) = Device::take(&name(place))? {
            rules::remove(place).context(what)?;
        }
    }
    Ok(())
}

fn name(place: u32) -> String {
    format!("xdpctl-checks{place}")
}
