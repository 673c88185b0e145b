//! A value that the compiler knows nothing of.

/// Returns `value`, about which the compiler then assumes nothing: neither its range, which would
/// let it drop a bound that the verifier needs to see, nor how it was computed, which would let it
/// recognize a pattern and put something in its place that eBPF has no instruction for.
#[inline(always)]
pub fn opaque(value: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut value = value;
        // SAFETY: moves a register to itself and touches nothing else.
        unsafe {
            core::arch::asm!(
                "{0} = {0}",
                inout(reg) value,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        value
    }
    #[cfg(not(target_arch = "bpf"))]
    value
}
