//! Prints rulesets in force as configurations: TOML that loads again, with comments on what keys
//! cannot say.

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};

use super::{Origin, Shown, name_origins, names, origins, prefixes};
use crate::config::written::{self, Setting, Value};
use crate::notation::{counted, grouped, plain, timestamp};
use crate::ruleset::domains::DomainList;
use crate::ruleset::services::Backend;
use crate::ruleset::{List, Ruleset};

/// Writes all rulesets, one below the other. Each loads again by itself.
pub fn write(out: &mut dyn Write, all: &[Shown]) -> io::Result<()> {
    let mut out = BufWriter::new(out);
    for (place, shown) in all.iter().enumerate() {
        if place > 0 {
            writeln!(out)?;
        }
        one(&mut out, shown)?;
    }
    out.flush()
}

fn one(out: &mut impl Write, shown: &Shown) -> io::Result<()> {
    writeln!(
        out,
        "# {}: generation {}, {} mode, loaded {} from {}",
        plain(&shown.interface),
        shown.generation,
        shown.mode,
        timestamp(shown.loaded_at),
        plain(&shown.loaded_from.to_string_lossy())
    )?;
    let Ruleset {
        policy,
        arp,
        allowlists,
        blocklists,
        domains,
        rules,
        service_settings,
        services,
        files: _,
        configurations: _,
    } = &shown.ruleset;
    write!(out, "\n[policy]\n")?;
    settings(out, &written::policy(policy))?;
    write!(out, "\n[arp]\n")?;
    settings(out, &written::arp(arp))?;
    for list in allowlists {
        write!(out, "\n[[allowlist]]\n")?;
        one_list(out, shown, list, false)?;
    }
    for list in blocklists {
        write!(out, "\n[[blocklist]]\n")?;
        one_list(out, shown, list, true)?;
    }
    for list in domains {
        write!(out, "\n[[domains]]\n")?;
        one_domain_list(out, shown, list)?;
    }
    for rule in rules {
        writeln!(out, "\n[[rule]]\nname = {}", Value::Text(rule.name.clone()))?;
        settings(out, &written::rule(rule))?;
    }
    let written = written::service_settings(service_settings);
    if !written.is_empty() {
        write!(out, "\n[services]\n")?;
        settings(out, &written)?;
    }
    for service in services {
        writeln!(out, "\n[[service]]\nname = {}", Value::Text(service.name.clone()))?;
        settings(out, &written::service(service))?;
        let named: BTreeSet<u16> = service.backends.iter().map(|it| it.file).collect();
        let named = named.into_iter().filter(|file| shown.is_named(*file));
        let named: Vec<Value> = named.map(|file| Value::Text(path(shown, file))).collect();
        if !named.is_empty() {
            writeln!(out, "files = {}", Value::Several(named))?;
        }
        if let Some(check) = &service.check {
            write!(out, "\n[service.check]\n")?;
            settings(out, &written::check(check))?;
        }
        for backend in service.backends.iter().filter(|it| !shown.is_named(it.file)) {
            write!(out, "\n[[service.backend]]\n")?;
            // A name that was not given may have characters that none may have.
            if backend.name != Backend::default_name(backend.address, backend.port) {
                writeln!(out, "name = {}", Value::Text(backend.name.clone()))?;
            }
            settings(out, &written::backend(backend))?;
        }
    }
    Ok(())
}

fn settings(out: &mut impl Write, settings: &[Setting]) -> io::Result<()> {
    settings.iter().try_for_each(|Setting { key, value }| writeln!(out, "{key} = {value}"))
}

fn one_list(
    out: &mut impl Write,
    shown: &Shown,
    list: &List,
    is_blocklist: bool,
) -> io::Result<()> {
    writeln!(out, "name = {}", Value::Text(list.name.clone()))?;
    settings(out, &written::list(list, is_blocklist))?;
    let (entries, origins) = (list.entries(), origins(list));
    write!(out, "# {} IPv4 and {} IPv6 prefixes", grouped(entries.ipv4), grouped(entries.ipv6))?;
    write_origins(out, shown, &origins)?;
    writeln!(out, "prefixes = [")?;
    for prefix in prefixes(shown, list) {
        writeln!(out, "    \"{prefix}\",")?;
    }
    writeln!(out, "]")?;
    write_files(out, shown, &origins)
}

fn one_domain_list(out: &mut impl Write, shown: &Shown, list: &DomainList) -> io::Result<()> {
    writeln!(out, "name = {}", Value::Text(list.name.clone()))?;
    settings(out, &written::domains(list))?;
    let origins = name_origins(list);
    write!(out, "# {}", counted(list.entries().names, "name"))?;
    write_origins(out, shown, &origins)?;
    writeln!(out, "names = [")?;
    for name in names(shown, list) {
        writeln!(out, "    {},", Value::Text(name))?;
    }
    writeln!(out, "]")?;
    write_files(out, shown, &origins)
}

/// Ends the comment that says how many entries there are.
fn write_origins(out: &mut impl Write, shown: &Shown, origins: &[Origin]) -> io::Result<()> {
    for (place, origin) in origins.iter().enumerate() {
        let between = if place == 0 { ": " } else { ", " };
        let (number, path) = (grouped(origin.entries), path(shown, origin.file));
        write!(out, "{between}{number} from {}", plain(&path))?;
    }
    writeln!(out)
}

/// Writes the files that are named in place of their entries.
fn write_files(out: &mut impl Write, shown: &Shown, origins: &[Origin]) -> io::Result<()> {
    let files = origins.iter().filter(|origin| shown.is_named(origin.file));
    let files: Vec<Value> = files.map(|origin| Value::Text(path(shown, origin.file))).collect();
    if !files.is_empty() {
        writeln!(out, "files = {}", Value::Several(files))?;
    }
    Ok(())
}

fn path(shown: &Shown, file: u16) -> String {
    let path = shown.ruleset.files.get(usize::from(file));
    path.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
}
