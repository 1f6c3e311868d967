"""oneshot() with the argument names llm-compressor's users know."""
import ctypes
import json
import os
import tempfile

from . import _abi
from ._data import calibration
from ._library import lib, options, text
from ._recipe import recipe_text
from ._session import Session, log, tqdm_progress

# docs/oneshot-arguments.md says why; a test keeps the names equal.
IGNORED = set("""precision trust_remote_code_model model_revision recipe_args clear_sparse_session batch_size data_collator pad_to_max_length streaming overwrite_cache
    preprocessing_num_workers dataloader_num_workers min_tokens_per_module moe_calibrate_all_experts pipeline tracing_ignore sequential_targets sequential_offload_device
    quantization_aware_calibration sequential_prefetch log_dir enable_compile sequential_targets_per_subgraph dvc_data_repository remove_columns""".split())
REFUSED = {
    "config_name": "config.json of the model folder is read",
    "dataset_config_name": "data sets are local; pass the rows, or a .jsonl file",
    "splits": "use num_calibration_samples and shuffle_seed",
    "preprocessing_func": "apply it to the rows and pass the result as dataset",
    "raw_kwargs": "pass arguments by name",
    "use_loss_mask": "every token of a sample counts",
}


def oneshot(model, *, output_dir, recipe=None, scheme=None, dataset=None, dataset_path=None, tokenizer=None, processor=None, stage=None, num_calibration_samples=512,
            max_seq_length=None, shuffle_calibration_samples=False, shuffle_seed=None, concatenate_data=False, text_column=None, template_date=None,
            tie_word_embeddings=True, save_compressed=True, propagate_error=True, compat=None, rounding=None, propagation=None, max_shard_bytes=None, overwrite=False,
            session=None, threads=0, cpu_isa=None, device="cpu", progress=True, **others):
    """Compresses the folder `model` by `recipe` into `output_dir`, which appears whole at the end or not at all; returns the report, a dictionary.

    recipe: a file, text, a dictionary, or a list of llmc.GPTQModifier(...) and the like; or `scheme`, a preset such as "FP8_DYNAMIC", without data.
    dataset: a .jsonl file, rows (dictionaries or strings), or token ids (lists, or any array with __dlpack__, __array_interface__ or a buffer).
    progress: True for a tqdm bar where tqdm is installed, a callable that takes a llmc.Progress, or False.
    compat: "vllm" (default) or "reference"; rounding: "exact" or "reference"; propagation: "sublayer" or "layer".
    session: a llmc.Session to run in; otherwise threads, cpu_isa and device make one.
    llm-compressor's other arguments are known: those without a meaning here are noted in the log (logger "llmc"), those that cannot be served are a TypeError.
    """
    for name in others:
        if name in REFUSED: raise TypeError(f"oneshot(): argument '{name}' is not supported: {REFUSED[name]}")
        if name not in IGNORED: raise TypeError(f"oneshot() got an unexpected keyword argument '{name}'")
        log.info("%s is ignored; see docs/oneshot-arguments.md", name)
    if not propagate_error: raise ValueError("propagate_error=False is not supported: later layers always see the quantized ones")
    if not isinstance(model, (str, bytes, os.PathLike)): raise TypeError(f"model: got a {type(model).__name__}, wanted the path of a model folder")
    output_dir = os.fsdecode(output_dir)
    if session is None: session = Session(threads=threads, cpu_isa=cpu_isa, device=device)
    report_callback = tqdm_progress() if progress is True else (progress or None)
    report = ctypes.c_void_p()
    with tempfile.TemporaryDirectory(prefix="llmc-") as folder:
        data = calibration(dataset if dataset is not None else dataset_path, folder)
        job = options(
            _abi.llmc_oneshot_options, model_dir=text(model), output_dir=text(os.path.join(output_dir, stage) if stage else output_dir), recipe=text(recipe_text(recipe)),
            scheme=text(scheme), stage=text(stage), tokenizer_dir=text(tokenizer if tokenizer is not None else processor), text_column=text(text_column),
            template_date=text(template_date), num_calibration_samples=num_calibration_samples or 0, max_seq_length=max_seq_length or 0, max_shard_bytes=max_shard_bytes or 0,
            shuffle=_switch(shuffle_calibration_samples or shuffle_seed is not None), shuffle_seed=shuffle_seed or 0, concatenate_data=_switch(concatenate_data),
            tie_word_embeddings=_switch(tie_word_embeddings), save_compressed=_switch(save_compressed), overwrite=_switch(overwrite),
            compat=_choice("compat", compat, "vllm", "reference"), rounding=_choice("rounding", rounding, "exact", "reference"),
            propagation=_choice("propagation", propagation, "sublayer", "layer"), **data)
        try:
            session.call(lib.llmc_oneshot, job, report, progress=report_callback)
            return json.loads(lib.llmc_report_json(report).decode())
        finally:
            lib.llmc_report_free(report)
            if report_callback is not None and report_callback is not progress: report_callback.close()


def _switch(on):
    return _abi.LLMC_ON if on else _abi.LLMC_OFF


def _choice(name, value, *names):
    """The number of a name, counted from 1 as in llmc.h; None is the default, 0."""
    if value is None: return 0
    if value not in names: raise ValueError(f"{name}: got {value!r}, wanted {' or '.join(map(repr, names))}")
    return names.index(value) + 1
