//! Draws the picture, on a terminal of any size: what is less important gives way.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Color, Style, Stylize as _};
use ratatui::text::Line;
use ratatui::widgets::{Block, Clear, Paragraph, Sparkline, Wrap};

use super::chosen::{Asking, Sort};
use super::sources::Source;
use super::{Sampling, Seen, Top, VerdictRow};
use crate::notation::{grouped, plain, shortened, si};
use crate::views::stats::rate::Rate;
use crate::views::stats::table::Row;
use xdp_common::stats::verdict::Verdict;

/// From this height on, there are empty lines between the parts.
const SPACIOUS: u16 = 20;
/// Between columns.
const GAP: usize = 2;
/// Widths of columns of numbers: as wide as their values get, or their titles.
const PACKETS: usize = 15;
const PER_SECOND: usize = 10;
const BITS: usize = 7;
const DROPPED: usize = 7;
/// Widths of words.
const KIND: usize = 9;
const ACTION: usize = 8;
const VERDICT: usize = 8;
/// Below these widths, in characters, columns are left out.
const WIDE: usize = 76;
const NARROW: usize = 54;
const NARROWEST: usize = 34;
/// The selected source, and all others.
const MARKS: [&str; 2] = ["> ", "  "];

const HELP: [&str; 17] = [
    "s        sort lists and rules by rate,",
    "         packets or name",
    "/        show those with a text in",
    "         their names; Enter keeps it,",
    "         Esc takes it back",
    "PgUp     show the lists and rules that",
    "PgDn     the screen has no room for",
    "space    pause, and go on",
    "↑ ↓ j k  select a source",
    "b        block it for 10 minutes",
    "q Esc    end",
    "",
    "Sources are of a sample of the frames:",
    "of N frames, one is looked at. Rates",
    "of sources are estimates, those above",
    "them are counted.",
    "Any key closes this.",
];

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, top: &Top) {
    let area = frame.area();
    let (width, seen) = (usize::from(area.width), top.shown());
    let below = below(top, width);
    let mut area = Area { rest: area, is_spacious: area.height >= SPACIOUS };
    // What waits for an answer is there even where nothing else fits.
    let most = match top.asking {
        Asking::Block(_) => area.rest.height,
        _ => area.rest.height.div_ceil(2),
    };
    let below_area = area.bottom(lines(&below, width).min(most));
    let style = if top.asking == Asking::Nothing { Style::new() } else { Style::new().bold() };
    frame.render_widget(Paragraph::new(below).wrap(Wrap { trim: false }).style(style), below_area);
    if let Some(row) = area.row() {
        frame.render_widget(Line::from(title(top, width)).bold(), row);
    }
    draw_verdicts(frame, &mut area, top, seen);

    let rules = top.rules();
    let sources = top.sources();
    let off = match &seen.sampling {
        Sampling::Off(why) => Some(format!("not sampled: {}", plain(why))),
        Sampling::OneIn(_) if sources.is_empty() => Some("none was seen yet".to_owned()),
        Sampling::OneIn(_) => None,
    };
    let sources_height = match &off {
        Some(text) => lines(text, width),
        None => u16::try_from(sources.len()).unwrap_or(u16::MAX),
    };
    // Two titles, and the empty lines before them.
    let around = if area.is_spacious { 4 } else { 2 };
    let room = area.rest.height.saturating_sub(around);
    let rules_height = u16::try_from(rules.len()).unwrap_or(u16::MAX).max(1);
    let for_sources = sources_height.min((room / 2).max(room.saturating_sub(rules_height)));
    draw_rules(frame, &mut area, top, &rules, room - for_sources);
    draw_sources(frame, &mut area, top, &sources, off, &seen.sampling);
    if top.asking == Asking::Help {
        draw_help(frame);
    }
}

/// The part of the terminal that is free still.
struct Area {
    rest: Rect,
    is_spacious: bool,
}

impl Area {
    /// The uppermost row; `None` where none is left.
    fn row(&mut self) -> Option<Rect> {
        let Rect { x, y, width, height } = self.rest;
        let height = height.checked_sub(1)?;
        self.rest = Rect { y: y + 1, height, ..self.rest };
        Some(Rect { x, y, width, height: 1 })
    }

    /// So many rows at the lower end, or as many as are left.
    fn bottom(&mut self, rows: u16) -> Rect {
        let rows = rows.min(self.rest.height);
        self.rest.height -= rows;
        Rect { y: self.rest.bottom(), height: rows, ..self.rest }
    }

    /// Leaves a row empty, where there is room for that.
    fn space(&mut self) {
        if self.is_spacious {
            self.row();
        }
    }
}

/// How many rows a text takes, of which each line is wrapped by itself.
fn lines(text: &str, width: usize) -> u16 {
    let rows = text.lines().map(|line| wrapped(line, width.max(1))).sum::<usize>().max(1);
    u16::try_from(rows).unwrap_or(u16::MAX)
}

/// How many rows a line takes where it is wrapped between words.
fn wrapped(line: &str, width: usize) -> usize {
    let (mut rows, mut used) = (1, 0);
    for word in line.split(' ') {
        let length = word.chars().count();
        let with_space = if used == 0 { length } else { used + 1 + length };
        if with_space <= width {
            used = with_space;
        } else {
            rows += usize::from(used > 0) + length.saturating_sub(1) / width;
            used = length - length.saturating_sub(1) / width * width;
        }
    }
    rows
}

/// The line above everything.
fn title(top: &Top, width: usize) -> String {
    let sample = &top.shown().sample;
    let gone = if sample.gone { " (not on it any more)" } else { "" };
    let bypass = if sample.bypass { ", BYPASS ON" } else { "" };
    let left = format!(
        "{}{gone}: {} mode, generation {}{bypass}",
        plain(&sample.interface),
        sample.mode,
        sample.generation,
    );
    let mut right = Vec::new();
    if !top.filter.is_empty() {
        right.push(format!("/{}", plain(&top.filter)));
    }
    if top.paused.is_some() {
        right.push("PAUSED".to_owned());
    }
    let right = right.join("  ");
    let room = width.saturating_sub(right.chars().count() + GAP);
    let left = shortened(&left, if right.is_empty() { width } else { room });
    let gap = width.saturating_sub(left.chars().count() + right.chars().count());
    format!("{left}{:gap$}{right}", "")
}

/// The line below everything: what is asked, what is said, or the keys.
fn below(top: &Top, width: usize) -> String {
    let interface = plain(&top.shown().sample.interface);
    match &top.asking {
        Asking::Block(source) => {
            return format!("block {source} on {interface} for 10 minutes? y/n");
        }
        Asking::Filter { .. } => {
            return format!(
                "names with: {}_  (Enter keeps it, Esc takes it back)",
                plain(&top.filter)
            );
        }
        Asking::Nothing | Asking::Help => {}
    }
    if let Some(message) = &top.message {
        // What comes from outside was made plain by those who said it.
        return message.lines().map(plain).collect::<Vec<_>>().join("\n");
    }
    // The first ones are left out last.
    let keys = [
        (6, "q quit"),
        (5, "? help"),
        (3, "b block"),
        (2, "↑↓ select"),
        (0, "s sort"),
        (1, "/ filter"),
        (4, "space pause"),
    ];
    let mut shown: Vec<(u32, &str)> = Vec::new();
    for key in keys {
        let used: usize = shown.iter().map(|(_, text)| text.chars().count() + GAP).sum();
        if used + key.1.chars().count() <= width {
            shown.push(key);
        }
    }
    shown.sort_unstable();
    shown.iter().map(|(_, text)| *text).collect::<Vec<_>>().join("  ")
}

fn draw_verdicts(frame: &mut Frame<'_>, area: &mut Area, top: &Top, seen: &Seen) {
    area.space();
    let width = usize::from(area.rest.width);
    let with_packets = width >= NARROW;
    let line = |name: &str, packets: &str, rate: &str, bits: &str| {
        let mut cells = vec![left(name, VERDICT)];
        if with_packets {
            cells.push(right(packets, PACKETS));
        }
        cells.push(right(rate, PER_SECOND));
        cells.push(right(bits, BITS));
        cells.join("  ")
    };
    let Some(row) = area.row() else { return };
    let header = line("VERDICT", "PACKETS", "PACKETS/S", "BIT/S");
    let used = u16::try_from(header.chars().count() + GAP).unwrap_or(u16::MAX);
    frame.render_widget(Line::from(header).style(head()), row);
    let is_shown =
        |row: &&VerdictRow| matches!(row.verdict, Verdict::Pass | Verdict::Drop) || row.packets > 0;
    for verdict in seen.verdicts.iter().filter(is_shown) {
        let Some(row) = area.row() else { return };
        let (rate, bits) = per_second(verdict.rate);
        let text = line(verdict.verdict.as_str(), &grouped(verdict.packets), &rate, &bits);
        let style = match verdict.verdict {
            Verdict::Drop | Verdict::Aborted if top.colours => Style::new().fg(Color::Red),
            Verdict::Pass if top.colours => Style::new().fg(Color::Green),
            _ => Style::new(),
        };
        frame.render_widget(Line::from(text).style(style), row);
        let bars = row.width.saturating_sub(used);
        let newest = verdict.history.len().saturating_sub(bars.into());
        let line = Sparkline::default().data(verdict.history.iter().skip(newest)).style(style);
        frame.render_widget(line, Rect { x: row.x + row.width.min(used), width: bars, ..row });
    }
}

fn draw_rules(frame: &mut Frame<'_>, area: &mut Area, top: &Top, rules: &[&Row], height: u16) {
    area.space();
    let width = usize::from(area.rest.width);
    let is_wide = width >= WIDE;
    let sorted = |title: &str, by: Sort| {
        let mark = if top.sort == by { "▼" } else { "" };
        format!("{title}{mark}")
    };
    let line = |kind: &str, name: &str, action: &str, [packets, rate, bits]: [&str; 3]| {
        let mut cells = Vec::new();
        if is_wide {
            cells.push(right(packets, PACKETS));
        }
        cells.push(right(rate, PER_SECOND));
        if width >= NARROWEST {
            cells.push(right(bits, BITS));
        }
        let mut words = Vec::new();
        if is_wide {
            words.push(left(kind, KIND));
        }
        let after = if width >= NARROW { Some(left(action, ACTION)) } else { None };
        let used: usize =
            words.iter().chain(&after).chain(&cells).map(|it| it.chars().count() + GAP).sum();
        words.push(left(name, width.saturating_sub(used)));
        words.extend(after);
        words.extend(cells);
        words.join("  ")
    };
    let Some(row) = area.row() else { return };
    let numbers =
        [&sorted("PACKETS", Sort::Packets)[..], &sorted("PACKETS/S", Sort::Rate), "BIT/S"];
    let names = sorted(if is_wide { "NAME" } else { "LIST OR RULE" }, Sort::Name);
    frame.render_widget(Line::from(line("KIND", &names, "ACTION", numbers)).style(head()), row);
    let height = usize::from(height);
    let most = if rules.len() > height { height.saturating_sub(1) } else { rules.len() };
    top.page.set(most);
    // The last page is a whole one.
    let above = top.above.min(rules.len() - most);
    let below = rules.len() - most - above;
    let shown = &rules[above..above + most];
    for rule in shown {
        let Some(row) = area.row() else { return };
        let (rate, bits) = per_second(rule.rate);
        let packets = grouped(rule.counter.packets);
        let text = line(rule.kind, &rule.name, &rule.action, [&packets, &rate, &bits]);
        frame.render_widget(Line::from(text), row);
    }
    let rest = match (above, below) {
        (0, 0) if !shown.is_empty() => return,
        (0, 0) if top.filter.is_empty() => "the ruleset has no list and no rule".to_owned(),
        (0, 0) => "no name of a list or rule has that in it".to_owned(),
        (0, below) => format!("… and {below} more (PgDn)"),
        (above, 0) => format!("… and {above} above (PgUp)"),
        (above, below) => format!("… and {above} above (PgUp), {below} more (PgDn)"),
    };
    if height > 0
        && let Some(row) = area.row()
    {
        frame.render_widget(Line::from(shortened(&rest, width)), row);
    }
}

fn draw_sources(
    frame: &mut Frame<'_>,
    area: &mut Area,
    top: &Top,
    sources: &[Source],
    off: Option<String>,
    sampling: &Sampling,
) {
    area.space();
    let width = usize::from(area.rest.width);
    let line = |mark: &str, address: &str, [rate, bits, dropped]: [&str; 3]| {
        let mut cells = vec![right(rate, PER_SECOND)];
        if width >= NARROW {
            cells.push(right(bits, BITS));
        }
        if width >= NARROWEST {
            cells.push(right(dropped, DROPPED));
        }
        let used: usize = cells.iter().map(|it| it.chars().count() + GAP).sum();
        let room = width.saturating_sub(used + mark.chars().count());
        cells.insert(0, left(address, room));
        format!("{mark}{}", cells.join("  "))
    };
    let Some(row) = area.row() else { return };
    let room = width.saturating_sub(PER_SECOND + GAP + DROPPED + GAP);
    let header = match sampling {
        Sampling::Off(_) => left("SOURCES", width),
        Sampling::OneIn(one_in) => {
            let whole = format!("SOURCES, sampled 1 in {one_in}");
            let bits = if width >= NARROW { BITS + GAP } else { 0 };
            let is_short = whole.chars().count() > room.saturating_sub(bits);
            let title = if is_short { format!("sampled 1 in {one_in}") } else { whole };
            line("", &title, ["PACKETS/S", "BIT/S", "DROPPED"])
        }
    };
    frame.render_widget(Line::from(header).style(head()), row);
    if let Some(text) = off {
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: false }), area.rest);
        return;
    }
    // The selected one is always among those that are shown.
    let height = usize::from(area.rest.height);
    let selected = sources.iter().position(|source| Some(source.address) == top.selected);
    let first = selected.map_or(0, |selected| (selected + 1).saturating_sub(height));
    for (place, source) in sources.iter().enumerate().skip(first) {
        let Some(row) = area.row() else { return };
        let is_selected = selected == Some(place);
        let (rate, bits) = per_second(Some(source.rate));
        let dropped = match source.dropped {
            Some(share) => format!("{:.0}%", share * 100.0),
            None => "-".to_owned(),
        };
        let mark = MARKS[usize::from(!is_selected)];
        let text = line(mark, &source.address.to_string(), [&rate, &bits, &dropped]);
        let style = if is_selected { Style::new().reversed() } else { Style::new() };
        frame.render_widget(Line::from(text).style(style), row);
    }
}

fn draw_help(frame: &mut Frame<'_>) {
    let widest = HELP.iter().map(|line| line.chars().count()).max().unwrap_or_default();
    let [width, height] = [widest + 2, HELP.len() + 2].map(|it| u16::try_from(it).unwrap_or(0));
    let area = frame.area().centered(Constraint::Length(width), Constraint::Length(height));
    frame.render_widget(Clear, area);
    // Where a frame would hide words, there is none.
    let is_small = frame.area().height < height || frame.area().width < width;
    let block = if is_small { Block::new() } else { Block::bordered().title("Keys") };
    frame.render_widget(Paragraph::new(HELP.map(Line::from).to_vec()).block(block), area);
}

/// The style of titles.
fn head() -> Style {
    Style::new().bold().underlined()
}

fn per_second(rate: Option<Rate>) -> (String, String) {
    match rate {
        Some(rate) => (si(rate.packets), si(rate.bits)),
        None => ("-".to_owned(), "-".to_owned()),
    }
}

/// A word in a column.
fn left(text: &str, width: usize) -> String {
    format!("{:width$}", shortened(text, width))
}

/// A number in a column. It is never cut: half a number is another number.
fn right(text: &str, width: usize) -> String {
    format!("{text:>width$}")
}
