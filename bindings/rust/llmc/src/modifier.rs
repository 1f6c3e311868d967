//! Modifiers of yours.
use crate::error::c_text;
use crate::session::{in_call, Slot};
use crate::{sys, Channels, Result, Session, Tensor, TensorMut};
use std::ffi::c_void;
use std::sync::Arc;

/// Statistics that a modifier wants of each matrix's inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The gram matrix.
    pub gram: bool,
    /// The figures by channel.
    pub channels: bool,
}

/// One matrix of a calibrated run. A code stands for (code - zero point) * scale.
#[derive(Debug)]
#[non_exhaustive]
pub struct Job<'a> {
    /// Such as "model.layers.0.mlp.up_proj".
    pub module: String,
    /// Of a code.
    pub num_bits: i32,
    /// `[rows, columns]` in the model's dtype.
    pub weight: Tensor<'a>,
    /// float32: `[1]`, `[rows, 1]`, `[rows, groups]` or `[block rows, block columns]`.
    pub scales: Tensor<'a>,
    /// int8, the scales' shape; None when symmetric.
    pub zero_points: Option<Tensor<'a>>,
    /// `[rows, columns]` int8, float8_e4m3 or (fp4, one code a byte) uint8: the nearest codes. Change them in place.
    pub codes: TensorMut<'a>,
    /// float32 `[columns, columns]`: the lower triangle of sum(x xᵀ). None unless asked for.
    pub gram: Option<Tensor<'a>>,
    /// None unless asked for.
    pub channels: Option<Channels>,
    /// In the statistics.
    pub tokens: i64,
}

type QuantizeFn = Box<dyn FnMut(&mut Job<'_>) -> Result<()> + Send>;

struct State {
    slot: *const Slot,
    quantize: QuantizeFn,
}

/// A State that C points to, as long as its session lives.
pub(crate) struct Registered(*mut State);
// SAFETY: the closure is Send; the slot is the session's, used on the thread of the session's call.
unsafe impl Send for Registered {}
impl Drop for Registered {
    fn drop(&mut self) {
        // SAFETY: it was a box's; the session makes no more calls.
        unsafe { drop(Box::from_raw(self.0)) }
    }
}

impl Session {
    /// Recipes that run in this session may name the modifier from now on, in runs with calibration data. It takes targets, ignore, scheme and config_groups as
    /// QuantizationModifier does. Called matrix by matrix on the thread that runs the job; an error ends the run and is what it returns. Codes outside the scheme's
    /// range end it with [`crate::ErrorKind::InvalidArgument`].
    pub fn add_modifier(
        &mut self,
        name: &str,
        needs: Needs,
        quantize: impl FnMut(&mut Job<'_>) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let name = c_text("name", name.as_bytes())?;
        let state = Registered(Box::into_raw(Box::new(State {
            slot: Arc::as_ptr(&self.slot),
            quantize: Box::new(quantize),
        })));
        let modifier = sized!(llmc_modifier {
            needs: (if needs.gram { sys::LLMC_NEEDS_GRAM } else { 0 })
                | (if needs.channels { sys::LLMC_NEEDS_CHANNELS } else { 0 }),
            r#type: name.as_ptr(),
            quantize: Some(on_matrix),
            user_data: state.0.cast(),
        });
        // SAFETY: the state stays where it is as long as the session makes calls.
        self.plain_call(|session, error| unsafe {
            sys::llmc_session_add_modifier(session, &modifier, error)
        })?;
        self.modifiers.push(state);
        Ok(())
    }
}

/// SAFETY: `user_data` is a State, `job` is C's.
unsafe extern "C" fn on_matrix(user_data: *mut c_void, job: *const sys::llmc_matrix_job) -> i32 {
    let (state, job) = (&mut *user_data.cast::<State>(), &*job);
    let done = in_call(state.slot, |_| {
        let codes = TensorMut::from_raw(&*job.codes)?;
        let columns = codes.shape().last().copied().unwrap_or(0);
        let copied = |from: *const f32| std::slice::from_raw_parts(from, columns).to_vec();
        let copied64 = |from: *const f64| std::slice::from_raw_parts(from, columns).to_vec();
        (state.quantize)(&mut Job {
            module: crate::copied_text(job.module),
            num_bits: job.num_bits,
            weight: Tensor::from_raw(&*job.weight)?,
            scales: Tensor::from_raw(&*job.scales)?,
            zero_points: job
                .zero_points
                .as_ref()
                .map(|zero_points| Tensor::from_raw(zero_points))
                .transpose()?,
            codes,
            gram: job.gram.as_ref().map(|gram| Tensor::from_raw(gram)).transpose()?,
            channels: (!job.channel_min.is_null()).then(|| Channels {
                minimum: copied(job.channel_min),
                maximum: copied(job.channel_max),
                sum_absolute: copied64(job.sum_absolute),
                sum_squares: copied64(job.sum_squares),
            }),
            tokens: job.tokens,
        })
    });
    i32::from(!done)
}
