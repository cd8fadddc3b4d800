"""The accumulator scratchpad and who uses its ports in each cycle."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.copies import copies
from hw.memory import Scratchpad, connect_lanes
from hw.vta.config import VtaConfig
from hw.vta.gemm import BankUse
from hw.vta.isa import Memory
from hw.vta.load import LaneUse, Transfer, write_lanes

__all__ = ["Accumulators", "LaneRead", "accumulator_banks", "store_lanes"]


def store_lanes(config: VtaConfig) -> int:
    """Elements that STORE reads in a cycle: those of one beat, at least one."""
    return Transfer.of(config, Memory.OUT).elements


def accumulator_banks(config: VtaConfig) -> int:
    """Banks: at least as many as are used side by side, and four to keep the units apart."""
    loads = write_lanes(config, "acc").members["data"].shape.length
    wanted = max(4, store_lanes(config), loads)
    return min(wanted, config.depth("acc"))


class LaneRead(wiring.Signature):
    """Read elements from ``address`` on; they are ``data[0 ...]`` one cycle later.

    ``banks`` has a bit for each bank that they are in. A read takes place when ``valid`` and
    ``ready`` are both high.
    """

    def __init__(self, config: VtaConfig):
        super().__init__({
            "valid":   Out(1),
            "ready":   In(1),
            "address": Out(config.log_acc_depth),
            "banks":   Out(accumulator_banks(config)),
            "data":    In(data.ArrayLayout(8 * config.element_bytes("acc"), store_lanes(config))),
        })


class Accumulators(wiring.Component):
    """Banks by the low bits of the address, each with two read ports and a write port.

    GEMM always has its way. ALU asks GEMM beforehand, and shares its second read port with STORE in
    turn. LOAD writes where neither of them does.

    Members
    -------
    gemm_read_en, gemm_read_address, gemm_read_data
    gemm_write_en, gemm_write_address, gemm_write_data
    alu_request, alu_dst, alu_src, alu_bias, alu_src_banks, alu_grant
        As in :class:`hw.vta.alu.AluEngine`.
    alu_dst_data, alu_src_data, alu_bias_data
    alu_write_en, alu_write_address, alu_write_data
    gemm_coming, alu_coming : ``In(BankUse(log_banks))``
        What will be written in the next cycle.
    load : ``In(LaneWrite(...))``
    load_coming : ``In(LaneUse(config, "acc"))``
        What ``load`` will offer in the next cycle.
    store : ``In(LaneRead(config))``

    Timing
    ------
    Data is there the cycle after its request.
    """

    def __init__(self, config: VtaConfig):
        self.config = config
        self.banks = accumulator_banks(config)
        self.log_banks = exact_log2(self.banks)
        width, depth = 8 * config.element_bytes("acc"), config.depth("acc")
        self.load_signature = write_lanes(config, "acc")
        index = range(depth)
        super().__init__({
            "gemm_read_en": In(1), "gemm_read_address": In(index), "gemm_read_data": Out(width),
            "gemm_write_en": In(1), "gemm_write_address": In(index), "gemm_write_data": In(width),
            "alu_request": In(1), "alu_dst": In(index), "alu_src": In(index),
            "alu_bias": In(index), "alu_src_banks": In(self.banks), "alu_grant": Out(1),
            "alu_dst_data": Out(width), "alu_src_data": Out(width), "alu_bias_data": Out(width),
            "alu_write_en": In(1), "alu_write_address": In(index), "alu_write_data": In(width),
            "gemm_coming": In(BankUse(self.log_banks)), "alu_coming": In(BankUse(self.log_banks)),
            "load":  In(self.load_signature), "load_coming": In(LaneUse(config, "acc")),
            "store": In(LaneRead(config)),
        })

    def elaborate(self, platform):
        m = Module()
        config, banks, log_banks = self.config, self.banks, self.log_banks
        chunks = len(self.load.mask)
        m.submodules.memory = memory = Scratchpad(
            8 * config.element_bytes("acc"), config.depth("acc"), banks=banks, chunks=chunks,
            reads=2)

        # First port: GEMM, and the destinations of ALU.
        lanes = len(self.gemm_read_data) // 32

        def choose(into, banks, bank, name, offset=0):
            """``into`` is what ``bank`` of a cycle ago gives, lane by lane, each for itself."""
            bits = [copies(m, bit, lanes, f"{name}_bank_{n}")
                    for n, bit in enumerate(bank[:log_banks])]
            for lane in range(lanes):
                place = slice(32 * lane, 32 * lane + 32)
                words = Array(port.data[place] for port in banks[offset:] + banks[:offset])
                m.d.comb += into[place].eq(words[Cat(copy[lane] for copy in bits)])

        # Ports read all the time: whether ALU's request takes place comes late, and nobody looks at
        # what was not asked for.
        for index, port in enumerate(memory.read[0]):
            of_gemm = self.gemm_read_en & (self.gemm_read_address[:log_banks] == index)
            m.d.comb += [
                port.en.eq(1),
                port.address.eq(Mux(of_gemm, self.gemm_read_address, self.alu_dst) >> log_banks),
            ]
        choose(self.gemm_read_data, list(memory.read[0]), self.gemm_read_address, "gemm")
        choose(self.alu_dst_data, list(memory.read[0]), self.alu_dst, "dst")

        # Second port: sources of ALU, and STORE. Where they meet they take turns.
        of_alu, of_store, turn = Signal(banks), Signal(banks), Signal()
        low = self.store.address[:log_banks]
        m.d.comb += [
            of_store.eq(Mux(self.store.valid, self.store.banks, 0)),
            of_alu.eq(Mux(self.alu_request, self.alu_src_banks, 0)),
        ]
        meet = (of_alu & of_store).any()
        with m.If(meet):
            m.d.sync += turn.eq(~turn)
        m.d.comb += [self.store.ready.eq(~meet | turn), self.alu_grant.eq(~meet | ~turn)]
        for index, port in enumerate(memory.read[1]):
            of_both = Mux(self.alu_src[:log_banks] == index, self.alu_src, self.alu_bias)
            m.d.comb += [port.en.eq(1), port.address.eq(of_both >> log_banks)]
            with m.If(of_store[index] & (~of_alu[index] | turn)):
                m.d.comb += port.address.eq((self.store.address >> log_banks) + (low > index))
        second = list(memory.read[1])
        choose(self.alu_src_data, second, self.alu_src, "src")
        choose(self.alu_bias_data, second, self.alu_src, "bias", offset=1)
        for element, lane_data in enumerate(self.store.data):
            choose(lane_data, second, low, f"store_{element}", offset=element % banks)

        # Write port. What is assigned last wins, but the engines never meet.
        # Whether LOAD meets them is found a cycle before: much hangs on it.
        connect_lanes(m, self.load, memory.write)
        coming = self.load_coming
        meets = [(bank - coming.address)[:log_banks] < coming.count for bank in range(banks)]
        taken = [Cat(use.valid & (use.bank == bank)
                     for use in (self.gemm_coming, self.alu_coming)).any()
                 for bank in range(banks)]
        m.d.sync += self.load.ready.eq(~(coming.valid & (Cat(*meets) & Cat(*taken)).any()))
        for name in ("alu", "gemm"):
            en, address, value, coming = (getattr(self, f"{name}_{part}") for part in
                                          ("write_en", "write_address", "write_data", "coming"))
            for index, port in enumerate(memory.write):
                with m.If(en & (address[:log_banks] == index)):
                    m.d.comb += [port.en.eq(-1), port.address.eq(address >> log_banks)]
                writes = copies(m, coming.valid & (coming.bank == index), lanes,
                                f"{name}_writes_{index}")
                for lane, here in enumerate(writes):
                    place = slice(32 * lane, 32 * lane + 32)
                    with m.If(here):
                        m.d.comb += port.data[place].eq(value[place])
        return m
