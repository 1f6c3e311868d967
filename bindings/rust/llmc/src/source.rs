use crate::error::c_text;
use crate::session::Failure;
use crate::tensor::to_c;
use crate::{sys, Dtype, Error, Result, Tensor};
use std::ffi::{c_void, CString};
use std::sync::{Arc, Mutex};

type ReadFn<'a> = Box<dyn FnMut(usize, u64, &mut [u8]) -> Result<()> + Send + 'a>;

/// A model that lies in no folder: in the memory of a trainer, say. For [`crate::Oneshot::from_source`] and [`crate::Model::open_source`].
pub struct TensorSource<'a> {
    config_json: String,
    tensors: Vec<(String, Dtype, Vec<usize>)>,
    // One call at a time, but not always from the same thread: the mutex is never waited for.
    reader: Arc<Mutex<Reader<'a>>>,
}

struct Reader<'a> {
    read: ReadFn<'a>,
    failure: Option<Failure>,
}

/// The reader of a source, whatever its closure borrows.
pub(crate) trait Reading: Send + Sync {
    /// How `read` ended the call that is over.
    fn take_failure(&self) -> Option<Failure>;
}

impl Reading for Mutex<Reader<'_>> {
    fn take_failure(&self) -> Option<Failure> {
        self.lock().ok().and_then(|mut reader| reader.failure.take())
    }
}

/// Makes a call during which C may read; a failure of `read` goes on here.
pub(crate) fn while_reading<R>(reader: &(dyn Reading + '_), call: impl FnOnce() -> Result<R>) -> Result<R> {
    reader.take_failure(); // of a call that ended by another panic
    let result = call();
    match reader.take_failure() {
        Some(failure) => failure.resume(),
        None => result,
    }
}

impl<'a> TensorSource<'a> {
    /// config_json: the text of config.json. read(tensor, offset, to): fills `to` with the bytes of tensor number `tensor` (row-major, little-endian) from `offset`
    /// on, the same every time it is asked. One call at a time, perhaps from a thread of llmc's. An error ends the run and is what it returns.
    pub fn new(config_json: &str, read: impl FnMut(usize, u64, &mut [u8]) -> Result<()> + Send + 'a) -> Self {
        Self {
            config_json: config_json.into(),
            tensors: vec![],
            reader: Arc::new(Mutex::new(Reader { read: Box::new(read), failure: None })),
        }
    }

    /// A model in memory: row-major tensors with their names.
    pub fn borrowed<N: Into<String>>(
        config_json: &str,
        tensors: impl IntoIterator<Item = (N, Tensor<'a>)>,
    ) -> Result<Self> {
        let (mut names, mut bytes) = (vec![], vec![]);
        for (name, tensor) in tensors {
            let name = name.into();
            bytes.push(tensor.values::<u8>().ok_or_else(|| {
                Error::invalid(format!(
                    "TensorSource: '{name}' has strides or is on a GPU, wanted row-major memory"
                ))
            })?);
            names.push((name, tensor.dtype(), tensor.shape().to_vec()));
        }
        let source = Self::new(config_json, move |tensor, offset, to| {
            to.copy_from_slice(&bytes[tensor][offset as usize..offset as usize + to.len()]);
            Ok(())
        });
        Ok(Self { tensors: names, ..source })
    }

    /// Adds a tensor, "model.layers.0.mlp.up_proj.weight"; numbers count from 0. The output keeps their order.
    pub fn tensor(mut self, name: &str, dtype: Dtype, shape: &[usize]) -> Self {
        self.tensors.push((name.into(), dtype, shape.to_vec()));
        self
    }

    /// What C's callback points to; to be kept as long as C may read.
    pub(crate) fn reader<'s>(&self) -> Arc<dyn Reading + 's>
    where
        'a: 's,
    {
        self.reader.clone()
    }

    /// The source in C's form, for the length of `body`; a failure of `read` goes on here.
    pub(crate) fn with_raw<R>(
        &self,
        body: impl FnOnce(*const sys::llmc_tensor_source) -> Result<R>,
    ) -> Result<R> {
        let config = c_text("config_json", self.config_json.as_bytes())?;
        let names = self
            .tensors
            .iter()
            .map(|(name, ..)| c_text("name", name.as_bytes()))
            .collect::<Result<Vec<CString>>>()?;
        let shapes: Vec<Vec<i64>> = self.tensors.iter().map(|(.., shape)| to_c(shape)).collect();
        let tensors: Vec<_> = (self.tensors.iter().zip(&names).zip(&shapes))
            .map(|(((_, dtype, _), name), shape)| {
                sized!(llmc_source_tensor {
                    dtype: *dtype as i32,
                    name: name.as_ptr(),
                    shape: shape.as_ptr(),
                    ndim: shape.len() as i32
                })
            })
            .collect();
        let raw = sized!(llmc_tensor_source {
            config_json: config.as_ptr(),
            tensors: tensors.as_ptr(),
            num_tensors: tensors.len() as i64,
            read: Some(on_read),
            user_data: Arc::as_ptr(&self.reader).cast_mut().cast(),
        });
        while_reading(&*self.reader, || body(&raw))
    }
}

/// SAFETY: `user_data` is a Reader in its mutex; `to` has room for `bytes`. No lifetime of the closure's is looked at here.
unsafe extern "C" fn on_read(
    user_data: *mut c_void,
    tensor: i64,
    offset: i64,
    bytes: i64,
    to: *mut c_void,
) -> i32 {
    let reader = &*user_data.cast::<Mutex<Reader<'_>>>();
    let Ok(mut reader) = reader.lock() else { return 1 };
    if reader.failure.is_none() && bytes > 0 {
        std::ptr::write_bytes(to.cast::<u8>(), 0, bytes as usize); // a slice must not show memory that nobody wrote
        let to = std::slice::from_raw_parts_mut(to.cast::<u8>(), bytes as usize);
        reader.failure = Failure::of(|| (reader.read)(tensor as usize, offset as u64, to));
    }
    i32::from(reader.failure.is_some())
}
