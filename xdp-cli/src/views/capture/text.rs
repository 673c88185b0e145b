//! Prints a captured frame as a line.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use xdp_common::packet::LinkType;

use super::Frame;
use crate::notation::{LAST_SECOND, counted, plain};
use crate::views::explain::{Explained, Taken};

/// Writes a line: time, addresses and ports, length, verdict, reason, the list or rule, the entry.
///
/// # Errors
///
/// As of `out`.
pub fn write(out: &mut dyn Write, frame: &Frame<'_>) -> io::Result<()> {
    let Frame { explained, .. } = frame;
    let flow = match explained.flow.to_string() {
        flow if flow.is_empty() => without_flow(frame),
        flow => flow,
    };
    let Explained { verdict, reason, .. } = explained;
    let mut line = format!("{} {flow}, {}", time(frame.time), counted(frame.length.into(), "byte"));
    let _ = write!(line, ": {verdict}");
    if let Some(to) = &explained.to {
        let _ = write!(line, " to {}", plain(to));
    }
    let _ = write!(line, ": {reason}");
    decider(&mut line, explained);
    line.push('\n');
    out.write_all(line.as_bytes())
}

/// What a comment in a capture says, such as `xdpctl: drop blocklist spamhaus 203.0.113.0/24`.
pub fn comment(explained: &Explained) -> String {
    let Explained { verdict, reason, .. } = explained;
    let mut text = format!("xdpctl: {verdict} {reason}");
    decider(&mut text, explained);
    if let Some(to) = &explained.to {
        let _ = write!(text, "; to {}", plain(to));
    }
    text
}

/// The list or rule and the entry that decided, what only counted the frame, and what went wrong.
fn decider(text: &mut String, explained: &Explained) {
    for part in [&explained.rule, &explained.entry].into_iter().flatten() {
        let _ = write!(text, " {}", plain(part));
    }
    if let Some(taken) = &explained.taken {
        service(text, taken);
    }
    if let Some(cause) = explained.cause {
        let _ = write!(text, ": the frame {cause}");
    }
    if let Some(excepted) = &explained.excepted {
        let _ = write!(text, "; an exception by {}", plain(&excepted.rule));
        if let Some(entry) = &excepted.entry {
            let _ = write!(text, " {entry}");
        }
    }
    if let Some(why) = explained.unreadable {
        let _ = write!(text, "; its DNS question was not read: {why}");
    }
    if let Some(counted) = &explained.counted {
        let _ = write!(text, "; counted by {}", plain(&counted.rule));
        if let Some(entry) = &counted.entry {
            let _ = write!(text, " {entry}");
        }
    }
    if let Some(missing) = &explained.missing {
        let _ = write!(text, "; not redirected to {}", plain(missing));
    }
}

/// The backend of a service that a frame goes to or comes from, and what kept it from there.
fn service(text: &mut String, taken: &Taken) {
    if let Some(backend) = &taken.backend {
        let arrow = if taken.by == Some("reply") { "<-" } else { "->" };
        let _ = write!(text, " {arrow} {}", plain(backend));
    }
    if let Some(lost) = taken.lost {
        let _ = write!(text, "; {lost}");
    }
}

/// A frame without addresses and ports by what its Ethernet header says.
fn without_flow(frame: &Frame<'_>) -> String {
    let header = frame.data.first_chunk::<14>().filter(|_| frame.link_type == LinkType::Ethernet);
    let Some([to @ .., f0, f1, f2, f3, f4, f5, t0, t1]) = header else {
        return "-".to_owned();
    };
    let mac =
        |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":");
    let from = [*f0, *f1, *f2, *f3, *f4, *f5];
    format!("{} > {} ethertype 0x{t0:02x}{t1:02x}", mac(&from), mac(to))
}

/// As `timestamp` in `notation`, with microseconds.
fn time(time: SystemTime) -> String {
    let last = UNIX_EPOCH + Duration::from_secs(LAST_SECOND);
    humantime::format_rfc3339_micros(time.clamp(UNIX_EPOCH, last)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::explain::Counted;
    use crate::views::explain::flow::Flow;

    fn line(explained: &Explained, link_type: LinkType, data: &[u8], length: u32) -> String {
        let time = UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
        let frame = Frame { time, link_type, length, queue: 0, data, explained };
        let mut out = Vec::new();
        write(&mut out, &frame).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn listed() -> Explained {
        Explained {
            verdict: "drop",
            reason: "blocklist",
            rule: Some("spamhaus".to_owned()),
            entry: Some("203.0.113.0/24".to_owned()),
            flow: Flow {
                source: Some("203.0.113.7".parse().unwrap()),
                source_port: Some(4000),
                destination: Some("192.0.2.1".parse().unwrap()),
                destination_port: Some(53),
                protocol: Some("udp".to_owned()),
            },
            ..Explained::default()
        }
    }

    #[test]
    fn a_line_a_frame() {
        assert_eq!(
            line(&listed(), LinkType::Ethernet, &[], 1_514),
            "2023-11-14T22:13:20.123456Z 203.0.113.7:4000 > 192.0.2.1:53 udp, 1,514 bytes: drop: \
             blocklist spamhaus 203.0.113.0/24\n"
        );
        let other = Explained { verdict: "pass", reason: "default", ..Explained::default() };
        let frame = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xcc, 1, 2];
        assert_eq!(
            line(&other, LinkType::Ethernet, &frame, 60),
            "2023-11-14T22:13:20.123456Z 02:00:00:00:00:02 > 02:00:00:00:00:01 ethertype 0x88cc, \
             60 bytes: pass: default\n"
        );
        assert!(line(&other, LinkType::Raw, &frame, 1).contains("Z -, 1 byte: pass: default"));
    }

    #[test]
    fn comments_say_who_decided_and_what_went_wrong() {
        assert_eq!(comment(&listed()), "xdpctl: drop blocklist spamhaus 203.0.113.0/24");
        let redirected = Explained {
            verdict: "redirect",
            reason: "rule",
            rule: Some("dns".to_owned()),
            to: Some("eth1".to_owned()),
            counted: Some(Counted {
                rule: "trial".to_owned(),
                entry: Some("10.0.0.1/32".to_owned()),
                file: None,
                line: None,
            }),
            ..Explained::default()
        };
        assert_eq!(
            comment(&redirected),
            "xdpctl: redirect rule dns; counted by trial 10.0.0.1/32; to eth1"
        );
        let served = |backend: Option<&str>, by, lost| Explained {
            verdict: if lost == Some("no_backend") { "drop" } else { "tx" },
            reason: "service",
            rule: Some("web".to_owned()),
            taken: Some(Taken {
                service: "web".to_owned(),
                backend: backend.map(str::to_owned),
                by,
                lost,
            }),
            ..Explained::default()
        };
        let to = served(Some("b1"), Some("hash"), None);
        assert_eq!(comment(&to), "xdpctl: tx service web -> b1");
        let from = served(Some("b1"), Some("reply"), None);
        assert_eq!(comment(&from), "xdpctl: tx service web <- b1");
        let nobody = served(None, None, Some("no_backend"));
        assert_eq!(comment(&nobody), "xdpctl: drop service web; no_backend");
        let lost = Explained {
            verdict: "drop",
            reason: "rule",
            rule: Some("dns".to_owned()),
            missing: Some("eth1\u{1b}".to_owned()),
            ..Explained::default()
        };
        assert_eq!(comment(&lost), "xdpctl: drop rule dns; not redirected to eth1\\u{1b}");
        let cut = Explained {
            verdict: "drop",
            reason: "malformed",
            cause: Some("ends inside a header"),
            ..Explained::default()
        };
        assert_eq!(comment(&cut), "xdpctl: drop malformed: the frame ends inside a header");
    }
}
