//! Reports a configuration and a frame on which two opinions differ, after making both as small as
//! possible.

use std::time::{Duration, Instant};

use super::config::{Config, Verdict};

/// What both say of a frame under a configuration, if they differ.
pub type Differ<'d> = dyn FnMut(&Config, &[u8]) -> Option<String> + 'd;

/// Panics with a smaller configuration and frame that still differ.
pub fn tell(config: &Config, frame: &[u8], differ: &mut Differ<'_>) -> ! {
    let deadline = Instant::now() + SHRINKING;
    let first = differ(config, frame);
    let mut config = config.clone();
    shrink(&mut config, &mut |smaller| {
        Instant::now() < deadline && differ(smaller, frame).is_some()
    });
    let mut frame = frame;
    let mut cut = frame.len() / 2;
    while cut > 0 {
        while let Some(shorter) = frame.len().checked_sub(cut)
            && Instant::now() < deadline
            && differ(&config, &frame[..shorter]).is_some()
        {
            frame = &frame[..shorter];
        }
        cut /= 2;
    }
    let (text, files) = config.to_toml();
    let files: String = files.iter().map(|(name, text)| format!("--- {name}\n{text}")).collect();
    let zeros = frame.iter().rev().take_while(|byte| **byte == 0).count();
    let shown = &frame[..frame.len() - zeros];
    let hex: String = shown.iter().map(|byte| format!("{byte:02x}")).collect();
    let last = differ(&config, frame);
    panic!(
        "two opinions differ\n{text}{files}--- run-time entries\n{:?}\n--- a frame of {} bytes\n\
         {hex} and {zeros} zeros\n{}\n--- before it was made smaller\n{}",
        config.entries,
        frame.len(),
        last.as_deref().unwrap_or("they agree now"),
        first.as_deref().unwrap_or("they agree now"),
    );
}

/// Long enough for all but the largest configurations.
const SHRINKING: Duration = Duration::from_secs(20);

/// Removes what is not needed for `differ` to hold.
fn shrink(config: &mut Config, differ: &mut dyn FnMut(&Config) -> bool) {
    reduce(config, |config| &mut config.rules, differ);
    reduce(config, |config| &mut config.allowlists, differ);
    reduce(config, |config| &mut config.blocklists, differ);
    reduce(config, |config| &mut config.domains, differ);
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
    for at in 0..config.domains.len() {
        reduce(config, |config| &mut config.domains[at].names, differ);
        reduce(config, |config| &mut config.domains[at].filed, differ);
        reduce(config, |config| &mut config.domains[at].qtypes, differ);
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

/// Tries to remove all elements, then halves, quarters and so on down to single ones.
fn reduce<T>(
    config: &mut Config,
    part: impl Fn(&mut Config) -> &mut Vec<T>,
    differ: &mut dyn FnMut(&Config) -> bool,
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
