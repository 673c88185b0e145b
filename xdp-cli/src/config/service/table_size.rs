//! How many places a service's table has.

use toml::de::DeValue;

use super::super::report::Report;
use super::super::table::TomlTable;
use super::spot::BackendRead;
use crate::ruleset::services::TABLES;

/// The least size that is chosen by itself.
const LEAST: u64 = 4093;

/// Places that a backend should have, at least, on average: with fewer, shares are uneven, and more
/// than one flow in a hundred moves when a backend comes or goes.
const EACH: u64 = 100;

/// How many backends weigh too little for a place in a table of this size, and the least weight that gives each of them
/// one when all of them have it. There are at least as many places as backends.
///
/// A heavier backend makes the sum larger too, and with it what the others need: so `light` backends of the weight
/// `least` are right where `rest + light * least <= places * least`, `rest` being what the others weigh.
fn least_weight(mut weights: Vec<u64>, places: u64) -> (usize, u64) {
    weights.sort_unstable();
    let mut rest: u64 = weights.iter().sum();
    let (mut light, mut least) = (0, 0);
    for (number, weight) in (1..places).zip(weights) {
        if light > 0 && weight >= least {
            break;
        }
        rest -= weight;
        (light, least) = (number as usize, rest.div_ceil(places - number));
    }
    (light, least)
}

/// The size as it is written, or the least that gives each backend a hundred places and the one with
/// the smallest weight at least one.
pub(super) fn read(
    table: &mut TomlTable<'_>,
    backends: &[BackendRead],
    report: &mut Report<'_>,
) -> Option<u32> {
    let number = backends.len() as u64;
    let sum: u64 = backends.iter().map(|it| u64::from(it.value.weight)).sum();
    let lightest = backends.iter().min_by_key(|it| it.value.weight);
    let of_lightest = lightest.map_or(0, |it| sum.div_ceil(u64::from(it.value.weight)));
    let first = |least: u64| TABLES.into_iter().find(|&size| u64::from(size) >= least);
    let largest = TABLES[TABLES.len() - 1];
    let fitting = first((number * EACH).max(of_lightest).max(LEAST)).unwrap_or(largest);
    let value = table
        .value("table")
        .filter(|value| !matches!(value.value, DeValue::String(text) if text == "auto"));
    let at = value.map_or(table.place(), |value| value.at);
    let size = match value {
        None => fitting,
        Some(value) => {
            let sizes = TABLES.map(|size| size.to_string()).join(", ");
            let hint = format!("write \"auto\", or one of {sizes}");
            if !matches!(value.value, DeValue::Integer(_)) {
                table.wrong_type("table", "\"auto\" or an integer", &value, hint, report);
                return None;
            }
            let size = table.number("table", u32::MAX, &hint, report)?;
            if !TABLES.contains(&size) {
                let message = format!("{}: table cannot have {size} places", table.title);
                report.error(at, message, hint);
                return None;
            }
            size
        }
    };
    let title = &table.title;
    let places = u64::from(size);
    if places < number {
        let message = format!("{title}: {number} backends, and {size} places");
        report.error(at, message, format!("write table = {fitting}"));
        return None;
    }
    if let Some(BackendRead { spot, value }) = lightest
        && places < of_lightest
    {
        let weights = backends.iter().map(|it| u64::from(it.value.weight)).collect();
        let (light, least) = least_weight(weights, places);
        let raise = match light {
            1 => format!("a weight of {least} or more"),
            _ => format!("a weight of {least} for each that has less"),
        };
        let hint = match u64::from(fitting) >= of_lightest {
            true => format!("write table = {fitting}, or {raise}"),
            false => format!("write {raise}, or smaller ones for the others"),
        };
        spot.error(
            format!(
                "{title}, backend {:?}: weight {} of {sum} in all is less than one of {size} places",
                value.name, value.weight
            ),
            hint,
            report,
        );
        return None;
    }
    if places < number * EACH {
        let message = format!("{title}: {size} places are few for {number} backends");
        let why = "with under 100 places for each, shares are uneven, and more flows move than need \
                   to";
        let hint = match fitting > size {
            true => format!("{why}: write table = {fitting}"),
            false => format!("{why}: write two services"),
        };
        report.warning(at, message, hint);
    }
    Some(size)
}
