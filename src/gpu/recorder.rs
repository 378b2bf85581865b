//! The backend's state: what is recorded and not yet executed, the lists of the batch, and the work space.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::adapter::{Adapter, AdapterKind, MAX_WORKGROUPS, Tier};
use super::buffers::Buf;
use super::command::{Command, Dispatch};
use super::device::{Device, DeviceOptions};
use super::fault::gpu_error;
use super::handle::BufferHandle;
use super::pack::{ROW_TILE, padded_cols};
use super::shaders::{Kernel, Tile};
use super::thread::DeviceThread;
use super::tiles::{Shape, TileTable};
use crate::error::{Error, Result};

/// A submission is cut, between layers, so that it takes about this long: short enough for every watchdog, and for a
/// cancelled call to end soon.
const SUBMISSION_TIME: Duration = Duration::from_millis(100);

/// Floating-point operations per second that are assumed before anything was measured: of a weak integrated GPU, and of a
/// software adapter.
const INITIAL_FLOP_PER_S: f64 = 20e9;
const INITIAL_FLOP_PER_S_SOFTWARE: f64 = 0.5e9;

/// Operations of the smallest submission from which the speed is measured; a smaller one takes mostly fixed costs.
const MIN_MEASURED_FLOP: f64 = 0.5e9;

/// NaN as one f32 and as two f16.
const NAN_F32_AND_F16: u32 = 0x7fc0_7fc0;

/// Options of the backend. All but `device` are for tests and benches.
#[derive(Clone, Debug, Default)]
pub struct GpuOptions {
    /// How the device is opened.
    pub device: DeviceOptions,
    /// The tile of every linear op. Default: as measured, or by the number of rows.
    pub tile: Option<Tile>,
    /// Fills every buffer with NaN when it gets a shape, so that a read of elements that no op has written shows.
    pub poison: bool,
    /// The lowest tier whose self-test is made to fail. Default: none.
    pub fail_self_test_from: Option<Tier>,
}

/// The GPU backend.
pub struct Gpu {
    pub(super) thread: Arc<DeviceThread>,
    pub(super) options: GpuOptions,
    /// Commands that are not executed yet.
    pub(super) recorded: Vec<Command>,
    /// Their floating-point operations.
    pub(super) recorded_flop: f64,
    /// The measured speed.
    flop_per_s: f64,
    /// By [`ListKind`].
    lists: [UploadedList; ListKind::COUNT],
    /// Length of the list [`ListKind::QueryBlocks`].
    pub(super) query_block_count: usize,
    pub(super) first_token: FirstTokenSpace,
    conversions: ConvertedCopies,
    /// Why higher tiers that options and adapter allow are not used.
    pub(super) downgrades: Vec<String>,
    /// Shapes of the linear layers that have run.
    pub(super) linear_shapes: BTreeSet<Shape>,
    /// Their tiles, as far as they were measured.
    pub(super) tiles: TileTable,
}

/// A list that is uploaded for each batch.
#[derive(Clone, Copy)]
pub(super) enum ListKind {
    /// [`QueryBlock`](super::params::QueryBlock).
    QueryBlocks,
    /// [`Sequence`](super::params::Sequence).
    Sequences,
    /// [`TokenRows`](super::params::TokenRows).
    TokenRows,
    /// The rows of embedding tables that `TokenRows` name.
    TableRows,
}

impl ListKind {
    const COUNT: usize = 4;

    fn label(self) -> &'static str {
        match self {
            Self::QueryBlocks => "query blocks",
            Self::Sequences => "sequences",
            Self::TokenRows => "token rows",
            Self::TableRows => "table rows",
        }
    }
}

/// The buffer of a list. It grows, and never shrinks.
#[derive(Default)]
struct UploadedList {
    buffer: Option<Arc<BufferHandle>>,
    capacity_bytes: u64,
}

/// Work space of `attention_first`.
#[derive(Default)]
pub(super) struct FirstTokenSpace {
    /// Each head's query projected back through its keys, `[S, N * padded H]`.
    pub(super) absorbed_queries: Buf,
    /// Each head's weighted sum of input rows, `[S, N * padded H]`.
    pub(super) mixed_inputs: Buf,
    /// Attention weights `[T,N]`.
    pub(super) attention_weights: Buf,
}

/// Copies of activations in the other precision. Each is overwritten by the next conversion to its precision.
#[derive(Default)]
struct ConvertedCopies {
    f16: Buf,
    f32: Buf,
}

impl Gpu {
    /// A backend with nothing recorded and no work space.
    pub(super) fn with_thread(thread: Arc<DeviceThread>, options: GpuOptions) -> Self {
        let software = thread.adapter().kind == AdapterKind::Software;
        Self {
            thread,
            options,
            recorded: Vec::new(),
            recorded_flop: 0.0,
            flop_per_s: if software { INITIAL_FLOP_PER_S_SOFTWARE } else { INITIAL_FLOP_PER_S },
            lists: Default::default(),
            query_block_count: 0,
            first_token: FirstTokenSpace::default(),
            conversions: ConvertedCopies::default(),
            downgrades: Vec::new(),
            linear_shapes: BTreeSet::new(),
            tiles: TileTable::default(),
        }
    }

    /// Why higher tiers that options and adapter allow are not used, as text for users.
    pub fn downgrades(&self) -> &[String] {
        &self.downgrades
    }

    /// The adapter, with the tier that was opened.
    pub fn adapter(&self) -> &Adapter {
        self.thread.adapter()
    }

    /// The most rows that a buffer of that many columns can have on this adapter.
    pub fn max_rows(&self, cols: usize) -> usize {
        let row_bytes = size_of::<f32>() as u64 * padded_cols(cols) as u64;
        let rows = usize::try_from(self.adapter().max_buffer_bytes / row_bytes).unwrap_or(usize::MAX);
        (rows / ROW_TILE * ROW_TILE).min(MAX_WORKGROUPS)
    }

    /// Floating-point operations that one submission should have, at the measured speed.
    pub fn flop_per_submission(&self) -> f64 {
        self.flop_per_s * SUBMISSION_TIME.as_secs_f64()
    }

    /// Whether the recorded commands fill one submission.
    pub fn submission_is_full(&self) -> bool {
        self.recorded_flop >= self.flop_per_submission()
    }

    /// Executes the recorded commands and waits for them.
    pub fn flush(&mut self) -> Result<()> {
        self.execute_recorded(None).map(drop)
    }

    /// Discards the recorded commands.
    pub fn discard_recorded(&mut self) {
        self.recorded.clear();
        self.recorded_flop = 0.0;
    }

    /// Saves compiled pipelines and measured tiles, where the options name a folder.
    pub fn save_cache(&self) -> Result<()> {
        self.thread.call(|device| device.save_cache())?;
        let folder = self.options.device.cache.as_ref();
        folder.map_or(Ok(()), |folder| self.tiles.write(folder, self.adapter()))
    }

    /// Moves the weights to the host's memory and closes the device. Until it is resumed everything fails.
    pub fn suspend(&mut self) -> Result<()> {
        self.discard_recorded();
        self.trim();
        self.thread.suspend()
    }

    /// Opens the device again, with the weights.
    pub fn resume(&self) -> Result<()> {
        self.thread.resume()
    }

    /// Frees the work space; the next batch allocates it again.
    pub fn trim(&mut self) {
        self.lists = Default::default();
        self.first_token = FirstTokenSpace::default();
        self.conversions = ConvertedCopies::default();
    }

    /// Whether the device can be used: the error says why not.
    pub fn check_health(&self) -> Result<()> {
        self.thread.call(|_| Ok(()))
    }

    /// Sets how long one submission may take.
    pub fn set_timeout(&self, timeout: Duration) -> Result<()> {
        self.thread.call(move |device| {
            device.set_timeout(timeout);
            Ok(())
        })
    }

    /// Marks the device as lost, for this reason: nothing runs on it any more.
    pub fn mark_lost(&self, reason: String) {
        // Fails only if the device has failed already.
        let _ = self.thread.call(move |device| {
            device.mark_lost(&reason);
            Ok(())
        });
    }

    /// Destroys the device, as the reset of a driver does. Everything after it fails.
    pub fn destroy_device(&self) -> Result<()> {
        self.thread.call(|device| {
            device.destroy();
            Ok(())
        })
    }

    /// Executes the recorded commands and waits for them. `read` is a buffer to read back, and how many of its first bytes.
    pub(super) fn execute_recorded(&mut self, read: Option<(Arc<BufferHandle>, u64)>) -> Result<Vec<u8>> {
        let commands = std::mem::take(&mut self.recorded);
        let flop = std::mem::take(&mut self.recorded_flop);
        let job = move |device: &mut Device| {
            device.execute(&commands, read.as_ref().map(|(buffer, bytes)| (buffer.id(), *bytes)))
        };
        let (bytes, time) = self.thread.call(job)?;
        if flop >= MIN_MEASURED_FLOP || time * 10 >= SUBMISSION_TIME {
            self.flop_per_s = 0.5 * self.flop_per_s + 0.5 * flop / time.as_secs_f64().max(1e-6);
        }
        Ok(bytes)
    }

    /// Makes a buffer of zeros.
    pub(super) fn allocate(&self, label: &'static str, bytes: u64) -> Result<Arc<BufferHandle>> {
        let id = self.thread.call(move |device| device.allocate(label, bytes))?;
        Ok(Arc::new(self.thread.handle(id)))
    }

    /// Gives a buffer a shape, and enough memory for it. Its contents become unspecified.
    pub(super) fn resize(&mut self, buf: &mut Buf, rows: usize, cols: usize) -> Result<()> {
        // No dispatch can be larger, and the products below stay far from overflow.
        if rows.max(cols) > u32::MAX as usize {
            return Err(gpu_error(format!("a buffer of {rows} rows and {cols} columns")));
        }
        (buf.rows, buf.cols) = (rows, cols);
        let bytes = buf.bytes();
        if bytes > buf.capacity_bytes {
            (buf.buffer, buf.capacity_bytes) = (Some(self.allocate("activations", bytes)?), bytes);
        }
        if self.options.poison {
            let nan = NAN_F32_AND_F16.to_le_bytes().repeat(buf.capacity_bytes as usize / 4);
            self.recorded.push(Command::Upload(buf.handle(), nan));
        }
        Ok(())
    }

    /// Records the upload of a list of the batch.
    pub(super) fn record_list<T: bytemuck::Pod>(&mut self, kind: ListKind, values: &[T]) -> Result<()> {
        let bytes = bytemuck::cast_slice::<T, u8>(values).to_vec();
        let needed = bytes.len() as u64;
        if self.lists[kind as usize].capacity_bytes < needed {
            let buffer = Some(self.allocate(kind.label(), needed)?);
            self.lists[kind as usize] = UploadedList { buffer, capacity_bytes: needed };
        }
        self.recorded.push(Command::Upload(self.list(kind), bytes));
        Ok(())
    }

    /// The buffer of a list.
    pub(super) fn list(&self, kind: ListKind) -> Arc<BufferHandle> {
        let buffer = self.lists[kind as usize].buffer.as_ref();
        Arc::clone(buffer.expect("`begin` and `embed` upload their lists before an op reads them"))
    }

    /// Whether linear layers read f16.
    pub(super) fn uses_f16(&self) -> bool {
        self.adapter().tier >= Tier::F16
    }

    /// The elements of an activation as f32. Records a conversion where they are f16; the copy is valid until the next one.
    pub(super) fn record_as_f32(&mut self, buf: &Buf) -> Arc<BufferHandle> {
        if !buf.is_f16 {
            return buf.handle();
        }
        let mut copy = std::mem::take(&mut self.conversions.f32);
        copy.is_f16 = false;
        let handle = self.record_conversion(Kernel::WidenF16, buf, &mut copy);
        self.conversions.f32 = copy;
        handle
    }

    /// The elements of an activation as f16. Records a conversion where they are f32; the copy is valid until the next one.
    pub(super) fn record_as_f16(&mut self, buf: &Buf) -> Arc<BufferHandle> {
        if buf.is_f16 {
            return buf.handle();
        }
        let mut copy = std::mem::take(&mut self.conversions.f16);
        copy.is_f16 = true;
        let handle = self.record_conversion(Kernel::RoundF16, buf, &mut copy);
        self.conversions.f16 = copy;
        handle
    }

    fn record_conversion(&mut self, kernel: Kernel, buf: &Buf, copy: &mut Buf) -> Arc<BufferHandle> {
        match self.resize(copy, buf.rows, buf.cols) {
            Ok(()) => {
                let activations = [buf.handle(), copy.handle()];
                self.record_dispatch(kernel, &[buf.row_vec4s() as f64], &activations, &[], [buf.rows, 1, 1]);
                copy.handle()
            }
            Err(error) => {
                self.record_failure(error);
                // Never read: the recording fails before anything is bound.
                buf.handle()
            }
        }
    }

    /// Records an error where an op returns nothing: executing the recording returns it.
    pub(super) fn record_failure(&mut self, error: Error) {
        self.recorded.push(Command::Fail(error));
    }

    /// Records one shader over a grid of workgroups: see [`Dispatch`].
    pub(super) fn record_dispatch(
        &mut self,
        kernel: Kernel,
        overrides: &[f64],
        activations: &[Arc<BufferHandle>],
        weights: &[Arc<BufferHandle>],
        grid: [usize; 3],
    ) {
        self.recorded.push(Command::Dispatch(Dispatch {
            kernel,
            overrides: overrides.to_vec(),
            activations: activations.to_vec(),
            weights: weights.to_vec(),
            grid,
        }));
    }
}
