//! What services cost the command line: a reload of many, and how soon what was decided of a backend is in
//! force.

use std::fs;
use std::time::Instant;

use xdp_common::filter::tracking::Said;
use xdpctl::datapath::maps::states::{By, States, Word};
use xdpctl::image::services;

use crate::Result;
use crate::commands::{Attached, Figure, MIB, Rulesets, least, median, repeat, text};
use crate::lab::GUEST;
use crate::ruleset::Compiled;
use crate::services::thousand;
use crate::testbed::Testbed;

const NAME: &str = "1,000 services of 100 backends";
/// Seconds for a reload, and for one where a backend has changed.
const RELOAD: f64 = 1.5;
const CHANGED: f64 = 0.06;
/// Milliseconds.
const FLIP: f64 = 1.0;

pub fn measure(testbed: &mut Testbed, rounds: usize) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    commands(testbed, rounds, &mut figures)?;
    figures.push(flip(testbed, rounds)?);
    Ok(figures)
}

fn commands(testbed: &Testbed, rounds: usize, figures: &mut Vec<Figure>) -> Result<()> {
    let rulesets = Rulesets::create()?;
    let path = rulesets.path("services.toml");
    let ruleset = thousand().text;
    fs::write(&path, &ruleset)?;
    text(&path)?;
    let attached = Attached::with(&testbed.lab, &path)?;
    let reload = repeat(rounds, |_| attached.xdpctl(&["reload", GUEST]))?;
    let changed = repeat(rounds, |round| {
        let state = if round % 2 == 0 { "drain" } else { "up" };
        let backend = "[[service.backend]]\n";
        fs::write(&path, ruleset.replacen(backend, &format!("{backend}state = \"{state}\"\n"), 1))?;
        attached.xdpctl(&["reload", GUEST])
    })?;
    let mut time = |what: &str, costs: &[crate::process::Cost], goal| {
        let mut figure = Figure::new(format!("{NAME}: {what}"), least(costs), "s").at_most(goal);
        figure.median = Some(median(costs));
        figures.push(figure);
    };
    time("reload", &reload, RELOAD);
    time("reload, one backend changed", &changed, CHANGED);
    let maps = attached.map_bytes()? as f64 / MIB;
    figures.push(Figure::new(format!("{NAME}: maps at rest"), maps, "MiB"));
    Ok(())
}

/// From the decision to the words that packets read, as `xdpctl health` writes them.
fn flip(testbed: &mut Testbed, rounds: usize) -> Result<Figure> {
    let compiled = Compiled::new(&thousand())?;
    let image = compiled.image();
    testbed.put_in_force(image)?;
    let states = States::open(&testbed.maps()?)?;
    let fronts = services::fronts(image);
    let mut costs = Vec::new();
    for (round, front) in fronts.iter().cycle().take(rounds * 10).enumerate() {
        let backend = services::backends(image, front)[round % 100].counter;
        for said in [Said::Down, Said::Up] {
            let start = Instant::now();
            let word = Word { said, until: 0 };
            states.say(image, front.counter, backend, By::Check, word)?;
            costs.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    costs.sort_by(f64::total_cmp);
    let mut figure =
        Figure::new(format!("{NAME}: a check's word in force"), costs[0], "ms").at_most(FLIP);
    figure.median = Some(costs[costs.len() / 2]);
    Ok(figure)
}
