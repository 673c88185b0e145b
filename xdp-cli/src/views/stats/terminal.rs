//! Draws samples as a picture over the one before.
//!
//! It uses the ordinary screen of the terminal, not the alternate one, so that the last picture
//! stays when the command ends.

use std::io::{self, Write};
use std::time::Duration;

use super::Sample;
use super::rate::Before;
use super::table::{Digits, Row, TextTable, loss_hints, rows, title};
use crate::notation::shortened;

const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";
const CLEAR_LINE: &str = "\x1b[K";
/// Clears the screen and puts the cursor into its top left corner.
pub const CLEAR_SCREEN: &str = "\x1b[2J\x1b[H";
const CLEAR_BELOW: &str = "\x1b[J";
/// Names are cut down to this width, in characters; beyond that, lines are cut at their ends.
const SHORTEST_NAME: usize = 8;

/// A terminal's size in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub columns: usize,
    pub rows: usize,
}

impl Default for Size {
    fn default() -> Self {
        Self { columns: 80, rows: 24 }
    }
}

/// The size of the terminal on stdout; the default size if that is unknown.
pub fn size() -> Size {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one winsize, which outlives the call; stdout being closed or no
    // terminal is an error that it returns.
    let status = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    // A serial line has no size, and reports zeros.
    if status != 0 || size.ws_row == 0 || size.ws_col == 0 {
        return Size::default();
    }
    Size { columns: size.ws_col.into(), rows: size.ws_row.into() }
}

/// A terminal with a picture on it. The cursor is hidden until this is dropped.
pub struct Screen<'o> {
    out: &'o mut dyn Write,
    /// The width of each line that is on the terminal.
    drawn: Vec<usize>,
    /// The size of the terminal when the picture was drawn.
    size: Option<Size>,
    all: bool,
}

impl<'o> Screen<'o> {
    /// Writes nothing yet.
    pub fn new(out: &'o mut dyn Write, all: bool) -> Self {
        Self { out, drawn: Vec::new(), size: None, all }
    }

    /// Draws all samples over the picture before.
    pub fn draw(
        &mut self,
        samples: &[Sample],
        past: &[Sample],
        elapsed: Duration,
        size: Size,
    ) -> io::Result<()> {
        let lines = picture(samples, past, elapsed, size, self.all);
        let mut text = String::from(HIDE_CURSOR);
        match self.rows_above(size) {
            // When they are resized, some terminals wrap lines anew and others cut them. So where
            // the old picture begins is unknown, and the screen is cleared.
            _ if self.size.is_some_and(|before| before != size) => text.push_str(CLEAR_SCREEN),
            0 => text.push('\r'),
            rows => text.push_str(&format!("\r\x1b[{rows}A")),
        }
        for line in &lines {
            text.push_str(line);
            text.push_str(CLEAR_LINE);
            text.push('\n');
        }
        text.push_str(CLEAR_BELOW);
        self.size = Some(size);
        self.drawn = lines.iter().map(|line| line.chars().count()).collect();
        // Written in one piece, so that it does not flicker.
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// How many rows above the cursor the picture begins. Lines wider than the terminal take
    /// several rows.
    fn rows_above(&self, size: Size) -> usize {
        let rows = self.drawn.iter().map(|width| width.div_ceil(size.columns.max(1)).max(1));
        rows.sum::<usize>().min(size.rows.saturating_sub(1))
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        // If this fails, the terminal is closed, and nobody misses the cursor.
        let _ = self.out.write_all(SHOW_CURSOR.as_bytes()).and_then(|()| self.out.flush());
    }
}

/// The part of the picture for one interface.
struct Block {
    title: String,
    rows: Vec<Row>,
    table: TextTable,
}

/// The lines of the picture: none is wider than the terminal, and there are fewer than it has rows.
fn picture(
    samples: &[Sample],
    past: &[Sample],
    elapsed: Duration,
    size: Size,
    all: bool,
) -> Vec<String> {
    let height = size.rows.saturating_sub(1);
    let mut blocks: Vec<Block> = samples
        .iter()
        .map(|sample| {
            let rows = rows(sample, Before::find(past, sample, elapsed), all);
            let table = TextTable::new(&rows, sample.total(), Digits::Grouped, true);
            Block { title: title(sample, Digits::Grouped), rows, table }
        })
        .collect();
    align(&mut blocks);
    let mut lines = Vec::new();
    let kept = busiest(&blocks, height);
    for (block, kept) in blocks.iter().zip(kept) {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        lines.push(block.title.clone());
        let over = block.table.width().saturating_sub(size.columns);
        let whole = block.table.name_width();
        let name_width = whole.saturating_sub(over).max(SHORTEST_NAME).min(whole);
        let mut table = block.table.lines(name_width);
        lines.extend(table.next());
        lines.extend(table.zip(&kept).filter(|(_, kept)| **kept).map(|(line, _)| line));
        let hidden = kept.iter().filter(|kept| !**kept).count();
        if hidden > 0 {
            lines.push(format!("… and {hidden} more"));
        }
    }
    if samples.is_empty() {
        lines.push("no interface is attached".to_owned());
    }
    let hints: Vec<String> = samples.iter().flat_map(loss_hints).collect();
    if lines.len() + hints.len() <= height {
        lines.extend(hints);
    }
    if lines.len() > height {
        let hidden = lines.len() - height.saturating_sub(1);
        lines.truncate(height.saturating_sub(1));
        if height > 0 {
            lines.push(format!("… and {hidden} more lines"));
        }
    }
    lines.iter().map(|line| shortened(line.trim_end(), size.columns)).collect()
}

/// Makes the columns of all interfaces equally wide.
fn align(blocks: &mut [Block]) {
    for _ in 0..2 {
        for place in 1..blocks.len() {
            let (before, after) = blocks.split_at_mut(place);
            let (first, next) = (&mut before[0], &mut after[0]);
            first.table.align(&next.table);
            next.table.align(&first.table);
        }
    }
}

/// Which rows to show: all if there is room, else those that are needed and the busiest others.
fn busiest(blocks: &[Block], height: usize) -> Vec<Vec<bool>> {
    let mut kept: Vec<Vec<bool>> =
        blocks.iter().map(|block| block.rows.iter().map(Row::is_needed).collect()).collect();
    let mut others: Vec<(usize, usize, &Row)> = Vec::new();
    for (block, of) in blocks.iter().enumerate() {
        let rows = of.rows.iter().enumerate().filter(|(_, row)| !row.is_needed());
        others.extend(rows.map(|(place, row)| (block, place, row)));
    }
    let needed: usize = kept.iter().flatten().filter(|needed| **needed).count();
    // Each block has a title, a header and, except for the last, an empty line.
    let around = (3 * blocks.len()).saturating_sub(1);
    let mut room = height.saturating_sub(needed + around);
    if others.len() > room {
        // One line in each block says how many more rows there are.
        room = room.saturating_sub(blocks.len());
        others.sort_by(|(_, _, one), (_, _, other)| one.before(other));
    }
    for (block, place, _) in others.into_iter().take(room) {
        kept[block][place] = true;
    }
    kept
}
