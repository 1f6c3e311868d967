use crate::error::{c_text, checked};
use crate::tensor::with_raws;
use crate::{sys, Dtype, ErrorKind, Gram, Method, Result, Scheme, Session, Tensor, TensorMut};
use std::ffi::CString;
use std::ptr::{from_ref, null};

handle! {
    /// A quantized matrix: codes, scales, perhaps zero points.
    Matrix, llmc_matrix, llmc_matrix_free
}

/// What is known of a [`Matrix`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct MatrixFacts {
    /// That was used; None: made from parts or unpacked.
    pub method: Option<Method>,
    /// Outputs of the Linear.
    pub rows: usize,
    /// Inputs of the Linear.
    pub columns: usize,
    /// GPTQ: sum of squared output errors per token; 0 otherwise.
    pub loss: f64,
    /// GPTQ: root of (output error / output energy) over sampled rows; RTN: ||W - Q|| / ||W||.
    pub relative_error: f64,
    /// GPTQ: the fraction that worked; 0 otherwise.
    pub dampening: f64,
    /// NVFP4's.
    pub global_scale: Option<f64>,
    /// Such as "int4 group 128".
    pub scheme: String,
    /// Such as "pack-quantized".
    pub format: String,
    /// Why the method fell back or the dampening rose; "" otherwise.
    pub note: String,
    /// Of the weight that the codes stand for.
    pub model_dtype: Dtype,
}

impl Matrix {
    /// weight: `[rows, columns]` float32, bfloat16 or float16. gram: of the inputs, columns channels; GPTQ needs it, observers that weigh channels use it.
    /// global_scale: [`Scheme::global_scale`] for weights that a server fuses; None: the weight's own. [`ErrorKind::Numeric`] for NaN and Inf.
    /// A Hessian that cannot be factored is no error: [`Matrix::facts`] tells the method that was used, and why.
    pub fn quantize(
        session: &mut Session,
        scheme: &Scheme,
        weight: &Tensor<'_>,
        gram: Option<&Gram>,
        global_scale: Option<f32>,
    ) -> Result<Self> {
        let (gram, scale) = (Gram::raw_or_null(gram), global_scale.as_ref().map_or(null(), from_ref));
        // SAFETY: all is borrowed through the call; so below.
        weight.with_raw(|weight| {
            Self::made_on(session, |session, matrix, error| unsafe {
                sys::llmc_quantize_matrix(session, scheme.raw(), weight, gram, scale, matrix, error)
            })
        })
    }

    /// From parts made elsewhere; they are copied. zero_points and global_scale: None where the scheme has none. model_dtype: of the weight that the codes stand
    /// for. The shapes are those of [`Matrix::codes`] and the others.
    pub fn from_parts(
        scheme: &Scheme,
        codes: &Tensor<'_>,
        scales: &Tensor<'_>,
        zero_points: Option<&Tensor<'_>>,
        global_scale: Option<f32>,
        model_dtype: Dtype,
    ) -> Result<Self> {
        let scale = global_scale.as_ref().map_or(null(), from_ref);
        let parts: Vec<&Tensor<'_>> = [codes, scales].into_iter().chain(zero_points).collect();
        let count = parts.len();
        with_raws(parts, |parts| {
            Self::made(|matrix, error| unsafe {
                let zero_points = if count == 3 { parts.add(2) } else { null() };
                sys::llmc_matrix_create(
                    scheme.raw(),
                    parts,
                    parts.add(1),
                    zero_points,
                    scale,
                    model_dtype as i32,
                    matrix,
                    error,
                )
            })
        })
    }

    /// The inverse of [`Matrix::pack`]: names and tensors as a [`Packed`] has them, in any order.
    pub fn unpack<'t>(
        session: &mut Session,
        scheme: &Scheme,
        tensors: &[(&str, Tensor<'t>)],
        model_dtype: Dtype,
    ) -> Result<Self> {
        let names = tensors
            .iter()
            .map(|(name, _)| c_text("name", name.as_bytes()))
            .collect::<Result<Vec<CString>>>()?;
        let names: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
        with_raws(tensors.iter().map(|(_, tensor)| tensor), |raws| {
            Self::made_on(session, |session, matrix, error| unsafe {
                sys::llmc_unpack(
                    session,
                    scheme.raw(),
                    names.as_ptr(),
                    raws,
                    names.len() as i32,
                    model_dtype as i32,
                    matrix,
                    error,
                )
            })
        })
    }

    /// What was done, and how well.
    pub fn facts(&self) -> Result<MatrixFacts> {
        let mut f = sized!(llmc_matrix_facts {});
        checked(|error| unsafe { sys::llmc_matrix_info(self.raw, &mut f, error) })?;
        // SAFETY: texts borrowed from the matrix.
        let (scheme, format, note) = unsafe {
            (crate::copied_text(f.scheme), crate::copied_text(f.format), crate::copied_text(f.note))
        };
        Ok(MatrixFacts {
            method: match f.method {
                sys::LLMC_METHOD_RTN => Some(Method::Rtn),
                sys::LLMC_METHOD_GPTQ => Some(Method::Gptq),
                _ => None,
            },
            rows: f.rows as usize,
            columns: f.columns as usize,
            loss: f.loss,
            relative_error: f.relative_error,
            dampening: f.dampening,
            global_scale: (f.global_scale != 0.0).then_some(f.global_scale),
            scheme,
            format,
            note,
            model_dtype: Dtype::from_number(f.model_dtype)?,
        })
    }

    /// `[rows, columns]`: int8, float8_e4m3, or uint8 with one fp4 number (E2M1, sign in bit 3) each.
    pub fn codes(&self) -> Result<Tensor<'_>> {
        self.part(sys::LLMC_PART_CODES)
    }

    /// `[1]`, `[rows, 1]`, `[rows, groups]` or `[block rows, block columns]`: the model's dtype, float8_e4m3 (NVFP4) or uint8 exponents (MX).
    pub fn scales(&self) -> Result<Tensor<'_>> {
        self.part(sys::LLMC_PART_SCALES)
    }

    /// int8, the scales' shape; None for symmetric schemes.
    pub fn zero_points(&self) -> Result<Option<Tensor<'_>>> {
        optional(self.part(sys::LLMC_PART_ZERO_POINTS))
    }

    /// int32 `[columns]`: which column GPTQ visited i-th; None without activation order.
    pub fn order(&self) -> Result<Option<Tensor<'_>>> {
        optional(self.part(sys::LLMC_PART_ORDER))
    }

    fn part(&self, part: i32) -> Result<Tensor<'_>> {
        // SAFETY: a view into the matrix, which is never written to.
        unsafe { Tensor::filled(|tensor, error| sys::llmc_matrix_part(self.raw, part, tensor, error)) }
    }

    /// values: `[rows, columns]` float32, bfloat16 or float16, written: the weight as a server sees it.
    pub fn dequantize(&self, session: &mut Session, values: &mut TensorMut<'_>) -> Result<()> {
        values.with_raw(|values| {
            session.plain_call(|session, error| unsafe {
                sys::llmc_matrix_dequantize(session, self.raw, values, error)
            })
        })
    }

    /// The tensors that a file holds for this matrix.
    pub fn pack(&self, session: &mut Session) -> Result<Packed> {
        Packed::made_on(session, |session, packed, error| unsafe {
            sys::llmc_pack(session, self.raw, packed, error)
        })
    }

    pub(crate) fn raw(&self) -> *const sys::llmc_matrix {
        self.raw
    }
}

fn optional(part: Result<Tensor<'_>>) -> Result<Option<Tensor<'_>>> {
    match part {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        part => part.map(Some),
    }
}

handle! {
    /// The bytes of a [`Matrix`] on disk: "weight_packed", "weight_scale", ...
    Packed, llmc_packed, llmc_packed_free
}

impl Packed {
    /// Names and tensors, in the order of the file.
    pub fn tensors(&self) -> Result<Vec<(&str, Tensor<'_>)>> {
        let count = unsafe { sys::llmc_packed_count(self.raw) };
        (0..count)
            .map(|index| {
                let mut name = null();
                // SAFETY: both are views into the object, which is never written to.
                let tensor = unsafe {
                    Tensor::filled(|tensor, error| {
                        sys::llmc_packed_tensor(self.raw, index, &mut name, tensor, error)
                    })?
                };
                Ok((unsafe { crate::static_text(name) }, tensor))
            })
            .collect()
    }
}
