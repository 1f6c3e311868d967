"""Objects of the C interface in Python's hands."""
import ctypes
import weakref

from ._library import check


class Owner:
    """A C object, passed to functions as it is; freed when the last reference goes. `natives`: Owners of what must be freed after it."""

    def __init__(self, pointer, free, *natives):
        self._as_parameter_ = pointer
        self.finalizer = weakref.finalize(self, _free, free, pointer, natives)


def _free(free, pointer, natives):
    free(pointer)


class Handle:
    """Has an Owner. Usable in a `with` statement; close() lets go of the C object before Python would."""

    _owner = None

    @property
    def _handle(self):
        if self._owner is None:
            raise ValueError(f"{type(self).__name__}: it is closed")
        return self._owner

    def close(self):
        self._owner = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def checked(function, *arguments):
    """A call without a session."""
    error = ctypes.c_void_p()
    status = function(*arguments, error)
    del arguments  # a traceback must not keep alive what the caller closes
    check(status, error)


def made(free, function, *arguments, session=None, natives=()):
    """An Owner of what a call, on a session where one is given, writes through its last argument but the error."""
    pointer = ctypes.c_void_p()
    try:
        if session is None:
            checked(function, *arguments, pointer)
        else:
            session.call(function, *arguments, pointer)
    except BaseException:  # the call may have been done when Ctrl-C came
        free(pointer)
        raise
    return Owner(pointer, free, *natives)
