//! Random services over random histories: reloads, commands, checks, time, and frames in between. The model
//! and the product say of each frame which service takes it, which backend it goes to, and how it leaves.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::config::Config;
use super::dice::{Dice, seed, setting};
use super::judge::judge;
use super::leaving::{Leaves, leaves};
use super::loading;
use super::service_config::{Services, State};
use super::service_product::{MTU, Outcome, Product};
use super::service_rulesets::{changed, config, frame, services};
use super::services::{Balancer, Say, Who};

const EVENTS: usize = 300;
const SECOND: u64 = 1_000_000_000;

struct History {
    config: Config,
    model: Balancer,
    product: Product,
    /// What happened, for whoever has to find out.
    told: String,
}

impl History {
    fn begin(dice: &mut Dice) -> Self {
        let config = config(dice);
        let (model, product) = (Balancer::default(), Product::default());
        let mut history = Self { config, model, product, told: String::new() };
        history.step(1_000 * SECOND + dice.word() % SECOND);
        let wanted = services(dice, &mut |services| history.accepts(services));
        assert!(history.reload(wanted), "they were accepted before");
        history
    }

    fn accepts(&self, services: &Services) -> bool {
        let config = Config { services: services.clone(), ..self.config.clone() };
        loading::ruleset(&config).is_ok()
    }

    fn step(&mut self, time: u64) {
        let _ = writeln!(self.told, "{time} ns pass");
        self.model.now += time;
        self.product.step(time);
    }

    /// Whether they go together.
    fn reload(&mut self, services: Services) -> bool {
        let config = Config { services, ..self.config.clone() };
        let Ok(ruleset) = loading::ruleset(&config) else { return false };
        let _ = writeln!(self.told, "reload\n{}", config.to_toml().0);
        let ids = self.product.reload(&ruleset);
        self.model.reload(&config.services, ids);
        self.config = config;
        true
    }

    fn say(&mut self, dice: &mut Dice) {
        let services = &self.config.services.all;
        let all = services.iter().enumerate().flat_map(|(at, service)| {
            service.backends.iter().enumerate().map(move |(nth, it)| (at, nth, it.state))
        });
        let all: Vec<_> = all.collect();
        let down: Vec<_> =
            all.iter().copied().filter(|(_, _, state)| *state != State::Up).collect();
        // What the configuration holds back comes up for a while.
        let rises = !down.is_empty() && dice.one_in(3);
        let (service, backend, _) = dice.pick(if rises { &down } else { &all });
        let who = if rises { Who::Command } else { dice.pick(&[Who::Command, Who::Check]) };
        let states = [State::Up, State::Drain, State::Down];
        let state = match who {
            Who::Command if rises => State::Up,
            Who::Command => dice.pick(&states),
            Who::Check => dice.pick(&[State::Up, State::Down]),
        };
        let moment = self.model.now >> 28;
        let say: Say = (!dice.one_in(4))
            .then(|| (state, dice.maybe(2, |dice| moment + 1 + dice.below(60) as u64)));
        let _ = writeln!(self.told, "{who:?} says of {service} {backend}: {say:?}");
        let ids = self.model.ids();
        let (of, id) = (ids.services[service], ids.backends[service][backend]);
        self.model.say(service, backend, who, say);
        self.product.say(of, id, who, say);
    }

    fn frame(&mut self, frame: &[u8]) -> Option<Outcome> {
        let judged = judge(&self.config, frame);
        let asks = judged.verdict == "pass" || judged.reason == "default";
        let asks = asks && !["malformed", "arp"].contains(&judged.reason);
        let work = asks.then(|| self.model.serve(frame)).flatten();
        let model = work.map(|work| {
            let (service, backend) = self.model.names(work);
            Outcome {
                service: service.to_owned(),
                backend: backend.map(str::to_owned),
                is_new: work.begins(),
                by: work.by(),
                leaves: leaves(self.model.services(), work, MTU, frame),
            }
        });
        let product = self.product.serve(frame);
        let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        let _ = writeln!(self.told, "{hex}");
        if model != product {
            panic!(
                "{}--- two opinions differ\nmodel   {work:?} {}\nproduct {}",
                self.told,
                shown(model.as_ref()),
                shown(product.as_ref())
            );
        }
        model
    }
}

fn shown(outcome: Option<&Outcome>) -> String {
    let Some(outcome) = outcome else { return "not served".to_owned() };
    match &outcome.leaves {
        Leaves::Back(frame) => {
            let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
            let Outcome { service, backend, is_new, by, .. } = outcome;
            format!("{service} {backend:?} by {by:?}, new: {is_new}\n{hex}")
        }
        _ => format!("{outcome:?}"),
    }
}

/// `XDPCTL_MODEL_HISTORIES` of them.
#[test]
fn model_and_product_serve_alike() {
    let histories = setting("XDPCTL_MODEL_HISTORIES").unwrap_or(60);
    let mut dice = Dice::new(seed());
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..histories {
        let mut history = History::begin(&mut dice);
        for _ in 0..EVENTS {
            match dice.below(40) {
                0 | 1 => {
                    let wanted = changed(&mut dice, &history.config.services);
                    history.reload(wanted);
                }
                2..5 => history.say(&mut dice),
                5 | 6 => {
                    let seconds = dice.pick(&[0, 1, 3, 9, 20, 62, 700]);
                    history.step(seconds * SECOND + dice.word() % SECOND);
                }
                _ => {
                    let frame = frame(&mut dice, &history.config.services);
                    let outcome = history.frame(&frame);
                    if let Some(by) = outcome.as_ref().and_then(|it| it.by) {
                        *outcomes.entry(format!("{by:?}")).or_default() += 1;
                    }
                    let met = outcome.map_or("none", |it| match it.leaves {
                        Leaves::Back(_) => "back",
                        Leaves::Up => "up",
                        Leaves::Lost(why) => why,
                    });
                    *outcomes.entry(met.to_owned()).or_default() += 1;
                }
            }
        }
    }
    println!("{histories} histories: {outcomes:?}");
    if histories >= 50 {
        let leaves = ["none", "back", "up", "no_backend", "too_big", "ttl", "fragment"];
        for met in leaves.into_iter().chain(["Hash", "Entry", "Before", "Substitute"]) {
            assert!(outcomes.get(met).is_some_and(|times| *times > 20), "{met}: {outcomes:?}");
        }
    }
}
