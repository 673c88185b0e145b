//! The wish to stop, from a signal to a loop that sleeps.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Set once, seen by all its clones.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<(Mutex<bool>, Condvar)>);

impl Stop {
    /// One that nothing sets yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that is set by SIGINT, SIGTERM and SIGHUP. A process can have it once.
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

    /// Sleeps until `time`, forever without one, but no longer than until it is set. Says whether
    /// it is.
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

    /// A flag cannot be left half set, so it does not matter who panicked.
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
