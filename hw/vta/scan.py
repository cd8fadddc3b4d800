"""Finds out which accumulators a GEMM or ALU will use, before it executes."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.arith.multiply import IntegerMultiply, multiplier
from hw.vta.config import VtaConfig
from hw.vta.isa import AluOp, Isa, Opcode
from hw.vta.load import write_lanes
from hw.vta.window import Ranges

__all__ = ["UopScan"]


class UopScan(wiring.Component):
    """The smallest and the largest index of all micro-operations, plus all turns of the loops.

    Members
    -------
    start : ``In(1)``; word : ``In(128)``
        A GEMM, DEPTHWISE or ALU with at least one micro-operation.
    wait : ``In(1)``
        The micro-operations of ``ranges.uops`` were not all there yet a cycle ago.
    row_en, row : ``Out``; uops : ``In``
        Read port: rows of ``lanes`` micro-operations.
    done : ``Out(1)``
        For one cycle; ``ranges`` is valid then.
    ranges : ``Out(Ranges(config))``
        ``uops`` is valid from the cycle after ``start`` on.

    Timing
    ------
    ``done`` comes ``6 + log2(lanes)`` cycles after ``start`` and as many more as there are rows, at
    least 9.
    """

    def __init__(self, config: VtaConfig):
        self.config = config
        self.lanes = write_lanes(config, "uop").members["data"].shape.length
        super().__init__({
            "start":  In(1),
            "word":   In(128),
            "wait":   In(1),
            "row_en": Out(1),
            "row":    Out(range(config.depth("uop") // self.lanes)),
            "uops":   In(data.ArrayLayout(32, self.lanes)),
            "done":   Out(1),
            "ranges": Out(Ranges(config)),
        })

    def elaborate(self, platform):
        m = Module()
        config, lanes = self.config, self.lanes
        isa = Isa(config)
        la, depth = config.log_acc_depth, config.depth("uop")
        log_lanes = exact_log2(lanes)
        word = Signal(128, reset_less=True)
        gemm = data.View(isa.layouts[Opcode.GEMM], word)
        alu = data.View(isa.layouts[Opcode.ALU], word)
        is_alu = gemm.opcode == Opcode.ALU
        last_uop = Signal(config.log_uop_depth)
        m.d.comb += last_uop.eq(Mux(gemm.uop_end > depth, depth - 1, gemm.uop_end - 1))

        # Rows: read; then the best of each pair, of each two pairs, ...; then of all rows.
        starting, reading, s1, s2 = Signal(), Signal(), Signal(), Signal()
        s1_row, s2_row = Signal.like(self.row), Signal.like(self.row)
        s2_uops = Signal.like(self.uops, reset_less=True)
        m.d.comb += self.row_en.eq(reading & ~self.wait)
        m.d.sync += [s1.eq(self.row_en), s1_row.eq(self.row), s2.eq(s1), s2_row.eq(s1_row),
                     s2_uops.eq(self.uops), starting.eq(self.start)]
        with m.If(starting):
            m.d.sync += reading.eq(1)
        with m.If(self.row_en):
            m.d.sync += self.row.eq(self.row + 1)
            with m.If(self.row == last_uop >> log_lanes):
                m.d.sync += reading.eq(0)
        width = max(la, config.log_inp_depth)
        lowest = {name: Signal(width, name=f"lowest_{name}") for name in ("dst", "src")}
        highest = {name: Signal(width, name=f"highest_{name}") for name in ("dst", "src")}
        s2_inside = Signal(lanes)  # what is not inside changes nothing
        for lane in range(lanes):
            number = Cat(Const(lane, log_lanes), s1_row)
            m.d.sync += s2_inside[lane].eq(s1 & (number >= gemm.uop_bgn) & (number <= last_uop))
        for name in ("dst", "src"):
            values = [data.View(isa.uop, uop)[f"{name}_idx"] for uop in s2_uops]
            least = [Mux(take, value, -1)[:width] for take, value in zip(s2_inside, values)]
            most = [Mux(take, value, 0) for take, value in zip(s2_inside, values)]
            for values, best, better in ((least, lowest[name], lambda a, b: a < b),
                                         (most, highest[name], lambda a, b: a > b)):
                while len(values) > 1:
                    pairs = [Signal(width, name=f"{best.name}_of_{len(values)}_{n}",
                                    reset_less=True)
                             for n in range(len(values) // 2)]
                    m.d.sync += [pair.eq(Mux(better(a, b), a, b))
                                 for pair, a, b in zip(pairs, values[::2], values[1::2])]
                    values = pairs
                with m.If(better(values[0], best)):
                    m.d.sync += best.eq(values[0])
        under_way = Signal(log_lanes)
        m.d.sync += under_way.eq(Cat(s2, under_way))

        # Turns: one multiplier, four products.
        turn = Signal(range(8), init=7)
        m.submodules.multiply = multiply = multiplier(14, la)
        factors = (gemm.dst_factor_out, gemm.dst_factor_in, alu.src_factor_out, alu.src_factor_in)
        reach = {"dst": Signal(16 + la), "src": Signal(16 + la)}
        with m.Switch(turn):
            for n, factor in enumerate(factors, 1):
                with m.Case(n):
                    iterations = gemm.iter_in if n % 2 == 0 else gemm.iter_out
                    m.d.comb += [multiply.a.eq(iterations - 1), multiply.b.eq(factor)]
        for name, first in (("dst", 1), ("src", 3)):
            ready = first + IntegerMultiply.latency
            with m.If((turn == ready) | (turn == ready + 1)):
                m.d.sync += reach[name].eq(reach[name] + multiply.p)
        working, summing = Signal(), Signal()
        with m.If(turn != 7):
            m.d.sync += turn.eq(turn + 1)
        finished = Signal()
        m.d.comb += finished.eq(working & (turn == 7) & ~starting & ~reading & ~s1 & ~s2
                                & ~under_way.any())

        # Sums, cut off at the end of the scratchpad.
        with m.If(finished):
            m.d.sync += working.eq(0)
        m.d.sync += [summing.eq(finished), self.done.eq(summing)]
        for name, span in (("dst", self.ranges.writes), ("src", self.ranges.reads)):
            top = Signal(17 + la, name=f"top_{name}", reset_less=True)
            m.d.sync += [
                top.eq(highest[name] + reach[name]
                       + ((is_alu & alu.bias) if name == "src" else 0)),
                span.first.eq(Mux(lowest[name] >> la, -1, lowest[name])),
                span.last.eq(Mux(top >> la, -1, top)),
            ]
        uses_source = is_alu & (~alu.use_imm | (alu.alu_opcode == AluOp.RQT))
        m.d.comb += [
            self.ranges.writes.valid.eq(1),
            self.ranges.reads.valid.eq(uses_source),
            self.ranges.uops.valid.eq(working | summing | self.done),
            self.ranges.uops.first.eq(gemm.uop_bgn),
            self.ranges.uops.last.eq(last_uop),
        ]
        # What does not need to wait for `start` does not: it comes late in its cycle.
        with m.If(~self.ranges.uops.valid):
            m.d.sync += [
                word.eq(self.word),
                self.row.eq(data.View(isa.layouts[Opcode.GEMM], self.word).uop_bgn >> log_lanes),
            ]
        with m.If(self.start):
            m.d.sync += [working.eq(1), turn.eq(1)]
        with m.If(starting):
            m.d.sync += [
                *(signal.eq(-1) for signal in lowest.values()),
                *(signal.eq(0) for signal in (*highest.values(), *reach.values())),
            ]
        return m

