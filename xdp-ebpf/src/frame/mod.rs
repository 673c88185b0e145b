//! A frame's bytes, where the driver left them: [`linear`] in one buffer, [`scattered`] in several.

mod checked;
mod length;
mod linear;
mod scattered;

pub use length::length;
pub use linear::Linear;
pub use scattered::Scattered;
