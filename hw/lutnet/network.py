"""A trained LUT network as a circuit: encoder, layers, counters, maximum."""

import numpy as np
from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .argmax import argmax
from .circuit import Circuit, Table, Wire
from .config import NetworkConfig
from .encode import encode
from .model import Layer, Model
from .popcount import count, weigh

__all__ = ["Network", "build", "latency_of"]


def _tables(inputs: dict[int, Wire], layer: Layer, nodes) -> dict[int, Table]:
    packed = np.packbits(layer.tables, axis=1, bitorder="little")
    return {j: Table(int.from_bytes(packed[j].tobytes(), "little") & (1 << 2 ** layer.n) - 1,
                     tuple(inputs.get(p) for p in layer.pins[j].tolist())) for j in nodes}


def _layer(c: Circuit, inputs: dict[int, Wire], layer: Layer, nodes) -> dict[int, Wire]:
    """Wires of the nodes named in ``nodes``."""
    return {j: c.lut(t.table, list(t.pins)) for j, t in _tables(inputs, layer, nodes).items()}


def build(model: Model, config: NetworkConfig,
          codes: list[Value]) -> tuple[Circuit, Value, int]:
    """The network on ``codes``, one value for each feature: circuit, result and latency."""
    c = Circuit(config.tables, config.fabric)
    wires = encode(c, codes, model.encoder, model.used_bits())
    if "encode" in config.registers:
        wires = {e: c.register(w) for e, w in wires.items()}
    for layer in model.layers[:-1]:
        wires = _layer(c, wires, layer, range(layer.nodes))
        if "layers" in config.registers:
            wires = {j: c.register(w) for j, w in wires.items()}

    if config.head == "none":
        wires = _layer(c, wires, model.layers[-1], range(model.layers[-1].nodes))
        if "layers" in config.registers:
            wires = {j: c.register(w) for j, w in wires.items()}
        stage = max(w.stage for w in wires.values())
        return c, Cat(c.at(w, stage) for w in wires.values()), stage

    # The narrow nodes of the last layer merge with the counters; the others may be registered.
    last = model.layers[-1]
    narrow = {j for j in range(last.nodes) if config.head == "carry" and not model.shift.any()
              and (last.pins[j] >= 0).sum() <= 5}
    wide = _layer(c, wires, last, [j for j in range(last.nodes) if j not in narrow])
    if "layers" in config.registers:
        wide = {j: c.register(w) for j, w in wide.items()}
        wires = {i: c.register(w) for i, w in wires.items()}
    merged = _tables(wires, last, sorted(narrow))

    rows = []
    for group in range(model.classes):
        inside = [j for j in range(last.nodes) if model.group[j] == group]
        options = {"style": config.head, "inputs": config.inputs, "every": config.sum_levels}
        if model.shift.any():
            rows.append(weigh(c, [(wide[j], int(model.shift[j])) for j in inside], **options))
        else:
            rows.append(count(c, [wide[j] for j in inside if j in wide],
                              [merged[j] for j in inside if j in merged], **options)
                        if inside else [Wire(Const(0, 1))])
    length = max(map(len, rows))
    stage = max(w.stage for row in rows for w in row)
    rows = [[Wire(c.at(w, stage), stage) for w in row]
            + [Wire(Const(0, 1), stage)] * (length - len(row)) for row in rows]
    if "sums" in config.registers:
        rows = [[c.register(w) for w in row] for row in rows]
    if config.result == "sums":
        return c, Cat(w.value for row in rows for w in row), rows[0][0].stage
    result = argmax(c, rows, every=config.label_levels) if model.classes > 1 else rows[0]
    if "label" in config.registers:
        result = [c.register(w) for w in result]
    return c, Cat(w.value for w in result), result[0].stage


def latency_of(model: Model, config: NetworkConfig) -> int:
    """Cycles of the network that :class:`Network` would be."""
    width = model.encoder.width
    return build(model, config, [Signal(width) for _ in range(model.features)])[2]


class Network(wiring.Component):
    """The label of a sample, one sample per clock: ``o = label(i)`` of :mod:`sim.golden.lutnet`.

    Parameters
    ----------
    model : :class:`Model`
    config : :class:`NetworkConfig`

    Members
    -------
    i : codes of the features, unsigned, the first in the lowest bits
        ``ArrayLayout(unsigned(model.encoder.width), model.features)``. Bare: ``In`` of it; with
        ``config.stream``: ``In(stream.Signature(...))``.
    o : unsigned label; for a regression the sum of the nodes; with ``head`` "none" the bits of the
        last layer, node 0 in the lowest; with ``result`` "sums" the sums of all groups, equally
        wide, group 0 in the lowest bits
        Bare: ``Out`` of it; with ``config.stream``: ``Out(stream.Signature(...))``.

    Timing
    ------
    Latency: :attr:`latency` cycles, the number of registers on the way, 0 to about 30.
    Throughput: one sample per cycle; in the stream form for as long as ``o`` is ready: a stalled
    output stops the whole pipeline. Reset: samples on the way are lost, ``o.valid`` is low after
    it; the data registers are not reset.

    Nodes that are read by the counters alone, use at most 5 inputs and have no register behind them
    become part of the counters' carry cells (``head`` "carry"): with a register behind the layers
    they are evaluated one stage later, on delayed inputs.
    """

    def __init__(self, model: Model, config: NetworkConfig | None = None):
        self.model, self.config = model, config or NetworkConfig()
        shape = data.ArrayLayout(unsigned(model.encoder.width), model.features)
        self._codes = Signal(shape)
        self._circuit, self._result, self.latency = build(
            self.model, self.config, list(self._codes))
        result = unsigned(len(self._result))
        if self.config.stream:
            members = {"i": In(stream.Signature(shape)), "o": Out(stream.Signature(result))}
        else:
            members = {"i": In(shape), "o": Out(result)}
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        circuit, config = self._circuit, self.config
        circuit.emit(m)
        if not config.stream:
            m.d.comb += [self._codes.eq(self.i), self.o.eq(self._result)]
            return m

        # One valid bit per stage; everything moves unless a result is offered and not taken.
        valid = self.i.valid
        m.d.comb += [
            circuit.enable.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(circuit.enable),
            self._codes.eq(self.i.payload),
            self.o.payload.eq(self._result),
        ]
        for stage in range(self.latency):
            after = Signal(name=f"s{stage + 1}_valid")
            with m.If(circuit.enable):
                m.d.sync += after.eq(valid)
            valid = after
        m.d.comb += self.o.valid.eq(valid)
        return m
