//! Memory as a bound: what a call had in use at its peak, counted by the allocator itself.
//!
//! libFuzzer's own limit is the whole process and too coarse to notice a parser that takes a megabyte for a byte.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `call`.
///
/// # Panics
/// If it needed more than `most` bytes at once beside those that were in use before.
pub fn within<T>(most: usize, call: impl FnOnce() -> T) -> T {
    let before = IN_USE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let result = call();
    let needed = PEAK.load(Relaxed).saturating_sub(before);
    assert!(needed <= most, "{needed} bytes of memory were needed, {most} are allowed");
    result
}

fn grown(by: usize) {
    let now = IN_USE.fetch_add(by, Relaxed) + by;
    PEAK.fetch_max(now, Relaxed);
}

fn shrunk(by: usize) {
    IN_USE.fetch_sub(by, Relaxed);
}

// SAFETY: the system's allocator does all the work; the counters do not touch what it hands out.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: the caller's promise, handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        shrunk(layout.size());
        // SAFETY: the caller's promise, handed on.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Old and new may both be there while it is moved.
        grown(size);
        shrunk(layout.size());
        // SAFETY: the caller's promise, handed on.
        unsafe { System.realloc(memory, layout, size) }
    }
}
