//! What is told to interfaces, and when.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::UNIX_EPOCH;

use super::*;
use crate::agent::health::probe::Outcome;
use crate::ruleset::services::check::{Check, IfUnwatched, Probe, Through};
use std::sync::Arc;

/// Interfaces that note what they are told: `eth0 web b1 down 11s`.
#[derive(Clone, Default)]
struct Noted(Rc<RefCell<Vec<String>>>);

struct Interface {
    name: &'static str,
    noted: Noted,
    is_broken: bool,
}

impl Found for Interface {
    fn set(
        &mut self,
        service: &str,
        backend: &str,
        is_up: Option<bool>,
        deadline: Option<Duration>,
    ) -> Result<()> {
        if self.is_broken {
            return Err(Error::new(format!("{}: broken", self.name)));
        }
        let up = is_up.map_or("unchecked", |is_up| if is_up { "up" } else { "down" });
        let name = self.name;
        let deadline = deadline.map_or_else(String::new, |it| format!(" {}s", it.as_secs()));
        self.noted.0.borrow_mut().push(format!("{name} {service} {backend} {up}{deadline}"));
        Ok(())
    }
}

impl Noted {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.borrow_mut())
    }

    fn planned(&self, name: &'static str, checked: &[Target]) -> Planned<Interface> {
        Planned {
            key: name.to_owned(),
            states: Interface { name, noted: self.clone(), is_broken: false },
            targets: Targets { checked: checked.to_vec(), unchecked: Vec::new() },
            before: None,
        }
    }
}

const CHECK: Check = Check {
    probe: Probe::Icmp,
    through: Through::Backend,
    port: None,
    interval: Duration::from_secs(2),
    timeout: Duration::from_secs(1),
    fall: 2,
    rise: 2,
    if_unwatched: IfUnwatched::Keep,
};

fn target(backend: &str, check: Check) -> Target {
    Target {
        service: "web".to_owned(),
        backend: backend.to_owned(),
        address: [10, 0, 0, 1].into(),
        port: 0,
        way: None,
        check: Arc::new(check),
    }
}

/// A keeper, and the backends that it is told of.
struct Run {
    keeper: Keeper<Interface>,
    noted: Noted,
    /// The time, in seconds.
    now: u64,
}

impl Run {
    fn new() -> Self {
        Self { keeper: Keeper::default(), noted: Noted::default(), now: 1000 }
    }

    fn plan(&mut self, all: Vec<Planned<Interface>>) -> Vec<Order> {
        let (orders, errors) = self.keeper.plan(all, Start::Spread);
        assert_eq!(errors, []);
        orders
    }

    /// Some results of one backend, as `+`, `-` and `?`. Returns what is news.
    fn checks(&mut self, id: u64, results: &str) -> Vec<News> {
        let found = results.chars().map(|result| {
            self.now += 1;
            let verdict = match result {
                '+' => Verdict::Ok,
                '-' => Verdict::Failed("refused".to_owned()),
                _ => Verdict::Unknown("no descriptors".to_owned()),
            };
            let outcome = Outcome { verdict, took: Duration::from_micros(250) };
            let at = UNIX_EPOCH + Duration::from_secs(self.now);
            let (news, errors) = self.keeper.found(&Finding { id, outcome, at });
            assert_eq!(errors, []);
            news
        });
        found.collect::<Vec<_>>().into_iter().flatten().collect()
    }

    fn report(&self, interface: &str) -> Report {
        self.keeper.reports(UNIX_EPOCH).remove(interface).unwrap()
    }
}

fn changed(backend: &str, is_up: bool, in_a_row: u32) -> News {
    let message = if is_up { String::new() } else { "refused".to_owned() };
    let (places, service, backend) =
        (vec!["eth0".to_owned()], "web".to_owned(), backend.to_owned());
    News::Changed { places, service, backend, is_up, message, in_a_row }
}

#[test]
fn what_is_decided_is_told_once() {
    let mut run = Run::new();
    let all = vec![run.noted.planned("eth0", &[target("b1", CHECK), target("b2", CHECK)])];
    let orders = run.plan(all);
    let ids: Vec<u64> = orders
        .iter()
        .map(|order| match order {
            Order::Watch { id, .. } => *id,
            Order::Forget(id) => panic!("{id}"),
        })
        .collect();
    assert_eq!(ids, [0, 1]);
    // That all is well at the beginning is told to the interface, and is no news.
    assert_eq!(run.checks(0, "+++"), []);
    assert_eq!(run.noted.take(), ["eth0 web b1 up"]);
    assert_eq!(run.checks(1, "---"), [changed("b2", false, 2)]);
    assert_eq!(run.noted.take(), ["eth0 web b2 down"]);
    assert_eq!(run.checks(0, "-+-+--+++"), [changed("b1", false, 2), changed("b1", true, 2)]);
    assert_eq!(run.noted.take(), ["eth0 web b1 down", "eth0 web b1 up"]);
    let report = run.report("eth0");
    let [b1, b2] = ["b1", "b2"].map(|it| report.of("web", it).unwrap());
    assert_eq!((b1.is_up, b1.since), (Some(true), Some(1_014_000)));
    assert_eq!((b2.is_up, b2.since), (Some(false), Some(1_005_000)));
    let last = b2.last.as_ref().unwrap();
    assert_eq!((last.result, last.in_a_row, last.rtt_ms), (Word::Failed, 3, 0.25));
    assert_eq!(last.message.as_deref(), Some("refused"));
    // What comes after a backend was forgotten is nobody's.
    assert_eq!(run.checks(7, "--"), []);
    assert_eq!(run.noted.take(), Vec::<String>::new());
}

/// What could not be checked counts neither way.
#[test]
fn what_says_nothing_of_the_backend() {
    let mut run = Run::new();
    let all = vec![run.noted.planned("eth0", &[target("b1", CHECK)])];
    run.plan(all);
    let unchecked = News::Unchecked {
        service: "web".to_owned(),
        backend: "b1".to_owned(),
        message: "no descriptors".to_owned(),
    };
    assert_eq!(run.checks(0, "++??????").as_slice(), std::slice::from_ref(&unchecked));
    assert_eq!(run.noted.take(), ["eth0 web b1 up"]);
    assert_eq!(run.report("eth0").checks[0].last.as_ref().unwrap().in_a_row, 6);
    assert_eq!(run.checks(0, "-?-"), [unchecked, changed("b1", false, 2)]);
}

/// With `if_unwatched = "up"`, a backend stays down as long as somebody says so.
#[test]
fn deadlines_are_renewed() {
    let mut run = Run::new();
    let check = Check { if_unwatched: IfUnwatched::Up, ..CHECK };
    let all = vec![run.noted.planned("eth0", &[target("b1", check)])];
    run.plan(all);
    run.checks(0, "++--");
    assert_eq!(run.noted.take(), ["eth0 web b1 up", "eth0 web b1 down 11s"]);
    run.checks(0, "-+?");
    assert_eq!(run.noted.take(), ["eth0 web b1 down 11s"; 3]);
    run.checks(0, "+");
    assert_eq!(run.noted.take(), ["eth0 web b1 up"]);
    run.checks(0, "+-");
    assert_eq!(run.noted.take(), Vec::<String>::new());
}

/// The same file on two interfaces: one check, and both are told.
#[test]
fn a_backend_of_two_interfaces_is_checked_once() {
    let mut run = Run::new();
    let (b1, other) = (target("b1", CHECK), target("b1", Check { fall: 1, ..CHECK }));
    let planned = |noted: &Noted| {
        vec![
            noted.planned("eth0", std::slice::from_ref(&b1)),
            noted.planned("eth1", std::slice::from_ref(&b1)),
            noted.planned("eth2", std::slice::from_ref(&other)),
        ]
    };
    let all = planned(&run.noted);
    assert_eq!(run.plan(all).len(), 2);
    run.checks(0, "--");
    assert_eq!(run.noted.take(), ["eth0 web b1 down", "eth1 web b1 down"]);
    run.checks(1, "-");
    assert_eq!(run.noted.take(), ["eth2 web b1 down"]);
    assert_eq!(run.report("eth1").checks.len(), 1);
    // One interface goes.
    let all = planned(&run.noted).into_iter().skip(1).collect();
    assert_eq!(run.plan(all), []);
    assert_eq!(run.noted.take(), ["eth1 web b1 down", "eth2 web b1 down"]);
}

/// After a reload, what has not changed goes on, and is told to the maps again.
#[test]
fn reloads() {
    let mut run = Run::new();
    let (b1, b2) = (target("b1", CHECK), target("b2", CHECK));
    let all = vec![run.noted.planned("eth0", &[b1.clone(), b2])];
    run.plan(all);
    run.checks(0, "--");
    run.checks(1, "++-");
    run.noted.take();
    // The second backend has another check, and a third one comes.
    let second = target("b2", Check { interval: Duration::from_secs(1), ..CHECK });
    let third = target("b3", CHECK);
    let all = vec![run.noted.planned("eth0", &[b1.clone(), second.clone(), third.clone()])];
    let watch =
        |id, target: &Target| Order::Watch { id, target: target.clone(), start: Start::Spread };
    assert_eq!(run.plan(all), [watch(2, &second), watch(3, &third), Order::Forget(1)]);
    assert_eq!(run.noted.take(), ["eth0 web b1 down"]);
    assert_eq!(run.report("eth0").of("web", "b2").unwrap().is_up, Some(true));
    assert_eq!(run.checks(2, "-"), [], "counted anew");
    assert_eq!(run.checks(2, "-"), [changed("b2", false, 2)]);
    // The third one gets another address: nothing is known of that.
    run.checks(3, "++");
    run.noted.take();
    let moved = Target { address: [10, 0, 0, 9].into(), ..third };
    let all = vec![run.noted.planned("eth0", &[b1, second, moved.clone()])];
    assert_eq!(run.plan(all), [watch(4, &moved), Order::Forget(3)]);
    assert_eq!(run.report("eth0").of("web", "b3").unwrap().is_up, None);
}

/// A backend that is down when its check is taken out of the configuration is given back.
#[test]
fn what_is_no_longer_checked_is_given_back() {
    let mut run = Run::new();
    let all = vec![run.noted.planned("eth0", &[target("b1", CHECK), target("b2", CHECK)])];
    run.plan(all);
    run.checks(0, "--");
    run.noted.take();
    let unchecked = |noted: &Noted, before| {
        let mut planned = noted.planned("eth0", &[]);
        let pair = |service: &str, backend: &str| (service.to_owned(), backend.to_owned());
        planned.targets.unchecked = vec![pair("web", "b1"), pair("other", "b1")];
        vec![Planned { before, ..planned }]
    };
    let report = run.report("eth0");
    let all = unchecked(&run.noted, None);
    assert_eq!(run.plan(all), [Order::Forget(0), Order::Forget(1)]);
    assert_eq!(run.noted.take(), ["eth0 web b1 unchecked"]);
    // The same where the daemon was not there meanwhile.
    let mut run = Run::new();
    let all = unchecked(&run.noted, Some(report));
    assert_eq!(run.plan(all), []);
    assert_eq!(run.noted.take(), ["eth0 web b1 unchecked"]);
}

/// A daemon that is started anew goes on with what the one before has found.
#[test]
fn restarts() {
    let mut run = Run::new();
    let check = Check { if_unwatched: IfUnwatched::Up, ..CHECK };
    let targets = [target("b1", CHECK), target("b2", check)];
    let all = vec![run.noted.planned("eth0", &targets)];
    run.plan(all);
    run.checks(0, "++");
    run.checks(1, "--");
    let report = run.report("eth0");
    let mut run = Run { now: 2000, ..Run::new() };
    let all = vec![Planned { before: Some(report), ..run.noted.planned("eth0", &targets) }];
    let last = |report: &Report| report.of("web", "b2").and_then(|it| it.last.clone());
    let before = last(all[0].before.as_ref().unwrap());
    assert_eq!(run.plan(all).len(), 2);
    assert_eq!(run.noted.take(), Vec::<String>::new());
    // Nobody has checked it since: what the process before has found last is kept.
    assert!(before.is_some());
    assert_eq!(last(&run.report("eth0")), before);
    assert_eq!(run.checks(0, "-+-++"), []);
    assert_eq!(run.noted.take(), ["eth0 web b1 up"]);
    // What would end by itself meanwhile is kept up.
    assert_eq!(run.checks(1, "+--"), []);
    assert_eq!(run.noted.take(), ["eth0 web b2 down 11s"; 3]);
    let b2 = run.report("eth0").of("web", "b2").cloned().unwrap();
    assert_eq!((b2.is_up, b2.since), (Some(false), Some(1_004_000)), "since the first time");
}

#[test]
fn what_cannot_be_told_is_said_once() {
    let mut run = Run::new();
    let check = Check { if_unwatched: IfUnwatched::Up, ..CHECK };
    let planned = |noted: &Noted| {
        let mut planned = noted.planned("eth0", &[target("b1", check.clone())]);
        planned.states.is_broken = true;
        vec![planned]
    };
    let all = planned(&run.noted);
    run.plan(all);
    let mut errors = Vec::new();
    for at in 0..5 {
        let outcome = Outcome { verdict: Verdict::Failed("x".to_owned()), took: Duration::ZERO };
        let at = UNIX_EPOCH + Duration::from_secs(at);
        errors.push(run.keeper.found(&Finding { id: 0, outcome, at }).1.len());
    }
    assert_eq!(errors, [0, 1, 0, 0, 0]);
    let (_, errors) = run.keeper.plan(planned(&run.noted), Start::Spread);
    assert_eq!(errors.len(), 1);
}

#[test]
fn when_all_is_settled() {
    let mut run = Run::new();
    let all = vec![run.noted.planned("eth0", &[target("b1", CHECK), target("b2", CHECK)])];
    run.plan(all);
    assert!(!run.keeper.is_settled());
    run.checks(0, "++");
    run.checks(1, "+-+-+-+");
    assert!(!run.keeper.is_settled());
    run.checks(1, "-");
    assert!(run.keeper.is_settled(), "it is never going to be");
    assert_eq!(run.keeper.all().map(|(_, it)| it.is_up).collect::<Vec<_>>(), [Some(true), None]);
}
