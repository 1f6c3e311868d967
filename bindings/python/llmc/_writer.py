"""Compressed-tensors folders, written tensor by tensor."""
import ctypes

from . import _abi
from ._handle import Handle, checked, made
from ._library import choice, json_text, lib, options, switch, text
from ._tensor import dtype_number, tensor


class Writer(Handle):
    """First the whole plan, then every planned tensor once, in any order, then finish(): the folder appears whole or not at all. An unfinished writer that is closed (a `with`
    statement does it) removes what it wrote.

    config: config.json as text or a dictionary; quantization_config is set in it.
    """

    def __init__(self, output_dir, config, *, compat=None, max_shard_bytes=None, overwrite=False):
        how = options(
            _abi.llmc_writer_options,
            output_dir=text(output_dir),
            config_json=text(json_text(config)),
            compat=choice("compat", compat, "vllm", "reference"),
            max_shard_bytes=max_shard_bytes or 0,
            overwrite=switch(overwrite),
        )
        self._owner = made(lib.llmc_writer_free, lib.llmc_writer_create, how)

    def plan_tensor(self, name, dtype, shape):
        """A tensor that is written as it is. Two-dimensional "<module>.weight"s that no scheme quantizes are put on quantization_config's ignore list."""
        checked(
            lib.llmc_writer_plan_tensor,
            self._handle,
            text(name),
            dtype_number(dtype),
            (ctypes.c_int64 * len(shape))(*shape),
            len(shape),
        )

    def plan_matrix(self, module, scheme, model_dtype, rows, columns):
        """The weight [rows, columns] of a module, quantized. model_dtype: of the weight."""
        checked(
            lib.llmc_writer_plan_matrix,
            self._handle,
            text(module),
            scheme._handle,
            dtype_number(model_dtype),
            rows,
            columns,
        )

    def add_tensor(self, session, name, values):
        """Its bytes go to disk during the call. Error LLMC_NUMERIC for NaN and Inf."""
        session.call(lib.llmc_writer_add_tensor, self._handle, text(name), tensor(values)._raw())

    def add_matrix(self, session, module, matrix):
        """Its bytes go to disk during the call."""
        session.call(lib.llmc_writer_add_matrix, self._handle, text(module), matrix._handle)

    def add_range(self, module, activation, minimum, maximum):
        """For schemes whose activations have a fixed scale ("FP8", "NVFP4"): the range of the module's "input"s or "output"s (Gram.statistics)."""
        checked(
            lib.llmc_writer_add_range,
            self._handle,
            text(module),
            choice("activation", activation, "input", "output"),
            minimum,
            maximum,
        )

    def add_file(self, name, content):
        """Any other file of the folder, from bytes: tokenizer.json, generation_config.json."""
        content = bytes(content)
        checked(lib.llmc_writer_add_file, self._handle, text(name), content, len(content))

    def finish(self, session):
        """Writes config.json, reads everything back, checks it, and gives the folder its name. A refusal (a tensor is missing) leaves the writer as it was."""
        session.call(lib.llmc_writer_finish, self._handle)
