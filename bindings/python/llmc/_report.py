"""What a run did."""
import dataclasses
import json

from ._library import lib


@dataclasses.dataclass(frozen=True)
class Linear:
    """One quantized matrix."""

    name: str  # "model.layers.0.mlp.up_proj"
    scheme: str  # "int4 group 128"
    method: str  # "GPTQ" or "RTN"
    relative_error: float  # GPTQ: root of (output error / output energy) over sampled rows; RTN: ||W - Q|| / ||W||
    loss: float  # GPTQ: sum of squared output errors per token; 0 otherwise
    dampening: float  # GPTQ: the fraction that worked; 0 otherwise
    seconds: float  # its share of the quantization time
    note: str  # why the method fell back; "" otherwise


class Report(dict):
    """The dictionary whose keys docs/c-abi.md lists; each key is an attribute too, and `linears` are Linears there."""

    model_type: str
    device: str
    samples: int  # calibration data used
    tokens: int
    bytes_before: int  # tensor bytes of the input and of the output
    bytes_after: int
    peak_memory: int  # bytes; the highest seen between steps
    seconds: float  # wall time, and its parts
    calibration_seconds: float
    quantization_seconds: float
    writing_seconds: float
    notes: list

    @classmethod
    def _read(cls, report):
        return cls(json.loads(lib.llmc_report_json(report).decode()))

    @property
    def linears(self):
        known = [field.name for field in dataclasses.fields(Linear)]
        return [Linear(**{name: row[name] for name in known}) for row in self["linears"]]

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"Report: it has no {name!r}") from None
