"""LeFlow's fifteen blocks on a systolic array: ``python -m sim.leflow --rows 8 --cols 8``.

An acceptance list: each block runs on the RTL of the array, or waits, with the reason. The list,
its order, names and sizes are those of the tests of LeFlow (D. H. Noronha, B. Salehpour, S. J. E.
Wilton, "LeFlow: Enabling Flexible FPGA High-Level Synthesis of Tensorflow Deep Neural Networks",
2018, arXiv 1807.05317; github.com/danielholanda/LeFlow, folder ``test``), one sample each::

    01 vecmul_a     x * z, element by element, 8
    02 vecmul_b     64
    03 vecmul_b_f   64, unrolled
    04 dense_a      x @ w + b, 1 input, 8 outputs
    05 dense_b      1 input, 64 outputs
    06 softmax_a    8
    07 softmax_b    64
    08 softmax_b_f  64, unrolled
    09 conv2d_a     3x3, stride 1, padded to the same size, 1 channel to 2, 8x8
    10 conv2d_a_f   8x8, unrolled
    11 conv2d_b     64x64
    12 maxp_a       2x2, 8x8 (3x3, stride 3 in LeFlow's repository)
    13 maxp_b       32x32
    14 maxp_b_f     32x32, unrolled
    15 thxprlsg     sigmoid(relu(exp(tanh(x)))), 8

An unrolled block computes what the block of its name without ``_f`` computes. LeFlow buys cycles
with area there; the rows and columns of the array do that here, so both take the same cycles.

The table goes to stderr, a JSON line for each block to stdout: bit_exact (against the golden model
of the block), max_abs_error (against its definition in float64), cycles, formula_cycles,
utilisation (products that the block asks for over cells times cycles, first input to last result),
lut (LUT4 equivalents of the whole array on ECP5; with --report). Exit code 1: a block that runs is
not exact, or takes other cycles than the formula.
"""

import json
import os
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from hw.formats import FORMATS, FloatFormat, Format
from hw.options import Parser, add_options, command, from_options
from hw.synth import synthesise
from hw.systolic.array import systolic_array
from hw.systolic.config import ArrayConfig
from hw.verilog import to_verilog
from sim.gemm import golden, random_gemm
from sim.golden.formats import decode
from sim.systolic import ArrayDriver, Gemm

__all__ = ["BLOCKS", "Block", "Work", "Row", "measure", "page"]


@dataclass(frozen=True)
class Work:
    """A block with its operands, as products for the array.

    ``join`` makes the block's result of the products' results; ``expected`` is that result in the
    golden model, ``exact`` by the definition of the block, in float64; ``macs``: the products that
    the block asks for, without those that only the mapping adds.
    """

    gemms: list[Gemm]
    join: Callable[[list[np.ndarray]], np.ndarray]
    expected: np.ndarray
    exact: np.ndarray
    macs: int


@dataclass(frozen=True)
class Block:
    """A row of :data:`BLOCKS`.

    ``work`` maps it to products, and ``how`` says so in a few words. A block without ``work``
    waits, and ``how`` is the reason; ``part`` is what of it runs by itself.
    """

    name: str
    title: str
    how: str
    work: Callable[[ArrayConfig, np.random.Generator], Work] | None = None
    part: "Block | None" = None


@dataclass(frozen=True)
class Row:
    """What became of a block; figures are ``None`` where it waits."""

    block: str
    title: str
    runs: bool
    how: str
    cycles: int | None = None
    formula_cycles: int | None = None
    bit_exact: bool | None = None
    max_abs_error: float | None = None
    utilisation: float | None = None
    lut: int | None = None
    part: "Row | None" = None

    @property
    def good(self) -> bool:
        """It waits, or is exact in the cycles of the formula; and so is its part."""
        return (not self.runs or bool(self.bit_exact and self.cycles == self.formula_cycles)) \
            and (self.part is None or self.part.good)


def _values(words: np.ndarray, fmt: Format) -> np.ndarray:
    if isinstance(fmt, FloatFormat):
        return decode(words, fmt)
    return words.astype(f"i{fmt.width // 8}").astype(np.float64)


def _diagonal(config: ArrayConfig, x: np.ndarray, z: np.ndarray, exact: np.ndarray, *,
              relu: bool = False) -> Work:
    """``x * z``: ``x @ diag(z)``, by the blocks on the diagonal; the host leaves out the others."""
    step = min(config.rows, config.cols)
    gemms = [Gemm(x[None, at:at + step], np.diag(z[at:at + step]), relu=relu)
             for at in range(0, len(x), step)]
    # The golden model of one element is a sum of one product.
    alone = golden(config, Gemm(x[:, None], z[None, :], relu=relu))
    return Work(gemms, lambda results: np.concatenate(results, axis=1)[0], alone.diagonal(), exact,
                len(x))


def vector_multiply(config: ArrayConfig, rng: np.random.Generator, *, size: int) -> Work:
    drawn = random_gemm(config, size, 1, size, rng)
    x, z = drawn.a[:, 0], drawn.w[0]
    operand = config.cell.operand
    return _diagonal(config, x, z, _values(x, operand) * _values(z, operand))


def relu(config: ArrayConfig, rng: np.random.Generator, *, size: int) -> Work:
    operand = config.cell.operand
    x = random_gemm(config, 1, size, 1, rng).a[0]
    one = operand.bias << operand.fraction if isinstance(operand, FloatFormat) else 1
    return _diagonal(config, x, np.full_like(x, one), np.maximum(_values(x, operand), 0), relu=True)


def dense(config: ArrayConfig, rng: np.random.Generator, *, outputs: int) -> Work:
    gemm = random_gemm(config, 1, 1, outputs, rng, bias=True)
    assert gemm.bias is not None
    x, w = (_values(words, config.cell.operand) for words in (gemm.a, gemm.w))
    return Work([gemm], lambda results: results[0], golden(config, gemm),
                x @ w + _values(gemm.bias, config.cell.bias), gemm.macs)


def convolution(config: ArrayConfig, rng: np.random.Generator, *, size: int,
                outputs: int = 2) -> Work:
    """Each pixel's 3x3 surroundings are a row of the left matrix; the edge is padded with zeros."""
    image = np.pad(random_gemm(config, size, size, 1, rng).a, 1)
    kernels = random_gemm(config, 1, 9, outputs, rng).w
    windows = np.lib.stride_tricks.sliding_window_view(image, (3, 3))
    gemm = Gemm(windows.reshape(size * size, 9), kernels)

    values, taps = (_values(words, config.cell.operand) for words in (image, kernels))
    exact = np.sum([values[dy:dy + size, dx:dx + size, None] * taps[3 * dy + dx]
                    for dy in range(3) for dx in range(3)], axis=0)
    return Work([gemm], lambda results: results[0].reshape(size, size, outputs),
                golden(config, gemm).reshape(size, size, outputs), exact,
                outputs * (3 * size - 2) ** 2)  # on each side, two of 3 * size taps are padding


_VECMUL = "x @ diag(z), blocks of the diagonal only"
_DENSE = "one product; the bias starts the sums"
_CONV = "one product; the host lays out the windows (im2col)"
_SOFTMAX = "no exp, no division"
_MAXP = "no maximum"

BLOCKS = (
    Block("vecmul_a", "vector multiply, 8", _VECMUL, partial(vector_multiply, size=8)),
    Block("vecmul_b", "vector multiply, 64", _VECMUL, partial(vector_multiply, size=64)),
    Block("vecmul_b_f", "vector multiply, 64, unrolled", _VECMUL,
          partial(vector_multiply, size=64)),
    Block("dense_a", "dense, 1 to 8", _DENSE, partial(dense, outputs=8)),
    Block("dense_b", "dense, 1 to 64", _DENSE, partial(dense, outputs=64)),
    Block("softmax_a", "softmax, 8", _SOFTMAX),
    Block("softmax_b", "softmax, 64", _SOFTMAX),
    Block("softmax_b_f", "softmax, 64, unrolled", _SOFTMAX),
    Block("conv2d_a", "convolution 3x3, 8x8", _CONV, partial(convolution, size=8)),
    Block("conv2d_a_f", "convolution 3x3, 8x8, unrolled", _CONV, partial(convolution, size=8)),
    Block("conv2d_b", "convolution 3x3, 64x64", _CONV, partial(convolution, size=64)),
    Block("maxp_a", "max-pooling 2x2, 8x8", _MAXP),
    Block("maxp_b", "max-pooling 2x2, 32x32", _MAXP),
    Block("maxp_b_f", "max-pooling 2x2, 32x32, unrolled", _MAXP),
    Block("thxprlsg", "tanh, exp, ReLU, sigmoid, 8", "no tanh, exp, sigmoid",
          part=Block("relu", "ReLU, 8", "x @ diag(1), ReLU behind the sums",
                     partial(relu, size=8))),
)


def measure(driver: ArrayDriver, block: Block, seed: int, lut: int | None = None) -> Row:
    """Run ``block`` on the RTL with operands drawn from ``seed``, if the array can."""
    config = driver.config
    part = block.part and measure(driver, block.part, seed, lut)
    if block.work is None:
        return Row(block.name, block.title, False, block.how, part=part)
    work = block.work(config, np.random.default_rng([seed, *block.name.encode()]))
    run = driver.run(work.gemms)
    result = work.join(run.results)
    error = np.abs(_values(result, FORMATS[config.result]) - work.exact).max()
    return Row(block.name, block.title, True, block.how, run.cycles, run.formula_cycles,
               bool(np.array_equal(result, work.expected)), float(error),
               round(work.macs / (run.cells * run.cycles), 6), lut, part)


def _verdict(row: Row) -> str:
    if row.runs:
        return "bit exact" if row.bit_exact else "NOT exact"
    if row.part is None:
        return f"waits: {row.how}"
    return (f"waits: {row.how}; {row.part.title} alone: {_verdict(row.part)}, "
            f"{row.part.cycles} cycles, formula {row.part.formula_cycles}")


FIGURES = ("cycles", "formula", "used", "LUT4eq")


def _figures(row: Row) -> tuple[str, ...]:
    if not row.runs:
        return ("",) * len(FIGURES)
    return (str(row.cycles), str(row.formula_cycles), f"{row.utilisation:.2%}",
            "-" if row.lut is None else str(row.lut))


def page(config: ArrayConfig, rows: Sequence[Row], made_by: str) -> str:
    """The table as Markdown; ``made_by`` is the command that it names."""
    lines = [f"""\
# LeFlow's fifteen blocks

The blocks of the tests of LeFlow (Noronha, Salehpour and Wilton, 2018,
[arXiv 1807.05317](https://arxiv.org/abs/1807.05317)) as an acceptance list. What runs does so on
the RTL of an array of {config.rows} x {config.cols} cells: format `{config.format}`, contract \
`{config.contract}`, dataflow `{config.dataflow}`. What waits needs
a unit that the array does not have. This page is written by

    {made_by}

*Bit exact*: all bits of the result equal the golden model's. *Cycles*: first input to last result,
as simulated; *formula*: by the closed form. *Used*: products that the block asks for over cells
times cycles; a small block by itself is mostly loading weights, filling and draining. *LUT4eq*:
the whole array on ECP5, after synthesis. An unrolled block computes what the one before it
computes; the size of the array takes the place of unrolling. LeFlow's repository pools 3x3 with
stride 3; that would wait as well.
""",
             "| | block | on the array | " + " | ".join(FIGURES) + " | how |",
             "|---|---|---" + "|--:" * len(FIGURES) + "|---|"]
    lines += ["| " + " | ".join((f"`{row.block}`", row.title, _verdict(row), *_figures(row),
                                 row.how if row.runs else "")) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _table(config: ArrayConfig, rows: Sequence[Row]) -> Table:
    table = Table(title=f"LeFlow's blocks on a {config.rows} x {config.cols} array, "
                        f"{config.format} {config.contract} {config.dataflow}",
                  box=SIMPLE_HEAD, padding=0)
    table.add_column("block", no_wrap=True)
    table.add_column("on the array")
    for name in FIGURES:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(row.title, _verdict(row), *_figures(row))
    return table


def _command(options: Namespace) -> str:
    """What to type for this page: the options that are not the defaults."""
    words = [f"--{field.name} {getattr(options, field.name)}" for field in fields(ArrayConfig)
             if getattr(options, field.name) != field.default]
    words += [f"--seed {options.seed}"] * bool(options.seed) + ["--report"] * options.report
    return " ".join(["python -m sim.leflow", *words, f"--docs {options.docs}"])


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m sim.leflow", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the operands (default: 0)")
    parser.add_argument("--report", action="store_true",
                        help="synthesise the array for ECP5: minutes for 8x8")
    parser.add_argument("--docs", metavar="FILE", help="write the table as Markdown to FILE")
    add_options(parser.add_argument_group("array"), ArrayConfig)
    options = parser.parse_args(argv)
    if options.seed < 0:
        raise ValueError(f"seed must be 0 or more, not {options.seed}")
    target = None if options.docs is None else Path(options.docs)
    if target and (target.is_dir() or not os.access(target.parent, os.W_OK)):
        raise ValueError(f"docs must be a file in a folder that can be written, "
                         f"not {options.docs!r}")
    config = from_options(ArrayConfig, options)

    console, lut = Console(stderr=True), None
    if options.report:
        with console.status("synthesis for ECP5"):
            lut = synthesise(to_verilog(systolic_array(config), "systolic"),
                             "systolic", "ecp5").lut
    rows = []
    with console.status("building the simulator") as status:
        driver = ArrayDriver(config)
        for block in BLOCKS:
            status.update(f"simulating {block.title}")
            rows.append(measure(driver, block, options.seed, lut))
        driver.close()
    console.print(_table(config, rows))
    for row in rows:
        print(json.dumps(asdict(row) | {"seed": options.seed}))
    if target:
        part = target.with_name(f".{target.name}.part")
        part.write_text(page(config, rows, _command(options)))
        os.replace(part, target)
    return 0 if all(row.good for row in rows) else 1


if __name__ == "__main__":
    command(main)()
