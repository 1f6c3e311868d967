use crate::error::c_path;
use crate::report::RawReport;
use crate::{sys, CancelHandle, Error, Oneshot, Report, Result, Session};
use std::path::Path;
use std::ptr::null_mut;

/// [`Oneshot`] in parts: a model opened once, given data, quantized and saved as often as wanted; the bytes are those of one [`Oneshot`].
///
/// Holds its session until it is dropped. A call that fails changes nothing: the model and its data may be used on.
pub struct Model<'s> {
    session: &'s mut Session,
    raw: *mut sys::llmc_model,
}
// SAFETY: llmc_model.h: no object belongs to a thread; every call here takes &mut self.
unsafe impl Send for Model<'_> {}

impl Drop for Model<'_> {
    fn drop(&mut self) {
        // SAFETY: the only owner; the session is still borrowed, and no call is running.
        unsafe { sys::llmc_model_free(self.raw) }
    }
}

impl<'s> Model<'s> {
    /// folder: config.json and safetensors files, unchanged until the model is dropped. Reads headers, no weights.
    /// [`crate::ErrorKind::Unsupported`]: it is quantized already.
    pub fn open(session: &'s mut Session, folder: impl AsRef<Path>) -> Result<Self> {
        let (folder, mut raw) = (c_path(folder.as_ref())?, null_mut());
        // SAFETY: the pointers are those of the call; so below.
        session.plain_call(|session, error| unsafe { sys::llmc_model_open(session, folder.as_ptr(), &mut raw, error) })?;
        Ok(Self { session, raw })
    }

    /// Calibration data: sequences of token ids after those of earlier calls.
    pub fn add_token_ids<S: AsRef<[i32]>>(&mut self, sequences: impl IntoIterator<Item = S>) -> Result<()> {
        let (mut ids, mut starts) = (vec![], vec![0]);
        for sequence in sequences {
            ids.extend_from_slice(sequence.as_ref());
            starts.push(ids.len() as i64);
        }
        if ids.is_empty() {
            return Err(Error::invalid("token_ids: there are none".into()));
        }
        let count = starts.len() as i64 - 1;
        self.session.plain_call(|_, error| unsafe { sys::llmc_model_add_token_ids(self.raw, ids.as_ptr(), starts.as_ptr(), count, error) })
    }

    /// Calibration data: [`Oneshot::data`] with tokenizer, text_column, template_date, num_calibration_samples, max_seq_length, shuffle, concatenate_data.
    pub fn add_data(&mut self, data: Oneshot<'_>) -> Result<()> {
        let raw = self.raw;
        data.with_options(self.session, |_, options, error| unsafe { sys::llmc_model_add_data(raw, options, error) })
    }

    /// All the work; [`Oneshot::to`] with everything but data. Nothing is under the output's name before [`Model::save`].
    pub fn quantize(&mut self, job: Oneshot<'_>) -> Result<()> {
        let raw = self.raw;
        job.with_options(self.session, |_, options, error| unsafe { sys::llmc_model_quantize(raw, options, error) })
    }

    /// Once for each [`Model::quantize`]: adds what no Linear owns, reads everything back, checks it and gives the folder its name.
    pub fn save(&mut self) -> Result<Report> {
        let mut report = RawReport::none();
        // SAFETY: the pointers are those of the call.
        self.session.plain_call(|_, error| unsafe { sys::llmc_model_save(self.raw, report.out(), error) })?;
        Report::copy(&report)
    }

    /// Ends a call of this model from another thread or a callback.
    pub fn cancel_handle(&self) -> CancelHandle {
        self.session.cancel_handle()
    }
}
