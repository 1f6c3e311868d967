//! The crate against the built library: LLMC_LIB_DIR=build/release cargo test
use llmc::{Error, ErrorKind, Evaluate, Oneshot, Session};
use std::panic::{catch_unwind, AssertUnwindSafe};

mod common;
use common::{model, sequences, Scratch, GPTQ};

#[test]
fn gptq_from_token_ids_reports_progress_and_equal_bytes_for_any_number_of_threads() {
    let scratch = Scratch::new("gptq");
    let mut layers = Vec::new();
    let mut report = None;
    for threads in [1, 2] {
        let mut session = Session::builder().threads(threads).build().unwrap();
        assert!(session.device().contains(&format!("{threads} thread")), "{}", session.device());
        let job =
            Oneshot::new(model(), scratch.path(&threads.to_string())).recipe(GPTQ).token_ids(sequences());
        report = Some(
            job.on_progress(|p| layers.push((p.layer.clone(), p.step, p.steps)))
                .run_on(&mut session)
                .unwrap(),
        );
    }
    let report = report.unwrap();
    assert_eq!((report.samples(), report.tokens()), (8, 256));
    assert!(report.bytes_after() < report.bytes_before() && report.seconds() > 0.0);
    assert!(report.json().contains("\"method\":\"GPTQ\""), "{}", report.json());
    assert_eq!(report.linears().len(), 14);
    let first = &report.linears()[0];
    assert_eq!(
        (first.name.as_str(), first.scheme.as_str(), first.method.as_str()),
        ("model.layers.0.self_attn.q_proj", "int4 group 128", "GPTQ")
    );
    assert!(
        first.relative_error > 0.0
            && first.dampening > 0.0
            && report.peak_memory() > 0
            && report.calibration_seconds() <= report.seconds()
    );
    assert!(
        layers.iter().any(|(layer, step, steps)| layer == "model.layers.1" && step <= steps),
        "{layers:?}"
    );
    let bytes = |name| std::fs::read(scratch.path(name).join("model.safetensors")).unwrap();
    assert_eq!(bytes("1"), bytes("2"));
}

#[test]
fn an_error_carries_its_kind_and_one_line() {
    let scratch = Scratch::new("error");
    let error: Error =
        Oneshot::new(scratch.path("nowhere"), scratch.path("out")).scheme("W4A16").run().unwrap_err();
    assert_eq!((error.kind(), error.kind().status()), (ErrorKind::NotFound, 2));
    assert!(
        error.message().contains("nowhere") && error.to_string().starts_with("LLMC_NOT_FOUND: "),
        "{error}"
    );
    let nul = Oneshot::new("a\0b", "out").scheme("W4A16").run().unwrap_err();
    assert_eq!(nul.kind(), ErrorKind::InvalidArgument);
    let empty = Oneshot::new(model(), scratch.path("out")).recipe(GPTQ).token_ids([[]; 2]).run().unwrap_err();
    assert_eq!(empty.kind(), ErrorKind::InvalidArgument);
    assert!(scratch.is_empty());
}

#[test]
fn a_handle_cancels_from_a_callback_and_from_another_thread_and_nothing_is_left() {
    let scratch = Scratch::new("cancel");
    let mut session = Session::builder().threads(2).build().unwrap();
    let handle = session.cancel_handle();
    let job = Oneshot::new(model(), scratch.path("out")).recipe(GPTQ).token_ids(sequences());
    let error = job.on_progress(|_| handle.cancel()).run_on(&mut session).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);

    std::thread::spawn({
        let handle = handle.clone();
        move || handle.cancel()
    })
    .join()
    .unwrap();
    assert_eq!(
        Oneshot::new(model(), scratch.path("out")).scheme("W8A8").run_on(&mut session).unwrap_err().kind(),
        ErrorKind::Cancelled
    );
    assert!(scratch.is_empty());
    Oneshot::new(model(), scratch.path("out"))
        .scheme("W8A8")
        .run_on(&mut session)
        .expect("the session is good for another call");
    drop(session);
    handle.cancel(); // outlives its session
}

#[test]
fn a_panic_in_a_callback_goes_on_in_the_caller() {
    let scratch = Scratch::new("panic");
    let mut session = Session::new().unwrap();
    let job = Oneshot::new(model(), scratch.path("out"))
        .recipe(GPTQ)
        .token_ids(sequences())
        .on_progress(|_| panic!("enough"));
    let panic = catch_unwind(AssertUnwindSafe(|| job.run_on(&mut session))).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"enough"));
    assert!(scratch.is_empty());
    Oneshot::new(model(), scratch.path("out"))
        .scheme("W8A8")
        .run_on(&mut session)
        .expect("the session is good for another call");
}

#[test]
fn a_session_moves_between_threads_and_looks_at_folders() {
    let scratch = Scratch::new("tools");
    let mut session = Session::new().unwrap();
    let out = scratch.path("out");
    Oneshot::new(model(), &out).scheme("W4A16").run_on(&mut session).unwrap();
    std::thread::spawn(move || {
        assert!(session.inspect(&out).unwrap().contains("\"quant_method\":\"compressed-tensors\""));
        assert!(session.verify(&out, Some(&model())).unwrap().contains("\"sound\":true"));
        assert!(session.diff(&out, &out).unwrap().contains("\"identical\":true"));
        session.dequantize(&out, scratch.path("plain")).unwrap();
        assert!(scratch.path("plain").join("model.safetensors").exists());
        let missing = session.evaluate(&out, scratch.path("no.txt"), &Evaluate::default()).unwrap_err();
        assert!(matches!(missing.kind(), ErrorKind::NotFound | ErrorKind::Unsupported), "{missing}");
    })
    .join()
    .unwrap();
}

#[test]
fn the_library_says_what_it_is() {
    assert_eq!(llmc::version(), "0.1.0");
    assert!(llmc::features().contains("cpu"));
}
