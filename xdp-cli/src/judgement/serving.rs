//! What a service does with a frame, where no kernel is asked: the service and its backend by the program's
//! own code, as long as nothing is remembered of any connection and no check and no command has said
//! anything; and the frame that leaves, by the code that rewrites it there.
//!
//! Only the kernel knows its routes. A frame that goes by them is taken to be redirected, and keeps its
//! MAC addresses here.

use xdp_common::filter::effect::Decision;
use xdp_common::filter::order::Scratch;
use xdp_common::filter::serve;
use xdp_common::filter::services::{self, Report, Serving, Work, asked as asks};
use xdp_common::filter::tracking::{ASK_ALL, Beside, NOT_ALL_UP};
use xdp_common::image::{Header, Line, Lines};
use xdp_common::lookup::services::{Backend, Front, Lost, Mode, Origin, State, answers};
use xdp_common::packet::icmp_error::{Problem, Reshape, may_answer, write};
use xdp_common::packet::rewrite::{FrameMut, Side, translate};
use xdp_common::packet::tunnel::{Grow, Outer, is_plain, put_into};
use xdp_common::packet::{NO_MACS, Network, Packet, echo, quotation};
use xdp_common::stats::verdict::{Reason, Verdict};

use crate::image::services::{backends, spare_word};

/// What becomes of a frame, and why it does not get there.
type Served = (Verdict, Option<Lost>);

const fn lost(why: Lost) -> Served {
    (Verdict::Drop, Some(why))
}

/// Has the service that takes the frame decide about it, and returns the frame as it leaves if that is
/// another one. Where no service takes it, it goes the way that was decided before.
pub(super) fn serve<L: Lines>(
    lines: &L,
    header: &Header,
    frame: &[u8],
    scratch: &mut Scratch,
) -> Option<Vec<u8>> {
    let Scratch { packet, serving, effect, onward: asked, .. } = scratch;
    let mut copied = Copied(frame.to_vec());
    match taken(lines, header, &mut copied, packet, *asked, serving) {
        Some(Some((verdict, lost))) => {
            effect.decision = Decision::new(verdict, Reason::Service);
            if serving.work != Work::Echo as u32 {
                serving.lost = lost.map_or(u32::MAX, |lost| lost as u32);
            }
            serving.to = 0;
            (verdict != Verdict::Drop && copied.0 != frame).then_some(copied.0)
        }
        Some(None) => None,
        None => {
            effect.decision = Decision::BROKEN;
            None
        }
    }
}

/// `Some(None)` where no service takes the frame; `None` is a corrupt image.
fn taken<L: Lines>(
    lines: &L,
    header: &Header,
    frame: &mut Copied,
    packet: &Packet,
    asked: u32,
    serving: &mut Serving,
) -> Option<Option<Served>> {
    serving.work = Work::None as u32;
    serving.report = Report::None as u32;
    serving.answer.problem = Problem::None as u32;
    let bytes = frame.0.as_slice();
    let is_icmp = asked & asks::ICMP != 0
        && is_plain(packet, serve::before(bytes, packet))
        && (quotation::is_error(packet) || echo::is_request(packet));
    if is_icmp {
        serve::find_of_icmp(lines, header, bytes, packet, serving)?;
    } else {
        serve::find(lines, header, bytes, packet, asked, serving)?;
    }
    if serving.work == Work::None as u32 {
        return Some(None);
    }
    if serving.work == Work::Forward as u32 {
        let mut beside = Untouched::of(lines, Front::of(lines.line(serving.front)?));
        if is_icmp {
            serve::choose_for_icmp(lines, &mut beside, header, serving)?;
        } else {
            serve::choose(lines, &mut beside, header, bytes, packet, serving)?;
        }
    }
    let [service, backend, _] = services::counters(lines, serving)?;
    (serving.service, serving.backend_counter) = (service, backend);
    if serving.report == Report::Error as u32 {
        if serve::translate_error(lines, frame, packet, serving).is_none() {
            serving.report = Report::Broken as u32;
        }
    } else if is_icmp && serving.work == Work::Forward as u32 {
        serve::leave_echo(service, serving);
        let is_answered = echo::turn_around(frame, packet).is_some();
        return Some(Some((if is_answered { Verdict::Tx } else { Verdict::Drop }, None)));
    }
    // What cannot be rewritten where it lies is dropped.
    let served = send(lines, header, frame, packet, serving).unwrap_or((Verdict::Drop, None));
    if serving.answer.problem == Problem::None as u32 {
        return Some(Some(served));
    }
    let length = frame.0.len() as u32;
    let is_told = may_answer(frame, packet, &serving.answer)
        && write(frame, packet, &serving.answer, length).is_some();
    Some(Some((if is_told { Verdict::Tx } else { Verdict::Drop }, served.1)))
}

/// Rewrites the frame, and says what becomes of it. `None` where it cannot be reached.
fn send<L: Lines>(
    lines: &L,
    header: &Header,
    frame: &mut Copied,
    packet: &Packet,
    serving: &mut Serving,
) -> Option<Served> {
    if serving.work == Work::Fragment as u32 {
        return Some(lost(Lost::Fragment));
    }
    if serving.report == Report::Expired as u32 {
        return Some(lost(Lost::TimeToLive));
    }
    if serving.report == Report::Broken as u32 {
        return None;
    }
    if serving.work == Work::Return as u32 {
        let origin = Origin::of(lines.line(serving.origin)?);
        // An error about a reply has been rewritten.
        if serving.report == Report::None as u32
            && !translate(frame, packet, &origin.rewritten(Side::Source))?
        {
            return Some(lost(Lost::TimeToLive));
        }
        return Some(leave(frame, packet, (origin.has_mac != 0).then_some(origin.mac)));
    }
    let front = Front::of(lines.line(serving.front)?);
    if serving.work == Work::Unserved as u32 {
        if front.pass_unserved != 0 {
            return Some((Verdict::Pass, Some(Lost::NoBackend)));
        }
        if front.answers & answers::UNREACHABLE != 0 && serving.report == Report::None as u32 {
            serving.answer.problem = Problem::NoSuchPort as u32;
            serving.answer.from = packet.destination;
        }
        return Some(lost(Lost::NoBackend));
    }
    forward(frame, header, packet, serving, (front, Backend::of(lines.line(serving.backend)?)))
}

fn forward(
    frame: &mut Copied,
    header: &Header,
    packet: &Packet,
    serving: &mut Serving,
    (front, backend): (&Front, &Backend),
) -> Option<Served> {
    let is_nat = front.mode == Mode::Nat as u8;
    let is_tunnel = !is_nat && front.mode != Mode::L2dsr as u8;
    let is_v6 = backend.is_v6 != 0;
    let inner = packet.parts.end.wrapping_sub(packet.parts.l3);
    let overhead = if is_tunnel { Outer::length(is_v6, front.gue_port) } else { 0 };
    let mtu = u32::from(front.mtu);
    if (is_nat || is_tunnel) && mtu != 0 && inner.wrapping_add(overhead) > mtu {
        if front.answers & answers::TOO_BIG != 0 && serving.report == Report::None as u32 {
            serving.answer.problem = Problem::TooBig as u32;
            serving.answer.mtu = mtu.saturating_sub(overhead);
            serving.answer.from = packet.destination;
        }
        return Some(lost(Lost::TooBig));
    }
    if is_nat && serving.report == Report::None as u32 {
        if !translate(frame, packet, &backend.rewritten(Side::Destination))? {
            return Some(lost(Lost::TimeToLive));
        }
    } else if is_tunnel {
        let outer = Outer {
            inner,
            inner_is_v6: packet.network == Network::IPV6,
            class: class_of(&frame.0, packet)?,
            destination: backend.address,
            flow: (serving.flow >> 32) as u32,
            port: front.gue_port,
        };
        put_into(frame, header, packet, &outer, is_v6)?;
    }
    Some(leave(frame, packet, (backend.has_mac != 0).then_some(backend.mac)))
}

/// The type of service, or traffic class, of a packet.
fn class_of(frame: &[u8], packet: &Packet) -> Option<u8> {
    let first = u32::from_be_bytes(*frame.get(packet.parts.l3 as usize..)?.first_chunk()?);
    let shift = if packet.network == Network::IPV6 { 20 } else { 16 };
    Some((first >> shift) as u8)
}

/// Sends a frame back to `mac`, and from the address that it was sent to; or on by the kernel's routes.
fn leave(frame: &mut Copied, packet: &Packet, mac: Option<[u8; 6]>) -> Served {
    let Some(mac) = mac else { return (Verdict::Redirect, None) };
    if packet.macs == NO_MACS {
        return (Verdict::Pass, Some(Lost::Slow));
    }
    let own = packet.destination_mac().to_be_bytes();
    frame.0[..6].copy_from_slice(&mac);
    frame.0[6..12].copy_from_slice(&own[2..]);
    (Verdict::Tx, None)
}

/// A copy of a frame, to be rewritten.
struct Copied(Vec<u8>);

impl FrameMut for Copied {
    type WindowMut<'a, const N: usize> = &'a mut [u8; N];

    fn window_mut<const N: usize>(&mut self, offset: u32) -> Option<&mut [u8; N]> {
        self.0.as_mut_slice().window_mut(offset)
    }
}

impl Grow for Copied {
    fn grow(&mut self, bytes: u32) -> bool {
        self.0.splice(..0, std::iter::repeat_n(0, bytes as usize));
        true
    }
}

impl Reshape for Copied {
    fn cut(&mut self, bytes: u32) -> bool {
        let left = self.0.len().checked_sub(bytes as usize);
        left.map(|left| self.0.truncate(left)).is_some()
    }
}

/// What lies beside an image that was just put in force: nothing is remembered, and nobody has said anything of
/// a backend but the configuration.
struct Untouched {
    service: u32,
    /// The ids of the words.
    spares: u32,
    spare_word: u64,
}

impl Untouched {
    fn of<L: Lines>(lines: &L, front: &Front) -> Self {
        let all = backends(lines, front);
        let up = all.iter().filter(|it| it.state == State::Up as u8).map(|it| it.counter);
        let up: Vec<u32> = up.collect();
        Self { service: front.counter, spares: front.spares, spare_word: spare_word(&up) }
    }
}

impl Beside for Untouched {
    fn state(&self, id: u32) -> u64 {
        if id == self.spares {
            return self.spare_word;
        }
        // Then the states of the configuration are looked at.
        if id == self.service { NOT_ALL_UP | ASK_ALL } else { 0 }
    }

    fn connections(&mut self, _: u32) -> Option<&mut Line> {
        None
    }

    fn secret(&self) -> u64 {
        0
    }

    fn now(&self) -> u64 {
        0
    }

    fn writes(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use xdp_common::filter::dynamic::NoEntries;
    use xdp_common::filter::tracking::By;
    use xdp_common::packet::LinkType;
    use xdp_common::stats::counter::CounterId;

    use super::*;
    use crate::config::load_with;
    use crate::frames::build::{Addresses, Description, Ethernet, Payload, build};
    use crate::image::Image;
    use crate::image::metadata::Metadata;
    use crate::judgement::answer::Answer;
    use crate::judgement::judge;

    struct Ruled {
        image: Image,
        metadata: Metadata,
    }

    impl Ruled {
        /// By a service of TCP port 80 of 192.0.2.10, with these keys and backends.
        fn by(keys: &str, backends: &[String]) -> Self {
            let mut text = format!(
                "[[service]]\nname = \"web\"\naddress = \"192.0.2.10\"\nprotocol = \"tcp\"\nport = 80\n\
                 {keys}\n"
            );
            for backend in backends {
                text += &format!("[[service.backend]]\n{backend}\n");
            }
            let loaded = load_with(Path::new("x.toml"), &|_: &Path| Ok(text.clone().into_bytes()));
            let ruleset =
                loaded.ruleset.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics.errors));
            let metadata = Metadata::unbound(&ruleset);
            let image = Image::build(&ruleset, 1, &metadata).unwrap();
            Self { image, metadata }
        }

        fn ask(&self, source_port: u16, flags: u8) -> Answer {
            let frame = request(source_port, flags);
            judge(&self.image, &NoEntries, LinkType::Ethernet, &frame)
        }

        /// The index of the backend that a frame goes to.
        fn backend(&self, answer: &Answer) -> Option<usize> {
            let served = answer.served.expect("the service takes it");
            let (_, backends) = self.metadata.services().next().unwrap();
            backends.iter().position(|it| served.backend == CounterId::new(it.number))
        }
    }

    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;

    fn request(source_port: u16, flags: u8) -> Vec<u8> {
        let addresses =
            Addresses::new("203.0.113.7".parse().unwrap(), "192.0.2.10".parse().unwrap());
        build(&Description {
            ethernet: Some(Ethernet {
                source_mac: [2, 0, 0, 0, 0, 1],
                destination_mac: [2, 0, 0, 0, 0, 2],
                vlan: None,
            }),
            addresses: addresses.unwrap(),
            payload: Payload::Tcp { ports: [source_port, 80], flags },
        })
        .unwrap()
    }

    fn backend(number: usize, more: &str) -> String {
        format!("address = \"10.0.0.{number}\"\n{more}")
    }

    #[test]
    fn a_frame_that_goes_by_routes_keeps_its_mac_addresses() {
        let routed = Ruled::by("mode = \"nat\"", &[backend(1, "port = 8080")]);
        let answer = routed.ask(5555, SYN);
        assert_eq!((answer.verdict, answer.reason), (Verdict::Redirect, Reason::Service));
        let (before, after) = (request(5555, SYN), answer.changed.unwrap());
        assert_eq!(before[..14], after[..14]);
        assert_eq!(after[30..34], [10, 0, 0, 1]);
        assert_eq!(after[36..38], 8080_u16.to_be_bytes());
        let mac = "next_hop = \"02:00:00:00:00:09\"";
        let answer = Ruled::by("mode = \"l2dsr\"", &[backend(1, mac)]).ask(5555, SYN);
        assert_eq!(answer.verdict, Verdict::Tx);
        let after = answer.changed.unwrap();
        assert_eq!(after[..12], [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 2]);
        assert_eq!(after[12..], before[12..]);
    }

    #[test]
    fn what_the_configuration_says_of_backends_counts() {
        let drains = [backend(1, "state = \"drain\""), backend(2, "")];
        let ruled = Ruled::by("mode = \"nat\"", &drains);
        let mut of_drained = 0;
        for port in 1000..1100 {
            let new = ruled.ask(port, SYN);
            assert_eq!(ruled.backend(&new), Some(1), "{port}");
            // What it has goes on: the table says whose it is.
            let old = ruled.ask(port, ACK);
            let by = old.served.unwrap().by;
            assert_eq!(by, Some(By::Hash), "{port}");
            of_drained += usize::from(ruled.backend(&old) == Some(0));
        }
        assert!((20..80).contains(&of_drained), "{of_drained}");
    }

    /// One of many is found even where none of the places that are tried is its own.
    #[test]
    fn the_only_backend_that_is_up_gets_everything() {
        let backends: Vec<String> = (1..=100)
            .map(|number| backend(number, if number == 77 { "" } else { "state = \"down\"" }))
            .collect();
        let ruled = Ruled::by("mode = \"dsr\"", &backends);
        for port in 1000..1050 {
            assert_eq!(ruled.backend(&ruled.ask(port, SYN)), Some(76), "{port}");
        }
    }

    #[test]
    fn without_a_backend_the_service_says_what_becomes_of_packets() {
        let down = [backend(1, "state = \"down\"")];
        for (keys, verdict) in [
            ("mode = \"nat\"", Verdict::Drop),
            ("mode = \"nat\"\nno_backend = \"pass\"", Verdict::Pass),
            ("mode = \"nat\"\nno_backend = \"reject\"", Verdict::Tx),
        ] {
            let answer = Ruled::by(keys, &down).ask(5555, SYN);
            assert_eq!(answer.verdict, verdict, "{keys}");
            let served = answer.served.unwrap();
            assert_eq!((served.by, served.lost), (None, Some(Lost::NoBackend)));
            // Destination unreachable, of a port, from the service to the client.
            let error = answer
                .changed
                .map(|error| (error[23], error[26..30].to_vec(), error[34..36].to_vec()));
            let expected = (1, vec![192, 0, 2, 10], vec![3, 3]);
            assert_eq!(error, (verdict == Verdict::Tx).then_some(expected), "{keys}");
        }
    }
}
