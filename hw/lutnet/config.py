"""How a LUT network becomes hardware."""

from dataclasses import dataclass

from .circuit import FABRIC_INPUTS, TABLES
from .popcount import STYLES

__all__ = ["FABRICS", "HEADS", "PLACES", "NetworkConfig"]

FABRICS = {"xc7": "carry", "ecp5": "compressor", "ice40": "compressor"}  # and their counters

HEADS = (*STYLES, "none")
RESULTS = ("label", "sums")
PLACES = ("encode", "layers", "sums", "label")


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Fabric, registers and form of a network.

    Parameters
    ----------
    fabric : :class:`str`
        ``xc7``, ``ecp5`` or ``ice40``: 6, 4 and 4 inputs per table.
    head : :class:`str`
        ``carry`` or ``compressor``, see :mod:`hw.lutnet.popcount`; empty chooses by the fabric.
        ``none`` leaves counters and maximum out: the result is the last layer's bits.
    result : :class:`str`
        ``label``, or ``sums``: the sums of all groups instead of the label, for those who add up.
    registers : tuple of :class:`str`
        Behind which parts there is a register: ``encode``, ``layers`` (each of them), ``sums``,
        ``label``.
    sum_levels, label_levels : :class:`int`
        Cells between registers inside the counters, comparisons between registers inside the
        maximum; 0 for no registers there.
    tables : :class:`str`
        ``rtl`` or ``cells``, see :class:`hw.lutnet.circuit.Circuit`.
    stream : :class:`bool`
        Streams with back-pressure instead of the bare form.
    """

    fabric: str = "xc7"
    head: str = ""
    result: str = "label"
    registers: tuple[str, ...] = ("layers", "sums", "label")
    sum_levels: int = 0
    label_levels: int = 0
    tables: str = "rtl"
    stream: bool = False

    def __post_init__(self):
        if self.fabric not in FABRICS:
            raise ValueError(f"fabric must be one of {', '.join(FABRICS)}, not {self.fabric!r}")
        if not self.head:
            object.__setattr__(self, "head", FABRICS[self.fabric])
        if self.head not in HEADS:
            raise ValueError(f"head must be one of {', '.join(HEADS)}, not {self.head!r}")
        if self.head == "carry" and self.fabric != "xc7":
            raise ValueError(f"head must be compressor on {self.fabric}, not 'carry'")
        if self.result not in RESULTS:
            raise ValueError(f"result must be one of {', '.join(RESULTS)}, not {self.result!r}")
        if self.tables not in TABLES:
            raise ValueError(f"tables must be one of {', '.join(TABLES)}, not {self.tables!r}")
        for place in self.registers:
            if place not in PLACES:
                raise ValueError(f"registers must be among {', '.join(PLACES)}, not {place!r}")
        for name in ("sum_levels", "label_levels"):
            value = getattr(self, name)
            if value not in range(65):
                raise ValueError(f"{name} must be 0 to 64, not {value!r}")

    @property
    def inputs(self) -> int:
        """Inputs of the fabric's table."""
        return FABRIC_INPUTS[self.fabric]
