"""Scratchpads: memories in banks, written several elements at a time at any address."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

__all__ = ["BankWrite", "BankRead", "LaneWrite", "Scratchpad", "connect_lanes", "read_element"]


class BankWrite(wiring.Signature):
    """Write port of one bank; ``en`` has a bit for each chunk of the word."""

    def __init__(self, *, width: int, rows: int, chunks: int):
        super().__init__({
            "en":      Out(chunks),
            "address": Out(range(rows)),
            "data":    Out(width),
        })


class BankRead(wiring.Signature):
    """Read port of one bank: ``data`` is valid the cycle after ``en``, and then kept."""

    def __init__(self, *, width: int, rows: int):
        super().__init__({
            "en":      Out(1),
            "address": Out(range(rows)),
            "data":    In(width),
        })


class LaneWrite(wiring.Signature):
    """Up to ``lanes`` elements written side by side, from any address on.

    Element ``address + i`` takes lane ``(offset + i) % lanes`` of ``data``, for ``i`` in 0 to
    ``count - 1``: lanes may stand as they came off a bus. ``mask`` selects chunks of all of them.
    A write takes place when ``valid`` and ``ready`` are both high.
    """

    def __init__(self, *, width: int, depth: int, lanes: int, chunks: int):
        super().__init__({
            "valid":   Out(1),
            "ready":   In(1),
            "address": Out(range(depth)),
            "offset":  Out(range(lanes)),
            "count":   Out(range(lanes + 1)),
            "mask":    Out(chunks),
            "data":    Out(data.ArrayLayout(width, lanes)),
        })


class Scratchpad(wiring.Component):
    """``depth`` elements of ``width`` bits; ``e`` is row ``e // banks`` of bank ``e % banks``.

    Parameters
    ----------
    width, depth : :class:`int`
    banks : :class:`int`
        A power of two that divides ``depth``. Each bank has one write port and ``reads`` read
        ports, which synthesis turns into ``reads`` copies of a block memory.
    chunks : :class:`int`
        Parts of an element that can be written on their own.

    Members
    -------
    write : array of ``In(BankWrite(...))``, by bank
    read : array of ``In(BankRead(...))``, by port, then by bank

    Timing
    ------
    A read sees all writes of earlier cycles. What it reads of an element that is written in the
    same cycle is not known: block RAM does not promise it, and logic that did would be in every
    path behind it. Contents start as 0 and outlive a reset.
    """

    def __init__(self, width: int, depth: int, *, banks: int = 1, chunks: int = 1, reads: int = 1):
        if banks < 1 or banks & (banks - 1) or depth % banks:
            raise ValueError(f"banks must be a power of two that divides {depth}, not {banks!r}")
        if chunks < 1 or width % chunks:
            raise ValueError(f"chunks must divide {width}, not {chunks!r}")
        self.width, self.depth = width, depth
        self.banks, self.chunks, self.reads = banks, chunks, reads
        rows = depth // banks
        super().__init__({
            "write": In(BankWrite(width=width, rows=rows, chunks=chunks)).array(banks),
            "read":  In(BankRead(width=width, rows=rows)).array(reads, banks),
        })

    def elaborate(self, platform):
        m = Module()
        for index in range(self.banks):
            bank = Memory(shape=unsigned(self.width), depth=self.depth // self.banks, init=[],
                          attrs={"no_rw_check": True})
            m.submodules[f"bank_{index}"] = bank
            port = bank.write_port(granularity=self.width // self.chunks)
            source = self.write[index]
            m.d.comb += [
                port.en.eq(source.en), port.addr.eq(source.address), port.data.eq(source.data),
            ]
            for reader in self.read:
                port = bank.read_port()
                source = reader[index]
                m.d.comb += [
                    port.en.eq(source.en), port.addr.eq(source.address), source.data.eq(port.data),
                ]
        return m


def connect_lanes(m: Module, lanes: wiring.PureInterface, banks) -> Signal:
    """Spread ``lanes`` (:class:`LaneWrite`) over ``banks`` (:class:`BankWrite`) while it is valid.

    There must be at least as many banks as lanes. Returns the banks that the write needs, a bit
    each; the caller drives ``lanes.ready``, and may drive a bank itself when that is low.
    """
    count, width = len(banks), len(lanes.data)
    log_banks = exact_log2(count)
    needed = Signal(count)
    low = lanes.address[:log_banks]
    for j, bank in enumerate(banks):
        turn = Signal(log_banks, name=f"turn_{j}")  # the element for this bank is address + turn
        source = Signal(exact_log2(width), name=f"lane_{j}")
        m.d.comb += [
            turn.eq(j - low),
            source.eq(turn + lanes.offset),
            needed[j].eq(lanes.valid & (turn < lanes.count)),
        ]
        m.d.comb += [
            bank.address.eq((lanes.address >> log_banks) + (low > j)),
            bank.data.eq(lanes.data[source] if width > 1 else lanes.data[0]),
        ]
        with m.If(needed[j] & lanes.ready):
            m.d.comb += bank.en.eq(lanes.mask)
    return needed


def read_element(m: Module, port, address, en) -> Value:
    """Drive ``port`` (an array of :class:`BankRead`) to read one element; returns its data.

    The data is valid the cycle after ``en``, and kept until the next.
    """
    banks = len(port)
    log_banks = exact_log2(banks)
    for bank in port:
        m.d.comb += [bank.en.eq(en), bank.address.eq(address >> log_banks)]
    if banks == 1:
        return port[0].data
    chosen = Signal(log_banks)
    with m.If(en):
        m.d.sync += chosen.eq(address[:log_banks])
    return Array(bank.data for bank in port)[chosen]
