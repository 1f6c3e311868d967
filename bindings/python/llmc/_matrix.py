"""Quantized matrices."""
import ctypes
import dataclasses
from typing import Optional

from . import _abi
from ._handle import Handle, checked, made
from ._library import Error, lib, options, text
from ._tensor import Tensor, dtype_name, dtype_number, raws, tensor


@dataclasses.dataclass(frozen=True)
class MatrixFacts:
    """What is known of a Matrix."""

    method: Optional[str]  # "rtn" or "gptq", that was used; None: made from parts or unpacked
    rows: int
    columns: int
    loss: float  # GPTQ: sum of squared output errors per token; 0 otherwise
    relative_error: float  # GPTQ: root of (output error / output energy) over sampled rows; RTN: ||W - Q|| / ||W||
    dampening: float  # GPTQ: the fraction that worked; 0 otherwise
    global_scale: Optional[float]  # NVFP4's
    scheme: str  # "int4 group 128"
    format: str  # "pack-quantized"
    note: str  # why the method fell back or the dampening rose; "" otherwise
    model_dtype: str  # of the weight that the codes stand for


class Matrix(Handle):
    """Codes, scales, perhaps zero points. Its tensors are views in place that keep it alive."""

    def __init__(self, owner):
        self._owner = owner

    @classmethod
    def quantize(cls, session, scheme, weight, gram=None, global_scale=None):
        """weight: [rows, columns] float32, bfloat16 or float16. gram: of the inputs, columns channels; GPTQ needs it, observers that weigh channels use it.
        global_scale: Scheme.global_scale for weights that a server fuses; None: the weight's own. Error LLMC_NUMERIC for NaN and Inf.
        """
        return cls(
            made(
                lib.llmc_matrix_free,
                lib.llmc_quantize_matrix,
                scheme._handle,
                tensor(weight)._raw(),
                gram and gram._handle,
                _float(global_scale),
                session=session,
            )
        )

    @classmethod
    def from_parts(cls, scheme, codes, scales, zero_points=None, global_scale=None, *, model_dtype):
        """From parts made elsewhere, with the shapes of the properties below; they are copied. model_dtype: of the weight that the codes stand for."""
        zero_points = None if zero_points is None else tensor(zero_points)._raw()
        return cls(
            made(
                lib.llmc_matrix_free,
                lib.llmc_matrix_create,
                scheme._handle,
                tensor(codes)._raw(),
                tensor(scales)._raw(),
                zero_points,
                _float(global_scale),
                dtype_number(model_dtype),
            )
        )

    @classmethod
    def unpack(cls, session, scheme, tensors, *, model_dtype):
        """The inverse of pack(): names to tensors, in any order."""
        names = (ctypes.c_char_p * len(tensors))(*map(text, tensors))
        return cls(
            made(
                lib.llmc_matrix_free,
                lib.llmc_unpack,
                scheme._handle,
                names,
                *raws(tensors.values()),
                dtype_number(model_dtype),
                session=session
            )
        )

    @property
    def facts(self):
        """A MatrixFacts: what was done, and how well."""
        handle, f = self._handle, options(_abi.llmc_matrix_facts)
        checked(lib.llmc_matrix_info, handle, f)
        return MatrixFacts(
            {_abi.LLMC_METHOD_RTN: "rtn", _abi.LLMC_METHOD_GPTQ: "gptq"}.get(f.method),
            f.rows,
            f.columns,
            f.loss,
            f.relative_error,
            f.dampening,
            f.global_scale or None,
            f.scheme.decode(),
            f.format.decode(),
            f.note.decode(),
            dtype_name(f.model_dtype),
        )

    codes = property(
        lambda self: self._part(_abi.LLMC_PART_CODES),
        doc="[rows, columns]: int8, float8_e4m3, or uint8 with one fp4 number (E2M1, sign in bit 3) each.",
    )
    scales = property(
        lambda self: self._part(_abi.LLMC_PART_SCALES),
        doc="[1], [rows, 1], [rows, groups] or [block rows, block columns]: the model's dtype, float8_e4m3 (NVFP4) or uint8 exponents (MX).",
    )
    zero_points = property(
        lambda self: self._part(_abi.LLMC_PART_ZERO_POINTS),
        doc="int8, the scales' shape; None for symmetric schemes.",
    )
    order = property(
        lambda self: self._part(_abi.LLMC_PART_ORDER),
        doc="int32 [columns]: which column GPTQ visited i-th; None without activation order.",
    )

    def dequantize(self, session, values=None):
        """The weight as a server sees it. values: [rows, columns] float32, bfloat16 or float16, written; None: new memory in the model's dtype. Returns the Tensor."""
        if values is None:
            facts = self.facts
            values = Tensor(
                bytearray(facts.rows * facts.columns * (4 if facts.model_dtype == "float32" else 2)),
                facts.model_dtype,
                (facts.rows, facts.columns),
            )
        values = tensor(values)
        session.call(lib.llmc_matrix_dequantize, self._handle, values._raw(written=True))
        return values

    def pack(self, session):
        """The tensors that a file holds for this matrix, by name ("weight_packed", "weight_scale", ...); views that stay valid without it."""
        packed = made(lib.llmc_packed_free, lib.llmc_pack, self._handle, session=session)
        tensors = {}
        for index in range(lib.llmc_packed_count(packed)):
            name, raw = ctypes.c_char_p(), options(_abi.llmc_tensor)
            checked(lib.llmc_packed_tensor, packed, index, name, raw)
            tensors[name.value.decode()] = Tensor._of(raw, packed)
        return tensors

    def _part(self, part):
        handle, raw = self._handle, options(_abi.llmc_tensor)
        try:
            checked(lib.llmc_matrix_part, handle, part, raw)
        except Error as error:
            if error.status == _abi.LLMC_NOT_FOUND:
                return None
            raise
        return Tensor._of(raw, handle)


def _float(value):
    return None if value is None else ctypes.c_float(value)
