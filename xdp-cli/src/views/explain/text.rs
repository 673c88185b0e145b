//! Prints answers as lines for people.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::{Explained, Limited, Taken, Unjudged};
use crate::notation::{duration, plain};

/// Writes one answer. For a frame of a capture, each line begins with the number of the frame, and
/// the first line goes on with its addresses and ports.
///
/// # Errors
///
/// As of `out`.
pub fn write(out: &mut dyn Write, explained: &Explained) -> io::Result<()> {
    let Explained { verdict, reason, rule, entry, to, file, line, counted, .. } = explained;
    let number = explained.frame.map(|number| format!("{number}: ")).unwrap_or_default();
    let flow = match explained.flow.to_string() {
        flow if explained.frame.is_some() && !flow.is_empty() => format!("{flow}: "),
        _ => String::new(),
    };
    let mut text = format!("{number}{flow}{verdict}");
    if let Some(to) = to {
        let _ = write!(text, " to {}", plain(to));
    } else if *verdict == "redirect" && explained.taken.is_some() {
        text.push_str(" by the kernel's routes");
    }
    let _ = write!(text, ": {reason}");
    decider(&mut text, rule.as_deref(), entry.as_deref());
    place(&mut text, file.as_deref(), *line);
    if let Some(taken) = &explained.taken {
        service(&mut text, taken, *verdict == "tx");
    }
    if let Some(reply) = &explained.reply {
        let _ = write!(text, ": {reply}");
    }
    if let Some(owner) = &explained.owner {
        let _ = write!(text, " of {}", plain(owner));
    }
    life(&mut text, explained);
    if let (Some(prefix), Some(seconds)) = (&explained.blocks, explained.for_seconds) {
        let _ = write!(text, ", which blocks {prefix} for {}", duration(seconds));
    }
    text.push_str(match explained.syn_cookie {
        Some("answered") => ": answered with a SYN cookie",
        Some("not_needed") => ": the kernel takes it without a SYN cookie",
        Some("no_listener") => ": nobody listens there to answer with a SYN cookie",
        Some("unknown_address") => {
            ": this host did not have the address when the ruleset was loaded: no SYN cookie"
        }
        Some(_) => ": it cannot be answered with a SYN cookie",
        None => "",
    });
    if let Some(cause) = explained.cause {
        let _ = write!(text, ": the frame {cause}");
    }
    if let Some(admitted) = &explained.admitted {
        let _ = write!(text, "; let in by {}", admitted.reason);
        decider(&mut text, admitted.rule.as_deref(), admitted.entry.as_deref());
        place(&mut text, admitted.file.as_deref(), admitted.line);
    }
    if let Some(counted) = counted {
        text.push_str("; counted by");
        decider(&mut text, Some(&counted.rule), counted.entry.as_deref());
        place(&mut text, counted.file.as_deref(), counted.line);
    }
    if let Some(excepted) = &explained.excepted {
        text.push_str("; an exception by");
        decider(&mut text, Some(&excepted.rule), excepted.entry.as_deref());
        place(&mut text, excepted.file.as_deref(), excepted.line);
    }
    for Limited { rule, over, rate, per, left, burst, unit } in &explained.limits {
        let side = if *over { "over" } else { "under" };
        let per = if per == "rule" { String::new() } else { format!(" per {per}") };
        let rule = plain(rule);
        let _ =
            write!(text, "; {side} the {rate}{per} of \"{rule}\": {left} of {burst} {unit} left");
    }
    if let Some(why) = explained.unreadable {
        let what = match why {
            "label" => "it has a compressed or unknown label",
            "questions" => "there is more than one",
            _ => "it is cut short or too long",
        };
        let _ = write!(text, "; its DNS question was not read: {what}");
    }
    if let Some(missing) = &explained.missing {
        let _ = write!(text, "; {} is not there to redirect to", plain(missing));
    }
    if let Some(captured) = explained.captured {
        let _ = write!(text, "; only {captured} bytes were captured");
    }
    if let Some(output) = &explained.output {
        let _ = write!(text, "\n{number}  goes on as {output}");
    }
    text.push('\n');
    out.write_all(text.as_bytes())
}

/// Writes why there is no answer.
///
/// # Errors
///
/// As of `out`.
pub fn write_unjudged(out: &mut dyn Write, unjudged: &Unjudged) -> io::Result<()> {
    writeln!(out, "{}: error: {}", unjudged.frame, plain(&unjudged.error))
}

fn decider(text: &mut String, rule: Option<&str>, entry: Option<&str>) {
    if let Some(rule) = rule {
        let _ = write!(text, " \"{}\"", plain(rule));
    }
    if let Some(entry) = entry {
        let _ = write!(text, " {entry}");
    }
}

/// Appends which backend a service chooses, and what keeps the frame from it.
fn service(text: &mut String, taken: &Taken, is_sent: bool) {
    if let Some(backend) = &taken.backend {
        let backend = plain(backend);
        let _ = match taken.by {
            Some("reply") => write!(text, ", a reply of backend \"{backend}\""),
            by => write!(text, ", backend \"{backend}\" {}", by.map_or("", chosen)),
        };
    }
    let why = match taken.lost {
        Some("no_backend") => "no backend is up",
        Some("too_big") => "it is too big to go there",
        Some("no_route") => "the kernel knows no way to it (no route, or no MAC address yet)",
        Some("fragment") => "fragments are not served",
        Some("ttl") => "its time to live is over",
        Some("slow") => "the kernel's stack has to send it on",
        Some(other) => other,
        None => {
            if is_sent && taken.backend.is_none() {
                text.push_str(", which answers the echo");
            }
            return;
        }
    };
    let _ = write!(text, ": {why}");
    if is_sent {
        text.push_str(", and its sender is told");
    }
}

/// How a backend was chosen, worded to follow it.
fn chosen(by: &str) -> &str {
    match by {
        "hash" => "by the table",
        "entry" => "by what is remembered of its connection",
        "before" => "by the table of before the last change",
        "substitute" => "in place of one that is not up",
        other => other,
    }
}

/// Appends when a run-time entry expires, and its note.
fn life(text: &mut String, explained: &Explained) {
    let end = explained.expires_in_seconds.map(|left| format!("expires in {}", duration(left)));
    match (end, explained.note.as_deref().map(plain)) {
        (None, None) => {}
        (Some(end), None) => text.extend([" (", &end, ")"]),
        (None, Some(note)) => text.extend([" (", &note, ")"]),
        (Some(end), Some(note)) => text.extend([" (", &end, ": ", &note, ")"]),
    }
}

fn place(text: &mut String, file: Option<&str>, line: Option<u32>) {
    if let (Some(file), Some(line)) = (file, line) {
        let _ = write!(text, " ({}:{line})", plain(file));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(explained: &Explained) -> String {
        let mut out = Vec::new();
        write(&mut out, explained).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_a_service_does() {
        let served = |verdict, backend: Option<&str>, by, lost| {
            let taken =
                Taken { service: "web".to_owned(), backend: backend.map(str::to_owned), by, lost };
            written(&Explained {
                verdict,
                reason: "service",
                rule: Some("web".to_owned()),
                to: (verdict == "tx").then(|| "eth0".to_owned()),
                taken: Some(taken),
                ..Explained::default()
            })
        };
        assert_eq!(
            served("tx", Some("b1"), Some("hash"), None),
            "tx to eth0: service \"web\", backend \"b1\" by the table\n"
        );
        assert_eq!(
            served("redirect", Some("b1"), Some("hash"), None),
            "redirect by the kernel's routes: service \"web\", backend \"b1\" by the table\n"
        );
        assert_eq!(
            served("tx", Some("b1"), Some("reply"), None),
            "tx to eth0: service \"web\", a reply of backend \"b1\"\n"
        );
        assert_eq!(
            served("pass", Some("b1"), Some("entry"), Some("slow")),
            "pass: service \"web\", backend \"b1\" by what is remembered of its connection: the \
             kernel's stack has to send it on\n"
        );
        assert_eq!(
            served("drop", None, None, Some("no_backend")),
            "drop: service \"web\": no backend is up\n"
        );
    }

    #[test]
    fn the_end_and_the_note_of_what_decides() {
        let ban = |expires_in_seconds, note: Option<&str>| {
            written(&Explained {
                verdict: "drop",
                reason: "banned",
                entry: Some("203.0.113.7/32".to_owned()),
                expires_in_seconds,
                note: note.map(str::to_owned),
                ..Explained::default()
            })
        };
        assert_eq!(ban(None, None), "drop: banned 203.0.113.7/32\n");
        assert_eq!(ban(Some(600), None), "drop: banned 203.0.113.7/32 (expires in 10m)\n");
        assert_eq!(
            ban(Some(61), Some("ssh, 5 times\u{1b}[2J")),
            "drop: banned 203.0.113.7/32 (expires in 1m 1s: ssh, 5 times\\u{1b}[2J)\n"
        );
        assert_eq!(ban(None, Some("twice")), "drop: banned 203.0.113.7/32 (twice)\n");
        let by_rule = |reason, entry: Option<&str>, blocks: Option<&str>| {
            written(&Explained {
                verdict: "drop",
                reason,
                rule: entry.is_none().then(|| "flood".to_owned()),
                entry: entry.map(str::to_owned),
                owner: entry.map(|_| "rule:flood".to_owned()),
                expires_in_seconds: entry.map(|_| 61),
                blocks: blocks.map(str::to_owned),
                for_seconds: Some(600),
                ..Explained::default()
            })
        };
        assert_eq!(
            by_rule("banned", Some("203.0.113.7/32"), None),
            "drop: banned 203.0.113.7/32 of rule:flood (expires in 1m 1s)\n"
        );
        assert_eq!(
            by_rule("rule", None, Some("2001:db8::/64")),
            "drop: rule \"flood\", which blocks 2001:db8::/64 for 10m\n"
        );
    }
}
