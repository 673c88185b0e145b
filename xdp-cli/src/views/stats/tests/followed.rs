//! The loop, with a source that needs no kernel.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;
use std::thread;
use std::time::Instant;

use super::*;
use crate::views::stats::follow::{Error, Options, follow};
use crate::views::stats::stop::Stop;

const HOUR: Duration = Duration::from_secs(3600);

fn options() -> Options {
    Options {
        interval: Duration::from_millis(10),
        count: None,
        once: false,
        json: false,
        all: false,
    }
}

/// Follows a source that always works. Returns what was printed, and how often the source was
/// asked.
fn followed(options: Options, is_terminal: bool) -> (String, u64) {
    let (mut out, mut asked) = (Vec::new(), 0);
    let mut source = || {
        asked += 1;
        let mut sample = example();
        sample.count(Verdict::Pass, Reason::Default, 1000 * asked, 100_000 * asked);
        Ok::<_, String>(vec![sample])
    };
    follow(&mut source, &options, &mut out, is_terminal, &Stop::new()).unwrap();
    (String::from_utf8(out).unwrap(), asked)
}

#[test]
fn as_many_as_asked_for() {
    for count in [0, 1, 3] {
        let (out, asked) = followed(Options { count: Some(count), json: true, ..options() }, true);
        assert_eq!(asked, count);
        assert_eq!(out.lines().count() as u64, count);
        assert!(out.lines().all(|line| line.starts_with("{\"interface\"")), "{out}");
    }
}

#[test]
fn once_is_one_sample_without_rates_and_without_waiting() {
    let start = Instant::now();
    let (out, asked) = followed(Options { once: true, interval: HOUR, ..options() }, true);
    assert_eq!(asked, 1);
    assert!(out.starts_with("eth0: native mode"), "{out}");
    assert!(!out.contains('\x1b') && !out.contains("PACKETS/S"), "{out}");
    assert!(start.elapsed() < HOUR / 60);
}

#[test]
fn the_last_sample_is_not_waited_after() {
    let start = Instant::now();
    followed(Options { count: Some(1), interval: HOUR, ..options() }, false);
    assert!(start.elapsed() < HOUR / 60);
}

#[test]
fn lines_have_rates_from_the_second_sample_on() {
    let (out, _) = followed(Options { count: Some(2), ..options() }, false);
    let pass: Vec<_> = out.lines().filter(|line| line.starts_with("verdict    pass")).collect();
    assert!(pass[0].ends_with("-"), "{out}");
    assert!(pass[1].ends_with("M") || pass[1].ends_with("k"), "{out}");
    assert_eq!(out.matches("\n\neth0: ").count(), 1, "{out}");
}

#[test]
fn a_terminal_gets_a_picture_and_its_cursor_back() {
    let (out, _) = followed(Options { count: Some(2), ..options() }, true);
    assert!(out.contains("\x1b[?25l") && out.ends_with("\x1b[?25h"), "{out:?}");
}

#[test]
fn no_sample_is_taken_before_its_time() {
    let start = Instant::now();
    let mut times = Vec::new();
    let mut source = || {
        times.push(start.elapsed());
        Ok::<_, String>(vec![example()])
    };
    let interval = Duration::from_millis(20);
    let options = Options { interval, count: Some(4), ..options() };
    follow(&mut source, &options, &mut Vec::new(), false, &Stop::new()).unwrap();
    for (number, time) in (0..).zip(times) {
        assert!(time >= interval * number, "sample {number} after {time:?}");
    }
}

#[test]
fn a_stop_ends_the_wait_at_once() {
    let stop = Stop::new();
    let setter = stop.clone();
    let start = Instant::now();
    let thread = thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        setter.set();
    });
    let mut asked = 0;
    let mut source = || {
        asked += 1;
        Ok::<_, String>(vec![example()])
    };
    let options = Options { interval: HOUR, ..options() };
    follow(&mut source, &options, &mut Vec::new(), false, &stop).unwrap();
    thread.join().unwrap();
    assert_eq!(asked, 1);
    assert!(start.elapsed() < HOUR / 60);
}

#[test]
fn an_interval_beyond_all_time_still_stops() {
    let stop = Stop::new();
    let setter = stop.clone();
    let thread = thread::spawn(move || setter.set());
    let options = Options { interval: Duration::MAX, ..options() };
    let mut source = || Ok::<_, String>(vec![example()]);
    follow(&mut source, &options, &mut Vec::new(), false, &stop).unwrap();
    thread.join().unwrap();
}

#[test]
fn stopped_before_it_began() {
    let stop = Stop::new();
    stop.set();
    let mut source = || Err("asked");
    follow(&mut source, &options(), &mut Vec::new(), false, &stop).unwrap();
}

#[test]
fn a_reader_that_went_away_is_a_good_end() {
    for (json, is_terminal) in [(true, false), (false, false), (false, true)] {
        let (reader, mut writer) = io::pipe().unwrap();
        drop(reader);
        let mut asked = 0;
        let mut source = || {
            asked += 1;
            Ok::<_, String>(vec![example()])
        };
        let options = Options { json, interval: HOUR, ..options() };
        follow(&mut source, &options, &mut writer, is_terminal, &Stop::new()).unwrap();
        assert_eq!(asked, 1);
    }
}

#[test]
fn what_goes_wrong_is_told() {
    let mut left = 2;
    let mut source = || {
        left -= 1;
        if left == 0 { Err("gone") } else { Ok(vec![example()]) }
    };
    let mut out = Vec::new();
    let error = follow(&mut source, &options(), &mut out, true, &Stop::new()).unwrap_err();
    assert!(matches!(error, Error::Source("gone")));
    assert!(out.ends_with(b"\x1b[?25h"));

    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut source = || Ok::<_, io::Error>(vec![example()]);
    let error = follow(&mut source, &options(), &mut Full, false, &Stop::new()).unwrap_err();
    assert!(matches!(error, Error::Output(_)));
}

/// Remembers what was written when it was flushed.
#[derive(Clone, Default)]
struct Flushed(Rc<RefCell<(Vec<u8>, Vec<usize>)>>);

impl Write for Flushed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().0.extend(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        let (written, flushes) = &mut *self.0.borrow_mut();
        flushes.push(written.len());
        Ok(())
    }
}

#[test]
fn each_line_of_json_is_flushed() {
    let mut out = Flushed::default();
    let mut source = || Ok::<_, String>(vec![example(), busy()]);
    let options = Options { json: true, once: true, ..options() };
    follow(&mut source, &options, &mut out.clone(), false, &Stop::new()).unwrap();
    out.flush().unwrap();
    let (written, flushes) = &*out.0.borrow();
    let ends = written.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    let ends: Vec<usize> = ends.map(|(place, _)| place + 1).collect();
    assert_eq!(flushes[..2], ends);
}
