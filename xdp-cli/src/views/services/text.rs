//! Services as tables.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::{Backend, Service};
use crate::notation::{duration, grouped, memory, plain};

const TITLES: [&str; 7] = ["BACKEND", "ADDRESS", "STATE", "SHARE", "PACKETS", "BYTES", "ENTRIES"];
/// The first column that is aligned to the right.
const NUMBERS: usize = 3;

/// Writes a table for each service, below a line about it.
pub fn write(out: &mut dyn Write, all: &[Service]) -> io::Result<()> {
    if all.is_empty() {
        writeln!(out, "no services")?;
        return out.flush();
    }
    let mut text = String::new();
    for (nth, service) in all.iter().enumerate() {
        if nth > 0 {
            text.push('\n');
        }
        let _ = writeln!(text, "{}", headline(service));
        let counts = [
            ("lost for want of a backend", service.lost.no_backend),
            ("too big", service.lost.too_big),
            ("without a route or its MAC address", service.lost.no_route),
            ("fragments", service.lost.fragment),
            ("at the end of their time to live", service.lost.ttl),
            ("by way of the stack", service.slow),
        ];
        let counts: Vec<String> = counts
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(what, count)| format!("{} {what}", grouped(*count)))
            .collect();
        if !counts.is_empty() {
            let _ = writeln!(text, "  {}", counts.join(", "));
        }
        if service.changed_places > 0 {
            let _ = writeln!(
                text,
                "  {} of {} places of its table had another backend before",
                grouped(service.changed_places as u64),
                grouped(service.table as u64)
            );
        }
        if service.panic {
            text.push_str("  too few backends are up: what checks found is disregarded\n");
        }
        if let Some(seconds) = service.unchecked_for_seconds {
            let _ = writeln!(
                text,
                "  nobody has checked its backends for {}: `systemctl enable --now xdpctl-health` has them checked",
                duration(seconds)
            );
        }
        table(&mut text, service);
    }
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn headline(service: &Service) -> String {
    let mut text = format!("{}: {}", plain(&service.name), service.mode);
    if !service.address.is_empty() {
        let ports = match service.port.is_empty() {
            true => "all ports".to_owned(),
            false => format!("port {}", service.port.join(", ")),
        };
        let protocols = service.protocol.join(", ");
        let _ = write!(text, ", {} {protocols} {ports}", service.address.join(", "));
    }
    let _ = write!(
        text,
        ", {} packets, {}, {} new connections",
        grouped(service.packets),
        memory(service.bytes),
        grouped(service.new)
    );
    text
}

fn table(text: &mut String, service: &Service) {
    let rows: Vec<[String; 7]> =
        service.backends.iter().map(|backend| row(backend, service.panic)).collect();
    let widths: [usize; 7] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([TITLES[column].len()]).max().unwrap_or(0)
    });
    for row in std::iter::once(&TITLES.map(str::to_owned)).chain(&rows) {
        let mut line = String::from(" ");
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            let _ = match column < NUMBERS {
                true => write!(line, " {cell:width$} "),
                false => write!(line, " {cell:>width$} "),
            };
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
}

/// `panics`: what checks found is disregarded.
fn row(backend: &Backend, panics: bool) -> [String; 7] {
    let address = match (&backend.address, backend.port) {
        (Some(address), Some(port)) if address.contains(':') => format!("[{address}]:{port}"),
        (Some(address), Some(port)) => format!("{address}:{port}"),
        (Some(address), None) => address.clone(),
        (None, _) => "-".to_owned(),
    };
    let mut state = backend.state.to_owned();
    state.push_str(match backend.by {
        "health" if panics => ", checks disregarded",
        "health" => ", by checks",
        "command" => ", by command",
        _ => "",
    });
    if let Some(check) = &backend.check
        && backend.by == "health"
        && check.last == "failed"
    {
        let why = check.why.as_deref().map(|why| format!(": {}", plain(why))).unwrap_or_default();
        let _ = write!(state, " (failed{why})");
    }
    if let Some(seconds) = backend.expires_in_seconds {
        let _ = write!(state, ", {} left", duration(seconds));
    }
    if let Some(note) = &backend.note {
        let _ = write!(state, " ({})", plain(note));
    }
    [
        plain(&backend.name),
        address,
        state,
        format!("{:.1}%", backend.share * 100.0),
        grouped(backend.packets),
        memory(backend.bytes),
        grouped(backend.entries),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::{Check, Losses};
    use super::*;

    #[test]
    fn what_checks_found_is_shown_with_its_reason() {
        let backend = |name: &str, state, by, last, why: Option<&str>| Backend {
            name: name.to_owned(),
            address: Some("10.0.0.1".to_owned()),
            port: Some(80),
            weight: Some(1),
            state,
            by,
            expires_in_seconds: None,
            note: None,
            share: 0.5,
            packets: 1,
            bytes: 60,
            entries: 0,
            next_hop: None,
            check: Some(Check {
                last,
                since: None,
                rtt_ms: None,
                why: why.map(str::to_owned),
                at: None,
            }),
        };
        let shown_unchecked = |panic, unchecked, backends| {
            let service = Service {
                name: "web".to_owned(),
                mode: "nat".to_owned(),
                address: Vec::new(),
                protocol: Vec::new(),
                port: Vec::new(),
                table: 251,
                tracking: None,
                changed_places: 0,
                entries: 0,
                packets: 2,
                bytes: 120,
                new: 2,
                lost: Losses { no_backend: 0, too_big: 0, no_route: 0, fragment: 0, ttl: 0 },
                slow: 0,
                panic,
                backends,
                unchecked_for_seconds: unchecked,
            };
            let mut out = Vec::new();
            write(&mut out, &[service]).unwrap();
            String::from_utf8(out).unwrap()
        };
        let shown = |panic, backends| shown_unchecked(panic, None, backends);
        let refused = Some("connection refused\u{1b}[2J");
        let down = shown(
            false,
            vec![
                backend("b1", "up", "health", "ok", None),
                backend("b2", "down", "health", "failed", refused),
                backend("b3", "up", "command", "failed", refused),
            ],
        );
        assert!(down.contains(" up, by checks  "), "{down}");
        assert!(down.contains("down, by checks (failed: connection refused\\u{1b}[2J)"), "{down}");
        assert!(down.contains(" up, by command  "), "{down}");
        let panics = shown(true, vec![backend("b1", "up", "health", "failed", None)]);
        assert!(panics.contains(" up, checks disregarded (failed)  "), "{panics}");
        assert!(!panics.contains("by checks"), "{panics}");
        let stale = vec![backend("b1", "up", "health", "ok", None)];
        let stale = shown_unchecked(false, Some(200), stale);
        assert!(
            stale.contains("\n  nobody has checked its backends for 3m 20s: `systemctl "),
            "{stale}"
        );
    }
}
