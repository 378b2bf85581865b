//! The buffers of one device, by number.

use std::collections::HashMap;

use super::fault::gpu_error;
use crate::error::{Error, Result};

/// Every storage buffer of a device, and the one buffer through which results are read back.
pub struct BufferStore {
    device: wgpu::Device,
    max_buffer_bytes: u64,
    buffers: HashMap<u64, wgpu::Buffer>,
    last_id: u64,
    /// Results are copied here and mapped.
    readback: Option<wgpu::Buffer>,
}

impl BufferStore {
    /// No buffers yet.
    pub fn new(device: wgpu::Device, max_buffer_bytes: u64) -> Self {
        Self { device, max_buffer_bytes, buffers: HashMap::new(), last_id: 0, readback: None }
    }

    /// The buffer of that number.
    pub fn get(&self, id: u64) -> Result<&wgpu::Buffer> {
        self.buffers.get(&id).ok_or_else(|| gpu_error("a buffer of another device".into()))
    }

    /// Numbers and sizes in bytes of all buffers.
    pub fn sizes(&self) -> Vec<(u64, u64)> {
        self.buffers.iter().map(|(id, buffer)| (*id, buffer.size())).collect()
    }

    /// Makes a buffer of zeros.
    pub fn allocate(&mut self, label: &str, bytes: u64) -> Result<u64> {
        let buffer = self.create_storage(label, bytes, false)?;
        Ok(self.insert(buffer))
    }

    /// Makes a buffer of these bytes.
    pub fn upload(&mut self, label: &str, bytes: &[u8]) -> Result<u64> {
        let buffer = self.create_with_contents(label, bytes)?;
        Ok(self.insert(buffer))
    }

    /// Makes the buffers of another device again, under the same numbers.
    pub fn restore(&mut self, contents: &HashMap<u64, Vec<u8>>) -> Result<()> {
        for (id, bytes) in contents {
            let buffer = self.create_with_contents("restored", bytes)?;
            self.buffers.insert(*id, buffer);
            self.last_id = self.last_id.max(*id);
        }
        Ok(())
    }

    /// Frees a buffer.
    pub fn free(&mut self, id: u64) {
        self.buffers.remove(&id);
    }

    /// A mappable buffer of at least `bytes`.
    pub fn readback(&mut self, bytes: u64) -> Result<wgpu::Buffer> {
        if let Some(readback) = self.readback.as_ref().filter(|buffer| buffer.size() >= bytes) {
            return Ok(readback.clone());
        }
        let readback = self.create(&wgpu::BufferDescriptor {
            label: Some("readback"),
            size: bytes,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })?;
        self.readback = Some(readback.clone());
        Ok(readback)
    }

    fn insert(&mut self, buffer: wgpu::Buffer) -> u64 {
        self.last_id += 1;
        self.buffers.insert(self.last_id, buffer);
        self.last_id
    }

    fn create_with_contents(&self, label: &str, bytes: &[u8]) -> Result<wgpu::Buffer> {
        let buffer = self.create_storage(label, bytes.len() as u64, true)?;
        buffer.get_mapped_range_mut(..).map_err(|error| gpu_error(error.to_string()))?.copy_from_slice(bytes);
        buffer.unmap();
        Ok(buffer)
    }

    fn create_storage(&self, label: &str, bytes: u64, mapped_at_creation: bool) -> Result<wgpu::Buffer> {
        let limit = self.max_buffer_bytes;
        if bytes > limit {
            return Err(gpu_error(format!(
                "`{label}` needs {bytes} bytes, more than the {limit} that a buffer may have here"
            )));
        }
        self.create(&wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation,
        })
    }

    fn create(&self, descriptor: &wgpu::BufferDescriptor<'_>) -> Result<wgpu::Buffer> {
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffer = self.device.create_buffer(descriptor);
        match pollster::block_on(scope.pop()) {
            Some(_) => Err(Error::OutOfMemory { bytes: descriptor.size }),
            None => Ok(buffer),
        }
    }
}
