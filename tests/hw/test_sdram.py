# amaranth: UnusedElaboratable=no
"""The SDRAM controller keeps every time of the chip, and loses no word."""

import dataclasses

import pytest

from hw.sdram import CHIPS, Sdram, SdramCycles
from sim.sdram import SdramError, exercise, main

CHIP = CHIPS["as4c16m16"]
BASE = {"bursts": 800, "clock_hz": 100e6, "cas": 2, "data_width": 64}


@pytest.mark.parametrize("conditions", [
    {}, {"stall": 0.4}, {"longest": 1}, {"longest": 256, "bursts": 60}, {"kind": "read"},
    {"kind": "write", "stall": 0.2},
])
def test_random_bursts(conditions):
    exercise(**BASE | conditions, seed=3)


@pytest.mark.parametrize("clock_hz, cas, data_width", [(50e6, 2, 64), (140e6, 3, 32)])
def test_clocks_and_widths(clock_hz, cas, data_width):
    exercise(bursts=800, clock_hz=clock_hz, cas=cas, data_width=data_width, stall=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("clock_hz, cas", [(50e6, 2), (100e6, 2), (140e6, 3)])
@pytest.mark.parametrize("stall", [0.0, 0.2])
def test_a_million_bursts(clock_hz, cas, stall):
    exercise(bursts=1_000_000, clock_hz=clock_hz, cas=cas, longest=8, stall=stall)


@pytest.mark.parametrize("kind", ["read", "write", "both"])
def test_long_bursts_use_the_chip(kind):
    assert exercise(**BASE | {"bursts": 40, "longest": 256}, linear=True,
                    kind=kind)["bandwidth"] > 0.85


def test_latency_is_as_documented():
    dut = Sdram(SdramCycles(CHIP, 100e6, 2), address_width=32, data_width=64)
    assert exercise(**BASE, kind="read")["latency"] == dut.latency


# A chip that is slower than the controller believes is found out, for each of its times.
@pytest.mark.parametrize("name, value, said", [
    ("t_rcd", 35, "tRCD"), ("t_rp", 35, "tRP"), ("t_ras", 65, "tRAS"), ("t_rc", 85, "tRC"),
    ("t_rfc", 85, "tRFC"), ("t_rrd", 75, "tRRD"), ("t_wr", 35, "tWR"), ("t_mrd", 9, "tMRD"),
    ("refresh", 7000, "refresh interval"), ("power_up", 300_000, "before the chip is up"),
    ("t_ras_max", 500, "tRAS max"),
])
def test_the_chip_notices(name, value, said):
    slower = dataclasses.replace(CHIP, **{name: value})
    with pytest.raises(SdramError, match=f"seed 0: cycle .*{said}"):
        exercise(**BASE, real=slower)


@pytest.mark.parametrize("clock_hz, cas, said", [
    (100e6, 4, "cas must be 2 or 3, not 4"),
    (120e6, 2, "clock must be 1 to 100 MHz with CAS 2, not 120"),
])
def test_wrong_clock(clock_hz, cas, said):
    with pytest.raises(ValueError, match=f"^{said}$"):
        SdramCycles(CHIP, clock_hz, cas)


def test_wrong_width():
    with pytest.raises(ValueError, match="^data_width must be 16, 32, 64 or 128, not 8$"):
        Sdram(SdramCycles(CHIP, 50e6, 2), address_width=32, data_width=8)


@pytest.mark.parametrize("argv, said", [
    (["--bursts", "0"], "bursts must be at least 1, not 0"),
    (["--longest", "300"], "longest must be 1 to 256, not 300"),
    (["--kind", "none"], "kind must be one of read, write, both, not 'none'"),
    (["--stall", "1"], "stall must be 0 to 0.95, not 1.0"),
])
def test_wrong_options(argv, said):
    with pytest.raises(ValueError, match=f"^{said}$"):
        main(argv)
