//! The one thread that calls the driver: error scopes are per thread, and a panic of wgpu or of a driver is caught here.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;

use super::adapter::{Adapter, enumerate_adapters};
use super::device::{Device, DeviceOptions};
use super::fault::gpu_error;
use super::handle::{BufferHandle, FreeBuffer};
use crate::error::{Error, Result};

/// What the thread owns: a device or, while that is suspended, the contents of its buffers.
struct DeviceSession {
    options: DeviceOptions,
    device: Option<Device>,
    /// By the buffers' numbers.
    suspended_contents: HashMap<u64, Vec<u8>>,
}

impl DeviceSession {
    fn device(&mut self) -> Result<&mut Device> {
        let device = self.device.as_mut();
        let device = device.ok_or_else(|| gpu_error("it is suspended: resume it first".into()))?;
        device.check_health().map(|()| device)
    }

    fn free(&mut self, id: u64) {
        self.suspended_contents.remove(&id);
        if let Some(device) = &mut self.device {
            device.free(id);
        }
    }

    fn suspend(&mut self) -> Result<()> {
        if self.device.is_some() {
            self.suspended_contents = self.device()?.read_all_buffers()?;
            self.device = None;
        }
        Ok(())
    }

    fn resume(&mut self) -> Result<()> {
        if self.device.is_none() {
            let mut device = Device::open(&self.options)?;
            device.restore(&self.suspended_contents)?;
            self.device = Some(device);
            self.suspended_contents = HashMap::new();
        }
        Ok(())
    }
}

/// A task for the thread; `None` ends the thread.
type Job = Option<Box<dyn FnOnce(&mut DeviceSession) + Send>>;

/// The shader translator recurses; a main thread usually has this much stack.
const STACK_BYTES: usize = 8 << 20;

/// An open device and its thread, which is joined on drop.
pub struct DeviceThread {
    jobs: Sender<Job>,
    thread: Option<JoinHandle<()>>,
    adapter: Adapter,
    free: FreeBuffer,
}

impl DeviceThread {
    /// Opens a device on a new thread.
    pub fn start(options: DeviceOptions) -> Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (opened, answer) = mpsc::sync_channel(1);
        let thread = spawn(move || {
            let device = catch_unwind(|| Device::open(&options)).unwrap_or_else(|_| Err(panicked()));
            // Sending fails only if `start` no longer waits: then the queue is closed as well, and the thread ends.
            match device {
                Ok(device) => {
                    let _ = opened.send(Ok(device.adapter().clone()));
                    run_jobs(
                        &queue,
                        DeviceSession { options, device: Some(device), suspended_contents: HashMap::new() },
                    );
                }
                Err(error) => {
                    let _ = opened.send(Err(error));
                }
            }
        })?;
        let adapter = answer.recv().unwrap_or_else(|_| Err(panicked()))?;
        let for_handles = jobs.clone();
        let free: FreeBuffer = Arc::new(move |id| {
            // Fails only after the thread has ended, and with it all buffers.
            let _ = for_handles.send(Some(Box::new(move |session| session.free(id))));
        });
        Ok(Self { jobs, thread: Some(thread), adapter, free })
    }

    /// The adapter, with the tier that was opened.
    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    /// Runs a job on the thread and waits for it. After a fault every job fails.
    pub fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Device) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.call_session(|session| {
            let device = session.device()?;
            let value = job(device)?;
            device.check_health().map(|()| value)
        })
    }

    /// Moves the contents of all buffers to the host's memory and closes the device. Every job fails until it is resumed.
    pub fn suspend(&self) -> Result<()> {
        self.call_session(DeviceSession::suspend)
    }

    /// Opens the device again, with the same buffers.
    pub fn resume(&self) -> Result<()> {
        self.call_session(DeviceSession::resume)
    }

    fn call_session<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut DeviceSession) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = mpsc::sync_channel(1);
        let job = move |session: &mut DeviceSession| {
            // The caller waits below, so sending does not fail.
            let _ = reply.send(job(session));
        };
        // A thread that has ended drops the job, and with it the sender of the answer.
        let _ = self.jobs.send(Some(Box::new(job)));
        answer.recv().unwrap_or_else(|_| Err(panicked()))
    }

    /// The owner of the buffer with that number.
    pub fn handle(&self, id: u64) -> BufferHandle {
        BufferHandle::new(id, Arc::clone(&self.free))
    }
}

impl Drop for DeviceThread {
    fn drop(&mut self) {
        // Fails only if the thread has ended already.
        let _ = self.jobs.send(None);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run_jobs(queue: &Receiver<Job>, mut session: DeviceSession) {
    while let Ok(Some(job)) = queue.recv() {
        let panicked = catch_unwind(AssertUnwindSafe(|| job(&mut session))).is_err();
        if let (true, Some(device)) = (panicked, &session.device) {
            device.mark_lost("the driver or its interface panicked");
        }
    }
    // Dropping the device waits for the driver, which may panic as well.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(session)));
}

/// All adapters of this machine, the most capable kind first.
pub fn adapters() -> Result<Vec<Adapter>> {
    let list = || enumerate_adapters().into_iter().map(|(_, facts)| facts).collect();
    spawn(list)?.join().map_err(|_| panicked())
}

fn spawn<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
    let thread = std::thread::Builder::new().name("crossrank-gpu".into()).stack_size(STACK_BYTES);
    thread.spawn(f).map_err(|error| gpu_error(format!("no thread for the GPU: {error}")))
}

fn panicked() -> Error {
    gpu_error("the driver or its interface panicked".into())
}
