//! A word that several CPUs write.
//!
//! On the host it is an [`AtomicU64`]. For BPF, Rust has no operations that read and write a word in one step, though
//! the kernel has had the instructions for them since Linux 5.12. So they are written out there.

use core::sync::atomic::AtomicU64;
#[cfg(not(target_arch = "bpf"))]
use core::sync::atomic::Ordering;

/// Of no order with others: each word stands for itself.
#[derive(Debug)]
#[repr(transparent)]
pub struct Word(AtomicU64);

impl Word {
    pub const fn new(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }

    #[inline(always)]
    pub fn load(&self) -> u64 {
        // LLVM has no such load for BPF, where one that is not split does.
        #[cfg(target_arch = "bpf")]
        // SAFETY: a reference leads to the word.
        unsafe {
            self.0.as_ptr().read_volatile()
        }
        #[cfg(not(target_arch = "bpf"))]
        self.0.load(Ordering::Relaxed)
    }

    #[inline(always)]
    pub fn store(&self, value: u64) {
        #[cfg(target_arch = "bpf")]
        // SAFETY: as in `load`.
        unsafe {
            self.0.as_ptr().write_volatile(value);
        }
        #[cfg(not(target_arch = "bpf"))]
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds, and wraps around.
    #[inline(always)]
    pub fn add(&self, value: u64) {
        #[cfg(target_arch = "bpf")]
        {
            // SAFETY: adds to a word that a reference leads to, in one step.
            unsafe {
                core::arch::asm!(
                    "lock *(u64 *)({0} + 0) += {1}",
                    in(reg) self.0.as_ptr(),
                    in(reg) value,
                    options(nostack)
                );
            }
        }
        #[cfg(not(target_arch = "bpf"))]
        {
            self.0.fetch_add(value, Ordering::Relaxed);
        }
    }

    /// Sets bits.
    #[inline(always)]
    pub fn set(&self, bits: u64) {
        #[cfg(target_arch = "bpf")]
        {
            // SAFETY: as in `add`.
            unsafe {
                core::arch::asm!(
                    "lock *(u64 *)({0} + 0) |= {1}",
                    in(reg) self.0.as_ptr(),
                    in(reg) bits,
                    options(nostack)
                );
            }
        }
        #[cfg(not(target_arch = "bpf"))]
        {
            self.0.fetch_or(bits, Ordering::Relaxed);
        }
    }

    /// Puts `new` there if it is `old`. Returns what it was.
    #[inline(always)]
    pub fn exchange(&self, old: u64, new: u64) -> u64 {
        #[cfg(target_arch = "bpf")]
        {
            let mut found = old;
            // SAFETY: as in `add`. The instruction compares with r0, and leaves there what it found.
            unsafe {
                core::arch::asm!(
                    "r0 = cmpxchg_64({0} + 0, r0, {1})",
                    in(reg) self.0.as_ptr(),
                    in(reg) new,
                    inlateout("r0") found,
                    options(nostack)
                );
            }
            found
        }
        #[cfg(not(target_arch = "bpf"))]
        {
            match self.0.compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(found) | Err(found) => found,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_do_at_once_is_not_lost() {
        let word = Word::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| word.add(2)));
            }
        });
        assert_eq!(word.load(), 80_000);
        word.set(1);
        assert_eq!((word.exchange(7, 9), word.load()), (80_001, 80_001));
        assert_eq!((word.exchange(80_001, 9), word.load()), (80_001, 9));
        word.store(u64::MAX);
        word.add(3);
        assert_eq!(word.load(), 2);
    }
}
