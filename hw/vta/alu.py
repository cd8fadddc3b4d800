"""ALU: one micro-operation per cycle, both operands from the accumulators or one from the word."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.copies import copies
from hw.stream import RegisterSlice
from hw.vta.alu_long import KINDS, LONG, RESULT_STAGE, long_operation
from hw.vta.config import VtaConfig
from hw.vta.gemm import BankUse, Done
from hw.vta.isa import AluOp, Fault, Isa, Opcode
from hw.vta.loops import LoopCommand, Loops, Operand

__all__ = ["AluFlags", "AluEngine", "alu_command"]

_SHORT_STAGES, _LONG_STAGES = 4, RESULT_STAGE  # from a request to its write
_KINDS = {  # what a lane asks of the operation in a stage
    "s3_min": (3, (AluOp.MIN,)), "s3_max": (3, (AluOp.MAX,)), "s3_add": (3, (AluOp.ADD,)),
} | KINDS


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
    wrote. SHR, MUL, CLIP and RQT (:mod:`hw.vta.alu_long`) take nine; one that uses an element that
    they are about to write waits for it. It also waits when GEMM or STORE use the same bank.

    Members
    -------
    i, uop_en, uop_address, uop, write_en, write_address, write_data, coming, done, event, busy
        As in :class:`hw.vta.gemm.GemmEngine`.
    request : ``Out``
        ``dst`` is to be read, ``src`` and ``bias`` (``src + 1``) as far as they are used.
    src_banks : ``Out``
        The banks of ``src`` and ``bias``, as far as they are used; a bit each.
    short_uses, short_bank, long_uses, long_bank : ``In``
        Banks of GEMM.
    grant : ``In(1)``
        STORE leaves the ports for this request.
    dst_data, src_data, bias_data : ``In``
        Of the request of the cycle before, if nothing made it wait.
    waits : ``Out(1)``
        A micro-operation is held.

    Timing
    ------
    A result is written 4 cycles after its request, 12 of the long operations; the first request is
    5 cycles after the transfer of a command.
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
            "bias":          Out(la),
            "src_banks":     Out(1 << log_banks),
            "short_uses":    In(1),
            "short_bank":    In(log_banks),
            "long_uses":     In(1),
            "long_bank":     In(log_banks),
            "grant":         In(1),
            "dst_data":      In(acc),
            "src_data":      In(acc),
            "bias_data":     In(acc),
            "write_en":      Out(1),
            "write_address": Out(la),
            "write_data":    Out(acc),
            "coming":        Out(BankUse(log_banks)),
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
        # What holds a micro-operation reaches no further than this; the loops are large.
        m.submodules.steps = steps = RegisterSlice(loops.o.payload.shape())
        wiring.connect(m, loops.o, steps.i)
        dead, fault = Signal(), Signal(Fault)
        m.d.comb += [
            self.uop_en.eq(loops.uop_en), self.uop_address.eq(loops.uop_address),
            loops.uop.eq(self.uop), loops.kill.eq(dead),
            loops.i.payload.eq(self.i.payload),
            loops.i.valid.eq(self.i.valid & ~dead), self.i.ready.eq(loops.i.ready & ~dead),
        ]

        # Before stage 0: whom it will meet there.
        coming, step, advance = steps.coming, steps.o.p, Signal()
        m.d.comb += advance.eq(~steps.o.valid | steps.o.ready)
        stages = [Signal(data.StructLayout({
            "valid": 1, "end": 1, "long": 1, "slow": 1, "fault": Fault, "flags": flags,
            "dst": config.log_acc_depth,
        }), name=f"s{n}") for n in range(_LONG_STAGES + 1)]
        s0, s4, s12 = stages[0], stages[_SHORT_STAGES], stages[_LONG_STAGES]
        coming_bias = Signal.like(self.bias)
        m.d.comb += coming_bias.eq(coming.src + 1)
        # n: stage n has this index for its destination, whether it is valid or not. The last two:
        # the same of all that it reads and has to wait for, if `slow`, or on its way at all.
        same = {name: Signal(_LONG_STAGES + 1, name=f"s0_same_{name}")
                for name in ("dst", "src", "slow", "any")}
        now = {name: Cat(stage.dst == index for stage in stages[:-1])
               for name, index in (("dst", coming.dst), ("src", coming.src), ("bias", coming_bias))}
        src_use, bias_use = ~coming.flags.use_imm, coming.flags.bias
        now["any"] = now["bias"] & bias_use.replicate(_LONG_STAGES)
        now["slow"] = now["dst"] | now["src"] & src_use.replicate(_LONG_STAGES) | now["any"]
        m.d.sync += [same[name].eq(Cat(0, Mux(advance, now[name], same[name]))) for name in same]
        is_long = Signal()
        with m.If(advance):
            m.d.sync += [
                is_long.eq(Cat(coming.flags.op == op for op in LONG).any()),
                self.bias.eq(coming_bias),
                self.src_banks.eq(Cat(
                    (src_use & (coming.src[:self.log_banks] == bank))
                    | (bias_use & (coming_bias[:self.log_banks] == bank))
                    for bank in range(1 << self.log_banks))),
            ]
            m.d.sync += fault.eq(Fault.DONE)
            src_over = coming.over_src | (bias_use & coming.src.all())
            with m.If(coming.over_uop):
                m.d.sync += fault.eq(Fault.UOP_RANGE)
            with m.Elif(coming.over_dst | (src_over & src_use)):
                m.d.sync += fault.eq(Fault.ACC_RANGE)

        # Stage 0: ask for the operands.
        m.d.comb += [
            self.dst.eq(step.dst), self.src.eq(step.src),
        ]
        failed = fault != Fault.DONE

        # It waits for its banks, its place at the write port, and for results not yet forwarded.
        bank = step.dst[:self.log_banks]
        hazards = [same["slow"][n] & stage.slow
                   | same["any"][n] & stage.valid & (n <= _SHORT_STAGES)
                   for n, stage in enumerate(stages[1:], 1)]
        meets = stages[_LONG_STAGES - _SHORT_STAGES]  # whom a short one would meet as it writes
        wait, read = Signal(), Signal()
        m.d.comb += [
            wait.eq((self.short_uses & (self.short_bank == bank))
                    | (is_long & self.long_uses & (self.long_bank == bank))
                    | (~is_long & meets.long & (meets.valid | meets.end))
                    | Cat(*hazards).any() | ~self.grant),
            self.request.eq(steps.o.valid & ~failed & ~dead),
            read.eq(self.request & ~wait),
            self.waits.eq(self.request & wait),
            steps.o.ready.eq(failed | ~wait),
            s0.valid.eq(read),
            s0.end.eq(steps.o.valid & ~dead & (failed | (step.last & ~wait))),
            s0.slow.eq(read & is_long),
            s0.long.eq(is_long | failed),  # behind everything that goes before it
            s0.fault.eq(fault), s0.flags.eq(step.flags), s0.dst.eq(step.dst),
        ]
        with m.If(steps.o.valid & failed):
            m.d.sync += dead.eq(1)
        for n, (stage, following) in enumerate(zip(stages, stages[1:])):
            m.d.sync += following.eq(stage)
            if n >= _SHORT_STAGES:
                m.d.sync += [following.valid.eq(stage.valid & stage.long),
                             following.end.eq(stage.end & stage.long)]

        # Stage 1: operands arrive. Stage 2: results of two to four cycles ago were on their way.
        acc = Signal.like(self.write_data).shape()
        s4_short, s5_short, s6_short = (Signal(acc, name=f"s{n}_short", reset_less=True)
                                        for n in (4, 5, 6))
        m.d.sync += [s5_short.eq(s4_short), s6_short.eq(s5_short)]
        operands = {}
        for name in ("dst", "src"):
            s1_ago = Signal(5, name=f"s1_{name}_ago")
            s2_ago = [copies(m, bit, self.lanes, f"s2_{name}_{n}_ago")
                      for n, bit in enumerate(s1_ago)]
            is_imm = (copies(m, stages[1].flags.use_imm, self.lanes, "s2_is_imm")
                      if name == "src" else [C(0)] * self.lanes)
            s3_one_ago = copies(m, s2_ago[1][0] & ~is_imm[0], self.lanes, f"s3_{name}_one_ago")
            imm = stages[2].flags.imm.as_signed()
            s2_data, s3_data = (Signal(acc, name=f"{stage}_{name}", reset_less=True)
                                for stage in ("s2", "s3"))
            m.d.sync += [
                s1_ago.eq(Cat(stage.valid & ~stage.long & same[name][n]
                              for n, stage in enumerate(stages[:5]))),
                s2_data.eq(getattr(self, f"{name}_data")),
            ]
            for lane in range(self.lanes):
                late = _lane(s2_data, lane)
                for n, result in ((4, s6_short), (3, s5_short), (2, s4_short)):
                    late = Mux(s2_ago[n][lane], _lane(result, lane), late)
                m.d.sync += _lane(s3_data, lane).eq(
                    Mux(is_imm[lane], imm, late))
            operands[name] = (s3_data, s3_one_ago)
        s2_bias, s3_bias = Signal(acc, reset_less=True), Signal(acc, reset_less=True)
        has_bias = copies(m, stages[1].flags.bias, self.lanes, "s2_has_bias")
        m.d.sync += s2_bias.eq(self.bias_data)
        for lane, here in enumerate(has_bias):
            m.d.sync += _lane(s3_bias, lane).eq(Mux(here, _lane(s2_bias, lane), 0))

        # Each lane knows for itself which operation it is.
        kinds = {name: copies(m, Cat(stages[stage - 1].flags.op == op for op in ops).any(),
                              self.lanes, name)
                 for name, (stage, ops) in _KINDS.items()}

        # Stage 3: short operations are done; the others begin. What is forwarded is compared beside
        # what is not, since the choice between them would come before the carries.
        s12_long = []
        for lane in range(self.lanes):
            x, y = (Signal(signed(32), name=f"s3_{name}_{lane}") for name in ("x", "y"))
            (s3_x, x_ago), (s3_y, y_ago) = ((_lane(s3_data, lane).as_signed(), one_ago[lane])
                                            for s3_data, one_ago in operands.values())
            before = _lane(s4_short, lane).as_signed()
            m.d.comb += [x.eq(Mux(x_ago, before, s3_x)), y.eq(Mux(y_ago, before, s3_y))]
            here = {name: kind[lane] for name, kind in kinds.items()}
            less, takes_y = Signal(), Signal()
            m.d.comb += [
                less.eq(Mux(x_ago, ~y_ago & (before < s3_y),
                            Mux(y_ago, s3_x < before, s3_x < s3_y))),
                takes_y.eq(Mux(here["s3_min"], ~less, ~here["s3_max"] | less)),  # or MOV
            ]
            m.d.sync += _lane(s4_short, lane).eq(
                Mux(here["s3_add"], x + y, Mux(takes_y, y, x)))
            s12_long.append(long_operation(m, here, stages[10].flags.imm, lane, x, y,
                                           _lane(s3_bias, lane)))

        # Write: at most one of the two is there. Which one is found a cycle before.
        coming_long, now_long = Signal(), Signal()
        before_short, before_long = stages[_SHORT_STAGES - 1], stages[_LONG_STAGES - 1]
        m.d.comb += [
            coming_long.eq(before_long.long & (before_long.valid | before_long.end)),
            self.coming.valid.eq(Mux(coming_long, before_long.slow,
                                     before_short.valid & ~before_short.long)),
            self.coming.bank.eq(Mux(coming_long, before_long.dst, before_short.dst)),
        ]
        m.d.sync += [
            now_long.eq(coming_long), self.write_en.eq(self.coming.valid),
            self.done.valid.eq(Mux(coming_long, before_long.end,
                                   before_short.end & ~before_short.long)),
        ]
        for lane, here in enumerate(copies(m, coming_long, self.lanes, "writes_long")):
            m.d.comb += _lane(self.write_data, lane).eq(
                Mux(here, s12_long[lane], _lane(s4_short, lane)))
        for chosen, stage in ((~now_long, s4), (now_long, s12)):
            with m.If(chosen):
                m.d.comb += [self.write_address.eq(stage.dst),
                             self.done.entry.eq(stage.flags.entry),
                             self.done.fault.eq(stage.fault)]
        m.d.comb += [
            self.event.eq(self.write_en),
            self.busy.eq(~loops.i.ready | steps.o.valid
                         | Cat(stage.valid | stage.end for stage in stages).any()),
        ]
        return m


def _lane(value, lane):
    return value[32 * lane:32 * lane + 32]
