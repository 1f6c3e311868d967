"""Tensors over other people's memory: __dlpack__, __array_interface__ or the buffer protocol."""
import ctypes
import re
from typing import NamedTuple

from . import _abi
from ._library import options


class _Dtype(NamedTuple):
    number: int  # LLMC_DTYPE_*
    kind: str  # "i" integer, "u" unsigned, "f" float, "b" bool; what Python has no type for has a kind of its own
    itemsize: int  # bytes
    code: str  # of memoryview: itself, or unsigned integers of its size
    typestr: str  # of __array_interface__: itself, or unsigned integers of its size


_DTYPES = {
    name: _Dtype(getattr(_abi, "LLMC_DTYPE_" + name.upper()), kind, size, code, typestr)
    for name, kind, size, code, typestr in [
        ("float32", "f", 4, "f", "<f4"),
        ("bfloat16", "bf", 2, "H", "<u2"),
        ("float16", "f", 2, "H", "<f2"),
        ("float64", "f", 8, "d", "<f8"),
        ("float8_e4m3", "e4m3", 1, "B", "|u1"),
        ("float8_e5m2", "e5m2", 1, "B", "|u1"),
        ("float8_e8m0", "e8m0", 1, "B", "|u1"),
        ("int8", "i", 1, "b", "|i1"),
        ("int16", "i", 2, "h", "<i2"),
        ("int32", "i", 4, "i", "<i4"),
        ("int64", "i", 8, "q", "<i8"),
        ("uint8", "u", 1, "B", "|u1"),
        ("uint16", "u", 2, "H", "<u2"),
        ("uint32", "u", 4, "I", "<u4"),
        ("uint64", "u", 8, "Q", "<u8"),
        ("bool", "b", 1, "?", "|b1"),
    ]
}
_BY_KIND = {(d.kind, d.itemsize): name for name, d in _DTYPES.items()}
_BY_NUMBER = {d.number: name for name, d in _DTYPES.items()}


def dtype_number(name):
    """LLMC_DTYPE_* of a name such as "bfloat16"."""
    if name not in _DTYPES:
        raise ValueError(f"dtype: got {name!r}, wanted one of {', '.join(_DTYPES)}")
    return _DTYPES[name].number


def dtype_name(number):
    return _BY_NUMBER.get(number, f"dtype {number}")


class Tensor:
    """A tensor over memory, which is borrowed and kept alive: `dtype` (a name), `shape`, `strides` (in elements), `writable`, `gpu`: the index of the GPU it lies on, None: the CPU's.

    A GPU's, from __dlpack__, is of use to calls with a session on that GPU alone.

    array: anything with __dlpack__ (torch), __array_interface__ (numpy) or the buffer protocol. dtype: what its elements are where Python has no word for it,
    "bfloat16" of 16-bit integers, "float8_e4m3" of bytes; `bytes` may be any dtype. shape: the elements of a dense array in another shape.
    """

    def __init__(self, array, dtype=None, shape=None):
        self._address, self.dtype, self.shape, self.strides, self.writable, self._owner, *gpu = _borrow(array)
        self.gpu = gpu[0] if gpu else None
        if dtype is not None:
            size = _DTYPES[self.dtype].itemsize
            dtype_number(dtype)
            wanted = _DTYPES[dtype].itemsize
            if size != wanted:  # bytes of anything
                if size != 1 or len(self.shape) != 1 or self.strides != (1,) or self.shape[0] % wanted:
                    raise ValueError(
                        f"array: got elements of {size} bytes and shape {list(self.shape)}, wanted those of {dtype}"
                    )
                self.shape = (self.shape[0] // wanted,)
            self.dtype = dtype
        if shape is not None:
            shape = tuple(int(extent) for extent in shape)
            if _count(shape) != _count(self.shape) or any(extent < 0 for extent in shape):
                raise ValueError(
                    f"array: got shape {list(self.shape)}, wanted as many elements as {list(shape)} has"
                )
            self._require_dense()
            self.shape, self.strides = shape, _dense(shape)

    @classmethod
    def _of(cls, raw, owner, writable=False):
        """Of a llmc_tensor that the library lent; `owner` keeps its memory alive."""
        self = cls.__new__(cls)
        self._address, self.dtype, self.shape = (
            (raw.data or 0) + raw.byte_offset,
            dtype_name(raw.dtype),
            tuple(raw.shape[: raw.ndim]),
        )
        self.strides, self.writable, self._owner, self.gpu = _dense(self.shape), writable, owner, None
        return self

    @property
    def nbytes(self):
        return _count(self.shape) * _DTYPES[self.dtype].itemsize

    def memoryview(self):
        """The elements in place; bfloat16, float16 and the float8 kinds as unsigned integers of their size."""
        self._require_dense()
        code = _DTYPES[self.dtype].code
        if not self.nbytes:
            return memoryview(b"").cast(code)
        memory = (ctypes.c_char * self.nbytes).from_address(self._at())
        memory.owner = self  # a view of the view keeps the memory alive
        view = memoryview(memory).cast("B").cast(code, self.shape)
        return view if self.writable else view.toreadonly()

    def tolist(self):
        """The elements as memoryview() has them, in lists."""
        return self.memoryview().tolist()

    @property
    def __array_interface__(self):
        d = _DTYPES[self.dtype]
        return {
            "version": 3,
            "shape": self.shape,
            "typestr": d.typestr,
            "strides": tuple(s * d.itemsize for s in self.strides),
            "data": (self._at(), not self.writable),
        }

    def numpy(self):
        """A numpy array in place; bfloat16 and the float8 kinds as unsigned integers of their size."""
        import numpy

        return numpy.asarray(self)

    def __repr__(self):
        return f"Tensor({self.dtype} {list(self.shape)})"

    def _at(self):
        """Where the host may read."""
        if self.gpu is not None:
            raise ValueError(f"tensor: it lies on GPU {self.gpu}; copy it to the CPU's memory first")
        return self._lent()

    def _lent(self):
        if self._address is None:
            raise ValueError(
                "tensor: it was lent for the length of a callback; copy what is needed afterwards"
            )
        return self._address

    def _release(self):
        self._address = self._owner = None

    def _require_dense(self):
        if 0 in self.shape:
            return
        if any(extent != 1 and s != d for extent, s, d in zip(self.shape, self.strides, _dense(self.shape))):
            raise ValueError(
                f"tensor: got strides {list(self.strides)} for shape {list(self.shape)}, wanted row-major memory"
            )

    def _raw(self, written=False):
        """As llmc_tensor, which keeps this alive."""
        if written and not self.writable:
            raise ValueError("tensor: got memory that may not be written to")
        extents = ctypes.c_int64 * len(self.shape)
        raw = options(
            _abi.llmc_tensor,
            dtype=_DTYPES[self.dtype].number,
            data=self._lent(),
            shape=extents(*self.shape),
            strides=extents(*self.strides),
            ndim=len(self.shape),
            device_type=_abi.LLMC_DEVICE_CPU if self.gpu is None else _abi.LLMC_DEVICE_CUDA,
            device_index=self.gpu or 0,
        )
        raw.owner = self
        return raw


def tensor(array):
    """A Tensor of whatever is one."""
    return array if isinstance(array, Tensor) else Tensor(array)


def raws(arrays):
    """An array of llmc_tensor, which keeps them alive, and its length."""
    each = [tensor(array)._raw() for array in arrays]
    all_of_them = (_abi.llmc_tensor * len(each))(*each)
    all_of_them.owners = each
    return all_of_them, len(each)


class _DLTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class _Buffer(ctypes.Structure):  # Py_buffer
    _fields_ = [
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    ]


_DL_KINDS = {0: "i", 1: "u", 2: "f", 4: "bf", 6: "b", 10: "e4m3", 12: "e5m2", 14: "e8m0"}
_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.restype, _capsule_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
_get_buffer, _release_buffer = ctypes.pythonapi.PyObject_GetBuffer, ctypes.pythonapi.PyBuffer_Release
_get_buffer.argtypes, _release_buffer.argtypes, _release_buffer.restype = (
    [ctypes.py_object, ctypes.POINTER(_Buffer), ctypes.c_int],
    [ctypes.POINTER(_Buffer)],
    None,
)


class _Pinned:
    """Holds a buffer, read-only ones too, so that its memory stays where it is."""

    def __init__(self, view):
        self.buffer = _Buffer()
        _get_buffer(view, self.buffer, 0x1C)  # PyBUF_RECORDS_RO

    def __del__(self, release=_release_buffer):
        release(self.buffer)


def is_array(thing):
    """Can a Tensor be made of it? Not of text."""
    if isinstance(thing, (bytes, bytearray)):
        return False
    if hasattr(thing, "__dlpack__") or hasattr(thing, "__array_interface__"):
        return True
    try:
        return bool(memoryview(thing).format)
    except TypeError:
        return False


def _borrow(thing):
    """address, dtype, shape, strides in elements, writable, owner, and the GPU's index for memory of one; ValueError for a dtype or a device of no use here."""
    if isinstance(thing, Tensor):
        return thing._lent(), thing.dtype, thing.shape, thing.strides, thing.writable, thing, thing.gpu
    if hasattr(thing, "__array_interface__"):
        return _from_array_interface(thing)
    if hasattr(thing, "__dlpack__"):
        return _from_dlpack(thing)
    view = memoryview(thing)
    match = re.fullmatch(r"[@=<]?([bBhHiIlLqQefd?])", view.format)
    if not match:
        raise ValueError(f"array: got elements of format {view.format!r}, wanted numbers")
    kind = "b" if match[1] == "?" else "f" if match[1] in "efd" else "i" if match[1].islower() else "u"
    pinned = _Pinned(view)
    return (
        pinned.buffer.buf or 0,
        _dtype_of(kind, view.itemsize),
        tuple(view.shape),
        tuple(s // view.itemsize for s in view.strides),
        not view.readonly,
        (pinned, thing),
    )


def _from_array_interface(thing):
    face = thing.__array_interface__
    match = re.fullmatch(r"[<|=]([iufb])(\d+)", face["typestr"])
    if not match:
        raise ValueError(f"array: got elements of type {face['typestr']!r}, wanted little-endian numbers")
    itemsize, shape = int(match[2]), tuple(face["shape"])
    strides = _dense(shape) if face.get("strides") is None else tuple(s // itemsize for s in face["strides"])
    return face["data"][0], _dtype_of(match[1], itemsize), shape, strides, not face["data"][1], (thing, face)


def _from_dlpack(thing):
    device, index = thing.__dlpack_device__()
    if device not in (1, 2, 3, 11):
        raise ValueError(
            f"array: got memory of DLPack device {int(device)}, wanted the CPU's or CUDA's"
        )  # CPU, CUDA, pinned, managed
    capsule = (
        thing.__dlpack__(stream=1) if device == 2 else thing.__dlpack__()
    )  # 1: ready on the default stream. Stays "unused": its own destructor frees it
    lent = ctypes.cast(_capsule_pointer(capsule, b"dltensor"), ctypes.POINTER(_DLTensor)).contents
    if lent.code not in _DL_KINDS or lent.lanes != 1:
        raise ValueError(
            f"array: got elements of DLPack type code {lent.code} x {lent.lanes}, wanted numbers"
        )
    shape = tuple(lent.shape[: lent.ndim])
    strides = tuple(lent.strides[: lent.ndim]) if lent.strides else _dense(shape)
    return (
        (lent.data or 0) + lent.byte_offset,
        _dtype_of(_DL_KINDS[lent.code], lent.bits // 8),
        shape,
        strides,
        True,
        (thing, capsule),
        int(index) if device == 2 else None,
    )


def _dtype_of(kind, itemsize):
    if (kind, itemsize) not in _BY_KIND:
        raise ValueError(
            f"array: got elements of kind {kind}{8 * itemsize}, wanted one of {', '.join(_DTYPES)}"
        )
    return _BY_KIND[kind, itemsize]


def _dense(shape):
    strides, step = [], 1
    for extent in reversed(shape):
        strides.insert(0, step)
        step *= extent
    return tuple(strides)


def _count(shape):
    count = 1
    for extent in shape:
        count *= extent
    return count


def integers(t, what):
    """The rows of a [n] or [rows, n] tensor of integers as lists."""
    types = {
        "int8": ctypes.c_int8,
        "int16": ctypes.c_int16,
        "int32": ctypes.c_int32,
        "int64": ctypes.c_int64,
        "uint8": ctypes.c_uint8,
        "uint16": ctypes.c_uint16,
        "uint32": ctypes.c_uint32,
        "uint64": ctypes.c_uint64,
    }
    if t.dtype not in types or len(t.shape) not in (1, 2):
        raise ValueError(
            f"{what}: got an array of {t.dtype} and shape {list(t.shape)}, wanted integers of one or two dimensions"
        )
    element = types[t.dtype]
    shape, strides = ((1,) + t.shape, (0,) + t.strides) if len(t.shape) == 1 else (t.shape, t.strides)
    if 0 in shape:
        return [[] for _ in range(shape[0])]
    at = lambda row, column: t._at() + (row * strides[0] + column * strides[1]) * ctypes.sizeof(element)
    if strides[1] == 1:
        return [list((element * shape[1]).from_address(at(row, 0))) for row in range(shape[0])]
    return [
        [element.from_address(at(row, column)).value for column in range(shape[1])] for row in range(shape[0])
    ]
