"""Control and status registers: one table gives the hardware, the addresses and the manual."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.bus.csr import AxiLite, AxiLiteSlave
from hw.bus.registers import Register
from hw.vta.config import VtaConfig

__all__ = ["COUNTERS", "POINTERS", "VERSION", "IDENTITY", "register_map", "Registers"]

IDENTITY = 0x4E505556  # "VUPN" in memory
VERSION = 0x0001_0000
POINTERS = ("insn", "uop", "inp", "wgt", "acc", "out")
_OWN = 0x100  # where the registers begin that the published map does not have

# Each counts cycles (events where it says so) since the launch.
COUNTERS: dict[str, str] = {
    "cycles_gemm":       "GEMM executes a micro-operation",
    "cycles_alu":        "ALU executes a micro-operation",
    "alu_waits":         "a micro-operation of ALU waits for a bank or a result",
    "load_busy":         "the load unit has work",
    "load_wait_g2l":     "the load unit waits for a token from compute, or for room for its own",
    "load_memory":       "the load unit waits for memory",
    "compute_busy":      "the compute unit has work",
    "compute_wait_load": "the compute unit waits for a token from load, or for room for its own",
    "compute_wait_store": "the same, store",
    "compute_memory":    "the loader of the compute unit waits for memory",
    "store_busy":        "the store unit has work",
    "store_wait_g2s":    "the store unit waits for a token from compute, or for room for its own",
    "store_memory":      "the store unit offers a beat that memory does not take",
    "read_beats":        "events: beats read",
    "write_beats":       "events: beats written",
}


def register_map(config: VtaConfig) -> dict[str, Register]:
    """All registers by name; each has 32 bits. The first ones are those of published VTA."""
    table: list[Register] = []

    def add(name, access, doc, offset=None):
        where = table[-1].offset + 4 if offset is None else offset
        table.append(Register(name, where, access, doc))

    add("control", "rw", "bit 0: launch, reads 0 once the run has ended; bit 1: finished, for any "
        "reason; cleared by launch", 0)
    add("cycles", "r", "from launch to the end")
    add("insn_count", "rw", "instructions of the program")
    for name in POINTERS:
        what = "address of the program" if name == "insn" else f"base of {name} elements"
        add(f"{name}_base", "rw", f"byte {what}; the low bits that count bytes of a beat "
            "(of an instruction) are ignored")
        if config.address_width > 32:
            add(f"{name}_base_high", "rw", "the same, bits 63:32")
    add("user", "r", "micro-operations that were executed")

    add("identity", "r", f"{IDENTITY:#x}", _OWN)
    add("version", "r", "31:16 major, 15:0 minor")
    add("fingerprint", "r", "of the configuration")
    for name in config.to_dict():
        add(f"config_{name.lower()}", "r", f"{name} of the configuration")
    add("status", "r", "3:0 why the run ended, as in the manual; 8: running; 9: ended; "
        "10: the bus is still busy")
    add("error_insn", "r", "number of the instruction in error, from 0; all ones if none is")
    add("reset", "w", "bit 0: start clean, except for the scratchpads; waits for the bus")
    add("irq", "rw", "bit 0: interrupt when a run ends; bit 1: it has; write 1 to clear")
    add("watchdog", "rw", "cycles without any progress that end the run; 0: never")
    for name, what in COUNTERS.items():
        add(name, "r", what)
    return {register.name: register for register in table}


class Registers(wiring.Component):
    """The registers, on AXI4-Lite.

    Members
    -------
    axi : ``In(AxiLite(address_width=12))``
    launch, reset : ``Out(1)``
        For one cycle. ``launch`` is ignored while ``running``, and after an error until a reset.
    insn_count : ``Out(32)``; <pointer>_base : ``Out(address_width)``
    watchdog : ``Out(32)``
    running, ended, bus_busy : ``In(1)``; fault, error_insn : ``In``
    end : ``In(1)``
        For one cycle when a run ends.
    count_<counter>, count_user : ``In``
        What is added to a counter for the cycle before.
    irq : ``Out(1)``
    """

    def __init__(self, config: VtaConfig):
        self.config = config
        self.map = register_map(config)
        self.pointers = {f"{name}_base": config.address_width for name in POINTERS}
        super().__init__({
            "axi":        In(AxiLite(address_width=12)),
            "launch":     Out(1), "reset": Out(1),
            "insn_count": Out(32), "watchdog": Out(32, init=100_000),
            **{name: Out(width) for name, width in self.pointers.items()},
            "running":    In(1), "ended": In(1), "bus_busy": In(1), "end": In(1),
            "fault":      In(4), "error_insn": In(32),
            "count_user": In(2), **{f"count_{name}": In(1) for name in COUNTERS},
            "irq":        Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.bus = bus = AxiLiteSlave(address_width=12)
        wiring.connect(m, wiring.flipped(self.axi), bus.axi)

        values = {"insn_count": self.insn_count, "watchdog": self.watchdog}
        for name in self.pointers:
            pointer = getattr(self, name)
            values[name] = pointer[:32]
            if len(pointer) > 32:
                values[f"{name}_high"] = pointer[32:]
        writable = dict(values)
        constants = {"identity": IDENTITY, "version": VERSION,
                     "fingerprint": self.config.fingerprint}
        constants |= {f"config_{name.lower()}": int(value)
                      for name, value in self.config.to_dict().items()}
        values |= {name: Const(value, 32) for name, value in constants.items()}

        # Counters: cycles of the run, and by cause.
        finished, interrupt, enabled = Signal(), Signal(), Signal()
        counters = {"cycles": 1, "user": self.count_user}
        counters |= {name: getattr(self, f"count_{name}") for name in COUNTERS}
        was_running = Signal()
        m.d.sync += was_running.eq(self.running)
        for name, step in counters.items():
            counter = values[name] = Signal(32, name=name)
            with m.If(self.launch):
                m.d.sync += counter.eq(0)
            with m.Elif(self.running if name == "cycles" else was_running):
                m.d.sync += counter.eq(counter + step)
        values |= {
            "control": Cat(self.running, finished),
            "status": Cat(self.fault, Const(0, 4), self.running, self.ended, self.bus_busy),
            "error_insn": self.error_insn,
            "reset": Const(0), "irq": Cat(enabled, interrupt),
        }
        assert set(values) == set(self.map)

        with m.Switch(bus.read_address[2:]):
            for name, register in self.map.items():
                with m.Case(register.offset // 4):
                    m.d.comb += bus.read_data.eq(values[name])
        m.d.sync += [self.launch.eq(0), self.reset.eq(0)]
        with m.If(bus.write_en):
            with m.Switch(bus.write_address[2:]):
                for name, target in writable.items():
                    with m.Case(self.map[name].offset // 4):
                        mask = Cat(bit.replicate(8) for bit in bus.write_strobe)[:len(target)]
                        m.d.sync += target.eq((target & ~mask) | (bus.write_data & mask))
                with m.Case(self.map["control"].offset // 4):
                    with m.If(bus.write_strobe[0] & bus.write_data[0] & ~self.running
                              & ~self.launch & (self.fault == 0)):
                        m.d.sync += [self.launch.eq(1), finished.eq(0)]
                with m.Case(self.map["reset"].offset // 4):
                    with m.If(bus.write_strobe[0] & bus.write_data[0]):
                        m.d.sync += [self.reset.eq(1), finished.eq(0)]
                with m.Case(self.map["irq"].offset // 4):
                    with m.If(bus.write_strobe[0]):
                        m.d.sync += enabled.eq(bus.write_data[0])
                        with m.If(bus.write_data[1]):
                            m.d.sync += interrupt.eq(0)
        with m.If(self.end):
            m.d.sync += [finished.eq(1), interrupt.eq(1)]
        m.d.comb += self.irq.eq(enabled & interrupt)
        return m
