import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from hw.systolic.config import ArrayConfig
from sim.leflow import BLOCKS, convolution, main, measure, page
from sim.systolic import ArrayDriver, predicted_cycles

NAMES = ["vecmul_a", "vecmul_b", "vecmul_b_f", "dense_a", "dense_b", "softmax_a", "softmax_b",
         "softmax_b_f", "conv2d_a", "conv2d_a_f", "conv2d_b", "maxp_a", "maxp_b", "maxp_b_f",
         "thxprlsg"]
RUNNING = {name for name in NAMES if name.startswith(("vecmul", "dense", "conv2d"))}
CELLS = {
    "fma":     {"format": "bf16", "contract": "fma"},
    "exact":   {"format": "bf16", "contract": "exact"},
    "int8_ws": {"format": "int8", "dataflow": "ws"},
    "int8_os": {"format": "int8", "dataflow": "os"},
}
PAGE = Path(__file__).parents[2] / "docs" / "leflow.md"


@cache
def driver(cell):
    return ArrayDriver(ArrayConfig(rows=3, cols=5, depth=32, **CELLS[cell]))


@pytest.mark.parametrize("cell", CELLS)
def test_what_runs_is_exact_in_the_cycles_of_the_formula(cell):
    rows = [measure(driver(cell), block, seed=1) for block in BLOCKS]
    assert [row.block for row in rows] == NAMES
    assert {row.block for row in rows if row.runs} == RUNNING
    for row in [*rows, rows[-1].part]:
        if row.runs:
            assert row.bit_exact and row.cycles == row.formula_cycles, row
            assert 0 < row.utilisation < 1
            # float32 sums of ten terms near 1, or integers
            assert row.max_abs_error <= (1e-5 if "int8" not in cell else 0), row
        else:
            assert row.how and row.cycles is row.bit_exact is row.utilisation is None
        assert row.good
    assert rows[-1].part.block == "relu" and rows[-1].part.runs


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.work or block.part],
                         ids=lambda block: block.name)
def test_a_wrong_bit_shows(block, monkeypatch):
    array = driver("int8_ws")
    run = array.run

    def flipped(gemms):
        outcome = run(gemms)
        outcome.results[-1][-1, -1] ^= 1
        return outcome

    monkeypatch.setattr(array, "run", flipped)
    row = measure(array, block, seed=0)
    assert not row.good
    assert "NOT exact" in page(array.config, [row], "")


def test_useful_products_of_a_convolution_leave_out_the_padding():
    config = ArrayConfig(format="int8")
    work = convolution(config, np.random.default_rng(0), size=8)
    inside = np.pad(np.ones((8, 8), int), 1)
    windows = sum(inside[y:y + 8, x:x + 8].sum() for y in range(3) for x in range(3))
    assert work.macs == 2 * windows


def test_command_prints_fifteen_lines_and_writes_the_page(tmp_path, capsys):
    file = tmp_path / "leflow.md"
    assert main(["--rows", "3", "--cols", "5", "--depth", "32", "--format", "int8", "--seed", "2",
                 "--docs", str(file)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["block"] for line in lines] == NAMES
    assert {line["block"] for line in lines if line["runs"]} == RUNNING
    text = file.read_text()
    assert ("python -m sim.leflow --rows 3 --cols 5 --format int8 --depth 32 --seed 2 "
            f"--docs {file}") in text
    assert re.findall(r"^\| `(\w+)`", text, re.MULTILINE) == NAMES
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("options, message", [
    (["--docs", "/nowhere/leflow.md"], "docs must be a file in a folder that can be written, "
                                       "not '/nowhere/leflow.md'"),
    (["--seed", "-1"], "seed must be 0 or more, not -1"),
    (["--rows", "0"], "rows must be 1 to 64, not 0"),
])
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        main(options)


def test_committed_page_has_the_cycles_of_today():
    """A changed latency changes the page: run the command that it names."""
    config = ArrayConfig(rows=8, cols=8)
    shown = dict(re.findall(r"^\| `(\w+)` \|[^|]*\| bit exact \| (\d+) \|", PAGE.read_text(),
                            re.MULTILINE))
    assert set(shown) == RUNNING
    for block in BLOCKS:
        if block.work:
            gemms = block.work(config, np.random.default_rng(0)).gemms
            (m, k), n = gemms[0].a.shape, gemms[0].w.shape[1]
            assert int(shown[block.name]) == predicted_cycles(config, m, k, n, len(gemms)), block
