"""oneshot() with the argument names llm-compressor's users know."""
import contextlib
import ctypes
import os
import tempfile

from . import _abi
from ._data import calibration
from ._library import choice, lib, options, switch, text
from ._recipe import recipe_text
from ._report import Report
from ._session import Session, log, tqdm_progress
from ._source import TensorSource

# docs/oneshot-arguments.md says why; a test keeps the names equal.
IGNORED = set(
    """precision trust_remote_code_model model_revision recipe_args clear_sparse_session batch_size data_collator pad_to_max_length streaming overwrite_cache
    preprocessing_num_workers dataloader_num_workers min_tokens_per_module moe_calibrate_all_experts pipeline tracing_ignore sequential_targets sequential_offload_device
    quantization_aware_calibration sequential_prefetch log_dir enable_compile sequential_targets_per_subgraph dvc_data_repository remove_columns""".split()
)
REFUSED = {
    "config_name": "config.json of the model folder is read",
    "dataset_config_name": "data sets are local; pass the rows, or a .jsonl file",
    "splits": "use num_calibration_samples and shuffle_seed",
    "preprocessing_func": "apply it to the rows and pass the result as dataset",
    "raw_kwargs": "pass arguments by name",
    "use_loss_mask": "every token of a sample counts",
}


def oneshot(
    model,
    *,
    output_dir,
    recipe=None,
    scheme=None,
    dataset=None,
    dataset_path=None,
    tokenizer=None,
    processor=None,
    stage=None,
    num_calibration_samples=512,
    max_seq_length=None,
    shuffle_calibration_samples=False,
    shuffle_seed=None,
    concatenate_data=False,
    text_column=None,
    template_date=None,
    tie_word_embeddings=True,
    save_compressed=True,
    propagate_error=True,
    compat=None,
    rounding=None,
    propagation=None,
    max_shard_bytes=None,
    overwrite=False,
    session=None,
    threads=0,
    cpu_isa=None,
    device="cpu",
    progress=True,
    **others,
):
    """Compresses the folder `model` by `recipe` into `output_dir`, which appears whole at the end or not at all; returns a llmc.Report, a dictionary.

    model: a folder, or a llmc.TensorSource for a model that lies in none.
    recipe: a file, text, a dictionary, or a list of llmc.GPTQModifier(...) and the like; or `scheme`, a preset such as "FP8_DYNAMIC", without data.
    dataset: a .jsonl file, rows (dictionaries or strings), or token ids (lists, or any array with __dlpack__, __array_interface__ or a buffer).
    progress: True for a tqdm bar where tqdm is installed, a callable that takes a llmc.Progress, or False.
    compat: "vllm" (default) or "reference"; rounding: "exact" or "reference"; propagation: "sublayer" or "layer".
    session: a llmc.Session to run in; otherwise threads, cpu_isa and device make one.
    llm-compressor's other arguments are known: those without a meaning here are noted in the log (logger "llmc"), those that cannot be served are a TypeError.
    """
    for name in others:
        if name in REFUSED:
            raise TypeError(f"oneshot(): argument '{name}' is not supported: {REFUSED[name]}")
        if name not in IGNORED:
            raise TypeError(f"oneshot() got an unexpected keyword argument '{name}'")
        log.info("%s is ignored; see docs/oneshot-arguments.md", name)
    if not propagate_error:
        raise ValueError("propagate_error=False is not supported: later layers always see the quantized ones")
    if not isinstance(model, (str, bytes, os.PathLike, TensorSource)):
        raise TypeError(
            f"model: got a {type(model).__name__}, wanted the path of a model folder or a TensorSource"
        )
    if session is None:
        session = Session(threads=threads, cpu_isa=cpu_isa, device=device)
    place = (
        {"source": ctypes.pointer(model._lend(session))}
        if isinstance(model, TensorSource)
        else {"model_dir": text(model)}
    )
    report = ctypes.c_void_p()
    with tempfile.TemporaryDirectory(prefix="llmc-") as folder, progress_callback(progress) as callback:
        data = data_fields(
            dataset if dataset is not None else dataset_path,
            folder,
            tokenizer if tokenizer is not None else processor,
            num_calibration_samples,
            max_seq_length,
            shuffle_calibration_samples,
            shuffle_seed,
            concatenate_data,
            text_column,
            template_date,
        )
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
        try:
            session.call(
                lib.llmc_oneshot,
                options(_abi.llmc_oneshot_options, **place, **data, **run),
                report,
                progress=callback,
            )
            return Report._read(report)
        finally:
            lib.llmc_report_free(report)


def data_fields(
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
):
    """The calibration data of llmc_oneshot_options; `folder` is a scratch folder."""
    return dict(
        calibration(dataset, folder),
        tokenizer_dir=text(tokenizer),
        text_column=text(text_column),
        template_date=text(template_date),
        num_calibration_samples=num_calibration_samples or 0,
        max_seq_length=max_seq_length or 0,
        concatenate_data=switch(concatenate_data),
        shuffle=switch(shuffle_calibration_samples or shuffle_seed is not None),
        shuffle_seed=shuffle_seed or 0,
    )


def run_fields(
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
):
    """What llmc_oneshot_options say about everything but the model and the data."""
    output_dir = os.fsdecode(output_dir)
    return dict(
        output_dir=text(os.path.join(output_dir, stage) if stage else output_dir),
        recipe=text(recipe_text(recipe)),
        scheme=text(scheme),
        stage=text(stage),
        max_shard_bytes=max_shard_bytes or 0,
        tie_word_embeddings=switch(tie_word_embeddings),
        save_compressed=switch(save_compressed),
        overwrite=switch(overwrite),
        compat=choice("compat", compat, "vllm", "reference"),
        rounding=choice("rounding", rounding, "exact", "reference"),
        propagation=choice("propagation", propagation, "sublayer", "layer"),
    )


@contextlib.contextmanager
def progress_callback(progress):
    """The callable that `progress` stands for, or None."""
    callback = tqdm_progress() if progress is True else (progress or None)
    try:
        yield callback
    finally:
        if callback is not None and callback is not progress:
            callback.close()
