"""Number formats as data: how many bits, what they mean, how they look as a signal.

A format is a value, so a component takes it as a parameter and a scaled-down one (a few bits of
exponent and fraction) runs the same generator through every input it has. Floating point follows
IEEE 754-2019 section 3.4 with one canonical NaN; ``finite`` formats follow the OCP 8-bit floating
point specification: no infinity, and only the all-ones pattern is NaN.
"""

from dataclasses import dataclass

from amaranth import Shape, signed, unsigned
from amaranth.lib import data

__all__ = [
    "FloatFormat", "IntFormat", "Format", "FORMATS", "format_named",
    "BFLOAT16", "FLOAT32", "FLOAT16", "FLOAT8_E4M3", "FLOAT8_E5M2", "INT4", "INT8", "INT32",
]


@dataclass(frozen=True)
class FloatFormat:
    """``(-1)**sign * 1.fraction * 2**(exponent - bias)``; exponent 0 has zero and subnormals.

    Parameters
    ----------
    name : :class:`str`
    exponent : :class:`int`
        Bits of the exponent field, 2 to 11.
    fraction : :class:`int`
        Bits of the fraction field, 1 to 52.
    finite : :class:`bool`
        No infinity: the all-ones exponent holds ordinary numbers, all ones everywhere is NaN.
    """

    name: str
    exponent: int
    fraction: int
    finite: bool = False

    def __post_init__(self):
        if self.exponent not in range(2, 12):
            raise ValueError(f"exponent must be 2 to 11 bits, not {self.exponent!r}")
        if self.fraction not in range(1, 53):
            raise ValueError(f"fraction must be 1 to 52 bits, not {self.fraction!r}")

    @property
    def width(self) -> int:
        """Bits of the whole word."""
        return 1 + self.exponent + self.fraction

    @property
    def bias(self) -> int:
        return (1 << (self.exponent - 1)) - 1

    @property
    def min_exponent(self) -> int:
        """Exponent of the smallest normal number, ``2**min_exponent``."""
        return 1 - self.bias

    @property
    def max_exponent(self) -> int:
        """Exponent of the largest finite number."""
        top = (1 << self.exponent) - 1 - self.bias
        return top if self.finite else top - 1

    @property
    def max(self) -> float:
        """Largest finite number."""
        steps = (2 << self.fraction) - (2 if self.finite else 1)
        return steps * 2.0 ** (self.max_exponent - self.fraction)

    @property
    def exponent_mask(self) -> int:
        """The exponent field, all ones, in place."""
        return ((1 << self.exponent) - 1) << self.fraction

    @property
    def sign_mask(self) -> int:
        return 1 << (self.width - 1)

    @property
    def infinity(self) -> int:
        """Bits of +infinity; a ``finite`` format has none and raises :exc:`ValueError`."""
        if self.finite:
            raise ValueError(f"{self.name} has no infinity")
        return self.exponent_mask

    @property
    def nan(self) -> int:
        """Bits of the one NaN: positive, quiet, no payload."""
        if self.finite:
            return self.sign_mask - 1
        return self.exponent_mask | 1 << (self.fraction - 1)

    @property
    def layout(self) -> data.StructLayout:
        """The word as a signal's shape: ``fraction``, ``exponent``, ``sign`` from bit 0 up."""
        return data.StructLayout({
            "fraction": self.fraction,
            "exponent": self.exponent,
            "sign":     1,
        })

    @property
    def shape(self) -> data.StructLayout:
        return self.layout


@dataclass(frozen=True)
class IntFormat:
    """Two's complement (or plain binary) of ``width`` bits, 1 to 64; sums wrap."""

    name: str
    width: int
    signed: bool = True

    def __post_init__(self):
        if self.width not in range(1, 65):
            raise ValueError(f"width must be 1 to 64 bits, not {self.width!r}")

    @property
    def min(self) -> int:
        return -(1 << (self.width - 1)) if self.signed else 0

    @property
    def max(self) -> int:
        return (1 << (self.width - self.signed)) - 1

    @property
    def shape(self) -> Shape:
        return signed(self.width) if self.signed else unsigned(self.width)


Format = FloatFormat | IntFormat

BFLOAT16    = FloatFormat("bfloat16", exponent=8, fraction=7)
FLOAT32     = FloatFormat("float32",  exponent=8, fraction=23)
FLOAT16     = FloatFormat("float16",  exponent=5, fraction=10)
FLOAT8_E4M3 = FloatFormat("float8_e4m3", exponent=4, fraction=3, finite=True)
FLOAT8_E5M2 = FloatFormat("float8_e5m2", exponent=5, fraction=2)
INT4        = IntFormat("int4", 4)
INT8        = IntFormat("int8", 8)
INT32       = IntFormat("int32", 32)

FORMATS: dict[str, Format] = {
    f.name: f
    for f in (BFLOAT16, FLOAT32, FLOAT16, FLOAT8_E4M3, FLOAT8_E5M2, INT4, INT8, INT32)
}
_SHORT = {"bf16": "bfloat16", "fp32": "float32", "fp16": "float16",
          "e4m3": "float8_e4m3", "e5m2": "float8_e5m2"}


def format_named(name: str) -> Format:
    """The format called ``name`` (``bfloat16``, or its short form ``bf16``)."""
    try:
        return FORMATS[_SHORT.get(name, name)]
    except KeyError:
        raise ValueError(
            f"format must be one of {', '.join([*FORMATS, *_SHORT])}, not {name!r}") from None
