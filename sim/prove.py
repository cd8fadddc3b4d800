"""Proofs by k-induction, and the stream rules as something to prove.

A claim is something that must hold in every cycle after reset, whatever the inputs do. It is either
an ``amaranth.hdl.Assert`` in the combinational domain, or a field of an output port ``broken``, a
struct of flags that must stay 0. What inputs may do is narrowed by ``amaranth.hdl.Assume``.
"""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from amaranth import *
from amaranth.back import rtlil
from amaranth.hdl import Assume
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.tools import run_yosys

__all__ = ["Claims", "ProofError", "StaysOffered", "StreamRules", "prove", "prove_streams"]


class ProofError(Exception):
    """A claim is false, or induction did not reach it."""


def prove(component: wiring.Component, *, depth: int = 12, timeout: float = 300.0) -> int:
    """Prove all claims of ``component`` for all time; returns the length of the induction.

    The proof begins with one cycle of reset from *any* state: registers without reset and memories
    hold whatever they like after it. Reset stays off from then on. Claims hold from the second
    cycle on.

    Parameters
    ----------
    component : :class:`wiring.Component`
        In the domain ``sync``. Memories become registers, so keep them small.
    depth : :class:`int`
        Cycles that induction may look back. A claim that needs more is not proved, and mostly needs
        an invariant beside it, as another claim.
    timeout : :class:`float`
        Seconds.

    Raises :class:`ProofError`: with the shortest counterexample as a table of the ports, a column
    per cycle, when a claim is false; or when ``depth`` was not enough.
    """
    top = _AfterReset(component)
    with tempfile.TemporaryDirectory(prefix="prove-") as name:
        folder = Path(name)
        (folder / "top.il").write_text(rtlil.convert(
            top, name="top", ports=top.ports(), platform="formal", emit_src=False))
        broken = ["-prove broken 0"] if top.claims else []
        run_yosys(folder, [
            "read_rtlil top.il",
            "hierarchy -top top",
            "proc",
            "flatten",
            "memory_map",
            "chformal -lower",
            # Any state before the reset. Only the wrapper's own register begins with a value.
            "setattr -unset init w:* w:started %d",
            "opt -full",
            # `-seq 1`: nothing is claimed of the cycle of the reset.
            " ".join(["sat -tempinduct -seq 1 -prove-asserts -set-assumes", *broken,
                      f"-show-ports -maxsteps {depth}"]),
        ], script="prove.ys", timeout=timeout)
        log = (folder / "prove.log").read_text()
    if found := re.search(r"^\[induction step (\d+)\].*\nInduction step proven: SUCCESS!", log,
                          re.MULTILINE):
        return int(found[1])
    name = type(getattr(component, "dut", component)).__name__
    if "model found for base case" in log:
        raise ProofError(f"{name}: {_story(log, top.claims)}")
    if "Reached maximum number of time steps" in log:
        raise ProofError(f"{name}: no counterexample within {depth} cycles, and none of the "
                         f"inductions that look back up to {depth} cycles holds")
    raise ProofError(f"{name}: the solver gave up: {log.strip().splitlines()[-1]}")


class _AfterReset(Elaboratable):
    """``component`` with free inputs, in reset for the first cycle and never again."""

    def __init__(self, component: wiring.Component):
        self.component = component
        self.clk = Signal()
        self.claims = []
        if "broken" in component.signature.members:
            layout = data.Layout.cast(component.signature.members["broken"].shape)
            self.claims = [(name, field.offset) for name, field in layout]

    def ports(self) -> list[Signal]:
        signals = (Value.cast(value) for _, _, value in
                   self.component.signature.flatten(self.component))
        return [self.clk, *(signal for signal in signals if isinstance(signal, Signal))]

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = sync = ClockDomain()
        m.domains.always = always = ClockDomain(reset_less=True, local=True)
        started = Signal(name="started")
        m.d.comb += [always.clk.eq(self.clk), sync.clk.eq(self.clk), sync.rst.eq(~started)]
        m.d.always += started.eq(1)
        m.submodules.dut = self.component
        return m


_ROW = re.compile(r"^ +(\d+) \\(\S+) .*?([01x]+)$", re.MULTILINE)


def _story(log: str, claims: list[tuple[str, int]]) -> str:
    """What Yosys found, as a table: a row for each port, a column for each cycle."""
    values: dict[str, dict[int, str]] = {}
    for cycle, name, bits in _ROW.findall(log[log.rindex("Signal Name"):]):
        values.setdefault(name, {})[int(cycle)] = bits
    values.pop("clk", None)
    last = max(max(row) for row in values.values())
    broken = values.pop("broken", {}).get(last, "")
    wrong = [name for name, offset in claims if broken[::-1][offset:offset + 1] == "1"]
    cells = {name: [_hex(row[cycle]) for cycle in range(1, last + 1)]
             for name, row in sorted(values.items())}
    widths = [max(len(str(n + 1)), *(len(row[n]) for row in cells.values())) for n in range(last)]
    first = max(map(len, [*cells, "cycle"]))
    lines = [f"{name:{first}}  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths))
             for name, row in [("cycle", map(str, range(1, last + 1))), *cells.items()]]
    return "\n".join([f"{', '.join(wrong) or 'an assertion'} in cycle {last}", *lines])


def _hex(bits: str) -> str:
    if "x" in bits:
        return "x"
    return f"{int(bits, 2):0{-(-len(bits) // 4)}x}"


# Claims about a component from outside ------------------------------------------------------------

def _wrap(m: Module, outside) -> None:
    """Join all ports of ``outside.dut`` to those of ``outside``."""
    m.submodules.dut = outside.dut
    ours = {path: value for path, _, value in outside.signature.flatten(outside)}
    for path, member, theirs in outside.dut.signature.flatten(outside.dut):
        inner, outer = Value.cast(theirs), Value.cast(ours[path])
        to, source = (outer, inner) if member.flow == Out else (inner, outer)
        if isinstance(to, Signal):  # not the constant of an `always_ready`
            m.d.comb += to.eq(source)


class Claims(wiring.Component):
    """``dut`` with free inputs, and flags that must stay 0; ``inputs`` are further free ones.

    A claim is a subclass: its ``claim(m, dut, broken)`` drives the flags, and may assume.
    """

    def __init__(self, dut, flags, inputs=()):
        self.dut = dut
        super().__init__({
            **dut.signature.members,
            **dict.fromkeys(inputs, In(1)),
            "broken": Out(data.StructLayout({flag: 1 for flag in flags})),
        })

    def elaborate(self, platform):
        m = Module()
        _wrap(m, self)
        self.claim(m, self.dut, self.broken)
        return m


class StaysOffered(Claims):
    """What a channel of AXI offers stays, unchanged, until it is taken.

    ``channels``: fields by name; ``port``: the member of ``dut`` that they belong to, itself by
    default. A slave is assumed that answers what it has taken, if ``answers`` says which channels'
    answers do that: ``{"b": ("aw", "w")}``. ``more``: flags of a subclass.
    """

    def __init__(self, dut, channels, *, port="", answers=None, more=()):
        self.channels, self.port, self.answers = channels, port, answers or {}
        super().__init__(dut, [*(f"{channel}_{what}" for channel in channels
                                 for what in ("taken_back", "changed")), *more])

    def claim(self, m, dut, broken):
        port = getattr(dut, self.port) if self.port else dut
        for channel, fields in self.channels.items():
            valid, ready = getattr(port, f"{channel}valid"), getattr(port, f"{channel}ready")
            payload = Cat(getattr(port, f"{channel}{field}") for field in fields)
            waiting, held = Signal(name=f"{channel}_waiting"), Signal.like(payload)
            m.d.sync += [waiting.eq(valid & ~ready), held.eq(payload)]
            m.d.comb += [
                broken[f"{channel}_taken_back"].eq(waiting & ~valid),
                broken[f"{channel}_changed"].eq(waiting & valid & (payload != held)),
            ]
        for answer, asked in self.answers.items():
            offered = Cat(getattr(port, f"{channel}valid") for channel in asked)
            m.d.comb += Assume(~(getattr(port, f"{answer}valid") & offered.any()))


# Stream rules -----------------------------------------------------------------------------------

class StreamRules(wiring.Component):
    """``dut`` with the rules of its streams as claims, for :func:`prove`.

    On every output stream it is claimed that what is offered stays offered, unchanged, until it is
    taken; on every input stream it is assumed, unless ``assume`` is false.

    Members
    -------
    Those of ``dut``, and
    broken : ``Out(StructLayout)``
        Flags ``<stream>_taken_back`` and ``<stream>_changed`` for each output stream.
    """

    def __init__(self, dut: wiring.Component, *, assume: bool = True):
        self.dut, self.assume = dut, assume
        outputs = [path for path, flow, _ in _streams(dut.signature, dut) if flow == Out]
        if not outputs:
            raise ValueError(f"dut must have output streams, not {dut.signature.members!r}")
        super().__init__({**dut.signature.members, "broken": Out(data.StructLayout({
            f"{path}_{what}": 1 for path in outputs for what in ("taken_back", "changed")}))})

    def elaborate(self, platform):
        m = Module()
        _wrap(m, self)
        for path, flow, port in _streams(self.dut.signature, self.dut):
            payload = Value.cast(port.payload)
            waiting = Signal(name=f"{path}_waiting")
            held    = Signal(len(payload), name=f"{path}_held")
            m.d.sync += [waiting.eq(port.valid & ~port.ready), held.eq(payload)]
            taken_back = waiting & ~port.valid
            changed    = waiting & port.valid & (payload != held)
            if flow == In:
                if not self.assume:
                    continue
                m.d.comb += Assume(~(taken_back | changed))
            else:
                m.d.comb += [
                    self.broken[f"{path}_taken_back"].eq(taken_back),
                    self.broken[f"{path}_changed"].eq(changed),
                ]
        return m


def prove_streams(component: wiring.Component, *, assume: bool = True, **options) -> int:
    """:func:`prove` that ``component`` keeps the stream rules, if its inputs do or anyway."""
    return prove(StreamRules(component, assume=assume), **options)


def _streams(signature, interface, prefix: str = "", flip: bool = False) -> Iterator[tuple]:
    """Streams in an interface: name, flow as seen from inside, and the interface object."""
    for name, member in signature.members.items():
        if member.is_port:
            continue
        flow = member.flow.flip() if flip else member.flow
        for suffix, port in _elements(getattr(interface, name), len(member.dimensions)):
            path = f"{prefix}{name}{suffix}"
            if isinstance(member.signature, stream.Signature):
                yield path, flow, port
            else:
                yield from _streams(member.signature, port, f"{path}__", flow == In)


def _elements(value, dimensions: int) -> Iterator[tuple]:
    if not dimensions:
        yield "", value
        return
    for n, element in enumerate(value):
        for suffix, port in _elements(element, dimensions - 1):
            yield f"__{n}{suffix}", port
