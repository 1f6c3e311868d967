"""How matrices are quantized."""
import ctypes

from . import _abi
from ._handle import Handle, made
from ._library import choice, json_text, lib, options, switch, text
from ._tensor import raws


class Scheme(Handle):
    """Read and checked once, used for any number of matrices.

    scheme: a preset ("W4A16", "NVFP4", ...), or YAML, JSON or a dictionary: an entry of config_groups, or the arguments of its weights alone,
    {"num_bits": 4, "group_size": 32, "strategy": "group"}. method: "rtn" (to nearest, the default) or "gptq" (needs a Gram); what follows `rounding` is GPTQ's.
    """

    def __init__(
        self,
        scheme,
        method=None,
        *,
        compat=None,
        rounding=None,
        activation_order=None,
        dampening=None,
        dampening_frac=None,
        block_size=None
    ):
        how = options(
            _abi.llmc_scheme_options,
            scheme=text(json_text(scheme)),
            method=choice("method", method, "rtn", "gptq"),
            compat=choice("compat", compat, "vllm", "reference"),
            rounding=choice("rounding", rounding, "exact", "reference"),
            activation_order=switch(activation_order),
            dampening=choice("dampening", dampening, "relative", "mean"),
            dampening_frac=dampening_frac or 0,
            block_size=block_size or 0,
        )
        self._owner = made(lib.llmc_scheme_free, lib.llmc_scheme_create, how)

    @property
    def format(self):
        """How its matrices lie on disk: "pack-quantized"."""
        return lib.llmc_scheme_format(self._handle).decode()

    def global_scale(self, session, weights, gram=None):
        """One global scale for weights that a server fuses into one layer (q, k, v; gate, up). Schemes with strategy tensor_group (NVFP4) alone."""
        scale = ctypes.c_float()
        session.call(lib.llmc_global_scale, self._handle, *raws(weights), gram and gram._handle, scale)
        return scale.value
