//! What llmc_tools.h offers; results are JSON text whose keys that header names. Experimental there, and so here.
use crate::error::{c_path, Result};
use crate::session::Callbacks;
use crate::{sys, Dtype, Session};
use std::ffi::{c_char, CString};
use std::path::Path;
use std::ptr::{null, null_mut};

/// What [`Session::evaluate`] measures besides the perplexity, and how.
#[derive(Clone, Debug, Default)]
pub struct Evaluate<'a> {
    /// The model to compare with: adds "kl" and "top1" to the result.
    pub reference: Option<&'a Path>,
    /// The folder of tokenizer.json, when it is not the model's.
    pub tokenizer: Option<&'a Path>,
    /// Tokens per window; 0: 512.
    pub window: i64,
    /// Of the values between nodes: float32 (the default) or bfloat16.
    pub dtype: Dtype,
}

impl Session {
    /// Perplexity of a text file: {"perplexity", "tokens", "kl", "top1"}.
    pub fn evaluate(
        &mut self,
        model: impl AsRef<Path>,
        text: impl AsRef<Path>,
        how: &Evaluate<'_>,
    ) -> Result<String> {
        let (model, text) = (c_path(model.as_ref())?, c_path(text.as_ref())?);
        let (reference, tokenizer) =
            (how.reference.map(c_path).transpose()?, how.tokenizer.map(c_path).transpose()?);
        let options = sys::llmc_eval_options {
            struct_size: size_of::<sys::llmc_eval_options>() as u32,
            dtype: how.dtype as i32,
            model_dir: model.as_ptr(),
            reference_dir: or_null(&reference),
            text: text.as_ptr(),
            tokenizer_dir: or_null(&tokenizer),
            window: how.window,
        };
        // SAFETY: the texts live through the call; so below.
        self.json_call(|session, json, error| unsafe { sys::llmc_eval(session, &options, json, error) })
    }

    /// Is a folder sound? {"sound", "faults", ...}; with `source` also compared with the model it was made from.
    pub fn verify(&mut self, model: impl AsRef<Path>, source: Option<&Path>) -> Result<String> {
        let (model, source) = (c_path(model.as_ref())?, source.map(c_path).transpose()?);
        let options = sys::llmc_verify_options {
            struct_size: size_of::<sys::llmc_verify_options>() as u32,
            reserved: 0,
            model_dir: model.as_ptr(),
            source_dir: or_null(&source),
        };
        self.json_call(|session, json, error| unsafe { sys::llmc_verify(session, &options, json, error) })
    }

    /// What lies in a folder, from headers and config.json alone.
    pub fn inspect(&mut self, model: impl AsRef<Path>) -> Result<String> {
        let model = c_path(model.as_ref())?;
        let options = sys::llmc_inspect_options {
            struct_size: size_of::<sys::llmc_inspect_options>() as u32,
            reserved: 0,
            model_dir: model.as_ptr(),
        };
        self.json_call(|session, json, error| unsafe { sys::llmc_inspect(session, &options, json, error) })
    }

    /// How two folders of one model differ: {"identical", ...}.
    pub fn diff(&mut self, a: impl AsRef<Path>, b: impl AsRef<Path>) -> Result<String> {
        let (a, b) = (c_path(a.as_ref())?, c_path(b.as_ref())?);
        let options = sys::llmc_diff_options {
            struct_size: size_of::<sys::llmc_diff_options>() as u32,
            reserved: 0,
            a_dir: a.as_ptr(),
            b_dir: b.as_ptr(),
        };
        self.json_call(|session, json, error| unsafe { sys::llmc_diff(session, &options, json, error) })
    }

    /// A compressed folder in, a plain one out.
    pub fn dequantize(&mut self, model: impl AsRef<Path>, output: impl AsRef<Path>) -> Result<String> {
        let (model, output) = (c_path(model.as_ref())?, c_path(output.as_ref())?);
        let options = sys::llmc_dequantize_options {
            struct_size: size_of::<sys::llmc_dequantize_options>() as u32,
            overwrite: sys::LLMC_DEFAULT,
            model_dir: model.as_ptr(),
            output_dir: output.as_ptr(),
            max_shard_bytes: 0,
        };
        self.json_call(|session, json, error| unsafe { sys::llmc_dequantize(session, &options, json, error) })
    }

    fn json_call(
        &mut self,
        call: impl FnOnce(*mut sys::llmc_session, *mut *mut c_char, *mut *mut sys::llmc_error) -> sys::llmc_status,
    ) -> Result<String> {
        let mut json = null_mut();
        let result = self.call(&mut Callbacks::default(), |session, error| call(session, &mut json, error));
        // SAFETY: text to be freed, or NULL on failure.
        let text = unsafe {
            let text = crate::copied_text(json);
            sys::llmc_json_free(json);
            text
        };
        result.map(|()| text)
    }
}

fn or_null(text: &Option<CString>) -> *const c_char {
    text.as_ref().map_or(null(), |text| text.as_ptr())
}
