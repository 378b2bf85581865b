//! The GPU backend: words are recorded here and run on the device's own thread when `read` asks for a result.
//!
//! Matrices are padded (pack.rs), so that shaders check neither rows nor steps of k; whoever writes a row writes its
//! padding columns with zeros. No shape is a run-time value of a shader: widths are constants of its pipeline, and
//! numbers of rows are numbers of workgroups. The file is long because one trait has all the words.

mod buffers;
pub mod device;
pub mod pack;
pub mod params;
pub mod pipelines;
mod self_test;
pub mod shaders;
mod thread;
mod tiles;
mod tune;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::kernels::{
    Activation, Dtype, Epilogue, Kernels, LinearPart, OwnedTensor, RelativePositions, Tensor, WeightStorage,
};
use crate::tensor::widen;
use crate::text::batch::PackedBatch;
use buffers::RowGather;
pub use buffers::{Bias, Buf, KeyValue, Linear, Norm, Relative, Rotary};
use device::{Adapter, AdapterKind, Command, DeviceOptions, Dispatch, MAX_WORKGROUPS, Tier, gpu_error};
use pack::{COLUMN_TILE, padded_cols};
use params::{QUERIES, Sequence, TokenRows, query_blocks};
use shaders::{Kernel, Tile};
use thread::{BufferHandle, DeviceThread};
use tiles::{Shape, TileTable};

/// The widest head that attention has a shader for.
pub const MAX_HEAD_DIM: usize = 128;

/// A submission is cut, between layers, so that it takes about this long: no watchdog fires, and a cancelled call ends
/// soon.
const SUBMISSION_TIME: Duration = Duration::from_millis(100);

/// Multiplications and additions per second that are assumed before anything was measured: of a weak integrated GPU, and
/// of a processor that poses as one.
const INITIAL_FLOP_PER_S: f64 = 20e9;
const INITIAL_FLOP_PER_S_SOFTWARE: f64 = 0.5e9;

/// Operations of a submission that says something about the speed; what is shorter is mostly fixed costs.
const MIN_MEASURED_FLOP: f64 = 0.5e9;

/// NaN as one f32 and as two f16.
const NAN_IN_BOTH: u32 = 0x7fc0_7fc0;

/// How the backend works, for tests.
#[derive(Clone, Debug, Default)]
pub struct GpuOptions {
    /// How the device is opened.
    pub device: DeviceOptions,
    /// The tile of every linear word. Default: as measured, or by the number of rows.
    pub tile: Option<Tile>,
    /// Fills every buffer with NaN when it gets a shape, so that whoever reads what nobody wrote is found.
    pub poison: bool,
    /// The lowest tier whose self-test is to fail. Default: none.
    pub fail_self_test_from: Option<Tier>,
}

/// The GPU backend.
pub struct Gpu {
    thread: Arc<DeviceThread>,
    options: GpuOptions,
    /// What has been recorded and not yet run, and how much arithmetic it is.
    recorded: Vec<Command>,
    recorded_flop: f64,
    /// Operations per second, as measured.
    flop_per_s: f64,
    /// Lists of the batch: of [`params::QueryBlock`] (that many), of [`Sequence`], of [`TokenRows`], and the rows that they name.
    work: List,
    work_items: usize,
    sequences: List,
    tokens: List,
    rows: List,
    /// Work space of `attention_first`: `[S, N * padded H]` twice, and `[T,N]`.
    absorbed_queries: Buf,
    mixed_inputs: Buf,
    attention_weights: Buf,
    /// Copies of activations in f16, for linear layers, and in f32, for everyone else. They last until the next one.
    f16_copy: Buf,
    f32_copy: Buf,
    /// Why tiers that the options allow and the adapter offers are not used.
    downgrades: Vec<String>,
    /// Linear layers that have run, and their tiles as far as they were measured.
    linear_shapes: BTreeSet<Shape>,
    tiles: TileTable,
}

/// A buffer for a list that is uploaded with each batch.
#[derive(Default)]
struct List {
    slot: Option<Arc<BufferHandle>>,
    capacity: u64,
}

impl List {
    fn slot(&self) -> Arc<BufferHandle> {
        Arc::clone(self.slot.as_ref().expect("`begin` and `embed` upload their lists before they use them"))
    }
}

/// All adapters of this machine, the most capable kind first.
pub fn adapters() -> Result<Vec<Adapter>> {
    device::adapters()
}

impl Gpu {
    /// Opens the best adapter that the options allow, with the highest tier that they and it allow and that computes the
    /// right numbers there.
    pub fn open(mut options: GpuOptions) -> Result<Self> {
        let mut dropped = Vec::new();
        loop {
            let opened = DeviceThread::start(options.device.clone()).and_then(|thread| {
                let mut gpu = Self::with_thread(Arc::new(thread), options.clone());
                gpu.self_test()?;
                Ok(gpu)
            });
            match opened {
                Ok(gpu) => {
                    let folder = gpu.options.device.cache.as_ref();
                    let tiles =
                        folder.map(|folder| TileTable::read(folder, gpu.adapter())).unwrap_or_default();
                    // The self-test's layer is nobody's.
                    return Ok(Self { downgrades: dropped, linear_shapes: BTreeSet::new(), tiles, ..gpu });
                }
                Err(Error::Gpu { message }) if options.device.tier > Tier::F32 => {
                    dropped.push(format!(
                        "the GPU's {} tier is not used: {message}",
                        options.device.tier.name()
                    ));
                    options.device.tier = options.device.tier.lower();
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Why tiers that the options allow and the adapter offers are not used, for people.
    pub fn downgrades(&self) -> &[String] {
        &self.downgrades
    }

    /// A backend with nothing recorded and no work space.
    fn with_thread(thread: Arc<DeviceThread>, options: GpuOptions) -> Self {
        let software = thread.adapter().kind == AdapterKind::Software;
        Self {
            thread,
            options,
            recorded: Vec::new(),
            recorded_flop: 0.0,
            flop_per_s: if software { INITIAL_FLOP_PER_S_SOFTWARE } else { INITIAL_FLOP_PER_S },
            work: List::default(),
            work_items: 0,
            sequences: List::default(),
            tokens: List::default(),
            rows: List::default(),
            absorbed_queries: Buf::default(),
            mixed_inputs: Buf::default(),
            attention_weights: Buf::default(),
            f16_copy: Buf::default(),
            f32_copy: Buf::default(),
            downgrades: Vec::new(),
            linear_shapes: BTreeSet::new(),
            tiles: TileTable::default(),
        }
    }

    /// What it runs on.
    pub fn adapter(&self) -> &Adapter {
        self.thread.adapter()
    }

    /// The most rows that a buffer of that many columns can have on this adapter.
    pub fn max_rows(&self, cols: usize) -> usize {
        let bytes = 4 * padded_cols(cols) as u64;
        let rows = usize::try_from(self.adapter().max_buffer_bytes / bytes).unwrap_or(usize::MAX);
        (rows / pack::ROW_TILE * pack::ROW_TILE).min(MAX_WORKGROUPS)
    }

    /// Multiplications and additions that one submission should have, at the speed that was measured.
    pub fn flop_per_submission(&self) -> f64 {
        self.flop_per_s * SUBMISSION_TIME.as_secs_f64()
    }

    /// Whether what has been recorded is enough for one submission.
    pub fn submission_is_full(&self) -> bool {
        self.recorded_flop >= self.flop_per_submission()
    }

    /// Runs what has been recorded, and waits.
    pub fn flush(&mut self) -> Result<()> {
        self.execute_recorded(None).map(drop)
    }

    /// Saves what the driver has compiled and what was measured, where the options name a folder.
    pub fn save_cache(&self) -> Result<()> {
        self.thread.call(|device| device.save_cache())?;
        let folder = self.options.device.cache.as_ref();
        folder.map_or(Ok(()), |folder| self.tiles.write(folder, self.adapter()))
    }

    /// Moves the weights to the host's memory and closes the device. What follows fails until it is resumed.
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
        for list in [&mut self.work, &mut self.sequences, &mut self.tokens, &mut self.rows] {
            *list = List::default();
        }
        for buf in [
            &mut self.absorbed_queries,
            &mut self.mixed_inputs,
            &mut self.attention_weights,
            &mut self.f16_copy,
            &mut self.f32_copy,
        ] {
            *buf = Buf::default();
        }
    }

    /// Whether the device can be used: an error says why not.
    pub fn check_health(&self) -> Result<()> {
        self.thread.call(|_| Ok(()))
    }

    /// Forgets what has been recorded.
    pub fn discard_recorded(&mut self) {
        self.recorded.clear();
        self.recorded_flop = 0.0;
    }

    /// How long one submission may take from here on.
    pub fn set_timeout(&self, patience: Duration) -> Result<()> {
        self.thread.call(move |device| {
            device.set_timeout(patience);
            Ok(())
        })
    }

    /// Nothing runs on the device from here on, for this reason.
    pub fn mark_lost(&self, reason: String) {
        // Broken already, if this fails.
        let _ = self.thread.call(move |device| {
            device.mark_lost(&reason);
            Ok(())
        });
    }

    /// Destroys the device, as a driver that was reset does. What follows fails.
    pub fn destroy_device(&self) -> Result<()> {
        self.thread.call(|device| {
            device.destroy();
            Ok(())
        })
    }

    fn execute_recorded(&mut self, read: Option<(Arc<BufferHandle>, u64)>) -> Result<Vec<u8>> {
        let commands = std::mem::take(&mut self.recorded);
        let operations = std::mem::take(&mut self.recorded_flop);
        let job = move |device: &mut device::Device| {
            device.execute(&commands, read.as_ref().map(|(slot, bytes)| (slot.id(), *bytes)))
        };
        let (bytes, time) = self.thread.call(job)?;
        if operations >= MIN_MEASURED_FLOP || time * 10 >= SUBMISSION_TIME {
            self.flop_per_s = 0.5 * self.flop_per_s + 0.5 * operations / time.as_secs_f64().max(1e-6);
        }
        Ok(bytes)
    }

    fn upload<T: bytemuck::Pod + Send>(
        &self,
        label: &'static str,
        values: Vec<T>,
    ) -> Result<Arc<BufferHandle>> {
        let id = self.thread.call(move |device| device.upload(label, bytemuck::cast_slice(&values)))?;
        Ok(Arc::new(self.thread.handle(id)))
    }

    fn allocate(&self, label: &'static str, bytes: u64) -> Result<Arc<BufferHandle>> {
        let id = self.thread.call(move |device| device.allocate(label, bytes))?;
        Ok(Arc::new(self.thread.handle(id)))
    }

    /// Records the upload of a list.
    fn record_list<T: bytemuck::Pod>(
        &mut self,
        label: &'static str,
        which: ListKind,
        values: &[T],
    ) -> Result<()> {
        let bytes = bytemuck::cast_slice::<T, u8>(values).to_vec();
        let capacity = bytes.len() as u64;
        let grown =
            (self.list_mut(which).capacity < capacity).then(|| self.allocate(label, capacity)).transpose()?;
        let list = self.list_mut(which);
        if let Some(slot) = grown {
            *list = List { slot: Some(slot), capacity };
        }
        let slot = list.slot();
        self.recorded.push(Command::Upload(slot, bytes));
        Ok(())
    }

    fn list_mut(&mut self, which: ListKind) -> &mut List {
        match which {
            ListKind::Work => &mut self.work,
            ListKind::Sequences => &mut self.sequences,
            ListKind::Tokens => &mut self.tokens,
            ListKind::Rows => &mut self.rows,
        }
    }

    fn resize(&mut self, buf: &mut Buf, rows: usize, cols: usize) -> Result<()> {
        // Every dispatch is smaller, and the products below stay far from overflow.
        if rows.max(cols) > u32::MAX as usize {
            return Err(gpu_error(format!("a buffer of {rows} rows and {cols} columns")));
        }
        (buf.rows, buf.cols) = (rows, cols);
        let bytes = buf.bytes();
        if bytes > buf.capacity {
            (buf.slot, buf.capacity) = (Some(self.allocate("activations", bytes)?), bytes);
        }
        if self.options.poison {
            let nan = NAN_IN_BOTH.to_le_bytes().repeat(buf.capacity as usize / 4);
            self.recorded.push(Command::Upload(buf.slot(), nan));
        }
        Ok(())
    }

    /// Whether linear layers read f16.
    fn uses_f16(&self) -> bool {
        self.adapter().tier >= Tier::F16
    }

    /// An activation in f32.
    fn record_as_f32(&mut self, buf: &Buf) -> Arc<BufferHandle> {
        if buf.is_f16 { self.record_conversion(buf, false) } else { buf.slot() }
    }

    /// An activation in f16.
    fn record_as_f16(&mut self, buf: &Buf) -> Arc<BufferHandle> {
        if buf.is_f16 { buf.slot() } else { self.record_conversion(buf, true) }
    }

    fn record_conversion(&mut self, buf: &Buf, half: bool) -> Arc<BufferHandle> {
        let kernel = if half { Kernel::RoundF16 } else { Kernel::WidenF16 };
        let mut copy = std::mem::take(if half { &mut self.f16_copy } else { &mut self.f32_copy });
        copy.is_f16 = half;
        match self.resize(&mut copy, buf.rows, buf.cols) {
            Ok(()) => {
                let arena = [buf.slot(), copy.slot()];
                self.record_dispatch(kernel, &[buf.row_vec4s() as f64], &arena, &[], [buf.rows, 1, 1]);
            }
            Err(error) => {
                // Nothing runs, whatever is bound.
                self.recorded.push(Command::Fail(error));
                return buf.slot();
            }
        }
        let slot = copy.slot();
        *(if half { &mut self.f16_copy } else { &mut self.f32_copy }) = copy;
        slot
    }

    /// The side of the matrices and the invocations of the one linear shader, if the tier is Cooperative.
    fn cooperative_sizes(&self) -> Option<(u32, u32)> {
        let adapter = self.adapter();
        let lanes = adapter.subgroups.map(|(_, lanes)| lanes);
        adapter.cooperative.zip(lanes).filter(|_| adapter.tier == Tier::Cooperative)
    }

    /// The shader for a linear layer over that many rows, the side of its tiles, and LANES where it has that override.
    fn linear_shader(&self, shape: Shape, rows: usize) -> (Kernel, usize, Option<u32>) {
        if let Some((side, lanes)) = self.cooperative_sizes() {
            let kernel = if side == 8 { Kernel::LinearCoop8 } else { Kernel::LinearCoop16 };
            // Four matrices.
            return (kernel, 4 * side as usize, Some(lanes));
        }
        let tile = self.options.tile.or_else(|| self.tiles.get(shape, rows));
        let tile = tile.unwrap_or_else(|| Tile::for_rows(rows));
        (tile.kernel(self.uses_f16()), tile.side(), None)
    }

    fn record_attention(
        &mut self,
        batch: &PackedBatch,
        qkv: &Buf,
        terms: ScoreMod<'_>,
        heads: usize,
        out: &mut Buf,
    ) {
        let (hidden, width, longest) = (out.cols, out.cols / heads, batch.max_sequence_tokens());
        if width > MAX_HEAD_DIM {
            return self.recorded.push(Command::Fail(head_too_wide(width)));
        }
        if terms.flags > 0.0 && longest > terms.center + 1 {
            let message = format!("{longest} tokens, and distances of {} at most", terms.center);
            return self.recorded.push(Command::Fail(Error::Internal { message }));
        }
        // Beyond every sequence of a batch, and far from overflow.
        let reach = terms.window_radius.unwrap_or(MAX_WORKGROUPS).min(MAX_WORKGROUPS);
        let sizes = [width, hidden, qkv.stride(), out.stride(), terms.center, reach].map(|v| v as f64);
        let values = [sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], terms.flags];
        // What is not read must be bound all the same.
        let table = |slot: Option<&Arc<BufferHandle>>| slot.map_or_else(|| qkv.slot(), Arc::clone);
        let weights = [table(terms.keys), table(terms.queries), table(terms.row_of)];
        let arena = [self.record_as_f32(qkv), self.work.slot(), out.as_f32()];
        let grid = [self.work_items, heads, QUERIES];
        self.record_dispatch(Kernel::AttentionGeneral, &values, &arena, &weights, grid);
        let seen = |rows: std::ops::Range<usize>| (rows.len() * rows.len().min(2 * reach + 1)) as f64;
        self.recorded_flop += 4.0 * batch.rows().map(seen).sum::<f64>() * hidden as f64;
    }

    fn record_dispatch(
        &mut self,
        kernel: Kernel,
        values: &[f64],
        arena: &[Arc<BufferHandle>],
        weights: &[Arc<BufferHandle>],
        grid: [usize; 3],
    ) {
        let (values, arena, weights) = (values.to_vec(), arena.to_vec(), weights.to_vec());
        self.recorded.push(Command::Dispatch(Dispatch {
            kernel,
            overrides: values,
            activations: arena,
            weights,
            grid,
        }));
    }
}

/// What attention knows about distances: see shaders/attention/general.wgsl.
#[derive(Default)]
struct ScoreMod<'a> {
    /// Keys of distances, or the bias.
    keys: Option<&'a Arc<BufferHandle>>,
    queries: Option<&'a Arc<BufferHandle>>,
    row_of: Option<&'a Arc<BufferHandle>>,
    /// L - 1, where there is a table of distances.
    center: usize,
    /// `None` sees every key.
    window_radius: Option<usize>,
    /// The shader's TERMS.
    flags: f64,
}

/// The lists of a batch.
#[derive(Clone, Copy)]
enum ListKind {
    Work,
    Sequences,
    Tokens,
    Rows,
}

fn head_too_wide(width: usize) -> Error {
    gpu_error(format!("attention heads of width {width}: the most is {MAX_HEAD_DIM}"))
}

fn activation_code(then: &Epilogue<'_, Buf>) -> f64 {
    match then {
        Epilogue::Store | Epilogue::Add(_) => 0.0,
        Epilogue::Activate(Activation::Gelu) => 1.0,
        Epilogue::Activate(Activation::GeluTanh) => 2.0,
        Epilogue::Activate(Activation::Relu) => 3.0,
        Epilogue::Activate(Activation::Silu) => 4.0,
        Epilogue::Activate(Activation::Tanh) => 5.0,
    }
}

impl Kernels for Gpu {
    type Buf = Buf;
    type Linear = Linear;
    type Table = OwnedTensor;
    type Norm = Norm;
    type KeyValue = KeyValue;
    type Bias = Bias;
    type Rotary = Rotary;
    type Relative = Relative;

    fn make_linear(&self, parts: &[LinearPart<'_>], _keep: WeightStorage) -> Result<Linear> {
        let (weight, bias) = pack::pack_linear(parts)?;
        let weight = match self.uses_f16() {
            true => self.upload("linear weight", pack::round_f16(&weight)?)?,
            false => self.upload("linear weight", weight)?,
        };
        let bias = self.upload("linear bias", bias)?;
        let outputs = parts.iter().map(|part| part.weight.rows).sum();
        Ok(Linear { weight, bias, inputs: parts[0].weight.cols, outputs })
    }

    /// It stays in the host's memory.
    fn make_table(&self, table: OwnedTensor) -> Result<OwnedTensor> {
        Ok(table)
    }

    fn make_norm(&self, gain: Tensor<'_>, bias: Tensor<'_>, epsilon: f32) -> Result<Norm> {
        let gain = self.upload("norm gain", pack::padded_vector(gain))?;
        Ok(Norm { gain, bias: self.upload("norm bias", pack::padded_vector(bias))?, epsilon })
    }

    fn make_key_value(&self, key: LinearPart<'_>, value: LinearPart<'_>, heads: usize) -> Result<KeyValue> {
        let key = self.upload("key by rows", pack::pack_rows(&key)?)?;
        let (value, bias) = pack::pack_inputs(&value)?;
        let (value, bias) = (self.upload("value by inputs", value)?, self.upload("value bias", bias)?);
        Ok(KeyValue { key, value, bias, heads })
    }

    fn make_bias(&self, bias: Tensor<'_>) -> Result<Bias> {
        Ok(Bias { values: self.upload("attention bias", bias.values())?, middle: bias.cols / 2 })
    }

    fn make_rotary(&self, turns: Tensor<'_>) -> Result<Rotary> {
        let (positions, width) = (turns.rows, turns.cols);
        Ok(Rotary { cos_sin: self.upload("rotations", turns.values())?, positions, head_dim: width })
    }

    fn make_relative(&self, distances: RelativePositions<'_, Norm>, _heads: usize) -> Result<Relative> {
        let Tensor { rows, cols, .. } = distances.rows;
        if distances.row_of.iter().any(|row| *row as usize >= rows) {
            return Err(Error::Internal { message: "a distance has no row".into() });
        }
        // Words change their backend: these run on another one on the same thread.
        let mut gpu = Self::with_thread(Arc::clone(&self.thread), self.options.clone());
        let mut embeddings = gpu.write(rows, cols, &distances.rows.values())?;
        if let Some(norm) = distances.norm {
            let mut normed = gpu.make_buf();
            gpu.shape(&mut normed, rows, cols)?;
            gpu.norm(&embeddings, norm, &mut normed);
            embeddings = normed;
        }
        let mut project = |part: LinearPart<'_>| {
            let mut out = gpu.make_buf();
            gpu.shape(&mut out, rows, part.weight.rows)?;
            let linear = gpu.make_linear(&[part], WeightStorage::F32)?;
            gpu.linear(&embeddings, &linear, Epilogue::Store, &mut out);
            Ok::<_, Error>(out)
        };
        let queries = distances.query.map(&mut project).transpose()?;
        let keys = distances.key.map(&mut project).transpose()?;
        gpu.flush()?;
        let row_of = distances.row_of.iter().map(|row| *row as f32).collect();
        let row_of = self.upload("rows of distances", row_of)?;
        Ok(Relative { keys, queries, row_of, middle: distances.row_of.len() / 2 })
    }

    fn make_buf(&self) -> Buf {
        Buf::default()
    }

    fn shape(&mut self, buf: &mut Buf, rows: usize, cols: usize) -> Result<()> {
        // Room for f32; a word that writes f16 needs half of it.
        buf.is_f16 = false;
        self.resize(buf, rows, cols)
    }

    fn write(&mut self, rows: usize, cols: usize, values: &[f32]) -> Result<Buf> {
        let mut buf = Buf::default();
        self.resize(&mut buf, rows, cols)?;
        let mut padded = vec![0.0_f32; rows * buf.stride()];
        for (to, from) in padded.chunks_exact_mut(buf.stride()).zip(values.chunks_exact(cols)) {
            to[..cols].copy_from_slice(from);
        }
        self.recorded.push(Command::Upload(buf.slot(), bytemuck::cast_slice(&padded).to_vec()));
        Ok(buf)
    }

    fn read(&mut self, buf: &Buf, out: &mut [f32]) -> Result<()> {
        let (dtype, width) = (if buf.is_f16 { Dtype::F16 } else { Dtype::F32 }, buf.elem_bytes() as usize);
        let bytes = self.execute_recorded(Some((buf.slot(), (width * buf.rows * buf.stride()) as u64)))?;
        let rows = bytes.chunks_exact(width * buf.stride());
        for (to, from) in out.chunks_exact_mut(buf.cols).zip(rows) {
            widen(dtype, &from[..width * buf.cols], to);
        }
        Ok(())
    }

    fn begin(&mut self, batch: &PackedBatch, hidden: usize, heads: usize) -> Result<()> {
        let tokens = batch.tokens();
        if tokens > MAX_WORKGROUPS {
            return Err(gpu_error(format!("{tokens} tokens at once: the most is {MAX_WORKGROUPS}")));
        }
        // Below 2^16, as every row number is.
        let sequence =
            |rows: std::ops::Range<usize>| Sequence { start: rows.start as u32, len: rows.len() as u32 };
        let sequences: Vec<_> = batch.rows().map(sequence).collect();
        let work = query_blocks(&sequences);
        self.work_items = work.len();
        self.record_list("work", ListKind::Work, &work)?;
        self.record_list("sequences", ListKind::Sequences, &sequences)?;
        let spread = heads * padded_cols(hidden);
        let (mut back, mut mixed, mut weights) = Default::default();
        std::mem::swap(&mut back, &mut self.absorbed_queries);
        std::mem::swap(&mut mixed, &mut self.mixed_inputs);
        std::mem::swap(&mut weights, &mut self.attention_weights);
        self.resize(&mut back, sequences.len(), spread)?;
        self.resize(&mut mixed, sequences.len(), spread)?;
        self.resize(&mut weights, tokens, heads)?;
        (self.absorbed_queries, self.mixed_inputs, self.attention_weights) = (back, mixed, weights);
        Ok(())
    }

    fn embed(
        &mut self,
        batch: &PackedBatch,
        word: &OwnedTensor,
        position: &OwnedTensor,
        kind: &OwnedTensor,
        norm: &Norm,
        out: &mut Buf,
    ) {
        let mut rows = Vec::new();
        let [mut words, mut positions, mut kinds]: [RowGather; 3] = Default::default();
        let tokens: Vec<_> = (0..batch.tokens())
            .map(|t| TokenRows {
                word: words.uploaded_row(word, batch.ids[t], &mut rows),
                position: positions.uploaded_row(position, batch.positions[t], &mut rows),
                token_type: kinds.uploaded_row(kind, batch.token_types[t], &mut rows),
            })
            .collect();
        let uploaded = self
            .record_list("token rows", ListKind::Tokens, &tokens)
            .and_then(|()| self.record_list("table rows", ListKind::Rows, &rows));
        if let Err(error) = uploaded {
            self.recorded.push(Command::Fail(error));
            return;
        }
        let values = [out.cols as f64, out.row_vec4s() as f64, norm.epsilon.into()];
        let arena = [self.rows.slot(), self.tokens.slot(), out.as_f32()];
        let weights = [Arc::clone(&norm.gain), Arc::clone(&norm.bias)];
        self.record_dispatch(Kernel::EmbedNorm, &values, &arena, &weights, [batch.tokens(), 1, 1]);
    }

    fn linear(&mut self, x: &Buf, w: &Linear, then: Epilogue<'_, Buf>, out: &mut Buf) {
        // The shader checks no index, so these must hold whatever the forward pass asks for.
        if w.inputs != x.cols || w.outputs != out.cols || x.rows > out.rows {
            let (found, made) = ([x.cols, out.cols], [w.inputs, w.outputs]);
            let message = format!("a linear layer {made:?} was used as {found:?}");
            return self.recorded.push(Command::Fail(Error::Internal { message }));
        }
        let shape = (w.inputs, w.outputs);
        self.linear_shapes.insert(shape);
        let (kernel, side, lanes) = self.linear_shader(shape, x.rows);
        let add = matches!(then, Epilogue::Add(_));
        let mut values =
            vec![x.stride() as f64, out.stride() as f64, activation_code(&then), f64::from(u8::from(add))];
        let input = if self.uses_f16() {
            // What is activated is read by the next linear layer alone, or is small.
            out.is_f16 = matches!(then, Epilogue::Activate(_));
            values.push(f64::from(u8::from(out.is_f16)));
            self.record_as_f16(x)
        } else {
            x.slot()
        };
        values.extend(lanes.map(f64::from));
        // Where nothing is added nothing is read, but something must be bound.
        let residual =
            if let Epilogue::Add(residual) = then { self.record_as_f32(residual) } else { x.slot() };
        let weights = [Arc::clone(&w.weight), Arc::clone(&w.bias)];
        let grid = [out.cols.div_ceil(side), x.rows.div_ceil(side), 1];
        self.record_dispatch(kernel, &values, &[input, residual, out.slot()], &weights, grid);
        self.recorded_flop += 2.0 * x.rows as f64 * x.cols as f64 * out.cols as f64;
    }

    fn norm(&mut self, x: &Buf, norm: &Norm, out: &mut Buf) {
        let values = [x.cols as f64, x.row_vec4s() as f64, norm.epsilon.into()];
        let weights = [Arc::clone(&norm.gain), Arc::clone(&norm.bias)];
        let arena = [self.record_as_f32(x), out.as_f32()];
        self.record_dispatch(Kernel::Norm, &values, &arena, &weights, [x.rows, 1, 1]);
    }

    fn attention(&mut self, batch: &PackedBatch, qkv: &Buf, heads: usize, out: &mut Buf) {
        let hidden = out.cols;
        let kernel = match hidden / heads {
            32 => Kernel::Attention32,
            64 => Kernel::Attention64,
            _ => return self.record_attention(batch, qkv, ScoreMod::default(), heads, out),
        };
        // A multiple of 32 or 64 is one of 16: the specialised shaders meet no padding.
        const { assert!(32 % COLUMN_TILE == 0 && QUERIES == 64) };
        let arena = [self.record_as_f32(qkv), self.work.slot(), out.as_f32()];
        self.record_dispatch(kernel, &[out.row_vec4s() as f64], &arena, &[], [self.work_items, heads, 1]);
        let squares: f64 = batch.rows().map(|r| (r.len() * r.len()) as f64).sum();
        self.recorded_flop += 4.0 * squares * hidden as f64;
    }

    fn attention_biased(&mut self, batch: &PackedBatch, qkv: &Buf, bias: &Bias, heads: usize, out: &mut Buf) {
        let terms =
            ScoreMod { keys: Some(&bias.values), center: bias.middle, flags: 1.0, ..ScoreMod::default() };
        self.record_attention(batch, qkv, terms, heads, out);
    }

    fn attention_local(&mut self, batch: &PackedBatch, qkv: &Buf, reach: usize, heads: usize, out: &mut Buf) {
        self.record_attention(
            batch,
            qkv,
            ScoreMod { window_radius: Some(reach), ..ScoreMod::default() },
            heads,
            out,
        );
    }

    fn attention_disentangled(
        &mut self,
        batch: &PackedBatch,
        qkv: &Buf,
        relative: &Relative,
        heads: usize,
        out: &mut Buf,
    ) {
        let (keys, queries) =
            (relative.keys.as_ref().map(Buf::slot), relative.queries.as_ref().map(Buf::slot));
        let number = if keys.is_some() { 2.0 } else { 0.0 } + if queries.is_some() { 4.0 } else { 0.0 };
        let terms = ScoreMod {
            keys: keys.as_ref(),
            queries: queries.as_ref(),
            row_of: Some(&relative.row_of),
            center: relative.middle,
            flags: number,
            ..ScoreMod::default()
        };
        self.record_attention(batch, qkv, terms, heads, out);
    }

    fn rotate(&mut self, batch: &PackedBatch, rotary: &Rotary, heads: usize, qkv: &mut Buf) {
        if batch.max_sequence_tokens() > rotary.positions
            || qkv.cols != 3 * heads * rotary.head_dim
            || qkv.is_f16
        {
            let message = "rotations of other positions, widths or numbers".into();
            return self.recorded.push(Command::Fail(Error::Internal { message }));
        }
        let values = [rotary.head_dim / 2, heads, qkv.stride()].map(|v| v as f64);
        let arena = [qkv.slot(), self.work.slot()];
        let grid = [self.work_items, QUERIES, 1];
        self.record_dispatch(Kernel::Rotate, &values, &arena, &[Arc::clone(&rotary.cos_sin)], grid);
    }

    fn gate(&mut self, x: &Buf, f: Activation, out: &mut Buf) {
        if x.cols != 2 * out.cols || x.rows > out.rows {
            let message = format!("gates of {} columns for {}", x.cols, out.cols);
            return self.recorded.push(Command::Fail(Error::Internal { message }));
        }
        let sizes = [out.cols, x.stride(), out.stride()].map(|v| v as f64);
        let values = [sizes[0], sizes[1], sizes[2], activation_code(&Epilogue::Activate(f))];
        let grid = [x.rows, out.row_vec4s().div_ceil(64), 1];
        let arena = [self.record_as_f32(x), out.as_f32()];
        self.record_dispatch(Kernel::Gate, &values, &arena, &[], grid);
    }

    fn mean_tokens(&mut self, batch: &PackedBatch, x: &Buf, out: &mut Buf) {
        let arena = [self.record_as_f32(x), self.sequences.slot(), out.as_f32()];
        let grid = [batch.sequences(), x.row_vec4s().div_ceil(64), 1];
        self.record_dispatch(Kernel::MeanTokens, &[x.row_vec4s() as f64], &arena, &[], grid);
    }

    fn first_tokens(&mut self, batch: &PackedBatch, x: &Buf, out: &mut Buf) {
        let arena = [self.record_as_f32(x), self.sequences.slot(), out.as_f32()];
        self.record_dispatch(
            Kernel::FirstTokens,
            &[x.row_vec4s() as f64],
            &arena,
            &[],
            [batch.sequences(), 1, 1],
        );
    }

    fn attention_first(&mut self, batch: &PackedBatch, q: &Buf, x: &Buf, kv: &KeyValue, out: &mut Buf) {
        let (sequences, heads, row4) = (batch.sequences(), kv.heads, x.row_vec4s());
        let width = (out.cols / heads) as f64;
        let blocks = row4.div_ceil(64);
        let sizes = [width, heads as f64, row4 as f64];
        let list = self.sequences.slot();
        let (back, mixed, weights) =
            (self.absorbed_queries.slot(), self.mixed_inputs.slot(), self.attention_weights.slot());

        let arena = [self.record_as_f32(q), Arc::clone(&back)];
        let grid = [sequences.div_ceil(4), heads, blocks];
        self.record_dispatch(Kernel::FirstBack, &sizes, &arena, &[Arc::clone(&kv.key)], grid);
        let x = self.record_as_f32(x);
        let arena = [Arc::clone(&x), back, Arc::clone(&list), Arc::clone(&weights)];
        self.record_dispatch(Kernel::FirstScores, &sizes[1..], &arena, &[], [sequences, heads, 1]);
        let arena = [x, weights, list, Arc::clone(&mixed)];
        self.record_dispatch(Kernel::FirstMix, &sizes[1..], &arena, &[], [sequences, heads, blocks]);
        let value = [Arc::clone(&kv.value), Arc::clone(&kv.bias)];
        let grid = [sequences.div_ceil(4), (4 * row4).div_ceil(64), 1];
        self.record_dispatch(Kernel::FirstOut, &sizes, &[mixed, out.as_f32()], &value, grid);
        let hidden = out.cols as f64;
        self.recorded_flop +=
            4.0 * (batch.tokens() * heads) as f64 * hidden + 4.0 * sequences as f64 * hidden * hidden;
    }
}
