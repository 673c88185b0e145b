//! Two opinions that differ, made as small as they get and told in full.

use std::time::{Duration, Instant};

use super::config::{Config, Verdict};
use super::judge::Opinion;
use super::judge::judge;
use super::product::Product;

/// Both opinions of a frame, the model's first, if they differ.
pub fn between(product: &Product, config: &Config, frame: &[u8]) -> Option<[Opinion; 2]> {
    let opinions = [judge(config, frame), product.judge(frame)];
    (opinions[0] != opinions[1]).then_some(opinions)
}

fn disputed(config: &Config, frame: &[u8]) -> Option<[Opinion; 2]> {
    between(&Product::load(config).ok()?, config, frame)
}

/// Panics with a smaller configuration and frame that still differ.
pub fn tell(config: &Config, frame: &[u8]) -> ! {
    let deadline = Instant::now() + SHRINKING;
    let mut config = config.clone();
    shrink(&mut config, &|smaller| Instant::now() < deadline && disputed(smaller, frame).is_some());
    let mut frame = frame;
    while let Some((_, shorter)) = frame.split_last()
        && Instant::now() < deadline
        && disputed(&config, shorter).is_some()
    {
        frame = shorter;
    }
    let (text, files) = config.to_toml();
    let files: String = files.iter().map(|(name, text)| format!("--- {name}\n{text}")).collect();
    let zeros = frame.iter().rev().take_while(|byte| **byte == 0).count();
    let shown = &frame[..frame.len() - zeros];
    let hex: String = shown.iter().map(|byte| format!("{byte:02x}")).collect();
    let [model, product] = disputed(&config, frame).expect("only what still differs was kept");
    panic!(
        "model and product differ\n{text}{files}--- run-time entries\n{:?}\n--- a frame of {} bytes\n{hex} and {zeros} zeros\n\
         model   {model:?}\nproduct {product:?}",
        config.entries,
        frame.len()
    );
}

/// Long enough for all but the largest configurations.
const SHRINKING: Duration = Duration::from_secs(20);

/// Takes away what is not needed for `differ` to hold.
fn shrink(config: &mut Config, differ: &dyn Fn(&Config) -> bool) {
    reduce(config, |config| &mut config.rules, differ);
    reduce(config, |config| &mut config.allowlists, differ);
    reduce(config, |config| &mut config.blocklists, differ);
    reduce(config, |config| &mut config.arp_allow, differ);
    reduce(config, |config| &mut config.entries, differ);
    for at in 0..config.allowlists.len() {
        reduce(config, |config| &mut config.allowlists[at].prefixes, differ);
        reduce(config, |config| &mut config.allowlists[at].ranges, differ);
    }
    for at in 0..config.blocklists.len() {
        reduce(config, |config| &mut config.blocklists[at].prefixes, differ);
        reduce(config, |config| &mut config.blocklists[at].ranges, differ);
    }
    let policies: [fn(&mut Config) -> &mut Option<Verdict>; 4] = [
        |config| &mut config.default,
        |config| &mut config.malformed,
        |config| &mut config.fragments,
        |config| &mut config.arp,
    ];
    for policy in policies {
        let mut smaller = config.clone();
        *policy(&mut smaller) = None;
        if differ(&smaller) {
            *config = smaller;
        }
    }
}

/// Takes away all, halves, quarters and so on down to single ones.
fn reduce<T>(
    config: &mut Config,
    part: impl Fn(&mut Config) -> &mut Vec<T>,
    differ: &dyn Fn(&Config) -> bool,
) {
    let mut size = part(config).len();
    while size > 0 {
        let mut at = 0;
        while at < part(config).len() {
            let mut smaller = config.clone();
            let values = part(&mut smaller);
            let end = values.len().min(at + size);
            values.drain(at..end);
            if differ(&smaller) {
                *config = smaller;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
}
