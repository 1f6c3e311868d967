use crate::error::{c_text, Error, Result};
use crate::report::RawReport;
use crate::session::{Callbacks, LogLevel, Progress};
use crate::{sys, Report, Session, TensorSource};
use std::ffi::{c_char, CString, OsStr};
use std::path::Path;
use std::ptr::null;

/// Whose arithmetic and config the output follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compat {
    /// What vLLM loads and means the same; the default.
    Vllm = sys::LLMC_COMPAT_VLLM as isize,
    /// llm-compressor's, byte for byte wherever arithmetic allows.
    Reference = sys::LLMC_COMPAT_REFERENCE as isize,
}

/// How a weight's quotient is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// In float32 against the stored scale.
    Exact = sys::LLMC_ROUNDING_EXACT as isize,
    /// To the weight's dtype first.
    Reference = sys::LLMC_ROUNDING_REFERENCE as isize,
}

/// What a layer's statistics are collected from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// Each set of Linears sees the error made before it; one forward.
    Sublayer = sys::LLMC_PROPAGATION_SUBLAYER as isize,
    /// From the layer's unquantized form; two forwards.
    Layer = sys::LLMC_PROPAGATION_LAYER as isize,
}

/// The main job: a model folder in, a compressed one out. `recipe` or `scheme` is needed; recipes that calibrate need `dataset` or `token_ids`.
/// Parts of it are the arguments of a [`crate::Model`].
#[must_use = "nothing happens before run() or run_on()"]
pub struct Oneshot<'a> {
    texts: Vec<(&'static str, Vec<u8>)>,
    options: sys::llmc_oneshot_options,
    token_ids: Vec<i32>,
    sequence_starts: Vec<i64>,
    callbacks: Callbacks<'a>,
    source: Option<TensorSource<'a>>,
}

impl<'a> Oneshot<'a> {
    /// `model`: config.json and safetensors files, never changed. `output`: appears whole at the end or not at all.
    pub fn new(model: impl AsRef<Path>, output: impl AsRef<Path>) -> Self {
        Self::empty().text("model", model.as_ref()).text("output", output.as_ref())
    }

    /// A job without a model folder: for [`crate::Model::quantize`].
    pub fn to(output: impl AsRef<Path>) -> Self {
        Self::empty().text("output", output.as_ref())
    }

    /// Calibration data alone, as [`Oneshot::dataset`]: for [`crate::Model::add_data`].
    pub fn data(file: impl AsRef<Path>) -> Self {
        Self::empty().dataset(file)
    }

    /// A model that lies in no folder; the output holds no tokenizer or other side files.
    pub fn from_source(source: TensorSource<'a>, output: impl AsRef<Path>) -> Self {
        Self { source: Some(source), ..Self::to(output) }
    }

    fn empty() -> Self {
        let options = sized!(llmc_oneshot_options {});
        Self {
            texts: vec![],
            options,
            token_ids: vec![],
            sequence_starts: vec![0],
            callbacks: Callbacks::default(),
            source: None,
        }
    }

    fn text(mut self, name: &'static str, value: &(impl AsRef<OsStr> + ?Sized)) -> Self {
        self.texts.retain(|(other, _)| *other != name);
        self.texts.push((name, value.as_ref().as_encoded_bytes().to_vec()));
        self
    }

    fn set(mut self, change: impl FnOnce(&mut sys::llmc_oneshot_options)) -> Self {
        change(&mut self.options);
        self
    }

    /// A file (.yaml .yml .json .md) or the text itself.
    pub fn recipe(self, recipe: impl AsRef<Path>) -> Self {
        self.text("recipe", recipe.as_ref())
    }

    /// Instead of a recipe: "FP8_DYNAMIC", "W4A16", ...: every Linear but lm_head, rounded to nearest, no data.
    pub fn scheme(self, scheme: &str) -> Self {
        self.text("scheme", scheme)
    }

    /// Run only the stages of the recipe whose name starts with this.
    pub fn stage(self, stage: &str) -> Self {
        self.text("stage", stage)
    }

    /// JSONL, or a JSON array, of chats, texts or token ids (docs/oneshot-arguments.md).
    pub fn dataset(self, file: impl AsRef<Path>) -> Self {
        self.text("dataset", file.as_ref())
    }

    /// Instead of a data set: sequences of token ids.
    pub fn token_ids<S: AsRef<[i32]>>(mut self, sequences: impl IntoIterator<Item = S>) -> Self {
        for sequence in sequences {
            self.token_ids.extend_from_slice(sequence.as_ref());
            self.sequence_starts.push(self.token_ids.len() as i64);
        }
        self
    }

    /// The folder of tokenizer.json, when it is not the model's.
    pub fn tokenizer(self, folder: impl AsRef<Path>) -> Self {
        self.text("tokenizer", folder.as_ref())
    }

    /// The column of plain text; default "text".
    pub fn text_column(self, column: &str) -> Self {
        self.text("text_column", column)
    }

    /// What a chat template's strftime_now prints, "YYYY-MM-DD"; default: a fixed date.
    pub fn template_date(self, date: &str) -> Self {
        self.text("template_date", date)
    }

    /// Samples to use; default 512.
    pub fn num_calibration_samples(self, samples: i64) -> Self {
        self.set(|o| o.num_calibration_samples = samples)
    }

    /// Longer samples are cut; default: not cut.
    pub fn max_seq_length(self, tokens: i64) -> Self {
        self.set(|o| o.max_seq_length = tokens)
    }

    /// Pick samples in the order of Python datasets' shuffle(seed); default: file order.
    pub fn shuffle(self, seed: u64) -> Self {
        self.set(|o| (o.shuffle, o.shuffle_seed) = (sys::LLMC_ON, seed))
    }

    /// Join samples, then cut multiples of max_seq_length.
    pub fn concatenate_data(self, on: bool) -> Self {
        self.set(|o| o.concatenate_data = switch(on))
    }

    /// Default: tensors stay in the files of the input.
    pub fn max_shard_bytes(self, bytes: i64) -> Self {
        self.set(|o| o.max_shard_bytes = bytes)
    }

    /// Whose arithmetic and config the output follows.
    pub fn compat(self, compat: Compat) -> Self {
        self.set(|o| o.compat = compat as i32)
    }

    /// Default by `compat`.
    pub fn rounding(self, rounding: Rounding) -> Self {
        self.set(|o| o.rounding = rounding as i32)
    }

    /// Default by `compat`.
    pub fn propagation(self, propagation: Propagation) -> Self {
        self.set(|o| o.propagation = propagation as i32)
    }

    /// false: weights that were rounded to the grid, in the model's own dtype.
    pub fn save_compressed(self, on: bool) -> Self {
        self.set(|o| o.save_compressed = switch(on))
    }

    /// false: lm_head gets a tensor of its own.
    pub fn tie_word_embeddings(self, on: bool) -> Self {
        self.set(|o| o.tie_word_embeddings = switch(on))
    }

    /// true: the finished folder takes the place of what stands there.
    pub fn overwrite(self, on: bool) -> Self {
        self.set(|o| o.overwrite = switch(on))
    }

    /// Called on the thread that runs the job.
    pub fn on_progress(mut self, closure: impl FnMut(&Progress) + 'a) -> Self {
        self.callbacks.progress = Some(Box::new(closure));
        self
    }

    /// Called on the thread that runs the job.
    pub fn on_log(mut self, closure: impl FnMut(LogLevel, &str) + 'a) -> Self {
        self.callbacks.log = Some(Box::new(closure));
        self
    }

    /// Runs the job in a session of its own, on all cores.
    pub fn run(self) -> Result<Report> {
        self.run_on(&mut Session::new()?)
    }

    /// Runs the job in this session.
    pub fn run_on(self, session: &mut Session) -> Result<Report> {
        let mut report = RawReport::none();
        // SAFETY: the pointers are those of the call.
        self.with_options(session, |session, options, error| unsafe {
            sys::llmc_oneshot(session, options, report.out(), error)
        })?;
        Report::copy(&report)
    }

    /// Makes the call with the options in C's form; all they point to lives through it.
    pub(crate) fn with_options(
        mut self,
        session: &mut Session,
        call: impl FnOnce(
            *mut sys::llmc_session,
            *const sys::llmc_oneshot_options,
            *mut *mut sys::llmc_error,
        ) -> sys::llmc_status,
    ) -> Result<()> {
        let texts = self
            .texts
            .iter()
            .map(|(name, text)| Ok((*name, c_text(name, text)?)))
            .collect::<Result<Vec<(&str, CString)>>>()?;
        let text = |wanted| {
            texts.iter().find(|(name, _)| *name == wanted).map_or(null::<c_char>(), |(_, text)| text.as_ptr())
        };
        let mut options = sys::llmc_oneshot_options {
            model_dir: text("model"),
            output_dir: text("output"),
            recipe: text("recipe"),
            scheme: text("scheme"),
            stage: text("stage"),
            dataset: text("dataset"),
            tokenizer_dir: text("tokenizer"),
            text_column: text("text_column"),
            template_date: text("template_date"),
            ..self.options
        };
        if self.sequence_starts.len() > 1 {
            if self.token_ids.is_empty() {
                return Err(Error::invalid("token_ids: every sequence is empty".into()));
            }
            options.token_ids = self.token_ids.as_ptr();
            options.sequence_starts = self.sequence_starts.as_ptr();
            options.num_sequences = self.sequence_starts.len() as i64 - 1;
        }
        let callbacks = &mut self.callbacks;
        match &self.source {
            None => session.call(callbacks, |session, error| call(session, &options, error)),
            Some(source) => source.with_raw(|source| {
                options.source = source;
                session.call(callbacks, |session, error| call(session, &options, error))
            }),
        }
    }
}

pub(crate) fn switch(on: bool) -> i32 {
    if on {
        sys::LLMC_ON
    } else {
        sys::LLMC_OFF
    }
}
