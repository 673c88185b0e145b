//! Assigns a counter to each list and rule. A name keeps its counter from one ruleset to the next.
//! A new name gets a counter that the ruleset before did not use, so that it can be zeroed while
//! that ruleset is still in force.

use rustc_hash::{FxHashMap, FxHashSet};

use super::metadata::{BackendCounter, Counted, Kind, LimitCounted};
use xdp_common::capacity::{COUNTERS_OF_SERVICE, COUNTERS_PER_PAGE};

use crate::ruleset::{ListAction, RuleAction, Ruleset};

/// Counters of a service, which lie side by side in one page.
const BLOCK: u32 = COUNTERS_OF_SERVICE as u32;
const _: () = assert!(COUNTERS_PER_PAGE.is_multiple_of(BLOCK));

/// The first counter of a service's losses, which follow its own: see `xdp_common::lookup::services::Lost`.
pub const fn losses(service: u32) -> u32 {
    service + 1
}

/// Every list, rule and service of a ruleset with its counter (`counted`), the backends of each service
/// with theirs (`backends`), and the numbers of the counters to zero before the ruleset is put in
/// force (`fresh`).
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    pub counted: Vec<Counted>,
    pub backends: Vec<Vec<BackendCounter>>,
    pub fresh: Vec<u32>,
}

/// Gives each list and rule of `ruleset` a counter: the one that the same name and kind has in
/// `before`, or else one that nothing in `before` uses.
pub fn assign(
    ruleset: &Ruleset,
    before: &[Counted],
    backends_before: &[Vec<BackendCounter>],
) -> Assignment {
    let kept: FxHashMap<(&str, Kind), &Counted> =
        before.iter().map(|counted| ((counted.name.as_str(), counted.kind), counted)).collect();
    let taken = before.iter().flat_map(Counted::numbers);
    let of_backends = backends_before.iter().flatten().map(|backend| backend.number);
    let taken: FxHashSet<u32> = taken.chain(of_backends).collect();
    let mut free = (0..).filter(|number| !taken.contains(number));
    let mut fresh_numbers = Vec::new();
    let mut fresh = || {
        let number = free.next().unwrap_or(u32::MAX);
        fresh_numbers.push(number);
        number
    };

    let lists = ruleset.allowlists.iter();
    let lists = lists.map(|list| (&list.name, Kind::Allowlist, "pass", Some(list.entries())));
    let lists = lists.chain(ruleset.blocklists.iter().map(|list| {
        let action = match list.action {
            ListAction::Drop => "drop",
            ListAction::Count => "count",
        };
        (&list.name, Kind::Blocklist, action, Some(list.entries()))
    }));
    let lists = lists.chain(
        ruleset
            .domains
            .iter()
            .map(|list| (&list.name, Kind::Domains, list.action.as_str(), Some(list.entries()))),
    );
    let rules = ruleset.rules.iter().map(|rule| {
        let action = match rule.action {
            RuleAction::Pass => "pass",
            RuleAction::Drop => "drop",
            RuleAction::Redirect { .. } => "redirect",
            RuleAction::Bounce { .. } => "bounce",
            RuleAction::Block { .. } => "block",
            RuleAction::SynCookie => "syncookie",
        };
        let life = match rule.action {
            RuleAction::Block { life } => Some(life),
            _ => None,
        };
        (&rule.name, Kind::Rule, action, None, (rule.limit, life))
    });
    let lists =
        lists.map(|(name, kind, action, entries)| (name, kind, action, entries, (None, None)));
    let mut counted = Vec::new();
    for (name, kind, action, entries, (limit, life)) in lists.chain(rules) {
        let old = kept.get(&(name.as_str(), kind));
        let number = old.map_or_else(&mut fresh, |old| old.number);
        let old_lost = old.and_then(|old| old.lost);
        let lost = (action == "redirect").then(|| old_lost.unwrap_or_else(&mut fresh));
        let old_under = old.and_then(|old| old.limit).map(|limit| limit.under);
        let limit = limit.map(|limit| {
            let under = old_under.unwrap_or_else(&mut fresh);
            LimitCounted { limit, under }
        });
        let (name, action) = (name.clone(), action.to_owned());
        counted.push(Counted { name, kind, action, entries, number, lost, limit, life });
    }
    // The counters of a service lie side by side.
    let mut used = taken;
    used.extend(counted.iter().flat_map(Counted::numbers));
    let mut blocks = (0..u32::MAX / BLOCK).map(|block| block * BLOCK);
    for service in &ruleset.services {
        let old = kept.get(&(service.name.as_str(), Kind::Service));
        let number = old.map_or_else(
            || {
                let is_free = |first: &u32| !(*first..*first + BLOCK).any(|it| used.contains(&it));
                let first = blocks.find(is_free).unwrap_or(u32::MAX - BLOCK);
                fresh_numbers.extend(first..first + BLOCK);
                first
            },
            |old| old.number,
        );
        counted.push(Counted {
            name: service.name.clone(),
            kind: Kind::Service,
            action: service.mode.as_str().to_owned(),
            entries: None,
            number,
            lost: None,
            limit: None,
            life: None,
        });
    }
    used.extend(counted.iter().flat_map(Counted::numbers));
    let mut free = (0..).filter(|number| !used.contains(number));
    let mut fresh = || {
        let number = free.next().unwrap_or(u32::MAX);
        fresh_numbers.push(number);
        number
    };
    let services = before.iter().filter(|counted| counted.kind == Kind::Service);
    let kept: FxHashMap<(&str, &str), &BackendCounter> = services
        .zip(backends_before)
        .flat_map(|(service, backends)| {
            backends.iter().map(|it| ((service.name.as_str(), it.name.as_str()), it))
        })
        .collect();
    let mut backends = Vec::new();
    for service in &ruleset.services {
        let mut of_service = Vec::with_capacity(service.backends.len());
        for backend in &service.backends {
            let old = kept.get(&(service.name.as_str(), backend.name.as_str()));
            let same = old.filter(|it| (it.address, it.port) == (backend.address, backend.port));
            let number = same.map_or_else(&mut fresh, |it| it.number);
            let (address, port) = (backend.address, backend.port);
            of_service.push(BackendCounter { name: backend.name.clone(), address, port, number });
        }
        backends.push(of_service);
    }
    Assignment { counted, backends, fresh: fresh_numbers }
}
