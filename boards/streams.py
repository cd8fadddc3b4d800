"""Any component made of streams as an engine behind registers."""

import hashlib
import json
from typing import Any

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from hw.bus.csr import AxiLite, AxiLiteSlave
from hw.bus.registers import Register

__all__ = ["IDENTITY", "StreamEngine", "fingerprint"]

IDENTITY = 0x4D525453  # "STRM" in memory
_WINDOW = 0x100        # bytes of a stream's window
_MOST = 14             # streams


def fingerprint(values: Any) -> int:
    """32 bits of the hash of a configuration, a value that JSON knows."""
    text = json.dumps(values, sort_keys=True).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:4], "little")


class StreamEngine(wiring.Component):
    """The streams of ``inner`` as windows of registers, in the order of its members.

    A beat is written word by word, the lowest first, and offered when its last word is written; the
    next one may be written when it was taken. A beat that comes out stays in its window until it is
    dismissed. So a read changes nothing, and may be done again.

    Parameters
    ----------
    inner : :class:`wiring.Component`
        With streams as members, of beats up to 2,016 bits; other members are ignored.
    number : :class:`int`
        What tells this engine's configuration from others: 32 bits.

    Members
    -------
    s_axi : ``In(AxiLite(address_width=12))``

    Timing
    ------
    Latency: 1 cycle from the write of the last word, and 1 to a window. Reset: beats are lost.
    """

    def __init__(self, inner: wiring.Component, number: int):
        self.inner, self.number = inner, number
        self.streams = {}  # name: (is it an input, bits)
        for name, member in inner.signature.members.items():
            if member.is_signature and not member.dimensions \
                    and {"payload", "valid", "ready"} <= set(member.signature.members):
                width = len(Value.cast(getattr(inner, name).payload))
                if width > 8 * (_WINDOW - 4):
                    raise ValueError(f"a beat must have at most {8 * (_WINDOW - 4)} bits, "
                                     f"not {width} ({name})")
                self.streams[name] = (member.flow is In, width)
        if not 1 <= len(self.streams) <= _MOST:
            raise ValueError(f"there must be 1 to {_MOST} streams, not {len(self.streams)}")
        super().__init__({"s_axi": In(AxiLite(address_width=12))})

    @property
    def map(self) -> dict[str, Register]:
        """All registers by name."""
        table = [Register("identity", 0, "r", f"{IDENTITY:#x}"),
                 Register("fingerprint", 4, "r", "of the configuration"),
                 Register("streams", 8, "r", "how many there are")]
        for index, (name, (is_input, width)) in enumerate(self.streams.items()):
            base = _WINDOW * (index + 1)
            what = ("w", "a beat of {} bits; its last word offers it") if is_input else (
                "r", "the beat of {} bits that has come")
            table += [
                Register(f"{name}_beat", base, what[0], what[1].format(width)),
                Register(f"{name}_state", base + _WINDOW - 4, "r" if is_input else "rw",
                         "bit 0: the beat is not yet taken" if is_input else
                         "bit 0: a beat has come; a write dismisses it"),
            ]
        return {register.name: register for register in table}

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = inner = self.inner
        m.submodules.bus = bus = AxiLiteSlave(address_width=12)
        wiring.connect(m, wiring.flipped(self.s_axi), bus.axi)
        with m.Switch(bus.read_address[2:]):
            for address, value in ((0, IDENTITY), (4, self.number), (8, len(self.streams))):
                with m.Case(address // 4):
                    m.d.comb += bus.read_data.eq(value)
        state = _WINDOW // 4 - 1
        for index, (name, (is_input, width)) in enumerate(self.streams.items()):
            port = getattr(inner, name)
            words = max(1, -(-width // 32))
            beat, full = Signal(32 * words, name=f"{name}_beat"), Signal(name=f"{name}_full")
            here = bus.write_en & (bus.write_address[8:] == index + 1)
            word = bus.write_address[2:8]
            if is_input:
                m.d.comb += [Value.cast(port.payload).eq(beat), port.valid.eq(full)]
                with m.If(port.ready):
                    m.d.sync += full.eq(0)
                for n in range(words):
                    with m.If(here & (word == n) & ~full):
                        m.d.sync += beat.word_select(n, 32).eq(bus.write_data)
                        if n == words - 1:
                            m.d.sync += full.eq(1)
            else:
                m.d.comb += port.ready.eq(~full)
                with m.If(~full):
                    m.d.sync += [full.eq(port.valid), beat.eq(Value.cast(port.payload))]
                with m.Elif(here & (word == state)):
                    m.d.sync += full.eq(0)
            with m.If(bus.read_address[8:] == index + 1):
                with m.Switch(bus.read_address[2:8]):
                    for n in range(0 if is_input else words):  # a mux of all inputs costs too much
                        with m.Case(n):
                            m.d.comb += bus.read_data.eq(beat.word_select(n, 32))
                    with m.Case(state):
                        m.d.comb += bus.read_data.eq(full)
        return m
