//! Why the kernel does not take a program, in words.

use std::io;

use crate::datapath::error::Error;
use crate::datapath::host::interface::{Interface, Mode};
use crate::datapath::program::error::LoadError;
use crate::notation::word;

/// The error that says why the kernel did not attach, as far as its errno and the interface tell
/// (dev_xdp_attach and dev_xdp_install in net/core/dev.c, and the drivers' ndo_bpf).
pub fn refusal(interface: &Interface, mode: Mode, error: &io::Error) -> Error {
    let name = &interface.name;
    let as_word = word(name);
    let told = |why: String| Error::new(why);
    let generic =
        format!("`xdpctl attach {as_word} --mode generic` works with every driver, slower");
    if mode == Mode::Native && interface.lro {
        return told("large receive offload is on, and merges frames before XDP sees them".into())
            .hint(format!("`ethtool -K {} lro off`", word(name)));
    }
    match error.raw_os_error() {
        Some(libc::EOPNOTSUPP) if mode == Mode::Native => {
            let driver = match &interface.driver {
                Some(driver) => format!("its driver ({driver})"),
                None => "its driver".to_owned(),
            };
            told(format!("{driver} has no native XDP, or not in this configuration")).hint(generic)
        }
        Some(libc::ERANGE | libc::EINVAL | libc::EFBIG | libc::EMSGSIZE)
            if mode == Mode::Native && interface.mtu > 1500 =>
        {
            told(format!("its MTU of {} is too large for the driver's XDP", interface.mtu))
                .hint(format!("`ip link set {} mtu 1500`; or {generic}", word(name)))
        }
        Some(libc::EBUSY | libc::EEXIST) => {
            told("another XDP program was put there in this moment".into())
                .hint("`ip -details link` shows it")
        }
        Some(libc::EINVAL) => told(
            "the driver does not take an XDP program in the interface's present configuration"
                .into(),
        )
        .hint(format!("`dmesg` may say why (queues, rings, features); or {generic}")),
        Some(libc::ENOSPC) if interface.kind.as_deref() == Some("veth") => {
            told("a veth needs a receive queue for each transmit queue of its peer".into())
                .hint(format!("`ethtool -L {name} rx N`, or `ethtool -L PEER tx N`; or {generic}"))
        }
        Some(libc::ENOMEM | libc::ENOSPC) => told(format!(
            "the driver has not enough queues or memory for it ({error})"
        ))
        .hint(format!("fewer queues leave room for XDP's (`ethtool -L {as_word}`); or {generic}")),
        Some(libc::EPERM) => told("not permitted".into()).hint("run as root: `sudo xdpctl …`"),
        Some(libc::ENODEV) => told("the interface is gone".into()),
        _ => told(error.to_string()),
    }
}

pub fn not_loaded(error: LoadError) -> Error {
    let told = Error::new(error.to_string());
    match error {
        LoadError::Verifier(_) => told.hint(
            "that should not happen: please report it with the kernel's version and the output of \
             `xdpctl -vv attach --replace …`, which has the verifier's log",
        ),
        LoadError::Other(_) => told.hint("`xdpctl -vv attach --replace …` says more"),
    }
}
