//! The program in the kernel in the place that `tests/model/corner.rs` has for the product's code in
//! user space, so that its cases hold for both.

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use crate::config::Config;
use crate::filter::Filter;
use crate::judge::Opinion;

/// One for all the cases, which are few and short.
static FILTER: LazyLock<Mutex<Filter>> = LazyLock::new(|| Mutex::new(Filter::load()));

/// A configuration in force, for as long as this value lives.
pub struct Product {
    filter: Mutex<MutexGuard<'static, Filter>>,
}

impl Product {
    pub fn load(config: &Config) -> Result<Self, String> {
        // A case that failed leaves nothing behind that the next one does not replace.
        let mut filter = FILTER.lock().unwrap_or_else(PoisonError::into_inner);
        filter.put(config)?;
        Ok(Self { filter: Mutex::new(filter) })
    }

    pub fn judge(&self, frame: &[u8]) -> Opinion {
        self.filter.lock().unwrap().opinion(frame)
    }
}
