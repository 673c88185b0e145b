//! Shows events: as lines, as JSON, and as the journal takes them.

pub mod journal;
pub mod json;
pub mod text;

#[cfg(test)]
mod tests;
