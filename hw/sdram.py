"""A controller for SDR SDRAM of 16 bits behind an AXI4 port, and the chips' timing as data."""

import math
from dataclasses import dataclass

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.bus.axi import OKAY, Axi4
from hw.stream import Queue

__all__ = ["CHIPS", "Sdram", "SdramChip", "SdramCycles", "SdramPins"]

_WORD = 16
_REFRESHES = 8  # of the start
_QUEUE = 16     # beats that were read and not yet taken


@dataclass(frozen=True, kw_only=True)
class SdramChip:
    """A chip of its data sheet: sizes as numbers of bits, times in ns, ``t_mrd`` in cycles.

    ``fastest`` has the shortest clock period for each CAS latency.
    """

    name: str
    row_bits: int = 13
    column_bits: int = 9
    bank_bits: int = 2
    t_rcd: float   # from ACTIVATE to READ or WRITE
    t_rp: float    # from PRECHARGE to ACTIVATE or REFRESH
    t_ras: float   # from ACTIVATE to PRECHARGE
    t_rc: float    # from ACTIVATE to ACTIVATE of the same bank
    t_rfc: float   # from REFRESH to anything
    t_rrd: float   # from ACTIVATE to ACTIVATE of another bank
    t_wr: float    # from the last word written to PRECHARGE
    t_mrd: int = 2
    t_ras_max: float = 100_000
    refresh: float = 64e6 / 8192  # of one row, on average
    power_up: float = 200_000
    fastest: tuple[tuple[int, float], ...] = ((2, 10.0), (3, 7.0))

    @property
    def size(self) -> int:
        """Bytes."""
        return (_WORD // 8) << (self.row_bits + self.column_bits + self.bank_bits)


CHIPS = {chip.name: chip for chip in (
    # Of the ULX3S, which comes with one of several; the slower of their figures.
    SdramChip(name="as4c16m16", t_rcd=21, t_rp=21, t_ras=42, t_rc=63, t_rfc=63, t_rrd=14, t_wr=14),
)}


@dataclass(frozen=True)
class SdramCycles:
    """The times of ``chip`` in cycles of a clock; a wrong clock cannot exist."""

    chip: SdramChip
    clock_hz: float
    cas: int

    def __post_init__(self):
        fastest = dict(self.chip.fastest)
        if self.cas not in fastest:
            raise ValueError(f"cas must be {' or '.join(map(str, fastest))}, not {self.cas!r}")
        if not 1e6 <= self.clock_hz <= 1e9 / fastest[self.cas]:
            raise ValueError(f"clock must be 1 to {1e3 / fastest[self.cas]:.0f} MHz with CAS "
                             f"{self.cas}, not {self.clock_hz / 1e6:g}")

    def cycles(self, name: str) -> int:
        """Cycles that the time ``name`` of the chip takes, rounded up; at least 1."""
        value = getattr(self.chip, name)
        if name == "t_mrd":
            return value
        return max(1, math.ceil(value * self.clock_hz / 1e9 - 1e-6))

    @property
    def refresh(self) -> int:
        """Cycles from one refresh to when the next one is wanted.

        It then may have to wait for a bank that was just opened and written, and for PRECHARGE.
        """
        wait = sum(self.cycles(name) for name in ("t_ras", "t_wr", "t_rp", "t_rcd")) + 8
        return math.floor(self.chip.refresh * self.clock_hz / 1e9) - wait


class SdramPins(wiring.Signature):
    """The chip's pins but for its clock, which is this clock inverted; low where ``_n``."""

    def __init__(self, chip: SdramChip):
        super().__init__({
            "cke": Out(1), "cs_n": Out(1, init=1), "ras_n": Out(1, init=1), "cas_n": Out(1, init=1),
            "we_n": Out(1, init=1), "dqm": Out(2, init=3), "ba": Out(chip.bank_bits),
            "a": Out(chip.row_bits), "dq_o": Out(_WORD), "dq_oe": Out(1), "dq_i": In(_WORD),
        })


# ras_n, cas_n, we_n
_NOP, _ACTIVATE, _READ, _WRITE = (1, 1, 1), (0, 1, 1), (1, 0, 1), (1, 0, 0)
_PRECHARGE, _REFRESH, _MODE = (0, 1, 0), (0, 0, 1), (0, 0, 0)
_ALL_BANKS = 1 << 10  # of a PRECHARGE


class _Job(data.StructLayout):
    """Columns that are to be read or written one after the other."""

    def __init__(self, address_bits):
        super().__init__({"column": address_bits, "beats": 9, "write": 1})


class _Piece(data.Struct):
    """A word that is on its way from the chip."""

    valid: 1
    whole: 1  # it is the last of a beat
    last:  1  # and that the last of a burst


class Sdram(wiring.Component):
    """AXI4 to a chip of SDR SDRAM. A row stays open until another one of its bank is wanted.

    The chip is set to bursts of one word, so each word is a command of its own, one in each cycle
    as long as the row is open; an address is row, bank, column from the top, so a long burst
    changes the bank first.

    Bursts increment, have beats of the full width and addresses below the chip's size; others
    wrap around. All answers are OKAY. Reads and writes take turns, each a burst; a write is done
    before a read that is accepted after its answer.

    Parameters
    ----------
    times : :class:`SdramCycles`
    address_width, data_width : :class:`int`
        Of the port; 16 to 128 bits of data.

    Members
    -------
    axi : ``In(Axi4(...))``
    pins : ``Out(SdramPins(chip))``
        All driven by registers. The chip's clock is this one inverted, so its edge is in the middle
        of what it samples, and what it drives has half a cycle to arrive.

    Timing
    ------
    16 bits per cycle while a row lasts. A burst in an open row has its first beat
    :attr:`latency` cycles after its address. Another row of an open bank costs
    ``t_rp + t_rcd`` more, a refresh about ``t_rp + t_rfc + t_rcd`` in each ``refresh``.
    Reset: contents are lost; the first access waits for the chip's ``power_up``.
    """

    def __init__(self, times: SdramCycles, *, address_width: int, data_width: int):
        if data_width not in (16, 32, 64, 128):
            raise ValueError(f"data_width must be 16, 32, 64 or 128, not {data_width!r}")
        self.times, self.data_width = times, data_width
        super().__init__({
            "axi": In(Axi4(address_width=address_width, data_width=data_width)),
            "pins": Out(SdramPins(times.chip)),
        })

    @property
    def latency(self) -> int:
        return self.times.cas + self.data_width // _WORD + 3

    def elaborate(self, platform):
        m = Module()
        axi, chip, times = self.axi, self.times.chip, self.times
        pieces = self.data_width // _WORD
        bits = chip.row_bits + chip.bank_bits + chip.column_bits
        m.d.comb += [axi.bid.eq(0), axi.rid.eq(0), axi.bresp.eq(OKAY), axi.rresp.eq(OKAY)]

        # Bursts in turn; the next one is taken while the last words of this one go.
        job, busy, done = Signal(_Job(bits)), Signal(), Signal()
        piece = Signal(range(pieces)) if pieces > 1 else Const(0)
        turn, answer = Signal(), Signal()  # whose turn; a write is done and not yet answered
        ending = axi.bvalid & ~axi.bready
        take_write = axi.awvalid & ~ending & (turn | ~axi.arvalid)
        free = ~busy | done
        m.d.comb += [axi.awready.eq(free & take_write),
                     axi.arready.eq(free & ~take_write)]
        with m.If(axi.bready):
            m.d.sync += axi.bvalid.eq(0)
        with m.If(answer):
            m.d.sync += axi.bvalid.eq(1)

        # Words that come from the chip: asked for only when there is room for the beat.
        m.submodules.queue = queue = Queue(
            data.StructLayout({"data": self.data_width, "last": 1}), depth=_QUEUE)
        room = Signal(range(_QUEUE + 1), init=_QUEUE)
        flight = [Signal(_Piece, name=f"flight_{n}") for n in range(times.cas + 2)]
        arrived, beat = Signal(_WORD), Signal(self.data_width)
        # flight[0]: the command is at the pins; flight[cas]: its word is in `arrived`.
        for one, next in zip(flight, flight[1:]):
            m.d.sync += next.eq(one)
        m.d.sync += [flight[0].eq(0), arrived.eq(self.pins.dq_i)]
        here = flight[times.cas]
        with m.If(here.valid):
            m.d.sync += beat.eq(Cat(beat, arrived)[_WORD:])
        m.d.comb += [
            queue.i.p.data.eq(beat), queue.i.p.last.eq(flight[-1].last),
            queue.i.valid.eq(flight[-1].valid & flight[-1].whole),
            axi.rdata.eq(queue.o.p.data), axi.rlast.eq(queue.o.p.last),
            axi.rvalid.eq(queue.o.valid), queue.o.ready.eq(axi.rready),
        ]

        # Banks: the open row, and the cycles until each command is allowed.
        column, bank, row = (job.column[:chip.column_bits],
                             job.column[chip.column_bits:chip.column_bits + chip.bank_bits],
                             job.column[chip.column_bits + chip.bank_bits:])
        banks = 1 << chip.bank_bits
        opened = Signal(banks)
        rows = Array(Signal(chip.row_bits, name=f"row_{n}") for n in range(banks))

        def wait(name, longest):
            cycles = Signal(range(longest + 1), name=name)
            with m.If(cycles != 0):
                m.d.sync += cycles.eq(cycles - 1)
            return cycles

        c = times.cycles
        until_column = Array(wait(f"column_{n}", c("t_rcd")) for n in range(banks))
        until_close = Array(wait(f"close_{n}", max(c("t_ras"), c("t_wr"))) for n in range(banks))
        until_again = Array(wait(f"again_{n}", c("t_rc")) for n in range(banks))
        until_open = wait("open", max(c("t_rfc"), c("t_rp"), c("t_rrd"), c("t_mrd")))
        until_drive = wait("drive", times.cas + 1)
        power_up = c("power_up")
        start = Signal(range(power_up + 1), init=power_up)
        with m.If(start != 0):
            m.d.sync += start.eq(start - 1)
        since = Signal(range(times.refresh + 1), init=times.refresh)
        with m.If(since != 0):
            m.d.sync += since.eq(since - 1)

        pins = self.pins
        m.d.comb += pins.cke.eq(1)
        m.d.sync += [Cat(pins.ras_n, pins.cas_n, pins.we_n).eq(Cat(*map(Const, _NOP))),
                     pins.cs_n.eq(0), pins.dq_oe.eq(0), pins.dqm.eq(0)]

        def command(which, address=0, bank=0):
            m.d.sync += [pins.ras_n.eq(which[0]), pins.cas_n.eq(which[1]), pins.we_n.eq(which[2]),
                         pins.a.eq(address), pins.ba.eq(bank)]

        hit = Signal()
        can = Signal()
        m.d.comb += [
            hit.eq(opened.bit_select(bank, 1) & (rows[bank] == row)),
            can.eq(busy & Mux(job.write, axi.wvalid & ~ending & (until_drive == 0),
                              (room != 0) | (piece != 0))),
        ]
        used = Signal()  # a beat's room is taken
        m.d.sync += room.eq(room - used + (axi.rvalid & axi.rready))

        refreshes = Signal(range(_REFRESHES + 1), init=_REFRESHES)
        with m.FSM():
            with m.State("START"):
                with m.If(start == 0):
                    command(_PRECHARGE, _ALL_BANKS)
                    m.d.sync += until_open.eq(c("t_rp") - 1)
                    m.next = "FIRST"
            with m.State("FIRST"):
                with m.If(until_open == 0):
                    m.d.sync += refreshes.eq(refreshes - 1)
                    with m.If(refreshes != 0):
                        command(_REFRESH)
                        m.d.sync += until_open.eq(c("t_rfc") - 1)
                    with m.Else():
                        # Bursts of one word, in order.
                        command(_MODE, times.cas << 4)
                        m.d.sync += [until_open.eq(c("t_mrd") - 1), since.eq(0)]
                        m.next = "WORK"
            with m.State("WORK"):
                with m.If(since == 0):
                    m.next = "CLOSE"
                with m.Elif(~can):
                    pass
                with m.Elif(hit):
                    with m.If(until_column[bank] == 0):
                        last_piece = piece == pieces - 1
                        m.d.sync += job.column.eq(job.column + 1)
                        if pieces > 1:
                            m.d.sync += piece.eq(piece + 1)
                        with m.If(last_piece):
                            m.d.sync += job.beats.eq(job.beats - 1)
                            m.d.comb += done.eq(job.beats == 1)
                        with m.If(job.write):
                            command(_WRITE, column, bank)
                            m.d.comb += [axi.wready.eq(last_piece), answer.eq(done)]
                            m.d.sync += [
                                pins.dq_o.eq(axi.wdata.word_select(piece, _WORD)),
                                pins.dqm.eq(~axi.wstrb.word_select(piece, 2)), pins.dq_oe.eq(1),
                            ]
                            with m.If(until_close[bank] < c("t_wr")):  # ACTIVATE may want more
                                m.d.sync += until_close[bank].eq(c("t_wr") - 1)
                        with m.Else():
                            command(_READ, column, bank)
                            m.d.comb += used.eq(piece == 0)
                            m.d.sync += [
                                flight[0].valid.eq(1), flight[0].whole.eq(last_piece),
                                flight[0].last.eq(done), until_drive.eq(times.cas + 1),
                            ]
                with m.Elif(opened.bit_select(bank, 1)):
                    with m.If(until_close[bank] == 0):
                        command(_PRECHARGE, 0, bank)
                        m.d.sync += [opened.bit_select(bank, 1).eq(0),
                                     until_open.eq(c("t_rp") - 1)]
                with m.Elif((until_open == 0) & (until_again[bank] == 0)):
                    command(_ACTIVATE, row, bank)
                    m.d.sync += [
                        opened.bit_select(bank, 1).eq(1), rows[bank].eq(row),
                        until_column[bank].eq(c("t_rcd") - 1),
                        until_close[bank].eq(c("t_ras") - 1), until_again[bank].eq(c("t_rc") - 1),
                        until_open.eq(c("t_rrd") - 1),
                    ]
            with m.State("CLOSE"):
                with m.If((until_open == 0) & ~Cat(*(w != 0 for w in until_close)).any()):
                    command(_PRECHARGE, _ALL_BANKS)
                    m.d.sync += [opened.eq(0), until_open.eq(c("t_rp") - 1)]
                    m.next = "REFRESH"
            with m.State("REFRESH"):
                with m.If((until_open == 0) & ~Cat(*(w != 0 for w in until_again)).any()):
                    command(_REFRESH)
                    m.d.sync += [until_open.eq(c("t_rfc") - 1), since.eq(times.refresh)]
                    m.next = "WORK"

        with m.If(done):
            m.d.sync += busy.eq(0)
        for write, valid, address, length in ((1, axi.awvalid & axi.awready, axi.awaddr, axi.awlen),
                                              (0, axi.arvalid & axi.arready, axi.araddr,
                                               axi.arlen)):
            with m.If(valid):
                m.d.sync += [busy.eq(1), job.column.eq(address >> 1), job.beats.eq(length + 1),
                             job.write.eq(write), turn.eq(~write)]
        return m
