//! Pictures as a terminal shows them.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use super::*;
use crate::views::stats::terminal::{Screen, Size};

/// A terminal that knows only the control sequences that a picture may use, and panics at others.
struct Terminal {
    size: Size,
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
    cursor_hidden: bool,
}

impl Terminal {
    fn new(columns: usize, rows: usize) -> Self {
        let size = Size { columns, rows };
        Self { size, rows: vec![Vec::new()], row: 0, column: 0, cursor_hidden: false }
    }

    fn write(&mut self, text: &str) {
        let mut text = text.chars();
        while let Some(character) = text.next() {
            match character {
                '\x1b' => {
                    assert_eq!(text.next(), Some('['));
                    let mut parameter = String::new();
                    let end = loop {
                        match text.next().unwrap() {
                            end if end.is_ascii_alphabetic() => break end,
                            other => parameter.push(other),
                        }
                    };
                    self.control(&parameter, end);
                }
                '\r' => self.column = 0,
                '\n' => {
                    self.column = 0;
                    self.row += 1;
                    if self.row == self.rows.len() {
                        self.rows.push(Vec::new());
                    }
                }
                character => {
                    assert!(!character.is_control(), "{character:?}");
                    assert!(self.column < self.size.columns, "wider than the terminal");
                    let row = &mut self.rows[self.row];
                    row.resize(row.len().max(self.column + 1), ' ');
                    row[self.column] = character;
                    self.column += 1;
                }
            }
        }
    }

    /// Wraps lines that have become too wide. Wrapped lines are not joined again.
    fn resize(&mut self, columns: usize) {
        self.size.columns = columns;
        let wrap = |row: Vec<char>| match row.len() {
            0 => vec![row],
            _ => row.chunks(columns).map(<[char]>::to_vec).collect(),
        };
        self.rows = std::mem::take(&mut self.rows).into_iter().flat_map(wrap).collect();
        self.row = self.rows.len() - 1;
    }

    /// Cuts lines that have become too wide, as other terminals do.
    fn resize_and_cut(&mut self, columns: usize) {
        self.size.columns = columns;
        self.rows.iter_mut().for_each(|row| row.truncate(columns));
    }

    fn control(&mut self, parameter: &str, end: char) {
        match (parameter, end) {
            ("?25", 'l') => self.cursor_hidden = true,
            ("?25", 'h') => self.cursor_hidden = false,
            ("", 'K') => self.rows[self.row].truncate(self.column),
            ("", 'J') => {
                self.rows[self.row].truncate(self.column);
                self.rows.truncate(self.row + 1);
            }
            // Clears only the rows that are visible.
            ("2", 'J') => {
                self.rows.truncate(self.rows.len().saturating_sub(self.size.rows));
                self.rows.push(Vec::new());
            }
            ("", 'H') => (self.row, self.column) = (self.rows.len() - 1, 0),
            (rows, 'A') => {
                let rows: usize = rows.parse().unwrap();
                assert!(rows > 0, "0 means 1");
                // The cursor cannot go above the rows that are visible.
                let top = self.rows.len().saturating_sub(self.size.rows);
                self.row = self.row.saturating_sub(rows).max(top);
            }
            unknown => panic!("{unknown:?}"),
        }
    }

    /// Draws each set of samples, a second apart, and returns everything that was ever shown.
    fn draw(&mut self, pictures: &[&[Sample]]) -> String {
        let mut out = Vec::new();
        let mut screen = Screen::new(&mut out, false);
        let mut past: &[Sample] = &[];
        for picture in pictures {
            screen.draw(picture, past, Duration::from_secs(1), self.size).unwrap();
            past = picture;
        }
        drop(screen);
        self.write(&String::from_utf8(out).unwrap());
        self.shown()
    }

    fn shown(&self) -> String {
        let rows = self.rows.iter().map(|row| row.iter().collect::<String>() + "\n");
        rows.collect()
    }
}

fn of(interface: &str, ifindex: u32, sample: Sample) -> Sample {
    Sample { interface: interface.into(), ifindex, ..sample }
}

#[test]
fn two_interfaces_below_each_other() {
    let now = [example(), busy()];
    let then = now.clone().map(|sample| before(&sample));
    let mut terminal = Terminal::new(120, 50);
    insta::assert_snapshot!(terminal.draw(&[&then, &now]));
    assert!(!terminal.cursor_hidden);
}

#[test]
fn a_picture_covers_the_one_before() {
    let large = [example(), busy()];
    let small = [nothing("eth0")];
    let alone = Terminal::new(120, 50).draw(&[&[], &small]);
    assert_eq!(Terminal::new(120, 50).draw(&[&large, &[], &small]), alone);
    let mut terminal = Terminal::new(120, 50);
    terminal.write("$ xdpctl stats\n");
    let shown = terminal.draw(&[&large, &small, &large, &large]);
    assert_eq!(shown.matches("eth0: ").count(), 1, "{shown}");
    assert!(shown.starts_with("$ xdpctl stats\neth0: "), "{shown}");
}

#[test]
fn a_low_terminal_shows_the_busiest() {
    let now = [busy()];
    let then = [before(&now[0])];
    insta::assert_snapshot!(Terminal::new(100, 13).draw(&[&then, &now]), @"
    eth1: generic mode, generation 3, 1,002,018 packets and 67,029,140 bytes since attach
    KIND       NAME       ACTION      PACKETS       BYTES  SHARE  PACKETS/S  BIT/S
    verdict    pass       -         1,000,005  64,000,320  99.8%      1.00M   512M
    verdict    drop       -                 3         180  <0.1%       3.00  1.44k
    verdict    tx         -                10         640  <0.1%       10.0  5.12k
    verdict    redirect   -             2,000   3,028,000   0.2%      2.00k  24.2M
    reason     allowlist  -         1,000,000  64,000,000  99.8%      1.00M   512M
    allowlist  office     pass      1,000,000  64,000,000  99.8%      1.00M   512M
    rule       to-ids     redirect      2,003   3,028,180   0.2%      2.00k  24.2M
    lost       to-ids     redirect          3         180  <0.1%       3.00  1.44k
    rule       echo       bounce           10         640  <0.1%       10.0  5.12k
    … and 2 more
    ");
}

/// Reasons have higher rates, and once took the room of rules.
#[test]
fn a_low_terminal_hides_no_rule_that_moves() {
    let mut now = busy();
    now.counted[1].counter = counter(1, 60);
    let then = before(&now);
    let shown = Terminal::new(100, 13).draw(&[&[then], &[now]]);
    for name in ["office", "tried", "to-ids", "echo"] {
        assert!(shown.contains(name), "{name}: {shown}");
    }
    assert!(!shown.contains("reason "), "{shown}");
}

#[test]
fn a_narrow_terminal_cuts_names_first() {
    let mut sample = example();
    sample.counted.push(counted(&"n".repeat(64), Kind::Rule, "drop", counter(5, 300)));
    insta::assert_snapshot!(Terminal::new(80, 50).draw(&[&[sample.clone()]]), @"
    eth0: native mode, generation 3, 10 packets and 960 bytes since attach
    KIND       NAME                  ACTION  PACKETS  BYTES  SHARE  PACKETS/S  BIT/S
    verdict    pass                  -             9    900  90.0%          -      -
    verdict    drop                  -             1     60  10.0%          -      -
    reason     blocklist             -             1     60  10.0%          -      -
    reason     default               -             9    900  90.0%          -      -
    rule       nnnnnnnnnnnnnnnnnnn…  drop          5    300  50.0%          -      -
    blocklist  spamhaus              drop          1     60  10.0%          -      -
    ");
    insta::assert_snapshot!(Terminal::new(20, 50).draw(&[&[sample]]), @"
    eth0: native mode, …
    KIND       NAME    …
    verdict    pass    …
    verdict    drop    …
    reason     blockli……
    reason     default …
    rule       nnnnnnn……
    blocklist  spamhaus…
    ");
}

#[test]
fn any_size_is_kept_to_and_redrawn_in_place() {
    let samples: Vec<Sample> = (0..4).map(|n| of(&format!("eth{n}"), n, busy())).collect();
    for columns in (1..12).chain([40, 80, 200]) {
        for rows in (1..12).chain([24, 50, 100]) {
            let mut once = Terminal::new(columns, rows);
            once.draw(&[&samples, &samples]);
            assert!(once.rows.len() <= rows, "{columns}x{rows}: {}", once.shown());
            let mut often = Terminal::new(columns, rows);
            often.draw(&[&samples, &samples, &[], &samples, &samples]);
            assert_eq!(often.shown(), once.shown(), "{columns}x{rows}");
        }
    }
}

#[test]
fn a_line_more_of_room_never_shows_less() {
    let now = [example(), busy()];
    let shown = |rows| Terminal::new(120, rows).draw(&[&now]).lines().count();
    for rows in 1..50 {
        assert!(shown(rows) <= shown(rows + 1), "{rows}");
    }
}

/// The terminal as a program writes to it, while somebody else pulls at its window.
#[derive(Clone)]
struct Shared(Rc<RefCell<Terminal>>);

impl io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(std::str::from_utf8(bytes).unwrap());
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_window_made_narrower_between_two_pictures() {
    let samples = [example(), busy()];
    // Some terminals wrap old lines anew, others cut them: no part of one may be left.
    for resize in [Terminal::resize, Terminal::resize_and_cut] {
        let terminal = Shared(Rc::new(RefCell::new(Terminal::new(120, 80))));
        let mut out = terminal.clone();
        let mut screen = Screen::new(&mut out, false);
        for columns in [120, 50, 30, 90] {
            resize(&mut terminal.0.borrow_mut(), columns);
            let size = Size { columns, rows: 80 };
            screen.draw(&samples, &[], Duration::ZERO, size).unwrap();
            let shown = terminal.0.borrow().shown();
            assert_eq!(shown, Terminal::new(columns, 80).draw(&[&samples]), "{columns}");
        }
    }
}

#[test]
fn nothing_attached() {
    assert_eq!(Terminal::new(80, 24).draw(&[&[]]), "no interface is attached\n\n");
}

#[test]
fn the_cursor_comes_back_though_drawing_failed() {
    struct Full(Vec<u8>);
    impl io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if bytes.len() > 20 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0.extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut out = Full(Vec::new());
    Screen::new(&mut out, false).draw(&[busy()], &[], Duration::ZERO, Size::default()).unwrap_err();
    assert_eq!(out.0, b"\x1b[?25h");
}
