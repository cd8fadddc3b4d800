"""Networks of edge tables (KANELÉ's form): a layer adds one table of one input per edge.

``s[j] = sum_i table[i, j][x[i]]``, saturated to ``out_bits`` two's complement; the next layer's
index is ``s + 2**(out_bits - 1)``. Or a layer has limits, and the next index is the number of them
that s reaches: how quantised networks become tables (:mod:`hw.lutnet.qonnx`). Source: KANELÉ,
github.com/Duchstf/KANELE, whose files ``truth_tables.json`` with ``config.json`` :func:`load`
reads.

The circuit adds no constants. Each table is shifted so that its smallest value is ``d[i, j]``, at
least 0, and the d of one sum add up to what makes the saturation's lower limit a multiple of
``2**out_bits``: then the low bits of the sum are the result, and its high bits alone tell whether
it saturates. Among all such shifts the cheapest is taken.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .circuit import Circuit, Wire, reduce_table, split_cost
from .config import NetworkConfig
from .encode import above
from .model import ModelError
from .popcount import compress

__all__ = ["EdgeLayer", "EdgeNetwork", "EdgeModel", "load"]


@dataclass(frozen=True, eq=False)
class EdgeLayer:
    """Tables of one layer.

    Parameters
    ----------
    tables : int64 (inputs, outputs, 2**in_bits)
        Zero where there is no edge.
    edges : bool (inputs, outputs)
    out_bits : :class:`int`
        Of the saturated sum, two's complement; with limits, of the unsigned code.
    limits : int64 (outputs, up to 2**out_bits - 1) or None
        Ascending. The code is ``sum_t s >= limits[t]``.
    """

    tables: np.ndarray
    edges: np.ndarray
    out_bits: int
    limits: np.ndarray | None = None

    def __post_init__(self):
        entries = self.tables.shape[-1]
        if self.tables.ndim != 3 or entries & entries - 1 or not 2 <= entries <= 128:
            raise ModelError("tables must have 2 to 128 entries, a power of two, not "
                             f"{entries}")
        if self.edges.shape != self.tables.shape[:2]:
            raise ModelError(f"edges must have shape {self.tables.shape[:2]}, not "
                             f"{self.edges.shape}")
        least = 2 if self.limits is None else 1
        if self.out_bits not in range(least, 17):
            raise ModelError(f"out_bits must be {least} to 16, not {self.out_bits!r}")
        if self.limits is not None:
            shape, most = self.limits.shape, 2 ** self.out_bits - 1
            if len(shape) != 2 or shape[0] != self.edges.shape[1] or not 1 <= shape[1] <= most:
                raise ModelError(f"limits must be 1 to {most} for each of {self.edges.shape[1]} "
                                 f"outputs, not of shape {shape}")
            if (np.diff(self.limits, axis=1) < 0).any():
                raise ModelError("limits must ascend")

    def codes(self, sums: np.ndarray) -> np.ndarray:
        """Codes (..., outputs), what the next layer looks up, of sums of that shape."""
        if self.limits is not None:
            return (sums[..., None] >= self.limits).sum(-1)
        half = 1 << self.out_bits - 1
        return np.clip(sums, -half, half - 1) + half

    @property
    def in_bits(self) -> int:
        return self.tables.shape[-1].bit_length() - 1


@dataclass(frozen=True, eq=False)
class EdgeModel:
    """Layers, each of which takes what the one before gives.

    ``levels``: the inputs' codes are below it; 0 for no limit but their bits.
    """

    layers: tuple[EdgeLayer, ...]
    levels: int = 0

    def __post_init__(self):
        for before, after in zip(self.layers, self.layers[1:]):
            if before.out_bits != after.in_bits or before.tables.shape[1] != after.tables.shape[0]:
                raise ModelError(f"a layer of {after.tables.shape[0]} inputs of {after.in_bits} "
                                 f"bits must follow as many outputs, not {before.tables.shape[1]} "
                                 f"of {before.out_bits}")

    def reachable(self, index: int) -> np.ndarray:
        """bool (inputs, 2**in_bits): codes that some input of the network can bring to a layer.

        Every sum between the smallest and the largest is taken to occur, so the set may be too
        large, never too small.
        """
        layer = self.layers[index]
        codes = np.arange(2 ** layer.in_bits)
        if index == 0:
            return np.repeat(codes[None] < (self.levels or len(codes)), layer.tables.shape[0], 0)
        before = self.layers[index - 1]
        ok = self.reachable(index - 1)
        low = np.where(ok[:, None], before.tables, 1 << 30).min(-1)
        high = np.where(ok[:, None], before.tables, -(1 << 30)).max(-1)
        low = before.codes((low * before.edges).sum(0))
        high = before.codes((high * before.edges).sum(0))
        return (codes >= low[:, None]) & (codes <= high[:, None])


def load(folder: str | Path) -> EdgeModel:
    """KANELÉ's ``truth_tables.json`` and ``config.json`` in ``folder``."""
    folder = Path(folder)
    try:
        tables = json.loads((folder / "truth_tables.json").read_text())
        config = json.loads((folder / "config.json").read_text())
        sizes, widths = config["layers"], config["layers_bitwidth"]
        layers = []
        for index, (inputs, outputs) in enumerate(zip(sizes, sizes[1:])):
            values = np.zeros((inputs, outputs, 2 ** widths[index]), np.int64)
            edges = np.zeros((inputs, outputs), bool)
            for i in range(inputs):
                for j in range(outputs):
                    entry = tables[f"{index}_{i}_{j}"]
                    edges[i, j] = bool(entry["acive"])  # the files spell it so
                    if edges[i, j]:
                        if len(entry["values_int"]) != values.shape[-1]:
                            raise ModelError(f"table {index}_{i}_{j} must have "
                                             f"{values.shape[-1]} entries, not "
                                             f"{len(entry['values_int'])}")
                        values[i, j] = entry["values_int"]
            layers.append(EdgeLayer(values, edges, widths[index + 1]))
    except (OSError, json.JSONDecodeError) as error:
        raise ModelError(f"{folder.name} must hold truth_tables.json and config.json: "
                         f"{error}") from None
    except KeyError as error:
        raise ModelError(f"{folder.name}: the entry {error.args[0]} is missing") from None
    return EdgeModel(tuple(layers))


# Circuit ----------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Lookup:
    """A claim: ``wire`` is ``word >> sum_i pins[i] << i & 1``, and counts ``2**shift``."""

    pins: tuple[Wire, ...]
    word: int
    wire: Wire
    shift: int


@dataclass(frozen=True)
class Row:
    """A claim: ``row`` is the sum of the lookups since the last one, ``largest`` at most.

    ``inputs``: the wires of the codes that they look up.
    """

    inputs: tuple[tuple[Wire, ...], ...]
    row: tuple[Wire, ...]
    largest: int


@dataclass(frozen=True)
class Codes:
    """A claim: ``wires`` are the codes behind layer ``index``, of the rows since the last one."""

    index: int
    wires: tuple[tuple[Wire, ...], ...]


def _word(bits: np.ndarray) -> int:
    return int.from_bytes(np.packbits(bits, bitorder="little").tobytes(), "little") \
        & (1 << len(bits)) - 1


@cache
def _bit_cost(table: int, inputs: int) -> float:
    """About what one bit costs, with its share of the sum."""
    table, pins = reduce_table(table, list(range(inputs)))
    if len(pins) <= 1:
        return 0.55 if pins else 0.0
    return 0.55 + (1 if len(pins) <= 6 else split_cost(table, len(pins))[0])


def _cost(values: np.ndarray) -> float:
    inputs = len(values).bit_length() - 1
    return sum(_bit_cost(_word(values >> k & 1), inputs)
               for k in range(int(values.max()).bit_length()))


def _forms(values: np.ndarray) -> list[tuple[np.ndarray, ...]]:
    """Ways to write a table as a sum: itself, and what does not depend on an input plus the rest.

    A smooth table of seven inputs changes little with the lowest one, so that the rest has one or
    two bits, and the other part has six inputs (the self-similarity that CompressedLUT uses).
    """
    forms = [(values,)]
    address = np.arange(len(values))
    if len(values) > 64:
        for k in range(len(values).bit_length() - 1):
            base = np.minimum(values[address & ~(1 << k)], values[address | 1 << k])
            forms.append((base, values - base))
    return sorted(forms, key=lambda form: sum(map(_cost, form)))


def _shifts(forms: list[tuple[np.ndarray, ...]], residue: int, modulus: int, *,
            wide: bool = False, constants: bool = False) -> list[int]:
    """Shifts d of the forms' first parts: ``sum(d) % modulus == residue``, cheapest together.

    A shift makes a table at most one bit wider, and no bit of it always 1: that bit would take a
    place in the adders. If that is not enough, ``wide``, any number; then, ``constants``, any bits.
    """
    best: dict[int, tuple[float, list[int]]] = {0: (0.0, [])}
    for first, *_ in forms:
        span = int(first.max())
        most = modulus if wide else min((1 << span.bit_length() + 1) - span, modulus)
        options = {d: _cost(first + d) for d in range(most)
                   if constants or not np.bitwise_and.reduce(first + d)}
        after: dict[int, tuple[float, list[int]]] = {}
        for r, (cost, chosen) in best.items():
            for d, more in options.items():
                key = (r + d) % modulus
                if key not in after or cost + more < after[key][0]:
                    after[key] = (cost + more, [*chosen, d])
        best = after
    if residue not in best:
        return _shifts(forms, residue, modulus, wide=True, constants=wide)
    return best[residue][1]


def _saturated(c: Circuit, inputs: list[list[Wire]], tables: list[np.ndarray], out_bits: int,
               config: NetworkConfig) -> list[Wire]:
    """Bits of ``clip(sum tables, limits) + 2**(out_bits - 1)``."""
    modulus, half = 1 << out_bits, 1 << out_bits - 1
    lowest = [int(t.min()) for t in tables]
    forms = [_forms(t - low)[0] for t, low in zip(tables, lowest)]
    shifts = _shifts(forms, (sum(lowest) + half) % modulus, modulus)
    forms = [(first + d, *rest) for (first, *rest), d in zip(forms, shifts)]
    offset = sum(shifts) - sum(lowest) - half  # the sum is the result plus this
    assert offset % modulus == 0
    row = _row(c, inputs, forms, config)
    low, high = row[:out_bits], row[out_bits:]
    low += [Wire(Const(0, 1))] * (out_bits - len(low))
    middle = offset // modulus  # what the high bits are when the sum does not saturate
    out = []
    for bit in low:
        table = 0
        for a in range(1 << len(high) + 1):
            h = a >> 1
            value = (a & 1) if h == middle else int(h > middle)
            table |= value << a
        out.append(c.lut(table, [bit, *high], config.sum_levels))
    return _aligned(c, out)


def _counted(c: Circuit, inputs: list[list[Wire]], tables: list[np.ndarray], limits: np.ndarray,
             out_bits: int, config: NetworkConfig) -> list[Wire]:
    """Bits of the number of ``limits`` that the sum of ``tables`` reaches."""
    lowest = [int(t.min()) for t in tables]
    row = _row(c, inputs, [(t - low,) for t, low in zip(tables, lowest)], config)
    values, stage, level = c.align(row, config.sum_levels)
    largest = sum(int(t.max()) for t in tables) - sum(lowest)
    reached = []
    for limit in limits.tolist():
        least = limit - sum(lowest)
        reached.append(Wire(Const(int(least <= 0), 1)) if least <= 0 or least > largest else
                       Wire(c.name(above(Cat(values), least - 1)), stage, level))
    # They are reached in their order: bit k of their number is the parity of every 2**k-th.
    out = []
    for k in range(out_bits):
        every = reached[(1 << k) - 1::1 << k]
        parity = sum((a.bit_count() & 1) << a for a in range(1 << len(every)))
        out.append(c.lut(parity, every, config.sum_levels))
    return _aligned(c, out)


def _aligned(c: Circuit, wires: list[Wire]) -> list[Wire]:
    stage = max(w.stage for w in wires)
    return [Wire(c.at(w, stage), stage, w.level) for w in wires]


def _row(c: Circuit, inputs: list[list[Wire]], forms: list[tuple[np.ndarray, ...]],
         config: NetworkConfig) -> list[Wire]:
    """The sum of the tables, each in its form, as a row of bits; no entry is below 0."""
    columns: list[list[Wire]] = []
    parts = [(pins, part) for pins, form in zip(inputs, forms) for part in form]
    for pins, values in parts:
        for k in range(int(values.max()).bit_length()):
            columns += [[] for _ in range(k + 1 - len(columns))]
            word = _word(values >> k & 1)
            bit = c.lut(word, list(pins), config.sum_levels)
            c.facts.append(Lookup(tuple(pins), word, bit, k))
            if not (isinstance(bit.value, Const) and bit.value.value == 0):
                columns[k].append(bit)
    largest = sum(int(values.max()) for _, values in parts)
    if not columns:
        columns = [[]]
    row = compress(c, columns, style=config.head, inputs=config.inputs, every=config.sum_levels)
    row = row[:largest.bit_length()] or [Wire(Const(0, 1))]
    c.facts.append(Row(tuple(map(tuple, inputs)), tuple(row), largest))
    return row


def build(model: EdgeModel, config: NetworkConfig,
          codes: list[list[Value]]) -> tuple[Circuit, list[Value], int]:
    """Circuit, results (signed bits of each output) and latency."""
    c = Circuit(config.tables, config.fabric)
    wires = [[Wire(bit) for bit in code] for code in codes]
    for index, layer in enumerate(model.layers):
        ok = model.reachable(index)
        after = []
        for j in range(layer.tables.shape[1]):
            used = np.flatnonzero(layer.edges[:, j])
            tables = []
            for i in used:  # codes that do not occur repeat the nearest that does
                seen = np.flatnonzero(ok[i])
                nearest = seen[np.abs(np.arange(ok.shape[1])[:, None] - seen).argmin(1)]
                tables.append(layer.tables[i, j, nearest])
            read = [wires[i] for i in used]
            after.append(
                _saturated(c, read, tables, layer.out_bits, config) if layer.limits is None else
                _counted(c, read, tables, layer.limits[j], layer.out_bits, config))
        stage = max(w.stage for row in after for w in row)
        wires = [[Wire(c.at(w, stage), stage, w.level) for w in row] for row in after]
        if "layers" in config.registers:
            wires = [[c.register(w) for w in row] for row in wires]
        c.facts.append(Codes(index, tuple(map(tuple, wires))))
    if model.layers[-1].limits is None:  # a code is the result with its sign turned
        results = [Cat(*[w.value for w in row[:-1]], ~row[-1].value) for row in wires]
    else:
        results = [Cat(*[w.value for w in row]) for row in wires]
    return c, results, wires[0][0].stage


class EdgeNetwork(wiring.Component):
    """A network of edge tables, one sample per clock, bit for bit :mod:`sim.golden.edges`.

    Parameters
    ----------
    model : :class:`EdgeModel`
    config : :class:`NetworkConfig`
        Its ``registers`` may have ``layers``: one behind each layer. ``stream`` is not used.

    Members
    -------
    i : ``In(ArrayLayout(unsigned(in_bits), inputs))``
    o : ``Out(StructLayout({"y0": signed(out_bits), ...}))``, one field per output; unsigned where
        the last layer has limits

    Timing
    ------
    Latency: :attr:`latency` cycles. Throughput: one sample per cycle. No reset.
    """

    def __init__(self, model: EdgeModel, config: NetworkConfig | None = None):
        self.model, self.config = model, config or NetworkConfig()
        first, last = model.layers[0], model.layers[-1]
        shape = data.ArrayLayout(unsigned(first.in_bits), first.tables.shape[0])
        super().__init__({
            "i": In(shape),
            # A struct: abc9 takes the parts of an array, o[0] and so on, for bits of the port.
            "o": Out(data.StructLayout({f"y{j}": Shape(last.out_bits, last.limits is None)
                                        for j in range(last.tables.shape[1])})),
        })
        self._circuit, self._results, self.latency = build(
            model, self.config, [list(code) for code in self.i])

    def elaborate(self, platform):
        m = Module()
        self._circuit.emit(m)
        m.d.comb += Value.cast(self.o).eq(Cat(*self._results))
        return m
