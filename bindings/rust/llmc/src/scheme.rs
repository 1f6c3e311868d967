use crate::error::c_text;
use crate::oneshot::switch;
use crate::tensor::with_raws;
use crate::{sys, Compat, Gram, Result, Rounding, Session, Tensor};

/// How a matrix is rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// Each weight to its nearest code.
    #[default]
    Rtn = sys::LLMC_METHOD_RTN as isize,
    /// Column by column, each corrected for the error before it; needs a [`Gram`].
    Gptq = sys::LLMC_METHOD_GPTQ as isize,
}

/// What GPTQ adds to the Hessian's diagonal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dampening {
    /// A share of each element; the default.
    Relative = sys::LLMC_DAMPENING_RELATIVE as isize,
    /// A share of the diagonal's mean; the default of [`Compat::Reference`].
    Mean = sys::LLMC_DAMPENING_MEAN as isize,
}

handle! {
    /// How matrices are quantized: read and checked once, used for any number of them.
    Scheme, llmc_scheme, llmc_scheme_free
}

/// Settings of a [`Scheme`]; what belongs to GPTQ is refused without it.
#[must_use = "nothing is made before build()"]
pub struct SchemeBuilder {
    text: String,
    options: sys::llmc_scheme_options,
}

impl SchemeBuilder {
    fn set(mut self, change: impl FnOnce(&mut sys::llmc_scheme_options)) -> Self {
        change(&mut self.options);
        self
    }

    /// Default: to nearest.
    pub fn method(self, method: Method) -> Self {
        self.set(|o| o.method = method as i32)
    }

    /// Whose arithmetic.
    pub fn compat(self, compat: Compat) -> Self {
        self.set(|o| o.compat = compat as i32)
    }

    /// Default by `compat`.
    pub fn rounding(self, rounding: Rounding) -> Self {
        self.set(|o| o.rounding = rounding as i32)
    }

    /// GPTQ visits columns by falling energy; default: what the scheme says, else on.
    pub fn activation_order(self, on: bool) -> Self {
        self.set(|o| o.activation_order = switch(on))
    }

    /// GPTQ's; default by `compat`.
    pub fn dampening(self, dampening: Dampening) -> Self {
        self.set(|o| o.dampening = dampening as i32)
    }

    /// GPTQ's share, above 0 and at most 1; default 0.01.
    pub fn dampening_frac(self, share: f64) -> Self {
        self.set(|o| o.dampening_frac = share)
    }

    /// Columns that GPTQ corrects at once; default 128.
    pub fn block_size(self, columns: i64) -> Self {
        self.set(|o| o.block_size = columns)
    }

    /// Reads and checks the scheme.
    pub fn build(self) -> Result<Scheme> {
        let text = c_text("scheme", self.text.as_bytes())?;
        let options = sys::llmc_scheme_options { scheme: text.as_ptr(), ..self.options };
        // SAFETY: the text lives through the call.
        Scheme::made(|scheme, error| unsafe { sys::llmc_scheme_create(&options, scheme, error) })
    }
}

impl Scheme {
    /// Rounding to nearest by a preset ("W4A16", "NVFP4", ...), or by YAML or JSON text: an entry of config_groups, or the arguments of its weights alone,
    /// `{num_bits: 4, group_size: 32, strategy: group}`.
    pub fn new(text: &str) -> Result<Self> {
        Self::builder(text).build()
    }

    /// GPTQ by a preset or text.
    pub fn gptq(text: &str) -> Result<Self> {
        Self::builder(text).method(Method::Gptq).build()
    }

    /// A scheme with settings.
    pub fn builder(text: &str) -> SchemeBuilder {
        SchemeBuilder { text: text.into(), options: sized!(llmc_scheme_options {}) }
    }

    /// How its matrices lie on disk: "pack-quantized".
    pub fn format(&self) -> String {
        // SAFETY: borrowed text of a living scheme.
        unsafe { crate::copied_text(sys::llmc_scheme_format(self.raw)) }
    }

    /// One global scale for weights that a server fuses into one layer (q, k, v; gate, up). Schemes with strategy tensor_group (NVFP4) alone.
    pub fn global_scale(
        &self,
        session: &mut Session,
        weights: &[Tensor<'_>],
        gram: Option<&Gram>,
    ) -> Result<f32> {
        let (mut scale, count) = (0.0, weights.len() as i32);
        with_raws(weights, |weights| {
            // SAFETY: all borrowed through the call.
            session.plain_call(|session, error| unsafe {
                sys::llmc_global_scale(
                    session,
                    self.raw,
                    weights,
                    count,
                    Gram::raw_or_null(gram),
                    &mut scale,
                    error,
                )
            })
        })?;
        Ok(scale)
    }

    pub(crate) fn raw(&self) -> *const sys::llmc_scheme {
        self.raw
    }
}
