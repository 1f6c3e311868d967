"""Modifiers written in Python."""
import ctypes
import dataclasses
from typing import Optional

from . import _abi
from ._library import options, text
from ._tensor import Tensor

_NEEDS = {"gram": _abi.LLMC_NEEDS_GRAM, "channels": _abi.LLMC_NEEDS_CHANNELS}


@dataclasses.dataclass(frozen=True)
class Channels:
    """Figures by channel: float32, and float64 for the sums."""

    minimum: Tensor  # +infinity before the first token
    maximum: Tensor  # -infinity before the first token
    sum_absolute: Tensor  # over tokens of |x|
    sum_squares: Tensor


@dataclasses.dataclass(frozen=True)
class MatrixJob:
    """One matrix of a calibrated run. A code stands for (code - zero point) * scale. The tensors, and what was made of their memory, are valid during the callback."""

    module: str  # "model.layers.0.mlp.up_proj"
    num_bits: int
    weight: Tensor  # [rows, columns] in the model's dtype
    scales: Tensor  # float32: [1], [rows, 1], [rows, groups] or [block rows, block columns]
    zero_points: Optional[Tensor]  # int8, the scales' shape; None when symmetric
    codes: Tensor  # [rows, columns] int8, float8_e4m3 or (fp4, one code a byte) uint8: the nearest codes. Change them in place: job.codes.memoryview()[0, 0] = 1
    gram: Optional[
        Tensor
    ]  # float32 [columns, columns]: the lower triangle of sum(x x^T). None unless asked for
    channels: Optional[Channels]  # None unless asked for; copies
    tokens: int  # in the statistics


def c_modifier(session, type, function, needs):
    """A llmc_modifier that calls `function`; session: a weak reference."""
    wanted = 0
    for need in [needs] if isinstance(needs, str) else needs:
        if need not in _NEEDS:
            raise ValueError(f"needs: got {need!r}, wanted {' or '.join(map(repr, _NEEDS))}")
        wanted |= _NEEDS[need]

    def run(pointer):
        c, lent = pointer.contents, []

        def view(raw, writable=False):
            if not raw:
                return None
            lent.append(Tensor._of(raw.contents, None, writable))
            return lent[-1]

        weight = view(c.weight)
        columns = weight.shape[-1]

        def copied(element, values):
            return Tensor((element * columns)(*values[:columns]))

        channels = (
            Channels(
                copied(ctypes.c_float, c.channel_min),
                copied(ctypes.c_float, c.channel_max),
                copied(ctypes.c_double, c.sum_absolute),
                copied(ctypes.c_double, c.sum_squares),
            )
            if c.channel_min
            else None
        )
        try:
            function(
                MatrixJob(
                    c.module.decode(),
                    c.num_bits,
                    weight,
                    view(c.scales),
                    view(c.zero_points),
                    view(c.codes, True),
                    view(c.gram),
                    channels,
                    c.tokens,
                )
            )
        finally:
            for each in lent:
                each._release()

    on_matrix = _abi.llmc_quantize_fn(lambda _, job: 0 if session()._guarded(run, job) else 1)
    return options(_abi.llmc_modifier, needs=wanted, type=text(type), quantize=on_matrix)
