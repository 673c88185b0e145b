//! The limits of the ruleset in force, with what they counted and who is over them.

use crate::datapath::attached::attachment::Attachment;
use crate::datapath::error::{Context, Result};
use crate::datapath::maps::limits;
use crate::image::limits::id;
use crate::limited::InKernel;

/// Reads the limits in force, in the order of the rules.
pub fn read(attachment: &Attachment) -> Result<Vec<InKernel>> {
    let reading = attachment.read()?;
    let (maps, _) = attachment.readable()?;
    let heavy = limits::heavy(maps).context("read who is over limits")?;
    let counted = reading.in_force.metadata.counted.iter().zip(&reading.counted);
    let limited = counted.filter_map(|(rule, counters)| {
        let limit = rule.limit?.limit;
        let id = id(&rule.name, &limit);
        let heaviest = heavy.iter().filter(|found| found.is_of(id)).map(|found| found.heavy);
        Some(InKernel {
            name: rule.name.clone(),
            limit,
            under: counters.under.unwrap_or_default(),
            over: counters.own,
            heaviest: heaviest.collect(),
        })
    });
    Ok(limited.collect())
}
