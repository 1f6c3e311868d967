//! The model level, modifiers and sources.
use llmc::{Dtype, Error, ErrorKind, Gram, Model, Needs, Oneshot, Session, Tensor, TensorSource};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, Mutex};

mod common;
use common::{model, sequences, weights, Scratch, GPTQ};

const RTN: &str =
    "s_stage: {m_modifiers: {QuantizationModifier: {scheme: W4A16, targets: [Linear], ignore: [lm_head]}}}";
const MINE: &str =
    "s_stage: {m_modifiers: {MyModifier: {scheme: W4A16, targets: [Linear], ignore: [lm_head]}}}";

#[test]
fn a_model_in_parts_writes_the_bytes_of_a_oneshot_for_recipe_after_recipe() {
    let scratch = Scratch::new("model");
    let mut session = Session::builder().threads(2).build().unwrap();
    for recipe in [GPTQ, RTN] {
        Oneshot::new(model(), scratch.path(if recipe == GPTQ { "gptq" } else { "rtn" }))
            .recipe(recipe)
            .token_ids(sequences())
            .run_on(&mut session)
            .unwrap();
    }
    let mut opened = Model::open(&mut session, model()).unwrap();
    opened.add_token_ids(&sequences()[..3]).unwrap();
    opened.add_token_ids(&sequences()[3..]).unwrap();
    assert_eq!(opened.save().unwrap_err().kind(), ErrorKind::InvalidArgument); // nothing is quantized
    let mut steps = 0;
    opened.quantize(Oneshot::to(scratch.path("a")).recipe(GPTQ).on_progress(|_| steps += 1)).unwrap();
    assert!(steps > 0 && !scratch.path("a").exists());
    let report = opened.save().unwrap();
    assert_eq!((report.samples(), report.tokens(), report.linears().len()), (8, 256, 14));
    opened.quantize(Oneshot::to(scratch.path("b")).recipe(RTN)).unwrap();
    opened.save().unwrap();
    assert_eq!(weights(&scratch.path("a")), weights(&scratch.path("gptq")));
    assert_eq!(weights(&scratch.path("b")), weights(&scratch.path("rtn")));
}

#[test]
fn a_model_refuses_what_is_not_its_own_and_may_be_used_on() {
    let scratch = Scratch::new("model-errors");
    let mut session = Session::new().unwrap();
    assert_eq!(Model::open(&mut session, scratch.path("nowhere")).err().unwrap().kind(), ErrorKind::NotFound);
    let mut opened = Model::open(&mut session, model()).unwrap();
    assert_eq!(opened.add_token_ids([[]; 2]).unwrap_err().kind(), ErrorKind::InvalidArgument);
    opened.add_token_ids(sequences()).unwrap();
    let missing = opened.add_data(Oneshot::data(scratch.path("none.jsonl"))).unwrap_err();
    assert!(matches!(missing.kind(), ErrorKind::NotFound | ErrorKind::Unsupported), "{missing}");
    for wrong in [Oneshot::new(model(), scratch.path("out")).recipe(RTN), Oneshot::to(scratch.path("out"))] {
        assert_eq!(opened.quantize(wrong).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    let handle = opened.cancel_handle();
    let cancelled =
        opened.quantize(Oneshot::to(scratch.path("out")).recipe(GPTQ).on_progress(|_| handle.cancel()));
    assert_eq!(cancelled.unwrap_err().kind(), ErrorKind::Cancelled);
    let panic = catch_unwind(AssertUnwindSafe(|| {
        opened.quantize(Oneshot::to(scratch.path("out")).recipe(GPTQ).on_progress(|_| panic!("enough")))
    }))
    .unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"enough"));
    assert!(scratch.is_empty());
    opened.quantize(Oneshot::to(scratch.path("out")).recipe(GPTQ)).unwrap();
    drop(opened); // not saved: nothing is left
    assert!(scratch.is_empty());
}

#[test]
fn a_modifier_that_leaves_the_codes_alone_is_rounding_and_one_that_changes_them_is_written() {
    let scratch = Scratch::new("modifier");
    let mut session = Session::builder().threads(2).build().unwrap();
    let (seen, zero) = (Arc::new(Mutex::new(vec![])), Arc::new(Mutex::new(false)));
    let (notes, wipe) = (seen.clone(), zero.clone());
    let needs = Needs { gram: true, channels: true };
    session
        .add_modifier("MyModifier", needs, move |job| {
            let (rows, columns) = (job.weight.shape()[0], job.weight.shape()[1]);
            let channels = job.channels.as_ref().unwrap();
            assert!(
                job.gram.as_ref().unwrap().shape() == [columns, columns]
                    && channels.sum_squares.len() == columns
                    && job.zero_points.is_none()
            );
            assert!(
                job.weight.dtype() == Dtype::Bfloat16
                    && job.weight.values::<u16>().unwrap().len() == rows * columns
                    && job.scales.shape()[0] == rows
            );
            notes.lock().unwrap().push((job.module.clone(), job.num_bits, job.tokens));
            let codes = job.codes.values_mut::<i8>().unwrap();
            if *wipe.lock().unwrap() {
                codes[..8].fill(0); // not all: a matrix of zeros with other scales is taken for damage
            }
            Ok(())
        })
        .unwrap();
    let mut run = |name: &str, recipe: &str| {
        Oneshot::new(model(), scratch.path(name))
            .recipe(recipe)
            .token_ids(sequences())
            .run_on(&mut session)
            .unwrap();
        weights(&scratch.path(name))
    };
    let rtn = run("rtn", RTN);
    assert_eq!(run("same", MINE), rtn);
    *zero.lock().unwrap() = true;
    assert_ne!(run("zero", MINE), rtn);
    let seen = seen.lock().unwrap();
    assert_eq!((seen.len(), &seen[0]), (28, &("model.layers.0.self_attn.q_proj".to_string(), 4, 256)));
}

#[test]
fn a_modifier_that_fails_ends_the_run_with_its_own_error_and_one_that_panics_with_its_panic() {
    let scratch = Scratch::new("modifier-fails");
    let mut session = Session::new().unwrap();
    let run = |session: &mut Session, name: &str| {
        Oneshot::new(model(), scratch.path("out"))
            .recipe(MINE.replace("MyModifier", name))
            .token_ids(sequences())
            .run_on(session)
    };
    session
        .add_modifier("Failing", Needs::default(), |job| {
            Err(Error::new(ErrorKind::Unsupported, format!("not {}", job.module)))
        })
        .unwrap();
    session.add_modifier("Panicking", Needs::default(), |_| panic!("enough")).unwrap();
    session
        .add_modifier("Wild", Needs::default(), |job| {
            job.codes.values_mut::<i8>().unwrap()[0] = 100;
            Ok(())
        })
        .unwrap();
    let failed = run(&mut session, "Failing").unwrap_err();
    assert_eq!(
        (failed.kind(), failed.message()),
        (ErrorKind::Unsupported, "not model.layers.0.self_attn.q_proj")
    );
    let panic = catch_unwind(AssertUnwindSafe(|| run(&mut session, "Panicking"))).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"enough"));
    assert_eq!(run(&mut session, "Wild").unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert!(scratch.is_empty());
    for name in ["Failing", "GPTQModifier", ""] {
        assert_eq!(
            session.add_modifier(name, Needs::default(), |_| Ok(())).unwrap_err().kind(),
            ErrorKind::InvalidArgument
        );
    }
    Oneshot::new(model(), scratch.path("out"))
        .scheme("W8A8")
        .run_on(&mut session)
        .expect("the session is good for another call");
}

type InMemory = (String, Vec<u8>, Vec<(String, Vec<usize>, usize)>);

/// micro-llama's config.json, the bytes of its file, and for each tensor its name, shape and place.
fn in_memory() -> InMemory {
    let file = std::fs::read(model().join("model.safetensors")).unwrap();
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header = std::str::from_utf8(&file[8..8 + length]).unwrap().to_string();
    let numbers =
        |text: &str| text.split(',').map(|n| n.trim().parse::<usize>().unwrap()).collect::<Vec<_>>();
    let between = |text: &str, from: &str, to: &str| {
        text.split_once(from).unwrap().1.split_once(to).unwrap().0.to_string()
    };
    let mut tensors = vec![];
    for entry in header.split("},").filter(|entry| entry.contains("data_offsets")) {
        let (name, rest) = entry.trim_start_matches([',', '{']).split_once("\":").unwrap();
        let rest = rest.replace(' ', "");
        let offsets = numbers(&between(&rest, "\"data_offsets\":[", "]"));
        tensors.push((
            name.trim_start_matches(['"', '{', ' ']).into(),
            numbers(&between(&rest, "\"shape\":[", "]")),
            8 + length + offsets[0],
        ));
    }
    (std::fs::read_to_string(model().join("config.json")).unwrap(), file, tensors)
}

#[test]
fn a_model_in_memory_gives_the_bytes_of_its_folder() {
    let scratch = Scratch::new("source");
    let mut session = Session::new().unwrap();
    let (config, file, tensors) = in_memory();
    let size = |shape: &[usize]| 2 * shape.iter().product::<usize>();
    let named = tensors.iter().map(|(name, shape, at)| {
        (name.as_str(), Tensor::from_bits(Dtype::Bfloat16, &file[*at..at + size(shape)], shape).unwrap())
    });
    let source = TensorSource::borrowed(&config, named).unwrap();
    Oneshot::from_source(source, scratch.path("memory"))
        .recipe(GPTQ)
        .token_ids(sequences())
        .run_on(&mut session)
        .unwrap();
    let named = tensors.iter().map(|(name, shape, at)| {
        (name.as_str(), Tensor::from_bits(Dtype::Bfloat16, &file[*at..at + size(shape)], shape).unwrap())
    });
    let mut opened =
        Model::open_source(&mut session, TensorSource::borrowed(&config, named).unwrap()).unwrap();
    opened.add_token_ids(sequences()).unwrap();
    opened.quantize(Oneshot::to(scratch.path("parts")).recipe(GPTQ)).unwrap();
    opened.save().unwrap();
    drop(opened);
    Oneshot::new(model(), scratch.path("folder"))
        .recipe(GPTQ)
        .token_ids(sequences())
        .run_on(&mut session)
        .unwrap();
    assert_eq!(weights(&scratch.path("memory")), weights(&scratch.path("folder")));
    assert_eq!(weights(&scratch.path("parts")), weights(&scratch.path("folder")));
}

#[test]
fn statistics_are_saved_loaded_and_merged_and_stand_for_the_data() {
    let scratch = Scratch::new("statistics");
    let mut session = Session::new().unwrap();
    for half in ["0", "1"] {
        let mut opened = Model::open(&mut session, model()).unwrap();
        opened.add_token_ids(sequences().iter().skip(if half == "0" { 0 } else { 4 }).take(4)).unwrap();
        opened.save_statistics(scratch.path(half)).unwrap();
        assert_eq!(opened.save_statistics(scratch.path(half)).unwrap_err().kind(), ErrorKind::Exists);
    }
    assert_eq!(
        Gram::load(scratch.path("0/model.layers.1.mlp.gate_proj.safetensors")).unwrap().tokens().unwrap(),
        128
    );
    let mut opened = Model::open(&mut session, model()).unwrap();
    assert_eq!(opened.load_statistics(scratch.path("nowhere")).unwrap_err().kind(), ErrorKind::NotFound);
    for half in ["0", "1"] {
        opened.load_statistics(scratch.path(half)).unwrap();
    }
    opened.quantize(Oneshot::to(scratch.path("out")).recipe(GPTQ)).unwrap();
    let report = opened.save().unwrap();
    assert_eq!((report.tokens(), report.linears()[0].method.as_str()), (256, "GPTQ"));
}

#[test]
fn a_source_that_fails_or_panics_ends_the_call_with_its_own() {
    let scratch = Scratch::new("source-fails");
    let mut session = Session::new().unwrap();
    let (config, _, tensors) = in_memory();
    let mut run = |fail: fn() -> llmc::Result<()>, scheme: bool| {
        let mut source = TensorSource::new(&config, move |_, _, _| fail());
        for (name, shape, _) in &tensors {
            source = source.tensor(name, Dtype::Bfloat16, shape);
        }
        let job = Oneshot::from_source(source, scratch.path("out"));
        let job = if scheme { job.scheme("W8A8") } else { job.recipe(GPTQ).token_ids(sequences()) };
        job.run_on(&mut session)
    };
    for scheme in [true, false] {
        let failed = run(|| Err(std::io::Error::other("the disk is gone"))?, scheme).unwrap_err();
        assert_eq!((failed.kind(), failed.message()), (ErrorKind::Io, "the disk is gone"));
        let panic = catch_unwind(AssertUnwindSafe(|| run(|| panic!("enough"), scheme))).unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"enough"));
    }
    assert!(scratch.is_empty());
}

#[test]
fn a_model_whose_source_failed_may_be_used_on() {
    let scratch = Scratch::new("source-again");
    let mut session = Session::new().unwrap();
    let (config, file, tensors) = in_memory();
    let mode = Mutex::new("fail");
    let mut source = TensorSource::new(&config, |tensor, offset, to| {
        let at = tensors[tensor].2 + offset as usize;
        let now = *mode.lock().unwrap();
        match now {
            "fail" => return Err(Error::new(ErrorKind::Unsupported, "not yet")),
            "panic" => std::panic::resume_unwind(Box::new("enough")),
            _ => to.copy_from_slice(&file[at..at + to.len()]),
        }
        Ok(())
    });
    for (name, shape, _) in &tensors {
        source = source.tensor(name, Dtype::Bfloat16, shape);
    }
    let mut opened = Model::open_source(&mut session, source).unwrap();
    opened.add_token_ids(sequences()).unwrap();
    let mut quantize = |now| {
        *mode.lock().unwrap() = now;
        opened.quantize(Oneshot::to(scratch.path("out")).recipe(GPTQ))
    };
    let failed = quantize("fail").unwrap_err();
    assert_eq!((failed.kind(), failed.message()), (ErrorKind::Unsupported, "not yet"));
    let panic = catch_unwind(AssertUnwindSafe(|| quantize("panic"))).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"enough"));
    assert!(scratch.is_empty());
    quantize("work").unwrap();
    opened.save().unwrap();
    assert!(!weights(&scratch.path("out")).is_empty());
}
