"""Corners on which the published implementations disagree: simulator and core, each by its name."""

import numpy as np
import pytest

from hw.vta.assembler import Program
from hw.vta.config import PRESETS, VtaConfig, preset
from hw.vta.isa import Fault, Memory
from sim.vta_engine import Conditions, IssEngine
from sim.vta_rtl import RtlEngine, SequentialEngine
from sim.vta_traps import TRAPS, trap

TWO_ROWS = VtaConfig(log_batch=1, log_block=2, log_uop_buff_size=9, log_inp_buff_size=9,
                     log_wgt_buff_size=8, log_acc_buff_size=11)
CORES = {"block4": lambda: RtlEngine(preset("block4")), "two rows": lambda: RtlEngine(TWO_ROWS),
         "sequential": lambda: SequentialEngine(preset("block4"))}


def check(engine, name, **conditions):
    program, expected = trap(name, engine.config)
    image = np.frombuffer(bytes(program.image()), np.uint8)
    result = engine.run(image, program.insn_addr, program.insn_count, Conditions(**conditions))
    assert result.status == Fault.DONE, result.message
    assert not result.notes.get("races"), result.notes["races"]
    for buffer, content in expected.items():
        got = result.image[program.buffers[buffer].slice].view(np.int8)
        np.testing.assert_array_equal(got, content, err_msg=buffer)


@pytest.mark.parametrize("config", [*PRESETS.values(), TWO_ROWS], ids=[*PRESETS, "two rows"])
@pytest.mark.parametrize("name", TRAPS)
def test_simulator(config, name):
    check(IssEngine(config), name)


@pytest.fixture(scope="module", params=CORES)
def core(request):
    return CORES[request.param]()


@pytest.mark.parametrize("name", TRAPS)
def test_core(core, name):
    check(core, name)
    check(core, name, latency=40, stall=0.4, seed=1)


def test_the_300th_token_is_not_lost():
    """Upstream's counters have 8 bits, and drop the 256th."""
    core = CORES["block4"]()
    with Program(core.config) as p:
        for _ in range(300):
            p.sync(Memory.INP, push="l2g")
        for _ in range(299):
            p.sync(Memory.UOP, pop="l2g")
        p.finish(pop="l2g")
    image = np.frombuffer(bytes(p.image()), np.uint8)
    result = core.run(image, p.insn_addr, p.insn_count, Conditions())
    assert (result.status, result.message) == (Fault.DONE, "")
