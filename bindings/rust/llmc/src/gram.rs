use crate::error::{c_path, checked};
use crate::tensor::with_raws;
use crate::{sys, Compat, Result, Session, Tensor, TensorMut};
use std::path::Path;
use std::ptr::null_mut;

handle! {
    /// Statistics of what a Linear reads: the gram matrix sum(x xᵀ), 4 * channels² bytes, and figures by channel. One serves all Linears that read the same
    /// values (q, k, v; gate, up).
    Gram, llmc_gram, llmc_gram_free
}

/// Figures by channel; each has as many entries as the gram has channels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Channels {
    /// +infinity before the first token.
    pub minimum: Vec<f32>,
    /// -infinity before the first token.
    pub maximum: Vec<f32>,
    /// Sum over tokens of |x|.
    pub sum_absolute: Vec<f64>,
    /// Sum over tokens of x².
    pub sum_squares: Vec<f64>,
}

/// How scales are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SmoothingAlgorithm {
    /// range(x)^strength / (2 max|w|)^(1 - strength).
    #[default]
    SmoothQuant = sys::LLMC_SMOOTHING_SMOOTHQUANT as isize,
    /// range(x) / log2(2 + range(x)).
    Logarithmic = sys::LLMC_SMOOTHING_LOGARITHMIC as isize,
}

/// Settings of [`Gram::smooth_scales`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Smoothing {
    /// How scales are found.
    pub algorithm: SmoothingAlgorithm,
    /// 0 to 1; default 0.5.
    pub strength: Option<f64>,
    /// Reference: every step is rounded to the first weight's dtype.
    pub compat: Option<Compat>,
}

/// What [`smooth_apply`] does with the scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmoothOperation {
    /// Weights that read the values: w * s.
    Multiply = sys::LLMC_SMOOTH_MULTIPLY as isize,
    /// Weight and bias of the norm that makes them: w / s.
    Divide = sys::LLMC_SMOOTH_DIVIDE as isize,
    /// Weight of a norm that multiplies by 1 + w: (1 + w) / s - 1.
    DividePlusOne = sys::LLMC_SMOOTH_DIVIDE_PLUS_ONE as isize,
}

impl Gram {
    /// Nothing seen yet.
    pub fn new(channels: usize) -> Result<Self> {
        Self::with_parts(channels, sys::LLMC_GRAM_ALL)
    }

    /// Figures by channel alone: enough for smoothing and for observers, not for GPTQ.
    pub fn channels_only(channels: usize) -> Result<Self> {
        Self::with_parts(channels, sys::LLMC_GRAM_CHANNELS)
    }

    fn with_parts(channels: usize, parts: i32) -> Result<Self> {
        // SAFETY: the pointers are those of the call; so below.
        Self::made(|gram, error| unsafe { sys::llmc_gram_create(channels as i64, parts, gram, error) })
    }

    /// values: `[.., channels]` float32, bfloat16 or float16, one token per row. Three and more dimensions count the first as samples, others are one sample.
    /// [`crate::ErrorKind::Numeric`] for NaN and Inf; the gram is as before then.
    pub fn add(&mut self, session: &mut Session, values: &Tensor<'_>) -> Result<()> {
        values.with_raw(|values| {
            session
                .plain_call(|session, error| unsafe { sys::llmc_gram_add(session, self.raw, values, error) })
        })
    }

    /// As if `from`'s values had been added after this gram's own.
    pub fn merge(&mut self, from: &Gram) -> Result<()> {
        checked(|error| unsafe { sys::llmc_gram_merge(self.raw, from.raw, error) })
    }

    /// Writes a file of llmc's own; `path` is replaced in one step.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = c_path(path.as_ref())?;
        checked(|error| unsafe { sys::llmc_gram_save(self.raw, path.as_ptr(), error) })
    }

    /// What `save` wrote; [`crate::ErrorKind::BadFile`] when it is damaged.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = c_path(path.as_ref())?;
        Self::made(|gram, error| unsafe { sys::llmc_gram_load(path.as_ptr(), gram, error) })
    }

    /// Copies what `data` has room for; fills in the counts.
    fn read(&self, mut data: sys::llmc_gram_data) -> Result<sys::llmc_gram_data> {
        checked(|error| unsafe { sys::llmc_gram_read(self.raw, &mut data, error) })?;
        Ok(data)
    }

    /// The length of a token's values.
    pub fn channels(&self) -> Result<usize> {
        Ok(self.read(sized!(llmc_gram_data {}))?.channels as usize)
    }

    /// Tokens seen.
    pub fn tokens(&self) -> Result<i64> {
        Ok(self.read(sized!(llmc_gram_data {}))?.tokens)
    }

    /// Samples seen.
    pub fn samples(&self) -> Result<i64> {
        Ok(self.read(sized!(llmc_gram_data {}))?.samples)
    }

    /// sum over tokens of x_i * x_j: `[channels, channels]`, symmetric. An error of [`Gram::channels_only`].
    pub fn matrix(&self) -> Result<Vec<f32>> {
        let channels = self.channels()?;
        let mut gram = vec![0.0; channels * channels];
        self.read(sized!(llmc_gram_data { channels: channels as i64, gram: gram.as_mut_ptr() }))?;
        Ok(gram)
    }

    /// The figures by channel.
    pub fn statistics(&self) -> Result<Channels> {
        let n = self.channels()?;
        let mut c = Channels {
            minimum: vec![0.0; n],
            maximum: vec![0.0; n],
            sum_absolute: vec![0.0; n],
            sum_squares: vec![0.0; n],
        };
        self.read(sized!(llmc_gram_data {
            channels: n as i64,
            minimum: c.minimum.as_mut_ptr(),
            maximum: c.maximum.as_mut_ptr(),
            sum_absolute: c.sum_absolute.as_mut_ptr(),
            sum_squares: c.sum_squares.as_mut_ptr(),
        }))?;
        Ok(c)
    }

    /// One scale per channel. weights: all that read the values, `[rows, channels]` each.
    pub fn smooth_scales(&self, weights: &[Tensor<'_>], how: Smoothing) -> Result<Vec<f32>> {
        let mut scales = vec![0.0; self.channels()?];
        let (count, channels) = (weights.len() as i32, scales.len() as i64);
        let options = sized!(llmc_smooth_options {
            algorithm: how.algorithm as i32,
            compat: how.compat.map_or(0, |compat| compat as i32),
            strength_set: if how.strength.is_some() { sys::LLMC_ON } else { sys::LLMC_DEFAULT },
            strength: how.strength.unwrap_or(0.0),
        });
        with_raws(weights, |weights| {
            checked(|error| unsafe {
                sys::llmc_smooth_scales(
                    self.raw,
                    weights,
                    count,
                    &options,
                    scales.as_mut_ptr(),
                    channels,
                    error,
                )
            })
        })?;
        Ok(scales)
    }

    /// For C; NULL for None.
    pub(crate) fn raw_or_null(gram: Option<&Gram>) -> *const sys::llmc_gram {
        gram.map_or(null_mut(), |gram| gram.raw)
    }
}

/// Changes `tensor` `[.., channels]` (float32, bfloat16 or float16) in place, rounded once to its dtype. scales: one per channel.
pub fn smooth_apply(tensor: &mut TensorMut<'_>, scales: &[f32], operation: SmoothOperation) -> Result<()> {
    let channels = scales.len() as i64;
    // SAFETY: the scales live through the call.
    tensor.with_raw(|tensor| {
        checked(|error| unsafe {
            sys::llmc_smooth_apply(tensor, scales.as_ptr(), channels, operation as i32, error)
        })
    })
}
