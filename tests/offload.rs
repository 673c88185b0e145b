//! Offload mode. No device runs the program here: it runs in the kernel, on the same maps, held
//! against the contract's model (needs root). Everything around it is tested on netdevsim, a device
//! that takes programs and maps and never runs any; `scripts/kernels` has machines with one.

#[allow(dead_code, reason = "made for the model\'s tests, which use all of it")]
#[path = "model/answer.rs"]
mod answer;
#[allow(dead_code, reason = "made for the model\'s tests, which use all of it")]
#[path = "model/config.rs"]
mod config;
#[path = "model/config_text.rs"]
mod config_text;
#[allow(dead_code, reason = "made for the model\'s tests, which use all of it")]
#[path = "model/dice.rs"]
mod dice;
#[allow(dead_code, reason = "made for the model\'s tests, which use all of it")]
#[path = "model/dns.rs"]
mod dns;
#[allow(dead_code, reason = "made for the model\'s tests, which use all of it")]
#[path = "model/domains.rs"]
mod domains;
#[allow(dead_code, reason = "made for the model\'s tests, which use all of it")]
#[path = "model/frames.rs"]
mod frames;
#[allow(dead_code, reason = "made for the model\'s tests, which use all of it")]
#[path = "model/judge.rs"]
mod judge;
mod lab;
#[allow(dead_code, reason = "made for the model\'s tests, which use all of it")]
#[path = "model/messages.rs"]
mod messages;
#[allow(dead_code, reason = "made for the model\'s tests, which use all of it")]
#[path = "model/packet.rs"]
mod packet;
#[allow(dead_code, reason = "made for the model\'s tests, which use all of it")]
#[path = "model/possible.rs"]
mod possible;
#[allow(dead_code, reason = "made for the model\'s tests, which use all of it")]
#[path = "model/rulesets.rs"]
mod rulesets;
#[allow(dead_code, reason = "as above")]
#[path = "model/service_config.rs"]
mod service_config;
#[allow(dead_code, reason = "as above")]
#[path = "model/sockets.rs"]
mod sockets;

#[path = "offload/netdevsim.rs"]
mod netdevsim;
#[path = "offload/program.rs"]
mod program;
