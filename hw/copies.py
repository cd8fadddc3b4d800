"""Registers that hold the same, for what too many look at."""

from amaranth import *

__all__ = ["copies"]


def copies(m: Module, value, count: int, name: str) -> list[Value]:
    """``count`` registers of the bit ``value``, so that each has its own loads near it.

    Synthesis merges registers that are equal. So these differ: in polarity, in their value after
    power-on, and in whether they are reset, eight ways in all; beyond eight they are shared. They
    are equal from the first clock edge behind power-on or reset on, and arbitrary until then: use
    them for what data is chosen, not for whether something happens.
    """
    results = []
    for index in range(min(count, 8)):
        inverted, init, reset_less = index & 1, index >> 1 & 1, index >> 2 & 1
        register = Signal(name=f"{name}_{index}", init=init, reset_less=bool(reset_less))
        m.d.sync += register.eq(~value if inverted else value)
        results.append(~register if inverted else register)
    return [results[index % 8] for index in range(count)]
