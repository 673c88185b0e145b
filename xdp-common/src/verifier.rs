//! What keeps the compiler from optimizing away what the verifier must see, and the verifier from
//! following too many ways through the program.

/// Returns `value`, about which the compiler then assumes nothing: neither its range, which would
/// let it drop a bound that the verifier needs to see, nor how it was computed, which would let it
/// recognize a pattern and put something in its place that eBPF has no instruction for.
#[inline(always)]
pub fn black_box(value: u64) -> u64 {
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

/// The same place in memory, but the compiler no longer knows what was written there, and so has to
/// read it.
///
/// The verifier follows numbers through registers and the stack, but not through the value of a
/// map. Each way through a parser ends with other numbers, and the verifier would follow every one
/// of them through all that comes after. If the numbers are left in a map's value and read back
/// from there, they are unknown, and all those ways are one.
#[inline(always)]
pub fn launder<T>(place: &mut T) -> &mut T {
    let place: *mut T = place;
    // SAFETY: it is the pointer of the exclusive reference that was given, which ends here.
    unsafe { &mut *(black_box(place as usize as u64) as usize as *mut T) }
}

/// Names a map in a program that has no other use for it. The kernel keeps the maps that a program
/// names as long as it keeps the program, and says which maps these are (bpf_prog_info.map_ids). It
/// takes two instructions.
#[inline(always)]
pub fn name<T>(map: &'static T) {
    #[cfg(target_arch = "bpf")]
    {
        // SAFETY: moves a register to itself and touches nothing else. Not `pure`, or LLVM would drop
        // it, for nobody uses the result.
        unsafe {
            core::arch::asm!(
                "{0} = {0}",
                inout(reg) map => _,
                options(nomem, nostack, preserves_flags)
            );
        }
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        let _ = map;
    }
}
