"""Calibration data as libllmc takes it: a JSONL file, or token ids."""
import ctypes
import json
import os

from . import _tensor


def calibration(dataset, folder):
    """Fields of llmc_oneshot_options for a data set; rows are written to a file in `folder`, a scratch folder.

    A path to a .jsonl file; an iterable of rows (dictionaries with messages, conversations, text, prompt, instruction, question, chosen or input_ids; strings); an iterable of sequences of
    token ids (lists or integer arrays); or one integer array [sequences, length].
    """
    from ._library import text

    if dataset is None:
        return {}
    if isinstance(dataset, (str, os.PathLike)):
        return {"dataset": text(dataset)}
    if _tensor.is_array(dataset):
        return token_ids(dataset)
    if isinstance(dataset, dict) or not hasattr(dataset, "__iter__"):
        raise TypeError(
            f"dataset: got a {type(dataset).__name__}, wanted a .jsonl file, rows, or sequences of token ids"
        )
    rows = list(dataset)
    if not rows:
        raise ValueError("dataset: it is empty")
    if all(isinstance(row, (dict, str)) or hasattr(row, "keys") for row in rows):
        path = os.path.join(folder, "dataset.jsonl")
        with open(path, "w", encoding="utf-8") as file:
            for row in rows:
                file.write(
                    json.dumps({"text": row} if isinstance(row, str) else dict(row), default=_plain) + "\n"
                )
        return {"dataset": text(path)}
    return token_ids(rows)


def token_ids(sequences):
    """Fields of llmc_oneshot_options for sequences of token ids."""
    if _tensor.is_array(sequences):
        return _token_ids(_tensor.integers(_tensor.tensor(sequences), "dataset"))
    return _token_ids([_sequence(row, i) for i, row in enumerate(sequences)])


def _plain(value):
    """For json.dumps: arrays within rows."""
    if not _tensor.is_array(value):
        raise TypeError(
            f"dataset: a row holds a {type(value).__name__}, wanted JSON values or arrays of integers"
        )
    borrowed = _tensor.tensor(value)
    rows = _tensor.integers(borrowed, "dataset")
    return rows[0] if len(borrowed.shape) == 1 else rows


def _sequence(row, index):
    if _tensor.is_array(row):
        sequences = _tensor.integers(_tensor.tensor(row), f"dataset[{index}]")
        if len(sequences) != 1:
            raise ValueError(
                f"dataset[{index}]: got an array of {len(sequences)} rows, wanted one sequence of token ids"
            )
        return sequences[0]
    if isinstance(row, (list, tuple, range)) and all(hasattr(i, "__index__") for i in row):
        return [i.__index__() for i in row]
    raise TypeError(
        f"dataset[{index}]: got {type(row).__name__}, wanted a row (a dictionary, a string) or token ids, the same for all"
    )


def _token_ids(sequences):
    flat, starts = [], [0]
    for sequence in sequences:
        flat += sequence
        starts.append(len(flat))
    if not flat:
        raise ValueError("dataset: it holds no token ids")
    for token in (min(flat), max(flat)):
        if not 0 <= token < 1 << 31:
            raise ValueError(f"dataset: got token id {token}, wanted 0 to 2147483647")
    return {
        "token_ids": (ctypes.c_int32 * len(flat))(*flat),
        "sequence_starts": (ctypes.c_int64 * len(starts))(*starts),
        "num_sequences": len(sequences),
    }
