//! What commands show: plain values in, text or JSON out, written to a `dyn Write`, or a picture.
//! Nothing here asks a kernel.

pub mod capture;
pub mod difference;
pub mod entries;
pub mod explain;
pub mod health;
pub mod limits;
mod list_size;
pub mod lookup;
pub mod metrics;
pub mod monitor;
pub mod services;
pub mod show;
pub mod stats;
pub mod status;
pub mod top;
