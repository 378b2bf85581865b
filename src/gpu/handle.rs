//! Ownership of a device buffer by threads that never touch the driver.

use std::sync::Arc;

/// Asks the device's thread to free the buffer of that number.
pub type FreeBuffer = Arc<dyn Fn(u64) + Send + Sync>;

/// Owns a buffer of the device, which is freed on drop.
pub struct BufferHandle {
    id: u64,
    free: FreeBuffer,
}

impl BufferHandle {
    /// The owner of buffer `id`, which `free` frees.
    pub fn new(id: u64, free: FreeBuffer) -> Self {
        Self { id, free }
    }

    /// The buffer's number.
    pub fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for BufferHandle {
    fn drop(&mut self) {
        (self.free)(self.id);
    }
}
