//! Real drivers in the lab: the NICs of a machine of scripts/machine, instead of veth pairs.

use std::fs;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{End, Namespace, process};

const TIMEOUT: Duration = Duration::from_secs(60);

/// The machine's NICs, for one lab at a time. They are given back on drop, as they were.
#[derive(Debug)]
pub struct Nics {
    /// A NIC's number, the namespace that it was moved to, and its name there.
    lent: Vec<(usize, String, &'static str)>,
    _alone: MutexGuard<'static, ()>,
}

impl Nics {
    /// Waits until no other lab has the NICs, and takes them.
    pub fn take() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        // A poisoned lock is no reason to stop: a test that failed has given the NICs back too.
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        Self { lent: Vec::new(), _alone: alone }
    }

    /// Moves a NIC to a namespace, as one end of a link.
    pub fn lend(&mut self, number: usize, namespace: &Namespace, end: &End) {
        let name = machine_name(number);
        assert!(
            is_there(number),
            "the NIC {name} of scripts/machine is not here: these tests run inside a machine, see \
             scripts/kernels"
        );
        ip(&["link", "set", &name, "netns", &namespace.name]).success();
        self.lent.push((number, namespace.name.clone(), end.interface));
        let mac = end.mac.to_string();
        let inside = ["-n", &namespace.name, "link", "set", &name];
        ip(&[&inside[..], &["name", end.interface, "address", &mac]].concat()).success();
    }
}

impl Drop for Nics {
    fn drop(&mut self) {
        for (number, namespace, interface) in &self.lent {
            let name = machine_name(*number);
            let inside = ["-n", namespace, "link", "set"];
            let mac = address(*number);
            for change in [
                &[interface, "down"][..],
                &[interface, "mtu", "1500", "address", &mac, "name", &name],
                &[&name, "netns", "1"],
            ] {
                process::try_run(command(&[&inside[..], change].concat()), TIMEOUT);
            }
        }
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.args(args);
    command
}

#[track_caller]
fn ip(args: &[&str]) -> process::Output {
    process::run(command(args), TIMEOUT)
}

/// The name of a NIC in the machine. Number 0 is cabled to number 1, number 2 to number 3.
fn machine_name(number: usize) -> String {
    format!("eth{number}")
}

/// The address that scripts/machine gives a NIC, which no other has.
fn address(number: usize) -> String {
    format!("02:00:00:00:ff:{number:02x}")
}

/// Whether that NIC is there, and has the address of one of scripts/machine, not of a real machine.
fn is_there(number: usize) -> bool {
    let path = format!("/sys/class/net/{}/address", machine_name(number));
    fs::read_to_string(path).is_ok_and(|text| text.trim() == address(number))
}
