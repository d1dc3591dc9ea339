//! Memory that may be handed to a device: aligned to the block, reused from a pool.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// The unit of direct I/O: alignment of memory, offsets and lengths. Every device in use has logical
/// blocks of 512 or 4,096 bytes.
pub const BLOCK_BYTES: usize = 4096;

/// A block-aligned byte buffer whose capacity is a multiple of [`BLOCK_BYTES`]. All of its memory is
/// initialised at all times.
pub struct AlignedBuffer {
    pointer: NonNull<u8>,
    capacity: usize,
    length: usize,
}

// SAFETY: the buffer owns its memory alone, like a Vec<u8>.
unsafe impl Send for AlignedBuffer {}
// SAFETY: a shared reference gives read access only.
unsafe impl Sync for AlignedBuffer {}

impl AlignedBuffer {
    /// A buffer of `length` zero bytes; the capacity is the next multiple of [`BLOCK_BYTES`].
    #[must_use]
    pub fn zeroed(length: usize) -> Self {
        let capacity = length.max(1).next_multiple_of(BLOCK_BYTES);
        let layout = Self::layout(capacity);
        // SAFETY: the layout has a size above zero.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(pointer) = NonNull::new(memory) else {
            handle_alloc_error(layout)
        };
        Self {
            pointer,
            capacity,
            length,
        }
    }

    /// A buffer with a copy of `bytes`.
    #[must_use]
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut buffer = Self::zeroed(bytes.len());
        buffer.copy_from_slice(bytes);
        buffer
    }

    fn layout(capacity: usize) -> Layout {
        let Ok(layout) = Layout::from_size_align(capacity, BLOCK_BYTES) else {
            unreachable!("a buffer of {capacity} bytes exceeds the address space")
        };
        layout
    }

    /// Bytes the buffer can hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Sets the length. Bytes that come into view hold what they last held (zero if never written).
    ///
    /// # Panics
    /// If `length` is above the capacity.
    pub fn set_length(&mut self, length: usize) {
        assert!(
            length <= self.capacity,
            "length {length} exceeds capacity {}",
            self.capacity
        );
        self.length = length;
    }

    /// The address of the first byte, for the kernel.
    pub(crate) fn as_mut_pointer(&mut self) -> *mut u8 {
        self.pointer.as_ptr()
    }
}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with the same layout, and owned by self alone.
        unsafe { dealloc(self.pointer.as_ptr(), Self::layout(self.capacity)) }
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: length <= capacity, and all bytes are initialised.
        unsafe { std::slice::from_raw_parts(self.pointer.as_ptr(), self.length) }
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: length <= capacity, all bytes are initialised, and self is borrowed uniquely.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.as_ptr(), self.length) }
    }
}

impl fmt::Debug for AlignedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlignedBuffer")
            .field("length", &self.length)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

/// Keeps returned buffers for reuse, by power-of-two size, up to a bound in bytes.
#[derive(Debug)]
pub struct BufferPool {
    /// Free buffers; class `n` holds capacities of `BLOCK_BYTES << n`.
    classes: Vec<Vec<AlignedBuffer>>,
    free_bytes: usize,
    limit: usize,
}

impl BufferPool {
    /// A pool that keeps at most `limit` bytes of free buffers.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            classes: Vec::new(),
            free_bytes: 0,
            limit,
        }
    }

    /// A buffer of length zero and a capacity of at least `capacity` bytes. Its memory holds
    /// whatever was in it before: the caller overwrites all that it exposes.
    pub fn take(&mut self, capacity: usize) -> AlignedBuffer {
        let class = Self::class_of(capacity);
        let mut buffer = match self.classes.get_mut(class).and_then(Vec::pop) {
            Some(buffer) => {
                self.free_bytes -= buffer.capacity();
                buffer
            }
            None => AlignedBuffer::zeroed(BLOCK_BYTES << class),
        };
        buffer.set_length(0);
        buffer
    }

    /// Takes a buffer back. Beyond the bound, and for capacities that are no power of two, the memory
    /// is freed.
    pub fn give_back(&mut self, buffer: AlignedBuffer) {
        let capacity = buffer.capacity();
        if !capacity.is_power_of_two() || self.free_bytes + capacity > self.limit {
            return;
        }
        let class = Self::class_of(capacity);
        if self.classes.len() <= class {
            self.classes.resize_with(class + 1, Vec::new);
        }
        if let Some(free) = self.classes.get_mut(class) {
            self.free_bytes += capacity;
            free.push(buffer);
        }
    }

    /// Bytes in free buffers.
    #[must_use]
    pub fn free_bytes(&self) -> usize {
        self.free_bytes
    }

    fn class_of(capacity: usize) -> usize {
        let blocks = capacity.div_ceil(BLOCK_BYTES).max(1).next_power_of_two();
        blocks.trailing_zeros() as usize
    }
}
