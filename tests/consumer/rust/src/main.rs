//! A data-free scheme through the C interface, and an error. usage: llmc-consumer MODEL OUTPUT
use std::ffi::{c_char, c_void, CStr, CString};
use std::ptr::{null, null_mut};

const LLMC_OK: i32 = 0;
const LLMC_NOT_FOUND: i32 = 2;

/// llmc_oneshot_options of llmc.h 0.1, field by field.
#[repr(C)]
struct OneshotOptions {
    struct_size: u32,
    compat: i32,
    model_dir: *const c_char,
    output_dir: *const c_char,
    recipe: *const c_char,
    scheme: *const c_char,
    stage: *const c_char,
    dataset: *const c_char,
    tokenizer_dir: *const c_char,
    text_column: *const c_char,
    template_date: *const c_char,
    token_ids: *const i32,
    sequence_starts: *const i64,
    num_sequences: i64,
    num_calibration_samples: i64,
    max_seq_length: i64,
    shuffle_seed: u64,
    max_shard_bytes: i64,
    shuffle: i32,
    concatenate_data: i32,
    rounding: i32,
    propagation: i32,
    save_compressed: i32,
    tie_word_embeddings: i32,
    overwrite: i32,
    reserved: i32,
}

extern "C" {
    fn llmc_session_create(options: *const c_void, session: *mut *mut c_void, error: *mut *mut c_void) -> i32;
    fn llmc_session_free(session: *mut c_void);
    fn llmc_oneshot(
        session: *mut c_void,
        options: *const OneshotOptions,
        report: *mut *mut c_void,
        error: *mut *mut c_void,
    ) -> i32;
    fn llmc_report_json(report: *const c_void) -> *const c_char;
    fn llmc_report_free(report: *mut c_void);
    fn llmc_error_message(error: *const c_void) -> *const c_char;
    fn llmc_error_free(error: *mut c_void);
}

/// The report, or the status and the message.
fn compress(session: *mut c_void, model: &str, output: &str) -> Result<String, (i32, String)> {
    let (model, output, scheme) =
        (CString::new(model).unwrap(), CString::new(output).unwrap(), CString::new("W4A16").unwrap());
    // SAFETY: all zero is a valid value of the struct: numbers and pointers that may be NULL.
    let mut options: OneshotOptions = unsafe { std::mem::zeroed() };
    options.struct_size = size_of::<OneshotOptions>() as u32;
    options.model_dir = model.as_ptr();
    options.output_dir = output.as_ptr();
    options.scheme = scheme.as_ptr();
    let (mut report, mut error) = (null_mut(), null_mut());
    // SAFETY: the strings outlive the call; report and error are freed once, after their texts were copied.
    unsafe {
        let status = llmc_oneshot(session, &options, &mut report, &mut error);
        let text = if status == LLMC_OK { llmc_report_json(report) } else { llmc_error_message(error) };
        let text = CStr::from_ptr(text).to_str().expect("UTF-8").to_owned();
        llmc_report_free(report);
        llmc_error_free(error);
        if status == LLMC_OK {
            Ok(text)
        } else {
            Err((status, text))
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, model, output] = &arguments[..] else { panic!("usage: llmc-consumer MODEL OUTPUT") };
    let mut session = null_mut();
    // SAFETY: NULL options mean the defaults, a NULL error is allowed.
    assert_eq!(unsafe { llmc_session_create(null(), &mut session, null_mut()) }, LLMC_OK);

    let report = compress(session, model, output).expect("oneshot");
    assert!(report.contains("\"linears\""), "{report}");

    let (status, message) =
        compress(session, &format!("{model}-that-is-not-there"), &format!("{output}-2")).unwrap_err();
    assert_eq!(status, LLMC_NOT_FOUND, "{message}");
    assert!(message.contains("that-is-not-there"), "{message}");
    // SAFETY: no call is running on it.
    unsafe { llmc_session_free(session) };
}
