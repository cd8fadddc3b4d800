"""Configuration of a systolic array: its size, its cells, its memories."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields

from hw.options import option
from hw.systolic.cell import CellType, cell_type

__all__ = ["ArrayConfig"]

_FORMATS = ("bf16", "int8")
_CONTRACTS = ("fma", "exact", "int")
_DATAFLOWS = ("ws", "os")
_RESULTS = {"bf16": ("float32", "bfloat16"), "int8": ("int32",)}
# What a format means where the user leaves the rest open.
_CONTRACT_OF = {"bf16": "fma", "int8": "int"}
_DATAFLOW_OF = {"fma": "ws", "exact": "os", "int": "ws"}


@dataclass(frozen=True, kw_only=True)
class ArrayConfig:
    """A ``rows`` x ``cols`` array of one cell type.

    ``fma`` is weight-stationary, ``exact`` output-stationary, ``int`` either; a word left empty is
    chosen by the others. A field that is wrong raises ``ValueError`` or ``TypeError``.
    """

    rows:     int = option(4, "rows of cells, 1 to 64")
    cols:     int = option(4, "columns of cells, 1 to 64")
    format:   str = option("bf16", "operands: bf16 or int8")
    contract: str = option("", "numbers: fma or exact for bf16, int for int8")
    dataflow: str = option("", "ws (weight-stationary) or os (output-stationary)")
    result:   str = option("", "results: float32 or bfloat16 for bf16, int32 for int8")
    depth:    int = option(512, "partial sums a weight-stationary column holds, "
                                "a power of two, 16 to 4096")
    segment:  int = option(4, "rows of exact cells that share a way out: 1, 2, 4, 8, 16, 32 or 64")

    def __post_init__(self):
        for name in ("rows", "cols", "depth", "segment"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{name} must be an integer, not {value!r}")
        for name in ("rows", "cols"):
            if getattr(self, name) not in range(1, 65):
                raise ValueError(f"{name} must be 1 to 64, not {getattr(self, name)!r}")
        if self.depth not in (1 << n for n in range(4, 13)):
            raise ValueError(f"depth must be a power of two, 16 to 4096, not {self.depth!r}")
        if self.segment not in (1 << n for n in range(7)):
            raise ValueError("segment must be 1, 2, 4, 8, 16, 32 or 64, "
                             f"not {self.segment!r}")
        _choose("format", self.format, _FORMATS)
        self._default("contract", _CONTRACT_OF[self.format])
        _choose("contract", self.contract, _CONTRACTS)
        self._default("dataflow", _DATAFLOW_OF[self.contract])
        _choose("dataflow", self.dataflow, _DATAFLOWS)
        self._default("result", _RESULTS[self.format][0])
        _choose("result", self.result, _RESULTS[self.format])
        cell_type(self.format, self.contract, self.dataflow)

    def _default(self, name: str, value: str):
        if not getattr(self, name):
            object.__setattr__(self, name, value)

    @property
    def cell(self) -> CellType:
        return cell_type(self.format, self.contract, self.dataflow)

    def to_json(self) -> dict:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict) -> "ArrayConfig":
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise ValueError(f"array configuration has {', '.join(known)}, not {name!r}")
        return cls(**values)

    @property
    def hash(self) -> str:
        """Twelve hex digits that name this configuration."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def _choose(name: str, value: str, allowed: tuple[str, ...]):
    if value not in allowed:
        raise ValueError(f"{name} must be {' or '.join(allowed)}, not {value!r}")
