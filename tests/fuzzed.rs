//! What fuzzing found, and what was found in writing its targets: each a test with a sentence on
//! what went wrong. Neither kernel nor root is needed.

#[path = "fuzzed/image.rs"]
mod image;
#[path = "fuzzed/state.rs"]
mod state;
#[path = "fuzzed/text.rs"]
mod text;
