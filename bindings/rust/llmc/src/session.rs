use crate::error::{c_text, Error, Result};
use crate::sys;
use std::any::Any;
use std::cell::Cell;
use std::ffi::{c_char, c_void};
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::ptr::{null, null_mut};
use std::sync::Arc;

/// How far a run is: `step` of `steps` over the whole call.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// "survey", "calibrate" or "quantize".
    pub stage: String,
    /// The layer at work, such as "model.layers.3".
    pub layer: String,
    /// Steps done.
    pub step: i64,
    /// Steps there are.
    pub steps: i64,
    /// Mean of the last finished layer; 0 while unknown.
    pub relative_error: f64,
}

/// Of a line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Something the user should look at.
    Warning,
    /// What was skipped, ignored or guessed.
    Note,
}

type ProgressFn<'a> = Box<dyn FnMut(&Progress) + 'a>;
type LogFn<'a> = Box<dyn FnMut(LogLevel, &str) + 'a>;

/// The closures of one call; they live on the caller's stack.
#[derive(Default)]
pub(crate) struct Callbacks<'a> {
    pub progress: Option<ProgressFn<'a>>,
    pub log: Option<LogFn<'a>>,
    failure: Option<Failure>,
}

/// How a closure ended its call.
pub(crate) enum Failure {
    Panic(Box<dyn Any + Send>),
    Error(Error),
}

impl Failure {
    /// Runs a closure of the user's; a panic must not reach C.
    pub fn of(body: impl FnOnce() -> Result<()>) -> Option<Self> {
        match catch_unwind(AssertUnwindSafe(body)) {
            Ok(result) => result.err().map(Self::Error),
            Err(panic) => Some(Self::Panic(panic)),
        }
    }

    /// In the caller, once C has returned: the panic goes on, an error is the call's.
    pub fn resume<T>(self) -> Result<T> {
        match self {
            Self::Panic(panic) => resume_unwind(panic),
            Self::Error(error) => Err(error),
        }
    }
}

/// What the C callbacks get as user_data: the closures of the call that is running, NULL between calls.
pub(crate) struct Slot {
    callbacks: Cell<*mut Callbacks<'static>>,
    session: Cell<*mut sys::llmc_session>,
}

/// The C session; freed when the [`Session`] and all its [`CancelHandle`]s are gone.
struct Raw(*mut sys::llmc_session);
// SAFETY: llmc.h: a session may be used by any thread, one call at a time (Session is not Sync); cancel is allowed at any time.
unsafe impl Send for Raw {}
unsafe impl Sync for Raw {}
impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: the last owner; no call is running, as a call borrows the Session.
        unsafe { sys::llmc_session_free(self.0) }
    }
}

/// Where jobs run: a device with its threads. Independent of other sessions; may move between threads.
pub struct Session {
    raw: Arc<Raw>,
    // What C holds pointers to. Not in boxes: moving one would say that nobody else points there.
    pub(crate) slot: Arc<Slot>,
    pub(crate) modifiers: Vec<crate::modifier::Registered>,
}
// SAFETY: the slot is used only by the thread that makes a call, during the call.
unsafe impl Send for Session {}

/// Cancels the running call of its [`Session`], or else the next one, from any thread.
#[derive(Clone)]
pub struct CancelHandle(Arc<Raw>);

impl CancelHandle {
    /// The call returns [`crate::ErrorKind::Cancelled`] within a second; nothing appears under the output name.
    pub fn cancel(&self) {
        // SAFETY: the handle keeps the session alive.
        unsafe { sys::llmc_session_cancel(self.0 .0) }
    }
}

/// Settings of a [`Session`].
#[derive(Clone, Debug, Default)]
pub struct SessionBuilder {
    threads: i32,
    cpu_isa: Option<String>,
    device: Device,
    memory_limit: i64,
    device_memory_limit: i64,
}

/// Where a [`Session`] computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// The GPU of this index; needs libllmc_cuda.so beside the library and NVIDIA's driver.
    Cuda(i32),
    /// A GPU where one works; otherwise the processor, and a note in the report says why.
    Auto,
}

impl SessionBuilder {
    /// 0, the default: the cores this process may use. Results do not depend on it.
    pub fn threads(mut self, threads: i32) -> Self {
        self.threads = threads;
        self
    }

    /// "sse4", "avx2", "avx512", "avx512_bf16" or "amx_bf16": pins the arithmetic, so that the bytes of a calibrated run repeat on another machine.
    pub fn cpu_isa(mut self, isa: &str) -> Self {
        self.cpu_isa = Some(isa.into());
        self
    }

    /// Bytes of anonymous memory that the process may have during a run, looked at between steps; beyond it the run ends with [`crate::ErrorKind::OutOfMemory`].
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = bytes.try_into().unwrap_or(i64::MAX);
        self
    }

    /// Bytes of the GPU's memory to use; values that wait go to the host when it is nearly full.
    pub fn device_memory_limit(mut self, bytes: u64) -> Self {
        self.device_memory_limit = bytes.try_into().unwrap_or(i64::MAX);
        self
    }

    /// The processor by default.
    pub fn device(mut self, device: Device) -> Self {
        self.device = device;
        self
    }

    /// Starts the session's threads.
    pub fn build(self) -> Result<Session> {
        let isa = self.cpu_isa.as_deref().map(|isa| c_text("cpu_isa", isa.as_bytes())).transpose()?;
        let slot = Arc::new(Slot { callbacks: Cell::new(null_mut()), session: Cell::new(null_mut()) });
        let user_data = Arc::as_ptr(&slot).cast_mut().cast::<c_void>();
        let (device_type, device_index) = match self.device {
            Device::Cpu => (sys::LLMC_DEVICE_CPU, 0),
            Device::Cuda(index) => (sys::LLMC_DEVICE_CUDA, index),
            Device::Auto => (sys::LLMC_DEVICE_AUTO, 0),
        };
        let options = sys::llmc_session_options {
            struct_size: size_of::<sys::llmc_session_options>() as u32,
            device_type,
            device_index,
            threads: self.threads,
            cpu_isa: isa.as_ref().map_or(null(), |isa| isa.as_ptr()),
            progress: Some(on_progress),
            progress_user_data: user_data,
            log: Some(on_log),
            log_user_data: user_data,
            cuda_module: null(),
            memory_limit: self.memory_limit,
            device_memory_limit: self.device_memory_limit,
        };
        let (mut session, mut error) = (null_mut(), null_mut());
        // SAFETY: the options and their text live through the call; the slot lives as long as the Session, which makes all calls.
        unsafe { Error::check(sys::llmc_session_create(&options, &mut session, &mut error), error)? };
        slot.session.set(session);
        Ok(Session { raw: Arc::new(Raw(session)), slot, modifiers: vec![] })
    }
}

impl Session {
    /// A session on all cores.
    pub fn new() -> Result<Self> {
        Self::builder().build()
    }

    /// A session with settings.
    pub fn builder() -> SessionBuilder {
        SessionBuilder::default()
    }

    /// Such as "cpu amx_bf16, 8 threads".
    pub fn device(&self) -> String {
        // SAFETY: borrowed text of a living session.
        unsafe { crate::copied_text(sys::llmc_session_device(self.raw.0)) }
    }

    /// To be given to another thread, or kept in a callback.
    pub fn cancel_handle(&self) -> CancelHandle {
        CancelHandle(self.raw.clone())
    }

    /// Makes a call that runs no closure but the session's modifiers.
    pub(crate) fn plain_call(
        &mut self,
        call: impl FnOnce(*mut sys::llmc_session, *mut *mut sys::llmc_error) -> sys::llmc_status,
    ) -> Result<()> {
        self.call(&mut Callbacks::default(), call)
    }

    /// Makes a call of the C interface with these closures; a panic of one goes on here, after the call.
    pub(crate) fn call(
        &mut self,
        callbacks: &mut Callbacks<'_>,
        call: impl FnOnce(*mut sys::llmc_session, *mut *mut sys::llmc_error) -> sys::llmc_status,
    ) -> Result<()> {
        let mut error = null_mut();
        // The lifetime goes, the pointer is taken back before this function returns; `call` only calls into C, which does not unwind.
        self.slot.callbacks.set((callbacks as *mut Callbacks<'_>).cast());
        let status = call(self.raw.0, &mut error);
        self.slot.callbacks.set(null_mut());
        // SAFETY: both come from the call.
        let result = unsafe { Error::check(status, error) };
        match callbacks.failure.take() {
            Some(failure) => failure.resume(),
            None => result,
        }
    }
}

/// Runs a closure of the current call; false: it, or an earlier one, failed. The failure cancels the call and waits in `callbacks`. SAFETY: `user_data` is a Slot.
pub(crate) unsafe fn in_call(
    user_data: *const Slot,
    body: impl FnOnce(&mut Callbacks<'static>) -> Result<()>,
) -> bool {
    let slot = &*user_data;
    let Some(callbacks) = slot.callbacks.get().as_mut() else { return true };
    if callbacks.failure.is_none() {
        callbacks.failure = Failure::of(|| body(callbacks));
        if callbacks.failure.is_some() {
            sys::llmc_session_cancel(slot.session.get());
        }
    }
    callbacks.failure.is_none()
}

unsafe extern "C" fn on_progress(progress: *const sys::llmc_progress, user_data: *mut c_void) {
    in_call(user_data.cast(), |callbacks| {
        if let Some(closure) = &mut callbacks.progress {
            let p = &*progress;
            let (stage, layer) = (crate::copied_text(p.stage), crate::copied_text(p.layer));
            closure(&Progress {
                stage,
                layer,
                step: p.step,
                steps: p.steps,
                relative_error: p.relative_error,
            });
        }
        Ok(())
    });
}

unsafe extern "C" fn on_log(level: i32, line: *const c_char, user_data: *mut c_void) {
    in_call(user_data.cast(), |callbacks| {
        if let Some(closure) = &mut callbacks.log {
            let level = if level == sys::LLMC_LOG_WARNING { LogLevel::Warning } else { LogLevel::Note };
            closure(level, &crate::copied_text(line));
        }
        Ok(())
    });
}
