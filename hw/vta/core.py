"""The VTA core: fetch, load, compute and store, joined by token queues, on one AXI4 port."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.bus.axi import Axi4, ReadPort
from hw.bus.csr import AxiLite
from hw.memory import Scratchpad, connect_lanes, read_element
from hw.stream import Queue, RegisterSlice
from hw.vta.compute import ComputeUnit
from hw.vta.config import VtaConfig
from hw.vta.fetch import Dispatched, Fetch
from hw.vta.isa import Fault, Unit
from hw.vta.load import write_lanes
from hw.vta.load_unit import LoadUnit
from hw.vta.registers import Registers
from hw.vta.store import StoreUnit
from hw.vta.tokens import TokenQueues

__all__ = ["VtaCore"]

_CLIENTS = ("fetch", "load", "compute")  # of the read channels
_SETTLE = 3  # cycles that a deadlock has to last; a token is at most one cycle under way


class VtaCore(wiring.Component):
    """Runs a program from DRAM, as the manual of :mod:`hw.vta.manual` describes.

    A run begins with a write to the control register, and ends

    - when all instructions have executed: DONE, or NO_FINISH if none of them was FINISH;
    - with the first instruction in error: nothing else begins, what is on the bus is completed;
    - when all units wait for tokens that nobody can post, or after ``watchdog`` cycles in which
      nothing moved: DEADLOCK.

    After an error the reset register has to be written before the next launch. Tokens and
    scratchpads outlive a launch; a reset clears the tokens.

    Members
    -------
    m_axi : ``Out(Axi4(...))``
        DRAM. Identifiers are 0; bursts increment, and do not cross 4 KiB.
    s_axi : ``In(AxiLite(address_width=12))``
        Registers, see :func:`hw.vta.registers.register_map`.
    irq : ``Out(1)``
    """

    def __init__(self, config: VtaConfig):
        self.config = config
        self.load, self.compute = LoadUnit(config), ComputeUnit(config)
        super().__init__({
            "m_axi": Out(Axi4(address_width=config.address_width, data_width=config.bus_width)),
            "s_axi": In(AxiLite(address_width=12)),
            "irq":   Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        clear, halt = Signal(), Signal()
        cleared = ResetInserter(clear)
        registers = Registers(config)
        m.submodules.registers = registers
        fetch, store = Fetch(config), StoreUnit(config)
        load, compute = self.load, self.compute
        tokens = TokenQueues(config.token_width)
        read = ReadPort(len(_CLIENTS), beat_width=len(fetch.ar.p.beat),
                        address_width=config.address_width, data_width=config.bus_width,
                        reads=config.reads)
        for name, part in (("fetch", fetch), ("load", load), ("compute", compute),
                           ("store", store), ("tokens", tokens), ("read", read)):
            m.submodules[name] = cleared(part)
        units = {Unit.LOAD: load, Unit.COMPUTE: compute, Unit.STORE: store}

        # Registers, bus.
        wiring.connect(m, wiring.flipped(self.s_axi), registers.axi)
        m.d.comb += self.irq.eq(registers.irq)
        for name in self.m_axi.signature.members:
            port = getattr(self.m_axi, name)
            part = store if name[:2] == "aw" or name[0] in "wb" else read
            inner = getattr(part, name)
            m.d.comb += (port.eq(inner) if self.m_axi.signature.members[name].flow is Out
                         else inner.eq(port))
        for client, part in enumerate((fetch, load, compute)):
            wiring.connect(m, part.ar, read.ar[client])
            m.d.comb += [part.r_valid.eq(read.r_valid[client]), part.r_data.eq(read.r_data)]
        aligned = exact_log2(config.bus_width // 8)
        for part, memory in ((load, "inp"), (load, "wgt"), (compute, "uop"), (compute, "acc"),
                             (store, "out")):
            base = Cat(Const(0, aligned), getattr(registers, f"{memory}_base")[aligned:])
            m.d.comb += getattr(part, f"base_{memory}").eq(base)
        m.d.comb += [
            # ACC_8BIT reads what STORE has written, but belongs to the accumulators' register.
            compute.base_acc_8bit.eq(compute.base_acc),
            fetch.address.eq(Cat(Const(0, 4), registers.insn_base[4:])),
            fetch.count.eq(registers.insn_count),
            fetch.start.eq(registers.launch),
        ]

        wiring.connect(m, store.read, compute.store)

        # Queues, tokens.
        queues, heads = {}, {}
        for unit, part in units.items():
            queue = Queue(Dispatched, depth=config.queue_depth, block=config.queue_depth > 2)
            m.submodules[f"queue_{unit.name.lower()}"] = cleared(queue)
            # The block RAM is slow; what is decided by its word begins at a register.
            head = RegisterSlice(Dispatched)
            m.submodules[f"head_{unit.name.lower()}"] = cleared(head)
            queues[unit], heads[unit] = queue, head
            wiring.connect(m, fetch.o[unit], queue.i)
            wiring.connect(m, queue.o, head.i)
            wiring.connect(m, head.o, part.i)
            m.d.comb += part.halt.eq(halt)
            wiring.connect(m, part.tokens, getattr(tokens, unit.name.lower()))
        m.d.comb += [fetch.halt.eq(halt), read.halt.eq(halt)]

        # Scratchpads that two units share.
        for name, en, address, target in (
            ("inp", compute.inp_en, compute.inp_address, compute.inp),
            ("wgt", compute.wgt_en, compute.wgt_address, compute.wgt),
        ):
            port = getattr(load, f"write_{name}")
            lanes = write_lanes(config, name).members
            memory = Scratchpad(8 * config.element_bytes(name), config.depth(name),
                                banks=lanes["data"].shape.length, chunks=len(port.mask))
            m.submodules[f"{name}_memory"] = memory
            connect_lanes(m, port, memory.write)
            m.d.comb += [port.ready.eq(1),
                         target.eq(read_element(m, memory.read[0], address, en))]

        self._control(m, registers, fetch, units, queues, heads, read, clear, halt)
        self._count(m, registers, units, compute)
        return m

    def _control(self, m, registers, fetch, units, queues, heads, read, clear, halt):
        """When a run ends, and why."""
        running, ended, fault = Signal(), Signal(), Signal(Fault)
        number = Signal(32, init=-1)
        finished, resetting = Signal(), Signal()
        load, compute, store = units[Unit.LOAD], units[Unit.COMPUTE], units[Unit.STORE]
        drained = ~read.busy & ~store.status.busy
        failed = Signal()  # there is a fault; a register, which all units look at
        m.d.comb += halt.eq(failed | resetting)
        with m.If(registers.launch):
            m.d.sync += [running.eq(1), ended.eq(0), finished.eq(0)]
        with m.If(compute.finished):
            m.d.sync += finished.eq(1)

        # All has executed; or all wait.
        waits = {unit: part.status.wait_prev | part.status.wait_next
                 for unit, part in units.items()}
        idle = ~Cat(part.status.busy for part in units.values()).any()
        empty = Cat((queue.level == 0) & ~heads[unit].o.valid for unit, queue in queues.items())
        complete, stuck, settle = Signal(), Signal(), Signal(range(_SETTLE + 1))
        m.d.sync += complete.eq(~fetch.busy & empty.all() & ~registers.launch
                                & Cat(part.status.empty for part in units.values()).all())
        m.d.sync += stuck.eq(idle & (~fetch.busy | fetch.blocked) & Cat(*waits.values()).any()
                             & (empty | Cat(*waits.values())).all())
        m.d.sync += settle.eq(Mux(stuck & running, settle + (settle != _SETTLE), 0))

        # Nothing moves: neither the bus, nor a loader that writes padding, nor an engine.
        axi, quiet = self.m_axi, Signal(32)
        moves = Cat(*(getattr(axi, f"{channel}valid") & getattr(axi, f"{channel}ready")
                      for channel in ("ar", "r", "aw", "w", "b")),
                    compute.gemm_event, compute.alu_event, compute.load_moves,
                    load.load_moves, complete).any()
        moved, reached, expired = Signal(), Signal(), Signal()
        m.d.sync += [
            moved.eq(moves | ~running | registers.launch),
            quiet.eq(Mux(moved, 0, quiet + ~reached)),
            reached.eq((registers.watchdog != 0) & (quiet >= registers.watchdog) & ~moved),
        ]
        m.d.comb += expired.eq(reached & ~moved)

        # The first error counts.
        end = Signal()
        first, third, oldest = Signal(32), Signal(32), Signal(32)  # of what waits for long
        none = Const(0xffff_ffff, 32)
        late = Signal(len(waits))
        numbers = [Mux(late[n], head.o.p.number, none) for n, head in enumerate(heads.values())]
        m.d.sync += [
            late.eq(Cat(*waits.values())),
            first.eq(Mux(numbers[0] < numbers[1], numbers[0], numbers[1])),
            third.eq(numbers[2]),
            oldest.eq(Mux(first < third, first, third)),
        ]
        with m.If(running & ~failed):
            for unit in (store, compute, load):
                with m.If(unit.stopped.valid):
                    m.d.sync += [failed.eq(1), fault.eq(unit.stopped.fault),
                                 number.eq(unit.stopped.number)]
            with m.If(fetch.error):
                m.d.sync += [failed.eq(1), fault.eq(Fault.BUS_ERROR), number.eq(fetch.number)]
            with m.Elif(Cat(part.stopped.valid for part in units.values()).any()):
                pass
            with m.Elif((settle == _SETTLE) | expired):
                m.d.sync += [failed.eq(1), fault.eq(Fault.DEADLOCK), number.eq(oldest)]
            with m.Elif(complete):
                m.d.comb += end.eq(1)
                with m.If(~finished):
                    m.d.sync += [failed.eq(1), fault.eq(Fault.NO_FINISH)]
        with m.Elif(running & (drained | expired)):
            m.d.comb += end.eq(1)
        with m.If(end):
            m.d.sync += [running.eq(0), ended.eq(1)]

        with m.If(registers.reset):
            m.d.sync += resetting.eq(1)
        m.d.sync += clear.eq(resetting & drained & ~clear)  # a register: it goes everywhere
        with m.If(clear):
            m.d.sync += [
                resetting.eq(0), running.eq(0), ended.eq(0), failed.eq(0), fault.eq(Fault.DONE),
                number.eq(-1), finished.eq(0),
            ]
        m.d.comb += [
            registers.running.eq(running | registers.launch), registers.ended.eq(ended),
            registers.bus_busy.eq(~drained), registers.end.eq(end),
            registers.fault.eq(fault), registers.error_insn.eq(number),
        ]

    def _count(self, m, registers, units, compute):
        """What the counters count."""
        load, store, axi = units[Unit.LOAD].status, units[Unit.STORE].status, self.m_axi
        status = compute.status
        for name, condition in {
            "cycles_gemm":        compute.gemm_event,
            "cycles_alu":         compute.alu_event,
            "alu_waits":          compute.alu_waits,
            "load_busy":          load.busy,
            "load_wait_g2l":      load.wait_next,
            "load_memory":        load.memory,
            "compute_busy":       status.busy,
            "compute_wait_load":  status.wait_prev,
            "compute_wait_store": status.wait_next,
            "compute_memory":     status.memory,
            "store_busy":         store.busy,
            "store_wait_g2s":     store.wait_prev,
            "store_memory":       store.memory,
            "read_beats":         axi.rvalid & axi.rready,
            "write_beats":        axi.wvalid & axi.wready,
        }.items():
            m.d.sync += getattr(registers, f"count_{name}").eq(condition)
        m.d.sync += registers.count_user.eq(compute.gemm_event + compute.alu_event)
