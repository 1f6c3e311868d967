"""Models that lie in no folder."""
import ctypes

from . import _abi
from ._library import json_text, options, text
from ._tensor import Tensor, dtype_number, tensor


class TensorSource:
    """A model in the memory of a trainer, say: what llmc.oneshot and llmc.Model take instead of a folder. The output has the order of `tensors`.

    config: the text of config.json, or a dictionary. tensors: names ("model.layers.0.mlp.up_proj.weight") to arrays, whatever llmc.Tensor takes; they stay where they are.
    With `read` they are names to (dtype, shape), and read(name, offset, to) fills `to`, a memoryview of bytes, with the tensor's bytes from `offset` on (row-major,
    little-endian), the same every time it is asked. One call at a time, perhaps from a thread of llmc's; an exception ends the run and goes on in the caller.
    """

    def __init__(self, config, tensors, read=None):
        self._config = json_text(config)
        if read is None:
            held = {name: tensor(array) for name, array in tensors.items()}
            for name, array in held.items():
                try:
                    array._require_dense()
                except ValueError as problem:
                    raise ValueError(f"{name}: {problem}") from None
            self._tensors, self._read = {
                name: (array.dtype, array.shape) for name, array in held.items()
            }, lambda name, offset, to: _copy(held[name], offset, to)
        else:
            self._tensors, self._read = dict(tensors), read

    def _lend(self, session):
        """As llmc_tensor_source, for calls on `session`."""
        names = list(self._tensors)

        def fill(index, offset, count, to):
            self._read(names[index], offset, memoryview((ctypes.c_char * count).from_address(to)).cast("B"))

        def on_read(_, index, offset, count, to):
            return 0 if session._guarded(fill, index, offset, count, to) else 1

        tensors = (_abi.llmc_source_tensor * len(names))()
        held = []
        for raw, (name, (dtype, shape)) in zip(tensors, self._tensors.items()):
            held.append((text(name), (ctypes.c_int64 * len(shape))(*shape)))
            raw.struct_size, raw.dtype, raw.name, raw.shape, raw.ndim = (
                ctypes.sizeof(raw),
                dtype_number(dtype),
                *held[-1],
                len(shape),
            )
        source = options(
            _abi.llmc_tensor_source,
            config_json=text(self._config),
            tensors=tensors,
            num_tensors=len(names),
            read=_abi.llmc_read_fn(on_read),
        )
        source.held = held, tensors
        return source


def _copy(array, offset, to):
    ctypes.memmove((ctypes.c_char * len(to)).from_buffer(to), array._at() + offset, len(to))
