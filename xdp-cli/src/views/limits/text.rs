//! Limits as lines for people.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::{Count, Limited};
use crate::notation::{duration, grouped, memory, percent, plain};

/// Writes each limit with what it counted, and below it the keys that are over most.
pub fn write(out: &mut dyn Write, all: &[Limited]) -> io::Result<()> {
    if all.is_empty() {
        writeln!(out, "no limits")?;
        return out.flush();
    }
    let mut text = String::new();
    for limited in all {
        let Limited { name, rate, per, burst, under, over, heaviest } = limited;
        let per = if per == "rule" { String::new() } else { format!(" per {per}") };
        let _ = writeln!(text, "{}: over {rate}{per}, burst {burst}", plain(name));
        let all = under.packets.saturating_add(over.packets);
        let share = match all {
            0 => String::new(),
            all => format!(" ({})", percent(over.packets, all)),
        };
        let _ = writeln!(text, "  under {}, over {}{share}", counted(*under), counted(*over));
        let width = heaviest.iter().map(|heavy| heavy.key.len()).max().unwrap_or(0);
        for heavy in heaviest {
            let ago = match heavy.seconds_ago {
                0..=2 => "now".to_owned(),
                seconds => format!("{} ago", duration(seconds)),
            };
            let _ = writeln!(
                text,
                "    {:width$}  {} packets over, {ago}",
                heavy.key,
                grouped(heavy.packets)
            );
        }
    }
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn counted(count: Count) -> String {
    format!("{} packets of {}", grouped(count.packets), memory(count.bytes))
}
