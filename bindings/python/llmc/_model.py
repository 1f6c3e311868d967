"""oneshot() in parts."""
import ctypes
import tempfile

from . import _abi
from ._data import token_ids
from ._handle import Handle, made
from ._library import lib, options, text
from ._oneshot import data_fields, progress_callback, run_fields
from ._report import Report
from ._session import Session
from ._source import TensorSource


class Model(Handle):
    """A model that is opened once, given data, quantized and saved as often as wanted; the bytes are those of oneshot().

    model: a folder (unchanged until this is closed) or a TensorSource. A call that fails changes nothing: the model and its data may be used on. What was quantized and not
    saved goes with the next quantize(), with close() and with the last reference.
    """

    def __init__(self, model, session=None):
        self._session = session or Session()
        if isinstance(model, TensorSource):
            function, where = lib.llmc_model_open_source, model._lend(self._session)
        else:
            function, where = lib.llmc_model_open, text(model)
        self._where = where  # a source's callback is C's until the model is freed
        self._owner = made(
            lib.llmc_model_free, function, where, session=self._session, natives=[self._session._handle]
        )

    def add_token_ids(self, sequences):
        """Calibration data after that of earlier calls: lists or integer arrays, or one array [sequences, length]."""
        ids = token_ids(sequences)
        self._call(
            lib.llmc_model_add_token_ids, ids["token_ids"], ids["sequence_starts"], ids["num_sequences"]
        )

    def add_data(
        self,
        dataset,
        *,
        tokenizer=None,
        num_calibration_samples=512,
        max_seq_length=None,
        shuffle_calibration_samples=False,
        shuffle_seed=None,
        concatenate_data=False,
        text_column=None,
        template_date=None
    ):
        """Calibration data after that of earlier calls: a .jsonl file or rows, with oneshot()'s arguments."""
        with tempfile.TemporaryDirectory(prefix="llmc-") as folder:
            data = data_fields(
                dataset,
                folder,
                tokenizer,
                num_calibration_samples,
                max_seq_length,
                shuffle_calibration_samples,
                shuffle_seed,
                concatenate_data,
                text_column,
                template_date,
            )
            if "token_ids" in data:
                raise TypeError(
                    "dataset: got token ids, wanted a .jsonl file or rows; add_token_ids() takes them"
                )
            self._call(lib.llmc_model_add_data, options(_abi.llmc_oneshot_options, **data))

    def save_statistics(self, folder):
        """A forward pass once, any number of recipes after it: what the unquantized model shows on its data, added to what was loaded, goes to `folder`, a gram file for each
        input that Linears share (Gram.load reads it)."""
        self._call(lib.llmc_model_save_statistics, text(folder))

    def load_statistics(self, folder):
        """Instead of data, as often as wanted: the folders are merged, and must stay as they are until this is closed. quantize() runs no forward pass from then on."""
        self._call(lib.llmc_model_load_statistics, text(folder))

    def quantize(
        self,
        output_dir,
        *,
        recipe=None,
        scheme=None,
        stage=None,
        tie_word_embeddings=True,
        save_compressed=True,
        compat=None,
        rounding=None,
        propagation=None,
        max_shard_bytes=None,
        overwrite=False,
        progress=True
    ):
        """All the work, with oneshot()'s arguments; nothing is under the output's name before save()."""
        run = run_fields(
            output_dir,
            recipe,
            scheme,
            stage,
            tie_word_embeddings,
            save_compressed,
            compat,
            rounding,
            propagation,
            max_shard_bytes,
            overwrite,
        )
        with progress_callback(progress) as callback:
            self._call(lib.llmc_model_quantize, options(_abi.llmc_oneshot_options, **run), progress=callback)

    def save(self):
        """Once for each quantize(): adds what no Linear owns, reads everything back, checks it and gives the folder its name. Returns the Report."""
        report = ctypes.c_void_p()
        try:
            self._call(lib.llmc_model_save, report)
            return Report._read(report)
        finally:
            lib.llmc_report_free(report)

    def _call(self, function, *arguments, progress=None):
        self._session.call(
            lambda _, *all_of_them: function(*all_of_them), self._handle, *arguments, progress=progress
        )
