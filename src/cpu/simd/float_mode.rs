//! The floating-point mode of the worker threads.

/// Sets this thread's floating-point mode to the IEEE default: round to nearest, subnormals kept, exceptions masked.
/// New threads inherit the mode of their creator on some systems, and a host may have changed its own.
pub fn set_default_float_mode() {
    #[cfg(target_arch = "x86_64")]
    {
        // All exceptions masked, everything else zero: the reset value of MXCSR.
        let default: u32 = 0x1f80;
        // SAFETY: loads a valid MXCSR value from readable memory; only this thread's SSE state changes, and the
        // compiler assumes exactly this default mode.
        unsafe {
            core::arch::asm!("ldmxcsr [{}]", in(reg) &default, options(readonly, nostack, preserves_flags))
        };
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: zero is the reset value of FPCR; only this thread's state changes, and the compiler assumes this mode.
    unsafe {
        core::arch::asm!("msr fpcr, {0:x}", in(reg) 0_u64, options(nomem, nostack, preserves_flags));
    }
}
