"""The table of designs for :mod:`sim.mutate`: how each is made, and the test that must bite.

A check gets a simulator, freshly powered up, and says whether every result was right. It runs a few
hundred times, so it is a small test of well-chosen inputs and not a large one.
"""

from functools import cache

import numpy as np

from hw.arith.convert import Convert
from hw.arith.fma import FusedMultiplyAdd
from hw.arith.multiply import FloatMultiply
from hw.formats import BFLOAT16, FLOAT16, FLOAT32, FloatFormat
from hw.stream import Queue, RegisterSlice
from sim.array_mutation import array
from sim.golden.arith.convert import convert
from sim.golden.arith.fma import fma
from sim.golden.arith.fma_cases import directed
from sim.golden.arith.multiply import multiply
from sim.verilated import Engine
from sim.vta_mutation import WITHIN, check_core, core

__all__ = ["CHECKS"]


def _pipeline(make, stimulus):
    """A row of the table for a pipeline; ``stimulus()`` has its inputs, and an output's values."""
    make, rows = cache(make), cache(stimulus)

    def check(engine: Engine) -> bool:
        inputs, name, want = rows()
        return np.array_equal(engine.pipe(inputs, [name], latency=make().latency)[name], want)
    return make, check


# Arithmetic -------------------------------------------------------------------------------------

def _words(fmt: FloatFormat, count: int, seed: int) -> np.ndarray:
    """Random words of ``fmt``, and its corners: fractions of no bit, one bit and all bits."""
    rng = np.random.default_rng(seed)
    top = (1 << fmt.exponent) - 1
    corners = [sign << fmt.width - 1 | exponent << fmt.fraction | fraction
               for sign in (0, 1)
               for exponent in (0, 1, 2, fmt.bias - 1, fmt.bias, fmt.bias + 1, top - 1, top)
               for fraction in (0, (1 << fmt.fraction) - 1,
                                *(1 << bit for bit in range(fmt.fraction)))]
    return np.concatenate([np.array(corners), rng.integers(0, 1 << fmt.width, count)])


def _multiply(operand: FloatFormat, product: FloatFormat):
    def stimulus():
        words = _words(operand, 150, 1)
        a, b = (axis.ravel() for axis in np.meshgrid(words, words))
        return {"a": a, "b": b}, "y", multiply(a, b, operand, product)
    return _pipeline(lambda: FloatMultiply(operand, product), stimulus)


def _fma(operand: FloatFormat, sum: FloatFormat):
    def stimulus():
        a, b, c, _ = directed(np.random.default_rng(1), 60_000, operand, sum)
        order = np.random.default_rng(2).permutation(len(a))  # no class follows itself
        a, b, c = a[order], b[order], c[order]
        return {"a": a, "b": b, "c": c}, "y", fma(a, b, c, operand, sum)
    return _pipeline(lambda: FusedMultiplyAdd(operand, sum), stimulus)


def _convert(source: FloatFormat, target: FloatFormat):
    def stimulus():
        words = _words(source, 20_000, 1)
        below = source.fraction - target.fraction
        # Ties and their neighbours, at any exponent.
        for rest in ((1 << below - 1) - 1, 1 << below - 1, (1 << below - 1) + 1):
            words = np.concatenate([words, words[:5_000] >> below << below | rest])
        return {"i": words}, "o", convert(words, source, target)
    return _pipeline(lambda: Convert(source, target), stimulus)


# Streams ----------------------------------------------------------------------------------------

def _stream_check(beats: int = 150):
    """Beats come out as they went in, under stalls of either side; a reset forgets all of them."""
    def check(engine: Engine) -> bool:
        rng = np.random.default_rng(1)
        for source, sink in ((0, 0), (0.5, 0), (0, 0.5), (0.3, 0.3)):
            sent = rng.integers(0, 256, beats)
            run = engine.run_streams({"i": sent}, {"o": beats}, stall={"i": source, "o": sink},
                                     timeout=20 * beats, linger=8)
            if not np.array_equal(run.outputs["o"], sent):
                return False
            if source == sink == 0 and run.total != beats + run.cycles["o"][0] + 8:
                return False  # not one beat per cycle
            # Fill it up, then forget.
            engine.set("i__valid", 1)
            engine.set("o__ready", 0)
            levels = []
            for _ in range(12):
                levels.append((engine.get("i__ready"), engine.get("o__valid"), _level(engine)))
                engine.step()
            engine.set("i__valid", 0)
            engine.reset()
            if levels != check.levels.setdefault("full", levels):
                return False
            if engine.get("o__valid") or _level(engine):
                return False
        return True
    check.levels = {}  # as the whole circuit, which comes first, fills
    return check


def _level(engine: Engine) -> int:
    return engine.get("level") if "level" in engine.ports else 0


CHECKS = {
    "array_int8_ws":  array(rows=2, cols=3, format="int8"),
    "array_int8_os":  array(rows=2, cols=3, format="int8", dataflow="os"),
    "array_fma":      array(rows=2, cols=1),
    "array_exact":    array(rows=3, cols=1, contract="exact", segment=2),
    "multiply":       _multiply(BFLOAT16, FLOAT32),
    "multiply_round": _multiply(BFLOAT16, BFLOAT16),
    "fma":            _fma(BFLOAT16, FLOAT32),
    "fma_narrow":     _fma(FloatFormat("tiny8", 4, 3), FLOAT16),
    "convert":        _convert(FLOAT32, BFLOAT16),
    "queue":          (lambda: Queue(8, depth=5), _stream_check()),
    "queue_block":    (lambda: Queue(8, depth=5, block=True), _stream_check()),
    "register_slice": (lambda: RegisterSlice(8), _stream_check()),
    # Proofs in time are hopeless for a whole core.
    "vta":            (core, check_core, {"within": WITHIN, "extra": ("axi_memory.cpp",),
                                          "steps": 0, "timeout": 600}),
}
