//! Prints status as a block of aligned lines for each interface.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use super::{Link, Redirect, Replies, Status};
use crate::notation::{counted, duration, grouped, memory, plain, timestamp};

/// The column at which values begin.
const INDENT: usize = 14;

/// Writes all interfaces. With `colours`, problems are red.
pub fn write(out: &mut dyn Write, all: &[Status], colours: bool) -> io::Result<()> {
    if all.is_empty() {
        writeln!(out, "no interface is attached")?;
    }
    let mut text = String::new();
    for (place, status) in all.iter().enumerate() {
        if place > 0 {
            text.push('\n');
        }
        Lines { text: &mut text, colours }.status(status);
    }
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// What replies are recognized by, and what is not.
fn text_of(replies: &Replies) -> String {
    let ranges: Vec<String> =
        replies.udp_ports.iter().map(|(first, last)| format!("{first}-{last}")).collect();
    let udp = match (ranges.is_empty(), replies.sent) {
        (true, Some(_)) => String::new(),
        (true, None) => ", UDP by connected sockets alone".to_owned(),
        (false, _) => format!(", UDP by connected sockets and ports {}", ranges.join(", ")),
    };
    match replies.sent {
        Some(by) => {
            format!("to this host's sockets{udp}, and to what the interface has sent ({by})")
        }
        None => format!("to this host's sockets{udp}; not to what it forwards"),
    }
}

struct Lines<'t> {
    text: &'t mut String,
    colours: bool,
}

impl Lines<'_> {
    fn status(&mut self, status: &Status) {
        let name = plain(&status.interface);
        let title = self.styled(Style::new().bold(), &name);
        self.text.push_str(&title);
        if let Some(before) = &status.attached_as {
            self.text.push_str(&format!(" (attached as {})", plain(before)));
        }
        self.text.push('\n');

        self.line("ifindex", &status.ifindex.to_string());
        self.line("mode", status.mode.as_str());
        match status.link {
            Link::Up => self.line("link", Link::Up.as_str()),
            link => self.wrong("link", link.as_str()),
        }
        self.line("config", &plain(&status.config.to_string_lossy()));
        let loaded = timestamp(status.loaded_at);
        let from = status
            .loaded_from
            .as_deref()
            .map_or_else(String::new, |file| format!(" from {}", plain(&file.to_string_lossy())));
        self.line("generation", &format!("{}, loaded {loaded}{from}", status.generation));
        self.line("uptime", &duration(status.uptime_seconds));
        self.line("program id", &status.program_id.to_string());
        let entries = &status.entries;
        self.line(
            "entries",
            &format!(
                "{} IPv4, {} IPv6, {}, {}, {}",
                grouped(entries.ipv4),
                grouped(entries.ipv6),
                counted(entries.domains, "domain"),
                counted(entries.rules, "rule"),
                counted(entries.bans, "ban"),
            ),
        );
        self.line("maps", &memory(status.map_bytes));
        for redirect in &status.redirects {
            self.redirect(redirect);
        }
        if let Some(replies) = &status.replies {
            self.line("replies", &text_of(replies));
        }
        if status.bypass {
            self.wrong("bypass", "on, everything passes");
        } else {
            self.line("bypass", "off");
        }
        for problem in &status.problems {
            self.wrong("problem", &plain(problem));
        }
    }

    fn redirect(&mut self, redirect: &Redirect) {
        let rules: Vec<String> = redirect.rules.iter().map(|rule| plain(rule)).collect();
        let (to, rules) = (plain(&redirect.to), rules.join(", "));
        let program = if redirect.pass_program { ", with a pass program" } else { "" };
        match redirect.ifindex {
            Some(ifindex) => {
                self.line("redirect", &format!("{to} (ifindex {ifindex}){program}: {rules}"));
            }
            None => self.wrong("redirect", &format!("{to} (missing): {rules}")),
        }
    }

    fn line(&mut self, key: &str, value: &str) {
        let key = format!("{key}:");
        self.text.push_str(&format!("  {key:<INDENT$}{value}\n"));
    }

    /// Writes a problem, marked in the first column so that it is seen without colours too.
    fn wrong(&mut self, key: &str, value: &str) {
        let key = format!("{key}:");
        let style = AnsiColor::Red.on_default().bold();
        let line = self.styled(style, &format!("! {key:<INDENT$}{value}"));
        self.text.push_str(&line);
        self.text.push('\n');
    }

    fn styled(&self, style: Style, text: &str) -> String {
        if self.colours {
            format!("{}{text}{}", style.render(), style.render_reset())
        } else {
            text.to_owned()
        }
    }
}
