//! Prints rulesets in force as one JSON array, an object for each interface.

use std::io::{self, Write};

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::{Shown, name_origins, names, origins, prefixes};
use crate::config::written::{self, Setting};
use crate::image::metadata::Kind;
use crate::notation::{json_line, timestamp};
use crate::ruleset::domains::DomainList;
use crate::ruleset::services::{Backend, Service};
use crate::ruleset::{List, Rule};
use crate::views::list_size::ListSize;

#[derive(Serialize)]
struct Object<'a> {
    interface: &'a str,
    mode: &'static str,
    generation: u64,
    loaded_at: String,
    config: String,
    policy: Keys,
    arp: Keys,
    allowlists: Vec<OneList<'a>>,
    blocklists: Vec<OneList<'a>>,
    domains: Vec<OneDomainList<'a>>,
    rules: Vec<OneRule<'a>>,
    service_settings: Keys,
    services: Vec<OneService<'a>>,
}

/// Serializes settings as an object, in their order.
struct Keys(Vec<Setting>);

impl Serialize for Keys {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for Setting { key, value } in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

#[derive(Serialize)]
struct OneList<'a> {
    name: &'a str,
    #[serde(flatten)]
    keys: Keys,
    entries: ListSize,
    files: Vec<Origin>,
    prefixes: Vec<String>,
}

#[derive(Serialize)]
struct OneDomainList<'a> {
    name: &'a str,
    #[serde(flatten)]
    keys: Keys,
    entries: ListSize,
    files: Vec<Origin>,
    names: Vec<String>,
}

#[derive(Serialize)]
struct Origin {
    file: String,
    entries: u64,
}

#[derive(Serialize)]
struct OneRule<'a> {
    name: &'a str,
    #[serde(flatten)]
    keys: Keys,
}

#[derive(Serialize)]
struct OneService<'a> {
    name: &'a str,
    #[serde(flatten)]
    keys: Keys,
    /// `null` where nothing checks the backends.
    check: Option<Keys>,
    backends: Vec<OneBackend<'a>>,
}

#[derive(Serialize)]
struct OneBackend<'a> {
    name: &'a str,
    #[serde(flatten)]
    keys: Keys,
}

fn object(shown: &Shown) -> Object<'_> {
    let ruleset = &shown.ruleset;
    Object {
        interface: &shown.interface,
        mode: shown.mode.as_str(),
        generation: shown.generation,
        loaded_at: timestamp(shown.loaded_at),
        config: shown.loaded_from.to_string_lossy().into_owned(),
        policy: Keys(written::policy(&ruleset.policy)),
        arp: Keys(written::arp(&ruleset.arp)),
        allowlists: ruleset.allowlists.iter().map(|it| list(shown, it, false)).collect(),
        blocklists: ruleset.blocklists.iter().map(|it| list(shown, it, true)).collect(),
        domains: ruleset.domains.iter().map(|it| domains(shown, it)).collect(),
        rules: ruleset.rules.iter().map(rule).collect(),
        service_settings: Keys(written::service_settings(&ruleset.service_settings)),
        services: ruleset.services.iter().map(service).collect(),
    }
}

fn list<'a>(shown: &Shown, list: &'a List, is_blocklist: bool) -> OneList<'a> {
    OneList {
        name: &list.name,
        keys: Keys(written::list(list, is_blocklist)),
        entries: ListSize::of(Kind::Blocklist, list.entries()),
        files: files(shown, origins(list)),
        prefixes: prefixes(shown, list).collect(),
    }
}

fn domains<'a>(shown: &Shown, list: &'a DomainList) -> OneDomainList<'a> {
    OneDomainList {
        name: &list.name,
        keys: Keys(written::domains(list)),
        entries: ListSize::of(Kind::Domains, list.entries()),
        files: files(shown, name_origins(list)),
        names: names(shown, list).collect(),
    }
}

fn files(shown: &Shown, origins: Vec<super::Origin>) -> Vec<Origin> {
    let origin = |super::Origin { file, entries }| {
        let path = shown.ruleset.files.get(usize::from(file));
        let file = path.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
        Origin { file, entries }
    };
    origins.into_iter().map(origin).collect()
}

fn rule(rule: &Rule) -> OneRule<'_> {
    OneRule { name: &rule.name, keys: Keys(written::rule(rule)) }
}

fn service(service: &Service) -> OneService<'_> {
    OneService {
        name: &service.name,
        keys: Keys(written::service(service)),
        check: service.check.as_ref().map(|check| Keys(written::check(check))),
        backends: service.backends.iter().map(backend).collect(),
    }
}

fn backend(backend: &Backend) -> OneBackend<'_> {
    OneBackend { name: &backend.name, keys: Keys(written::whole_backend(backend)) }
}

/// Writes all rulesets as one array on one line.
pub fn write(out: &mut dyn Write, all: &[Shown]) -> io::Result<()> {
    let all: Vec<Object<'_>> = all.iter().map(object).collect();
    out.write_all(&json_line(&all)?)
}
