//! Errors of the GPU backend, and the first fault of a device, after which nothing runs on it.

use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};

/// The error of everything that goes wrong between this library and the driver.
pub fn gpu_error(message: String) -> Error {
    Error::Gpu { message }
}

/// The first fault of a device. Clones share it: the driver's callbacks report into it from any thread.
#[derive(Clone, Default)]
pub struct Fault(Arc<Mutex<Option<String>>>);

impl Fault {
    /// Records a fault, unless an earlier one is recorded already.
    pub fn record(&self, message: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(message);
    }

    /// The recorded fault as an error.
    pub fn check(&self) -> Result<()> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(message) => Err(gpu_error(message.clone())),
            None => Ok(()),
        }
    }
}
