"""The model level, sources, modifiers and reports; exceptions out of every callback."""
import dataclasses
import gc
import json
import os
import pickle
import signal
import subprocess
import sys
import unittest

import llmc
from support import GPTQ, MICRO, TOKENS, Case, micro_llama

RTN = [llmc.QuantizationModifier(scheme="W4A16", targets=["Linear"], ignore=["lm_head"])]


class MyModifier(llmc.Modifier):
    """Names the tests' own in recipes."""


MINE = [MyModifier(scheme="W4A16", targets=["Linear"], ignore=["lm_head"])]


class ModelTest(Case):
    def test_a_model_in_parts_writes_the_bytes_of_a_oneshot_for_recipe_after_recipe(self):
        session, steps = llmc.Session(threads=2), []
        for name, recipe in {"gptq": GPTQ, "rtn": RTN}.items():
            self.compress(name, recipe=recipe, session=session)
        with llmc.Model(MICRO, session) as model:
            model.add_token_ids(TOKENS[:3])
            model.add_token_ids(TOKENS[3:])
            self.fails("LLMC_INVALID_ARGUMENT", model.save)  # nothing is quantized
            model.quantize(self.path("a"), recipe=GPTQ, progress=steps.append)
            self.assertTrue(steps and not os.path.exists(self.path("a")))
            report = model.save()
            model.quantize(self.path("b"), recipe=RTN, progress=False)
            model.save()
        self.assertEqual((self.bytes("a"), self.bytes("b")), (self.bytes("gptq"), self.bytes("rtn")))
        self.assertEqual((report.samples, report.tokens, len(report.linears)), (8, 256, 14))

    def test_rows_are_added_like_token_ids(self):
        with llmc.Model(MICRO) as model:
            model.add_token_ids(TOKENS)
            model.quantize(self.path("ids"), recipe=GPTQ, progress=False)
            model.save()
        if "text" not in llmc.features():
            return
        with llmc.Model(MICRO) as model:
            model.add_data([{"input_ids": row} for row in TOKENS])
            model.quantize(self.path("rows"), recipe=GPTQ, progress=False)
            model.save()
        self.assertEqual(self.bytes("rows"), self.bytes("ids"))

    def test_a_model_refuses_what_is_not_its_own_and_may_be_used_on(self):
        session = llmc.Session()
        self.fails("LLMC_NOT_FOUND", llmc.Model, self.path("nowhere"), session)
        with llmc.Model(MICRO, session) as model:
            with self.assertRaises(ValueError):
                model.add_token_ids([[], []])
            with self.assertRaises(TypeError):
                model.add_token_ids([{"text": "a"}])
            with self.assertRaises(TypeError):
                model.add_data(TOKENS)
            model.add_token_ids(TOKENS)
            with self.assertRaises(llmc.Error):
                model.add_data(self.path("none.jsonl"))
            self.fails("LLMC_INVALID_ARGUMENT", model.quantize, self.path("out"))

            def cancel(progress):
                session.cancel()

            self.fails("LLMC_CANCELLED", model.quantize, self.path("out"), recipe=GPTQ, progress=cancel)

            def stop(progress):
                raise LookupError("enough")

            with self.assertRaisesRegex(LookupError, "enough"):
                model.quantize(self.path("out"), recipe=GPTQ, progress=stop)
            self.assertEqual(os.listdir(self.folder), [])
            model.quantize(self.path("out"), recipe=GPTQ, progress=False)
            self.assertEqual(len(os.listdir(self.folder)), 1)
        self.assertEqual(os.listdir(self.folder), [])  # not saved: nothing is left
        with self.assertRaisesRegex(ValueError, "closed"):
            model.save()

    def test_statistics_are_saved_loaded_and_merged_and_stand_for_the_data(self):
        session = llmc.Session()
        for half in (0, 1):
            with llmc.Model(MICRO, session) as model:
                model.add_token_ids(TOKENS[4 * half : 4 * half + 4])
                model.save_statistics(self.path(str(half)))
                self.fails("LLMC_EXISTS", model.save_statistics, self.path(str(half)))
        self.assertEqual(llmc.Gram.load(self.path("0/model.layers.1.mlp.gate_proj.safetensors")).tokens, 128)
        with llmc.Model(llmc.TensorSource(*micro_llama()), session) as model:
            self.fails("LLMC_NOT_FOUND", model.load_statistics, self.path("nowhere"))
            for half in ("0", "1"):
                model.load_statistics(self.path(half))
            model.quantize(self.path("out"), recipe=GPTQ, progress=False)
            report = model.save()
        self.assertEqual((report.tokens, report.propagation, report.linears[0].method), (256, "none", "GPTQ"))

    def test_a_session_outlives_its_models(self):
        model = llmc.Model(MICRO)
        model.me = model  # a cycle: Python frees both at once, in any order
        freed = model._owner.finalizer, model._session._owner.finalizer
        model._session.close()
        self.assertTrue(freed[1].alive)
        del model
        gc.collect()
        self.assertEqual([f.alive for f in freed], [False, False])


class ReportTest(Case):
    def test_a_report_is_a_dictionary_with_attributes(self):
        report = self.compress("out")
        self.assertIsInstance(report, dict)
        self.assertEqual(json.loads(json.dumps(report)), report)
        self.assertEqual(
            (report.samples, report.bytes_after, report.notes),
            (report["samples"], report["bytes_after"], report["notes"]),
        )
        first = report.linears[0]
        self.assertEqual(
            (first.name, first.scheme, first.method, first.note),
            ("model.layers.0.self_attn.q_proj", "int4 group 128", "GPTQ", ""),
        )
        self.assertEqual(dataclasses.asdict(first), {**report["linears"][0], "note": ""})
        self.assertEqual(pickle.loads(pickle.dumps(report)).linears, report.linears)
        with self.assertRaises(AttributeError):
            report.no_such_figure


class ModifierTest(Case):
    def test_one_that_leaves_the_codes_alone_is_rounding_and_one_that_changes_them_is_written(self):
        session, seen, wipe, kept = llmc.Session(threads=2), [], [], []

        @session.add_modifier("MyModifier", needs=("gram", "channels"))
        def mine(job):
            columns = job.weight.shape[1]
            self.assertEqual(
                (job.weight.dtype, job.codes.dtype, job.codes.shape, job.scales.shape[0], job.zero_points),
                ("bfloat16", "int8", job.weight.shape, job.weight.shape[0], None),
            )
            self.assertEqual(
                (job.gram.shape, job.channels.sum_squares.shape), ((columns, columns), (columns,))
            )
            self.assertAlmostEqual(
                job.gram.memoryview()[1, 1] / job.channels.sum_squares.tolist()[1], 1, places=3
            )
            self.assertTrue(job.weight.memoryview().readonly)
            seen.append((job.module, job.num_bits, job.tokens))
            kept[:] = [job]
            if wipe:
                codes = job.codes.memoryview()
                for column in range(8):
                    codes[0, column] = 0

        self.compress("rtn", recipe=RTN, session=session)
        self.compress("same", recipe=MINE, session=session)
        self.assertEqual(self.bytes("same"), self.bytes("rtn"))
        wipe.append(True)
        self.compress("other", recipe=MINE, session=session)
        self.assertNotEqual(self.bytes("other"), self.bytes("rtn"))
        self.assertEqual((len(seen), seen[0]), (28, ("model.layers.0.self_attn.q_proj", 4, 256)))
        with self.assertRaisesRegex(ValueError, "for the length of a callback"):
            kept[0].codes.memoryview()
        self.assertGreater(max(kept[0].channels.maximum.tolist()), 0)
        self.assertTrue(callable(mine))

    def test_an_exception_of_one_ends_the_run_and_goes_on(self):
        session, mistake = llmc.Session(), []

        def mine(job):
            if mistake:
                raise mistake[0]
            job.codes.memoryview()[0, 0] = 100

        session.add_modifier("MyModifier", mine)
        mistake.append(LookupError("not this one"))
        with self.assertRaises(LookupError) as caught:
            self.compress("out", recipe=MINE, session=session)
        self.assertIs(caught.exception, mistake.pop())
        self.fails("LLMC_INVALID_ARGUMENT", self.compress, "out", recipe=MINE, session=session)
        self.assertEqual(os.listdir(self.folder), [])
        for name in ("MyModifier", "GPTQModifier", ""):
            self.fails("LLMC_INVALID_ARGUMENT", session.add_modifier, name, mine)
        with self.assertRaisesRegex(ValueError, "needs: got 'hessian'"):
            session.add_modifier("Other", mine, "hessian")
        llmc.oneshot(MICRO, scheme="W8A8", output_dir=self.path("out"), session=session)

    def test_ctrl_c_in_one_cancels_and_leaves_nothing(self):
        program = (
            "import llmc, os, signal, sys, time\n"
            "session = llmc.Session()\n"
            "session.add_modifier('Mine', lambda job: os.kill(os.getpid(), signal.SIGINT))\n"
            "recipe = {'s_stage': {'m_modifiers': {'Mine': {'scheme': 'W4A16', 'targets': ['Linear'], 'ignore': ['lm_head']}}}}\n"
            "try: llmc.oneshot(sys.argv[1], output_dir=sys.argv[2] + '/out', recipe=recipe, dataset=[[1, 2, 3]], session=session)\n"
            "except KeyboardInterrupt: print('interrupted'); sys.exit(7)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, MICRO, self.folder],
            capture_output=True,
            text=True,
            timeout=120,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        self.assertEqual(
            (done.returncode, done.stdout, os.listdir(self.folder)), (7, "interrupted\n", []), done.stderr
        )


class SourceTest(Case):
    def test_a_model_in_memory_gives_the_bytes_of_its_folder_whole_and_in_parts(self):
        config, tensors = micro_llama()
        self.compress("folder")
        self.compress("memory", model=llmc.TensorSource(config, tensors))
        reads = []

        def read(name, offset, to):
            reads.append(name)
            to[:] = tensors[name].memoryview().cast("B")[offset : offset + len(to)]

        source = llmc.TensorSource(
            json.loads(config), {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()}, read
        )
        with llmc.Model(source) as model:
            model.add_token_ids(TOKENS)
            del source
            gc.collect()
            model.quantize(self.path("parts"), recipe=GPTQ, progress=False)
            model.save()
        self.assertEqual(set(reads), set(tensors))
        for name in ("memory", "parts"):
            self.assertEqual(self.bytes(name), self.bytes("folder"))

    def test_an_exception_in_reading_ends_the_call_and_goes_on(self):
        config, tensors = micro_llama()
        names = {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()}
        problem = OSError("the trainer is gone")

        def read(name, offset, to):
            raise problem

        source, session = llmc.TensorSource(config, names, read), llmc.Session()
        for job in (
            {"dataset": TOKENS, "recipe": GPTQ},
            {"scheme": "W8A8"},
        ):  # the second reads ahead on a thread of llmc's
            with self.assertRaises(OSError) as caught:
                llmc.oneshot(source, output_dir=self.path("out"), session=session, progress=False, **job)
            self.assertIs(caught.exception, problem)
        with llmc.Model(source, session) as model:
            model.add_token_ids(TOKENS)
            with self.assertRaises(OSError):
                model.quantize(self.path("out"), recipe=GPTQ, progress=False)
        self.assertEqual(os.listdir(self.folder), [])

    def test_sources_that_make_no_sense(self):
        config, tensors = micro_llama()
        name, some = next(iter(tensors.items()))
        with self.assertRaisesRegex(ValueError, "half"):
            llmc.oneshot(
                llmc.TensorSource(config, {"x": ("half", [2])}, print),
                output_dir=self.path("out"),
                scheme="W8A8",
            )
        with self.assertRaises(TypeError):
            llmc.TensorSource(config, {"x": [1, 2]})
        self.fails(
            "LLMC_INVALID_ARGUMENT",
            llmc.oneshot,
            llmc.TensorSource(config, {}),
            output_dir=self.path("out"),
            scheme="W8A8",
        )


if __name__ == "__main__":
    unittest.main()
