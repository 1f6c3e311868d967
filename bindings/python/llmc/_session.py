"""A libllmc session, and calls on it that Ctrl-C can end."""
import ctypes
import logging
import signal
import threading
import weakref
from typing import NamedTuple

from . import _abi
from ._handle import Handle, made
from ._library import check, lib, options, text
from ._modifier import c_modifier

log = logging.getLogger("llmc")


class Progress(NamedTuple):
    """How far a run is: `step` of `steps` over the whole call."""

    stage: str
    layer: str
    step: int
    steps: int
    relative_error: float  # mean of the last finished layer, 0 while unknown


class Session(Handle):
    """Where calls run: a device with its threads. One call at a time; cancel() from any thread. Freed with its last reference, or by close().

    threads: 0 for the cores this process may use (results do not depend on it). cpu_isa: "sse4", "avx2", "avx512", "avx512_bf16" or "amx_bf16" pins
    the arithmetic, so that the bytes of a calibrated run repeat on another machine. memory_limit: bytes that the process may have during a run, beyond which
    it ends with Error LLMC_OUT_OF_MEMORY; device_memory_limit: bytes of the GPU's memory to use.
    """

    def __init__(self, threads=0, cpu_isa=None, device="cpu", memory_limit=0, device_memory_limit=0):
        devices = {"cpu": _abi.LLMC_DEVICE_CPU, "cuda": _abi.LLMC_DEVICE_CUDA, "auto": _abi.LLMC_DEVICE_AUTO}
        if device not in devices:
            raise ValueError(f"device: got {device!r}, wanted one of {', '.join(devices)}")
        self._busy, self._progress, self._raised = threading.Lock(), None, None
        me = weakref.ref(self)  # the C callbacks must not keep the session alive
        self._callbacks = (
            _abi.llmc_progress_fn(lambda p, _: me()._on_progress(p)),
            _abi.llmc_log_fn(lambda level, line, _: me()._on_log(level, line)),
        )
        settings = options(
            _abi.llmc_session_options,
            device_type=devices[device],
            threads=threads,
            cpu_isa=text(cpu_isa),
            progress=self._callbacks[0],
            log=self._callbacks[1],
            memory_limit=memory_limit,
            device_memory_limit=device_memory_limit,
        )
        self._modifiers = []  # what C holds pointers to
        self._owner = made(lib.llmc_session_free, lib.llmc_session_create, settings)

    @property
    def device(self):
        """Such as "cpu amx_bf16, 8 threads"."""
        return lib.llmc_session_device(self._handle).decode()

    def cancel(self):
        """The running call, or else the next one, raises Error LLMC_CANCELLED within a second; nothing appears under the output name."""
        lib.llmc_session_cancel(self._handle)

    def add_modifier(self, type, function=None, needs=()):
        """Recipes that run in this session may name the modifier `type` from now on, in runs with calibration data; also as a decorator, @session.add_modifier("Mine").

        function(job) is called with a llmc.MatrixJob for each matrix and changes job.codes in place. needs: "gram", "channels". It takes targets, ignore, scheme and
        config_groups as QuantizationModifier does. An exception ends the run and goes on in the caller.
        """
        if function is None:
            return lambda function: self.add_modifier(type, function, needs) or function
        modifier = c_modifier(weakref.ref(self), type, function, needs)
        self.call(lib.llmc_session_add_modifier, modifier)
        self._modifiers.append(modifier)

    def call(self, function, *arguments, progress=None):
        """function(session, *arguments, error) in a thread of its own, so that Ctrl-C reaches Python meanwhile and cancels it."""
        handle = self._handle
        if not self._busy.acquire(blocking=False):
            raise RuntimeError("session: another call is running on it; one call at a time per session")
        error, result, interrupted, done = (
            ctypes.c_void_p(),
            [],
            None,
            threading.Event(),
        )  # not join(): Python 3.11's takes a thread for ended when Ctrl-C interrupts it
        self._progress, self._raised = progress, None

        def run():
            try:
                result.append(function(handle, *arguments, error))
            finally:
                done.set()

        thread = threading.Thread(target=run, name="llmc")
        mask = signal.pthread_sigmask(
            signal.SIG_BLOCK, [signal.SIGINT]
        )  # Ctrl-C waits until the try below; the thread inherits this and never takes one
        try:
            thread.start()
        except BaseException:
            self._busy.release()
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            raise
        while True:
            try:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
                while not done.wait(0.1):
                    pass
                break
            except BaseException as problem:  # KeyboardInterrupt, or what another signal's handler raised
                interrupted = problem
                self.cancel()
        raised, self._progress, self._raised = interrupted or self._raised, None, None
        function = arguments = handle = None  # a traceback must not keep alive what the caller closes
        self._busy.release()
        try:
            check(result[0], error)
        except Exception:
            if raised is None:
                raise
        if raised is not None:
            raise raised

    def _guarded(self, body, *arguments):
        """Runs a callback's body. False: it, or an earlier one of the call, raised; that ends the call and goes on in call()."""
        if self._raised is None:
            try:
                body(*arguments)
            except BaseException as problem:
                self._raised = problem
                self.cancel()
        return self._raised is None

    def _on_progress(self, pointer):
        if self._progress is None:
            return
        p = pointer.contents
        self._guarded(
            self._progress, Progress(p.stage.decode(), p.layer.decode(), p.step, p.steps, p.relative_error)
        )

    def _on_log(self, level, line):
        self._guarded(
            log.log,
            logging.WARNING if level == _abi.LLMC_LOG_WARNING else logging.INFO,
            "%s",
            line.decode(errors="replace"),
        )


def tqdm_progress():
    """A callable that moves a tqdm bar, or None where tqdm is not installed."""
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return None
    return _Bar(tqdm)


class _Bar:
    def __init__(self, tqdm):
        self.tqdm, self.bar = tqdm, None

    def __call__(self, progress):
        if self.bar is None:
            self.bar = self.tqdm(total=progress.steps, desc="llmc")
        self.bar.total = progress.steps
        self.bar.set_description(f"{progress.stage} {progress.layer}", refresh=False)
        self.bar.update(progress.step - self.bar.n)

    def close(self):
        if self.bar is not None:
            self.bar.close()
