//! Makes limits of this process ordinary errors, with a message and status 1, instead of a signal
//! that ends it.

use std::alloc::{GlobalAlloc, Layout, System};

use nix::sys::signal::{SigHandler, Signal, signal};

/// The system's allocator, except that running out of memory prints a message and ends the process.
/// That is as safe as being killed at this point: either what was in force before stays, or what
/// was asked for is in force.
struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

// SAFETY: the system's allocator does the work. It may return null, which callers have to expect;
// this one never does.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `GlobalAlloc`, which is that of `System` too.
        unsafe { there(System.alloc(layout)) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `GlobalAlloc`, which is that of `System` too.
        unsafe { there(System.alloc_zeroed(layout)) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `GlobalAlloc`, which is that of `System` too.
        unsafe { there(System.realloc(memory, layout, size)) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `GlobalAlloc`, which is that of `System` too.
        unsafe { System.dealloc(memory, layout) }
    }
}

fn there(memory: *mut u8) -> *mut u8 {
    if memory.is_null() { end() } else { memory }
}

#[cold]
fn end() -> ! {
    const SAID: &[u8] = b"error: out of memory\n  hint: `ulimit -v` and the control group's limit \
        say how much this process may have; smaller lists need less\n";
    // SAFETY: two system calls, on bytes that live as long as the program; nothing is allocated.
    unsafe {
        libc::write(libc::STDERR_FILENO, SAID.as_ptr().cast(), SAID.len());
        libc::_exit(1)
    }
}

/// Makes the call that writes a file beyond its size limit (`ulimit -f`) fail, instead of a signal
/// ending the process.
pub fn heed() {
    // SAFETY: no handler is installed: the signal is ignored. Failing to do so is no reason to
    // stop.
    let _ = unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) };
}
