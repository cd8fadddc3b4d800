"""A VTA core in the native engine, with a memory at its AXI port and a host at its registers."""

import ctypes
import hashlib
import inspect
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

import hw
from hw.cache import cached_dir
from hw.verilog import to_verilog
from hw.vta.assembler import from_binary
from hw.vta.config import VtaConfig
from hw.vta.core import VtaCore
from hw.vta.firmware import layout
from hw.vta.isa import Fault, Isa
from hw.vta.registers import COUNTERS, IDENTITY, POINTERS, register_map
from hw.vta.sequential import SequentialVta
from sim.golden.vta import TraceRecord
from sim.verilated import Engine
from sim.vta_engine import Conditions, EngineError, Outcome
from sim.vta_trace import Traced, trace_records

__all__ = ["AxiError", "RtlEngine", "RtlResult", "VtaRtl", "core_verilog",
           "serve"]

_LAUNCH, _RESET = 1, 1
_ZEROS = re.compile(r"^ *initial begin\n(?: *\w+\[\d+\] = \d+'h0+;\n)+ *end\n", re.MULTILINE)


class AxiError(EngineError):
    """The core broke a rule of AXI4; the message says which."""


@dataclass(frozen=True)
class RtlResult:
    """How a run ended.

    ``instruction``: number of the one in error, or ``None``. ``cycles``: from launch to the end, as
    the core counts them. ``counters``: all performance counters by name.
    """

    status: Fault
    instruction: int | None
    cycles: int
    counters: dict[str, int]


class _Setup(ctypes.Structure):
    _fields_ = [("seed", ctypes.c_uint64), ("bytes", ctypes.c_int64), ("timeout", ctypes.c_int64),
                ("origin", ctypes.c_uint64), ("dead_after", ctypes.c_int64),
                ("latency", ctypes.c_uint32), ("latency_spread", ctypes.c_uint32),
                ("stall", ctypes.c_uint32), ("mirrored", ctypes.c_uint32),
                ("read_beats", ctypes.c_uint32), ("write_beats", ctypes.c_uint32),
                ("reads", ctypes.c_uint32), ("writes", ctypes.c_uint32)]


@cache
def _sources() -> str:
    """Hash of everything that Verilog is made from."""
    digest = hashlib.sha256()
    folder = Path(hw.__path__[0])
    patterns = ("*.py", "vta/*.py", "vta/microprogram/*.asm", "bus/*.py")
    for path in sorted(path for pattern in patterns for path in folder.glob(pattern)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


_Core = type[VtaCore] | type[SequentialVta]


def core_verilog(config: VtaConfig, kind: _Core = VtaCore) -> str:
    """SystemVerilog of the core, as module ``vta``; kept, because it takes long to write.

    The zeros that memories begin with are left out: the engine puts them there anyway, and reads
    megabytes of them slowly.
    """
    return (_folder(config, kind) / "vta.sv").read_text()


def _folder(config: VtaConfig, make_core: _Core | type[Traced]) -> Path:
    def make(folder: Path) -> None:
        core = make_core(config)
        (folder / "vta.sv").write_text(_ZEROS.sub("", to_verilog(core, "vta")))
        if isinstance(core, Traced):
            (folder / "fields.json").write_text(json.dumps(core.fields()))

    key = json.dumps(config.to_dict(), sort_keys=True)
    maker = Path(inspect.getfile(make_core)).read_bytes()
    return cached_dir("vta", key, _sources(), maker, make=make)


def serve(engine: Engine, image: np.ndarray, *, latency: int = 16, spread: int = 0,
          stall: float = 0.0, seed: int = 0, timeout: int = 10_000_000,
          dead_after: int = -1, origin: int = 0, mirrored: bool = False) -> int:
    """Run a design with ports ``m_axi__*`` until its port ``irq`` is high; cycles that it took.

    The parameters are those of :meth:`VtaRtl.run`. Raises :class:`AxiError`.
    """
    if image.dtype != np.uint8 or image.ndim != 1 or not image.flags.c_contiguous:
        raise ValueError(f"image must be contiguous bytes, not {image.dtype} {image.shape!r}")
    if not 0 <= stall < 1:
        raise ValueError(f"stall must be at least 0 and below 1, not {stall!r}")
    if latency < 1:
        raise ValueError(f"latency must be at least 1, not {latency!r}")
    beat = engine.ports["m_axi__rdata"].width // 8  # the last one is there as a whole
    if mirrored and (len(image) % 4096 or len(image) & (len(image) - 1)):
        raise ValueError(f"a mirrored image must have a power of two of pages, "
                         f"not {len(image)} bytes")
    dram = np.concatenate([image, np.zeros(-len(image) % beat, np.uint8)])
    setup = _Setup(seed=seed, bytes=len(dram), timeout=timeout, origin=origin,
                   dead_after=dead_after, latency=latency, latency_spread=spread,
                   mirrored=mirrored, stall=int(stall * (2**32 - 1)))
    message = ctypes.create_string_buffer(256)
    run = engine._lib.npu_axi_run
    run.restype = ctypes.c_int64
    run.argtypes = [ctypes.c_void_p, ctypes.POINTER(_Setup), ctypes.c_void_p, ctypes.c_char_p,
                    ctypes.c_uint32]
    cycles = run(engine._handle, ctypes.byref(setup), dram.ctypes.data, message, len(message))
    image[:] = dram[:len(image)]
    if message.value:
        raise AxiError(f"cycle {cycles}: {message.value.decode()}")
    return cycles


class VtaRtl:
    """One core of ``config``; scratchpads and tokens persist from run to run.

    Parameters
    ----------
    config : :class:`VtaConfig`
    trace : path or ``None``
        Waveforms, see :class:`sim.verilated.Engine`.
    engine : :class:`sim.verilated.Engine`
        One that simulates this core already, with ``axi_memory.cpp``.
    inside : :class:`str`
        Path of the core in it, with a dot at the end.
    """

    kind: _Core = VtaCore

    def __init__(self, config: VtaConfig, *, trace: str | Path | None = None,
                 engine: Engine | None = None, inside: str = ""):
        self.config, self._inside = config, inside
        self.registers = register_map(config)
        self.engine = engine or Engine(core_verilog(config, self.kind), "vta", trace=trace,
                                       extra=("axi_memory.cpp",))
        self._begin()

    def restart(self) -> None:
        """Power off and on: scratchpads are 0."""
        self.engine.restart()
        self._begin()

    def _begin(self):
        self.engine.reset(2)
        if self.read("identity") != IDENTITY:
            raise RuntimeError("the core does not answer on its registers")
        self.write("irq", 1)

    # Registers

    def write(self, name: str, value: int) -> None:
        """Write a register by name."""
        engine = self.engine
        for port, driven in (("awaddr", self.registers[name].offset), ("wdata", value),
                             ("wstrb", 15), ("awvalid", 1), ("wvalid", 1), ("bready", 1)):
            engine.set(f"s_axi__{port}", driven)
        self._until("awready")  # an idle slave takes both at once
        engine.step()
        engine.set("s_axi__awvalid", 0)
        engine.set("s_axi__wvalid", 0)
        engine.step()

    def read(self, name: str) -> int:
        """Read a register by name."""
        engine = self.engine
        for port, driven in (("araddr", self.registers[name].offset), ("arvalid", 1),
                             ("rready", 1)):
            engine.set(f"s_axi__{port}", driven)
        self._until("arready")
        engine.step()
        engine.set("s_axi__arvalid", 0)
        self._until("rvalid")
        value = engine.get("s_axi__rdata")
        engine.step()
        return value

    def _until(self, port: str) -> None:
        """Let time pass until the slave's ``port`` is high."""
        for _ in range(1000):
            if self.engine.get(f"s_axi__{port}"):
                return
            self.engine.step()
        raise EngineError(f"the core did not answer on its registers: {port} stays low")

    # Programs

    def run(self, image: np.ndarray, insn_addr: int, insn_count: int, *,
            bases: dict[str, int] | None = None, latency: int = 16, spread: int = 0,
            stall: float = 0.0, seed: int = 0, timeout: int = 10_000_000,
            watchdog: int | None = None, dead_after: int = -1, origin: int = 0,
            mirrored: bool = False) -> RtlResult:
        """Execute a program; ``image`` (uint8) is DRAM from address 0 on, changed in place.

        ``latency``: cycles from the request of a burst to its answer, plus a random number below
        ``spread``; ``stall``: probability that a channel pauses in a cycle; both drawn from
        ``seed``. ``bases``: base registers (bytes) of ``uop``, ``inp``, ``wgt``, ``acc``, ``out``.
        With ``dead_after`` memory is silent from that cycle on. ``origin``: where DRAM begins, a
        multiple of 4096; ``insn_addr`` and ``bases`` count from there. With ``mirrored`` it repeats
        over all addresses, so that no access is an error on the bus.

        Raises :class:`AxiError`, and :class:`EngineError` after ``timeout`` cycles or for a status
        that there is not.
        """
        pointers = {"insn": insn_addr} | (bases or {})
        for name in POINTERS:
            self._write_pointer(f"{name}_base", origin + pointers.get(name, 0))
        self.write("insn_count", insn_count)
        self.write("watchdog", max(100_000, 100 * (latency + spread))
                   if watchdog is None else watchdog)
        self.write("irq", 3)  # the interrupt of the run before is over
        self.write("control", _LAUNCH)
        cycles = serve(self.engine, image, latency=latency, spread=spread, stall=stall, seed=seed,
                       timeout=timeout, dead_after=dead_after, origin=origin, mirrored=mirrored)
        if cycles >= timeout:
            raise EngineError(f"the core was still running after {timeout} cycles: "
                              f"{self.counters()}")
        number, status = self.read("error_insn"), self.read("status") & 15
        if status not in set(Fault):
            raise EngineError(f"the core ended with the status {status}, which is no cause")
        return RtlResult(Fault(status),
                         None if number == 0xffff_ffff else number,
                         self.read("cycles"), self.counters())

    def _write_pointer(self, name, value):
        self.write(name, value & 0xffff_ffff)
        if f"{name}_high" in self.registers:
            self.write(f"{name}_high", value >> 32)

    def reset(self) -> None:
        """After an error: start clean."""
        self.write("reset", _RESET)
        self.engine.step(4)

    def counters(self) -> dict[str, int]:
        """All performance counters."""
        return {name: self.read(name) for name in ("cycles", "user", *COUNTERS)}

    def scratchpads(self) -> dict[str, np.ndarray]:
        """``uop``, ``inp``, ``wgt``, ``acc`` as :class:`sim.golden.vta.Machine` has them."""
        batch, block = self.config.batch, self.config.block
        shapes = {"uop": ("compute.uop_memory", "<u4", ()),
                  "inp": ("inp_memory", "<i1", (batch, block)),
                  "wgt": ("wgt_memory", "<i1", (block, block)),
                  "acc": ("compute.accumulators.memory", "<i4", (batch, block))}
        result = {}
        for name, (path, dtype, shape) in shapes.items():
            banks = []
            while True:
                try:
                    banks.append(self.engine.memory(
                        f"{self._inside}{path}.bank_{len(banks)}"))
                except ValueError:
                    break
            rows = np.stack(banks, axis=1).reshape(self.config.depth(name), -1)
            result[name] = rows.view(dtype).reshape(-1, *shape)
        return result


class SequentialRtl(VtaRtl):
    """A sequential core."""

    kind = SequentialVta

    def scratchpads(self) -> dict[str, np.ndarray]:
        words = self.engine.memory("spram").view("<u4").ravel()
        types = {"uop": ("<u4", ()), "inp": ("<i1", (1, 4)), "wgt": ("<i1", (4, 4)),
                 "acc": ("<i4", (1, 4))}
        return {name: words[part.start:part.stop].view(types[name][0]).reshape(-1, *types[name][1])
                for name, part in layout(self.config).items()}


class TracedRtl(VtaRtl):
    """A core that keeps what its instructions write."""

    def __init__(self, config: VtaConfig):
        folder = _folder(config, Traced)
        self._fields = json.loads((folder / "fields.json").read_text())
        super().__init__(config, engine=Engine((folder / "vta.sv").read_text(), "vta",
                                               extra=("axi_memory.cpp",)), inside="core.")

    def records(self, words: Sequence[int], executed: int) -> list[TraceRecord]:
        """Of the last run since :meth:`restart`, see :func:`sim.vta_trace.trace_records`."""
        size = ctypes.c_uint64()
        get = self.engine._lib.npu_axi_trace
        get.restype = ctypes.c_void_p
        raw = ctypes.string_at(get(ctypes.byref(size)), size.value)
        row = -(-self.engine.ports["writes"].width // 8)
        events = [int.from_bytes(raw[at:at + row], "little") for at in range(0, len(raw), row)]
        return trace_records(self.config, self._fields, events, words, executed)


class RtlEngine:
    """The core as an engine of :mod:`sim.vta_engine`: each run starts from reset."""

    kind: type[VtaRtl] = VtaRtl

    def __init__(self, config: VtaConfig):
        self.config = config
        self.core = self.kind(config)
        self._traced: TracedRtl | None = None

    def run(self, image: np.ndarray, insn_addr: int, insn_count: int, conditions: Conditions, *,
            trace: bool = False, reads: Sequence[slice] | None = None) -> Outcome:
        """Execute the stream in ``image`` (uint8, left as it is); ``reads`` changes nothing here.

        The first ``trace`` builds a simulator of the core with its write ports in sight.
        """
        if trace and self._traced is None:
            self._traced = TracedRtl(self.config)
        core = self._traced if trace else self.core
        core.restart()
        dram = image.copy()
        result = core.run(dram, insn_addr, insn_count, latency=conditions.latency,
                          stall=conditions.stall, seed=conditions.seed)
        message = ""
        if result.status != Fault.DONE:
            message = f"{result.status.status}: the core stopped"
            if result.instruction is not None:
                at = insn_addr + 16 * result.instruction
                word = int.from_bytes(image[at:at + 16].tobytes(), "little")
                message = (f"instruction {result.instruction} "
                           f"({Isa(self.config).disassemble(word)}) stops the core, "
                           f"{result.status.status}")
        records = []
        if trace:
            words = from_binary(image[insn_addr:insn_addr + 16 * insn_count].tobytes())
            executed = len(words) if result.instruction is None else result.instruction
            records = core.records(words, executed)
        return Outcome(result.status, result.cycles, dram, core.scratchpads(), result.counters,
                       result.instruction, message, records)


class SequentialEngine(RtlEngine):
    """The sequential core; it tells no trace."""

    kind = SequentialRtl

    def run(self, image: np.ndarray, insn_addr: int, insn_count: int, conditions: Conditions, *,
            trace: bool = False, reads: Sequence[slice] | None = None) -> Outcome:
        return super().run(image, insn_addr, insn_count, conditions, reads=reads)
