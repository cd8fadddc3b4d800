"""What every board holds: a line, the bridge, registers that say what is here, an engine, and its
memory."""

from dataclasses import dataclass

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.bus.arbiter import AxiArbiter
from hw.bus.axi import Axi4
from hw.bus.bridge import Bridge
from hw.bus.csr import AxiLiteSlave
from hw.bus.protocol import VERSION
from hw.bus.ram import AxiNothing, AxiRam, AxiSinglePortRam
from hw.bus.registers import Register
from hw.bus.uart import UartReceiver, UartTransmitter, divisor_for
from hw.sdram import CHIPS, Sdram, SdramCycles, SdramPins

__all__ = ["BAUD", "ENGINE", "IDENTITY", "SHELL", "Shell", "ShellConfig", "shell_map"]

IDENTITY = 0x4C485350  # "PSHL" in memory
BAUD = 1_000_000
ENGINE, SHELL = 0, 0x1000  # where the registers of the two begin
_REGISTER_WIDTH = 13
_ADDRESS_WIDTH = 32


def shell_map() -> dict[str, Register]:
    """The shell's registers by name, offsets from :data:`SHELL`; each is a constant."""
    rows = (("identity", f"{IDENTITY:#x}"), ("version", "of the link's protocol"),
            ("clock_hz", "of the engine"), ("baud", "of the line; 0 if it is none of bits"),
            ("memory_bytes", "of the engine's memory; 0 if there is none"))
    return {name: Register(name, 4 * index, "r", doc) for index, (name, doc) in enumerate(rows)}


@dataclass(frozen=True, kw_only=True)
class ShellConfig:
    """Clock, line and memory of a board's design.

    ``baud`` 0: the line is one of bytes, which something else carries. ``sdram`` names one of
    :data:`hw.sdram.CHIPS`; without, ``memory`` is the size in bytes of an on-chip memory, 0 for
    none, and ``single_port`` says whether it reads or writes, and not both at once.
    """

    clock_hz: float
    baud: int = BAUD
    memory: int = 0
    single_port: bool = False
    sdram: str = ""
    cas: int = 2

    def __post_init__(self):
        if self.baud:
            divisor_for(self.clock_hz, self.baud)
        if self.sdram:
            if self.sdram not in CHIPS:
                raise ValueError(f"sdram must be one of {', '.join(CHIPS)}, not {self.sdram!r}")
            SdramCycles(CHIPS[self.sdram], self.clock_hz, self.cas)
        elif not isinstance(self.memory, int) or self.memory < 0 or self.memory % 64:
            raise ValueError(f"memory must be a multiple of 64 bytes, not {self.memory!r}")

    @property
    def memory_bytes(self) -> int:
        return CHIPS[self.sdram].size if self.sdram else self.memory


class Shell(wiring.Component):
    """An engine at the end of a line.

    The bridge reads and writes the engine's registers from address :data:`ENGINE` on, the shell's
    from :data:`SHELL` on, and the memory that it shares with the engine.

    Parameters
    ----------
    engine : :class:`wiring.Component`
        With ``s_axi`` (AXI4-Lite, 12 address bits) and, if it uses memory, ``m_axi`` (AXI4).
    config : :class:`ShellConfig`

    Members
    -------
    rx : ``In(1)``; tx : ``Out(1)``
        Of a serial line.
    i : ``In(stream.Signature(8))``; o : ``Out(stream.Signature(8))``
        Instead, if ``baud`` is 0; ``i`` is always ready.
    sdram : ``Out(SdramPins(...))``, where there is one
    """

    def __init__(self, engine: wiring.Component, config: ShellConfig):
        self.engine, self.config = engine, config
        members = {"rx": In(1, init=1), "tx": Out(1, init=1)} if config.baud else {
            "i": In(stream.Signature(8)), "o": Out(stream.Signature(8))}
        if config.sdram:
            members["sdram"] = Out(SdramPins(CHIPS[config.sdram]))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        config, engine = self.config, self.engine
        master = getattr(engine, "m_axi", None)
        data_width = master.signature.data_width if master is not None else 32
        widths = {"address_width": _ADDRESS_WIDTH, "data_width": data_width}
        m.submodules.engine = engine
        m.submodules.bridge = bridge = Bridge(**widths, register_width=_REGISTER_WIDTH)
        if config.baud:
            divisor = divisor_for(config.clock_hz, config.baud)
            m.submodules.receiver = receiver = UartReceiver(divisor)
            m.submodules.transmitter = transmitter = UartTransmitter(divisor)
            m.d.comb += [receiver.rx.eq(self.rx), self.tx.eq(transmitter.tx)]
            wiring.connect(m, receiver.o, bridge.i)
            wiring.connect(m, bridge.o, transmitter.i)
        else:
            wiring.connect(m, wiring.flipped(self.i), bridge.i)
            wiring.connect(m, bridge.o, wiring.flipped(self.o))
        self._registers(m, bridge.csr, engine.s_axi)

        if config.sdram:
            memory = Sdram(SdramCycles(CHIPS[config.sdram], config.clock_hz, config.cas), **widths)
            wiring.connect(m, memory.pins, wiring.flipped(self.sdram))
        elif config.memory:
            kind = AxiSinglePortRam if config.single_port else AxiRam
            memory = kind(config.memory, **widths)
        else:
            memory = AxiNothing(**widths)
        m.submodules.memory = memory
        if master is None:
            wiring.connect(m, bridge.memory, memory.axi)
        else:
            m.submodules.arbiter = arbiter = AxiArbiter(2, **widths)
            wiring.connect(m, bridge.memory, arbiter.masters[0])
            wiring.connect(m, arbiter.slave, memory.axi)
            port = Axi4(**widths).create()
            narrow = len(master.awaddr) < _ADDRESS_WIDTH
            assert not narrow, "an engine's addresses have 32 bits"
            for name in port.signature.members:
                source, target = getattr(master, name), getattr(arbiter.masters[1], name)
                if port.signature.members[name].flow is In:
                    source, target = target, source
                m.d.comb += target.eq(source)
        return m

    def _registers(self, m, csr, engine):
        """The engine's registers, and the shell's above them."""
        m.submodules.registers = own = AxiLiteSlave(address_width=12)
        values = {"identity": IDENTITY, "version": VERSION, "clock_hz": int(self.config.clock_hz),
                  "baud": self.config.baud, "memory_bytes": self.config.memory_bytes}
        with m.Switch(own.read_address):
            for name, register in shell_map().items():
                with m.Case(register.offset):
                    m.d.comb += own.read_data.eq(values[name])
        # One access at a time, which the bridge keeps to; its address stays until the answer.
        for target, chosen in ((engine, 0), (own.axi, 1)):
            write, read = csr.awaddr[-1] == chosen, csr.araddr[-1] == chosen
            m.d.comb += [
                target.awaddr.eq(csr.awaddr), target.araddr.eq(csr.araddr),
                target.wdata.eq(csr.wdata), target.wstrb.eq(csr.wstrb),
                target.awvalid.eq(csr.awvalid & write), target.wvalid.eq(csr.wvalid & write),
                target.arvalid.eq(csr.arvalid & read),
                target.bready.eq(csr.bready & write), target.rready.eq(csr.rready & read),
            ]
            with m.If(write):
                m.d.comb += [csr.awready.eq(target.awready), csr.wready.eq(target.wready),
                             csr.bvalid.eq(target.bvalid), csr.bresp.eq(target.bresp)]
            with m.If(read):
                m.d.comb += [csr.arready.eq(target.arready), csr.rvalid.eq(target.rvalid),
                             csr.rdata.eq(target.rdata), csr.rresp.eq(target.rresp)]
