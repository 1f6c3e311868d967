"""Statistics of a Linear's inputs, and smoothing by them."""
import ctypes

from . import _abi
from ._handle import Handle, checked, made
from ._library import choice, lib, options, switch, text
from ._modifier import Channels
from ._tensor import Tensor, is_array, raws, tensor


class Gram(Handle):
    """The gram matrix sum(x x^T) of what a Linear reads, 4 * channels^2 bytes, and figures by channel. One serves all Linears that read the same values (q, k, v; gate, up).

    channels_only: the figures alone: enough for smoothing and for observers, not for GPTQ.
    """

    def __init__(self, channels, channels_only=False):
        self._owner = made(
            lib.llmc_gram_free,
            lib.llmc_gram_create,
            channels,
            _abi.LLMC_GRAM_CHANNELS if channels_only else _abi.LLMC_GRAM_ALL,
        )

    @classmethod
    def load(cls, path):
        """What save() wrote; Error LLMC_BAD_FILE when it is damaged."""
        self = cls.__new__(cls)
        self._owner = made(lib.llmc_gram_free, lib.llmc_gram_load, text(path))
        return self

    def save(self, path):
        """A file of llmc's own; `path` is replaced in one step."""
        checked(lib.llmc_gram_save, self._handle, text(path))

    def add(self, session, values):
        """values: [.., channels] float32, bfloat16 or float16, one token per row. Three and more dimensions count the first as samples, others are one sample.
        Error LLMC_NUMERIC for NaN and Inf; the gram is as before then."""
        session.call(lib.llmc_gram_add, self._handle, tensor(values)._raw())

    def merge(self, other):
        """As if the other's values had been added after this one's own."""
        checked(lib.llmc_gram_merge, self._handle, other._handle)

    channels = property(lambda self: self._read().channels, doc="The length of a token's values.")
    tokens = property(lambda self: self._read().tokens, doc="Tokens seen.")
    samples = property(lambda self: self._read().samples, doc="Samples seen.")

    def matrix(self):
        """float32 [channels, channels], symmetric: sum over tokens of x_i * x_j."""
        n = self.channels
        values = (ctypes.c_float * (n * n))()
        self._read(channels=n, gram=values)
        return Tensor(values, shape=(n, n))

    def statistics(self):
        """The figures by channel: a Channels."""
        n = self.channels
        values = {
            "minimum": (ctypes.c_float * n)(),
            "maximum": (ctypes.c_float * n)(),
            "sum_absolute": (ctypes.c_double * n)(),
            "sum_squares": (ctypes.c_double * n)(),
        }
        self._read(channels=n, **values)
        return Channels(**{name: Tensor(array) for name, array in values.items()})

    def smooth_scales(self, weights, algorithm=None, strength=None, compat=None):
        """One scale per channel, float32. weights: all that read the values, [rows, channels] each. algorithm: "smoothquant" (default) or "logarithmic"; strength: 0 to 1, default 0.5."""
        how = options(
            _abi.llmc_smooth_options,
            algorithm=choice("algorithm", algorithm, "smoothquant", "logarithmic"),
            compat=choice("compat", compat, "vllm", "reference"),
            strength_set=switch(strength is not None or None),
            strength=strength or 0,
        )
        scales = (ctypes.c_float * self.channels)()
        checked(lib.llmc_smooth_scales, self._handle, *raws(weights), how, scales, len(scales))
        return Tensor(scales)

    def _read(self, **arrays):
        data = options(_abi.llmc_gram_data, **arrays)
        checked(lib.llmc_gram_read, self._handle, data)
        return data


def smooth_apply(values, scales, operation):
    """Changes `values` [.., channels] (float32, bfloat16 or float16) in place, rounded once to its dtype. scales: one per channel.

    operation: "multiply" (weights that read the values), "divide" (weight and bias of the norm that makes them), "divide_plus_one" (weight of a norm that multiplies by 1 + w).
    """
    if is_array(scales):
        scales = tensor(scales).tolist()
    scales = (ctypes.c_float * len(scales))(*scales)
    checked(
        lib.llmc_smooth_apply,
        tensor(values)._raw(written=True),
        scales,
        len(scales),
        choice("operation", operation, "multiply", "divide", "divide_plus_one"),
    )
