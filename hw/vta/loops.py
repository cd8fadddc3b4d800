"""The three nested loops of GEMM and ALU: a micro-operation with its indices in every cycle."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.vta.config import VtaConfig

__all__ = ["LoopCommand", "Operand", "Step", "Loops"]

_ITER_WIDTH = 14


class Operand:
    """An index that the loops compute: its name, the width of its factors and of itself."""

    def __init__(self, name: str, factor_width: int, width: int):
        self.name, self.factor_width, self.width = name, factor_width, width


class LoopCommand(data.StructLayout):
    """An instruction that executes at least one micro-operation.

    ``flags`` is not looked at; it comes with each micro-operation.
    """

    def __init__(self, config: VtaConfig, operands: tuple[Operand, ...], flags):
        super().__init__({
            "uop_bgn":  config.log_uop_depth,
            "uop_end":  config.log_uop_depth + 1,
            "iter_out": _ITER_WIDTH,
            "iter_in":  _ITER_WIDTH,
            **{f"{operand.name}_{loop}": operand.factor_width
               for operand in operands for loop in ("out", "in")},
            "flags":    flags,
        })


class Step(data.StructLayout):
    """A micro-operation. ``over_<operand>``: the index is beyond what its bits can say;
    ``over_uop``: the micro-operation itself is behind the scratchpad's end.
    """

    def __init__(self, operands: tuple[Operand, ...], flags):
        super().__init__({
            "last": 1,
            "over_uop": 1,
            **{operand.name: operand.width for operand in operands},
            **{f"over_{operand.name}": 1 for operand in operands},
            "flags": flags,
        })


class Loops(wiring.Component):
    """``for i < iter_out, for j < iter_in, for k in uop_bgn .. uop_end-1``, without a gap.

    ``index = uop[k].field + i*out + j*in`` for each operand, exact: the first index that does not
    fit its bits is marked. Those after it may be anything.

    Members
    -------
    i : ``In(stream.Signature(LoopCommand(...)))``
    uop_en, uop_address : ``Out``; uop : ``In``
        Read port of the micro-operations; data is kept while ``uop_en`` is low.
    o : ``Out(stream.Signature(Step(...)))``
    coming : ``Out(Step(...))``
        What ``o.payload`` will be in the next cycle, unless ``o`` is held: for those who prepare
        comparisons with it.
    kill : ``In(1)``
        Drop everything.

    Timing
    ------
    Latency: 4 cycles from the transfer of a command. Throughput: one step per cycle, from one
    command to the next, too.
    """

    def __init__(self, config: VtaConfig, operands: tuple[Operand, ...], uop_layout, flags):
        self.config, self.operands, self.flags = config, operands, flags
        self.uop_layout = uop_layout
        super().__init__({
            "i":           In(stream.Signature(LoopCommand(config, operands, flags))),
            "uop_en":      Out(1),
            "uop_address": Out(config.log_uop_depth),
            "uop":         In(uop_layout),
            "o":           Out(stream.Signature(Step(operands, flags))),
            "coming":      Out(Step(operands, flags)),
            "kill":        In(1),
        })

    def elaborate(self, platform):
        m = Module()
        command = Signal(LoopCommand(self.config, self.operands, self.flags), reset_less=True)
        active, step, advance = Signal(), Signal(), Signal()
        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready),
            step.eq(active & advance),
        ]

        # Counters run down to 1, and know beforehand when they are there.
        k = Signal(self.config.log_uop_depth + 1)
        k_left, k_count = Signal.like(k), Signal.like(k)
        j_left, i_left = Signal(_ITER_WIDTH), Signal(_ITER_WIDTH)
        k_last, j_last, i_last, last = Signal(), Signal(), Signal(), Signal()
        k_once, j_once = Signal(), Signal()
        m.d.comb += [
            last.eq(k_last & j_last & i_last),
            self.i.ready.eq(~active | (step & last)),
        ]
        # The sums of the factors, with one bit more. Who has looked at one that is too large stops,
        # or does not use it: so that bit need not stay.
        inner, outer = (
            {operand.name: Signal(operand.width + 1, name=f"{loop}_{operand.name}", reset_less=True)
             for operand in self.operands} for loop in ("inner", "outer"))
        totals = {}
        for operand in self.operands:
            totals[operand.name] = total = Signal(operand.width + 1, name=f"next_{operand.name}")
            m.d.comb += total.eq(
                Mux(j_last, outer[operand.name], inner[operand.name])[:operand.width]
                + Mux(j_last, command[f"{operand.name}_out"], command[f"{operand.name}_in"]))
        new, count = self.i.p, Signal.like(k)
        m.d.comb += count.eq(new.uop_end - new.uop_bgn)
        # Whether a step or a transfer takes place only enables registers: what they would take is
        # known before.
        with m.If(active & ~last):
            with m.If(step):
                m.d.sync += [k.eq(k + 1), k_left.eq(k_left - 1), k_last.eq(k_left == 2)]
                with m.If(k_last):
                    m.d.sync += [
                        k.eq(command.uop_bgn), k_left.eq(k_count), k_last.eq(k_once),
                        j_left.eq(j_left - 1), j_last.eq(j_left == 2),
                        *(inner[name].eq(total) for name, total in totals.items()),
                    ]
                    with m.If(j_last):
                        m.d.sync += [
                            j_left.eq(command.iter_in), j_last.eq(j_once),
                            i_left.eq(i_left - 1), i_last.eq(i_left == 2),
                            *(outer[name].eq(total) for name, total in totals.items()),
                        ]
        with m.Elif(self.i.ready):
            m.d.sync += active.eq(self.i.valid)
            with m.If(self.i.valid):
                m.d.sync += [
                    command.eq(new),
                    k.eq(new.uop_bgn), k_left.eq(count), k_count.eq(count),
                    k_last.eq(count == 1), k_once.eq(count == 1),
                    j_left.eq(new.iter_in), j_last.eq(new.iter_in == 1),
                    j_once.eq(new.iter_in == 1),
                    i_left.eq(new.iter_out), i_last.eq(new.iter_out == 1),
                    *(total.eq(0) for total in (*inner.values(), *outer.values())),
                ]

        # Stage 1: the micro-operation is being read. Stage 2: it is in a register.
        step_layout = Step(self.operands, self.flags)
        s1_valid, s2_valid = Signal(), Signal()
        s1, s2, s2_uop = (Signal(layout, name=name, reset_less=True) for name, layout in
                          (("s1", step_layout), ("s2", step_layout), ("s2_uop", self.uop_layout)))
        m.d.comb += [self.uop_en.eq(step), self.uop_address.eq(k)]
        with m.If(advance):
            m.d.sync += [
                s1_valid.eq(active), s1.last.eq(last), s1.over_uop.eq(k[-1]),
                s1.flags.eq(command.flags),
                s2_valid.eq(s1_valid), s2.eq(s1), s2_uop.eq(self.uop),
                self.o.valid.eq(s2_valid), self.o.payload.eq(self.coming),
            ]
            for operand in self.operands:
                m.d.sync += Cat(s1[operand.name], s1[f"over_{operand.name}"]).eq(
                    inner[operand.name])

        # Stage 3: its indices.
        m.d.comb += [self.coming.last.eq(s2.last), self.coming.over_uop.eq(s2.over_uop),
                     self.coming.flags.eq(s2.flags)]
        for operand in self.operands:
            name = operand.name
            exact = s2[name] + s2_uop[f"{name}_idx"]
            m.d.comb += [
                self.coming[name].eq(exact),
                self.coming[f"over_{name}"].eq(s2[f"over_{name}"] | exact[operand.width:].any()),
            ]
        with m.If(self.kill):
            m.d.sync += [active.eq(0), s1_valid.eq(0), s2_valid.eq(0), self.o.valid.eq(0)]
        return m
