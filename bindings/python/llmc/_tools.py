"""What llmc_tools.h offers: functions that look at model folders. Results are dictionaries; that header names their keys."""
import ctypes
import json

from . import _abi
from ._library import choice, lib, options, switch, text as c_text
from ._session import Session


def _json_call(session, function, arguments):
    result = ctypes.c_void_p()
    try:
        (session or Session()).call(function, arguments, result)
        return json.loads(ctypes.string_at(result).decode())
    finally:
        lib.llmc_json_free(result)


def evaluate(model, *, text, reference=None, tokenizer=None, window=None, dtype="float32", session=None):
    """Perplexity of a text file: {"perplexity", "tokens"}; with a `reference` model also "kl" (nats per token) and "top1"."""
    return _json_call(
        session,
        lib.llmc_eval,
        options(
            _abi.llmc_eval_options,
            model_dir=c_text(model),
            reference_dir=c_text(reference),
            text=c_text(text),
            tokenizer_dir=c_text(tokenizer),
            window=window or 0,
            dtype=choice("dtype", dtype, "float32", "bfloat16"),
        ),
    )


def forward(model, *, input_ids, output, dtype="float32", session=None):
    """Writes `logits` and `hidden.N` for the `input_ids` of a safetensors file into the safetensors file `output`."""
    (session or Session()).call(
        lib.llmc_forward,
        options(
            _abi.llmc_forward_options,
            model_dir=c_text(model),
            input_ids=c_text(input_ids),
            output=c_text(output),
            dtype=choice("dtype", dtype, "float32", "bfloat16"),
        ),
    )


def verify(model, source=None, *, session=None):
    """Is a folder sound? {"sound", "faults", ...}; with `source` also compared with the model it was made from. Faults are a result, not an exception."""
    return _json_call(
        session,
        lib.llmc_verify,
        options(_abi.llmc_verify_options, model_dir=c_text(model), source_dir=c_text(source)),
    )


def inspect(model, *, session=None):
    """What lies in a folder, from headers and config.json alone."""
    return _json_call(session, lib.llmc_inspect, options(_abi.llmc_inspect_options, model_dir=c_text(model)))


def diff(a, b, *, session=None):
    """How two folders of one model differ: {"identical", ...}."""
    return _json_call(
        session, lib.llmc_diff, options(_abi.llmc_diff_options, a_dir=c_text(a), b_dir=c_text(b))
    )


def dequantize(model, output_dir, *, overwrite=False, max_shard_bytes=None, session=None):
    """A compressed folder in, a plain one in the model's dtype out."""
    return _json_call(
        session,
        lib.llmc_dequantize,
        options(
            _abi.llmc_dequantize_options,
            model_dir=c_text(model),
            output_dir=c_text(output_dir),
            overwrite=switch(overwrite),
            max_shard_bytes=max_shard_bytes or 0,
        ),
    )
