"""Finds and loads libllmc.so, and turns its errors into exceptions."""
import ctypes
import json
import os

from . import _abi

SONAME = "libllmc.so.0"
_carried = []


class Error(Exception):
    """A failure of libllmc: `status` is its number, `name` its name in llmc.h ("LLMC_IO"), `message` one line."""

    def __init__(self, status, name, message):
        super().__init__(f"{name}: {message}")
        self.status, self.name, self.message = status, name, message

    def __reduce__(self):
        return Error, (self.status, self.name, self.message)


def load():
    """The library LLMC_LIBRARY names, or the one in this package, or else the system's."""
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib")
    path = os.environ.get("LLMC_LIBRARY")
    if not path and os.path.isdir(folder):
        path = os.path.join(folder, SONAME)
        # The small libraries that a wheel carries come first: the loader then finds them by their names.
        for name in sorted(set(os.listdir(folder)) - {SONAME}):
            _carried.append(ctypes.CDLL(os.path.join(folder, name)))
    library = ctypes.CDLL(path or SONAME)
    for name, (result, parameters) in _abi.FUNCTIONS.items():
        function = getattr(library, name, None)  # an older library may lack some; calling one says so
        if function is None:
            continue
        function.restype, function.argtypes = result, parameters
    return library


lib = load()
version = lib.llmc_version().decode()


def features():
    """Parts of this build, such as ["text", "cpu"]."""
    return lib.llmc_features().decode().split(",")


def check(status, error):
    """Frees `error`, a c_void_p; raises when the status is not LLMC_OK."""
    message = lib.llmc_error_message(error).decode(errors="replace")
    lib.llmc_error_free(error)
    if status != _abi.LLMC_OK:
        raise Error(status, lib.llmc_status_name(status).decode(), message)


def text(value):
    """For a `const char *` field: None stays NULL; paths and strings become bytes."""
    if value is None:
        return None
    value = os.fsencode(value)  # TypeError for anything but str, bytes and paths
    if b"\0" in value:
        raise ValueError(f"{value!r} has a NUL byte in it")
    return value


def options(kind, **fields):
    """An options struct with its size set."""
    return kind(struct_size=ctypes.sizeof(kind), **fields)


def switch(on):
    """A tri-state; None is the default."""
    return _abi.LLMC_DEFAULT if on is None else _abi.LLMC_ON if on else _abi.LLMC_OFF


def choice(name, value, *names):
    """The number of a name, counted from 1 as in the headers; None is the default, 0."""
    if value is None:
        return 0
    if value not in names:
        raise ValueError(f"{name}: got {value!r}, wanted {' or '.join(map(repr, names))}")
    return names.index(value) + 1


def json_text(value):
    """Of a dictionary; text stays as it is."""
    return value if isinstance(value, str) else json.dumps(value)
