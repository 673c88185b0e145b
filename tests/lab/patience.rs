//! How long tests wait: longer on slow machines.
//!
//! A limit makes a test end that waits in vain. It does not say how long something may take: each
//! limit has room for a machine that is busy with much else.

use std::env;
use std::sync::OnceLock;
use std::time::Duration;

/// The environment variable with the factor for every limit, 1 unless set. scripts/kernels sets it,
/// because an emulated machine is many times slower than a real one.
const VARIABLE: &str = "XDPCTL_PATIENCE";

/// How long to wait for an event that takes milliseconds on an idle machine.
pub const EVENT: Duration = Duration::from_secs(60);

/// The limit `duration` times the factor for this machine.
pub fn patient(duration: Duration) -> Duration {
    static FACTOR: OnceLock<u32> = OnceLock::new();
    duration
        * *FACTOR.get_or_init(|| match env::var(VARIABLE) {
            Ok(text) => text.parse().unwrap_or_else(|_| panic!("{VARIABLE}={text}: not a number")),
            Err(_) => 1,
        })
}
