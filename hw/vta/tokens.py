"""The four token queues between the units. Tokens are all alike, so a queue is a counter."""

from amaranth import *
from amaranth.hdl import Assert
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.vta.isa import TOKENS, Token, Unit

__all__ = ["TokenQueue", "TokenQueues", "TokenPorts"]


class TokenQueue(wiring.Component):
    """Counts tokens that were posted and not yet taken.

    Parameters
    ----------
    width : :class:`int`
        Bits of the counter.

    Members
    -------
    push : ``In(1)``
        Post one; ignored while ``full``.
    pop : ``In(1)``
        Take one; ignored unless ``available``.
    available, full : ``Out(1)``
    level : ``Out(width)``

    Timing
    ------
    A token is available the cycle after it was posted. Both in one cycle: the level stays, also
    at 0 (then only the post counts) and when full (then only the taking counts).
    """

    def __init__(self, width: int):
        self.width = width
        super().__init__({
            "push": In(1), "pop": In(1), "available": Out(1), "full": Out(1), "level": Out(width),
        })

    def elaborate(self, platform):
        m = Module()
        more, less = self.push & ~self.full, self.pop & self.available
        # `available` and `full` are registers of their own: whether an instruction begins hangs
        # on them. Both events come late, and only choose.
        with m.If(more & ~less):
            m.d.sync += [self.level.eq(self.level + 1), self.available.eq(1),
                         self.full.eq(self.level[1:].all() & ~self.level[0])]
        with m.If(less & ~more):
            m.d.sync += [self.level.eq(self.level - 1), self.available.eq(self.level != 1),
                         self.full.eq(0)]
        if platform == "formal":
            m.d.comb += [Assert(self.available == (self.level != 0)),
                         Assert(self.full == self.level.all())]
        return m


class TokenPorts(wiring.Signature):
    """How a unit sees its tokens, by the flags of an instruction.

    ``available`` and ``full``: for each queue that it takes from or posts to; ``pop`` and ``push``
    act on all queues whose bit is set. A unit only sets bits it may: see :data:`TOKENS`.
    """

    def __init__(self):
        super().__init__({
            "available_prev": In(1), "available_next": In(1),
            "full_prev": In(1), "full_next": In(1),
            "pop_prev": Out(1), "pop_next": Out(1), "push_prev": Out(1), "push_next": Out(1),
        })


class TokenQueues(wiring.Component):
    """All queues, joined to the units as :data:`hw.vta.isa.TOKENS` says.

    Members
    -------
    load, compute, store : ``In(TokenPorts())``
    levels : array of ``Out(width)`` by :class:`Token`
    """

    def __init__(self, width: int):
        self.width = width
        super().__init__({unit.name.lower(): In(TokenPorts()) for unit in Unit}
                         | {"levels": Out(width).array(len(Token))})

    def elaborate(self, platform):
        m = Module()
        queues = []
        for token in Token:
            queue = TokenQueue(self.width)
            m.submodules[token.name.lower()] = queue
            m.d.comb += self.levels[token].eq(queue.level)
            queues.append(queue)
        for unit, flags in TOKENS.items():
            ports = getattr(self, unit.name.lower())
            for flag, token in flags.items():
                verb, side = flag.split("_")
                status = {"pop": "available", "push": "full"}[verb]
                m.d.comb += [
                    getattr(queues[token], verb).eq(getattr(ports, flag)),
                    getattr(ports, f"{status}_{side}").eq(getattr(queues[token], status)),
                ]
        return m
