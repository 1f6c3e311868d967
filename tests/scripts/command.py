#!/usr/bin/env python3
"""The llmc command as an operator meets it. usage: command.py SOURCE LLMC [--no-text]

Every bad input must give exit code 2, one line on standard error and nothing under the output name.
"""
import json, os, re, shutil, subprocess, sys, tempfile

SOURCE, LLMC = sys.argv[1], sys.argv[2]
TINY, MICRO = os.path.join(SOURCE, "examples/tiny-llama"), os.path.join(SOURCE, "tests/golden/micro-llama")
W4A16 = os.path.join(TINY, "recipes/w4a16.yaml")
work = tempfile.mkdtemp(prefix="llmc-command-")
failures = []


def run(*arguments, **options):
    return subprocess.run([LLMC, *arguments], capture_output=True, text=True, timeout=300, **options)


def expect(name, ok, detail=""):
    print(("ok    " if ok else "FAIL  ") + name + ("" if ok else f": {detail}"))
    if not ok:
        failures.append(name)


def refused(name, wanted, *arguments, **options):
    """oneshot with these arguments fails; `wanted` pieces are all in its one line."""
    out = os.path.join(work, "out")
    before = set(os.listdir(work))
    r = run("oneshot", "--output", out, *arguments, **options)
    lines = [l for l in r.stderr.splitlines() if l.startswith("llmc: ")]
    ok = (
        r.returncode == 2
        and len(lines) == 1
        and not os.path.exists(out)
        and set(os.listdir(work)) == before
        and all(w in lines[0] for w in wanted)
    )
    expect(
        name, ok, f"exit {r.returncode}, stderr {r.stderr[-400:]!r}, left {set(os.listdir(work)) - before}"
    )
    shutil.rmtree(out, ignore_errors=True)


def write(name, text):
    path = os.path.join(work, name)
    with open(path, "w") as f:
        f.write(text)
    return path


def model_copy(name, source=TINY):
    path = os.path.join(work, name)
    shutil.copytree(source, path)
    return path


def edit_json(path, **changes):
    data = json.load(open(path))
    for k, v in changes.items():
        if v is None:
            data.pop(k, None)
        else:
            data[k] = v
    json.dump(data, open(path, "w"))


try:
    tiny = ["--model", TINY, "--recipe", W4A16]
    data = ["--dataset", os.path.join(TINY, "calibration.jsonl"), "--num-calibration-samples", "8"]

    # The folder
    refused("a missing model folder", ["/nonexistent"], "--model", "/nonexistent", "--scheme", "FP8_DYNAMIC")
    bare = model_copy("bare")
    os.remove(bare + "/config.json")
    refused("a folder without config.json", ["config.json"], "--model", bare, "--scheme", "FP8_DYNAMIC")
    strange = model_copy("strange")
    edit_json(strange + "/config.json", architectures=["RwkvForCausalLM"], model_type="rwkv")
    refused(
        "an unknown architecture with a calibrated recipe",
        ["RwkvForCausalLM", "llama", "qwen3", "data-free"],
        "--model",
        strange,
        "--recipe",
        W4A16,
        *data,
    )
    short = model_copy("short")
    os.truncate(short + "/model.safetensors", 5_000_000)
    refused("a truncated shard", ["model.safetensors"], "--model", short, "--scheme", "FP8_DYNAMIC")
    lying = model_copy("lying")
    with open(lying + "/model.safetensors", "r+b") as f:
        f.write((1 << 60).to_bytes(8, "little"))
    refused(
        "a header that lies about its length",
        ["model.safetensors"],
        "--model",
        lying,
        "--scheme",
        "FP8_DYNAMIC",
    )
    sharded = model_copy("sharded")
    os.rename(sharded + "/model.safetensors", sharded + "/model-00001-of-00002.safetensors")
    json.dump(
        {
            "metadata": {},
            "weight_map": {
                "lm_head.weight": "model-00001-of-00002.safetensors",
                "model.norm.weight": "model-00002-of-00002.safetensors",
            },
        },
        open(sharded + "/model.safetensors.index.json", "w"),
    )
    refused(
        "an index that names a missing shard",
        ["model-00002-of-00002.safetensors"],
        "--model",
        sharded,
        "--scheme",
        "FP8_DYNAMIC",
    )
    quantized = model_copy("quantized")
    edit_json(quantized + "/config.json", quantization_config={"quant_method": "awq"})
    refused("a model that is already quantized", ["quantiz"], "--model", quantized, "--scheme", "FP8_DYNAMIC")

    # The recipe
    refused("an unknown scheme", ["W4A17"], "--model", TINY, "--scheme", "W4A17")
    refused(
        "an unknown modifier",
        ["line 3", "GPTQModifer"],
        "--model",
        TINY,
        "--recipe",
        "q_stage:\n  q_modifiers:\n    GPTQModifer: {scheme: W4A16}\n",
    )
    refused(
        "an unknown argument",
        ["line 5", "group_sise"],
        "--model",
        TINY,
        "--recipe",
        "q_stage:\n  q_modifiers:\n    GPTQModifier:\n      scheme: W4A16\n      group_sise: 64\n",
    )
    refused("an unknown stage", ["nope", "quant_stage"], *tiny, *data, "--stage", "nope")
    refused(
        "a target that matches nothing",
        ["re:.*query"],
        "--model",
        TINY,
        "--recipe",
        "q_stage: {q_modifiers: {QuantizationModifier: {scheme: W8A8, targets: ['re:.*query']}}}",
    )
    refused(
        "columns no group divides",
        ["group size 100", "model.layers.0", "group_size"],
        "--model",
        TINY,
        "--recipe",
        "q_stage: {q_modifiers: {QuantizationModifier: {config_groups: {g: {targets: [Linear], weights: {num_bits: 4, group_size: 100}}}}}}",
    )
    refused("a recipe file that is not there", ["nowhere.yaml"], "--model", TINY, "--recipe", "nowhere.yaml")
    refused("recipe and scheme together", ["recipe and scheme"], *tiny, "--scheme", "W4A16")
    refused("neither recipe nor scheme", ["no recipe"], "--model", TINY)

    # The data
    refused("a calibrated recipe without data", ["--dataset"], *tiny)
    refused("a data set that is not there", ["absent.jsonl"], *tiny, "--dataset", "absent.jsonl")
    refused("an empty data set", ["empty.jsonl"], *tiny, "--dataset", write("empty.jsonl", ""))
    refused(
        "malformed JSON, by line",
        ["bad.jsonl:2"],
        *tiny,
        "--dataset",
        write("bad.jsonl", '{"input_ids": [1, 2]}\n{"input_ids": [1,\n'),
    )
    refused(
        "a row without a known column",
        ["odd.jsonl:1", "messages"],
        *tiny,
        "--dataset",
        write("odd.jsonl", '{"prose": "x"}\n'),
    )
    refused(
        "a token id outside the vocabulary",
        ["5000", "2048"],
        *tiny,
        "--dataset",
        write("ids.jsonl", '{"input_ids": [1, 2, 5000]}\n'),
    )
    plain = model_copy("plain")
    os.remove(plain + "/chat_template.jinja")
    refused("a chat without a template", ["chat template"], "--model", plain, "--recipe", W4A16, *data)
    with open(plain + "/chat_template.jinja", "w") as f:
        f.write("{{ raise_exception('roles must alternate') }}")
    refused("a template that raises", ["roles must alternate"], "--model", plain, "--recipe", W4A16, *data)
    os.remove(plain + "/tokenizer.json")
    refused("text data without a tokenizer", ["tokenizer"], "--model", plain, "--recipe", W4A16, *data)

    # The output
    full = os.path.join(work, "full")
    os.mkdir(full)
    write("full/config.json", "{}")
    r = run("oneshot", "--model", TINY, "--scheme", "FP8_DYNAMIC", "--output", full)
    expect(
        "an output folder that is not empty needs --overwrite",
        r.returncode == 2 and "--overwrite" in r.stderr and os.listdir(full) == ["config.json"],
        r.stderr,
    )
    r = run("oneshot", "--model", bare, "--scheme", "FP8_DYNAMIC", "--output", bare + "/inside")
    inside = model_copy("outer")
    r = run("oneshot", "--model", inside, "--scheme", "FP8_DYNAMIC", "--output", inside + "/inside")
    expect(
        "an output inside the input",
        r.returncode == 2 and "inside" in r.stderr and not os.path.exists(inside + "/inside"),
        r.stderr,
    )
    refused(
        "a disk that is full",
        ["model.safetensors", "cannot"],
        "--model",
        TINY,
        "--scheme",
        "W8A8",
        preexec_fn=lambda: __import__("resource").setrlimit(
            __import__("resource").RLIMIT_FSIZE, (1_000_000, 1_000_000)
        )
        or __import__("signal").signal(__import__("signal").SIGXFSZ, __import__("signal").SIG_IGN),
    )

    # Data are read after the recipe
    refused(
        "a wrong recipe is told before a data set is opened",
        ["NoSuchModifier"],
        "--model",
        TINY,
        "--recipe",
        "q_stage: {q_modifiers: {NoSuchModifier: {}}}",
        "--dataset",
        "/nonexistent.jsonl",
    )

    # Arguments
    refused("an unknown option", ["--no-such"], "--model", TINY, "--scheme", "W8A8", "--no-such", "1")
    refused(
        "an argument that is refused by name",
        ["--splits", "num-calibration-samples"],
        "--model",
        TINY,
        "--scheme",
        "W8A8",
        "--splits",
        "train[:5%]",
    )
    refused("cuda on a build without it", ["cuda"], "--model", TINY, "--scheme", "W8A8", "--device", "cuda")
    out = os.path.join(work, "done")
    r = run(
        "oneshot",
        "--model",
        TINY,
        "--recipe",
        W4A16,
        *data,
        "--max_seq_length=64",
        "--output_dir",
        out,
        "--trust_remote_code_model",
        "true",
        "--batch-size",
        "4",
    )
    expect(
        "dashes and underscores both work; ignored arguments are noted",
        r.returncode == 0
        and os.path.exists(out + "/model.safetensors")
        and "trust_remote_code_model is ignored" in r.stderr,
        r.stderr,
    )
    expect(
        "a run without a terminal prints plain lines and a table",
        "model.layers.3" in r.stdout
        and "GPTQ" in r.stdout
        and "peak memory" in r.stdout
        and "\033" not in r.stderr + r.stdout,
        r.stdout,
    )
    for side in ("tokenizer.json", "chat_template.jinja", "generation_config.json"):
        expect(
            f"{side} goes over byte for byte",
            open(f"{TINY}/{side}", "rb").read() == open(f"{out}/{side}", "rb").read(),
        )
    r = run("oneshot", "--model", TINY, "--scheme", "FP8_DYNAMIC", "--output", out, "--overwrite", "--quiet")
    expect(
        "--overwrite replaces the folder; --quiet prints nothing",
        r.returncode == 0
        and r.stdout + r.stderr == ""
        and "float-quantized" in open(out + "/config.json").read(),
        r.stderr,
    )
    table = re.findall(r"^\| `(\w+)` \| (\w+) \|", run("oneshot", "--arguments").stdout, re.M)
    shown = run("oneshot", "--help").stdout + " --output-dir --dataset-path --processor --propagate-error"
    expect("the table covers all 47 arguments of llm-compressor's oneshot()", len(table) == 47, len(table))
    for name, disposition in table:
        option = "--" + name
        if disposition == "accepted":
            expect(f"{option} is accepted", option.replace("_", "-") in shown)
        elif disposition == "refused":
            refused(
                f"{option} is refused by name",
                [option.replace("_", "-")],
                "--model",
                TINY,
                "--scheme",
                "W8A8",
                option,
                "x",
            )
    ignored = [name for name, disposition in table if disposition == "ignored"]
    r = run(
        "oneshot",
        "--model",
        MICRO,
        "--scheme",
        "W8A8",
        "--output",
        os.path.join(work, "ignored"),
        *[x for name in ignored for x in ("--" + name, "1")],
    )
    expect(
        "every ignored argument is taken, with a note",
        r.returncode == 0 and all(f"--{name} is ignored" in r.stderr for name in ignored),
        r.stderr[-500:],
    )
    r = run("oneshot", "--arguments")
    expect(
        "docs/oneshot-arguments.md is the table the command knows",
        r.stdout in open(os.path.join(SOURCE, "docs/oneshot-arguments.md")).read(),
        "run: llmc oneshot --arguments",
    )
    r = run("eval", "--model", out, "--reference", TINY, "--text", os.path.join(TINY, "eval.txt"), "--json")
    result = json.loads(r.stdout or "{}")
    expect(
        "eval prints perplexity, tokens, kl and top1",
        set(result) == {"perplexity", "tokens", "kl", "top1"}
        and result["tokens"] == 42924
        and 0 < result["kl"] < 0.003,
        r.stdout + r.stderr,
    )
    # Looking at folders: 0 sound or identical, 1 not, 2 for what cannot be looked at
    GOLDEN = os.path.join(SOURCE, "tests/golden/rtn/W4A16")
    r = run("verify", GOLDEN, "--against", MICRO)
    expect(
        "verify of a sound folder: exit code 0, errors by module",
        r.returncode == 0
        and "sound: 49 tensors, 14 quantized matrices, 0 faults" in r.stdout
        and "up_proj" in r.stdout,
        r.stdout + r.stderr,
    )
    ill = model_copy("ill", GOLDEN)
    edit_json(
        ill + "/config.json",
        quantization_config={**json.load(open(GOLDEN + "/config.json"))["quantization_config"], "ignore": []},
    )
    r = run("verify", ill)
    expect(
        "verify of a faulty folder: exit code 1, one line per fault",
        r.returncode == 1
        and [l for l in r.stdout.splitlines() if l.startswith("lm_head: got a plain weight")] != []
        and "not sound" in r.stdout
        and r.stderr == "",
        r.stdout + r.stderr,
    )
    r = run("verify", ill, "--json")
    expect(
        "verify --json",
        r.returncode == 1 and json.loads(r.stdout)["faults"][0]["tensor"] == "lm_head",
        r.stdout,
    )
    r = run("inspect", GOLDEN)
    expect(
        "inspect prints a table",
        r.returncode == 0
        and "int4 group 128" in r.stdout
        and "model.layers.*.mlp.up_proj" in r.stdout
        and "4.1" in r.stdout,
        r.stdout + r.stderr,
    )
    expect("inspect --json", json.loads(run("inspect", TINY, "--json").stdout)["quant_method"] == "")
    r = run("diff", GOLDEN, GOLDEN)
    expect(
        "diff of a folder with itself: exit code 0",
        r.returncode == 0 and "100.0000 % of" in r.stdout and "identical" in r.stdout,
        r.stdout + r.stderr,
    )
    r = run("diff", GOLDEN, ill)
    expect(
        "diff of two folders: exit code 1 and the key that differs",
        r.returncode == 1 and "quantization_config.ignore" in r.stdout,
        r.stdout + r.stderr,
    )
    # The output may not take the place of what is read; the message says what that is.
    data = os.path.join(work, "data-folder")
    os.mkdir(data)
    shutil.copy(os.path.join(TINY, "calibration.jsonl"), data)
    tokenizer = model_copy("tokenizer-folder")
    for what, output, arguments in (
        ("contains the data set '", data, ["--dataset", os.path.join(data, "calibration.jsonl")]),
        (
            "is the tokenizer's folder '",
            tokenizer,
            ["--tokenizer", tokenizer, "--dataset", os.path.join(TINY, "calibration.jsonl")],
        ),
    ):
        r = run("oneshot", "--model", TINY, "--recipe", W4A16, "--output", output, "--overwrite", *arguments)
        expect("output: " + what, r.returncode == 2 and what in r.stderr, r.stderr)
    expect("diff --json", json.loads(run("diff", GOLDEN, ill, "--json").stdout)["identical"] is False)
    for arguments in (
        ["verify", "/nonexistent"],
        ["verify", GOLDEN, "--against", "/nonexistent"],
        ["verify", GOLDEN, "--against", GOLDEN],
        ["verify", work],
        ["verify"],
        ["inspect", "/nonexistent"],
        ["inspect", work],
        ["diff", GOLDEN],
        ["diff", GOLDEN, "/nonexistent"],
        ["inspect", GOLDEN, "--frobnicate"],
    ):
        r = run(*arguments)
        expect(
            f"llmc {' '.join(arguments)}: exit code 2 and one line",
            r.returncode == 2
            and r.stdout == ""
            and len(r.stderr.splitlines()) == 1
            and r.stderr.startswith("llmc: "),
            r.stderr,
        )
    plain_again = os.path.join(work, "plain-again")
    r = run("oneshot", "--model", GOLDEN, "--dequantize", "--output", plain_again)
    expect(
        "--dequantize writes a plain folder",
        r.returncode == 0
        and "quantization_config" not in json.load(open(plain_again + "/config.json"))
        and "14 matrices" in r.stdout
        and run("verify", plain_again, "--against", MICRO).returncode == 0,
        r.stdout + r.stderr,
    )
    r = run(
        "oneshot",
        "--model",
        plain_again,
        "--scheme",
        "FP8_DYNAMIC",
        "--output",
        os.path.join(work, "second"),
        "--quiet",
    )
    expect("a dequantized folder can be compressed again", r.returncode == 0, r.stderr)
    refused(
        "--dequantize with a scheme",
        ["dequantize first"],
        "--model",
        GOLDEN,
        "--dequantize",
        "--scheme",
        "W4A16",
    )
    refused(
        "--dequantize with a recipe",
        ["dequantize first"],
        "--model",
        GOLDEN,
        "--dequantize",
        "--recipe",
        W4A16,
    )
    refused("--dequantize of a plain folder", ["nothing to dequantize"], "--model", MICRO, "--dequantize")
    refused("--dequantize of another method's folder", ["'awq'"], "--model", quantized, "--dequantize")
    for page in ([], ["oneshot"], ["eval"], ["forward"], ["verify"], ["inspect"], ["diff"]):
        r = run(*page, "--help")
        expect(f"help of llmc {' '.join(page)}", r.returncode == 0 and "--" in r.stdout, r.stderr)

    # README: every llmc option it shows exists
    readme = open(os.path.join(SOURCE, "README.md")).read()
    options = {name: run(name, "--help").stdout for name in ("oneshot", "eval", "verify", "inspect", "diff")}
    for command, option in re.findall(
        r"llmc (oneshot|eval|verify|inspect|diff)\b[^\n`]*?(--[a-z-]+)", readme
    ):
        expect(f"README's llmc {command} {option}", option in options[command])
finally:
    shutil.rmtree(work, ignore_errors=True)
print(f"{len(failures)} failures")
sys.exit(bool(failures))
