//! Compares services, and their backends one by one.

use serde::Serialize;

use super::pair::{Fate, KeyChange, Move, fate, key_changes, pair};
use crate::config::written::{self, Setting, Value};
use crate::ruleset::services::{Backend, Service, Settings};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceChange {
    pub name: String,
    /// A service that only moved is `Changed` too.
    pub fate: Fate,
    pub settings: Vec<KeyChange>,
    pub moved: Option<Move>,
    /// How many backends it had, and how many it has; 0 for a service that is not there.
    pub before: usize,
    pub after: usize,
    /// The backends of a service that both rulesets have. Their order makes no difference.
    pub backends: Vec<BackendChange>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackendChange {
    pub name: String,
    #[serde(rename = "change")]
    pub fate: Fate,
    pub settings: Vec<KeyChange>,
}

/// The changes in `[services]`. A seed is a secret, and what changes is told to logs: that it
/// changed is said, and not what it is.
pub(super) fn setting_changes(before: &Settings, after: &Settings) -> Vec<KeyChange> {
    let (before, after) = (written::service_settings(before), written::service_settings(after));
    let hidden = |value: Option<Value>| value.map(|_| Value::Text("(not shown)".into()));
    let changes = key_changes(before, after).into_iter().map(|change| match change.key {
        "seed" => {
            KeyChange { before: hidden(change.before), after: hidden(change.after), ..change }
        }
        _ => change,
    });
    changes.collect()
}

pub(super) fn changes(before: &[Service], after: &[Service]) -> Vec<ServiceChange> {
    let before: Vec<&Service> = before.iter().collect();
    let after: Vec<&Service> = after.iter().collect();
    let pairs = pair(&before, &after, |service| service.name.as_str()).into_iter();
    let changes = pairs.filter_map(|pair| {
        let (settings, backends) = match (pair.before, pair.after) {
            (Some(before), Some(after)) => (
                key_changes(with_check(before), with_check(after)),
                backend_changes(&before.backends, &after.backends),
            ),
            _ => Default::default(),
        };
        let fate = fate(&pair.before, &pair.after);
        let same = settings.is_empty() && backends.is_empty() && pair.moved.is_none();
        let number = |service: Option<&Service>| service.map_or(0, |it| it.backends.len());
        (fate != Fate::Changed || !same).then(|| ServiceChange {
            name: pair.either().name.clone(),
            fate,
            settings,
            moved: pair.moved,
            before: number(pair.before),
            after: number(pair.after),
            backends,
        })
    });
    changes.collect()
}

/// The settings of a service, its check as one of them.
fn with_check(service: &Service) -> Vec<Setting> {
    let mut settings = written::service(service);
    settings.extend(service.check.as_ref().map(written::checked));
    settings
}

fn backend_changes(before: &[Backend], after: &[Backend]) -> Vec<BackendChange> {
    let before: Vec<&Backend> = before.iter().collect();
    let after: Vec<&Backend> = after.iter().collect();
    let pairs = pair(&before, &after, |backend| backend.name.as_str()).into_iter();
    let changes = pairs.filter_map(|pair| {
        let settings = match (pair.before, pair.after) {
            (Some(before), Some(after)) => {
                key_changes(written::whole_backend(before), written::whole_backend(after))
            }
            _ => Vec::new(),
        };
        let fate = fate(&pair.before, &pair.after);
        let different = fate != Fate::Changed || !settings.is_empty();
        let name = &pair.either().name;
        different.then(|| BackendChange { name: name.clone(), fate, settings })
    });
    changes.collect()
}
