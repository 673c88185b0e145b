//! Looks one after the other, and what commands say in between.

use super::*;
use crate::config::prefix::parse;
use crate::views::monitor::text::sentence;

/// Time as the test lets it pass.
struct Clock {
    begun: Instant,
    seconds: u64,
}

impl Clock {
    fn new() -> Self {
        Self { begun: Instant::now(), seconds: 0 }
    }

    fn now(&self) -> Now {
        let time = UNIX_EPOCH + Duration::from_secs(1000 + self.seconds);
        Now { time, instant: self.at(self.seconds) }
    }

    fn at(&self, seconds: u64) -> Instant {
        self.begun + Duration::from_secs(seconds)
    }
}

fn seen() -> Seen {
    Seen {
        name: "eth0".into(),
        ifindex: 2,
        link: Link::Up,
        link_id: 10,
        program_id: 20,
        mode: "native".into(),
        generation: 1,
        config: "/a.toml".into(),
        pending: false,
        trial: false,
        bypass: false,
        targets: vec![SeenTarget {
            to: "out0".into(),
            target: Target::Up,
            rules: vec!["on".into()],
        }],
        entries: Some(Entries::new()),
    }
}

fn state(seen: Option<Seen>) -> State {
    seen.map(|seen| ("2".to_owned(), seen)).into_iter().collect()
}

fn entries(all: &[(&str, &str, u64, Option<Instant>)]) -> Option<Entries> {
    let entry = |(prefix, owner, created, ends): &(&str, &str, u64, Option<Instant>)| {
        let key = (parse(prefix).unwrap().prefix, (*owner).to_owned());
        (key, Entry { kind: Kind::Block, ends: *ends, created: *created, note: None })
    };
    Some(all.iter().map(entry).collect())
}

fn said(what: What, time: u64) -> Event {
    Event {
        time: UNIX_EPOCH + Duration::from_millis(time),
        interface: Some("eth0".into()),
        ifindex: Some(2),
        what,
        by: None,
        namespace: None,
    }
}

fn sentences(events: &[Event]) -> Vec<String> {
    events.iter().map(sentence).collect()
}

/// Looks, and then looks again when nothing that was found can wait any more.
fn unsaid(before: Option<Seen>, after: Option<Seen>, say: &[Event]) -> Vec<String> {
    let mut clock = Clock::new();
    let mut watch = Watch::new(state(before), None);
    let after = state(after);
    let mut events = watch.look(after.clone(), clock.now());
    say.iter().for_each(|event| watch.said(event));
    assert_eq!(watch.unsaid(clock.now()), [], "a command has time to say it");
    clock.seconds = 4;
    events.extend(watch.look(after, clock.now()));
    events.extend(watch.unsaid(clock.now()));
    clock.seconds = 100;
    assert_eq!(watch.unsaid(clock.now()), [], "nothing is told twice");
    sentences(&events)
}

#[test]
fn nothing_new_is_nothing() {
    assert_eq!(unsaid(Some(seen()), Some(seen()), &[]), [""; 0]);
    let not_read = Seen { entries: None, ..seen() };
    let with = Seen { entries: entries(&[("10.0.0.1", "cli", 5, None)]), ..seen() };
    assert_eq!(unsaid(Some(with), Some(not_read), &[]), [""; 0]);
}

#[test]
fn what_no_command_says_is_told_by_itself() {
    let by = ", by a command that did not say so";
    let attached = format!("eth0: attached in native mode, generation 1, from /a.toml{by}");
    let detached = format!("eth0: detached{by}");
    assert_eq!(unsaid(None, Some(seen()), &[]), [attached.as_str()]);
    assert_eq!(unsaid(Some(seen()), None, &[]), [detached.as_str()]);
    let again = Seen { link_id: 11, ..seen() };
    assert_eq!(unsaid(Some(seen()), Some(again), &[]), [detached, attached]);
    let exchanged = Seen { program_id: 21, generation: 2, ..seen() };
    assert_eq!(
        unsaid(Some(seen()), Some(exchanged), &[]),
        [format!("eth0: program replaced in native mode, generation 2, from /a.toml{by}")]
    );
    let reloaded = Seen { generation: 2, ..seen() };
    assert_eq!(
        unsaid(Some(seen()), Some(reloaded), &[]),
        [format!("eth0: reloaded from /a.toml, generation 2{by}")]
    );
    let pending = || Seen { pending: true, ..seen() };
    assert_eq!(
        unsaid(Some(pending()), Some(seen()), &[]),
        [format!("eth0: confirmed, it stays attached{by}")]
    );
    assert_eq!(
        unsaid(Some(pending()), None, &[]),
        ["eth0: killed before it was confirmed, detached again"]
    );
    let bypassed = Seen { bypass: true, ..seen() };
    assert_eq!(
        unsaid(Some(seen()), Some(bypassed), &[]),
        [format!("eth0: bypass on, everything passes{by}")]
    );
}

#[test]
fn what_a_command_says_is_not_told_again() {
    let attach = |generation, replaced| What::Attach {
        mode: "native".into(),
        generation,
        config: "/a.toml".into(),
        replaced,
        confirm_seconds: None,
        restored: 0,
    };
    let reload = |generation| What::Reload {
        generation,
        config: "/a.toml".into(),
        changes: Changes::default(),
        confirm_seconds: None,
    };
    let all: [(Option<Seen>, Option<Seen>, &[What]); 8] = [
        (None, Some(seen()), &[attach(1, false)]),
        // Two commands between two looks.
        (None, Some(Seen { generation: 2, ..seen() }), &[attach(1, false), reload(2)]),
        (Some(seen()), Some(Seen { program_id: 21, generation: 2, ..seen() }), &[attach(2, true)]),
        (Some(seen()), Some(Seen { generation: 3, ..seen() }), &[reload(2), reload(3)]),
        (Some(seen()), None, &[What::Detach { moved: false }]),
        (
            Some(seen()),
            Some(Seen { link_id: 11, ..seen() }),
            &[What::Detach { moved: false }, attach(1, false)],
        ),
        (
            Some(Seen { pending: true, ..seen() }),
            None,
            &[What::Rollback { why: Unconfirmed::Timeout, generation: None }],
        ),
        (Some(seen()), Some(Seen { bypass: true, ..seen() }), &[What::Bypass { on: true }]),
    ];
    for (before, after, whats) in all {
        let events: Vec<Event> = whats.iter().map(|what| said(what.clone(), 7)).collect();
        assert_eq!(unsaid(before, after, &events), [""; 0], "{whats:?}");
    }
    // The command that put the ruleset in force did not say so, but one before did.
    let events = [said(reload(2), 7)];
    let told = unsaid(Some(seen()), Some(Seen { generation: 3, ..seen() }), &events);
    assert_eq!(told.len(), 1, "{told:?}");
    // It was said of another interface.
    let elsewhere = Event { ifindex: Some(3), ..said(reload(3), 7) };
    let told = unsaid(Some(seen()), Some(Seen { generation: 3, ..seen() }), &[elsewhere]);
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn a_ruleset_on_trial_stays_or_goes_back() {
    let tried = || Some(Seen { generation: 2, trial: true, ..seen() });
    let stays = || Some(Seen { generation: 2, ..seen() });
    let confirm = |generation| What::Confirm { generation };
    assert_eq!(unsaid(tried(), stays(), &[said(confirm(Some(2)), 7)]), [""; 0]);
    assert_eq!(
        unsaid(tried(), stays(), &[said(confirm(None), 7)]),
        ["eth0: confirmed, generation 2 stays in force, by a command that did not say so"]
    );
    let back = |why| said(What::Rollback { why, generation: Some(1) }, 7);
    for why in [Unconfirmed::Timeout, Unconfirmed::Stopped] {
        assert_eq!(unsaid(tried(), Some(seen()), &[back(why)]), [""; 0]);
    }
    // The command that would have said so was killed.
    assert_eq!(
        unsaid(tried(), Some(seen()), &[]),
        ["eth0: not confirmed in time, generation 1 is in force again"]
    );
}

#[test]
fn entries_are_known_by_when_they_were_put() {
    let prefixes = ["10.0.0.1", "10.0.0.2"].map(|text| parse(text).unwrap().prefix);
    let block = |owner| What::set(Kind::Block, owner, None, None, &prefixes);
    let both = || entries(&[("10.0.0.1", "cli", 5, None), ("10.0.0.2", "cli", 5, None)]);
    let with = |entries| Some(Seen { entries, ..seen() });
    assert_eq!(unsaid(with(entries(&[])), with(both()), &[said(block("cli"), 5)]), [""; 0]);
    let by = ", by a command that did not say so";
    let told = [format!("eth0: blocked 2 prefixes, 10.0.0.1/32, 10.0.0.2/32 (owner cli){by}")];
    // Of another owner, or at another time: that was another command.
    for said in [said(block("sshd"), 5), said(block("cli"), 6)] {
        assert_eq!(unsaid(with(entries(&[])), with(both()), &[said]), told);
    }
    // Put anew.
    let anew = entries(&[("10.0.0.1", "cli", 9, None), ("10.0.0.2", "cli", 5, None)]);
    let told = [format!("eth0: blocked 10.0.0.1/32 (owner cli){by}")];
    assert_eq!(unsaid(with(both()), with(anew), &[]), told);

    let one = || entries(&[("10.0.0.1", "cli", 5, None)]);
    let unblock = said(What::unset(None, &prefixes[1..]), 9);
    assert_eq!(unsaid(with(both()), with(one()), &[unblock]), [""; 0]);
    let other = said(What::unset(Some("sshd"), &prefixes[1..]), 9);
    let told = [format!("eth0: unblocked 10.0.0.2/32 (owner cli){by}")];
    assert_eq!(unsaid(with(both()), with(one()), &[other]), told);
}

#[test]
fn entries_that_the_program_put_are_told_at_once() {
    let clock = Clock::new();
    let mut watch = Watch::new(state(Some(seen())), None);
    let ends = Some(clock.at(600));
    let entries = entries(&[("10.0.0.1", "rule:ssh", 5, ends)]);
    watch.look(state(Some(Seen { entries, ..seen() })), clock.now());
    assert_eq!(
        sentences(&watch.unsaid(clock.now())),
        ["eth0: blocked 10.0.0.1/32 for 10m (owner rule:ssh)"]
    );
}

#[test]
fn entries_end_once() {
    let mut clock = Clock::new();
    let ends = [clock.at(10), clock.at(20)].map(Some);
    let both = || entries(&[("10.0.0.1", "a", 5, ends[0]), ("10.0.0.2", "b", 5, ends[1])]);
    let mut watch = Watch::new(state(Some(Seen { entries: both(), ..seen() })), None);
    assert_eq!(watch.next(), ends[0]);
    let unread = || state(Some(Seen { entries: None, ..seen() }));
    clock.seconds = 9;
    assert_eq!(watch.look(unread(), clock.now()), []);
    clock.seconds = 10;
    assert_eq!(
        sentences(&watch.look(unread(), clock.now())),
        ["eth0: block of 10.0.0.1/32 ended (owner a)"]
    );
    assert_eq!(watch.next(), ends[1]);
    // A command swept it, and one removed the other before its time.
    let swept = Seen { entries: entries(&[]), ..seen() };
    assert_eq!(watch.look(state(Some(swept)), clock.now()), []);
    clock.seconds = 30;
    assert_eq!(
        sentences(&watch.unsaid(clock.now())),
        ["eth0: unblocked 10.0.0.2/32 (owner b), by a command that did not say so"]
    );
    assert_eq!(watch.look(unread(), clock.now()), []);
    assert_eq!(watch.next(), None);
}

#[test]
fn interfaces_are_told_at_once() {
    let clock = Clock::new();
    let mut watch = Watch::new(state(Some(seen())), None);
    let mut told = watch.interface(2, "eth0", true, clock.now());
    assert_eq!(told, []);
    assert_eq!(watch.interface(3, "eth1", false, clock.now()), []);
    // Down and up again between two looks.
    told.extend(watch.interface(2, "eth0", false, clock.now()));
    told.extend(watch.interface(2, "eth0", true, clock.now()));
    told.extend(watch.interface(2, "wan0", true, clock.now()));
    assert_eq!(
        sentences(&told),
        ["eth0: link down", "eth0: link up", "wan0: renamed, it was eth0"]
    );
    let as_told = Seen { name: "wan0".into(), ..seen() };
    assert_eq!(watch.look(state(Some(as_told.clone())), clock.now()), []);
    let mut told = Vec::new();
    for link in [Link::Gone, Link::Up, Link::Moved, Link::Stripped] {
        let seen = Seen { link, ..as_told.clone() };
        told.extend(watch.look(state(Some(seen)), clock.now()));
        if link != Link::Up {
            assert_eq!(watch.interface(2, "eth9", true, clock.now()), [], "not that one");
        }
    }
    for target in [Target::Down, Target::Gone, Target::Back] {
        let mut seen = Seen { link: Link::Stripped, ..as_told.clone() };
        seen.targets[0].target = target;
        told.extend(watch.look(state(Some(seen)), clock.now()));
    }
    assert_eq!(
        sentences(&told),
        [
            "wan0: the interface is gone",
            "wan0: link up",
            "wan0: the interface was moved to another network namespace, and is filtered still",
            "wan0: the program was taken off by other means than xdpctl: nothing is filtered",
            "wan0: redirect target out0 is down: what rule \"on\" sends there is dropped",
            "wan0: redirect target out0 is gone: what rule \"on\" sends there is dropped",
            "wan0: redirect target out0 is back: a reload has rule \"on\" send there again",
        ]
    );
}
