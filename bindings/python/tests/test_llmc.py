"""The package against the built library: LLMC_LIBRARY=build/release/libllmc.so PYTHONPATH=bindings/python python3 -m unittest discover -s bindings/python/tests"""
import array
import ctypes
import gc
import json
import logging
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import unittest

import llmc
from llmc import _abi
from support import GPTQ, MICRO, ROOT, TINY, TOKENS, Case, Interface, StridedTokens, read


class InterfaceTest(Case):
    def test_structs_lie_in_memory_as_the_c_compiler_lays_them_out(self):
        for struct, (size, offsets) in _abi.LAYOUT.items():
            self.assertEqual(ctypes.sizeof(struct), size, struct.__name__)
            self.assertEqual({name: getattr(struct, name).offset for name, *_ in struct._fields_}, offsets)

    def test_the_library_says_what_it_is(self):
        version = re.search(r"project\(llmc VERSION (\S+)", read(ROOT, "CMakeLists.txt"))[1]
        self.assertEqual(llmc.__version__, version)
        self.assertIn("cpu", llmc.features())


class OneshotTest(Case):
    def test_token_ids_of_every_kind_give_the_same_bytes(self):
        flat = array.array("q", sum(TOKENS, []))
        kinds = {
            "lists": TOKENS,
            "tuples": tuple(map(tuple, TOKENS)),
            "arrays": [array.array("i", t) for t in TOKENS],
            "buffer": memoryview(flat).cast("B").cast("q", [8, 32]),
            "readonly": memoryview(flat.tobytes()).cast("q", [8, 32]),
            "interface": Interface(TOKENS),
            "dlpack": StridedTokens(TOKENS),
            "rows": [{"input_ids": t} for t in TOKENS],
            "rows of arrays": [{"input_ids": array.array("h", t)} for t in TOKENS],
        }
        try:
            import numpy
        except ImportError:
            pass
        else:
            kinds |= {
                "numpy": numpy.array(TOKENS),
                "numpy strided": numpy.array(TOKENS, dtype=numpy.uint16).T.copy().T,
            }
        for name, dataset in kinds.items():
            report = self.compress(name, dataset=dataset)
            self.assertEqual((name, report["samples"], report["tokens"]), (name, 8, 256))
            self.assertEqual(self.bytes(name), self.bytes("lists"), name)

    def test_recipes_of_every_kind_give_the_same_bytes(self):
        arguments = {"scheme": "W8A8", "targets": ["Linear"], "ignore": ["lm_head"]}
        recipe = {
            "s_stage": {
                "m_modifiers": {"SmoothQuantModifier": {"smoothing_strength": 0.8}, "GPTQModifier": arguments}
            }
        }
        with open(self.path("recipe.json"), "w") as file:
            json.dump(recipe, file)
        self.compress("dict", recipe=recipe)
        for name, same in {
            "text": json.dumps(recipe),
            "file": self.path("recipe.json"),
            "list": [llmc.SmoothQuantModifier(smoothing_strength=0.8), llmc.GPTQModifier(**arguments)],
        }.items():
            self.compress(name, recipe=same)
            self.assertEqual(self.bytes(name), self.bytes("dict"), name)

    def test_a_recipe_or_a_data_set_of_no_use_is_a_type_error(self):
        for wrong in (
            {"recipe": 3},
            {"recipe": [3]},
            {"dataset": 3},
            {"dataset": [1.5]},
            {"dataset": [[1.5]]},
            {"dataset": ["text", [1]]},
            {"dataset": {"a": 1}},
            {"model": 3},
        ):
            with self.assertRaises(TypeError, msg=wrong):
                self.compress("out", **wrong)
        for wrong in (
            {"dataset": []},
            {"dataset": [[]]},
            {"dataset": [[1 << 31]]},
            {"dataset": [[-1]]},
            {"dataset": array.array("d", [1])},
            {"compat": "both"},
            {"model": "a\0b"},
            {"propagate_error": False},
        ):
            with self.assertRaises(ValueError, msg=wrong):
                self.compress("out", **wrong)
        self.assertEqual(os.listdir(self.folder), [])

    def test_progress_comes_in_order_and_log_lines_reach_the_logger(self):
        seen, recipe = [], {"q_stage": {"q_modifiers": {"GPTQModifier": GPTQ[0].arguments}}, "finetuning": {}}
        with self.assertLogs("llmc", logging.INFO) as logs:
            self.compress("out", progress=seen.append, recipe=recipe)
        self.assertEqual([p.step for p in seen], sorted(p.step for p in seen))
        self.assertEqual(seen[-1].step, seen[-1].steps)
        self.assertIn("model.layers.1", {p.layer for p in seen})
        self.assertTrue(any("'finetuning'" in line for line in logs.output), logs.output)

    def test_a_tqdm_bar_is_moved_to_its_end_and_closed(self):
        class Bar:
            made = []

            def __init__(self, total, desc):
                self.n, self.total, self.closed = 0, total, False
                self.made.append(self)

            def set_description(self, text, refresh):
                pass

            def update(self, steps):
                self.n += steps

            def close(self):
                self.closed = True

        module = type(sys)("tqdm.auto")
        module.tqdm = Bar
        sys.modules.update({"tqdm": type(sys)("tqdm"), "tqdm.auto": module})
        try:
            self.compress("out", progress=True)
        finally:
            del sys.modules["tqdm"], sys.modules["tqdm.auto"]
        self.assertEqual([(bar.n, bar.closed) for bar in Bar.made], [(Bar.made[0].total, True)])

    @unittest.skipUnless("text" in llmc.features(), "this build has no text module")
    def test_chats_and_plain_text_as_rows(self):
        chats = [json.loads(line) for line in read(TINY, "calibration.jsonl").splitlines()[:8]]
        self.compress("rows", model=TINY, dataset=chats)
        self.compress(
            "file", model=TINY, dataset=os.path.join(TINY, "calibration.jsonl"), num_calibration_samples=8
        )
        self.assertEqual(self.bytes("rows"), self.bytes("file"))
        self.assertEqual(
            self.compress("text", model=TINY, dataset=["Once upon a time", "there was a model"])["samples"], 2
        )


class ArgumentsTest(Case):
    def test_every_argument_of_llm_compressor_is_treated_as_the_table_says(self):
        table = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", read(ROOT, "docs/oneshot-arguments.md"), re.M))
        from llmc._oneshot import IGNORED, REFUSED, oneshot

        named = set(oneshot.__code__.co_varnames[: 1 + oneshot.__code__.co_kwonlyargcount])
        for name, disposition in table.items():
            self.assertEqual(
                (
                    name,
                    "ignored"
                    if name in IGNORED
                    else "refused"
                    if name in REFUSED
                    else "accepted"
                    if name in named
                    else None,
                ),
                (name, disposition),
            )
        self.assertLessEqual(set(IGNORED) | set(REFUSED), set(table))

    def test_unknown_and_refused_arguments_are_named(self):
        for name in ("num_calibration_sample", "splits"):
            with self.assertRaisesRegex(TypeError, f"'{name}'"):
                self.compress("out", **{name: 1})

    def test_ignored_arguments_are_noted(self):
        with self.assertLogs("llmc", logging.INFO) as logs:
            self.compress("out", trust_remote_code_model=True)
        self.assertTrue(any("trust_remote_code_model is ignored" in line for line in logs.output))


class ErrorTest(Case):
    def test_an_error_carries_the_status_its_name_and_one_line(self):
        with self.assertRaises(llmc.Error) as caught:
            self.compress("out", model=self.path("nowhere"))
        error = caught.exception
        self.assertEqual((error.status, error.name), (_abi.LLMC_NOT_FOUND, "LLMC_NOT_FOUND"))
        self.assertRegex(str(error), "^LLMC_NOT_FOUND: .*nowhere")
        self.assertEqual(str(pickle.loads(pickle.dumps(error))), str(error))

    def test_an_exception_in_a_callback_ends_the_call_and_goes_on(self):
        def stop(progress):
            raise LookupError(progress.layer)

        session = llmc.Session(threads=2)
        with self.assertRaisesRegex(LookupError, "model"):
            self.compress("out", progress=stop, session=session)
        self.assertEqual(os.listdir(self.folder), [])
        self.compress("out", session=session)

    def test_cancel_from_another_thread_and_a_second_call_on_a_busy_session(self):
        session, refused = llmc.Session(threads=1), []

        def both(progress):
            if refused:
                return
            try:
                llmc.inspect(MICRO, session=session)
            except RuntimeError as error:
                refused.append(str(error))
            threading.Thread(target=session.cancel).start()

        with self.assertRaises(llmc.Error) as caught:
            for _ in range(50):
                self.compress(
                    "out", progress=both, session=session, overwrite=True
                )  # the first is done before the request, perhaps; the next is not
        self.assertEqual(caught.exception.name, "LLMC_CANCELLED")
        self.assertIn("another call", refused[0])

    def test_a_session_is_freed_with_its_last_reference(self):
        session = llmc.Session()
        free = session._owner.finalizer
        self.assertRegex(session.device, "^cpu .*thread")
        del session
        gc.collect()
        self.assertFalse(free.alive)

    def test_ctrl_c_cancels_and_leaves_nothing(self):
        program = (
            "import llmc, os, signal, sys, tempfile\n"
            "hits = []\n"
            "def interrupt(p):\n"
            "    if not hits: hits.append(1); os.kill(os.getpid(), signal.SIGINT)\n"
            f"rows = [[(s * i) % 250 for i in range(512)] for s in range(400)]\n"
            "try: llmc.oneshot(sys.argv[1], output_dir=sys.argv[2] + '/out', recipe=llmc.GPTQModifier(scheme='W4A16', targets=['Linear'], ignore=['lm_head']), dataset=rows, progress=interrupt)\n"
            "except KeyboardInterrupt: print('interrupted'); sys.exit(7)\n"
        )
        os.mkdir(self.path("temp"))
        done = subprocess.run(
            [sys.executable, "-c", program, MICRO, self.folder],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "TMPDIR": self.path("temp")},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        self.assertEqual((done.returncode, done.stdout), (7, "interrupted\n"), done.stderr)
        self.assertEqual((os.listdir(self.folder), os.listdir(self.path("temp"))), (["temp"], []))


class ToolsTest(Case):
    def test_looking_at_folders(self):
        self.compress("out")
        out = self.path("out")
        self.assertEqual(llmc.inspect(out)["quant_method"], "compressed-tensors")
        self.assertTrue(llmc.verify(out, MICRO)["sound"])
        self.assertTrue(llmc.diff(out, out)["identical"])
        self.assertEqual(llmc.dequantize(out, self.path("plain"))["matrices"], 14)
        self.assertTrue(llmc.verify(self.path("plain"))["sound"])
        with self.assertRaises(llmc.Error):
            llmc.forward(out, input_ids=self.path("none.safetensors"), output=self.path("logits.safetensors"))

    @unittest.skipUnless("text" in llmc.features(), "this build has no text module")
    def test_evaluate(self):
        text = self.path("text.txt")
        with open(text, "w", encoding="utf-8") as file:
            file.write(read(TINY, "eval.txt")[:20000])
        result = llmc.evaluate(TINY, text=text, reference=TINY)
        self.assertEqual((set(result), result["top1"]), ({"perplexity", "tokens", "kl", "top1"}, 1))


if __name__ == "__main__":
    unittest.main()
