"""Encoder: codes to thermometer bits; only the comparators that are read, each built once."""

from amaranth import *

from .circuit import Circuit, Wire
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


def encode(c: Circuit, codes: list[Value], encoder: Encoder, used) -> dict[int, Wire]:
    """Wires of the encoder's bits ``used``, at stage 0."""
    made: dict[tuple[int, int], Wire] = {}
    for e in used:
        key = (int(encoder.feature[e]), int(encoder.threshold[e]))
        if key not in made:
            made[key] = Wire(c.name(above(codes[key[0]], key[1])))
    return {int(e): made[int(encoder.feature[e]), int(encoder.threshold[e])] for e in used}
