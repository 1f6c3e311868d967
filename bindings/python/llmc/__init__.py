"""Compresses large language models in one shot: a Hugging Face model folder, a recipe and a few hundred chats in, a folder that vLLM serves out.

    import llmc
    report = llmc.oneshot(model="Llama-3-8B", recipe="w4a16.yaml", dataset="chats.jsonl", output_dir="Llama-3-8B-W4A16")

llmc.Model is the job in parts, llmc.TensorSource a model that lies in no folder, Session.add_modifier a modifier written in Python. With a forward pass of your own,
llmc.Gram, Scheme, Matrix and Writer do the rest, matrix by matrix:

    with llmc.Session() as session, llmc.Writer("out", config) as writer:
        gram = llmc.Gram(columns)
        gram.add(session, inputs)                                     # as often as there are batches
        scheme = llmc.Scheme("W4A16", "gptq")
        matrix = llmc.Matrix.quantize(session, scheme, weight, gram)
        writer.plan_matrix("fc1", scheme, "bfloat16", rows, columns)  # the whole plan comes first
        writer.add_matrix(session, "fc1", matrix)
        writer.finish(session)

A thin layer over libllmc (ctypes; no torch, no numpy needed). Arrays are whatever llmc.Tensor takes: torch, numpy, buffers; in place, nothing is copied. llmc.Error carries the
status of the C interface; an exception in a callback of yours ends the call and is what it raises; Ctrl-C cancels. Log lines go to the logger "llmc".
"""
from ._gram import Gram, smooth_apply
from ._library import Error, features, version as __version__
from ._matrix import Matrix, MatrixFacts
from ._model import Model
from ._modifier import Channels, MatrixJob
from ._oneshot import oneshot
from ._recipe import AWQModifier, GPTQModifier, Modifier, QuantizationModifier, SmoothQuantModifier
from ._report import Linear, Report
from ._scheme import Scheme
from ._session import Progress, Session
from ._source import TensorSource
from ._tensor import Tensor
from ._tools import dequantize, diff, evaluate, forward, inspect, verify
from ._writer import Writer

__all__ = [
    "oneshot",
    "evaluate",
    "verify",
    "inspect",
    "diff",
    "dequantize",
    "forward",
    "Session",
    "Progress",
    "Report",
    "Linear",
    "Error",
    "features",
    "Modifier",
    "QuantizationModifier",
    "GPTQModifier",
    "SmoothQuantModifier",
    "AWQModifier",
    "Model",
    "TensorSource",
    "MatrixJob",
    "Channels",
    "Tensor",
    "Gram",
    "smooth_apply",
    "Scheme",
    "Matrix",
    "MatrixFacts",
    "Writer",
    "__version__",
]
