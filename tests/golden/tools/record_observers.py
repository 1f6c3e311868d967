"""Records what llm-compressor's weight observers choose: scales and zero points of small random weights.

usage: record_observers.py GOLDEN_DIR [--seed N]
Writes GOLDEN_DIR/observers.safetensors: per case `<i>.weight` [N, K], `<i>.scale`, `<i>.zero_point` (asymmetric), `<i>.global_scale` (NVFP4), `<i>.importance` [K] f32 (mean squares,
imatrix observers that have data); the arguments of case i as JSON in the metadata under "i". One thread: torch's order of summation over a whole tensor depends on them.
"""
import json, sys
import torch
from safetensors.torch import save_file
from compressed_tensors.quantization import QuantizationArgs
from llmcompressor.observers import Observer

torch.set_num_threads(1)
SEED = int(sys.argv[sys.argv.index("--seed") + 1]) if "--seed" in sys.argv else 0
gen = torch.Generator().manual_seed(SEED)
I = lambda b, **k: dict(num_bits=b, type="int", **k)
F = lambda b, **k: dict(num_bits=b, type="float", **k)
G = lambda g: dict(strategy="group", group_size=g)
NV = F(4, strategy="tensor_group", group_size=16, scale_dtype=torch.float8_e4m3fn)
MX = lambda b: F(b, **G(32), scale_dtype=torch.uint8)
BLOCK = dict(strategy="block", block_structure=[16, 32])
SCHEMES = [
    I(4, **G(32)),
    I(4, **G(128)),
    I(4, symmetric=False, **G(32)),
    I(3, **G(64)),
    I(8, strategy="channel"),
    I(8, symmetric=False, strategy="channel"),
    I(2, **G(32)),
    I(8, strategy="tensor"),
    F(8, strategy="channel"),
    F(8, strategy="tensor"),
    F(8, **BLOCK),
    I(4, symmetric=False, **BLOCK),
    NV,
    MX(4),
    MX(8),
]
OBSERVERS = [
    ("memoryless_mse", {}),
    ("mse", {"norm": 2.0, "grid": 50, "maxshrink": 0.6, "patience": 2}),
    ("memoryless_mse", {"norm": 3.0, "expand": 1.25, "patience": 1}),
    ("imatrix_mse", {}),
    ("imatrix_mse", {"norm": 2.4, "maxshrink": 0.5, "grid": 40, "patience": 0}),
    ("nvfp4_expanded_mse", {}),
    ("nvfp4_expanded_imatrix", {}),
    ("minmax", {}),
]
tensors, meta, i = (
    {},
    {"made_with": "llm-compressor 0.14.0.1, compressed-tensors 0.19.0, record_observers.py, seed %d" % SEED},
    0,
)
for scheme in SCHEMES:
    for name, kwargs in OBSERVERS:
        if name.startswith("nvfp4") and scheme is not NV and scheme is not SCHEMES[0]:
            continue
        for dtype in (
            (torch.bfloat16, torch.float16, torch.float32) if name != "minmax" else (torch.bfloat16,)
        ):
            rows, columns = (3, 256) if scheme is not NV else (2, 128)
            if scheme.get("strategy") == "block":
                rows, columns = 20, 80
            weight = torch.randn(rows, columns, generator=gen) * 0.05
            weight[torch.rand(rows, columns, generator=gen) < 0.02] *= 6
            if i % 7 == 3:
                weight[0, :64] = 0
            if i % 5 == 2:
                weight = weight.abs()
            weight = weight.to(dtype)
            args = QuantizationArgs(**scheme, observer=name, observer_kwargs=dict(kwargs))
            real = {"mse": "memoryless_mse", "minmax": "memoryless_minmax"}.get(
                name, name
            )  # as the reference does for weights
            observer = Observer.load_from_registry(real, base_name="weight", args=args)
            if "imatrix" in name and i % 4:  # every fourth goes without data
                importance = torch.rand(columns, generator=gen) ** 4 + 1e-3
                observer._imatrix_sum, observer._imatrix_count = importance * 1024, torch.tensor(1024)
                tensors[f"{i}.importance"] = importance
            observer(weight)
            q = observer.get_qparams()
            scale, zero = q["scale"], q["zero_point"]
            tensors[f"{i}.weight"], tensors[f"{i}.scale"] = weight, scale.contiguous()
            if not args.symmetric:
                tensors[f"{i}.zero_point"] = zero.contiguous()
            if q["global_scale"] is not None:
                tensors[f"{i}.global_scale"] = q["global_scale"]
            meta[str(i)] = json.dumps(
                {
                    **{k: (str(v) if isinstance(v, torch.dtype) else v) for k, v in scheme.items()},
                    "observer": name,
                    "observer_kwargs": kwargs,
                }
            )
            i += 1
save_file(tensors, f"{sys.argv[1]}/observers.safetensors", metadata=meta)
print(i, "cases")
