//! The metrics, a family at a time: name, meaning, and a sample for each set of labels.
//!
//! Names follow <https://prometheus.io/docs/practices/naming/>. Counters are written here without
//! `_total`, and information without `_info`, which the encoder adds. What begins anew when the
//! program is attached again is a counter still: Prometheus takes a value that falls for a reset.

mod services;

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use xdp_common::stats::counter::Counter;
use xdp_common::stats::verdict::{Reason, Verdict};

use super::{Interface, Scrape, State};
use crate::image::metadata::Kind;
use crate::ruleset::EntryCount;
use crate::views::stats::{CountedSample, Sample};
use crate::views::status::Link;

/// Writes every family that has a sample.
pub(super) fn write(scrape: &Scrape, encoder: DescriptorEncoder<'_>) -> fmt::Result {
    let mut out = Families(encoder);
    counters(&mut out, scrape)?;
    rules(&mut out, scrape)?;
    services::write(&mut out, scrape)?;
    rulesets(&mut out, scrape)?;
    states(&mut out, scrape)?;
    runs(&mut out, scrape)?;
    own(&mut out, scrape)
}

/// The samples of a family: labels and value of each.
type Samples<'a, V> = Vec<(Labels<'a>, V)>;
type Labels<'a> = Vec<(&'static str, &'a str)>;

/// Either half of a counter.
const PACKETS: fn(Counter) -> u64 = |counter| counter.packets;
const BYTES: fn(Counter) -> u64 = |counter| counter.bytes;

fn counters(out: &mut Families<'_>, scrape: &Scrape) -> fmt::Result {
    let verdicts = |half: fn(Counter) -> u64| {
        of_samples(scrape, |name, sample| {
            let labels = |verdict: Verdict| [("interface", name), ("verdict", verdict.as_str())];
            let of = |&verdict| (labels(verdict).into(), half(sample.verdict(verdict)));
            Verdict::ALL.iter().map(of).collect()
        })
    };
    let reasons = |half: fn(Counter) -> u64| {
        of_samples(scrape, |name, sample| {
            let labels = |reason: Reason| [("interface", name), ("reason", reason.as_str())];
            let of = |&reason| (labels(reason).into(), half(sample.reason(reason)));
            Reason::ALL.iter().map(of).collect()
        })
    };
    out.counter(
        "xdpctl_packets",
        "Packets that the program saw since it was attached, by what became of them.",
        verdicts(PACKETS),
    )?;
    out.counter(
        "xdpctl_bytes",
        "Bytes of these packets, whole frames, by what became of them.",
        verdicts(BYTES),
    )?;
    out.counter(
        "xdpctl_reason_packets",
        "Packets that the program saw since it was attached, by what decided them.",
        reasons(PACKETS),
    )?;
    out.counter(
        "xdpctl_reason_bytes",
        "Bytes of these packets, whole frames, by what decided them.",
        reasons(BYTES),
    )
}

fn rules(out: &mut Families<'_>, scrape: &Scrape) -> fmt::Result {
    let matched = |half: fn(Counter) -> u64| {
        of_samples(scrape, |name, sample| {
            let of = sample.counted.iter().map(|counted| {
                let labels = [
                    ("interface", name),
                    ("name", counted.name.as_str()),
                    ("kind", counted.kind.as_str()),
                    ("action", counted.action.as_str()),
                ];
                (labels.into(), half(counted.counter))
            });
            of.collect()
        })
    };
    let part = |part: fn(&CountedSample) -> Option<Counter>, half: fn(Counter) -> u64| {
        of_samples(scrape, |name, sample| {
            let of = sample.counted.iter().filter_map(|counted| {
                let labels = [("interface", name), ("name", counted.name.as_str())];
                Some((labels.into(), half(part(counted)?)))
            });
            of.collect()
        })
    };
    let lost = |half| part(|counted| counted.lost, half);
    let under = |half| part(|counted| counted.under, half);
    out.counter(
        "xdpctl_rule_packets",
        "Packets that a list or a rule in force matched.",
        matched(PACKETS),
    )?;
    out.counter(
        "xdpctl_rule_bytes",
        "Bytes of the packets that a list or a rule in force matched.",
        matched(BYTES),
    )?;
    out.counter(
        "xdpctl_rule_lost_packets",
        "Packets that a rule matched and could not redirect, and that were dropped.",
        lost(PACKETS),
    )?;
    out.counter(
        "xdpctl_rule_lost_bytes",
        "Bytes of the packets that a rule matched and could not redirect.",
        lost(BYTES),
    )?;
    out.counter(
        "xdpctl_rule_under_packets",
        "Packets that were under the limit of a rule, and went on to the next one.",
        under(PACKETS),
    )?;
    out.counter(
        "xdpctl_rule_under_bytes",
        "Bytes of the packets that were under the limit of a rule.",
        under(BYTES),
    )
}

fn rulesets(out: &mut Families<'_>, scrape: &Scrape) -> fmt::Result {
    let in_force = || {
        let of = |interface| Some((name_of(interface), state_of(interface)?.ruleset.as_ref()?));
        scrape.interfaces.iter().filter_map(of)
    };
    let labelled = |name| vec![("interface", name)];
    out.gauge(
        "xdpctl_ruleset_generation",
        "Number of the ruleset in force; each reload adds one.",
        in_force().map(|(name, ruleset)| (labelled(name), ruleset.generation)).collect(),
    )?;
    out.gauge(
        "xdpctl_ruleset_loaded_timestamp_seconds",
        "When the ruleset in force was put in force.",
        in_force().map(|(name, ruleset)| (labelled(name), seconds(ruleset.loaded_at))).collect(),
    )?;
    out.gauge(
        "xdpctl_attached_timestamp_seconds",
        "When the program was attached, which is when its counters began.",
        in_force().map(|(name, ruleset)| (labelled(name), seconds(ruleset.attached_at))).collect(),
    )?;
    let entries = in_force().flat_map(|(name, ruleset)| {
        let entries = ruleset.entries;
        [
            ("ipv4", entries.ipv4),
            ("ipv6", entries.ipv6),
            ("domains", entries.domains),
            ("rules", entries.rules),
            ("bans", entries.bans),
        ]
        .map(|(kind, number)| (vec![("interface", name), ("kind", kind)], number))
    });
    out.gauge(
        "xdpctl_entries",
        "Entries in force: of lists by family, domains, rules, and run-time entries (bans).",
        entries.collect(),
    )?;
    let lists = in_force().flat_map(|(name, ruleset)| {
        ruleset.lists.iter().flat_map(move |list| {
            let EntryCount { ipv4, ipv6, names } = list.entries;
            let families: &[(&str, u64)] = match list.kind {
                Kind::Domains => &[("domains", names)],
                Kind::Allowlist | Kind::Blocklist | Kind::Rule | Kind::Service => {
                    &[("ipv4", ipv4), ("ipv6", ipv6)]
                }
            };
            let families = families.to_vec();
            families.into_iter().map(move |(family, number)| {
                let labels = vec![
                    ("interface", name),
                    ("name", list.name.as_str()),
                    ("kind", list.kind.as_str()),
                    ("family", family),
                ];
                (labels, number)
            })
        })
    });
    out.gauge(
        "xdpctl_list_entries",
        "Entries of a list in force: prefixes by family, or domains. An entry of two lists counts in \
         both.",
        lists.collect(),
    )
}

fn states(out: &mut Families<'_>, scrape: &Scrape) -> fmt::Result {
    let of = |value: fn(&State) -> u64| {
        let states = scrape.interfaces.iter().filter_map(|interface| {
            Some((vec![("interface", name_of(interface))], value(state_of(interface)?)))
        });
        states.collect()
    };
    out.gauge(
        "xdpctl_filtering",
        "Whether the program is on the interface: 1, or 0 where somebody took it off, or the \
         interface is gone. The series ends with `xdpctl detach`.",
        of(|state| state.is_on.into()),
    )?;
    out.gauge(
        "xdpctl_link_up",
        "Whether the interface is up and has a carrier.",
        of(|state| (state.link == Link::Up).into()),
    )?;
    out.gauge(
        "xdpctl_bypass",
        "Whether bypass is on, with which everything passes.",
        of(|state| state.bypass.into()),
    )?;
    out.gauge(
        "xdpctl_problems",
        "How many problems `xdpctl status` names.",
        of(|state| state.problems),
    )?;
    out.gauge(
        "xdpctl_map_bytes",
        "Kernel memory of the program's maps.",
        of(|state| state.map_bytes),
    )?;
    let modes = scrape.interfaces.iter().filter_map(|interface| {
        let mode = state_of(interface)?.mode;
        Some(vec![("interface", name_of(interface)), ("mode", mode.as_str())])
    });
    out.info("xdpctl_interface", "The mode that the program runs in.", modes.collect())
}

fn runs(out: &mut Families<'_>, scrape: &Scrape) -> fmt::Result {
    let runs = || {
        let of = |interface| Some((vec![("interface", name_of(interface))], state_of(interface)?));
        scrape.interfaces.iter().filter_map(of).filter_map(|(labels, state)| {
            let runs = state.runs?;
            Some((labels, runs))
        })
    };
    out.counter(
        "xdpctl_program_runs",
        "How often the program ran while the kernel measured it (sysctl kernel.bpf_stats_enabled).",
        runs().map(|(labels, runs)| (labels, runs.count)).collect(),
    )?;
    out.counter(
        "xdpctl_program_run_seconds",
        "For how long the program ran while the kernel measured it.",
        runs().map(|(labels, runs)| (labels, runs.seconds)).collect(),
    )
}

fn own(out: &mut Families<'_>, scrape: &Scrape) -> fmt::Result {
    let readable = scrape.interfaces.iter().map(|interface| {
        (vec![("interface", name_of(interface))], u64::from(interface.is_readable))
    });
    out.gauge(
        "xdpctl_scrape_success",
        "Whether all that there is to read of the interface could be read.",
        readable.collect(),
    )?;
    out.counter(
        "xdpctl_scrape_errors",
        "How often something could not be read since this process began.",
        scrape.errors.map(|errors| (Vec::new(), errors)).into_iter().collect(),
    )?;
    out.info(
        "xdpctl_build",
        "The version of xdpctl that gives these metrics.",
        vec![vec![("version", env!("CARGO_PKG_VERSION"))]],
    )
}

fn name_of(interface: &Interface) -> &str {
    &interface.name
}

fn state_of(interface: &Interface) -> Option<&State> {
    interface.state.as_ref()
}

/// What `of` makes of the counters of each interface.
fn of_samples<'a, V>(
    scrape: &'a Scrape,
    of: impl Fn(&'a str, &'a Sample) -> Samples<'a, V>,
) -> Samples<'a, V> {
    let samples = scrape.interfaces.iter().filter_map(|interface| {
        let counters = interface.counters.as_ref()?;
        Some(of(name_of(interface), counters))
    });
    samples.flatten().collect()
}

/// Seconds since 1970.
fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Where families are written. One without a sample is left out.
struct Families<'e>(DescriptorEncoder<'e>);

impl Families<'_> {
    fn counter<V: prometheus_client::encoding::EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: Samples<'_, V>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Counter, samples, |mut metric, value| {
            metric.encode_counter::<NoLabelSet, _, u64>(value, None)
        })
    }

    fn gauge<V: prometheus_client::encoding::EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: Samples<'_, V>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, samples, |mut metric, value| {
            metric.encode_gauge(value)
        })
    }

    fn family<V>(
        &mut self,
        name: &str,
        help: &str,
        metric_type: MetricType,
        samples: Samples<'_, V>,
        encode: impl Fn(MetricEncoder<'_>, &V) -> fmt::Result,
    ) -> fmt::Result {
        if samples.is_empty() {
            return Ok(());
        }
        let mut metric = self.0.encode_descriptor(name, help, None, metric_type)?;
        for (labels, value) in &samples {
            encode(metric.encode_family(labels)?, value)?;
        }
        Ok(())
    }

    fn info(&mut self, name: &str, help: &str, samples: Vec<Labels<'_>>) -> fmt::Result {
        if samples.is_empty() {
            return Ok(());
        }
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Info)?;
        for labels in &samples {
            metric.encode_info(labels)?;
        }
        Ok(())
    }
}
