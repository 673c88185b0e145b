//! A frame's bytes, where the driver left them: [`linear`] in one buffer, [`scattered`] in several; and
//! [`writable`], the first buffer, to be written; [`headers`], what begins it, found to be there once.

mod checked;
mod headers;
mod length;
mod linear;
mod scattered;
mod writable;

pub use headers::Headers;
pub use length::length;
pub use linear::Linear;
pub use scattered::Scattered;
pub use writable::Writable;
