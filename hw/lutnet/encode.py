"""Encoder: codes to thermometer bits; only the comparators that are read, each built once."""

from amaranth import *

from .circuit import FABRIC_INPUTS, Circuit, Wire
from .model import Encoder

__all__ = ["above", "encode"]


def above(code: Value, threshold: int) -> Value:
    """``code > threshold`` as gates: a constant's low ones, or its top bit alone, cost none."""
    result: Value = Const(0, 1)
    for k, bit in enumerate(code):
        if threshold >> k & 1:
            result = bit & result
        else:
            result = bit | result
    return result


def _table(width: int, threshold: int) -> int:
    """``code > threshold`` as a table over the bits of the code."""
    return (1 << (1 << width)) - (1 << threshold + 1)


def encode(c: Circuit, codes: list[Value], encoder: Encoder, used) -> dict[int, Wire]:
    """Wires of the encoder's bits ``used``, at stage 0.

    A comparison that depends on no more bits than a table has is one table, else it is gates.
    """
    bits: dict[int, list[Wire]] = {}
    made: dict[tuple[int, int], Wire] = {}
    for e in used:
        feature, threshold = key = (int(encoder.feature[e]), int(encoder.threshold[e]))
        if key in made:
            continue
        code = bits.setdefault(feature, [Wire(bit) for bit in codes[feature]])
        idle = ((threshold + 1) & -(threshold + 1)).bit_length() - 1  # low bits that do not count
        if len(code) - idle <= FABRIC_INPUTS[c.fabric]:
            made[key] = c.lut(_table(len(code) - idle, threshold >> idle), code[idle:])
        else:
            made[key] = Wire(c.name(above(codes[feature], threshold)))
    return {int(e): made[int(encoder.feature[e]), int(encoder.threshold[e])] for e in used}
