"""Compresses large language models in one shot: a Hugging Face model folder, a recipe and a few hundred chats in, a folder that vLLM serves out.

    import llmc
    report = llmc.oneshot(model="Llama-3-8B", recipe="w4a16.yaml", dataset="chats.jsonl", output_dir="Llama-3-8B-W4A16")

A thin layer over libllmc (ctypes; no torch, no numpy needed). llmc.Error carries the status of the C interface; log lines go to the logger "llmc".
"""
from ._library import Error, features, version as __version__
from ._oneshot import oneshot
from ._recipe import AWQModifier, GPTQModifier, Modifier, QuantizationModifier, SmoothQuantModifier
from ._session import Progress, Session
from ._tools import dequantize, diff, evaluate, forward, inspect, verify

__all__ = ["oneshot", "evaluate", "verify", "inspect", "diff", "dequantize", "forward", "Session", "Progress", "Error", "features", "Modifier",
           "QuantizationModifier", "GPTQModifier", "SmoothQuantModifier", "AWQModifier", "__version__"]
