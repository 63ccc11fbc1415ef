//! An open device: buffers, submission, and errors as values.

use super::super::BackendError;
use super::adapter::{DeviceInfo, ready};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;
use wgpu::{Buffer, BufferUsages, Limits};

/// A GPU that needs longer for one submission hangs.
const SUBMISSION_TIMEOUT: Duration = Duration::from_secs(120);

/// First error that no call returned: a device is not used after one.
type Failure = Arc<Mutex<Option<String>>>;

/// Device and queue.
pub(super) struct Gpu {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub info: DeviceInfo,
    pub limits: Limits,
    failure: Failure,
}

impl Gpu {
    pub(super) fn new(
        device: wgpu::Device,
        queue: wgpu::Queue,
        info: DeviceInfo,
        limits: Limits,
    ) -> Self {
        let failure = Failure::default();
        let errors = failure.clone();
        device.on_uncaptured_error(Arc::new(move |error| note(&errors, format!("{error}"))));
        let losses = failure.clone();
        device.set_device_lost_callback(move |reason, message| {
            note(&losses, format!("device lost ({reason:?}): {message}"));
        });
        Self {
            device,
            queue,
            info,
            limits,
            failure,
        }
    }

    /// An error if the device failed since it was opened.
    pub(super) fn check(&self) -> Result<(), BackendError> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        match &*failure {
            Some(message) => Err(BackendError::Device(format!(
                "{}: {message}",
                self.info.name
            ))),
            None => Ok(()),
        }
    }

    /// Most bytes of a buffer that kernels see.
    pub(super) fn max_bytes(&self) -> u64 {
        let limits = &self.limits;
        limits
            .max_buffer_size
            .min(limits.max_storage_buffer_binding_size)
    }

    /// A buffer of zeros.
    pub(super) fn buffer(
        &self,
        what: &str,
        bytes: u64,
        usage: BufferUsages,
    ) -> Result<Buffer, BackendError> {
        let limit = self.max_bytes();
        let memory = || BackendError::Memory {
            what: format!("{what} on {}", self.info.name),
            needed: bytes,
            limit,
        };
        if bytes > limit {
            return Err(memory());
        }
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(what),
            size: bytes,
            usage,
            mapped_at_creation: false,
        });
        match ready(scope.pop()) {
            Some(_) => Err(BackendError::Device(format!(
                "{} has no {bytes} bytes left for {what}: fewer planes (--weights int8) or the cpu backend \
                 need less",
                self.info.name
            ))),
            None => self.check().map(|()| buffer),
        }
    }

    /// Submits and waits until all work is done.
    pub(super) fn run(&self, encoder: wgpu::CommandEncoder) -> Result<(), BackendError> {
        self.queue.submit([encoder.finish()]);
        self.wait()
    }

    /// Submits and reads the first `bytes` bytes of a mappable buffer when the work is done.
    pub(super) fn run_and_read(
        &self,
        encoder: wgpu::CommandEncoder,
        readback: &Buffer,
        bytes: u64,
    ) -> Result<Vec<u8>, BackendError> {
        self.queue.submit([encoder.finish()]);
        let (sender, receiver) = mpsc::channel();
        readback.map_async(wgpu::MapMode::Read, 0..bytes, move |result| {
            // The receiver is gone only if the wait below failed.
            let _ = sender.send(result);
        });
        self.wait()?;
        let unreadable = |e: &dyn std::fmt::Display| {
            BackendError::Device(format!("{}: result not readable: {e}", self.info.name))
        };
        let mapped = receiver.try_recv().map_err(|e| unreadable(&e))?;
        mapped.map_err(|e| unreadable(&e))?;
        let view = readback
            .get_mapped_range(0..bytes)
            .map_err(|e| unreadable(&e))?;
        let data = view.to_vec();
        drop(view);
        readback.unmap();
        Ok(data)
    }

    fn wait(&self) -> Result<(), BackendError> {
        let poll = wgpu::PollType::Wait {
            submission_index: None,
            timeout: (!self.info.is_software()).then_some(SUBMISSION_TIMEOUT),
        };
        if let Err(e) = self.device.poll(poll) {
            note(&self.failure, format!("no answer: {e}"));
        }
        self.check()
    }
}

fn note(failure: &Failure, message: String) {
    let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
    failure.get_or_insert(message);
}
