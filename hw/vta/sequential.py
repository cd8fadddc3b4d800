"""A VTA core for small devices: one datapath of 32 bits, and a program that does the rest."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.bus.axi import INCR, OKAY, Axi4
from hw.bus.csr import AxiLite
from hw.vta.config import VtaConfig
from hw.vta.firmware import firmware, layout
from hw.vta.microcode import LINK, REGISTERS, Flag, Op, Signals
from hw.vta.registers import IDENTITY, POINTERS, VERSION, register_map

__all__ = ["SequentialVta"]

_WIDTH = 32
_HOST = 128  # registers that the host sees


class SequentialVta(wiring.Component):
    """Runs the programs of :class:`hw.vta.core.VtaCore`, one instruction after the other.

    Registers, faults and results are the same; of the counters only ``cycles`` and ``user`` count.
    The microprogram is :mod:`hw.vta.firmware`. Tiles are 1x4x4, and the scratchpads are parts of
    one memory with a single port, which iCE40 UP5K has in blocks of 32 KiB.

    Members
    -------
    m_axi : ``Out(Axi4(data_width=32))``
        DRAM, a word at a time, whatever ``bus_width`` is.
    s_axi : ``In(AxiLite(address_width=12))``
    irq : ``Out(1)``

    Timing
    ------
    A micro-instruction takes a cycle; a load from the scratch memory takes two, and so does a
    branch that is taken. An access of the host costs 1 to 3.
    """

    def __init__(self, config: VtaConfig):
        if (config.log_batch, config.log_block) != (0, 2):
            raise ValueError(f"the tile of a sequential core must be 1x4x4, not "
                             f"{config.batch}x{config.block}x{config.block}")
        if config.address_width != 32 or not config.extensions:
            raise ValueError("a sequential core must have addresses of 32 bits and extensions")
        self.config = config
        self.layout = layout(config)
        super().__init__({
            "m_axi": Out(Axi4(address_width=config.address_width, data_width=_WIDTH)),
            "s_axi": In(AxiLite(address_width=12)),
            "irq":   Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        program, table = firmware(self.config), register_map(self.config)
        at = {name: register.offset // 4 for name, register in table.items()}
        constants = {"identity": IDENTITY, "version": VERSION,
                     "fingerprint": self.config.fingerprint}
        constants |= {f"config_{name.lower()}": int(value)
                      for name, value in self.config.to_dict().items()}
        begin = program.constants | {at[name]: value for name, value in constants.items()}

        # Memories: the program, the registers twice, since two are read at a time, the scratchpads.
        m.submodules.program = rom = Memory(shape=_WIDTH, depth=len(program.words),
                                            init=program.words)
        m.submodules.registers = registers = Memory(
            shape=_WIDTH, depth=REGISTERS, init=[begin.get(n, 0) for n in range(REGISTERS)])
        fetch, put = rom.read_port(), registers.write_port()
        get_a, get_b = (registers.read_port(transparent_for=(put,)) for _ in range(2))
        m.submodules.spram = scratch = Memory(
            shape=_WIDTH, depth=max(part.stop for part in self.layout.values()), init=[])
        store, load = scratch.write_port(), scratch.read_port()

        # Three micro-instructions at a time: the last one is fetched, `coming` reads its operands,
        # `word` does what it says, if `valid`. A branch drops the one that is coming.
        coming, word = fetch.data, Signal(_WIDTH)
        there, valid, loading = Signal(), Signal(), Signal()
        op, number, d, a, b = word[27:], word[26], word[16:24], word[8:16], word[:8]
        left, right = get_a.data, Signal(_WIDTH)
        m.d.comb += right.eq(Mux(number, b, get_b.data))
        operation = Signal(Op)
        m.d.comb += operation.eq(op)

        width = (len(program.words) - 1).bit_length()
        pc = Signal(width, init=-1)  # of the one that is coming
        following, held, does, advance = Signal(width), Signal(), Signal(), Signal()
        m.d.comb += [
            does.eq(valid & ~held),
            advance.eq(~held & ~(valid & (operation == Op.LD) & ~loading)),
            fetch.addr.eq(following), fetch.en.eq(advance),
            get_a.addr.eq(coming[8:16]), get_b.addr.eq(coming[:8]),
            get_a.en.eq(advance), get_b.en.eq(advance),
            put.addr.eq(Mux(operation == Op.JAL, LINK, d)),
        ]
        branches = Signal()
        with m.If(advance):
            m.d.sync += [pc.eq(following), there.eq(1), word.eq(coming),
                         valid.eq(there & ~(valid & branches)), loading.eq(0)]
        with m.Elif(~held):
            m.d.sync += loading.eq(1)

        # Arithmetic.
        subtracts = (operation != Op.ADD)
        total = Signal(_WIDTH + 1)
        m.d.comb += total.eq(left + Mux(subtracts, ~right, right) + subtracts)
        less_unsigned, equal = ~total[-1], Signal()
        m.d.comb += equal.eq(left == right)
        less = Mux(left[-1] ^ right[-1], left[-1], total[_WIDTH - 1])
        turned = Signal(_WIDTH)  # shifts go to the right
        m.d.comb += turned.eq(Mux(operation == Op.SHL, left[::-1], left))
        sign = (operation == Op.SAR) & left[-1]
        shifted = Signal(_WIDTH)
        m.d.comb += shifted.eq(Mux(right[5], sign.replicate(_WIDTH), Cat(
            turned, sign.replicate(_WIDTH)) >> right[:5]))
        half = Mux(operation == Op.MULH, left[16:], left[:16])
        products = [left.word_select(n, 8).as_signed() * right.word_select(n, 8).as_signed()
                    for n in range(4)]
        time = Signal(_WIDTH)
        m.d.sync += time.eq(time + 1)

        answer, result = self._bus(m, left, right, operation), Signal(_WIDTH)
        with m.Switch(operation):
            with m.Case(Op.ADD, Op.SUB):
                m.d.comb += result.eq(total)
            with m.Case(Op.AND):
                m.d.comb += result.eq(left & right)
            with m.Case(Op.OR):
                m.d.comb += result.eq(left | right)
            with m.Case(Op.MOV):
                m.d.comb += result.eq(right)
            with m.Case(Op.SHL):
                m.d.comb += result.eq(shifted[::-1])
            with m.Case(Op.SHR, Op.SAR):
                m.d.comb += result.eq(shifted)
            with m.Case(Op.MULL, Op.MULH):
                m.d.comb += result.eq(half * right[:16])
            with m.Case(Op.DOT):
                m.d.comb += result.eq((products[0] + products[1]) + (products[2] + products[3]))
            with m.Case(Op.TIME):
                m.d.comb += result.eq(time)
            with m.Case(Op.TAKE):
                m.d.comb += result.eq(self.m_axi.rdata)
            with m.Case(Op.JAL):
                m.d.comb += result.eq(pc)
            with m.Case(Op.LD):
                m.d.comb += result.eq(load.data)
        writes = operation <= Op.LD
        m.d.comb += put.data.eq(result)

        flags = Signal(len(Flag))
        conditions = {Op.BF: flags.bit_select(b[:2], 1), Op.BEQ: equal, Op.BNE: ~equal,
                      Op.BLTU: less_unsigned, Op.BGEU: ~less_unsigned, Op.BLT: less,
                      Op.BGE: ~less, Op.JAL: 1, Op.JR: 1}
        with m.Switch(operation):
            for kind, condition in conditions.items():
                with m.Case(kind):
                    m.d.comb += branches.eq(condition)
        m.d.comb += following.eq(pc + 1)
        with m.If(valid & branches):
            m.d.comb += following.eq(Mux(operation == Op.JR, left, Cat(d, word[24:26])))

        # The port of the scratch memory: a load is asked for when its operands are there.
        place = Signal(range(scratch.depth))
        m.d.comb += [
            place.eq(left + Mux(operation == Op.ST, d, right)),
            store.addr.eq(place), load.addr.eq(place), store.data.eq(right),
        ]

        launch, reset, interrupt, enabled = Signal(), Signal(), Signal(), Signal()
        failed, ready = Signal(), Signal()  # an access; registers are what a reset makes them
        m.d.comb += [flags[Flag.LAUNCH].eq(launch), flags[Flag.RESET].eq(reset),
                     flags[Flag.ANSWER].eq(answer), flags[Flag.ERROR].eq(failed),
                     self.irq.eq(enabled & interrupt)]

        axi = self.s_axi
        asked = Mux(axi.arvalid, axi.araddr[2:], axi.awaddr[2:])  # a word
        hidden, shows_irq = Signal(), Signal()
        writable = (asked == at["watchdog"]) | ((asked >= at["insn_count"])
                                                & (asked <= at[f"{POINTERS[-1]}_base"]))
        taking = Signal()  # the host's write
        with m.If(axi.bready):
            m.d.sync += axi.bvalid.eq(0)
        m.d.comb += axi.rdata.eq(Mux(hidden, 0, left) | Mux(shows_irq, Cat(enabled, interrupt), 0))
        with m.FSM():
            with m.State("RUN"):
                # The host comes first, and the program waits.
                with m.If(~ready):
                    pass
                with m.Elif(axi.arvalid):
                    m.d.comb += [held.eq(1), axi.arready.eq(1), get_a.addr.eq(asked),
                                 get_a.en.eq(1)]
                    m.d.sync += [hidden.eq(asked >= _HOST), shows_irq.eq(asked == at["irq"])]
                    m.next = "ANSWER"
                with m.Elif(axi.awvalid & axi.wvalid & ~axi.bvalid):
                    m.d.comb += [held.eq(1), axi.awready.eq(1), axi.wready.eq(1), taking.eq(1)]
                    m.d.sync += axi.bvalid.eq(1)
            with m.State("ANSWER"):
                m.d.comb += [held.eq(1), axi.rvalid.eq(1)]
                with m.If(axi.rready):
                    m.next = "AGAIN"
            with m.State("AGAIN"):  # the operands that were there
                m.d.comb += [held.eq(1), get_a.addr.eq(a), get_a.en.eq(1)]
                m.next = "RUN"

        m.d.comb += [put.en.eq(does & ((writes & ((operation != Op.LD) | loading))
                                       | (operation == Op.TAKE) | (operation == Op.JAL))),
                     store.en.eq(does & (operation == Op.ST)),
                     load.en.eq(does & (operation == Op.LD) & ~loading)]
        with m.If(taking):
            m.d.comb += [put.addr.eq(asked), put.data.eq(axi.wdata),
                         put.en.eq(writable & axi.wstrb.all())]
        with m.If(does):
            with m.Switch(operation):
                with m.Case(Op.TAKE):
                    m.d.comb += [self.m_axi.rready.eq(1), self.m_axi.bready.eq(1)]
                    m.d.sync += failed.eq(Mux(self.m_axi.rvalid, self.m_axi.rresp,
                                              self.m_axi.bresp) != OKAY)
                with m.Case(Op.XRD):
                    m.d.sync += self.m_axi.arvalid.eq(1)
                with m.Case(Op.XWR):
                    m.d.sync += [self.m_axi.awvalid.eq(1), self.m_axi.wvalid.eq(1)]
                with m.Case(Op.SIG):
                    m.d.sync += ready.eq(1)
                    for signal, bit, value in ((interrupt, Signals.INTERRUPT, 1),
                                               (launch, Signals.LAUNCHED, 0),
                                               (reset, Signals.RESETTING, 0)):
                        with m.If((b & int(bit)).any()):
                            m.d.sync += signal.eq(value)

        # What the host's writes do, over what the program does in the same cycle: it does nothing.
        with m.If(taking & axi.wstrb[0]):
            with m.Switch(asked):
                with m.Case(at["control"]):
                    m.d.sync += launch.eq(launch | axi.wdata[0])
                with m.Case(at["reset"]):
                    m.d.sync += [reset.eq(reset | axi.wdata[0]), ready.eq(~axi.wdata[0])]
                with m.Case(at["irq"]):
                    m.d.sync += enabled.eq(axi.wdata[0])
                    with m.If(axi.wdata[1]):
                        m.d.sync += interrupt.eq(0)
        return m

    def _bus(self, m, left, right, operation):
        """The channels of DRAM; returns whether there is an answer."""
        axi = self.m_axi
        address = Signal(_WIDTH)
        with m.If(~(axi.arvalid | axi.awvalid | axi.wvalid)):
            m.d.sync += [address.eq(left), axi.wdata.eq(right)]
        for channel in ("ar", "aw", "w"):
            with m.If(getattr(axi, f"{channel}ready")):
                m.d.sync += getattr(axi, f"{channel}valid").eq(0)
        m.d.comb += [
            axi.araddr.eq(Cat(Const(0, 2), address[2:])), axi.awaddr.eq(axi.araddr),
            axi.arsize.eq(2), axi.awsize.eq(2), axi.arburst.eq(INCR), axi.awburst.eq(INCR),
            axi.wstrb.eq(-1), axi.wlast.eq(1),
        ]
        return axi.rvalid | axi.bvalid
