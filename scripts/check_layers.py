#!/usr/bin/env python3
"""The layer law: every #include goes downwards. usage: check_layers.py [CHECKOUT]

cli, bindings -> capi -> src/core/oneshot.cpp -> the rooms of src/core, in the order of ROOMS below -> include/llmc
A modifier includes no other modifier; nothing but a backend itself includes src/cpu or src/cuda; third-party types stay out of include/ and capi's headers.
"""
import os, re, sys

ROOT = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
HELPERS_OF_MODIFIERS = {"arguments", "joint_scales", "quantization_scope", "registry", "round_to_nearest"}
THIRD_PARTY = re.compile(r"^(Eigen|yaml-cpp|fmt|nlohmann|hwy|pcre2|CLI)\b")
# Who reads and writes JSON through the library behind JsonValue. The command is a program on the C interface,
# which gives it texts; the stub stands in for the Rust crate, which reads data sets with a parser of its own.
MAY_USE_NLOHMANN = re.compile(r"^(src/core/json/json_value\.cpp|src/text/text_stub\.cpp|cli/.*)$")
# room of src/core -> the rooms under it that it may include
ROOMS = {
    "values": [],
    "json": [],
    "progress": ["json"],
    "quantize": ["json"],
    "forward": [],
    "recipe": ["json"],
    "families": ["json"],
    "files": ["json", "values"],
    "formats": ["files", "quantize", "json"],
    "matrix": ["formats", "files", "quantize", "json"],
    "model": ["families", "formats", "files", "quantize", "json"],
    "inspection": ["model", "formats", "files", "quantize", "recipe", "json"],
    "plan": ["model", "formats", "files", "quantize", "recipe", "json"],
    "output": ["plan", "formats", "files", "quantize", "values"],
    "data_free": ["output", "plan", "formats", "files", "quantize", "progress", "values"],
    "calibration": ["output", "plan", "model", "files", "quantize", "progress", "json"],
}
# folder -> prefixes of project includes it may use (longest folder wins)
MAY_INCLUDE = {
    "include/llmc": ["llmc/"],
    "src/core": ["llmc/", "core/"],
    **{
        f"src/core/{room}": ["llmc/", "hwy/", f"core/{room}/"] + [f"core/{below}/" for below in under]
        for room, under in ROOMS.items()
    },
    "src/modifiers": ["llmc/", "core/quantize/", "core/recipe/", "modifiers/"],
    "src/cpu": [
        "llmc/",
        "core/quantize/number_formats.hpp",
        "core/quantize/finite.hpp",
        "core/quantize/smoothing.hpp",
        "core/quantize/scale_grid.hpp",
        "core/quantize/activation_grid.hpp",
        "core/quantize/gptq_problem.hpp",
        "core/forward/",
        "cpu/",
        "hwy/",
    ],
    "src/cuda": [
        "llmc/",
        "core/quantize/number_formats.hpp",
        "core/quantize/smoothing.hpp",
        "core/quantize/scale_grid.hpp",
        "core/quantize/candidate_value.hpp",
        "core/quantize/activation_grid.hpp",
        "core/quantize/gptq_problem.hpp",
        "core/forward/",
        "cuda/",
    ],
    "src/text": ["llmc/error.hpp", "text/", "llmc_text.h"],
    "capi": [
        "llmc/",
        "llmc.h",
        "llmc_model.h",
        "oneshot_options.hpp",
        "report_object.hpp",
        "llmc_tools.h",
        "llmc_tensor.h",
        "llmc_dlpack.h",
        "text/text.hpp",
        "guard.hpp",
        "printable.hpp",
        "session.hpp",
        "callback_source.hpp",
        "calibration_data.hpp",
        "tensor_argument.hpp",
        "tensor_objects.hpp",
    ],
    "cli": [
        "llmc.h",
        "llmc_tools.h",
        "command.hpp",
        "argument_table.hpp",
        "progress_view.hpp",
        "summary_table.hpp",
        "report_text.hpp",
        "options.hpp",
        "printable.hpp",
    ],
}
faults = []
for room in sorted(os.listdir(os.path.join(ROOT, "src/core"))):
    if os.path.isdir(os.path.join(ROOT, "src/core", room)) and room not in ROOMS:
        faults.append(f"src/core/{room}: a room without a row here")
for i, (room, under) in enumerate(ROOMS.items()):  # each row names earlier ones alone: no cycle is possible
    for below in under:
        if below not in list(ROOMS)[:i]:
            faults.append(f"the row of {room} names {below}, which does not stand above it")
for top in ("include", "src", "capi", "cli"):
    for folder, _, files in os.walk(os.path.join(ROOT, top)):
        for name in files:
            if not name.endswith((".hpp", ".cpp", ".h", ".c", ".inc", ".cu", ".cuh")):
                continue
            path = os.path.relpath(os.path.join(folder, name), ROOT)
            room = max((r for r in MAY_INCLUDE if path.startswith(r + "/")), key=len, default=None)
            if room is None:
                continue
            for number, line in enumerate(open(os.path.join(ROOT, path), encoding="utf-8"), 1):
                m = re.match(r'\s*#\s*include\s+([<"])([^">]+)[">]', line)
                if not m:
                    continue
                target, where = m[2], f"{path}:{number}"
                if m[1] == '"' and not any(target.startswith(p) for p in MAY_INCLUDE[room]):
                    faults.append(f'{where}: {room} may not include "{target}"')
                if THIRD_PARTY.match(target) and (
                    room == "include/llmc" or (room == "capi" and name.endswith((".h", ".hpp")))
                ):
                    faults.append(f"{where}: third-party header <{target}>")
                if target.startswith("nlohmann") and not MAY_USE_NLOHMANN.match(path):
                    faults.append(f"{where}: <{target}>; JSON goes through core/json/json_value.hpp")
                if room == "src/modifiers" and target.startswith("modifiers/"):
                    stem = target[len("modifiers/") :].rsplit(".", 1)[0]
                    if stem not in HELPERS_OF_MODIFIERS:
                        faults.append(f'{where}: a modifier includes another modifier, "{target}"')
for fault in faults:
    print(fault)
print(f"{len(faults)} layer faults")
sys.exit(bool(faults))
