"""A board of models: the bridge's, the shell's constants, and the instruction-set simulator.

``connect("model:vta?preset=block4")`` opens it. A program has ended when its launch is answered,
and takes no cycles.
"""

from dataclasses import dataclass, field

import numpy as np

from boards.shell import BAUD, ENGINE, SHELL, shell_map
from boards.shell import IDENTITY as SHELL_IDENTITY
from hw.bus.protocol import VERSION
from hw.vta.assembler import from_binary
from hw.vta.config import VtaConfig
from hw.vta.registers import IDENTITY, POINTERS, register_map
from hw.vta.registers import VERSION as CORE_VERSION
from sim.golden.bus.bridge import BridgeModel
from sim.golden.vta import Machine, simulate

__all__ = ["ModelBoard"]

_LAUNCH, _FINISHED, _RESET = 1, 2, 1
_NONE = 0xffff_ffff


@dataclass
class _Core:
    """The registers of a core, and what a launch does."""

    config: VtaConfig
    dram: np.ndarray
    values: dict[str, int] = field(default_factory=dict)

    def __post_init__(self):
        self.machine = Machine(self.config)
        self.map = register_map(self.config)
        self.names = {register.offset: name for name, register in self.map.items()}
        self.values = dict.fromkeys(self.map, 0) | {
            "identity": IDENTITY, "version": CORE_VERSION, "fingerprint": self.config.fingerprint,
            "error_insn": _NONE, "watchdog": 100_000,
            **{f"config_{name.lower()}": int(value)
               for name, value in self.config.to_dict().items()},
        }

    def write(self, offset: int, word: int) -> None:
        name = self.names.get(offset)
        if name == "control" and word & _LAUNCH and not self.values["status"] & 15:
            self._launch()
        elif name == "reset" and word & _RESET:
            self.machine.tokens.clear()
            self.values |= {"control": 0, "status": 0, "error_insn": _NONE}
        elif name in self.map and self.map[name].access == "rw" and name not in ("control", "irq"):
            self.values[name] = word

    def _launch(self) -> None:
        values = self.values
        first, count = values["insn_base"] & ~15, values["insn_count"]
        words = from_binary(self.dram[first:first + 16 * count].tobytes())
        bases = {name: values[f"{name}_base"] for name in POINTERS if name != "insn"}
        result = simulate(self.machine, words, self.dram, bases=bases, insn_addr=first,
                          races=False)
        values |= {"control": _FINISHED, "status": result.status | 1 << 9,
                   "error_insn": _NONE if result.instruction is None else result.instruction}
        values |= {name: count for name, count in result.counters.items() if name in self.map}


class ModelBoard:
    """A port to a board of models: ``read``, ``write`` and ``timeout``."""

    timeout: float | None = None

    def __init__(self, config: VtaConfig, *, memory: int = 1 << 24, clock_hz: float = 50e6):
        if memory < 4 or memory % 4:
            raise ValueError(f"memory must be a multiple of 4 bytes, not {memory!r}")
        words = np.zeros(memory // 4, np.uint32)
        self.core = _Core(config, words.view(np.uint8))
        constants = {"identity": SHELL_IDENTITY, "version": VERSION, "clock_hz": int(clock_hz),
                     "baud": BAUD, "memory_bytes": memory}
        self._shell = {SHELL + register.offset: constants[name]
                       for name, register in shell_map().items()}
        self._bridge = BridgeModel(words, self._read, self._write)
        self._got = bytearray()

    def _read(self, address: int) -> int:
        if address >= 2 * SHELL:
            raise IndexError(address)
        if address >= SHELL:
            return self._shell.get(address, 0)
        return self.core.values.get(self.core.names.get(address - ENGINE, ""), 0)

    def _write(self, address: int, word: int) -> None:
        if address >= 2 * SHELL:
            raise IndexError(address)
        if address < SHELL:
            self.core.write(address - ENGINE, word)

    def write(self, data: bytes) -> int:
        self._got += self._bridge.receive(bytes(data))
        return len(data)

    def read(self, size: int) -> bytes:
        data, self._got = bytes(self._got[:size]), self._got[size:]
        return data
