"""ALU: one micro-operation per cycle, both operands from the accumulators or one from the word."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.vta.config import VtaConfig
from hw.vta.gemm import Done
from hw.vta.isa import AluOp, Fault, Isa, Opcode
from hw.vta.loops import LoopCommand, Loops, Operand

__all__ = ["AluFlags", "AluEngine", "alu_command", "LONG"]

LONG = (AluOp.SHR, AluOp.MUL, AluOp.CLIP, AluOp.RQT)  # five stages; the others have one
_PRODUCT = 49  # bits of 32 x 16 bits, and of what rounding adds


class AluFlags(data.StructLayout):
    """What every micro-operation of an instruction shares."""

    def __init__(self, entries: int):
        super().__init__({"entry": range(entries), "op": AluOp, "use_imm": 1, "imm": 16,
                          "bias": 1})


def alu_command(m: Module, config: VtaConfig, word, entry, target) -> None:
    """Drive ``target`` (a :class:`LoopCommand` of ALU) with the fields of ``word``."""
    insn = data.View(Isa(config).layouts[Opcode.ALU], word)
    m.d.comb += [target[name].eq(insn[name])
                 for name in ("uop_bgn", "uop_end", "iter_out", "iter_in")]
    m.d.comb += [target[f"{name}_{loop}"].eq(insn[f"{name}_factor_{loop}"])
                 for name in ("dst", "src") for loop in ("out", "in")]
    is_rqt = insn.alu_opcode == AluOp.RQT
    m.d.comb += [
        target.flags.entry.eq(entry), target.flags.op.eq(insn.alu_opcode),
        target.flags.use_imm.eq(insn.use_imm & ~is_rqt), target.flags.imm.eq(insn.imm),
        target.flags.bias.eq(insn.bias & is_rqt if config.extensions else 0),
    ]


class AluEngine(wiring.Component):
    """``acc[a] = operation(acc[a], use_imm ? imm : acc[b])``, an element per cycle.

    MIN, MAX, ADD and MOV take one cycle, and a micro-operation sees at once what those before it
    wrote. SHR, MUL, CLIP and RQT (:data:`LONG`) take five; one that uses an element which they are
    about to write waits for it. It also waits when GEMM or STORE use the same bank.

    Members
    -------
    i, uop_en, uop_address, uop, write_en, write_address, write_data, done, event, busy
        As in :class:`hw.vta.gemm.GemmEngine`.
    request : ``Out``
        ``dst`` is to be read, ``src`` if ``use_src``, ``src + 1`` if ``use_bias``.
    short_uses, short_bank, long_uses, long_bank : ``In``
        Banks of GEMM.
    grant : ``In(1)``
        STORE leaves the ports for this request.
    read : ``Out(1)``
        The request takes place: ``dst_data``, ``src_data``, ``bias_data`` follow in the next cycle.
    waits : ``Out(1)``
        A micro-operation is held.

    Timing
    ------
    A result is written 3 cycles after its request, 7 of :data:`LONG`; the first request is 3 cycles
    after the transfer of a command.
    """

    def __init__(self, config: VtaConfig, *, entries: int, log_banks: int):
        self.config, self.entries, self.log_banks = config, entries, log_banks
        self.isa = Isa(config)
        la = config.log_acc_depth
        self.operands = (Operand("dst", la, la), Operand("src", la, la))
        acc = 8 * config.element_bytes("acc")
        self.lanes = acc // 32
        super().__init__({
            "i": In(stream.Signature(LoopCommand(config, self.operands, AluFlags(entries)))),
            "uop_en":        Out(1),
            "uop_address":   Out(config.log_uop_depth),
            "uop":           In(32),
            "request":       Out(1),
            "dst":           Out(la),
            "src":           Out(la),
            "use_src":       Out(1),
            "use_bias":      Out(1),
            "short_uses":    In(1),
            "short_bank":    In(log_banks),
            "long_uses":     In(1),
            "long_bank":     In(log_banks),
            "grant":         In(1),
            "read":          Out(1),
            "dst_data":      In(acc),
            "src_data":      In(acc),
            "bias_data":     In(acc),
            "write_en":      Out(1),
            "write_address": Out(la),
            "write_data":    Out(acc),
            "done":          Out(Done(entries)),
            "event":         Out(1),
            "busy":          Out(1),
            "waits":         Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        flags = AluFlags(self.entries)
        m.submodules.loops = loops = Loops(config, self.operands, self.isa.uop, flags)
        dead, fault = Signal(), Signal(Fault)
        m.d.comb += [
            self.uop_en.eq(loops.uop_en), self.uop_address.eq(loops.uop_address),
            loops.uop.eq(self.uop), loops.kill.eq(dead),
            loops.i.payload.eq(self.i.payload),
            loops.i.valid.eq(self.i.valid & ~dead), self.i.ready.eq(loops.i.ready & ~dead),
        ]

        # Stage 0: the indices are known; ask for the operands.
        step = loops.o.p
        is_long = Signal()
        m.d.comb += [
            is_long.eq(Cat(step.flags.op == op for op in LONG).any()),
            self.dst.eq(step.dst), self.src.eq(step.src),
            self.use_src.eq(~step.flags.use_imm), self.use_bias.eq(step.flags.bias),
        ]
        src_over = step.over_src | (step.flags.bias & step.src.all())
        with m.If(step.over_uop):
            m.d.comb += fault.eq(Fault.UOP_RANGE)
        with m.Elif(step.over_dst | (src_over & self.use_src)):
            m.d.comb += fault.eq(Fault.ACC_RANGE)
        failed = fault != Fault.DONE
        layout = data.StructLayout({
            "valid": 1, "end": 1, "long": 1, "fault": Fault, "flags": flags,
            "dst": config.log_acc_depth,
        })
        stages = [Signal(layout, name=f"s{n}") for n in range(8)]
        s0, s1, s2, s3 = stages[:4]

        # It waits for its banks, its place at the write port, and for results not yet forwarded.
        bank = step.dst[:self.log_banks]
        bias_index = (step.src + 1)[:config.log_acc_depth]
        hazards = []
        for n, stage in enumerate(stages[1:], 1):
            slow = stage.valid & stage.long
            hazards.append(slow & ((stage.dst == step.dst)
                                   | (self.use_src & (stage.dst == step.src))))
            if config.extensions:
                pending = slow if n > 3 else stage.valid
                hazards.append(pending & self.use_bias & (stage.dst == bias_index))
        wait = Signal()
        m.d.comb += [
            wait.eq((self.short_uses & (self.short_bank == bank))
                    | (is_long & self.long_uses & (self.long_bank == bank))
                    | (~is_long & (stages[4].valid | stages[4].end))
                    | Cat(*hazards).any() | ~self.grant),
            self.request.eq(loops.o.valid & ~failed & ~dead),
            self.read.eq(self.request & ~wait),
            self.waits.eq(self.request & wait),
            loops.o.ready.eq(failed | ~wait),
            s0.valid.eq(self.read),
            s0.end.eq(loops.o.valid & ~dead & (failed | (step.last & ~wait))),
            s0.long.eq(is_long | failed),  # behind everything that goes before it
            s0.fault.eq(fault), s0.flags.eq(step.flags), s0.dst.eq(step.dst),
        ]
        with m.If(loops.o.valid & failed):
            m.d.sync += dead.eq(1)
        for stage, following in zip(stages[:3], stages[1:4]):
            m.d.sync += following.eq(stage)
        for stage, following in zip(stages[3:], stages[4:]):
            m.d.sync += [following.eq(stage), following.valid.eq(stage.valid & stage.long),
                         following.end.eq(stage.end & stage.long)]

        # Stage 1: operands arrive; results of two and three cycles ago are still on their way.
        acc = Signal.like(self.write_data).shape()
        s3_short, s4_short = Signal(acc), Signal(acc)
        m.d.sync += s4_short.eq(s3_short)
        operands = {}
        for name, index in (("dst", step.dst), ("src", step.src)):
            s1_one, s1_two, s1_three, s2_one = (
                Signal(name=f"{stage}_{name}_{age}") for stage, age in
                (("s1", "one"), ("s1", "two"), ("s1", "three"), ("s2", "one")))
            s2_data = Signal(acc, name=f"s2_{name}")
            arrived = getattr(self, f"{name}_data")
            m.d.sync += [
                signal.eq(stage.valid & ~stage.long & (stage.dst == index))
                for signal, stage in ((s1_one, s1), (s1_two, s2), (s1_three, s3))]
            m.d.sync += [
                s2_one.eq(s1_one),
                s2_data.eq(Mux(s1_two, s3_short, Mux(s1_three, s4_short, arrived))),
            ]
            operands[name] = (s2_data, s2_one)
        s2_bias = Signal(acc)
        m.d.sync += s2_bias.eq(self.bias_data)

        # Stage 2: short operations are done; the others begin.
        s7_long = []
        for lane in range(self.lanes):
            x, y = (Signal(signed(32), name=f"s2_{name}_{lane}") for name in ("x", "y"))
            for signal, (s2_data, s2_one) in zip((x, y), operands.values()):
                m.d.comb += signal.eq(Mux(s2_one, _lane(s3_short, lane), _lane(s2_data, lane)))
            with m.If(s2.flags.use_imm):
                m.d.comb += y.eq(s2.flags.imm.as_signed())
            with m.Switch(s2.flags.op):
                for op, result in ((AluOp.MIN, Mux(x < y, x, y)), (AluOp.MAX, Mux(x > y, x, y)),
                                   (AluOp.ADD, x + y), (AluOp.MOV, y)):
                    with m.Case(op):
                        m.d.sync += _lane(s3_short, lane).eq(result)
            s7_long.append(self._long(m, stages, lane, x, y, _lane(s2_bias, lane)))

        # Write: at most one of the two is there.
        s7 = stages[7]
        with m.If(s7.valid | s7.end):
            m.d.comb += [self.write_en.eq(s7.valid), self.write_address.eq(s7.dst),
                         self.write_data.eq(Cat(*s7_long)),
                         self.done.valid.eq(s7.end), self.done.entry.eq(s7.flags.entry),
                         self.done.fault.eq(s7.fault)]
        with m.Else():
            m.d.comb += [self.write_en.eq(s3.valid & ~s3.long), self.write_address.eq(s3.dst),
                         self.write_data.eq(s3_short),
                         self.done.valid.eq(s3.end & ~s3.long),
                         self.done.entry.eq(s3.flags.entry), self.done.fault.eq(s3.fault)]
        m.d.comb += [
            self.event.eq(self.write_en),
            self.busy.eq(~loops.i.ready
                         | Cat(stage.valid | stage.end for stage in stages).any()),
        ]
        return m

    def _long(self, m, stages, lane, x, y, bias):
        """One lane of SHR, MUL, CLIP, RQT: operands in stage 2, result in stage 7.

        All are ``(x * w + half) >> shift``, with a clamp of their own.
        """
        def register(shape, value, stage, name):
            signal = Signal(shape, name=f"s{stage}_{name}_{lane}")
            m.d.sync += signal.eq(value)
            return signal

        # Stage 2: one factor, one shift. A left shift is a product with a power of two.
        op = stages[2].flags.op
        s3_x, s3_w, s3_shift = Signal(signed(32)), Signal(32), Signal(6)
        s3_zero = register(signed(8), y[24:], 3, "zero")
        negative = (-y)[:32]
        m.d.sync += [s3_x.eq(x), s3_w.eq(y), s3_shift.eq(0)]
        with m.Switch(op):
            with m.Case(AluOp.SHR):
                with m.If(y >= 0):
                    m.d.sync += [s3_w.eq(1), s3_shift.eq(Mux(y[5:].any(), 31, y[:5]))]
                with m.Else():
                    m.d.sync += s3_w.eq(Mux(negative[5:].any(), 0, 1 << negative[:5]))
            with m.Case(AluOp.CLIP):
                m.d.sync += [s3_x.eq(Mux(x < y, x, y)), s3_w.eq(negative)]
            with m.Case(AluOp.RQT):
                m.d.sync += [s3_x.eq(x + Mux(stages[2].flags.bias, bias, 0)),
                             s3_w.eq(y[:16]), s3_shift.eq(y[16:22])]

        # Stage 3: products of 16 bits.
        s4_low = register(32, s3_x[:16] * s3_w[:16], 4, "low")
        s4_high = register(signed(33), s3_x[16:].as_signed() * s3_w[:16], 4, "high")
        s4_cross = register(16, s3_x[:16] * s3_w[16:], 4, "cross")
        s4_clip = register(signed(32), Mux(s3_x > s3_w.as_signed(), s3_x, s3_w.as_signed()),
                           4, "clip")
        s4_shift = register(6, s3_shift, 4, "shift")
        s4_zero = register(signed(8), s3_zero, 4, "zero")
        s4_half = register(_PRODUCT - 2,
                           Mux((stages[3].flags.op == AluOp.RQT) & (s3_shift < 48),
                               (1 << s3_shift) >> 1, 0), 4, "half")

        # Stage 4: their sum, with half of what the shift will drop.
        product = Cat(s4_low, Const(0, 1)).as_signed() + (s4_high << 16)
        cross = Mux((stages[4].flags.op == AluOp.MUL) | (stages[4].flags.op == AluOp.SHR),
                    s4_cross, 0)
        s5_sum = register(signed(_PRODUCT),
                          Mux(stages[4].flags.op == AluOp.CLIP, s4_clip,
                              product + (cross << 16) + s4_half), 5, "sum")
        s5_shift = register(6, s4_shift, 5, "shift")
        s5_zero = register(signed(8), s4_zero, 5, "zero")

        # Stage 5: shift. The bounds are moved by the zero point, instead of the result.
        imm = stages[5].flags.imm
        low, high = imm[:8].as_signed(), imm[8:].as_signed()
        s6_shifted = register(signed(_PRODUCT), Mux(s5_shift > 47, 0, s5_sum >> s5_shift),
                              6, "shifted")
        s6_zero = register(signed(8), s5_zero, 6, "zero")
        s6_least = register(signed(9), low - s5_zero, 6, "least")
        s6_most  = register(signed(9), high - s5_zero, 6, "most")
        s6_low   = register(signed(8), low, 6, "low")
        s6_high  = register(signed(8), Mux(high < low, low, high), 6, "high")

        # Stage 6: zero point and clamp; the lower bound is the stronger one.
        clamped = Mux(s6_shifted > s6_most, s6_high,
                      Mux(s6_shifted < s6_least, s6_low,
                          (s6_shifted[:8] + s6_zero)[:8].as_signed()))
        return register(32, Mux(stages[6].flags.op == AluOp.RQT, clamped, s6_shifted), 7, "long")


def _lane(value, lane):
    return value[32 * lane:32 * lane + 32]
