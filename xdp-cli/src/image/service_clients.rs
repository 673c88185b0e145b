//! Compiles which clients services are for: tries that lead from an address to a set of services.

use rustc_hash::FxHashMap;
use xdp_common::image::{Header, LINE_WORDS};
use xdp_common::lookup::services::LINE_BITS;

use super::interval_tree::LineWriter;
use super::intervals::{Address, fold_nested};
use super::lpm::{self, TooLarge, Valued};
use crate::ruleset::services::Service;
use crate::ruleset::{Prefix, Prefixes};

/// Which services are for some clients alone, and which clients.
pub(super) struct Clients {
    /// The number of each service's clients; `None` where it is for all.
    pub(super) numbers: Vec<Option<u32>>,
    set_lines: u32,
}

impl Clients {
    pub(super) fn new(services: &[Service]) -> Self {
        let mut next = 0..;
        let numbers: Vec<Option<u32>> = services
            .iter()
            .map(|service| service.source.as_ref().and_then(|_| next.next()))
            .collect();
        let limited = numbers.iter().flatten().count() as u32;
        Self { numbers, set_lines: limited.div_ceil(LINE_BITS).max(1) }
    }

    /// Writes the sets, and the tries that lead to them.
    pub(super) fn write(
        &self,
        services: &[Service],
        header: &mut Header,
        lines: &mut LineWriter,
    ) -> Result<(), TooLarge> {
        header.service_set_lines = self.set_lines;
        let words = self.set_lines as usize * LINE_WORDS;
        let mut sets = Sets { all: vec![vec![0; words]], numbers: FxHashMap::default() };
        sets.numbers.insert(vec![0; words], 0);
        let v4 = self.prefixes(services, &mut sets, |source| &source.v4);
        let v6 = self.prefixes(services, &mut sets, |source| &source.v6);
        header.service_client_sets = lines.next();
        for set in &sets.all {
            lines.append_words(set);
        }
        ([header.service_clients_v4_root], [header.service_clients_v6_root]) =
            lpm::write(lines, [&v4], [&v6])?;
        Ok(())
    }

    fn prefixes<A: Address>(
        &self,
        services: &[Service],
        sets: &mut Sets,
        family: impl Fn(&Prefixes) -> &[Prefix<A>],
    ) -> Vec<Valued<A>> {
        let mut named: Vec<(Prefix<A>, u32)> = Vec::new();
        for (service, number) in services.iter().zip(&self.numbers) {
            if let (Some(source), Some(number)) = (&service.source, number) {
                named.extend(family(source).iter().map(|&prefix| (prefix, *number)));
            }
        }
        let mut valued = Vec::new();
        fold_nested(
            &mut named,
            0,
            |outer, &number| {
                let mut set = sets.all[outer as usize].clone();
                set[number as usize / 64] |= 1 << (number % 64);
                sets.number(set)
            },
            |prefix, set, around| {
                if set != around {
                    valued.push(Valued { prefix, value: set });
                }
            },
        );
        valued
    }
}

struct Sets {
    all: Vec<Vec<u64>>,
    numbers: FxHashMap<Vec<u64>, u32>,
}

impl Sets {
    fn number(&mut self, set: Vec<u64>) -> u32 {
        let next = self.all.len() as u32;
        let number = *self.numbers.entry(set.clone()).or_insert(next);
        if number == next {
            self.all.push(set);
        }
        number
    }
}
