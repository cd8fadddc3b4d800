"""What a cell type publishes. The array generator knows its cells by this and nothing else.

A new cell type is one file in :mod:`hw.systolic.cells` and one row of :data:`_CELLS` below.
"""

from abc import ABC, abstractmethod
from functools import cache
from importlib import import_module

import numpy as np
from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.formats import Format

__all__ = [
    "CellType", "Wire", "Register", "WeightStationaryCell", "OutputStationaryCell", "cell_type",
]


class CellType(ABC):
    """One kind of multiply-accumulate cell.

    Attributes
    ----------
    name : :class:`str`
    dataflow : :class:`str`
        ``ws`` or ``os``.
    contract : :class:`str`
        Which numbers come out: ``fma``, ``exact`` or ``int``. The golden model has the same name.
    operand, sum, bias : :class:`Format`
        Words of the streams: activations and weights; results; biases.
    lanes : :class:`int`
        Products a cell forms in one cycle.
    operand_latency : :class:`int`
        Cycles from the operands to the sum (or to the accumulator) that they enter.
    sum_latency : :class:`int`
        Cycles that a sum spends in a cell; the array skews its rows by it.
    loop_latency : :class:`int`
        Cycles before the same accumulator can take its next product; 0 where the cell has none.
    k_max : :class:`int` or ``None``
        Longest sum the contract holds for; ``None``: any.
    neutral : (int, int)
        Activation and weight words whose product leaves every sum as it is: what pads an edge.
    operand_shape, sum_shape : ShapeLike
        Signals inside the array.
    """

    name: str
    dataflow: str
    contract: str
    operand: Format
    sum: Format
    bias: Format
    lanes: int = 1
    operand_latency: int
    sum_latency: int
    loop_latency: int = 0
    k_max: int | None = None
    neutral: tuple[int, int]
    operand_shape: object
    sum_shape: object

    @abstractmethod
    def unpack_operand(self) -> wiring.Component:
        """Combinational: a word of ``operand`` at ``i`` to ``operand_shape`` at ``o``."""

    @abstractmethod
    def core(self) -> wiring.Component:
        """The arithmetic, without the registers that make an array of it."""


class Wire(wiring.Component):
    """``o`` is ``i``: the converter of formats that need none. Latency: 0 cycles."""

    def __init__(self, shape):
        super().__init__({"i": In(shape), "o": Out(shape)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(self.i)
        return m


class Register(wiring.Component):
    """``o`` is what ``i`` was one cycle ago; not reset."""

    latency = 1

    def __init__(self, shape):
        self.shape = shape
        super().__init__({"i": In(shape), "o": Out(shape)})

    def elaborate(self, platform):
        m = Module()
        value = Signal(self.shape, reset_less=True)
        m.d.sync += value.eq(self.i)
        m.d.comb += self.o.eq(value)
        return m


class WeightStationaryCell(CellType):
    """``y = c + a * w``: ``core`` has ports ``a``, ``w``, ``c`` and ``y``.

    ``y`` follows ``a`` and ``w`` by ``operand_latency`` cycles and ``c`` by ``sum_latency``.
    """

    dataflow = "ws"

    @abstractmethod
    def unpack_sum(self) -> wiring.Component:
        """Combinational: a word of ``sum`` at ``i`` to ``sum_shape`` at ``o``."""

    @abstractmethod
    def pack_sum(self, result: Format) -> wiring.Component:
        """``sum_shape`` at ``i`` to a word of ``result`` at ``o``, :meth:`pack_latency` later."""

    @abstractmethod
    def pack_latency(self, result: Format) -> int:
        """Cycles of :meth:`pack_sum`."""


class OutputStationaryCell(CellType):
    """``acc += a * w``: ``core`` has ports ``control``, ``a``, ``w``, ``chain_i`` and ``chain_o``.

    :class:`hw.systolic.os_mesh.OsControl` says what a beat does.

    Attributes
    ----------
    words : :class:`int`
        Beats that hand a sum out, and cycles it takes on its column's way out.
    banks : :class:`int`
        2: a sum may be handed out while the next one grows, until ``bank`` changes again. 1: it has
        one word, which is handed out just ``drain_after`` beats behind the last product.
    drain_after : :class:`int`
        Beats from the last product to the first that may hand the sum out.
    chain_latency : :class:`int`
        Cycles from the beat that hands a word out to ``chain_o``.
    chain_shape : ShapeLike
        A word on its way out.
    settle_tiles : :class:`int`
        Sums whose results are thrown away after a reset, until memories that it cannot clear agree.
    bias_stream : :class:`bool`
        Biases are added at the end of the column, and the array has a stream of them. Otherwise a
        bias is one more product; see :meth:`with_bias`.
    """

    dataflow = "os"
    words: int
    banks: int
    drain_after: int
    chain_latency: int
    chain_shape: object
    settle_tiles: int = 0
    bias_stream: bool = False

    @abstractmethod
    def column(self, result: Format, segments: int = 1, tiles: int = 2) -> wiring.Component:
        """The ends of a column's ways out, one for each segment of its rows.

        Ports ``row`` (a bit for each segment), ``chain`` (array of ``chain_shape``) and ``value``.
        ``row`` is high with a sum's first word at ``chain``; ``value``, a word of ``result``,
        follows :meth:`column_latency` cycles later. Sums of two segments may overlap, but do not
        begin in the same cycle.

        With ``bias_stream``, also ``bias``, a struct: ``write``, ``write_tile``, ``value`` (a bias,
        and the tile it is for, modulo ``tiles``) and ``tile`` (that of the sum at ``chain``).
        """

    @abstractmethod
    def column_latency(self, result: Format) -> int:
        """Cycles of :meth:`column`."""

    def with_bias(self, a, w, bias):
        """Matrices with one more product in each sum, ``bias * 1``."""
        one = np.full((len(a), 1), self.operand.bias << self.operand.fraction, a.dtype)
        return np.concatenate([one, a], axis=1), np.concatenate([bias[None], w])


_CELLS = {
    # format, contract, dataflow: the module that describes it
    ("bf16", "fma",   "ws"): "fma",
    ("bf16", "exact", "os"): "exact",
    ("int8", "int",   "ws"): "int8_ws",
    ("int8", "int",   "os"): "int8_os",
}


@cache
def cell_type(format: str, contract: str, dataflow: str) -> CellType:
    """The cell for these three words; a combination that does not exist is a ``ValueError``."""
    try:
        module = _CELLS[format, contract, dataflow]
    except KeyError:
        offered = "; ".join(" ".join(key) for key in _CELLS)
        raise ValueError(f"format, contract and dataflow must be one of {offered}; "
                         f"not {format} {contract} {dataflow}") from None
    return import_module(f"hw.systolic.cells.{module}").CELL
