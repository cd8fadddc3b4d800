"""Oversampling: a network of one-bit features sees a sample several times, differently cut."""

from dataclasses import replace

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .argmax import argmax
from .circuit import Circuit, Wire
from .config import NetworkConfig
from .model import Model
from .network import Network

__all__ = ["Modulator", "OversampledNetwork", "cuts"]


def cuts(width: int, passes: int) -> list[int]:
    """Where the passes cut codes of ``width`` bits, ascending, at equal distances:
    ``(m + 1) * 2**width // (passes + 1) - 1``."""
    return [(m + 1) * 2 ** width // (passes + 1) - 1 for m in range(passes)]


class Modulator(wiring.Component):
    """Codes to frames of bits: in pass m a feature is ``code > cuts[m]``, see :func:`cuts`.

    Parameters
    ----------
    features, width : :class:`int`
        Features of a sample, bits of their codes.
    passes : :class:`int`
        Frames of a sample, 1 to ``2**width - 1``.

    Members
    -------
    i : ``In(stream.Signature(ArrayLayout(unsigned(width), features)))``
    o : ``Out(stream.Signature(ArrayLayout(1, features)))``
        ``passes`` beats for each of ``i``.

    Timing
    ------
    Latency: 1 cycle to the first frame. Throughput: one frame per cycle, without a pause between
    samples, for as long as ``o`` is ready. Reset: a sample that is held is lost.
    """

    latency = 1

    def __init__(self, features: int, width: int, passes: int):
        if passes not in range(1, 2 ** width):
            raise ValueError(f"passes must be 1 to {2 ** width - 1} with codes of {width} bits, "
                             f"not {passes!r}")
        self.width, self.passes = width, passes
        super().__init__({
            "i": In(stream.Signature(data.ArrayLayout(unsigned(width), features))),
            "o": Out(stream.Signature(data.ArrayLayout(1, features))),
        })

    def elaborate(self, platform):
        m = Module()
        sample = Signal.like(self.i.payload, reset_less=True)
        turn, cut = Signal(range(self.passes)), Signal(self.width)
        last = turn == self.passes - 1
        with m.Switch(turn):
            for k, value in enumerate(cuts(self.width, self.passes)):
                with m.Case(k):
                    m.d.comb += cut.eq(value)
        m.d.comb += self.i.ready.eq(~self.o.valid | (self.o.ready & last))
        m.d.comb += [bit.eq(code > cut) for bit, code in zip(self.o.payload, sample)]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += turn.eq(Mux(last, 0, turn + 1))
        with m.If(self.i.ready):
            m.d.sync += [sample.eq(self.i.payload), self.o.valid.eq(self.i.valid)]
        return m


class OversampledNetwork(wiring.Component):
    """A modulator, a network, and counters that add up the sums of all passes of a sample.

    Computes ``oversample`` of :mod:`sim.golden.lutnet`.

    Parameters
    ----------
    model : :class:`Model`
        Its features have one bit; without a front.
    width, passes : :class:`int`
        See :class:`Modulator`.
    config : :class:`NetworkConfig`
        ``stream`` and ``result`` are taken as set.

    Members
    -------
    i : ``In(stream.Signature(ArrayLayout(unsigned(width), model.features)))``
    o : ``Out(stream.Signature(...))``
        The label with the largest total, the lowest of equals; of a regression the total.

    Timing
    ------
    Latency: :attr:`latency` cycles from a sample to its result, unless ``o`` waited meanwhile.
    Throughput: one sample per ``passes`` cycles, for as long as ``o`` is ready. Reset: samples on
    the way are lost. The maximum is behind the counters' registers and has none of its own.
    """

    def __init__(self, model: Model, width: int, passes: int, config: NetworkConfig | None = None):
        if model.front or model.encoder.width != 1:
            raise ValueError("model must have features of one bit and no front, to be oversampled")
        self.model = model
        self.modulator = Modulator(model.features, width, passes)
        self.network = Network(model, replace(config or NetworkConfig(), stream=True,
                                              result="sums"))
        self.latency = self.modulator.latency + self.network.latency + passes
        self.sum_width = len(Value.cast(self.network.o.payload)) // model.classes
        self.total_width = ((2 ** self.sum_width - 1) * passes).bit_length()
        result = (model.classes - 1).bit_length() or self.total_width
        super().__init__({
            "i": In(stream.Signature(self.modulator.i.payload.shape())),
            "o": Out(stream.Signature(unsigned(result))),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.modulator, m.submodules.network = self.modulator, self.network
        wiring.connect(m, wiring.flipped(self.i), self.modulator.i)
        wiring.connect(m, self.modulator.o, self.network.i)
        sums, passes = self.network.o, self.modulator.passes
        turn = Signal(range(passes))
        totals = Signal(data.ArrayLayout(self.total_width, self.model.classes), reset_less=True)
        m.d.comb += sums.ready.eq(~self.o.valid | self.o.ready)
        with m.If(sums.ready):
            m.d.sync += self.o.valid.eq(sums.valid & (turn == passes - 1))
        with m.If(sums.ready & sums.valid):
            m.d.sync += turn.eq(Mux(turn == passes - 1, 0, turn + 1))
            for c, total in enumerate(totals):
                one = Value.cast(sums.payload).word_select(c, self.sum_width)
                m.d.sync += total.eq(Mux(turn == 0, 0, total) + one)

        if self.model.classes == 1:
            m.d.comb += self.o.payload.eq(totals[0])
            return m
        config = self.network.config
        circuit = Circuit(config.tables, config.fabric)
        rows = [[Wire(bit) for bit in total] for total in totals]
        m.d.comb += self.o.payload.eq(Cat(w.value for w in argmax(circuit, rows)))
        circuit.emit(m)
        return m
