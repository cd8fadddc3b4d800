"""Proved for all time: no token is lost or invented, and the bus sees what AXI allows."""

import pytest
from amaranth import *
from amaranth.hdl import Assume
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.bus.axi import Bursts, ReadPort
from hw.bus.csr import AxiLite, AxiLiteSlave
from hw.vta.compute import ComputeUnit
from hw.vta.config import VtaConfig
from hw.vta.isa import TOKENS, Isa, Opcode, Token
from hw.vta.load_unit import LoadUnit
from hw.vta.store import StoreUnit
from hw.vta.tokens import TokenQueue, TokenQueues
from hw.vta.window import Window
from sim.prove import Claims, ProofError, StaysOffered, prove, prove_streams

TINY = VtaConfig(log_block=2, log_uop_buff_size=4, log_inp_buff_size=4, log_wgt_buff_size=6,
                 log_acc_buff_size=6, burst_beats=2, reads=2, writes=2, queue_depth=2)


class NoTokenIsLost(Claims):
    """A counter of what was posted and taken agrees with every queue."""

    def __init__(self, dut):
        super().__init__(dut, [f"{token.name}_{what}" for token in Token
                               for what in ("differs", "invented", "lost")])

    def claim(self, m, dut, broken):
        for token in Token:
            post, take = Signal(name=f"{token}_post"), Signal(name=f"{token}_take")
            for unit, flags in TOKENS.items():
                ports = getattr(dut, unit.name.lower())
                for flag, queue in flags.items():
                    if queue == token and flag.startswith("push"):
                        side = flag.split("_")[1]
                        m.d.comb += post.eq(getattr(ports, flag)
                                            & ~getattr(ports, f"full_{side}"))
                    elif queue == token:
                        side = flag.split("_")[1]
                        m.d.comb += take.eq(getattr(ports, flag)
                                            & getattr(ports, f"available_{side}"))
            there = Signal(dut.width + 3, name=f"{token}_there")
            m.d.sync += there.eq(there + post - take)
            m.d.comb += [
                broken[f"{token.name}_differs"].eq(there != dut.levels[token]),
                broken[f"{token.name}_invented"].eq(take & (there == 0)),
                broken[f"{token.name}_lost"].eq(post & (there == (1 << dut.width) - 1)),
            ]


@pytest.mark.parametrize("width", [1, 4, 16])
def test_no_token_is_lost_or_invented(width):
    assert prove(NoTokenIsLost(TokenQueues(width))) >= 1


class Forgetful(TokenQueue):
    """Drops a post that meets a taking."""

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.available.eq(self.level != 0), self.full.eq(self.level.all())]
        with m.If(self.pop & self.available):
            m.d.sync += self.level.eq(self.level - 1)
        with m.Elif(self.push & ~self.full):
            m.d.sync += self.level.eq(self.level + 1)
        return m


def test_a_lost_token_would_be_found(monkeypatch):
    monkeypatch.setattr("hw.vta.tokens.TokenQueue", Forgetful)
    with pytest.raises(ProofError, match="_differs in cycle"):
        prove(NoTokenIsLost(TokenQueues(4)))


class UnitTakesWhatIsThere(Claims):
    """A unit takes only tokens that are available, posts only where there is room."""

    flags = ()

    def __init__(self, dut):
        super().__init__(dut, ["invented_prev", "invented_next", "lost_prev", "lost_next",
                               *self.flags])

    def claim(self, m, dut, broken):
        for side in ("prev", "next"):
            m.d.comb += [
                broken[f"invented_{side}"].eq(getattr(dut.tokens, f"pop_{side}")
                                              & ~getattr(dut.tokens, f"available_{side}")),
                broken[f"lost_{side}"].eq(getattr(dut.tokens, f"push_{side}")
                                          & getattr(dut.tokens, f"full_{side}")),
            ]


@pytest.mark.parametrize("unit", [LoadUnit, StoreUnit])
def test_units_take_and_post_tokens_as_they_may(unit):
    assert prove(UnitTakesWhatIsThere(unit(TINY))) >= 1


class EachKeepsItsFlags(Claims):
    """An instruction leaves the window with the flags it entered with, once, and in its turn.

    Any one instruction is watched from when it enters. The claims ``inside``, ``kept`` and
    ``places`` are what induction needs beside the others.
    """

    def __init__(self, dut):
        super().__init__(dut, ["lost", "differs", "inside", "kept", "places"],
                         inputs=["watch"])

    def claim(self, m, dut, broken):
        size = dut.size
        m.d.comb += [Assume(~(dut.enter & dut.full)), Assume(~(dut.leave & ~dut.leaving))]
        watched, ahead = Signal(), Signal(range(size))

        def flags(entry):
            return Cat(entry.number, entry.push_prev, entry.push_next, entry.finish)

        kept = Signal.like(flags(dut.entry))
        turn = watched & dut.leave & (ahead == 0)
        with m.If(self.watch & dut.enter & ~watched):
            m.d.sync += [watched.eq(1), ahead.eq(dut.count - dut.leave), kept.eq(flags(dut.entry))]
        with m.Elif(turn):
            m.d.sync += watched.eq(0)
        with m.Elif(watched & dut.leave):
            m.d.sync += ahead.eq(ahead - 1)
        place = Signal(range(size))
        m.d.comb += [
            place.eq(dut.head + ahead),
            broken.lost.eq(watched & (dut.count == 0)),
            broken.differs.eq(turn & (flags(dut.oldest) != kept)),
            broken.inside.eq(watched & (ahead >= dut.count)),
            broken.kept.eq(watched & (flags(dut.entries[place]) != kept)),
            broken.places.eq((dut.count > size) | (dut.full != (dut.count == size))
                             | (dut.tail != (dut.head + dut.count)[:len(dut.tail)])),
        ]


@pytest.mark.parametrize("size", [2, 8])
def test_the_window_keeps_what_an_instruction_posts(size):
    assert prove(EachKeepsItsFlags(Window(TINY, size=size))) >= 1


def test_a_window_that_loses_its_place_would_be_found(monkeypatch):
    monkeypatch.setattr("hw.vta.window._after", lambda index, size: Mux(index == 0, 0, index + 1))
    with pytest.raises(ProofError, match="in cycle"):
        prove(EachKeepsItsFlags(Window(TINY, size=2)))


class PostsWhatLeaves(UnitTakesWhatIsThere):
    """And takes the tokens of what it accepts, posts those of what leaves the window: no other."""

    flags = ("pop_prev", "pop_next", "push_prev", "push_next")

    def claim(self, m, dut, broken):
        super().claim(m, dut, broken)
        head = data.View(Isa(TINY).layouts[Opcode.FINISH], dut.i.p.word)
        accepts = dut.i.valid & dut.i.ready
        for side in ("prev", "next"):
            m.d.comb += [
                broken[f"pop_{side}"].eq(getattr(dut.tokens, f"pop_{side}")
                                         != (accepts & head[f"pop_{side}"])),
                broken[f"push_{side}"].eq(getattr(dut.tokens, f"push_{side}")
                                          != (dut.window.leave
                                              & dut.window.oldest[f"push_{side}"])),
            ]


def test_the_compute_unit_takes_and_posts_for_its_instructions():
    assert prove(PostsWhatLeaves(ComputeUnit(TINY))) >= 1


# AXI --------------------------------------------------------------------------------------------

def test_read_addresses_stay_offered():
    port = ReadPort(3, beat_width=9, address_width=12, data_width=64, reads=2)
    assert prove(StaysOffered(port, {"ar": ("addr", "len", "size", "burst", "id")})) >= 1


def test_write_addresses_and_data_stay_offered():
    channels = {"aw": ("addr", "len", "size", "burst", "id"), "w": ("data", "strb", "last")}
    assert prove(StaysOffered(StoreUnit(TINY), channels)) >= 1


class Answers(wiring.Component):
    """The register bus alone, its answers as channels of its own."""

    def __init__(self):
        self.slave = AxiLiteSlave(address_width=4)
        super().__init__({**AxiLite(address_width=4).flip().members, "read_data": In(32)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.slave = self.slave
        for name, member in self.signature.members.items():
            ours = getattr(self, name)
            theirs = self.slave.read_data if name == "read_data" else getattr(self.slave.axi, name)
            m.d.comb += ours.eq(theirs) if member.flow is Out else theirs.eq(ours)
        return m


def test_answers_of_registers_stay_offered():
    assert prove(StaysOffered(Answers(), {"b": ("resp",), "r": ("data", "resp")})) >= 1


class BurstsAreLegal(Claims):
    """1 to ``longest`` beats, and no 4 KiB are crossed, if rows have at least a beat."""

    def __init__(self, dut):
        super().__init__(dut, ["empty", "long", "crosses", "rest"])

    def claim(self, m, dut, broken):
        burst = dut.o.p
        m.d.comb += Assume(~dut.i.valid | (dut.i.p.beats != 0))
        first = burst.beat % dut.page_beats
        m.d.comb += [
            broken.empty.eq(dut.o.valid & (burst.beats == 0)),
            broken.long.eq(dut.o.valid & (burst.beats > dut.longest)),
            broken.crosses.eq(dut.o.valid & (first + burst.beats > dut.page_beats)),
            # What induction needs beside the others.
            broken.rest.eq(dut.some & (
                (dut.left == 0) | (dut.most == 0) | (dut.most > dut.block)
                | (dut.others != (dut.block - dut.most + dut.left - 1) // dut.block)
                | (dut.fits != (dut.others == 0)))),
        ]


@pytest.mark.parametrize("beat_bytes, longest", [(8, 256), (8, 16), (64, 256), (16, 3)])
def test_no_burst_crosses_4_kib(beat_bytes, longest):
    bursts = Bursts(beat_width=12, count_width=12, beat_bytes=beat_bytes, longest=longest)
    assert prove(BurstsAreLegal(bursts)) >= 1


def test_bursts_stay_offered():
    assert prove_streams(Bursts(beat_width=10, count_width=8, beat_bytes=64, longest=16)) >= 1
