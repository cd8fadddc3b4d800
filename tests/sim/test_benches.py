# amaranth: UnusedElaboratable=no
import re
import subprocess
import sys

import pytest
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.options import command
from hw.verilog import to_verilog
from sim import bench
from sim.benches.build import TOP, run_bench

QUICK = ["queue", "fork", "integer_multiply"]


@pytest.mark.parametrize("name", QUICK)
def test_passes(name, capsys):
    assert bench.main([name, "--seed", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    tests = 3 if name in ("queue", "fork") else 1
    assert lines[-1] == f"{name}: {tests} of {tests} tests passed, seed 3"
    assert len(lines) == tests + 1 and all(line.startswith("pass  ") for line in lines[:-1])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in bench.benches() if name not in QUICK])
def test_all_others_pass(name):
    assert bench.main([name]) == 0


class Fidgety(wiring.Component):
    """A wire whose payload changes every eighth cycle, whether it waits or not."""

    i: In(stream.Signature(13))
    o: Out(stream.Signature(13))

    def elaborate(self, platform):
        m = Module()
        tick = Signal(4)
        m.d.sync += tick.eq(tick + 1)
        m.d.comb += [
            self.o.payload.eq(self.i.payload ^ tick[3]),
            self.o.valid.eq(self.i.valid),
            self.i.ready.eq(self.o.ready),
        ]
        return m


def test_benches_bite():
    results = run_bench("sim.benches.register_slice", to_verilog(Fidgety(), TOP), seed=0)
    assert len(results) == 3
    assert "instead of" in results[0].failure      # never waits: a wrong beat
    assert "o offered 0x" in results[2].failure    # changes a beat that waits


def test_waves(tmp_path, capsys):
    assert bench.main(["queue", "--waves", str(tmp_path / "q.fst")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"waveforms: {tmp_path / 'q.fst'}"
    assert b"i__payload" in (tmp_path / "q.fst").read_bytes()


def test_list(capsys):
    assert bench.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(bench.benches())
    assert all(len(line.split()) > 4 for line in lines)  # each has something to say


#   arguments               what is said of them
WRONG = [
    (["qeue"],              "NAME must be one of .*queue.*, not 'qeue'"),
    ([],                    "a bench is needed: one of .*queue"),
    (["queue", "--seed", "-1"], "^error: seed must be 0 or more, not -1$"),
    (["queue", "--wave"],   "unrecognized arguments: --wave"),
    (["queue", "--seed", "x"], "argument --seed: invalid int value: 'x'"),
    (["queue", "--waves", "/nowhere/q.fst"],
     "error: --waves must be in a folder that exists, not '/nowhere/q.fst'"),
]


@pytest.mark.parametrize("arguments, message", WRONG)
def test_wrong(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        command(bench.main)(arguments)
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert re.search(message, said) and said.count("\n") == 1


def test_is_a_program():
    done = subprocess.run([sys.executable, "-m", "sim.bench", "nothing"], capture_output=True,
                          text=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith("python -m sim.bench: NAME must be")
