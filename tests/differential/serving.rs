//! Random services over random histories (`tests/model/services.rs`), in the kernel: rulesets that are put
//! in force one after the other, what commands and checks say, and frames in between.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::thread;
use std::time::Duration;

use xdp_common::filter::tracking::{MOMENT_SHIFT, Said};
use xdp_common::stats::counter::CounterId;
use xdpctl::datapath::maps::states::{By, Word};
use xdpctl::datapath::program::clock;

use crate::bench;
use crate::config::Config;
use crate::dice::{Dice, seed, setting};
use crate::filter::{Filter, Given};
use crate::judge::{Opinion, judge};
use crate::leaving::{Leaves, leaves};
use crate::loading;
use crate::service_config::{Services, State};
use crate::service_rulesets::{changed, config, frame, services};
use crate::services::{Balancer, Ids, Say, Who, Work};

const EVENTS: usize = 400;
/// Of `lo`: as far as an IP packet can say.
const MTU: u16 = u16::MAX;

struct History<'f> {
    config: Config,
    model: Balancer,
    filter: &'f mut Filter,
    told: String,
}

/// Time goes on here as it does: nothing that ends may do so in the middle of a history.
fn lasting(mut services: Services) -> Services {
    for service in &mut services.all {
        service.affinity = service.affinity.map(|_| 600);
        service.udp_timeout = service.udp_timeout.map(|_| 100);
    }
    services
}

/// Waits until the packets' coarse clock has the moment of a change: it is up to a tick behind.
fn catch_up() {
    const MOMENT: u64 = 1 << MOMENT_SHIFT;
    const TICK: Duration = Duration::from_millis(11);
    // As long as a change may have taken.
    const CHANGE: u64 = MOMENT / 2;
    if clock::now().unwrap() % MOMENT < CHANGE {
        thread::sleep(TICK);
    }
}

impl<'f> History<'f> {
    fn begin(dice: &mut Dice, filter: &'f mut Filter) -> Self {
        // Forgets all that the history before has left.
        filter.put(&Config::default()).unwrap();
        let config = config(dice);
        let mut history = Self { config, model: Balancer::default(), filter, told: String::new() };
        let wanted = services(dice, &mut |services| history.accepts(services));
        assert!(history.reload(wanted), "they were accepted before");
        history
    }

    fn accepts(&self, services: &Services) -> bool {
        let config = Config { services: services.clone(), ..self.config.clone() };
        loading::ruleset(&config).is_ok()
    }

    /// Whether they go together.
    fn reload(&mut self, services: Services) -> bool {
        let services = lasting(services);
        if !self.accepts(&services) {
            return false;
        }
        let config = Config { services, ..self.config.clone() };
        let _ = writeln!(self.told, "reload\n{}", config.to_toml().0);
        self.filter.put(&config).unwrap_or_else(|error| panic!("{}{error}", self.told));
        let metadata = self.filter.metadata().expect("a ruleset is in force");
        let id = |number: u32| CounterId::new(number).0;
        let of = metadata.services().map(|(service, backends)| {
            (id(service.number), backends.iter().map(|it| id(it.number)).collect())
        });
        let (services, backends) = of.unzip();
        self.model.now = clock::now().unwrap();
        self.model.reload(&config.services, Ids { services, backends });
        self.config = config;
        catch_up();
        true
    }

    fn say(&mut self, dice: &mut Dice) {
        let service = dice.below(self.config.services.all.len());
        let backend = dice.below(self.config.services.all[service].backends.len());
        let (who, by, states) = match dice.one_in(3) {
            true => (Who::Command, By::Command, &[State::Up, State::Drain, State::Down][..]),
            false => (Who::Check, By::Check, &[State::Up, State::Down][..]),
        };
        let state = dice.pick(states);
        self.model.now = clock::now().unwrap();
        let later = (self.model.now >> MOMENT_SHIFT) + 10_000;
        let say: Say = (!dice.one_in(4)).then(|| (state, dice.maybe(3, |_| later)));
        let word = match say {
            None => Word { said: Said::Nothing, until: 0 },
            Some((state, until)) => {
                let said = match state {
                    State::Up => Said::Up,
                    State::Drain => Said::Drain,
                    State::Down => Said::Down,
                };
                Word { said, until: until.unwrap_or(0) }
            }
        };
        let _ = writeln!(self.told, "{who:?} says of {service} {backend}: {say:?}");
        let ids = self.model.ids();
        self.filter.say(ids.services[service], ids.backends[service][backend], by, word);
        self.model.say(service, backend, who, say);
        catch_up();
    }

    /// Returns how it leaves.
    fn frame(&mut self, frame: &[u8]) -> &'static str {
        let mut opinion = judge(&self.config, frame);
        let asks = opinion.verdict == "pass" || opinion.reason == "default";
        let asks = asks && !["malformed", "arp"].contains(&opinion.reason);
        self.model.now = clock::now().unwrap();
        let work = asks.then(|| self.model.serve(frame)).flatten();
        let mut met = "none";
        if let Some(work) = work {
            met = self.served(&mut opinion, work, frame);
        }
        let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        let _ = writeln!(self.told, "{hex}");
        let difference = self.filter.compare(&opinion, Given { frame, first: None });
        // What is cut short is dropped while it is rewritten: nobody sees how far that got. Its
        // connection is remembered.
        if !met.is_empty()
            && let Some(difference) = difference
        {
            panic!("{}--- two opinions differ\n{work:?}\n{difference}", self.told);
        }
        met
    }

    fn served(&self, opinion: &mut Opinion, work: Work, frame: &[u8]) -> &'static str {
        let (service, backend) = self.model.names(work);
        let leaves = leaves(self.model.services(), work, MTU, frame);
        opinion.reason = "service";
        let mut count = |kind, name: String| opinion.counted.push((kind, name));
        count("service", service.to_owned());
        if let Some(backend) = backend {
            count("backend", format!("{service}/{backend}"));
        }
        if work.begins() {
            count("new", service.to_owned());
        }
        let (verdict, met) = match &leaves {
            Leaves::Back(_) => ("tx", "back"),
            Leaves::Up => ("pass", "no_backend"),
            Leaves::Lost(why) => ("drop", *why),
        };
        if !["back", ""].contains(&met) {
            count(met, service.to_owned());
        }
        opinion.verdict = verdict;
        if let Leaves::Back(frame) = leaves {
            opinion.answer = Some(frame);
        }
        if verdict == "pass" { "up" } else { met }
    }
}

/// `XDPCTL_MODEL_HISTORIES` of them.
#[test]
fn model_and_program_serve_alike() {
    let histories = setting("XDPCTL_MODEL_HISTORIES").unwrap_or(10);
    let seed = seed();
    let outcomes = bench::within(|| {
        let mut dice = Dice::new(seed);
        let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
        let mut filter = Filter::load();
        for _ in 0..histories {
            let mut history = History::begin(&mut dice, &mut filter);
            for _ in 0..EVENTS {
                match dice.below(40) {
                    0 => {
                        let wanted = changed(&mut dice, &history.config.services);
                        history.reload(wanted);
                    }
                    1..4 => history.say(&mut dice),
                    _ => {
                        let frame = frame(&mut dice, &history.config.services);
                        if history.filter.is_ordinary(&frame, frame.len()) {
                            *outcomes.entry("ordinary").or_default() += 1;
                        }
                        *outcomes.entry(history.frame(&frame)).or_default() += 1;
                    }
                }
            }
        }
        outcomes
    });
    println!("{histories} histories: {outcomes:?}");
    for met in ["none", "back", "ttl", "fragment", "ordinary"] {
        assert!(outcomes.contains_key(met), "{met}: {outcomes:?}");
    }
}
