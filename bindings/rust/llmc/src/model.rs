use crate::error::c_path;
use crate::report::RawReport;
use crate::source::{while_reading, Reading};
use crate::{sys, CancelHandle, Error, Oneshot, Report, Result, Session, TensorSource};
use std::path::Path;
use std::ptr::null_mut;
use std::sync::Arc;

/// [`Oneshot`] in parts: a model opened once, given data, quantized and saved as often as wanted; the bytes are those of one [`Oneshot`].
///
/// Holds its session until it is dropped. A call that fails changes nothing: the model and its data may be used on.
pub struct Model<'s> {
    session: &'s mut Session,
    raw: *mut sys::llmc_model,
    reader: Option<Arc<dyn Reading + 's>>, // of its source, which C asks until the model is freed
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
        session.plain_call(|session, error| unsafe {
            sys::llmc_model_open(session, folder.as_ptr(), &mut raw, error)
        })?;
        Ok(Self { session, raw, reader: None })
    }

    /// A model that lies in no folder; `source` is asked until the model is dropped. Needs [`Oneshot::tokenizer`] in [`Model::add_data`].
    pub fn open_source<'a: 's>(session: &'s mut Session, source: TensorSource<'a>) -> Result<Self> {
        let mut raw = null_mut();
        // SAFETY: so below; C copies all of the source but the reader, which the model keeps.
        source.with_raw(|source| {
            session.plain_call(|session, error| unsafe {
                sys::llmc_model_open_source(session, source, &mut raw, error)
            })
        })?;
        Ok(Self { session, raw, reader: Some(source.reader()) })
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
        self.call(|raw, error| unsafe {
            sys::llmc_model_add_token_ids(raw, ids.as_ptr(), starts.as_ptr(), count, error)
        })
    }

    /// Calibration data: [`Oneshot::data`] with tokenizer, text_column, template_date, num_calibration_samples, max_seq_length, shuffle, concatenate_data.
    pub fn add_data(&mut self, data: Oneshot<'_>) -> Result<()> {
        let raw = self.raw;
        self.reading(|session| {
            data.with_options(session, |_, options, error| unsafe {
                sys::llmc_model_add_data(raw, options, error)
            })
        })
    }

    /// A forward pass once, any number of recipes after it: what the unquantized model shows on its data, added to what was loaded, goes to `folder`: a file for
    /// each input that Linears share, which [`crate::Gram::load`] reads.
    pub fn save_statistics(&mut self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = c_path(folder.as_ref())?;
        self.call(|raw, error| unsafe { sys::llmc_model_save_statistics(raw, folder.as_ptr(), error) })
    }

    /// Instead of data, as often as wanted: the folders are merged, and must stay as they are until the model is dropped. [`Model::quantize`] runs no forward
    /// pass from then on.
    pub fn load_statistics(&mut self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = c_path(folder.as_ref())?;
        self.call(|raw, error| unsafe { sys::llmc_model_load_statistics(raw, folder.as_ptr(), error) })
    }

    /// All the work; [`Oneshot::to`] with everything but data. Nothing is under the output's name before [`Model::save`].
    pub fn quantize(&mut self, job: Oneshot<'_>) -> Result<()> {
        let raw = self.raw;
        self.reading(|session| {
            job.with_options(session, |_, options, error| unsafe {
                sys::llmc_model_quantize(raw, options, error)
            })
        })
    }

    /// Once for each [`Model::quantize`]: adds what no Linear owns, reads everything back, checks it and gives the folder its name.
    pub fn save(&mut self) -> Result<Report> {
        let mut report = RawReport::none();
        self.call(|raw, error| unsafe { sys::llmc_model_save(raw, report.out(), error) })?;
        Report::copy(&report)
    }

    /// Makes a call of the session during which C may ask the source.
    fn reading(&mut self, call: impl FnOnce(&mut Session) -> Result<()>) -> Result<()> {
        match &self.reader {
            Some(reader) => while_reading(&**reader, || call(self.session)),
            None => call(self.session),
        }
    }

    fn call(
        &mut self,
        call: impl FnOnce(*mut sys::llmc_model, *mut *mut sys::llmc_error) -> sys::llmc_status,
    ) -> Result<()> {
        let raw = self.raw;
        self.reading(|session| session.plain_call(|_, error| call(raw, error)))
    }

    /// Ends a call of this model from another thread or a callback.
    pub fn cancel_handle(&self) -> CancelHandle {
        self.session.cancel_handle()
    }
}
