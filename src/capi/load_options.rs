//! Options for loading a model.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use super::caller::{User, c_string};
use super::enums::CValue;
use super::executor::{HostExecutor, crossrank_parallel_fn};
use super::options::{crossrank_options, set};
use super::status::crossrank_status;
use crate::options::{Backend, Executor, GpuPrecision, Isa, Precision};

/// For loading: sets which implementation computes.
///
/// - `backend`: a CROSSRANK_BACKEND_ value. Default: AUTO.
///
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_backend(
    options: crossrank_options,
    backend: i32,
) -> crossrank_status {
    set(options, |o| {
        o.load = o.load.clone().backend(Backend::from_argument(backend)?);
        Ok(())
    })
}

/// For loading: sets the highest instruction set that the CPU backend may use.
///
/// - `isa`: a CROSSRANK_ISA_ value. Default: AUTO.
///
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_isa(options: crossrank_options, isa: i32) -> crossrank_status {
    set(options, |o| {
        o.load = o.load.clone().isa(Option::<Isa>::from_argument(isa)?);
        Ok(())
    })
}

/// For loading: sets the number of worker threads.
///
/// - `threads`: at least 1. Default: one per physical core.
///
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_threads(
    options: crossrank_options,
    threads: usize,
) -> crossrank_status {
    set(options, |o| {
        o.load = o.load.clone().threads(threads);
        Ok(())
    })
}

/// For loading: limits the memory of the model. A load that needs more returns CROSSRANK_ERR_MEMORY_LIMIT.
///
/// - `bytes`: the maximum of weights and work space together. Default: no limit.
///
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_memory_limit(
    options: crossrank_options,
    bytes: u64,
) -> crossrank_status {
    set(options, |o| {
        o.load = o.load.clone().memory_limit(bytes);
        Ok(())
    })
}

/// For loading: sets whether CROSSRANK_BACKEND_GPU may use a software adapter, a driver that runs shaders on the CPU. It is
/// slower than the CPU backend: for tests.
///
/// - `allow`: default: false.
///
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_allow_software_gpu(
    options: crossrank_options,
    allow: bool,
) -> crossrank_status {
    set(options, |o| {
        o.load = o.load.clone().allow_software_gpu(allow);
        Ok(())
    })
}

/// For loading: sets the type in which the CPU keeps weights, and whether it multiplies floats or integers. A load for
/// CROSSRANK_BACKEND_GPU refuses INT8 with CROSSRANK_ERR_ARGUMENT.
///
/// - `precision`: a CROSSRANK_PRECISION_ value. Default: AUTO.
///
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_precision(
    options: crossrank_options,
    precision: i32,
) -> crossrank_status {
    set(options, |o| {
        o.load = o.load.clone().precision(Precision::from_argument(precision)?);
        Ok(())
    })
}

/// For loading: sets the type in which a GPU stores weights and the inputs of linear layers.
///
/// - `precision`: a CROSSRANK_GPU_PRECISION_ value. Default: F32.
///
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_gpu_precision(
    options: crossrank_options,
    precision: i32,
) -> crossrank_status {
    set(options, |o| {
        o.load = o.load.clone().gpu_precision(GpuPrecision::from_argument(precision)?);
        Ok(())
    })
}

/// For loading: sets a directory for compiled shaders, which is read at load and written by crossrank_model_warmup. Other users
/// must not be able to write to it. Without effect on the CPU.
///
/// - `folder`: NUL-terminated UTF-8 path of a directory that exists; NULL for none. Default: none.
///
/// Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn crossrank_options_set_gpu_cache(
    options: crossrank_options,
    folder: *const c_char,
) -> crossrank_status {
    set(options, |o| {
        o.gpu_cache = if folder.is_null() {
            None
        } else {
            // SAFETY: the header asks for a NUL-terminated string or NULL.
            Some(unsafe { c_string(folder, "folder") }?.into())
        };
        Ok(())
    })
}

/// For loading: computes on the program's own threads, for example a game engine's job system. The library starts no threads
/// then.
///
/// - `threads`: how many tasks `parallel` runs at once.
/// - `parallel`: runs the tasks; NULL for the library's own threads. Default: NULL.
/// - `user`: passed to every call of `parallel`; may be NULL.
///
/// `parallel` and `user` must stay valid as long as models that were loaded with these options. Any thread. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn crossrank_options_set_executor(
    options: crossrank_options,
    threads: usize,
    parallel: crossrank_parallel_fn,
    user: *mut c_void,
) -> crossrank_status {
    set(options, |o| {
        let executor = parallel.map(|parallel| -> Arc<dyn Executor> {
            Arc::new(HostExecutor { threads, parallel, user: User(user) })
        });
        o.load = o.load.clone().executor(executor);
        Ok(())
    })
}
