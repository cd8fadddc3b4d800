"""The SDRAM controller against a chip that checks its timing: ``python -m sim.sdram``.

Random bursts with random strobes, near and far, compared word by word, or one long burst after the
other to measure the bandwidth. One JSON line; a rule of the chip that is broken is an error.
"""

import ctypes
import json
from collections.abc import Sequence

import numpy as np

from hw.options import Parser, command
from hw.sdram import CHIPS, Sdram, SdramChip, SdramCycles
from hw.verilog import to_verilog
from sim.verilated import Engine

__all__ = ["KINDS", "NATIVE_CHIP", "SdramError", "SimulatedChip", "exercise"]

KINDS = {"read": 1, "write": 2, "both": 3}
NATIVE_CHIP = "sdram_chip.cpp"
_TIMES = ("rcd", "rp", "ras", "rc", "rfc", "rrd", "wr", "ras_max")


class SdramError(Exception):
    """A rule of the chip or of AXI4 was broken, or a word was wrong; the message says which."""


class _ChipSetup(ctypes.Structure):
    _fields_ = [*((name, ctypes.c_int64) for name in ("period", *_TIMES, "refresh", "power_up")),
                *((name, ctypes.c_int32) for name in (
                    "mrd", "cas", "column_bits", "bank_bits", "row_bits"))]


class _Setup(ctypes.Structure):
    _fields_ = [("chip", _ChipSetup), ("seed", ctypes.c_uint64),
                *((name, ctypes.c_int32) for name in ("longest", "linear", "kinds")),
                ("stall", ctypes.c_uint32),
                *((name, ctypes.c_int64) for name in (
                    "bursts", "timeout", "cycles", "words", "latency", "refreshes",
                    "activations"))]


def _chip_setup(chip: SdramChip, clock_hz: float, cas: int) -> _ChipSetup:
    return _ChipSetup(
        period=round(1e12 / clock_hz), mrd=chip.t_mrd, cas=cas, refresh=int(chip.refresh * 1000),
        power_up=int(chip.power_up * 1000), column_bits=chip.column_bits,
        bank_bits=chip.bank_bits, row_bits=chip.row_bits,
        **{name: int(getattr(chip, f"t_{name}") * 1000) for name in _TIMES})


class SimulatedChip:
    """``chip`` at the pins of an engine built with :data:`NATIVE_CHIP`, whose names begin with
    ``prefix``; what drives the engine clocks it, by its ``handle``.

    ``memory``: its words in the order of their addresses, a view. Contents are zeros at first.
    """

    def __init__(self, engine: Engine, prefix: str, chip: SdramChip, clock_hz: float, cas: int):
        lib, pointer = engine._lib, ctypes.c_void_p
        lib.npu_chip_new.restype = lib.npu_chip_memory.restype = pointer
        lib.npu_chip_new.argtypes = [pointer, ctypes.c_char_p, pointer, ctypes.c_uint64]
        lib.npu_chip_wrong.restype = ctypes.c_char_p
        for function in (lib.npu_chip_delete, lib.npu_chip_wrong, lib.npu_chip_memory):
            function.argtypes = [pointer]
        self._lib = lib
        self.handle = lib.npu_chip_new(engine._handle, prefix.encode(),
                                       ctypes.byref(_chip_setup(chip, clock_hz, cas)), 0)
        words = ctypes.cast(lib.npu_chip_memory(self.handle), ctypes.POINTER(ctypes.c_uint16))
        self.memory = np.ctypeslib.as_array(words, (chip.size // 2,))

    def check(self) -> None:
        """Raise :class:`SdramError` if a rule of the chip was broken."""
        if wrong := self._lib.npu_chip_wrong(self.handle).decode():
            raise SdramError(wrong)

    def __del__(self):
        self._lib.npu_chip_delete(self.handle)


def exercise(*, bursts: int, clock_hz: float = 50e6, cas: int = 2, data_width: int = 64,
             longest: int = 16, linear: bool = False, kind: str = "both", stall: float = 0.0,
             seed: int = 0, chip: SdramChip = CHIPS["as4c16m16"],
             real: SdramChip | None = None) -> dict:
    """Run ``bursts`` bursts of up to ``longest`` beats.

    ``chip`` is what the controller believes in, ``real`` what is there, the same if it is none.
    The result has the ``cycles`` after the start, ``words`` of 16 bits, ``bandwidth`` as a share of
    a word per cycle, the shortest ``latency`` of a read, ``refreshes`` and ``activations``.
    """
    if bursts < 1:
        raise ValueError(f"bursts must be at least 1, not {bursts!r}")
    if longest not in range(1, 257):
        raise ValueError(f"longest must be 1 to 256, not {longest!r}")
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
    if not 0 <= stall <= 0.95:
        raise ValueError(f"stall must be 0 to 0.95, not {stall!r}")
    dut = Sdram(SdramCycles(chip, clock_hz, cas), address_width=32, data_width=data_width)
    real = real or chip
    engine = Engine(to_verilog(dut, "sdram"), "sdram", extra=(NATIVE_CHIP, "sdram.cpp"))
    setup = _Setup(
        chip=_chip_setup(real, clock_hz, cas), seed=seed, longest=longest, linear=linear,
        kinds=KINDS[kind], stall=int(stall * (2**32 - 1)), bursts=bursts,
        timeout=100_000 + bursts * 200 * longest)
    message = ctypes.create_string_buffer(200)
    run = engine._lib.npu_sdram_run
    run.restype = ctypes.c_int64
    run.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32]
    run(engine._handle, ctypes.byref(setup), message, len(message))
    if message.value:
        raise SdramError(f"seed {seed}: {message.value.decode()}")
    return {"bursts": bursts, "cycles": setup.cycles, "words": setup.words,
            "bandwidth": round(setup.words / setup.cycles, 4), "latency": setup.latency,
            "refreshes": setup.refreshes, "activations": setup.activations, "seed": seed}


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m sim.sdram", description=__doc__)
    parser.add_argument("--bursts", type=int, default=1_000_000, help="(default: 1000000)")
    parser.add_argument("--clock", type=float, default=50, help="MHz (default: 50)")
    parser.add_argument("--cas", type=int, default=2, help="2 or 3 (default: 2)")
    parser.add_argument("--longest", type=int, default=16, help="beats of a burst (default: 16)")
    parser.add_argument("--linear", action="store_true", help="long bursts, one after the other")
    parser.add_argument("--kind", default="both", help="read, write or both (default)")
    parser.add_argument("--stall", type=float, default=0.0, help="chance of a pause (default: 0)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    result = exercise(bursts=options.bursts, clock_hz=options.clock * 1e6, cas=options.cas,
                      longest=options.longest, linear=options.linear, kind=options.kind,
                      stall=options.stall, seed=options.seed)
    print(json.dumps({"clock_mhz": options.clock, "cas": options.cas} | result))
    return 0


if __name__ == "__main__":
    command(main)()
