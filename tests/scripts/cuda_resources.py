#!/usr/bin/env python3
"""What ptxas said of each kernel: no spills in the ones that carry the work. usage: cuda_resources.py BUILD_DIR [--table]

Reads src/cuda/*.o.log of a build with -DLLMC_CUDA=ON. --table prints registers, shared memory and occupancy (docs/cuda.md).
"""
import glob, os, re, subprocess, sys

# Dynamic shared memory of a launch is sizeof of the kernel's struct; these come from its members.
LIMITS = {"threads": 2048, "registers": 65536, "shared": 227 * 1024, "blocks": 32}
MUST_NOT_SPILL = (
    "quantize_columns",
    "attend_tiles",
    "attend_plainly",
    "gram_tensor_cores",
    "gram_plainly",
    "quantize_strips",
    "dequantize_values",
    "search_cells",
    "sum_tile_errors",
)


def kernels(folder):
    for log in sorted(glob.glob(os.path.join(folder, "src", "cuda", "*.o.log"))):
        name = arch = None
        spills = 0
        for line in open(log):
            if m := re.search(r"Compiling entry function '(\S+)' for '(sm_\d+)'", line):
                name, arch = m.groups()
            if m := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line):
                spills = int(m[1]) + int(m[2])
            if (m := re.search(r"Used (\d+) registers", line)) and name:
                yield os.path.basename(log)[:-6], name, arch, int(m[1]), spills
                name = None


def main():
    found = list(kernels(sys.argv[1]))
    if not found:
        sys.exit(f"{sys.argv[1]}/src/cuda: no ptxas logs; wanted a build with -DLLMC_CUDA=ON")
    names = subprocess.run(
        ["c++filt"], input="\n".join(k[1] for k in found), capture_output=True, text=True, check=True
    ).stdout.splitlines()
    faults = 0
    seen = set()
    for (file, _, arch, registers, spills), name in zip(found, names):
        name = (
            re.sub(r"\(anonymous namespace\)::|llmc::cuda::|llmc::|void ", "", name).split("(")[0]
            if "attend" not in name
            else re.sub(
                r".*(attend_\w+)(<[^>]*>)?.*",
                r"\1\2",
                re.sub(r"\(anonymous namespace\)::|llmc::cuda::|llmc::", "", name),
            )
        )
        kernel = next((k for k in MUST_NOT_SPILL if k in name), None)
        seen.add(kernel)
        if "--table" in sys.argv:
            print(f"{file:22} {arch:7} {registers:4} registers {spills:4} bytes spilled  {name}")
        if kernel and spills:
            faults += 1
            print(f"{file}.cu, {arch}: {name} spills {spills} bytes; wanted none")
    for kernel in MUST_NOT_SPILL:
        if kernel not in seen:
            faults += 1
            print(f"no kernel {kernel} among {len(found)}: was it renamed?")
    print(f"{len(found)} kernels, {faults} faults")
    sys.exit(bool(faults))


main()
