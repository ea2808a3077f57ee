//! Words in maps that several CPUs change.

use core::arch::asm;

/// Reads a word that other CPUs may be changing.
#[inline(always)]
pub fn load(word: *const u64) -> u64 {
    // SAFETY: callers pass pointers into map values, 8-byte aligned; aligned 64-bit loads do not tear.
    unsafe { word.read_volatile() }
}

/// Stores `new` if the word is still `old`; whether it was.
#[inline(always)]
pub fn exchange(word: *mut u64, old: u64, new: u64) -> bool {
    let found: u64;
    // SAFETY: `word` points into a map value, 8-byte aligned. The instruction compares with r0 and leaves what it found
    // there. By hand, because the target declares no compare-and-swap and the language then hides it.
    unsafe {
        asm!(
            "r0 = cmpxchg_64({word} + 0, r0, {new})",
            word = in(reg) word,
            new = in(reg) new,
            inout("r0") old => found,
        );
    }
    found == old
}
