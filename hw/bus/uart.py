"""A serial line: one start bit, eight data bits with the lowest first, no parity, one stop bit."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["UartReceiver", "UartTransmitter", "divisor_for"]

BITS = 10  # of a byte on the line


def divisor_for(clock_hz: float, baud: float) -> int:
    """Cycles of a bit; :exc:`ValueError` when the line would be off by more than 2 %."""
    divisor = max(1, round(clock_hz / baud))
    off = abs(clock_hz / divisor / baud - 1)
    if divisor < 4 or off > 0.02:
        raise ValueError(f"baud must be at most a quarter of the clock, {clock_hz / 1e6:g} MHz, "
                         f"and a whole part of it within 2 %, not {baud:g}")
    return divisor


def _check(divisor):
    if divisor not in range(4, 1 << 16):
        raise ValueError(f"divisor must be 4 to 65535, not {divisor!r}")


class UartTransmitter(wiring.Component):
    """Bytes onto a line.

    Parameters
    ----------
    divisor : :class:`int`
        Cycles of a bit, 4 to 65535.

    Members
    -------
    i : ``In(stream.Signature(8))``
    tx : ``Out(1)``
        High when idle.

    Timing
    ------
    Latency: the start bit begins 1 cycle after the transfer. Throughput: a byte per
    ``10 * divisor`` cycles, without a gap.
    """

    def __init__(self, divisor: int):
        _check(divisor)
        self.divisor = divisor
        super().__init__({"i": In(stream.Signature(8)), "tx": Out(1, init=1)})

    latency = 1

    def elaborate(self, platform):
        m = Module()
        bits = Signal(BITS - 1, init=-1)  # behind the one on the line
        left = Signal(range(BITS + 1))
        time = Signal(range(self.divisor))
        last = (left == 0) | ((left == 1) & (time == 0))
        m.d.comb += self.i.ready.eq(last)
        with m.If(time != 0):
            m.d.sync += time.eq(time - 1)
        with m.Elif(left != 0):
            m.d.sync += [left.eq(left - 1), time.eq(self.divisor - 1),
                         Cat(self.tx, bits).eq(Cat(bits, 1))]
        with m.If(last & self.i.valid):
            m.d.sync += [Cat(self.tx, bits).eq(Cat(0, self.i.payload, 1)), left.eq(BITS),
                         time.eq(self.divisor - 1)]
        return m


class UartReceiver(wiring.Component):
    """Bytes from a line.

    A byte without its stop bit is dropped, and so is one that comes while the byte before it has
    not been taken. A pulse shorter than half a bit is no start bit.

    Parameters
    ----------
    divisor : :class:`int`
        Cycles of a bit, 4 to 65535.

    Members
    -------
    rx : ``In(1)``
        Not synchronous to the clock.
    o : ``Out(stream.Signature(8))``

    Timing
    ------
    Latency: ``9 * divisor + divisor // 2 + 3`` cycles from the beginning of the start bit. Bits are
    sampled in their middle, and each start bit aligns them anew, so from ``divisor`` 8 on a sender
    may be 3 % off.
    """

    def __init__(self, divisor: int):
        _check(divisor)
        self.divisor = divisor
        super().__init__({"rx": In(1, init=1), "o": Out(stream.Signature(8))})

    @property
    def latency(self) -> int:
        return 9 * self.divisor + self.divisor // 2 + 3

    def elaborate(self, platform):
        m = Module()
        line = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.rx, line, init=1)
        bits = Signal(8)
        left = Signal(range(BITS + 1))  # samples that are still to come
        time = Signal(range(self.divisor))
        broken = Signal()  # there was no stop bit
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(left == 0):
            with m.If(~line):
                m.d.sync += [left.eq(BITS), time.eq(self.divisor // 2 - 1)]
        with m.Elif(time != 0):
            m.d.sync += time.eq(time - 1)
        with m.Else():
            m.d.sync += [time.eq(self.divisor - 1), left.eq(left - 1), bits.eq(Cat(bits[1:], line))]
            with m.If((left == BITS) & line):
                m.d.sync += left.eq(0)  # only a pulse
            with m.If(left == 1):
                m.d.sync += broken.eq(~line)
                with m.If(~line):
                    m.d.sync += [left.eq(1), time.eq(0)]  # until the line is idle again
                with m.Elif(~broken & (~self.o.valid | self.o.ready)):
                    m.d.sync += [self.o.valid.eq(1), self.o.payload.eq(bits)]
        return m
