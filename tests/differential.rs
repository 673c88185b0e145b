//! The contract written down once more, in the plainest way (`tests/model/`), against the real
//! program: loaded into the kernel, given one ruleset after the other, and run on one frame after
//! the other (BPF_PROG_TEST_RUN). It needs root.

#[path = "model/answer.rs"]
mod answer;
#[allow(dead_code, reason = "each of the targets that have the model uses its own part of it")]
#[path = "model/config.rs"]
mod config;
#[path = "model/config_text.rs"]
mod config_text;
// Single cases, each with the sentence of the contract that it is about.
#[path = "model/corner.rs"]
mod corner;
#[path = "model/corner_names.rs"]
mod corner_names;
#[path = "model/dice.rs"]
mod dice;
#[path = "model/disagreement.rs"]
mod disagreement;
#[path = "model/dns.rs"]
mod dns;
#[path = "model/domains.rs"]
mod domains;
#[allow(dead_code, reason = "as above")]
#[path = "model/flows.rs"]
mod flows;
#[allow(dead_code, reason = "as above")]
#[path = "model/frames.rs"]
mod frames;
#[path = "model/judge.rs"]
mod judge;
#[path = "model/leaving.rs"]
mod leaving;
#[path = "model/limit_rulesets.rs"]
mod limit_rulesets;
#[allow(dead_code, reason = "as above")]
#[path = "model/limited.rs"]
mod limited;
#[path = "differential/limiting.rs"]
mod limiting;
#[path = "model/loading.rs"]
mod loading;
#[path = "model/maglev.rs"]
mod maglev;
#[path = "model/messages.rs"]
mod messages;
#[path = "differential/opened.rs"]
mod opened;
#[path = "differential/ordinary.rs"]
mod ordinary;
#[path = "model/packet.rs"]
mod packet;
#[path = "model/possible.rs"]
mod possible;
#[allow(dead_code, reason = "as above")]
#[path = "model/rulesets.rs"]
mod rulesets;
#[path = "model/service_config.rs"]
mod service_config;
#[path = "model/service_rulesets.rs"]
mod service_rulesets;
#[allow(dead_code, reason = "as above")]
#[path = "model/services.rs"]
mod services;
#[allow(dead_code, reason = "as above")]
#[path = "model/sockets.rs"]
mod sockets;
#[path = "model/syn_ack.rs"]
mod syn_ack;
#[path = "model/syn_rulesets.rs"]
mod syn_rulesets;

#[path = "differential/bench.rs"]
mod bench;
#[path = "differential/counters.rs"]
mod counters;
#[path = "differential/egress.rs"]
mod egress;
#[path = "differential/filter.rs"]
mod filter;
#[path = "differential/kinds.rs"]
mod kinds;
#[path = "differential/kinds_dns.rs"]
mod kinds_dns;
#[path = "differential/kinds_ip.rs"]
mod kinds_ip;
#[path = "differential/large.rs"]
mod large;
#[path = "differential/lost.rs"]
mod lost;
#[path = "differential/pairs.rs"]
mod pairs;
#[path = "differential/product.rs"]
mod product;
#[path = "differential/raw.rs"]
mod raw;
#[path = "differential/serving.rs"]
mod serving;
#[path = "differential/structured.rs"]
mod structured;
#[path = "differential/syns.rs"]
mod syns;
#[path = "differential/table.rs"]
mod table;
