//! The families of services and their backends.

use std::fmt;

use xdp_common::lookup::services::{Lost, State};
use xdp_common::stats::counter::Counter;

use super::{BYTES, Families, PACKETS, Samples, name_of};
use crate::served::{BackendInKernel, InKernel};
use crate::views::metrics::Scrape;

/// What of the counters of losses is no loss.
const NO_LOSSES: [Lost; 2] = [Lost::Slow, Lost::New];

pub(super) fn write(out: &mut Families<'_>, scrape: &Scrape) -> fmt::Result {
    packets(out, scrape)?;
    losses(out, scrape)?;
    tables(out, scrape)?;
    backends(out, scrape)
}

fn packets(out: &mut Families<'_>, scrape: &Scrape) -> fmt::Result {
    out.counter(
        "xdpctl_service_packets",
        "Packets that a service took, replies of its backends included.",
        of_services(scrape, |it| PACKETS(it.counter)),
    )?;
    out.counter(
        "xdpctl_service_bytes",
        "Bytes of the packets that a service took, whole frames as they came in.",
        of_services(scrape, |it| BYTES(it.counter)),
    )?;
    out.counter(
        "xdpctl_service_new_connections",
        "Packets of a service that begin a connection.",
        of_services(scrape, |it| it.losses[Lost::New as usize].packets),
    )?;
    out.counter(
        "xdpctl_service_slow_packets",
        "Packets of a service that the kernel's stack sent on, for it had to find the next hop first.",
        of_services(scrape, |it| it.losses[Lost::Slow as usize].packets),
    )
}

fn losses(out: &mut Families<'_>, scrape: &Scrape) -> fmt::Result {
    let lost = |half: fn(Counter) -> u64| -> Samples<'_, u64> {
        let reasons = || Lost::ALL.into_iter().filter(|it| !NO_LOSSES.contains(it));
        let all = services(scrape).flat_map(|(interface, service)| {
            reasons().map(move |why| {
                let labels = [
                    ("interface", interface),
                    ("service", service.name.as_str()),
                    ("reason", why.as_str()),
                ];
                (labels.into(), half(service.losses[why as usize]))
            })
        });
        all.collect()
    };
    out.counter(
        "xdpctl_service_lost_packets",
        "Packets that a service took and that got to no backend, by why.",
        lost(PACKETS),
    )?;
    out.counter(
        "xdpctl_service_lost_bytes",
        "Bytes of the packets that a service took and that got to no backend, by why.",
        lost(BYTES),
    )
}

fn tables(out: &mut Families<'_>, scrape: &Scrape) -> fmt::Result {
    out.gauge(
        "xdpctl_service_places",
        "Places of a service's table.",
        of_services(scrape, |it| it.places as u64),
    )?;
    out.gauge(
        "xdpctl_service_changed_places",
        "Places of a service's table that had another backend before the last change.",
        of_services(scrape, |it| it.changed_places as u64),
    )?;
    out.gauge(
        "xdpctl_service_connections",
        "Connections of a service that are remembered.",
        of_services(scrape, |it| it.backends.iter().map(|it| it.connections).sum()),
    )?;
    out.gauge(
        "xdpctl_service_backends",
        "Backends of a service.",
        of_services(scrape, |it| it.backends.len() as u64),
    )?;
    out.gauge(
        "xdpctl_service_panic",
        "Whether too few backends of a service are up, so that checks are disregarded.",
        of_services(scrape, |it| it.panics.into()),
    )
}

fn backends(out: &mut Families<'_>, scrape: &Scrape) -> fmt::Result {
    out.counter(
        "xdpctl_backend_packets",
        "Packets to a backend, and replies of it.",
        of_backends(scrape, |it| PACKETS(it.counter)),
    )?;
    out.counter(
        "xdpctl_backend_bytes",
        "Bytes of the packets to and from a backend, whole frames as they came in.",
        of_backends(scrape, |it| BYTES(it.counter)),
    )?;
    out.gauge(
        "xdpctl_backend_up",
        "Whether a backend gets new connections.",
        of_backends(scrape, |it| (it.state == State::Up).into()),
    )?;
    out.gauge(
        "xdpctl_backend_draining",
        "Whether a backend gets packets of the connections that it has, and no new ones.",
        of_backends(scrape, |it| (it.state == State::Drain).into()),
    )?;
    out.gauge(
        "xdpctl_backend_places",
        "Places of its service's table that are a backend's.",
        of_backends(scrape, |it| it.places as u64),
    )?;
    out.gauge(
        "xdpctl_backend_connections",
        "Connections that are remembered to be with a backend.",
        of_backends(scrape, |it| it.connections),
    )
}

/// Every service, with the name of its interface.
fn services(scrape: &Scrape) -> impl Iterator<Item = (&str, &InKernel)> {
    scrape.interfaces.iter().flat_map(|interface| {
        interface.services.iter().map(move |service| (name_of(interface), service))
    })
}

fn of_services(scrape: &Scrape, value: fn(&InKernel) -> u64) -> Samples<'_, u64> {
    let all = services(scrape).map(|(interface, service)| {
        let labels = [("interface", interface), ("service", service.name.as_str())];
        (labels.into(), value(service))
    });
    all.collect()
}

fn of_backends(scrape: &Scrape, value: fn(&BackendInKernel) -> u64) -> Samples<'_, u64> {
    let all = services(scrape).flat_map(|(interface, service)| {
        service.backends.iter().map(move |backend| {
            let labels = [
                ("interface", interface),
                ("service", service.name.as_str()),
                ("backend", backend.name.as_str()),
            ];
            (labels.into(), value(backend))
        })
    });
    all.collect()
}
