//! The contract's order of judgement, written straight from its text and sharing nothing with the
//! product: linear scans over what the configuration says.
//!
//! Both get TOML text and the bytes of a frame, so that everything between text and verdict is
//! compared: loading, compiling, parsing and judging.

mod agreement;
mod answer;
mod bans;
mod config;
mod config_text;
mod connections;
mod corner;
mod corner_names;
mod dice;
mod disagreement;
mod dns;
mod domains;
mod frames;
mod index;
mod judge;
mod leaving;
mod limit_product;
mod limit_rulesets;
mod limited;
mod limiting;
mod loading;
mod maglev;
mod many_rules;
mod messages;
mod packet;
mod possible;
mod product;
mod questions;
mod reading;
mod refusals;
mod rulesets;
mod service_config;
mod service_product;
mod service_rulesets;
mod services;
mod serving;
mod sockets;
mod syn_ack;
mod syn_rulesets;
mod syns;
