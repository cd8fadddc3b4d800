"""When each instruction of a VTA program runs: the core's control logic, without its data.

``sim/native/vta_cycles.cpp`` follows the state machines of :mod:`hw.vta` cycle by cycle, a unit in
a file; only micro-operations are real, for the indices, and so the conflicts, that come from them.
It takes a second for some millions of cycles. The numbers of pipeline stages are those of
:class:`hw.vta.stages.Stages`.
"""

import ctypes
import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from hw.cache import cached_dir
from hw.tools import run
from hw.vta.accumulators import accumulator_banks
from hw.vta.alu_long import LONG
from hw.vta.config import VtaConfig
from hw.vta.fetch import FETCH_BURST
from hw.vta.isa import AluOp, Isa, Memory, Opcode
from hw.vta.load import Transfer, write_lanes
from hw.vta.stages import Stages
from sim.tools import NATIVE, require_native, versions

__all__ = ["CAUSES", "Cycles", "PARTS", "cycles"]


PARTS = ("load", "gemm", "alu", "store")
CAUSES = {
    "busy":         "it works",
    "memory":       "it waits for DRAM",
    "wait_load":    "a token of the load unit is missing",
    "wait_compute": "a token of the compute unit is missing",
    "wait_store":   "a token of the store unit is missing",
    "hazard":       "another part still uses the same accumulators or micro-operations",
    "bank":         "another part uses the same bank of the accumulators",
    "order":        "the next instruction has no room: its engine, or the window, is full",
    "start":        "the next instruction is being prepared",
    "idle":         "there is no next instruction",
}
_COUNTERS = ("cycles", "cycles_gemm", "cycles_alu", "alu_waits", "load_busy", "load_wait_g2l",
             "load_memory", "compute_busy", "compute_wait_load", "compute_wait_store",
             "compute_memory", "store_busy", "store_wait_g2s", "store_memory", "read_beats",
             "write_beats", "fetch_beats")
_INSN = ("unit", "engine", "pops", "pushes", "memory", "sram", "dram", "y_size", "x_size",
         "x_stride", "y0", "y1", "x0", "x1", "pad", "uop_bgn", "uop_end", "iter_out", "iter_in",
         "dst_out", "dst_in", "src_out", "src_in", "keeps", "use_src", "use_bias", "is_long",
         "bias_bit", "sram_skip", "sram_stride")
_QUIET = 100_000  # cycles without any progress: far more than any latency that is modelled
_NONE, _LOADER, _GEMM, _ALU = range(4)


@dataclass(frozen=True)
class Cycles:
    """What :func:`cycles` found.

    Attributes
    ----------
    cycles : :class:`int`
        From the launch to the end, as the core counts them.
    taken, begin, done, left : int64 arrays, by instruction
        The cycles in which it got its tokens, began to move data or to compute, was complete, and
        posted its tokens.
    counters : dict of name to :class:`int`
        Those of :data:`hw.vta.registers.COUNTERS`, and ``fetch_beats`` of the instructions.
    causes : dict of part to dict of cause to :class:`int`
        How many cycles each of :data:`PARTS` spent with each of :data:`CAUSES`.
    """
    cycles: int
    taken: np.ndarray
    begin: np.ndarray
    done: np.ndarray
    left: np.ndarray
    counters: dict[str, int]
    causes: dict[str, dict[str, int]]


def cycles(config: VtaConfig, words: Sequence[int], image: np.ndarray, *, insn_addr: int,
           latency: int = 16, costs: Stages | None = None, serial: bool = False) -> Cycles:
    """Timing of the instructions ``words`` with DRAM ``image`` (uint8); base registers are 0.

    ``insn_addr``: where they lie. Memory answers ``latency`` cycles after a request, a beat per
    cycle. With ``serial`` an instruction begins when all before it are complete: nothing overlaps.

    Raises :exc:`ValueError` for a program that never ends, or that the core refuses.
    """
    if latency < 1:
        raise ValueError(f"latency must be at least 1 cycle, not {latency!r}")
    isa = Isa(config)
    table = np.array([_row(isa, word) for word in words], np.int64).reshape(-1, len(_INSN))
    image = np.ascontiguousarray(image, np.uint8)
    setup = _setup(config, isa, insn_addr, len(image), latency, costs or Stages(),
                   serial)
    times = np.zeros((len(table), 4), np.int64)
    result = np.zeros(len(_COUNTERS) + len(PARTS) * len(CAUSES), np.int64)
    count = _library().npu_vta_cycles(*(array.ctypes.data for array in (setup, table)), len(table),
                                      *(array.ctypes.data for array in (image, times, result)))
    if count < 0:
        waits = np.flatnonzero(times[:, 3] == 0)
        raise ValueError(f"the program must end, but nothing moves after cycle "
                         f"{-1 - count - _QUIET}: instruction {waits[0]} waits"
                         f" ({isa.disassemble(words[waits[0]])})")
    causes = result[len(_COUNTERS):].reshape(len(PARTS), len(CAUSES)).tolist()
    return Cycles(count, *(np.ascontiguousarray(column) for column in times.T),
                  dict(zip(_COUNTERS, result.tolist())),
                  {part: dict(zip(CAUSES, row)) for part, row in zip(PARTS, causes)})


def _setup(config, isa, insn_addr, dram_bytes, latency, costs, serial) -> np.ndarray:
    kinds = [Transfer.of(config, kind) for kind in Memory]
    lanes = [write_lanes(config, kind.scratchpad).members["data"].shape.length for kind in Memory]
    uop = [number for name in ("dst_idx", "src_idx")
           for number in (isa.uop_places[name][0], isa.uop_places[name][2])]
    return np.array([
        latency, config.bus_width // 8, config.burst_beats,
        min(config.burst_beats, FETCH_BURST), config.reads, config.writes,
        config.queue_depth, (1 << config.token_width) - 1, config.depth("uop"),
        config.depth("acc"), accumulator_banks(config), lanes[Memory.UOP], *uop,
        *(kind.element_bytes for kind in kinds), *(kind.beats for kind in kinds),
        *(kind.elements for kind in kinds), *lanes, insn_addr, dram_bytes, _QUIET,
        *asdict(costs).values(), serial], np.int64)


def _row(isa: Isa, word: int) -> list[int]:
    """The instruction as the C++ code reads it, in the order of ``_INSN``."""
    insn = isa.decode(word)
    if isa.fault(insn):
        raise ValueError(f"an instruction must be legal, not {isa.disassemble(word)} "
                         f"({isa.fault(insn).status})")
    get = insn.fields.get
    row = dict.fromkeys(_INSN, 0)
    row |= {"unit": insn.unit, "pops": sum(1 << t for t in insn.pops),
            "pushes": sum(1 << t for t in insn.pushes)}
    if insn.is_memory:
        row |= {"engine": _LOADER if insn.x_size else _NONE, "memory": min(insn.memory_type, 5),
                "sram": insn.sram_base, "dram": insn.dram_base, "y0": get("y_pad_0", 0),
                "y1": get("y_pad_1", 0), "x0": get("x_pad_0", 0), "x1": get("x_pad_1", 0),
                "pad": get("pad_value", 0)}
        row |= {name: get(name, 0) for name in ("y_size", "x_size", "x_stride", "sram_skip",
                                                "sram_stride")}
    elif insn.opcode != Opcode.FINISH:
        alu = insn.opcode == Opcode.ALU
        works = insn.uop_end > insn.uop_bgn and insn.iter_out and insn.iter_in
        row |= {name: get(name, 0) for name in ("uop_bgn", "uop_end", "iter_out", "iter_in")}
        row |= {f"{pad}_{loop}": insn.fields[f"{pad}_factor_{loop}"]
                for pad in ("dst", "src") for loop in ("out", "in")}
        row["engine"] = (_ALU if alu else _GEMM) if works else _NONE
        if alu:
            requantise = insn.alu_opcode == AluOp.RQT
            row |= {"use_src": int(requantise or not insn.use_imm), "bias_bit": insn.bias,
                    "use_bias": int(requantise and insn.bias),
                    "is_long": int(insn.alu_opcode in LONG)}
        else:
            row["keeps"] = int(insn.reset_reg or insn.overwrite)
    return list(row.values())


@functools.cache
def _library() -> ctypes.CDLL:
    require_native("g++")
    sources = {path.name: path.read_text() for path in sorted((NATIVE / "vta").glob("*.h"))}
    main = (NATIVE / "vta_cycles.cpp").read_text()
    flags = ("-std=gnu++17", "-O2", "-w", "-shared", "-fPIC")

    def make(folder):
        (folder / "vta").mkdir()
        for name, text in sources.items():
            (folder / "vta" / name).write_text(text)
        (folder / "vta_cycles.cpp").write_text(main)
        run("g++", ["g++", *flags, "vta_cycles.cpp", "-o", "vta_cycles.so"], folder=folder,
            log="vta_cycles.log")

    folder = cached_dir("vta_cycles", versions(), flags, main, *sources.values(), make=make)
    lib = ctypes.CDLL(str(folder / "vta_cycles.so"))
    lib.npu_vta_cycles.restype = ctypes.c_int64
    lib.npu_vta_cycles.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64,
                                   ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    return lib
