"""Run a matrix product on the RTL of a systolic array: ``python -m sim.gemm --m 64 --k 64 --n 64``.

``relu(bias + a @ w)`` with ``--bias`` and ``--relu``, of random operands. Prints one JSON line:
bit_exact (against the golden model), cycles, formula_cycles, utilisation (useful
multiply-accumulates over cells times cycles, first input to last result), max_abs_error (against
float64), seed.
"""

import json
from collections.abc import Sequence

import numpy as np

from hw.formats import FORMATS, FloatFormat
from hw.options import Parser, add_options, command, from_options
from hw.systolic.config import ArrayConfig
from sim.golden.formats import decode, encode
from sim.golden.systolic import gemm
from sim.systolic import ArrayDriver, Gemm, Run

__all__ = ["random_gemm", "golden", "max_abs_error", "report"]

LIMIT = 1 << 20


def random_gemm(config: ArrayConfig, m: int, k: int, n: int, rng: np.random.Generator, *,
                bias: bool = False, relu: bool = False) -> Gemm:
    """Operands drawn for ``config``: normal numbers, or every integer alike."""
    cell = config.cell
    if isinstance(cell.operand, FloatFormat):
        def draw(*shape):
            return encode(rng.normal(size=shape), cell.operand)
    else:
        def draw(*shape):
            return rng.integers(cell.operand.min, cell.operand.max + 1, shape).astype(np.int8)
    return Gemm(draw(m, k), draw(k, n), _bias(config, n, rng) if bias else None, relu)


def _bias(config: ArrayConfig, n: int, rng: np.random.Generator) -> np.ndarray:
    fmt = config.cell.bias
    if isinstance(fmt, FloatFormat):
        return encode(rng.normal(size=n), fmt)
    return rng.integers(fmt.min, fmt.max + 1, n).astype(np.int32)


def golden(config: ArrayConfig, product: Gemm) -> np.ndarray:
    """What the array must make of ``product``, bit for bit."""
    cell = config.cell
    return gemm(product.a, product.w, contract=cell.contract, operand=cell.operand,
                result=FORMATS[config.result], bias=product.bias, relu=product.relu)


def max_abs_error(config: ArrayConfig, product: Gemm, result: np.ndarray) -> float:
    """Largest distance from the product in float64; NaN where that is not finite."""
    def value(words, fmt):
        return decode(words, fmt) if isinstance(fmt, FloatFormat) \
            else words.astype(np.int32).astype(np.float64)

    cell = config.cell
    exact = value(product.a, cell.operand) @ value(product.w, cell.operand)
    if product.bias is not None:
        exact += value(product.bias, cell.bias)
    if product.relu:
        exact = np.maximum(exact, 0)
    return float(np.abs(value(result, FORMATS[config.result]) - exact).max())


def report(config: ArrayConfig, products: Sequence[Gemm], run: Run, seed: int) -> dict:
    """The line that is printed."""
    return {
        "bit_exact": all(bool((golden(config, product) == result).all())
                         for product, result in zip(products, run.results)),
        "cycles": run.cycles,
        "formula_cycles": run.formula_cycles,
        "utilisation": round(run.utilisation, 6),
        "max_abs_error": max(max_abs_error(config, product, result)
                             for product, result in zip(products, run.results)),
        "seed": seed,
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m sim.gemm", description=__doc__)
    size = parser.add_argument_group("product")
    for name, help in (("m", "rows of results"), ("k", "products in a sum"),
                       ("n", "columns of results")):
        size.add_argument(f"--{name}", type=int, default=64, help=f"{help} (default: 64)")
    size.add_argument("--bias", action="store_true", help="sums begin with a bias for each column")
    size.add_argument("--relu", action="store_true", help="negative results become 0")
    size.add_argument("--count", type=int, default=1, help="products queued (default: 1)")
    how = parser.add_argument_group("run")
    how.add_argument("--stall", type=float, default=0.0,
                     help="probability that a stream pauses in a cycle (default: 0)")
    how.add_argument("--seed", type=int, default=0, help="of operands and pauses (default: 0)")
    how.add_argument("--waves", metavar="FILE", help="write waveforms (FST) to FILE")
    add_options(parser.add_argument_group("array"), ArrayConfig)
    options = parser.parse_args(argv)
    for name in ("m", "k", "n", "count"):
        if getattr(options, name) not in range(1, LIMIT + 1):
            raise ValueError(f"{name} must be 1 to {LIMIT}, not {getattr(options, name)}")
    if not 0 <= options.stall < 1:
        raise ValueError(f"stall must be at least 0 and below 1, not {options.stall}")
    if options.seed < 0:
        raise ValueError(f"seed must be 0 or more, not {options.seed}")
    config = from_options(ArrayConfig, options)
    longest = config.cell.k_max
    if longest is not None and options.k + options.bias > longest:  # a bias is one product more
        raise ValueError(f"k must be 1 to {longest - options.bias} for {config.cell.name}"
                         f"{' with a bias' * options.bias}, not {options.k}")

    rng = np.random.default_rng(options.seed)
    products = [random_gemm(config, options.m, options.k, options.n, rng, bias=options.bias,
                            relu=options.relu)
                for _ in range(options.count)]
    driver = ArrayDriver(config, trace=options.waves)
    line = report(config, products, driver.run(products, stall=options.stall, seed=options.seed),
                  options.seed)
    driver.close()
    print(json.dumps(line))
    return 0 if line["bit_exact"] else 1


if __name__ == "__main__":
    command(main)()
