//! Random limits over random histories (`tests/model/limited.rs`), in the kernel and by its clock: rulesets that are put
//! in force one after the other, and frames in between.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::thread;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use xdpctl::datapath::program::clock;

use crate::bench;
use crate::config::Config;
use crate::dice::{Dice, seed, setting};
use crate::filter::Filter;
use crate::judge::judge_by;
use crate::limit_rulesets::{changed, config, frame};
use crate::limited::{BEHIND, Buckets, Says};
use crate::loading;

const EVENTS: usize = 200;

struct History<'f> {
    config: Config,
    /// Of all histories: the program remembers the keys of those before, too.
    model: &'f mut Buckets,
    filter: &'f mut Filter,
    told: String,
}

impl History<'_> {
    /// Whether that is a configuration, and has a limit: without any, the program forgets all keys.
    fn reload(&mut self, config: Config) -> bool {
        let has_limits = config.rules.iter().any(|rule| rule.limit.is_some());
        if !has_limits || loading::ruleset(&config).is_err() {
            return false;
        }
        let _ = writeln!(self.told, "reload\n{}", config.to_toml().0);
        self.filter.put(&config).unwrap_or_else(|error| panic!("{}{error}", self.told));
        self.config = config;
        true
    }

    fn frame(&mut self, frame: &[u8], met: &mut BTreeMap<String, usize>) {
        let begin = clock::now().expect("the time").min(coarse() + BEHIND);
        let seen = self.filter.opinion(frame);
        let at = [begin, clock::now().expect("the time")];
        let Self { config, model, told, .. } = self;
        let hex: String = frame.iter().take(60).map(|byte| format!("{byte:02x}")).collect();
        let (by, under) = (&seen.counted, &seen.under);
        let _ = writeln!(told, "{at:?} {hex}, {} bytes: by {by:?}, under {under:?}", frame.len());
        let mut opinion = judge_by(config, frame, &mut |rule, of| {
            let is_over = !seen.under.contains(&rule.name);
            let says = model.take(rule, of, frame.len(), at, is_over);
            let wrong = if is_over { Says::Under } else { Says::Over };
            assert!(says != wrong, "{told}{}: the packet is {says:?}", rule.name);
            *met.entry(format!("{says:?}")).or_default() += 1;
            !is_over
        });
        opinion.under.sort();
        assert_eq!(opinion, seen, "{told}");
    }
}

/// The clock that the program asks where the burst is large. Each tick of a timer sets it; where the host of a virtual
/// machine holds up the processor that does so, that may be much later than the model takes for granted.
fn coarse() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).expect("the time");
    Duration::from(now).as_nanos().try_into().expect("centuries")
}

/// `XDPCTL_MODEL_HISTORIES` of them.
#[test]
fn model_and_program_limit_alike() {
    let histories = setting("XDPCTL_MODEL_HISTORIES").unwrap_or(10);
    let seed = seed();
    bench::within(|| {
        let mut dice = Dice::new(seed);
        let (mut filter, mut model) = (Filter::load(), Buckets::default());
        let mut met = BTreeMap::new();
        for _ in 0..histories {
            let config_before = Config::default();
            let (model, filter) = (&mut model, &mut filter);
            let mut history = History { config: config_before, model, filter, told: String::new() };
            while !history.reload(config(&mut dice)) {}
            for _ in 0..EVENTS {
                match dice.below(20) {
                    0 => {
                        let wanted = changed(&mut dice, &history.config);
                        history.reload(wanted);
                    }
                    1 => thread::sleep(Duration::from_millis(dice.pick(&[1, 5, 20, 50]))),
                    _ => {
                        let frame = frame(&mut dice);
                        for _ in 0..dice.pick(&[1, 1, 2, 5, 12, 45]) {
                            history.frame(&frame, &mut met);
                        }
                    }
                }
            }
        }
        println!("{histories} histories: {met:?}");
        if histories < 10 {
            return;
        }
        // A run has to meet enough of both, or it has compared little.
        let times = |says: &str| met.get(says).copied().unwrap_or(0);
        let all: usize = met.values().sum();
        assert!(times("Under") > all / 20 && times("Over") > all / 20, "{met:?}");
    });
}
