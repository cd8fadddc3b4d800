"""The checks of the systolic arrays for :mod:`sim.mutate`.

Products of all sizes and kinds of numbers under all kinds of stalls, resets in their midst, and
wrong commands. Results are those of the golden model; without stalls, cycles are those of the
formula.
"""

from functools import cache

import numpy as np

from hw.formats import BFLOAT16, FLOAT32
from hw.systolic.array import systolic_array
from hw.systolic.config import ArrayConfig
from hw.systolic.sequence import ArrayError
from sim.gemm import golden, random_gemm
from sim.golden.arith.exact_cases import directed_sums
from sim.golden.arith.fma_cases import directed
from sim.golden.formats import encode
from sim.systolic import ArrayDriver, Gemm, predicted_cycles
from sim.verilated import Engine, StreamTimeout

__all__ = ["array"]


def array(**fields):
    """A row of the table: an array of a configuration, its check, and that no proof has time."""
    config = ArrayConfig(depth=16, **fields)
    make = cache(lambda: systolic_array(config))

    @cache
    def products(name):
        if name == "numbers":
            made = _numbers(config)
        else:
            rng = np.random.default_rng(1)
            sizes = _SIZES[name] + (_TILES if (name, config.dataflow) == ("large", "os") else [])
            made = [random_gemm(config, m, k, n, rng, bias=bool(at & 1), relu=bool(at & 2))
                    for at, (m, k, n) in enumerate(sizes)]
        cycles = sum(predicted_cycles(config, len(each.a), len(each.w), each.w.shape[1])
                     for each in made)
        return made, [golden(config, product) for product in made], cycles

    def right(driver: ArrayDriver, name: str, stall=0.0) -> bool:
        made, wanted, cycles = products(name)
        run = driver.run(made, stall=stall, seed=1, timeout=(400_000 if stall else 2000) + cycles)
        return all(map(np.array_equal, run.results, wanted)) \
            and (bool(stall) or run.cycles == run.formula_cycles)

    def check(engine: Engine) -> bool:
        driver = ArrayDriver(config, engine=engine)
        return all(right(driver, "small", stall) for stall in _STALLS) \
            and all(_stops(engine, *wrong) and right(driver, "few")
                    for wrong in _wrong_commands(config)) \
            and _fills(engine, make()) and right(driver, "few") \
            and all(_interrupted(driver, products("small")[0], cycles, stall)
                    and right(driver, "few") for cycles, stall in _INTERRUPTIONS) \
            and right(driver, "numbers") \
            and _waits_for_bias(engine) and right(driver, "few") \
            and (all(_stops_late(engine, config, k) and right(driver, "few")
                     for k in range(1, config.cell.k_max + 1) if _is_round(config, k))
                 if config.cell.k_max else right(driver, "large"))
    # Over time, a proof about two arrays does not end.
    return make, check, {"steps": 0}


# Products ---------------------------------------------------------------------------------------

# Rows, k, columns. Odd sizes, full accumulators, and counts that use all bits of a command.
_SIZES = {
    "few":   [(5, 7, 6), (3, 2, 1)],
    "small": [(5, 7, 6), (16, 3, 3), (1, 1, 1), (4, 9, 8), (9, 3, 2), (8, 5, 5), (60, 1, 60),
              (300, 2, 3), (2, 300, 2)],
    "large": [(65_535, 1, 1), (38_580, 2, 1), (19_755, 2, 6), (11_102, 1, 1),
              (1, 130_000, 1), (2, 39_500, 1), (1, 22_200, 1), (2, 7_300, 1),
              (2, 1, 190_000), (1, 1, 59_000), (2, 1, 33_000), (1, 1, 8_800)],
}
# Two tiles of long sums of one command, each bit of k set and not.
_TILES = [(4, k, 1) for k in (0xaaaa, 0x5555, 0xcccc, 0x3333, 0xf0f0, 0x0f0f, 0xff00, 0x00ff)]
# No pauses; all pause; each in turn so slow that all the others wait for it.
_STALLS = (0.0, 0.4, {"o": 0.95}, {"i_weights": 0.9}, {"i_activations": 0.9}, {"i_command": 0.95})
# Cycles after which a reset interrupts the small products, and the stalls until then.
_INTERRUPTIONS = [(cycles, stall) for cycles in (3, 17, 40, 90, 170)
                  for stall in (0.0, {"o": 0.99}, {"i_weights": 0.8}, {"i_activations": 0.8})]


def _numbers(config: ArrayConfig) -> list[Gemm]:
    """Operands of every kind and sums of every directed class, in each row of the array in turn."""
    rng, rows = np.random.default_rng(3), config.rows
    if config.format != "bf16":
        return [random_gemm(config, rows, 9, config.cols, rng)]
    made = []
    if config.contract == "fma":
        triples = [*zip(*directed(rng, 3000, BFLOAT16, FLOAT32)[:3]),
                   *(triple for triple in _lone_bits() for _ in range(rows))]
        for at, (a, b, c) in enumerate(triples):
            # What stands before and behind it changes no sum.
            left, right = (np.full(rows, word, np.uint16) for word in config.cell.neutral)
            left[at % rows], right[at % rows] = a, b
            made.append(Gemm(left[None], right[:, None], np.array([c]), relu=not at % 13))
        return made
    sums = [*zip(*directed_sums(rng, 900, 9)[:2]), *_borders()]
    for at, (a, w) in enumerate(sums):
        others = rng.integers(0, 1 << 16, (rows, len(a)), np.uint16)
        others[at % rows] = a
        made.append(Gemm(others, w[:, None], relu=not at % 10))
    return made + _long_sums(rng, rows, config.cell.k_max)


def _lone_bits() -> list[tuple[np.ndarray, ...]]:
    """``c + a * b`` as words of a, b and c, in which one bit alone decides.

    Distances of exponents that are powers of two, differences that are, and products too small to
    count beside a zero.
    """
    exponents = [*(float(1 << n) - 126 for n in range(8)), -126, 100]
    values = [(1.5 * 2.0**p, 1.25, sign * 1.625 * 2.0**c)
              for p in exponents for c in exponents for sign in (1, -1)]
    values += [(sign * 1.5, 1.5, sign * (near * 2.0**-n - 2.25))
               for n in range(23) for near in (1, -1) for sign in (1, -1)]
    values += [(a * 2.0**-126, 2.0**-n, c) for a in (1, -1) for c in (0.0, -0.0)
               for n in (1, 2, 60, 126)]
    a, b, c = np.array(values).T
    return [*zip(encode(a, BFLOAT16), encode(b, BFLOAT16), encode(c, FLOAT32))]


def _borders() -> list[tuple[np.ndarray, np.ndarray]]:
    """Exact sums at both ends of the range, as two vectors of words each.

    Every difference of two of the smallest products, and each power of two above the largest.
    """
    def words(*values):
        return encode(np.array(values), BFLOAT16)
    low = 2.0**-63
    return [(words(sign * low, -sign * low), words((1 + n / 128) * low, low))
            for n in range(128) for sign in (1, -1)] \
        + [(words(*[2.0**63] * (1 << n)), words(*[2.0**64] * (1 << n))) for n in range(13)]


def _long_sums(rng: np.random.Generator, rows: int, longest: int) -> list[Gemm]:
    """As many of the largest products as there may be, there and back, and then a small one."""
    half = longest // 2 - 1
    sums = np.repeat([1.99 * 2.0**63, -1.99 * 2.0**63, 3 * 2.0**-60, 0], [half, half, 1, 1])
    factors = np.repeat([1.99 * 2.0**63, 1.0], [2 * half, 2])
    made = [Gemm(encode(np.tile(sign * sums, (rows, 1)), BFLOAT16),
                 encode(factors[:, None], BFLOAT16)) for sign in (1, -1)]
    # And of any finite ones.
    return made + [Gemm(*(rng.integers(0, 1 << 16, shape, np.uint16) & 0xbfff
                          for shape in ((rows, 2 * half), (2 * half, 1)))) for _ in range(2)]


# What is no product -----------------------------------------------------------------------------

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


def _starve(engine: Engine, commands: list[int], beats: int, timeout: int) -> int:
    """Run ``commands`` with ``beats`` beats of operands, to no end: activations that it takes."""
    wide = {name: engine.ports[f"{name}__payload"].words for name in ("i_weights", "i_activations")}
    zeros = {name: np.zeros((beats, words) if words > 1 else beats, np.uint64)
             for name, words in wide.items()}
    try:
        engine.run_streams({"i_command": np.array(commands, np.uint64), **zeros}, {"o": 1 << 17},
                           timeout=timeout)
    except StreamTimeout as late:
        return len(late.run.cycles["i_activations"])
    return -1


def _waits_for_bias(engine: Engine) -> bool:
    """A bias that does not come holds the last product, and no other."""
    if "i_bias__valid" not in engine.ports:
        return True
    k = 0xffff
    taken = _starve(engine, [1 | k << 16 | 1 << 34], k, k + 100)
    engine.reset()
    return taken == k - 1


def _stops_late(engine: Engine, config: ArrayConfig, k: int) -> bool:
    """A sum of ``k`` products is kept; with what comes next it is one product too long."""
    command = 1 | k << 16 | 1 << 33
    taken = _starve(engine, [command, 1 | config.cell.k_max + 1 - k << 16], 2 * k, k + 100)
    stopped = taken == k and engine.get("error") == ArrayError.CAPACITY.value
    engine.reset()
    return stopped


def _is_round(config: ArrayConfig, k: int) -> bool:
    """Whether ``k``, or the rest of the longest sum, is a power of two."""
    rest = config.cell.k_max + 1 - k
    return 0 in (k & k - 1, rest & rest - 1)


def _interrupted(driver: ArrayDriver, products, cycles: int, stall) -> bool:
    """Begin ``products`` and reset the array in their midst. Nothing of them is left over."""
    try:
        driver.run(products, stall=stall, seed=2, timeout=cycles)
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
    longest = config.cell.k_max or 0
    too_long = [1 | longest + (1 << bit) << 16 for bit in range(16)
                if longest and longest + (1 << bit) < 1 << 16]
    return [(0 | 1 << 16, ArrayError.EMPTY, 0), (1 | 0 << 16, ArrayError.EMPTY, 0),
            *((word, ArrayError.CAPACITY, 0) for word in (2 | 1 << 16 | 1 << 33, *too_long))]
