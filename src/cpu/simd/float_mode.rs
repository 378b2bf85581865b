//! The floating-point mode of threads that compute.

/// All exceptions masked, everything else zero: the reset value of MXCSR, and the mode that compiled Rust assumes.
#[cfg(target_arch = "x86_64")]
const DEFAULT: u32 = 0x1f80;
/// The reset value of FPCR.
#[cfg(target_arch = "aarch64")]
const DEFAULT: u64 = 0;

/// Sets this thread's floating-point mode to the IEEE default: round to nearest, subnormals kept, exceptions masked.
/// New threads inherit the mode of their creator on some systems, and a host may have changed its own.
pub fn set_default_float_mode() {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    set(DEFAULT);
}

/// Runs `f` on this thread in the default mode and then restores the host's mode, and its exception flags where they are in
/// the same register (x86-64).
// Not inlined: float arithmetic of the caller must not move across a change of the mode.
#[inline(never)]
pub fn in_default_float_mode<T>(f: impl FnOnce() -> T) -> T {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    let _restore = {
        let restore = RestoreOnDrop(get());
        set(DEFAULT);
        restore
    };
    f()
}

/// Restores the mode that it holds when it is dropped, also in a panic.
#[cfg(target_arch = "x86_64")]
struct RestoreOnDrop(u32);
#[cfg(target_arch = "aarch64")]
struct RestoreOnDrop(u64);

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
impl Drop for RestoreOnDrop {
    fn drop(&mut self) {
        set(self.0);
    }
}

#[cfg(target_arch = "x86_64")]
fn get() -> u32 {
    let mut mode = 0;
    // SAFETY: stores MXCSR to a local variable.
    unsafe { core::arch::asm!("stmxcsr [{}]", in(reg) &raw mut mode, options(nostack, preserves_flags)) };
    mode
}

// The assembly is not marked `nomem`, so that no result is stored across it.
#[cfg(target_arch = "x86_64")]
fn set(mode: u32) {
    // SAFETY: loads a valid MXCSR value, the default or what `get` found, from a local variable; only this thread's SSE
    // state changes.
    unsafe { core::arch::asm!("ldmxcsr [{}]", in(reg) &raw const mode, options(nostack, preserves_flags)) };
}

#[cfg(target_arch = "aarch64")]
fn get() -> u64 {
    let mode;
    // SAFETY: reads FPCR.
    unsafe { core::arch::asm!("mrs {}, fpcr", out(reg) mode, options(nostack, preserves_flags)) };
    mode
}

#[cfg(target_arch = "aarch64")]
fn set(mode: u64) {
    // SAFETY: writes a valid FPCR value, the default or what `get` found; only this thread's state changes.
    unsafe { core::arch::asm!("msr fpcr, {}", in(reg) mode, options(nostack, preserves_flags)) };
}
