//! A configuration read by the product's own loader, from text and list files on disk.

use std::fs;

use tempfile::TempDir;
use xdp_common::filter::replies::state;
use xdpctl::config::load;
use xdpctl::judgement::sockets::{Sent, Socket, Sockets};
use xdpctl::ruleset::Ruleset;

use super::config::{self, Config};

/// The sockets that the product is told of.
pub fn sockets(config: &Config) -> Sockets {
    let state = |of: &config::Socket| match (of.tcp, of.peer) {
        (_, Some(_)) => state::ESTABLISHED,
        (true, None) => state::LISTEN,
        (false, None) => state::CLOSE,
    };
    let told = config.sockets.iter().map(|socket| Socket {
        is_tcp: socket.tcp,
        own: socket.own,
        peer: socket.peer,
        state: state(socket),
    });
    let sent = config.sent.as_ref().map(|sent| {
        let each =
            sent.iter().map(|&config::Sent { protocol, own, peer }| Sent { protocol, own, peer });
        each.collect()
    });
    Sockets { are_known: true, sockets: told.collect(), sent }
}

/// `Err` says why the product refuses it.
pub fn ruleset(config: &Config) -> Result<Ruleset, String> {
    let (text, files) = config.to_toml();
    let folder = TempDir::new().unwrap();
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    let path = folder.path().join("model.toml");
    fs::write(&path, text).unwrap();
    let loaded = load(&path);
    loaded
        .ruleset
        .ok_or_else(|| loaded.diagnostics.errors.iter().map(|error| format!("{error}\n")).collect())
}
