//! The tensor level: examples small enough for paper, and errors.
use llmc::{
    smooth_apply, Activation, Channels, Dtype, ErrorKind, Gram, Matrix, Method, Packed, Scheme, Session,
    SmoothOperation, Smoothing, Tensor, TensorMut, Writer,
};

mod common;
use common::Scratch;

/// The largest of a row becomes 7.5 steps of int4.
const WEIGHT: [f32; 8] = [-7.0, 7.0, 1.0, -1.0, -14.0, 14.0, 2.0, 0.0];
const CHANNEL: &str = "{num_bits: 4, strategy: channel, symmetric: true}";
const GROUPS: &str = "{num_bits: 4, group_size: 32, strategy: group}";

/// Numbers that are neither equal nor ordered.
fn wild(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * i * 31 + i * 7) % 1009) as f32 / 500.0 - 1.0).collect()
}

#[test]
fn a_gram_is_the_sum_of_outer_products_with_figures_by_channel() {
    let mut session = Session::builder().threads(1).build().unwrap();
    let mut gram = Gram::new(2).unwrap();
    gram.add(&mut session, &Tensor::new(&[1f32, 2.0, -3.0, 4.0], &[2, 2]).unwrap()).unwrap();
    assert_eq!((gram.channels().unwrap(), gram.tokens().unwrap(), gram.samples().unwrap()), (2, 2, 1));
    assert_eq!(gram.matrix().unwrap(), [10.0, -10.0, -10.0, 20.0]);
    let expected = Channels {
        minimum: vec![-3.0, 2.0],
        maximum: vec![1.0, 4.0],
        sum_absolute: vec![4.0, 6.0],
        sum_squares: vec![10.0, 20.0],
    };
    assert_eq!(gram.statistics().unwrap(), expected);
    // The same from bfloat16 bits in the columns of a wider memory.
    let words = [0x3f80u16, 0x4000, 0xc040, 0x4080];
    let mut bits = Gram::new(2).unwrap();
    bits.add(&mut session, &Tensor::from_bits(Dtype::Bfloat16, &words, &[2, 2]).unwrap()).unwrap();
    let mut strided = Gram::new(2).unwrap();
    strided
        .add(&mut session, &Tensor::strided(&[1f32, -3.0, 9.0, 2.0, 4.0], &[2, 2], &[1, 3]).unwrap())
        .unwrap();
    assert_eq!(
        (bits.matrix().unwrap(), strided.matrix().unwrap()),
        (gram.matrix().unwrap(), gram.matrix().unwrap())
    );
}

#[test]
fn merged_grams_and_a_gram_from_a_file_equal_that_of_the_concatenation() {
    let scratch = Scratch::new("gram");
    let mut session = Session::new().unwrap();
    let values = wild(64 * 16);
    let (mut first, mut second, mut both) =
        (Gram::new(16).unwrap(), Gram::new(16).unwrap(), Gram::new(16).unwrap());
    let (a, b) = (
        Tensor::new(&values[..40 * 16], &[40, 16]).unwrap(),
        Tensor::new(&values[40 * 16..], &[24, 16]).unwrap(),
    );
    first.add(&mut session, &a).unwrap();
    second.add(&mut session, &b).unwrap();
    for part in [&a, &b] {
        both.add(&mut session, part).unwrap();
    }
    second.save(scratch.path("second")).unwrap();
    first.merge(&Gram::load(scratch.path("second")).unwrap()).unwrap();
    assert_eq!(
        (first.matrix().unwrap(), first.tokens().unwrap(), first.samples().unwrap()),
        (both.matrix().unwrap(), 64, 2)
    );
    assert_eq!(first.statistics().unwrap().maximum, both.statistics().unwrap().maximum);

    assert_eq!(first.merge(&Gram::new(3).unwrap()).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(Gram::channels_only(3).unwrap().matrix().unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(Gram::load(scratch.path("none")).err().unwrap().kind(), ErrorKind::NotFound);
    std::fs::write(scratch.path("second"), "damaged").unwrap();
    assert_eq!(Gram::load(scratch.path("second")).err().unwrap().kind(), ErrorKind::BadFile);
    let nan = [f32::NAN; 16];
    assert_eq!(
        first.add(&mut session, &Tensor::new(&nan, &[16]).unwrap()).unwrap_err().kind(),
        ErrorKind::Numeric
    );
    assert_eq!(first.tokens().unwrap(), 64);
}

#[test]
fn smoothing_moves_a_factor_from_the_norm_to_the_weights() {
    let mut session = Session::new().unwrap();
    let mut gram = Gram::channels_only(2).unwrap();
    gram.add(&mut session, &Tensor::new(&[8f32, 1.0, -8.0, -1.0], &[2, 2]).unwrap()).unwrap();
    let weights = [Tensor::new(&[1f32, 1.0], &[1, 2]).unwrap()];
    let scales =
        gram.smooth_scales(&weights, Smoothing { strength: Some(1.0), ..Default::default() }).unwrap();
    assert_eq!(scales, [16.0, 2.0]); // range(x)
    let (mut weight, mut norm) = ([1f32, 1.0], [32f32, 6.0]);
    smooth_apply(&mut TensorMut::new(&mut weight, &[1, 2]).unwrap(), &scales, SmoothOperation::Multiply)
        .unwrap();
    smooth_apply(&mut TensorMut::new(&mut norm, &[2]).unwrap(), &scales, SmoothOperation::Divide).unwrap();
    assert_eq!((weight, norm), ([16.0, 2.0], [2.0, 3.0]));
    let refused = smooth_apply(
        &mut TensorMut::new(&mut norm, &[2]).unwrap(),
        &[1.0; 3],
        SmoothOperation::DividePlusOne,
    );
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(
        gram.smooth_scales(&weights, Smoothing { strength: Some(2.0), ..Default::default() })
            .unwrap_err()
            .kind(),
        ErrorKind::InvalidArgument
    );
}

#[test]
fn rounding_to_nearest_packing_and_back() {
    let mut session = Session::new().unwrap();
    let scheme = Scheme::new(CHANNEL).unwrap();
    assert_eq!(scheme.format(), "pack-quantized");
    let matrix =
        Matrix::quantize(&mut session, &scheme, &Tensor::new(&WEIGHT, &[2, 4]).unwrap(), None, None).unwrap();
    let codes: Vec<i8> = matrix.codes().unwrap().values::<i8>().unwrap().to_vec();
    let scales = matrix.scales().unwrap();
    assert_eq!((scales.shape(), scales.dtype(), codes.len()), (&[2, 1][..], Dtype::Float32, 8));
    for (i, weight) in WEIGHT.iter().enumerate() {
        let scale = scales.values::<f32>().unwrap()[i / 4];
        assert_eq!(codes[i], (weight / scale).round_ties_even().clamp(-8.0, 7.0) as i8, "{i}");
    }
    assert!(matrix.zero_points().unwrap().is_none() && matrix.order().unwrap().is_none());
    let facts = matrix.facts().unwrap();
    assert_eq!(
        (facts.method, facts.rows, facts.columns, facts.format.as_str()),
        (Some(Method::Rtn), 2, 4, "pack-quantized")
    );
    assert_eq!((facts.model_dtype, facts.global_scale), (Dtype::Float32, None));

    let packed = matrix.pack(&mut session).unwrap();
    let tensors = packed.tensors().unwrap();
    assert!(tensors.iter().any(|(name, _)| *name == "weight_packed"), "{tensors:?}");
    let unpacked = Matrix::unpack(&mut session, &scheme, &tensors, Dtype::Float32).unwrap();
    let assembled =
        Matrix::from_parts(&scheme, &matrix.codes().unwrap(), &scales, None, None, Dtype::Float32).unwrap();
    for other in [unpacked, assembled] {
        assert_eq!(other.codes().unwrap().values::<i8>().unwrap(), codes);
        assert_eq!(bytes(&other.pack(&mut session).unwrap()), bytes(&packed));
        assert_eq!(other.facts().unwrap().method, None);
    }
    let mut served = [0f32; 8];
    matrix.dequantize(&mut session, &mut TensorMut::new(&mut served, &[2, 4]).unwrap()).unwrap();
    assert_eq!(served[5], f32::from(codes[5]) * scales.values::<f32>().unwrap()[1]);
}

fn bytes(packed: &Packed) -> Vec<(String, Vec<u8>)> {
    packed
        .tensors()
        .unwrap()
        .iter()
        .map(|(name, tensor)| ((*name).into(), tensor.values::<u8>().unwrap().to_vec()))
        .collect()
}

#[test]
fn gptq_runs_on_any_thread_with_a_shared_gram_and_scheme() {
    let mut session = Session::new().unwrap();
    let (weight, inputs) = (wild(8 * 64), wild(256 * 64));
    let mut gram = Gram::new(64).unwrap();
    gram.add(&mut session, &Tensor::new(&inputs, &[256, 64]).unwrap()).unwrap();
    let scheme = Scheme::builder(GROUPS)
        .method(Method::Gptq)
        .activation_order(true)
        .dampening_frac(0.02)
        .block_size(32)
        .build()
        .unwrap();
    let quantize = || {
        let mut session = Session::builder().threads(1).build().unwrap();
        Matrix::quantize(&mut session, &scheme, &Tensor::new(&weight, &[8, 64]).unwrap(), Some(&gram), None)
            .unwrap()
    };
    let (a, b) = std::thread::scope(|scope| (scope.spawn(quantize), scope.spawn(quantize)).join());
    assert_eq!(a.codes().unwrap().values::<i8>(), b.codes().unwrap().values::<i8>());
    let facts = a.facts().unwrap();
    assert!(facts.method == Some(Method::Gptq) && facts.dampening == 0.02 && facts.loss > 0.0, "{facts:?}");
    let mut order = a.order().unwrap().unwrap().values::<i32>().unwrap().to_vec();
    order.sort_unstable();
    assert_eq!(order, (0..64).collect::<Vec<i32>>());
    let without =
        Matrix::quantize(&mut session, &scheme, &Tensor::new(&weight, &[8, 64]).unwrap(), None, None);
    assert_eq!(without.err().unwrap().kind(), ErrorKind::InvalidArgument);
}

trait Join<T> {
    fn join(self) -> (T, T);
}
impl<T> Join<T> for (std::thread::ScopedJoinHandle<'_, T>, std::thread::ScopedJoinHandle<'_, T>) {
    fn join(self) -> (T, T) {
        (self.0.join().unwrap(), self.1.join().unwrap())
    }
}

#[test]
fn weights_that_a_server_fuses_share_a_global_scale() {
    let mut session = Session::new().unwrap();
    let scheme = Scheme::new("NVFP4A16").unwrap();
    let (small, large) = (vec![0.5f32; 4 * 32], vec![2f32; 4 * 32]);
    let weights = [Tensor::new(&small, &[4, 32]).unwrap(), Tensor::new(&large, &[4, 32]).unwrap()];
    let shared = scheme.global_scale(&mut session, &weights, None).unwrap();
    assert_eq!(shared, scheme.global_scale(&mut session, &weights[1..], None).unwrap());
    let matrix = Matrix::quantize(&mut session, &scheme, &weights[0], None, Some(shared)).unwrap();
    assert_eq!(matrix.facts().unwrap().global_scale, Some(f64::from(shared)));
    assert!(matrix.codes().unwrap().values::<u8>().is_some());
    assert_eq!(
        Scheme::new(CHANNEL).unwrap().global_scale(&mut session, &weights, None).unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );
}

#[test]
fn a_writer_gives_a_sound_folder_or_none() {
    let scratch = Scratch::new("writer");
    let mut session = Session::new().unwrap();
    let scheme = Scheme::new(GROUPS).unwrap();
    let (weight, out) = (wild(4 * 32), scratch.path("out"));
    let matrix =
        Matrix::quantize(&mut session, &scheme, &Tensor::new(&weight, &[4, 32]).unwrap(), None, None)
            .unwrap();
    let mut writer = Writer::new(&out, r#"{"model_type": "toy"}"#).unwrap();
    writer.plan_matrix("fc", &scheme, Dtype::Float32, 4, 32).unwrap();
    writer.plan_tensor("fc.bias", Dtype::Bfloat16, &[2]).unwrap();
    writer.add_matrix(&mut session, "fc", &matrix).unwrap();
    assert_eq!(writer.finish(&mut session).unwrap_err().kind(), ErrorKind::InvalidArgument); // the bias is missing
    assert!(!out.exists());
    writer
        .add_tensor(
            &mut session,
            "fc.bias",
            &Tensor::from_bits(Dtype::Bfloat16, &[0x3f80u16, 0x4000], &[2]).unwrap(),
        )
        .unwrap();
    assert_ne!(writer.add_range("none", Activation::Input, -1.0, 1.0).map_err(|error| error.kind()), Ok(()));
    writer.add_file("generation_config.json", b"hello").unwrap();
    writer.finish(&mut session).unwrap();
    assert_eq!(std::fs::read(out.join("generation_config.json")).unwrap(), b"hello");
    let file = common::weights(&out);
    for (name, tensor) in matrix.pack(&mut session).unwrap().tensors().unwrap() {
        let bytes = tensor.values::<u8>().unwrap();
        assert!(file.windows(bytes.len()).any(|window| window == bytes), "{name}");
    }
    assert!(session.verify(&out, None).unwrap().contains("\"sound\":true"));
    assert_eq!(Writer::new(&out, "{}").err().unwrap().kind(), ErrorKind::Exists);

    let mut unfinished = Writer::builder(&out, "{}").overwrite(true).build().unwrap();
    unfinished.plan_tensor("x", Dtype::Float32, &[1]).unwrap();
    unfinished.add_tensor(&mut session, "x", &Tensor::new(&[1f32], &[1]).unwrap()).unwrap();
    drop(unfinished);
    assert_eq!((common::weights(&out), std::fs::read_dir(scratch.path("")).unwrap().count()), (file, 1));
}

#[test]
fn a_tensor_that_does_not_fit_its_memory_is_refused_before_any_call() {
    let values = [0f32; 6];
    for wrong in [
        Tensor::new(&values, &[2, 4]),
        Tensor::new(&values, &[2, 2]),
        Tensor::new(&values, &[1; 9]),
        Tensor::new(&values, &[usize::MAX, 2]),
        Tensor::from_bits(Dtype::Bfloat16, &values, &[6]),
        Tensor::strided(&values, &[2, 3], &[4, 1]),
        Tensor::strided(&values, &[2, 2], &[usize::MAX, 1]),
        Tensor::strided(&values, &[2, 2], &[1]),
    ] {
        assert_eq!(wrong.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    let tensor = Tensor::new(&values, &[2, 3]).unwrap();
    assert_eq!(
        (tensor.values::<f32>(), tensor.values::<i32>(), tensor.values::<u8>().map(<[u8]>::len)),
        (Some(&values[..]), None, Some(24))
    );
    assert!(Tensor::strided(&values, &[3, 2], &[1, 3]).unwrap().values::<f32>().is_none());
    // SAFETY: never reaches a GPU.
    let there =
        unsafe { Tensor::on_gpu(Dtype::Float32, values.as_ptr().cast(), &[2, 3], 1, std::ptr::null_mut()) }
            .unwrap();
    assert!(there.values::<f32>().is_none());
    assert_eq!(
        Gram::new(3).unwrap().add(&mut Session::new().unwrap(), &there).unwrap_err().kind(),
        ErrorKind::Unsupported
    );
    assert_eq!(Scheme::new("W3A99").err().unwrap().kind(), ErrorKind::InvalidArgument);
    assert_eq!(
        Scheme::builder("W4A16").block_size(64).build().err().unwrap().kind(),
        ErrorKind::InvalidArgument
    ); // GPTQ's alone
    assert_eq!(Scheme::new("W4\0").err().unwrap().kind(), ErrorKind::InvalidArgument);
}
