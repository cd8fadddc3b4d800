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
from hw.systolic.array import systolic_array
from hw.systolic.config import ArrayConfig
from hw.systolic.sequence import ArrayError
from sim.gemm import golden, random_gemm
from sim.golden.arith.convert import convert
from sim.golden.arith.fma import fma
from sim.golden.arith.fma_cases import directed
from sim.golden.arith.multiply import multiply
from sim.systolic import ArrayDriver
from sim.verilated import Engine, StreamTimeout
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


# Arrays -----------------------------------------------------------------------------------------

def _array(**fields):
    """Products of all sizes and kinds of stalls; resets in the midst of them; wrong commands."""
    config = ArrayConfig(depth=16, **fields)
    make = cache(lambda: systolic_array(config))

    @cache
    def products(name):
        rng = np.random.default_rng(1)
        return [(product, golden(config, product)) for product in (
            random_gemm(config, m, k, n, rng, bias=bool(at & 1), relu=bool(at & 2))
            for at, (m, k, n) in enumerate(_SIZES[name]))]

    def right(driver: ArrayDriver, name: str, stall=0.0) -> bool:
        made, wanted = zip(*products(name))
        run = driver.run(made, stall=stall, seed=1,
                         timeout=3_000_000 if name == "large" else 400_000)
        return all(map(np.array_equal, run.results, wanted)) \
            and (bool(stall) or run.cycles == run.formula_cycles)

    def check(engine: Engine) -> bool:
        driver = ArrayDriver(config, engine=engine)
        return all(right(driver, "small", stall) for stall in _STALLS) \
            and all(_stops(engine, *wrong) and right(driver, "few")
                    for wrong in _wrong_commands(config)) \
            and _fills(engine, make()) and right(driver, "few") \
            and all(_interrupted(driver, products("small"), cycles, stall) and right(driver, "few")
                    for cycles, stall in _INTERRUPTIONS) \
            and (bool(config.cell.k_max) or right(driver, "large"))  # long sums have another end
    # Over time, a proof about two arrays does not end.
    return make, check, {"steps": 0}


# Rows, k, columns. Odd sizes, full accumulators, and counts that use all bits of a command.
_SIZES = {
    "few":   [(5, 7, 6), (3, 2, 1)],
    "small": [(5, 7, 6), (16, 3, 3), (1, 1, 1), (4, 9, 8), (9, 3, 2), (8, 5, 5), (60, 1, 60),
              (300, 2, 3), (2, 300, 2)],
    "large": [(65_535, 1, 1), (38_580, 2, 1), (19_755, 2, 6), (11_102, 1, 1),
              (1, 130_000, 1), (2, 39_500, 1), (1, 22_200, 1), (2, 7_300, 1),
              (2, 1, 190_000), (1, 1, 59_000), (2, 1, 33_000), (1, 1, 8_800)],
}
# No pauses; all pause; each in turn so slow that all the others wait for it.
_STALLS = (0.0, 0.4, {"o": 0.95}, {"i_weights": 0.9}, {"i_activations": 0.9}, {"i_command": 0.95})
# Cycles after which a reset interrupts the small products, and the stalls until then.
_INTERRUPTIONS = [(cycles, stall) for cycles in (3, 17, 40, 90, 170)
                  for stall in (0.0, {"o": 0.99}, {"i_weights": 0.8}, {"i_activations": 0.8})]


def _offer(engine: Engine, word: int, cycles: int) -> int:
    """Offer the command ``word`` and all it may want, take no result: activations it takes."""
    engine.set("i_command__payload", word)
    for stream in ("i_command", "i_weights", "i_activations"):
        engine.set(f"{stream}__valid", 1)
    taken = 0
    for _ in range(cycles):
        taken += engine.get("i_activations__ready")
        engine.step()
    return taken


def _withdraw(engine: Engine) -> None:
    for stream in ("i_command", "i_weights", "i_activations"):
        engine.set(f"{stream}__valid", 0)
    engine.reset()


def _stops(engine: Engine, word: int, error: ArrayError, activations: int) -> bool:
    """A wrong command: the array says why, takes nothing more, and starts again after a reset."""
    stopped = _offer(engine, word, 100) == activations and engine.get("error") == error.value \
        and not engine.get("i_command__ready")
    _withdraw(engine)
    return stopped and not engine.get("error")


def _fills(engine: Engine, array) -> bool:
    """Nobody takes results: a weight-stationary array computes as many as it has room for."""
    if array.config.dataflow != "ws":
        return True
    taken = _offer(engine, 1000 | 1 << 16 | 1 << 32, 200)
    _withdraw(engine)
    return taken == array.result_depth


def _interrupted(driver: ArrayDriver, products, cycles: int, stall) -> bool:
    """Begin ``products`` and reset the array in their midst. Nothing of them is left over."""
    try:
        driver.run([product for product, _ in products], stall=stall, seed=2, timeout=cycles)
    except StreamTimeout:
        driver.engine.reset()
        return not driver.engine.get("o__valid")
    return False


def _wrong_commands(config: ArrayConfig) -> list[tuple[int, ArrayError, int]]:
    """Word, error, and how many activations are taken before it."""
    if config.dataflow == "ws":
        return [(m | n << 16 | k << 32, ArrayError.EMPTY, 0)
                for m, n, k in ((0, 1, 1), (1, 0, 1), (1, 1, 0))] \
            + [(17 | 1 << 16 | 2 << 32, ArrayError.CAPACITY, config.depth)]
    return [(0 | 1 << 16, ArrayError.EMPTY, 0), (1 | 0 << 16, ArrayError.EMPTY, 0),
            (2 | 1 << 16 | 1 << 33, ArrayError.CAPACITY, 0)]


CHECKS = {
    "array_int8_ws":  _array(rows=2, cols=3, format="int8"),
    "array_int8_os":  _array(rows=2, cols=3, format="int8", dataflow="os"),
    "array_fma":      _array(rows=2, cols=1),
    "array_exact":    _array(rows=3, cols=1, contract="exact", segment=2),
    "multiply":       _multiply(BFLOAT16, FLOAT32),
    "multiply_round": _multiply(BFLOAT16, BFLOAT16),
    "fma":            _fma(BFLOAT16, FLOAT32),
    "fma_narrow":     _fma(FloatFormat("tiny8", 4, 3), FLOAT16),
    "convert":        _convert(FLOAT32, BFLOAT16),
    "queue":          (lambda: Queue(8, depth=5), _stream_check()),
    "queue_block":    (lambda: Queue(8, depth=5, block=True), _stream_check()),
    "register_slice": (lambda: RegisterSlice(8), _stream_check()),
    # Proofs of equivalence are hopeless for a whole core: its survivors are judged by hand.
    "vta":            (core, check_core, {"within": WITHIN, "extra": ("axi_memory.cpp",),
                                          "timeout": 0}),
}
