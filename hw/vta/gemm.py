"""GEMM and DEPTHWISE: one tile product per cycle, accumulated with full forwarding."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.arith.multiply import multiplier
from hw.copies import copies
from hw.vta.config import VtaConfig
from hw.vta.isa import Fault, Isa, Opcode
from hw.vta.loops import LoopCommand, Loops, Operand

__all__ = ["BankUse", "Done", "GemmFlags", "GemmEngine", "gemm_command"]


class Done(data.StructLayout):
    """The instruction with the label ``entry`` has written its last result, or stopped."""

    def __init__(self, entries: int):
        super().__init__({"valid": 1, "entry": range(entries), "fault": Fault})


class BankUse(data.StructLayout):
    """A bank of the accumulators, if ``valid``."""

    def __init__(self, log_banks: int):
        super().__init__({"valid": 1, "bank": log_banks})


class GemmFlags(data.StructLayout):
    """What every micro-operation of an instruction shares."""

    def __init__(self, entries: int):
        super().__init__({"entry": range(entries), "reset": 1, "overwrite": 1, "depthwise": 1})


def _operands(config: VtaConfig) -> tuple[Operand, ...]:
    # DEPTHWISE counts the rows of the weights, so its index has more bits.
    rows = config.log_block if config.extensions else 0
    return (Operand("dst", config.log_acc_depth, config.log_acc_depth),
            Operand("src", config.log_inp_depth, config.log_inp_depth),
            Operand("wgt", config.log_wgt_depth, config.log_wgt_depth + rows))


def gemm_command(m: Module, config: VtaConfig, word, entry, target) -> None:
    """Drive ``target`` (a :class:`LoopCommand` of GEMM) with the fields of ``word``."""
    insn = data.View(Isa(config).layouts[Opcode.GEMM], word)
    m.d.comb += [target[name].eq(insn[name])
                 for name in ("uop_bgn", "uop_end", "iter_out", "iter_in")]
    m.d.comb += [target[f"{name}_{loop}"].eq(insn[f"{name}_factor_{loop}"])
                 for name in ("dst", "src", "wgt") for loop in ("out", "in")]
    m.d.comb += [target.flags.entry.eq(entry), target.flags.reset.eq(insn.reset_reg)]
    if config.extensions:
        m.d.comb += [target.flags.overwrite.eq(insn.overwrite),
                     target.flags.depthwise.eq(insn.opcode == Opcode.DEPTHWISE)]


class GemmEngine(wiring.Component):
    """``acc[a][n][o] += sum over l of inp[b][n][l] * wgt[c][o][l]``, a tile per cycle.

    Sums wrap at 32 bits; the product of a tile is exact. A micro-operation sees the result of all
    before it. The accumulator is not written while the next micro-operation has the same one.

    The pipeline never waits, so those who share the accumulators' ports can look ahead: see
    ``short_*`` and ``long_*``.

    Members
    -------
    i : ``In(stream.Signature(LoopCommand(...)))``
        Instructions with at least one micro-operation, allowed to execute.
    uop_en, uop_address, uop : read port of the micro-operations
    inp_en, inp_address, inp : read port of the inputs
    wgt_en, wgt_address, wgt : read port of the weights
    read_en, read_address, read_data : read port of the accumulators
    write_en, write_address, write_data : write port of the accumulators
    coming : ``Out(BankUse(log_banks))``
        The write of the next cycle.
    short_uses, short_bank : ``Out``
        The bank is being read in this cycle, or will be written 4 cycles later.
    long_uses, long_bank : ``Out``
        The bank will be written 12 cycles later.
    done : ``Out(Done(entries))``
        In the cycle of the last write.
    event : ``Out(1)``
        A micro-operation takes place.
    busy : ``Out(1)``

    Timing
    ------
    The first write is 18 cycles after the transfer of a command. One micro-operation per cycle,
    also from command to command. After a fault nothing is executed until reset.
    """

    def __init__(self, config: VtaConfig, *, entries: int, log_banks: int):
        self.config, self.entries, self.log_banks = config, entries, log_banks
        self.isa = Isa(config)
        self.operands = _operands(config)
        flags = GemmFlags(entries)
        acc = 8 * config.element_bytes("acc")
        super().__init__({
            "i":             In(stream.Signature(LoopCommand(config, self.operands, flags))),
            "uop_en":        Out(1),
            "uop_address":   Out(config.log_uop_depth),
            "uop":           In(32),
            "inp_en":        Out(1),
            "inp_address":   Out(config.log_inp_depth),
            "inp":           In(8 * config.element_bytes("inp")),
            "wgt_en":        Out(1),
            "wgt_address":   Out(config.log_wgt_depth),
            "wgt":           In(8 * config.element_bytes("wgt")),
            "read_en":       Out(1),
            "read_address":  Out(config.log_acc_depth),
            "read_data":     In(acc),
            "write_en":      Out(1),
            "write_address": Out(config.log_acc_depth),
            "write_data":    Out(acc),
            "coming":        Out(BankUse(log_banks)),
            "short_uses":    Out(1),
            "short_bank":    Out(log_banks),
            "long_uses":     Out(1),
            "long_bank":     Out(log_banks),
            "done":          Out(Done(entries)),
            "event":         Out(1),
            "busy":          Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        flags = GemmFlags(self.entries)
        m.submodules.loops = loops = Loops(config, self.operands, self.isa.uop, flags)
        dead, fault = Signal(), Signal(Fault)
        m.d.comb += [
            self.uop_en.eq(loops.uop_en), self.uop_address.eq(loops.uop_address),
            loops.uop.eq(self.uop), loops.o.ready.eq(1), loops.kill.eq(dead),
            loops.i.payload.eq(self.i.payload),
            loops.i.valid.eq(self.i.valid & ~dead), self.i.ready.eq(loops.i.ready & ~dead),
        ]

        # Stage 0: the indices are known.
        step = loops.o.p
        log_rows = self.operands[2].width - config.log_wgt_depth
        wgt = Mux(step.flags.depthwise, step.wgt >> log_rows, step.wgt)
        # The first index beyond the end is below twice the end, as all that is added is below it.
        wgt_over = Mux(step.flags.depthwise, step.over_wgt,
                       Cat(step.wgt, step.over_wgt)[config.log_wgt_depth])
        with m.If(step.over_uop):
            m.d.comb += fault.eq(Fault.UOP_RANGE)
        with m.Elif(step.over_dst):
            m.d.comb += fault.eq(Fault.ACC_RANGE)
        with m.Elif(step.over_src & ~step.flags.reset):
            m.d.comb += fault.eq(Fault.INP_RANGE)
        with m.Elif(wgt_over & ~step.flags.reset):
            m.d.comb += fault.eq(Fault.WGT_RANGE)
        with m.If(loops.o.valid & (fault != Fault.DONE)):
            m.d.sync += dead.eq(1)
        layout = data.StructLayout({
            "valid": 1, "end": 1, "fault": Fault, "flags": flags, "dst": config.log_acc_depth,
            "row": max(config.log_block, 1), "same": 4,
        })
        stages = [Signal(layout, name=f"s{n}") for n in range(17)]
        failed = fault != Fault.DONE
        # Which of the four steps before it, valid or not, have the same accumulator.
        s0_same = Signal(4)
        m.d.sync += s0_same.eq(Cat(stage.dst == loops.coming.dst for stage in stages[:4]))
        m.d.comb += [
            stages[0].valid.eq(loops.o.valid & ~failed & ~dead),
            stages[0].end.eq(loops.o.valid & (step.last | failed) & ~dead),
            stages[0].fault.eq(fault),
            stages[0].flags.eq(step.flags),
            stages[0].dst.eq(step.dst),
            stages[0].row.eq(step.wgt[:config.log_block]),
            stages[0].same.eq(s0_same),
        ]
        for stage, following in zip(stages, stages[1:]):
            m.d.sync += following.eq(stage)

        # Stage 4: read input and weight, whose memories lie all over the device. They arrive in
        # stage 5.
        for name, address, first in (("src", self.inp_address, step.src),
                                     ("wgt", self.wgt_address, wgt)):
            for stage in (1, 2, 3, 4):
                later = Signal.like(address, name=f"s{stage}_{name}", reset_less=True)
                m.d.sync += later.eq(first)
                first = later
            m.d.comb += address.eq(first)
        s4_reads = stages[4].valid & ~stages[4].flags.reset
        m.d.comb += [self.inp_en.eq(s4_reads), self.wgt_en.eq(s4_reads)]
        s13_total = self._dot_products(m, stages)

        # Stage 10: read the accumulator, unless it is about to be forwarded. Stage 11: it arrives.
        # Who uses the ports is found a stage before, and kept in registers: many look at it.
        def follows(n, distance):  # whether the step that much before it has its accumulator
            return stages[n].same[distance - 1] & stages[n + distance].valid
        s9_reads = Signal()
        m.d.comb += [
            s9_reads.eq(stages[9].valid & ~follows(9, 1) & ~stages[9].flags.reset
                        & ~stages[9].flags.overwrite),
            self.read_address.eq(stages[10].dst),
        ]
        m.d.sync += self.read_en.eq(s9_reads)

        # Stage 12: results of two to four cycles ago were still on their way.
        s12_acc, s13_acc, s14_result, s15_result, s16_result = (
            Signal.like(self.write_data, name=name, reset_less=True)
            for name in ("s12_acc", "s13_acc", "s14_result", "s15_result", "s16_result"))
        m.d.sync += [
            s12_acc.eq(self.read_data),
            s15_result.eq(s14_result), s16_result.eq(s15_result),
        ]

        # Stage 13: accumulate. What all lanes look at has a copy for each.
        lanes = len(s13_total)
        s12_ago = [copies(m, follows(11, distance), lanes, f"s12_{distance}_ago")
                  for distance in (2, 3, 4)]
        s13_one_ago, s13_fresh, s13_reset = (copies(m, bit, lanes, name) for name, bit in (
            ("s13_one_ago", follows(12, 1)),
            ("s13_fresh", stages[12].flags.reset | stages[12].flags.overwrite),
            ("s13_reset", stages[12].flags.reset)))
        for k, total in enumerate(s13_total):
            lane = slice(32 * k, 32 * k + 32)
            two, three, four = (ago[k] for ago in s12_ago)
            m.d.sync += s13_acc[lane].eq(
                Mux(two, s14_result[lane],
                    Mux(three, s15_result[lane], Mux(four, s16_result[lane], s12_acc[lane]))))
            old = Mux(s13_one_ago[k], s14_result[lane], s13_acc[lane])
            m.d.sync += s14_result[lane].eq(Mux(s13_fresh[k], 0, old)
                                           + Mux(s13_reset[k], 0, total))

        # Stage 14: write, unless the next one will.
        def writes(n):
            return stages[n].valid & (stages[n].end
                                      | ~(stages[n - 1].valid & stages[n - 1].same[0]))
        m.d.comb += [
            self.coming.valid.eq(writes(13)), self.coming.bank.eq(stages[13].dst),
            self.write_address.eq(stages[14].dst),
            self.write_data.eq(s14_result),
            self.done.valid.eq(stages[14].end),
            self.done.entry.eq(stages[14].flags.entry),
            self.done.fault.eq(stages[14].fault),
            self.short_bank.eq(stages[10].dst),
            self.long_bank.eq(stages[2].dst),
            self.event.eq(stages[14].valid),
            self.busy.eq(~loops.i.ready | Cat(stage.valid | stage.end
                                              for stage in stages[:15]).any()),
        ]
        m.d.sync += [
            self.write_en.eq(self.coming.valid),
            self.short_uses.eq(s9_reads | writes(9)), self.long_uses.eq(writes(1)),
        ]
        return m

    def _dot_products(self, m, stages):
        """Operands in stage 6, products in stage 9, their sums in stage 13."""
        config = self.config
        block = config.block
        s6_inp, s6_wgt, s7_inp, s7_wgt = (
            Signal.like(operand, name=f"s{stage}_{name}", reset_less=True)
            for stage in (6, 7) for name, operand in (("inp", self.inp), ("wgt", self.wgt)))
        m.d.sync += [s6_inp.eq(self.inp), s6_wgt.eq(self.wgt)]
        m.d.sync += [s7_inp.eq(s6_inp), s7_wgt.eq(s6_wgt)]
        if config.extensions:  # one row of the weights on the diagonal, and nothing beside it
            row = stages[6].row
            depthwise = copies(m, stages[5].flags.depthwise, block, "s6_depthwise")
            for o in range(block):
                with m.If(depthwise[o]):
                    m.d.sync += [
                        s7_wgt.word_select(o, 8 * block).eq(0),
                        _byte(s7_wgt, o * block + o).eq(
                            Array(_byte(s6_wgt, k * block + o) for k in range(block))[row]),
                    ]
        # Sums in four steps, as even as they can be.
        log_steps = [(config.log_block + n) // 4 for n in (3, 2, 1, 0)]
        totals = []
        for n in range(config.batch):
            for o in range(block):
                terms = []
                for l in range(block):
                    multiply = multiplier(signed(8), signed(8))
                    m.submodules[f"product_{n}_{o}_{l}"] = multiply
                    m.d.comb += [
                        multiply.a.eq(_byte(s7_inp, n * block + l)),
                        multiply.b.eq(_byte(s7_wgt, o * block + l)),
                    ]
                    terms.append(multiply.p)
                for number, log_step in enumerate(log_steps):
                    groups = [terms[k:k + (1 << log_step)]
                              for k in range(0, len(terms), 1 << log_step)]
                    sums = []
                    for k, group in enumerate(groups):
                        total = Signal(signed(len(group[0]) + log_step),
                                       name=f"s{10 + number}_sum_{n}_{o}_{k}",
                                       reset_less=True)
                        m.d.sync += total.eq(sum(group[1:], group[0]))
                        sums.append(total)
                    terms = sums
                totals.append(terms[0])
        assert exact_log2(block) == sum(log_steps)
        return totals


def _byte(value, index):
    return value[8 * index:8 * index + 8]
