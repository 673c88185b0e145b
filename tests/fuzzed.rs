//! What fuzzing found, what was found in writing its targets, and what it does not come to by itself:
//! each a test with a sentence on it. Neither kernel nor root is needed.

#[path = "fuzzed/image.rs"]
mod image;
#[path = "fuzzed/state.rs"]
mod state;
#[path = "fuzzed/text.rs"]
mod text;
