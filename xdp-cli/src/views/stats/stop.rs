//! A flag by which a signal stops a loop, even while the loop sleeps.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Once set, all clones see it.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<(Mutex<bool>, Condvar)>);

impl Stop {
    /// A flag that no signal sets.
    pub fn new() -> Self {
        Self::default()
    }

    /// A flag that SIGINT, SIGTERM and SIGHUP set. Fails if the process has one already, or the
    /// handler cannot be installed.
    pub fn on_signals() -> Result<Self, ctrlc::Error> {
        let stop = Self::new();
        let setter = stop.clone();
        ctrlc::set_handler(move || setter.set())?;
        Ok(stop)
    }

    /// Asks to stop.
    pub fn set(&self) {
        *self.lock() = true;
        self.0.1.notify_all();
    }

    /// Whether to stop.
    pub fn is_set(&self) -> bool {
        *self.lock()
    }

    /// Sleeps until `time` (`None` is forever) or until the flag is set. Returns whether it is set.
    pub fn wait_until(&self, time: Option<Instant>) -> bool {
        let mut set = self.lock();
        while !*set {
            let Some(time) = time else {
                set = self.0.1.wait(set).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = time.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let woken = self.0.1.wait_timeout(set, left);
            set = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        *set
    }

    /// A flag cannot be left half set, so a lock poisoned by a panic is fine.
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
