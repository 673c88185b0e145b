//! What happens to packets, for every kind of list, rule and action: tables of frames that are sent
//! over a wire.

mod arp;
mod conditions;
pub mod domains;
mod encapsulated;
mod fragments;
mod lists;
mod malformed;
mod outputs;
mod rules;

use crate::lab::Topology;
use crate::lab::bench::{Bench, Row, under_all_tags};
use crate::lab::patience::EVENT;

/// A configuration, and frames with what it makes of them.
pub struct Table {
    configuration: String,
    /// Files that the configuration names.
    files: Vec<(&'static str, &'static str)>,
    topology: Topology,
    /// Whether frames are sent on or back, so that the far ends need a program.
    forwards: bool,
    pub rows: Vec<Row>,
}

impl Table {
    /// On the standard topology. `OUT0` and the like in the configuration's `to` stand for an
    /// interface's index.
    fn new(configuration: &str, rows: Vec<Row>) -> Self {
        Self {
            configuration: configuration.to_owned(),
            files: Vec::new(),
            topology: Topology::standard(),
            forwards: false,
            rows,
        }
    }

    /// The same rows again under every kind of tags.
    fn under_all_tags(mut self) -> Self {
        self.rows = under_all_tags(&self.rows);
        self
    }

    fn file(mut self, name: &'static str, text: &'static str) -> Self {
        self.files.push((name, text));
        self
    }

    fn forwards(mut self, topology: Topology) -> Self {
        self.forwards = true;
        self.topology = topology;
        self
    }

    #[track_caller]
    pub fn prepare(&self) -> Bench {
        let mut bench = Bench::on(self.topology.clone());
        for (name, text) in &self.files {
            bench.write(name, text);
        }
        let mut configuration = self.configuration.clone();
        for [_, near] in bench.lab().links() {
            let index = bench.lab().ifindex(near.namespace, near.interface).to_string();
            configuration = configuration.replace(&near.interface.to_uppercase(), &index);
        }
        if self.forwards {
            bench.open_gates();
        }
        bench.attach(&configuration);
        bench
    }

    #[track_caller]
    fn over_the_wire(&self) {
        self.prepare().run(&self.rows);
    }
}

/// A test for each table, and all of them in one list.
macro_rules! tables {
    ($($module:ident::$table:ident),+ $(,)?) => {
        pub fn all() -> Vec<(&'static str, Table)> {
            vec![$((stringify!($table), $module::$table())),+]
        }

        mod over_the_wire {
            $(#[test]
            fn $table() {
                super::$module::$table().over_the_wire();
            })+
        }
    };
}

tables! {
    arp::arp_dropped_but_for_some_senders,
    arp::arp_passed_whatever_else_is_dropped,
    conditions::lengths_and_ttls,
    conditions::fragment_kinds,
    conditions::negations,
    conditions::negations_of_the_link,
    domains::domain_actions,
    domains::domain_replies,
    domains::domain_ports,
    domains::domain_entry_that_decides,
    domains::domain_exceptions,
    domains::domain_order,
    domains::domain_longest_names,
    domains::answers_byte_for_byte,
    domains::dropped_where_no_answer_fits,
    domains::extensions,
    domains::shortest_answers,
    domains::not_looked_into,
    domains::unreadable,
    encapsulated::read_through,
    encapsulated::not_ip_inside,
    encapsulated::malformed_carriers,
    fragments::fragments_judged_by_what_they_carry,
    fragments::fragments_dropped,
    lists::allowlist_over_blocklist,
    lists::blocklist_sides,
    lists::blocklist_entry_that_decides,
    lists::list_files,
    lists::whole_families,
    malformed::malformed_dropped,
    malformed::malformed_passed,
    malformed::well_formed_at_the_edge,
    malformed::too_deep,
    outputs::redirected,
    outputs::bounced,
    outputs::jumbo_frames,
    rules::default_pass,
    rules::default_drop,
    rules::first_match_wins,
    rules::protocols,
    rules::addresses,
    rules::ports,
    rules::icmp_types,
    rules::tcp_flags,
    rules::dscp,
    rules::vlans,
    rules::macs,
    rules::all_keys_at_once,
    rules::behind_extension_headers,
}

/// Tests the kernel, not xdpctl: with nothing attached, everything passes, and each frame that a
/// table lets pass has to show in the stack.
#[test]
fn frames_that_pass_would_be_seen() {
    let lab = Topology::standard().mtu(9000).build();
    let (sender, receiver) = (lab.port("src", "src0"), lab.port("dut", "in0"));
    for (name, table) in all() {
        for row in table.rows.iter().filter(|row| row.passes()) {
            sender.send(row.frame());
            let arrived = receiver.recv(EVENT);
            assert_eq!(arrived.as_deref(), Some(row.frame()), "{name}: {}", row.description());
        }
    }
}
