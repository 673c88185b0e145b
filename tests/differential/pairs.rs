//! Random configurations with random frames.

use crate::bench;
use crate::dice::{Dice, seed, setting};
use crate::disagreement::tell;
use crate::filter::{Filter, Given, SHORTEST};
use crate::frames::{Edges, frame};
use crate::rulesets;

const FRAMES_PER_CONFIG: usize = 500;

/// `XDPCTL_MODEL_PAIRS` configurations and frames.
#[test]
fn model_and_program_judge_alike() {
    bench::within(|| {
        let pairs = setting("XDPCTL_MODEL_PAIRS").unwrap_or(200_000) as usize;
        let mut dice = Dice::new(seed());
        let mut filter = Filter::load();
        let mut compared = 0;
        while compared < pairs {
            let config = rulesets::config(&mut dice);
            filter.put(&config).unwrap_or_else(|error| panic!("{error}\n{}", config.to_toml().0));
            let edges = Edges::of(&config);
            for _ in 0..FRAMES_PER_CONFIG {
                let frame = frame(&mut dice, &edges);
                if frame.len() < SHORTEST {
                    continue;
                }
                let given = Given { frame: &frame, first: None };
                if filter.differs(&config, given).is_some() {
                    tell(&config, &frame, &mut |config, frame| {
                        filter.put(config).ok()?;
                        filter.differs(config, Given { frame, ..given })
                    });
                }
                compared += 1;
            }
        }
        println!("{compared} pairs");
    });
}
