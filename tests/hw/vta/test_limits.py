"""Corners in which a single bit counts, and the limits of what is legal, on simulator and core."""

import numpy as np
import pytest

from hw.vta.config import preset
from sim.golden.vta import Machine, simulate
from sim.vta_corners import corners
from sim.vta_limits import Limit, attempt, last_addresses, limits
from sim.vta_rtl import SequentialRtl, VtaRtl
from sim.vta_storms import storms

CONFIG = preset("block4")
# Also those in which ALU, STORE, GEMM and LOAD want the same banks in the same cycles.
PROGRAMS = [*corners(CONFIG), *((name, program) for name, program in storms(CONFIG, 4)
                                if name.startswith("all at once"))]


@pytest.fixture(scope="module", params=[VtaRtl, SequentialRtl])
def core(request):
    return request.param(CONFIG)


@pytest.mark.parametrize("name, program", PROGRAMS, ids=lambda value: str(value)[:30])
def test_corners(core, name, program):
    machine, image = Machine(CONFIG), np.frombuffer(program.image(), np.uint8)
    dram = image.copy()
    model = simulate(machine, program.words, dram, insn_addr=program.insn_addr)
    assert not model.races and not model.unwritten
    expected = Limit(program.words, model.status, model.instruction, image.copy(), dram,
                     insn_addr=program.insn_addr, scratchpads=machine.scratchpads())
    for conditions in (dict(latency=1), dict(latency=9, stall=0.4, seed=1)):
        assert attempt(core, expected, **conditions)[0] == []


@pytest.mark.parametrize("seed", range(4))
def test_limits(core, seed):
    """A quarter of them; the mutation check has all."""
    for limit in list(limits(CONFIG))[seed::4]:
        model = simulate(Machine(CONFIG), limit.words, limit.image.copy(), bases=limit.bases)
        assert (model.status, model.instruction) == (limit.status, limit.instruction)
        assert attempt(core, limit, latency=3, watchdog=500)[0] == []


def test_last_addresses(core):
    found = list(last_addresses(CONFIG))
    assert len(found) >= 4
    for limit in found:
        assert attempt(core, limit, latency=3, stall=0.3)[0] == []
