//! Random limits over random histories: reloads, time, and frames in between. The model knows the time, and the product
//! may differ from it by what docs/limits.md says.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::config::{Config, Over, Rate, Rule};
use super::dice::{Dice, seed, setting};
use super::judge::judge_by;
use super::limit_product::{Outcome, Product};
use super::limit_rulesets::{changed, config, frame};
use super::limited::{BEHIND, Buckets, Says};
use super::loading;

const EVENTS: usize = 400;
const SECOND: u64 = 1_000_000_000;
struct History {
    config: Config,
    model: Buckets,
    product: Product,
    now: u64,
    /// What happened, for whoever has to find out.
    told: String,
}

impl History {
    fn begin(dice: &mut Dice) -> Self {
        let mut history = Self {
            config: Config::default(),
            model: Buckets::default(),
            product: Product::new(dice.word() | 1),
            now: 1_000 * SECOND + dice.word() % SECOND,
            told: String::new(),
        };
        while !history.reload(config(dice)) {}
        history
    }

    /// Whether that is a configuration: some rates are too slow for their bursts.
    fn reload(&mut self, config: Config) -> bool {
        let Ok(ruleset) = loading::ruleset(&config) else { return false };
        let _ = writeln!(self.told, "reload\n{}", config.to_toml().0);
        self.product.reload(&ruleset);
        self.config = config;
        true
    }

    fn step(&mut self, time: u64) {
        let _ = writeln!(self.told, "{time} ns pass");
        self.now += time;
    }

    /// So long that it comes down to the last tokens of some limit.
    fn waits(&self, dice: &mut Dice) -> u64 {
        let rates = self.config.rules.iter().filter_map(|rule| match rule.limit?.over {
            Over::Rate(rate) => Some(rate),
            _ => None,
        });
        let rates: Vec<Rate> = rates.collect();
        if rates.is_empty() || dice.one_in(8) {
            return dice.pick(&[0, 1_000, 3_000_000, SECOND, 400 * SECOND, 40 * 86_400 * SECOND]);
        }
        let rate = dice.pick(&rates);
        let of_one = if rate.of_bits { 8 * 60 } else { 1 };
        let packet = u128::from(rate.seconds * SECOND) * of_one / u128::from(rate.amount);
        let burst = packet * u128::from(rate.burst) / if rate.of_bits { 60 } else { 1 };
        let whole = match dice.below(4) {
            0 => packet,
            1 => packet * dice.below(10) as u128,
            2 => burst,
            _ => burst * dice.below(100) as u128 / 100,
        };
        let near = dice.pick(&[0, 1_024, 2_048, 10_000, 1_000_000, 11_000_000]);
        let whole = u64::try_from(whole).unwrap_or(u64::MAX).min(6 * 86_400 * SECOND);
        if dice.one_in(2) { whole + near } else { whole.saturating_sub(near) }
    }

    fn frame(&mut self, dice: &mut Dice, frame: &[u8]) -> Vec<Says> {
        let Self { config, model, product, now, told } = self;
        let behind = dice.word() % BEHIND;
        if dice.one_in(5) {
            // What it would say is no other than what it says, as far as that is certain.
            let asked = product.judge(frame, *now, behind, true);
            hold(config, frame, &asked, told, &mut |rule, of, _| {
                model.says(rule, of, frame.len(), [*now; 2])
            });
        }
        let outcome = product.judge(frame, *now, behind, false);
        let hex: String = frame.iter().take(60).map(|byte| format!("{byte:02x}")).collect();
        let _ = writeln!(told, "{hex}, {} bytes: {:?}", frame.len(), outcome.said);
        let says = hold(config, frame, &outcome, told, &mut |rule, of, is_over| {
            model.take(rule, of, frame.len(), [*now; 2], is_over)
        });
        let under = outcome.said.iter().filter(|said| !said.is_over).count();
        assert_eq!(outcome.counted_under, under, "{told}each was counted once");
        says
    }
}

/// Holds what the product says against the model, which `ask` knows, and gives what that says of each limit.
fn hold(
    config: &Config,
    frame: &[u8],
    outcome: &Outcome,
    told: &str,
    ask: &mut dyn FnMut(&Rule, &super::packet::Frame, bool) -> Says,
) -> Vec<Says> {
    let mut says = Vec::new();
    let mut said = outcome.said.iter();
    let opinion = judge_by(config, frame, &mut |rule, of| {
        let said = said.next().unwrap_or_else(|| panic!("{told}{} was not asked", rule.name));
        assert_eq!(said.rule, rule.name, "{told}another rule was asked");
        let here = ask(rule, of, said.is_over);
        let wrong = if said.is_over { Says::Under } else { Says::Over };
        assert!(here != wrong, "{told}{said:?}, but the packet is {here:?}");
        says.push(here);
        !said.is_over
    });
    assert_eq!(said.next(), None, "{told}too many were asked");
    assert_eq!(
        (outcome.verdict, outcome.reason, outcome.rule.as_ref()),
        (opinion.verdict, opinion.reason, opinion.counted.first().map(|(_, name)| name)),
        "{told}"
    );
    says
}

/// `XDPCTL_MODEL_HISTORIES` of them.
#[test]
fn model_and_product_limit_alike() {
    let histories = setting("XDPCTL_MODEL_HISTORIES").unwrap_or(60);
    let mut dice = Dice::new(seed());
    let mut met: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..histories {
        let mut history = History::begin(&mut dice);
        for _ in 0..EVENTS {
            match dice.below(20) {
                0 => {
                    let wanted = changed(&mut dice, &history.config);
                    history.reload(wanted);
                }
                1..5 => {
                    let time = history.waits(&mut dice);
                    history.step(time);
                }
                _ => {
                    let frame = frame(&mut dice);
                    for _ in 0..dice.pick(&[1, 1, 2, 5, 12, 45]) {
                        for says in history.frame(&mut dice, &frame) {
                            *met.entry(format!("{says:?}")).or_default() += 1;
                        }
                        if dice.one_in(3) {
                            history.now += dice.pick(&[100, 1_000, 50_000, 20_000_000]);
                        }
                    }
                }
            }
        }
    }
    println!("{histories} histories: {met:?}");
    if histories >= 50 {
        let times = |says: &str| met.get(says).copied().unwrap_or(0);
        let all: usize = met.values().sum();
        assert!(times("Under") > all / 10 && times("Over") > all / 10, "{met:?}");
        // Where the stated errors decide, little is compared.
        assert!(times("Either") > 20 && times("Either") < all / 10, "{met:?}");
    }
}
