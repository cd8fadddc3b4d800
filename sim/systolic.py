"""Matrix products on the RTL of an array: matrices to beats, beats to matrices."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hw.formats import FORMATS
from hw.systolic.array import systolic_array
from hw.systolic.config import ArrayConfig
from hw.systolic.sequence import COUNT_WIDTH
from hw.systolic.timing import OsGemm, WsGemm, os_cycles, ws_cycles
from sim.verilated import Engine

__all__ = ["Gemm", "Run", "ArrayDriver", "beats", "predicted_cycles"]

COUNT_MAX = (1 << COUNT_WIDTH) - 1


@dataclass(frozen=True)
class Gemm:
    """``relu(bias + a @ w)``: words of the operand format, shapes (m, k), (k, n), (n,).

    ``passes``: lengths that add up to k. An output-stationary array then takes each sum in as many
    commands; the result is the same.
    """

    a: np.ndarray
    w: np.ndarray
    bias: np.ndarray | None = None
    relu: bool = False
    passes: tuple[int, ...] = ()

    def __post_init__(self):
        if self.a.ndim != 2 or self.w.ndim != 2 or self.a.shape[1] != self.w.shape[0]:
            raise ValueError(f"shapes must be (m, k) and (k, n), "
                             f"not {self.a.shape} and {self.w.shape}")
        if 0 in (*self.a.shape, *self.w.shape):
            raise ValueError(f"m, k and n must be 1 or more, "
                             f"not {self.a.shape} and {self.w.shape}")
        if self.bias is not None and self.bias.shape != (self.w.shape[1],):
            raise ValueError(f"bias must have shape ({self.w.shape[1]},), not {self.bias.shape}")

    @property
    def macs(self) -> int:
        return self.a.shape[0] * self.a.shape[1] * self.w.shape[1]


@dataclass(frozen=True)
class Run:
    """``results``: a matrix of words for each product; ``cycles`` as measured, first input to last
    result; ``formula_cycles``: the closed form, for streams that never wait."""

    results: list[np.ndarray]
    cycles: int
    formula_cycles: int
    macs: int
    cells: int

    @property
    def utilisation(self) -> float:
        """Useful multiply-accumulates over cells times cycles."""
        return self.macs / (self.cells * self.cycles)


class ArrayDriver:
    """An array of ``config`` in the native engine; in ``engine``, if one is given."""

    def __init__(self, config: ArrayConfig, *, engine: Engine | None = None, trace=None):
        self.config = config
        self.engine = engine or Engine(systolic_array(config), "systolic", trace=trace)
        self._plan = _PLANS[config.dataflow]

    def close(self) -> None:
        """End the simulation; a waveform is complete after it."""
        self.engine.close()

    def run(self, gemms: Sequence[Gemm], *, stall: float = 0.0, seed: int = 0,
            timeout: int | None = None) -> Run:
        """Queue ``gemms`` one behind the other and collect what comes out.

        ``stall``: probability that a stream pauses in a cycle, drawn from ``seed``. ``timeout``:
        cycles after which :exc:`sim.verilated.StreamTimeout` is raised.
        """
        plans = [self._plan(self.config, gemm) for gemm in gemms]
        inputs = _queued(plans)
        formula = self._plan.cycles(self.config, [c for plan in plans for c in plan.commands])
        count = sum(plan.result_beats for plan in plans)
        run = self.engine.run_streams(
            inputs, {"o": count}, stall=stall, seed=seed,
            timeout=timeout or 1000 + int(4 * (formula + 1000) / (1 - stall) ** 3))
        beats = _unpack(run.outputs["o"], self.config.cols,
                        FORMATS[self.config.result].width)
        results, at = [], 0
        for plan in plans:
            results.append(plan.matrix(beats[at:at + plan.result_beats]))
            at += plan.result_beats
        first = min(cycles[0] for name, cycles in run.cycles.items() if name != "o")
        return Run(results, int(run.cycles["o"][-1] - first + 1), formula,
                   sum(gemm.macs for gemm in gemms), self.config.rows * self.config.cols)


def beats(config: ArrayConfig, gemms: Sequence[Gemm],
          results: Sequence[np.ndarray]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Rows of the input streams for queued ``gemms``, and of ``o`` for their ``results``.

    For products that fill their tiles: m and n are multiples of what a tile takes.
    """
    plans = [_PLANS[config.dataflow](config, gemm) for gemm in gemms]
    return _queued(plans), np.concatenate([_words(plan.rows(result))
                                   for plan, result in zip(plans, results)])


def predicted_cycles(config: ArrayConfig, m: int, k: int, n: int, count: int = 1) -> int:
    """The closed form for ``count`` products of these sizes, queued, on an array of ``config``."""
    return _PLANS[config.dataflow].predicted(config, m, k, n, count)


def _queued(plans) -> dict[str, np.ndarray]:
    """Rows of the input streams of ``plans``, one behind the other."""
    names = dict.fromkeys(name for plan in plans for name in plan.inputs)
    return {name: np.concatenate([plan.inputs[name] for plan in plans if name in plan.inputs])
            for name in names}


def _padded(matrix: np.ndarray, rows: int, cols: int, value: int) -> np.ndarray:
    """``matrix`` with its sides rounded up to multiples of ``rows`` and ``cols``."""
    m, n = matrix.shape
    return np.pad(matrix, ((0, -m % rows), (0, -n % cols)),
                  constant_values=matrix.dtype.type(value))


def _words(*parts: np.ndarray) -> np.ndarray:
    """Beats: ``parts`` of shape (beats, lanes) side by side, the first at bit 0."""
    raw = np.concatenate([np.ascontiguousarray(p).view(np.uint8).reshape(len(p), -1)
                          for p in parts], axis=1)
    raw = np.pad(raw, ((0, 0), (0, -raw.shape[1] % 8)))
    return np.ascontiguousarray(raw).view(np.uint64)


def _unpack(beats: np.ndarray, lanes: int, width: int) -> np.ndarray:
    """The inverse: shape (beats, lanes)."""
    dtype = {8: np.uint8, 16: np.uint16, 32: np.uint32}[width]
    raw = np.ascontiguousarray(beats).view(np.uint8).reshape(len(beats), -1)
    return np.ascontiguousarray(raw[:, :lanes * width // 8]).view(dtype)


class _WeightStationary:
    """One product as beats of a weight-stationary array.

    A block is a command: so many rows and tiles of columns that its sums fit the accumulators.
    """

    def __init__(self, config: ArrayConfig, gemm: Gemm):
        cell = config.cell
        self._rows, self._cols = config.rows, config.cols
        self._m, self._n = gemm.a.shape[0], gemm.w.shape[1]
        a = _padded(gemm.a, 1, config.rows, cell.neutral[0])
        w = _padded(gemm.w, config.rows, config.cols, cell.neutral[1])
        kt, nt = w.shape[0] // config.rows, w.shape[1] // config.cols
        bias = np.zeros(w.shape[1], np.uint32)
        if gemm.bias is not None:
            bias[:self._n] = gemm.bias.astype(np.uint32)
        a = a.reshape(self._m, kt, config.rows).transpose(1, 0, 2)
        w = w.reshape(kt, config.rows, nt, config.cols).transpose(0, 2, 3, 1)
        bias = np.broadcast_to(bias.reshape(nt, config.cols), (kt, nt, config.cols))

        self._blocks = self.blocks(config, self._m, kt, nt)
        self.commands = [WsGemm(mb, nb, kt) for _, mb, _, nb in self._blocks]
        activations, weights = [], []
        for m, mb, n, nb in self._blocks:
            activations.append(np.broadcast_to(
                a[:, None, m:m + mb], (kt, nb, mb, config.rows)).reshape(-1, config.rows))
            weights.append((w[:, n:n + nb].reshape(-1, config.rows),
                            bias[:, n:n + nb].reshape(-1, 1)))
        self.inputs = {
            "i_command": np.array([m | n << 16 | k << 32 | gemm.relu << 48
                                   for m, n, k in self.commands], np.uint64),
            "i_weights": _words(*(np.concatenate(part) for part in zip(*weights))),
            "i_activations": _words(np.concatenate(activations)),
        }
        self.result_beats = sum(mb * nb for _, mb, _, nb in self._blocks)

    @classmethod
    def blocks(cls, config: ArrayConfig, m: int, kt: int,
               nt: int) -> list[tuple[int, int, int, int]]:
        """(first row, rows, first tile of columns, tiles) of blocks that take the fewest cycles."""
        def split(mb, nb):
            return [(i, min(mb, m - i), j, min(nb, nt - j))
                    for j in range(0, nt, nb) for i in range(0, m, mb)]

        if kt == 1:
            return split(min(m, COUNT_MAX), min(nt, COUNT_MAX))
        best, fewest = [], None
        for nb in range(1, min(nt, config.depth) + 1):
            blocks = split(min(m, config.depth // nb), nb)
            cycles = cls.cycles(config, [WsGemm(mb, nb, kt) for _, mb, _, nb in blocks])
            if fewest is None or cycles < fewest:
                best, fewest = blocks, cycles
        return best

    @classmethod
    def predicted(cls, config: ArrayConfig, m: int, k: int, n: int, count: int) -> int:
        kt, nt = -(-k // config.rows), -(-n // config.cols)
        commands = [WsGemm(mb, nb, kt) for _, mb, _, nb in cls.blocks(config, m, kt, nt)]
        return cls.cycles(config, commands * count)

    def matrix(self, beats: np.ndarray) -> np.ndarray:
        out = np.empty((self._m, self._cols * max(n + nb for _, _, n, nb in self._blocks)),
                       beats.dtype)
        at = 0
        for m, mb, n, nb in self._blocks:
            block = beats[at:at + mb * nb].reshape(nb, mb, self._cols)
            for t in range(nb):
                out[m:m + mb, (n + t) * self._cols:(n + t + 1) * self._cols] = block[t]
            at += mb * nb
        return out[:, :self._n]

    def rows(self, matrix: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`matrix`."""
        return np.concatenate([
            matrix[m:m + mb].reshape(mb, -1, self._cols)[:, n:n + nb].transpose(1, 0, 2)
            .reshape(-1, self._cols) for m, mb, n, nb in self._blocks])

    @staticmethod
    def cycles(config: ArrayConfig, commands) -> int:
        return ws_cycles(config, commands)


class _OutputStationary:
    """One product as beats of an output-stationary array: tile by tile, down the rows first."""

    def __init__(self, config: ArrayConfig, gemm: Gemm):
        cell = config.cell
        (self._m, k), self._n = gemm.a.shape, gemm.w.shape[1]
        a, w, passes = gemm.a, gemm.w, list(gemm.passes)
        biased = gemm.bias is not None and cell.bias_stream
        if gemm.bias is not None and not biased:
            a, w = cell.with_bias(a, w, gemm.bias)
            k += 1
            passes[:1] = [part + 1 for part in passes[:1]]
        a = _padded(a, config.rows, 1, 0)
        w = _padded(w, 1, config.cols, 0)
        self._mt, self._nt = a.shape[0] // config.rows, w.shape[1] // config.cols
        self._rows, self._cols = config.rows, config.cols
        a = a.reshape(self._mt, config.rows, k).transpose(0, 2, 1)
        w = w.reshape(k, self._nt, config.cols).transpose(1, 0, 2)
        shape = (self._nt, self._mt, k)
        tiles = self._mt * self._nt
        self.commands = self._commands(tiles, k, passes)
        self.inputs = {
            "i_command": np.array([
                tiles | k << 16 | gemm.relu << 32 | keep << 33 | biased << 34
                for tiles, k, keep in self.commands], np.uint64),
            "i_weights": _words(np.broadcast_to(
                w[:, None], (*shape, config.cols)).reshape(-1, config.cols)),
            "i_activations": _words(np.broadcast_to(
                a[None], (*shape, config.rows)).reshape(-1, config.rows)),
        }
        if biased:
            bias = _padded(gemm.bias[None], 1, config.cols, 0).reshape(self._nt, 1, config.cols)
            self.inputs["i_bias"] = _words(np.broadcast_to(
                bias, (self._nt, self._mt, config.cols)).reshape(-1, config.cols))
        self.result_beats = tiles * config.rows

    def matrix(self, beats: np.ndarray) -> np.ndarray:
        tiles = beats.reshape(self._nt, self._mt, self._rows, self._cols)
        return tiles.transpose(1, 2, 0, 3).reshape(
            self._mt * self._rows, self._nt * self._cols)[:self._m, :self._n]

    def rows(self, matrix: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`matrix`."""
        tiles = matrix.reshape(self._mt, self._rows, self._nt, self._cols)
        return tiles.transpose(2, 0, 1, 3).reshape(-1, self._cols)

    @staticmethod
    def _commands(tiles: int, k: int, passes: Sequence[int] = ()) -> list[OsGemm]:
        """A sum of more products than a command counts is kept between two."""
        if k > COUNT_MAX and not passes:
            passes = [min(COUNT_MAX, k - at) for at in range(0, k, COUNT_MAX)]
        if passes:
            return [OsGemm(1, part, at < len(passes) - 1) for _ in range(tiles)
                    for at, part in enumerate(passes)]
        return [OsGemm(min(COUNT_MAX, tiles - t), k) for t in range(0, tiles, COUNT_MAX)]

    @classmethod
    def predicted(cls, config: ArrayConfig, m: int, k: int, n: int, count: int) -> int:
        tiles = -(-m // config.rows) * -(-n // config.cols)
        return cls.cycles(config, cls._commands(tiles, k) * count)

    @staticmethod
    def cycles(config: ArrayConfig, commands) -> int:
        return os_cycles(config, commands)


_PLANS = {"ws": _WeightStationary, "os": _OutputStationary}
