use crate::error::{c_path, c_text, checked};
use crate::oneshot::switch;
use crate::tensor::to_c;
use crate::{sys, Compat, Dtype, Matrix, Result, Scheme, Session, Tensor};
use std::ffi::CString;
use std::path::{Path, PathBuf};

handle! {
    /// Writes a compressed-tensors folder: first the whole plan, then every planned tensor once, then [`Writer::finish`]. The folder appears whole at the end or
    /// not at all; dropping an unfinished writer removes what it wrote.
    Writer, llmc_writer, llmc_writer_free
}

/// Settings of a [`Writer`].
#[must_use = "nothing is made before build()"]
pub struct WriterBuilder {
    output: PathBuf,
    config_json: String,
    options: sys::llmc_writer_options,
}

/// Which values of a module a range is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// What it reads.
    Input = sys::LLMC_ACTIVATION_INPUT as isize,
    /// What it gives.
    Output = sys::LLMC_ACTIVATION_OUTPUT as isize,
}

impl WriterBuilder {
    /// How quantization_config is spelled.
    pub fn compat(mut self, compat: Compat) -> Self {
        self.options.compat = compat as i32;
        self
    }

    /// Default: 20,000,000,000.
    pub fn max_shard_bytes(mut self, bytes: i64) -> Self {
        self.options.max_shard_bytes = bytes;
        self
    }

    /// true: the finished folder takes the place of what stands there.
    pub fn overwrite(mut self, on: bool) -> Self {
        self.options.overwrite = switch(on);
        self
    }

    /// [`crate::ErrorKind::Exists`] where something stands.
    pub fn build(self) -> Result<Writer> {
        let (output, config) = (c_path(&self.output)?, c_text("config_json", self.config_json.as_bytes())?);
        let options = sys::llmc_writer_options {
            output_dir: output.as_ptr(),
            config_json: config.as_ptr(),
            ..self.options
        };
        // SAFETY: the texts live through the call; so below.
        Writer::made(|writer, error| unsafe { sys::llmc_writer_create(&options, writer, error) })
    }
}

impl Writer {
    /// config_json: config.json's text, a JSON object; quantization_config is set in it.
    pub fn new(output: impl AsRef<Path>, config_json: &str) -> Result<Self> {
        Self::builder(output, config_json).build()
    }

    /// A writer with settings.
    pub fn builder(output: impl AsRef<Path>, config_json: &str) -> WriterBuilder {
        WriterBuilder {
            output: output.as_ref().into(),
            config_json: config_json.into(),
            options: sized!(llmc_writer_options {}),
        }
    }

    /// A tensor that is written as it is. Two-dimensional "<module>.weight"s that no scheme quantizes are put on quantization_config's ignore list.
    pub fn plan_tensor(&mut self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<()> {
        let (name, shape) = (text(name)?, to_c(shape));
        checked(|error| unsafe {
            sys::llmc_writer_plan_tensor(
                self.raw,
                name.as_ptr(),
                dtype as i32,
                shape.as_ptr(),
                shape.len() as i32,
                error,
            )
        })
    }

    /// The weight `[rows, columns]` of a module, quantized. model_dtype: of the weight.
    pub fn plan_matrix(
        &mut self,
        module: &str,
        scheme: &Scheme,
        model_dtype: Dtype,
        rows: usize,
        columns: usize,
    ) -> Result<()> {
        let module = text(module)?;
        checked(|error| unsafe {
            sys::llmc_writer_plan_matrix(
                self.raw,
                module.as_ptr(),
                scheme.raw(),
                model_dtype as i32,
                rows as i64,
                columns as i64,
                error,
            )
        })
    }

    /// Its bytes go to disk during the call. [`crate::ErrorKind::Numeric`] for NaN and Inf.
    pub fn add_tensor(&mut self, session: &mut Session, name: &str, values: &Tensor<'_>) -> Result<()> {
        let name = text(name)?;
        values.with_raw(|values| {
            session.plain_call(|session, error| unsafe {
                sys::llmc_writer_add_tensor(session, self.raw, name.as_ptr(), values, error)
            })
        })
    }

    /// Its bytes go to disk during the call.
    pub fn add_matrix(&mut self, session: &mut Session, module: &str, matrix: &Matrix) -> Result<()> {
        let module = text(module)?;
        session.plain_call(|session, error| unsafe {
            sys::llmc_writer_add_matrix(session, self.raw, module.as_ptr(), matrix.raw(), error)
        })
    }

    /// For schemes whose activations have a fixed scale ("FP8", "NVFP4"): the range of the module's inputs or outputs ([`crate::Gram::statistics`]).
    pub fn add_range(
        &mut self,
        module: &str,
        activation: Activation,
        minimum: f32,
        maximum: f32,
    ) -> Result<()> {
        let module = text(module)?;
        checked(|error| unsafe {
            sys::llmc_writer_add_range(self.raw, module.as_ptr(), activation as i32, minimum, maximum, error)
        })
    }

    /// Any other file of the folder: tokenizer.json, generation_config.json.
    pub fn add_file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let name = text(name)?;
        checked(|error| unsafe {
            sys::llmc_writer_add_file(
                self.raw,
                name.as_ptr(),
                bytes.as_ptr().cast(),
                bytes.len() as i64,
                error,
            )
        })
    }

    /// Writes config.json, reads everything back, checks it, and gives the folder its name. A refusal (a tensor is missing) leaves the writer as it was.
    pub fn finish(&mut self, session: &mut Session) -> Result<()> {
        session.plain_call(|session, error| unsafe { sys::llmc_writer_finish(session, self.raw, error) })
    }
}

fn text(name: &str) -> Result<CString> {
    c_text("name", name.as_bytes())
}
