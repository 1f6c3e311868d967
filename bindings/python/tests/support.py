"""What the tests share."""
import ctypes
import json
import os
import pathlib
import tempfile
import unittest

import llmc
from llmc import _tensor

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../.."))
MICRO, TINY = os.path.join(ROOT, "tests/golden/micro-llama"), os.path.join(ROOT, "examples/tiny-llama")
GPTQ = [llmc.GPTQModifier(scheme="W4A16", targets=["Linear"], ignore=["lm_head"])]
TOKENS = [[(s * 37 + i * i * 7 + i * 31 + 3) % 251 for i in range(32)] for s in range(8)]


def read(*path):
    return pathlib.Path(*path).read_text(encoding="utf-8")


class Case(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = scratch.name

    def path(self, name):
        return os.path.join(self.folder, name)

    def bytes(self, name):
        return pathlib.Path(self.path(name), "model.safetensors").read_bytes()

    def fails(self, name, function, *arguments, **named):
        with self.assertRaises(llmc.Error) as caught:
            function(*arguments, **named)
        self.assertEqual(caught.exception.name, name, caught.exception)

    def compress(self, name, **arguments):
        return llmc.oneshot(
            **{
                "model": MICRO,
                "output_dir": self.path(name),
                "recipe": GPTQ,
                "dataset": TOKENS,
                "progress": False,
                **arguments,
            }
        )


def micro_llama():
    """config.json's text, and the tensors by name, in the memory of this process."""
    file = pathlib.Path(MICRO, "model.safetensors").read_bytes()
    start = 8 + int.from_bytes(file[:8], "little")
    entries = sorted(
        (entry["data_offsets"], name, entry["shape"])
        for name, entry in json.loads(file[8:start]).items()
        if name != "__metadata__"
    )
    return read(MICRO, "config.json"), {
        name: llmc.Tensor(memoryview(file)[start + begin : start + end], "bfloat16", shape)
        for (begin, end), name, shape in entries
    }


class Interface:
    """Has only __array_interface__: the columns in memory are reversed."""

    def __init__(self, rows):
        self.memory = (ctypes.c_int32 * 256)(*[t for row in rows for t in reversed(row)])
        self.__array_interface__ = {
            "version": 3,
            "typestr": "<i4",
            "shape": (8, 32),
            "strides": (128, -4),
            "data": (ctypes.addressof(self.memory) + 124, False),
        }


class DLPack:
    """Has only __dlpack__, of the _DLTensor that is its `tensor`."""

    def __dlpack_device__(self):
        return (self.tensor.device_type, self.tensor.device_id)

    def __dlpack__(self):
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        return new(ctypes.addressof(self.tensor), b"dltensor", None)


class StridedTokens(DLPack):
    """int64, every other element, an offset."""

    def __init__(self, rows):
        self.memory = (ctypes.c_int64 * 513)(*[0] + [x for row in rows for t in row for x in (t, -1)])
        self.shape, self.strides = (ctypes.c_int64 * 2)(8, 32), (ctypes.c_int64 * 2)(64, 2)
        self.tensor = _tensor._DLTensor(
            ctypes.addressof(self.memory), 1, 0, 2, 0, 64, 1, self.shape, self.strides, 8
        )
