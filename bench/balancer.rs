//! The bare load balancer beside services: how far a service is from the limit, on this machine.
//! `xdp-ebpf/src/bench/balancer.rs` says what it is.

use crate::Result;
use crate::case::{Case, Extent};
use crate::measure::{self, FRAMES, Measured, Row};
use crate::random::Random;
use crate::services::{self, BACKENDS, PORT};
use crate::testbed::{Device, Floor, Testbed};

const PLACES: usize = 1 << 14;
/// 02:00:00:00:00:09, as services have it.
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

/// The contents of its maps.
pub struct Contents {
    /// The key of the service.
    pub service: [u8; 8],
    pub places: Vec<u8>,
    pub backends: Vec<u8>,
}

impl Contents {
    fn new() -> Self {
        let mut service = [0; 8];
        service[..4].copy_from_slice(&services::address_of(0).to_be_bytes());
        service[4..6].copy_from_slice(&PORT.to_be_bytes());
        service[6..].copy_from_slice(&6_u16.to_ne_bytes());
        let random = &mut Random::new(33);
        let place = |_| random.between(0, u64::from(BACKENDS) - 1) as u16;
        let places = (0..PLACES).map(place).flat_map(u16::to_ne_bytes).collect();
        let backend = |number| {
            let mut backend = [0; 16];
            backend[..4].copy_from_slice(&services::backend_of(0, number).to_be_bytes());
            backend[4..10].copy_from_slice(&MAC);
            backend
        };
        Self { service, places, backends: (0..BACKENDS).flat_map(backend).collect() }
    }
}

/// The only case that it is measured on.
pub const fn case() -> Case {
    Case {
        extent: Extent::Usual,
        name: "bare load balancer, 100 backends",
        traffic: |_| services::established(),
        floor: Floor::Tx,
        reason: None,
        goal: None,
    }
}

/// Measures it on the traffic of one service.
pub fn measure(testbed: &mut Testbed, rounds: usize) -> Result<Row> {
    let Case { name, floor, .. } = case();
    testbed.put_balancer(&Contents::new())?;
    let traffic = services::established();
    testbed.load_traffic(&traffic)?;
    testbed.set_floor(floor)?;
    let before = testbed.balancer_counted()?;
    let measured =
        Measured { name, floor, device: Device::Filter, frame: &traffic.frame, frames: FRAMES };
    let row =
        measure::measure(testbed, &measured, rounds).map_err(|error| format!("{name}: {error}"))?;
    let sent = testbed.balancer_counted()? - before;
    if sent < u64::from(FRAMES) * rounds as u64 {
        return Err(format!("{name}: sent {sent} packets to backends").into());
    }
    Ok(row)
}
