"""Ports for the host's end of the link that lead to a model of the bridge, or to its circuit.

Time on such a port is not the clock's: when nothing is under way, ``read`` returns at once, as if
the time to wait were over.
"""

import ctypes
import random
from collections.abc import Callable

import numpy as np
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.bus.bridge import Bridge
from hw.bus.csr import AxiLiteSlave
from hw.bus.ram import AxiRam
from sim.golden.bus.bridge import BridgeModel
from sim.verilated import Engine

__all__ = ["REGISTERS", "BridgeBench", "Damage", "ModelPort", "NativePort"]

REGISTERS = {"sum": 0, "writes": 4, "beats": 8}
_REGISTER_WIDTH = 6


class BridgeBench(wiring.Component):
    """A bridge with a block RAM, and with registers that betray a write that is done twice.

    Register ``sum`` adds what is written to it, ``writes`` counts these, ``beats`` counts beats
    written to memory; others read as 0.
    """

    def __init__(self, *, size: int = 4096, data_width: int = 64, patience: int = 65_535):
        self.size, self.data_width, self.patience = size, data_width, patience
        super().__init__({
            "i": In(stream.Signature(8)), "o": Out(stream.Signature(8)), "dead": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        width = 16
        m.submodules.bridge = bridge = Bridge(
            address_width=width, data_width=self.data_width, register_width=_REGISTER_WIDTH,
            patience=self.patience)
        m.submodules.ram = ram = AxiRam(self.size, address_width=width, data_width=self.data_width)
        m.submodules.registers = registers = AxiLiteSlave(address_width=_REGISTER_WIDTH)
        wiring.connect(m, wiring.flipped(self.i), bridge.i)
        wiring.connect(m, bridge.o, wiring.flipped(self.o))
        wiring.connect(m, bridge.csr, registers.axi)
        for name, member in bridge.memory.signature.members.items():
            source, target = getattr(bridge.memory, name), getattr(ram.axi, name)
            if member.flow is In:
                source, target = target, source
            # A dead memory takes and gives nothing.
            m.d.comb += target.eq(source & ~self.dead if name[-5:] in ("valid", "ready")
                                  else source)
        total, writes, beats = Signal(32), Signal(32), Signal(32)
        with m.If(registers.write_en & (registers.write_address == REGISTERS["sum"])):
            m.d.sync += [total.eq(total + registers.write_data), writes.eq(writes + 1)]
        with m.If(ram.axi.wvalid & ram.axi.wready):
            m.d.sync += beats.eq(beats + 1)
        with m.Switch(registers.read_address):
            for name, value in (("sum", total), ("writes", writes), ("beats", beats)):
                with m.Case(REGISTERS[name]):
                    m.d.comb += registers.read_data.eq(value)
        return m


class NativePort:
    """The circuit, clock by clock; a byte each way takes ``gap`` cycles."""

    timeout: float | None = None

    def __init__(self, bench: BridgeBench | None = None, *, gap: int = 1, quiet: int = 2000,
                 damage: "Damage | None" = None):
        self.bench = bench or BridgeBench()
        self.engine = Engine(self.bench, "bridge_bench", extra=("link.cpp",))
        self.gap, self.quiet = gap, quiet
        self.cycles = 0
        self._damage = damage or (lambda data: data)
        self._waiting, self._got = bytearray(), bytearray()
        names = ("i__payload", "i__valid", "i__ready", "o__payload", "o__valid", "o__ready")
        self._ports = (ctypes.c_int32 * 6)(*(self.engine.ports[name].index for name in names))
        self._pump = self.engine._lib.npu_pump
        pointer, wide = ctypes.c_void_p, ctypes.c_int64
        self._pump.restype = wide
        self._pump.argtypes = [pointer, pointer, pointer, wide, pointer, wide, wide, wide, pointer]
        self._room = np.zeros(1 << 16, np.uint8)

    def write(self, data: bytes) -> int:
        self._waiting += self._damage(bytes(data))
        return len(data)

    def read(self, size: int) -> bytes:
        if not self._got:
            self.run()
        data, self._got = bytes(self._got[:size]), self._got[size:]
        return data

    def run(self) -> None:
        """Let the line carry what was written, and wait for the answers."""
        waiting, cycles = bytes(self._waiting), ctypes.c_int64()
        self._waiting.clear()
        count = self._pump(self.engine._handle, self._ports, waiting, len(waiting),
                           self._room.ctypes.data, len(self._room), self.gap, self.quiet,
                           ctypes.byref(cycles))
        self.cycles += cycles.value
        self._got += self._damage(self._room[:count].tobytes())

    def memory(self) -> np.ndarray:
        """uint32 words of the RAM."""
        return self.engine.memory("ram.memory").view(np.uint32).ravel().copy()


class ModelPort:
    """The model, with the same registers."""

    timeout: float | None = None

    def __init__(self, *, size: int = 4096, damage: "Damage | None" = None):
        self.registers = dict.fromkeys(REGISTERS.values(), 0)
        self.model = BridgeModel(np.zeros(size // 4, np.uint32), self._read, self._write)
        self._damage = damage or (lambda data: data)
        self._got = bytearray()
        self._register_words = 0

    def _read(self, address: int) -> int:
        if address >= 1 << _REGISTER_WIDTH:
            raise IndexError(address)
        if address == REGISTERS["beats"]:
            return self.model.writes - self._register_words
        return self.registers.get(address, 0)

    def _write(self, address: int, word: int) -> None:
        if address >= 1 << _REGISTER_WIDTH:
            raise IndexError(address)
        self._register_words += 1
        if address == REGISTERS["sum"]:
            self.registers[address] = (self.registers[address] + word) % 2**32
            self.registers[REGISTERS["writes"]] += 1

    def write(self, data: bytes) -> int:
        self._got += self._damage(self.model.receive(self._damage(bytes(data))))
        return len(data)

    def read(self, size: int) -> bytes:
        data, self._got = bytes(self._got[:size]), self._got[size:]
        return data

    def memory(self) -> np.ndarray:
        """uint32 words of the memory."""
        return self.model.memory.copy()


class Damage:
    """Damages a share of the frames that it is given, in random ways; ``counts`` says how."""

    def __init__(self, share: float, seed: int = 0):
        self.share = share
        self.counts = dict.fromkeys(_WAYS, 0)
        self.frames = 0
        self._random = random.Random(f"damage {seed}")

    def __call__(self, data: bytes) -> bytes:
        """Frames with the zeros around them, of which some are damaged."""
        frames = [b"\0" + text + b"\0" for text in data.split(b"\0") if text]
        self.frames += len(frames)
        return b"".join(self._hurt(frame) if self._random.random() < self.share else frame
                        for frame in frames)

    def _hurt(self, frame: bytes) -> bytes:
        way = self._random.choice(list(_WAYS))
        self.counts[way] += 1
        return _WAYS[way](bytearray(frame), self._random)


def _flip(frame: bytearray, rng: random.Random) -> bytes:
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        frame[rng.randrange(len(frame))] ^= 1 << rng.randrange(8)
    return bytes(frame)


def _drop(frame: bytearray, rng: random.Random) -> bytes:
    at = rng.randrange(len(frame))
    del frame[at:at + rng.choice((1, 1, 3))]
    return bytes(frame)


def _insert(frame: bytearray, rng: random.Random) -> bytes:
    at = rng.randrange(len(frame) + 1)
    frame[at:at] = rng.randbytes(rng.choice((1, 1, 7, 700)))
    return bytes(frame)


_WAYS: dict[str, Callable[[bytearray, random.Random], bytes]] = {
    "flipped":   _flip,
    "dropped":   _drop,
    "inserted":  _insert,
    "repeated":  lambda frame, rng: bytes(frame) * rng.choice((2, 3)),
    "cut":       lambda frame, rng: bytes(frame[:rng.randrange(len(frame))]),
    "lost":      lambda frame, rng: b"",
    "beginning": lambda frame, rng: bytes(frame[rng.randrange(len(frame)):]),
}
