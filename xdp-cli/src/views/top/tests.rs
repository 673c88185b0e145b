//! Pictures of constructed samples, and what keys do to them.

use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use xdp_common::stats::counter::{CELLS, Counter, Matrix};
use xdp_common::stats::verdict::{Reason, Verdict};

use super::keys::Wish;
use super::*;
use crate::image::metadata::{Kind, Mode};
use crate::views::stats::CountedSample;

const SECOND: Duration = Duration::from_secs(1);

/// A sample after so many seconds of steady traffic.
fn sample(seconds: u64) -> Sample {
    let mut matrix = Matrix { cells: [Counter::default(); CELLS] };
    let mut count = |verdict, reason, packets: u64, size| {
        let packets = packets * seconds;
        matrix.cells[Matrix::cell(verdict, reason)] = Counter { packets, bytes: packets * size };
    };
    count(Verdict::Pass, Reason::Default, 1_204, 900);
    count(Verdict::Drop, Reason::Blocklist, 81_000 + 9_000 * (seconds % 8), 60);
    count(Verdict::Redirect, Reason::Rule, 30, 1_400);
    let counted = |name: &str, kind, action: &str, packets: u64, size: u64| CountedSample {
        name: name.into(),
        kind,
        action: action.into(),
        counter: Counter { packets: packets * seconds, bytes: packets * size * seconds },
        lost: (action == "redirect").then(Counter::default),
        under: None,
    };
    Sample {
        interface: "eth0".into(),
        ifindex: 2,
        gone: false,
        bypass: false,
        mode: Mode::Native,
        generation: 3,
        time: UNIX_EPOCH,
        matrix,
        unreadable: Default::default(),
        counted: vec![
            counted("office", Kind::Allowlist, "pass", 0, 0),
            counted("bogons", Kind::Blocklist, "drop", 12, 64),
            counted("spamhaus", Kind::Blocklist, "drop", 81_000, 60),
            counted("ssh", Kind::Rule, "pass", 4, 120),
            counted("dns-to-the-sensor-on-the-other-side", Kind::Rule, "redirect", 30, 1_400),
        ],
        redirects: vec!["eth1".into()],
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn sources() -> Vec<Source> {
    let source = |address: &str, packets: f64, size: f64, dropped| Source {
        address: ip(address),
        rate: Rate { packets, bits: packets * size * 8.0 },
        dropped: Some(dropped),
    };
    vec![
        source("203.0.113.7", 64_000.0, 60.0, 1.0),
        source("2001:db8:1234:5678:9abc:def0:1234:5678", 9_100.0, 1_400.0, 0.25),
        source("198.51.100.23", 12.5, 120.0, 0.0),
    ]
}

/// Traffic over ten seconds.
fn busy() -> Top {
    let mut top = Top::new(sample(1), Sampling::OneIn(1024), false);
    for seconds in 2..=11 {
        top.count(sample(seconds), SECOND);
    }
    top.rank(sources(), Sampling::OneIn(64));
    top
}

fn press(top: &mut Top, keys: &str) -> Option<Wish> {
    let mut wish = None;
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\x1b' => KeyCode::Esc,
            '\x08' => KeyCode::Backspace,
            '↑' => KeyCode::Up,
            '↓' => KeyCode::Down,
            other => KeyCode::Char(other),
        };
        wish = top.press(code.into());
    }
    wish
}

fn drawn(top: &Top, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| screen::draw(frame, top)).unwrap();
    terminal
}

fn picture(top: &Top, width: u16, height: u16) -> String {
    drawn(top, width, height).backend().to_string()
}

#[test]
fn on_terminals_of_several_sizes() {
    let top = busy();
    for (width, height) in [(80, 24), (40, 12), (120, 40)] {
        insta::assert_snapshot!(format!("{width}x{height}"), picture(&top, width, height));
    }
}

#[test]
fn what_is_asked_and_said() {
    let mut top = busy();
    press(&mut top, "/s");
    insta::assert_snapshot!("filter", picture(&top, 80, 24));
    press(&mut top, "sh\ns jb");
    top.now.sample.bypass = true;
    insta::assert_snapshot!("block", picture(&top, 80, 24));
    press(&mut top, "n");
    top.rank(Vec::new(), Sampling::Off("two captures run on eth0 already".into()));
    press(&mut top, " ");
    top.say("blocked 203.0.113.7/32 on eth0 for 10m\nwarning: \u{1b}[2J".into());
    insta::assert_snapshot!("said", picture(&top, 80, 24));
    press(&mut top, "?");
    insta::assert_snapshot!("help", picture(&top, 80, 24));
}

#[test]
fn before_anything_was_counted() {
    let mut sample = sample(0);
    sample.counted.clear();
    let top = Top::new(sample, Sampling::OneIn(1024), false);
    insta::assert_snapshot!("nothing", picture(&top, 60, 14));
}

/// Terminals of all sizes up to one with room for everything, with everything that can be on them.
#[test]
fn no_size_is_too_small() {
    let mut all = vec![busy(), busy(), busy(), busy(), busy(), busy()];
    press(&mut all[1], "jjb");
    press(&mut all[2], "/spamhaus");
    press(&mut all[3], "?");
    all[4].rank(Vec::new(), Sampling::Off("why not ".repeat(40)));
    all[4].say("a message that is long ".repeat(20));
    all[5].count(Sample { gone: true, bypass: true, ..sample(12) }, SECOND);
    press(&mut all[5], "k ");
    for top in &all {
        for width in (0..90).step_by(7) {
            for height in 0..30 {
                drawn(top, width, height);
            }
        }
    }
    // Whatever else has room, what waits for an answer is there.
    assert!(picture(&all[1], 60, 2).contains("y/n"));
}

#[test]
fn names_cannot_steer_the_terminal() {
    let mut sample = sample(1);
    sample.interface = "a\u{1b}]0;x\u{7}\u{202e}".into();
    let mut top = Top::new(sample, Sampling::Off("\u{9b}2J".into()), false);
    press(&mut top, "/\u{202e}\n");
    let picture = picture(&top, 100, 30);
    assert!(picture.contains("a\\u{1b}]0;x\\u{7}\\u{202e}: native"), "{picture}");
    assert!(picture.contains("\\u{9b}2J"), "{picture}");
    assert!(picture.chars().all(|it| it == '\n' || !crate::notation::steers(it)), "{picture:?}");
}

#[test]
fn lists_and_rules_are_sorted_and_filtered() {
    let mut top = busy();
    let names = |top: &Top| {
        let names: Vec<String> = top.rules().iter().map(|row| row.name.clone()).collect();
        names.join(" ")
    };
    let sensor = "dns-to-the-sensor-on-the-other-side";
    assert_eq!(names(&top), format!("spamhaus {sensor} bogons ssh office"));
    press(&mut top, "ss");
    assert_eq!(names(&top), format!("bogons {sensor} office spamhaus ssh"));
    press(&mut top, "/SSX\x08\n");
    assert_eq!(names(&top), "ssh");
    // Keys are letters while the filter is written, and Esc takes back what was written.
    assert_eq!(press(&mut top, "/q"), None);
    assert_eq!(names(&top), "");
    press(&mut top, "\x1b");
    assert_eq!(names(&top), "ssh");
    top.press(KeyCode::Char('/').into());
    top.press(KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL));
    press(&mut top, "\ns");
    assert_eq!(names(&top).split(' ').next(), Some("spamhaus"));
}

/// On 24 rows or fewer, many lists and rules are shown in pages, each exactly once.
#[test]
fn lists_and_rules_are_shown_in_pages() {
    let mut sample = sample(1);
    let rule = |number: usize| CountedSample {
        name: format!("rule-{number:03}"),
        kind: Kind::Rule,
        action: "drop".into(),
        counter: Counter::default(),
        lost: None,
        under: None,
    };
    sample.counted = (0..50).map(rule).collect();
    let mut top = Top::new(sample, Sampling::OneIn(1024), false);
    press(&mut top, "ss");
    let page = |top: &Top| -> Vec<String> {
        let picture = picture(top, 80, 24);
        let words = picture.split_whitespace().filter(|word| word.starts_with("rule-"));
        words.map(str::to_owned).collect()
    };
    let mut seen = page(&top);
    let first = seen.len();
    assert!(first > 3, "{first}");
    assert!(picture(&top, 80, 24).contains(&format!("… and {} more (PgDn)", 50 - first)));
    while seen.last().is_some_and(|last| last != "rule-049") {
        top.press(KeyCode::PageDown.into());
        let shown = page(&top);
        let new = shown.iter().position(|name| Some(name) > seen.last().as_ref().copied());
        let new = new.expect("another page");
        seen.extend_from_slice(&shown[new..]);
    }
    let all: Vec<String> = (0..50).map(|number| format!("rule-{number:03}")).collect();
    assert_eq!(seen, all);
    // There is nothing behind the last page, and one key leads back from it.
    top.press(KeyCode::PageDown.into());
    assert!(picture(&top, 80, 24).contains(&format!("… and {} above (PgUp)", 50 - first)));
    top.press(KeyCode::PageUp.into());
    let both = format!("… and {} above (PgUp), {first} more (PgDn)", 50 - 2 * first);
    assert!(picture(&top, 80, 24).contains(&both), "{}", picture(&top, 80, 24));
    // What is sorted or filtered anew begins at its beginning.
    press(&mut top, "/rule\n");
    assert_eq!(page(&top)[0], "rule-000");
    top.press(KeyCode::PageDown.into());
    press(&mut top, "sss");
    assert_eq!(page(&top)[0], "rule-000");
}

#[test]
fn a_source_stays_selected_until_another_is() {
    let mut top = busy();
    assert_eq!(press(&mut top, "b"), None);
    assert_eq!(top.asking, Asking::Nothing, "nothing is selected");
    assert_eq!(press(&mut top, "jjkby"), Some(Wish::Block(ip("203.0.113.7"))));
    // Others send more now; and it sends no more.
    let mut others = sources();
    others.rotate_left(1);
    top.rank(others.clone(), Sampling::OneIn(64));
    assert_eq!(press(&mut top, "by"), Some(Wish::Block(ip("203.0.113.7"))));
    others.pop();
    top.rank(others, Sampling::OneIn(64));
    assert_eq!(press(&mut top, "bY"), Some(Wish::Block(ip("203.0.113.7"))));
    assert_eq!(press(&mut top, "↑by"), Some(Wish::Block(ip("198.51.100.23"))));
    // What is asked about is what was selected when `b` was pressed, and any other key means no.
    press(&mut top, "b");
    top.rank(Vec::new(), Sampling::OneIn(64));
    assert_eq!(press(&mut top, "\n"), None);
    assert_eq!(top.message.as_deref(), Some("198.51.100.23 was not blocked"));
}

#[test]
fn a_pause_holds_the_picture_and_loses_nothing() {
    let mut top = busy();
    let before = picture(&top, 80, 24);
    press(&mut top, " ");
    top.count(sample(400), SECOND);
    top.rank(Vec::new(), Sampling::OneIn(1));
    let paused = picture(&top, 80, 24);
    let but_title = |picture: &str| picture.split_once('\n').unwrap().1.to_owned();
    assert_eq!(but_title(&paused), but_title(&before));
    assert!(paused.lines().next().unwrap().ends_with("PAUSED\""), "{paused}");
    press(&mut top, " ");
    assert!(picture(&top, 80, 24).contains("481,600"), "1,204 packets in each of 400 seconds");
}

#[test]
fn keys_that_end_it() {
    for key in ["q", "\x1b", "?xq", "/x\x1bq"] {
        assert_eq!(press(&mut busy(), key), Some(Wish::End), "{key:?}");
    }
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    for before in ["", "/x", "jb", "?"] {
        let mut top = busy();
        press(&mut top, before);
        assert_eq!(top.press(interrupt), Some(Wish::End), "{before:?}");
    }
}
