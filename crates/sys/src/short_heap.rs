//! The heap of a program that lives for milliseconds.
//!
//! A general allocator spends its time on what such a program never has: threads, fragmentation, memory to give back. Here a block comes
//! from the list of those of its size that were freed, or from the end of what was never used, and goes back to its list: a handful of
//! instructions each. The first half megabyte lies in the program's own image, so that it takes no call. Large blocks are the C library's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

/// Blocks are multiples of it, and aligned to it.
const STEP: usize = 16;
/// Up to here each multiple of [`STEP`] has a list of its own, above only powers of two.
const FINE: usize = 1024;
/// The largest block that is ours.
const MOST: usize = 32 << 10;
const LISTS: usize = FINE / STEP + (MOST / FINE).ilog2() as usize;
/// How much comes at a time: in the program's image first, then from the system.
const CHUNK: usize = 512 << 10;

#[repr(C, align(4096))]
struct Chunk([u8; CHUNK]);

struct State {
    /// Where memory begins that was never used, and how much of it there is.
    next: *mut u8,
    left: usize,
    /// Of each size what was freed: each block points to the next.
    free: [*mut u8; LISTS],
}

/// To be a `#[global_allocator]`, once in a program.
pub struct ShortHeap {
    busy: AtomicBool,
    state: UnsafeCell<State>,
    first: UnsafeCell<Chunk>,
}

impl std::fmt::Debug for ShortHeap {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ShortHeap")
    }
}

// SAFETY: `state` and `first` are touched only by who has set `busy`.
unsafe impl Sync for ShortHeap {}

impl Default for ShortHeap {
    fn default() -> Self {
        Self::new()
    }
}

impl ShortHeap {
    /// An empty one.
    pub const fn new() -> Self {
        Self {
            busy: AtomicBool::new(false),
            state: UnsafeCell::new(State {
                next: ptr::null_mut(),
                left: 0,
                free: [ptr::null_mut(); LISTS],
            }),
            first: UnsafeCell::new(Chunk([0; CHUNK])),
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        while self.busy.swap(true, Ordering::Acquire) {
            std::hint::spin_loop();
        }
        // SAFETY: `busy` was false and is ours until the store below, so this is the only reference; `act` does not come back
        // here, as it does nothing but pointer arithmetic and, at most, a call of mmap.
        let result = act(unsafe { &mut *self.state.get() });
        self.busy.store(false, Ordering::Release);
        result
    }

    fn take(&self, list: usize, size: usize) -> *mut u8 {
        self.with(|state| {
            let block = state.free[list];
            if !block.is_null() {
                // SAFETY: a freed block of at least STEP bytes, aligned to STEP, whose first word `give` wrote.
                state.free[list] = unsafe { block.cast::<*mut u8>().read() };
                return block;
            }
            if state.left < size && !self.more(state) {
                return ptr::null_mut();
            }
            let block = state.next;
            // SAFETY: `left` bytes from `next` on are of one chunk.
            state.next = unsafe { block.add(size) };
            state.left -= size;
            block
        })
    }

    /// A new chunk; what is left of the old one is forgotten.
    fn more(&self, state: &mut State) -> bool {
        let chunk = if state.next.is_null() {
            self.first.get().cast::<u8>()
        } else {
            // SAFETY: new memory at an address of the kernel's choice.
            let chunk = unsafe {
                libc::mmap(
                    ptr::null_mut(),
                    CHUNK,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                    -1,
                    0,
                )
            };
            if chunk == libc::MAP_FAILED {
                return false;
            }
            chunk.cast()
        };
        (state.next, state.left) = (chunk, CHUNK);
        true
    }

    fn give(&self, list: usize, block: *mut u8) {
        self.with(|state| {
            // SAFETY: the caller's block of at least STEP bytes, aligned to STEP, that nobody uses any more.
            unsafe { block.cast::<*mut u8>().write(state.free[list]) };
            state.free[list] = block;
        });
    }
}

/// The list for blocks of this layout, and how large they are there. None: not ours. The same for the same layout, always.
const fn class(layout: Layout) -> Option<(usize, usize)> {
    let size = layout.size();
    if layout.align() > STEP || size > MOST {
        return None;
    }
    if size <= FINE {
        let steps = if size == 0 { 1 } else { size.div_ceil(STEP) };
        return Some((steps - 1, steps * STEP));
    }
    let size = size.next_power_of_two();
    Some((FINE / STEP - 1 + (size / FINE).ilog2() as usize, size))
}

// SAFETY: a block is handed out once until it is given back; it has the size and alignment of its class, which are at least the layout's;
// what has no class is `System`'s on both ways, as the class depends on the layout alone.
unsafe impl GlobalAlloc for ShortHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match class(layout) {
            Some((list, size)) => self.take(list, size),
            // SAFETY: the caller's promises.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match class(layout) {
            Some((list, size)) => {
                let block = self.take(list, size);
                if !block.is_null() {
                    // SAFETY: a new block of at least this size.
                    unsafe { block.write_bytes(0, layout.size()) };
                }
                block
            }
            // SAFETY: the caller's promises.
            None => unsafe { System.alloc_zeroed(layout) },
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match class(layout) {
            Some((list, _)) => self.give(list, block),
            // SAFETY: it was made by `System`, see `alloc`.
            None => unsafe { System.dealloc(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises a size that is good for a layout of this alignment.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (class(layout), class(wanted)) {
            (Some((old, _)), Some((new, _))) if old == new => block,
            // SAFETY: both are `System`'s.
            (None, None) => unsafe { System.realloc(block, layout, size) },
            _ => {
                // SAFETY: the caller's promises; a new block is no part of the old one, and both hold what is copied.
                unsafe {
                    let new = self.alloc(wanted);
                    if !new.is_null() {
                        ptr::copy_nonoverlapping(block, new, layout.size().min(size));
                        self.dealloc(block, layout);
                    }
                    new
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static HEAP: ShortHeap = ShortHeap::new();

    #[test]
    fn blocks_hold_what_they_should_and_never_each_other() {
        let sizes = [0, 1, 16, 17, 100, 1024, 1025, 2048, 5000, MOST, MOST + 1, 1 << 20];
        let mut blocks: Vec<(*mut u8, Layout, u8)> = Vec::new();
        for round in 0..60u8 {
            for size in sizes {
                let layout = Layout::from_size_align(size, 8).unwrap();
                // SAFETY: blocks are filled within their layout, read while they are held, and given back once.
                unsafe {
                    let block = HEAP.alloc(layout);
                    assert!(!block.is_null() && block.addr().is_multiple_of(8));
                    block.write_bytes(round, size);
                    blocks.push((block, layout, round));
                }
            }
            if round % 3 == 2 {
                for _ in 0..15 {
                    let (block, layout, filled) = blocks.swap_remove(blocks.len() / 2);
                    let size = layout.size() + usize::from(round) * 7;
                    // SAFETY: as above.
                    unsafe {
                        let block = HEAP.realloc(block, layout, size);
                        let kept = std::slice::from_raw_parts(block, layout.size());
                        assert!(kept.iter().all(|byte| *byte == filled));
                        HEAP.dealloc(block, Layout::from_size_align(size, 8).unwrap());
                    }
                }
            }
        }
        for (block, layout, filled) in blocks {
            // SAFETY: as above.
            unsafe {
                let kept = std::slice::from_raw_parts(block, layout.size());
                assert!(kept.iter().all(|byte| *byte == filled));
                HEAP.dealloc(block, layout);
            }
        }
    }

    #[test]
    fn a_list_never_mixes_sizes() {
        let mut sizes = [0; LISTS];
        for size in 0..=MOST {
            let (list, block) = class(Layout::from_size_align(size, 16).unwrap()).unwrap();
            assert!(block >= size && block % STEP == 0);
            assert!(sizes[list] == 0 || sizes[list] == block);
            sizes[list] = block;
        }
        assert!(sizes.iter().all(|size| *size != 0));
    }
}
