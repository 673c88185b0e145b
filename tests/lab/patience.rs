//! How long tests wait: for longer where everything takes longer.
//!
//! A limit is there so that a test that waits in vain ends, not to say how long something may take:
//! each has room for a machine that is busy with much else.

use std::env;
use std::sync::OnceLock;
use std::time::Duration;

/// What every limit is multiplied by, 1 unless set. scripts/kernels sets it: an emulated machine is
/// many times slower than a real one.
const VARIABLE: &str = "XDPCTL_PATIENCE";

/// What is waited for an event that takes milliseconds on an idle machine.
pub const EVENT: Duration = Duration::from_secs(60);

/// The limit `duration`, as long as it has to be on this machine.
pub fn patient(duration: Duration) -> Duration {
    static FACTOR: OnceLock<u32> = OnceLock::new();
    duration
        * *FACTOR.get_or_init(|| match env::var(VARIABLE) {
            Ok(text) => text.parse().unwrap_or_else(|_| panic!("{VARIABLE}={text}: not a number")),
            Err(_) => 1,
        })
}
