#!/usr/bin/env bash
# Makes a CUDA 13.0 toolkit of NVIDIA's wheels on PyPI: what compiling and linking libllmc_cuda.so needs, without root and without a GPU (2.5 GB). usage: fetch_cuda.sh FOLDER
# Then: cmake --preset release -DLLMC_CUDA=ON -DLLMC_CUDA_ROOT=FOLDER
set -euo pipefail
folder=${1:?usage: fetch_cuda.sh FOLDER}
if [ -x "$folder/bin/nvcc" ] && [ -e "$folder/complete" ]; then exit 0; fi
wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --platform manylinux_2_27_x86_64 --platform manylinux2014_x86_64 --platform manylinux2010_x86_64 --dest "$wheels" \
  'nvidia-cuda-nvcc==13.0.*' 'nvidia-cuda-crt==13.0.*' 'nvidia-cuda-cccl==13.0.*' 'nvidia-cuda-runtime==13.0.*' 'nvidia-nvvm==13.0.*' \
  'nvidia-cublas==13.0.*' 'nvidia-cusolver==12.0.*' 'nvidia-cusparse==12.6.*' 'nvidia-nvjitlink==13.0.*'
python3 - "$wheels" "$folder" <<'PYTHON'
import pathlib, sys, zipfile
for wheel in sorted(pathlib.Path(sys.argv[1]).glob("*.whl")):
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            head, _, name = entry.filename.partition("nvidia/cu13/")
            if head or not name or entry.is_dir(): continue
            path = pathlib.Path(sys.argv[2]) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(entry))
            path.chmod(0o755 if name.startswith(("bin/", "nvvm/bin/")) else 0o644)
PYTHON
touch "$folder/complete"
