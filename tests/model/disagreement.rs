//! Two opinions that differ, made as small as they get and told in full.

use super::config::{Config, List};
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

/// Panics with the smallest configuration and frame that were found to still differ.
pub fn tell(config: &Config, frame: &[u8]) -> ! {
    let mut config = config.clone();
    while let Some(smaller) =
        smaller(&config).into_iter().find(|smaller| disputed(smaller, frame).is_some())
    {
        config = smaller;
    }
    let mut frame = frame;
    while let Some((_, shorter)) = frame.split_last()
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
        "model and product differ\n{text}{files}--- a frame of {} bytes\n{hex} and {zeros} zeros\n\
         model   {model:?}\nproduct {product:?}",
        frame.len()
    );
}

/// Configurations that say less, the smallest first.
fn smaller(config: &Config) -> Vec<Config> {
    let with = |change: &dyn Fn(&mut Config)| {
        let mut smaller = config.clone();
        change(&mut smaller);
        smaller
    };
    let mut all = Vec::new();
    for rules in less(&config.rules) {
        all.push(with(&|config| config.rules.clone_from(&rules)));
    }
    for lists in less_of_lists(&config.allowlists) {
        all.push(with(&|config| config.allowlists.clone_from(&lists)));
    }
    for lists in less_of_lists(&config.blocklists) {
        all.push(with(&|config| config.blocklists.clone_from(&lists)));
    }
    for addresses in less(&config.arp_allow) {
        all.push(with(&|config| config.arp_allow.clone_from(&addresses)));
    }
    let policies: [fn(&mut Config) -> &mut Option<_>; 4] = [
        |config| &mut config.default,
        |config| &mut config.malformed,
        |config| &mut config.fragments,
        |config| &mut config.arp,
    ];
    for policy in policies {
        let mut smaller = config.clone();
        if policy(&mut smaller).take().is_some() {
            all.push(smaller);
        }
    }
    all
}

/// Without a half, and without each one.
fn less<T: Clone>(all: &[T]) -> Vec<Vec<T>> {
    let mut less = Vec::new();
    if all.len() > 3 {
        let (front, back) = all.split_at(all.len() / 2);
        less.extend([front.to_vec(), back.to_vec()]);
    }
    less.extend((0..all.len()).map(|at| [&all[..at], &all[at + 1..]].concat()));
    less
}

/// Without some lists, and without some of a list's entries.
fn less_of_lists(lists: &[List]) -> Vec<Vec<List>> {
    let mut all = less(lists);
    for (at, list) in lists.iter().enumerate() {
        let prefixes =
            less(&list.prefixes).into_iter().map(|prefixes| List { prefixes, ..list.clone() });
        let ranges = less(&list.ranges).into_iter().map(|ranges| List { ranges, ..list.clone() });
        for list in prefixes.chain(ranges) {
            let mut lists = lists.to_vec();
            lists[at] = list;
            all.push(lists);
        }
    }
    all
}
