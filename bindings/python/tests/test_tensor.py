"""The tensor level: examples small enough for paper, whole folders, and errors."""
import array
import ctypes
import gc
import os
import pathlib
import threading
import unittest

import llmc
from llmc import _tensor
from support import MICRO, Case, DLPack, Interface, micro_llama

CHANNEL = {"num_bits": 4, "strategy": "channel", "symmetric": True}
GROUPS = {"num_bits": 4, "group_size": 32, "strategy": "group"}
WEIGHT = array.array("f", [-7, 7, 1, -1, -14, 14, 2, 0])  # the largest of a row becomes 7.5 steps of int4


def wild(count):
    return array.array(
        "f", [(i * i * 31 + i * 7) % 1009 / 500 - 1 for i in range(count)]
    )  # neither equal nor ordered


def floats(*values, shape=None):
    return llmc.Tensor(array.array("f", values), shape=shape)


class Columns(DLPack):
    """float32 [2, 2] in the columns of a wider memory."""

    def __init__(self, values):
        self.memory = (ctypes.c_float * len(values))(*values)
        self.shape, self.strides = (ctypes.c_int64 * 2)(2, 2), (ctypes.c_int64 * 2)(1, 3)
        self.tensor = _tensor._DLTensor(
            ctypes.addressof(self.memory), 1, 0, 2, 2, 32, 1, self.shape, self.strides, 0
        )


class OnGpu(Columns):
    """Says that its memory is GPU 1's."""

    def __init__(self):
        super().__init__(range(6))
        self.tensor.device_type, self.tensor.device_id, self.strides[:] = 2, 1, (2, 1)

    def __dlpack__(self, stream=None):
        self.stream = stream
        return super().__dlpack__()


class TensorTest(unittest.TestCase):
    def test_memory_of_a_gpu_is_described_as_such_and_never_read_here(self):
        there = OnGpu()
        tensor = llmc.Tensor(there)
        self.assertEqual((tensor.gpu, tensor.shape, there.stream), (1, (2, 2), 1))
        self.assertEqual(llmc.Tensor(tensor).gpu, 1)
        for read in [tensor.memoryview, tensor.tolist, lambda: tensor.__array_interface__]:
            with self.assertRaisesRegex(ValueError, "lies on GPU 1"):
                read()
        with llmc.Session(threads=1) as session, self.assertRaisesRegex(
            llmc.Error, "lies on cuda device 1; the session computes on cpu"
        ):
            llmc.Gram(2).add(session, tensor)

    def test_memory_is_borrowed_in_place_and_kept_alive(self):
        values = array.array("f", range(6))
        tensor = llmc.Tensor(values, shape=(2, 3))
        values[4] = 9
        self.assertEqual(
            (tensor.dtype, tensor.shape, tensor.strides, tensor.writable, tensor.nbytes),
            ("float32", (2, 3), (3, 1), True, 24),
        )
        self.assertEqual(tensor.tolist(), [[0, 1, 2], [3, 9, 5]])
        tensor.memoryview()[0, 0] = 7
        self.assertEqual(values[0], 7)
        view = llmc.Tensor(llmc.Tensor(bytearray(b"\1\2\3\4"))).memoryview()
        gc.collect()
        self.assertEqual(list(view), [1, 2, 3, 4])

    def test_read_only_memory_is_borrowed_too_and_never_written(self):
        text = bytes(range(16))
        tensor = llmc.Tensor(text, "uint16", (2, 4))
        self.assertEqual(ctypes.string_at(tensor._at(), 16), text)
        self.assertEqual(tensor._at(), ctypes.cast(ctypes.c_char_p(text), ctypes.c_void_p).value)
        self.assertTrue(tensor.memoryview().readonly and not tensor.writable)
        with self.assertRaisesRegex(ValueError, "may not be written"):
            llmc.smooth_apply(llmc.Tensor(bytes(8), "float32"), [1, 1], "multiply")

    def test_what_python_has_no_word_for_is_bits(self):
        words = array.array("H", [0x3F80, 0x4000])
        for dtype in ("bfloat16", "float16", "int16"):
            self.assertEqual(llmc.Tensor(words, dtype).dtype, dtype)
        self.assertEqual(llmc.Tensor(words, "bfloat16").tolist(), [0x3F80, 0x4000])
        self.assertEqual(llmc.Tensor(words.tobytes(), "bfloat16", [1, 2]).tolist(), [[0x3F80, 0x4000]])
        self.assertEqual(llmc.Tensor(bytes(4), "float8_e4m3").memoryview().format, "B")

    def test_what_does_not_fit_is_a_value_error(self):
        words = array.array("H", range(6))
        for arguments in [
            (words, "float32"),
            (words, "half"),
            (words, None, (2, 2)),
            (words, None, (-1, -6)),
            (bytes(3), "int16"),
            (memoryview(b"abc").cast("c"),),
            (Interface([range(32)] * 8), None, (256,)),
        ]:
            with self.assertRaises(ValueError, msg=arguments):
                llmc.Tensor(*arguments)
        with self.assertRaises(TypeError):
            llmc.Tensor([1, 2])
        self.assertEqual(
            (
                llmc.Tensor(b"", "float32", (0, 3)).tolist(),
                llmc.Tensor(array.array("f", [2]), shape=()).tolist(),
            ),
            ([], 2),
        )

    def test_numpy_arrays_are_views_in_place(self):
        try:
            import numpy
        except ImportError:
            self.skipTest("numpy is not there")
        values = numpy.arange(6, dtype=numpy.float32).reshape(2, 3)
        tensor = llmc.Tensor(values.T)
        self.assertEqual((tensor.shape, tensor.strides), ((3, 2), (1, 3)))
        tensor.numpy()[0, 1] = 8
        self.assertEqual(values[1, 0], 8)
        self.assertFalse(llmc.Tensor(bytes(4)).numpy().flags.writeable)
        self.assertEqual(llmc.Tensor(numpy.ones(2, numpy.float16)).dtype, "float16")


class GramTest(Case):
    def test_a_gram_is_the_sum_of_outer_products_with_figures_by_channel(self):
        session, gram = llmc.Session(threads=1), llmc.Gram(2)
        gram.add(session, floats(1, 2, -3, 4, shape=(2, 2)))
        self.assertEqual((gram.channels, gram.tokens, gram.samples), (2, 2, 1))
        self.assertEqual((gram.matrix().tolist(), gram.matrix().dtype), ([[10, -10], [-10, 20]], "float32"))
        seen = gram.statistics()
        self.assertEqual(
            (
                seen.minimum.tolist(),
                seen.maximum.tolist(),
                seen.sum_absolute.tolist(),
                seen.sum_squares.tolist(),
            ),
            ([-3, 2], [1, 4], [4, 6], [10, 20]),
        )
        for same in (
            llmc.Tensor(array.array("H", [0x3F80, 0x4000, 0xC040, 0x4080]), "bfloat16", (2, 2)),
            Columns([1, -3, 9, 2, 4]),
            memoryview(array.array("f", [1, 2, -3, 4]).tobytes()).cast("f", (2, 2)),
        ):
            other = llmc.Gram(2)
            other.add(session, same)
            self.assertEqual(other.matrix().tolist(), gram.matrix().tolist())

    def test_merged_grams_and_one_from_a_file_equal_that_of_the_concatenation(self):
        session, values = llmc.Session(), wild(64 * 16)
        first, second, both = llmc.Gram(16), llmc.Gram(16), llmc.Gram(16)
        a, b = llmc.Tensor(values[: 40 * 16], shape=(40, 16)), llmc.Tensor(values[40 * 16 :], shape=(24, 16))
        first.add(session, a)
        second.add(session, b)
        for part in (a, b):
            both.add(session, part)
        second.save(self.path("second"))
        first.merge(llmc.Gram.load(pathlib.Path(self.path("second"))))
        self.assertEqual(
            (first.matrix().tolist(), first.tokens, first.samples), (both.matrix().tolist(), 64, 2)
        )
        self.assertEqual(first.statistics().maximum.tolist(), both.statistics().maximum.tolist())
        self.fails("LLMC_INVALID_ARGUMENT", first.merge, llmc.Gram(3))
        self.fails("LLMC_INVALID_ARGUMENT", llmc.Gram(3, channels_only=True).matrix)
        self.fails("LLMC_NOT_FOUND", llmc.Gram.load, self.path("none"))
        pathlib.Path(self.path("second")).write_text("damaged")
        self.fails("LLMC_BAD_FILE", llmc.Gram.load, self.path("second"))
        self.fails("LLMC_NUMERIC", first.add, session, floats(*[float("nan")] * 16))
        self.assertEqual(first.tokens, 64)

    def test_smoothing_moves_a_factor_from_the_norm_to_the_weights(self):
        session, gram = llmc.Session(), llmc.Gram(2, channels_only=True)
        gram.add(session, floats(8, 1, -8, -1, shape=(2, 2)))
        weight, norm = floats(1, 1, shape=(1, 2)), floats(32, 6)
        scales = gram.smooth_scales([weight], strength=1)
        self.assertEqual(scales.tolist(), [16, 2])  # range(x)
        llmc.smooth_apply(weight, scales, "multiply")
        llmc.smooth_apply(norm, scales.tolist(), "divide")
        self.assertEqual((weight.tolist(), norm.tolist()), ([[16, 2]], [2, 3]))
        self.fails("LLMC_INVALID_ARGUMENT", llmc.smooth_apply, norm, [1, 1, 1], "divide_plus_one")
        self.fails("LLMC_INVALID_ARGUMENT", gram.smooth_scales, [weight], strength=2)


class MatrixTest(Case):
    def test_rounding_to_nearest_packing_and_back(self):
        session, scheme = llmc.Session(), llmc.Scheme(CHANNEL)
        self.assertEqual(scheme.format, "pack-quantized")
        matrix = llmc.Matrix.quantize(session, scheme, llmc.Tensor(WEIGHT, shape=(2, 4)))
        codes, scales = matrix.codes, matrix.scales
        self.assertEqual(
            (codes.dtype, codes.shape, scales.dtype, scales.shape), ("int8", (2, 4), "float32", (2, 1))
        )
        nearest = [
            [
                max(
                    -8,
                    min(7, round(ctypes.c_float(WEIGHT[4 * row + column] / scales.tolist()[row][0]).value)),
                )
                for column in range(4)
            ]
            for row in range(2)
        ]
        self.assertEqual(codes.tolist(), nearest)
        self.assertTrue(codes.memoryview().readonly and matrix.zero_points is None and matrix.order is None)
        facts = matrix.facts
        self.assertEqual(
            (facts.method, facts.rows, facts.columns, facts.format, facts.model_dtype, facts.global_scale),
            ("rtn", 2, 4, "pack-quantized", "float32", None),
        )

        packed = matrix.pack(session)
        bits = {name: bytes(tensor.memoryview()) for name, tensor in packed.items()}
        self.assertIn("weight_packed", bits)
        for other in (
            llmc.Matrix.unpack(session, scheme, packed, model_dtype="float32"),
            llmc.Matrix.from_parts(scheme, codes, scales, model_dtype="float32"),
        ):
            self.assertEqual((other.codes.tolist(), other.facts.method), (nearest, None))
            self.assertEqual(
                {name: bytes(tensor.memoryview()) for name, tensor in other.pack(session).items()}, bits
            )
        served = matrix.dequantize(session)
        self.assertEqual(
            (served.tolist()[1][1], served.dtype),
            (ctypes.c_float(nearest[1][1] * scales.tolist()[1][0]).value, "float32"),
        )
        same = array.array("f", [0] * 8)
        matrix.dequantize(session, llmc.Tensor(same, shape=(2, 4)))
        self.assertEqual(same.tolist(), sum(served.tolist(), []))

    def test_views_outlive_the_matrix_and_what_is_closed_says_so(self):
        session, scheme = llmc.Session(), llmc.Scheme(CHANNEL)
        with llmc.Matrix.quantize(session, scheme, llmc.Tensor(WEIGHT, shape=(2, 4))) as matrix:
            codes, view, packed = matrix.codes, matrix.codes.memoryview(), matrix.pack(session)
            freed = matrix._owner.finalizer
            expected = codes.tolist()
        del matrix
        gc.collect()
        self.assertTrue(freed.alive)
        self.assertEqual(
            (codes.tolist(), view.tolist(), packed["weight_shape"].tolist()), (expected, expected, [2, 4])
        )
        del codes
        gc.collect()
        self.assertTrue(freed.alive)
        del view
        gc.collect()
        self.assertFalse(freed.alive)
        for closed, use in [(scheme, lambda: scheme.format), (session, lambda: session.device)]:
            closed.close()
            with self.assertRaisesRegex(ValueError, "it is closed"):
                use()

    def test_gptq_with_settings_on_two_threads_that_share_a_gram(self):
        session, weight, inputs, gram = (
            llmc.Session(),
            llmc.Tensor(wild(8 * 64), shape=(8, 64)),
            llmc.Tensor(wild(256 * 64), shape=(256, 64)),
            llmc.Gram(64),
        )
        gram.add(session, inputs)
        scheme = llmc.Scheme(
            {**GROUPS, "symmetric": False}, "gptq", activation_order=True, dampening_frac=0.02, block_size=32
        )
        made = []

        def quantize():
            with llmc.Session(threads=1) as own:
                made.append(llmc.Matrix.quantize(own, scheme, weight, gram))

        threads = [threading.Thread(target=quantize) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(made[0].codes.tolist(), made[1].codes.tolist())
        facts = made[0].facts
        self.assertTrue(facts.method == "gptq" and facts.dampening == 0.02 and facts.loss > 0, facts)
        self.assertEqual(sorted(made[0].order.tolist()), list(range(64)))
        again = llmc.Matrix.from_parts(
            scheme, made[0].codes, made[0].scales, made[0].zero_points, model_dtype="float32"
        )
        self.assertEqual(again.zero_points.tolist(), made[0].zero_points.tolist())
        self.fails("LLMC_INVALID_ARGUMENT", llmc.Matrix.quantize, session, scheme, weight)
        self.fails("LLMC_INVALID_ARGUMENT", llmc.Scheme, "W4A16", block_size=64)  # GPTQ's alone
        self.fails("LLMC_INVALID_ARGUMENT", llmc.Scheme, "W3A99")
        with self.assertRaises(ValueError):
            llmc.Scheme("W4A16", "awq")

    def test_weights_that_a_server_fuses_share_a_global_scale(self):
        session, scheme = llmc.Session(), llmc.Scheme("NVFP4A16")
        small, large = floats(*[0.5] * 128, shape=(4, 32)), floats(*[2] * 128, shape=(4, 32))
        shared = scheme.global_scale(session, [small, large])
        self.assertEqual(shared, scheme.global_scale(session, [large]))
        matrix = llmc.Matrix.quantize(session, scheme, small, global_scale=shared)
        self.assertEqual(
            (matrix.facts.global_scale, matrix.codes.dtype, matrix.scales.dtype),
            (shared, "uint8", "float8_e4m3"),
        )
        self.fails("LLMC_INVALID_ARGUMENT", llmc.Scheme(CHANNEL).global_scale, session, [small])


class WriterTest(Case):
    def test_a_forward_pass_of_ones_own_gives_the_bytes_of_a_whole_run(self):
        config, tensors = micro_llama()
        session, scheme = llmc.Session(), llmc.Scheme("W4A16")
        with llmc.Writer(self.path("own"), config) as writer:
            for name, tensor in tensors.items():
                if name.endswith("_proj.weight"):
                    writer.plan_matrix(name[:-7], scheme, tensor.dtype, *tensor.shape)
                else:
                    writer.plan_tensor(name, tensor.dtype, tensor.shape)
            for name, tensor in reversed(tensors.items()):
                if name.endswith("_proj.weight"):
                    writer.add_matrix(session, name[:-7], llmc.Matrix.quantize(session, scheme, tensor))
                else:
                    writer.add_tensor(session, name, tensor)
            writer.finish(session)
        llmc.oneshot(MICRO, output_dir=self.path("whole"), scheme="W4A16", session=session)
        for file in ("model.safetensors", "config.json"):
            self.assertEqual(
                *(pathlib.Path(self.path(folder), file).read_bytes() for folder in ("own", "whole"))
            )

    def test_a_writer_gives_a_sound_folder_or_none(self):
        session, scheme = llmc.Session(), llmc.Scheme(GROUPS)
        matrix = llmc.Matrix.quantize(session, scheme, llmc.Tensor(wild(4 * 32), shape=(4, 32)))
        with llmc.Writer(self.path("out"), {"model_type": "toy"}) as writer:
            writer.plan_matrix("fc", scheme, "float32", 4, 32)
            writer.plan_tensor("fc.bias", "bfloat16", [2])
            writer.add_matrix(session, "fc", matrix)
            self.fails("LLMC_INVALID_ARGUMENT", writer.finish, session)  # the bias is missing
            self.assertFalse(os.path.exists(self.path("out")))
            writer.add_tensor(session, "fc.bias", llmc.Tensor(array.array("H", [0x3F80, 0x4000]), "bfloat16"))
            with self.assertRaises(llmc.Error):
                writer.add_range("none", "input", -1, 1)
            writer.add_file("notes.txt", b"hello")
            writer.finish(session)
        self.assertEqual(pathlib.Path(self.path("out"), "notes.txt").read_bytes(), b"hello")
        file = self.bytes("out")
        for name, tensor in matrix.pack(session).items():
            self.assertIn(bytes(tensor.memoryview()), file, name)
        self.assertTrue(llmc.verify(self.path("out"), session=session)["sound"])
        self.fails("LLMC_EXISTS", llmc.Writer, self.path("out"), {})

        with self.assertRaises(llmc.Error):
            with llmc.Writer(self.path("out"), "{}", overwrite=True) as unfinished:
                unfinished.plan_tensor("x", "float32", [1])
                unfinished.add_tensor(session, "x", floats(1))
                self.assertEqual(len(os.listdir(self.folder)), 2)
                unfinished.add_tensor(session, "y", floats(1))
        self.assertEqual((self.bytes("out"), os.listdir(self.folder)), (file, ["out"]))


if __name__ == "__main__":
    unittest.main()
