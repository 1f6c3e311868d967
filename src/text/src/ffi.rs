//! The C boundary of llmc_text.h: pointers become references here, errors become text, and no panic passes.

use crate::dataset::{load_dataset, Dataset, Options};
use crate::error::{Error, Result, Status};
use crate::shuffle::permutation;
use crate::strftime::DateTime;
use crate::tokenizer::Tokenizer;
use std::any::Any;
use std::ffi::{c_char, c_void, CStr, CString};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::Path;
use std::sync::Once;

const OK: i32 = 0;

extern "C" {
    fn malloc(bytes: usize) -> *mut c_void;
    fn free(memory: *mut c_void);
}

/// `llmc_text_dataset_options`
#[repr(C)]
pub struct DatasetOptions {
    path: *const c_char,
    text_column: *const c_char,
    template_date: *const c_char,
    num_samples: i64,
    max_seq_length: i64,
    shuffle_seed: u64,
    shuffle: i32,
    concatenate: i32,
    threads: i64,
    tokenizer_dir: *const c_char,
    is_cancelled: Option<extern "C" fn(*const c_void) -> i32>,
    user_data: *const c_void,
}

/// The caller's question whether to end, for any thread.
struct Cancellation {
    is_cancelled: Option<extern "C" fn(*const c_void) -> i32>,
    user_data: *const c_void,
}

// The header asks for a function that any thread may call.
unsafe impl Sync for Cancellation {}

impl Cancellation {
    fn ask(&self) -> bool {
        self.is_cancelled.is_some_and(|is_cancelled| is_cancelled(self.user_data) != 0)
    }
}

/// `llmc_text_dataset_view`
#[repr(C)]
pub struct DatasetView {
    token_ids: *const i32,
    sequence_starts: *const i64,
    notes: *const *const c_char,
    num_tokens: i64,
    num_sequences: i64,
    num_notes: i64,
    rows: i64,
    samples: i64,
    truncated: i64,
    skipped_empty: i64,
}

/// A data set with its notes in the form C reads them.
pub struct CDataset {
    dataset: Dataset,
    note_pointers: Vec<*const c_char>,
    _notes: Vec<CString>,
}

/// Runs `body`, turns an error or a panic into a status and, where `error` is given, a text to free.
///
/// # Safety
/// `error` is NULL or can be written.
unsafe fn guard(error: *mut *mut c_char, body: impl FnOnce() -> Result<()>) -> i32 {
    // The default hook prints to the host's stderr; what it would say goes into the error instead.
    static SILENCE: Once = Once::new();
    SILENCE.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    if !error.is_null() {
        *error = std::ptr::null_mut();
    }
    let result =
        catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(error_of_panic(panic.as_ref())));
    match result {
        Ok(()) => OK,
        Err(failure) => {
            if !error.is_null() {
                *error = copy_out(failure.message.as_bytes()).unwrap_or(std::ptr::null_mut()).cast();
            }
            failure.status as i32
        }
    }
}

fn error_of_panic(panic: &(dyn Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| text.to_string())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "unknown".to_string());
    Error::new(Status::Internal, format!("text: internal error: {text}"))
}

/// A copy that C frees: the values, then one zeroed value, so that text is NUL-terminated.
///
/// # Safety
/// `T` is a plain number.
unsafe fn copy_out<T: Copy>(values: &[T]) -> Result<*mut T> {
    let bytes = std::mem::size_of_val(values);
    let memory = malloc(bytes + std::mem::size_of::<T>()).cast::<T>();
    if memory.is_null() {
        return Err(Error::new(Status::Internal, format!("text: out of memory for {bytes} bytes")));
    }
    memory.copy_from_nonoverlapping(values.as_ptr(), values.len());
    memory.add(values.len()).write_bytes(0, 1);
    Ok(memory)
}

fn invalid(message: String) -> Error {
    Error::new(Status::InvalidArgument, format!("text: {message}"))
}

/// # Safety
/// `text` is NULL or points at `bytes` bytes that outlive the result.
unsafe fn text_of<'a>(text: *const c_char, bytes: usize, name: &str) -> Result<&'a str> {
    if text.is_null() {
        return if bytes == 0 { Ok("") } else { Err(invalid(format!("{name} is NULL, its length {bytes}"))) };
    }
    let bytes = std::slice::from_raw_parts(text.cast::<u8>(), bytes);
    std::str::from_utf8(bytes)
        .map_err(|error| invalid(format!("{name}: byte {} is not UTF-8", error.valid_up_to())))
}

/// # Safety
/// `text` is NULL or a C string that outlives the result.
unsafe fn string_of<'a>(text: *const c_char, name: &str) -> Result<&'a str> {
    let bytes = if text.is_null() { 0 } else { CStr::from_ptr(text).count_bytes() };
    text_of(text, bytes, name)
}

/// A path need not be UTF-8.
///
/// # Safety
/// `text` is NULL or a C string that outlives the result.
unsafe fn path_of<'a>(text: *const c_char, name: &str) -> Result<&'a Path> {
    use std::os::unix::ffi::OsStrExt;
    if text.is_null() {
        return Err(invalid(format!("{name} is NULL")));
    }
    Ok(Path::new(std::ffi::OsStr::from_bytes(CStr::from_ptr(text).to_bytes())))
}

fn count_of(value: i64, name: &str) -> Result<usize> {
    usize::try_from(value).map_err(|_| invalid(format!("{name} must be 0 or more, got {value}")))
}

#[no_mangle]
pub unsafe extern "C" fn llmc_text_tokenizer_open(
    model_dir: *const c_char,
    chat_template: *const c_char,
    tokenizer: *mut *mut Tokenizer,
    error: *mut *mut c_char,
) -> i32 {
    *tokenizer = std::ptr::null_mut();
    guard(error, || {
        let template =
            if chat_template.is_null() { None } else { Some(string_of(chat_template, "chat_template")?) };
        *tokenizer = Box::into_raw(Box::new(Tokenizer::open(path_of(model_dir, "model_dir")?, template)?));
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn llmc_text_tokenizer_free(tokenizer: *mut Tokenizer) {
    if !tokenizer.is_null() {
        guard(std::ptr::null_mut(), || {
            drop(Box::from_raw(tokenizer));
            Ok(())
        });
    }
}

#[no_mangle]
pub unsafe extern "C" fn llmc_text_tokenizer_vocab_size(tokenizer: *const Tokenizer) -> i64 {
    let mut size = 0;
    guard(std::ptr::null_mut(), || {
        size = (*tokenizer).vocab_size() as i64;
        Ok(())
    });
    size
}

#[no_mangle]
pub unsafe extern "C" fn llmc_text_tokenizer_has_chat_template(tokenizer: *const Tokenizer) -> i32 {
    i32::from((*tokenizer).has_chat_template())
}

#[no_mangle]
pub unsafe extern "C" fn llmc_text_encode(
    tokenizer: *const Tokenizer,
    text: *const c_char,
    text_bytes: usize,
    add_special_tokens: i32,
    ids: *mut *mut i32,
    num_ids: *mut usize,
    error: *mut *mut c_char,
) -> i32 {
    *ids = std::ptr::null_mut();
    *num_ids = 0;
    guard(error, || {
        let encoded = (*tokenizer).encode(text_of(text, text_bytes, "text")?, add_special_tokens != 0)?;
        *ids = copy_out(&encoded)?;
        *num_ids = encoded.len();
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn llmc_text_render(
    tokenizer: *const Tokenizer,
    conversation: *const c_char,
    conversation_bytes: usize,
    add_generation_prompt: i32,
    template_date: *const c_char,
    text: *mut *mut c_char,
    text_bytes: *mut usize,
    error: *mut *mut c_char,
) -> i32 {
    *text = std::ptr::null_mut();
    *text_bytes = 0;
    guard(error, || {
        let conversation = text_of(conversation, conversation_bytes, "conversation")?;
        let date = DateTime::parse(string_of(template_date, "template_date")?)?;
        let rendered = (*tokenizer).render_json(conversation, add_generation_prompt != 0, date)?;
        *text = copy_out(rendered.as_bytes())?.cast();
        *text_bytes = rendered.len();
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn llmc_text_dataset_load(
    tokenizer: *const Tokenizer,
    options: *const DatasetOptions,
    dataset: *mut *mut CDataset,
    error: *mut *mut c_char,
) -> i32 {
    *dataset = std::ptr::null_mut();
    guard(error, || {
        let given = &*options;
        let column = string_of(given.text_column, "text_column")?;
        let options = Options {
            num_samples: count_of(given.num_samples, "num_samples")?,
            max_seq_length: count_of(given.max_seq_length, "max_seq_length")?,
            shuffle_seed: (given.shuffle != 0).then_some(given.shuffle_seed),
            concatenate: given.concatenate != 0,
            text_column: if column.is_empty() { "text" } else { column }.to_string(),
            date: DateTime::parse(string_of(given.template_date, "template_date")?)?,
            threads: count_of(given.threads, "threads")?,
            tokenizer_dir: match given.tokenizer_dir.is_null() {
                true => None,
                false => Some(path_of(given.tokenizer_dir, "tokenizer_dir")?.to_path_buf()),
            },
        };
        let path = path_of(given.path, "path")?;
        let cancellation = Cancellation { is_cancelled: given.is_cancelled, user_data: given.user_data };
        let loaded = load_dataset(tokenizer.as_ref(), path, &options, &|| cancellation.ask())?;
        let notes: Vec<CString> = loaded
            .notes
            .iter()
            .map(|note| CString::new(note.replace('\0', " ")).unwrap_or_default())
            .collect();
        let note_pointers = notes.iter().map(|note| note.as_ptr()).collect();
        *dataset = Box::into_raw(Box::new(CDataset { dataset: loaded, note_pointers, _notes: notes }));
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn llmc_text_dataset_get_view(dataset: *const CDataset, view: *mut DatasetView) {
    let CDataset { dataset, note_pointers, .. } = &*dataset;
    *view = DatasetView {
        token_ids: dataset.token_ids.as_ptr(),
        sequence_starts: dataset.sequence_starts.as_ptr(),
        notes: note_pointers.as_ptr(),
        num_tokens: dataset.token_ids.len() as i64,
        num_sequences: dataset.sequence_starts.len() as i64 - 1,
        num_notes: note_pointers.len() as i64,
        rows: dataset.rows as i64,
        samples: dataset.samples as i64,
        truncated: dataset.truncated as i64,
        skipped_empty: dataset.skipped_empty as i64,
    };
}

#[no_mangle]
pub unsafe extern "C" fn llmc_text_dataset_free(dataset: *mut CDataset) {
    if !dataset.is_null() {
        guard(std::ptr::null_mut(), || {
            drop(Box::from_raw(dataset));
            Ok(())
        });
    }
}

#[no_mangle]
pub unsafe extern "C" fn llmc_text_permutation(
    seed: u64,
    n: i64,
    order: *mut i64,
    error: *mut *mut c_char,
) -> i32 {
    guard(error, || {
        for (index, row) in permutation(seed, count_of(n, "n")?).into_iter().enumerate() {
            *order.add(index) = row as i64;
        }
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn llmc_text_free(memory: *mut c_void) {
    free(memory);
}
