"""Borrows the memory of other people's arrays: __dlpack__, __array_interface__ or the buffer protocol."""
import ctypes
import re
from typing import NamedTuple


class Borrowed(NamedTuple):
    """An array on the CPU. `owner` keeps the memory alive."""
    address: int
    kind: str      # "i" integer, "u" unsigned, "f" float, "bf" bfloat16, "b" bool
    itemsize: int  # bytes
    shape: tuple
    strides: tuple  # in elements
    owner: object


class _DLTensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32), ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8),
                ("lanes", ctypes.c_uint16), ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)), ("byte_offset", ctypes.c_uint64)]


_DL_KINDS = {0: "i", 1: "u", 2: "f", 4: "bf", 6: "b"}
_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.restype, _capsule_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


def is_array(thing):
    """Can `borrow` read it?"""
    if isinstance(thing, (bytes, bytearray)): return False
    if hasattr(thing, "__dlpack__") or hasattr(thing, "__array_interface__"): return True
    try: return bool(memoryview(thing).format)
    except TypeError: return False


def borrow(thing):
    """A Borrowed; ValueError for memory that is not the CPU's or has a dtype of no use here."""
    if hasattr(thing, "__array_interface__"): return _from_array_interface(thing)
    if hasattr(thing, "__dlpack__"): return _from_dlpack(thing)
    view = memoryview(thing)
    match = re.fullmatch(r"[@=<]?([bBhHiIlLqQefd?])", view.format)
    if not match: raise ValueError(f"array: got elements of format {view.format!r}, wanted numbers")
    kind = "b" if match[1] == "?" else "f" if match[1] in "efd" else "i" if match[1].islower() else "u"
    # A view that may be read only has no address that ctypes would give: it is copied.
    if view.readonly or not view.c_contiguous: view = memoryview(bytearray(view.tobytes())).cast("B").cast(match[1], view.shape)
    owner = (ctypes.c_char * view.nbytes).from_buffer(view)
    return Borrowed(ctypes.addressof(owner), kind, view.itemsize, tuple(view.shape), _dense(view.shape), (owner, thing))


def _from_array_interface(thing):
    face = thing.__array_interface__
    match = re.fullmatch(r"[<|=]([iufb])(\d+)", face["typestr"])
    if not match: raise ValueError(f"array: got elements of type {face['typestr']!r}, wanted little-endian numbers")
    itemsize, shape = int(match[2]), tuple(face["shape"])
    strides = _dense(shape) if face.get("strides") is None else tuple(s // itemsize for s in face["strides"])
    return Borrowed(face["data"][0], match[1], itemsize, shape, strides, (thing, face))


def _from_dlpack(thing):
    device = thing.__dlpack_device__()[0]
    if device not in (1, 3, 11): raise ValueError(f"array: got memory of DLPack device {int(device)}, wanted the CPU's")  # CPU, pinned, managed
    capsule = thing.__dlpack__()  # stays "unused": its own destructor frees it
    tensor = ctypes.cast(_capsule_pointer(capsule, b"dltensor"), ctypes.POINTER(_DLTensor)).contents
    if tensor.code not in _DL_KINDS or tensor.lanes != 1: raise ValueError(f"array: got elements of DLPack type code {tensor.code} x {tensor.lanes}, wanted numbers")
    shape = tuple(tensor.shape[:tensor.ndim])
    strides = tuple(tensor.strides[:tensor.ndim]) if tensor.strides else _dense(shape)
    return Borrowed((tensor.data or 0) + tensor.byte_offset, _DL_KINDS[tensor.code], tensor.bits // 8, shape, strides, (thing, capsule))


def _dense(shape):
    strides, step = [], 1
    for extent in reversed(shape):
        strides.insert(0, step)
        step *= extent
    return tuple(strides)


def integers(borrowed, what):
    """The rows of a [n] or [rows, n] array of integers as lists."""
    b = borrowed
    types = {("i", 1): ctypes.c_int8, ("i", 2): ctypes.c_int16, ("i", 4): ctypes.c_int32, ("i", 8): ctypes.c_int64, ("u", 1): ctypes.c_uint8, ("u", 2): ctypes.c_uint16, ("u", 4): ctypes.c_uint32, ("u", 8): ctypes.c_uint64}
    if (b.kind, b.itemsize) not in types or len(b.shape) not in (1, 2):
        raise ValueError(f"{what}: got an array of kind {b.kind}{8 * b.itemsize} and shape {list(b.shape)}, wanted integers of one or two dimensions")
    element = types[b.kind, b.itemsize]
    shape, strides = ((1,) + b.shape, (0,) + b.strides) if len(b.shape) == 1 else (b.shape, b.strides)
    if 0 in shape: return [[] for _ in range(shape[0])]
    at = lambda row, column: b.address + (row * strides[0] + column * strides[1]) * b.itemsize
    if strides[1] == 1: return [list((element * shape[1]).from_address(at(row, 0))) for row in range(shape[0])]
    return [[element.from_address(at(row, column)).value for column in range(shape[1])] for row in range(shape[0])]
