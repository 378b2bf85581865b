//! The one thread that talks to the driver: error scopes are per thread, and a panic of wgpu or of a driver ends here.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;

use super::device::{Adapter, Device, DeviceOptions, gpu_error};
use crate::error::Result;

/// What the thread owns: a device or, while it is suspended, what its buffers held.
struct Session {
    options: DeviceOptions,
    device: Option<Device>,
    suspended_contents: HashMap<u64, Vec<u8>>,
}

impl Session {
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

/// Work for the thread; `None` ends it.
type Job = Option<Box<dyn FnOnce(&mut Session) + Send>>;

/// The shader translator recurses; this is what it has in a main thread.
const STACK_BYTES: usize = 8 << 20;

/// An open device and its thread, joined on drop.
pub struct DeviceThread {
    jobs: Sender<Job>,
    handle: Option<JoinHandle<()>>,
    adapter: Adapter,
}

impl DeviceThread {
    /// Opens a device on a thread of its own.
    pub fn start(options: DeviceOptions) -> Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (opened, answer) = mpsc::sync_channel(1);
        let handle = spawn(move || {
            let device = catch_unwind(|| Device::open(&options)).unwrap_or_else(|_| Err(panicked()));
            let device = match device {
                Ok(device) => device,
                Err(error) => {
                    // `start` waits for this; if it is gone, so is everybody.
                    let _ = opened.send(Err(error));
                    return;
                }
            };
            let _ = opened.send(Ok(device.adapter().clone()));
            let mut session = Session { options, device: Some(device), suspended_contents: HashMap::new() };
            while let Ok(Some(job)) = queue.recv() {
                let panicked = catch_unwind(AssertUnwindSafe(|| job(&mut session))).is_err();
                if let (true, Some(device)) = (panicked, &session.device) {
                    device.mark_lost("the driver or its interface panicked");
                }
            }
            // Dropping waits for the driver, which may panic as well.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(session)));
        })?;
        let adapter = answer.recv().unwrap_or_else(|_| Err(panicked()))?;
        Ok(Self { jobs, handle: Some(handle), adapter })
    }

    /// What the device runs on.
    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    /// Runs a job on the thread and waits for it. After a fault nothing runs any more.
    pub fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Device) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.session(|session| {
            let device = session.device()?;
            let value = job(device)?;
            device.check_health().map(|()| value)
        })
    }

    /// Moves what the device holds to the host's memory and closes it. Whatever runs on it fails until it is resumed.
    pub fn suspend(&self) -> Result<()> {
        self.session(Session::suspend)
    }

    /// Opens the device again with what it held.
    pub fn resume(&self) -> Result<()> {
        self.session(Session::resume)
    }

    fn session<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Session) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = mpsc::sync_channel(1);
        let job = move |session: &mut Session| {
            // The caller waits below, whatever happens.
            let _ = reply.send(job(session));
        };
        // A thread that has ended drops the job, and with it the sender of the answer.
        let _ = self.jobs.send(Some(Box::new(job)));
        answer.recv().unwrap_or_else(|_| Err(panicked()))
    }

    /// The owner of a buffer.
    pub fn handle(&self, id: u64) -> BufferHandle {
        BufferHandle { id, jobs: self.jobs.clone() }
    }
}

impl Drop for DeviceThread {
    fn drop(&mut self) {
        // Gone already, or about to go.
        let _ = self.jobs.send(None);
        if let Some(handle) = self.handle.take() {
            let _ = handle.join();
        }
    }
}

/// Owns a buffer of the device: freed on drop.
pub struct BufferHandle {
    id: u64,
    jobs: Sender<Job>,
}

impl BufferHandle {
    /// The buffer's number.
    pub fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for BufferHandle {
    fn drop(&mut self) {
        let id = self.id;
        // With the device everything is freed.
        let _ = self.jobs.send(Some(Box::new(move |session| session.free(id))));
    }
}

/// Runs something that touches the driver on a thread that ends with it.
pub fn run_on_new_thread<T: Send + 'static>(f: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    spawn(f)?.join().unwrap_or_else(|_| Err(panicked()))
}

fn spawn<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
    let thread = std::thread::Builder::new().name("crossrank-gpu".into()).stack_size(STACK_BYTES);
    thread.spawn(f).map_err(|error| gpu_error(format!("no thread for the GPU: {error}")))
}

fn panicked() -> crate::error::Error {
    gpu_error("the driver or its interface panicked".into())
}
