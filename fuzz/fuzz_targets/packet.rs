//! Any bytes as a frame: what the product reads of it is what the tests' model reads of it, field by
//! field, and whether it is malformed; by itself, and with so many zeros behind it that the lengths
//! in it cannot say how many.

#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/model"]
#[expect(dead_code, reason = "of the model, only its reading of frames is asked here")]
mod model {
    pub mod config;
    pub mod config_text;
    pub mod packet;
    pub mod reading;
    pub mod service_config;
}

/// More than 16 bits can say, whatever headers come before.
const JUMBO: usize = 70_000;

fuzz_target!(|frame: &[u8]| {
    model::reading::compare(frame);
    JUMBO_FRAME.with_borrow_mut(|jumbo| {
        let length = frame.len().min(JUMBO);
        jumbo[..length].copy_from_slice(&frame[..length]);
        model::reading::compare(jumbo);
        jumbo[..length].fill(0);
    });
});

thread_local! {
    static JUMBO_FRAME: RefCell<Vec<u8>> = RefCell::new(vec![0; JUMBO]);
}
